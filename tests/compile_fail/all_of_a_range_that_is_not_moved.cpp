// EXPECT: the tasks are moved out of the range: pass std::move(tasks)
// SPDX-License-Identifier: BSL-1.0
// all takes the tasks; a range that keeps its name would be left with empty ones.

#include <runnel/all.hpp>

#include <utility>
#include <vector>

namespace rn = runnel;

rn::task<> app(std::vector<rn::task<int>> tasks) {
#ifdef RUNNEL_CONTROL
  (void)co_await rn::all(std::move(tasks));
#else
  (void)co_await rn::all(tasks);
#endif
}
