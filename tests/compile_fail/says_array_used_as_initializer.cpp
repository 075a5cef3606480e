// EXPECT gcc: array used as initializer
// COMPILER: gcc
// WHEN: __GNUC__ < 13
// SPDX-License-Identifier: BSL-1.0
// A braced list in a co_await.

#include <runnel/task.hpp>

#include <string>
#include <utility>
#include <vector>
namespace rn = runnel;

rn::task<> g(std::vector<std::string> v);
#ifdef RUNNEL_CONTROL
rn::task<> f() {
  std::vector<std::string> both{"a", "b"};
  co_await g(std::move(both));
}
#else
rn::task<> f() { co_await g({"a", "b"}); }
#endif
