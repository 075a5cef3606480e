// SPDX-License-Identifier: BSL-1.0
// A task supervisor as an object: plain threads, handlers, handles that outlive it, what may be given to a task. What it
// does with its tasks is in conformance/tsv_test.cpp.
#include <runnel/as_result.hpp>
#include <runnel/await_many.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/otp/task_supervisor.hpp>
#include <runnel/runtime.hpp>
#include <runnel/select.hpp>
#include <runnel/sleep.hpp>
#include <runnel/test.hpp>
#include <runnel/this_task.hpp>
#include <runnel/with_context.hpp>

#include <gtest/gtest.h>

#include <algorithm>
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

// The result of a task that nobody awaits: it dies when its end can be heard of, and its supervisor has not heard of it.
class holds_the_end_up {
 public:
  holds_the_end_up(std::atomic<bool>& about_to_leave, std::atomic<bool>& may) : x_about(&about_to_leave), x_may(may) {}
  holds_the_end_up(holds_the_end_up&& other) noexcept
      : x_about(std::exchange(other.x_about, nullptr)), x_may(other.x_may) {}
  holds_the_end_up& operator=(holds_the_end_up&&) = delete;
  ~holds_the_end_up() {
    if (!x_about) return;
    *x_about = true;
    while (!x_may) std::this_thread::yield();
  }

 private:
  std::atomic<bool>* x_about;
  std::atomic<bool>& x_may;
};

TEST(task_supervisor, a_task_that_is_about_to_leave_is_neither_counted_nor_listed) {
  rn::runtime rt(rn::threads(2));
  rt.run([]() -> rn::task<> {
    std::atomic<bool> begins{false}, about_to_leave{false}, may{false};
    rn::task_supervisor sup(rn::max_children(1));
    co_await beside(sup, [&]() -> rn::task<> {
      auto work = [&]() -> rn::task<holds_the_end_up> {
        while (!begins) co_await rn::yield();
        co_return holds_the_end_up(about_to_leave, may);
      };
      { auto dropped = co_await sup.async_nolink(work); }
      EXPECT_EQ(sup.children().size(), 1u);
      begins = true;
      while (!about_to_leave) co_await rn::yield();
      auto next = co_await sup.async(twice, 1);  // it has the place
      const std::size_t counted = sup.count();
      const auto listed = sup.children();
      const auto all = sup.which_children();
      may = true;
      EXPECT_LE(counted, 1u);
      EXPECT_LE(listed.size(), 1u);
      EXPECT_EQ(all.front().state, rn::child_state::running) << "it has not left yet: nothing is tested";
      EXPECT_EQ(std::count(listed.begin(), listed.end(), all.front().number), 0);
      EXPECT_EQ(co_await next.await(), 2);
    });
  });
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

struct user {
  using type = int;
};
int seen() {
  const int* v = rn::this_context().value<user>();
  return v ? *v : -1;
}

TEST(task_supervisor, what_is_asked_as_it_stops_is_refused_while_a_task_waits_for_that) {
  rn::test::run([]() -> rn::task<> {
    rn::task_supervisor sup;
    auto ref = sup.ref();
    bool refused = false;
    auto run = rn::async([&]() -> rn::task<> { co_await sup.run(); });
    auto last = [&]() -> rn::task<> {
      run.cancel();  // at this moment
      try {
        auto t = co_await ref.async_nolink([] {});
      } catch (const rn::task_refused&) {
        refused = true;
      }
    };
    auto task = [&]() -> rn::task<> { co_await rn::shield(last()); };
    auto t = co_await ref.async_nolink(rn::shutdown(rn::infinite), task);
    (void)co_await rn::as_result(run.await());
    EXPECT_TRUE(refused);
    EXPECT_EQ(rn::test::elapsed(), 0s);
  });
}

TEST(task_supervisor, a_caller_without_values_gets_those_of_the_supervisor_also_with_on_error) {
  for (bool with_handler : {false, true}) {
    rn::task_supervisor sup = with_handler ? rn::task_supervisor(rn::on_error([](const rn::goroutine_error&) {}))
                                           : rn::task_supervisor();
    rn::runtime rt(rn::threads(2));
    int found = 0;
    rt.run([&]() -> rn::task<> {
      auto run = rn::async([&]() -> rn::task<> { co_await rn::with_value<user>(7, sup.run()); });
      rn::chan<rn::join_handle<int>> handles(1);
      std::thread plain([&] { handles.blocking_send(sup.async_nolink(seen).get()); });
      auto t = co_await handles.recv();
      plain.join();
      found = co_await std::move(*t).await();
      (void)co_await run.shutdown();
    });
    EXPECT_EQ(found, 7);
  }
}

TEST(task_supervisor, on_error_hears_of_starts_that_fail_before_they_are_ready) {
  int heard = 0;
  rn::test::run([&]() -> rn::task<> {
    int starts = 0;
    rn::task_supervisor sup(rn::on_error([&](const rn::goroutine_error&) { ++heard; }));
    auto child = [&]() -> rn::task<> {
      int n = ++starts;
      if (n != 2 && n != 3) co_await rn::ready();
      if (n < 4) throw std::runtime_error("failed");
      co_await rn::sleep(24h);
    };
    auto body = [&]() -> rn::task<> {
      (void)co_await sup.start_child(rn::permanent, rn::wait_ready(1s), child);
      co_await rn::sleep(1h);
    };
    co_await beside(sup, body);
  });
  EXPECT_EQ(heard, 3);
}

std::size_t values_here() {
  std::size_t n = 0;
  for (auto* v = rn::detail::current_goroutine()->context.load()->values(); v; v = v->outer.get()) ++n;
  return n;
}
rn::task<> hop(rn::task_supervisor_ref to, rn::task_supervisor_ref from, int n, std::size_t& most) {
  most = std::max(most, values_here());
  if (n != 0) (void)co_await to.start_child(hop, from, to, n - 1, std::ref(most));
}
TEST(task_supervisor, tasks_of_two_that_start_each_other_do_not_gather_values) {
  std::size_t most = 0;
  rn::test::run([&]() -> rn::task<> {
    rn::task_supervisor told(rn::on_error([](const rn::goroutine_error&) {})), plain;
    auto body = [&]() -> rn::task<> {
      auto inner = [&]() -> rn::task<> {
        (void)co_await told.start_child(hop, plain.ref(), told.ref(), 100, std::ref(most));
        co_await rn::test::wait_idle();
      };
      co_await beside(plain, inner);
    };
    co_await beside(told, body);
  });
  EXPECT_LE(most, 2u);
  EXPECT_GE(most, 1u);
}

}  // namespace
