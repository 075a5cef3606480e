// SPDX-License-Identifier: BSL-1.0
// The trace of a run: what it has, how it reads, when two are equal.
#include <runnel/all.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/go.hpp>
#include <runnel/sleep.hpp>
#include <runnel/test.hpp>
#include <runnel/this_task.hpp>
#include <runnel/with_context.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using kind = rn::test::trace::step::kind_t;

rn::test::trace trace_of(auto body, auto... options) {
  rn::test::trace t;
  rn::test::run(options..., rn::test::record_to(t), body);
  return t;
}

TEST(test_trace, has_each_step_with_its_goroutine_and_time) {
  int line = 0;
  auto t = trace_of([&]() -> rn::task<> {
    line = __LINE__ + 1;
    rn::go([]() -> rn::task<> { co_await rn::sleep(2s); });
    co_await rn::sleep(3s);
  });
  ASSERT_EQ(t.steps().size(), 6u);
  EXPECT_EQ(t.steps()[0], (rn::test::trace::step{kind::goroutine, 1, 0, 1, 0}));
  EXPECT_EQ(t.steps()[1], (rn::test::trace::step{kind::goroutine, 2, 0, 1, 0}));
  EXPECT_EQ(t.steps()[2], (rn::test::trace::step{kind::timer, 0, 0, 1, 2'000'000'000}));
  EXPECT_EQ(t.steps()[3], (rn::test::trace::step{kind::goroutine, 2, 0, 1, 2'000'000'000}));
  EXPECT_EQ(t.steps()[4], (rn::test::trace::step{kind::timer, 0, 0, 1, 3'000'000'000}));
  EXPECT_EQ(t.steps()[5], (rn::test::trace::step{kind::goroutine, 1, 0, 1, 3'000'000'000}));
  ASSERT_EQ(t.routines().size(), 2u);
  EXPECT_EQ(t.name(1), "the body");
  EXPECT_NE(t.name(2).find("trace_test.cpp:" + std::to_string(line)), std::string::npos) << t.name(2);
  EXPECT_EQ(t.name(3), "an unknown place");
}

TEST(test_trace, reads_as_lines) {
  auto t = trace_of([]() -> rn::task<> {
    auto waits = []() -> rn::task<> { co_await rn::yield(); };
    co_await rn::all(waits(), waits());
    co_await rn::sleep(1500ms);
  });
  std::string text = t.text();
  EXPECT_NE(text.find("  0  0s  goroutine 1 runs (the body)\n"), std::string::npos) << text;
  EXPECT_NE(text.find("goroutine 2 runs (a child of an all or race in 1)  [0 of 0..1]\n"), std::string::npos) << text;
  EXPECT_NE(text.find("  1.5s  a timer fires\n"), std::string::npos) << text;
  std::string last = t.text(2);
  EXPECT_EQ(last.find("  ... " + std::to_string(t.steps().size() - 2) + " steps before\n"), 0u) << last;
}

// By default who ran last goes on; a child that has become a goroutine, too.
TEST(test_trace, of_children_that_need_not_wait_has_one_after_the_other) {
  auto t = trace_of([]() -> rn::task<> {
    auto sends = []() -> rn::task<> {
      rn::chan<int> ch(3);
      for (int i = 0; i < 3; ++i) co_await ch.send(i);
    };
    auto child = [sends]() -> rn::task<> { co_await rn::with_timeout(1h, sends()); };
    co_await rn::all(child(), child());
  });
  std::vector<unsigned> who;
  for (const auto& step : t.steps())
    if (who.empty() || who.back() != step.number) who.push_back(step.number);
  EXPECT_EQ(who, (std::vector<unsigned>{1, 2, 3})) << t.text();
}

TEST(test_trace, tells_who_was_unwound) {
  rn::test::trace t;
  auto body = []() -> rn::task<> {
    rn::chan<int> ch(0);
    rn::go([](rn::chan<int> c) -> rn::task<> { (void)co_await c.recv(); }, ch);
    co_await rn::yield();
    auto [ctx, cancel] = rn::this_context().with_cancel();
    rn::go(ctx, [](rn::chan<int> c) -> rn::task<> { (void)co_await c.recv(); }, ch);
    co_await rn::test::wait_idle();
    cancel();
    ch.close();
  };
  rn::test::run(rn::test::record_to(t), body);
  int unwound = 0;
  for (const auto& s : t.steps()) unwound += s.kind == kind::unwinding;
  EXPECT_EQ(unwound, 1);
  EXPECT_NE(t.text().find("is unwound"), std::string::npos);
}

TEST(test_trace, is_recorded_however_the_run_ends) {
  rn::test::trace t;
  EXPECT_THROW(rn::test::run(rn::test::record_to(t),
                             []() -> rn::task<> {
                               co_await rn::yield();
                               co_await rn::chan<int>(0).recv();
                             }),
               rn::test::deadlock_error);
  EXPECT_EQ(t.steps().size(), 2u);  // and nothing of how the rest was ended
}

TEST(test_trace, of_other_bodies_is_another) {
  auto one = trace_of([]() -> rn::task<> { co_await rn::yield(); });
  auto two = trace_of([]() -> rn::task<> {
    co_await rn::yield();
    co_await rn::yield();
  });
  auto later = trace_of([]() -> rn::task<> { co_await rn::sleep(1s); });
  auto much_later = trace_of([]() -> rn::task<> { co_await rn::sleep(2s); });
  EXPECT_NE(one, two);
  EXPECT_NE(later, much_later);
}

}  // namespace
