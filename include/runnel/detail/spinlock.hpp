// SPDX-License-Identifier: BSL-1.0
// runnel/detail/spinlock.hpp: a lock of one byte for critical sections of a few instructions.
// Layer: L0
#pragma once

#include <runnel/config.hpp>

#include <atomic>
#include <thread>

namespace runnel::detail {

// Test-and-test-and-set with a long exponential backoff: whoever waits stays off the lock's cache line for
// longer than a critical section takes, so the holder's line is not torn from it, and soon lets other threads
// run, so a holder that lost its processor gets it back. Not fair, not recursive.
//
// Invariants:
//   1. No user code and no system call runs under a spinlock.
//   2. The all-zero byte is an unlocked lock; there is nothing to destroy.
//
//   x_held   false | true   set by lock and try_lock; cleared by the holder
class spinlock {
 public:
  constexpr spinlock() noexcept = default;
  spinlock(const spinlock&) = delete;
  spinlock& operator=(const spinlock&) = delete;

  void lock() noexcept { lock_watched<unwatched>(); }

  // The same, where each pause passes in the scope of a Watch, and what comes after the last of them, since the holder
  // seems to have lost its processor, in none.
  template <class Watch> void lock_watched() noexcept {
    // [take] acquire: after [leave] in unlock()
    if (x_held.exchange(true, std::memory_order_acquire)) [[unlikely]] lock_slow<Watch>();
  }

  [[nodiscard]] bool try_lock() noexcept {
    // relaxed: a hint that spares the write; what counts is [take], acquire: after [leave] in unlock()
    return !x_held.load(std::memory_order_relaxed) && !x_held.exchange(true, std::memory_order_acquire);
  }

  void unlock() noexcept {
    x_held.store(false, std::memory_order_release);  // [leave] release: before [take]
  }

 private:
  static constexpr unsigned shortest_wait = 32;    // in pauses
  static constexpr unsigned longest_wait = 1024;

  struct unwatched {};

  template <class Watch> RUNNEL_NOINLINE void lock_slow() noexcept {
    unsigned wait = shortest_wait;
    do {
      if (wait <= longest_wait) {
        [[maybe_unused]] Watch pause;
        for (unsigned i = 0; i < wait; ++i) cpu_pause();
        wait *= 2;
      } else {
        std::this_thread::yield();
      }
    } while (!try_lock());
  }

  std::atomic<bool> x_held{false};
};

static_assert(sizeof(spinlock) == 1);

}  // namespace runnel::detail
