// SPDX-License-Identifier: BSL-1.0
// A oneshot under many schedules, under all with few preemptions, cancelled, killed and out of memory at each place: what
// was sent is received, or dies with the receiver; an end is told to the other half.
#include <runnel/chan.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/oneshot.hpp>
#include <runnel/select.hpp>
#include <runnel/test.hpp>
#include <runnel/this_task.hpp>
#include <support/counted.hpp>

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <source_location>
#include <stdexcept>
#include <string>
#include <utility>

namespace {

namespace rn = runnel;
using element = runnel_test::counted;
using tx_t = rn::oneshot_sender<element>;
using rx_t = rn::oneshot_receiver<element>;

void must(bool holds, std::source_location where = std::source_location::current()) {
  if (!holds) throw std::logic_error("does not hold: line " + std::to_string(where.line()));
}

template <class Body, class Invariant> void everywhere(Body body, Invariant invariant) {
  auto checked = [&]() -> rn::task<> {
    co_await body();
    invariant();
  };
  try {
    rn::test::explore(300, checked);
    rn::test::exhaust(checked, rn::test::preemptions(2));
    rn::test::cancel_everywhere(body, invariant);
    for (std::uint64_t n = 1; n <= 10; ++n) rn::test::cancel_everywhere(body, invariant, rn::test::seed(n));
    rn::test::fail_everywhere(body, invariant);
  } catch (const rn::test::failure& f) {
    ADD_FAILURE() << f.what();
  }
}

struct story {
  bool sent = false, refused = false, received = false, empty = false, told = false;
};

rn::task<> send(story& s, tx_t tx) {
  co_await rn::yield();
  element e(1);
  if (tx.send(std::move(e)))
    s.sent = true;
  else
    s.refused = e.whole();
}
rn::task<> die(tx_t tx) {
  auto here = std::move(tx);
  co_await rn::yield();
}
rn::task<> receive(story& s, rx_t rx) {
  auto got = co_await rx.recv();
  if (got)
    s.received = got->value() == 1;
  else
    s.empty = true;
}
rn::task<> leave(rx_t rx) {
  auto here = std::move(rx);
  co_await rn::yield();
}
rn::task<> wait_for_the_end(story& s, tx_t tx) {
  co_await tx.abandoned();
  must(tx.is_abandoned());
  s.told = true;
}

// GEN-05, CH-C08
TEST(oneshot, what_is_sent_is_received_or_dies) {
  story s;
  auto body = [&]() -> rn::task<> {
    s = story();
    co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
      auto [tx, rx] = rn::oneshot<element>();
      co_await g.go(receive, std::ref(s), std::move(rx));
      co_await g.go(send, std::ref(s), std::move(tx));
    });
    must(s.sent && s.received);
  };
  everywhere(body, [&] {
    must(element::alive() == 0);
    must(!s.received || s.sent);
    must(!(s.sent && s.empty));
    must(!(s.sent && s.refused));
  });
}

TEST(oneshot, a_sender_that_dies_is_noticed) {
  story s;
  auto body = [&]() -> rn::task<> {
    s = story();
    co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
      auto [tx, rx] = rn::oneshot<element>();
      co_await g.go(receive, std::ref(s), std::move(rx));
      co_await g.go(die, std::move(tx));
    });
    must(s.empty);
  };
  everywhere(body, [&] { must(!s.received); });
}

TEST(oneshot, a_receiver_that_dies_is_noticed) {
  story s;
  auto body = [&]() -> rn::task<> {
    s = story();
    co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
      auto one = rn::oneshot<element>();
      auto two = rn::oneshot<element>();
      co_await g.go(leave, std::move(one.second));
      co_await g.go(leave, std::move(two.second));
      co_await g.go(wait_for_the_end, std::ref(s), std::move(one.first));
      co_await g.go(send, std::ref(s), std::move(two.first));
    });
    must(s.told && s.sent != s.refused);
  };
  everywhere(body, [&] { must(element::alive() == 0); });
}

// SEL-11, SEL-C05: a select that takes the other case leaves the value where it is.
TEST(oneshot, a_select_takes_one_case_and_leaves_the_other) {
  story s;
  bool first = false;
  auto body = [&]() -> rn::task<> {
    s = story();
    first = false;
    co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
      auto [tx, rx] = rn::oneshot<element>();
      rn::chan<int> ch(1);
      co_await g.go(
          [](story& of, bool& by_channel, rx_t from, rn::chan<int> c) -> rn::task<> {
            co_await rn::select(rn::on(from.recv(), [&](std::optional<element> e) { of.received = e.has_value(); }),
                                rn::on(c.recv(), [&](std::optional<int>) { by_channel = true; }));
            if (!by_channel) co_return;
            auto got = co_await from.recv();
            of.received = got.has_value();
          },
          std::ref(s), std::ref(first), std::move(rx), ch);
      co_await g.go(send, std::ref(s), std::move(tx));
      co_await g.go([](rn::chan<int> c) -> rn::task<> { co_await c.send(1); }, ch);
    });
    must(s.sent && s.received);
  };
  everywhere(body, [&] {
    must(element::alive() == 0);
    must(!s.received || s.sent);
  });
}

}  // namespace
