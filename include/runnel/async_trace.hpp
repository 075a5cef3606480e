// SPDX-License-Identifier: BSL-1.0
// runnel/async_trace.hpp: async_trace, the way of an exception through awaits and goroutines.
// Layer: L2
#pragma once

#include <runnel/detail/await_place.hpp>

#include <exception>
#include <string>

namespace runnel {

/// The way that an exception has taken: a line for each co_await that it came through, from where it was thrown
/// outwards, and for each goroutine that it left. The library's own coroutines are left out.
///
/// Returns: an empty text, unless the program is compiled with RUNNEL_ASYNC_TRACES=1; then of the last 64 exceptions
/// that left a coroutine of the library, which are kept alive for it. Throws: bad_alloc. Thread-safety: any thread.
inline std::string async_trace(const std::exception_ptr& error = std::current_exception()) {
  return detail::trace_text(error);
}

}  // namespace runnel
