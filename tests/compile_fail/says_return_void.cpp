// EXPECT: no member named 'return_void'
// SPDX-License-Identifier: BSL-1.0
// The end of a task<int> is a co_return with a value.

#include <runnel/task.hpp>
#include <runnel/this_task.hpp>
namespace rn = runnel;

#ifdef RUNNEL_CONTROL
rn::task<int> f() {
  co_await rn::yield();
  co_return 1;
}
#else
rn::task<int> f() {
  co_await rn::yield();
  co_return;
}
#endif
