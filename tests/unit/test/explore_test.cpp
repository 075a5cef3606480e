// SPDX-License-Identifier: BSL-1.0
// explore and exhaust: they find the bugs that only some schedules show, and say which; known bugs within a second.
#include <runnel/all.hpp>
#include <runnel/chan.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/sleep.hpp>
#include <runnel/test.hpp>
#include <runnel/this_task.hpp>

#include "support/known_bugs.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <exception>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using known_bugs::version;

std::optional<rn::test::failure> failure_of(auto run) {
  try {
    run();
  } catch (const rn::test::failure& f) {
    return f;
  }
  return std::nullopt;
}

class environment {
 public:
  explicit environment(const std::string& setting) : x_name(setting.substr(0, setting.find('='))) {
    ::setenv(x_name.c_str(), setting.substr(x_name.size() + 1).c_str(), 1);
  }
  environment(const environment&) = delete;
  environment& operator=(const environment&) = delete;
  ~environment() { ::unsetenv(x_name.c_str()); }

 private:
  std::string x_name;
};

// Found within a second by explore, and by exhaust with few preemptions; the same failure again by what it prints; and
// nothing is found in the right version.
template <class Wrong, class Right> void expect_found(Wrong wrong, Right right) {
  auto begin = std::chrono::steady_clock::now();
  auto explored = failure_of([&] { rn::test::explore(10'000, wrong); });
  auto exhausted = failure_of([&] { rn::test::exhaust(wrong, rn::test::preemptions(3)); });
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 1s * (RUNNEL_TSAN || RUNNEL_ASAN ? 20 : 2));
  ASSERT_TRUE(explored);
  ASSERT_TRUE(exhausted);
  ASSERT_EQ(explored->replay().find("RUNNEL_TEST_SEED="), 0u);
  {
    environment seed(explored->replay());
    auto again = failure_of([&] { rn::test::explore(1, wrong); });
    ASSERT_TRUE(again);
    EXPECT_STREQ(again->what(), explored->what());
    testing::internal::CaptureStderr();
    EXPECT_ANY_THROW(rn::test::run(wrong));
    EXPECT_NE(testing::internal::GetCapturedStderr().find(explored->replay()), std::string::npos);
  }
  if (!exhausted->replay().empty()) {
    environment schedule(exhausted->replay());
    auto again = failure_of([&] { rn::test::exhaust(wrong); });
    ASSERT_TRUE(again);
    EXPECT_EQ(again->replay(), exhausted->replay());
    EXPECT_ANY_THROW(rn::test::run(wrong));
  }
  EXPECT_EQ(rn::test::explore(500, right), 500u);
  EXPECT_GT(rn::test::exhaust(right, rn::test::preemptions(2)), 3u);
}

TEST(test_explore, finds_a_lost_wake_up) {
  expect_found(known_bugs::lost_wake_up<version::wrong>, known_bugs::lost_wake_up<version::right>);
}
TEST(test_explore, finds_a_leaked_goroutine) {
  expect_found(known_bugs::leaked_goroutine<version::wrong>, known_bugs::leaked_goroutine<version::right>);
}
TEST(test_explore, finds_locks_taken_in_different_orders) {
  expect_found(known_bugs::lock_order<version::wrong>, known_bugs::lock_order<version::right>);
}
TEST(test_explore, finds_a_lost_update) {
  expect_found(known_bugs::lost_update<version::wrong>, known_bugs::lost_update<version::right>);
}
TEST(test_explore, finds_an_element_lost_in_a_race) {
  expect_found(known_bugs::lost_element<version::wrong>, known_bugs::lost_element<version::right>);
}

// Needs one goroutine to be overtaken many times in a row, which even chances nearly never do.
TEST(test_explore, finds_what_needs_somebody_left_behind_for_long) {
  auto body = []() -> rn::task<> {
    int steps = 0;
    bool late = false;
    auto runner = [&]() -> rn::task<> {
      for (; steps < 30; ++steps) co_await rn::yield();
    };
    auto laggard = [&]() -> rn::task<> {
      co_await rn::yield();
      late = steps == 30;
    };
    co_await rn::all(runner(), laggard());
    if (late) throw std::logic_error("it came last");
  };
  EXPECT_TRUE(failure_of([&] { rn::test::explore(2000, body); }));
}

TEST(test_explore, tries_as_many_seeds_as_it_is_told) {
  int runs = 0;
  auto body = [&]() -> rn::task<> {
    ++runs;
    co_return;
  };
  EXPECT_EQ(rn::test::explore(17, body), 17u);
  EXPECT_EQ(runs, 17);
  EXPECT_EQ(rn::test::explore(0, body), 0u);
  environment seed("RUNNEL_TEST_SEED=5");
  EXPECT_EQ(rn::test::explore(17, body), 1u);
  EXPECT_EQ(runs, 18);
}

TEST(test_explore, begins_with_the_seed_that_it_is_told) {
  auto fails = []() -> rn::task<> {
    throw std::runtime_error("always");
    co_return;
  };
  auto f = failure_of([&] { rn::test::explore(5, rn::test::seed(100), fails); });
  ASSERT_TRUE(f);
  EXPECT_EQ(f->replay(), "RUNNEL_TEST_SEED=100");
  EXPECT_NE(std::string(f->what()).find("the run with seed 100 failed: always"), std::string::npos) << f->what();
  EXPECT_NE(std::string(f->what()).find("goroutine 1 runs (the body)"), std::string::npos) << f->what();
  EXPECT_THROW(std::rethrow_exception(f->cause()), std::runtime_error);
}

TEST(test_explore, a_failed_check_is_a_failure) {
  static bool failed = false;
  rn::test::set_failure_hook([] { return failed; });
  int runs = 0;
  auto f = failure_of([&] {
    rn::test::explore(100, [&]() -> rn::task<> {
      if (++runs == 30) failed = true;
      co_return;
    });
  });
  rn::test::set_failure_hook(nullptr);
  ASSERT_TRUE(f);
  EXPECT_EQ(runs, 30);
  EXPECT_FALSE(f->cause());
  EXPECT_EQ(f->replay(), "RUNNEL_TEST_SEED=30");
}

TEST(test_explore, a_cancelled_body_is_a_failure) {
  auto f = failure_of([&] {
    rn::test::explore(3, []() -> rn::task<> {
      auto [ctx, cancel] = rn::this_context().with_cancel();
      cancel();
      co_await rn::with_context(ctx, rn::sleep(1s));
    });
  });
  EXPECT_TRUE(f);
}

// Two goroutines of two steps each between the body's: all interleavings of theirs.
TEST(test_exhaust, runs_every_schedule_once) {
  std::multiset<std::vector<int>> orders;
  std::vector<int> order;
  auto body = [&]() -> rn::task<> {
    order.clear();
    auto steps = [&](int n) -> rn::task<> {
      order.push_back(n);
      co_await rn::yield();
      order.push_back(n + 1);
    };
    co_await rn::all(steps(0), steps(10));
    orders.insert(order);
  };
  EXPECT_EQ(rn::test::exhaust(body), 6u);
  EXPECT_EQ(orders.size(), 6u);
  EXPECT_EQ((std::set<std::vector<int>>(orders.begin(), orders.end()).size()), 6u);
  orders.clear();
  EXPECT_EQ(rn::test::exhaust(body, rn::test::preemptions(0)), 1u);
  EXPECT_EQ(orders.size(), 1u);
  orders.clear();
  std::size_t with_one = rn::test::exhaust(rn::test::preemptions(1), body);
  EXPECT_GT(with_one, 1u);
  EXPECT_LT(with_one, 6u);
  EXPECT_EQ(orders.size(), with_one);
}

// Timers of one instant are choices too.
TEST(test_exhaust, runs_timers_of_one_instant_in_every_order) {
  std::set<std::vector<int>> orders;
  std::vector<int> order;
  rn::test::exhaust([&]() -> rn::task<> {
    order.clear();
    auto sleeper = [&](int n) -> rn::task<> {
      co_await rn::sleep(1s);
      order.push_back(n);
    };
    co_await rn::all(sleeper(0), sleeper(1), sleeper(2));
    orders.insert(order);
  }, rn::test::preemptions(4));
  EXPECT_EQ(orders.size(), 6u);
}

// The first failure is one with the fewest choices that are not the default.
TEST(test_exhaust, finds_the_failure_that_needs_least) {
  auto body = []() -> rn::task<> {
    std::vector<int> order;
    auto note = [&](int n) -> rn::task<> {
      order.push_back(n);
      co_return;
    };
    co_await rn::all(note(0), note(1), note(2));
    if (order == std::vector<int>{2, 1, 0}) throw std::logic_error("backwards");
  };
  auto none = failure_of([&] { rn::test::exhaust(body, rn::test::preemptions(1)); });
  EXPECT_FALSE(none);
  auto f = failure_of([&] { rn::test::exhaust(body); });
  ASSERT_TRUE(f);
  EXPECT_NE(std::string(f->what()).find("with 2 choices that are not the default"), std::string::npos) << f->what();
  EXPECT_EQ(f->replay(), "RUNNEL_TEST_SCHEDULE=1:2,2:1");
}

TEST(test_exhaust, gives_up_when_there_are_too_many) {
  auto body = []() -> rn::task<> {
    auto steps = []() -> rn::task<> {
      for (int i = 0; i < 10; ++i) co_await rn::yield();
    };
    co_await rn::all(steps(), steps(), steps());
  };
  EXPECT_THROW(rn::test::exhaust(body, rn::test::max_runs(100)), rn::misuse_error);
  EXPECT_GT(rn::test::exhaust(body, rn::test::preemptions(1)), 30u);
}

TEST(test_exhaust, refuses_a_body_that_does_not_do_the_same_each_time) {
  int runs = 0;
  auto body = [&]() -> rn::task<> {
    int n = ++runs % 2 ? 3 : 1;
    auto steps = [n]() -> rn::task<> {
      for (int i = 0; i < n; ++i) co_await rn::yield();
    };
    co_await rn::all(steps(), steps());
  };
  EXPECT_THROW(rn::test::exhaust(body), rn::misuse_error);
}

}  // namespace
