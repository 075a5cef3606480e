// EXPECT: the handlers of a select return values of a common type, or all of them nothing
// SPDX-License-Identifier: BSL-1.0

#include <runnel/chan.hpp>
#include <runnel/select.hpp>

runnel::task<> waits(runnel::chan<int> a, runnel::chan<int> b) {
  auto one = [] { return 1; };
#ifdef RUNNEL_CONTROL
  (void)co_await runnel::select(runnel::on(a.recv(), one), runnel::on(b.recv(), [] { return 2; }));
#else
  (void)co_await runnel::select(runnel::on(a.recv(), one), runnel::on(b.recv(), [] {}));
#endif
}
