// EXPECT: a select has one rn::otherwise at most
// SPDX-License-Identifier: BSL-1.0

#include <runnel/chan.hpp>
#include <runnel/select.hpp>

runnel::task<> waits(runnel::chan<int> ch) {
#ifdef RUNNEL_CONTROL
  co_await runnel::select(ch.recv(), runnel::otherwise);
#else
  co_await runnel::select(ch.recv(), runnel::otherwise, runnel::otherwise);
#endif
}
