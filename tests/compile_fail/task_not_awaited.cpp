// EXPECT: a task does nothing until it is awaited
// FLAGS: -Werror
// SPDX-License-Identifier: BSL-1.0

#include <runnel/task.hpp>

runnel::task<int> one() { co_return 1; }

runnel::task<> awaits() {
#ifdef RUNNEL_CONTROL
  co_await one();
#else
  one();
  co_return;
#endif
}
