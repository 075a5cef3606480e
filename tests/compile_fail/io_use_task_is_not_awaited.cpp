// EXPECT: the operation has not been started
// FLAGS: -Werror=unused-result
// SPDX-License-Identifier: BSL-1.0

#include <runnel/io/use_task.hpp>

#include <boost/asio/steady_timer.hpp>

runnel::task<> work(boost::asio::steady_timer& timer) {
#ifdef RUNNEL_CONTROL
  co_await timer.async_wait(runnel::use_task);
#else
  timer.async_wait(runnel::use_task);
  co_return;
#endif
}
