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
// looks whether it is there, and does little else, so that it is mostly interrupted while it enters.
TEST_F(park_lock_stress, one_at_a_time_is_inside) {
  run_rounds([](unsigned, dice d) {
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
    pin_to_first_core(passing);
    pin_to_first_core(staying);
    std::this_thread::sleep_for(std::chrono::milliseconds(30));  // sleeps: they interrupt each other as time goes by
    over = true;
    passing.join();
    staying.join();
    EXPECT_EQ(met, 0);
  });
}

// A bias that its processor gives up while another takes it away.
TEST_F(park_lock_stress, a_bias_is_forgotten_while_it_is_taken_away) {
  run_rounds([](unsigned, dice d) {
    park_lock lock;
    std::atomic<int> inside{0}, met{0};
    std::atomic<bool> over{false};
    auto use = [&](dice mine, bool forgets) {
      bias_owner me;
      while (!over) {
        for (unsigned n = mine.between(100, 1000); n > 0; --n) {
          bool biased = lock.lock(&me);
          if (inside.exchange(1, std::memory_order_relaxed) != 0) ++met;
          inside.store(0, std::memory_order_relaxed);
          lock.unlock(biased);
        }
        if (forgets) lock.forget_bias(&me);
      }
    };
    std::vector<std::thread> users;
    for (int i = 0; i < 2; ++i) {
      users.emplace_back(use, d.split(), i == 0);
      if (d.one_in(2)) pin_to_first_core(users.back());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(30));  // sleeps: they interrupt each other as time goes by
    over = true;
    for (auto& t : users) t.join();
    EXPECT_EQ(met, 0);
  });
}

}  // namespace
