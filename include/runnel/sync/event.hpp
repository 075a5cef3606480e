// SPDX-License-Identifier: BSL-1.0
// runnel/sync/event.hpp: event, a flag that can be waited for until somebody sets it.
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

namespace runnel {

/// A flag: set() lets everybody through who waits, and everybody who comes, until reset(). For something that
/// happens once a closed channel does the same; this one can be reset, needs no allocation, and is a member.
///
/// Who waited when it was set goes on, even if it is reset before that goroutine runs.
///
/// Cancel-safety: nothing to lose.
/// Ordering: a set() happens before the return of every wait() that it lets through, and before an is_set() that sees
/// it.
/// Thread-safety: everything may be called from any thread at the same time.
/// Lifetime: neither copied nor moved; constexpr. Destroying it while somebody waits is a reported error. Whoever
/// has seen it set may destroy it, even while set() has not returned.
//
// Invariants:
//   1. Who waits was queued under the hashed lock while x_set was false; the next set() takes it out.
//   2. set() touches this object last with the store to x_set, inside of the hashed lock.
//
//   x_set   written under the hashed lock; read anywhere
class event {
 public:
  constexpr event() noexcept = default;
  event(const event&) = delete;
  event& operator=(const event&) = delete;
  ~event() {
    if (!x_waiters.empty()) detail::fatal("an event was destroyed while somebody waited for it");
  }

  /// Sets it; wakes all who wait. Does nothing if it is set. Complexity: O(waiters).
  void set() noexcept {
    detail::woken_batch all;
    {
      detail::park_lock::guard hold(detail::hashed_lock(this), detail::this_processor());
      detail::take_all(x_waiters, all);
      x_set.store(true, std::memory_order_release);  // last touch
    }
    all.fire();
  }
  void reset() noexcept {
    detail::park_lock::guard hold(detail::hashed_lock(this), detail::this_processor());
    x_set.store(false, std::memory_order_relaxed);
  }
  bool is_set() const noexcept { return x_set.load(std::memory_order_acquire); }
  /// How many wait, a snapshot. O(waiters).
  std::size_t waiting() const noexcept { return detail::count_waiting(*this, x_waiters); }

  /// Waits until it is set. Suspends: while it is not; resumes on its own scheduler.
  [[nodiscard("co_await it: wait() alone does not wait")]] auto wait() noexcept {
    return detail::wait_operation<event>(*this);
  }

 private:
  friend detail::wait_operation<event>;
  bool ready() const noexcept { return is_set(); }
  detail::list_head& waiters() noexcept { return x_waiters; }

  std::atomic<bool> x_set{false};
  detail::list_head x_waiters;
};

}  // namespace runnel
