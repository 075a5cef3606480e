// SPDX-License-Identifier: BSL-1.0
// runnel/detail/timer_core.hpp: something that ticks, once or again and again, and those who wait for its ticks.
// Layer: L7
#pragma once

#include <runnel/detail/goroutine.hpp>
#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/runtime_core.hpp>
#include <runnel/detail/timer_service.hpp>
#include <runnel/detail/timer_wheel.hpp>
#include <runnel/detail/wait_source.hpp>
#include <runnel/time_point.hpp>
#include <runnel/waiter.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>

namespace runnel::detail {

// Ticks are not stored: one exists from the moment that it is due until somebody takes it, or the timer is stopped or
// set anew; so none can be stale. At most one is pending: the next of a ticker is found when the pending one is taken.
//
// Invariants:
//   1. Everything changes under the lock of the runtime's timers.
//   2. The entry lies in the wheel only while x_armed; it does whenever somebody waits and x_armed. One that fires
//      while nobody waits only leaves the wheel.
//   3. Somebody waits only while no tick is due, or it is about to be delivered by the wheel.
//
//   x_due   when the next tick is due, if x_armed; written under the lock (relaxed), read anywhere as a hint
class timer_core : private tick_timer {
 public:
  explicit timer_core(runtime_core& runtime) noexcept : x_runtime(runtime) { tick_timer::expire = &deliver; }
  timer_core(const timer_core&) = delete;
  timer_core& operator=(const timer_core&) = delete;

  park_lock& lock() noexcept { return x_runtime.timers.lock(); }
  std::int64_t now() const noexcept { return x_runtime.core.now(); }

  // Under the lock.
  bool due(std::int64_t at) const noexcept { return x_armed && x_due.load(std::memory_order_relaxed) <= at; }
  bool armed() const noexcept { return x_armed; }
  // The pending tick. A ticker's others that came in the meantime are lost.
  std::int64_t take_tick(std::int64_t at) noexcept {
    auto tick = x_due.load(std::memory_order_relaxed);
    if (x_period == 0)
      x_armed = false;
    else
      x_due.store(saturating_add(saturating_add(tick, (at - tick) / x_period * x_period), x_period),
                  std::memory_order_relaxed);
    return tick;
  }
  // Sets the first tick, and the distance of later ones; 0: there are none. Returns whether to call set_host() of the
  // service.
  bool set(std::int64_t due_at, std::int64_t period) noexcept {
    timer_wheel::remove(*this);
    x_due.store(due_at, std::memory_order_relaxed);
    x_period = period;
    x_armed = true;
    return !x_waiters.empty() && list();
  }
  void unset() noexcept {
    timer_wheel::remove(*this);
    x_armed = false;
  }
  bool join(waiter& w) noexcept {
    x_waiters.push_back(&w);
    return x_armed && !tick_timer::linked() && list();
  }
  void leave_wheel() noexcept { timer_wheel::remove(*this); }
  bool waited_for() noexcept { return !x_waiters.empty(); }

  // Without the lock.
  runtime_core& runtime() noexcept { return x_runtime; }
  std::int64_t due_at() const noexcept { return x_due.load(std::memory_order_relaxed); }
  bool looks_due() const noexcept { return x_due.load(std::memory_order_relaxed) <= now(); }
  timer_service& service() noexcept { return x_runtime.timers; }

 private:
  bool list() noexcept {
    tick_timer::due_ns = x_due.load(std::memory_order_relaxed);
    return tick_timer::due_ns != end_of_time && x_runtime.timers.add_tick(*this);
  }
  static bool deliver(tick_timer& t, std::int64_t now, fifo& woken_ones) noexcept;

  runtime_core& x_runtime;
  std::atomic<std::int64_t> x_due{end_of_time};
  std::int64_t x_period = 0;
  list_head x_waiters;
  bool x_armed = false;
};

// Waiting for the next tick.
class tick_operation : public source_operation<tick_operation> {
 public:
  static constexpr bool is_lasting = true;  // there may always be another

  explicit tick_operation(timer_core& timer) noexcept : x_timer(timer) { guard = &timer.lock(); }
  tick_operation(tick_operation&& other) noexcept : tick_operation(other.x_timer) {}

  bool looks_ready(goroutine&) noexcept override { return x_timer.looks_due(); }
  bool ready(goroutine&) noexcept override { return x_timer.due(x_now = x_timer.now()); }
  void take(goroutine&) noexcept override { give(x_timer.take_tick(x_now)); }
  listed_t join_queue(goroutine&) noexcept override {
    return {.timers = x_timer.join(*this) ? &x_timer.service() : nullptr};
  }
  void leave_queue() noexcept override { unlink(this); }

  void give(std::int64_t tick) noexcept {
    x_tick = tick;
    outcome = outcome_t::done;
  }
  std::chrono::steady_clock::time_point value() const noexcept { return from_ns(x_tick); }

 protected:
  timer_core& x_timer;

 private:
  std::int64_t x_now = 0;
  std::int64_t x_tick = 0;
};

inline bool timer_core::deliver(tick_timer& t, std::int64_t now, fifo& woken_ones) noexcept {
  auto& self = static_cast<timer_core&>(t);
  while (self.due(now)) {
    woken out;
    waiter* w = detail::take(self.x_waiters, out);
    if (!w) return false;  // pending until somebody looks
    static_cast<tick_operation*>(w)->give(self.take_tick(now));
    if (out.g) woken_ones.push(out.g);
  }
  if (!self.x_armed || self.x_waiters.empty()) return false;
  self.tick_timer::due_ns = self.x_due.load(std::memory_order_relaxed);
  return self.tick_timer::due_ns != end_of_time;
}

}  // namespace runnel::detail
