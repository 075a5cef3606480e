// SPDX-License-Identifier: BSL-1.0
// Who is woken to be next is set without the gate and taken at it, by its owner or by a foreigner: by one of them.
#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/processor.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

namespace {

using runnel::detail::fifo_link;
using runnel::detail::processor;

struct item : fifo_link {
  int times_set = 0;     // written before it is set
  int times_taken = 0;   // written by whoever has taken it
};

TEST(run_next, is_set_once) {
  processor p;
  item first, second;
  EXPECT_TRUE(p.set_next(&first));
  EXPECT_FALSE(p.set_next(&second));
  EXPECT_EQ(p.take_next(), &first);
  EXPECT_EQ(p.take_next(), nullptr);
  EXPECT_TRUE(p.set_next(&second));
}

TEST(run_next, each_is_taken_once_and_seen_whole) {
  constexpr std::size_t rounds = 300'000;
  processor p;
  std::vector<item> items(rounds);
  std::atomic<bool> done{false};
  std::size_t taken_away = 0, wrong = 0;
  std::thread foreigner([&] {
    while (!done.load(std::memory_order_acquire)) {
      p.gate.enter_foreign();
      auto* g = static_cast<item*>(p.clear_next());
      p.gate.leave_foreign();
      if (!g) continue;
      if (g->times_set != 1) ++wrong;
      ++g->times_taken;
      ++taken_away;
    }
  });
  std::size_t kept = 0;
  for (item& it : items) {
    it.times_set = 1;
    while (!p.set_next(&it))
      if (auto* g = static_cast<item*>(p.take_next())) ++g->times_taken, ++kept;
  }
  if (auto* g = static_cast<item*>(p.take_next())) ++g->times_taken, ++kept;
  done.store(true, std::memory_order_release);
  foreigner.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(kept + taken_away, rounds);
  for (const item& it : items) ASSERT_EQ(it.times_taken, 1);
}

}  // namespace
