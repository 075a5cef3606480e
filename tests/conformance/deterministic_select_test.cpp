// SPDX-License-Identifier: BSL-1.0
// select and the primitives of sync under many schedules, under all with few preemptions, and cancelled, killed and out
// of memory at each place.
#include <runnel/after.hpp>
#include <runnel/all.hpp>
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/select.hpp>
#include <runnel/sleep.hpp>
#include <runnel/sync/barrier.hpp>
#include <runnel/sync/condition.hpp>
#include <runnel/sync/event.hpp>
#include <runnel/sync/latch.hpp>
#include <runnel/sync/mutex.hpp>
#include <runnel/sync/semaphore.hpp>
#include <runnel/sync/shared_mutex.hpp>
#include <runnel/test.hpp>
#include <runnel/this_task.hpp>
#include <runnel/with_context.hpp>

#include "support/counted.hpp"

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <source_location>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using runnel_test::counted;

void must(bool holds, std::source_location where = std::source_location::current()) {
  if (!holds) throw std::logic_error("does not hold: line " + std::to_string(where.line()));
}

// The body checks what must hold at its own end; the invariant what must hold however it ends.
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
    for (std::uint64_t n = 1; n <= 5; ++n) rn::test::fail_everywhere(body, invariant, rn::test::seed(n));
  } catch (const rn::test::failure& f) {
    ADD_FAILURE() << f.what();
  }
}

// Elements on several channels: what was sent was received once, or is still there.
class ledger {
 public:
  void begin(std::size_t channels, std::ptrdiff_t capacity) {
    x_channels.clear();
    for (std::size_t i = 0; i < channels; ++i) x_channels.emplace_back(capacity);
    x_balance.fill(0);
  }
  rn::chan<counted>& channel(std::size_t i) { return x_channels[i]; }
  void sent(int n) { ++x_balance[static_cast<std::size_t>(n)]; }
  void received(const std::optional<counted>& v) {
    if (v) --x_balance[static_cast<std::size_t>(v->value())];
  }
  void check() {
    for (auto& ch : x_channels)
      while (auto left = ch.try_recv()) --x_balance[static_cast<std::size_t>(left->value())];
    for (int n : x_balance) must(n == 0);
    x_channels.clear();
    must(counted::alive() == 0);
  }

 private:
  std::vector<rn::chan<counted>> x_channels;
  std::array<int, 8> x_balance{};
};

// SEL-03, SEL-C03, GEN-05: one case, and nothing of the others.
TEST(deterministic_select, loses_and_doubles_nothing) {
  for (std::ptrdiff_t capacity : {0, 1}) {
    SCOPED_TRACE(capacity);
    ledger l;
    auto body = [&]() -> rn::task<> {
      l.begin(2, capacity);
      co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
        auto sends = [&](std::size_t to, int first) -> rn::task<> {
          for (int i = first; i < first + 2; ++i) {
            co_await l.channel(to).send(counted(i));
            l.sent(i);
          }
        };
        auto receives = [&](int n) -> rn::task<> {
          for (int i = 0; i < n; ++i) {
            auto r = co_await rn::select(l.channel(0).recv(), l.channel(1).recv());
            if (r.index() == 0)
              l.received(r.get<0>());
            else
              l.received(r.get<1>());
          }
        };
        g.go(sends, std::size_t{0}, 0);
        g.go(sends, std::size_t{1}, 2);
        g.go(receives, 2);
        g.go(receives, 2);
        co_return;
      });
    };
    everywhere(body, [&] { l.check(); }, 1);
  }
}

// Third parties: each receives from one and sends to another, at once, so that matches can go round in a circle.
TEST(deterministic_select, matches_of_selects_with_selects_lose_and_double_nothing) {
  ledger l;
  auto body = [&]() -> rn::task<> {
    l.begin(2, 0);
    co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
      auto trades = [&](std::size_t from, std::size_t to, int n) -> rn::task<> {
        counted mine(n);
        auto r = co_await rn::select(l.channel(from).recv(), l.channel(to).send(rn::moved(mine)));
        if (r.index() == 0)
          l.received(r.get<0>());
        else
          l.sent(n);
      };
      g.go(trades, std::size_t{0}, std::size_t{1}, 0);
      g.go(trades, std::size_t{1}, std::size_t{0}, 1);
      g.go(trades, std::size_t{0}, std::size_t{1}, 2);
      g.go(trades, std::size_t{1}, std::size_t{0}, 3);
      co_return;
    });
  };
  everywhere(body, [&] { l.check(); }, 2);
}

// A value and a timer at one instant; a value and the end of the context at once.
TEST(deterministic_select, takes_a_value_or_a_timer_and_never_both) {
  ledger l;
  int values = 0, timers = 0;
  auto body = [&]() -> rn::task<> {
    l.begin(1, 0);
    co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
      auto sends = [&]() -> rn::task<> {
        co_await rn::sleep(1s);
        co_await l.channel(0).send(counted(1));
        l.sent(1);
      };
      g.go(sends);
      auto r = co_await rn::select(l.channel(0).recv(), rn::after(1s));
      if (r.index() == 0) {
        ++values;
        l.received(r.get<0>());
      } else {
        ++timers;
        l.received(co_await l.channel(0).recv());
      }
    });
  };
  everywhere(body, [&] { l.check(); });
  EXPECT_GT(values, 20);
  EXPECT_GT(timers, 20);
}

// Every case that is ready is chosen by some seed, and by exhaust.
TEST(deterministic_select, draws_its_choice_from_the_schedule) {
  std::array<int, 3> taken{};
  auto body = [&]() -> rn::task<> {
    std::vector<rn::chan<int>> chs;
    for (int i = 0; i < 3; ++i) {
      chs.emplace_back(1);
      chs.back().try_send(i);
    }
    auto r = co_await rn::select(chs[0].recv(), chs[1].recv(), chs[2].recv());
    ++taken[r.index()];
  };
  rn::test::explore(60, body);
  for (int n : taken) EXPECT_GT(n, 5);
  taken.fill(0);
  EXPECT_EQ(rn::test::exhaust(body), 3u);
  EXPECT_EQ(taken, (std::array<int, 3>{1, 1, 1}));
  rn::test::trace t;
  rn::test::run(rn::test::seed(4), rn::test::record_to(t), body);
  int draws = 0;
  for (const auto& s : t.steps()) draws += s.kind == rn::test::trace::step::kind_t::draw;
  EXPECT_EQ(draws, 1);
}

// MU-01, SM, RW-01: never two inside, and nobody waits for a lock that is free.
TEST(deterministic_select, locks_exclude_and_are_never_lost) {
  auto body = [&]() -> rn::task<> {
    rn::mutex m;
    rn::shared_mutex rw;
    rn::semaphore s(2);
    int in_mutex = 0, in_semaphore = 0, writers = 0, readers = 0;
    struct inside {
      int& n;
      explicit inside(int& count) : n(count) { ++n; }
      ~inside() { --n; }
    };
    auto works = [&](bool writes) -> rn::task<> {
      {
        auto held = co_await m.lock();
        inside here(in_mutex);
        must(in_mutex == 1);
        co_await rn::yield();
        must(in_mutex == 1);
      }
      {
        auto permit = co_await s.acquire();
        inside here(in_semaphore);
        must(in_semaphore <= 2);
        co_await rn::yield();
      }
      if (writes) {
        auto held = co_await rw.lock();
        inside here(writers);
        must(writers == 1 && readers == 0);
        co_await rn::yield();
      } else {
        auto held = co_await rw.lock_shared();
        inside here(readers);
        must(writers == 0);
        co_await rn::yield();
      }
    };
    co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
      g.go(works, true);
      g.go(works, false);
      g.go(works, false);
      co_return;
    });
  };
  everywhere(body, [] {}, 1);
}

}  // namespace
