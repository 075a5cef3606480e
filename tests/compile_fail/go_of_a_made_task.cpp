// EXPECT: pass the function and its arguments, not a task that is already made: go(f, x), not go(f(x))
// SPDX-License-Identifier: BSL-1.0

#include <runnel/runtime.hpp>

runnel::task<> work(int) { co_return; }

void start(runnel::runtime& rt) {
#ifdef RUNNEL_CONTROL
  rt.go(work, 1);
#else
  rt.go(work(1));
#endif
}
