// EXPECT: co_await it
// FLAGS: -Werror=unused-result
// SPDX-License-Identifier: BSL-1.0

#include <runnel/blocking.hpp>

void plain() {}

runnel::task<> work() {
#ifdef RUNNEL_CONTROL
  co_await runnel::blocking(plain);
#else
  runnel::blocking(plain);
  co_return;
#endif
}
