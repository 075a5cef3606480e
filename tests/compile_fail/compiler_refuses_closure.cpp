// EXPECT: or pass the captures as arguments
// SPDX-License-Identifier: BSL-1.0
// The setting holds every compiler to what g++ 12 can compile rightly.

#define RUNNEL_REFUSE_HAZARDOUS 1
#include <runnel/compiler.hpp>

#include <string>

template <class... Args>
int go(Args&&...) {
  runnel::detail::refuse_hazardous<Args...>();
  return 0;
}

std::string key;

#ifdef RUNNEL_CONTROL
int gone = go([](const std::string&) {}, key);
#else
int gone = go([k = key] {});
#endif
