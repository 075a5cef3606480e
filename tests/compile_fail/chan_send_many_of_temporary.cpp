// EXPECT: send_many leaves in the range what it has not sent: name the range
// SPDX-License-Identifier: BSL-1.0

#include <runnel/chan.hpp>
#include <runnel/task.hpp>

#include <vector>

runnel::task<> sends(runnel::chan<int> ch) {
#ifdef RUNNEL_CONTROL
  std::vector<int> batch(3);
  co_await ch.send_many(batch);
#else
  co_await ch.send_many(std::vector<int>(3));
#endif
}
