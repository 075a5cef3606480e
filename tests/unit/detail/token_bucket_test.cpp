// SPDX-License-Identifier: BSL-1.0
// The arithmetic of a rate limiter, at times that the test makes up.
#include <runnel/detail/token_bucket.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <limits>

namespace {

using runnel::detail::end_of_time;
using runnel::detail::token_bucket;

constexpr std::int64_t ms = 1'000'000, s = 1'000 * ms;
constexpr double unlimited = std::numeric_limits<double>::infinity();

bool allow(token_bucket& b, std::ptrdiff_t n, std::int64_t now) { return b.take(n, now, 0).has_value(); }

TEST(token_bucket, it_is_full_at_first_and_holds_no_more_than_the_burst) {
  token_bucket b(10, 3, 0);
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(allow(b, 1, round * 100 * s)) << i;
    EXPECT_FALSE(allow(b, 1, round * 100 * s));
  }
}

TEST(token_bucket, tokens_come_at_the_rate) {
  token_bucket b(10, 1, 0);
  EXPECT_TRUE(allow(b, 1, 0));
  EXPECT_FALSE(allow(b, 1, 99 * ms));
  EXPECT_TRUE(allow(b, 1, 100 * ms));
  EXPECT_FALSE(allow(b, 1, 199 * ms));
  EXPECT_TRUE(allow(b, 1, 200 * ms));
  EXPECT_NEAR(b.tokens(250 * ms), 0.5, 1e-9);
}

TEST(token_bucket, a_refusal_takes_nothing) {
  token_bucket b(10, 5, 0);
  EXPECT_TRUE(allow(b, 4, 0));
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(allow(b, 2, 0));
  EXPECT_TRUE(allow(b, 1, 0));
}

TEST(token_bucket, more_than_the_burst_is_never_there) {
  token_bucket b(10, 5, 0);
  EXPECT_FALSE(b.can_ever(6));
  EXPECT_FALSE(b.take(6, 0, end_of_time));
  EXPECT_TRUE(b.can_ever(5));
  EXPECT_TRUE(allow(b, 0, 0));
}

TEST(token_bucket, credit_is_first_come_first_served) {
  token_bucket b(10, 2, 0);
  EXPECT_EQ(b.take(2, 0, end_of_time)->at, 0);
  EXPECT_EQ(b.take(1, 0, end_of_time)->at, 100 * ms);
  EXPECT_EQ(b.take(2, 0, end_of_time)->at, 300 * ms);
  EXPECT_EQ(b.take(1, 50 * ms, end_of_time)->at, 400 * ms);
  EXPECT_FALSE(b.take(1, 50 * ms, 449 * ms)) << "too impatient";
  EXPECT_EQ(b.take(1, 50 * ms, 450 * ms)->at, 500 * ms);
}

TEST(token_bucket, what_is_given_back_is_there_for_the_next) {
  token_bucket b(10, 2, 0);
  EXPECT_TRUE(b.take(2, 0, end_of_time));
  auto taken = *b.take(2, 0, end_of_time);
  EXPECT_EQ(taken.at, 200 * ms);
  b.give_back(taken, 0);
  EXPECT_EQ(b.take(1, 0, end_of_time)->at, 100 * ms);
}

TEST(token_bucket, what_others_wait_behind_is_not_given_back) {
  token_bucket b(10, 2, 0);
  EXPECT_TRUE(b.take(2, 0, end_of_time));
  auto first = *b.take(2, 0, end_of_time);
  EXPECT_EQ(b.take(1, 0, end_of_time)->at, 300 * ms);  // it waits as long as it was told
  b.give_back(first, 0);                               // so of two tokens one is free again
  EXPECT_EQ(b.take(1, 0, end_of_time)->at, 300 * ms);
}

TEST(token_bucket, who_was_to_act_already_gives_nothing_back) {
  token_bucket b(10, 1, 0);
  auto taken = *b.take(1, 0, end_of_time);
  b.give_back(taken, 1);
  EXPECT_FALSE(allow(b, 1, 1));
}

TEST(token_bucket, a_new_limit_holds_from_now_on) {
  token_bucket b(10, 1, 0);
  EXPECT_TRUE(allow(b, 1, 0));
  b.set_limit(1000, 50 * ms);  // half a token has come
  EXPECT_FALSE(allow(b, 1, 50 * ms + ms / 4));
  EXPECT_TRUE(allow(b, 1, 50 * ms + ms / 2));
  EXPECT_EQ(b.limit(), 1000);
}

TEST(token_bucket, a_smaller_burst_spills_what_is_above_it) {
  token_bucket b(10, 100, 0);
  b.set_burst(2, 0);
  EXPECT_EQ(b.burst(), 2);
  EXPECT_TRUE(allow(b, 2, 0));
  EXPECT_FALSE(allow(b, 1, 0));
}

TEST(token_bucket, without_a_limit_everything_is_there) {
  token_bucket b(unlimited, 1, 0);
  EXPECT_TRUE(b.can_ever(1'000'000));
  for (int i = 0; i < 100; ++i) EXPECT_EQ(b.take(1000, 5, end_of_time)->at, 5);
  auto taken = *b.take(7, 5, end_of_time);
  b.set_limit(10, 5);
  EXPECT_NEAR(b.tokens(5), 1, 1e-9) << "full";
  b.give_back(taken, 5);
  EXPECT_NEAR(b.tokens(5), 1, 1e-9);
}

TEST(token_bucket, a_clock_that_another_thread_has_read_later_does_no_harm) {
  token_bucket b(10, 1, 0);
  EXPECT_TRUE(allow(b, 1, 100 * ms));
  EXPECT_FALSE(allow(b, 1, 50 * ms));
  EXPECT_NEAR(b.tokens(50 * ms), 0, 1e-9);
  EXPECT_TRUE(allow(b, 1, 200 * ms));
}

TEST(token_bucket, the_longest_waits_saturate) {
  token_bucket b(1e-300, 1, 0);
  EXPECT_TRUE(allow(b, 1, 0));
  EXPECT_EQ(b.take(1, 0, end_of_time)->at, end_of_time);
  EXPECT_FALSE(b.take(1, 0, end_of_time - 1));
}

TEST(token_bucket, over_a_long_time_the_rate_is_kept) {
  token_bucket b(1000, 10, 0);
  long taken = 0;
  for (std::int64_t now = 0; now < 10 * s; now += 337'129) taken += allow(b, 1, now);
  EXPECT_NEAR(static_cast<double>(taken), 10'010, 2);
}

}  // namespace
