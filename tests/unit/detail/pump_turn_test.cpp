// SPDX-License-Identifier: BSL-1.0
// A pump looks around at the end of each streak and sample, and ends after many resumes and some time.
#include <runnel/detail/pump_turn.hpp>

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

namespace {

using runnel::detail::processor;
using runnel::detail::pump_turn;

constexpr std::int64_t us = 1'000;  // ns

struct sampled_processor : processor {
  sampled_processor(std::uint32_t at_progress, std::uint32_t interval) {
    sampled_progress = at_progress;
    sample_interval = interval;
  }
};

TEST(pump_turn, looks_around_at_first) {
  sampled_processor p(1000, 64);
  EXPECT_TRUE(pump_turn(p).must_attend(1000));
}

// The count may go round in any of them.
TEST(pump_turn, looks_around_where_a_streak_or_a_sample_ends) {
  for (std::uint32_t began : {0u, 5u, 16u, 0u - 10, 0u - 40}) {
    for (std::uint32_t interval : {1u, 7u, 16u, 30u, 100u, 256u}) {
      sampled_processor p(began, interval);
      pump_turn turn(p);
      const std::uint32_t streak = pump_turn::streak_of(p);
      std::vector<std::uint32_t> looked, expected;
      for (std::uint32_t i = 0; i < 600; ++i) {
        const std::uint32_t progress = began + i;
        if (i == 0 || progress % streak == 0 || i % interval == 0) expected.push_back(i);
        if (!turn.must_attend(progress)) continue;
        looked.push_back(i);
        EXPECT_EQ(pump_turn::ends_sample(p, progress), i != 0 && i % interval == 0);
        EXPECT_EQ(pump_turn::ends_streak(p, progress), progress % streak == 0);
        if (pump_turn::ends_sample(p, progress)) p.sampled_progress = progress;
        turn.go_on(p, progress);
      }
      EXPECT_EQ(looked, expected) << began << ' ' << interval;
    }
  }
}

TEST(pump_turn, has_longer_streaks_where_samples_are_rare) {
  EXPECT_EQ(pump_turn::streak_of(sampled_processor(0, 1)), 16u);
  EXPECT_EQ(pump_turn::streak_of(sampled_processor(0, processor::frequent_samples)), 16u);
  EXPECT_EQ(pump_turn::streak_of(sampled_processor(0, processor::rare_samples)), 16u);
  EXPECT_EQ(pump_turn::streak_of(sampled_processor(0, processor::rarest_samples)), 64u);
}

// Unwinding takes many at once.
TEST(pump_turn, looks_around_where_the_end_was_passed) {
  sampled_processor p(0, 64);
  pump_turn turn(p);
  turn.go_on(p, 0);
  EXPECT_FALSE(turn.must_attend(15));
  EXPECT_TRUE(turn.must_attend(40));
  EXPECT_FALSE(pump_turn::ends_streak(p, 40));
  EXPECT_FALSE(pump_turn::ends_sample(p, 40));
  EXPECT_TRUE(pump_turn::ends_sample(p, 100));
}

TEST(pump_turn, looks_around_after_one_where_asked_to) {
  sampled_processor p(0, 64);
  pump_turn turn(p);
  turn.go_on_for_one(3);
  EXPECT_FALSE(turn.must_attend(3));
  EXPECT_TRUE(turn.must_attend(4));
}

TEST(pump_turn, ends_after_a_sample_that_took_long) {
  sampled_processor p(0, 64);
  pump_turn turn(p);
  p.sampled_progress = 1;
  EXPECT_FALSE(turn.ends(p, 500 * us));
  EXPECT_TRUE(turn.ends(p, 501 * us));
}

TEST(pump_turn, ends_after_many_resumes_that_took_some_time) {
  const std::uint32_t began = 0u - 100;
  sampled_processor p(began, 64);
  p.sampled_at = 1000 * us;
  pump_turn turn(p);

  p.sampled_progress = began + 255, p.sampled_at = 1100 * us;
  EXPECT_FALSE(turn.ends(p, 25 * us)) << "not many";
  p.sampled_progress = began + 256;
  EXPECT_TRUE(turn.ends(p, 25 * us));
  p.sampled_at = 1019 * us;
  EXPECT_FALSE(turn.ends(p, 5 * us)) << "not long";
  p.sampled_at = 1020 * us;
  EXPECT_TRUE(turn.ends(p, 5 * us));
}

}  // namespace
