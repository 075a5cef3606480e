// EXPECT: a parameter of type T& needs std::ref(x)
// SPDX-License-Identifier: BSL-1.0

#include <runnel/go.hpp>

#include <functional>

runnel::task<> count(int& n) {
  ++n;
  co_return;
}

void start(int& n) {
#ifdef RUNNEL_CONTROL
  runnel::go(count, std::ref(n));
#else
  runnel::go(count, n);
#endif
}
