// SPDX-License-Identifier: BSL-1.0
#include <runnel/as_result.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/sync/semaphore.hpp>
#include <runnel/sync/wait_group.hpp>
#include <runnel/with_context.hpp>
#include <support/checked_runtime.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
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

static_assert(!std::is_copy_constructible_v<rn::semaphore> && !std::is_move_constructible_v<rn::semaphore>);
static_assert(!std::is_copy_constructible_v<rn::permit> && std::is_nothrow_move_constructible_v<rn::permit>);

constinit rn::semaphore of_the_program(4);

TEST(semaphore, a_permit_gives_its_units_back_when_it_dies) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    EXPECT_EQ(of_the_program.total(), 4);
    {
      auto p = co_await of_the_program.acquire(3);
      EXPECT_EQ(p.units(), 3);
      EXPECT_EQ(of_the_program.available(), 1);
    }
    EXPECT_EQ(of_the_program.available(), 4);
  });
}

TEST(semaphore, a_permit_travels_as_an_argument_and_ends_with_the_goroutine) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::semaphore s(2);
    auto work = [](rn::permit mine) -> rn::task<> {
      EXPECT_TRUE(mine);
      co_await rn::yield();
    };
    for (int i = 0; i < 100; ++i) {
      auto p = co_await s.acquire();
      rn::go(work, std::move(p));
      EXPECT_FALSE(p);
    }
    auto all = co_await s.acquire(2);
    EXPECT_EQ(s.available(), 0);
  });
}

TEST(semaphore, a_permit_moves_and_what_it_was_moved_from_has_nothing) {
  rn::semaphore s(5);
  auto a = s.try_acquire(2);
  auto b = std::move(a);
  EXPECT_FALSE(a);
  EXPECT_EQ(a.units(), 0);
  EXPECT_EQ(b.units(), 2);
  auto c = s.try_acquire(3);
  c = std::move(b);
  EXPECT_EQ(s.available(), 3) << "what it had before was given back";
  auto& same = c;
  c = std::move(same);
  EXPECT_EQ(c.units(), 2) << "a permit assigned to itself keeps what it has";
}

TEST(semaphore, a_permit_can_give_back_a_part_and_the_rest_later) {
  rn::semaphore s(5);
  auto p = s.try_acquire(5);
  p.release(2);
  EXPECT_EQ(p.units(), 3);
  EXPECT_EQ(s.available(), 2);
  p.release(0);
  p.release();
  EXPECT_EQ(s.available(), 5);
  EXPECT_FALSE(p);
}

TEST(semaphore, detached_units_are_released_by_hand) {
  rn::semaphore s(5);
  auto p = s.try_acquire(4);
  EXPECT_EQ(p.detach(), 4);
  EXPECT_FALSE(p);
  EXPECT_EQ(s.available(), 1);
  s.release(3);
  s.release();
  EXPECT_EQ(s.available(), 5);
}

TEST(semaphore, none_may_be_acquired) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::semaphore s(1);
    auto all = co_await s.acquire();
    auto none = co_await s.acquire(0);
    EXPECT_TRUE(none);
    EXPECT_EQ(none.units(), 0);
    EXPECT_TRUE(s.try_acquire(0));
  });
}

TEST(semaphore, bad_numbers_are_misuse_without_effect) {
  EXPECT_THROW(rn::semaphore(0), rn::misuse_error);
  EXPECT_THROW(rn::semaphore(-1), rn::misuse_error);
  EXPECT_THROW(rn::semaphore(PTRDIFF_MAX), rn::misuse_error);
  rn::semaphore s(3);
  EXPECT_THROW((void)s.acquire(4), rn::misuse_error);
  EXPECT_THROW((void)s.acquire(-1), rn::misuse_error);
  EXPECT_THROW((void)s.try_acquire(4), rn::misuse_error);
  EXPECT_THROW(s.release(), rn::misuse_error);
  EXPECT_THROW(s.release(-1), rn::misuse_error);
  auto p = s.try_acquire(2);
  EXPECT_THROW(s.release(3), rn::misuse_error);
  EXPECT_THROW(p.release(3), rn::misuse_error);
  EXPECT_THROW(p.release(-1), rn::misuse_error);
  EXPECT_EQ(p.units(), 2);
  EXPECT_EQ(s.available(), 1);
  rn::permit none;
  EXPECT_THROW(none.release(), rn::misuse_error);
  EXPECT_THROW(none.release(1), rn::misuse_error);
}

TEST(semaphore, a_timed_out_acquire_takes_nothing) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::semaphore s(2);
    auto p = co_await s.acquire();
    for (int i = 0; i < 20; ++i) {
      auto outcome = co_await rn::as_result(rn::with_timeout(std::chrono::microseconds(100), s.acquire(2)));
      EXPECT_TRUE(outcome.error());
    }
    EXPECT_EQ(s.waiting(), 0u);
    auto other = co_await s.acquire();
    EXPECT_TRUE(other);
  });
}

TEST(semaphore, it_may_die_as_soon_as_all_units_are_back) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int round = 0; round < 300; ++round) {
      auto s = std::make_unique<rn::semaphore>(2);
      auto use = [](rn::permit) -> rn::task<> { co_await rn::yield(); };
      for (int i = 0; i < 4; ++i) rn::go(use, co_await s->acquire());
      { auto all = co_await s->acquire(2); }
      s.reset();
    }
  });
}

TEST(semaphore, a_goroutine_that_only_acquires_and_releases_lets_others_run) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::semaphore s(1);
    bool other_ran = false;
    rn::go([&other_ran] { other_ran = true; });
    for (int i = 0; !other_ran && i < 100'000; ++i) auto p = co_await s.acquire();
    EXPECT_TRUE(other_ran);
  });
}

TEST(semaphore_death, dying_while_units_are_out_is_reported) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        std::optional<rn::semaphore> s(std::in_place, 2);
        auto p = s->try_acquire();
        s.reset();
      },
      "a semaphore was destroyed while some of its units were out");
}

TEST(semaphore_death, a_permit_whose_units_were_released_behind_its_back_says_so) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        rn::semaphore s(2);
        auto p = s.try_acquire();
        s.release();
      },
      "the units of a permit were released by somebody else");
}

TEST(semaphore, may_die_when_a_permit_has_given_all_units_back_in_parts) {
  rn::permit p;
  {
    auto s = std::make_unique<rn::semaphore>(3);
    p = s->try_acquire(3);
    p.release(1);
    EXPECT_TRUE(p);
    p.release(2);
    EXPECT_FALSE(p);
    EXPECT_EQ(s->available(), 3);
  }
}

}  // namespace
