// SPDX-License-Identifier: BSL-1.0
#include <runnel/errgroup.hpp>
#include <runnel/sync/latch.hpp>
#include <runnel/with_context.hpp>
#include <support/checked_runtime.hpp>
#include <support/done_context.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <type_traits>
#include <vector>

namespace {

namespace rn = runnel;
using test::checked_runtime;
using test::let_others_run;
using test::on_1_2_and_4_threads;
using test::until;

static_assert(!std::is_copy_constructible_v<rn::latch> && !std::is_move_constructible_v<rn::latch>);

constinit rn::latch of_the_program(1);

rn::task<> wait_and_count(rn::latch& l, std::atomic<int>& through) {
  co_await l.wait();
  ++through;
}

TEST(latch, it_opens_when_the_count_is_zero_and_stays_open) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::latch l(3);
    std::atomic<int> through = 0;
    rn::errgroup g;
    for (int i = 0; i < 10; ++i) co_await g.go(wait_and_count, std::ref(l), std::ref(through));
    co_await until([&] { return l.waiting() == 10; });
    l.count_down();
    l.count_down(0);
    co_await let_others_run();
    EXPECT_FALSE(l.is_ready());
    EXPECT_EQ(through, 0);
    l.count_down(2);
    EXPECT_TRUE(l.is_ready());
    co_await g.wait();
    EXPECT_EQ(through, 10);
    co_await l.wait();
  });
}

TEST(latch, one_of_zero_is_open) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::latch l(0);
    EXPECT_TRUE(l.is_ready());
    co_await l.wait();
    EXPECT_THROW(l.count_down(), rn::misuse_error);
    l.count_down(0);
  });
}

TEST(latch, arrive_and_wait_counts_down_and_waits_for_the_others) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    constexpr std::ptrdiff_t n = 20;
    rn::latch l(n);
    std::vector<int> done(n);
    std::atomic<int> wrong = 0;
    rn::errgroup g;
    auto work = [](rn::latch& of, std::vector<int>& all, std::size_t mine, std::atomic<int>& bad) -> rn::task<> {
      all[mine] = 1;
      co_await of.arrive_and_wait();
      for (int each : all) bad += each != 1;  // plain ints: a missing edge is a data race
    };
    for (std::size_t i = 0; i < n; ++i) co_await g.go(work, std::ref(l), std::ref(done), i, std::ref(wrong));
    co_await g.wait();
    EXPECT_EQ(wrong, 0);
  });
}

TEST(latch, bad_counts_are_misuse_without_effect) {
  EXPECT_THROW(rn::latch(-1), rn::misuse_error);
  rn::latch l(2);
  EXPECT_THROW(l.count_down(3), rn::misuse_error);
  EXPECT_THROW(l.count_down(-1), rn::misuse_error);
  EXPECT_THROW((void)l.arrive_and_wait(3), rn::misuse_error);
  l.count_down(2);
  EXPECT_TRUE(l.is_ready());
  EXPECT_THROW(l.count_down(), rn::misuse_error);
}

TEST(latch, it_may_die_while_the_last_count_down_has_not_returned) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int round = 0; round < 300; ++round) {
      auto l = std::make_unique<rn::latch>(3);
      rn::errgroup g;
      auto count = [](rn::latch* of) { of->count_down(); };
      for (int i = 0; i < 3; ++i) co_await g.go(count, l.get());
      if (round % 3 == 0)
        co_await until([&] { return l->is_ready(); });
      else
        co_await l->wait();
      l.reset();
      co_await g.wait();
    }
  });
}

TEST(latch, plain_threads_may_count_down) {
  checked_runtime rt(2);
  rt.run([]() -> rn::task<> {
    std::jthread other([] {
      while (of_the_program.waiting() == 0) std::this_thread::yield();
      of_the_program.count_down();
    });
    co_await of_the_program.wait();
  });
}

TEST(latch, a_cancelled_wait_leaves_the_queue) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::latch l(1);
    bool timed_out = false;
    try {
      co_await rn::with_timeout(std::chrono::milliseconds(1), l.wait());
    } catch (const rn::deadline_exceeded&) {
      timed_out = true;
    }
    EXPECT_TRUE(timed_out);
    EXPECT_EQ(l.waiting(), 0u);
  });
}

TEST(latch, a_done_context_wins_over_one_that_is_open) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::latch l(0);
    EXPECT_FALSE(co_await test::completes_in_a_done_context([&] { return l.wait(); }));
  });
}

TEST(latch_death, dying_while_somebody_waits_is_reported) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  auto die = [] {
    checked_runtime rt(1);
    rt.run([]() -> rn::task<> {
      std::optional<rn::latch> l(std::in_place, 1);
      std::atomic<int> through = 0;
      rn::errgroup g;
      g.go(wait_and_count, std::ref(*l), std::ref(through));
      co_await until([&] { return l->waiting() == 1; });
      l.reset();
    });
  };
  EXPECT_DEATH(die(), "a latch was destroyed while somebody waited for it");
}

}  // namespace
