// EXPECT: all() of nothing
// SPDX-License-Identifier: BSL-1.0
// An all without tasks is a mistake; an empty range is not.

#include <runnel/all.hpp>

#include <vector>

namespace rn = runnel;

rn::task<> app() {
#ifdef RUNNEL_CONTROL
  (void)co_await rn::all(std::vector<rn::task<int>>());
#else
  (void)co_await rn::all();
#endif
}
