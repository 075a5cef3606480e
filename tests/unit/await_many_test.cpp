// SPDX-License-Identifier: BSL-1.0
#include <runnel/as_result.hpp>
#include <runnel/async.hpp>
#include <runnel/await_many.hpp>
#include <runnel/sleep.hpp>
#include <runnel/test.hpp>
#include <runnel/with_context.hpp>
#include <support/checked_runtime.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using test::error_of;
using test::on_1_2_and_4_threads;
using test::until;

rn::task<int> after(std::chrono::nanoseconds d, int value) {
  co_await rn::sleep(d);
  if (value < 0) throw std::runtime_error("failed");
  co_return value;
}
rn::task<int> soon(int value) {
  for (int i = 0; i < value % 4; ++i) co_await rn::yield();
  co_return value;
}
using handles = std::vector<rn::join_handle<int>>;

TEST(await_many, values_in_the_order_of_the_handles) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    handles tasks;
    auto none = co_await rn::await_many(tasks);
    EXPECT_TRUE(none.empty());
    for (int i = 0; i < 200; ++i) tasks.push_back(rn::async(soon, i));
    auto values = co_await rn::await_many(tasks);
    for (int i = 0; i < 200; ++i) EXPECT_EQ(values[static_cast<std::size_t>(i)], i);
    EXPECT_THROW((void)rn::await_many(tasks), rn::misuse_error);
    std::vector<rn::join_handle<>> signals;
    signals.push_back(rn::async([] {}));
    auto nothing = co_await rn::await_many(1h, signals);
    EXPECT_EQ(nothing.size(), 1u);
  });
}

// TSK-10: the first failure is told at once.
TEST(await_many, the_first_that_fails_is_told_at_once_and_the_others_go_on) {
  EXPECT_NO_THROW(rn::test::run([]() -> rn::task<> {
    handles tasks;
    tasks.push_back(rn::async(after, 10s, 1));
    tasks.push_back(rn::async(after, 1s, -1));
    EXPECT_EQ(co_await error_of(rn::await_many(tasks)), "failed");
    EXPECT_EQ(rn::test::elapsed(), 1s);
    EXPECT_EQ(co_await tasks[0].await(), 1);
    handles others;
    others.push_back(rn::async(after, 1h, 1));
    others.push_back(rn::async(after, 1h, 1));
    others[1].cancel();
    EXPECT_EQ(co_await error_of(rn::await_many(others)), "runnel: canceled");
    handles late;
    late.push_back(rn::async(after, 10s, 1));
    auto began = rn::test::elapsed();
    EXPECT_EQ(co_await error_of(rn::await_many(4s, late)), "runnel: deadline exceeded");
    EXPECT_EQ(rn::test::elapsed() - began, 4s);
    EXPECT_FALSE(late[0].done());
    EXPECT_THROW((void)late[0].await(), rn::misuse_error);
  }));
}

// TSK-09: one time limit for all; those that go on may be awaited later.
TEST(await_done_within, takes_what_is_done_and_leaves_the_others_running) {
  EXPECT_NO_THROW(rn::test::run([]() -> rn::task<> {
    handles tasks;
    tasks.push_back(rn::async(after, 10s, 1));
    tasks.push_back(rn::async(after, 1s, 2));
    tasks.push_back(rn::async(after, 2s, -1));
    auto first = co_await rn::await_done_within(5s, tasks);
    EXPECT_EQ(rn::test::elapsed(), 5s);
    EXPECT_FALSE(first[0]);
    EXPECT_EQ(first[1]->value(), 2);
    EXPECT_TRUE(first[2]->error());
    EXPECT_EQ(co_await tasks[0].await(), 1);
    handles more;
    more.push_back(rn::async(after, 1s, 3));
    more.push_back(rn::async(after, 1h, 4));
    auto second = co_await rn::await_done_within(5s, rn::kill, more);
    EXPECT_EQ(second[0]->value(), 3);
    EXPECT_TRUE(second[1]->canceled());
    EXPECT_EQ(rn::test::elapsed(), 15s);
  }));
}

TEST(await_many, under_all_schedules_and_disturbed_everywhere) {
  int alive = 0;
  auto body = [&]() -> rn::task<> {
    alive = 0;
    auto work = [](int& n, int value) -> rn::task<int> {
      struct here {
        int& n;
        explicit here(int& of) : n(of) { ++n; }
        ~here() { --n; }
      } counted(n);
      co_await rn::yield();
      co_return value;
    };
    handles tasks;
    for (int i = 0; i < 3; ++i) tasks.push_back(rn::async(work, std::ref(alive), i));
    auto some = co_await rn::await_done_within(0s, tasks);
    handles left;
    int sum = 0;
    for (std::size_t i = 0; i < 3; ++i)
      if (some[i])
        sum += std::move(*some[i]).value();
      else
        left.push_back(std::move(tasks[i]));
    auto rest = co_await rn::await_many(left);
    for (int v : rest) sum += v;
    if (sum != 3) throw std::logic_error("a result was lost");
  };
  auto none_left = [&] { return alive == 0; };
  try {
    rn::test::explore(300, body);
    rn::test::exhaust(body, rn::test::preemptions(2));
    rn::test::cancel_everywhere(body, none_left);
    for (std::uint64_t n = 1; n <= 10; ++n) rn::test::cancel_everywhere(body, none_left, rn::test::seed(n));
    rn::test::fail_everywhere(body, none_left);
  } catch (const rn::test::failure& f) {
    ADD_FAILURE() << f.what();
  }
}

// Gives up waiting just as tasks end.
TEST(await_many, giving_up_while_tasks_end) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int round = 0; round < 100; ++round) {
      handles tasks;
      for (int i = 0; i < 20; ++i) tasks.push_back(rn::async(soon, i));
      auto some = co_await rn::await_done_within(std::chrono::microseconds(round), tasks);
      int sum = 0;
      for (std::size_t i = 0; i < tasks.size(); ++i) {
        if (some[i]) {
          sum += some[i]->value();
        } else {
          sum += co_await tasks[i].await();
        }
      }
      EXPECT_EQ(sum, 190);
    }
  });
}

}  // namespace
