// EXPECT: a task is awaited once, as an rvalue: write co_await std::move(t)
// SPDX-License-Identifier: BSL-1.0

#include <runnel/task.hpp>

#include <utility>

runnel::task<int> one() { co_return 1; }

runnel::task<int> awaits() {
  runnel::task<int> t = one();
#ifdef RUNNEL_CONTROL
  co_return co_await std::move(t);
#else
  co_return co_await t;
#endif
}
