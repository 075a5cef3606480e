// SPDX-License-Identifier: BSL-1.0
#include <runnel/errgroup.hpp>
#include <runnel/sync/wait_group.hpp>
#include <runnel/with_context.hpp>
#include <support/checked_runtime.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using test::checked_runtime;
using test::on_1_2_and_4_threads;
using test::until;

static_assert(!std::is_copy_constructible_v<rn::wait_group> && !std::is_move_constructible_v<rn::wait_group>);

TEST(wait_group, done_from_other_threads_releases_the_waiter) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int round = 0; round < 50; ++round) {
      std::vector<int> out(4);
      std::vector<std::jthread> threads;
      rn::wait_group wg;
      wg.add(4);
      for (std::size_t i = 0; i < 4; ++i)
        threads.emplace_back([&, i] {
          out[i] = 1;
          wg.done();
        });
      co_await wg.wait();
      EXPECT_EQ(out, (std::vector<int>{1, 1, 1, 1}));
    }
  });
}

TEST(wait_group, it_may_die_as_soon_as_wait_has_returned) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int round = 0; round < 500; ++round) {
      auto wg = std::make_unique<rn::wait_group>();
      for (int i = 0; i < 3; ++i) wg->go([] {});
      co_await wg->wait();
      wg.reset();
    }
  });
}

TEST(wait_group, a_cancelled_wait_leaves_the_group) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::wait_group wg;
    wg.add(1);
    for (int i = 0; i < 20; ++i) {
      bool timed_out = false;
      try {
        co_await rn::with_timeout(std::chrono::microseconds(100), wg.wait());
      } catch (const rn::deadline_exceeded&) {
        timed_out = true;
      }
      EXPECT_TRUE(timed_out);
    }
    wg.done();
    co_await wg.wait();
  });  // its destructor ends the program if one of them was still listed
}

TEST(wait_group, a_cancelled_context_wins_over_a_count_of_zero) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<bool> went_on = false;
    rn::wait_group wg;
    rn::errgroup g;
    g.cancel();
    g.go([&]() -> rn::task<> {
      co_await wg.wait();
      went_on = true;
    });
    co_await g.wait();
    EXPECT_FALSE(went_on);
  });
}

TEST(wait_group, move_only_callables_are_moved_in) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::wait_group wg;
    int seen = 0;
    wg.go([&seen, p = std::make_unique<int>(7)]() -> rn::task<> {
      co_await rn::yield();
      seen = *p;
    });
    co_await wg.wait();
    EXPECT_EQ(seen, 7);
  });
}

TEST(wait_group, go_outside_of_a_runtime_is_misuse_and_counts_nothing) {
  rn::wait_group wg;
  EXPECT_THROW(wg.go([] {}), rn::misuse_error);
}  // its destructor ends the program if it counts

TEST(wait_group, an_add_that_would_overflow_is_refused) {
  rn::wait_group wg;
  constexpr auto most = std::numeric_limits<std::int64_t>::max();
  wg.add(most);
  EXPECT_THROW(wg.add(1), rn::misuse_error);
  wg.add(-most);
}

TEST(wait_group, many_waiters_and_many_doers_lose_nobody) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int round = 0; round < 20; ++round) {
      std::atomic<int> released = 0;
      rn::wait_group wg, waiters;
      wg.add(50);
      for (int i = 0; i < 50; ++i) {
        waiters.go([&]() -> rn::task<> {
          co_await wg.wait();
          ++released;
        });
        waiters.go([&] { wg.done(); });
      }
      co_await waiters.wait();
      EXPECT_EQ(released, 50);
    }
  });
}

}  // namespace
