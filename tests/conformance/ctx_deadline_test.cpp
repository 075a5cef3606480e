// SPDX-License-Identifier: BSL-1.0
// Contexts with deadlines: CTX-14, CTX-16 to CTX-20, CTX-C05, GEN-11.
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/runtime.hpp>
#include <runnel/sleep.hpp>
#include <runnel/with_context.hpp>

#include "support/until.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

std::exception_ptr error(const char* what) { return std::make_exception_ptr(std::runtime_error(what)); }

// CTX-16
TEST(ctx_deadline, a_timeout_is_a_deadline_from_now) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    auto before = clock::now();
    auto [ctx, cancel] = rn::context::background().with_timeout(1h);
    auto after = clock::now();
    EXPECT_TRUE(ctx.deadline());
    EXPECT_GE(*ctx.deadline(), before + 1h);
    EXPECT_LE(*ctx.deadline(), after + 1h);
    auto at = clock::now() + 2h;
    auto [exact, cancel_exact] = rn::context::background().with_deadline(at);
    EXPECT_EQ(exact.deadline(), at);
    co_return;
  };
  rt.run(app);
}

// CTX-02, CTX-05, GEN-11: a wait never returns early.
TEST(ctx_deadline, a_context_is_done_when_its_deadline_passes) {
  rn::runtime rt(rn::threads(2));
  auto app = [&]() -> rn::task<> {
    auto start = clock::now();
    auto [ctx, cancel] = rn::context::background().with_timeout(5ms);
    co_await ctx.done();
    EXPECT_GE(clock::now() - start, 5ms);
    EXPECT_EQ(ctx.err(), rn::context_errc::deadline_exceeded);
    EXPECT_EQ(ctx.err(), std::errc::timed_out);
    EXPECT_THROW(ctx.check(), rn::deadline_exceeded);
    cancel(error("too late"));
    EXPECT_EQ(ctx.err(), rn::context_errc::deadline_exceeded);
  };
  rt.run(app);
}

// CTX-14
TEST(ctx_deadline, the_given_cause_is_used_when_the_deadline_fires) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    auto slow = error("too slow");
    auto [ctx, cancel] = rn::context::background().with_timeout(1ms, slow);
    co_await ctx.done();
    EXPECT_EQ(ctx.err(), rn::context_errc::deadline_exceeded);
    EXPECT_EQ(ctx.cause(), slow);
  };
  rt.run(app);
}

// CTX-14
TEST(ctx_deadline, an_explicit_cancel_does_not_use_the_deadlines_cause) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    auto slow = error("too slow");
    auto [ctx, cancel] = rn::context::background().with_timeout(1h, slow);
    cancel();
    EXPECT_EQ(ctx.err(), rn::context_errc::canceled);
    EXPECT_NE(ctx.cause(), slow);
    EXPECT_THROW(ctx.check(), rn::canceled);
    co_return;
  };
  rt.run(app);
}

// CTX-14: the parent's pair, and a parent cancelled after the deadline changes nothing.
TEST(ctx_deadline, parent_and_deadline_each_give_their_own_pair) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    auto slow = error("too slow"), above = error("above");
    auto [parent, cancel_parent] = rn::context::background().with_cancel();
    auto [far, cancel_far] = parent.with_timeout(1h, slow);
    auto [near, cancel_near] = parent.with_timeout(1ms, slow);
    co_await near.done();
    cancel_parent(above);
    EXPECT_EQ(far.err(), rn::context_errc::canceled);
    EXPECT_EQ(far.cause(), above);
    EXPECT_EQ(near.err(), rn::context_errc::deadline_exceeded);
    EXPECT_EQ(near.cause(), slow);
  };
  rt.run(app);
}

// CTX-17
TEST(ctx_deadline, an_earlier_deadline_of_the_parent_stays_in_force) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    auto mine = error("the parent's"), ignored = error("the child's");
    auto [parent, cancel_parent] = rn::context::background().with_timeout(3ms, mine);
    auto [child, cancel_child] = parent.with_timeout(1h, ignored);
    EXPECT_EQ(child.deadline(), parent.deadline());
    co_await child.done();
    EXPECT_EQ(child.err(), rn::context_errc::deadline_exceeded);
    EXPECT_EQ(child.cause(), mine);
  };
  rt.run(app);
}

// CTX-17: and arms no timer of its own.
TEST(ctx_deadline, a_child_under_an_earlier_deadline_arms_no_timer) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    std::optional<std::pair<rn::context, rn::cancel_function>> parent(rn::context::background().with_timeout(1h));
    auto child = parent->first.with_timeout(2h);
    EXPECT_FALSE(rt.core().timers.empty());
    parent->second();
    EXPECT_TRUE(rt.core().timers.empty());
    co_return;
  };
  rt.run(app);
}

// CTX-18
TEST(ctx_deadline, a_passed_deadline_is_done_on_return) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    for (auto d : {std::chrono::nanoseconds(0), std::chrono::nanoseconds(-1), std::chrono::nanoseconds(-1h),
                   std::chrono::nanoseconds::min()}) {
      auto cause = error("at once");
      auto [ctx, cancel] = rn::context::background().with_timeout(d, cause);
      EXPECT_TRUE(ctx.is_done());
      EXPECT_EQ(ctx.err(), rn::context_errc::deadline_exceeded);
      EXPECT_EQ(ctx.cause(), cause);
      cancel();
      EXPECT_EQ(ctx.err(), rn::context_errc::deadline_exceeded);
    }
    auto [ctx, cancel] = rn::context::background().with_deadline(clock::now() - 1s);
    EXPECT_EQ(ctx.err(), rn::context_errc::deadline_exceeded);
    EXPECT_TRUE(rt.core().timers.empty());
    co_return;
  };
  rt.run(app);
}

// CTX-19
TEST(ctx_deadline, cancelling_releases_the_timer_at_once) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_timeout(1h);
    EXPECT_FALSE(rt.core().timers.empty());
    cancel();
    EXPECT_TRUE(rt.core().timers.empty());
    co_return;
  };
  rt.run(app);
}

// CTX-19: through the parent.
TEST(ctx_deadline, cancelling_the_parent_releases_the_timer_at_once) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    auto [parent, cancel_parent] = rn::context::background().with_cancel();
    auto [ctx, cancel] = parent.with_timeout(1h);
    EXPECT_FALSE(rt.core().timers.empty());
    cancel_parent();
    EXPECT_TRUE(rt.core().timers.empty());
    co_return;
  };
  rt.run(app);
}

// CTX-20
TEST(ctx_deadline, deadline_exceeded_is_a_timeout) {
  EXPECT_THROW(throw rn::deadline_exceeded(), rn::timeout_error);
  EXPECT_EQ(std::error_code(rn::context_errc::deadline_exceeded), std::errc::timed_out);
  EXPECT_EQ(std::error_code(rn::context_errc::deadline_exceeded).message(), "deadline exceeded");
  EXPECT_EQ(std::error_code(rn::context_errc::canceled).message(), "canceled");
}

TEST(ctx_deadline, outside_of_a_runtime_a_deadline_is_misuse) {
  EXPECT_THROW((void)rn::context::background().with_timeout(1s), rn::misuse_error);
}

// CTX-C05: whoever is first fixes err and cause; the other changes nothing.
TEST(ctx_deadline, expiry_races_with_cancel_and_one_of_them_wins) {
  rn::runtime rt(rn::threads(2));
  auto app = [&]() -> rn::task<> {
    for (int round = 0; round < 100; ++round) {
      auto slow = error("slow"), stop = error("stop");
      auto [ctx, cancel] = rn::context::background().with_timeout(200us, slow);
      test_support::spin_until([at = *ctx.deadline()] { return clock::now() >= at; });
      if (round % 2) co_await rn::yield();
      cancel(stop);
      auto err = ctx.err();
      EXPECT_EQ(ctx.cause(), err == rn::context_errc::canceled ? stop : slow);
      co_await rn::sleep(100us);
      EXPECT_EQ(ctx.err(), err);
    }
  };
  rt.run(app);
}

// CTX-03 with a deadline.
TEST(ctx_deadline, cancel_of_a_deadline_may_be_called_by_many_threads_at_once) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    for (int round = 0; round < 50; ++round) {
      auto [ctx, cancel] = rn::context::background().with_timeout(1h);
      std::atomic<int> ready{0};
      std::vector<std::thread> threads;
      for (int i = 0; i < 3; ++i)
        threads.emplace_back([&] {
          ++ready;
          while (ready != 3) std::this_thread::yield();
          cancel();
        });
      for (auto& t : threads) t.join();
      EXPECT_EQ(ctx.err(), rn::context_errc::canceled);
    }
    EXPECT_TRUE(rt.core().timers.empty());
    co_return;
  };
  rt.run(app);
}

// GEN-11: sums saturate.
TEST(ctx_deadline, a_timeout_without_end_never_passes) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_timeout(std::chrono::nanoseconds::max());
    auto [at_end, cancel_at_end] = rn::context::background().with_deadline(clock::time_point::max());
    EXPECT_EQ(co_await rn::with_timeout(std::chrono::nanoseconds::max(), []() -> rn::task<int> {
                co_await rn::sleep(1ms);
                co_return 1;
              }()),
              1);
    EXPECT_FALSE(ctx.is_done());
    EXPECT_FALSE(at_end.is_done());
  };
  rt.run(app);
}

// GEN-11: of any unit; the longest hours are more than nanoseconds can count.
TEST(ctx_deadline, durations_too_long_to_count_saturate) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_timeout(std::chrono::hours::max());
    EXPECT_FALSE(ctx.is_done());
    auto quick = []() -> rn::task<int> {
      co_await rn::sleep(1ms);
      co_return 1;
    };
    EXPECT_EQ(co_await rn::with_timeout(std::chrono::hours::max(), quick()), 1);
    EXPECT_FALSE(ctx.is_done());
  };
  rt.run(app);
}

// A handle may outlive the runtime whose timer it had.
TEST(ctx_deadline, a_context_with_a_deadline_may_outlive_its_runtime) {
  std::optional<std::pair<rn::context, rn::cancel_function>> kept;
  {
    rn::runtime rt(rn::threads(1));
    auto app = [&]() -> rn::task<> {
      kept.emplace(rn::context::background().with_timeout(1h));
      co_return;
    };
    rt.run(app);
  }
  EXPECT_FALSE(kept->first.is_done());
  kept->second();
  EXPECT_TRUE(kept->first.is_done());
}

}  // namespace
