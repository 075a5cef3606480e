// EXPECT: a handler of select_loop returns nothing, rn::next or rn::stop
// SPDX-License-Identifier: BSL-1.0

#include <runnel/chan.hpp>
#include <runnel/select_loop.hpp>

runnel::task<> waits(runnel::chan<int> ch) {
#ifdef RUNNEL_CONTROL
  co_await runnel::select_loop(runnel::on(ch.recv(), [] { return runnel::stop; }));
#else
  co_await runnel::select_loop(runnel::on(ch.recv(), [] { return true; }));
#endif
}
