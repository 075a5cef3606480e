// EXPECT gcc: no matching function for call to 'sleep(int)'
// EXPECT clang: no matching function for call to 'sleep'
// SPDX-License-Identifier: BSL-1.0
// Times have units.

#include <runnel/sleep.hpp>
#include <runnel/task.hpp>

#include <chrono>
namespace rn = runnel;

#ifdef RUNNEL_CONTROL
using namespace std::chrono_literals;
rn::task<> f() { co_await rn::sleep(5s); }
#else
rn::task<> f() { co_await rn::sleep(5); }
#endif
