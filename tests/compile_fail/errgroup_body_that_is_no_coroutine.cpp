// EXPECT: the body must be a coroutine that returns a task
// SPDX-License-Identifier: BSL-1.0
// A lambda without -> rn::task<> is a plain function, which cannot await a slot.

#include <runnel/errgroup.hpp>

namespace rn = runnel;

rn::task<> f(int) { co_return; }

rn::task<> app() {
#ifdef RUNNEL_CONTROL
  co_await rn::with_errgroup([](rn::errgroup& g) -> rn::task<> { co_await g.go(f, 1); });
#else
  co_await rn::with_errgroup([](rn::errgroup& g) { g.go(f, 1); });
#endif
}
