// EXPECT: or pass the captures as arguments
// SPDX-License-Identifier: BSL-1.0
// The setting holds every compiler to what g++ 12 can compile rightly.

#define RUNNEL_REFUSE_HAZARDOUS 1
#include <runnel/as_result.hpp>
#include <runnel/this_task.hpp>

#include <string>

runnel::task<> work() { co_await runnel::yield(); }

runnel::task<> f(std::string name) {
#ifdef RUNNEL_CONTROL
  auto cleanup = [name]() -> runnel::task<> { co_await runnel::yield(); };
  co_await runnel::finally(work(), cleanup);
#else
  co_await runnel::finally(work(), [name]() -> runnel::task<> { co_await runnel::yield(); });
#endif
}
