// SPDX-License-Identifier: BSL-1.0
// Operations of Asio as cases of select and select_loop: when they are started and asked to end, what is kept, and who
// takes it: SEL-04, SEL-11, SEL-12, SEL-16, SEL-C05, SEL-C06.
#include <runnel/io/use_task.hpp>

#include <runnel/after.hpp>
#include <runnel/all.hpp>
#include <runnel/as_result.hpp>
#include <runnel/async.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/detail/frame_pool.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/select.hpp>
#include <runnel/select_loop.hpp>
#include <runnel/with_context.hpp>

#include "support/channel_waiters.hpp"
#include "support/checked_runtime.hpp"
#include "support/manual_operation.hpp"

#include <gtest/gtest.h>
#include <boost/asio/async_result.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
namespace asio = boost::asio;
using namespace std::chrono_literals;
using boost::system::error_code;
using runnel_test::aborted;
using runnel_test::manual_operation;
using test::on_1_2_and_4_threads;
using test::until;

// `begun` has a value as soon as it is out.
struct reading : manual_operation<error_code, int> {
  reading() {
    on_start = [this] { (void)begun.try_send(0); };
  }
  rn::chan<int> begun{1};
};

// ---- When it is started, and taken ----

// SEL-16
TEST(select_operation, is_not_started_where_another_case_is_ready) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    reading io;
    auto read = io.start_step(rn::use_task);
    rn::chan<int> ch(1);
    co_await ch.send(1);
    auto r = co_await rn::select(read, ch.recv());
    EXPECT_EQ(r.index(), 1u);
    bool none = false;
    co_await rn::select(rn::on(read, [] {}), rn::on(rn::otherwise, [&] { none = true; }));
    EXPECT_TRUE(none);
    EXPECT_EQ(io.starts(), 0);
  });
}

TEST(select_operation, is_the_case_that_is_taken_when_it_completes) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    reading io;
    auto read = io.start_step(rn::use_task);
    rn::chan<int> silent(0);
    for (int i = 1; i <= 3; ++i) {
      auto complete = [&]() -> rn::task<> {
        co_await until([&] { return io.is_out(); });
        io.complete({}, i);
      };
      rn::errgroup g;
      g.go(complete);
      auto got = co_await rn::select(rn::on(read, [](int n) { return n; }), rn::on(silent.recv(), [] { return -1; }));
      EXPECT_EQ(got, i);
      co_await g.wait();
    }
    EXPECT_EQ(io.starts(), 3);
    EXPECT_EQ(io.cancels(), 0);
  });
}

TEST(select_operation, may_complete_while_it_is_started) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    reading io;
    io.on_start = [&] { io.complete({}, 5); };
    auto read = io.start_step(rn::use_task);
    rn::chan<int> silent(0);
    for (int i = 0; i < 300; ++i) {
      auto r = co_await rn::select(silent.recv(), read);
      EXPECT_EQ(r.get<1>(), 5);
    }
  });
}

TEST(select_operation, an_error_of_its_own_is_thrown_or_handed_over) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    reading io;
    io.on_start = [&] { io.complete(asio::error::eof, 3); };
    rn::chan<int> silent(0);
    auto throws = io.start_step(rn::use_task);
    bool thrown = false;
    try {
      co_await rn::select(rn::on(throws, [](int) {}), rn::on(silent.recv(), [] {}));
    } catch (const boost::system::system_error& e) {
      thrown = e.code() == asio::error::eof;
    }
    EXPECT_TRUE(thrown);
    auto tells = io.start_step(rn::use_result);
    auto r = co_await rn::select(tells, silent.recv());
    static_assert(std::is_same_v<std::remove_cvref_t<decltype(r.get<0>())>, rn::io_result<int>>);
    EXPECT_EQ(r.get<0>().error(), asio::error::eof);
    EXPECT_EQ(r.get<0>().partial(), 3);
  });
}

TEST(select_operation, what_starting_it_throws_is_thrown_by_the_select) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    reading io;
    io.on_start = [&] {
      io.drop();
      throw std::runtime_error("cannot start");
    };
    rn::chan<int> silent(0);
    auto read = io.start_step(rn::use_task);
    auto wait = [&]() -> rn::task<> { co_await rn::select(rn::on(read, [](int) {}), rn::on(silent.recv(), [] {})); };
    EXPECT_EQ(co_await test::error_of_awaiting(wait), "cannot start");
    io.on_start = [&] { io.complete({}, 1); };
    EXPECT_EQ(co_await std::move(read), 1);
  });
}

// A temporary is enough where there is nothing to lose.
TEST(select_operation, that_yields_nothing_may_be_a_temporary) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> silent(0);
    asio::steady_timer soon(rn::this_executor(), 1ms), late(rn::this_executor(), 1h);
    auto r = co_await rn::select(late.async_wait(rn::use_task), soon.async_wait(rn::use_task), silent.recv());
    EXPECT_EQ(r.index(), 1u);
    co_await rn::select(rn::on(late.async_wait(rn::use_result), [](auto) { ADD_FAILURE(); }),
                        rn::on(rn::after(1ms), [] {}));
  });
}

// ---- When another case is taken ----

// SEL-11, SEL-C05
TEST(select_operation, that_loses_is_asked_to_end_and_waited_for_and_is_as_new) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    reading io;
    auto read = io.start_step(rn::use_task);
    rn::chan<int> ch(0);
    std::atomic<bool> selected = false;
    rn::errgroup g;
    g.go([&]() -> rn::task<> {
      auto r = co_await rn::select(read, ch.recv());
      EXPECT_EQ(*r.get<1>(), 1);
      selected = true;
      auto again = co_await rn::select(read, ch.recv());
      EXPECT_EQ(again.get<0>(), 7);
    });
    co_await until([&] { return io.is_out(); });
    co_await ch.send(1);
    co_await until([&] { return io.cancels() == 1; });
    co_await test::let_others_run();
    EXPECT_FALSE(selected);
    EXPECT_EQ(io.cancels(), 1);
    io.complete(aborted, 0);
    co_await until([&] { return selected && io.is_out(); });
    EXPECT_EQ(io.starts(), 2);
    io.complete({}, 7);
    co_await g.wait();
  });
}

// SEL-11: nothing is lost
TEST(select_operation, that_succeeds_all_the_same_keeps_its_result_for_the_next_select) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    reading io;
    io.on_cancel = [&] { io.complete({}, 9); };
    auto read = io.start_step(rn::use_task);
    rn::chan<int> silent(0);
    auto r = co_await rn::select(read, io.begun.recv());
    EXPECT_EQ(r.index(), 1u);
    auto next = co_await rn::select(silent.recv(), read);
    EXPECT_EQ(next.get<1>(), 9);
    EXPECT_EQ(io.starts(), 1);
    io.on_start = [&] { io.complete({}, 10); };
    auto after = co_await rn::select(silent.recv(), read);
    EXPECT_EQ(after.get<1>(), 10);
    EXPECT_EQ(io.starts(), 2);
  });
}

TEST(select_operation, a_result_that_was_kept_is_there_for_a_plain_await) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    reading io;
    io.on_cancel = [&] { io.complete({}, 9); };
    auto read = io.start_step(rn::use_task);
    for (bool moved : {false, true}) {
      co_await rn::select(rn::on(read, [](int) { ADD_FAILURE(); }), rn::on(io.begun.recv(), [] {}));
      int n = 0;
      if (moved)
        n = co_await rn::with_timeout(1h, std::move(read));
      else
        n = co_await std::move(read);
      EXPECT_EQ(n, 9);
    }
    EXPECT_EQ(io.starts(), 2);
  });
}

TEST(select_operation, an_error_of_its_own_that_comes_with_the_request_is_kept) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    reading io;
    io.on_cancel = [&] { io.complete(asio::error::eof, 2); };
    auto read = io.start_step(rn::use_result);
    co_await rn::select(rn::on(read, [] { ADD_FAILURE(); }), rn::on(io.begun.recv(), [] {}));
    auto r = co_await std::move(read);
    EXPECT_EQ(r.error(), asio::error::eof);
    EXPECT_EQ(r.partial(), 2);
    EXPECT_EQ(io.starts(), 1);
  });
}

// SEL-12
TEST(select_operation, of_two_that_complete_at_once_one_is_taken_and_the_other_is_kept) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    reading a, b;
    b.on_start = [&] {
      b.complete({}, 2);
      a.complete({}, 1);
    };
    auto one = a.start_step(rn::use_task), two = b.start_step(rn::use_task);
    auto first = co_await rn::select(one, two);
    EXPECT_EQ(first.get<0>(), 1);  // the start of the other has not yet ended
    auto second = co_await rn::select(one, two);
    EXPECT_EQ(second.get<1>(), 2);
    EXPECT_EQ(a.starts() + b.starts(), 2);
  });
}

// ---- Cancellation ----

// SEL-C06: neither the frame nor what lies below it dies before the handler has run.
TEST(select_operation, a_cancelled_select_unwinds_when_it_has_ended) {
  for (bool kills : {false, true})
    on_1_2_and_4_threads([kills]() -> rn::task<> {
      reading io;
      std::atomic<int> alive = 0;
      rn::chan<int> silent(0);
      auto waits = [&]() -> rn::task<> {
        test::counted guard(alive);
        auto read = io.start_step(rn::use_task);
        co_await rn::select(read, silent.recv());
        ADD_FAILURE() << "it went on";
      };
      auto t = rn::async(waits);
      co_await until([&] { return io.is_out(); });
      std::atomic<bool> over = false;
      rn::errgroup g;
      g.go([&]() -> rn::task<> {
        if (kills)
          (void)co_await t.shutdown(rn::kill);
        else
          (void)co_await t.shutdown();
        over = true;
      });
      co_await until([&] { return io.cancels() == 1; });
      co_await test::let_others_run();
      EXPECT_EQ(alive, 1);
      EXPECT_FALSE(over);
      io.complete(aborted, 0);
      co_await g.wait();
      EXPECT_EQ(alive, 0);
    });
}

TEST(select_operation, what_a_cancelled_select_left_behind_is_kept_outside_of_it) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    reading io;
    io.on_cancel = [&] { io.complete({}, 4); };
    auto read = io.start_step(rn::use_task);
    rn::chan<int> silent(0);
    auto [ctx, cancel] = rn::context::background().with_cancel();
    io.on_start = [&end = cancel] { end(); };
    auto r = co_await rn::as_result(rn::with_context(ctx, rn::select(rn::on(read, [](int) {}),
                                                                    rn::on(silent.recv(), [] {}))));
    EXPECT_FALSE(r);
    EXPECT_EQ(co_await std::move(read), 4);
    EXPECT_EQ(io.starts(), 1);
  });
}

TEST(select_operation, is_not_started_in_a_context_that_is_done) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    reading io;
    auto read = io.start_step(rn::use_task);
    auto [ctx, cancel] = rn::context::background().with_cancel();
    cancel();
    rn::chan<int> silent(0);
    auto waits = [&]() -> rn::task<> { co_await rn::select(rn::on(read, [](int) {}), rn::on(silent.recv(), [] {})); };
    auto r = co_await rn::as_result(rn::with_context(ctx, waits()));
    EXPECT_TRUE(r.canceled());
    EXPECT_EQ(io.starts(), 0);
  });
}

TEST(select_operation, ends_before_the_handler_of_a_done_context_runs) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    reading io;
    io.obey();
    bool told = false;
    auto waits = [&]() -> rn::task<> {
      auto read = io.start_step(rn::use_task);
      auto save = [&]() -> rn::task<> {
        EXPECT_FALSE(io.is_out());
        co_await rn::yield();
        told = true;
      };
      co_await rn::select(rn::on(read, [](int) {}), rn::on(rn::done(), save));
      co_await rn::yield();
      ADD_FAILURE() << "it went on";
    };
    auto t = rn::async(waits);
    co_await until([&] { return io.is_out(); });
    (void)co_await t.shutdown();
    EXPECT_TRUE(told);
  });
}

TEST(select_operation, a_handler_that_is_destroyed_unwinds_the_goroutine) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    reading io;
    rn::chan<int> silent(0);
    auto read = io.start_step(rn::use_task);
    auto waits = [&]() -> rn::task<> { co_await rn::select(rn::on(read, [](int) {}), rn::on(silent.recv(), [] {})); };
    auto t = rn::async(waits);
    co_await until([&] { return io.is_out(); });
    io.drop();
    auto r = co_await rn::as_result(t.await());
    EXPECT_TRUE(r.canceled());
    // But not where another case was taken.
    (void)co_await io.begun.recv();
    io.on_cancel = [&] { io.drop(); };
    co_await rn::select(rn::on(read, [](int) {}), rn::on(io.begun.recv(), [] {}));
    EXPECT_EQ(io.cancels(), 1);
    io.on_start = [&] { io.complete({}, 3); };
    EXPECT_EQ(co_await std::move(read), 3);
  });
}

// ---- Where it runs ----

TEST(select_operation, is_started_and_asked_to_end_on_its_strand) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto strand = asio::make_strand(rn::this_executor());
    reading io;
    std::atomic<int> elsewhere = 0;
    io.on_start = [&] { elsewhere += !strand.running_in_this_thread(); };
    io.on_cancel = [&] {
      elsewhere += !strand.running_in_this_thread();
      io.complete(aborted, 0);
    };
    auto read = io.start_step_on(strand, rn::use_task);
    for (int i = 0; i < 20; ++i)
      co_await rn::select(rn::on(read, [](int) { ADD_FAILURE(); }), rn::on(rn::after(10us), [] {}));
    EXPECT_EQ(elsewhere, 0);
    EXPECT_EQ(io.starts(), io.cancels());
  });
}

// The request comes before the strand has come to starting it.
TEST(select_operation, that_waits_for_its_strand_is_asked_to_end_as_soon_as_it_has_begun) {
  test::checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    asio::thread_pool other(1);
    auto strand = asio::make_strand(other);
    std::atomic<bool> blocked = false, open = false;
    asio::post(strand, [&] {
      blocked = true;
      while (!open) std::this_thread::yield();
    });
    co_await until([&] { return blocked.load(); });
    reading io;
    io.obey();
    auto read = io.start_step_on(strand, rn::use_task);
    rn::chan<int> ch(0);
    std::atomic<bool> over = false;
    rn::errgroup g;
    g.go([&]() -> rn::task<> {
      co_await rn::select(rn::on(read, [](int) { ADD_FAILURE(); }), rn::on(ch.recv(), [] {}));
      over = true;
    });
    co_await until([&] { return runnel_test::waiting_receivers(ch) == 1; });  // on one thread: it sleeps
    co_await ch.send(1);
    co_await test::let_others_run();
    EXPECT_FALSE(over);
    open = true;
    co_await g.wait();
    EXPECT_EQ(io.starts(), 1);
    EXPECT_EQ(io.cancels(), 1);
    io.on_start = [&] { io.complete({}, 6); };  // it is as new
    auto next = co_await rn::select(read, ch.recv());
    EXPECT_EQ(next.get<0>(), 6);
    other.join();
  });
}

// An executor that runs what it is given, loses it, or has no memory for it.
enum class ways { run, lose, no_memory };
struct unreliable_executor {
  ways* way;
  template <class F> void execute(F&& f) const {
    std::decay_t<F> taken(std::forward<F>(f));
    if (*way == ways::no_memory) throw std::bad_alloc();
    if (*way == ways::run) taken();
  }
  bool operator==(const unreliable_executor&) const noexcept = default;
};

TEST(select_operation, whose_executor_loses_it_unwinds_the_goroutine_and_without_memory_fails) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    ways way = ways::lose;
    reading io;
    auto read = io.start_step_on(unreliable_executor{&way}, rn::use_task);
    rn::chan<int> silent(0);
    auto waits = [&]() -> rn::task<> { co_await rn::select(rn::on(read, [](int) {}), rn::on(silent.recv(), [] {})); };
    auto r = co_await rn::as_result(waits());
    EXPECT_TRUE(r.canceled());
    way = ways::no_memory;
    EXPECT_EQ(co_await test::error_of_awaiting(waits), std::bad_alloc().what());
    EXPECT_EQ(io.starts(), 0);
    way = ways::run;
    io.on_start = [&] { io.complete({}, 1); };
    EXPECT_EQ(co_await std::move(read), 1);
  });
}

TEST(select_operation, whose_request_to_end_is_lost_ends_by_itself) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    ways way = ways::run;
    reading io;
    auto read = io.start_step_on(unreliable_executor{&way}, rn::use_task);
    for (ways lost : {ways::lose, ways::no_memory}) {
      way = ways::run;
      rn::chan<int> ch(0);
      std::atomic<bool> over = false;
      rn::errgroup g;
      g.go([&]() -> rn::task<> {
        auto r = co_await rn::select(read, ch.recv());
        EXPECT_EQ(r.index(), 1u);
        over = true;
      });
      co_await until([&] { return io.is_out(); });
      way = lost;
      co_await ch.send(1);
      co_await test::let_others_run();
      EXPECT_FALSE(over);
      EXPECT_EQ(io.cancels(), 0);
      io.complete({}, 2);
      co_await g.wait();
      way = ways::run;
      auto kept = co_await rn::select(read, ch.recv());
      EXPECT_EQ(kept.get<0>(), 2);
    }
    EXPECT_EQ(io.starts(), 2);
  });
}

// ---- Loops ----

TEST(select_operation, stays_out_in_a_loop_while_other_cases_are_taken) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    reading io;
    io.obey();
    rn::chan<int> ch(0);
    int received = 0, read_bytes = 0;
    auto loop = [&]() -> rn::task<> {
      auto read = io.start_step(rn::use_task);
      auto on_value = [&](std::optional<int> v) -> rn::task<rn::loop_control> {
        co_await rn::yield();
        received += v.value_or(0);
        co_return v ? rn::next : rn::stop;
      };
      co_await rn::select_loop(rn::on(read, [&](int n) { read_bytes += n; }), rn::on(ch.recv(), on_value));
    };
    auto t = rn::async(loop);
    co_await until([&] { return io.is_out(); });
    for (int i = 0; i < 5; ++i) co_await ch.send(1);
    EXPECT_EQ(io.starts(), 1);
    for (int i = 0; i < 3; ++i) {
      io.complete({}, 10);
      co_await until([&] { return io.is_out(); });
    }
    EXPECT_EQ(io.cancels(), 0);
    ch.close();
    co_await t.await();
    EXPECT_EQ(received, 5);
    EXPECT_EQ(read_bytes, 30);
    EXPECT_EQ(io.starts(), 4);
    EXPECT_EQ(io.cancels(), 1);
  });
}

TEST(select_operation, ends_with_its_loop_however_that_ends) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    reading io;
    io.obey();
    auto read = io.start_step(rn::use_task);
    auto throwing = [&]() -> rn::task<> {
      co_await rn::select_loop(rn::on(read, [] {}), rn::on(io.begun.recv(), [] { test::fail("x"); }));
    };
    EXPECT_EQ(co_await test::error_of_awaiting(throwing), "x");
    EXPECT_FALSE(io.is_out());
    auto [ctx, cancel] = rn::context::background().with_cancel();
    io.on_start = [&end = cancel] { end(); };
    auto r = co_await rn::as_result(rn::with_context(ctx, rn::select_loop(rn::on(read, [] {}))));
    EXPECT_FALSE(r);
    EXPECT_FALSE(io.is_out());
    io.on_start = [] {};
    auto t = rn::async([&]() -> rn::task<> { co_await rn::select_loop(rn::on(read, [] {})); });
    co_await until([&] { return io.is_out(); });
    (void)co_await t.shutdown(rn::kill);
    EXPECT_FALSE(io.is_out());
    EXPECT_EQ(io.starts(), 3);
    EXPECT_EQ(io.cancels(), 3);
  });
}

// The group is in a frame above the loop's, and innermost: the loop's frame dies first all the same.
TEST(select_operation, ends_before_its_loops_frame_dies_also_where_a_handler_has_made_a_group_outside) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    reading io;
    io.obey();
    rn::chan<int> never(0);
    auto sleeper = [&never]() -> rn::task<> { co_await never.recv(); };
    std::atomic<bool> open = false;
    auto session = [&]() -> rn::task<> {
      std::optional<rn::errgroup> group;
      auto begin = [&] {
        group.emplace();
        group->go(std::ref(sleeper));
        open = true;
      };
      auto loop = [&]() -> rn::task<> {
        auto read = io.start_step(rn::use_task);
        co_await rn::select_loop(rn::on(read, [] {}), rn::on(io.begun.recv(), begin));
      };
      co_await loop();
    };
    auto t = rn::async(std::ref(session));
    co_await until([&] { return open && io.is_out(); });
    (void)co_await t.shutdown(rn::kill);
    EXPECT_FALSE(io.is_out());
    EXPECT_EQ(io.cancels(), 1);
  });
}

// The child of a fork-join becomes a goroutine when it first waits, and that takes memory.
TEST(select_operation, in_a_child_that_cannot_become_a_goroutine_throws_bad_alloc) {
  test::checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    reading io;
    auto read = io.start_step(rn::use_task);
    auto child = [&]() -> rn::task<> {
      auto handler = [] {};
      auto only = rn::on(read, handler);
      auto loop = rn::select_loop(only);
      rn::detail::frame_alloc_hook = [](std::size_t) noexcept { return true; };
      co_await std::move(loop);
    };
    auto other = []() -> rn::task<> { co_return; };
    bool caught = false;
    try {
      co_await rn::all(child(), other());
    } catch (const std::bad_alloc&) {
      caught = true;
    }
    rn::detail::frame_alloc_hook = nullptr;
    EXPECT_TRUE(caught);
    EXPECT_EQ(io.starts(), 0);
  });
}

TEST(select_operation, that_was_not_taken_may_be_a_case_in_the_handler_of_what_was) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    reading io;
    io.obey();
    auto read = io.start_step(rn::use_task);
    rn::chan<int> ch(1);
    co_await ch.send(1);
    bool inner = false;
    auto handler = [&]() -> rn::task<> {
      co_await rn::select(rn::on(read, [] {}), rn::on(io.begun.recv(), [&] { inner = true; }));
    };
    co_await rn::select(rn::on(read, [] {}), rn::on(ch.recv(), handler));
    EXPECT_TRUE(inner);
    EXPECT_EQ(io.starts(), 1);
    EXPECT_EQ(io.cancels(), 1);
  });
}

// ---- Objects that are closed ----

// What reads from a socket of Asio's, and tells when that has been started. On a strand: who closes it does not do so
// while a select starts it, or asks it to end.
struct socket_reading {
  using socket = asio::local::stream_protocol::socket;
  struct initiation {
    static constexpr bool is_single_step = true;
    socket_reading* self;
    auto get_executor() const noexcept { return self->near.get_executor(); }
    template <class H> void operator()(H&& handler) const {
      self->near.async_read_some(asio::buffer(&self->byte, 1), std::forward<H>(handler));
      ++self->starts;
    }
  };

  socket_reading() : near(asio::make_strand(rn::this_executor())), far(rn::this_executor()) {
    asio::local::connect_pair(near, far);
  }
  rn::task<> close() {
    asio::post(near.get_executor(), [this] {
      near.close();
      closed = true;
    });
    co_await until([this] { return closed.load(); });
  }
  template <class Token> auto start(Token&& token) {
    return asio::async_initiate<Token, void(error_code, std::size_t)>(initiation{this}, token);
  }

  socket near, far;
  char byte = 0;
  std::atomic<int> starts{0};
  std::atomic<bool> closed{false};
};
const error_code not_open = asio::error::bad_descriptor;

// What Asio tells is the case's outcome; nobody is unwound.
TEST(select_operation, whose_socket_is_closed_is_taken_with_that_error) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (bool throws : {false, true}) {
      socket_reading io;
      rn::chan<int> silent(0);
      rn::errgroup g;
      g.go([&]() -> rn::task<> {
        if (throws) {
          auto read = io.start(rn::use_task);
          error_code thrown;
          try {
            co_await rn::select(rn::on(read, [](std::size_t) {}), rn::on(silent.recv(), [] {}));
          } catch (const boost::system::system_error& e) {
            thrown = e.code();
          }
          EXPECT_EQ(thrown, aborted);
        } else {
          auto read = io.start(rn::use_result);
          auto r = co_await rn::select(silent.recv(), read);
          EXPECT_EQ(r.get<1>().error(), aborted);
          auto again = co_await std::move(read);  // it is as new
          EXPECT_EQ(again.error(), not_open);
        }
        co_await rn::yield();  // it goes on
      });
      co_await until([&] { return io.starts == 1; });
      co_await io.close();
      co_await g.wait();
    }
  });
}

TEST(select_operation, whose_socket_is_closed_is_told_to_the_handler_of_its_loop) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    socket_reading io;
    rn::chan<int> ch(0);
    int received = 0;
    std::vector<error_code> told;
    auto loop = [&]() -> rn::task<> {
      auto read = io.start(rn::use_result);
      auto on_read = [&](const rn::io_result<std::size_t>& r) {
        told.push_back(r.error());
        return told.size() == 2 ? rn::stop : rn::next;
      };
      co_await rn::select_loop(rn::on(read, on_read), rn::on(ch.recv(), [&] { ++received; }));
      co_await rn::yield();
    };
    auto t = rn::async(loop);
    co_await until([&] { return io.starts == 1; });
    co_await ch.send(1);
    co_await io.close();
    co_await t.await();
    EXPECT_EQ(told, (std::vector<error_code>{aborted, not_open}));
    EXPECT_EQ(received, 1);
  });
}

// The close and the other case come at once: either is taken, and what is left of the read says that it was closed.
TEST(select_operation, whose_socket_is_closed_while_another_case_is_taken_loses_nothing) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int i = 0; i < 50; ++i) {
      socket_reading io;
      rn::chan<int> ch(1);
      std::atomic<bool> now = false;
      auto waits = [&]() -> rn::task<> {
        auto read = io.start(rn::use_result);
        auto r = co_await rn::select(read, ch.recv());
        if (r.index() == 0) {
          EXPECT_EQ(r.get<0>().error(), aborted);
          EXPECT_EQ(co_await ch.recv(), 1);
        } else {
          EXPECT_EQ(*r.get<1>(), 1);
          co_await until([&] { return io.closed.load(); });
          auto next = co_await rn::select(rn::chan<int>().recv(), read);
          const auto error = next.template get<1>().error();
          EXPECT_TRUE(error == aborted || error == not_open) << error;
        }
      };
      rn::errgroup g;
      g.go(waits);
      g.go([&]() -> rn::task<> {
        while (!now) co_await rn::yield();
        co_await ch.send(1);
      });
      co_await until([&] { return io.starts == 1; });
      now = true;
      co_await io.close();
      co_await g.wait();
    }
  });
}

// On the strand of the timer, as always with Asio; what cancel() returns says when it is out.
TEST(select_operation, whose_timer_is_cancelled_is_taken_with_that_error_and_is_started_anew_by_a_loop) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto strand = asio::make_strand(rn::this_executor());
    asio::steady_timer timer(strand, 1h);
    rn::chan<int> silent(0);
    auto cancel_it = [&]() -> rn::task<> {
      rn::chan<std::size_t> ended(1);
      for (std::optional<std::size_t> n = 0; n == 0u;) {
        co_await rn::yield();
        asio::post(strand, [&] { (void)ended.try_send(timer.cancel()); });
        n = co_await ended.recv();
      }
    };
    rn::errgroup g;
    g.go(cancel_it);
    auto wait = timer.async_wait(rn::use_result);
    auto r = co_await rn::select(wait, silent.recv());
    EXPECT_EQ(r.get<0>().error(), aborted);
    co_await g.wait();

    rn::errgroup again;
    int told = 0;
    auto on_end = [&](const rn::io_result<void>& ended) -> rn::task<rn::loop_control> {
      EXPECT_EQ(ended.error(), aborted);
      if (++told == 3) co_return rn::stop;
      again.go(cancel_it);
      co_return rn::next;
    };
    again.go(cancel_it);
    co_await rn::select_loop(rn::on(wait, on_end), rn::on(silent.recv(), [] {}));
    EXPECT_EQ(told, 3);
    co_await again.wait();
  });
}

// ---- Misuse ----

TEST(select_operation, that_is_out_in_a_loop_is_not_to_be_awaited_by_its_handlers) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    reading io;
    io.obey();
    auto read = io.start_step(rn::use_task);
    auto handler = [&]() -> rn::task<> { (void)co_await std::move(read); };
    auto loop = [&]() -> rn::task<> { co_await rn::select_loop(rn::on(read, [] {}), rn::on(io.begun.recv(), handler)); };
    EXPECT_EQ(co_await test::error_of_awaiting(loop),
              "runnel: this operation of Asio is a case of a select that has not ended");
    EXPECT_EQ(io.starts(), 1);
  });
}

TEST(select_operation, that_is_out_in_a_loop_is_not_to_be_moved_by_its_handlers) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    reading io;
    io.on_cancel = [&io] { io.complete({}, 8); };
    auto read = io.start_step(rn::use_task);
    auto handler = [&] { auto taken = std::move(read); };
    auto loop = [&]() -> rn::task<> { co_await rn::select_loop(rn::on(read, [] {}), rn::on(io.begun.recv(), handler)); };
    EXPECT_EQ(co_await test::error_of_awaiting(loop),
              "runnel: this operation of Asio is a case of a select that has not ended");
    EXPECT_EQ(io.cancels(), 1);
    auto moved = std::move(read);  // whole, with what it has kept
    EXPECT_EQ(co_await std::move(moved), 8);
    EXPECT_EQ(io.starts(), 1);
  });
}

using select_operation_death = testing::Test;
TEST(select_operation_death, destroying_one_that_is_out_in_a_loop_says_so) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  auto loop = [](reading& io, auto handler_of) -> rn::task<> {
    auto made = [&io] { return io.start_step(rn::use_task); };
    std::optional<decltype(made())> read;
    read.emplace(made());
    auto handler = handler_of(read);
    co_await rn::select_loop(rn::on(*read, [] {}), rn::on(io.begun.recv(), handler));
  };
  auto run = [&loop](auto handler_of) {
    rn::runtime rt(rn::threads(1));
    reading io;
    io.obey();
    rt.run(loop, std::ref(io), handler_of);
  };
  const std::string says = "an operation of Asio was destroyed while a select had it as a case, by ";
  EXPECT_DEATH(run([](auto& read) { return [&read] { read.reset(); }; }), says + "a goroutine started by run");
  EXPECT_DEATH(run([](auto& read) { return [&read] { std::thread([&] { read.reset(); }).join(); }; }),
               says + "a thread that runs no goroutine");
}

// Where it has ended, or was none of the select's yet, it may die: in the handler that was given its result, too.
TEST(select_operation, may_die_when_its_select_has_ended) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    reading io;
    io.on_start = [&] { io.complete({}, 1); };
    auto made = [&io] { return io.start_step(rn::use_task); };
    std::optional<decltype(made())> read;
    auto take = [&](int n) {
      EXPECT_EQ(n, 1);
      read.reset();
    };
    read.emplace(made());
    co_await rn::select(rn::on(*read, take));
    EXPECT_FALSE(read);
    auto take_later = [&](int n) -> rn::task<> { co_return take(n); };
    read.emplace(made());
    co_await rn::select(rn::on(*read, take_later));
    EXPECT_FALSE(read);
    read.emplace(made());
    auto a_case = rn::on(*read, take);
    { [[maybe_unused]] auto never_awaited = rn::select(a_case); }
    read.reset();
    EXPECT_EQ(io.starts(), 2);
  });
}

TEST(select_operation, that_is_a_case_already_or_was_awaited_is_misuse) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    reading io;
    io.on_start = [&] { io.complete({}, 1); };
    auto read = io.start_step(rn::use_task);
    auto twice = [&]() -> rn::task<> { co_await rn::select(rn::on(read, [] {}), rn::on(read, [] {})); };
    EXPECT_NE((co_await test::error_of_awaiting(twice)).find("is a case already"), std::string::npos);
    EXPECT_EQ(co_await std::move(read), 1);
    auto again = [&]() -> rn::task<> { co_await rn::select(rn::on(read, [] {})); };
    EXPECT_NE((co_await test::error_of_awaiting(again)).find("has been awaited"), std::string::npos);
  });
}

}  // namespace
