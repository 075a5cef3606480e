// EXPECT: with_errgroup takes a body that takes the group
// SPDX-License-Identifier: BSL-1.0
// The body is given the group that it fills.

#include <runnel/errgroup.hpp>

namespace rn = runnel;

rn::task<> app() {
#ifdef RUNNEL_CONTROL
  co_await rn::with_errgroup([](rn::errgroup&) -> rn::task<> { co_return; });
#else
  co_await rn::with_errgroup([]() -> rn::task<> { co_return; });
#endif
}
