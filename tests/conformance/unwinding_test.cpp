// SPDX-License-Identifier: BSL-1.0
// Cancellation unwinds: DESIGN section 4, CANCELLATION section 1.
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>
#include <runnel/sleep.hpp>
#include <runnel/with_context.hpp>

#include "support/unwind_probe.hpp"
#include "support/until.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using test_support::death;
using test_support::deaths;
using test_support::unwind_probe;
using test_support::until;

rn::task<> park_under(deaths& log, int depth) {
  unwind_probe probe(log, std::to_string(depth));
  if (depth == 0)
    co_await rn::chan<int>().recv();
  else
    co_await park_under(log, depth - 1);
  log.push_back({"went on", 0, false});
}

// Runs work until it is parked, cancels it, and waits until it is gone. Where there are several threads it may be anywhere
// after the moment at which `there` holds.
template <class Work, class There = bool (*)()>
rn::task<> cancelled(Work work, There there = [] { return true; }) {
  auto [ctx, cancel] = rn::context::background().with_cancel();
  std::atomic<bool> ended{false};
  struct at_end {
    std::atomic<bool>& flag;
    ~at_end() { flag = true; }
  };
  rn::go([&]() -> rn::task<> {
    at_end end{ended};
    co_await rn::with_context(ctx, work());
  });
  co_await until(there);
  for (int i = 0; i < 20; ++i) co_await rn::yield();
  EXPECT_FALSE(ended) << "it was to wait until it is cancelled";
  cancel();
  co_await until([&] { return ended.load(); });
}

TEST(unwinding, destructors_run_leaf_first_with_an_exception_in_flight) {
  rn::runtime rt(rn::threads(1));
  deaths log;
  auto app = [&]() -> rn::task<> { co_await cancelled([&] { return park_under(log, 3); }); };
  rt.run(app);
  EXPECT_EQ(log, (deaths{{"0", 1, true}, {"1", 1, true}, {"2", 1, true}, {"3", 1, true}}));
}

TEST(unwinding, within_a_frame_the_newest_dies_first) {
  rn::runtime rt(rn::threads(1));
  deaths log;
  auto work = [&]() -> rn::task<> {
    unwind_probe a(log, "a");
    unwind_probe b(log, "b");
    {
      unwind_probe c(log, "c");
      co_await rn::sleep(1h);
    }
  };
  auto app = [&]() -> rn::task<> { co_await cancelled(work); };
  rt.run(app);
  EXPECT_EQ(test_support::names(log), (std::vector<std::string>{"c", "b", "a"}));
}

TEST(unwinding, a_frame_that_returns_or_throws_is_not_unwinding) {
  rn::runtime rt(rn::threads(1));
  deaths log;
  auto returns = [&]() -> rn::task<> {
    unwind_probe probe(log, "returns");
    co_await rn::yield();
  };
  auto throws = [&]() -> rn::task<> {
    unwind_probe probe(log, "throws");
    co_await rn::yield();
    throw std::runtime_error("x");
  };
  auto app = [&]() -> rn::task<> {
    EXPECT_FALSE(rn::unwinding());
    co_await returns();
    EXPECT_THROW(co_await throws(), std::runtime_error);
  };
  rt.run(app);
  EXPECT_EQ(log, (deaths{{"returns", 0, false}, {"throws", 1, false}}));
  EXPECT_FALSE(rn::unwinding());
}

TEST(unwinding, no_handler_can_swallow_it) {
  rn::runtime rt(rn::threads(1));
  std::vector<std::string> caught;
  auto stubborn = [&]() -> rn::task<> {
    for (;;) {
      try {
        co_await rn::sleep(1h);
      } catch (const std::exception& e) {
        caught.push_back(e.what());
      } catch (...) {
        caught.push_back("...");
      }
    }
  };
  auto app = [&]() -> rn::task<> { co_await cancelled(stubborn); };
  rt.run(app);
  EXPECT_TRUE(caught.empty());
}

// What a transaction does: commit unless an exception is in flight.
TEST(unwinding, a_transaction_rolls_back) {
  struct transaction {
    std::string& outcome;
    int before = std::uncaught_exceptions();
    explicit transaction(std::string& o) : outcome(o) {}
    ~transaction() { outcome += std::uncaught_exceptions() > before ? "rolled back " : "committed "; }
  };
  rn::runtime rt(rn::threads(1));
  std::string outcome;
  auto quick = [&]() -> rn::task<> {
    transaction t(outcome);
    co_await rn::yield();
  };
  auto slow = [&]() -> rn::task<> {
    transaction t(outcome);
    co_await rn::sleep(1h);
  };
  auto app = [&]() -> rn::task<> {
    co_await quick();
    co_await cancelled(slow);
    co_await quick();
  };
  rt.run(app);
  EXPECT_EQ(outcome, "committed rolled back committed ");
}

// Objects made by a destructor that runs during unwinding see no more than their own exceptions.
TEST(unwinding, an_object_made_while_unwinding_commits) {
  rn::runtime rt(rn::threads(1));
  deaths log;
  struct cleaner {
    deaths& log;
    explicit cleaner(deaths& l) : log(l) {}
    ~cleaner() { unwind_probe inner(log, "made while unwinding"); }
  };
  auto work = [&]() -> rn::task<> {
    cleaner c(log);
    co_await rn::sleep(1h);
  };
  auto app = [&]() -> rn::task<> { co_await cancelled(work); };
  rt.run(app);
  EXPECT_EQ(log, (deaths{{"made while unwinding", 0, true}}));
}

// Many in one batch: each sees one exception, not many.
TEST(unwinding, a_batch_of_goroutines_sees_one_exception_each) {
  rn::runtime rt(rn::threads(1));
  deaths log;
  auto app = [&]() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    auto body = [&](rn::errgroup& g) -> rn::task<> {
      for (int i = 0; i < 300; ++i) co_await g.go([&] { return park_under(log, 1); });
      for (int i = 0; i < 10; ++i) co_await rn::yield();
      g.cancel();
    };
    co_await rn::with_errgroup(body);
  };
  rt.run(app);
  EXPECT_EQ(log.size(), 600u);
  for (auto& d : log) EXPECT_EQ(d, (death{d.name, 1, true}));
}

// How many have died, of 130 whose destructors take long, when that runs whom the first destructor has woken.
int dead_before_the_woken(int yields) {
  rn::runtime rt(rn::threads(1));
  int died = 0, seen = 0;
  rn::chan<int> news(0);
  struct slow {
    int& died;
    rn::chan<int>& news;
    ~slow() {
      std::this_thread::sleep_for(1ms);  // sleeps: a destructor that takes long
      ++died;
      (void)news.try_send(died);
    }
  };
  auto app = [&]() -> rn::task<> {
    rn::go([&]() -> rn::task<> {
      (void)co_await news.recv();
      seen = died;
    });
    auto body = [&](rn::errgroup& g) -> rn::task<> {
      auto wait = [&]() -> rn::task<> {
        slow guard{died, news};
        co_await rn::chan<int>().recv();
      };
      for (int i = 0; i < 130; ++i) co_await g.go(wait);
      for (int i = 0; i < yields; ++i) co_await rn::yield();
      g.cancel();
    };
    co_await rn::with_errgroup(body);
  };
  rt.run(app);
  EXPECT_EQ(died, 130);
  EXPECT_GE(seen, 1);
  return seen;
}

// Whom a destructor wakes goes before the others, but for each sixteenth resume.
TEST(unwinding, a_batch_ends_soon_where_destructors_take_long) {
  EXPECT_LE(std::min(dead_before_the_woken(10), dead_before_the_woken(11)), 63);
}

// Nor does who comes from outside wait for all.
TEST(unwinding, what_was_injected_is_looked_at_between_batches) {
  rn::runtime rt(rn::threads(1));
  constexpr int all = 20'000;
  int died = 0, seen = 0;
  struct injector {
    rn::runtime& rt;
    int& died;
    int& seen;
    ~injector() {
      if (died++ != 100) return;
      std::thread([this] {
        rt.go([&seen_then = seen, &died_then = died]() -> rn::task<> {
          seen_then = died_then;
          co_return;
        });
      }).join();
    }
  };
  auto app = [&]() -> rn::task<> {
    auto body = [&](rn::errgroup& g) -> rn::task<> {
      auto wait = [&]() -> rn::task<> {
        injector guard{rt, died, seen};
        co_await rn::chan<int>().recv();
      };
      for (int i = 0; i < all; ++i) co_await g.go(wait);
      for (int i = 0; i < 10; ++i) co_await rn::yield();
      g.cancel();
    };
    co_await rn::with_errgroup(body);
  };
  rt.run(app);
  EXPECT_EQ(died, all);
  EXPECT_GT(seen, 100);
  EXPECT_LE(seen, 101 + 2 * 252);
}

rn::task<> deep(int depth, std::uintptr_t& lowest, std::uintptr_t& highest, int& died) {
  struct probe {
    std::uintptr_t& lowest;
    std::uintptr_t& highest;
    int& died;
    ~probe() {
      auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
      lowest = std::min(lowest, here);
      highest = std::max(highest, here);
      ++died;
    }
  } p{lowest, highest, died};
  if (depth > 0)
    co_await deep(depth - 1, lowest, highest, died);
  else
    co_await rn::chan<int>().recv();
}

TEST(unwinding, a_hundred_thousand_nested_awaits_unwind_without_stack_growth) {
  rn::runtime rt(rn::threads(1));
  std::uintptr_t lowest = UINTPTR_MAX, highest = 0;
  int died = 0;
  auto app = [&]() -> rn::task<> { co_await cancelled([&] { return deep(100'000, lowest, highest, died); }); };
  rt.run(app);
  EXPECT_EQ(died, 100'001);
  EXPECT_LT(highest - lowest, 4096u);
}

rn::task<> deep_scopes(int depth, int& died) {
  struct probe {
    int& died;
    ~probe() { ++died; }
  } p{died};
  if (depth > 0)
    co_await rn::with_timeout(1h, deep_scopes(depth - 1, died));
  else
    co_await rn::chan<int>().recv();
}

TEST(unwinding, deeply_nested_scopes_unwind_without_recursion) {
  rn::runtime rt(rn::threads(1));
  int died = 0;
  auto app = [&]() -> rn::task<> { co_await cancelled([&] { return deep_scopes(10'000, died); }); };
  rt.run(app);
  EXPECT_EQ(died, 10'001);
  EXPECT_TRUE(rt.core().timers.empty());
}

// Every kind of place where a goroutine waits is a cancellation point.
TEST(unwinding, every_suspension_is_a_cancellation_point) {
  rn::runtime rt(rn::threads(2));
  std::atomic<int> went_on{0};
  auto app = [&]() -> rn::task<> {
    rn::chan<int> ch(0);
    auto receive = [&]() -> rn::task<> {
      (void)co_await ch.recv();
      ++went_on;
    };
    auto send = [&]() -> rn::task<> {
      co_await ch.send(1);
      ++went_on;
    };
    auto nil_send = [&]() -> rn::task<> {
      co_await rn::chan<int>().send(1);
      ++went_on;
    };
    auto asleep = [&]() -> rn::task<> {
      co_await rn::sleep(1h);
      ++went_on;
    };
    auto yields = [&]() -> rn::task<> {
      for (;;) co_await rn::yield();
    };
    auto waits_for_done = [&]() -> rn::task<> {
      auto [other, cancel_other] = rn::context::background().with_cancel();
      co_await other.done();
      ++went_on;
    };
    auto reads_ready = [&]() -> rn::task<> {
      rn::chan<int> ready(1);
      for (;;) {
        co_await ready.send(1);
        (void)co_await ready.recv();
      }
    };
    co_await cancelled(receive);
    co_await cancelled(send);
    co_await cancelled(nil_send);
    co_await cancelled(asleep);
    co_await cancelled(yields);
    co_await cancelled(waits_for_done);
    co_await cancelled(reads_ready);
    EXPECT_EQ(ch.len(), 0u);
    EXPECT_FALSE(ch.try_send(1));  // nobody is left waiting
    EXPECT_EQ(went_on, 0);
  };
  rt.run(app);
}

// A done context wins over a ready channel; awaiting a task is free of checks.
TEST(unwinding, a_done_context_wins_over_a_ready_channel) {
  rn::runtime rt(rn::threads(1));
  std::vector<std::string> steps;
  rn::chan<int> ready(1);
  auto app = [&]() -> rn::task<> {
    co_await ready.send(1);
    auto [ctx, cancel] = rn::context::background().with_cancel();
    cancel();
    auto nested = [&]() -> rn::task<> {
      steps.push_back("a task runs");
      co_return;
    };
    auto work = [&]() -> rn::task<> {
      steps.push_back("begins");
      co_await nested();
      (void)co_await ready.recv();
      steps.push_back("received");
    };
    (void)co_await rn::as_result(rn::with_context(ctx, work()));
  };
  rt.run(app);
  EXPECT_EQ(steps, (std::vector<std::string>{"begins", "a task runs"}));
  EXPECT_EQ(ready.len(), 1u);
}

// A scope's children are gone before anything that they refer to dies.
TEST(unwinding, children_are_joined_before_the_frame_that_they_refer_to_dies) {
  rn::runtime rt(rn::threads(2));
  deaths log;
  std::atomic<int> live_children{0};
  std::atomic<bool> all_there{false};
  auto work = [&]() -> rn::task<> {
    struct guard {
      std::atomic<int>& children;
      deaths& log;
      ~guard() { log.push_back({"frame with " + std::to_string(children.load()) + " children", 0, rn::unwinding()}); }
    } g{live_children, log};
    rn::errgroup group;
    auto child = [&]() -> rn::task<> {
      struct count {
        std::atomic<int>& n;
        explicit count(std::atomic<int>& c) : n(c) { ++n; }
        ~count() { --n; }
      } c(live_children);
      auto slow_cleanup = []() -> rn::task<> { co_await rn::sleep(2ms); };
      co_await rn::finally(rn::sleep(1h), slow_cleanup);
    };
    for (int i = 0; i < 8; ++i) co_await group.go(child);
    co_await until([&] { return live_children == 8; });
    all_there = true;
    co_await park_under(log, 0);
  };
  auto app = [&]() -> rn::task<> { co_await cancelled(work, [&] { return all_there.load(); }); };
  rt.run(app);
  EXPECT_EQ(test_support::names(log), (std::vector<std::string>{"0", "frame with 0 children"}));
}

// Nothing of a goroutine remains.
TEST(unwinding, it_leaves_no_frame_behind) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    auto once = [&]() -> rn::task<> {
      deaths log;
      co_await cancelled([&] { return park_under(log, 50); });
    };
    co_await once();
    for (int i = 0; i < 10; ++i) co_await rn::yield();
    auto before = rn::detail::frame_pool_stats().live_blocks;
    for (int i = 0; i < 10; ++i) co_await once();
    for (int i = 0; i < 10; ++i) co_await rn::yield();
    EXPECT_EQ(rn::detail::frame_pool_stats().live_blocks, before);
  };
  rt.run(app);
}

}  // namespace
