// EXPECT: pass the function and its arguments, not a task that is already made
// SPDX-License-Identifier: BSL-1.0
// The goroutine is made from a callable.

#include <runnel/sync/wait_group.hpp>

namespace rn = runnel;

rn::task<> f() { co_return; }

void start(rn::wait_group& wg) {
#ifdef RUNNEL_CONTROL
  wg.go(f);
#else
  wg.go(f());
#endif
}
