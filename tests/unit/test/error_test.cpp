// SPDX-License-Identifier: BSL-1.0
// What a test run that hangs, or leaves something behind, says: who waits for what, where it was started, since when.
#include <runnel/adopt.hpp>
#include <runnel/all.hpp>
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/sleep.hpp>
#include <runnel/sync/wait_group.hpp>
#include <runnel/test.hpp>
#include <runnel/with_context.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <coroutine>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;

// The lines of the report of an E that a run throws.
template <class E, class... A> std::vector<std::string> report_of(A&&... options_and_body) {
  std::vector<std::string> lines;
  try {
    rn::test::run(options_and_body...);
    ADD_FAILURE() << "nothing was wrong with it";
  } catch (const E& e) {
    std::string text = e.what();
    for (std::size_t at = 0; at != std::string::npos;) {
      std::size_t end = text.find('\n', at);
      lines.push_back(text.substr(at, end - at));
      at = end == std::string::npos ? end : end + 1;
    }
  }
  return lines;
}
template <class... A> std::vector<std::string> deadlock_of(A&&... options_and_body) {
  return report_of<rn::test::deadlock_error>(options_and_body...);
}

// The row of the goroutine with this number, its columns parted by one space.
std::string row(const std::vector<std::string>& lines, int number) {
  for (const auto& line : lines) {
    std::string joined;
    for (char c : line)
      if (c != ' ' || (!joined.empty() && joined.back() != ' ')) joined += c;
    if (joined.starts_with(std::to_string(number) + " ")) return joined;
  }
  return "";
}
testing::AssertionResult has_row(const std::vector<std::string>& lines, int number, const std::string& text) {
  if (row(lines, number).find(text) != std::string::npos) return testing::AssertionSuccess();
  auto result = testing::AssertionFailure() << "row " << number << " of:";
  for (const auto& each : lines) result << "\n" << each;
  return result;
}

rn::task<> receive(rn::chan<int> ch) { (void)co_await ch.recv(); }
rn::task<> send(rn::chan<int> ch) { co_await ch.send(1); }

// DL-01, SY-05
TEST(test_error, a_deadlock_tells_what_each_waits_for) {
  rn::chan<int> a(0), b(1);
  ASSERT_TRUE(b.try_send(0));
  int line = 0;
  auto body = [&]() -> rn::task<> {
    co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
      line = __LINE__ + 1;
      g.go(receive, a);
      g.go(send, b);
      co_await rn::sleep(3s);
      co_await b.send(2);
    });
  };
  auto lines = deadlock_of(body);
  ASSERT_EQ(lines.size(), 5u);
  EXPECT_EQ(lines[0].find("runnel: deadlock: every goroutine waits, and no timer is set"), 0u) << lines[0];
  EXPECT_NE(lines[0].find("at 3s"), std::string::npos) << lines[0];
  EXPECT_TRUE(has_row(lines, 1, "the body to send to channel 1 (1 of 1) 3s"));
  EXPECT_TRUE(has_row(lines, 2, "error_test.cpp:" + std::to_string(line) + ", in "));
  EXPECT_TRUE(has_row(lines, 2, "to receive from channel 2 (unbuffered) 0s"));
  EXPECT_TRUE(has_row(lines, 3, "error_test.cpp:" + std::to_string(line + 1) + ", in "));
  EXPECT_TRUE(has_row(lines, 3, "to send to channel 1 (1 of 1) 0s"));
}

TEST(test_error, the_same_is_told_under_every_seed) {
  rn::chan<int> a(0);
  for (std::uint64_t n = 0; n < 30; ++n) {
    auto lines = deadlock_of(rn::test::seed(n), [&]() -> rn::task<> {
      rn::go(receive, a);
      co_await rn::sleep(1s);
      co_await a.recv();
    });
    EXPECT_TRUE(has_row(lines, 1, "the body to receive from channel 1 (unbuffered) 1s"));
    EXPECT_TRUE(has_row(lines, 2, "to receive from channel 1 (unbuffered) 0s"));
  }
}

TEST(test_error, a_join_is_told_with_the_number_of_its_children) {
  rn::chan<int> ch(0);
  auto group = deadlock_of([&]() -> rn::task<> {
    rn::errgroup g;
    g.go(receive, ch);
    g.go(receive, ch);
    co_await g.wait();
  });
  EXPECT_TRUE(has_row(group, 1, "the body for 2 children of a group 0s"));
  auto task_group = deadlock_of([&]() -> rn::task<> {
    rn::task_group g;
    g.go(receive, ch);
    auto r = co_await rn::as_result(rn::detail::as_task(g.wait()));
  });
  EXPECT_TRUE(has_row(task_group, 1, "the body for 1 child of a group 0s"));
  auto fork_join = deadlock_of([&]() -> rn::task<> { co_await rn::all(receive(ch), receive(ch), rn::detail::as_task(rn::sleep(1s))); });
  EXPECT_TRUE(has_row(fork_join, 1, "the body for 2 children of an all or race 0s"));
  EXPECT_TRUE(has_row(fork_join, 2, "a child of an all or race in 1 to receive from channel 1 (unbuffered) 0s"));
  EXPECT_TRUE(has_row(fork_join, 3, "a child of an all or race in 1 to receive from channel 1 (unbuffered) 0s"));
  EXPECT_EQ(row(fork_join, 4), "");  // it has ended
}

TEST(test_error, nested_joins_are_told) {
  rn::chan<int> ch(0);
  auto inner = [&]() -> rn::task<> { co_await rn::all(receive(ch), receive(ch)); };
  auto lines = deadlock_of([&]() -> rn::task<> { co_await rn::race(inner(), receive(ch)); });
  EXPECT_TRUE(has_row(lines, 1, "the body for 2 children of an all or race 0s"));
  // The child that only joins is no goroutine itself. Its children are known by it.
  EXPECT_TRUE(has_row(lines, 3, "a child of an all or race in 2 to receive from channel 1 (unbuffered) 0s"));
  EXPECT_TRUE(has_row(lines, 4, "a child of an all or race in 2 to receive from channel 1 (unbuffered) 0s"));
  EXPECT_TRUE(has_row(lines, 5, "a child of an all or race in 1 to receive from channel 1 (unbuffered) 0s"));
}

TEST(test_error, other_waits_are_told) {
  rn::chan<int> ch(0);
  auto slot = deadlock_of([&]() -> rn::task<> {
    co_await rn::with_errgroup(rn::limit(1), [&](rn::errgroup& g) -> rn::task<> {
      co_await g.go(receive, ch);
      co_await g.go(receive, ch);
    });
  });
  EXPECT_TRUE(has_row(slot, 1, "the body for a slot in a group 0s"));
  auto done = deadlock_of([]() -> rn::task<> { co_await rn::done(); });
  EXPECT_TRUE(has_row(done, 1, "the body for a context to be done 0s"));
  rn::wait_group all;
  auto count = deadlock_of([&]() -> rn::task<> {
    all.add(1);
    co_await all.wait();
  });
  all.done();
  EXPECT_TRUE(has_row(count, 1, "the body for a wait_group 0s"));
}

// Where only a cancellation could end it, that is said.
TEST(test_error, a_wait_for_ever_is_told) {
  auto nil = deadlock_of([]() -> rn::task<> {
    rn::go(receive, rn::chan<int>());
    co_await rn::sleep(rn::detail::end_of_time * 1ns);
  });
  EXPECT_TRUE(has_row(nil, 1, "the body for a timer: for ever 0s"));
  EXPECT_TRUE(has_row(nil, 2, "to receive from the nil channel: for ever 0s"));
  auto gone = report_of<rn::test::leak_error>([]() -> rn::task<> {
    std::optional<rn::chan<int>> ch(0);
    rn::go([](std::optional<rn::chan<int>>& c) -> rn::task<> { (void)co_await c->recv(); }, std::ref(ch));
    co_await rn::test::wait_idle();
    ch.reset();  // the last handle
  });
  EXPECT_TRUE(has_row(gone, 2, "to receive from a channel of which no handle is left: for ever 0s"));
}

// A partial deadlock: everybody in the group waits for ever, so who joins it does.
TEST(test_error, a_join_of_those_that_wait_for_ever_waits_for_ever) {
  rn::chan<int> ch(0);
  auto stuck = [](rn::chan<int> nil) -> rn::task<> {
    co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
      g.go(receive, nil);
      g.go(send, nil);
      co_return;
    });
  };
  auto lines = deadlock_of([&]() -> rn::task<> {
    rn::go(receive, ch);
    co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
      g.go(rn::moved(stuck).get(), rn::chan<int>());
      co_return;
    });
  });
  EXPECT_TRUE(has_row(lines, 1, "the body for 1 child of a group: for ever 0s"));
  EXPECT_TRUE(has_row(lines, 2, "to receive from channel 1 (unbuffered) 0s"));
  EXPECT_TRUE(has_row(lines, 3, "for 2 children of a group: for ever 0s"));
}

TEST(test_error, a_goroutine_that_outlives_the_body_is_a_leak) {
  rn::chan<int> ch(0);
  auto lines = report_of<rn::test::leak_error>([&]() -> rn::task<> {
    rn::go(receive, ch);
    rn::go([]() -> rn::task<> {
      co_await rn::sleep(1s);
      co_await rn::sleep(10s);
    });
    co_await rn::sleep(2s);
  });
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0].find("runnel: leak: the body has ended and 2 goroutines that it left behind cannot go on"), 0u);
  EXPECT_TRUE(has_row(lines, 2, "to receive from channel 1 (unbuffered) 0s"));
  EXPECT_TRUE(has_row(lines, 3, "for a timer, 9s more 1s"));  // SY-05: time has stopped
}

// Goroutines under contexts that do not belong to the run's tree are seen too.
TEST(test_error, a_goroutine_under_another_context_is_told_once) {
  rn::chan<int> ch(0);
  auto [ctx, cancel] = rn::context::background().with_cancel();
  int line = __LINE__ + 2;
  auto lines = deadlock_of([&, outer = ctx]() -> rn::task<> {
    rn::go(outer, receive, ch);
    auto [inner, cancel_inner] = rn::this_context().with_cancel();
    rn::go(inner, receive, ch);
    co_await rn::with_context(inner, receive(ch));
  });
  ASSERT_EQ(lines.size(), 5u);
  EXPECT_TRUE(has_row(lines, 1, "the body to receive from channel 1 (unbuffered) 0s"));
  EXPECT_TRUE(has_row(lines, 2, "error_test.cpp:" + std::to_string(line) + ", in "));
  EXPECT_TRUE(has_row(lines, 2, "to receive from channel 1 (unbuffered) 0s"));
  EXPECT_TRUE(has_row(lines, 3, "error_test.cpp:" + std::to_string(line + 2) + ", in "));
  EXPECT_TRUE(has_row(lines, 3, "to receive from channel 1 (unbuffered) 0s"));
}

TEST(test_error, what_has_not_begun_is_told) {
  auto lines = report_of<rn::test::endless_error>(rn::test::max_steps(1), []() -> rn::task<> {
    rn::go(receive, rn::chan<int>(0));
    co_await rn::sleep(1s);
  });
  EXPECT_TRUE(has_row(lines, 0, "error_test.cpp"));
  EXPECT_TRUE(has_row(lines, 0, "to begin"));
}

// After the report everything is cancelled and unwound: nothing of the run is left.
TEST(test_error, a_hanging_run_leaves_nothing_behind) {
  (void)rn::context::background();
  auto before = rn::detail::frame_pool_stats().live_blocks;
  int unwound = 0;
  struct guard {
    int& n;
    ~guard() { ++n; }
  };
  auto shielded = [&](rn::chan<int> ch) -> rn::task<> {
    guard g{unwound};
    co_await rn::shield(receive(ch));
  };
  rn::chan<int> ch(0);
  (void)deadlock_of([&]() -> rn::task<> {
    guard g{unwound};
    co_await rn::with_errgroup([&](rn::errgroup& group) -> rn::task<> {
      group.go(rn::moved(shielded).get(), ch);  // only a kill ends it
      co_await rn::all(receive(ch), shielded(ch));
    });
  });
  EXPECT_EQ(unwound, 3);
  EXPECT_EQ(rn::detail::frame_pool_stats().live_blocks, before);
}

// What waits for foreign work cannot be ended: it is told, and left alone.
TEST(test_error, what_cannot_be_ended_is_left_alone) {
  struct never {
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<>) const noexcept {}
    void await_resume() const noexcept {}
  };
  testing::internal::CaptureStderr();
  auto lines = deadlock_of([]() -> rn::task<> { co_await rn::adopt(never()); });
  std::string printed = testing::internal::GetCapturedStderr();
  EXPECT_TRUE(has_row(lines, 1, "for what it adopted, or runs"));
  EXPECT_NE(printed.find("not even a kill ends what is left of a test run"), std::string::npos) << printed;
}

}  // namespace
