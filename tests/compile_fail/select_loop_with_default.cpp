// EXPECT: a select_loop with rn::otherwise would never wait
// SPDX-License-Identifier: BSL-1.0

#include <runnel/chan.hpp>
#include <runnel/select_loop.hpp>

runnel::task<> waits(runnel::chan<int> ch) {
#ifdef RUNNEL_CONTROL
  co_await runnel::select_loop(ch.recv());
#else
  co_await runnel::select_loop(ch.recv(), runnel::otherwise);
#endif
}
