// SPDX-License-Identifier: BSL-1.0
// this_context, waiting for done(), handles that outlive their scopes, and the current context under random cancels.
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/detail/frame_pool.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>
#include <runnel/sleep.hpp>
#include <runnel/with_context.hpp>

#include "support/until.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <random>
#include <thread>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using test_support::until;

TEST(this_context, outside_of_a_goroutine_it_is_misuse) { EXPECT_THROW((void)rn::this_context(), rn::misuse_error); }

TEST(this_context, of_a_goroutine_it_is_done_when_the_runtime_is_cancelled) {
  rn::runtime rt(rn::threads(1));
  std::optional<rn::context> kept;
  auto app = [&]() -> rn::task<> {
    kept = rn::this_context();
    EXPECT_FALSE(kept->is_done());
    EXPECT_EQ(rn::this_context(), *kept);
    co_return;
  };
  rt.run(app);
  rt.cancel();
  EXPECT_TRUE(kept->is_done());
}

// As after Go's deferred cancel.
TEST(this_context, a_handle_from_a_scope_is_done_when_the_scope_has_ended) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    std::optional<rn::context> kept, derived;
    std::optional<rn::cancel_function> cancel;
    auto body = [&]() -> rn::task<> {
      kept = rn::this_context();
      auto pair = kept->with_cancel();
      derived = pair.first;
      cancel.emplace(std::move(pair.second));
      EXPECT_TRUE(kept->deadline());
      EXPECT_FALSE(kept->is_done());
      co_return;
    };
    co_await rn::with_timeout(1h, body());
    EXPECT_TRUE(kept->is_done());
    EXPECT_EQ(kept->err(), rn::context_errc::canceled);
    EXPECT_TRUE(derived->is_done());
    co_await kept->done();
    auto late = kept->with_value<int>(1);
    EXPECT_TRUE(late.is_done());
    co_await rn::yield();  // nothing of it touches this goroutine
  };
  rt.run(app);
}

TEST(this_context, the_time_that_is_left_is_that_until_the_nearest_deadline) {
  rn::runtime rt(rn::threads(1));
  EXPECT_FALSE(rn::context::background().time_left());
  auto app = []() -> rn::task<> {
    EXPECT_FALSE(rn::this_context().time_left());
    auto body = []() -> rn::task<> {
      auto left = rn::this_context().time_left().value();
      EXPECT_GT(left, 30min);
      EXPECT_LE(left, 1h);
      co_return;
    };
    co_await rn::with_timeout(2h, rn::with_timeout(1h, body()));
    auto [passed, cancel] = rn::this_context().with_timeout(-1s);
    EXPECT_EQ(passed.time_left().value(), 0s);
  };
  rt.run(app);
}

TEST(this_context, a_handle_from_a_scope_whose_deadline_passed_says_so) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    std::optional<rn::context> kept;
    auto body = [&]() -> rn::task<> {
      kept = rn::this_context();
      co_await rn::sleep(1h);
    };
    EXPECT_THROW(co_await rn::with_timeout(1ms, body()), rn::deadline_exceeded);
    EXPECT_EQ(kept->err(), rn::context_errc::deadline_exceeded);
  };
  rt.run(app);
}

// The last handles die on another thread while the scope ends.
TEST(this_context, handles_may_die_elsewhere_while_their_scope_ends) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    std::vector<rn::context> handles;
    std::atomic<int> turn{0};
    constexpr int rounds = 5'000;
    std::thread other([&] {
      for (int round = 1; round <= rounds; ++round) {
        while (turn != round) std::this_thread::yield();
        handles.clear();
        turn = -round;
      }
    });
    for (int round = 1; round <= rounds; ++round) {
      auto body = [&]() -> rn::task<> {
        for (int i = 0; i < round % 3 + 1; ++i) handles.push_back(rn::this_context());
        turn = round;
        test_support::spin_until([&] { return turn == -round; }, std::chrono::nanoseconds(round % 50 * 20));
        co_return;
      };
      co_await rn::with_timeout(1h, body());
      while (turn != -round) std::this_thread::yield();
    }
    other.join();
  };
  rt.run(app);
}

// go(ctx, ...): the goroutine's context hears its runtime's root too, and a handle to it may outlive that runtime.
TEST(this_context, a_handle_from_a_goroutine_under_a_context_may_outlive_its_runtime) {
  (void)rn::context::background();
  auto live_blocks = [] { return rn::detail::frame_pool_stats().live_blocks; };
  const std::size_t before = live_blocks();
  std::optional<rn::context> kept;
  {
    rn::runtime rt(rn::threads(1));
    rt.run([&]() -> rn::task<> {
      rn::chan<void> told(1);
      rn::go(rn::context::background(), [&kept, told]() -> rn::task<> {
        kept = rn::this_context();
        co_await told.send();
      });
      co_await told.recv();
      EXPECT_FALSE(kept->is_done());
    });
  }
  EXPECT_TRUE(kept->is_done());  // its runtime has shut down
  EXPECT_EQ(live_blocks(), before + 2) << "the handle keeps its node, and the root that its node hears";
  kept.reset();
  EXPECT_EQ(live_blocks(), before);
}

// Its last handles die while the root is cancelled, which walks to it, and while the runtime ends.
TEST(this_context, handles_from_goroutines_under_a_context_may_die_while_their_runtime_ends) {
  for (int round = 0; round < 200; ++round) {
    std::vector<rn::context> kept;
    std::atomic<bool> ends{false};
    auto [ctx, cancel] = rn::context::background().with_cancel();
    std::thread other;
    {
      rn::runtime rt(rn::threads(2));
      rt.run([&, &under = ctx]() -> rn::task<> {
        rn::chan<rn::context> told(8);
        for (int i = 0; i < 8; ++i)
          rn::go(under, [told]() -> rn::task<> { co_await told.send(rn::this_context()); });
        for (int i = 0; i < 8; ++i) kept.push_back(*co_await told.recv());
      });
      other = std::thread([&] {
        while (!ends) std::this_thread::yield();
        kept.clear();
      });
      ends = true;
      rt.cancel();
    }
    other.join();
  }
}

// DESIGN section 4: who asks for the ambient context's done() sees it instead of being unwound; after it the next
// suspension unwinds.
TEST(context_done, of_the_ambient_context_it_is_seen) {
  rn::runtime rt(rn::threads(1));
  std::atomic<bool> seen{false}, went_on{false};
  rt.go([&]() -> rn::task<> {
    auto ctx = rn::this_context();
    co_await ctx.done();
    seen = true;
    co_await rn::yield();
    went_on = true;
  });
  auto app = []() -> rn::task<> {
    for (int i = 0; i < 10; ++i) co_await rn::yield();
  };
  rt.run(app);
  EXPECT_FALSE(seen);
  rt.cancel();
  EXPECT_TRUE(test_support::wait_until([&] { return rt.live() == 0; }));
  EXPECT_TRUE(seen);
  EXPECT_FALSE(went_on);
}

TEST(context_done, of_an_ambient_scope_it_is_seen) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    bool seen = false, went_on = false;
    auto body = [&]() -> rn::task<> {
      auto ctx = rn::this_context();
      co_await ctx.done();
      seen = true;
      co_await rn::yield();
      went_on = true;
    };
    EXPECT_THROW(co_await rn::with_timeout(2ms, body()), rn::deadline_exceeded);
    EXPECT_TRUE(seen);
    EXPECT_FALSE(went_on);
  };
  rt.run(app);
}

TEST(context_done, of_an_ancestor_it_is_seen_from_an_inner_scope) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    bool seen = false;
    auto inner = [&]() -> rn::task<> {
      co_await ctx.done();
      seen = true;
    };
    auto outer = [&]() -> rn::task<> { co_await rn::with_timeout(1h, inner()); };
    rn::go([&]() -> rn::task<> {
      for (int i = 0; i < 10; ++i) co_await rn::yield();
      cancel();
    });
    (void)co_await rn::as_result(rn::with_context(ctx, outer()));
    EXPECT_TRUE(seen);
  };
  rt.run(app);
}

// Asking for it again and again is no way to outlive a kill.
TEST(context_done, a_killed_goroutine_unwinds_there_too) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    auto [done, cancel_done] = rn::context::background().with_cancel();
    cancel_done();
    std::atomic<int> rounds{0}, unwound{0};
    struct counts {
      std::atomic<int>& n;
      ~counts() { ++n; }
    };
    auto ambient = [&]() -> rn::task<> {
      counts c{unwound};
      for (;; ++rounds) co_await rn::done();
    };
    auto other = [&, &over = done]() -> rn::task<> {
      counts c{unwound};
      for (;; ++rounds) co_await over.done();
    };
    auto under = [&, &killed = ctx](auto work) -> rn::task<> { co_await rn::with_context(killed, work()); };
    rn::go(under, ambient);
    rn::go(under, other);
    co_await rn::yield();
    cancel();
    co_await until([&] { return rounds > 1'000; });
    EXPECT_EQ(unwound, 0);
    ctx.node().cancel(rn::detail::level_kill, false, rn::detail::canceled_cause());
    co_await until([&] { return unwound == 2; });
  };
  rt.run(app);
}

TEST(context_done, waiting_for_an_unrelated_context_is_cancelled_like_any_wait) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    auto [other, cancel_other] = rn::context::background().with_cancel();
    bool went_on = false;
    auto body = [&]() -> rn::task<> {
      co_await other.done();
      went_on = true;
    };
    EXPECT_THROW(co_await rn::with_timeout(1ms, body()), rn::deadline_exceeded);
    EXPECT_FALSE(went_on);
    cancel_other();
  };
  rt.run(app);
}

// ---- The current context changes hands while others cancel: every goroutine ends, and as it must. ----

struct storm {
  std::atomic<int> ended{0};
  std::atomic<long> scopes{0};
};

rn::task<> wander(storm& s, unsigned seed, const std::atomic<bool>& stop, int depth);

rn::task<> step(storm& s, unsigned seed, const std::atomic<bool>& stop, int depth) {
  ++s.scopes;
  switch (seed % 7) {
    case 0: co_await rn::yield(); break;
    case 1: co_await rn::sleep(std::chrono::microseconds(seed / 7 % 60)); break;
    case 2: (void)co_await rn::as_result(rn::chan<int>().recv()); break;
    default:
      if (depth < 6) co_await wander(s, seed * 2654435761u + 1, stop, depth + 1);
  }
}

rn::task<> wander(storm& s, unsigned seed, const std::atomic<bool>& stop, int depth) {
  std::minstd_rand random(seed);
  for (int i = 0; i < 4 && !stop; ++i) {
    auto next = static_cast<unsigned>(random());
    auto limit = std::chrono::microseconds(random() % 80);
    switch (random() % 5) {
      case 0:
        // seed % 7 == 2 parks for ever: only ever under a deadline
        (void)co_await rn::as_result(rn::with_timeout(limit, step(s, next, stop, depth)));
        break;
      case 1: {
        auto [ctx, cancel] = rn::this_context().with_timeout(limit);
        (void)co_await rn::as_result(rn::with_context(ctx, step(s, next, stop, depth)));
        break;
      }
      case 2:
        (void)co_await rn::as_result(rn::shield(rn::with_timeout(limit, step(s, next, stop, depth))));
        break;
      case 3: {
        auto cleanup = []() -> rn::task<> { co_await rn::yield(); };
        (void)co_await rn::as_result(rn::with_timeout(limit, rn::finally(step(s, next, stop, depth), cleanup)));
        break;
      }
      default: co_await rn::yield();
    }
  }
}

class context_storm : public ::testing::TestWithParam<int> {};

TEST_P(context_storm, goroutines_enter_and_leave_scopes_while_they_are_cancelled) {
  auto seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  RecordProperty("seed", std::to_string(seed));
  auto until_then = std::chrono::steady_clock::now() + 400ms;
  auto blocks = rn::detail::frame_pool_stats().live_blocks;
  long scopes = 0;
  {
    rn::threads n_threads(GetParam());
    rn::runtime rt(n_threads);
    auto app = [&]() -> rn::task<> {
      std::minstd_rand random(seed);
      while (std::chrono::steady_clock::now() < until_then || scopes <= 100) {
        storm s;
        std::atomic<bool> stop{false};
        auto [ctx, cancel] = rn::context::background().with_cancel();
        struct at_end {
          storm& s;
          ~at_end() { ++s.ended; }
        };
        auto one = [&](unsigned n) -> rn::task<> {
          at_end e{s};
          for (int i = 0; i < 3; ++i) {
            auto r = co_await rn::as_result(rn::with_context(ctx, wander(s, n + static_cast<unsigned>(i), stop, 0)));
            if (r.error()) {
              ADD_FAILURE() << rn::detail::what_of(r.error());
            }
          }
        };
        auto n = 1 + static_cast<int>(random() % 12);
        for (int i = 0; i < n; ++i) rn::go(one, static_cast<unsigned>(random()));
        auto pause = random() % 200;
        auto before = std::chrono::steady_clock::now() + std::chrono::microseconds(pause);
        while (std::chrono::steady_clock::now() < before) co_await rn::yield();
        std::thread outside([&, kill = random() % 4 == 0] {
          cancel();
          if (kill) ctx.node().cancel(rn::detail::level_kill, false, rn::detail::canceled_cause());
        });
        stop = random() % 2 == 0;
        co_await until([&] { return s.ended == n; });
        outside.join();
        scopes += s.scopes;
      }
    };
    rt.run(app);
    // One may be firing yet, of a context that was dropped meanwhile.
    EXPECT_TRUE(test_support::wait_until([&] { return rt.core().timers.empty(); }));
  }
  EXPECT_GT(scopes, 100);
  EXPECT_EQ(rn::detail::frame_pool_stats().live_blocks, blocks);
}

INSTANTIATE_TEST_SUITE_P(threads, context_storm, ::testing::Values(1, 2, 4));

TEST(context, handles_that_were_moved_from_do_nothing) {
  rn::runtime rt(rn::threads(1));
  rt.run([]() -> rn::task<> {
    auto [ctx, cancel] = rn::this_context().with_cancel();
    auto undo = ctx.after_func([] {});
    auto kept = std::move(cancel);
    auto kept_undo = std::move(undo);
    cancel();                   // NOLINT: that is what is tested
    EXPECT_FALSE(undo.stop());  // NOLINT
    EXPECT_FALSE(ctx.is_done());
    EXPECT_TRUE(kept_undo.stop());
    kept();
    EXPECT_TRUE(ctx.is_done());
    co_return;
  });
}

}  // namespace
