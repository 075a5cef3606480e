// SPDX-License-Identifier: BSL-1.0
#include <runnel/io/adopt_awaitable.hpp>

#include <runnel/all.hpp>
#include <runnel/as_result.hpp>
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/test.hpp>
#include <runnel/with_context.hpp>

#include "support/checked_runtime.hpp"
#include "support/conserves_frames.hpp"
#include "support/manual_operation.hpp"
#include "support/memory_stream.hpp"

#include <gtest/gtest.h>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

namespace {

namespace rn = runnel;
namespace asio = boost::asio;
using namespace std::chrono_literals;
using boost::system::error_code;
using runnel_test::aborted;
using runnel_test::manual_operation;
using runnel_test::memory_stream;

class adopt_awaitable : public runnel_test::conserves_frames {};

asio::awaitable<int> add(int a, int b) {
  asio::steady_timer timer(co_await asio::this_coro::executor, 10us);
  co_await timer.async_wait(asio::use_awaitable);
  co_return a + b;
}
asio::awaitable<std::unique_ptr<int>> box(int n) { co_return std::make_unique<int>(n); }
asio::awaitable<void> fail() {
  co_await add(1, 2);
  throw std::runtime_error("theirs");
}

TEST_F(adopt_awaitable, yields_what_the_coroutine_returns_and_resumes_at_home) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    rn::detail::runtime_core* home = rn::detail::runtime_core::here();
    EXPECT_EQ(co_await rn::adopt(add(1, 2)), 3);
    EXPECT_EQ(rn::detail::runtime_core::here(), home);
    std::unique_ptr<int> five = co_await rn::adopt(box(5));
    EXPECT_EQ(*five, 5);
    auto named = add(3, 4);
    EXPECT_EQ(co_await rn::adopt(std::move(named)), 7);
  });
}

TEST_F(adopt_awaitable, rethrows_what_the_coroutine_throws) {
  test::on_1_2_and_4_threads(
      []() -> rn::task<> { EXPECT_EQ(co_await test::error_of_awaiting([] { return rn::adopt(fail()); }), "theirs"); });
}

TEST_F(adopt_awaitable, does_nothing_until_it_is_awaited) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    bool began = false;
    auto begin = [&]() -> asio::awaitable<void> {
      began = true;
      co_return;
    };
    auto operation = rn::adopt(begin());
    EXPECT_FALSE(began);
    co_await std::move(operation);
    EXPECT_TRUE(began);
    auto dropped = rn::adopt(begin());
  });
}

// The coroutine hears of it, and the goroutine unwinds when it has ended.
TEST_F(adopt_awaitable, a_cancellation_reaches_the_coroutine) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    manual_operation<error_code> op;
    std::atomic<int> theirs = 0, ours = 0;
    auto wait = [&]() -> asio::awaitable<void> {
      test::counted guard(theirs);
      co_await op.start(asio::use_awaitable);
      ADD_FAILURE() << "it went on";
    };
    rn::errgroup g;
    g.go([&]() -> rn::task<> {
      test::counted guard(ours);
      co_await rn::adopt(wait());
      ADD_FAILURE() << "it went on";
    });
    co_await test::until([&] { return op.is_out(); });
    g.cancel();
    co_await test::until([&] { return op.cancels() == 1; });
    co_await test::let_others_run();
    EXPECT_EQ(theirs, 1);
    EXPECT_EQ(ours, 1);
    op.complete(aborted);
    co_await test::error_of_awaiting([&] { return g.wait(); });
    EXPECT_EQ(theirs, 0);
    EXPECT_EQ(ours, 0);
  });
}

TEST_F(adopt_awaitable, a_coroutine_that_catches_the_cancellation_delivers_its_value) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    auto stubborn = []() -> asio::awaitable<int> {
      asio::steady_timer timer(co_await asio::this_coro::executor, 1h);
      auto [error] = co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
      co_return error == aborted ? 7 : 8;
    };
    auto work = [&]() -> rn::task<int> { co_return co_await rn::adopt(stubborn()); };
    auto [ctx, cancel] = rn::context::background().with_timeout(1ms);
    auto r = co_await rn::as_result(rn::with_context(ctx, work()));
    EXPECT_EQ(r.value(), 7);
  });
}

TEST_F(adopt_awaitable, a_deadline_ends_it) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    auto wait = []() -> asio::awaitable<void> {
      asio::steady_timer timer(co_await asio::this_coro::executor, 1h);
      co_await timer.async_wait(asio::use_awaitable);
    };
    auto late = [&] { return rn::with_timeout(1ms, rn::adopt(wait())); };
    EXPECT_EQ(co_await test::error_of_awaiting(late), "runnel: deadline exceeded");
  });
}

TEST_F(adopt_awaitable, does_not_start_under_a_context_that_is_done) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    cancel();
    bool began = false;
    auto begin = [&]() -> asio::awaitable<void> {
      began = true;
      co_return;
    };
    auto r = co_await rn::as_result(rn::with_context(ctx, rn::adopt(begin())));
    EXPECT_TRUE(r.canceled());
    EXPECT_FALSE(began);
  });
}

TEST_F(adopt_awaitable, a_runtime_that_ends_cancels_it) {
  std::atomic<int> alive = 0;
  {
    rn::runtime rt(rn::threads(2));
    auto wait = [&]() -> asio::awaitable<void> {
      test::counted guard(alive);
      asio::steady_timer timer(co_await asio::this_coro::executor, 1h);
      co_await timer.async_wait(asio::use_awaitable);
    };
    for (int i = 0; i < 10; ++i) rt.go([&]() -> rn::task<> { co_await rn::adopt(wait()); });
    rt.run([&] { return test::until([&] { return alive == 10; }); });
  }
  EXPECT_EQ(alive, 0);
}

TEST_F(adopt_awaitable, many_are_cancelled_at_any_moment) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    auto wait = [&](int n) -> asio::awaitable<void> {
      test::counted guard(alive);
      for (int i = 0; i < n; ++i) co_await add(i, n);
    };
    for (int round = 0; round < 20; ++round) {
      rn::errgroup g;
      for (int i = 0; i < 20; ++i) g.go([&, i]() -> rn::task<> { co_await rn::adopt(wait(i)); });
      for (int i = 0; i < round; ++i) co_await rn::yield();
      g.cancel();
      co_await test::error_of_awaiting([&] { return g.wait(); });
      EXPECT_EQ(alive, 0);
    }
  });
}

// In a test run, on objects in memory.
TEST_F(adopt_awaitable, a_conversation_in_memory_is_cancelled_and_fails_at_every_place) {
  auto talk = []() -> rn::task<> {
    memory_stream client(rn::this_executor()), server(rn::this_executor());
    client.connect(server);
    auto answer = [](memory_stream& io) -> asio::awaitable<void> {
      char bytes[5];
      co_await asio::async_read(io, asio::buffer(bytes), asio::use_awaitable);
      co_await asio::async_write(io, asio::buffer(bytes), asio::use_awaitable);
      io.close();
    };
    auto serve = [&]() -> rn::task<> { co_await rn::adopt(answer(server)); };
    auto ask = [](memory_stream& io) -> rn::task<> {
      char bytes[5];
      co_await asio::async_write(io, asio::buffer("hello", 5), rn::use_task);
      co_await asio::async_read(io, asio::buffer(bytes), rn::use_task);
      EXPECT_EQ(std::string(bytes, 5), "hello");
    };
    co_await rn::all(ask(client), serve());
  };
  EXPECT_EQ(rn::test::explore(50, talk), 50u);
  EXPECT_GT(rn::test::cancel_everywhere(talk), 10u);
  EXPECT_GT(rn::test::fail_everywhere(talk), 4u);
}

}  // namespace
