// EXPECT gcc: no return statement in function returning non-void
// EXPECT clang: non-void function does not return a value
// FLAGS: -Wall -Werror
// SPDX-License-Identifier: BSL-1.0
// Without a co_ in it a function is no coroutine, and returns no task.

#include <runnel/task.hpp>

#include <cstdio>
namespace rn = runnel;

#ifdef RUNNEL_CONTROL
rn::task<> f() {
  std::puts("f");
  co_return;
}
#else
rn::task<> f() { std::puts("f"); }
#endif
