// EXPECT: a child may be started again: pass the function and its arguments, not a task that is already made
// SPDX-License-Identifier: BSL-1.0

#include <runnel/otp/supervisor.hpp>

runnel::task<> work(int) { co_return; }

void add(runnel::supervisor& sup) {
#ifdef RUNNEL_CONTROL
  sup.child("x", work, 1);
#else
  sup.child("x", work(1));
#endif
}
