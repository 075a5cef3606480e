// SPDX-License-Identifier: BSL-1.0
#include <runnel/errgroup.hpp>
#include <runnel/sync/condition.hpp>
#include <runnel/sync/mutex.hpp>
#include <support/checked_runtime.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <thread>

namespace {

namespace rn = runnel;
using test::checked_runtime;
using test::on_1_2_and_4_threads;
using test::until;

constinit rn::mutex mutex_of_the_program;
constinit rn::condition condition_of_the_program;

TEST(condition, wait_for_a_predicate) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    int value = 0;
    rn::errgroup g;
    auto raise = [](int& x) -> rn::task<> {
      for (int i = 0; i < 10; ++i) {
        auto guard = co_await mutex_of_the_program.lock();
        ++x;
        condition_of_the_program.notify_all();
      }
    };
    auto guard = co_await mutex_of_the_program.lock();
    co_await g.go(raise, std::ref(value));
    co_await condition_of_the_program.wait(guard, [&] { return value >= 7; });
    EXPECT_TRUE(guard);
    EXPECT_GE(value, 7);
    guard.unlock();
    co_await g.wait();
  });
}

TEST(condition, a_predicate_that_holds_does_not_wait) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::mutex m;
    rn::condition c;
    auto guard = co_await m.lock();
    co_await c.wait(guard, [] { return true; });
    EXPECT_TRUE(guard);
  });
}

TEST(condition, a_plain_thread_may_notify) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int round = 0; round < 50; ++round) {
      rn::mutex m;
      rn::condition c;
      auto guard = co_await m.lock();
      std::jthread other([&] {
        while (c.waiting() == 0) std::this_thread::yield();
        c.notify_one();
      });
      co_await c.wait(guard);
      EXPECT_TRUE(m.is_locked());
    }
  });
}

TEST(condition, it_may_die_with_its_mutex_as_soon_as_the_waiters_have_gone_on) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    struct place {
      rn::mutex m;
      rn::condition c;
      bool ready = false;
    };
    for (int round = 0; round < 200; ++round) {
      auto p = std::make_unique<place>();
      rn::errgroup g;
      auto tell = [](place& at) -> rn::task<> {
        auto guard = co_await at.m.lock();
        at.ready = true;
        at.c.notify_all();
      };
      auto guard = co_await p->m.lock();
      co_await g.go(tell, std::ref(*p));
      co_await p->c.wait(guard, [&] { return p->ready; });
      guard.unlock();
      p.reset();
      co_await g.wait();
    }
  });
}

TEST(condition, a_context_that_is_done_unwinds_with_the_mutex_still_locked) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::mutex m;
    rn::condition c;
    bool was_locked = false;
    struct look {
      rn::mutex& of;
      bool& locked;
      ~look() { locked = of.is_locked(); }
    };
    rn::errgroup g;
    auto wait = [](rn::mutex& of, rn::condition& on, bool& locked) -> rn::task<> {
      auto guard = co_await of.lock();
      look before_the_guard_dies{of, locked};
      co_await rn::yield();
      co_await on.wait(guard);
    };
    co_await g.go(wait, std::ref(m), std::ref(c), std::ref(was_locked));
    co_await until([&] { return m.is_locked(); });
    g.cancel();
    co_await g.wait();
    EXPECT_TRUE(was_locked);
    EXPECT_FALSE(m.is_locked());
  });
}

TEST(condition_death, dying_while_somebody_waits_is_reported) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  auto die = [] {
    checked_runtime rt(1);
    rt.run([]() -> rn::task<> {
      rn::mutex m;
      std::optional<rn::condition> c(std::in_place);
      rn::errgroup g;
      auto wait = [](rn::mutex& of, rn::condition& on) -> rn::task<> {
        auto guard = co_await of.lock();
        co_await on.wait(guard);
      };
      g.go(wait, std::ref(m), std::ref(*c));
      co_await until([&] { return c->waiting() == 1; });
      c.reset();
    });
  };
  EXPECT_DEATH(die(), "a condition was destroyed while somebody waited for it");
}

TEST(condition_death, waiting_with_a_mutex_that_somebody_else_has_unlocked_is_reported) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  auto die = [] {
    checked_runtime rt(1);
    rt.run([]() -> rn::task<> {
      rn::mutex m;
      rn::condition c;
      auto guard = co_await m.lock();
      m.unlock();
      co_await c.wait(guard);
    });
  };
  EXPECT_DEATH(die(), "the mutex of a guard was unlocked by somebody else");
}

}  // namespace
