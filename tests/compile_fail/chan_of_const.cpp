// EXPECT: elements move through a channel: use chan<T> without const
// SPDX-License-Identifier: BSL-1.0

#include <runnel/chan.hpp>

#ifdef RUNNEL_CONTROL
runnel::chan<int> ch;
#else
runnel::chan<const int> ch;
#endif
