// SPDX-License-Identifier: BSL-1.0
// A biased lock lets one in at a time, also where a processor loses its thread half way in and the bias to another.
#include <runnel/config.hpp>
#include <runnel/detail/park_lock.hpp>

#include "support/stress.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif

namespace {

using runnel::detail::bias_owner;
using runnel::detail::park_lock;
using stress::dice;

class park_lock_stress : public stress::stress_test {};

// Onto one core, so that they are interrupted by each other and nowhere else.
void pin_to_first_core([[maybe_unused]] std::thread& t) {
#if defined(__linux__)
  cpu_set_t all, first;
  CPU_ZERO(&first);
  if (sched_getaffinity(0, sizeof all, &all) != 0) return;
  for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&first) == 0; ++i)
    if (CPU_ISSET(i, &all)) CPU_SET(i, &first);
  pthread_setaffinity_np(t.native_handle(), sizeof first, &first);
#endif
}

// Both enter so often in a row that the lock is biased to them. One stays inside for a while, now and then; the other
// looks whether it is there, and does little else: on one core it is mostly interrupted on its way in; on two it comes in
// as the bias is taken away.
void meet_at_a_lock(dice d, bool on_one_core, bool forgets) {
  park_lock lock;
  std::atomic<bool> stays{false}, over{false};
  std::atomic<long> met{0};
  std::thread passing([&] {
    bias_owner me;
    while (!over)
      for (int n = 1000; n > 0; --n) {
        bool biased = lock.lock(&me);
        if (stays.load(std::memory_order_relaxed)) met.fetch_add(1, std::memory_order_relaxed);
        lock.unlock(biased);
        if (forgets) lock.forget_bias(&me);
      }
  });
  std::thread staying([&] {
    bias_owner me;
    while (!over) {
      for (int n = 100; n > 0; --n) lock.unlock(lock.lock(&me));
      bool biased = lock.lock(&me);
      stays.store(true, std::memory_order_relaxed);
      for (unsigned pauses = d.below(500); pauses > 0; --pauses) runnel::cpu_pause();
      stays.store(false, std::memory_order_relaxed);
      lock.unlock(biased);
    }
  });
  if (on_one_core) {
    pin_to_first_core(passing);
    pin_to_first_core(staying);
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(30));  // sleeps: they interrupt each other as time goes by
  over = true;
  passing.join();
  staying.join();
  EXPECT_EQ(met, 0);
}

TEST_F(park_lock_stress, one_at_a_time_is_inside) {
  run_rounds([](unsigned, dice d) { meet_at_a_lock(d, d.one_in(2), false); });
}

// Between the look whether the bias is its own, and giving it up, it may become the other one's.
TEST_F(park_lock_stress, who_forgets_its_bias_takes_nobody_elses) {
  run_rounds([](unsigned, dice d) { meet_at_a_lock(d, d.one_in(2), true); });
}

// Store, then load, on both sides: who enters stores its slot and looks at the bias again, who revokes stores that and
// looks at the slots. A lock is revoked often only while it is new.
TEST_F(park_lock_stress, a_bias_is_not_taken_away_from_who_is_on_its_way_in) {
  run_rounds([](unsigned, dice d) {
    constexpr int meetings = 300;
    std::vector<park_lock> locks(meetings);
    std::atomic<int> entered{-1}, taken{-1}, inside{0};
    std::atomic<long> met{0};
    auto pass = [&](park_lock& lock, const bias_owner& me) {
      bool biased = lock.lock(&me);
      if (inside.fetch_add(1, std::memory_order_relaxed) != 0) met.fetch_add(1, std::memory_order_relaxed);
      inside.fetch_sub(1, std::memory_order_relaxed);
      lock.unlock(biased);
    };
    std::thread owner([&] {
      bias_owner me;
      for (int i = 0; i < meetings; ++i) {
        for (int n = 100; n > 0; --n) pass(locks[i], me);
        entered = i;
        for (int n = 0; taken != i; ++n) {
          pass(locks[i], me);
          if (n > 10'000) std::this_thread::yield();  // the other one is not running
        }
      }
    });
    bias_owner other;
    for (int i = 0; i < meetings; ++i) {
      for (int n = 0; entered != i; ++n)
        if (n > 10'000) std::this_thread::yield();
      for (unsigned pauses = d.below(8); pauses > 0; --pauses) runnel::cpu_pause();
      pass(locks[i], other);
      taken = i;
    }
    owner.join();
    EXPECT_EQ(met, 0);
  });
}

}  // namespace
