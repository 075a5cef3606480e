// SPDX-License-Identifier: BSL-1.0
// ticker: its API and the sentences of its misuse.
#include <runnel/go.hpp>
#include <runnel/select.hpp>
#include <runnel/ticker.hpp>

#include "support/checked_runtime.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using clock_type = std::chrono::steady_clock;
using test::on_1_2_and_4_threads;

TEST(ticker, ticks_at_a_fixed_distance) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto begin = clock_type::now();
    rn::ticker t(1ms);
    auto last = begin;
    for (int i = 1; i <= 5; ++i) {
      auto due = co_await t.recv();
      EXPECT_GE(due, begin + i * 1ms);
      EXPECT_EQ((due - last) % 1ms == 0ns || i == 1, true);
      last = due;
    }
    t.stop();
    EXPECT_TRUE(t.try_recv().would_block());
  });
}

TEST(ticker, is_a_case_of_a_select_again_and_again) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> silent(0);
    rn::ticker fast(300us), slow(1h);
    for (int i = 0; i < 5; ++i) {
      auto r = co_await rn::select(silent.recv(), slow.recv(), fast.recv());
      EXPECT_EQ(r.index(), 2u);
    }
  });
}

TEST(ticker, a_period_of_zero_or_less_is_refused_with_no_effect) {
  test::checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    EXPECT_THROW(rn::ticker(0s), rn::misuse_error);
    EXPECT_THROW(rn::ticker(-1ns), rn::misuse_error);
    rn::ticker t(1ms);
    EXPECT_THROW(t.reset(0s), rn::misuse_error);
    EXPECT_THROW(t.reset(std::chrono::duration<double>(-1e300)), rn::misuse_error);
    co_await t.recv();
  });
}

TEST(ticker, is_refused_outside_of_a_runtime) { EXPECT_THROW(rn::ticker(1s), rn::misuse_error); }

using ticker_death = testing::Test;
TEST(ticker_death, one_that_dies_while_somebody_waits_for_it_says_so) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        rn::runtime rt(rn::threads(1));
        rt.run([]() -> rn::task<> {
          std::optional<rn::ticker> t(std::in_place, 1h);
          auto wait = [](rn::ticker& of) -> rn::task<> { co_await of.recv(); };
          rn::go(wait, std::ref(*t));
          co_await rn::yield();
          t.reset();
        });
      },
      "a ticker was destroyed while somebody waited for it");
}

// The runtime of a ticker is not the one of who waits for it.
TEST(ticker, who_waits_for_one_of_another_runtime_goes_on_in_its_own) {
  rn::runtime a(rn::threads(1)), b(rn::threads(1));
  std::optional<rn::ticker> ticker;
  auto make = [&]() -> rn::task<> {
    ticker.emplace(std::chrono::milliseconds(1));
    co_return;
  };
  a.run(make);
  auto wait = [&]() -> rn::task<> {
    const auto here = std::this_thread::get_id();
    for (int i = 0; i < 3; ++i) {
      co_await ticker->recv();
      EXPECT_EQ(std::this_thread::get_id(), here);
    }
    ticker.reset();
  };
  b.run(wait);
}

}  // namespace
