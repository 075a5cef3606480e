// SPDX-License-Identifier: BSL-1.0
// use_task with operations of many steps: where the steps and the request to end run, also of those that others have
// composed, and what comes when it is too late.
#include <runnel/io.hpp>

#include <runnel/chan.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>

#include "support/checked_runtime.hpp"
#include "support/conserves_frames.hpp"
#include "support/gated_context.hpp"
#include "support/manual_operation.hpp"

#include <gtest/gtest.h>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <thread>

namespace {

namespace rn = runnel;
namespace asio = boost::asio;
using namespace std::chrono_literals;
using boost::system::error_code;
using runnel_test::aborted;
using runnel_test::manual_operation;

class steps : public runnel_test::conserves_frames {};

// A composition may have bound handlers to the executor that come when it has called the last one.
TEST_F(steps, what_comes_after_the_end_runs_by_itself) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    std::optional<asio::any_io_executor> kept;
    std::atomic<bool> has_started = false;
    std::atomic<int> ran = 0;
    {
      manual_operation<error_code> op;
      op.on_start = [&] {
        kept = op.get_executor();
        has_started = true;
      };
      rn::errgroup g;
      g.go([&]() -> rn::task<> { co_await op.start(rn::use_task); });
      co_await test::until([&] { return has_started.load(); });
      asio::dispatch(*kept, [&] { ++ran; });
      co_await test::until([&] { return ran == 1; });
      asio::post(*kept, [&] {
        op.complete({});
        asio::post(*kept, [&] { ++ran; });
      });
      co_await g.wait();
    }
    co_await test::until([&] { return ran == 2; });
    asio::dispatch(*kept, [&] { ++ran; });
    co_await test::until([&] { return ran == 3; });
  });
}

// A step hands the end of the operation to another thread, which comes while the owner of the step looks whether it is
// over.
TEST_F(steps, another_thread_ends_it_while_a_step_returns) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<manual_operation<error_code>*> due = nullptr;
    std::atomic<bool> over = false;
    std::thread other([&] {
      while (!over)
        if (auto* op = due.exchange(nullptr)) op->complete({});
    });
    for (int i = 0; i < 2'000; ++i) {
      manual_operation<error_code> op;
      op.on_start = [&] { asio::dispatch(op.get_executor(), [&] { due = &op; }); };
      co_await op.start(rn::use_task);
    }
    over = true;
    other.join();
  });
}

// Steps before the end and behind it, on several threads at once: each runs, once.
TEST_F(steps, none_is_lost_at_the_end) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    constexpr int operations = 2'000;
    std::atomic<int> ran = 0;
    for (int i = 0; i < operations; ++i) {
      manual_operation<error_code> op;
      op.on_start = [&] {
        asio::any_io_executor ex = op.get_executor();
        asio::post(ex, [&] { ++ran; });
        asio::post(ex, [&] { op.complete({}); });
        asio::post(ex, [&ran, i] {
          for (int pauses = i % 20; pauses > 0; --pauses) rn::cpu_pause();
          ++ran;
        });
      };
      co_await op.start(rn::use_task);
    }
    co_await test::until([&] { return ran == 2 * operations; });
  });
}

// The request comes by way of the executor: what passes it on there, as co_spawn does, is done with it at once.
TEST_F(steps, who_cancels_from_outside_sends_the_request_to_the_executor) {
  asio::io_context io;
  rn::scheduler sched(io, rn::threads(1));
  manual_operation<error_code> op;
  bool at_home = false;
  op.on_cancel = [&] {
    at_home = io.get_executor().running_in_this_thread();
    op.complete(aborted);
  };
  sched.go([&]() -> rn::task<> { co_await op.start_on(io.get_executor(), rn::use_task); });
  while (!op.is_out()) io.poll();
  sched.cancel();
  EXPECT_EQ(op.cancels(), 0);
  while (sched.live() != 0) io.poll();
  EXPECT_EQ(op.cancels(), 1);
  EXPECT_TRUE(at_home);
}

TEST_F(steps, a_coroutine_of_asio_ends_as_its_request_comes) {
  for (int completes_first = 0; completes_first < 2; ++completes_first) {
    asio::io_context io;
    rn::scheduler sched(io, rn::threads(1));
    asio::steady_timer timer(io, 1h);
    bool waits = false;
    auto wait = [&]() -> asio::awaitable<void> {
      waits = true;
      co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
    };
    sched.go([&]() -> rn::task<> { co_await asio::co_spawn(io, wait(), rn::use_task); });
    while (!waits) io.poll();
    if (completes_first) timer.cancel();
    sched.cancel();
    while (sched.live() != 0) io.poll();
    io.poll();
  }
}

TEST_F(steps, behind_another_token_the_objects_executor_is_found) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    auto strand = asio::make_strand(rn::this_executor());
    manual_operation<error_code> op;
    op.on_start = [&] { EXPECT_TRUE(strand.running_in_this_thread()); };
    op.on_cancel = [&] {
      EXPECT_TRUE(strand.running_in_this_thread());
      op.complete(aborted);
    };
    rn::errgroup g;
    g.go([&]() -> rn::task<> { co_await op.start_on(strand, asio::as_tuple(rn::use_task)); });
    co_await test::until([&] { return op.is_out(); });
    g.cancel();
    co_await test::error_of_awaiting([&] { return g.wait(); });
    EXPECT_EQ(op.cancels(), 1);

    rn::errgroup h;
    auto bound = [&]() -> rn::task<> { co_await op.start(asio::bind_executor(strand, asio::as_tuple(rn::use_task))); };
    h.go(bound);
    co_await test::until([&] { return op.is_out(); });
    h.cancel();
    co_await test::error_of_awaiting([&] { return h.wait(); });
    EXPECT_EQ(op.cancels(), 2);
  });
}

// Nobody runs the context any more, and the operation is completed by a thread of its own.
TEST_F(steps, a_request_comes_though_the_context_has_gone) {
  for (bool of_the_context : {false, true}) {
    std::optional<asio::io_context> io(std::in_place);
    rn::scheduler sched(*io, rn::threads(1), rn::runtime_options().kill_grace(1ms));
    manual_operation<error_code> op;
    op.obey();
    sched.go([&]() -> rn::task<> {
      if (of_the_context)
        co_await op.start_on(io->get_executor(), rn::use_task);
      else
        co_await op.start(rn::use_task);
    });
    while (!op.is_out()) io->poll();
    io.reset();
    EXPECT_EQ(op.cancels(), 1);
    EXPECT_EQ(sched.live(), 0u);
  }
}

// A thread of nobody's that is still in the middle of a post, of which the last goroutine has already come out: neither
// the context nor the scheduler is gone before it has returned.
void is_waited_for(runnel_test::gated_context& context, const std::function<void()>& posts,
                   const std::function<void()>& ends) {
  std::thread outside([&] {
    context.hold_me();
    posts();
  });
  while (!context.is_held()) std::this_thread::yield();
  std::atomic<bool> has_ended = false;
  std::thread opens([&] {
    for (int i = 0; i < 1'000; ++i) std::this_thread::yield();
    EXPECT_FALSE(has_ended);
    context.open_gate();
  });
  ends();
  has_ended = true;
  opens.join();
  outside.join();
}

TEST_F(steps, a_context_that_is_destroyed_waits_for_who_wakes_from_outside) {
  runnel_test::gated_context context;
  rn::scheduler sched(context, rn::threads(1));
  rn::chan<int> ch(0);
  sched.go([ch]() mutable -> rn::task<> { (void)co_await ch.recv(); });
  context.run_all();
  is_waited_for(context, [&] { (void)ch.try_send(1); }, [&] { context.end(); });
  EXPECT_EQ(sched.live(), 0u);
}

TEST_F(steps, a_scheduler_that_ends_waits_for_who_sends_a_request_from_outside) {
  runnel_test::gated_context context;
  std::optional<rn::scheduler> sched(std::in_place, context, rn::threads(1));
  manual_operation<error_code> op;
  op.obey();
  sched->go([&]() -> rn::task<> { co_await op.start_on(context.get_executor(), rn::use_task); });
  context.run_all();
  is_waited_for(context, [&] { sched->cancel(); },
                [&] {
                  context.run_all();
                  EXPECT_EQ(sched->live(), 0u);
                  sched.reset();
                });
}

}  // namespace
