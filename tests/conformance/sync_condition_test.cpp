// SPDX-License-Identifier: BSL-1.0
// CO: the condition, by rule number; with what Go's own tests of sync.Cond check, in our words.
#include <runnel/as_result.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/sync/condition.hpp>
#include <runnel/sync/mutex.hpp>
#include <runnel/with_context.hpp>
#include <support/checked_runtime.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <type_traits>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using test::let_others_run;
using test::on_1_2_and_4_threads;
using test::until;

// CO-07, P-068
static_assert(!std::is_copy_constructible_v<rn::condition> && !std::is_move_constructible_v<rn::condition>);

struct place {
  rn::mutex m;
  rn::condition c;
  int awake = 0;  // guarded by m
  std::vector<int> order;
};

rn::task<> wait_once(place& p, int number) {
  auto guard = co_await p.m.lock();
  co_await p.c.wait(guard);
  EXPECT_TRUE(guard) << "CO-01: it has the mutex again";
  ++p.awake;
  p.order.push_back(number);
}
rn::task<int> awake_in(place& p) {
  auto guard = co_await p.m.lock();
  co_return p.awake;
}
rn::task<> start_waiters(place& p, rn::errgroup& g, int n) {
  for (int i = 0; i < n; ++i) {
    co_await g.go(wait_once, std::ref(p), i);
    co_await until([&] { return p.c.waiting() == static_cast<std::size_t>(i) + 1; });
  }
}

// CO-01: while somebody waits the mutex is free, and both happen at once.
TEST(co, wait_unlocks_while_it_waits_and_locks_before_it_returns) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    place p;
    rn::errgroup g;
    co_await start_waiters(p, g, 1);
    auto guard = co_await p.m.lock();
    p.c.notify_one();
    co_await let_others_run();
    EXPECT_EQ(p.awake, 0) << "we have the mutex";
    guard.unlock();
    co_await g.wait();
    EXPECT_EQ(p.awake, 1);
  });
}

// CO-03, CO-04, P-065
TEST(co, each_notify_one_wakes_exactly_one) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    place p;
    rn::errgroup g;
    constexpr int n = 8;
    co_await start_waiters(p, g, n);
    for (int i = 1; i <= n; ++i) {
      EXPECT_EQ(co_await awake_in(p), i - 1) << "CO-03: nobody woke by itself";
      p.c.notify_one();
      for (int awake = co_await awake_in(p); awake != i; awake = co_await awake_in(p)) co_await rn::yield();
      co_await let_others_run();
      EXPECT_EQ(co_await awake_in(p), i);
    }
    co_await g.wait();
  });
}

// CO-04
TEST(co, the_one_who_has_waited_longest_is_woken) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    place p;
    rn::errgroup g;
    co_await start_waiters(p, g, 10);
    for (int i = 0; i < 10; ++i) {
      p.c.notify_one();
      for (int awake = co_await awake_in(p); awake != i + 1; awake = co_await awake_in(p)) co_await rn::yield();
    }
    co_await g.wait();
    EXPECT_EQ(p.order, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
  });
}

// CO-04
TEST(co, a_notification_without_a_waiter_is_lost) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    place p;
    p.c.notify_one();
    p.c.notify_all();
    rn::errgroup g;
    co_await start_waiters(p, g, 1);
    co_await let_others_run();
    EXPECT_EQ(co_await awake_in(p), 0);
    p.c.notify_one();
    co_await g.wait();
  });
}

// CO-05
TEST(co, notify_all_wakes_everybody_in_order) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    place p;
    rn::errgroup g;
    co_await start_waiters(p, g, 10);
    p.c.notify_all();
    co_await g.wait();
    EXPECT_EQ(p.order, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
  });
}

// CO-05, P-066: generation after generation
rn::task<> wait_and_count(place& p, bool& exit, int& running) {
  auto guard = co_await p.m.lock();
  while (!exit) {
    ++running;
    co_await p.c.wait(guard);
  }
}
TEST(co, two_hundred_waiters_are_released_again_and_again) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    constexpr int n = 200;
    place p;
    bool exit = false;
    int running = 0;
    rn::errgroup g;
    for (int i = 0; i < n; ++i) co_await g.go(wait_and_count, std::ref(p), std::ref(exit), std::ref(running));
    for (int round = 0; round < 10; ++round) {
      for (bool all = false; !all; co_await rn::yield()) {
        auto guard = co_await p.m.lock();
        all = running == n;
        if (all) {
          running = 0;
          exit = round == 9;
          p.c.notify_all();
        }
      }
    }
    co_await g.wait();
    EXPECT_EQ(running, 0);
  });
}

// CO-01, CO-02, P-067: three parties over one value; what each of them waits for is done by the one before.
rn::task<> step(place& p, int& x, int from, int to) {
  auto guard = co_await p.m.lock();
  while (x != from) co_await p.c.wait(guard);
  x = to;
  p.c.notify_all();
}
TEST(co, three_parties_take_turns_over_one_value) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int round = 0; round < 100; ++round) {
      place p;
      int x = 0;
      rn::errgroup g;
      co_await g.go(step, std::ref(p), std::ref(x), 2, 3);
      co_await g.go(step, std::ref(p), std::ref(x), 1, 2);
      co_await g.go(step, std::ref(p), std::ref(x), 0, 1);
      co_await g.wait();
      EXPECT_EQ(x, 3);
    }
  });
}

// CO-02: whoever locks the mutex after a waiter has unlocked it cannot notify in vain.
TEST(co, a_notification_by_the_next_owner_of_the_mutex_is_never_missed) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    place p;
    bool ball = false;
    auto play = [](place& at, bool& here, bool mine) -> rn::task<> {
      for (int i = 0; i < 2000; ++i) {
        auto guard = co_await at.m.lock();
        while (here != mine) co_await at.c.wait(guard);
        here = !mine;
        at.c.notify_one();
      }
    };
    rn::errgroup g;
    co_await g.go(play, std::ref(p), std::ref(ball), false);
    co_await g.go(play, std::ref(p), std::ref(ball), true);
    co_await g.wait();
  });
}

// CO-06
TEST(co, who_notifies_may_hold_the_mutex_or_not) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (bool locked : {true, false}) {
      place p;
      rn::errgroup g;
      co_await start_waiters(p, g, 2);
      rn::mutex::guard guard;
      if (locked) guard = co_await p.m.lock();
      p.c.notify_one();
      p.c.notify_one();
      if (locked) guard.unlock();
      co_await g.wait();
      EXPECT_EQ(p.awake, 2);
    }
  });
}

// CO-C01: it was notified, and is cancelled before it has the mutex: the next one gets the notification.
TEST(co, a_cancelled_waiter_passes_its_notification_on) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int round = 0; round < 50; ++round) {
      place p;
      rn::errgroup first, second;
      co_await first.go(wait_once, std::ref(p), 1);
      co_await until([&] { return p.c.waiting() == 1; });
      co_await second.go(wait_once, std::ref(p), 2);
      co_await until([&] { return p.c.waiting() == 2; });
      auto guard = co_await p.m.lock();
      p.c.notify_one();
      co_await until([&] { return p.m.waiting() == 1; });  // the first waits for the mutex that we have
      first.cancel();
      co_await first.wait();
      EXPECT_EQ(p.awake, 0);
      guard.unlock();
      co_await second.wait();
      EXPECT_EQ(p.order, std::vector<int>{2});
    }
  });
}

// CO-C01, CO-03: a broadcast that a cancelled waiter has heard is not passed on to one that came later. That one has a
// mutex of its own here, for it has to come while the first still waits for ours.
TEST(co, a_broadcast_is_not_passed_on) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    place p;
    rn::mutex of_later;
    std::atomic<int> later_awake = 0;
    auto wait_later = [](rn::condition& c, rn::mutex& m, std::atomic<int>& awake) -> rn::task<> {
      auto guard = co_await m.lock();
      co_await c.wait(guard);
      ++awake;
    };
    rn::errgroup first, later;
    co_await start_waiters(p, first, 1);
    auto guard = co_await p.m.lock();
    p.c.notify_all();
    co_await until([&] { return p.m.waiting() == 1; });
    co_await later.go(wait_later, std::ref(p.c), std::ref(of_later), std::ref(later_awake));
    co_await until([&] { return p.c.waiting() == 1; });
    first.cancel();
    co_await first.wait();
    co_await let_others_run();
    EXPECT_EQ(later_awake, 0);
    EXPECT_EQ(p.c.waiting(), 1u);
    guard.unlock();
    p.c.notify_one();
    co_await later.wait();
  });
}

// CO-C01, GEN-05: however a cancellation and a notification race, no notification is lost.
TEST(co, cancellation_races_with_notification) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int round = 0; round < 200; ++round) {
      place p;
      rn::errgroup some, others, canceller;
      co_await start_waiters(p, some, 2);
      co_await others.go(wait_once, std::ref(p), 2);
      co_await others.go(wait_once, std::ref(p), 3);
      co_await until([&] { return p.c.waiting() == 4; });
      auto cancel = [](rn::errgroup& of) { of.cancel(); };
      co_await canceller.go(cancel, std::ref(some));
      if (round % 2 == 0) co_await rn::yield();
      p.c.notify_one();
      p.c.notify_one();
      co_await some.wait();
      co_await canceller.wait();
      // Two notifications: those who were cancelled took none with them.
      for (int awake = co_await awake_in(p); awake < 2; awake = co_await awake_in(p)) co_await rn::yield();
      p.c.notify_all();
      co_await others.wait();
    }
  });
}

// The guard has nothing while it waits, so unwinding does not unlock twice.
TEST(co, a_cancelled_wait_leaves_the_mutex_alone) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    place p;
    auto guard = co_await p.m.lock();
    auto outcome = co_await rn::as_result(rn::with_timeout(1ms, p.c.wait(guard)));
    EXPECT_TRUE(outcome.error());
    EXPECT_FALSE(guard);
    EXPECT_FALSE(p.m.is_locked());
    EXPECT_EQ(p.c.waiting(), 0u);
    guard = co_await p.m.lock();
    EXPECT_TRUE(guard);
  });
}

TEST(co, waiting_without_the_lock_is_misuse) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    place p;
    rn::mutex::guard none;
    EXPECT_THROW((void)p.c.wait(none), rn::misuse_error);
    auto guard = co_await p.m.lock();
    guard.unlock();
    EXPECT_THROW((void)p.c.wait(guard), rn::misuse_error);
    EXPECT_EQ(p.c.waiting(), 0u);
  });
}

}  // namespace
