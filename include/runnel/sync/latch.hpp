// SPDX-License-Identifier: BSL-1.0
// runnel/sync/latch.hpp: latch, a count that goes down to zero once, and can be waited for.
// Layer: L4
#pragma once

#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/processor.hpp>
#include <runnel/detail/wait_operation.hpp>
#include <runnel/detail/waiters.hpp>
#include <runnel/error.hpp>
#include <runnel/waiter.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace runnel {

/// A count that is given at the beginning, and goes down to zero: std::latch for goroutines. Where the count also
/// goes up, use a wait_group; where the work may fail, an errgroup.
///
/// Cancel-safety: nothing to lose; a cancelled arrive_and_wait() has arrived, once it has been awaited.
/// Ordering: each count_down() happens before the return of every wait(), and before is_ready() that is true.
/// Thread-safety: everything may be called from any thread at the same time.
/// Lifetime: neither copied nor moved; constexpr. Destroying it while somebody waits is a reported error. Whoever
/// has seen it at zero may destroy it, even while the last count_down() has not returned.
//
// Invariants:
//   1. The count goes down by CAS. To zero it goes by way of `opening`, under the hashed lock, where the waiters
//      are taken out; the store of zero is the last touch.
//   2. Who waits was queued under the hashed lock while the count was positive.
class latch {
 public:
  /// Throws: misuse_error for a negative count. A count of zero is open at once.
  explicit constexpr latch(std::ptrdiff_t count) : x_count(count) {
    if (count < 0) throw misuse_error("runnel: the count of a latch cannot be negative");
  }
  latch(const latch&) = delete;
  latch& operator=(const latch&) = delete;
  ~latch() {
    if (!x_waiters.empty()) detail::fatal("a latch was destroyed while somebody waited for it");
  }

  /// Counts down. Throws: misuse_error, with no effect, for a negative n, and if the count would become negative.
  void count_down(std::ptrdiff_t n = 1) {
    auto now = x_count.load(std::memory_order_relaxed);
    for (;;) {
      if (n < 0 || n > (now < 0 ? 0 : now)) throw misuse_error("runnel: the count of a latch would become negative");
      if (n == 0) return;
      auto next = n == now ? opening : now - n;
      // acq_rel: what was done before, before the last count_down() lets the waiters go
      if (x_count.compare_exchange_weak(now, next, std::memory_order_acq_rel, std::memory_order_relaxed)) {
        if (next == opening) open();
        return;
      }
    }
  }
  bool is_ready() const noexcept { return x_count.load(std::memory_order_acquire) == 0; }
  /// How many wait, a snapshot. O(waiters).
  std::size_t waiting() const noexcept { return detail::count_waiting(*this, x_waiters); }

  /// Waits until the count is zero. Suspends: while it is not; resumes on its own scheduler.
  [[nodiscard("co_await it: wait() alone does not wait")]] auto wait() noexcept {
    return detail::wait_operation<latch>(*this);
  }
  /// Counts down when it is called, and waits when it is awaited. Throws: as count_down().
  [[nodiscard("co_await it: this has only counted down")]] auto arrive_and_wait(std::ptrdiff_t n = 1) {
    count_down(n);
    return detail::wait_operation<latch>(*this);
  }

 private:
  friend detail::wait_operation<latch>;
  static constexpr std::ptrdiff_t opening = -1;
  bool ready() const noexcept { return is_ready(); }
  detail::list_head& waiters() noexcept { return x_waiters; }

  void open() noexcept {
    detail::woken_batch all;
    {
      detail::park_lock::guard hold(detail::hashed_lock(this), detail::this_processor());
      detail::take_all(x_waiters, all);
      x_count.store(0, std::memory_order_release);  // last touch
    }
    all.fire();
  }

  std::atomic<std::ptrdiff_t> x_count;
  detail::list_head x_waiters;
};

}  // namespace runnel
