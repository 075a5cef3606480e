// EXPECT: a temporary view may refer to what dies before the stream
// SPDX-License-Identifier: BSL-1.0
// A view is named, and what it looks at.

#include <runnel/async_stream.hpp>

#include <span>
#include <vector>

namespace rn = runnel;

int f(int n) { return n; }

rn::task<> start([[maybe_unused]] std::vector<int> v) {
#ifdef RUNNEL_CONTROL
  std::span<int> view(v);
  auto items = rn::async_stream(view, f);
#else
  auto items = rn::async_stream(std::span<int>(v), f);
#endif
  auto r = co_await items.next();
  (void)r;
}
