// SPDX-License-Identifier: BSL-1.0
// Operations of Asio under test::run: objects in memory, whose handlers are steps of the schedule.
#include <runnel/io/use_task.hpp>
#include <runnel/test.hpp>

#include <runnel/all.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>
#include <runnel/sleep.hpp>
#include <runnel/this_task.hpp>
#include <runnel/with_context.hpp>

#include "support/memory_stream.hpp"

#include <gtest/gtest.h>
#include <boost/asio/io_context.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/write.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

namespace rn = runnel;
namespace asio = boost::asio;
using namespace std::chrono_literals;
using runnel_test::memory_stream;

template <class F> std::string error_of(F&& f) {
  try {
    f();
  } catch (const std::exception& e) {
    return e.what();
  }
  return "";
}

// Answers each line with the same, until the end.
rn::task<> echo_lines(memory_stream& io) {
  std::string buffer;
  for (;;) {
    auto n = co_await asio::async_read_until(io, asio::dynamic_buffer(buffer), '\n', rn::use_result);
    if (!n) break;
    co_await asio::async_write(io, asio::buffer(buffer, n.value()), rn::use_task);
    buffer.erase(0, n.value());
  }
}
rn::task<std::string> ask(memory_stream& io, std::string line) {
  line += '\n';
  co_await asio::async_write(io, asio::buffer(line), rn::use_task);
  std::string answer(line.size(), ' ');
  co_await asio::async_read(io, asio::buffer(answer), rn::use_task);
  co_return answer;
}
rn::task<> talk(asio::any_io_executor ex) {
  memory_stream client(ex), server(ex);
  client.connect(server);
  auto speak = [](memory_stream& io) -> rn::task<> {
    std::string first = co_await ask(io, "hello, world");
    EXPECT_EQ(first, "hello, world\n");
    std::string second = co_await ask(io, "good bye");
    EXPECT_EQ(second, "good bye\n");
    io.close();
  };
  co_await rn::all(speak(client), echo_lines(server));
}
rn::task<> talk_here() { co_await talk(rn::this_executor()); }

TEST(test_run_with_asio, a_conversation_in_memory_is_right_under_every_seed) {
  EXPECT_EQ(rn::test::explore(200, talk_here), 200u);
}

TEST(test_run_with_asio, a_strand_over_the_runs_executor_serves_too) {
  auto body = []() -> rn::task<> {
    co_await talk(asio::make_strand(rn::this_executor()));
  };
  EXPECT_EQ(rn::test::explore(100, body), 100u);
}

TEST(test_run_with_asio, is_cancelled_at_every_place) {
  EXPECT_GT(rn::test::cancel_everywhere(talk_here), 40u);
  EXPECT_GT(rn::test::cancel_everywhere(talk_here, rn::test::seed(7)), 40u);
}

TEST(test_run_with_asio, every_operation_fails_in_turn) {
  int operations = 0;
  std::multiset<std::string> errors;
  auto body = [&]() -> rn::task<> {
    memory_stream client(rn::this_executor()), server(rn::this_executor());
    client.connect(server);
    for (int i = 0; i < 3; ++i) {
      ++operations;
      auto r = co_await client.async_write_some(asio::buffer("abc", 3), rn::use_result);
      if (!r) errors.insert("write " + std::to_string(i) + ": " + r.error().message());
    }
    ++operations;
    char c[3];
    co_await server.async_read_some(asio::buffer(c), rn::use_task);
  };
  operations = 0;
  rn::test::run(body);
  ASSERT_EQ(operations, 4);
  EXPECT_TRUE(errors.empty());

  auto reset = boost::system::error_code(asio::error::connection_reset).message();
  std::size_t runs = rn::test::fail_everywhere(body);
  EXPECT_GE(runs, 4u);  // and one for each allocation
  EXPECT_EQ(errors, (std::multiset<std::string>{"write 0: " + reset, "write 1: " + reset, "write 2: " + reset}));
}

TEST(test_run_with_asio, fail_everywhere_finds_an_error_that_breaks_the_invariant) {
  int sent = 0, counted = 0;
  auto body = [&]() -> rn::task<> {
    sent = counted = 0;
    memory_stream client(rn::this_executor()), server(rn::this_executor());
    client.connect(server);
    ++counted;  // wrong: before it is known
    co_await client.async_write_some(asio::buffer("abc", 3), rn::use_task);
    ++sent;
  };
  std::string error = error_of([&] { rn::test::fail_everywhere(body, [&] { return sent == counted; }); });
  EXPECT_NE(error.find("the invariant does not hold"), std::string::npos) << error;
}

TEST(test_run_with_asio, a_read_that_nobody_serves_is_a_deadlock_that_says_so) {
  auto body = []() -> rn::task<> {
    memory_stream here(rn::this_executor());
    char c[1];
    co_await here.async_read_some(asio::buffer(c), rn::use_task);
  };
  std::string error = error_of([&] { rn::test::run(body); });
  EXPECT_NE(error.find("deadlock"), std::string::npos) << error;
  EXPECT_NE(error.find("for an operation of Asio"), std::string::npos) << error;
}

TEST(test_run_with_asio, a_timeout_in_virtual_time_ends_a_read) {
  auto body = []() -> rn::task<> {
    memory_stream here(rn::this_executor());
    auto read = [](memory_stream& io) -> rn::task<> {
      char c[1];
      co_await io.async_read_some(asio::buffer(c), rn::use_task);
    };
    co_await rn::with_timeout(1h, read(here));
  };
  EXPECT_THROW(rn::test::run(body), rn::timeout_error);
}

TEST(test_run_with_asio, an_object_of_another_context_is_misuse) {
  asio::io_context io;
  auto body = [&]() -> rn::task<> {
    asio::steady_timer timer(io, 1h);
    co_await timer.async_wait(rn::use_task);
  };
  std::string error = error_of([&] { rn::test::run(body); });
  EXPECT_NE(error.find("an object of another context under test::run"), std::string::npos) << error;
}

TEST(test_run_with_asio, a_timer_of_asio_brings_what_comes_from_outside) {
  auto body = [&]() -> rn::task<> {
    asio::steady_timer timer(rn::this_executor(), 1ms);
    co_await timer.async_wait(rn::use_task);
  };
  EXPECT_THROW(rn::test::run(body), std::exception);  // a deadlock, or, if it is quick, "a thread outside"
}

TEST(test_run_with_asio, what_leaves_a_handler_fails_the_run) {
  auto body = []() -> rn::task<> {
    asio::post(rn::this_executor(), [] { throw std::runtime_error("out of a handler"); });
    co_await rn::sleep(1s);
  };
  EXPECT_EQ(error_of([&] { rn::test::run(body); }), "out of a handler");
}

TEST(test_run_with_asio, what_was_posted_runs_when_the_body_has_ended_and_is_dropped_when_the_run_has) {
  bool ran = false;
  std::optional<asio::any_io_executor> left;
  auto body = [&]() -> rn::task<> {
    left = rn::this_executor();
    asio::post(*left, [&] { ran = true; });
    co_return;
  };
  rn::test::run(body);
  EXPECT_TRUE(ran);
  auto held = std::make_shared<int>();
  asio::post(*left, [held] { ADD_FAILURE() << "the run is over"; });
  EXPECT_EQ(held.use_count(), 1);
}

TEST(test_run_with_asio, a_handler_that_sleeps_is_told) {
  auto body = []() -> rn::task<> {
    asio::post(rn::this_executor(), [] { std::this_thread::sleep_for(80ms); });  // sleeps: that is what is told
    co_await rn::sleep(1s);
  };
#if defined(__linux__)
  std::string error = error_of([&] { rn::test::run(body); });
  EXPECT_NE(error.find("a handler of Asio blocked its thread"), std::string::npos) << error;
#endif
}

TEST(test_run_with_asio, handlers_that_post_for_ever_are_no_end) {
  struct again {
    asio::any_io_executor ex;
    void operator()() const { asio::post(ex, *this); }
  };
  auto body = []() -> rn::task<> {
    asio::post(rn::this_executor(), again{rn::this_executor()});
    co_return;
  };
  std::string error = error_of([&] { rn::test::run(rn::test::max_steps(1000), body); });
  EXPECT_NE(error.find("a handler of Asio"), std::string::npos) << error;
}

TEST(test_run_with_asio, what_waits_in_a_strand_when_a_run_fails_is_destroyed) {
  auto held = std::make_shared<int>();
  auto body = [&]() -> rn::task<> {
    auto strand = asio::make_strand(rn::this_executor());
    for (int i = 0; i < 2; ++i)
      asio::post(strand, [held, strand] { asio::post(strand, [held, strand] { (void)held; }); });
    for (;;) co_await rn::yield();
  };
  EXPECT_THROW(rn::test::run(rn::test::max_steps(10), body), rn::test::endless_error);
  EXPECT_EQ(held.use_count(), 1);
}

TEST(test_run_with_asio, the_order_of_two_handlers_is_the_schedules) {
  std::set<std::string> orders;
  auto body = [&]() -> rn::task<> {
    std::string order;
    auto ex = rn::this_executor();
    asio::post(ex, [&] { order += 'a'; });
    asio::post(ex, [&] { order += 'b'; });
    asio::dispatch(ex, [&] { order += '!'; });
    co_await rn::sleep(1s);
    orders.insert(order);
  };
  rn::test::exhaust(body);
  EXPECT_EQ(orders, (std::set<std::string>{"!ab", "!ba"}));
}

}  // namespace
