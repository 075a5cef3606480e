// EXPECT: pass the function and its arguments, not a task that is already made
// SPDX-License-Identifier: BSL-1.0

#include <runnel/context.hpp>
#include <runnel/this_task.hpp>

runnel::task<> work() { co_await runnel::yield(); }

void f() {
#ifdef RUNNEL_CONTROL
  runnel::context::background().after_func(work);
#else
  runnel::context::background().after_func(work());
#endif
}
