// SPDX-License-Identifier: BSL-1.0
// runnel/detail/pool_thread.hpp: whether a thread may be blocked.
// Layer: L2
#pragma once

#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/processor.hpp>
#include <runnel/detail/runtime_core.hpp>

#include <mutex>

namespace runnel::detail {

// Whether this thread runs goroutines, or handlers of a context where goroutines run: who blocks it may wait for
// somebody that it keeps from running.
inline bool is_pool_thread() {
  if (this_processor()) return true;
  std::lock_guard hold(the_runtimes.mutex);
  for (list_link* at = the_runtimes.runtimes.first(); at != the_runtimes.runtimes.end(); at = at->next)
    if (runtime_core::of(*at).core.host().runs_here()) return true;
  return false;
}

}  // namespace runnel::detail
