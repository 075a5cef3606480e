// EXPECT: rn::moved cannot move from a const object
// SPDX-License-Identifier: BSL-1.0

#include <runnel/compiler.hpp>

#include <string>

#ifdef RUNNEL_CONTROL
std::string name = "x";
#else
const std::string name = "x";
#endif
auto r = runnel::moved(name);
