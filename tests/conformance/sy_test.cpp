// SPDX-License-Identifier: BSL-1.0
// Virtual time (SEMANTICS.md SY-01 to SY-11, SY-C01) and deadlocks (DL-01, DL-02), after Go's synctest.
#include <runnel/all.hpp>
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>
#include <runnel/sleep.hpp>
#include <runnel/sync/wait_group.hpp>
#include <runnel/test.hpp>
#include <runnel/this_task.hpp>
#include <runnel/with_context.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace {

namespace rn = runnel;
namespace test = runnel::test;
using namespace std::chrono_literals;

// The body under the default order and under many seeds.
template <class Body, class... O> void always(Body body, const O&... options) {
  test::run(options..., body);
  for (std::uint64_t n = 0; n < 50; ++n) test::run(test::seed(n), options..., body);
}
template <class E, class Body> void always_throws(Body body) {
  EXPECT_THROW(test::run(body), E);
  for (std::uint64_t n = 0; n < 50; ++n) EXPECT_THROW(test::run(test::seed(n), body), E);
}

// SY-01: the body, and everything started from it, also by timers and after_funcs, is in it.
TEST(sy, what_the_body_starts_is_in_its_time) {
  always([]() -> rn::task<> {
    std::vector<std::chrono::nanoseconds> seen;
    rn::wait_group all;
    all.add(3);
    auto note = [&]() -> rn::task<> {
      co_await rn::sleep(1s);
      seen.push_back(test::elapsed());
      all.done();
    };
    rn::go(note);
    auto made = rn::context::background().with_timeout(10s);
    auto handle = made.first.after_func(note);
    auto starts_another = [&]() -> rn::task<> {
      co_await rn::sleep(20s);
      rn::go(note);
    };
    rn::go(starts_another);
    co_await all.wait();
    EXPECT_EQ(seen, (std::vector<std::chrono::nanoseconds>{1s, 11s, 21s}));
  });
}

// SY-02: it begins at a fixed instant and goes straight to the next timer, only when everybody waits.
TEST(sy, time_goes_straight_to_the_next_timer) {
  always([]() -> rn::task<> {
    EXPECT_EQ(test::now().time_since_epoch(), 946'684'800s);
    int worked = 0;
    auto works = [&]() -> rn::task<> {
      for (int i = 0; i < 1000; ++i) {
        co_await rn::yield();
        ++worked;
      }
    };
    rn::go(works);
    co_await rn::sleep(1ns);
    EXPECT_EQ(worked, 1000);
    EXPECT_EQ(test::elapsed(), 1ns);
    co_await rn::sleep(1h);
    EXPECT_EQ(test::elapsed(), 1h + 1ns);
  });
}

// SY-03: channels, groups, wait groups, joins and sleeps are waits that only the run itself can end.
TEST(sy, every_wait_of_the_library_lets_time_go_on) {
  always([]() -> rn::task<> {
    rn::chan<int> ch(0);
    rn::wait_group counted;
    counted.add(1);
    co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
      auto receives = [&]() -> rn::task<> { (void)co_await ch.recv(); };
      auto waits = [&]() -> rn::task<> { co_await counted.wait(); };
      auto joins = [&]() -> rn::task<> { co_await rn::all(receives(), receives()); };
      g.go(receives);
      g.go(waits);
      g.go(joins);
      co_await rn::sleep(1h);
      EXPECT_EQ(test::elapsed(), 1h);
      counted.done();
      ch.close();
    });
    EXPECT_EQ(test::elapsed(), 1h);
  });
}

// SY-04, SY-11
TEST(sy, wait_idle_returns_when_the_others_wait_or_are_gone) {
  always([]() -> rn::task<> {
    bool ended = false, waits = false;
    rn::chan<int> ch(0);
    auto ends = [&]() -> rn::task<> {
      co_await rn::yield();
      ended = true;
    };
    auto parks = [&]() -> rn::task<> {
      co_await rn::yield();
      waits = true;
      (void)co_await ch.recv();
    };
    rn::go(ends);
    rn::go(parks);
    co_await test::wait_idle();
    EXPECT_TRUE(ended && waits);
    ch.close();
  });
}

// SY-05, DL-01
TEST(sy, everybody_waiting_without_a_timer_is_a_deadlock) {
  always_throws<test::deadlock_error>([]() -> rn::task<> {
    rn::chan<int> ch(0);
    rn::go([](rn::chan<int> c) -> rn::task<> { co_await c.send(1); }, rn::chan<int>(0));
    co_await rn::sleep(1s);
    (void)co_await ch.recv();
  });
}

// SY-05: after the body has ended time stops. A ticker would go on for ever.
TEST(sy, who_is_left_at_the_end_is_another_failure) {
  always_throws<test::leak_error>([]() -> rn::task<> {
    rn::go([](rn::chan<int> c) -> rn::task<> { (void)co_await c.recv(); }, rn::chan<int>(0));
    co_return;
  });
  always_throws<test::leak_error>([]() -> rn::task<> {
    rn::go([]() -> rn::task<> {
      for (;;) co_await rn::sleep(1s);
    });
    co_await rn::sleep(10s);
  });
}

// DL-02: while others have timers, those that wait for ever are not reported.
TEST(sy, a_deadlock_of_some_is_no_deadlock_while_time_goes_on) {
  always(
      []() -> rn::task<> {
        rn::chan<int> ch(0);
        rn::go([](rn::chan<int> c) -> rn::task<> { (void)co_await c.recv(); }, ch);
        rn::go([](rn::chan<int> c) -> rn::task<> { (void)co_await c.recv(); }, ch);
        for (int i = 0; i < 10; ++i) co_await rn::sleep(1s);
      },
      test::cancel_at_end);
}

// SY-06
TEST(sy, a_run_returns_when_everybody_has_ended) {
  int left = 0;
  always([&]() -> rn::task<> {
    left = 5;
    for (int i = 0; i < 5; ++i) {
      auto f = [&]() -> rn::task<> {
        for (int k = 0; k < 5; ++k) co_await rn::yield();
        --left;
      };
      rn::go(f);
    }
    co_return;
  });
  EXPECT_EQ(left, 0);
  EXPECT_THROW(test::run([]() -> rn::task<> {
                 test::run([]() -> rn::task<> { co_return; });
                 co_return;
               }),
               rn::misuse_error);
}

// SY-07: what has been used in one run may be used in the next, when nobody waits for it any more.
TEST(sy, channels_and_wait_groups_may_be_used_in_one_run_after_the_other) {
  rn::chan<int> ch(1);
  rn::wait_group all;
  int sum = 0;
  auto body = [&]() -> rn::task<> {
    auto sends = [&]() -> rn::task<> { co_await ch.send(1); };
    all.go(sends);
    sum += *co_await ch.recv();
    co_await all.wait();
  };
  always(body);
  EXPECT_EQ(sum, 51);
  rn::runtime rt(rn::threads(2));  // and outside of any
  rt.run(body);
  EXPECT_EQ(sum, 52);
}

// SY-08
TEST(sy, a_timer_of_nothing_is_due_at_once) {
  always([]() -> rn::task<> {
    auto busy = []() -> rn::task<> {
      for (int i = 0; i < 20; ++i) co_await rn::yield();
    };
    rn::go(busy);
    co_await rn::sleep(0s);
    auto made = rn::context::background().with_timeout(0s);
    EXPECT_TRUE(made.first.is_done());
    auto r = co_await rn::as_result(rn::with_timeout(-1s, rn::detail::as_task(rn::sleep(1h))));
    EXPECT_FALSE(r.ok());
    EXPECT_EQ(test::elapsed(), 0s);
  });
}

// SY-09
TEST(sy, what_is_due_at_one_instant_comes_in_no_fixed_order) {
  std::set<std::string> orders;
  for (std::uint64_t n = 0; n < 100; ++n) {
    std::string order;
    test::run(test::seed(n), [&]() -> rn::task<> {
      auto sleeps = [&]() -> rn::task<> {
        co_await rn::sleep(1s);
        order += 's';
      };
      auto times_out = [&]() -> rn::task<> {
        (void)co_await rn::as_result(rn::with_timeout(1s, rn::detail::as_task(rn::sleep(1h))));
        order += 't';
      };
      co_await rn::all(sleeps(), times_out());
    });
    orders.insert(order);
  }
  EXPECT_EQ(orders, (std::set<std::string>{"st", "ts"}));
}

// SY-10
TEST(sy, a_timer_that_is_set_at_the_end_does_not_fire) {
  bool fired = false;
  always([&]() -> rn::task<> {
    auto made = rn::context::background().with_timeout(1s);
    auto f = [&] { fired = true; };
    auto handle = made.first.after_func(f);
    handle.stop();
    auto kept = rn::context::background().with_timeout(1s);
    co_return;
  });
  EXPECT_FALSE(fired);
}

}  // namespace
