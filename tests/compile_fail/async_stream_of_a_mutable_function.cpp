// EXPECT: a lambda that is mutable does not fit
// SPDX-License-Identifier: BSL-1.0
// Many tasks call the function at once.

#include <runnel/async_stream.hpp>

#include <span>
#include <vector>

namespace rn = runnel;

int f(int n) { return n; }

rn::task<> start([[maybe_unused]] std::vector<int> v) {
#ifdef RUNNEL_CONTROL
  auto items = rn::async_stream(v, [k = 1](int n) { return n + k; });
#else
  auto items = rn::async_stream(v, [k = 1](int n) mutable { return n + ++k; });
#endif
  auto r = co_await items.next();
  (void)r;
}
