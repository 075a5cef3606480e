// EXPECT gcc: invalid use of void expression
// EXPECT clang: no matching member function for call to 'await_transform'
// SPDX-License-Identifier: BSL-1.0
// go starts, and is not awaited.

#include <runnel/go.hpp>
#include <runnel/task.hpp>
namespace rn = runnel;

rn::task<> g();
#ifdef RUNNEL_CONTROL
rn::task<> f() {
  rn::go(g);
  co_return;
}
#else
rn::task<> f() { co_await rn::go(g); }
#endif
