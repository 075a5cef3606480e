// SPDX-License-Identifier: BSL-1.0
#include <runnel/as_result.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/sync/mutex.hpp>
#include <runnel/sync/wait_group.hpp>
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
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using test::checked_runtime;
using test::on_1_2_and_4_threads;
using test::until;

static_assert(!std::is_copy_constructible_v<rn::mutex> && !std::is_move_constructible_v<rn::mutex>);
static_assert(!std::is_copy_constructible_v<rn::mutex::guard>);
static_assert(std::is_nothrow_move_constructible_v<rn::mutex::guard> &&
              std::is_nothrow_move_assignable_v<rn::mutex::guard>);
static_assert(sizeof(rn::mutex) <= 3 * sizeof(void*), "it is a member of many things");

constinit rn::mutex of_the_program;

TEST(mutex, a_guard_unlocks_when_it_dies) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::mutex m;
    {
      auto guard = co_await m.lock();
      EXPECT_TRUE(m.is_locked());
      EXPECT_TRUE(guard.owns_lock());
    }
    EXPECT_FALSE(m.is_locked());
  });
}

TEST(mutex, a_guard_moves_and_what_it_was_moved_from_has_nothing) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::mutex m, other;
    auto a = co_await m.lock();
    rn::mutex::guard b = std::move(a);
    EXPECT_FALSE(a);
    EXPECT_TRUE(b);
    auto c = co_await other.lock();
    c = std::move(b);
    EXPECT_FALSE(other.is_locked()) << "what it had before was unlocked";
    EXPECT_TRUE(m.is_locked());
    auto& same = c;
    c = std::move(same);
    EXPECT_TRUE(m.is_locked()) << "a guard assigned to itself keeps what it has";
    c.unlock();
    EXPECT_FALSE(m.is_locked());
    EXPECT_FALSE(c);
  });
}

TEST(mutex, a_guard_may_be_released_and_the_mutex_unlocked_by_hand) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::mutex m;
    auto guard = co_await m.lock();
    EXPECT_EQ(guard.release(), &m);
    EXPECT_FALSE(guard);
    EXPECT_EQ(guard.release(), nullptr);
    EXPECT_TRUE(m.is_locked());
    m.unlock();
    EXPECT_FALSE(m.is_locked());
  });
}

TEST(mutex, it_can_be_tried_and_unlocked_outside_of_a_runtime) {
  rn::mutex m;
  {
    auto guard = m.try_lock();
    EXPECT_TRUE(guard);
    EXPECT_FALSE(m.try_lock());
  }
  EXPECT_TRUE(m.try_lock());
  EXPECT_FALSE(m.is_locked());
}

TEST(mutex, an_unlock_on_a_plain_thread_hands_it_to_the_goroutine_that_waits) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int round = 0; round < 50; ++round) {
      rn::mutex m;
      int value = 0;
      auto guard = m.try_lock();
      std::jthread other([&, mine = std::move(guard)]() mutable {
        while (m.waiting() == 0) std::this_thread::yield();
        value = 42;
        mine.unlock();
      });
      auto locked = co_await m.lock();
      EXPECT_EQ(value, 42);
    }
  });
}

TEST(mutex, a_member_that_another_goroutine_unlocks) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::mutex m;
    rn::wait_group wg;
    auto guard = co_await m.lock();
    wg.go([taken = std::move(guard)]() mutable { taken.unlock(); });
    auto again = co_await m.lock();
    EXPECT_TRUE(again);
    co_await wg.wait();
  });
}

TEST(mutex, it_may_die_as_soon_as_the_one_who_was_handed_it_has_unlocked) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int round = 0; round < 300; ++round) {
      auto m = std::make_unique<rn::mutex>();
      rn::wait_group wg;
      auto hold_it = [](rn::mutex& of, rn::wait_group& all) -> rn::task<> {
        auto guard = co_await of.lock();
        all.done();  // before the guard dies: the other one waits for the lock, or not
        co_await rn::yield();
      };
      wg.add(1);
      rn::errgroup g;
      co_await g.go(hold_it, std::ref(*m), std::ref(wg));
      co_await wg.wait();
      {
        auto guard = co_await m->lock();
        guard.unlock();
        m.reset();  // its last owner's unlock() has returned, or is through with it
      }
      co_await g.wait();
    }
  });
}

TEST(mutex, a_cancelled_lock_takes_nothing_and_leaves_the_queue) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::mutex m;
    auto guard = co_await m.lock();
    for (int i = 0; i < 20; ++i) {
      bool timed_out = false;
      try {
        (void)co_await rn::with_timeout(std::chrono::microseconds(100), m.lock());
      } catch (const rn::deadline_exceeded&) {
        timed_out = true;
      }
      EXPECT_TRUE(timed_out);
    }
    EXPECT_EQ(m.waiting(), 0u);
    guard.unlock();
    EXPECT_FALSE(m.is_locked()) << "nobody was left to hand it to";
    EXPECT_TRUE(m.try_lock());
  });
}

TEST(mutex, those_behind_a_cancelled_waiter_get_their_turn) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::mutex m;
    auto guard = co_await m.lock();
    std::atomic<int> got = 0;
    auto lock_and_count = [](rn::mutex& of, std::atomic<int>& count) -> rn::task<> {
      auto mine = co_await of.lock();
      ++count;
    };
    rn::errgroup first, second;
    co_await first.go(lock_and_count, std::ref(m), std::ref(got));
    co_await until([&] { return m.waiting() == 1; });
    co_await second.go(lock_and_count, std::ref(m), std::ref(got));
    co_await until([&] { return m.waiting() == 2; });
    first.cancel();
    co_await first.wait();
    EXPECT_EQ(m.waiting(), 1u);
    guard.unlock();
    co_await second.wait();
    EXPECT_EQ(got, 1);
  });
}

TEST(mutex, a_done_context_wins_over_a_free_mutex) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::mutex m;
    EXPECT_FALSE(co_await test::completes_in_a_done_context([&] { return m.lock(); }));
    EXPECT_FALSE(m.is_locked());
  });
}

TEST(mutex, a_cancelled_holder_unlocks_by_unwinding) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::mutex m;
    std::atomic<int> alive = 0;
    rn::errgroup g;
    auto hold_for_ever = [](rn::mutex& of, std::atomic<int>& count) -> rn::task<> {
      auto guard = co_await of.lock();
      co_await test::park_for_ever(count);
    };
    co_await g.go(hold_for_ever, std::ref(m), std::ref(alive));
    co_await until([&] { return alive == 1; });
    g.cancel();
    auto guard = co_await m.lock();
    EXPECT_TRUE(guard);
    co_await g.wait();
  });
}

TEST(mutex, as_a_result_a_cancelled_lock_is_canceled_and_a_granted_one_is_a_guard) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::mutex m;
    auto r = co_await rn::as_result(m.lock());
    EXPECT_TRUE(r.ok());
    EXPECT_TRUE(m.is_locked());
    auto [ctx, cancel] = rn::this_context().with_cancel();
    cancel();
    auto none = co_await rn::as_result(rn::with_context(ctx, m.lock()));
    EXPECT_TRUE(none.canceled());
  });
}

TEST(mutex, a_goroutine_that_only_locks_and_unlocks_lets_others_run) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::mutex m;
    bool other_ran = false;
    rn::go([&other_ran] { other_ran = true; });
    int rounds = 0;
    for (; !other_ran && rounds < 100'000; ++rounds) auto guard = co_await m.lock();
    EXPECT_TRUE(other_ran);
  });
}

TEST(mutex, a_turn_is_given_away_without_the_lock_in_hand) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::mutex m;
    int most_waiting = 0, count = 0;
    rn::errgroup g;
    auto work = [](rn::mutex& of, int& n, int& most) -> rn::task<> {
      for (int i = 0; i < 1000; ++i) {
        auto guard = co_await of.lock();
        ++n;
        most = std::max(most, static_cast<int>(of.waiting()));
      }
    };
    for (int i = 0; i < 8; ++i) co_await g.go(work, std::ref(m), std::ref(count), std::ref(most_waiting));
    co_await g.wait();
    EXPECT_EQ(count, 8000);
    EXPECT_EQ(most_waiting, 0) << "nobody ever holds it over a suspension, so nobody has to wait";
  });
}

TEST(mutex, unlocking_what_is_not_locked_is_misuse_without_effect) {
  rn::mutex m;
  EXPECT_THROW(m.unlock(), rn::misuse_error);
  rn::mutex::guard none;
  EXPECT_THROW(none.unlock(), rn::misuse_error);
  auto guard = m.try_lock();
  EXPECT_TRUE(guard);
  guard.unlock();
  EXPECT_THROW(guard.unlock(), rn::misuse_error);
  EXPECT_FALSE(m.is_locked());
}

TEST(mutex, one_of_the_program_needs_no_initialisation) {
  checked_runtime rt(2);
  rt.run([]() -> rn::task<> {
    auto guard = co_await of_the_program.lock();
    EXPECT_TRUE(of_the_program.is_locked());
  });
}

TEST(mutex_death, dying_while_it_is_locked_is_reported) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        std::optional<rn::mutex> m(std::in_place);
        auto guard = m->try_lock();
        m.reset();
      },
      "a mutex was destroyed while it was locked");
}

TEST(mutex_death, a_guard_whose_mutex_was_unlocked_behind_its_back_says_so) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        rn::mutex m;
        auto guard = m.try_lock();
        m.unlock();
      },
      "the mutex of a guard was unlocked by somebody else");
}

}  // namespace
