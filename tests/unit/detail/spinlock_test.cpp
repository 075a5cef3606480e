// SPDX-License-Identifier: BSL-1.0
#include <runnel/detail/spinlock.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace {

using runnel::detail::spinlock;

static_assert(std::is_trivially_destructible_v<spinlock>);
constinit spinlock static_lock;

TEST(spinlock, is_held_by_one_at_a_time) {
  static_lock.lock();
  EXPECT_FALSE(static_lock.try_lock());
  static_lock.unlock();
  EXPECT_TRUE(static_lock.try_lock());
  EXPECT_FALSE(static_lock.try_lock());
  static_lock.unlock();
}

TEST(spinlock, guards_plain_memory) {
  constexpr int threads = 4, rounds = 100'000;
  spinlock lock;
  long plain[2] = {0, 0};
  std::atomic<int> ready{0};
  std::vector<std::thread> workers;
  for (int t = 0; t < threads; ++t) {
    workers.emplace_back([&, t] {
      ready.fetch_add(1);
      while (ready.load() < threads) std::this_thread::yield();
      for (int i = 0; i < rounds; ++i) {
        if (t % 2 == 0) {
          lock.lock();
        } else {
          while (!lock.try_lock()) continue;
        }
        ++plain[0];
        ++plain[1];
        lock.unlock();
      }
    });
  }
  for (auto& worker : workers) worker.join();
  EXPECT_EQ(plain[0], threads * rounds);
  EXPECT_EQ(plain[1], threads * rounds);
}

TEST(spinlock, somebody_who_waits_gets_in_when_the_holder_leaves) {
  spinlock lock;
  std::atomic<bool> waits{false};
  bool left = false;
  lock.lock();
  std::thread waiter([&] {
    waits.store(true);
    std::lock_guard hold(lock);
    EXPECT_TRUE(left);
  });
  while (!waits.load()) std::this_thread::yield();
  for (int i = 0; i < 1000; ++i) std::this_thread::yield();  // lets it reach the slow path; right either way
  left = true;
  lock.unlock();
  waiter.join();
}

}  // namespace
