// EXPECT gcc: cannot convert 'std::optional<int>' to 'int'
// EXPECT clang: (aka 'std::optional<int>') to 'int'
// SPDX-License-Identifier: BSL-1.0
// A receive yields an optional: the channel may be closed.

#include <runnel/chan.hpp>
#include <runnel/task.hpp>
namespace rn = runnel;

rn::task<> f(rn::chan<int> ch) {
#ifdef RUNNEL_CONTROL
  auto n = co_await ch.recv();
#else
  int n = co_await ch.recv();
#endif
  (void)n;
}
