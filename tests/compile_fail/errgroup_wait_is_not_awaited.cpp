// EXPECT: co_await it
// FLAGS: -Werror=unused-result
// SPDX-License-Identifier: BSL-1.0
// Forgetting co_await at the join would leave the group with live children.

#include <runnel/errgroup.hpp>

namespace rn = runnel;

rn::task<> app() {
  rn::errgroup g;
#ifdef RUNNEL_CONTROL
  co_await g.wait();
#else
  g.wait();
#endif
  co_return;
}
