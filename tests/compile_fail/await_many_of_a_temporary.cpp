// EXPECT: the handles stay with who awaits
// SPDX-License-Identifier: BSL-1.0
// Handles that die with the expression would cancel their tasks.

#include <runnel/await_many.hpp>

#include <utility>
#include <vector>

namespace rn = runnel;

rn::task<> start(std::vector<rn::join_handle<int>> tasks) {
#ifdef RUNNEL_CONTROL
  (void)co_await rn::await_many(tasks);
#else
  (void)co_await rn::await_many(std::move(tasks));
#endif
}
