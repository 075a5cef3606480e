// SPDX-License-Identifier: BSL-1.0
// runnel/detail/wait_source.hpp: what can be waited for beside a channel, alone or as a case of a select.
// Layer: L3
#pragma once

#include <runnel/detail/goroutine.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/detail/timer_service.hpp>
#include <runnel/waiter.hpp>

#include <cstdint>

namespace runnel::detail {

// One wait of one goroutine: for a tick, for news, for the end of a context. The source is the waiter: whoever has
// something for it takes it out of a queue, claims it and leaves the result in it, as with every waiter.
//
// Invariants:
//   1. ready(), take(), join_queue() and leave_queue() are called under `guard`, if there is one. A source without a
//      guard has a lock of its own inside of join_queue() and leave_queue().
//   2. take() follows a ready() that was true, in the same hold, or a join_queue() that was refused. It sets `outcome`.
//   3. After leave_queue() nobody refers to the source any more, nor is busy with it.
class wait_source : public waiter {
 public:
  // What is left to do when a waiter has been listed and the lock has been left. It refers to nothing of the source.
  struct listed_t {
    bool listed = true;  // false: there is no need to wait
    timer_service* timers = nullptr;
    void finish() const noexcept {
      if (timers) timers->set_host();
    }
  };

  wait_source& operator=(const wait_source&) = delete;

  // Before it is asked anything, by the goroutine that will wait.
  virtual void enter(goroutine&) noexcept {}
  // A guess, without any lock.
  virtual bool looks_ready(goroutine& me) noexcept = 0;
  virtual bool ready(goroutine& me) noexcept = 0;
  virtual void take(goroutine& me) noexcept = 0;
  virtual listed_t join_queue(goroutine& me) noexcept = 0;
  virtual void leave_queue() noexcept = 0;

  park_lock* guard = nullptr;

 protected:
  wait_source() noexcept = default;
  wait_source(wait_source&&) noexcept : waiter() {}  // of one that has not waited
  ~wait_source() = default;
};

// Its lock, if it has one.
class source_guard {
 public:
  explicit source_guard(wait_source& s) noexcept : x_lock(s.guard), x_biased(x_lock && x_lock->lock(nullptr)) {}
  ~source_guard() {
    if (x_lock) x_lock->unlock(x_biased);
  }
  source_guard(const source_guard&) = delete;
  source_guard& operator=(const source_guard&) = delete;

 private:
  park_lock* x_lock;
  bool x_biased;
};

// co_await of a source alone, one that has a guard. Self has value(), what the goroutine is given.
template <class Self> class source_operation : public awaitable_base, public wait_source {
 public:
  bool suspend(promise_base* leaf) {
    goroutine& me = goroutine_of(leaf);
    if (!enter_operation(me)) [[unlikely]]
      return stop_here(me, leaf), true;
    Self& self = static_cast<Self&>(*this);
    self.enter(me);
    kind = waiter::kind_t::plain;
    g = &me;
    listed_t joined;
    bool parked = false;
    park_lock& q = *guard;
    bool biased = q.lock(nullptr);
    bool is_ready = self.ready(me);
    if (is_ready)
      self.take(me);
    else if ((parked = park_on(me, leaf, q, *this)))
      joined = self.join_queue(me);
    q.unlock(biased);
    if (is_ready) return spend_budget(me, leaf);
    if (parked)
      joined.finish();
    else
      stop_here(me, leaf);
    return true;
  }
  decltype(auto) resume() { return static_cast<Self&>(*this).value(); }

 protected:
  source_operation() noexcept = default;
  source_operation(source_operation&&) noexcept = default;
  ~source_operation() = default;
};

}  // namespace runnel::detail
