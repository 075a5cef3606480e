// EXPECT: rn::moved takes a named object
// SPDX-License-Identifier: BSL-1.0

#include <runnel/compiler.hpp>

#include <string>

#ifdef RUNNEL_CONTROL
std::string name = "x";
auto r = runnel::moved(name);
#else
auto r = runnel::moved(std::string("x"));
#endif
