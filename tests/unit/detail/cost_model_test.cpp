// SPDX-License-Identifier: BSL-1.0
// What is worth sharing: what takes long, without what was lost by sharing; and more, where processors fight.
#include <runnel/detail/cost_model.hpp>

#include <gtest/gtest.h>

#include <cstdint>

namespace {

using runnel::detail::cost_model;

constexpr std::int64_t us = 1'000;  // ns

class cost_model_hints : public testing::Test {
 protected:
  // A processor makes 64 resumes of `mean` each, and loses so much besides.
  void work(std::int64_t mean, std::int64_t lost = 0) {
    std::int64_t elapsed = 64 * mean + lost;
    at += elapsed;
    model.sample({.until = at, .elapsed = elapsed, .lost = lost, .resumes = 64}, debt);
  }
  void work_long(std::int64_t mean) {
    for (int i = 0; i < 100; ++i) work(mean);
  }
  // Loses nine tenths of its time, until that is a fight. False if it never is.
  bool fight() {
    const std::uint32_t before = smallest_backlog_worth_waking();
    for (int i = 0; i < 100; ++i) {
      work(2 * us, 9 * 64 * 2 * us);
      if (smallest_backlog_worth_waking() > before) return true;
    }
    return false;
  }
  std::uint32_t smallest_backlog_worth_waking() const {
    for (std::uint32_t n = 1; n < 100'000; ++n)
      if (model.worth_waking(n)) return n;
    return 0;
  }

  cost_model model;
  std::int64_t at = 1'000'000 * us;
  std::int64_t debt = 0;
};

TEST_F(cost_model_hints, at_first_everything_is_shared) {
  EXPECT_TRUE(model.coarse());
  EXPECT_TRUE(model.worth_waking(1));
  EXPECT_TRUE(model.worth_stealing(1));
}

TEST_F(cost_model_hints, small_items_are_shared_where_there_are_many) {
  work_long(2 * us);
  EXPECT_FALSE(model.coarse());
  EXPECT_FALSE(model.worth_waking(5));
  EXPECT_FALSE(model.worth_stealing(5));
  EXPECT_TRUE(model.worth_waking(50));
  EXPECT_TRUE(model.worth_stealing(50));
}

TEST_F(cost_model_hints, the_smallest_items_are_never_stolen) {
  work_long(20);
  EXPECT_FALSE(model.worth_stealing(100'000));
}

TEST_F(cost_model_hints, what_was_lost_by_sharing_does_not_make_an_item_look_long) {
  work_long(2 * us);
  const std::uint32_t before = smallest_backlog_worth_waking();
  for (int i = 0; i < 100; ++i) work(2 * us, 64 * us);  // a third: no fight
  EXPECT_FALSE(model.coarse());
  EXPECT_EQ(smallest_backlog_worth_waking(), before);
}

TEST_F(cost_model_hints, more_lost_than_there_was_is_no_negative_mean) {
  model.sample({.until = at, .elapsed = 10, .lost = 20, .resumes = 1}, debt);
  work_long(2 * us);
  EXPECT_FALSE(model.coarse());
}

TEST_F(cost_model_hints, a_fight_doubles_what_has_to_be_worth_sharing) {
  work_long(2 * us);
  const std::uint32_t before = smallest_backlog_worth_waking();
  ASSERT_FALSE(model.is_coarse(10 * us));
  ASSERT_TRUE(model.is_coarse(11 * us));
  ASSERT_TRUE(fight());
  EXPECT_GE(smallest_backlog_worth_waking(), 2 * before - 1);
  EXPECT_FALSE(model.is_coarse(20 * us));
  EXPECT_TRUE(model.is_coarse(21 * us));
}

TEST_F(cost_model_hints, however_long_it_fights_a_millisecond_of_work_is_shared) {
  work_long(2 * us);
  for (int i = 0; i < 10'000; ++i) work(2 * us, 9 * 64 * 2 * us);
  EXPECT_TRUE(model.worth_waking(1'000));
  EXPECT_TRUE(model.is_coarse(321 * us));
}

TEST_F(cost_model_hints, after_a_while_of_peace_it_is_as_it_was_before) {
  work_long(2 * us);
  const std::uint32_t before = smallest_backlog_worth_waking();
  ASSERT_TRUE(fight());
  ASSERT_TRUE(fight());
  const std::int64_t end = at + 150'000 * us;
  while (at < end) work(2 * us);
  EXPECT_GT(smallest_backlog_worth_waking(), before);
  while (at < end + 150'000 * us) work(2 * us);
  EXPECT_EQ(smallest_backlog_worth_waking(), before);
}

TEST_F(cost_model_hints, less_than_half_of_the_time_lost_is_never_a_fight) {
  work_long(2 * us);
  for (int i = 0; i < 10'000; ++i) work(2 * us, 64 * 2 * us * 9 / 10);
  EXPECT_EQ(debt, 0);
  EXPECT_FALSE(model.is_coarse(10 * us));
  EXPECT_TRUE(model.is_coarse(11 * us));
}

TEST_F(cost_model_hints, one_loss_is_paid_off_by_work) {
  work_long(2 * us);
  for (int i = 0; i < 1'000; ++i) {
    work(2 * us, 2 * 64 * 2 * us);
    for (int k = 0; k < 3; ++k) work(2 * us);
  }
  EXPECT_TRUE(model.is_coarse(11 * us));
}

TEST_F(cost_model_hints, two_processors_in_the_same_fight_count_as_one) {
  work_long(2 * us);
  std::int64_t others_debt = 0;
  model.sample({.until = at, .elapsed = 600 * us, .lost = 590 * us, .resumes = 64}, debt);
  model.sample({.until = at + us, .elapsed = 600 * us, .lost = 590 * us, .resumes = 64}, others_debt);
  EXPECT_FALSE(model.is_coarse(20 * us));
  EXPECT_TRUE(model.is_coarse(21 * us));
}

}  // namespace
