// SPDX-License-Identifier: BSL-1.0
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/sync/barrier.hpp>
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
#include <type_traits>
#include <vector>

namespace {

namespace rn = runnel;
using test::checked_runtime;
using test::let_others_run;
using test::on_1_2_and_4_threads;
using test::until;

static_assert(!std::is_copy_constructible_v<rn::barrier> && !std::is_move_constructible_v<rn::barrier>);

constinit rn::barrier of_the_program(1);

TEST(barrier, nobody_enters_a_phase_before_all_have_ended_the_last) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    constexpr int participants = 7, phases = 200;
    rn::barrier b(participants);
    std::vector<int> phase_of(participants);  // plain ints: a missing edge is a data race
    std::atomic<int> wrong = 0, last_ones = 0;
    rn::errgroup g;
    auto work = [](rn::barrier& at, std::vector<int>& all, std::size_t mine, std::atomic<int>& bad,
                   std::atomic<int>& last) -> rn::task<> {
      for (int phase = 1; phase <= phases; ++phase) {
        all[mine] = phase;
        last += co_await at.arrive_and_wait();
        for (int each : all) bad += each != phase;
        last += co_await at.arrive_and_wait();
      }
    };
    for (std::size_t i = 0; i < participants; ++i)
      co_await g.go(work, std::ref(b), std::ref(phase_of), i, std::ref(wrong), std::ref(last_ones));
    co_await g.wait();
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(last_ones, 2 * phases) << "one of each phase is told that it was the last";
    EXPECT_EQ(b.waiting(), 0u);
  });
}

TEST(barrier, one_participant_never_waits_and_yet_lets_others_run) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    bool other_ran = false;
    rn::go([&other_ran] { other_ran = true; });
    for (int i = 0; !other_ran && i < 100'000; ++i) EXPECT_TRUE(co_await of_the_program.arrive_and_wait());
    EXPECT_TRUE(other_ran);
  });
}

rn::task<> arrive(rn::barrier& b, std::atomic<int>& through) {
  (void)co_await b.arrive_and_wait();
  ++through;
}

TEST(barrier, one_that_is_cancelled_has_not_arrived) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::barrier b(3);
    std::atomic<int> through = 0;
    rn::errgroup doomed, g;
    co_await doomed.go(arrive, std::ref(b), std::ref(through));
    co_await until([&] { return b.waiting() == 1; });
    co_await g.go(arrive, std::ref(b), std::ref(through));
    co_await until([&] { return b.waiting() == 2; });
    doomed.cancel();
    co_await doomed.wait();
    EXPECT_EQ(b.waiting(), 1u);
    co_await g.go(arrive, std::ref(b), std::ref(through));
    co_await until([&] { return b.waiting() == 2; });
    co_await let_others_run();
    EXPECT_EQ(through, 0) << "two of three";
    EXPECT_TRUE(co_await b.arrive_and_wait()) << "in its place";
    co_await g.wait();
    EXPECT_EQ(through, 2);
  });
}

TEST(barrier, who_drops_out_is_not_waited_for) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::barrier b(3);
    std::atomic<int> through = 0;
    rn::errgroup g;
    co_await g.go(arrive, std::ref(b), std::ref(through));
    co_await g.go(arrive, std::ref(b), std::ref(through));
    co_await until([&] { return b.waiting() == 2; });
    b.arrive_and_drop();
    co_await g.wait();
    EXPECT_EQ(through, 2);
    rn::errgroup next;
    co_await next.go(arrive, std::ref(b), std::ref(through));  // from now on there are two
    (void)co_await b.arrive_and_wait();
    co_await next.wait();
    EXPECT_EQ(through, 3);
  });
}

TEST(barrier, bad_numbers_are_misuse) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    EXPECT_THROW(rn::barrier(0), rn::misuse_error);
    EXPECT_THROW(rn::barrier(-1), rn::misuse_error);
    rn::barrier b(1);
    b.arrive_and_drop();
    EXPECT_THROW(b.arrive_and_drop(), rn::misuse_error);
    auto wait = [](rn::barrier& at) -> rn::task<> { (void)co_await at.arrive_and_wait(); };
    EXPECT_EQ(co_await test::error_of(wait(b)), "runnel: all participants of this barrier have dropped out");
  });
}

TEST(barrier, a_participant_that_was_let_through_may_destroy_it) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int round = 0; round < 300; ++round) {
      auto b = std::make_unique<rn::barrier>(4);
      std::atomic<int> through = 0;
      rn::errgroup g;
      for (int i = 0; i < 3; ++i) co_await g.go(arrive, std::ref(*b), std::ref(through));
      (void)co_await b->arrive_and_wait();
      b.reset();
      co_await g.wait();
    }
  });
}

TEST(barrier, cancellation_races_with_the_last_arrival) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int round = 0; round < 200; ++round) {
      rn::barrier b(3);
      std::atomic<int> of_doomed = 0, of_others = 0;
      rn::errgroup doomed, g, canceller;
      co_await doomed.go(arrive, std::ref(b), std::ref(of_doomed));
      co_await g.go(arrive, std::ref(b), std::ref(of_others));
      co_await until([&] { return b.waiting() == 2; });
      auto cancel = [](rn::errgroup& of) { of.cancel(); };
      co_await canceller.go(cancel, std::ref(doomed));
      if (round % 2 == 0) co_await rn::yield();
      co_await g.go(arrive, std::ref(b), std::ref(of_others));
      co_await doomed.wait();
      co_await canceller.wait();
      // Either all three met, or the doomed one had not arrived and the others wait for one more.
      if (of_doomed == 0) (void)co_await b.arrive_and_wait();
      co_await g.wait();
      EXPECT_EQ(of_others, 2);
    }
  });
}

TEST(barrier, in_a_done_context_nobody_arrives) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::barrier b(2);
    EXPECT_FALSE(co_await test::completes_in_a_done_context([&] { return b.arrive_and_wait(); }));
    EXPECT_EQ(b.waiting(), 0u);
    rn::barrier alone(1);
    EXPECT_FALSE(co_await test::completes_in_a_done_context([&] { return alone.arrive_and_wait(); }));
  });
}

TEST(barrier_death, dying_while_somebody_waits_is_reported) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  auto die = [] {
    checked_runtime rt(1);
    rt.run([]() -> rn::task<> {
      std::optional<rn::barrier> b(std::in_place, 2);
      std::atomic<int> through = 0;
      rn::errgroup g;
      g.go(arrive, std::ref(*b), std::ref(through));
      co_await until([&] { return b->waiting() == 1; });
      b.reset();
    });
  };
  EXPECT_DEATH(die(), "a barrier was destroyed while somebody waited at it");
}

}  // namespace
