// EXPECT gcc: statement is not allowed in coroutine; did you mean 'co_return'?
// EXPECT clang: return statement not allowed in coroutine; did you mean 'co_return'?
// SPDX-License-Identifier: BSL-1.0
// A coroutine returns by co_return.

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
  return 1;
}
#endif
