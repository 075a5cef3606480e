// SPDX-License-Identifier: BSL-1.0
#include <runnel/detail/idle_set.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

namespace {

using runnel::detail::idle_set;
constexpr auto order = std::memory_order_seq_cst;

// Around the ends of its words.
TEST(idle_set, has_all_of_its_numbers_at_first_and_gives_the_lowest) {
  for (std::size_t n : {1u, 2u, 63u, 64u, 65u, 127u, 128u, 129u, 1000u}) {
    idle_set set(n);
    EXPECT_TRUE(set.all(order)) << n;
    EXPECT_EQ(set.count(order), n);
    for (std::size_t i = 0; i < n; ++i) {
      EXPECT_TRUE(set.any(order));
      EXPECT_TRUE(set.contains(i));
      ASSERT_EQ(set.take(), i) << n;
      EXPECT_FALSE(set.contains(i));
      EXPECT_FALSE(set.all(order));
    }
    EXPECT_FALSE(set.any(order));
    EXPECT_EQ(set.take(), std::nullopt);
    set.put(n - 1);
    EXPECT_TRUE(set.contains(n - 1));
    EXPECT_EQ(set.count(order), 1u);
    EXPECT_EQ(set.all(order), n == 1);
    EXPECT_EQ(set.take(), n - 1);
  }
}

TEST(idle_set, gives_each_number_to_one_at_a_time_with_what_was_done_before) {
  constexpr std::size_t numbers = 67;
  constexpr int threads = 4, rounds = 5'000;
  idle_set set(numbers);
  std::vector<long> plain(numbers, 0);  // of who has the number
  std::atomic<long> taken{0};
  std::vector<std::thread> workers;
  for (int t = 0; t < threads; ++t)
    workers.emplace_back([&] {
      for (int i = 0; i < rounds; ++i) {
        std::size_t mine[3];
        std::size_t n = 0;
        while (n < 3)
          if (auto got = set.take()) mine[n++] = *got;
        taken.fetch_add(3, std::memory_order_relaxed);
        for (std::size_t m : mine) ++plain[m];
        for (std::size_t m : mine) set.put(m);
      }
    });
  for (auto& w : workers) w.join();
  long sum = 0;
  for (long each : plain) sum += each;
  EXPECT_EQ(sum, taken.load());
  EXPECT_TRUE(set.all(order));
}

// Two threads each take one out, put it back, and look at what the other has said meanwhile: one of them sees it, as
// who injects a goroutine and who becomes idle must.
TEST(idle_set, puts_back_before_its_caller_looks_at_what_comes_next) {
  constexpr int rounds = 5'000;
  idle_set set(1);
  std::atomic<int> said{0}, turn{0}, missed{0};
  std::atomic<bool> seen{false};
  std::thread pump([&] {
    for (int i = 1; i <= rounds; ++i) {
      while (turn.load() != i) std::this_thread::yield();
      set.put(0);
      seen.store(said.load() == i);
      turn.store(-i);
    }
  });
  for (int i = 1; i <= rounds; ++i) {
    ASSERT_TRUE(set.take());
    turn.store(i);
    said.store(i);
    const bool idle = set.any(order);
    while (turn.load() != -i) std::this_thread::yield();
    if (!idle && !seen.load()) missed.fetch_add(1);
  }
  pump.join();
  EXPECT_EQ(missed.load(), 0);
}

}  // namespace
