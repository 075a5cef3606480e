// SPDX-License-Identifier: BSL-1.0
// Many oneshots whose halves send, fail, die, time out and are cancelled at once: each story is told rightly.
#include <runnel.hpp>

#include "support/counted.hpp"
#include "support/stress.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using runnel_test::counted;
using stress::dice;

class oneshot_stress : public stress::stress_test {};

using tx_t = rn::oneshot_sender<counted>;
using rx_t = rn::oneshot_receiver<counted>;

// What the two halves of one oneshot have seen.
struct story {
  enum class end_t { none, sent, failed, refused, died };
  std::atomic<end_t> sender{end_t::none};
  std::atomic<bool> received{false}, empty{false}, threw{false}, left{false};
};

void send(story& s, tx_t tx, dice& d) {
  using end = story::end_t;
  counted value(5);
  unsigned way = d.below(4);
  if (way == 0) {
    s.sender = end::died;
  } else if (way == 1) {
    s.sender = tx.fail(std::runtime_error("failed")) ? end::failed : end::refused;
  } else {
    bool sent = tx.send(std::move(value));
    s.sender = sent ? end::sent : end::refused;
    EXPECT_EQ(sent, !value.whole());
  }
}
rn::task<> sender(story& s, tx_t tx, dice d) {
  for (unsigned n = d.below(3); n > 0; --n) co_await rn::yield();
  if (d.one_in(6)) (void)co_await rn::as_result(rn::with_timeout(d.microseconds(80), tx.abandoned()));
  send(s, std::move(tx), d);
}
rn::task<> receive_one(story& s, rx_t& rx) {
  auto got = co_await rx.recv();
  (got ? s.received : s.empty) = true;
}
rn::task<> receive_under_something(story& s, rx_t& rx, rn::context ctx, dice& d) {
  if (d.one_in(2))
    co_await rn::with_timeout(d.microseconds(50), receive_one(s, rx));
  else
    co_await rn::with_context(ctx, receive_one(s, rx));
}
rn::task<> receiver(story& s, rx_t rx, rn::context ctx, dice d) {
  for (unsigned n = d.below(3); n > 0; --n) co_await rn::yield();
  for (unsigned n = d.below(3); n > 0 && !s.received && !s.empty && !s.threw; --n) {
    rn::task<> work = receive_under_something(s, rx, ctx, d);
    auto outcome = co_await rn::as_result(std::move(work));
    if (outcome.error() && rn::detail::what_of(outcome.error()) == "failed") s.threw = true;
  }
  if (d.one_in(3)) {
    s.left = true;
    co_return;  // the receiver dies
  }
  if (s.received || s.empty || s.threw) co_return;
  auto last = co_await rn::as_result(receive_one(s, rx));
  if (last.error()) s.threw = true;
}

TEST_F(oneshot_stress, each_half_learns_what_became_of_the_other) {
  run_rounds([](unsigned threads, dice d) {
    std::vector<story> stories(d.between(1, 60));
    {
      rn::runtime rt{rn::threads(threads)};
      auto [ctx, cancel] = rn::context::background().with_cancel();
      for (auto& s : stories) {
        auto [tx, rx] = rn::oneshot<counted>();
        if (d.one_in(2)) rt.go(receiver, std::ref(s), std::move(rx), ctx, d.split());
        if (d.one_in(3))
          send(s, std::move(tx), d);  // from this thread
        else
          rt.go(sender, std::ref(s), std::move(tx), d.split());
      }
      if (d.one_in(2)) cancel();
      stress::wait_until([&] { return rt.live() == 0; }, "halves of oneshots");
      rt.shut_down();
    }
    using end = story::end_t;
    for (auto& s : stories) {
      end e = s.sender;
      EXPECT_NE(e, end::none);
      if (s.received) {
        EXPECT_EQ(e, end::sent);
      }
      if (s.threw) {
        EXPECT_EQ(e, end::failed);
      }
      if (s.empty) {
        EXPECT_EQ(e, end::died);
      }
    }
    EXPECT_EQ(counted::alive(), 0);
  });
}

}  // namespace
