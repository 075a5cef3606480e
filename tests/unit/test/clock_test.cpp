// SPDX-License-Identifier: BSL-1.0
// The clock of a test run: where it begins, how it moves.
#include <runnel/context.hpp>
#include <runnel/sleep.hpp>
#include <runnel/test.hpp>
#include <runnel/with_context.hpp>

#include <gtest/gtest.h>

#include <chrono>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;

// SY-02
TEST(test_clock, begins_in_2000_and_moves_by_what_is_slept) {
  rn::test::run([]() -> rn::task<> {
    auto begin = rn::test::now();
    EXPECT_EQ(begin.time_since_epoch(), std::chrono::seconds(946'684'800));
    EXPECT_EQ(rn::test::elapsed(), 0s);
    for (auto d : {1ns, 999ns, 12345678ns}) {
      auto before = rn::test::now();
      co_await rn::sleep(d);
      EXPECT_EQ(rn::test::now() - before, d);
    }
    co_await rn::sleep(24h * 365 * 50);
    EXPECT_GT(rn::test::elapsed(), 24h * 365 * 50);
  });
}

TEST(test_clock, each_run_has_its_own) {
  for (int i = 0; i < 2; ++i)
    rn::test::run([]() -> rn::task<> {
      EXPECT_EQ(rn::test::elapsed(), 0s);
      co_await rn::sleep(1h);
      EXPECT_EQ(rn::test::elapsed(), 1h);
    });
}

TEST(test_clock, deadlines_are_reckoned_by_it) {
  rn::test::run([]() -> rn::task<> {
    auto [ctx, cancel] = rn::this_context().with_timeout(5s);
    EXPECT_EQ(*ctx.deadline(), rn::test::now() + 5s);
    co_await ctx.done();
    EXPECT_EQ(rn::test::elapsed(), 5s);
    EXPECT_EQ(ctx.err(), rn::context_errc::deadline_exceeded);
    try {
      co_await rn::with_deadline(rn::test::now() + 2s, rn::sleep(1h));
      ADD_FAILURE();
    } catch (const rn::deadline_exceeded&) {
    }
    EXPECT_EQ(rn::test::elapsed(), 7s);
  });
}

TEST(test_clock, is_refused_outside_of_a_test_run) {
  EXPECT_THROW((void)rn::test::now(), rn::misuse_error);
  EXPECT_THROW((void)rn::test::elapsed(), rn::misuse_error);
}

}  // namespace
