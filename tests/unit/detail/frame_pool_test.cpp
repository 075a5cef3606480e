// SPDX-License-Identifier: BSL-1.0
#include <runnel/detail/frame_pool.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <memory>
#include <mutex>
#include <new>
#include <random>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#include <sys/resource.h>
#endif

namespace {

using namespace runnel::detail;

std::size_t live() { return frame_pool_stats().live_blocks; }

struct block {
  void* at;
  std::size_t size;
};

// Filled with a pattern of its own, so that blocks that overlap are found when they are freed.
block make(std::size_t size) {
  block b{frame_allocate(size), size};
  std::memset(b.at, static_cast<int>(reinterpret_cast<std::uintptr_t>(b.at) >> 4 & 0xff), size);
  return b;
}

void check_and_free(block b) {
  auto* bytes = static_cast<unsigned char*>(b.at);
  auto pattern = static_cast<unsigned char>(reinterpret_cast<std::uintptr_t>(b.at) >> 4 & 0xff);
  for (std::size_t i : {std::size_t{0}, b.size / 2, b.size - 1}) ASSERT_EQ(bytes[i], pattern);
  frame_deallocate(b.at, b.size);
}

TEST(frame_pool, blocks_are_aligned_and_do_not_overlap) {
  std::size_t before = live();
  std::vector<block> blocks;
  for (std::size_t size = 1; size <= 2048; size += size < 1100 ? 1 : 97)
    for (int i = 0; i < 3; ++i) {
      blocks.push_back(make(size));
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(blocks.back().at) % 16, 0u);
    }
  std::set<std::pair<std::uintptr_t, std::uintptr_t>> ranges;
  for (block b : blocks) {
    auto at = reinterpret_cast<std::uintptr_t>(b.at);
    ranges.emplace(at, at + b.size);
  }
  std::uintptr_t end = 0;
  for (auto [first, last] : ranges) {
    EXPECT_GE(first, end);
    end = last;
  }
  EXPECT_EQ(live(), before + blocks.size());
  for (block b : blocks) check_and_free(b);
  EXPECT_EQ(live(), before);
}

// So that two threads that work in neighbouring frames do not share a line.
TEST(frame_pool, blocks_of_more_than_256_bytes_begin_at_a_cache_line) {
  std::vector<block> blocks;
  for (std::size_t size = 257; size <= frame_largest; size += 53)
    for (int i = 0; i < 3; ++i) blocks.push_back(make(size));
  for (block b : blocks) {
    if (RUNNEL_FRAME_POOL) {
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(b.at) % runnel::cache_line, 0u) << b.size;
    }
    check_and_free(b);
  }
}

struct alignas(frame_slab_size) slab_memory {
  std::byte bytes[frame_slab_size];
};

std::vector<void*> all_blocks(frame_slab& slab) {
  std::vector<void*> blocks(slab.capacity + 1);
  blocks.resize(slab.take(blocks.data(), blocks.size()));
  return blocks;
}

TEST(frame_pool, the_first_frames_of_64_sizes_begin_at_different_lines_of_a_page) {
  auto memory = std::make_unique<slab_memory>();
  frame_class home;
  std::set<std::uintptr_t> lines;
  for (std::size_t c = 0; c < 64; ++c) {
    auto* slab = ::new (memory.get()) frame_slab(home, c, true);
    lines.insert(reinterpret_cast<std::uintptr_t>(all_blocks(*slab).front()) % 4096 / runnel::cache_line);
  }
  EXPECT_EQ(lines.size(), 64u);
}

TEST(frame_pool, a_slab_is_full_to_its_end_and_takes_each_block_back) {
  auto memory = std::make_unique<slab_memory>();
  frame_class home;
  for (bool first : {true, false}) {
    for (std::size_t c = 0; c < frame_classes; ++c) {
      auto* slab = ::new (memory.get()) frame_slab(home, c, first);
      const std::size_t size = slab->unit * frame_unit;
      auto blocks = all_blocks(*slab);
      ASSERT_EQ(blocks.size(), slab->capacity);
      const auto left = static_cast<std::size_t>(memory->bytes + frame_slab_size - static_cast<std::byte*>(blocks.back()));
      EXPECT_GE(left, size);
      EXPECT_LT(left, 2 * size);
      for (void* block : blocks) slab->put(block);
      EXPECT_EQ(slab->free, slab->capacity);
      EXPECT_EQ(all_blocks(*slab), blocks);
    }
  }
}

TEST(frame_pool, survives_random_use_of_every_size) {
  std::size_t before = live();
  std::mt19937 random(1);
  std::vector<block> blocks;
  for (int step = 0; step < 300000; ++step) {
    bool grow = (step / 20000) % 2 == 0;
    if (blocks.empty() || random() % 8 < (grow ? 5u : 3u)) {
      blocks.push_back(make(1 + random() % (random() % 20 ? 600 : 3000)));
    } else {
      std::swap(blocks[random() % blocks.size()], blocks.back());
      check_and_free(blocks.back());
      blocks.pop_back();
    }
  }
  EXPECT_EQ(live(), before + blocks.size());
  for (block b : blocks) check_and_free(b);
  EXPECT_EQ(live(), before);
}

TEST(frame_pool, a_frame_of_no_size_is_allowed) {
  void* nothing = frame_allocate(0);
  EXPECT_NE(nothing, nullptr);
  frame_deallocate(nothing, 0);
}

TEST(frame_pool, what_one_thread_allocates_another_may_free) {
  std::size_t before = live();
  std::vector<block> blocks;
  std::thread([&] {
    for (int i = 0; i < 5000; ++i) blocks.push_back(make(1 + static_cast<std::size_t>(i) % 1500));
  }).join();
  EXPECT_EQ(live(), before + blocks.size());  // also after that thread's end
  std::thread([&] {
    for (block b : blocks) check_and_free(b);
  }).join();
  EXPECT_EQ(live(), before);
}

TEST(frame_pool, threads_that_exchange_blocks_keep_them_apart) {
  constexpr int threads = 4;
  std::size_t before = live();
  std::mutex mutex;
  std::deque<block> shared;
  std::vector<std::thread> workers;
  for (unsigned t = 0; t < threads; ++t)
    workers.emplace_back([&, t] {
      std::mt19937 random(t);
      std::vector<block> mine;
      for (int step = 0; step < 20000; ++step) {
        if (random() % 2) {
          mine.push_back(make(1 + random() % 300));
        } else if (!mine.empty()) {
          std::lock_guard hold(mutex);
          shared.push_back(mine.back());
          mine.pop_back();
        }
        block foreign{};
        if (std::lock_guard hold(mutex); shared.size() > 500) {
          foreign = shared.front();
          shared.pop_front();
        }
        if (foreign.at) check_and_free(foreign);
      }
      for (block b : mine) check_and_free(b);
    });
  for (auto& worker : workers) worker.join();
  for (block b : shared) check_and_free(b);
  EXPECT_EQ(live(), before);
}

// A thread object that is older than the thread's cache dies after it.
struct freed_late {
  void* held = nullptr;
  std::atomic<int>* done = nullptr;
  ~freed_late() {
    if (!done) return;
    frame_deallocate(held, 100);
    void* a = frame_allocate(40);
    void* b = frame_allocate(40);
    std::memset(a, 1, 40);
    std::memset(b, 2, 40);
    frame_deallocate(a, 40);
    frame_deallocate(b, 40);
    done->fetch_add(1);
  }
};
thread_local freed_late t_freed_late;

TEST(frame_pool, a_thread_may_allocate_and_free_while_it_ends) {
  frame_pool_trim();
  std::size_t before = live(), held = frame_pool_stats().held_bytes;
  std::atomic<int> done{0};
  std::thread([&] {
    t_freed_late.done = &done;
    t_freed_late.held = frame_allocate(100);
  }).join();
  EXPECT_EQ(done.load(), 1);
  EXPECT_EQ(live(), before);
  frame_pool_trim();
  EXPECT_LE(frame_pool_stats().held_bytes, held);  // it got no cache after its cache was ended
}

// Dies after main() has returned. A failure there ends the program with an error.
struct freed_at_exit {
  void* held = nullptr;
  ~freed_at_exit() {
    if (!held) return;
    std::size_t before = live();
    frame_deallocate(held, 200);
    void* other = frame_allocate(200);
    if (live() != before) std::abort();
    frame_deallocate(other, 200);
  }
} freed_at_exit_object;

TEST(frame_pool, a_static_object_may_free_a_frame) { freed_at_exit_object.held = frame_allocate(200); }

#if RUNNEL_FAULT_INJECTION

std::atomic<int> allocations_until_failure{0};
bool fails_in_turn(std::size_t) noexcept { return allocations_until_failure.fetch_sub(1) == 0; }

TEST(frame_pool, an_injected_fault_is_bad_alloc_and_changes_nothing) {
  std::size_t before = live();
  for (std::size_t size : {std::size_t{64}, std::size_t{4096}}) {
    allocations_until_failure = 2;
    frame_alloc_hook.store(&fails_in_turn);
    void* a = frame_allocate(size);
    void* b = frame_allocate(size);
    EXPECT_THROW((void)frame_allocate(size), std::bad_alloc);
    void* c = frame_allocate(size);
    frame_alloc_hook.store(nullptr);
    EXPECT_EQ(live(), before + 3);
    for (void* p : {a, b, c}) frame_deallocate(p, size);
  }
  EXPECT_EQ(live(), before);
}

#endif

#if RUNNEL_FRAME_POOL

constexpr std::size_t mebi = 1024 * 1024;

TEST(frame_pool, a_million_live_blocks_and_their_memory_goes_back_after_trim) {
  frame_deallocate(frame_allocate(128), 128);  // this thread has its cache
  frame_pool_trim();
  auto before = frame_pool_stats();
  std::vector<void*> blocks(1'000'000);
  for (void*& b : blocks) *static_cast<long*>(b = frame_allocate(128)) = 1;
  EXPECT_EQ(live(), before.live_blocks + blocks.size());
  EXPECT_GE(frame_pool_stats().held_bytes, 128 * blocks.size());
  EXPECT_LE(frame_pool_stats().held_bytes, before.held_bytes + 128 * blocks.size() * 102 / 100 + 4 * mebi);
  std::shuffle(blocks.begin(), blocks.end(), std::mt19937(1));
  for (void* b : blocks) frame_deallocate(b, 128);
  EXPECT_EQ(live(), before.live_blocks);
  frame_pool_trim();
  EXPECT_EQ(frame_pool_stats().spare_bytes, 0u);
  EXPECT_LE(frame_pool_stats().held_bytes, before.held_bytes);
#if defined(__linux__)
  int gone = 0;
  for (std::size_t i = 0; i < 1000; ++i) {
    unsigned char resident;
    auto page = reinterpret_cast<std::uintptr_t>(blocks[i * 997]) & ~std::uintptr_t{0xfff};
    if (::mincore(reinterpret_cast<void*>(page), 1, &resident) == -1 && errno == ENOMEM) ++gone;
  }
  EXPECT_GE(gone, 990);
#endif
}

// Slabs that were not needed for an interval go back two at a time, whenever another becomes spare.
TEST(frame_pool, what_goes_back_two_at_a_time_is_counted) {
  frame_deallocate(frame_allocate(256), 256);  // this thread has its cache
  frame_pool_trim();
  auto before = frame_pool_stats();
  auto fill_and_free = [] {
    std::vector<void*> blocks(16 * mebi / 256);
    for (void*& b : blocks) b = frame_allocate(256);
    for (void* b : blocks) frame_deallocate(b, 256);
  };
  auto wait = [] {
    auto until = std::chrono::steady_clock::now() + std::chrono::nanoseconds(frame_slab_store::interval);
    while (std::chrono::steady_clock::now() < until) std::this_thread::yield();
  };
  auto free_slabs = [](std::size_t n) {
    std::vector<void*> blocks(n * frame_slab_size / 4096);
    for (void*& b : blocks) b = frame_allocate(4096);
    for (void* b : blocks) frame_deallocate(b, 4096);
  };
  fill_and_free();
  for (int i = 0; i < 3; ++i) {
    wait();
    free_slabs(40);
  }
  EXPECT_LT(frame_pool_stats().spare_bytes, 16 * mebi) << "nothing went back";
  frame_pool_trim();
  EXPECT_EQ(frame_pool_stats().held_bytes, before.held_bytes);
}

TEST(frame_pool, freed_memory_serves_other_sizes) {
  frame_pool_trim();
  std::size_t before = frame_pool_stats().held_bytes;
  std::vector<void*> blocks(16 * mebi / 512);
  for (std::size_t size : {512u, 528u, 256u, 1024u, 96u}) {
    blocks.resize(16 * mebi / size);
    for (void*& b : blocks) b = frame_allocate(size);
    for (void* b : blocks) frame_deallocate(b, size);
  }
  EXPECT_LE(frame_pool_stats().held_bytes, before + 20 * mebi);
  frame_pool_trim();
}

TEST(frame_pool, what_has_not_been_needed_for_a_while_is_given_back_by_tending) {
  frame_pool_trim();
  std::vector<void*> blocks(32 * mebi / 256);
  for (void*& b : blocks) b = frame_allocate(256);
  for (void* b : blocks) frame_deallocate(b, 256);
  EXPECT_GE(frame_pool_stats().spare_bytes, 30 * mebi);  // it may be needed again at once
  while (frame_pool_stats().spare_bytes > frame_slab_store::kept * frame_slab_size)
    if (!frame_pool_tend()) std::this_thread::yield();
  EXPECT_EQ(frame_pool_stats().spare_bytes, frame_slab_store::kept * frame_slab_size);
}

TEST(frame_pool, one_thread_that_allocates_for_another_that_frees_does_not_grow_memory) {
  frame_pool_trim();
  std::size_t before = frame_pool_stats().held_bytes;
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<void*> box;
  bool ended = false;
  std::thread consumer([&] {
    std::vector<void*> got;
    for (;;) {
      {
        std::unique_lock hold(mutex);
        changed.wait(hold, [&] { return ended || !box.empty(); });
        if (box.empty()) return;
        got.swap(box);
      }
      changed.notify_one();
      for (void* b : got) frame_deallocate(b, 256);
      got.clear();
    }
  });
  std::size_t most = 0;
  for (int round = 0; round < 1000; ++round) {
    std::vector<void*> made(300);
    for (void*& b : made) b = frame_allocate(256);
    {
      std::unique_lock hold(mutex);
      changed.wait(hold, [&] { return box.empty(); });
      box.swap(made);
    }
    changed.notify_one();
    most = std::max(most, frame_pool_stats().held_bytes);
  }
  {
    std::lock_guard hold(mutex);
    ended = true;
  }
  changed.notify_one();
  consumer.join();
  EXPECT_LE(most, before + 2 * mebi);  // 300,000 blocks would be 73
}

// Of the whole process; 0 where that means nothing.
std::size_t address_space() {
  std::size_t pages = 0;
#if defined(__linux__) && !RUNNEL_ASAN && !RUNNEL_TSAN
  std::ifstream("/proc/self/statm") >> pages;
#endif
  return pages * 4096;
}

TEST(frame_pool, a_thread_that_ends_leaves_no_memory_behind) {
  std::thread([] { std::vector<int> first(1); }).join();  // what every first thread costs
  frame_pool_trim();
  auto before = frame_pool_stats();
  std::size_t space_before = address_space();
  for (int i = 0; i < 100; ++i)
    std::thread([] {
      std::vector<std::pair<void*, std::size_t>> blocks;
      for (std::size_t size = 16; size <= 1024; size += 16)
        for (int k = 0; k < 100; ++k) blocks.emplace_back(frame_allocate(size), size);
      for (auto [b, size] : blocks) frame_deallocate(b, size);
    }).join();
  EXPECT_EQ(live(), before.live_blocks);
  frame_pool_trim();
  EXPECT_EQ(frame_pool_stats().held_bytes, before.held_bytes);
  EXPECT_LE(address_space(), space_before + 2 * mebi);  // a cache that stays would be 6
}

#if defined(__linux__) && !RUNNEL_TSAN && !RUNNEL_ASAN
TEST(frame_pool, no_more_memory_is_bad_alloc_and_changes_nothing) {
  frame_pool_trim();
  std::vector<void*> blocks;
  blocks.reserve(1000);
  std::size_t before = live();
  rlimit usual;
  ASSERT_EQ(::getrlimit(RLIMIT_AS, &usual), 0);
  rlimit none = usual;
  none.rlim_cur = 1;
  ASSERT_EQ(::setrlimit(RLIMIT_AS, &none), 0);
  bool failed = false;
  try {
    while (blocks.size() < blocks.capacity()) blocks.push_back(frame_allocate(1000));
  } catch (const std::bad_alloc&) {
    failed = true;
  }
  std::size_t live_then = live();
  ASSERT_EQ(::setrlimit(RLIMIT_AS, &usual), 0);
  EXPECT_TRUE(failed);
  EXPECT_EQ(live_then, before + blocks.size());
  blocks.push_back(frame_allocate(1000));  // and works again
  for (void* b : blocks) frame_deallocate(b, 1000);
  EXPECT_EQ(live(), before);
}
#endif

#endif  // RUNNEL_FRAME_POOL

}  // namespace
