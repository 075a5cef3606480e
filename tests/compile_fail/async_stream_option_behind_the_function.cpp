// EXPECT: an option is rn::max_concurrency(n)
// SPDX-License-Identifier: BSL-1.0
// Options come first.

#include <runnel/async_stream.hpp>

#include <span>
#include <vector>

namespace rn = runnel;

int f(int n) { return n; }

rn::task<> start([[maybe_unused]] std::vector<int> v) {
#ifdef RUNNEL_CONTROL
  auto items = rn::async_stream(v, rn::unordered, f);
#else
  auto items = rn::async_stream(v, f, rn::unordered, f);
#endif
  auto r = co_await items.next();
  (void)r;
}
