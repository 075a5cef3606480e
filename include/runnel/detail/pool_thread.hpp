// SPDX-License-Identifier: BSL-1.0
// runnel/detail/pool_thread.hpp: whether a thread may be blocked.
// Layer: L1
#pragma once

#include <runnel/config.hpp>
#include <runnel/detail/processor.hpp>

#include <atomic>

namespace runnel::detail {

// Whether this thread is one of a context's where goroutines run. Null until there was such a context: those who ask
// need not include what knows them.
RUNNEL_SHARED inline constinit std::atomic<bool (*)()> runs_handlers_here{nullptr};

// Whether this thread runs goroutines, or handlers where goroutines run: who blocks it may wait for somebody that it
// keeps from running.
inline bool is_pool_thread() {
  if (this_processor()) return true;
  auto* asks = runs_handlers_here.load(std::memory_order_relaxed);  // relaxed: a function, which was always there
  return asks && asks();
}

}  // namespace runnel::detail
