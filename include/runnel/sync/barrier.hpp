// SPDX-License-Identifier: BSL-1.0
// runnel/sync/barrier.hpp: barrier, where a fixed number of goroutines wait for each other, again and again.
// Layer: L4
#pragma once

#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/processor.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/detail/waiters.hpp>
#include <runnel/error.hpp>
#include <runnel/waiter.hpp>

#include <cstddef>

namespace runnel {

/// A fixed number of participants who wait for each other at the end of each phase.
///
/// Cancel-safety: a participant that is cancelled while it waits has not arrived: the others go on waiting until
/// somebody arrives in its place. If it is not coming back, let arrive_and_drop() say so, in a destructor for
/// example; a group whose members share a barrier is cancelled as a whole, so there is nobody left to wait then.
/// Ordering: whatever participants did before they arrived happens before each of them goes on.
/// Thread-safety: everything may be called from any thread at the same time.
/// Lifetime: neither copied nor moved; constexpr. Destroying it while somebody waits is a reported error. A
/// participant that was let through may destroy it.
//
// Invariants: all under the hashed lock. A waiter in the queue has arrived. x_arrived is at least their number: who
// is cancelled leaves the queue without a word, so that the queue is counted before a phase ends.
class barrier {
 public:
  /// Throws: misuse_error for less than one participant.
  explicit constexpr barrier(std::ptrdiff_t participants) : x_expected(participants) {
    if (participants < 1) throw misuse_error("runnel: barrier(n) takes at least one participant");
  }
  barrier(const barrier&) = delete;
  barrier& operator=(const barrier&) = delete;
  ~barrier() {
    if (!x_waiters.empty()) detail::fatal("a barrier was destroyed while somebody waited at it");
  }

  /// Arrives, and waits for the others of this phase.
  ///
  /// Returns: true for one of them, who came last. Suspends: until all have arrived; resumes on its own scheduler.
  /// Throws: misuse_error if all participants have dropped out. Complexity: O(1), O(participants) for the last one.
  [[nodiscard("co_await it: this alone does not arrive")]] auto arrive_and_wait() noexcept { return arrival(*this); }

  /// Arrives, does not wait, and is expected no more: the phases to come have one participant less.
  /// Throws: misuse_error if all participants have dropped out.
  void arrive_and_drop() {
    detail::woken_batch all;
    {
      detail::park_lock::guard hold(detail::hashed_lock(this), detail::this_processor());
      check_expected();
      --x_expected;
      if (x_expected > 0 && count_arrived() >= x_expected) end_phase(all);
    }
    all.fire();
  }
  /// How many have arrived and wait, a snapshot. O(waiters).
  std::size_t waiting() const noexcept { return detail::count_waiting(*this, x_waiters); }

 private:
  class arrival : public detail::awaitable_base {
   public:
    explicit arrival(barrier& b) noexcept : x_barrier(b) {}
    arrival(arrival&& other) noexcept : x_barrier(other.x_barrier) {}  // of what has not begun
    arrival& operator=(const arrival&) = delete;

    bool suspend(detail::promise_base* leaf) {
      detail::goroutine& g = detail::goroutine_of(leaf);
      if (!detail::enter_operation(g)) return detail::stop_here(g, leaf), true;
      detail::woken_batch all;
      bool parked = false;
      {
        detail::park_lock::guard hold(detail::hashed_lock(&x_barrier), g.proc);
        x_barrier.check_expected();
        auto arrived = x_barrier.x_arrived + 1;
        if (arrived >= x_barrier.x_expected) arrived = x_barrier.count_arrived() + 1;
        x_last = arrived >= x_barrier.x_expected;
        if (x_last)
          x_barrier.end_phase(all);
        else
          parked = detail::park(g, leaf, detail::hashed_lock(&x_barrier), x_waiter, x_barrier.x_waiters);
        if (parked) x_barrier.x_arrived = arrived;
      }
      if (parked) return true;
      return finish(g, leaf, all);
    }
    bool resume() const noexcept { return x_last; }

   private:
    bool finish(detail::goroutine& g, detail::promise_base* leaf, detail::woken_batch& all) const noexcept {
      if (!x_last) return detail::stop_here(g, leaf), true;
      all.fire();
      return detail::spend_budget(g, leaf);
    }
    barrier& x_barrier;
    detail::waiter x_waiter;
    bool x_last = false;
  };

  void check_expected() const {
    if (x_expected == 0) throw misuse_error("runnel: all participants of this barrier have dropped out");
  }
  std::ptrdiff_t count_arrived() const noexcept { return static_cast<std::ptrdiff_t>(detail::length_of(x_waiters)); }
  void end_phase(detail::woken_batch& all) noexcept {
    detail::take_all(x_waiters, all);
    x_arrived = 0;
  }

  std::ptrdiff_t x_expected;
  std::ptrdiff_t x_arrived = 0;
  detail::list_head x_waiters;
};

}  // namespace runnel
