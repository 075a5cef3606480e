// EXPECT: a channel cannot hold references: use chan<T*>, or chan<std::reference_wrapper<T>>
// SPDX-License-Identifier: BSL-1.0

#include <runnel/chan.hpp>

#ifdef RUNNEL_CONTROL
runnel::chan<int*> ch;
#else
runnel::chan<int&> ch;
#endif
