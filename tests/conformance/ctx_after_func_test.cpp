// SPDX-License-Identifier: BSL-1.0
// after_func: CTX-23 to CTX-25.
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>
#include <runnel/sleep.hpp>

#include "support/until.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using test_support::until;

// CTX-23
TEST(ctx_after_func, it_runs_once_in_a_goroutine_of_its_own_after_the_context_is_done) {
  rn::runtime rt(rn::threads(2));
  auto app = []() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    std::atomic<int> runs{0};
    std::atomic<bool> was_done{false};
    ctx.after_func([&]() -> rn::task<> {
      was_done = ctx.is_done();
      co_await rn::yield();
      ++runs;
    });
    co_await rn::yield();
    EXPECT_EQ(runs, 0);
    cancel();
    cancel();
    co_await until([&] { return runs == 1; });
    EXPECT_TRUE(was_done);
    for (int i = 0; i < 100; ++i) co_await rn::yield();
    EXPECT_EQ(runs, 1);
  };
  rt.run(app);
}

// CTX-23
TEST(ctx_after_func, of_a_done_context_it_runs_at_once) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    cancel();
    bool ran = false;
    auto handle = ctx.after_func([&] { ran = true; });
    EXPECT_FALSE(ran);  // not in the caller's goroutine
    co_await until([&] { return ran; });
    EXPECT_FALSE(handle.stop());
  };
  rt.run(app);
}

// CTX-23: on a deadline.
TEST(ctx_after_func, it_runs_when_a_deadline_passes) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_timeout(2ms);
    rn::chan<void> ran(1);
    ctx.after_func([ran] { ran.try_send(); });
    EXPECT_TRUE(co_await ran.recv());
    EXPECT_EQ(ctx.err(), rn::context_errc::deadline_exceeded);
  };
  rt.run(app);
}

// CTX-23, CTX-24: several are independent.
TEST(ctx_after_func, stopping_one_leaves_the_others) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    int a = 0, b = 0;
    auto first = ctx.after_func([&] { ++a; });
    auto second = ctx.after_func([&] { ++b; });
    EXPECT_TRUE(first.stop());
    EXPECT_FALSE(first.stop());
    cancel();
    co_await until([&] { return b == 1; });
    EXPECT_EQ(a, 0);
    EXPECT_FALSE(second.stop());
    EXPECT_FALSE(first.stop());
  };
  rt.run(app);
}

// CTX-24: stop destroys what the function held, and the context does not grow.
TEST(ctx_after_func, a_stopped_registration_is_gone) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    auto held = std::make_shared<int>();
    auto before = rn::detail::frame_pool_stats().live_blocks;
    for (int i = 0; i < 1000; ++i) {
      auto function = [held] {};
      auto handle = ctx.after_func(function);
      EXPECT_TRUE(handle.stop());
    }
    EXPECT_EQ(held.use_count(), 1);
    EXPECT_EQ(rn::detail::frame_pool_stats().live_blocks, before);
    co_return;
  };
  rt.run(app);
}

// CTX-24, CTX-25: neither stop nor cancel waits for it.
TEST(ctx_after_func, neither_stop_nor_cancel_waits_for_it) {
  rn::runtime rt(rn::threads(2));
  auto app = []() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    rn::chan<void> gate(0);
    std::atomic<int> state{0};
    auto function = [&, gate]() -> rn::task<> {
      state = 1;
      co_await gate.recv();
      state = 2;
    };
    auto handle = ctx.after_func(function);
    cancel();
    co_await until([&] { return state == 1; });
    EXPECT_FALSE(handle.stop());
    EXPECT_EQ(state, 1);
    co_await gate.send();
    co_await until([&] { return state == 2; });
  };
  rt.run(app);
}

// CTX-24: exactly one of the two has it.
TEST(ctx_after_func, stop_races_with_cancel) {
  rn::runtime rt(rn::threads(2));
  auto app = []() -> rn::task<> {
    for (int round = 0; round < 300; ++round) {
      auto [ctx, cancel] = rn::context::background().with_cancel();
      std::atomic<int> runs{0};
      std::atomic<bool> cancelled{false};
      auto handle = ctx.after_func([&] { ++runs; });
      rn::go([&] {
        cancel();
        cancelled = true;
      });
      if (round % 2) co_await rn::yield();
      bool stopped = handle.stop();
      co_await until([&] { return cancelled && (stopped || runs == 1); });
      EXPECT_EQ(runs, stopped ? 0 : 1);
    }
  };
  rt.run(app);
}

// Dropping the handle undoes nothing.
TEST(ctx_after_func, dropping_the_handle_undoes_nothing) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    bool ran = false;
    { auto handle = ctx.after_func([&] { ran = true; }); }
    cancel();
    co_await until([&] { return ran; });
  };
  rt.run(app);
}

TEST(ctx_after_func, outside_of_a_runtime_it_is_misuse) {
  EXPECT_THROW(rn::context::background().after_func([] {}), rn::misuse_error);
}

// Nothing leaks where the context is never done, and the runtime ends.
TEST(ctx_after_func, one_that_never_ran_dies_with_its_runtime) {
  auto [ctx, cancel] = rn::context::background().with_cancel();
  auto held = std::make_shared<int>();
  std::atomic<int> runs{0};
  {
    rn::runtime rt(rn::threads(1));
    auto app = [&]() -> rn::task<> {
      auto function = [held, &runs] { ++runs; };
      ctx.after_func(std::move(function));
      co_return;
    };
    rt.run(app);
    EXPECT_EQ(held.use_count(), 2);
  }
  EXPECT_EQ(held.use_count(), 1);
  cancel();
  EXPECT_EQ(runs, 0);
}

}  // namespace
