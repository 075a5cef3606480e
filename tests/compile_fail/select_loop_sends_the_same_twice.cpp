// EXPECT: select_loop sends again and again: write ch.send(rn::moved(x)), and fill x in the handler
// SPDX-License-Identifier: BSL-1.0

#include <runnel/chan.hpp>
#include <runnel/select_loop.hpp>

runnel::task<> waits(runnel::chan<int> ch) {
  int x = 1;
#ifdef RUNNEL_CONTROL
  co_await runnel::select_loop(ch.send(runnel::moved(x)));
#else
  co_await runnel::select_loop(ch.send(x));
#endif
}
