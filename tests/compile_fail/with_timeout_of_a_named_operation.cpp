// SPDX-License-Identifier: BSL-1.0
// EXPECT: an operation is awaited once, as an rvalue: pass std::move(op)
#include <runnel/chan.hpp>
#include <runnel/with_context.hpp>

#include <chrono>
#include <utility>

runnel::task<> f(runnel::chan<int> ch) {
  auto recv = ch.recv();
#ifdef RUNNEL_CONTROL
  (void)co_await runnel::with_timeout(std::chrono::seconds(1), std::move(recv));
#else
  (void)co_await runnel::with_timeout(std::chrono::seconds(1), recv);
#endif
}
