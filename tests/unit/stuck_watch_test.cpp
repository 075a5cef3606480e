// SPDX-License-Identifier: BSL-1.0
// stuck_watch: deadlocks and leaks of a running program, and what is none.
#include <runnel/stuck_watch.hpp>

#include <runnel/after.hpp>
#include <runnel/async.hpp>
#include <runnel/blocking.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/io/use_task.hpp>
#include <runnel/run.hpp>
#include <runnel/runtime.hpp>
#include <runnel/select.hpp>
#include <runnel/sleep.hpp>
#include <runnel/with_context.hpp>
#include <runnel/sync/mutex.hpp>

#include "support/gate.hpp"
#include "support/until.hpp"

#include <gtest/gtest.h>
#include <boost/asio/steady_timer.hpp>

#include <atomic>
#include <chrono>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using test_support::wait_until;

rn::runtime_options tracked() { return rn::runtime_options().track_goroutines(); }

// Looks when the test says so.
struct looker {
  std::vector<rn::stuck_report> reports;
  rn::detail::stuck_finder finder;
  explicit looker(rn::runtime& rt) : finder(rt.core(), [this](const auto& r) { reports.push_back(r); }) {}
  // Until it has reported, or n times after the runtime has become idle.
  void look(rn::runtime& rt, int n) {
    EXPECT_TRUE(wait_until([&] { return rt.core().core.all_idle(); }));
    for (int i = 0; i < n; ++i) finder.look_for_deadlock();
  }
};
bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

rn::task<> lock_both(rn::mutex& first, rn::mutex& second, rn::chan<void> mine, rn::chan<void> others) {
  auto one = co_await first.lock();
  mine.close();
  co_await others.recv();
  auto two = co_await second.lock();
}

// DL-01, DL-C01
TEST(stuck_watch, a_deadlock_of_two_locks_is_told_once_with_who_waits_for_what) {
  rn::mutex a, b;
  rn::chan<void> first(0), second(0);
  rn::runtime rt(rn::threads(2), tracked());
  rt.go([&]() -> rn::task<> {
    co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
      g.go(lock_both, std::ref(a), std::ref(b), first, second);
      g.go(lock_both, std::ref(b), std::ref(a), second, first);
      co_return;
    });
  });
  looker l(rt);
  EXPECT_TRUE(wait_until([&] { return l.look(rt, 2), !l.reports.empty(); }));
  l.look(rt, 5);
  ASSERT_EQ(l.reports.size(), 1u);
  EXPECT_TRUE(l.reports[0].deadlock);
  EXPECT_TRUE(has(l.reports[0].text, "deadlock: every goroutine waits for another\n")) << l.reports[0].text;
  EXPECT_TRUE(has(l.reports[0].text, "waits for a mutex")) << l.reports[0].text;
  EXPECT_TRUE(has(l.reports[0].text, "waits for 2 children of a group")) << l.reports[0].text;
}

TEST(stuck_watch, it_is_told_again_when_something_has_run_since) {
  rn::chan<int> ch(0), other(0);
  rn::runtime rt(rn::threads(1), tracked());
  rt.go([&]() -> rn::task<> {
    (void)co_await ch.recv();
    (void)co_await other.recv();
  });
  looker l(rt);
  EXPECT_TRUE(wait_until([&] { return l.look(rt, 2), l.reports.size() == 1; }));
  ch.blocking_send(1);
  EXPECT_TRUE(wait_until([&] { return l.look(rt, 2), l.reports.size() == 2; }));
}

rn::task<> receive(rn::chan<int> ch) { (void)co_await ch.recv(); }

TEST(stuck_watch, goroutines_of_two_runtimes_that_wait_for_each_other_are_one) {
  rn::chan<int> ping(0), pong(0);
  rn::runtime a(rn::threads(1), tracked()), b(rn::threads(1));
  a.go([&]() -> rn::task<> {
    (void)co_await ping.recv();
    co_await pong.send(1);
  });
  b.go([&]() -> rn::task<> {
    (void)co_await pong.recv();
    co_await ping.send(1);
  });
  looker l(a);
  ASSERT_TRUE(wait_until([&] { return l.look(a, 2), !l.reports.empty(); }));
  EXPECT_TRUE(has(l.reports[0].text, "to receive from channel")) << l.reports[0].text;
}

// It hears nothing of the cancellation that comes when its handle is dropped.
rn::task<> receive_one(rn::chan<int> ch) { (void)co_await rn::shield(receive(ch)); }

TEST(stuck_watch, who_joins_its_tasks_waits_for_others) {
  rn::chan<int> ch(0);
  rn::runtime rt(rn::threads(1), tracked());
  rt.go([&]() -> rn::task<> {
    auto left = rn::async(receive_one, ch);
    co_return;
  });
  looker l(rt);
  ASSERT_TRUE(wait_until([&] { return l.look(rt, 2), !l.reports.empty(); }));
  EXPECT_TRUE(has(l.reports[0].text, "waits for 1 task of async to end")) << l.reports[0].text;
  ch.close();
}

// DL-02, DL-03. What waits for something from outside is no deadlock: each of these waits, with another that waits for it.
void expect_none(rn::runtime& rt, std::atomic<bool>& waits) {
  looker l(rt);
  EXPECT_TRUE(wait_until([&] { return waits.load(); }));
  l.look(rt, 20);
  EXPECT_TRUE(l.reports.empty()) << l.reports[0].text;
}
rn::task<> receive_then_say(rn::chan<int> ch, std::atomic<bool>& waits) {
  waits = true;
  (void)co_await ch.recv();
}

TEST(stuck_watch, a_timer_is_none) {
  std::atomic<bool> waits = false;
  rn::runtime rt(rn::threads(1), tracked());
  rt.go(receive_then_say, rn::chan<int>(0), std::ref(waits));
  rt.go([]() -> rn::task<> { co_await rn::sleep(1h); });
  expect_none(rt, waits);
}
TEST(stuck_watch, a_timer_of_another_runtime_is_none) {
  std::atomic<bool> waits = false;
  rn::runtime rt(rn::threads(1), tracked()), other(rn::threads(1));
  rt.go(receive_then_say, rn::chan<int>(0), std::ref(waits));
  other.go([]() -> rn::task<> { co_await rn::sleep(1h); });
  expect_none(rt, waits);
}
TEST(stuck_watch, an_operation_in_another_runtime_is_none) {
  std::atomic<bool> waits = false;
  rn::runtime rt(rn::threads(1), tracked()), other(rn::threads(1));
  rt.go(receive_then_say, rn::chan<int>(0), std::ref(waits));
  std::atomic<bool> others = false;
  other.go([&]() -> rn::task<> {
    boost::asio::steady_timer t(rn::this_executor(), 1h);
    others = true;
    co_await t.async_wait(rn::use_task);
  });
  EXPECT_TRUE(wait_until([&] { return others.load() && other.core().core.all_idle(); }));
  expect_none(rt, waits);
}
TEST(stuck_watch, a_select_with_a_time_limit_is_none) {
  std::atomic<bool> waits = false;
  rn::runtime rt(rn::threads(1), tracked());
  rt.go([&]() -> rn::task<> {
    rn::chan<int> ch(0);
    waits = true;
    co_await rn::select(rn::on(ch.recv(), [](auto) {}), rn::on(rn::after(1h), [] {}));
  });
  expect_none(rt, waits);
}
TEST(stuck_watch, a_blocking_call_is_none) {
  std::atomic<bool> waits = false;
  std::atomic<bool> may_end = false;
  rn::runtime rt(rn::threads(1), tracked());
  rt.go([&]() -> rn::task<> {
    co_await rn::blocking([&] {
      waits = true;
      may_end.wait(false);
    });
  });
  expect_none(rt, waits);
  may_end = true;
  may_end.notify_all();
}
TEST(stuck_watch, who_waits_for_a_context_to_be_done_is_none) {
  std::atomic<bool> waits = false;
  rn::runtime rt(rn::threads(1), tracked());
  rt.go([&]() -> rn::task<> {
    waits = true;
    co_await rn::this_context().done();
  });
  expect_none(rt, waits);
}
// The usual shape of a server: a signal may end it.
TEST(stuck_watch, a_select_that_asks_a_context_is_none) {
  std::atomic<bool> waits = false;
  rn::runtime rt(rn::threads(1), tracked());
  rt.go([&]() -> rn::task<> {
    rn::chan<int> jobs(0);
    waits = true;
    co_await rn::select(rn::on(jobs.recv(), [](auto) {}), rn::on(rn::this_context().done(), [] {}));
  });
  expect_none(rt, waits);
}
TEST(stuck_watch, a_select_that_waits_for_an_operation_of_asio_is_none) {
  std::atomic<bool> waits = false;
  rn::runtime rt(rn::threads(1), tracked());
  rt.go([&]() -> rn::task<> {
    rn::chan<int> jobs(0);
    boost::asio::steady_timer timer(rn::this_executor(), 1h);
    waits = true;
    co_await rn::select(rn::on(jobs.recv(), [](auto) {}), rn::on(timer.async_wait(rn::use_task), [] {}));
  });
  expect_none(rt, waits);
}
// DL-C02: instead of a counter there are two looks.
TEST(stuck_watch, two_looks_with_a_guard_between_them_are_not_two_in_a_row) {
  std::atomic<bool> waits = false;
  rn::runtime rt(rn::threads(1), tracked());
  rt.go(receive_then_say, rn::chan<int>(0), std::ref(waits));
  EXPECT_TRUE(wait_until([&] { return waits && rt.core().core.all_idle(); }));
  looker l(rt);
  l.look(rt, 1);
  {
    rn::external_guard guard;
    l.look(rt, 1);
  }
  l.look(rt, 1);
  EXPECT_TRUE(l.reports.empty());
  l.look(rt, 1);
  EXPECT_EQ(l.reports.size(), 1u);
}
TEST(stuck_watch, a_shutdown_is_none) {
  std::atomic<bool> waits = false;
  rn::chan<int> ch(0);
  rn::runtime rt(rn::threads(1), tracked().grace(1ms));
  rt.go([&]() -> rn::task<> { co_await rn::shield(receive_then_say(ch, waits)); });
  EXPECT_TRUE(wait_until([&] { return waits.load(); }));
  rt.core().refuse_new();  // as a shutdown begins
  looker l(rt);
  l.look(rt, 5);
  EXPECT_TRUE(l.reports.empty());
}

// DL-C03
TEST(stuck_watch, an_external_guard_says_that_somebody_else_will_go_on) {
  std::atomic<bool> waits = false;
  rn::runtime rt(rn::threads(1), tracked());
  rt.go(receive_then_say, rn::chan<int>(0), std::ref(waits));
  {
    rn::external_guard guard, moved = std::move(guard);
    expect_none(rt, waits);
  }
  looker l(rt);
  l.look(rt, 2);
  EXPECT_EQ(l.reports.size(), 1u);
}
TEST(stuck_watch, an_idle_runtime_is_none) {
  std::atomic<bool> ran = false;
  rn::runtime rt(rn::threads(2), tracked());
  rt.go([&]() -> rn::task<> {
    ran = true;
    co_return;
  });
  expect_none(rt, ran);
}

TEST(stuck_watch, a_goroutine_at_a_channel_that_nobody_has_is_a_leak_told_once) {
  std::optional<rn::chan<int>> ch(0);
  std::atomic<bool> waits = false;
  rn::runtime rt(rn::threads(1), tracked());
  rt.go([&]() -> rn::task<> {
    waits = true;
    co_await ch->send(1);
  });
  looker l(rt);
  EXPECT_TRUE(wait_until([&] { return waits && rt.core().core.all_idle(); }));
  l.finder.look_for_leaks();
  EXPECT_TRUE(l.reports.empty());
  ch.reset();  // the last handle
  l.finder.look_for_leaks();
  l.finder.look_for_leaks();
  ASSERT_EQ(l.reports.size(), 1u);
  EXPECT_FALSE(l.reports[0].deadlock);
  EXPECT_TRUE(has(l.reports[0].text, "leak: goroutine ")) << l.reports[0].text;
  EXPECT_TRUE(has(l.reports[0].text, "waits to send to a channel of which no handle is left")) << l.reports[0].text;
}

TEST(stuck_watch, looks_by_itself_and_calls_the_handler) {
  rn::runtime rt(rn::threads(2), tracked());
  std::atomic<int> told = 0;
  rn::stuck_watch watch(rt, 1ms, [&](const rn::stuck_report& r) { told += r.deadlock; });
  rn::chan<int> ch(0);
  rt.go([&]() -> rn::task<> { (void)co_await ch.recv(); });
  EXPECT_TRUE(wait_until([&] { return told == 1; }));
}

TEST(stuck_watch_death, without_a_handler_a_deadlock_ends_the_program) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        rn::runtime rt(rn::threads(1), tracked());
        rn::stuck_watch watch(rt, 1ms);
        rn::chan<int> ch(0);
        rt.go([&]() -> rn::task<> { (void)co_await ch.recv(); });
        wait_until([] { return false; });
      },
      "deadlock: every goroutine waits for another");
}

TEST(stuck_watch, without_tracking_or_with_an_interval_of_nothing_it_is_misuse) {
  rn::runtime plain(rn::threads(1)), rt(rn::threads(1), tracked());
  EXPECT_THROW(rn::stuck_watch watch(plain), rn::misuse_error);
  EXPECT_THROW(rn::stuck_watch watch(rt, 0ms), rn::misuse_error);
  auto app = []() -> rn::task<> { co_return; };
  EXPECT_NE(rn::run(rn::threads(1), rn::report_stuck, app), 0);
  EXPECT_EQ(rn::run(rn::threads(1), rn::report_stuck, tracked(), app), 0);
}

}  // namespace
