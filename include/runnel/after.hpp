// SPDX-License-Identifier: BSL-1.0
// runnel/after.hpp: after, one tick after a while: the timeout of a select.
// Layer: L7
#pragma once

#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/runtime_core.hpp>
#include <runnel/detail/timer_core.hpp>
#include <runnel/error.hpp>
#include <runnel/time_point.hpp>

#include <chrono>
#include <cstdint>

namespace runnel {

namespace detail {

// The timer and the one who waits for it, in one. Its entry leaves the wheel with every wait, unless it stays on (in a
// select_loop), and at the latest when this dies.
class after_operation final : private timer_core, public tick_operation {
 public:
  static constexpr bool is_lasting = false;

  after_operation(runtime_core& runtime, std::int64_t wait_ns) noexcept
      : timer_core(runtime), tick_operation(static_cast<timer_core&>(*this)) {
    timer_core::set(saturating_add(timer_core::now(), wait_ns), 0);  // nobody else knows it yet
  }
  after_operation(after_operation&& other) noexcept
      : timer_core(other.runtime()), tick_operation(static_cast<timer_core&>(*this)) {
    if (other.armed()) timer_core::set(other.due_at(), 0);
  }
  ~after_operation() {
    if (!x_listed) return;
    park_lock::guard hold(timer_core::lock(), nullptr);
    timer_core::leave_wheel();
  }

  listed_t join_queue(goroutine& me) noexcept override {
    x_listed = true;
    return tick_operation::join_queue(me);
  }
  void leave_queue() noexcept override {
    tick_operation::leave_queue();
    if (x_stays) return;
    timer_core::leave_wheel();
    x_listed = false;
  }
  // In a loop.
  void stay() noexcept { x_stays = true; }
  void silence() const noexcept {}  // it has ticked

 private:
  bool x_listed = false;  // may be in the wheel
  bool x_stays = false;
};

}  // namespace detail

/// Ticks once, this long after the call: `rn::on(rn::after(1s), ...)`, or `co_await rn::after(1s)`. A duration at or
/// below zero has passed; one too long to be counted never does.
///
/// Returns: an operation that yields the moment at which the tick was due. It ticks once: after that it is never ready.
/// A named one is a deadline for several selects.
/// Suspends: until then; resumes on its own scheduler.
/// Cancel-safety: nothing to lose. A select that takes another case disarms it.
/// Throws: misuse_error outside of a runtime.
/// Contract: TM-08, TM-12, GEN-11, SEL-C05.
template <class Rep, class Period>
[[nodiscard("co_await it, or make it a case of a select")]] detail::after_operation after(
    std::chrono::duration<Rep, Period> d) {
  detail::runtime_core* runtime = detail::runtime_core::here();
  if (!runtime)
    throw misuse_error("runnel: after outside of a runtime: its timers are used, so call it on a goroutine");
  return detail::after_operation(*runtime, detail::to_ns(d));
}

}  // namespace runnel
