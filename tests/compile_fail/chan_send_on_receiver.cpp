// EXPECT: send
// SPDX-License-Identifier: BSL-1.0

#include <runnel/chan.hpp>
#include <runnel/task.hpp>

// CH-03
#ifdef RUNNEL_CONTROL
runnel::task<> sends(runnel::sender<int> ch) {
#else
runnel::task<> sends(runnel::receiver<int> ch) {
#endif
  co_await ch.send(1);
}
