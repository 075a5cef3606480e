// SPDX-License-Identifier: BSL-1.0
// runnel/sync/shared_mutex.hpp: shared_mutex, for many readers or one writer; readers do not starve writers.
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

namespace detail {
template <bool Writes> class share_guard;
}

/// Many readers at once, or one writer.
///
///     auto reading = co_await m.lock_shared();
///     auto writing = co_await m.lock();
///
/// Once a writer waits, new readers wait until it has come and gone; so a goroutine that locks for reading twice at
/// a time may wait for itself. When a writer unlocks, the readers that wait are let in, all of them, before the
/// next writer. Writers are served in the order of arrival. There is no upgrade and no downgrade.
///
/// Cancel-safety: a cancelled lock has taken nothing, and those who waited behind it do not wait for it any more;
/// one that was granted before returns the guard.
/// Ordering: a writer's unlock happens before every later lock, a reader's before the next writer's lock.
/// Thread-safety: everything may be called from any thread at the same time; a guard has one owner at a time.
/// Lifetime: neither copied nor moved; constexpr. Destroying it while it is locked, and so while somebody waits for
/// it, is a reported error. A goroutine that was cancelled while it waited has left when it has unwound.
/// Contract: SEMANTICS.md RW-01 to RW-06, MU-C01 to MU-C04.
//
// Invariants:
//   1. While bit `queued` of the state is clear, nobody waits, and the state changes by CAS, by anybody.
//   2. While it is set, the state changes under the hashed lock alone.
//   3. Whoever leaves the hashed lock leaves no waiter that could be let in: a writer if nobody is in; a reader if
//      no writer is in, and none waits. A writer that was cancelled keeps readers out until its operation dies.
//   4. The last touch of who unlocks is that CAS, or lies inside of the hashed lock.
//
//   x_state   readers << 2 | queued << 1 | writer
class shared_mutex {
 public:
  using guard = detail::share_guard<true>;
  using shared_guard = detail::share_guard<false>;
  class read_side_t;

  constexpr shared_mutex() noexcept = default;
  shared_mutex(const shared_mutex&) = delete;
  shared_mutex& operator=(const shared_mutex&) = delete;
  ~shared_mutex() {
    if (x_state.load(std::memory_order_relaxed) & ~queued)
      detail::fatal("a shared_mutex was destroyed while it was locked, or while somebody waited for it");
  }

  /// Locks it for writing, waiting until nobody is in.
  /// Returns: the guard. Suspends: while others are in, and now and then to let others run. Complexity: O(1).
  [[nodiscard("co_await it: m.lock() alone locks nothing")]] auto lock() noexcept;
  /// Locks it for reading, waiting until no writer is in or waits.
  /// Returns: the guard. Suspends: while a writer is in or waits, and now and then to let others run.
  [[nodiscard("co_await it: m.lock_shared() alone locks nothing")]] auto lock_shared() noexcept;
  /// Lock it if that is possible now. Never wait. Return: a guard, which converts to whether it has locked it.
  [[nodiscard("it is unlocked when the guard dies")]] guard try_lock() noexcept;
  [[nodiscard("it is unlocked when the guard dies")]] shared_guard try_lock_shared() noexcept;

  /// Unlock what a guard has released. Throw: misuse_error, with no effect, if it is not locked in this way.
  void unlock() {
    if (!release(true)) throw misuse_error("runnel: unlock of a shared_mutex that is not locked for writing");
  }
  void unlock_shared() {
    if (!release(false)) throw misuse_error("runnel: unlock_shared of a shared_mutex that is not locked for reading");
  }

  /// The reading side as something with lock, try_lock and unlock.
  read_side_t read_side() noexcept;

  /// Snapshots.
  bool is_locked() const noexcept { return x_state.load(std::memory_order_relaxed) & writer; }
  std::size_t readers() const noexcept { return x_state.load(std::memory_order_relaxed) / reader; }
  /// How many wait, readers and writers, a snapshot. O(waiters).
  std::size_t waiting() const noexcept { return detail::count_waiting(*this, x_readers, x_writers); }

 private:
  template <bool> friend class detail::share_guard;
  using state = std::uint64_t;
  static constexpr state writer = 1, queued = 2, reader = 4;

  struct lock_request {
    shared_mutex* of;
    bool writes;
    bool try_take() const noexcept { return of->take_if_free(writes); }
  };
  struct lock_waiter : detail::waiter {
    using request = lock_request;
    lock_request asked;
    explicit lock_waiter(lock_request a) noexcept : asked(a) {}
    bool acquire(detail::goroutine& self, detail::promise_base* leaf) noexcept {
      return asked.of->acquire(self, leaf, *this);
    }
    void give_up() noexcept { asked.of->reconsider(); }
  };
  template <class Guard> class lock_operation : public detail::acquire_operation<lock_waiter> {
   public:
    lock_operation(shared_mutex& m, bool writes) noexcept : acquire_operation(lock_request{&m, writes}) {}
    Guard resume() noexcept {
      acquire_operation::resume();
      return Guard(*asked().of);
    }
  };

  static constexpr bool lets_in(state s, bool writes) noexcept { return !(s & writer) && (!writes || s < reader); }
  static constexpr state share_of(bool writes) noexcept { return writes ? writer : reader; }

  bool take_if_free(bool writes) noexcept {
    state s = x_state.load(std::memory_order_relaxed);
    while (!(s & queued) && lets_in(s, writes))
      if (x_state.compare_exchange_weak(s, s + share_of(writes), std::memory_order_acquire, std::memory_order_relaxed))
        return true;
    return false;
  }
  bool acquire(detail::goroutine& g, detail::promise_base* leaf, lock_waiter& w) noexcept {
    bool writes = w.asked.writes;
    detail::woken_batch next;
    detail::park_lock& q = detail::hashed_lock(this);
    bool biased = q.lock(g.proc);
    state s = x_state.load(std::memory_order_relaxed);
    while (!(s & queued)) {  // from here on it is ours
      state wanted = lets_in(s, writes) ? s + share_of(writes) : s | queued;
      if (!x_state.compare_exchange_weak(s, wanted, std::memory_order_acquire, std::memory_order_relaxed)) continue;
      if (wanted & queued) break;
      q.unlock(biased);
      return false;
    }
    let_in(next);  // those behind a writer that was cancelled
    s = x_state.load(std::memory_order_relaxed);
    bool taken = lets_in(s, writes) && x_writers.empty();
    if (taken) x_state.store(s + share_of(writes), std::memory_order_relaxed);
    bool parked = !taken && detail::park(g, leaf, q, w, writes ? x_writers : x_readers);
    settle();
    q.unlock(biased);  // last touch, if parked
    next.fire();
    if (taken) return false;
    if (!parked) detail::stop_here(g, leaf);
    return true;
  }
  // False: it was not locked in this way.
  bool release(bool writes) noexcept {
    state s = x_state.load(std::memory_order_relaxed);
    while (!(s & queued)) {
      if (writes ? s != writer : s < reader) return false;
      if (x_state.compare_exchange_weak(s, s - share_of(writes), std::memory_order_release, std::memory_order_relaxed))
        return true;
    }
    return release_slow(writes);
  }
  RUNNEL_NOINLINE bool release_slow(bool writes) noexcept {
    detail::woken_batch next;
    detail::park_lock& q = detail::hashed_lock(this);
    bool biased = q.lock(detail::this_processor());
    // While we came here the last waiter may have been let in or cancelled, so that the bit may be clear.
    state s = x_state.fetch_or(queued, std::memory_order_acquire) | queued;
    bool locked = writes ? (s & writer) != 0 : s >= reader;
    if (locked) x_state.store(s - share_of(writes), std::memory_order_relaxed);
    if (locked && writes) let_readers_in(next);
    let_in(next);
    settle();
    q.unlock(biased);
    next.fire();
    return locked;
  }
  // A waiter was cancelled, and is out of the queue: whoever waited behind it may be let in.
  void reconsider() noexcept {
    detail::woken_batch next;
    detail::park_lock& q = detail::hashed_lock(this);
    bool biased = q.lock(detail::this_processor());
    if (x_state.load(std::memory_order_relaxed) & queued) {
      let_in(next);
      settle();
    }
    q.unlock(biased);
    next.fire();
  }

  // Under the hashed lock, with `queued` set.
  void let_in(detail::woken_batch& next) noexcept {
    state s = x_state.load(std::memory_order_relaxed);
    if (detail::woken one; lets_in(s, true) && detail::take(x_writers, one)) {
      x_state.store(s + writer, std::memory_order_relaxed);
      next.add(one);
    } else if (lets_in(s, false) && x_writers.empty()) {
      let_readers_in(next);
    }
  }
  void let_readers_in(detail::woken_batch& next) noexcept {
    state s = x_state.load(std::memory_order_relaxed);
    for (detail::woken one; detail::take(x_readers, one); one = {}, s += reader) next.add(one);
    x_state.store(s, std::memory_order_relaxed);
  }
  void settle() noexcept {
    if (x_readers.empty() && x_writers.empty())  // release: what was done under the lock, before the next CAS
      x_state.store(x_state.load(std::memory_order_relaxed) & ~queued, std::memory_order_release);
  }

  std::atomic<state> x_state{0};
  detail::list_head x_readers;
  detail::list_head x_writers;
};

namespace detail {

// A share of a shared_mutex, or nothing. Moves; what was moved from has nothing. Unlocks when it dies.
template <bool Writes> class [[nodiscard("the mutex is unlocked when this dies: keep it")]] share_guard {
 public:
  share_guard() noexcept = default;
  share_guard(share_guard&& other) noexcept : x_mutex(std::exchange(other.x_mutex, nullptr)) {}
  share_guard& operator=(share_guard&& other) noexcept {
    share_guard taken(std::move(other));
    std::swap(x_mutex, taken.x_mutex);
    return *this;
  }
  ~share_guard() {
    if (x_mutex && !x_mutex->release(Writes)) fatal("the shared_mutex of a guard was unlocked by somebody else");
  }

  /// Unlocks before the guard dies. Throws: misuse_error if it has nothing locked.
  void unlock() {
    if (!x_mutex) throw misuse_error("runnel: unlock of a guard that has nothing locked");
    shared_mutex& m = *std::exchange(x_mutex, nullptr);
    Writes ? m.unlock() : m.unlock_shared();
  }
  /// Leaves the mutex locked: somebody else will call its unlock() or unlock_shared(). Returns: null if it has
  /// none.
  shared_mutex* release() noexcept { return std::exchange(x_mutex, nullptr); }
  bool owns_lock() const noexcept { return x_mutex; }
  explicit operator bool() const noexcept { return owns_lock(); }

 private:
  friend class runnel::shared_mutex;
  explicit share_guard(shared_mutex& m) noexcept : x_mutex(&m) {}
  shared_mutex* x_mutex = nullptr;
};

}  // namespace detail

inline auto shared_mutex::lock() noexcept { return lock_operation<guard>(*this, true); }
inline auto shared_mutex::lock_shared() noexcept { return lock_operation<shared_guard>(*this, false); }

/// The reading side of a shared_mutex, with the names of a mutex.
class shared_mutex::read_side_t {
 public:
  [[nodiscard("co_await it: lock() alone locks nothing")]] auto lock() noexcept { return x_mutex.lock_shared(); }
  [[nodiscard("it is unlocked when the guard dies")]] shared_guard try_lock() noexcept {
    return x_mutex.try_lock_shared();
  }
  void unlock() { x_mutex.unlock_shared(); }

 private:
  friend class shared_mutex;
  explicit read_side_t(shared_mutex& m) noexcept : x_mutex(m) {}
  shared_mutex& x_mutex;
};

// Implementation

inline shared_mutex::guard shared_mutex::try_lock() noexcept { return take_if_free(true) ? guard(*this) : guard(); }
inline shared_mutex::shared_guard shared_mutex::try_lock_shared() noexcept {
  return take_if_free(false) ? shared_guard(*this) : shared_guard();
}
inline shared_mutex::read_side_t shared_mutex::read_side() noexcept { return read_side_t(*this); }

}  // namespace runnel
