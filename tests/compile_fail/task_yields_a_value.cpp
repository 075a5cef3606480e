// EXPECT: a task yields nothing but co_yield rn::failure(error)
// SPDX-License-Identifier: BSL-1.0

#include <runnel/task.hpp>

#include <stdexcept>

runnel::task<> produces() {
#ifdef RUNNEL_CONTROL
  co_yield runnel::failure(std::runtime_error("over"));
#else
  co_yield 5;
#endif
}
