// EXPECT: co_await it
// FLAGS: -Werror=unused-result
// SPDX-License-Identifier: BSL-1.0

#include <runnel/sleep.hpp>
#include <runnel/with_context.hpp>

using namespace std::chrono_literals;

runnel::task<> f() {
#ifdef RUNNEL_CONTROL
  co_await runnel::with_timeout(1s, runnel::sleep(2s));
#else
  runnel::with_timeout(1s, runnel::sleep(2s));
  co_return;
#endif
}
