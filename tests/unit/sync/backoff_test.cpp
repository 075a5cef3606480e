// SPDX-License-Identifier: BSL-1.0
#include <runnel/sync/backoff.hpp>
#include <support/checked_runtime.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <limits>
#include <set>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;

TEST(backoff, without_jitter_it_doubles_up_to_the_most_and_stays_there) {
  rn::backoff b(100ms, 1s, 0);
  std::vector<std::chrono::nanoseconds> seen;
  for (int i = 0; i < 6; ++i) seen.push_back(b.next());
  EXPECT_EQ(seen, (std::vector<std::chrono::nanoseconds>{100ms, 200ms, 400ms, 800ms, 1s, 1s}));
  b.reset();
  EXPECT_EQ(b.next(), 100ms);
  EXPECT_EQ(b.min(), 100ms);
  EXPECT_EQ(b.max(), 1s);
}

TEST(backoff, with_jitter_each_delay_is_within_its_share) {
  test::checked_runtime rt(1);  // the generator of a processor, and the one outside
  auto look = [] {
    std::set<std::chrono::nanoseconds> different;
    for (int round = 0; round < 200; ++round) {
      rn::backoff b(1s, 4s, 0.25);
      for (auto most : {1s, 2s, 4s, 4s}) {
        auto delay = b.next();
        different.insert(delay);
        EXPECT_LE(delay, most);
        EXPECT_GE(delay, most * 3 / 4 - 1ns);
      }
    }
    EXPECT_GT(different.size(), 700u);
  };
  look();
  rt.run(look);
}

TEST(backoff, full_jitter_may_be_anything_down_to_nothing) {
  rn::backoff b(1s, 1s, 1);
  bool small = false, large = false;
  for (int i = 0; i < 1000; ++i) {
    auto delay = b.next();
    EXPECT_GE(delay, 0ns);
    EXPECT_LE(delay, 1s);
    small |= delay < 100ms;
    large |= delay > 900ms;
  }
  EXPECT_TRUE(small && large);
}

TEST(backoff, the_longest_durations_saturate) {
  rn::backoff b(std::chrono::hours(24 * 365 * 200), std::chrono::hours::max(), 0);
  for (int i = 0; i < 5; ++i) EXPECT_GT(b.next(), 0ns);
  EXPECT_EQ(b.next(), b.max());
}

TEST(backoff, bad_arguments_are_misuse) {
  EXPECT_THROW(rn::backoff(0ms, 1s), rn::misuse_error);
  EXPECT_THROW(rn::backoff(-1ms, 1s), rn::misuse_error);
  EXPECT_THROW(rn::backoff(2s, 1s), rn::misuse_error);
  EXPECT_THROW(rn::backoff(1s, 2s, -0.1), rn::misuse_error);
  EXPECT_THROW(rn::backoff(1s, 2s, 1.1), rn::misuse_error);
  EXPECT_THROW(rn::backoff(1s, 2s, std::numeric_limits<double>::quiet_NaN()), rn::misuse_error);
}

}  // namespace
