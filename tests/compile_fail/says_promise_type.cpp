// EXPECT gcc: unable to find the promise type for this coroutine
// EXPECT clang: this function cannot be a coroutine
// SPDX-License-Identifier: BSL-1.0
// Who awaits is a task.

#include <runnel/task.hpp>
#include <runnel/this_task.hpp>
namespace rn = runnel;

#ifdef RUNNEL_CONTROL
rn::task<int> f() {
  co_await rn::yield();
  co_return 0;
}
#else
int f() {
  co_await rn::yield();
  return 0;
}
#endif
