// SPDX-License-Identifier: BSL-1.0
// as_result, which makes an outcome a value; finally, for clean-up that suspends.
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>
#include <runnel/sleep.hpp>
#include <runnel/with_context.hpp>

#include "support/until.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using test_support::until;

rn::task<> for_ever() { co_await rn::chan<int>().recv(); }

// Runs work under a context that is done before it begins.
template <class Work>
rn::task<bool> under_done_context(Work work) {
  auto [ctx, cancel] = rn::context::background().with_cancel();
  cancel();
  auto r = co_await rn::as_result(rn::with_context(ctx, work()));
  co_return r.canceled();
}

TEST(as_result, a_value_is_a_value) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    auto value = []() -> rn::task<int> { co_return 5; };
    auto r = co_await rn::as_result(value());
    EXPECT_TRUE(r.ok());
    EXPECT_EQ(std::move(r).value(), 5);
    auto nothing = []() -> rn::task<> { co_await rn::yield(); };
    EXPECT_TRUE((co_await rn::as_result(nothing())).ok());
    int x = 0;
    auto ref = [&]() -> rn::task<int&> { co_return x; };
    auto rr = co_await rn::as_result(ref());
    EXPECT_EQ(&rr.value(), &x);
    auto unique = []() -> rn::task<std::unique_ptr<int>> { co_return std::make_unique<int>(1); };
    EXPECT_EQ(*(co_await rn::as_result(unique())).value(), 1);
  };
  rt.run(app);
}

TEST(as_result, an_exception_is_an_error) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    auto throws = []() -> rn::task<int> {
      co_await rn::yield();
      throw std::runtime_error("x");
    };
    auto r = co_await rn::as_result(throws());
    EXPECT_FALSE(r.ok());
    EXPECT_FALSE(r.canceled());
    EXPECT_THROW(std::rethrow_exception(r.error()), std::runtime_error);
    EXPECT_THROW((void)std::move(r).value(), std::runtime_error);
  };
  rt.run(app);
}

TEST(as_result, it_takes_an_operation) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    rn::chan<int> ch(1);
    EXPECT_TRUE((co_await rn::as_result(ch.send(1))).ok());
    auto r = co_await rn::as_result(ch.recv());
    EXPECT_EQ(r.value(), 1);
    ch.close();
    auto sent = co_await rn::as_result(ch.send(1));
    EXPECT_TRUE(sent.error());
    auto late = co_await rn::as_result(rn::with_timeout(1ms, rn::sleep(1h)));
    EXPECT_THROW(late.value(), rn::deadline_exceeded);
  };
  rt.run(app);
}

TEST(as_result, it_absorbs_a_cancellation_and_the_next_suspension_unwinds_again) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<std::string> {
    std::string log;
    auto body = [&]() -> rn::task<> {
      auto r = co_await rn::as_result(rn::sleep(1h));
      log += r.canceled() ? "canceled " : "slept ";
      auto free = [&]() -> rn::task<> {
        log += "a task is free ";
        co_return;
      };
      co_await free();
      co_await rn::yield();
      log += "never";
    };
    EXPECT_TRUE(co_await under_done_context(body));
    co_return log;
  };
  EXPECT_EQ(rt.run(app), "canceled a task is free ");
}

TEST(as_result, of_a_cancelled_work_has_no_value) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    cancel();
    auto r = co_await rn::as_result(rn::with_context(ctx, for_ever()));
    EXPECT_TRUE(r.canceled());
    EXPECT_EQ(r.error(), nullptr);
    EXPECT_THROW(r.value(), rn::canceled);
  };
  rt.run(app);
}

// The frames of the work are gone when it returns.
TEST(as_result, the_work_is_unwound_when_it_returns) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    bool gone = false;
    struct guard {
      bool& flag;
      ~guard() { flag = true; }
    };
    auto body = [&]() -> rn::task<> {
      guard g{gone};
      co_await rn::sleep(1h);
    };
    auto [ctx, cancel] = rn::context::background().with_cancel();
    cancel();
    (void)co_await rn::as_result(rn::with_context(ctx, body()));
    EXPECT_TRUE(gone);
    EXPECT_FALSE(rn::unwinding());
  };
  rt.run(app);
}

// Sets the flag when its frame dies.
struct at_end {
  std::atomic<bool>& flag;
  ~at_end() { flag = true; }
};

// As Go's loop that does not look at ctx.Done() goes on: the cancellation was asked for as a value, and is not looked
// at. The others get their turns, and a kill ends it.
TEST(as_result, a_loop_around_it_goes_on_after_a_cancel_and_a_kill_ends_it) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    std::atomic<int> rounds{0}, went_on{0};
    std::atomic<bool> ended{false};
    rn::go([&]() -> rn::task<> {
      at_end e{ended};
      auto loop = [&]() -> rn::task<> {
        for (;; ++rounds) {
          auto r = co_await rn::as_result(for_ever());
          EXPECT_TRUE(r.canceled());
        }
      };
      co_await rn::with_context(ctx, loop());
      ++went_on;
    });
    co_await rn::yield();
    EXPECT_EQ(rounds, 0);
    cancel();
    co_await until([&] { return rounds > 100; });
    EXPECT_FALSE(ended);
    ctx.node().cancel(rn::detail::level_kill, false, rn::detail::canceled_cause());
    co_await until([&] { return ended.load(); });
    EXPECT_EQ(went_on, 0);
  };
  rt.run(app);
}

TEST(as_result, a_kill_pierces_it_wherever_the_work_waits) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    std::atomic<int> began{0}, went_on{0}, unwound{0};
    struct counts {
      std::atomic<int>& n;
      ~counts() { ++n; }
    };
    auto plain = [&]() -> rn::task<> {
      counts c{unwound};
      ++began;
      (void)co_await rn::as_result(for_ever());
      ++went_on;
    };
    auto shielded = [&]() -> rn::task<> {
      counts c{unwound};
      ++began;
      (void)co_await rn::as_result(rn::shield(for_ever()));
      ++went_on;
    };
    auto nested = [&]() -> rn::task<> {
      counts c{unwound};
      ++began;
      (void)co_await rn::as_result(rn::as_result(rn::with_timeout(1h, for_ever())));
      ++went_on;
    };
    auto under = [&](auto work) -> rn::task<> { co_await rn::with_context(ctx, work()); };
    rn::go(under, plain);
    rn::go(under, shielded);
    rn::go(under, nested);
    co_await until([&] { return began == 3; });
    ctx.node().cancel(rn::detail::level_kill, false, rn::detail::canceled_cause());
    co_await until([&] { return unwound == 3; });
    EXPECT_EQ(went_on, 0);
  };
  rt.run(app);
}

// Only a kill of the context that it stands in: one further inside ends where that ends.
TEST(as_result, a_kill_of_a_context_inside_of_it_is_absorbed) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<bool> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    ctx.node().cancel(rn::detail::level_kill, false, rn::detail::canceled_cause());
    auto r = co_await rn::as_result(rn::with_context(ctx, for_ever()));
    co_await rn::yield();
    co_return r.canceled();
  };
  EXPECT_TRUE(rt.run(app));
}

// So a shutdown ends it after the grace time, where it would else report a goroutine that is still alive and abort.
TEST(as_result, a_shutdown_ends_a_loop_around_it) {
  std::atomic<int> rounds{0};
  {
    rn::runtime rt(rn::threads(1), rn::runtime_options().grace(5ms).kill_grace(30s));
    rt.go([&]() -> rn::task<> {
      for (;; ++rounds) (void)co_await rn::as_result(rn::sleep(1h));
    });
    rt.cancel();
    EXPECT_TRUE(test_support::wait_until([&] { return rounds > 0; }));
    rt.shut_down();
    EXPECT_EQ(rt.live(), 0u);
  }
}

TEST(finally, it_cleans_up_after_a_value) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    bool cleaned = false;
    auto body = [&]() -> rn::task<int> {
      EXPECT_FALSE(cleaned);
      co_return 3;
    };
    auto cleanup = [&]() -> rn::task<> {
      co_await rn::yield();
      cleaned = true;
    };
    EXPECT_EQ(co_await rn::finally(body(), cleanup), 3);
    EXPECT_TRUE(cleaned);
  };
  rt.run(app);
}

TEST(finally, it_cleans_up_after_an_exception_and_passes_it_on) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    bool cleaned = false;
    auto body = []() -> rn::task<int> {
      co_await rn::yield();
      throw std::runtime_error("body");
    };
    auto cleanup = [&]() -> rn::task<> {
      co_await rn::yield();
      cleaned = true;
    };
    EXPECT_THROW((void)co_await rn::finally(body(), cleanup), std::runtime_error);
    EXPECT_TRUE(cleaned);
  };
  rt.run(app);
}

TEST(finally, it_cleans_up_after_a_cancellation_shielded_and_unwinding_goes_on) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<std::string> {
    std::string log;
    auto cleanup = [&]() -> rn::task<> {
      log += rn::unwinding() ? "unwinding " : "cleanup ";
      for (int i = 0; i < 3; ++i) co_await rn::sleep(100us);
      log += "done ";
    };
    auto body = [&]() -> rn::task<> {
      struct outer {
        std::string& log;
        ~outer() { log += rn::unwinding() ? "unwound" : "returned"; }
      } o{log};
      co_await rn::finally(for_ever(), cleanup);
      log += "never ";
    };
    EXPECT_TRUE(co_await under_done_context(body));
    co_return log;
  };
  EXPECT_EQ(rt.run(app), "cleanup done unwound");
}

TEST(finally, what_the_cleanup_throws_replaces_the_outcome) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    auto cleanup = []() -> rn::task<> {
      co_await rn::yield();
      throw std::logic_error("cleanup");
    };
    auto value = []() -> rn::task<int> { co_return 1; };
    auto throws = []() -> rn::task<int> {
      throw std::runtime_error("body");
      co_return 1;
    };
    EXPECT_THROW((void)co_await rn::finally(value(), cleanup), std::logic_error);
    EXPECT_THROW((void)co_await rn::finally(throws(), cleanup), std::logic_error);
  };
  rt.run(app);
}

TEST(finally, a_timeout_inside_of_the_cleanup_is_in_force) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<std::string> {
    std::string log;
    auto cleanup = [&]() -> rn::task<> {
      try {
        co_await rn::with_timeout(1ms, for_ever());
      } catch (const rn::deadline_exceeded&) {
        log += "gave up";
      }
    };
    auto body = [&]() -> rn::task<> { co_await rn::finally(for_ever(), cleanup); };
    EXPECT_TRUE(co_await under_done_context(body));
    co_return log;
  };
  EXPECT_EQ(rt.run(app), "gave up");
}

TEST(finally, a_deadline_that_ends_the_body_waits_for_the_cleanup) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    bool cleaned = false;
    auto cleanup = [&]() -> rn::task<> {
      co_await rn::sleep(2ms);
      cleaned = true;
    };
    EXPECT_THROW(co_await rn::with_timeout(1ms, rn::finally(for_ever(), cleanup)), rn::deadline_exceeded);
    EXPECT_TRUE(cleaned);
  };
  rt.run(app);
}

TEST(finally, nested_cleanups_run_inside_out) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<std::string> {
    std::string log;
    auto inner = [&]() -> rn::task<> {
      co_await rn::yield();
      log += "inner ";
    };
    auto outer = [&]() -> rn::task<> {
      co_await rn::yield();
      log += "outer";
    };
    auto body = [&]() -> rn::task<> { co_await rn::finally(rn::finally(for_ever(), inner), outer); };
    EXPECT_TRUE(co_await under_done_context(body));
    co_return log;
  };
  EXPECT_EQ(rt.run(app), "inner outer");
}

TEST(finally, a_kill_pierces_the_cleanup_at_its_first_suspension) {
  rn::runtime rt(rn::threads(2));
  auto app = []() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    std::atomic<bool> began{false}, finished{false}, ended{false};
    rn::go([&]() -> rn::task<> {
      at_end e{ended};
      auto cleanup = [&]() -> rn::task<> {
        began = true;
        co_await for_ever();
        finished = true;
      };
      co_await rn::with_context(ctx, rn::finally(for_ever(), cleanup));
    });
    for (int i = 0; i < 10; ++i) co_await rn::yield();
    cancel();
    co_await until([&] { return began.load(); });
    for (int i = 0; i < 10; ++i) co_await rn::yield();
    EXPECT_FALSE(ended);
    ctx.node().cancel(rn::detail::level_kill, false, rn::detail::canceled_cause());
    co_await until([&] { return ended.load(); });
    EXPECT_FALSE(finished);
  };
  rt.run(app);
}

// Killed before the cleanup began: it still begins, for what does not suspend.
TEST(finally, after_a_kill_the_cleanup_runs_to_its_first_suspension) {
  rn::runtime rt(rn::threads(2));
  auto app = []() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    std::atomic<bool> began{false}, finished{false}, ended{false};
    rn::go([&]() -> rn::task<> {
      at_end e{ended};
      auto cleanup = [&]() -> rn::task<> {
        began = true;
        co_await rn::yield();
        finished = true;
      };
      co_await rn::with_context(ctx, rn::finally(for_ever(), cleanup));
    });
    for (int i = 0; i < 10; ++i) co_await rn::yield();
    ctx.node().cancel(rn::detail::level_kill, false, rn::detail::canceled_cause());
    co_await until([&] { return ended.load(); });
    EXPECT_TRUE(began);
    EXPECT_FALSE(finished);
  };
  rt.run(app);
}

}  // namespace
