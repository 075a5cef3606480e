// SPDX-License-Identifier: BSL-1.0
// runnel/ticker.hpp: ticker, which ticks again and again.
// Layer: L7
#pragma once

#include <runnel/error.hpp>
#include <runnel/time_point.hpp>
#include <runnel/timer.hpp>

#include <chrono>
#include <cstdint>

namespace runnel {

/// Ticks at a fixed distance, from when it was made or set. At most one tick is pending: who is slow loses ticks, and
/// never gets two at once. It ends with its object.
///
/// Thread-safety and lifetime: those of timer.
/// Contract: SEMANTICS.md TM-09, TM-11 to TM-14.
class ticker : public detail::shared_timer {
 public:
  /// Throws: misuse_error for a period at or below zero, and outside of a runtime.
  template <class Rep, class Period>
  explicit ticker(std::chrono::duration<Rep, Period> period) : shared_timer(runtime(outside), waited_for) {
    reset(period);
  }

  /// Ticks at this distance from now on; a tick that nobody has taken is dropped.
  /// Throws: misuse_error for a period at or below zero, with no effect.
  template <class Rep, class Period> void reset(std::chrono::duration<Rep, Period> period) {
    auto ns = detail::to_ns(period);
    if (ns <= 0) throw misuse_error("runnel: the period of a ticker is more than zero");
    set(ns, ns);
  }
  /// No more ticks, not even the one that nobody has taken. Who waits goes on waiting; reset() starts it again.
  void stop() noexcept { unset(); }

 private:
  static constexpr const char* outside = "runnel: a ticker is made inside of a runtime, whose timers it uses";
  static constexpr const char* waited_for = "a ticker was destroyed while somebody waited for it";
};

}  // namespace runnel
