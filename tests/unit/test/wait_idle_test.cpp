// SPDX-License-Identifier: BSL-1.0
// wait_idle: it returns when everybody else waits, and the clock has not moved.
#include <runnel/all.hpp>
#include <runnel/chan.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>
#include <runnel/sleep.hpp>
#include <runnel/test.hpp>
#include <runnel/this_task.hpp>
#include <runnel/with_context.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <functional>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;

// Runs the body under many seeds.
template <class F> void under_seeds(F body) {
  EXPECT_EQ(rn::test::explore(100, body, rn::test::cancel_at_end), 100u);
}

// SY-04
TEST(wait_idle, waits_until_the_others_wait) {
  under_seeds([]() -> rn::task<> {
    int ran = 0;
    rn::chan<int> ch(0);
    for (int i = 0; i < 3; ++i) {
      auto work = [&]() -> rn::task<> {
        for (int n = 0; n < 5; ++n) {
          co_await rn::yield();
          ++ran;
        }
        (void)co_await ch.recv();
        ++ran;
      };
      rn::go(rn::moved(work).get());
    }
    co_await rn::test::wait_idle();
    EXPECT_EQ(ran, 15);
    co_await ch.send(1);
    co_await ch.send(1);
    co_await rn::test::wait_idle();
    EXPECT_EQ(ran, 17);
    ch.close();
    co_await rn::test::wait_idle();
    EXPECT_EQ(ran, 18);
    co_await rn::test::wait_idle();  // nobody is left
  });
}

TEST(wait_idle, does_not_move_the_clock) {
  under_seeds([]() -> rn::task<> {
    int ticks = 0;
    rn::go([&]() -> rn::task<> {
      for (;;) {
        co_await rn::sleep(1s);
        ++ticks;
      }
    });
    co_await rn::test::wait_idle();
    EXPECT_EQ(ticks, 0);
    EXPECT_EQ(rn::test::elapsed(), 0s);
    for (int i = 1; i <= 3; ++i) {
      co_await rn::sleep(1s);
      co_await rn::test::wait_idle();  // the other timer of this instant has fired, too
      EXPECT_EQ(ticks, i);
      EXPECT_EQ(rn::test::elapsed(), 1s * i);
    }
  });
}

TEST(wait_idle, counts_joins_and_sleeps_as_waiting) {
  under_seeds([]() -> rn::task<> {
    rn::chan<int> ch(0);
    bool joined = false;
    rn::go([&]() -> rn::task<> {
      co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
        g.go([](rn::chan<int> c) -> rn::task<> { (void)co_await c.recv(); }, ch);
        co_return;
      });
      joined = true;
    });
    co_await rn::test::wait_idle();
    EXPECT_FALSE(joined);
    co_await ch.send(1);
    co_await rn::test::wait_idle();
    EXPECT_TRUE(joined);
  });
}

TEST(wait_idle, can_be_cancelled) {
  rn::test::run([]() -> rn::task<> {
    rn::chan<int> ch(0);
    try {
      co_await rn::with_timeout(0s, rn::test::wait_idle());
      ADD_FAILURE();
    } catch (const rn::deadline_exceeded&) {
    }
    co_await rn::test::wait_idle();
  });
  // While it waits: the first to fail cancels it.
  auto body = []() -> rn::task<> {
    co_await rn::with_errgroup([](rn::errgroup& g) -> rn::task<> {
      g.go([]() -> rn::task<> {
        co_await rn::yield();
        throw std::runtime_error("first");
      });
      co_await rn::test::wait_idle();
      co_await rn::sleep(1h);
    });
  };
  EXPECT_THROW(rn::test::run(body), std::runtime_error);
}

TEST(wait_idle, is_for_one_goroutine_at_a_time) {
  EXPECT_THROW(rn::test::run([]() -> rn::task<> {
                 rn::go([]() -> rn::task<> { co_await rn::test::wait_idle(); });
                 co_await rn::test::wait_idle();
               }),
               rn::misuse_error);
}

TEST(wait_idle, is_refused_outside_of_a_test_run) {
  rn::runtime rt(rn::threads(1));
  EXPECT_THROW(rt.run([]() -> rn::task<> { co_await rn::test::wait_idle(); }), rn::misuse_error);
}

}  // namespace
