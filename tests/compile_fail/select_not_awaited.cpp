// EXPECT: a select alone waits for nothing
// FLAGS: -Werror
// SPDX-License-Identifier: BSL-1.0

#include <runnel/chan.hpp>
#include <runnel/select.hpp>

runnel::task<> waits(runnel::chan<int> a, runnel::chan<int> b) {
#ifdef RUNNEL_CONTROL
  co_await runnel::select(a.recv(), b.recv());
#else
  runnel::select(a.recv(), b.recv());
  co_return;
#endif
}
