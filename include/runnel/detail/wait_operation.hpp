// SPDX-License-Identifier: BSL-1.0
// runnel/detail/wait_operation.hpp: awaiting a state of something that lives in user memory.
// Layer: L4
#pragma once

#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/waiter.hpp>

namespace runnel::detail {

// Something that is waited for: `ready()` says whether there is still a reason to wait. Who makes it ready does so
// under hashed_lock(this), and takes `waiters` out there.
//
// Invariant: ready() may be asked without the lock, and whoever hears "yes" may destroy the object. So who makes it
// ready says so with its last touch of the object, under the lock or not.
template <class Object> class wait_operation : public awaitable_base {
 public:
  explicit wait_operation(Object& object, waiter::reason_t r = waiter::reason_t::unknown) noexcept
      : x_object(object), x_waiter(r) {}
  wait_operation(wait_operation&& other) noexcept  // of what has not begun
      : wait_operation(other.x_object, other.x_waiter.reason()) {}
  wait_operation& operator=(const wait_operation&) = delete;

  bool suspend(promise_base* leaf) {
    goroutine& g = goroutine_of(leaf);
    if (!enter_operation(g)) [[unlikely]]
      return stop_here(g, leaf), true;
    if (x_object.ready()) return spend_budget(g, leaf);
    park_lock& q = hashed_lock(&x_object);
    bool biased = q.lock(g.proc);
    bool ready = x_object.ready();
    bool parked = !ready && park(g, leaf, q, x_waiter, x_object.waiters());
    q.unlock(biased);  // last touch, if parked
    if (ready) return spend_budget(g, leaf);
    if (!parked) stop_here(g, leaf);
    return true;
  }
  void resume() const noexcept {}

 private:
  Object& x_object;
  waiter x_waiter;
};

// Looks at the context, and goes on at once if that is not done.
class checkpoint : public awaitable_base {
 public:
  bool suspend(promise_base* leaf) const {
    goroutine& g = goroutine_of(leaf);
    if (enter_operation(g)) return false;
    return stop_here(g, leaf), true;
  }
  void resume() const noexcept {}
};

// The same as the first step of what may complete without waiting: it counts against the budget.
class counted_checkpoint : public awaitable_base {
 public:
  bool suspend(promise_base* leaf) const {
    goroutine& g = goroutine_of(leaf);
    if (enter_operation(g)) return spend_budget(g, leaf);
    return stop_here(g, leaf), true;
  }
  void resume() const noexcept {}
};

}  // namespace runnel::detail
