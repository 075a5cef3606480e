// SPDX-License-Identifier: BSL-1.0
// WG: wait groups, by rule number.
#include <runnel/sync/wait_group.hpp>
#include <support/checked_runtime.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace {

namespace rn = runnel;
using test::checked_runtime;
using test::let_others_run;
using test::on_1_2_and_4_threads;
using test::until;

// WG-01
TEST(wg, the_count_starts_at_zero_and_done_is_add_of_minus_one) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::wait_group wg;
    co_await wg.wait();
    wg.add(5);
    wg.add(-3);
    wg.done();
    wg.done();
    co_await wg.wait();
  });
}

// WG-02
TEST(wg, a_count_below_zero_is_misuse_thrown_to_the_caller_and_has_no_effect) {
  rn::wait_group wg;
  EXPECT_THROW(wg.done(), rn::misuse_error);
  EXPECT_THROW(wg.add(-5), rn::misuse_error);
  wg.add(2);
  EXPECT_THROW(wg.add(-3), rn::misuse_error);
  wg.add(-2);
  EXPECT_THROW(wg.done(), rn::misuse_error);
}

// WG-03
TEST(wg, wait_returns_at_once_when_the_count_is_zero) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    std::atomic<bool> other_ran = false;
    rn::wait_group other, wg;
    other.go([&] { other_ran = true; });
    co_await wg.wait();
    EXPECT_FALSE(other_ran) << "nobody else had a turn";
    co_await other.wait();
    EXPECT_TRUE(other_ran);
  });
}

// WG-03
TEST(wg, all_waiters_of_a_generation_are_released_together) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::wait_group wg, waiters;
    std::atomic<int> waiting = 0, released = 0;
    wg.add(2);
    for (int i = 0; i < 100; ++i)
      waiters.go([&]() -> rn::task<> {
        ++waiting;
        co_await wg.wait();
        ++released;
      });
    co_await until([&] { return waiting == 100; });
    wg.done();
    co_await let_others_run();
    EXPECT_EQ(released, 0);
    wg.done();
    co_await waiters.wait();
    EXPECT_EQ(released, 100);
  });
}

// WG-04
TEST(wg, work_may_be_added_while_the_count_is_positive) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::wait_group wg;
    std::atomic<int> ran = 0;
    std::function<void(int)> grow = [&](int depth) {
      wg.go([&, depth] {
        ++ran;
        if (depth == 0) return;
        grow(depth - 1);
        grow(depth - 1);
      });
    };
    grow(7);
    co_await wg.wait();
    EXPECT_EQ(ran, 255);
  });
}

// WG-05: detection is best effort; there must be no crash and no hang
TEST(wg, an_add_from_zero_beside_a_wait_neither_crashes_nor_hangs) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int round = 0; round < 100; ++round) {
      rn::wait_group wg, all;
      for (int i = 0; i < 4; ++i) {
        all.go([&]() -> rn::task<> { co_await wg.wait(); });
        all.go([&] {
          wg.add(1);
          wg.done();
        });
      }
      co_await all.wait();
    }
  });
}

// WG-06
TEST(wg, it_is_reusable_round_after_round) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::wait_group wg;
    std::atomic<int> ran = 0;
    for (int round = 1; round <= 100; ++round) {
      for (int i = 0; i < 8; ++i) wg.go([&] { ++ran; });
      co_await wg.wait();
      EXPECT_EQ(ran, 8 * round);
    }
  });
}

// WG-07, WG-06: two groups hand rounds to each other, and nobody is released early
TEST(wg, nobody_is_released_early) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    constexpr int n = 16;
    rn::wait_group first, second, all;
    for (int round = 0; round < 8; ++round) {
      std::atomic<int> exited = 0;
      first.add(n);
      second.add(n);
      for (int i = 0; i < n; ++i)
        all.go([&]() -> rn::task<> {
          first.done();
          co_await second.wait();
          ++exited;
        });
      co_await first.wait();
      for (int i = 0; i < n; ++i) {
        EXPECT_EQ(exited, 0) << "released before the count was zero";
        second.done();
      }
      co_await all.wait();
      EXPECT_EQ(exited, n);
    }
  });
}

// WG-08
TEST(wg, go_counts_and_is_done_when_f_returns) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::wait_group wg;
    std::vector<int> out(100);  // plain ints: done() happens before the return of wait(), MM-08
    for (int i = 0; i < 100; ++i)
      wg.go([&out, i]() -> rn::task<> {
        co_await rn::yield();
        out[static_cast<std::size_t>(i)] = i;
      });
    co_await wg.wait();
    for (int i = 0; i < 100; ++i) EXPECT_EQ(out[static_cast<std::size_t>(i)], i);
  });
}

// WG-08: also when it is unwound
TEST(wg, go_is_done_when_f_is_cancelled) {
  std::atomic<int> alive = 0;
  auto wg = std::make_unique<rn::wait_group>();
  {
    checked_runtime rt(2);
    rt.run([&]() -> rn::task<> {
      for (int i = 0; i < 10; ++i) wg->go([&] { return test::park_for_ever(alive); });
      co_await until([&] { return alive == 10; });
    });
  }
  EXPECT_EQ(alive, 0);
  wg.reset();  // ends the program if the count is not zero
}

// WG-09, WG-C01: the handler of errors has heard of it before wait() returns, and then done is called
TEST(wg, an_error_of_f_is_reported_before_wait_returns) {
  for (int threads : {1, 2, 4}) {
    std::atomic<bool> released = false, released_early = false;
    rn::runtime_options options;
    options.on_error([&](const rn::goroutine_error& e) {
      EXPECT_EQ(rn::detail::what_of(e.error), "x");
      for (int i = 0; i < 1000 && !released; ++i) std::this_thread::yield();  // gives a premature wait() a chance
      released_early = released.load();
    });
    rn::runtime rt(rn::threads(threads), options);
    rt.run([&]() -> rn::task<> {
      rn::wait_group wg;
      wg.go([] { test::fail("x"); });
      co_await wg.wait();
      released = true;
    });
    EXPECT_TRUE(released);
    rt.shut_down();
    EXPECT_FALSE(released_early);
  }
}

// WG-C02
TEST(wg_death, destroying_it_with_a_count_is_reported) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        rn::wait_group wg;
        wg.add(1);
      },
      "a wait_group was destroyed while its count was not zero");
}

// WG-C02
TEST(wg_death, destroying_it_with_waiters_is_reported) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  auto leave = [] {
    rn::runtime rt(rn::threads(1));
    rt.run([]() -> rn::task<> {
      auto wg = std::make_unique<rn::wait_group>();
      std::atomic<bool> waiting = false;
      wg->add(1);
      rn::wait_group* group = wg.get();
      rn::go([group, &waiting]() -> rn::task<> {
        waiting = true;
        co_await group->wait();
      });
      co_await until([&] { return waiting.load(); });
      wg.reset();
    });
  };
  EXPECT_DEATH(leave(), "a wait_group was destroyed");
}

}  // namespace
