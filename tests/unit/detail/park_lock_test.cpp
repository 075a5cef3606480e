// SPDX-License-Identifier: BSL-1.0
// To whom a lock is biased, and when.
#include <runnel/detail/asymmetric_fence.hpp>
#include <runnel/detail/park_lock.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace {

using runnel::detail::bias_owner;
using runnel::detail::bias_place;
using runnel::detail::park_lock;

bool is_biased_to(park_lock& lock, const bias_owner& processor) {
  bool biased = lock.enter_biased(&processor);
  if (biased) lock.leave_biased();
  return biased;
}
// How many entries it takes until the lock is biased; 0 if it is never.
int entries_until_biased(park_lock& lock, const bias_owner& processor) {
  for (int n = 0; n < 10'000; ++n) {
    if (is_biased_to(lock, processor)) return n;
    lock.unlock(lock.lock(&processor));
  }
  return 0;
}

class park_lock_bias : public testing::Test {
 protected:
  void SetUp() override {
    if (!runnel::detail::asymmetric_fences) GTEST_SKIP() << "no lock is biased where membarrier is not to be had";
  }
  park_lock lock;
  bias_owner one, other;
};

TEST_F(park_lock_bias, a_lock_that_one_processor_uses_becomes_biased_to_it) {
  EXPECT_FALSE(is_biased_to(lock, one));
  EXPECT_GT(entries_until_biased(lock, one), 10);
  EXPECT_FALSE(is_biased_to(lock, other));
}

TEST_F(park_lock_bias, a_bias_that_was_revoked_takes_longer_to_come_back) {
  int at_first = entries_until_biased(lock, one);
  lock.unlock(lock.lock(&other));
  EXPECT_FALSE(is_biased_to(lock, one));
  EXPECT_GT(entries_until_biased(lock, one), at_first);
}

TEST_F(park_lock_bias, a_bias_that_was_forgotten_is_back_at_once) {
  entries_until_biased(lock, one);
  lock.forget_bias(&one);
  EXPECT_FALSE(is_biased_to(lock, one));
  EXPECT_EQ(entries_until_biased(lock, one), 1);
}

TEST_F(park_lock_bias, whoever_comes_after_a_forgotten_bias_revokes_nothing) {
  int at_first = entries_until_biased(lock, one);
  lock.forget_bias(&one);
  EXPECT_EQ(entries_until_biased(lock, other), at_first);
}

// A canceller looks for whoever is inside; another lock must not hide it.
TEST_F(park_lock_bias, who_is_inside_of_two_locks_is_seen_in_both) {
  park_lock second;
  entries_until_biased(lock, one);
  entries_until_biased(second, one);
  ASSERT_TRUE(lock.lock(&one));
  EXPECT_FALSE(second.lock(&one)) << "the place is taken: by the spin part";
  second.unlock(false);
  std::atomic<bool> is_in{false};
  std::thread foreigner([&] {
    lock.unlock(lock.lock(nullptr));
    is_in = true;
  });
  for (int i = 0; i < 1000; ++i) std::this_thread::yield();
  EXPECT_FALSE(is_in);
  lock.unlock(true);
  foreigner.join();
  EXPECT_FALSE(is_biased_to(lock, one));
}

TEST_F(park_lock_bias, is_entered_twice_at_once_by_two_slots) {
  park_lock second;
  entries_until_biased(lock, one);
  entries_until_biased(second, one);
  EXPECT_TRUE(lock.lock(&one, 1));
  EXPECT_TRUE(second.lock(&one, 2));
  second.unlock(true, 2);
  lock.unlock(true, 1);
  EXPECT_FALSE(lock.lock(&one, bias_place::at_once)) << "there are no more slots";
  lock.unlock(false, bias_place::at_once);
}

TEST_F(park_lock_bias, only_the_processor_that_has_the_bias_forgets_it) {
  entries_until_biased(lock, one);
  lock.forget_bias(&other);
  lock.forget_bias(nullptr);
  EXPECT_TRUE(is_biased_to(lock, one));
}

}  // namespace
