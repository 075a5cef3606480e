// SPDX-License-Identifier: BSL-1.0
// runnel/detail/acquire.hpp: awaiting what others will wait for in turn: locks and permits.
// Layer: L4
#pragma once

#include <runnel/config.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/task.hpp>
#include <runnel/waiter.hpp>

#include <memory>
#include <new>

namespace runnel::detail {

// The awaited form of lock() and acquire(). Waiter is the waiter that it leaves in the primitive's queue. It has
//   request                 what is asked for, which can be copied; with bool try_take(), which takes it if that is
//                           possible at once
//   Waiter(request)
//   bool acquire(g, leaf)   takes it, or leaves the goroutine parked, or stopped. Returns whether it is suspended; it
//                           has what it asked for when it is resumed
//   void give_up()          optional: it was suspended and never resumed, and others may have waited behind it
//
// A goroutine whose budget is spent must let others run. If it did so with the lock in its hands, all of them would
// queue up behind it, and from then on each use of a lock that nobody holds for long would be a switch of
// goroutines. So it gives its turn away first and acquires afterwards, in a frame of its own. Where there is no
// memory for that frame it acquires at once, and gives its turn away at its next operation.
//
// Invariant: of x_waits and x_later the one is alive that x_state names.
template <class Waiter> class acquire_operation : public awaitable_base {
 public:
  using request = typename Waiter::request;
  explicit acquire_operation(request r) noexcept : x_asked(r) {}
  acquire_operation(acquire_operation&& other) noexcept : x_asked(other.x_asked) {}  // of what has not begun
  acquire_operation& operator=(const acquire_operation&) = delete;
  ~acquire_operation() {
    if constexpr (requires(Waiter& w) { w.give_up(); })
      if (x_state == state_t::waits) x_waits.give_up();
  }

  bool suspend(promise_base* leaf) {
    goroutine& g = goroutine_of(leaf);
    if (!enter_operation(g)) [[unlikely]]
      return stop_here(g, leaf), true;
    if (g.budget > 1 && x_asked.try_take()) [[likely]] {
      --g.budget;
      return false;
    }
    return suspend_slow(g, leaf);
  }
  void resume() noexcept { x_state = state_t::idle; }

 protected:
  const request& asked() const noexcept { return x_asked; }

 private:
  enum class state_t : unsigned char { idle, waits, later };

  RUNNEL_NOINLINE bool suspend_slow(goroutine& g, promise_base* leaf) noexcept {
    if (g.budget > 1)
      --g.budget;
    else if (give_turn_away(g, leaf))
      return true;
    std::construct_at(&x_waits, x_asked);
    x_state = state_t::waits;
    return x_waits.acquire(g, leaf);
  }
  static task<> acquire_later(request r) {
    acquire_operation operation(r);
    co_await std::move(operation);
  }
  bool give_turn_away(goroutine& g, promise_base* leaf) noexcept {
    promise_base* frame;
    try {
      frame = acquire_later(x_asked).release();
    } catch (const std::bad_alloc&) {
      return false;
    }
    std::construct_at(&x_later)->parent = leaf;
    x_state = state_t::later;
    frame->cont = &x_later;
    frame->g = &g;
    g.set_leaf(frame);
    requeue_self(g);
    return true;
  }

  request x_asked;
  state_t x_state = state_t::idle;
  union {
    Waiter x_waits;
    task_link<void> x_later;
  };
};

}  // namespace runnel::detail
