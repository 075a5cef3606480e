// EXPECT: a vector cannot hold references: let the tasks return pointers
// SPDX-License-Identifier: BSL-1.0
// The results come in a vector.

#include <runnel/all.hpp>

#include <utility>
#include <vector>

namespace rn = runnel;

#ifdef RUNNEL_CONTROL
using value = int*;
#else
using value = int&;
#endif
rn::task<> app(std::vector<rn::task<value>> tasks) { (void)co_await rn::all(std::move(tasks)); }
