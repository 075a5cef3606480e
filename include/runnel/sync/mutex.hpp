// SPDX-License-Identifier: BSL-1.0
// runnel/sync/mutex.hpp: mutex, a lock that goroutines wait for, handed over in the order of arrival.
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

/// Mutual exclusion between goroutines. Who waits keeps no thread, and who has it may keep it over a co_await.
///
///     auto guard = co_await m.lock();   // unlocked when the guard dies
///
/// It is handed to whoever has waited longest, and nobody overtakes a waiter; so nobody is kept out. It is not
/// recursive. It belongs to no goroutine: a guard may be moved to another one, and die there.
///
/// Cancel-safety: a cancelled lock() has taken nothing; one to which the mutex was handed before returns the guard.
/// Ordering: an unlock happens before the return of every later lock. A try_lock that fails orders nothing.
/// Thread-safety: everything may be called from any thread at the same time; a guard has one owner at a time.
/// Lifetime: neither copied nor moved; constexpr. Destroying it while it is locked, and so while somebody waits for
/// it, is a reported error. Whoever has locked it may destroy it when its unlock() has returned.
/// Contract: SEMANTICS.md MU-01 to MU-06, MU-C01 to MU-C04.
//
// Invariants:
//   1. A free mutex has no waiters: unlock() hands it to the oldest, who has it from then on, before it runs.
//   2. The queue changes under the hashed lock only. If it has a waiter, the state is `contended`.
//   3. Who unlocks touches this object last with the CAS that unlocks it, or before it leaves the hashed lock: the
//      next owner may destroy it.
//
//   x_state   unlocked   -> locked: anybody, by CAS (acquire)
//             locked     -> unlocked: the owner, by CAS (release: before the next acquire)
//             locked     -> contended: who is about to wait, by CAS under the hashed lock
//             contended  -> any: the owner, under the hashed lock
class mutex {
 public:
  class guard;

  constexpr mutex() noexcept = default;
  mutex(const mutex&) = delete;
  mutex& operator=(const mutex&) = delete;
  ~mutex() {
    if (is_locked()) detail::fatal("a mutex was destroyed while it was locked, or while somebody waited for it");
  }

  /// Locks it, waiting until it is free.
  ///
  /// Returns: the guard.
  /// Suspends: while another has it, and now and then to let others run; resumes on its own scheduler.
  /// Complexity: O(1).
  [[nodiscard("co_await it: m.lock() alone locks nothing")]] auto lock() noexcept { return lock_operation(*this); }

  /// Locks it if it is free. Never waits. Returns: a guard, which converts to whether it has locked it.
  [[nodiscard("it is unlocked when the guard dies")]] guard try_lock() noexcept;

  /// Unlocks what a guard has released; guards that have not do it themselves.
  /// Throws: misuse_error, with no effect, if it is not locked.
  void unlock() {
    if (!release()) throw misuse_error("runnel: unlock of a mutex that is not locked");
  }

  /// A snapshot.
  bool is_locked() const noexcept { return x_state.load(std::memory_order_relaxed) != unlocked; }
  /// How many wait, a snapshot. O(waiters).
  std::size_t waiting() const noexcept { return detail::count_waiting(*this, x_waiters); }

 private:
  friend class condition;
  static constexpr std::uint8_t unlocked = 0, locked = 1, contended = 2;

  struct lock_request {
    mutex* of;
    bool try_take() const noexcept { return of->take_if_free(); }
  };
  struct lock_waiter : detail::waiter {
    using request = lock_request;
    mutex* of;
    explicit lock_waiter(lock_request asked) noexcept : of(asked.of) {}
    bool acquire(detail::goroutine& self, detail::promise_base* leaf) noexcept {
      return of->acquire(self, leaf, *this);
    }
  };
  class lock_operation : public detail::acquire_operation<lock_waiter> {
   public:
    explicit lock_operation(mutex& m) noexcept : acquire_operation(lock_request{&m}) {}
    guard resume() noexcept;
  };

  bool take_if_free() noexcept {
    std::uint8_t expected = unlocked;
    return !is_locked() &&
           x_state.compare_exchange_strong(expected, locked, std::memory_order_acquire, std::memory_order_relaxed);
  }
  // Under the hashed lock. False: it is contended, and the caller is going to wait.
  bool take_or_contend() noexcept {
    auto seen = x_state.load(std::memory_order_relaxed);
    while (seen != contended) {
      auto next = seen == unlocked ? locked : contended;
      if (x_state.compare_exchange_weak(seen, next, std::memory_order_acquire, std::memory_order_relaxed))
        return next == locked;
    }
    return false;
  }
  bool acquire(detail::goroutine& g, detail::promise_base* leaf, detail::waiter& w) noexcept {
    detail::park_lock& q = detail::hashed_lock(this);
    bool biased = q.lock(g.proc);
    bool taken = take_or_contend();
    bool parked = !taken && detail::park(g, leaf, q, w, x_waiters);
    q.unlock(biased);  // last touch, if parked
    if (taken) return false;
    if (!parked) detail::stop_here(g, leaf);
    return true;
  }
  // False: it was not locked.
  bool release() noexcept {
    std::uint8_t expected = locked;
    if (x_state.compare_exchange_strong(expected, unlocked, std::memory_order_release, std::memory_order_relaxed))
        [[likely]]
      return true;
    return expected == contended && hand_over();
  }
  RUNNEL_NOINLINE bool hand_over() noexcept {
    detail::woken next;
    detail::processor* here = detail::this_processor();
    detail::park_lock& q = detail::hashed_lock(this);
    bool biased = q.lock(here);
    if (!detail::take(x_waiters, next))
      x_state.store(unlocked, std::memory_order_release);  // all of them have been cancelled
    else if (x_waiters.empty())
      x_state.store(locked, std::memory_order_relaxed);  // the new owner is behind the hashed lock and its run queue
    q.unlock(biased);
    here ? next.fire(*here) : next.fire();
    return true;
  }
  // The caller has taken w's goroutine out of another queue. It gets the mutex now, or waits for it, or is stopped.
  void lock_on_behalf_of(detail::waiter& w) noexcept {
    detail::goroutine& g = *w.g;
    detail::processor* here = detail::this_processor();
    detail::park_lock& q = detail::hashed_lock(this);
    bool biased = q.lock(here);
    bool taken = take_or_contend();
    bool parked = !taken && detail::park(g, g.leaf(), q, w, x_waiters);
    q.unlock(biased);
    if (parked) return;
    g.stop = !taken;
    detail::wake(&g);
  }

  std::atomic<std::uint8_t> x_state{unlocked};
  detail::list_head x_waiters;
};

/// A locked mutex, or nothing. Unlocks it when it dies. Moves; what was moved from has nothing.
class [[nodiscard("the mutex is unlocked when this dies: keep it")]] mutex::guard {
 public:
  guard() noexcept = default;
  guard(guard&& other) noexcept : x_mutex(std::exchange(other.x_mutex, nullptr)) {}
  guard& operator=(guard&& other) noexcept {
    guard taken(std::move(other));
    std::swap(x_mutex, taken.x_mutex);
    return *this;
  }
  ~guard() {
    if (x_mutex && !x_mutex->release()) detail::fatal("the mutex of a guard was unlocked by somebody else");
  }

  /// Unlocks before the guard dies. Throws: misuse_error if it has nothing locked.
  void unlock() {
    if (!x_mutex) throw misuse_error("runnel: unlock of a guard that has nothing locked");
    std::exchange(x_mutex, nullptr)->unlock();
  }
  /// Leaves the mutex locked: somebody else will call its unlock(). Returns: the mutex; null if it has none.
  mutex* release() noexcept { return std::exchange(x_mutex, nullptr); }
  bool owns_lock() const noexcept { return x_mutex; }
  explicit operator bool() const noexcept { return owns_lock(); }

 private:
  friend class mutex;
  friend class condition;
  explicit guard(mutex& m) noexcept : x_mutex(&m) {}
  mutex* x_mutex = nullptr;
};

// Implementation

inline mutex::guard mutex::lock_operation::resume() noexcept {
  acquire_operation::resume();
  return guard(*asked().of);
}

inline mutex::guard mutex::try_lock() noexcept { return take_if_free() ? guard(*this) : guard(); }

}  // namespace runnel
