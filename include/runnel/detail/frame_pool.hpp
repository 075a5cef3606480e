// SPDX-License-Identifier: BSL-1.0
// runnel/detail/frame_pool.hpp: where frames and goroutines live, a pool that gives its memory back.
// Layer: L0
#pragma once

#include <runnel/config.hpp>
#include <runnel/detail/frame_slab.hpp>
#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/spinlock.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <new>

/// 0 passes every frame to operator new, so that the sanitizers see each frame's life.
#if !defined(RUNNEL_FRAME_POOL)
#define RUNNEL_FRAME_POOL (!RUNNEL_ASAN && !RUNNEL_TSAN)
#endif

/// 1 asks frame_alloc_hook before each allocation. All translation units of a program must agree on both.
#if !defined(RUNNEL_FAULT_INJECTION)
#define RUNNEL_FAULT_INJECTION 0
#endif

namespace runnel::detail {

// Three levels. A thread's *cache* has a stack of up to 128 blocks for each size class: no lock, no list, and
// the block itself is not touched. When a stack is empty or full, 64 blocks at once come from or go to the
// *slabs* of that class, under the class's lock. A slab with no block out goes to the *store*, which serves
// all classes and returns to the system what has not been needed for a while.
//
// Invariants:
//   1. A block is in use, in one cache, or free in its slab. A cache's stacks are its thread's alone.
//   2. Nothing here is ever destroyed, except a thread's cache, by the thread's end. Frames that die later,
//      also those that static objects own, go directly to their slab.
//   3. The shared objects of a program have one pool (RUNNEL_SHARED). Where a loader keeps one apart, it has its own;
//      a block goes back to its slab's `home`, under the lock of that home, whichever pool it is given to.
//   4. System calls are made under no lock.

inline constexpr std::size_t frame_batch = 64;  // how many blocks a cache takes or gives at once, at most
constexpr std::size_t frame_batch_of(std::size_t c) noexcept {
  return c <= frame_class_of(1024) ? frame_batch : 16;
}

static_assert(__STDCPP_DEFAULT_NEW_ALIGNMENT__ >= frame_unit, "large frames come from operator new");

// ---- The depot: what the threads share ----

// A thread's blocks.
//
//   counts   written by the thread alone; read by it, and by the statistics. relaxed: it guards nothing
struct frame_cache : list_link {
  std::atomic<std::uint32_t> counts[frame_classes]{};
  void* blocks[frame_classes][2 * frame_batch];  // untouched until used: fresh memory costs nothing yet
  frame_cache() noexcept {}
};

struct frame_depot {
  frame_class classes[frame_classes];
  frame_slab_store store;
  spinlock caches_lock;
  list_head caches;
  std::atomic<std::int64_t> large_blocks{0};  // what went to operator new; relaxed: statistics
  std::atomic<std::int64_t> large_bytes{0};

  /// How many were taken: at least one, none only when the system has no memory left.
  std::size_t take(std::size_t c, void** out, std::size_t wanted) noexcept {
    frame_class& home = classes[c];
    std::unique_lock hold(home.lock);
    while (home.slabs.empty()) {
      const bool first = home.taken == 0;
      hold.unlock();
      void* memory = store.take();
      if (!memory) return 0;
      auto* slab = ::new (memory) frame_slab(home, c, first);
      hold.lock();
      home.slabs.push_back(slab);
    }
    std::size_t n = 0;
    while (auto* slab = from<frame_slab>(home.slabs.front())) {
      n += slab->take(out + n, wanted - n);
      if (slab->free == 0) unlink(slab);
      if (n == wanted) break;
    }
    home.taken += n;
    return n;
  }

  void give(void* const* blocks, std::size_t n) noexcept {
    list_head empty;
    for (std::size_t i = 0; i < n;) {
      frame_class& home = *frame_slab::of(blocks[i])->home;
      std::lock_guard hold(home.lock);
      do {
        frame_slab* slab = frame_slab::of(blocks[i]);
        if (slab->home != &home) break;
        slab->put(blocks[i]);
        --home.taken;
        if (slab->free == 1) home.slabs.push_front(slab);  // fuller ones serve first
        if (slab->free == slab->capacity) {
          unlink(slab);
          empty.push_back(slab);
        }
      } while (++i < n);
    }
    while (list_link* slab = empty.pop_front()) store.put(slab);
  }

  void flush(frame_cache& cache) noexcept {
    for (std::size_t c = 0; c < frame_classes; ++c) {
      give(cache.blocks[c], cache.counts[c].load(std::memory_order_relaxed));
      cache.counts[c].store(0, std::memory_order_relaxed);
    }
  }
};

RUNNEL_SHARED inline constinit frame_depot the_frame_depot;

// ---- The calling thread's cache ----

RUNNEL_SHARED inline constinit thread_local frame_cache* t_frame_cache = nullptr;
RUNNEL_SHARED inline constinit thread_local bool t_frame_cache_ended = false;

struct frame_cache_end {
  RUNNEL_NOINLINE ~frame_cache_end() {
    frame_cache* cache = t_frame_cache;
    t_frame_cache = nullptr;
    t_frame_cache_ended = true;
    the_frame_depot.flush(*cache);
    {
      std::lock_guard hold(the_frame_depot.caches_lock);
      unlink(cache);
    }
    unmap_memory(cache, sizeof(frame_cache));
  }
};

/// Makes the thread's cache. Null when it has ended with the thread, or for want of memory.
RUNNEL_SHARED RUNNEL_NOINLINE inline frame_cache* make_frame_cache() noexcept {
  if (t_frame_cache_ended) return nullptr;
  void* memory = map_memory(sizeof(frame_cache));
  if (!memory) return nullptr;
  auto* cache = ::new (memory) frame_cache;
  {
    std::lock_guard hold(the_frame_depot.caches_lock);
    the_frame_depot.caches.push_back(cache);
  }
  t_frame_cache = cache;
  [[maybe_unused]] static thread_local frame_cache_end at_thread_exit;
  return cache;
}

RUNNEL_NOINLINE inline void* frame_allocate_refill(std::size_t c) {
  frame_cache* cache = t_frame_cache ? t_frame_cache : make_frame_cache();
  void* one[1];
  void** blocks = cache ? cache->blocks[c] : one;
  std::size_t n = the_frame_depot.take(c, blocks, cache ? frame_batch_of(c) : 1);
  if (n == 0) throw std::bad_alloc();
  if (cache) cache->counts[c].store(static_cast<std::uint32_t>(n - 1), std::memory_order_relaxed);
  std::reverse(blocks, blocks + n);  // the lowest address leaves the stack first
  return blocks[n - 1];
}

RUNNEL_NOINLINE inline void frame_deallocate_flush(std::size_t c, void* block) noexcept {
  frame_cache* cache = t_frame_cache ? t_frame_cache : make_frame_cache();
  if (!cache) return the_frame_depot.give(&block, 1);
  void** blocks = cache->blocks[c];
  std::size_t n = cache->counts[c].load(std::memory_order_relaxed);
  if (std::size_t batch = frame_batch_of(c); n == 2 * batch) {  // the older half goes: the younger is still warm
    the_frame_depot.give(blocks, batch);
    n = batch;
    std::memcpy(blocks, blocks + batch, batch * sizeof(void*));
  }
  blocks[n] = block;
  cache->counts[c].store(static_cast<std::uint32_t>(n + 1), std::memory_order_relaxed);
}

RUNNEL_NOINLINE inline void* frame_allocate_large(std::size_t size) {
  void* block = ::operator new(size);
  the_frame_depot.large_blocks.fetch_add(1, std::memory_order_relaxed);
  the_frame_depot.large_bytes.fetch_add(static_cast<std::int64_t>(size), std::memory_order_relaxed);
  return block;
}

RUNNEL_NOINLINE inline void frame_deallocate_large(void* block, std::size_t size) noexcept {
  the_frame_depot.large_blocks.fetch_sub(1, std::memory_order_relaxed);
  the_frame_depot.large_bytes.fetch_sub(static_cast<std::int64_t>(size), std::memory_order_relaxed);
  ::operator delete(block);
}

// ---- What the library uses ----

/// For tests: a function that returns true for every allocation that shall fail. See RUNNEL_FAULT_INJECTION.
RUNNEL_SHARED inline constinit std::atomic<bool (*)(std::size_t) noexcept> frame_alloc_hook{nullptr};

/// frame_allocate() for a caller that is itself never inlined.
[[nodiscard]] RUNNEL_ALWAYS_INLINE void* frame_allocate_inline(std::size_t size) {
#if RUNNEL_FAULT_INJECTION
  auto fails = frame_alloc_hook.load(std::memory_order_acquire);  // after whatever the test set up for it
  if (fails && fails(size)) throw std::bad_alloc();
#endif
  if (!RUNNEL_FRAME_POOL || size - 1 >= frame_largest) [[unlikely]] return frame_allocate_large(size);  // and 0
  std::size_t c = frame_class_of(size);
  frame_cache* cache = t_frame_cache;
  if (!cache) [[unlikely]] return frame_allocate_refill(c);
  std::uint32_t n = cache->counts[c].load(std::memory_order_relaxed);
  if (n == 0) [[unlikely]] return frame_allocate_refill(c);
  cache->counts[c].store(n - 1, std::memory_order_relaxed);
  return cache->blocks[c][n - 1];
}

/// Memory for a frame, aligned to 16. Never inlined: compiler.hpp, hazard 3.
///
/// Throws: std::bad_alloc, having changed nothing.
/// Thread-safety: any thread, also for a block of another thread, also while threads and static objects end.
[[nodiscard]] RUNNEL_NOINLINE inline void* frame_allocate(std::size_t size) { return frame_allocate_inline(size); }

/// Takes back what frame_allocate(size) returned; not null.
RUNNEL_NOINLINE inline void frame_deallocate(void* block, std::size_t size) noexcept {
  if (!RUNNEL_FRAME_POOL || size - 1 >= frame_largest) [[unlikely]] return frame_deallocate_large(block, size);
  std::size_t c = frame_class_of(size);
  frame_cache* cache = t_frame_cache;
  if (!cache) [[unlikely]] return frame_deallocate_flush(c, block);
  std::uint32_t n = cache->counts[c].load(std::memory_order_relaxed);
  if (n == 2 * frame_batch_of(c)) [[unlikely]] return frame_deallocate_flush(c, block);
  cache->blocks[c][n] = block;
  cache->counts[c].store(n + 1, std::memory_order_relaxed);
}

/// What frame_pool_stats() returns: exact while no other thread allocates or frees.
struct frame_pool_statistics {
  std::size_t live_blocks;  // allocated and not yet freed, of any size
  std::size_t held_bytes;   // taken from the system, also by those
  std::size_t spare_bytes;  // of these, what no block is in
};

[[nodiscard]] inline frame_pool_statistics frame_pool_stats() noexcept {
  frame_depot& depot = the_frame_depot;
  std::size_t live = static_cast<std::size_t>(depot.large_blocks.load(std::memory_order_relaxed));
  std::size_t held = static_cast<std::size_t>(depot.large_bytes.load(std::memory_order_relaxed));
  held += depot.store.mapped() * frame_slab_size;
  for (frame_class& k : depot.classes) {
    std::lock_guard hold(k.lock);
    live += k.taken;
  }
  std::size_t spare = depot.store.spare() * frame_slab_size;
  std::lock_guard hold(depot.caches_lock);
  for (list_link *first = depot.caches.front(), *at = first; at;) {
    auto* cache = from<frame_cache>(at);
    for (auto& count : cache->counts) live -= count.load(std::memory_order_relaxed);
    held += sizeof(frame_cache);
    at = at == depot.caches.back() ? nullptr : at->next;
  }
  return {live, held, spare};
}

/// Returns to the system some of what has not been needed for a tenth of a second; true when there is more.
/// Cheap: for whoever goes idle, and for a periodic timer.
inline bool frame_pool_tend() noexcept { return the_frame_depot.store.tend(32); }

/// Empties the calling thread's cache, and returns all free slabs to the system.
RUNNEL_NOINLINE inline void frame_pool_trim() noexcept {
  if (frame_cache* cache = t_frame_cache) the_frame_depot.flush(*cache);
  the_frame_depot.store.release_all();
}

}  // namespace runnel::detail
