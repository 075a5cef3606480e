// SPDX-License-Identifier: BSL-1.0
// EXPECT: an operation is awaited once, as an rvalue: co_await the call that makes it, or write co_await std::move(op)
#include <runnel/sleep.hpp>
#include <runnel/task.hpp>

#include <chrono>
#include <utility>

runnel::task<> f() {
  auto nap = runnel::sleep(std::chrono::seconds(1));
#ifdef RUNNEL_CONTROL
  co_await std::move(nap);
#else
  co_await nap;
#endif
}
