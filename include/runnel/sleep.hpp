// SPDX-License-Identifier: BSL-1.0
// runnel/sleep.hpp: sleep, on the runtime's clock.
// Layer: L7
#pragma once

#include <runnel/detail/promise.hpp>
#include <runnel/detail/runtime_core.hpp>
#include <runnel/detail/timer_service.hpp>
#include <runnel/time_point.hpp>
#include <runnel/waiter.hpp>

#include <chrono>
#include <cstdint>

namespace runnel {

namespace detail {

// Parked plainly under the timer service's lock; the wheel's entry is the waiter.
class sleep_operation : public awaitable_base {
 public:
  sleep_operation(std::int64_t ns, bool relative) noexcept : x_at(ns), x_relative(relative) {}
  sleep_operation(sleep_operation&& other) noexcept : sleep_operation(other.x_at, other.x_relative) {}
  sleep_operation& operator=(const sleep_operation&) = delete;

  bool suspend(promise_base* leaf) {
    goroutine& g = goroutine_of(leaf);
    if (!enter_operation(g)) return stop_here(g, leaf), true;
    runtime_core& runtime = runtime_core::of(g);
    std::int64_t now = runtime.core.now();
    if (x_relative) x_at = saturating_add(now, x_at);
    if (x_at <= now) return spend_budget(g, leaf);
    timer_service& timers = runtime.timers;
    x_timer.g = &g;
    x_timer.due_ns = x_at;
    bool biased = timers.lock().lock(nullptr);
    bool parked = park_on(g, leaf, timers.lock(), x_timer);
    if (parked) g.mark_node_as_timer();
    bool earliest = parked && timers.add_sleeper(x_timer);
    timers.lock().unlock(biased);
    if (earliest) timers.set_host();  // not of the frame's, which may be gone
    if (!parked) stop_here(g, leaf);
    return true;
  }
  void resume() const noexcept {}

 private:
  sleep_timer x_timer;
  std::int64_t x_at;
  bool x_relative;
};

}  // namespace detail

/// Sleeps at least this long. At or below zero it goes on at once; a duration too long to be counted is for ever.
/// Neighbours share a wake-up: it comes up to 65 us late, and up to 250 us more while others wake by the dozen.
///
/// Suspends: until then; resumes on its own scheduler. Cancel-safety: nothing to lose; a cancelled sleeper unwinds.
/// Contract: TM-01, GEN-11.
template <class Rep, class Period>
[[nodiscard("co_await it: rn::sleep(1s) alone does not sleep")]] auto sleep(
    std::chrono::duration<Rep, Period> d) noexcept {
  return detail::sleep_operation(detail::to_ns(d), true);
}
/// The same until a point in time.
[[nodiscard("co_await it")]] inline auto sleep_until(std::chrono::steady_clock::time_point at) noexcept {
  return detail::sleep_operation(detail::to_ns(at), false);
}

}  // namespace runnel
