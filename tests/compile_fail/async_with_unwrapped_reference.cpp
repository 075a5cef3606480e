// EXPECT: the callable cannot be called with these arguments: they are moved into the task
// SPDX-License-Identifier: BSL-1.0
// Callable and arguments live in the task.

#include <runnel/async.hpp>

#include <functional>

namespace rn = runnel;

rn::task<> f(int) { co_return; }
rn::task<> g(int&) { co_return; }

rn::task<> start([[maybe_unused]] int& n) {
#ifdef RUNNEL_CONTROL
  auto t = rn::async(g, std::ref(n));
#else
  auto t = rn::async(g, n);
#endif
  co_await t.await();
}
