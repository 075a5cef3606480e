// EXPECT: this one has no erase(): name a std::span
// SPDX-License-Identifier: BSL-1.0

#include <runnel/chan.hpp>
#include <runnel/task.hpp>

#include <span>

runnel::task<> sends(runnel::chan<int> ch) {
  int batch[] = {1, 2, 3};
#ifdef RUNNEL_CONTROL
  std::span<int> rest(batch);
  co_await ch.send_many(rest);
#else
  co_await ch.send_many(batch);
#endif
}
