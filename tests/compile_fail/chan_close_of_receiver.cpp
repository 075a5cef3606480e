// EXPECT: close
// SPDX-License-Identifier: BSL-1.0

#include <runnel/chan.hpp>

// CH-03
#ifdef RUNNEL_CONTROL
void ends(runnel::sender<int> ch) { ch.close(); }
#else
void ends(runnel::receiver<int> ch) { ch.close(); }
#endif
