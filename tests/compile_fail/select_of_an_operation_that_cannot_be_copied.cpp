// SPDX-License-Identifier: BSL-1.0
// EXPECT: an operation of Asio that is a case can be started again: what it is started with must be copyable
#include <runnel/chan.hpp>
#include <runnel/io/use_task.hpp>
#include <runnel/select.hpp>

#include <boost/asio/async_result.hpp>

#include <memory>

struct owns {
#ifdef RUNNEL_CONTROL
  std::shared_ptr<int> what;
#else
  std::unique_ptr<int> what;
#endif
};
struct initiation {
  static constexpr bool is_single_step = true;
  template <class H> void operator()(H&& handler, owns) const { handler(boost::system::error_code()); }
};

runnel::task<> waits(runnel::chan<int> ch) {
  auto op = boost::asio::async_initiate<const runnel::use_task_t, void(boost::system::error_code)>(
      initiation{}, runnel::use_task, owns{});
  co_await runnel::select(op, ch.recv());
}
