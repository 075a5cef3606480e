// EXPECT: cannot be used in a function with a deduced return type
// SPDX-License-Identifier: BSL-1.0
// A lambda that is a coroutine says what it returns.

#include <runnel/go.hpp>
#include <runnel/task.hpp>
#include <runnel/this_task.hpp>
namespace rn = runnel;

void start() {
#ifdef RUNNEL_CONTROL
  rn::go([]() -> rn::task<> { co_await rn::yield(); });
#else
  rn::go([] { co_await rn::yield(); });
#endif
}
