// SPDX-License-Identifier: BSL-1.0
// Streams under a task supervisor: AS by rule number, in virtual time, and disturbed at each place.
#include <runnel/as_result.hpp>
#include <runnel/otp/task_supervisor.hpp>
#include <runnel/sleep.hpp>
#include <runnel/test.hpp>
#include <support/tasks.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using namespace runnel_test;

// AS-05, AS-06, AS-07, AS-10
TEST(tsv_stream, a_stream_under_it_delivers_as_any) {
  int alive = 0, most = 0;
  in_one(rn::task_supervisor(), [&](rn::task_supervisor& sup) -> rn::task<> {
    std::vector<int> inputs{5, 1, 3, 0, 2};
    auto f = [&](int n) -> rn::task<int> {
      alive_here here(alive);
      most = std::max(most, alive);
      co_await rn::sleep(std::chrono::milliseconds(n));
      if (n == 3) throw std::runtime_error("three");
      co_return n * 10;
    };
    for (bool linked : {true, false}) {
      std::string seen;
      auto read = [&](auto stream) -> rn::task<> {
        while (auto item = co_await stream.next()) {
          seen +=
              item->ok() ? std::to_string(item->value()) : what(item->reason()) + "@" + std::to_string(item->input());
          seen += " ";
        }
      };
      if (linked)
        co_await read(sup.async_stream(inputs, rn::max_concurrency(2), f));
      else
        co_await read(sup.async_stream_nolink(inputs, rn::max_concurrency(2), rn::shutdown(1s), f));
      EXPECT_EQ(seen, "50 10 three@3 0 20 ");
      EXPECT_EQ(most, 2);
    }
    co_await rn::test::wait_idle();
    EXPECT_EQ(sup.count_children().specs, 0u);
  });
}
// AS-11, AS-13
TEST(tsv_stream, a_stream_that_is_left_cancels_its_tasks_if_they_are_linked) {
  int alive = 0;
  in_one(rn::task_supervisor(), [&](rn::task_supervisor& sup) -> rn::task<> {
    auto f = [&alive](std::chrono::milliseconds d) { return give_after(d, 1, alive); };
    std::vector<std::chrono::milliseconds> inputs{1ms, 1h, 1h};
    {
      auto items = sup.async_stream(inputs, rn::max_concurrency(3), f);
      (void)co_await items.next();
      EXPECT_EQ(alive, 2);
    }
    co_await rn::test::wait_idle();
    EXPECT_EQ(alive, 0);
    {
      auto items = sup.async_stream_nolink(inputs, rn::max_concurrency(3), f);
      (void)co_await items.next();
    }
    co_await rn::test::wait_idle();
    EXPECT_EQ(alive, 2) << "these are the supervisor's";
    auto items = sup.async_stream_nolink(inputs, rn::max_concurrency(3), f);
    (void)co_await items.next();
    EXPECT_EQ(alive, 4);
    co_await items.close();
    EXPECT_EQ(alive, 2);
    EXPECT_FALSE(co_await items.next());
  });
  EXPECT_EQ(alive, 0);
}
// AS-09
TEST(tsv_stream, a_stream_under_it_has_timeouts) {
  int alive = 0;
  in_one(rn::task_supervisor(), [&](rn::task_supervisor& sup) -> rn::task<> {
    auto f = [&alive](std::chrono::milliseconds d) { return give_after(d, 1, alive); };
    std::vector<std::chrono::milliseconds> inputs{1ms, 1h, 2ms};
    auto items = sup.async_stream(inputs, rn::timeout(1s), rn::kill_on_timeout, rn::max_concurrency(3), f);
    auto all = co_await items.collect();
    EXPECT_TRUE(all[0].ok() && !all[1].ok() && all[2].ok());
    EXPECT_EQ(alive, 0);
  });
}
// AS-14
TEST(tsv_stream, a_stream_that_is_refused_ends_when_its_tasks_have) {
  int alive = 0;
  in_one(rn::task_supervisor(rn::max_children(2)), [&](rn::task_supervisor& sup) -> rn::task<> {
    auto f = [&alive](std::chrono::milliseconds d) { return give_after(d, 1, alive); };
    std::vector<std::chrono::milliseconds> inputs{1h, 1h, 1h, 1h};
    auto items = sup.async_stream(inputs, rn::max_concurrency(3), f);
    auto read = [&]() -> rn::task<> { (void)co_await items.next(); };
    EXPECT_EQ(what((co_await rn::as_result(read())).error()), "a task is refused: there are max_children already");
    EXPECT_EQ(alive, 0);
    EXPECT_FALSE(co_await items.next());
    auto fits = sup.async_stream(std::vector<std::chrono::milliseconds>{1ms, 2ms, 3ms, 1ms}, rn::max_concurrency(2), f);
    EXPECT_EQ((co_await fits.collect()).size(), 4u);
  });
}

// ---- Disturbed at each place ----

TEST(tsv_stream, nothing_is_left_of_a_stream_wherever_it_is_cancelled_killed_or_out_of_memory) {
  int alive = 0;
  auto body = [&]() -> rn::task<> {
    alive = 0;
    rn::task_supervisor sup(rn::max_children(3));
    auto f = [&alive](int n) { return give_after(std::chrono::milliseconds(n), n, alive); };
    auto work = [&]() -> rn::task<> {
      std::vector<int> inputs{2, 1, 3};
      auto items = sup.async_stream(inputs, rn::max_concurrency(2), f);
      (void)co_await items.next();
      {
        auto left = sup.async_stream_nolink(std::vector<int>{1, 30}, rn::max_concurrency(1), f);
        (void)co_await left.next();
      }
      (void)co_await items.collect();
    };
    try {
      co_await beside(sup, work);
    } catch (const rn::task_refused&) {
    }
    if (alive != 0) throw std::logic_error("a task is left");
  };
  auto none = [&] { return alive == 0; };
  rn::test::explore(300, body);
  EXPECT_GT(rn::test::cancel_everywhere(body, none), 30u);
  EXPECT_GT(rn::test::fail_everywhere(body, none), 10u);
}

}  // namespace
