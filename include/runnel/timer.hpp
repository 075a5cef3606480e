// SPDX-License-Identifier: BSL-1.0
// runnel/timer.hpp: timer, one tick after a while, which can be stopped and set anew.
// Layer: L7
#pragma once

#include <runnel/detail/chan_ops.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/runtime_core.hpp>
#include <runnel/detail/timer_core.hpp>
#include <runnel/error.hpp>
#include <runnel/time_point.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <utility>

namespace runnel {

namespace detail {

// What timers and tickers have in common: the ticking, and that it outlives nobody who waits.
class shared_timer {
 public:
  using time_point = std::chrono::steady_clock::time_point;
  shared_timer(const shared_timer&) = delete;
  shared_timer& operator=(const shared_timer&) = delete;

  /// Waits for the next tick.
  ///
  /// Returns: the moment at which it was due, also if it is taken much later.
  /// Suspends: until then; resumes on its own scheduler. Of several that wait, each tick goes to one.
  /// Cancel-safety: a tick that is not taken is there for the next.
  [[nodiscard("co_await it, or make it a case of a select")]] tick_operation recv() noexcept {
    return tick_operation(x_core);
  }
  /// Takes the tick if it is due. Never waits.
  tried<time_point> try_recv() noexcept {
    park_lock::guard hold(x_core.lock(), nullptr);
    auto now = x_core.now();
    if (!x_core.due(now)) return tried<time_point>(tried<time_point>::state_t::would_block);
    return tried<time_point>(from_ns(x_core.take_tick(now)));
  }

 protected:
  explicit shared_timer(runtime_core& runtime, const char* sentence) noexcept
      : x_keep(runtime.core.host().share()), x_core(runtime), x_sentence(sentence) {}
  ~shared_timer() {
    park_lock::guard hold(x_core.lock(), nullptr);
    x_core.unset();
    if (x_core.waited_for()) fatal(x_sentence);
  }

  static runtime_core& runtime(const char* sentence) {
    runtime_core* found = runtime_core::here();
    if (!found) throw misuse_error(sentence);
    return *found;
  }
  // Returns whether there was a tick that nobody had taken.
  bool set(std::int64_t wait_ns, std::int64_t period) noexcept {
    bool pending;
    bool earliest;
    {
      park_lock::guard hold(x_core.lock(), nullptr);
      pending = x_core.armed();
      earliest = x_core.set(saturating_add(x_core.now(), wait_ns), period);
    }
    if (earliest) x_core.service().set_host();
    return pending;
  }
  bool unset() noexcept {
    park_lock::guard hold(x_core.lock(), nullptr);
    bool pending = x_core.armed();
    x_core.unset();
    return pending;
  }

 private:
  std::shared_ptr<void> x_keep;  // the runtime, whose lock this needs to the end
  timer_core x_core;
  const char* x_sentence;
};

}  // namespace detail

/// Ticks once, a while after it was made or set: Go's time.Timer, with the semantics of Go 1.23.
///
/// There are no stale ticks: what was due before stop() or reset() cannot be received after it.
/// Thread-safety: everything may be called from any thread at the same time.
/// Lifetime: neither copied nor moved; destroying it while somebody waits for it is a reported error. It belongs to the
/// runtime in which it was made.
/// Contract: SEMANTICS.md TM-02 to TM-06, TM-12 to TM-16.
class timer : public detail::shared_timer {
 public:
  /// One that is not set. Throws: misuse_error outside of a runtime.
  timer() : shared_timer(runtime(outside), waited_for) {}
  /// Throws: misuse_error outside of a runtime.
  template <class Rep, class Period> explicit timer(std::chrono::duration<Rep, Period> d) : timer() {
    set(detail::to_ns(d), 0);
  }

  /// Sets it anew. A duration at or below zero has passed; one too long to be counted never does. Who waits goes on
  /// waiting, for the new tick.
  ///
  /// Returns: whether there was a tick to come, or one that was due and that nobody had taken.
  template <class Rep, class Period> bool reset(std::chrono::duration<Rep, Period> d) noexcept {
    return set(detail::to_ns(d), 0);
  }
  /// Takes the tick back. Who waits goes on waiting.
  ///
  /// Returns: as reset().
  bool stop() noexcept { return unset(); }

 private:
  static constexpr const char* outside = "runnel: a timer is made inside of a runtime, whose timers it uses";
  static constexpr const char* waited_for = "a timer was destroyed while somebody waited for it";
};

}  // namespace runnel
