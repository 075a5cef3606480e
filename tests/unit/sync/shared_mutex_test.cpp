// SPDX-License-Identifier: BSL-1.0
#include <runnel/as_result.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/sync/shared_mutex.hpp>
#include <runnel/with_context.hpp>
#include <support/checked_runtime.hpp>
#include <support/done_context.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace {

namespace rn = runnel;
using test::checked_runtime;
using test::on_1_2_and_4_threads;
using test::until;

static_assert(!std::is_copy_constructible_v<rn::shared_mutex> && !std::is_move_constructible_v<rn::shared_mutex>);
static_assert(!std::is_copy_constructible_v<rn::shared_mutex::guard> &&
              std::is_nothrow_move_assignable_v<rn::shared_mutex::shared_guard>);
static_assert(!std::is_same_v<rn::shared_mutex::guard, rn::shared_mutex::shared_guard>);

constinit rn::shared_mutex of_the_program;

TEST(shared_mutex, guards_unlock_when_they_die) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    {
      auto one = co_await of_the_program.lock_shared();
      auto two = co_await of_the_program.lock_shared();
      EXPECT_EQ(of_the_program.readers(), 2u);
      EXPECT_FALSE(of_the_program.is_locked());
    }
    EXPECT_EQ(of_the_program.readers(), 0u);
    auto writing = co_await of_the_program.lock();
    EXPECT_TRUE(of_the_program.is_locked());
    writing.unlock();
    EXPECT_FALSE(of_the_program.is_locked());
  });
}

TEST(shared_mutex, guards_move_and_can_be_released) {
  rn::shared_mutex m;
  auto a = m.try_lock_shared();
  auto b = std::move(a);
  EXPECT_FALSE(a);
  EXPECT_TRUE(b.owns_lock());
  EXPECT_THROW(a.unlock(), rn::misuse_error);
  EXPECT_EQ(b.release(), &m);
  EXPECT_EQ(m.readers(), 1u);
  m.unlock_shared();
  auto writing = m.try_lock();
  EXPECT_EQ(writing.release(), &m);
  m.unlock();
  EXPECT_EQ(m.readers(), 0u);
  EXPECT_FALSE(m.is_locked());
}

TEST(shared_mutex, a_done_context_wins_over_a_free_mutex) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::shared_mutex m;
    EXPECT_FALSE(co_await test::completes_in_a_done_context([&] { return m.lock_shared(); }));
    EXPECT_FALSE(co_await test::completes_in_a_done_context([&] { return m.lock(); }));
    EXPECT_TRUE(m.try_lock());
  });
}

TEST(shared_mutex, a_timed_out_writer_lets_readers_pass) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::shared_mutex m;
    auto reading = co_await m.lock_shared();
    auto outcome = co_await rn::as_result(rn::with_timeout(std::chrono::milliseconds(1), m.lock()));
    EXPECT_TRUE(outcome.error());
    auto another = co_await m.lock_shared();
    EXPECT_EQ(m.readers(), 2u);
  });
}

TEST(shared_mutex, goroutines_that_only_read_let_others_run) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::shared_mutex m;
    bool other_ran = false;
    rn::go([&other_ran] { other_ran = true; });
    for (int i = 0; !other_ran && i < 100'000; ++i) auto guard = co_await m.lock_shared();
    EXPECT_TRUE(other_ran);
  });
}

TEST(shared_mutex, it_may_die_as_soon_as_its_last_user_has_unlocked) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int round = 0; round < 300; ++round) {
      auto m = std::make_unique<rn::shared_mutex>();
      rn::errgroup g;
      auto read = [](rn::shared_mutex& of) -> rn::task<> {
        auto guard = co_await of.lock_shared();
        co_await rn::yield();
      };
      for (int i = 0; i < 3; ++i) co_await g.go(read, std::ref(*m));
      {
        auto writing = co_await m->lock();
        writing.unlock();
      }
      co_await g.wait();
      m.reset();
    }
  });
}

TEST(shared_mutex_death, dying_while_it_is_locked_is_reported) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  auto die = [](bool shared) {
    std::optional<rn::shared_mutex> m(std::in_place);
    auto writing = shared ? rn::shared_mutex::guard() : m->try_lock();
    auto reading = shared ? m->try_lock_shared() : rn::shared_mutex::shared_guard();
    m.reset();
  };
  EXPECT_DEATH(die(true), "a shared_mutex was destroyed while it was locked");
  EXPECT_DEATH(die(false), "a shared_mutex was destroyed while it was locked");
}

TEST(shared_mutex_death, a_guard_whose_mutex_was_unlocked_behind_its_back_says_so) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        rn::shared_mutex m;
        auto guard = m.try_lock_shared();
        m.unlock_shared();
      },
      "the shared_mutex of a guard was unlocked by somebody else");
}

}  // namespace
