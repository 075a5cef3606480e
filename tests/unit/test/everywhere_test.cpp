// SPDX-License-Identifier: BSL-1.0
// cancel_everywhere and fail_everywhere: each place once, and what they find.
#include <runnel/all.hpp>
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/config.hpp>
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/sleep.hpp>
#include <runnel/test.hpp>
#include <runnel/this_task.hpp>
#include <runnel/with_context.hpp>

#include "support/known_bugs.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
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
testing::AssertionResult says(const std::optional<rn::test::failure>& f, const std::string& text) {
  if (!f) return testing::AssertionFailure() << "nothing was found";
  if (std::string(f->what()).find(text) != std::string::npos) return testing::AssertionSuccess();
  return testing::AssertionFailure() << f->what();
}
class point {
 public:
  explicit point(const std::string& replay) { ::setenv("RUNNEL_TEST_POINT", replay.substr(replay.find('=') + 1).c_str(), 1); }
  point(const point&) = delete;
  point& operator=(const point&) = delete;
  ~point() { ::unsetenv("RUNNEL_TEST_POINT"); }
};

TEST(cancel_everywhere, finds_what_is_committed_before_it_is_done) {
  known_bugs::books b;
  auto wrong = [&] { return known_bugs::commit_on_cancel<version::wrong>(b); };
  auto right = [&] { return known_bugs::commit_on_cancel<version::right>(b); };
  auto balanced = [&] { return b.balanced(); };
  std::optional<rn::test::failure> f;
  auto least = std::chrono::nanoseconds::max();
  for (int i = 0; i < 10 && least >= 1s; ++i) {  // more than once where others take the machine away
    auto begin = std::chrono::steady_clock::now();
    f = failure_of([&] { rn::test::cancel_everywhere(wrong, balanced); });
    least = std::min<std::chrono::nanoseconds>(least, std::chrono::steady_clock::now() - begin);
  }
  EXPECT_LT(least, 1s);
  ASSERT_TRUE(says(f, "the invariant does not hold"));
  EXPECT_TRUE(says(f, "the body's context is cancelled"));
  EXPECT_TRUE(says(f, "is unwound"));
  ASSERT_EQ(f->replay().find("RUNNEL_TEST_POINT=cancel:"), 0u) << f->replay();
  {
    point only(f->replay());
    auto again = failure_of([&] { rn::test::cancel_everywhere(wrong, balanced); });
    ASSERT_TRUE(again);
    EXPECT_STREQ(again->what(), f->what());
  }
  EXPECT_GT(rn::test::cancel_everywhere(right, balanced), 20u);
  for (std::uint64_t n = 1; n < 20; ++n) EXPECT_GT(rn::test::cancel_everywhere(rn::test::seed(n), right, balanced), 20u);
}

// Where the body is, in each disturbed run, when it is interrupted.
TEST(cancel_everywhere, interrupts_at_each_place_by_each_strength) {
  std::vector<int> reached;
  int at = 0;
  auto body = [&]() -> rn::task<> {
    at = 0;
    struct note {
      std::vector<int>& log;
      int& at;
      ~note() { log.push_back(rn::unwinding() ? at : -1); }
    } end{reached, at};
    for (at = 1; at <= 3; ++at) co_await rn::yield();
    co_await rn::sleep(1s);
    at = 5;
    co_await rn::chan<int>(1).send(1);
    at = 6;
  };
  std::size_t runs = rn::test::cancel_everywhere(body);
  // Steps: begin, after each of three yields, the timer, after the sleep, after the send. At the last one nothing is
  // interrupted any more. Two runs before, to see and to count.
  EXPECT_EQ(runs, 14u);
  EXPECT_EQ(reached, (std::vector<int>{-1, -1, 1, 1, 2, 2, 3, 3, 4, 4, 4, 4, 5, 5, -1, -1}));
}

TEST(cancel_everywhere, a_kill_pierces_what_a_cancel_does_not) {
  int cleaned = 0, begun = 0;
  auto body = [&]() -> rn::task<> {
    begun = cleaned = 0;
    auto cleanup = [&]() -> rn::task<> {
      ++begun;
      co_await rn::sleep(1s);
      ++cleaned;
    };
    co_await rn::finally(rn::sleep(1s), rn::moved(cleanup).get());
  };
  rn::test::cancel_everywhere(body);
  auto f = failure_of([&] { rn::test::cancel_everywhere(body, [&] { return begun == cleaned; }); });
  ASSERT_TRUE(says(f, "killed before step"));  // no cancel was enough
}

TEST(cancel_everywhere, finds_a_goroutine_that_a_cancellation_leaves_behind) {
  auto body = []() -> rn::task<> {
    rn::chan<int> jobs(0);
    rn::go([](rn::chan<int> in) -> rn::task<> {
      while (auto job = co_await in.recv()) {
      }
    }, jobs);
    co_await jobs.send(1);
    co_await rn::sleep(1s);
    jobs.close();  // not by whoever is cancelled before
  };
  EXPECT_EQ(rn::test::explore(50, body), 50u);
  EXPECT_TRUE(says(failure_of([&] { rn::test::cancel_everywhere(body); }), "leak: the body has ended"));
  EXPECT_GT(rn::test::cancel_everywhere(body, rn::test::cancel_at_end), 5u);
}

TEST(cancel_everywhere, finds_a_body_that_does_not_end) {
  auto body = []() -> rn::task<> {
    auto r = co_await rn::as_result(rn::sleep(1s));
    if (!r.canceled()) co_return;
    for (;;) (void)co_await rn::as_result(rn::sleep(1s));
  };
  auto f = failure_of([&] { rn::test::cancel_everywhere(rn::test::max_steps(500), body); });
  EXPECT_TRUE(says(f, "no end after test::max_steps(500)"));
}

TEST(cancel_everywhere, finds_a_frame_that_is_left) {
  std::vector<std::unique_ptr<rn::task<>>> kept;
  auto body = [&]() -> rn::task<> {
    auto forgotten = []() -> rn::task<> { co_return; };
    auto t = std::make_unique<rn::task<>>(forgotten());
    auto r = co_await rn::as_result(rn::sleep(1s));
    if (r.canceled()) kept.push_back(std::move(t));
  };
  EXPECT_TRUE(says(failure_of([&] { rn::test::cancel_everywhere(body); }), "frames, goroutines and contexts are left"));
}

TEST(cancel_everywhere, finds_a_timer_that_is_left) {
  (void)rn::context::background();
  std::optional<std::pair<rn::context, rn::cancel_function>> kept;
  auto body = [&]() -> rn::task<> {
    kept.reset();
    auto made = rn::context::background().with_timeout(1h);
    auto r = co_await rn::as_result(rn::sleep(1s));
    if (r.canceled()) kept.emplace(std::move(made));
  };
  EXPECT_TRUE(says(failure_of([&] { rn::test::cancel_everywhere(body); }), "a timer is still set"));
  kept.reset();
}

TEST(cancel_everywhere, finds_an_error_that_a_cancellation_turns_up) {
  auto body = []() -> rn::task<> {
    auto r = co_await rn::as_result(rn::sleep(1s));
    if (r.canceled()) throw std::logic_error("cannot be");
  };
  auto f = failure_of([&] { rn::test::cancel_everywhere(body); });
  EXPECT_TRUE(says(f, "cannot be"));
  EXPECT_THROW(std::rethrow_exception(f->cause()), std::logic_error);
  auto timeout = []() -> rn::task<> {
    auto r = co_await rn::as_result(rn::sleep(1s));
    if (r.canceled()) throw rn::deadline_exceeded();
  };
  EXPECT_GT(rn::test::cancel_everywhere(timeout), 3u);
}

TEST(cancel_everywhere, an_invariant_may_throw) {
  auto body = []() -> rn::task<> { co_await rn::sleep(1s); };
  int asked = 0;
  auto f = failure_of([&] {
    rn::test::cancel_everywhere(body, [&] {
      if (++asked == 4) throw std::runtime_error("not so");
    });
  });
  EXPECT_TRUE(says(f, "the invariant does not hold: not so"));
}

TEST(cancel_everywhere, a_body_that_fails_by_itself_is_a_failure) {
  auto f = failure_of([&] {
    rn::test::cancel_everywhere([]() -> rn::task<> {
      throw std::runtime_error("at once");
      co_return;
    });
  });
  EXPECT_TRUE(says(f, "the run without any disturbance failed: at once"));
}

TEST(cancel_everywhere, refuses_a_body_that_does_not_do_the_same_each_time) {
  int runs = 0;
  auto body = [&]() -> rn::task<> {
    for (int i = ++runs; i < 10; ++i) co_await rn::yield();
  };
  EXPECT_THROW(rn::test::cancel_everywhere(body), rn::misuse_error);
}

#if RUNNEL_FAULT_INJECTION

rn::task<int> add_now(int a, int b) { co_return a + b; }
rn::task<int> (*volatile add)(int, int) = add_now;  // a compiler that sees it through needs no memory for it

TEST(fail_everywhere, fails_each_allocation_once) {
  int started = 0, caught = 0;
  auto body = [&]() -> rn::task<> {
    ++started;
    try {
      (void)co_await add(1, 2);
      (void)co_await add(3, 4);
    } catch (const std::bad_alloc&) {
      ++caught;
    }
  };
  // The body's own frame, and two.
  EXPECT_EQ(rn::test::fail_everywhere(body), 3u);
  EXPECT_EQ(started, 4);
  EXPECT_EQ(caught, 2);
}

TEST(fail_everywhere, lets_bad_alloc_leave_the_body_and_its_goroutines) {
  auto body = []() -> rn::task<> {
    rn::chan<int> ch(0);
    rn::go([](rn::chan<int> out) -> rn::task<> {
      co_await out.send(co_await add(1, 2));
    }, ch);
    (void)co_await ch.recv();
  };
  EXPECT_GT(rn::test::fail_everywhere(body), 3u);
  for (std::uint64_t n = 0; n < 20; ++n) EXPECT_GT(rn::test::fail_everywhere(body, rn::test::seed(n)), 3u);
}

TEST(fail_everywhere, finds_what_an_exception_leaves_undone) {
  int open = 0;
  auto body = [&]() -> rn::task<> {
    open = 1;
    (void)co_await add(1, 2);
    open = 0;
  };
  auto f = failure_of([&] { rn::test::fail_everywhere(body, [&] { return open == 0; }); });
  ASSERT_TRUE(says(f, "with the failure of allocation 1"));
  EXPECT_EQ(f->replay(), "RUNNEL_TEST_POINT=allocation:1");
  point only(f->replay());
  EXPECT_TRUE(failure_of([&] { rn::test::fail_everywhere(body, [&] { return open == 0; }); }));
}

TEST(fail_everywhere, finds_another_error_in_place_of_bad_alloc) {
  auto body = []() -> rn::task<> {
    try {
      (void)co_await add(1, 2);
    } catch (const std::bad_alloc&) {
      throw std::logic_error("translated");
    }
  };
  EXPECT_TRUE(says(failure_of([&] { rn::test::fail_everywhere(body); }), "translated"));
}

// What a program's operator new would do.
TEST(fail_everywhere, other_allocations_ask_too) {
  auto body = []() -> rn::task<> {
    if (rn::test::allocation_fails()) throw std::bad_alloc();
    co_return;
  };
  EXPECT_FALSE(rn::test::allocation_fails());
  EXPECT_EQ(rn::test::fail_everywhere(body), 2u);
  EXPECT_FALSE(rn::test::allocation_fails());
}

// Only what a run's goroutines allocate, and only during the run.
TEST(fail_everywhere, nothing_else_is_made_to_fail) {
  auto outside = [] {
    auto t = add(1, 2);
    return static_cast<bool>(t);
  };
  rn::test::fail_everywhere([]() -> rn::task<> { co_await rn::yield(); }, outside);
  EXPECT_TRUE(outside());
  EXPECT_EQ(rn::detail::frame_alloc_hook.load(), nullptr);
}

#else

TEST(fail_everywhere, is_refused_where_no_allocation_can_fail) {
  EXPECT_THROW(rn::test::fail_everywhere([]() -> rn::task<> { co_return; }), rn::misuse_error);
}

#endif

}  // namespace
