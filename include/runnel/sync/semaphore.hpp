// SPDX-License-Identifier: BSL-1.0
// runnel/sync/semaphore.hpp: semaphore, a number of units that are acquired by weight, first come first served.
// Layer: L4
#pragma once

#include <runnel/config.hpp>
#include <runnel/detail/acquire.hpp>
#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/processor.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/detail/waiters.hpp>
#include <runnel/error.hpp>
#include <runnel/waiter.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace runnel {

class permit;

/// A number of units, of which goroutines acquire some and give them back.
///
///     rn::semaphore slots(10);
///     auto p = co_await slots.acquire(3);    // given back when p dies
///     rn::go(work, std::move(p));            // or when what it was handed to has ended
///
/// First come first served: a waiter whose units are not free lets nobody pass, however little they want, so that a
/// large request is not starved. Units that were granted stay granted, even if a cancellation comes before the
/// goroutine runs.
///
/// Cancel-safety: a cancelled acquire has taken nothing, and whoever waited behind it is looked at again.
/// Ordering: a release happens before the return of the acquires that it makes possible.
/// Thread-safety: everything may be called from any thread at the same time; a permit has one owner at a time.
/// Lifetime: neither copied nor moved; constexpr. Destroying it while units are out, and so while somebody waits
/// for it, is a reported error. A goroutine that was cancelled while it waited has left when it has unwound.
/// Contract: SEMANTICS.md SM-01 to SM-09, SM-C01; SM-04 and SM-06 as DESIGN has them: more than there are at all is
/// misuse, what was granted stays granted.
//
// Invariants:
//   1. While bit `queued` of the state is clear, nobody waits, and the state changes by CAS, by anybody.
//   2. While it is set, the state changes under the hashed lock alone.
//   3. Whoever leaves the hashed lock leaves no waiter at the head of the queue whose units are free, except that a
//      waiter that was cancelled may have been at the head until then: its operation looks again when it dies.
//   4. The last touch of who releases is that CAS, or lies inside of the hashed lock.
//
//   x_state   units that are free << 1 | queued
class semaphore {
 public:
  /// Throws: misuse_error for less than one unit, or more than could be counted.
  explicit constexpr semaphore(std::ptrdiff_t units)
      : x_total(static_cast<std::uint64_t>(units)), x_state(x_total << 1) {
    if (units < 1 || units > PTRDIFF_MAX / 2)
      throw misuse_error("runnel: semaphore(n) takes at least one unit: of none nothing could ever be acquired");
  }
  semaphore(const semaphore&) = delete;
  semaphore& operator=(const semaphore&) = delete;
  ~semaphore() {
    if (available() != total())
      detail::fatal("a semaphore was destroyed while some of its units were out, or while somebody waited for them");
  }

  /// Acquires n units, waiting until it is this one's turn and they are free.
  ///
  /// Returns: the permit. Suspends: until then, and now and then to let others run; resumes on its own scheduler.
  /// Throws: misuse_error, at the call, for a negative n, and for one above total(). Complexity: O(1).
  [[nodiscard("co_await it: acquire() alone acquires nothing")]] auto acquire(std::ptrdiff_t n = 1) {
    return acquire_operation(acquire_request{this, checked(n)});
  }
  /// Acquires n units if they are free and nobody waits. Never waits. Returns: a permit, which converts to whether
  /// it did.
  /// Throws: as acquire().
  [[nodiscard("the units are given back when the permit dies")]] permit try_acquire(std::ptrdiff_t n = 1);

  /// Gives back units of a permit that was detached; the others do it themselves.
  /// Throws: misuse_error, with no effect, for a negative n, and for more than are out.
  void release(std::ptrdiff_t n = 1) {
    if (n < 0 || !give_back(static_cast<std::uint64_t>(n)))
      throw misuse_error("runnel: release of more units than were acquired from the semaphore");
  }

  std::ptrdiff_t total() const noexcept { return static_cast<std::ptrdiff_t>(x_total); }
  /// A snapshot.
  std::ptrdiff_t available() const noexcept {
    return static_cast<std::ptrdiff_t>(x_state.load(std::memory_order_relaxed) >> 1);
  }
  /// How many wait, a snapshot. O(waiters).
  std::size_t waiting() const noexcept { return detail::count_waiting(*this, x_waiters); }

 private:
  friend class permit;
  using state = std::uint64_t;
  static constexpr state queued = 1;

  struct acquire_request {
    semaphore* of;
    state units;
    bool try_take() const noexcept { return of->take_if_free(units); }
  };
  struct acquire_waiter : detail::waiter {
    using request = acquire_request;
    acquire_request asked;
    explicit acquire_waiter(acquire_request a) noexcept : waiter(reason_t::permits), asked(a) {}
    bool acquire(detail::goroutine& self, detail::promise_base* leaf) noexcept {
      return asked.of->acquire_or_park(self, leaf, *this);
    }
    void give_up() noexcept { asked.of->reconsider(); }
  };
  class acquire_operation : public detail::acquire_operation<acquire_waiter> {
   public:
    explicit acquire_operation(acquire_request asked) noexcept : detail::acquire_operation<acquire_waiter>(asked) {}
    permit resume() noexcept;
  };

  state checked(std::ptrdiff_t n) const {
    if (n < 0 || n > total())
      throw misuse_error("runnel: acquire of more units than the semaphore has, or of a negative number");
    return static_cast<state>(n);
  }
  bool take_if_free(state n) noexcept {
    state s = x_state.load(std::memory_order_relaxed);
    while (!(s & queued) && s >> 1 >= n)
      if (x_state.compare_exchange_weak(s, s - (n << 1), std::memory_order_acquire, std::memory_order_relaxed))
        return true;
    return false;
  }
  bool acquire_or_park(detail::goroutine& g, detail::promise_base* leaf, acquire_waiter& w) noexcept {
    granted next;
    detail::park_lock& q = detail::hashed_lock(this);
    detail::processor* here = g.proc;  // now: it may run again elsewhere
    bool biased = q.lock(here);
    set_queued();
    grant(next);  // those behind one that was cancelled
    bool taken = x_waiters.empty() && take_queued(w.asked.units);
    bool parked = !taken && detail::park(g, leaf, q, w, x_waiters);
    settle();
    q.unlock(biased);  // last touch, if parked
    next.fire(here);
    if (taken) return false;
    if (!parked) detail::stop_here(g, leaf);
    return true;
  }
  // False: so many are not out.
  bool give_back(state n) noexcept {
    state s = x_state.load(std::memory_order_relaxed);
    while (!(s & queued)) {
      if (n > x_total - (s >> 1)) return false;
      if (x_state.compare_exchange_weak(s, s + (n << 1), std::memory_order_release, std::memory_order_relaxed))
        return true;
    }
    return give_back_slow(n);
  }
  RUNNEL_NOINLINE bool give_back_slow(state n) noexcept {
    granted next;
    detail::park_lock& q = detail::hashed_lock(this);
    detail::processor* here = detail::this_processor();
    bool biased = q.lock(here);
    state s = set_queued();  // all waiters may have left while we came here
    bool out = n <= x_total - (s >> 1);
    if (out) x_state.store(s + (n << 1), std::memory_order_relaxed);
    grant(next);
    settle();
    q.unlock(biased);
    next.fire(here);
    return out;
  }
  // A waiter was cancelled, and is out of the queue.
  void reconsider() noexcept {
    granted next;
    detail::park_lock& q = detail::hashed_lock(this);
    detail::processor* here = detail::this_processor();
    bool biased = q.lock(here);
    if (x_state.load(std::memory_order_relaxed) & queued) {
      grant(next);
      settle();
    }
    q.unlock(biased);
    next.fire(here);
  }

  // Whose turn it is: mostly nobody's, or one's, who needs no chain.
  struct granted {
    bool any = false;
    detail::woken first;
    detail::woken_batch others;

    void fire(detail::processor* here) noexcept {
      if (!any) return;
      here ? first.fire(*here) : first.fire();
      others.fire();
    }
  };
  // Under the hashed lock: from here on the state is ours.
  state set_queued() noexcept {
    state s = x_state.load(std::memory_order_relaxed);
    if (!(s & queued)) s = x_state.fetch_or(queued, std::memory_order_acquire) | queued;
    return s;
  }
  // Under the hashed lock, with `queued` set.
  bool take_queued(state n) noexcept {
    state s = x_state.load(std::memory_order_relaxed);
    if (s >> 1 < n) return false;
    x_state.store(s - (n << 1), std::memory_order_relaxed);
    return true;
  }
  void grant(granted& next) noexcept {
    while (auto* w = static_cast<acquire_waiter*>(static_cast<detail::waiter*>(x_waiters.front()))) {
      if (!take_queued(w->asked.units)) return;
      if (!std::exchange(next.any, true)) {
        detail::take(x_waiters, next.first);  // in place: a copy of what was just written in parts would stall
      } else {
        detail::woken one;
        detail::take(x_waiters, one);
        next.others.add(one);
      }
    }
  }
  void settle() noexcept {
    if (x_waiters.empty())  // release: what was done under the lock, before the next CAS
      x_state.store(x_state.load(std::memory_order_relaxed) & ~queued, std::memory_order_release);
  }

  const std::uint64_t x_total;
  std::atomic<state> x_state;
  detail::list_head x_waiters;
};

/// Units of a semaphore, or nothing. Moves, also as an argument of a goroutine; what was moved from has nothing.
/// Gives them back when it dies.
class [[nodiscard("the units are given back when this dies: keep it")]] permit {
 public:
  permit() noexcept = default;
  permit(permit&& other) noexcept
      : x_semaphore(std::exchange(other.x_semaphore, nullptr)), x_units(std::exchange(other.x_units, 0)) {}
  permit& operator=(permit&& other) noexcept {
    permit taken(std::move(other));
    std::swap(x_semaphore, taken.x_semaphore);
    std::swap(x_units, taken.x_units);
    return *this;
  }
  ~permit() {
    if (x_semaphore && !x_semaphore->give_back(x_units))
      detail::fatal("the units of a permit were released by somebody else");
  }

  /// Gives all units back before the permit dies. Throws: misuse_error if it has none.
  void release() {
    if (!x_semaphore) throw misuse_error("runnel: release of a permit that has no units");
    std::exchange(x_semaphore, nullptr)->release(detach());
  }
  /// Gives some of them back; with the last of them it is as after release(). Throws: misuse_error, with no effect, for
  /// a negative n, or if it has fewer.
  void release(std::ptrdiff_t n) {
    if (n < 0 || n > units()) throw misuse_error("runnel: release of more units than the permit has");
    if (n == 0) return;
    x_units -= static_cast<std::uint64_t>(n);
    (x_units == 0 ? std::exchange(x_semaphore, nullptr) : x_semaphore)->release(n);
  }
  /// Leaves the units acquired: somebody else will release them. Returns: how many.
  std::ptrdiff_t detach() noexcept {
    x_semaphore = nullptr;
    return static_cast<std::ptrdiff_t>(std::exchange(x_units, 0));
  }
  std::ptrdiff_t units() const noexcept { return static_cast<std::ptrdiff_t>(x_units); }
  /// Whether it was acquired, if only for no units.
  explicit operator bool() const noexcept { return x_semaphore; }

 private:
  friend class semaphore;
  permit(semaphore& s, std::uint64_t units) noexcept : x_semaphore(&s), x_units(units) {}
  semaphore* x_semaphore = nullptr;
  std::uint64_t x_units = 0;
};

// Implementation

inline permit semaphore::acquire_operation::resume() noexcept {
  detail::acquire_operation<acquire_waiter>::resume();
  return permit(*asked().of, asked().units);
}

inline permit semaphore::try_acquire(std::ptrdiff_t n) {
  state units = checked(n);
  return take_if_free(units) ? permit(*this, units) : permit();
}

}  // namespace runnel
