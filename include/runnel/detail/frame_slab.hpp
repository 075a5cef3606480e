// SPDX-License-Identifier: BSL-1.0
// runnel/detail/frame_slab.hpp: the memory under the frame pool: slabs of equal blocks, from the system.
// Layer: L0
#pragma once

#include <runnel/config.hpp>
#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/spinlock.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cassert>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#endif

namespace runnel::detail {

inline constexpr std::size_t frame_unit = 16;  // every block's alignment, and the step of the fine classes

// Size classes: in steps of 16 bytes up to 256, then of whole cache lines up to 4 KiB. Two threads that work in
// neighbouring frames would otherwise share the line between them: a fork-join on two threads took a tenth more, and at
// times half as much again. A small frame does not pay for that.
inline constexpr std::size_t frame_fine_classes = 16;
inline constexpr std::size_t frame_largest_fine = frame_fine_classes * frame_unit;
inline constexpr std::size_t frame_largest = 4096;
inline constexpr std::size_t frame_classes = frame_fine_classes + (frame_largest - frame_largest_fine) / cache_line;
static_assert(frame_largest_fine % cache_line == 0);
constexpr std::size_t frame_class_of(std::size_t size) noexcept {  // size: 1 to frame_largest
  return size <= frame_largest_fine ? (size - 1) / frame_unit
                                    : frame_fine_classes + (size - frame_largest_fine - 1) / cache_line;
}
constexpr std::size_t frame_class_units(std::size_t c) noexcept {
  if (c < frame_fine_classes) return c + 1;
  return frame_fine_classes + (c - frame_fine_classes + 1) * (cache_line / frame_unit);
}
inline constexpr std::size_t frame_slab_size = 64 * 1024;

// How far behind their usual place the blocks of a class's first slab begin, in bytes. Two addresses that agree modulo
// 4 KiB look the same to a processor at first, so that a load waits for a store that is not its own; and they compete
// for the same few places of its cache. The first frames of all classes, which are what a small program runs in, would
// be such. Steps of 25 lines spread any number of classes over a page (decision 029).
constexpr std::size_t frame_color_of(std::size_t c) noexcept { return c * 25 % 64 * cache_line % 4096; }

inline void* map_memory(std::size_t size) noexcept {
#if defined(MAP_ANONYMOUS)
  void* at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return at == MAP_FAILED ? nullptr : at;
#else
  return ::operator new(size, std::align_val_t(frame_slab_size), std::nothrow);
#endif
}

/// False: the system refused, and the memory is still there.
inline bool unmap_memory(void* at, [[maybe_unused]] std::size_t size) noexcept {
#if defined(MAP_ANONYMOUS)
  return ::munmap(at, size) == 0;
#else
  ::operator delete(at, std::align_val_t(frame_slab_size));
  return true;
#endif
}

inline void* map_slab() noexcept {
  constexpr std::uintptr_t mask = frame_slab_size - 1;
  void* at = map_memory(frame_slab_size);
  if (!at || (reinterpret_cast<std::uintptr_t>(at) & mask) == 0) return at;
  // Kernels put mappings side by side, so one that has been cut to fit makes the next ones fit as they are.
  unmap_memory(at, frame_slab_size);
  auto* wide = static_cast<std::byte*>(map_memory(2 * frame_slab_size));
  if (!wide) return nullptr;
  std::size_t before = (frame_slab_size - (reinterpret_cast<std::uintptr_t>(wide) & mask)) & mask;
  if (before) unmap_memory(wide, before);
  unmap_memory(wide + before + frame_slab_size, frame_slab_size - before);
  return wide + before;
}

struct frame_class;

// Invariants:
//   1. A slab is in its class's list exactly if it has free blocks and is not on its way to or from the
//      store; its contents change only under the class's lock. `home` does not change while a block is out.
//   2. A block finds its slab by a mask: slabs lie at multiples of their size.
//   3. Free blocks are neither read nor written: `bits` says which they are. They leave in the order of their
//      addresses.

struct alignas(cache_line) frame_slab : list_link {
  frame_class* const home;
  std::uint32_t unit;      // a block's size, in frame_units
  std::uint32_t inverse;   // of unit, as a 16-bit fixed-point fraction, rounded up
  std::uint32_t capacity;  // in blocks
  std::uint32_t free;      // of those
  std::uint32_t lowest;    // no word of `bits` before this one has a bit
  std::uint32_t color;     // of the blocks, in bytes
  std::array<std::uint64_t, frame_slab_size / frame_unit / 64> bits;  // 1: free

  frame_slab(frame_class& owner, std::size_t c, bool first) noexcept
      : home(&owner),
        unit(static_cast<std::uint32_t>(frame_class_units(c))),
        inverse(65536 / unit + 1),
        capacity(0),
        free(0),
        lowest(0),
        color(first ? static_cast<std::uint32_t>(frame_color_of(c)) : 0) {
    capacity = free = static_cast<std::uint32_t>((frame_slab_size - sizeof(frame_slab) - color) / (unit * frame_unit));
    bits.fill(0);
    std::fill_n(bits.begin(), capacity / 64, ~std::uint64_t{0});
    if (capacity % 64) bits[capacity / 64] = (std::uint64_t{1} << capacity % 64) - 1;
  }

  static frame_slab* of(void* block) noexcept {
    auto at = reinterpret_cast<std::uintptr_t>(block) & (frame_slab_size - 1);
    return reinterpret_cast<frame_slab*>(static_cast<std::byte*>(block) - at);
  }

  std::size_t take(void** out, std::size_t wanted) noexcept {
    std::size_t n = std::min<std::size_t>(wanted, free);
    for (std::size_t got = 0; got < n;) {
      std::uint64_t& word = bits[lowest];
      if (word == 0) {
        ++lowest;
        continue;
      }
      std::size_t index = lowest * 64u + static_cast<unsigned>(std::countr_zero(word));
      word &= word - 1;
      out[got++] = blocks() + index * unit * frame_unit;
    }
    free -= static_cast<std::uint32_t>(n);
    return n;
  }

  void put(void* block) noexcept {
    auto offset = static_cast<std::uint32_t>((static_cast<std::byte*>(block) - blocks()) / frame_unit);
    std::uint32_t index = offset * inverse >> 16;  // exact: offset is below 4096 and a multiple of unit
    std::uint64_t bit = std::uint64_t{1} << index % 64;
    assert(index * unit == offset && "a frame was freed with a wrong address or size");
    assert(!(bits[index / 64] & bit) && "a frame was freed twice");
    bits[index / 64] |= bit;
    lowest = std::min(lowest, index / 64);
    ++free;
  }

 private:
  std::byte* blocks() noexcept { return reinterpret_cast<std::byte*>(this + 1) + color; }
};

// All blocks of one size. `taken` counts those that are not in a slab; under the lock, like all else.
struct alignas(cache_line) frame_class {
  spinlock lock;
  list_head slabs;
  std::size_t taken = 0;
};

// Slabs without blocks. While it keeps more than `kept`, it looks every interval at how many were never
// needed during the last one, and returns those, a few at a time so that nobody stalls. Not at once: what is
// mapped anew costs a page fault every 4 KiB, more than all the rest of the pool. It runs only when it is
// called, so whoever goes idle calls frame_pool_tend().
//
// Invariants: x_spare has x_count slabs, under x_lock. A slab on its way to or from the system is in no list.
//
//   x_mapped   changed by whoever maps or unmaps a slab; read by the statistics. relaxed: it guards nothing
class frame_slab_store {
 public:
  static constexpr std::size_t kept = 16;                // slabs: 1 MiB
  static constexpr std::int64_t interval = 100'000'000;  // ns

  /// Uninitialised; null when the system has none left.
  void* take() noexcept {
    {
      std::lock_guard hold(x_lock);
      if (list_link* slab = x_spare.pop_front()) {
        x_unneeded = std::min(x_unneeded, --x_count);
        return slab;
      }
    }
    void* slab = map_slab();
    if (slab) x_mapped.fetch_add(1, std::memory_order_relaxed);
    return slab;
  }

  void put(list_link* slab) noexcept {
    {
      std::lock_guard hold(x_lock);
      x_spare.push_front(slab);
      if (++x_count <= kept) return;
    }
    tend(2);
  }

  /// Whether more slabs are spare than are kept.
  bool has_surplus() noexcept {
    std::lock_guard hold(x_lock);
    return x_count > kept;
  }

  /// Returns up to `at_most` slabs that have not been needed; true when more can go.
  bool tend(std::size_t at_most) noexcept {
    std::int64_t now = std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
    list_head leaving;
    bool more;
    {
      std::lock_guard hold(x_lock);
      if (now - x_looked_at >= interval) {
        x_surplus = x_unneeded;
        x_unneeded = x_count;
        x_looked_at = now;
      }
      x_surplus = std::min(x_surplus, x_count - std::min(x_count, kept));
      std::size_t n = std::min(at_most, x_surplus);
      detach(leaving, n);
      x_surplus -= n;
      more = x_surplus != 0;
    }
    unmap(leaving);
    return more;
  }

  void release_all() noexcept {
    list_head leaving;
    {
      std::lock_guard hold(x_lock);
      detach(leaving, x_count);
      x_surplus = 0;
    }
    unmap(leaving);
  }

  std::size_t mapped() const noexcept { return x_mapped.load(std::memory_order_relaxed); }
  std::size_t spare() noexcept {
    std::lock_guard hold(x_lock);
    return x_count;
  }

 private:
  void detach(list_head& leaving, std::size_t n) noexcept {
    for (std::size_t i = 0; i < n; ++i) leaving.push_back(x_spare.pop_back());
    x_count -= n;
    x_unneeded = std::min(x_unneeded, x_count);
  }
  void unmap(list_head& leaving) noexcept {
    while (list_link* slab = leaving.pop_front()) {
      if (unmap_memory(slab, frame_slab_size)) {
        x_mapped.fetch_sub(1, std::memory_order_relaxed);
      } else {  // it would split a mapping and there are too many
        std::lock_guard hold(x_lock);
        x_spare.push_back(slab);
        ++x_count;
      }
    }
  }

  spinlock x_lock;
  list_head x_spare;
  std::size_t x_count = 0;
  std::size_t x_unneeded = 0;  // the lowest x_count since x_looked_at
  std::size_t x_surplus = 0;   // how many of them are to be returned
  std::int64_t x_looked_at = 0;
  std::atomic<std::size_t> x_mapped{0};
};

}  // namespace runnel::detail
