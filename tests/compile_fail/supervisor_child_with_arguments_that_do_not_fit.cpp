// EXPECT: the child cannot be called with these arguments: they are copied into each start
// SPDX-License-Identifier: BSL-1.0

#include <runnel/otp/supervisor.hpp>

runnel::task<> work(int) { co_return; }

void add(runnel::supervisor& sup) {
#ifdef RUNNEL_CONTROL
  sup.child("x", runnel::transient, work, 1);
#else
  sup.child("x", work, 1, runnel::transient);
#endif
}
