// EXPECT: the function that the child runs is missing: options first, then the callable
// SPDX-License-Identifier: BSL-1.0

#include <runnel/otp/supervisor.hpp>

void work() {}

void add(runnel::supervisor& sup) {
#ifdef RUNNEL_CONTROL
  sup.child("x", runnel::transient, work);
#else
  sup.child("x", runnel::transient);
#endif
}
