// EXPECT gcc: use of deleted function
// EXPECT clang: call to implicitly-deleted copy constructor of 'rn::task<>'
// SPDX-License-Identifier: BSL-1.0
// A task has one owner.

#include <runnel/task.hpp>

#include <utility>
namespace rn = runnel;

rn::task<> g();
#ifdef RUNNEL_CONTROL
rn::task<> f() {
  auto t = g();
  auto u = std::move(t);
  co_await std::move(u);
}
#else
rn::task<> f() {
  auto t = g();
  auto u = t;
  co_await std::move(u);
}
#endif
