// EXPECT: ch.send(x) alone sends nothing
// FLAGS: -Werror
// SPDX-License-Identifier: BSL-1.0

#include <runnel/chan.hpp>
#include <runnel/task.hpp>

runnel::task<> sends(runnel::chan<int> ch) {
#ifdef RUNNEL_CONTROL
  co_await ch.send(1);
#else
  ch.send(1);
  co_return;
#endif
}
