// EXPECT: co_await it
// FLAGS: -Werror=unused-result
// SPDX-License-Identifier: BSL-1.0
// wait() alone does not wait.

#include <runnel/sync/wait_group.hpp>

namespace rn = runnel;

rn::task<> app(rn::wait_group& wg) {
#ifdef RUNNEL_CONTROL
  co_await wg.wait();
#else
  wg.wait();
#endif
  co_return;
}
