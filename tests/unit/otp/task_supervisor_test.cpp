// SPDX-License-Identifier: BSL-1.0
// A task supervisor as an object: plain threads, handlers, handles that outlive it, what may be given to a task. What it
// does with its tasks is in conformance/tsv_test.cpp.
#include <runnel/as_result.hpp>
#include <runnel/await_many.hpp>
#include <runnel/otp/task_supervisor.hpp>
#include <runnel/runtime.hpp>
#include <runnel/select.hpp>
#include <runnel/sleep.hpp>
#include <runnel/test.hpp>
#include <runnel/this_task.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;

rn::task<int> twice(int n) {
  co_await rn::yield();
  co_return 2 * n;
}
rn::task<int> fail() {
  co_await rn::yield();
  throw std::runtime_error("failed");
}
// Runs body while it runs.
template <class Body> rn::task<> beside(rn::task_supervisor& sup, Body body) {
  auto run = rn::async([&sup]() -> rn::task<> { co_await sup.run(); });
  co_await body();
  (void)co_await run.shutdown();
}

TEST(task_supervisor, a_plain_thread_starts_tasks_and_hears_of_refusals) {
  rn::runtime rt(rn::threads(2));
  rn::task_supervisor sup(rn::max_children(1));
  std::atomic<bool> over{false};
  int value = 0;
  bool refused = false;
  std::thread plain([&] {
    {
      auto blocker = sup.async([]() -> rn::task<> { co_await rn::sleep(1h); }).get();
      try {
        (void)sup.async(twice, 1).get();
      } catch (const rn::task_refused& e) {
        refused = e.outcome() == rn::child_outcome::too_many;
      }
    }  // the blocker is cancelled here
    for (;;) try {
        auto t = sup.async(twice, 4).get();
        while (!t.done()) std::this_thread::yield();
        value = std::move(*t.ignore()).value();
        break;
      } catch (const rn::task_refused&) {
      }
    over = true;
  });
  rt.run([&]() -> rn::task<> {
    co_await beside(sup, [&]() -> rn::task<> {
      while (!over) co_await rn::yield();
    });
  });
  plain.join();
  EXPECT_EQ(value, 8);
  EXPECT_TRUE(refused);
}

TEST(task_supervisor, its_handles_are_those_of_async) {
  rn::test::run([]() -> rn::task<> {
    rn::task_supervisor sup;
    co_await beside(sup, [&]() -> rn::task<> {
      auto a = co_await sup.async(twice, 1);
      auto b = co_await sup.async_nolink(twice, 2);
      auto which = co_await rn::select(a.await(), rn::after(1h));
      EXPECT_EQ(which.index(), 0u);
      std::vector<rn::join_handle<int>> more;
      more.push_back(std::move(b));
      more.push_back(co_await sup.async(rn::shutdown(rn::infinite), twice, 3));
      auto values = co_await rn::await_many(more);
      EXPECT_EQ(values, (std::vector{4, 6}));
      auto slow = co_await sup.async([]() -> rn::task<> { co_await rn::sleep(1h); });
      EXPECT_FALSE(co_await slow.await_for(1ms));
    });
  });
}

TEST(task_supervisor, a_task_starts_tasks_of_its_own_which_are_joined_first) {
  rn::test::run([]() -> rn::task<> {
    rn::task_supervisor sup;
    bool inner_ended = false;
    co_await beside(sup, [&]() -> rn::task<> {
      auto outer = co_await sup.async([&inner_ended]() -> rn::task<> {
        auto inner = rn::async(
            [](bool& ended) -> rn::task<> {
              co_await rn::sleep(1s);
              ended = true;
            },
            std::ref(inner_ended));
        (void)inner.ignore();
        co_return;
      });
      co_await outer.await();
      EXPECT_TRUE(inner_ended);
    });
  });
}

TEST(task_supervisor, the_error_of_a_handle_that_outlives_it_reaches_its_handler) {
  std::vector<std::string> told;
  {
    std::optional<rn::join_handle<int>> kept;
    rn::test::run([&]() -> rn::task<> {
      rn::task_supervisor sup(rn::on_error([&](const rn::goroutine_error& e) {
        told.push_back(rn::detail::what_of(e.error));
        throw std::runtime_error("a bad handler");  // is printed
      }));
      co_await beside(sup, [&]() -> rn::task<> {
        kept.emplace(co_await sup.async_nolink(fail));
        co_await rn::test::wait_idle();
      });
      EXPECT_TRUE(told.empty());
      kept.reset();
      co_return;
    });
  }
  EXPECT_EQ(told, std::vector<std::string>{"failed"});
}

TEST(task_supervisor, an_empty_handler_is_refused) {
  std::string said;
  try {
    rn::on_error none(std::function<void(const rn::goroutine_error&)>{});
  } catch (const rn::misuse_error& e) {
    said = e.what();
  }
  EXPECT_EQ(said, "runnel: on_error(f) takes a function; this one is empty");
  EXPECT_STREQ(rn::task_refused(rn::child_outcome::not_running).what(),
               "runnel: a task is refused: its supervisor does not run");
}

TEST(task_supervisor, a_throwing_copy_starts_nothing) {
  rn::test::run([]() -> rn::task<> {
    struct bad {
      bad() = default;
      bad(const bad&) { throw std::runtime_error("no copy"); }
    };
    rn::task_supervisor sup;
    co_await beside(sup, [&]() -> rn::task<> {
      bad b;
      auto take = [](const bad&) {};
      EXPECT_THROW((void)sup.async(take, b), std::runtime_error);
      EXPECT_THROW((void)sup.start_child(take, b), std::runtime_error);
      co_await rn::test::wait_idle();
      EXPECT_EQ(sup.count_children().specs, 0u);
    });
  });
}

}  // namespace
