// EXPECT: pass the function and its arguments, not a task that is already made
// SPDX-License-Identifier: BSL-1.0
// A child starts inside of the group; a task that is made already has its arguments in a frame of nobody's.

#include <runnel/errgroup.hpp>

namespace rn = runnel;

rn::task<> f(int) { co_return; }

void start(rn::errgroup& g) {
#ifdef RUNNEL_CONTROL
  g.go(f, 1);
#else
  g.go(f(1));
#endif
}
