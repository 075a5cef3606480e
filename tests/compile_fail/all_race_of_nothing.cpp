// EXPECT: race() of nothing has no winner
// SPDX-License-Identifier: BSL-1.0
// A race needs a runner.

#include <runnel/all.hpp>

namespace rn = runnel;

rn::task<int> f() { co_return 1; }
rn::task<> app() {
#ifdef RUNNEL_CONTROL
  (void)co_await rn::race(f());
#else
  (void)co_await rn::race();
#endif
}
