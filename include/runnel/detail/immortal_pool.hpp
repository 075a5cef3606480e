// SPDX-License-Identifier: BSL-1.0
// runnel/detail/immortal_pool.hpp: memory whose locks may be taken after what they guarded has died.
// Layer: L0
#pragma once

#include <runnel/config.hpp>
#include <runnel/detail/spinlock.hpp>

#include <cstddef>
#include <mutex>
#include <new>
#include <utility>

#if RUNNEL_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace runnel::detail {

/// Type-stable memory: blocks of one size that are never returned to the system.
///
/// A canceller may lock the header of a channel that a goroutine *was* parked on. So the first `Kept` bytes
/// of a block, where that lock lives, outlast the block's life: they are constructed once, when the block is
/// fresh; this pool never writes them. Under AddressSanitizer, what lies behind them is poisoned while the
/// block is free.
///
/// Invariants:
///   1. A block is out, or in one of two lists, which are linked behind the kept bytes: x_fresh has those
///      that were never out.
///   2. All chunks are reachable from x_chunks, so a leak checker sees what the blocks refer to.
///   3. Whoever shares a pool (the same Size, Kept and Tag) has the same kind of lock in the kept bytes.
template <std::size_t Size, std::size_t Kept = 16, class Tag = void>
class immortal_pool {
 public:
  static constexpr std::size_t alignment = 16;
  static constexpr std::size_t chunk_blocks = 64;

  /// A block, aligned to 16, and whether it is fresh: the caller constructs the kept bytes exactly if it is.
  ///
  /// Throws: std::bad_alloc, having changed nothing.
  [[nodiscard]] static std::pair<void*, bool> allocate() {
    {
      std::lock_guard hold(x_lock);
      if (x_free) return {pop(x_free), false};
      if (x_fresh) return {pop(x_fresh), true};
    }
    return grow();
  }

  /// Takes back a block whose every byte behind the kept ones is dead.
  static void deallocate(void* block) noexcept {
    std::lock_guard hold(x_lock);
    push(x_free, block);
  }

 private:
  static constexpr std::size_t link_at = (Kept + alignof(void*) - 1) / alignof(void*) * alignof(void*);
  static constexpr std::size_t hidden_from = link_at + sizeof(void*);
  static constexpr std::size_t least = Size > hidden_from ? Size : hidden_from;
  static constexpr std::size_t stride = (least + alignment - 1) / alignment * alignment;

  struct alignas(alignment) chunk {
    chunk* next;
    alignas(alignment) std::byte blocks[chunk_blocks * stride];
  };

  static void*& link(void* block) noexcept {
    return *reinterpret_cast<void**>(static_cast<std::byte*>(block) + link_at);
  }

  static void push(void*& list, void* block) noexcept {
    link(block) = std::exchange(list, block);
#if RUNNEL_ASAN
    __asan_poison_memory_region(static_cast<std::byte*>(block) + hidden_from, stride - hidden_from);
#endif
  }
  static void* pop(void*& list) noexcept {
    void* block = list;
    list = link(block);
#if RUNNEL_ASAN
    __asan_unpoison_memory_region(static_cast<std::byte*>(block) + hidden_from, stride - hidden_from);
#endif
    return block;
  }

  RUNNEL_NOINLINE static std::pair<void*, bool> grow() {
    auto* made = new chunk;
    std::lock_guard hold(x_lock);
    made->next = std::exchange(x_chunks, made);
    for (std::size_t i = chunk_blocks; i-- > 0;) push(x_fresh, made->blocks + i * stride);
    return {pop(x_fresh), true};
  }

  RUNNEL_SHARED static inline constinit spinlock x_lock;
  RUNNEL_SHARED static inline constinit void* x_free = nullptr;
  RUNNEL_SHARED static inline constinit void* x_fresh = nullptr;
  RUNNEL_SHARED static inline constinit chunk* x_chunks = nullptr;
};

}  // namespace runnel::detail
