// SPDX-License-Identifier: BSL-1.0
// timer: its API, from goroutines and from plain threads, and the sentences of its misuse.
#include <runnel/as_result.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>
#include <runnel/select.hpp>
#include <runnel/timer.hpp>
#include <runnel/with_context.hpp>

#include "support/checked_runtime.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <thread>
#include <type_traits>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using clock_type = std::chrono::steady_clock;
using test::on_1_2_and_4_threads;
using test::until;

static_assert(!std::is_copy_constructible_v<rn::timer> && !std::is_move_constructible_v<rn::timer>);

TEST(timer, ticks_once_and_yields_when_it_was_due) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto begin = clock_type::now();
    rn::timer t(2ms);
    auto due = co_await t.recv();
    EXPECT_GE(due, begin + 2ms);
    EXPECT_LE(due, clock_type::now());
    EXPECT_TRUE(t.try_recv().would_block());
    EXPECT_FALSE(t.stop());
  });
}

TEST(timer, one_that_was_not_set_ticks_when_it_is_set) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::timer t;
    EXPECT_TRUE(t.try_recv().would_block());
    EXPECT_FALSE(t.stop());
    EXPECT_FALSE(t.reset(1ms));
    co_await t.recv();
    EXPECT_FALSE(t.reset(0s));
    EXPECT_TRUE(t.try_recv().has_value());
  });
}

TEST(timer, is_set_and_stopped_by_plain_threads_while_a_goroutine_waits) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::timer t(1h);
    std::atomic<bool> waits{false};
    std::thread other([&] {
      while (!waits) std::this_thread::yield();
      t.stop();
      t.reset(1h);
      t.reset(1ms);
    });
    rn::go([&]() -> rn::task<> {
      waits = true;
      co_return;
    });
    co_await t.recv();
    other.join();
  });
}

TEST(timer, a_cancelled_wait_leaves_the_tick_to_the_next) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::timer t(1h);
    auto r = co_await rn::as_result(rn::with_timeout(1ms, t.recv()));
    EXPECT_TRUE(r.error());
    t.reset(1ms);
    co_await t.recv();
  });
}

TEST(timer, outlives_its_runtime_when_it_has_to) {
  std::optional<rn::timer> kept;
  {
    rn::runtime rt(rn::threads(1));
    rt.run([&]() -> rn::task<> {
      kept.emplace(1h);
      co_return;
    });
  }
  EXPECT_TRUE(kept->stop());
  EXPECT_FALSE(kept->reset(0s));
  EXPECT_TRUE(kept->try_recv().has_value());
  kept.reset();
}

TEST(timer, is_refused_outside_of_a_runtime) { EXPECT_THROW(rn::timer(1s), rn::misuse_error); }

using timer_death = testing::Test;
TEST(timer_death, one_that_dies_while_somebody_waits_for_it_says_so) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        rn::runtime rt(rn::threads(1));
        rt.run([]() -> rn::task<> {
          std::optional<rn::timer> t(std::in_place, 1h);
          auto wait = [](rn::timer& of) -> rn::task<> { co_await of.recv(); };
          rn::go(wait, std::ref(*t));
          co_await rn::yield();
          t.reset();
        });
      },
      "a timer was destroyed while somebody waited for it");
}

}  // namespace
