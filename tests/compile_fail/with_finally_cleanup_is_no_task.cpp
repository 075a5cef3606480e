// EXPECT: cleanup is a function that returns a task
// SPDX-License-Identifier: BSL-1.0

#include <runnel/as_result.hpp>
#include <runnel/this_task.hpp>

runnel::task<> work() { co_await runnel::yield(); }

#ifdef RUNNEL_CONTROL
runnel::task<> cleanup() { co_await runnel::yield(); }
#else
void cleanup() {}
#endif

runnel::task<> f() { co_await runnel::finally(work(), cleanup); }
