// SPDX-License-Identifier: BSL-1.0
// runnel/sync/condition.hpp: condition, where goroutines wait, a mutex unlocked, until they are told to look again.
// Layer: L4
#pragma once

#include <runnel/compiler.hpp>
#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/processor.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/detail/waiters.hpp>
#include <runnel/error.hpp>
#include <runnel/sync/mutex.hpp>
#include <runnel/task.hpp>
#include <runnel/waiter.hpp>

#include <cstddef>
#include <type_traits>
#include <utility>

namespace runnel {

/// Where goroutines wait for a state that a mutex guards.
///
///     auto guard = co_await m.lock();
///     while (!ready) co_await c.wait(guard);      // or: co_await c.wait(guard, [&] { return ready; });
///
/// A wait ends only because it was notified; what it waits for may have changed again by then. Notifications are
/// not kept: without a waiter they are lost. A channel is mostly the better tool.
///
/// Cancel-safety: a cancelled wait does not lock the mutex again: the guard has nothing while it waits, and
/// unwinding unlocks nothing twice. If it was notified by notify_one, the notification goes to the next waiter.
/// Ordering: a notification happens before the return of the wait that it ends.
/// Thread-safety: everything may be called from any thread at the same time, with or without the mutex.
/// Lifetime: neither copied nor moved; constexpr. Destroying it while somebody waits is a reported error. A
/// goroutine that was cancelled while it waited has left when it has unwound.
/// Contract: SEMANTICS.md CO-01 to CO-07, CO-C01.
//
// A wait goes through these states; each changes under the hashed lock of where it is queued:
//   queued    in our queue, while the goroutine still runs: it is about to unlock the mutex
//   parked    the same, asleep
//   notified  out of our queue. If it was parked, the notifier locks the mutex on its behalf, or queues it there;
//             if not, it does that itself
//   done      it has the mutex, and was resumed
//
// Invariants:
//   1. It is queued before the mutex is unlocked: nobody who locks the mutex afterwards can notify in vain.
//   2. The mutex is unlocked before the wait can be cancelled: who is unwound has no part in it any more.
//   3. Who notifies touches the condition last inside of the hashed lock.
class condition {
 public:
  constexpr condition() noexcept = default;
  condition(const condition&) = delete;
  condition& operator=(const condition&) = delete;
  ~condition() {
    if (!x_waiters.empty()) detail::fatal("a condition was destroyed while somebody waited for it");
  }

  /// Unlocks the guard's mutex, waits to be notified, and locks the mutex again, in its turn.
  ///
  /// Suspends: until it is notified and has the mutex; resumes on its own scheduler. A context that is done already
  /// unwinds with the mutex still locked by the guard.
  /// Throws: misuse_error, at the call, if the guard has nothing locked.
  [[nodiscard("co_await it: wait() alone does not wait")]] auto wait(mutex::guard& locked) {
    return wait_operation(*this, locked);
  }
  /// The same until pred(), which is called with the mutex locked, is true. Returns at once if it is.
  template <class Predicate>
  [[nodiscard("co_await it: wait() alone does not wait")]] task<> wait(mutex::guard& locked, Predicate&& pred) {
    detail::refuse_hazardous<Predicate>();
    return wait_until<detail::kept_t<Predicate>>(*this, locked, detail::unmoved(std::forward<Predicate>(pred)));
  }

  /// Wakes the one who has waited longest, if there is one.
  void notify_one() noexcept {
    cond_waiter* notified = nullptr;
    {
      detail::park_lock::guard hold(detail::hashed_lock(this), detail::this_processor());
      notified = notify_first(cond_waiter::by_t::one);
    }
    if (notified) notified->asked->lock_on_behalf_of(*notified);
  }
  /// Wakes all who wait now. Complexity: O(waiters).
  void notify_all() noexcept {
    detail::list_head parked;
    {
      detail::park_lock::guard hold(detail::hashed_lock(this), detail::this_processor());
      while (!x_waiters.empty())
        if (cond_waiter* w = notify_first(cond_waiter::by_t::all)) parked.push_back(w);
    }
    while (auto* w = static_cast<cond_waiter*>(static_cast<detail::waiter*>(parked.pop_front())))
      w->asked->lock_on_behalf_of(*w);
  }
  /// How many wait to be notified, a snapshot. O(waiters).
  std::size_t waiting() const noexcept { return detail::count_waiting(*this, x_waiters); }

 private:
  struct cond_waiter : detail::waiter {
    enum class by_t : unsigned char { nobody, one, all };
    cond_waiter() noexcept : waiter(reason_t::notification) {}
    mutex* asked = nullptr;
    bool parked = false;  // and by: under our hashed lock
    by_t by = by_t::nobody;
  };

  class wait_operation : public detail::awaitable_base {
   public:
    wait_operation(condition& c, mutex::guard& locked) : x_condition(c), x_guard(locked) {
      if (!locked)
        throw misuse_error("runnel: a condition is waited for with its mutex locked: this guard has nothing");
    }
    wait_operation(wait_operation&& other) noexcept : x_condition(other.x_condition), x_guard(other.x_guard) {}
    wait_operation& operator=(const wait_operation&) = delete;
    ~wait_operation() {  // it was notified, and cancelled before it had the mutex
      if (x_waiter.by == cond_waiter::by_t::one) x_condition.notify_one();
    }

    bool suspend(detail::promise_base* leaf) {
      detail::goroutine& g = detail::goroutine_of(leaf);
      if (!detail::enter_operation(g)) return detail::stop_here(g, leaf), true;
      if (!x_guard)
        throw misuse_error("runnel: a condition is waited for with its mutex locked: this guard has nothing");
      mutex& m = *x_guard.release();
      detail::park_lock& q = detail::hashed_lock(&x_condition);
      x_waiter.asked = &m;
      x_waiter.g = &g;
      bool biased = q.lock(g.proc);
      x_condition.x_waiters.push_back(&x_waiter);
      q.unlock(biased);
      if (!m.release()) detail::fatal("the mutex of a guard was unlocked by somebody else");
      biased = q.lock(g.proc);
      bool notified = !x_waiter.linked();
      bool parked = !notified && detail::park_on(g, leaf, q, x_waiter);
      x_waiter.parked = parked;
      if (!notified && !parked) detail::unlink(&x_waiter);
      q.unlock(biased);  // last touch, if parked
      if (notified) return m.acquire(g, leaf, x_waiter);
      if (!parked) detail::stop_here(g, leaf);
      return true;
    }
    void resume() noexcept {
      x_waiter.by = cond_waiter::by_t::nobody;
      x_guard = mutex::guard(*x_waiter.asked);
    }

   private:
    condition& x_condition;
    mutex::guard& x_guard;
    cond_waiter x_waiter;
  };

  template <class Predicate> static task<> wait_until(condition& c, mutex::guard& locked, Predicate pred) {
    while (!pred()) co_await c.wait(locked);
  }

  // Under the hashed lock. The first waiter, if the caller has to lock the mutex on its behalf.
  cond_waiter* notify_first(cond_waiter::by_t by) noexcept {
    auto* w = static_cast<cond_waiter*>(static_cast<detail::waiter*>(x_waiters.pop_front()));
    if (!w) return nullptr;
    w->by = by;
    if (!w->parked) return nullptr;
    detail::woken claimed;
    detail::claim(*w, claimed);  // it is ours: nobody can cancel it until it is queued again
    return w;
  }

  detail::list_head x_waiters;
};

}  // namespace runnel
