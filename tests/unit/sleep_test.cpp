// SPDX-License-Identifier: BSL-1.0
// sleep and sleep_until: TM-01, TM-12, TM-13, GEN-11.
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>
#include <runnel/sleep.hpp>
#include <runnel/time_point.hpp>
#include <runnel/with_context.hpp>

#include "support/until.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

// TM-01, GEN-11: never early, whatever the unit.
TEST(sleep, it_lasts_at_least_as_long_as_asked) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    auto check = [](auto d) -> rn::task<> {
      auto start = clock::now();
      co_await rn::sleep(d);
      EXPECT_GE(clock::now() - start, d);
    };
    co_await check(1ns);
    co_await check(70us);
    co_await check(1ms);
    co_await check(std::chrono::duration<double>(0.0021));
    co_await check(std::chrono::duration<double, std::nano>(1500.5));
    for (int i = 0; i < 20; ++i) co_await check(std::chrono::microseconds(37 * i));
  };
  rt.run(app);
}

// TM-01, GEN-11
TEST(sleep, at_or_below_zero_it_does_not_wait) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    for (auto d : {std::chrono::nanoseconds(0), std::chrono::nanoseconds(-1), std::chrono::nanoseconds::min()}) {
      co_await rn::sleep(d);
      EXPECT_TRUE(rt.core().timers.empty());
    }
    co_await rn::sleep(-1.5h);
    co_await rn::sleep(std::chrono::hours::min());
    auto past = clock::now() - 1s;
    co_await rn::sleep_until(past);  // sleeps: not at all, which is what is tested
    co_await rn::sleep_until(clock::time_point::min());  // sleeps: the same
  };
  rt.run(app);
}

// GEN-02: sleeps that do not wait starve nobody.
TEST(sleep, a_loop_of_sleeps_that_do_not_wait_lets_others_run) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    bool ran = false;
    rn::go([&] { ran = true; });
    auto give_up = clock::now() + test_support::patience;
    while (!ran && clock::now() < give_up) co_await rn::sleep(0s);
    EXPECT_TRUE(ran);
  };
  rt.run(app);
}

TEST(sleep, until_a_point_in_time) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    auto at = clock::now() + 3ms;
    co_await rn::sleep_until(at);  // sleeps: the operation under test
    EXPECT_GE(clock::now(), at);
  };
  rt.run(app);
}

// TM-12: huge durations do not fire early, and disturb nobody.
TEST(sleep, huge_durations_saturate_and_do_not_disturb_others) {
  rn::runtime rt(rn::threads(2));
  auto app = [&]() -> rn::task<> {
    std::atomic<int> woken{0};
    std::atomic<int> asleep{0};
    auto body = [&](rn::errgroup& g) -> rn::task<> {
      auto child = [&](auto d) -> rn::task<> {
        ++asleep;
        co_await rn::sleep(d);
        ++woken;
      };
      (void)g.go(child, std::chrono::nanoseconds::max());
      (void)g.go(child, std::chrono::hours::max());
      (void)g.go(child, std::chrono::years(400));
      (void)g.go(child, std::chrono::duration<double>(std::numeric_limits<double>::infinity()));
      (void)g.go(child, std::chrono::duration<double>(1e300));
      co_await test_support::until([&] { return asleep == 5; });
      for (int i = 0; i < 3; ++i) co_await rn::sleep(1ms);
      EXPECT_EQ(woken, 0);
      g.cancel();
    };
    co_await rn::with_errgroup(body);
    EXPECT_TRUE(rt.core().timers.empty());
  };
  rt.run(app);
}

// TM-13: in order of due time, whatever the order of setting. One thread: the order of waking is the order of running.
TEST(sleep, sleepers_wake_in_order_of_due_time) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    std::vector<int> order;
    bool all_in_time = false;  // each has begun to sleep before the first is due; else once more, with more time for it
    for (auto lead = 5ms; !all_in_time; lead *= 2) {
      order.clear();
      int asleep = 0;
      auto base = clock::now() + lead;
      auto body = [&](rn::errgroup& g) -> rn::task<> {
        auto child = [&](int n) -> rn::task<> {
          ++asleep;
          co_await rn::sleep_until(base + n * 20us);  // sleeps: the order is what is tested
          order.push_back(n);
        };
        for (int i = 0; i < 200; ++i) (void)g.go(child, i * 37 % 200);
        while (asleep < 200) co_await rn::yield();
        all_in_time = clock::now() < base;
      };
      co_await rn::with_errgroup(body);
    }
    EXPECT_EQ(order.size(), 200u);
    EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  };
  rt.run(app);
}

// A later, nearer timer re-arms the host's.
TEST(sleep, a_nearer_timer_set_later_is_not_held_up_by_a_far_one) {
  rn::runtime rt(rn::threads(2));
  auto app = [&]() -> rn::task<> {
    auto body = [&](rn::errgroup& g) -> rn::task<> {
      (void)g.go([]() -> rn::task<> { co_await rn::sleep(1h); });
      for (int i = 0; i < 10; ++i) co_await rn::yield();
      co_await rn::sleep(1ms);
      g.cancel();
    };
    co_await rn::with_errgroup(body);
  };
  rt.run(app);
}

TEST(sleep, a_cancelled_sleeper_leaves_no_timer) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    EXPECT_THROW(co_await rn::with_timeout(1ms, rn::sleep(1h)), rn::deadline_exceeded);
    EXPECT_TRUE(rt.core().timers.empty());
  };
  rt.run(app);
}

TEST(sleep, ten_thousand_sleepers_all_wake) {
  rn::runtime rt(rn::threads(2));
  auto app = [&]() -> rn::task<> {
    std::atomic<int> woken{0};
    auto body = [&](rn::errgroup& g) -> rn::task<> {
      auto child = [&](int n) -> rn::task<> {
        co_await rn::sleep(std::chrono::microseconds(n % 5000));
        ++woken;
      };
      for (int i = 0; i < 10'000; ++i) (void)g.go(child, i);
      co_return;
    };
    co_await rn::with_errgroup(body);
    EXPECT_EQ(woken, 10'000);
    EXPECT_TRUE(rt.core().timers.empty());
  };
  rt.run(app);
}

// GEN-11
TEST(time_point, sums_and_conversions_saturate) {
  using rn::detail::end_of_time;
  using rn::detail::saturating_add;
  using rn::detail::to_ns;
  EXPECT_EQ(saturating_add(end_of_time, 1), end_of_time);
  EXPECT_EQ(saturating_add(5, end_of_time), end_of_time);
  EXPECT_EQ(saturating_add(-end_of_time, -5), -end_of_time);
  EXPECT_EQ(saturating_add(3, -5), -2);
  EXPECT_EQ(to_ns(std::chrono::hours::max()), end_of_time);
  EXPECT_EQ(to_ns(std::chrono::hours::min()), -end_of_time);
  EXPECT_EQ(to_ns(std::chrono::nanoseconds::max()), end_of_time);
  EXPECT_EQ(to_ns(std::chrono::duration<double>(std::numeric_limits<double>::quiet_NaN())), end_of_time);
  EXPECT_EQ(to_ns(std::chrono::duration<double, std::nano>(0.25)), 1);  // rounded up: never early
  EXPECT_EQ(to_ns(std::chrono::duration<double, std::nano>(-0.25)), 0);
  EXPECT_EQ(to_ns(3ms), 3'000'000);
}

}  // namespace
