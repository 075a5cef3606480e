// EXPECT: the inputs of a stream come from a range
// SPDX-License-Identifier: BSL-1.0
// A number is no range.

#include <runnel/async_stream.hpp>

#include <span>
#include <vector>

namespace rn = runnel;

int f(int n) { return n; }

rn::task<> start([[maybe_unused]] std::vector<int> v) {
#ifdef RUNNEL_CONTROL
  auto items = rn::async_stream(v, f);
#else
  auto items = rn::async_stream(7, f);
#endif
  auto r = co_await items.next();
  (void)r;
}
