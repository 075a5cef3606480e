// EXPECT: dropping the handle cancels the task
// FLAGS: -Werror
// SPDX-License-Identifier: BSL-1.0
// A handle that nobody keeps cancels its task at once.

#include <runnel/async.hpp>

namespace rn = runnel;

rn::task<> f() { co_return; }

rn::task<> start() {
#ifdef RUNNEL_CONTROL
  auto t = rn::async(f);
  co_await t.await();
#else
  rn::async(f);
  co_return;
#endif
}
