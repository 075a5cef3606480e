// SPDX-License-Identifier: BSL-1.0
// Timers and tickers: TM-02 to TM-06, TM-08, TM-09, TM-11 to TM-16, TM-C01, TM-C03, GEN-11, and what Go's own tests of
// package time ask (P-085 to P-096).
#include <runnel/after.hpp>
#include <runnel/chan.hpp>
#include <runnel/go.hpp>
#include <runnel/select.hpp>
#include <runnel/sleep.hpp>
#include <runnel/sync/wait_group.hpp>
#include <runnel/ticker.hpp>
#include <runnel/timer.hpp>

#include "support/checked_runtime.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <random>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using clock_type = std::chrono::steady_clock;
using test::on_1_2_and_4_threads;
using test::until;

// Passes time by the clock that is tested, without a timer.
rn::task<> wait_past(clock_type::time_point at) {
  while (clock_type::now() <= at) co_await rn::yield();
}

// TM-02, TM-03: a late receiver gets the moment at which the tick was due
TEST(tm, a_tick_that_is_taken_late_says_when_it_was_due) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto begin = clock_type::now();
    rn::timer t(1ms);
    auto made = clock_type::now();
    co_await wait_past(begin + 5ms);
    auto due = co_await t.recv();
    EXPECT_GE(due, begin + 1ms);
    EXPECT_LE(due, made + 1ms);
    rn::timer u(1ms);
    co_await wait_past(clock_type::now() + 2ms);
    auto r = co_await rn::select(u.recv(), rn::otherwise);
    EXPECT_EQ(r.index(), 0u);
  });
}

// TM-04, TM-05, TM-06: what was due before stop and reset cannot be received after it
TEST(tm, stop_and_reset_leave_no_stale_tick) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::timer t(0s);
    EXPECT_TRUE(t.stop());  // due and not received counts as pending
    EXPECT_TRUE(t.try_recv().would_block());
    EXPECT_FALSE(t.stop());
    EXPECT_FALSE(t.reset(0s));
    EXPECT_TRUE(t.reset(1h));
    EXPECT_TRUE(t.try_recv().would_block());
    auto r = co_await rn::select(t.recv(), rn::after(1ms));
    EXPECT_EQ(r.index(), 1u);
    EXPECT_TRUE(t.reset(0s));
    co_await t.recv();
    EXPECT_FALSE(t.reset(1ms));  // fired and received: not pending, but set again
    co_await t.recv();
  });
}

// TM-05, P-086, P-088
TEST(tm, a_timer_that_was_stopped_in_time_never_ticks) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::deque<rn::timer> timers;
    std::atomic<int> ticked{0}, parked{0};
    auto [ctx, cancel] = rn::this_context().with_cancel();
    rn::wait_group ended;
    auto wait = [&](rn::timer& t) -> rn::task<> {
      struct ends {
        rn::wait_group& w;
        ~ends() { w.done(); }
      } guard{ended};
      ++parked;
      co_await t.recv();
      ++ticked;
    };
    for (int i = 0; i < 100; ++i) {
      timers.emplace_back(1h);
      ended.add();
      rn::go(ctx, wait, std::ref(timers.back()));
    }
    co_await until([&] { return parked == 100; });
    for (auto& t : timers) EXPECT_TRUE(t.stop());
    for (auto& t : timers) EXPECT_FALSE(t.stop());
    co_await rn::sleep(1ms);
    EXPECT_EQ(ticked, 0);
    cancel();
    co_await ended.wait();
  });
}

// TM-06, TM-C03, P-089, P-092: moved earlier, later, into the past, while the host sleeps for what was before
TEST(tm, a_timer_that_is_moved_ticks_at_its_new_time) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::timer t(1h);
    std::atomic<int> ticks{0};
    std::atomic<std::int64_t> due{0};
    auto wait = [&]() -> rn::task<> {
      due = (co_await t.recv()).time_since_epoch().count();
      ++ticks;
    };
    rn::go(wait);
    co_await rn::yield();
    auto before = clock_type::now();
    EXPECT_TRUE(t.reset(10min));
    EXPECT_TRUE(t.reset(2h));
    EXPECT_TRUE(t.reset(1ms));
    co_await until([&] { return ticks == 1; });
    EXPECT_GE(clock_type::duration(due.load()), (before + 1ms).time_since_epoch());
    rn::go(wait);
    co_await rn::yield();
    EXPECT_FALSE(t.reset(-5s));
    co_await until([&] { return ticks == 2; });
    EXPECT_LE(clock_type::duration(due.load()), clock_type::now().time_since_epoch());
    std::mt19937 random(5);
    for (int i = 0; i < 200; ++i) {
      t.reset(std::chrono::milliseconds(random() % 1000 + 1000));
      rn::go(wait);
      if (i % 3 == 0) co_await rn::yield();
      t.reset(std::chrono::microseconds(random() % 50));
      co_await until([&] { return ticks == 3 + i; });
    }
  });
}

// TM-08, TM-13, P-085, P-087
TEST(tm, ticks_come_in_the_order_in_which_they_are_due) {
  test::checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    std::vector<int> order;
    std::vector<int> slots{0, 3, 6, 5, 2, 1, 9, 4, 8, 7};
    bool all_in_time = false;  // each waits before the first is due; else once more, with more time for it
    for (auto lead = 2ms; !all_in_time; lead *= 2) {
      order.clear();
      std::size_t waiting = 0;
      rn::wait_group ended;
      auto first_due = clock_type::now() + lead;
      for (int slot : slots)
        ended.go([&order, &waiting, slot, first_due]() -> rn::task<> {
          ++waiting;
          co_await rn::after(first_due + slot * 1ms - clock_type::now());
          order.push_back(slot);
        });
      while (waiting < slots.size()) co_await rn::yield();
      all_in_time = clock_type::now() < first_due;
      co_await ended.wait();
    }
    EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
    EXPECT_EQ(order.size(), slots.size());
  });
}

// TM-09, P-093
TEST(tm, a_slow_receiver_loses_ticks_and_never_gets_two_at_once) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto begin = clock_type::now();
    rn::ticker t(2ms);
    auto made = clock_type::now();
    co_await wait_past(begin + 9ms);
    auto before = clock_type::now();
    auto first = co_await t.recv();  // the one that was pending: the first
    EXPECT_GE(first, begin + 2ms);
    EXPECT_LE(first, made + 2ms);
    auto second = co_await t.recv();
    EXPECT_GT(second, before - 2ms);  // not one of those that were lost
    EXPECT_EQ((second - first) % 2ms, 0ns);
    t.stop();
    co_await wait_past(clock_type::now() + 4ms);
    EXPECT_TRUE(t.try_recv().would_block());
  });
}

// TM-11
TEST(tm, a_ticker_that_is_reset_drops_the_pending_tick_and_changes_its_period) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::ticker t(1ms);
    co_await wait_past(clock_type::now() + 2ms);
    auto before = clock_type::now();
    t.reset(3ms);
    EXPECT_TRUE(t.try_recv().would_block() || clock_type::now() >= before + 3ms);
    auto first = co_await t.recv();
    EXPECT_GE(first, before + 3ms);
    EXPECT_EQ(((co_await t.recv()) - first) % 3ms, 0ns);
    t.reset(1h);
    auto r = co_await rn::select(t.recv(), rn::after(1ms));
    EXPECT_EQ(r.index(), 1u);
  });
}

// TM-12, GEN-11, P-090
TEST(tm, durations_too_long_to_be_counted_never_pass) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::timer longest(std::chrono::nanoseconds::max()), hours(std::chrono::hours::max()),
        real(std::chrono::duration<double>(1e300));
    rn::ticker slow(std::chrono::hours::max());
    auto r = co_await rn::select(longest.recv(), hours.recv(), real.recv(), slow.recv(),
                                 rn::after(std::chrono::nanoseconds::max()), rn::after(1ms));
    EXPECT_EQ(r.index(), 5u);
    EXPECT_TRUE(longest.stop());  // it was to come
    EXPECT_TRUE(real.reset(0s));
    co_await real.recv();
    co_await rn::after(std::chrono::nanoseconds::min());
    rn::timer past(std::chrono::hours::min());
    co_await past.recv();
  });
}

// TM-14
TEST(tm, of_two_that_wait_for_one_timer_exactly_one_gets_the_tick) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::timer t;
    rn::chan<int> silent(0);
    std::atomic<int> ticks{0}, waits{0};
    auto plain = [&]() -> rn::task<> {
      ++waits;
      co_await t.recv();
      ++ticks;
    };
    auto select = [&]() -> rn::task<> {
      ++waits;
      co_await rn::select(silent.recv(), t.recv());
      ++ticks;
    };
    for (int i = 0; i < 20; ++i) {
      ticks = waits = 0;
      rn::go(plain);
      rn::go(select);
      co_await until([&] { return waits == 2; });
      t.reset(100us);
      co_await until([&] { return ticks == 1; });
      co_await test::let_others_run();
      EXPECT_EQ(ticks, 1);
      t.reset(0s);
      co_await until([&] { return ticks == 2; });
    }
  });
}

// TM-16, P-084, P-094, P-096: many timers, set anew all the time, and tickers that are made and dropped
TEST(tm, many_timers_that_are_set_anew_all_the_time_are_no_trouble) {
  for (long threads : {1, 2, 4}) {
    test::checked_runtime rt(threads);
    rt.run([&]() -> rn::task<> {
      constexpr int waiters = 2000;
      std::deque<rn::timer> timers;
      rn::wait_group ended;
      for (int i = 0; i < waiters; ++i) {
        timers.emplace_back(1h);
        ended.go([&t = timers.back()]() -> rn::task<> { co_await t.recv(); });
      }
      co_await rn::yield();
      std::mt19937 random(7);
      for (int i = 0; i < 100'000; ++i) timers[random() % waiters].reset(std::chrono::milliseconds(random() % 100'000 + 1));
      for (auto& t : timers) t.reset(1us);
      co_await ended.wait();
      for (int i = 0; i < 1000; ++i) {
        rn::ticker t(std::chrono::nanoseconds(1 + i));
        (void)t.try_recv();
      }
      EXPECT_TRUE(rt.get().core().timers.empty());
    });
  }
}

}  // namespace
