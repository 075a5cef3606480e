// SPDX-License-Identifier: BSL-1.0
// async_run: a goroutine as an operation of Asio: results, errors, cancellation, the scheduler's end.
#include <runnel/io/async_run.hpp>

#include <runnel/chan.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>

#include "support/checked_runtime.hpp"
#include "support/conserves_frames.hpp"
#include "support/wait_until.hpp"

#include <gtest/gtest.h>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <atomic>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace {

namespace rn = runnel;
namespace asio = boost::asio;

class async_run : public runnel_test::conserves_frames {};

rn::task<int> twice(int n) {
  co_await rn::yield();
  co_return 2 * n;
}
rn::task<> fails() {
  co_await rn::yield();
  throw std::runtime_error("broken");
}

std::string message_of(const std::exception_ptr& e) { return e ? rn::detail::what_of(e) : std::string(); }

TEST_F(async_run, completes_with_what_the_task_returns_or_throws) {
  rn::runtime rt(rn::threads(2));
  EXPECT_EQ(rn::async_run(rt, twice(21), asio::use_future).get(), 42);
  EXPECT_THROW(rn::async_run(rt.get_scheduler(), fails(), asio::use_future).get(), std::runtime_error);
}

TEST_F(async_run, a_coroutine_of_asio_awaits_a_goroutine) {
  rn::runtime rt(rn::threads(2));
  auto caller = [](rn::runtime& runtime) -> asio::awaitable<std::unique_ptr<int>> {
    auto make = [](int n) -> rn::task<std::unique_ptr<int>> { co_return std::make_unique<int>(n); };
    int n = co_await rn::async_run(runtime, twice(4), asio::use_awaitable);
    co_return co_await rn::async_run(runtime, make(n), asio::use_awaitable);
  };
  asio::io_context io;
  auto future = asio::co_spawn(io, caller(rt), asio::use_future);
  io.run();
  EXPECT_EQ(*future.get(), 8);
}

TEST_F(async_run, a_cancellation_unwinds_the_goroutine) {
  rn::runtime rt(rn::threads(2));
  asio::io_context io;
  asio::cancellation_signal signal;
  std::atomic<int> alive = 0;
  std::exception_ptr error;
  rn::async_run(rt, test::park_for_ever(alive),
                asio::bind_cancellation_slot(signal.slot(), asio::bind_executor(io.get_executor(),
                                                                                [&](std::exception_ptr e) { error = e; })));
  runnel_test::wait_until([&] { return alive == 1; });
  signal.emit(asio::cancellation_type::terminal);
  io.run();
  EXPECT_EQ(alive, 0);
  EXPECT_NE(message_of(error).find("canceled"), std::string::npos) << message_of(error);
}

TEST_F(async_run, the_handler_hears_of_the_schedulers_end) {
  asio::io_context io;
  std::atomic<int> alive = 0;
  int calls = 0;
  auto count = asio::bind_executor(io.get_executor(), [&](std::exception_ptr e) { calls += e != nullptr; });
  {
    rn::runtime rt(rn::threads(2));
    rn::async_run(rt, test::park_for_ever(alive), count);
    runnel_test::wait_until([&] { return alive == 1; });
    rt.shut_down();
    rn::async_run(rt, test::park_for_ever(alive), count);  // nothing new starts
  }
  io.run();
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(alive, 0);
}

}  // namespace
