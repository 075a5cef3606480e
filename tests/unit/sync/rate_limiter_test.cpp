// SPDX-License-Identifier: BSL-1.0
// tests/unit/detail/token_bucket_test.cpp has the arithmetic.
#include <runnel/as_result.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/sync/rate_limiter.hpp>
#include <runnel/with_context.hpp>
#include <support/checked_runtime.hpp>
#include <support/done_context.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <limits>
#include <type_traits>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using test::checked_runtime;
using test::error_of_awaiting;
using test::on_1_2_and_4_threads;
using test::until;

static_assert(!std::is_copy_constructible_v<rn::rate_limiter> && !std::is_move_constructible_v<rn::rate_limiter>);

TEST(rate_limiter, waiting_keeps_to_the_rate) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::rate_limiter limiter(1000, 2);
    auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < 12; ++i) co_await limiter.wait();
    EXPECT_GE(std::chrono::steady_clock::now() - start, 10ms);
  });
}

TEST(rate_limiter, many_that_wait_share_one_rate) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::rate_limiter limiter(1000, 1);
    auto start = std::chrono::steady_clock::now();
    auto work = [](rn::rate_limiter& by) -> rn::task<> {
      for (int i = 0; i < 3; ++i) co_await by.wait();
    };
    rn::errgroup g;
    for (int i = 0; i < 5; ++i) co_await g.go(work, std::ref(limiter));
    co_await g.wait();
    EXPECT_GE(std::chrono::steady_clock::now() - start, 14ms);
  });
}

TEST(rate_limiter, allow_works_outside_of_a_runtime) {
  rn::rate_limiter limiter(0.001, 3);
  EXPECT_TRUE(limiter.allow());
  EXPECT_TRUE(limiter.allow(2));
  EXPECT_FALSE(limiter.allow());
  EXPECT_TRUE(limiter.allow(0));
  EXPECT_FALSE(limiter.allow(4)) << "more than the burst";
  EXPECT_LT(limiter.tokens(), 1);
}

TEST(rate_limiter, a_reservation_says_how_long_to_wait_and_can_be_cancelled) {
  rn::rate_limiter limiter(0.001, 1);
  auto first = limiter.reserve();
  EXPECT_TRUE(first);
  EXPECT_EQ(first.delay(), 0ns);
  auto second = limiter.reserve();
  EXPECT_GT(second.delay(), 900s);
  EXPECT_LE(second.delay(), 1000s);
  second.cancel();
  second.cancel();
  EXPECT_LE(limiter.reserve().delay(), 1000s) << "it is next now";
  auto never = limiter.reserve(2);
  EXPECT_FALSE(never);
  EXPECT_EQ(never.delay(), std::chrono::nanoseconds::max());
  never.cancel();
}

TEST(rate_limiter, a_cancelled_wait_gives_its_tokens_back) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::rate_limiter limiter(0.01, 1);
    EXPECT_TRUE(limiter.allow());
    rn::errgroup g;
    auto wait = [](rn::rate_limiter& by) -> rn::task<> { co_await by.wait(); };
    co_await g.go(wait, std::ref(limiter));
    co_await until([&] { return limiter.tokens() < -0.5; });
    g.cancel();
    co_await g.wait();
    EXPECT_GT(limiter.tokens(), -0.5);
  });
}

TEST(rate_limiter, a_deadline_that_comes_first_is_exceeded_at_once_and_takes_nothing) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::rate_limiter limiter(0.001, 1);
    EXPECT_TRUE(limiter.allow());
    auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(co_await error_of_awaiting([&] {
                return rn::with_timeout(100s, [](rn::rate_limiter& by) -> rn::task<> { co_await by.wait(); }(limiter));
              }),
              "runnel: deadline exceeded");
    EXPECT_LT(std::chrono::steady_clock::now() - start, 50s);
    EXPECT_GT(limiter.tokens(), -0.5);
    co_await rn::with_timeout(1h, rn::yield());  // one that is long enough is no obstacle
    rn::rate_limiter fast(1000, 1);
    (void)fast.allow();
    co_await rn::with_timeout(1h, fast.wait());
  });
}

TEST(rate_limiter, without_a_limit_nobody_waits) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::rate_limiter limiter(rn::rate_limiter::unlimited, 1);
    for (int i = 0; i < 1000; ++i) co_await limiter.wait(1000);
    EXPECT_TRUE(limiter.allow(5000));
    EXPECT_EQ(limiter.reserve(5).delay(), 0ns);
    EXPECT_EQ(limiter.limit(), std::numeric_limits<double>::infinity());
  });
}

TEST(rate_limiter, limit_and_burst_can_be_changed) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::rate_limiter limiter(0.001, 1);
    EXPECT_TRUE(limiter.allow());
    limiter.set_limit(1'000'000);
    co_await limiter.wait();
    EXPECT_THROW((void)limiter.wait(2), rn::misuse_error);
    limiter.set_burst(5);
    co_await limiter.wait(5);
    EXPECT_EQ(limiter.burst(), 5);
    EXPECT_EQ(limiter.limit(), 1'000'000);
  });
}

TEST(rate_limiter, a_done_context_wins) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::rate_limiter limiter(1, 1);
    EXPECT_FALSE(co_await test::completes_in_a_done_context([&] { return limiter.wait(); }));
    EXPECT_TRUE(limiter.allow());
  });
}

TEST(rate_limiter, one_that_never_waits_lets_others_run) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::rate_limiter limiter(rn::rate_limiter::unlimited, 1);
    bool other_ran = false;
    rn::go([&other_ran] { other_ran = true; });
    for (int i = 0; !other_ran && i < 100'000; ++i) co_await limiter.wait();
    EXPECT_TRUE(other_ran);
  });
}

TEST(rate_limiter, bad_numbers_are_misuse_without_effect) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (double bad : {0.0, -1.0, nan, -std::numeric_limits<double>::infinity()}) {
    EXPECT_THROW(rn::rate_limiter(bad, 1), rn::misuse_error) << bad;
    rn::rate_limiter limiter(5, 1);
    EXPECT_THROW(limiter.set_limit(bad), rn::misuse_error) << bad;
    EXPECT_EQ(limiter.limit(), 5);
  }
  EXPECT_THROW(rn::rate_limiter(1, 0), rn::misuse_error);
  EXPECT_THROW(rn::rate_limiter(1, -1), rn::misuse_error);
  rn::rate_limiter limiter(1, 2);
  EXPECT_THROW(limiter.set_burst(0), rn::misuse_error);
  EXPECT_THROW((void)limiter.allow(-1), rn::misuse_error);
  EXPECT_THROW((void)limiter.reserve(-1), rn::misuse_error);
  EXPECT_THROW((void)limiter.wait(-1), rn::misuse_error);
  EXPECT_THROW((void)limiter.wait(3), rn::misuse_error);
  EXPECT_TRUE(limiter.allow(2));
}

TEST(rate_limiter, every_is_a_rate_by_its_interval) {
  EXPECT_DOUBLE_EQ(rn::every(10ms), 100);
  EXPECT_DOUBLE_EQ(rn::every(2s), 0.5);
  EXPECT_THROW((void)rn::every(0s), rn::misuse_error);
  EXPECT_THROW((void)rn::every(-1s), rn::misuse_error);
}

}  // namespace
