// SPDX-License-Identifier: BSL-1.0
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/sync/event.hpp>
#include <runnel/with_context.hpp>
#include <support/checked_runtime.hpp>
#include <support/done_context.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <type_traits>

namespace {

namespace rn = runnel;
using test::checked_runtime;
using test::let_others_run;
using test::on_1_2_and_4_threads;
using test::until;

static_assert(!std::is_copy_constructible_v<rn::event> && !std::is_move_constructible_v<rn::event>);

constinit rn::event of_the_program;

rn::task<> wait_and_count(rn::event& e, std::atomic<int>& through) {
  co_await e.wait();
  ++through;
}

TEST(event, set_lets_through_who_waits_and_who_comes) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::event e;
    std::atomic<int> through = 0;
    rn::errgroup g;
    for (int i = 0; i < 20; ++i) co_await g.go(wait_and_count, std::ref(e), std::ref(through));
    co_await until([&] { return e.waiting() == 20; });
    EXPECT_EQ(through, 0);
    e.set();
    EXPECT_TRUE(e.is_set());
    co_await g.wait();
    co_await e.wait();
    EXPECT_EQ(through, 20);
  });
}

TEST(event, reset_closes_it_for_those_who_come_later) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::event e;
    std::atomic<int> through = 0;
    e.set();
    e.set();
    e.reset();
    EXPECT_FALSE(e.is_set());
    rn::errgroup g;
    co_await g.go(wait_and_count, std::ref(e), std::ref(through));
    co_await until([&] { return e.waiting() == 1; });
    co_await let_others_run();
    EXPECT_EQ(through, 0);
    e.set();
    co_await g.wait();
  });
}

TEST(event, who_waited_goes_on_even_if_it_is_reset_at_once) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::event e;
    std::atomic<int> through = 0;
    rn::errgroup g;
    for (int i = 0; i < 3; ++i) co_await g.go(wait_and_count, std::ref(e), std::ref(through));
    co_await until([&] { return e.waiting() == 3; });
    e.set();
    e.reset();
    co_await g.wait();
    EXPECT_EQ(through, 3);
  });
}

TEST(event, a_set_happens_before_what_it_lets_through) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int round = 0; round < 300; ++round) {
      rn::event e;
      int value = 0;
      rn::errgroup g;
      auto tell = [](rn::event& of, int& x, int what) {
        x = what;
        of.set();
      };
      co_await g.go(tell, std::ref(e), std::ref(value), round);
      if (round % 2 == 0)
        co_await e.wait();
      else
        co_await until([&] { return e.is_set(); });
      EXPECT_EQ(value, round);
      co_await g.wait();
    }
  });
}

TEST(event, it_may_die_while_set_has_not_returned) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int round = 0; round < 500; ++round) {
      auto e = std::make_unique<rn::event>();
      rn::errgroup g;
      co_await g.go([](rn::event* of) { of->set(); }, e.get());
      if (round % 3 == 0)
        co_await until([&] { return e->is_set(); });
      else
        co_await e->wait();
      e.reset();
      co_await g.wait();
    }
  });
}

TEST(event, a_plain_thread_may_set_it) {
  checked_runtime rt(2);
  rt.run([]() -> rn::task<> {
    std::jthread other([] {
      while (of_the_program.waiting() == 0) std::this_thread::yield();
      of_the_program.set();
    });
    co_await of_the_program.wait();
  });
}

TEST(event, a_cancelled_wait_leaves_the_queue) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::event e;
    for (int i = 0; i < 20; ++i) {
      bool timed_out = false;
      try {
        co_await rn::with_timeout(std::chrono::microseconds(100), e.wait());
      } catch (const rn::deadline_exceeded&) {
        timed_out = true;
      }
      EXPECT_TRUE(timed_out);
    }
    EXPECT_EQ(e.waiting(), 0u);
  });
}

TEST(event, a_done_context_wins_over_one_that_is_set) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::event e;
    e.set();
    EXPECT_FALSE(co_await test::completes_in_a_done_context([&] { return e.wait(); }));
  });
}

TEST(event, a_goroutine_that_only_waits_for_what_is_set_lets_others_run) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::event e;
    e.set();
    bool other_ran = false;
    rn::go([&other_ran] { other_ran = true; });
    for (int i = 0; !other_ran && i < 100'000; ++i) co_await e.wait();
    EXPECT_TRUE(other_ran);
  });
}

TEST(event_death, dying_while_somebody_waits_is_reported) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  auto die = [] {
    checked_runtime rt(1);
    rt.run([]() -> rn::task<> {
      std::optional<rn::event> e(std::in_place);
      std::atomic<int> through = 0;
      rn::errgroup g;
      g.go(wait_and_count, std::ref(*e), std::ref(through));
      co_await until([&] { return e->waiting() == 1; });
      e.reset();
    });
  };
  EXPECT_DEATH(die(), "an event was destroyed while somebody waited for it");
}

}  // namespace
