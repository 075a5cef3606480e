// SPDX-License-Identifier: BSL-1.0
// What counts as lost by sharing, and what does not.
#include <runnel/detail/asymmetric_fence.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/processor.hpp>
#include <runnel/detail/sharing_loss.hpp>
#include <runnel/detail/steal.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>

namespace {

using namespace runnel::detail;

class a_sharing_loss : public testing::Test {
 protected:
  a_sharing_loss() { take_sharing_loss(); }
  int one = 0, other = 0;  // two processors, for a lock
};

TEST_F(a_sharing_loss, is_taken_once) {
  add_sharing_loss(3);
  add_sharing_loss(4);
  EXPECT_TRUE(any_sharing_loss());
  EXPECT_EQ(take_sharing_loss(), 7);
  EXPECT_FALSE(any_sharing_loss());
  EXPECT_EQ(take_sharing_loss(), 0);
}

TEST_F(a_sharing_loss, is_the_threads_own) {
  std::thread([] { add_sharing_loss(3); }).join();
  EXPECT_FALSE(any_sharing_loss());
}

TEST_F(a_sharing_loss, of_one_scope_has_a_limit) {
  {
    sharing_loss scope;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));  // sleeps: as if the thread had lost its core
  }
  EXPECT_EQ(take_sharing_loss(), longest_sharing_loss);
}

TEST_F(a_sharing_loss, is_not_what_one_processor_does_alone) {
  park_lock lock;
  for (int i = 0; i < 1'000; ++i) lock.unlock(lock.lock(&one));
  EXPECT_EQ(take_sharing_loss(), 0);
}

TEST_F(a_sharing_loss, comes_with_each_change_of_hands) {
  park_lock lock;
  lock.unlock(lock.lock(&one));
  for (int i = 0; i < 5; ++i) {
    lock.unlock(lock.lock(&other));
    lock.unlock(lock.lock(&one));
  }
  EXPECT_EQ(take_sharing_loss(), 10 * loss_by_handoff);
}

TEST_F(a_sharing_loss, is_no_processors_where_a_thread_outside_has_the_lock) {
  park_lock lock;
  lock.unlock(lock.lock(&one));
  lock.unlock(lock.lock(nullptr));
  EXPECT_EQ(take_sharing_loss(), 0);
}

TEST_F(a_sharing_loss, comes_with_waiting_for_a_lock) {
  park_lock lock;
  std::atomic<bool> waits{false};
  bool biased = lock.lock(nullptr);
  std::int64_t lost = 0;
  std::thread waiter([&] {
    waits = true;
    lock.unlock(lock.lock(&one));
    lost = take_sharing_loss();
  });
  while (!waits) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // sleeps: for the waiter to find the lock held
  lock.unlock(biased);
  waiter.join();
  EXPECT_GT(lost, 0);
}

struct link : fifo_link {};

TEST_F(a_sharing_loss, comes_with_a_theft_and_with_the_wake_up_for_it) {
  processor victim, thief;
  link work[4];
  victim.gate.enter();
  for (link& each : work) victim.push_goroutine(&each);
  victim.gate.leave();
  thief.woken_at = 1'000'000;
  thief.sampled_at = thief.woken_at + 30'000;
  EXPECT_TRUE(steal_from(victim, thief, false));
  EXPECT_GE(take_sharing_loss(), 30'000);
  EXPECT_EQ(thief.sampled_at, 1'000'000);
  EXPECT_EQ(thief.woken_at, 0);

  thief.sampled_at = 2'000'000;  // it goes on, and steals again
  EXPECT_TRUE(steal_from(victim, thief, false));
  EXPECT_GT(take_sharing_loss(), 0);
  EXPECT_EQ(thief.sampled_at, 2'000'000);
}

}  // namespace
