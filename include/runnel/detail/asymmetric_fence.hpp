// SPDX-License-Identifier: BSL-1.0
// runnel/detail/asymmetric_fence.hpp: a pair of fences of which the frequent one is free.
// Layer: L0
#pragma once

#include <runnel/config.hpp>

#include <atomic>
#include <cstdint>

#if RUNNEL_HAS_MEMBARRIER
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>
#endif

namespace runnel::detail {

// A store on the frequent side, light_fence(), then a load; a store on the rare side, heavy_fence(), then a load:
// at least one side's load sees the other's store. The frequent side pays nothing where the kernel offers
// membarrier(2), which runs a full barrier on every thread of the process; elsewhere both sides fence.
//
// Invariant: heavy_fence() is never weaker than light_fence() assumes: a light fence is free only while every
// heavy fence is a membarrier.

#if RUNNEL_HAS_MEMBARRIER

RUNNEL_SHARED inline const bool asymmetric_fences =
    ::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;

RUNNEL_ALWAYS_INLINE void light_fence(bool is_free = asymmetric_fences) noexcept {
  if (is_free) [[likely]]
    std::atomic_signal_fence(std::memory_order_seq_cst);
  else
    std::atomic_thread_fence(std::memory_order_seq_cst);
}

// What was to be had at the start is refused, as by a filter of system calls that was set since; but who goes by light
// fences counts on it. Returns if it is worth another try.
RUNNEL_NOINLINE inline void membarrier_failed() noexcept {
  if (errno == ENOMEM) return std::this_thread::yield();
  std::fputs("runnel: membarrier(2) is refused, which was allowed when the program began\n", stderr);
  std::abort();
}
inline void heavy_fence() noexcept {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (asymmetric_fences)
    while (::syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) != 0) membarrier_failed();
}

#else

inline constexpr bool asymmetric_fences = false;

// ThreadSanitizer does not model fences, so the word that would be fenced is exchanged instead (publish below)
// and these only have to be full barriers on real hardware.
RUNNEL_SHARED inline std::atomic<unsigned> fence_word{0};
inline void light_fence(bool = false) noexcept { fence_word.fetch_add(1, std::memory_order_seq_cst); }
inline void heavy_fence() noexcept { fence_word.fetch_add(1, std::memory_order_seq_cst); }

#endif

// Stores the word that the rare side looks at, and fences lightly: whatever is loaded next is loaded after the
// store is visible to a thread that has passed heavy_fence(). Who is inside of a lock by its bias knows that the fence
// is free.
RUNNEL_ALWAYS_INLINE void publish(std::atomic<std::uint64_t>& word, std::uint64_t value,
                                  [[maybe_unused]] bool fence_is_free = asymmetric_fences) noexcept {
#if RUNNEL_HAS_MEMBARRIER
  word.store(value, std::memory_order_release);  // [publish] release: the goroutine's fields, before interrupt()
  light_fence(fence_is_free);
#else
  word.exchange(value, std::memory_order_seq_cst);  // seq_cst: with the level load that follows, against raise()
#endif
}

}  // namespace runnel::detail
