// SPDX-License-Identifier: BSL-1.0
// Timers set, fired, and taken back at the same moment: none is lost, none fires early, none is left.
#include <runnel.hpp>

#include "support/stress.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using stress::dice;
using steady = std::chrono::steady_clock;

class timers_stress : public stress::stress_test {};

struct findings {
  std::atomic<int> early{0};
  std::atomic<int> torn{0};  // neither a value nor a timeout
  std::atomic<int> not_done{0};
};

rn::task<> sleep_some(findings& f, std::chrono::microseconds us) {
  auto due = steady::now() + us;
  co_await rn::sleep(us);
  if (steady::now() < due) ++f.early;
}
rn::task<int> sleep_and_return(findings& f, std::chrono::microseconds us) {
  co_await sleep_some(f, us);
  co_return 7;
}

rn::task<> doze(findings& f, rn::context ctx, dice d) {
  for (unsigned n = d.between(1, 20); n > 0; --n) {
    auto us = d.microseconds(d.one_in(4) ? 2000 : 150);
    switch (d.below(6)) {
      case 0:
        co_await sleep_some(f, us);
        break;
      case 1: {  // a deadline at about the same time as the sleep's
        auto limit = us + d.microseconds(4) - std::chrono::microseconds(2);
        auto due = steady::now() + limit;
        auto outcome = co_await rn::as_result(rn::with_timeout(limit, sleep_and_return(f, us)));
        if (outcome.error() && steady::now() < due) ++f.early;
        if (outcome.ok() && outcome.value() != 7) ++f.torn;
        break;
      }
      case 2: {  // an inner and an outer deadline
        auto inner = [](findings& g, std::chrono::microseconds limit) -> rn::task<> {
          (void)co_await rn::as_result(rn::with_timeout(limit, sleep_and_return(g, std::chrono::hours(1))));
        };
        (void)co_await rn::as_result(rn::with_timeout(us, inner(f, us)));
        break;
      }
      case 3: {  // a context with a deadline, dropped before, at, or after it
        auto due = steady::now() + us;
        auto [child, cancel] = rn::this_context().with_timeout(us);
        if (d.one_in(2)) co_await rn::sleep(d.microseconds(150));
        if (child.is_done() && child.err() == rn::context_errc::deadline_exceeded && steady::now() < due) ++f.early;
        break;
      }
      case 4: {
        auto [child, cancel] = ctx.with_timeout(us);
        auto wait = [](rn::context& c) -> rn::task<> { co_await c.done(); };
        co_await wait(child);
        if (!child.is_done()) ++f.not_done;
        break;
      }
      default:
        (void)co_await rn::as_result(rn::with_context(ctx, sleep_some(f, us)));
    }
  }
}

TEST_F(timers_stress, sleeps_and_deadlines_race_with_cancellation) {
  run_rounds([](unsigned threads, dice d) {
    findings f;
    {
      rn::runtime rt{rn::threads(threads)};
      auto [ctx, cancel_it] = rn::context::background().with_cancel();
      auto& cancel = cancel_it;
      for (unsigned i = d.between(1, 30); i > 0; --i) rt.go(doze, std::ref(f), ctx, d.split());
      std::thread outside([&cancel, &rt, mine = d.split()]() mutable {
        for (unsigned k = mine.below(60); k > 0; --k) stress::dawdle(mine);
        if (mine.one_in(2)) cancel();
        for (unsigned k = mine.below(60); k > 0; --k) stress::dawdle(mine);
        if (mine.one_in(3)) rt.cancel();
      });
      outside.join();
      stress::wait_until([&] { return rt.live() == 0; }, "sleepers");
      stress::wait_until([&] { return rt.core().timers.empty(); }, "a deadline that fires while its context is dropped");
    }
    EXPECT_EQ(f.early, 0);
    EXPECT_EQ(f.torn, 0);
    EXPECT_EQ(f.not_done, 0);
  });
}

// The nearest timer changes all the time, from several threads: the host's one timer is always armed early enough.
TEST_F(timers_stress, no_sleeper_is_forgotten) {
  run_rounds([](unsigned threads, dice d) {
    rn::runtime rt{rn::threads(threads)};
    findings f;
    std::vector<std::thread> outside;
    for (unsigned i = d.between(1, 3); i > 0; --i)
      outside.emplace_back([&, mine = d.split()]() mutable {
        for (unsigned n = mine.below(30); n > 0; --n) {
          rt.go(sleep_some, std::ref(f), mine.microseconds(mine.one_in(3) ? 3000 : 100));
          if (mine.one_in(4)) stress::wait_until([&] { return rt.live() == 0; }, "a sleeper");
          stress::dawdle(mine);
        }
      });
    for (auto& t : outside) t.join();
    stress::wait_until([&] { return rt.live() == 0; }, "sleepers");
    EXPECT_TRUE(rt.core().timers.empty());
    EXPECT_EQ(f.early, 0);
  });
}

// Shutdown in the middle of it: what sleeps is unwound, what is armed is taken back.
TEST_F(timers_stress, a_runtime_ends_with_its_timers) {
  run_rounds([](unsigned threads, dice d) {
    findings f;
    rn::runtime rt(rn::threads(threads), rn::runtime_options().grace(std::chrono::seconds(d.one_in(2) ? 0 : 5)));
    for (unsigned i = d.between(1, 30); i > 0; --i) rt.go(doze, std::ref(f), rn::context::background(), d.split());
    for (unsigned k = d.below(40); k > 0; --k) stress::dawdle(d);
    rt.shut_down();
    stress::wait_until([&] { return rt.core().timers.empty(); }, "a deadline that fires while its context is dropped");
    EXPECT_EQ(f.early, 0);
  });
}

}  // namespace
