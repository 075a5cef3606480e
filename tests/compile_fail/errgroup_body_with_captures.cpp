// EXPECT: or pass the captures as arguments
// SPDX-License-Identifier: BSL-1.0
// g++ 12 destroys such a temporary twice; the setting holds every compiler to that.

#define RUNNEL_REFUSE_HAZARDOUS 1
#include <runnel/errgroup.hpp>

#include <string>

namespace rn = runnel;

rn::task<> app(std::string s) {
#ifdef RUNNEL_CONTROL
  co_await rn::with_errgroup([&s](rn::errgroup&) -> rn::task<> { (void)s; co_return; });
#else
  co_await rn::with_errgroup([s](rn::errgroup&) -> rn::task<> { (void)s; co_return; });
#endif
}
