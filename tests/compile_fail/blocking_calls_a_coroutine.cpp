// EXPECT: blocking calls a plain function on another thread: a coroutine is awaited here
// SPDX-License-Identifier: BSL-1.0

#include <runnel/blocking.hpp>

runnel::task<int> coroutine() { co_return 1; }
int plain() { return 1; }

runnel::task<> work() {
#ifdef RUNNEL_CONTROL
  (void)co_await runnel::blocking(plain);
#else
  (void)co_await runnel::blocking(coroutine);
#endif
}
