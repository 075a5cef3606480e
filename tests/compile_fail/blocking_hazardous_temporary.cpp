// EXPECT: g++ 12 destroys this temporary twice
// SPDX-License-Identifier: BSL-1.0

#define RUNNEL_REFUSE_HAZARDOUS 1
#include <runnel/blocking.hpp>

#include <string>

runnel::task<> work(std::string name) {
#ifdef RUNNEL_CONTROL
  auto f = [name] { return name; };
  (void)co_await runnel::blocking(f);
#else
  (void)co_await runnel::blocking([name] { return name; });
#endif
}
