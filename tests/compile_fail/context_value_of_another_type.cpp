// EXPECT: string
// SPDX-License-Identifier: BSL-1.0
// A value is bound with its key's type.

#include <runnel/context.hpp>

#include <string>

struct user_key {
  using type = std::string;
};

#ifdef RUNNEL_CONTROL
auto ctx = runnel::context::background().with_value<user_key>("ann");
#else
auto ctx = runnel::context::background().with_value<user_key>(7.5);
#endif
