// SPDX-License-Identifier: BSL-1.0
// use_task and use_result: what operations of any signature return and throw; when they are started, asked to end, and
// left; on which executors.
#include <runnel/io.hpp>

#include <runnel/all.hpp>
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/dump.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>
#include <runnel/test.hpp>
#include <runnel/with_context.hpp>

#include "support/checked_runtime.hpp"
#include "support/conserves_frames.hpp"
#include "support/manual_operation.hpp"

#include <gtest/gtest.h>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/udp.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/write.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <utility>

namespace {

namespace rn = runnel;
namespace asio = boost::asio;
using namespace std::chrono_literals;
using boost::system::error_code;
using runnel_test::aborted;
using runnel_test::manual_operation;
using stream = asio::local::stream_protocol::socket;

class use_task : public runnel_test::conserves_frames {};

std::pair<stream, stream> connected_pair(const asio::any_io_executor& ex) {
  std::pair<stream, stream> pair{stream(ex), stream(ex)};
  asio::local::connect_pair(pair.first, pair.second);
  return pair;
}

// ---- What it returns ----

TEST_F(use_task, returns_what_comes_behind_the_error) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    manual_operation<> nothing;
    manual_operation<int> one;
    manual_operation<int, std::string> two;
    manual_operation<error_code> code;
    manual_operation<error_code, std::unique_ptr<int>> code_and_one;
    manual_operation<error_code, int, std::string> code_and_two;
    manual_operation<std::exception_ptr, int> exception;
    nothing.on_start = [&] { nothing.complete(); };
    one.on_start = [&] { one.complete(1); };
    two.on_start = [&] { two.complete(1, "two"); };
    code.on_start = [&] { code.complete({}); };
    code_and_one.on_start = [&] { code_and_one.complete({}, std::make_unique<int>(1)); };
    code_and_two.on_start = [&] { code_and_two.complete({}, 1, "two"); };
    exception.on_start = [&] { exception.complete(nullptr, 5); };

    co_await nothing.start(rn::use_task);
    EXPECT_EQ(co_await one.start(rn::use_task), 1);
    std::tuple<int, std::string> both = co_await two.start(rn::use_task);
    EXPECT_EQ(std::get<1>(both), "two");
    co_await code.start(rn::use_task);
    std::unique_ptr<int> moved = co_await code_and_one.start(rn::use_task);
    EXPECT_EQ(*moved, 1);
    both = co_await code_and_two.start(rn::use_task);
    EXPECT_EQ(std::get<0>(both), 1);
    EXPECT_EQ(co_await exception.start(rn::use_task), 5);
  });
}

TEST_F(use_task, throws_the_error) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    manual_operation<error_code, int> code;
    code.on_start = [&] { code.complete(asio::error::eof, 3); };
    bool caught = false;
    try {
      co_await code.start(rn::use_task);
    } catch (const boost::system::system_error& e) {
      caught = e.code() == asio::error::eof;
    }
    EXPECT_TRUE(caught);
    manual_operation<std::exception_ptr> exception;
    exception.on_start = [&] { exception.complete(std::make_exception_ptr(std::runtime_error("broken"))); };
    EXPECT_EQ(co_await test::error_of_awaiting([&] { return exception.start(rn::use_task); }), "broken");
  });
}

TEST_F(use_task, use_result_returns_the_error_and_what_came_with_it) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    manual_operation<error_code, int> op;
    op.on_start = [&] { op.complete(asio::error::eof, 3); };
    rn::io_result<int> r = co_await op.start(rn::use_result);
    EXPECT_FALSE(r);
    EXPECT_EQ(r.error(), asio::error::eof);
    EXPECT_EQ(r.partial(), 3);
    EXPECT_THROW(r.value(), boost::system::system_error);
    op.on_start = [&] { op.complete({}, 4); };
    auto good = co_await op.start(rn::use_result);
    EXPECT_TRUE(good.ok());
    EXPECT_EQ(std::move(good).value(), 4);
    manual_operation<error_code> plain;
    plain.on_start = [&] { plain.complete(aborted); };
    rn::io_result<void> none = co_await plain.start(rn::use_result);
    EXPECT_EQ(none.error(), aborted);
  });
}

TEST_F(use_task, what_starting_throws_is_thrown_by_the_await) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    manual_operation<error_code> op;
    op.on_start = [&] {
      op.drop();
      throw std::runtime_error("cannot start");
    };
    EXPECT_EQ(co_await test::error_of_awaiting([&] { return op.start(rn::use_task); }), "cannot start");
  });
}

TEST_F(use_task, does_nothing_until_it_is_awaited) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    manual_operation<int> op;
    op.on_start = [&] { op.complete(7); };
    auto operation = op.start(rn::use_task);
    EXPECT_EQ(op.starts(), 0);
    auto moved = std::move(operation);
    EXPECT_EQ(co_await std::move(moved), 7);
    EXPECT_EQ(op.starts(), 1);
  });
}

// GEN-02: operations that complete at once count against the budget.
TEST_F(use_task, operations_that_complete_at_once_starve_nobody) {
  test::checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    std::atomic<bool> over = false;
    rn::go([&] { over = true; });
    manual_operation<> op;
    op.on_start = [&] { op.complete(); };
    while (!over) co_await op.start(rn::use_task);
  });
}

// ---- Cancellation ----

// A cancelled goroutine unwinds when the operation has ended as aborted, and not before.
TEST_F(use_task, a_cancellation_asks_the_operation_to_end_and_waits_for_it) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    manual_operation<error_code> op;
    std::atomic<int> alive = 0;
    rn::errgroup g;
    g.go([&]() -> rn::task<> {
      test::counted guard(alive);
      co_await op.start(rn::use_task);
      ADD_FAILURE() << "it went on";
    });
    co_await test::until([&] { return op.is_out(); });
    g.cancel();
    EXPECT_EQ(op.cancels(), 1);
    co_await test::let_others_run();
    EXPECT_EQ(alive, 1);
    op.complete(aborted);
    co_await test::error_of_awaiting([&] { return g.wait(); });
    EXPECT_EQ(alive, 0);
  });
}

TEST_F(use_task, a_result_that_comes_in_spite_of_the_cancellation_is_delivered) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    manual_operation<error_code, int> op;
    std::atomic<int> got = 0;
    rn::errgroup g;
    g.go([&]() -> rn::task<> {
      got = co_await op.start(rn::use_task);
      co_await rn::yield();  // here it unwinds
      got = -1;
    });
    co_await test::until([&] { return op.is_out(); });
    g.cancel();
    op.complete({}, 5);
    co_await test::error_of_awaiting([&] { return g.wait(); });
    EXPECT_EQ(got, 5);
  });
}

// Aborted by somebody else: socket.cancel(). That is an error like others.
TEST_F(use_task, an_abort_that_no_context_asked_for_is_an_error) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    manual_operation<error_code> op;
    op.on_start = [&] { op.complete(aborted); };
    auto r = co_await op.start(rn::use_result);
    EXPECT_EQ(r.error(), aborted);
    EXPECT_NE(co_await test::error_of_awaiting([&] { return op.start(rn::use_task); }), "");
  });
}

TEST_F(use_task, a_context_that_is_done_keeps_it_from_starting) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    manual_operation<error_code> op;
    auto [ctx, cancel] = rn::context::background().with_cancel();
    cancel();
    auto start = [&]() -> rn::task<> { co_await op.start(rn::use_task); };
    auto r = co_await rn::as_result(rn::with_context(ctx, start()));
    EXPECT_TRUE(r.canceled());
    EXPECT_EQ(op.starts(), 0);
  });
}

// It is asked once, also by a kill after a cancel.
TEST_F(use_task, a_shield_keeps_the_cancellation_away_and_a_kill_comes_through) {
  std::atomic<int> alive = 0;
  manual_operation<error_code> op;
  {
    rn::runtime_options options;
    options.grace(20ms);
    rn::runtime rt(rn::threads(2), options);
    op.on_cancel = [&] { asio::post(rt.get_executor(), [&] { op.complete(aborted); }); };
    rt.go([&]() -> rn::task<> {
      auto work = [&]() -> rn::task<> {
        test::counted guard(alive);
        co_await op.start(rn::use_task);
      };
      co_await rn::shield(work());
    });
    rt.run([&] { return test::until([&] { return op.is_out(); }); });
    rt.cancel();
    EXPECT_EQ(op.cancels(), 0);
    rt.shut_down();
    EXPECT_EQ(op.cancels(), 1);
  }
  EXPECT_EQ(alive, 0);
}

// Inside of on_start the goroutine that starts the operation owns it: the request is emitted as it leaves.
TEST_F(use_task, a_request_that_comes_while_it_is_being_started_is_emitted_afterwards) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    manual_operation<error_code> op;
    rn::errgroup g;
    op.on_start = [&] {
      g.cancel();
      EXPECT_EQ(op.cancels(), 0);
    };
    op.obey();
    g.go([&]() -> rn::task<> {
      co_await op.start(rn::use_task);
      ADD_FAILURE() << "it went on";
    });
    co_await test::error_of_awaiting([&] { return g.wait(); });
    EXPECT_EQ(op.cancels(), 1);
  });
}

TEST_F(use_task, a_handler_that_is_destroyed_unwinds_the_goroutine) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    manual_operation<error_code> op;
    auto start = [&]() -> rn::task<> { co_await op.start(rn::use_task); };
    rn::errgroup g;
    std::atomic<bool> canceled = false;
    g.go([&]() -> rn::task<> {
      auto r = co_await rn::as_result(start());
      canceled = r.canceled();
    });
    co_await test::until([&] { return op.is_out(); });
    op.drop();
    co_await g.wait();
    EXPECT_TRUE(canceled);
    op.on_start = [&] { op.drop(); };  // at once
    auto r = co_await rn::as_result(start());
    EXPECT_TRUE(r.canceled());
  });
}

// ---- Executors ----

// Is to be started and asked to end on that strand.
struct stays_on : manual_operation<error_code> {
  explicit stays_on(const asio::strand<asio::any_io_executor>& strand) {
    on_start = [strand] { EXPECT_TRUE(strand.running_in_this_thread()); };
    on_cancel = [this, strand] {
      EXPECT_TRUE(strand.running_in_this_thread());
      complete(aborted);
    };
  }
};

TEST_F(use_task, on_a_strand_it_is_started_and_asked_to_end_there) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    auto strand = asio::make_strand(rn::this_executor());
    stays_on op(strand);
    rn::errgroup g;
    g.go([&]() -> rn::task<> { co_await op.start_on(strand, rn::use_task); });
    co_await test::until([&] { return op.is_out(); });
    g.cancel();
    co_await test::error_of_awaiting([&] { return g.wait(); });
    EXPECT_EQ(op.cancels(), 1);
    op.on_start = [&] { asio::post(strand, [&] { op.complete({}); }); };
    co_await op.start_on(strand, rn::use_task);
    op.on_start = [&] {
      op.drop();
      throw std::runtime_error("cannot start");
    };
    auto again = [&] { return op.start_on(strand, rn::use_task); };
    EXPECT_EQ(co_await test::error_of_awaiting(again), "cannot start");
  });
}

// GEN-04: who waited for an operation of another context resumes on its own scheduler.
TEST_F(use_task, an_operation_of_another_context_resumes_at_home) {
  asio::thread_pool other(1);
  test::on_1_2_and_4_threads([&]() -> rn::task<> {
    rn::detail::runtime_core* home = rn::detail::runtime_core::here();
    for (int i = 0; i < 20; ++i) {
      asio::steady_timer timer(other, std::chrono::microseconds(10 * i));
      co_await timer.async_wait(rn::use_task);
      EXPECT_EQ(rn::detail::runtime_core::here(), home);
      EXPECT_FALSE(other.get_executor().running_in_this_thread());
    }
  });
  other.join();
}

TEST_F(use_task, operations_of_asios_own_objects_are_single_steps) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    auto ex = rn::this_executor();
    auto [a, b] = connected_pair(ex);
    std::array<char, 8> bytes;
    asio::steady_timer timer(ex);
    auto read = a.async_read_some(asio::buffer(bytes), rn::use_task);
    auto wait = timer.async_wait(rn::use_task);
    auto whole = asio::async_read(a, asio::buffer(bytes), rn::use_task);
    static_assert(!std::is_base_of_v<rn::detail::stepwise_operation, decltype(read)>);
    static_assert(!std::is_base_of_v<rn::detail::stepwise_operation, decltype(wait)>);
    static_assert(std::is_base_of_v<rn::detail::stepwise_operation, decltype(whole)>);
    co_return;
  });
}

// ---- Sockets ----

rn::task<> echo(stream s) {
  std::array<char, 100> bytes;
  for (;;) {
    auto r = co_await s.async_read_some(asio::buffer(bytes), rn::use_result);
    if (!r) co_return;
    co_await asio::async_write(s, asio::buffer(bytes, r.value()), rn::use_task);
  }
}

TEST_F(use_task, bytes_go_there_and_back) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    auto pair = connected_pair(rn::this_executor());
    rn::errgroup g;
    g.go(echo, std::move(pair.second));
    for (int i = 0; i < 100; ++i) {
      std::string sent = "number " + std::to_string(i), got(sent.size(), ' ');
      co_await asio::async_write(pair.first, asio::buffer(sent), rn::use_task);
      co_await asio::async_read(pair.first, asio::buffer(got), rn::use_task);
      EXPECT_EQ(got, sent);
    }
    pair.first.close();
    co_await g.wait();
  });
}

TEST_F(use_task, a_deadline_ends_reads_of_one_and_of_many_steps) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    auto pair = connected_pair(rn::this_executor());
    std::array<char, 100> bytes;
    auto some = [&] { return rn::with_timeout(1ms, pair.first.async_read_some(asio::buffer(bytes), rn::use_task)); };
    auto all = [&] { return rn::with_timeout(1ms, asio::async_read(pair.first, asio::buffer(bytes), rn::use_task)); };
    EXPECT_EQ(co_await test::error_of_awaiting(some), "runnel: deadline exceeded");
    EXPECT_EQ(co_await test::error_of_awaiting(all), "runnel: deadline exceeded");
    co_await asio::async_write(pair.second, asio::buffer("x", 1), rn::use_task);  // the socket is whole
    EXPECT_EQ(co_await pair.first.async_read_some(asio::buffer(bytes), rn::use_task), 1u);
  });
}

TEST_F(use_task, datagrams_acceptors_and_default_tokens) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    auto ex = rn::this_executor();
    asio::ip::udp::socket a(ex, {asio::ip::address_v4::loopback(), 0}), b(ex, {asio::ip::address_v4::loopback(), 0});
    co_await a.async_send_to(asio::buffer("hello", 5), b.local_endpoint(), rn::use_task);
    std::array<char, 10> bytes;
    asio::ip::udp::endpoint from;
    EXPECT_EQ(co_await b.async_receive_from(asio::buffer(bytes), from, rn::use_task), 5u);
    EXPECT_EQ(from, a.local_endpoint());

    auto acceptor = rn::use_task.as_default_on(
        asio::ip::tcp::acceptor(ex, {asio::ip::address_v4::loopback(), 0}));
    auto client = rn::use_task.as_default_on(asio::ip::tcp::socket(ex));
    auto connect = [&]() -> rn::task<> { co_await client.async_connect(acceptor.local_endpoint()); };
    auto accept = [&]() -> rn::task<std::size_t> {
      auto server = co_await acceptor.async_accept();
      co_return co_await server.async_read_some(asio::buffer(bytes));
    };
    auto send = [&]() -> rn::task<> {
      co_await connect();
      co_await client.async_write_some(asio::buffer("abc", 3));
    };
    auto both = co_await rn::all(accept(), send());
    EXPECT_EQ(std::get<0>(both), 3u);
  });
}

// ---- The end of things ----

TEST_F(use_task, a_runtime_that_ends_cancels_what_is_out) {
  std::atomic<int> alive = 0, waiting = 0;
  {
    rn::runtime rt(rn::threads(2));
    for (int i = 0; i < 10; ++i)
      rt.go([&]() -> rn::task<> {
        test::counted guard(alive);
        auto pair = connected_pair(rn::this_executor());
        std::array<char, 4> bytes;
        ++waiting;
        co_await asio::async_read(pair.first, asio::buffer(bytes), rn::use_task);
      });
    rt.run([&] { return test::until([&] { return waiting == 10; }); });
  }
  EXPECT_EQ(alive, 0);
}

TEST_F(use_task, a_context_that_is_destroyed_unwinds_what_waits_there) {
  for (bool sockets_first : {false, true}) {
    std::atomic<int> alive = 0;
    std::optional<asio::io_context> io(std::in_place);
    std::optional<stream> early;
    if (sockets_first) early.emplace(*io);  // the order of the services is that of their first use
    rn::runtime_options options;
    options.kill_grace(10ms);  // for what waits for nothing of this context
    rn::scheduler sched(*io, rn::threads(1), options);
    early.reset();
    sched.go([&]() -> rn::task<> {
      test::counted guard(alive);
      auto pair = connected_pair(rn::this_executor());
      std::array<char, 4> bytes;
      co_await pair.first.async_read_some(asio::buffer(bytes), rn::use_task);
    });
    for (int i = 0; i < 10; ++i) io->poll();
    EXPECT_EQ(alive, 1);
    io.reset();
    EXPECT_EQ(alive, 0);
  }
}

// It completes after the scheduler's own context has gone: the thread that completes it unwinds the goroutine.
TEST_F(use_task, an_operation_of_another_context_may_outlive_ours) {
  asio::thread_pool other(1);
  std::atomic<int> alive = 0;
  manual_operation<error_code> op;
  std::optional<asio::io_context> io(std::in_place);
  rn::runtime_options options;
  options.kill_grace(1ms);
  rn::scheduler sched(*io, rn::threads(1), options);
  sched.go([&]() -> rn::task<> {
    test::counted guard(alive);
    co_await op.start_on(other.get_executor(), rn::use_task);
  });
  while (!op.is_out()) io->poll();
  io.reset();
  EXPECT_EQ(alive, 1);
  asio::post(other, [&] { op.complete(aborted); });
  other.join();
  EXPECT_EQ(alive, 0);
  EXPECT_EQ(sched.live(), 0u);
}

// Whoever drops a handler may hold a lock that the goroutine wants.
TEST_F(use_task, a_handler_is_destroyed_without_running_the_goroutine_there) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    manual_operation<error_code> op;
    std::mutex mutex;
    auto work = [&]() -> rn::task<> {
      struct locks_at_end {
        std::mutex& m;
        ~locks_at_end() { std::lock_guard hold(m); }
      } guard{mutex};
      co_await op.start(rn::use_task);
    };
    rn::errgroup g;
    g.go(work);
    co_await test::until([&] { return op.is_out(); });
    asio::post(rn::this_executor(), [&] {
      std::lock_guard hold(mutex);
      op.drop();
    });
    co_await g.wait();
  });
}

TEST_F(use_task, bound_to_a_strand_it_is_started_stepped_and_asked_to_end_there) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    auto strand = asio::make_strand(rn::this_executor());
    stays_on op(strand);
    rn::errgroup g;
    g.go([&]() -> rn::task<> { co_await op.start(asio::bind_executor(strand, rn::use_task)); });
    co_await test::until([&] { return op.is_out(); });
    g.cancel();
    co_await test::error_of_awaiting([&] { return g.wait(); });
    EXPECT_EQ(op.cancels(), 1);
    asio::steady_timer timer(rn::this_executor(), 1ms);
    auto waited = co_await timer.async_wait(asio::bind_executor(strand, rn::use_result));
    EXPECT_TRUE(waited.ok());
  });
}

// What asks the operation to end completes another one, and cancels the context whose deadline has passed: nothing runs on
// top of it, and nothing waits for it.
TEST_F(use_task, a_request_may_complete_others_and_cancel_its_own_context) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    manual_operation<error_code> a, b;
    auto made = rn::context::background().with_timeout(1ms);
    rn::context ctx = std::move(made.first);
    rn::cancel_function cancel = std::move(made.second);
    a.on_cancel = [&] {
      b.complete({});
      cancel();
      a.complete(aborted);
    };
    rn::errgroup g;
    std::atomic<bool> unwound = false;
    g.go([&]() -> rn::task<> { co_await b.start(rn::use_task), cancel(); });
    co_await test::until([&] { return b.is_out(); });
    g.go([&]() -> rn::task<> {
      auto work = [&]() -> rn::task<> { co_await a.start(rn::use_task); };
      auto r = co_await rn::as_result(rn::with_context(ctx, work()));
      unwound = r.canceled();
      if (a.starts() == 0) b.complete({});  // the deadline was quicker
    });
    co_await g.wait();
    EXPECT_TRUE(unwound);
  });
}

// Nor does a step that a request causes let somebody go on there.
TEST_F(use_task, whoever_cancels_may_hold_a_lock) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    manual_operation<error_code> asked, other;
    asked.on_cancel = [&] {
      asio::dispatch(asked.get_executor(), [&] {
        other.complete({});
        asked.complete(aborted);
      });
    };
    std::mutex mutex;
    auto made = rn::this_context().with_cancel();
    rn::errgroup g;
    g.go([&]() -> rn::task<> {
      co_await other.start(rn::use_task);
      std::lock_guard hold(mutex);
    });
    g.go([&]() -> rn::task<> {
      auto work = [&]() -> rn::task<> { co_await asked.start(rn::use_task); };
      EXPECT_TRUE((co_await rn::as_result(rn::with_context(made.first, work()))).canceled());
    });
    co_await test::until([&] { return asked.is_out() && other.is_out(); });
    asio::post(rn::this_executor(), [&] {
      std::lock_guard hold(mutex);
      made.second();
    });
    co_await g.wait();
  });
}

// A deadline fires. The request asks an operation of several steps to end, one of them completes another operation, and
// whose deadline it is can go on, too: not on top of what fires it.
TEST_F(use_task, a_step_that_a_deadline_causes_lets_nobody_go_on_who_waits_for_that_deadline) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    manual_operation<error_code> below, other;
    below.on_cancel = [&] {
      asio::dispatch(below.get_executor(), [&] {
        below.complete(aborted);
        other.complete({});
      });
    };
    rn::errgroup g;
    g.go([&]() -> rn::task<> { co_await other.start(rn::use_task); });
    g.go([&]() -> rn::task<> {
      auto work = [&]() -> rn::task<> {
        rn::go(rn::this_context(), [&]() -> rn::task<> { co_await below.start(rn::use_task); });
        co_await rn::this_context().done();
        co_await rn::yield();
      };
      co_await test::until([&] { return other.is_out(); });
      auto r = co_await rn::as_result(rn::with_timeout(20ms, work()));
      EXPECT_TRUE(r.error());
    });
    co_await g.wait();
    EXPECT_EQ(below.cancels(), 1);
  });
}

TEST_F(use_task, is_refused_under_virtual_time_on_an_object_of_another_context) {
  rn::test::run([]() -> rn::task<> {
    manual_operation<> op;
    auto message = co_await test::error_of_awaiting([&] { return op.start_on(asio::system_executor(), rn::use_task); });
    EXPECT_NE(message.find("test::run"), std::string::npos) << message;
    EXPECT_EQ(op.starts(), 0);
  });
}

TEST_F(use_task, a_report_says_who_waits_for_an_operation) {
  test::checked_runtime rt(2);
  rt.run([&]() -> rn::task<> {
    manual_operation<error_code> op;
    rn::errgroup g;
    g.go([&]() -> rn::task<> { co_await op.start(rn::use_task); });
    co_await test::until([&] { return op.is_out(); });
    std::ostringstream text;
    rn::dump(text, rt.get());
    EXPECT_NE(text.str().find("an operation of Asio"), std::string::npos) << text.str();
    op.complete({});
    co_await g.wait();
  });
}

// The completion runs it in the handler, with nothing that keeps the scheduler alive: its end waits for who is inside.
TEST_F(use_task, ends_the_last_goroutine_of_a_scheduler_that_is_destroyed_at_that_moment) {
  asio::io_context io(2);
  auto work = asio::make_work_guard(io);
  std::thread runner([&] { io.run(); });
  std::atomic<int> ended = 0;
  for (int i = 1; i <= 1'000; ++i) {
    rn::scheduler sched(io, rn::threads(1));
    sched.go([&]() -> rn::task<> {
      asio::steady_timer soon(io, 1us);
      co_await soon.async_wait(rn::use_task);
      ++ended;
    });
    while (sched.live() != 0) std::this_thread::yield();
    EXPECT_EQ(ended, i);
  }
  work.reset();
  runner.join();
}

}  // namespace
