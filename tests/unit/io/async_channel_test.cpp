// SPDX-License-Identifier: BSL-1.0
// async_send and async_recv: channels in plain Asio code, with any token, in the queue with goroutines.
#include <runnel/io/async_channel.hpp>

#include <runnel/chan.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/runtime.hpp>

#include "support/checked_runtime.hpp"
#include "support/conserves_frames.hpp"
#include "support/counted.hpp"

#include <gtest/gtest.h>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
namespace asio = boost::asio;
using boost::system::error_code;
using runnel_test::counted;

class async_channel : public runnel_test::conserves_frames {};

struct outcome {
  int calls = 0;
  error_code error;
  std::optional<int> value;
};
auto into(outcome& o, asio::io_context& io) {
  return asio::bind_executor(io.get_executor(), [&o](error_code e, std::optional<int> v) {
    ++o.calls;
    o.error = e;
    o.value = v;
  });
}

TEST_F(async_channel, a_callback_gets_what_is_there_but_not_inside_of_the_call) {
  asio::io_context io;
  rn::chan<int> ch(1);
  ASSERT_TRUE(ch.try_send(1));
  outcome o;
  rn::async_recv(ch, into(o, io));
  EXPECT_EQ(o.calls, 0);
  io.run();
  EXPECT_EQ(o.calls, 1);
  EXPECT_FALSE(o.error);
  EXPECT_EQ(o.value, 1);
}

// While it waits the handler's executor has work, so that run() does not return.
TEST_F(async_channel, a_callback_waits_for_its_turn) {
  asio::io_context io;
  rn::chan<int> ch(0);
  outcome first, second;
  rn::async_recv(ch, into(first, io));
  rn::async_recv(rn::receiver<int>(ch), into(second, io));
  EXPECT_EQ(io.poll(), 0u);
  EXPECT_FALSE(io.stopped());
  EXPECT_TRUE(ch.try_send(1));
  EXPECT_TRUE(ch.try_send(2));
  EXPECT_FALSE(ch.try_send(3));
  io.run();
  EXPECT_EQ(first.value, 1);
  EXPECT_EQ(second.value, 2);
}

TEST_F(async_channel, closing_completes_who_waits) {
  asio::io_context io;
  rn::chan<int> plain(0), with_code(0), with_error(0), to_send(0);
  outcome a, b, c;
  error_code sent;
  rn::async_recv(plain, into(a, io));
  rn::async_recv(with_code, into(b, io));
  rn::async_recv(with_error, into(c, io));
  rn::async_send(to_send, 1, asio::bind_executor(io.get_executor(), [&](error_code e) { sent = e; }));
  plain.close();
  with_code.close(std::make_exception_ptr(boost::system::system_error(asio::error::eof)));
  with_error.close(std::make_exception_ptr(std::runtime_error("x")));
  to_send.close();
  io.run();
  EXPECT_FALSE(a.error || a.value);
  EXPECT_EQ(b.error, asio::error::eof);
  EXPECT_EQ(c.error, rn::channel_errc::closed_with_error);
  EXPECT_EQ(sent, rn::channel_errc::closed);
  EXPECT_NE(sent.message(), c.error.message());
}

// CH-C: a receive that is cancelled leaves the element in the channel; a send that is cancelled has sent nothing.
TEST_F(async_channel, a_cancellation_loses_nothing) {
  asio::io_context io;
  rn::chan<counted> ch(0);
  asio::cancellation_signal signal;
  error_code received, sent;
  auto with_slot = [&](auto handler) {
    return asio::bind_cancellation_slot(signal.slot(), asio::bind_executor(io.get_executor(), std::move(handler)));
  };
  rn::async_recv(ch, with_slot([&](error_code e, std::optional<counted>) { received = e; }));
  signal.emit(asio::cancellation_type::total);
  io.run();
  EXPECT_EQ(received, asio::error::operation_aborted);
  EXPECT_FALSE(ch.try_send(counted(1)));
  io.restart();
  rn::async_send(ch, counted(2), with_slot([&](error_code e) { sent = e; }));
  EXPECT_EQ(counted::alive(), 1);
  signal.emit(asio::cancellation_type::total);
  io.run();
  EXPECT_EQ(sent, asio::error::operation_aborted);
  EXPECT_EQ(counted::alive(), 0);
  EXPECT_TRUE(ch.try_recv().would_block());
  signal.emit(asio::cancellation_type::total);  // after the end: nobody hears it
}

TEST_F(async_channel, a_cancellation_that_comes_too_late_changes_nothing) {
  asio::io_context io;
  rn::chan<int> ch(0);
  asio::cancellation_signal signal;
  outcome o;
  rn::async_recv(ch, asio::bind_cancellation_slot(signal.slot(), into(o, io)));
  EXPECT_TRUE(ch.try_send(5));
  signal.emit(asio::cancellation_type::total);
  io.run();
  EXPECT_EQ(o.value, 5);
  EXPECT_FALSE(o.error);
}

TEST_F(async_channel, a_context_that_is_destroyed_ends_what_waits_and_what_was_received) {
  std::optional<asio::io_context> io(std::in_place);
  rn::chan<counted> ch(0), other(0);
  rn::async_recv(ch, asio::bind_executor(io->get_executor(), [](error_code, std::optional<counted>) { FAIL(); }));
  EXPECT_TRUE(ch.try_send(counted(1)));
  io.reset();
  EXPECT_EQ(counted::alive(), 0);
}

asio::awaitable<int> sum(rn::chan<int> in) {
  int total = 0;
  while (auto v = co_await rn::async_recv(in, asio::use_awaitable)) total += *v;
  co_return total;
}

TEST_F(async_channel, coroutines_of_asio_and_goroutines_meet) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    asio::thread_pool pool(2);
    rn::chan<int> ch(2);
    rn::chan<void> ticks(0);
    auto total = asio::co_spawn(pool, sum(ch), asio::use_future);
    auto sends = [](rn::chan<int> to, rn::chan<void> done) -> asio::awaitable<void> {
      for (int i = 1; i <= 100; ++i) co_await rn::async_send(to, i, asio::use_awaitable);
      co_await rn::async_send(done, asio::use_awaitable);
    };
    asio::co_spawn(pool, sends(ch, ticks), asio::detached);
    for (int i = 1; i <= 100; ++i) co_await ch.send(1000);
    EXPECT_TRUE(co_await ticks.recv());
    ch.close();
    pool.join();
    EXPECT_EQ(total.get(), 5050 + 100'000);
  });
}

TEST_F(async_channel, futures_deferred_and_void_channels) {
  rn::chan<std::unique_ptr<int>> ch(1);
  auto send = rn::async_send(ch, std::make_unique<int>(7), asio::deferred);
  EXPECT_EQ(ch.len(), 0u);
  std::move(send)(asio::use_future).get();
  EXPECT_EQ(**rn::async_recv(ch, asio::use_future).get(), 7);
  rn::chan<void> ticks(1);
  ASSERT_TRUE(ticks.try_send());
  EXPECT_TRUE(rn::async_recv(ticks, asio::use_future).get());
  ticks.close();
  EXPECT_FALSE(rn::async_recv(ticks, asio::use_future).get());
}

TEST_F(async_channel, the_nil_channel_is_refused) {
  EXPECT_THROW(rn::async_recv(rn::chan<int>(), asio::use_future), rn::misuse_error);
  EXPECT_THROW(rn::async_send(rn::chan<int>(), 1, asio::use_future), rn::misuse_error);
}

}  // namespace
