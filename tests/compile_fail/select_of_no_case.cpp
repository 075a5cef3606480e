// EXPECT: a case of a select is ch.recv(), ch.send(x), rn::after(d)
// SPDX-License-Identifier: BSL-1.0

#include <runnel/after.hpp>
#include <runnel/chan.hpp>
#include <runnel/select.hpp>
#include <runnel/sleep.hpp>

#include <chrono>

runnel::task<> waits(runnel::chan<int> ch) {
  using namespace std::chrono_literals;
#ifdef RUNNEL_CONTROL
  co_await runnel::select(ch.recv(), runnel::after(1s));
#else
  co_await runnel::select(ch.recv(), runnel::sleep(1s));
#endif
}
