// EXPECT: an outcome that nobody looks at hides errors
// COMPILER: clang
// FLAGS: -Werror=unused-result
// SPDX-License-Identifier: BSL-1.0

#include <runnel/as_result.hpp>
#include <runnel/sleep.hpp>

using namespace std::chrono_literals;

runnel::task<> f() {
#ifdef RUNNEL_CONTROL
  (void)co_await runnel::as_result(runnel::sleep(2s));
#else
  co_await runnel::as_result(runnel::sleep(2s));
#endif
}
