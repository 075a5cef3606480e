// SPDX-License-Identifier: BSL-1.0
#include <runnel/detail/immortal_pool.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <set>
#include <thread>
#include <vector>

namespace {

using runnel::detail::immortal_pool;

struct mine {};  // a pool of these tests alone

TEST(immortal_pool, blocks_are_aligned_fresh_once_and_do_not_overlap) {
  struct tag {};
  using pool = immortal_pool<100, 24, tag>;
  std::set<void*> blocks;
  for (int i = 0; i < 1000; ++i) {
    auto [block, fresh] = pool::allocate();
    EXPECT_TRUE(fresh);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block) % 16, 0u);
    std::memset(block, i, 100);
    EXPECT_TRUE(blocks.insert(block).second);
  }
  std::uintptr_t end = 0;
  for (void* block : blocks) {
    EXPECT_GE(reinterpret_cast<std::uintptr_t>(block), end);
    end = reinterpret_cast<std::uintptr_t>(block) + 100;
  }
  for (void* block : blocks) pool::deallocate(block);
  for (int i = 0; i < 1000; ++i) {
    auto [block, fresh] = pool::allocate();
    EXPECT_FALSE(fresh);
    EXPECT_EQ(blocks.count(block), 1u);
  }
  EXPECT_TRUE(pool::allocate().second);
}

TEST(immortal_pool, the_kept_bytes_outlast_the_block) {
  struct tag {};
  using pool = immortal_pool<64, 32, tag>;
  auto [block, fresh] = pool::allocate();
  ASSERT_TRUE(fresh);
  char kept[32];
  std::memset(kept, 0x5a, sizeof kept);
  std::memcpy(block, kept, sizeof kept);
  pool::deallocate(block);
  EXPECT_EQ(std::memcmp(block, kept, sizeof kept), 0);  // while it is free
  auto [again, fresh_again] = pool::allocate();
  ASSERT_EQ(again, block);
  EXPECT_FALSE(fresh_again);
  EXPECT_EQ(std::memcmp(block, kept, sizeof kept), 0);  // and when it is used again
}

TEST(immortal_pool, a_block_of_kept_bytes_alone_is_possible) {
  struct tag {};
  using pool = immortal_pool<16, 16, tag>;
  auto [a, fresh_a] = pool::allocate();
  auto [b, fresh_b] = pool::allocate();
  std::memset(a, 1, 16);
  std::memset(b, 2, 16);
  pool::deallocate(a);
  pool::deallocate(b);
  EXPECT_EQ(*static_cast<char*>(a), 1);
  EXPECT_EQ(*static_cast<char*>(b), 2);
}

TEST(immortal_pool, threads_never_share_a_block) {
  using pool = immortal_pool<48, 16, mine>;
  std::vector<std::thread> workers;
  std::atomic<int> ready{0};
  for (int t = 0; t < 4; ++t)
    workers.emplace_back([t, &ready] {
      ready.fetch_add(1);
      while (ready.load() < 4) std::this_thread::yield();
      std::vector<unsigned char*> held;
      for (int i = 0; i < 100'000; ++i) {
        auto* bytes = static_cast<unsigned char*>(pool::allocate().first);
        std::memset(bytes, t, 48);
        held.push_back(bytes);
        if (held.size() < 20) continue;
        for (auto* at : held) {
          ASSERT_EQ(at[0], t);
          ASSERT_EQ(at[47], t);
          pool::deallocate(at);
        }
        held.clear();
      }
      for (auto* at : held) pool::deallocate(at);
    });
  for (auto& worker : workers) worker.join();
}

}  // namespace
