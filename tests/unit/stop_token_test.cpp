// SPDX-License-Identifier: BSL-1.0
// with_stop_token, linked_stop_source: CTX-C04.
#include <runnel/stop_token.hpp>

#include <runnel/as_result.hpp>
#include <runnel/blocking.hpp>
#include <runnel/chan.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>
#include <runnel/sleep.hpp>
#include <runnel/this_task.hpp>

#include "support/checked_runtime.hpp"
#include "support/conserves_frames.hpp"
#include "support/until.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <thread>
#include <utility>

#if defined(__cpp_lib_jthread)  // as in the header

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using test_support::until;

class with_stop_token : public runnel_test::conserves_frames {};
class linked_stop_source : public runnel_test::conserves_frames {};

rn::task<int> one() {
  co_await rn::yield();
  co_return 1;
}
struct flag_at_end {
  explicit flag_at_end(std::atomic<int>& f) : flag(f) {}
  ~flag_at_end() { flag = rn::unwinding() ? 2 : 3; }
  std::atomic<int>& flag;
};
// stage is 1 when it waits, and 2 when it has been unwound.
rn::task<int> for_ever(std::atomic<int>& stage) {
  flag_at_end guard(stage);
  stage = 1;
  co_await rn::chan<int>().recv();
  co_return 1;
}

TEST_F(with_stop_token, work_that_ends_by_itself_gives_its_outcome) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    std::stop_source source;
    EXPECT_EQ(co_await rn::with_stop_token(source.get_token(), one()), 1);
    EXPECT_EQ(co_await rn::with_stop_token(std::stop_token(), one()), 1);
    auto fail = []() -> rn::task<> {
      co_await rn::yield();
      throw std::runtime_error("no");
    };
    auto failed = co_await rn::as_result(rn::with_stop_token(source.get_token(), fail()));
    EXPECT_TRUE(failed.error());
    source.request_stop();  // of nobody
    co_await rn::yield();
  });
}

TEST_F(with_stop_token, a_stop_unwinds_the_work_before_it_goes_on) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    std::stop_source source;
    std::atomic<int> stage = 0;
    std::jthread other([&] {
      EXPECT_TRUE(test_support::wait_until([&] { return stage == 1; }));
      source.request_stop();
    });
    auto r = co_await rn::as_result(rn::with_stop_token(source.get_token(), for_ever(stage)));
    EXPECT_TRUE(r.canceled());
    EXPECT_EQ(stage, 2);
    co_await rn::yield();  // nobody has cancelled this one
    EXPECT_EQ(stage, 2);
  });
}

TEST_F(with_stop_token, a_stop_that_was_requested_before_cancels_the_work_where_it_first_waits) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    std::stop_source source;
    source.request_stop();
    std::atomic<int> stage = 0;
    auto r = co_await rn::as_result(rn::with_stop_token(source.get_token(), for_ever(stage)));
    EXPECT_TRUE(r.canceled());
    EXPECT_EQ(stage, 2);
  });
}

TEST_F(with_stop_token, the_work_may_request_its_own_stop) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    std::stop_source source;
    std::atomic<int> stage = 0;
    auto work = [&]() -> rn::task<int> {
      source.request_stop();
      co_return co_await for_ever(stage);
    };
    auto r = co_await rn::as_result(rn::with_stop_token(source.get_token(), work()));
    EXPECT_TRUE(r.canceled());
    EXPECT_EQ(stage, 2);
  });
}

TEST_F(with_stop_token, what_is_around_it_is_in_force) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    std::stop_source source;
    std::atomic<int> stage = 0;
    auto work = rn::with_stop_token(source.get_token(), for_ever(stage));
    auto late = co_await rn::as_result(rn::with_timeout(1ms, std::move(work)));
    EXPECT_TRUE(late.error());
    EXPECT_EQ(stage, 2);
    source.request_stop();  // the link is gone
  });
}

TEST_F(with_stop_token, takes_operations_and_hears_of_the_stop_in_a_nested_one) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    std::stop_source outer, inner;
    rn::chan<int> ch(1);
    ch.try_send(7);
    EXPECT_EQ(co_await rn::with_stop_token(outer.get_token(), ch.recv()), 7);
    outer.request_stop();
    auto r = co_await rn::as_result(
        rn::with_stop_token(outer.get_token(), rn::with_stop_token(inner.get_token(), rn::sleep(1h))));
    EXPECT_TRUE(r.canceled());
  });
}

// Work that ends, and a stop, at about the same time: each outcome is right, and neither touches what is gone.
TEST_F(with_stop_token, a_stop_that_meets_the_end_of_the_work_is_either_of_both) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> ended = 0, stopped = 0;
    for (int i = 0; i < 500; ++i) {
      std::optional<std::stop_source> source(std::in_place);
      std::atomic<int> turn = 0;
      std::jthread other([&, s = *source, i]() mutable {
        (void)test_support::spin_until([&] { return turn == 1; });
        for (int k = 0; k < i % 50; ++k) std::atomic_signal_fence(std::memory_order_seq_cst);
        s.request_stop();
      });
      auto work = [&]() -> rn::task<int> {
        turn = 1;
        for (int k = 0; k < 5; ++k) co_await rn::yield();
        co_return 1;
      };
      auto r = co_await rn::as_result(rn::with_stop_token(source->get_token(), work()));
      source.reset();
      ++(r.ok() ? ended : stopped);
    }
    EXPECT_EQ(ended + stopped, 500);
  });
}

TEST_F(linked_stop_source, is_stopped_when_its_context_is_done) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    auto [ctx, cancel] = rn::this_context().with_cancel();
    rn::linked_stop_source stop(ctx);
    std::stop_token token = stop.get_token();
    co_await rn::yield();
    EXPECT_TRUE(token.stop_possible());
    EXPECT_FALSE(stop.stop_requested());
    std::atomic<bool> called = false;
    std::stop_callback on_stop(token, [&] { called = true; });
    cancel();
    co_await until([&] { return called.load(); });
    EXPECT_TRUE(stop.stop_requested());
    auto [late, later] = rn::this_context().with_timeout(0ns);
    rn::linked_stop_source at_once(late);  // done already
    co_await until([&] { return at_once.stop_requested(); });
  });
}

TEST_F(linked_stop_source, whoever_cancels_does_not_run_the_callbacks) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    auto [ctx, cancel] = rn::this_context().with_cancel();
    rn::linked_stop_source stop(ctx);
    std::atomic<bool> called = false;
    std::thread::id caller;
    std::stop_callback on_stop(stop.get_token(), [&] {
      caller = std::this_thread::get_id();
      called = true;
    });
    std::thread canceller([&] { cancel(); });
    co_await until([&] { return called.load(); });
    EXPECT_NE(caller, canceller.get_id());
    canceller.join();
  });
}

TEST_F(linked_stop_source, one_that_died_before_is_never_stopped) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    auto [ctx, cancel] = rn::this_context().with_cancel();
    std::optional<rn::linked_stop_source> stop(std::in_place, ctx);
    std::stop_token token = stop->get_token();
    stop.reset();
    std::atomic<bool> done = false;
    ctx.after_func([&] { done = true; });
    cancel();
    co_await until([&] { return done.load(); });
    EXPECT_FALSE(token.stop_requested());
    EXPECT_FALSE(token.stop_possible());  // there is no source any more
  });
}

TEST_F(linked_stop_source, a_call_that_blocks_hears_of_its_goroutines_cancellation) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<bool> began = false;
    auto old_code = [&](std::stop_token token) {
      began = true;
      return test_support::spin_until([&] { return token.stop_requested(); });
    };
    auto call = [&]() -> rn::task<bool> {
      rn::linked_stop_source stop(rn::this_context());
      co_return co_await rn::blocking(std::ref(old_code), stop.get_token());
    };
    std::stop_source source;
    std::jthread other([&] {
      EXPECT_TRUE(test_support::wait_until([&] { return began.load(); }));
      source.request_stop();
    });
    EXPECT_TRUE(co_await rn::with_stop_token(source.get_token(), call()));  // both ways at once; nothing is lost
  });
}

TEST_F(linked_stop_source, outside_of_a_runtime_is_misuse) {
  rn::context never = rn::context::background();
  EXPECT_THROW(rn::linked_stop_source stop(never), rn::misuse_error);
}

TEST_F(linked_stop_source, a_token_may_outlive_the_runtime) {
  std::stop_token token;
  {
    rn::runtime rt(rn::threads(1));
    rt.run([&]() -> rn::task<> {
      rn::linked_stop_source stop(rn::context::background());
      token = stop.get_token();
      co_await rn::yield();
    });
  }
  EXPECT_FALSE(token.stop_requested());
}

}  // namespace

#endif  // defined(__cpp_lib_jthread)
