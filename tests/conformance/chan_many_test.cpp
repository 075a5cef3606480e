// SPDX-License-Identifier: BSL-1.0
// CH for batches: under many schedules, under all with few preemptions, cancelled, killed and out of memory at each place:
// each element is in its sender's batch, in the channel, or in a receiver's vector, and in one of them.
#include <runnel/chan.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/test.hpp>
#include <runnel/this_task.hpp>
#include <support/counted.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <source_location>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

namespace rn = runnel;
using element = runnel_test::counted;
using batch = std::vector<element>;

void must(bool holds, std::source_location where = std::source_location::current()) {
  if (!holds) throw std::logic_error("does not hold: line " + std::to_string(where.line()));
}

template <class Body, class Invariant> void everywhere(Body body, Invariant invariant, std::uint64_t preemptions = 2) {
  auto checked = [&]() -> rn::task<> {
    co_await body();
    invariant();
  };
  try {
    rn::test::explore(300, checked);
    rn::test::exhaust(checked, rn::test::preemptions(preemptions));
    rn::test::cancel_everywhere(body, invariant);
    for (std::uint64_t n = 1; n <= 10; ++n) rn::test::cancel_everywhere(body, invariant, rn::test::seed(n));
    rn::test::fail_everywhere(body, invariant);
  } catch (const rn::test::failure& f) {
    ADD_FAILURE() << f.what();
  }
}

// Each sender has five elements, numbered in order; each receiver appends to a vector of its own.
class traffic {
 public:
  static constexpr int each = 5, senders = 2, receivers = 2;

  void begin(std::ptrdiff_t capacity) {
    x_channel.emplace(capacity);
    for (auto& b : x_unsent) b.clear();
    for (auto& b : x_received) b.clear();
    for (int i = 0; i < senders * each; ++i) x_unsent[i / each].emplace_back(i);
  }
  rn::task<> send(int who) { co_await x_channel->send_many(x_unsent[who]); }
  rn::task<> receive(int who, std::ptrdiff_t most) {
    std::size_t n = 1;
    while (n > 0) {
      n = co_await x_channel->recv_many(x_received[who], most);
      must(n <= static_cast<std::size_t>(most));
    }
  }
  rn::task<> handle(int who) {
    co_await x_channel->for_each([this, who](element e) { x_received[who].push_back(std::move(e)); });
  }
  rn::chan<element>& channel() { return *x_channel; }

  // Nothing is lost, nothing is doubled, and what is left of a batch is its end.
  void check() {
    if (!x_channel) return;
    std::vector<int> seen;
    for (int s = 0; s < senders; ++s)
      for (std::size_t i = 0; i < x_unsent[s].size(); ++i) {
        must(x_unsent[s][i].value() == (s + 1) * each - static_cast<int>(x_unsent[s].size() - i));
        seen.push_back(x_unsent[s][i].value());
      }
    for (auto& b : x_received) {
      int last[senders] = {-1, -1};
      for (auto& e : b) {  // CH-11
        must(e.value() > last[e.value() / each]);
        last[e.value() / each] = e.value();
        seen.push_back(e.value());
      }
    }
    while (auto left = x_channel->try_recv()) seen.push_back(left->value());
    std::sort(seen.begin(), seen.end());
    must(seen.size() == static_cast<std::size_t>(senders * each));
    for (std::size_t i = 0; i < seen.size(); ++i) must(seen[i] == static_cast<int>(i));
    x_channel.reset();
    for (auto& b : x_unsent) b.clear();
    for (auto& b : x_received) b.clear();
    must(element::alive() == 0);
  }

 private:
  std::optional<rn::chan<element>> x_channel;
  batch x_unsent[senders], x_received[receivers];
};

// CH-07, CH-11, CH-12, CH-C06, CH-C08, GEN-05
TEST(chan_many, loses_and_doubles_nothing) {
  for (std::ptrdiff_t capacity : {0, 1, 4}) {
    SCOPED_TRACE(capacity);
    traffic t;
    auto body = [&]() -> rn::task<> {
      t.begin(capacity);
      co_await rn::with_errgroup([&](rn::errgroup& all) -> rn::task<> {
        co_await all.go(&traffic::receive, std::ref(t), 0, 3);
        co_await all.go(&traffic::receive, std::ref(t), 1, 1);
        co_await rn::with_errgroup([&](rn::errgroup& of_senders) -> rn::task<> {
          co_await of_senders.go(&traffic::send, std::ref(t), 0);
          co_await of_senders.go(&traffic::send, std::ref(t), 1);
        });
        t.channel().close();
      });
    };
    everywhere(
        body, [&] { t.check(); }, 1);
  }
}

// CH-20: a close in the midst of it leaves what was not sent with the sender.
TEST(chan_many, a_close_races_with_batches) {
  for (std::ptrdiff_t capacity : {0, 2}) {
    SCOPED_TRACE(capacity);
    traffic t;
    auto body = [&]() -> rn::task<> {
      t.begin(capacity);
      co_await rn::with_errgroup([&](rn::errgroup& all) -> rn::task<> {
        co_await all.go(&traffic::receive, std::ref(t), 0, 2);
        co_await all.go(
            [](traffic& of) -> rn::task<> {
              try {
                co_await of.send(0);
              } catch (const rn::closed_channel&) {
              }
            },
            std::ref(t));
        co_await rn::yield();
        co_await rn::yield();
        t.channel().close();
      });
    };
    everywhere(body, [&] { t.check(); });
  }
}

// CH-22
TEST(chan_for_each, loses_and_doubles_nothing) {
  traffic t;
  auto body = [&]() -> rn::task<> {
    t.begin(2);
    co_await rn::with_errgroup([&](rn::errgroup& all) -> rn::task<> {
      co_await all.go(&traffic::handle, std::ref(t), 0);
      co_await all.go(&traffic::handle, std::ref(t), 1);
      co_await rn::with_errgroup([&](rn::errgroup& of_senders) -> rn::task<> {
        co_await of_senders.go(&traffic::send, std::ref(t), 0);
        co_await of_senders.go(&traffic::send, std::ref(t), 1);
      });
      t.channel().close();
    });
  };
  everywhere(
      body, [&] { t.check(); }, 1);
}

}  // namespace
