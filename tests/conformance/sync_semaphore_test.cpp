// SPDX-License-Identifier: BSL-1.0
// SM: the weighted semaphore, by rule number; with what the tests of golang.org/x/sync/semaphore check, in our words.
#include <runnel/as_result.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/sync/semaphore.hpp>
#include <runnel/with_context.hpp>
#include <support/checked_runtime.hpp>
#include <support/done_context.hpp>
#include <support/random_work.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using test::checked_runtime;
using test::let_others_run;
using test::on_1_2_and_4_threads;
using test::until;

// P-110, SM-01: units in use never exceed the size.
rn::task<> hammer(rn::semaphore& s, std::atomic<long>& in_use, std::atomic<int>& wrong, test::random_source random) {
  for (int i = 0; i < 500; ++i) {
    auto n = static_cast<std::ptrdiff_t>(random.below(static_cast<std::uint64_t>(s.total()) + 1));
    auto p = co_await s.acquire(n);
    if ((in_use += n) > s.total()) ++wrong;
    if (random.one_in(3)) co_await rn::yield();
    in_use -= n;
  }
}
TEST(sm, never_more_than_there_are) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::semaphore s(7);
    std::atomic<long> in_use = 0;
    std::atomic<int> wrong = 0;
    rn::errgroup g;
    for (std::uint64_t i = 0; i < 10; ++i)
      co_await g.go(hammer, std::ref(s), std::ref(in_use), std::ref(wrong), test::random_source(i));
    co_await g.wait();
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(s.available(), 7);
  });
}

// P-111, SM-01
TEST(sm, releasing_more_than_was_acquired_is_misuse) {
  rn::semaphore s(1);
  EXPECT_THROW(s.release(), rn::misuse_error);
  auto p = s.try_acquire();
  EXPECT_THROW(s.release(2), rn::misuse_error);
  p.release();
  EXPECT_THROW(s.release(), rn::misuse_error);
  EXPECT_EQ(s.available(), 1);
}

// P-112, SM-01, SM-03
TEST(sm, try_acquire_around_the_limit) {
  rn::semaphore s(2);
  auto one = s.try_acquire(1);
  auto two = s.try_acquire(1);
  EXPECT_TRUE(one);
  EXPECT_TRUE(two);
  EXPECT_FALSE(s.try_acquire(1));
  one.release();
  two.release();
  auto both = s.try_acquire(2);
  EXPECT_TRUE(both);
  EXPECT_FALSE(s.try_acquire(1));
}

rn::task<> take(rn::semaphore& s, std::ptrdiff_t n, std::vector<int>& order, rn::semaphore& of_order, int number) {
  auto p = co_await s.acquire(n);
  auto alone = co_await of_order.acquire();
  order.push_back(number);
}

// SM-02, SM-09: first come first served, whatever they ask for; as many as fit.
TEST(sm, waiters_are_served_in_order_and_a_large_one_is_not_passed) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::semaphore s(10), alone(1);
    std::vector<int> order;
    rn::errgroup g;
    auto eight = co_await s.acquire(8);
    const std::ptrdiff_t wants[] = {9, 1, 10, 1, 1};
    for (int i = 0; i < 5; ++i) {
      co_await g.go(take, std::ref(s), wants[i], std::ref(order), std::ref(alone), i);
      co_await until([&] { return s.waiting() == static_cast<std::size_t>(i) + 1; });
    }
    EXPECT_EQ(s.available(), 2) << "two are free, and the small ones do not get them";
    EXPECT_FALSE(s.try_acquire(1)) << "SM-03: somebody waits";
    eight.release();
    co_await g.wait();
    EXPECT_EQ(order.size(), 5u);
    EXPECT_EQ(order[2], 2) << "the one that wants all is behind the first two and before the last two";
    EXPECT_EQ(order[0] + order[1], 0 + 1);
    EXPECT_EQ(order[3] + order[4], 3 + 4);
  });
}

// SM-09
TEST(sm, a_release_wakes_as_many_as_fit) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::semaphore s(4);
    std::atomic<int> got = 0;
    std::atomic<bool> leave = false;
    auto stay = [](rn::semaphore& of, std::atomic<int>& n, std::atomic<bool>& go) -> rn::task<> {
      auto p = co_await of.acquire();
      ++n;
      co_await until([&] { return go.load(); });
    };
    auto all = co_await s.acquire(4);
    rn::errgroup g;
    for (int i = 0; i < 5; ++i) co_await g.go(stay, std::ref(s), std::ref(got), std::ref(leave));
    co_await until([&] { return s.waiting() == 5; });
    all.release(3);
    co_await until([&] { return got == 3; });
    co_await let_others_run();
    EXPECT_EQ(got, 3);
    EXPECT_EQ(s.waiting(), 2u);
    leave = true;
    all.release();
    co_await g.wait();
    EXPECT_EQ(got, 5);
  });
}

// SM-04, as DESIGN has it: it is refused at the call, and blocks nobody. P-113
TEST(sm, more_than_there_are_at_all_is_misuse) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::semaphore s(2);
    EXPECT_THROW((void)s.acquire(3), rn::misuse_error);
    EXPECT_THROW((void)s.try_acquire(3), rn::misuse_error);
    auto p = co_await s.acquire(2);
    EXPECT_TRUE(p);
  });
}

// SM-05
TEST(sm, a_done_context_wins_over_free_units) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::semaphore s(2);
    EXPECT_FALSE(co_await test::completes_in_a_done_context([&] { return s.acquire(); }));
    EXPECT_EQ(s.available(), 2);
  });
}

// SM-06 as DESIGN has it (GEN-05): what was granted stays granted, even if cancellation comes before the goroutine runs.
TEST(sm, what_was_granted_stays_granted) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::semaphore s(1);
    bool got = false;
    rn::errgroup g;
    auto p = co_await s.acquire();
    auto take_one = [](rn::semaphore& of, bool& mine) -> rn::task<> {
      auto inner = co_await of.acquire();
      mine = true;
      co_await rn::yield();  // here it unwinds
      ADD_FAILURE() << "it was cancelled";
    };
    co_await g.go(take_one, std::ref(s), std::ref(got));
    co_await until([&] { return s.waiting() == 1; });
    p.release();
    g.cancel();  // on one thread it has not run since
    co_await g.wait();
    EXPECT_TRUE(got);
    EXPECT_EQ(s.available(), 1);
  });
}

// SM-07
TEST(sm, those_behind_one_that_gives_up_are_looked_at_again) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::semaphore s(10);
    std::atomic<int> got = 0;
    auto take_some = [](rn::semaphore& of, std::ptrdiff_t n, std::atomic<int>& count) -> rn::task<> {
      auto p = co_await of.acquire(n);
      ++count;
    };
    rn::errgroup large, small;
    auto five = co_await s.acquire(5);
    co_await large.go(take_some, std::ref(s), 10, std::ref(got));
    co_await until([&] { return s.waiting() == 1; });
    co_await small.go(take_some, std::ref(s), 3, std::ref(got));
    co_await small.go(take_some, std::ref(s), 2, std::ref(got));
    co_await until([&] { return s.waiting() == 3; });
    large.cancel();
    co_await large.wait();
    co_await small.wait();  // without a release
    EXPECT_EQ(got, 2);
    EXPECT_EQ(s.available(), 5);
  });
}

// SM-08: and the reason is the context's.
TEST(sm, a_failed_acquire_leaves_the_semaphore_as_it_was) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::semaphore s(3);
    auto two = co_await s.acquire(2);
    auto timed_out = co_await rn::as_result(rn::with_timeout(1ms, s.acquire(2)));
    EXPECT_EQ(rn::detail::what_of(timed_out.error()), "deadline exceeded");
    EXPECT_EQ(s.available(), 1);
    EXPECT_EQ(s.waiting(), 0u);
    EXPECT_TRUE(s.try_acquire(1));
  });
}

// P-114, SM-02
TEST(sm, a_stream_of_small_ones_does_not_starve_a_large_one) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::semaphore s(10);
    std::atomic<bool> done = false;
    auto nibble = [](rn::semaphore& of, std::atomic<bool>& stop) -> rn::task<> {
      while (!stop) {
        auto p = co_await of.acquire();
        co_await rn::yield();
      }
    };
    rn::errgroup g;
    for (int i = 0; i < 20; ++i) co_await g.go(nibble, std::ref(s), std::ref(done));
    for (int i = 0; i < 10; ++i) {
      auto all = co_await s.acquire(10);
      EXPECT_EQ(s.available(), 0);
    }
    done = true;
    co_await g.wait();
  });
}

// MM-11: the counter is not atomic.
TEST(sm, a_release_happens_before_the_acquire_that_it_makes_possible) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::semaphore one(1);
    long count = 0;
    auto work = [](rn::semaphore& s, long& n) -> rn::task<> {
      for (int i = 0; i < 1000; ++i) {
        auto p = co_await s.acquire();
        ++n;
        if (i % 7 == 0) co_await rn::yield();
      }
    };
    rn::errgroup g;
    for (int i = 0; i < 8; ++i) co_await g.go(work, std::ref(one), std::ref(count));
    co_await g.wait();
    EXPECT_EQ(count, 8000);
  });
}

// SM-C01 and GEN-05: units are conserved when cancellation races with releases.
TEST(sm, cancellation_races_with_releases) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int round = 0; round < 200; ++round) {
      rn::semaphore s(3);
      auto p = co_await s.acquire(3);
      auto use = [](rn::semaphore& of, std::ptrdiff_t n) -> rn::task<> { auto mine = co_await of.acquire(n); };
      rn::errgroup some, others, canceller;
      for (std::ptrdiff_t n = 1; n <= 3; ++n) {
        co_await some.go(use, std::ref(s), n);
        co_await others.go(use, std::ref(s), n);
      }
      co_await until([&] { return s.waiting() == 6; });
      auto cancel = [](rn::errgroup& of) { of.cancel(); };
      co_await canceller.go(cancel, std::ref(some));
      if (round % 2 == 0) co_await rn::yield();
      p.release(1);
      p.release(2);
      co_await some.wait();
      co_await others.wait();
      co_await canceller.wait();
      EXPECT_EQ(s.available(), 3);
      EXPECT_EQ(s.waiting(), 0u);
    }
  });
}

}  // namespace
