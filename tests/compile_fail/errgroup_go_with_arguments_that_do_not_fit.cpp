// EXPECT: a parameter of type T& needs std::ref(x)
// SPDX-License-Identifier: BSL-1.0
// Arguments are moved into the child; a reference has to be asked for.

#include <runnel/errgroup.hpp>

#include <functional>

namespace rn = runnel;

rn::task<> f(int&) { co_return; }

void start(rn::errgroup& g, int& n) {
#ifdef RUNNEL_CONTROL
  g.go(f, std::ref(n));
#else
  g.go(f, n);
#endif
}
