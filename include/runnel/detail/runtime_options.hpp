// SPDX-License-Identifier: BSL-1.0
// runnel/detail/runtime_options.hpp: what a runtime is told when it is made.
// Layer: L2
#pragma once

#include <runnel/detail/stall_detector.hpp>

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <source_location>

namespace runnel {

/// An error that no join will see: where the goroutine was started, and what it threw.
struct goroutine_error {
  std::exception_ptr error;
  std::source_location where;
};

namespace detail {

using error_handler = std::function<void(const goroutine_error&)>;

struct runtime_options {
  // An error that left a bare go(). Null: it is printed, the root context is cancelled, and run() returns 1.
  error_handler on_error;
  // An error of a child that was joined by unwinding, or of a loser of a race. Null: it is printed.
  error_handler on_unobserved;
  std::int64_t grace_ns = 5'000'000'000;           // between cancel and kill
  std::int64_t kill_grace_ns = 1'000'000'000;      // between kill and the report
  bool leak_stuck = false;                         // go on after the report; else abort
  std::uint64_t seed = 0;                          // of what is left to chance
  bool tracks_goroutines = false;                  // numbers them, and knows those that have never waited
  bool defers_reads = false;                       // where that pays (detail/asio_deferral.hpp)
  unsigned blocking_threads = 64;                  // at most so many run blocking calls
  std::int64_t blocking_idle_ns = 10'000'000'000;  // after so long without a call such a thread ends
  std::chrono::nanoseconds watchdog{0};            // how long a goroutine may hold a processor; 0: nobody looks
  std::function<void(const stall&)> on_stall;      // Null: it is printed
};

}  // namespace detail
}  // namespace runnel
