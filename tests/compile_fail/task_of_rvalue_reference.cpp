// EXPECT: task<T&&> is not supported: return T by value
// SPDX-License-Identifier: BSL-1.0

#include <runnel/task.hpp>

#ifdef RUNNEL_CONTROL
using type = runnel::task<int&>;
#else
using type = runnel::task<int&&>;
#endif
static_assert(sizeof(type) == sizeof(void*));
