// EXPECT: pass the function and its arguments, not a task that is already made: async(f, x), not async(f(x))
// SPDX-License-Identifier: BSL-1.0
// Callable and arguments live in the task.

#include <runnel/async.hpp>

#include <functional>

namespace rn = runnel;

rn::task<> f(int) { co_return; }
rn::task<> g(int&) { co_return; }

rn::task<> start([[maybe_unused]] int& n) {
#ifdef RUNNEL_CONTROL
  auto t = rn::async(f, 1);
#else
  auto t = rn::async(f(1));
#endif
  co_await t.await();
}
