// SPDX-License-Identifier: BSL-1.0
// PR: what holds of OTP's processes holds of goroutines, by rule number, in virtual time, under many schedules. What does
// not, and why, is in docs/guides/elixir.md.
#include <runnel/as_result.hpp>
#include <runnel/async.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/select_loop.hpp>
#include <runnel/sleep.hpp>
#include <runnel/test.hpp>
#include <runnel/this_task.hpp>
#include <runnel/with_context.hpp>
#include <support/tasks.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <optional>
#include <source_location>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using namespace runnel_test;

void must(bool holds, std::source_location where = std::source_location::current()) {
  if (!holds) throw std::logic_error("does not hold: line " + std::to_string(where.line()));
}
template <class Body> void under_many_schedules(Body body) {
  EXPECT_NO_THROW(rn::test::explore(300, body));
  EXPECT_NO_THROW(rn::test::exhaust(body, rn::test::preemptions(1)));
}

// PR-02: also where it ends before its owner asks.
TEST(pr, a_start_returns_at_once_and_an_end_at_once_is_noticed) {
  auto body = []() -> rn::task<> {
    int began = 0;
    auto dies = [](int& n) {
      ++n;
      throw std::runtime_error("at once");
    };
    auto t = rn::async(dies, std::ref(began));
    must(began == 0);
    while (began == 0) co_await rn::yield();
    co_await rn::test::wait_idle();
    auto r = co_await rn::as_result(t.await());
    must(what(r.error()) == "at once");
    auto group = [&](rn::errgroup& g) -> rn::task<> {
      co_await g.go(dies, std::ref(began));
      co_await rn::test::wait_idle();
    };
    auto of_group = co_await rn::as_result(rn::with_errgroup(group));
    must(what(of_group.error()) == "at once" && began == 2);
  };
  under_many_schedules(body);
}

rn::task<> throws_below(int& starts) {
  auto deep = [](int n) -> rn::task<> {
    co_await rn::yield();
    if (n == 1) throw std::runtime_error("below");
  };
  co_await deep(++starts);
}
rn::task<> throws_something(int& starts) {
  if (++starts == 1) throw 7;
  co_return;
}
rn::task<> returns(int& starts) {
  ++starts;
  co_return;
}
rn::task<> waits(int& starts) {
  ++starts;
  co_await rn::sleep(1h);
}
rn::task<> unwinds_by_itself(int& starts) {
  if (++starts > 1) co_return;
  auto made = rn::context::background().with_cancel();
  made.second();
  co_await rn::with_context(made.first, rn::sleep(1h));
}

// PR-03, PR-04: a return is a normal end, any exception an error; who has been asked to end is neither told nor started
// again. Who unwinds though nobody asked has not done what it had to: that is an error too.
TEST(pr, ends_are_normal_or_errors_or_asked_for) {
  struct row {
    rn::task<> (*f)(int&);
    bool terminated;
    int starts;
    std::vector<std::string> told;
  };
  for (const row& r : {row{returns, false, 1, {}}, row{waits, true, 1, {}}, row{throws_below, false, 2, {"below"}},
                       row{throws_something, false, 2, {"an exception that is not a std::exception"}},
                       row{unwinds_by_itself, false, 2, {"canceled"}}}) {
    int starts = 0;
    std::vector<std::string> told;
    auto hear = [&](const rn::goroutine_error& e) { told.push_back(what(e.error)); };
    in_one(rn::task_supervisor(rn::on_error(hear)), [&](rn::task_supervisor& sup) -> rn::task<> {
      auto child = co_await sup.start_child(rn::transient, r.f, std::ref(starts));
      co_await rn::test::wait_idle();
      if (r.terminated) {
        EXPECT_EQ(co_await sup.terminate_child(child.number()), rn::child_outcome::ok);
      }
      co_await rn::test::wait_idle();
      EXPECT_EQ(sup.count_children().specs, 0u);
    });
    EXPECT_EQ(starts, r.starts);
    EXPECT_EQ(told, r.told);
  }
}

// PR-05: who waits is woken; code that runs goes on to its next wait, and each wait after that hears of it anew.
TEST(pr, a_cancel_is_heard_where_the_goroutine_waits) {
  auto body = []() -> rn::task<> {
    std::string said;
    int alive = 0;
    auto sleeps = [](int& n) -> rn::task<> {
      alive_here here(n);
      co_await rn::sleep(1h);
    };
    auto runs = [](std::string& s, rn::errgroup& g) -> rn::task<> {
      auto call = [&s]() -> rn::task<> {
        s += "calls ";
        co_return;
      };
      g.cancel();
      s += "goes on ";
      co_await call();
      for (int i = 0; i < 2; ++i) {
        auto r = co_await rn::as_result(rn::sleep(1h));
        s += r.canceled() ? "hears " : "sleeps ";
      }
      co_await rn::sleep(1ns);
      s += "never ";
    };
    auto both = [&](rn::errgroup& g) -> rn::task<> {
      co_await g.go(sleeps, std::ref(alive));
      co_await rn::test::wait_idle();
      must(alive == 1);
      co_await g.go(runs, std::ref(said), std::ref(g));
    };
    auto r = co_await rn::as_result(rn::with_errgroup(both));
    must(!r.error());
    must(said == "goes on calls hears hears " && alive == 0 && rn::test::elapsed() == 0s);
  };
  under_many_schedules(body);
}

// PR-06
TEST(pr, a_kill_cannot_be_caught_and_clean_up_that_waits_is_refused) {
  auto body = []() -> rn::task<> {
    std::string said;
    auto stubborn = [](std::string& s) -> rn::task<> {
      struct at_end {
        std::string& s;
        ~at_end() { s += "destroyed "; }
      } end{s};
      auto clean_up = [&s]() -> rn::task<> {
        s += "cleans ";
        co_await rn::sleep(1s);
        s += "up ";
      };
      for (int i = 0; i < 10; ++i) {
        try {
          auto r = co_await rn::as_result(rn::finally(rn::shield(rn::sleep(1h)), clean_up));
          s += r.canceled() ? "absorbs " : "sleeps ";
        } catch (...) {
          s += "catches ";
        }
      }
    };
    auto t = rn::async(stubborn, std::ref(said));
    co_await rn::test::wait_idle();
    auto r = co_await t.shutdown(rn::kill);
    must(r.canceled() && said == "cleans destroyed " && rn::test::elapsed() == 0s);
  };
  under_many_schedules(body);
}

// PR-08, PR-09: an end is told when nothing of it is left, so nothing more can come from there, and what it held is free.
TEST(pr, who_has_heard_of_an_end_hears_nothing_more_from_there) {
  for (bool killed : {false, true}) {
    auto body = [killed]() -> rn::task<> {
      rn::chan<int> out(1000);
      rn::chan<void> place(1);
      auto talks = [](rn::chan<int> to, rn::chan<void> holds) -> rn::task<> {
        struct leaves {
          rn::chan<void>& held;
          ~leaves() { (void)held.try_recv(); }
        } at_end{holds};
        co_await holds.send();
        auto last_words = [&to]() -> rn::task<> {
          for (int i = 0; i < 3; ++i) {
            co_await rn::yield();
            co_await to.send(2);
          }
        };
        auto talk = [&to]() -> rn::task<> {
          for (int i = 0; i < 5; ++i) {
            co_await to.send(1);
            co_await rn::yield();
          }
        };
        co_await rn::finally(talk(), last_words);
      };
      auto t = rn::async(talks, out, place);
      co_await rn::yield();
      if (killed)
        (void)co_await t.shutdown(rn::kill);
      else
        (void)co_await t.shutdown(1s);
      must(place.try_send());
      while (out.try_recv()) {
      }
      co_await rn::test::wait_idle();
      must(!out.try_recv());
    };
    under_many_schedules(body);
  }
}

// PR-14: what a goroutine does for one message it ends before it takes the next, also where it waits in between.
TEST(pr, a_loop_handles_one_message_at_a_time) {
  auto body = []() -> rn::task<> {
    rn::chan<int> a(0), b(0);
    bool busy = false;
    int handled = 0;
    auto handle = [&]() -> rn::task<> {
      must(!busy);
      busy = true;
      co_await rn::yield();
      co_await rn::yield();
      busy = false;
      ++handled;
    };
    auto send = [](rn::chan<int> to) -> rn::task<> {
      for (int i = 0; i < 2; ++i) co_await to.send(i);
    };
    auto first = rn::async(send, a);
    auto second = rn::async(send, b);
    auto serve = [&]() -> rn::task<> {
      co_await rn::select_loop(rn::on(a.recv(), [&](std::optional<int>) { return handle(); }),
                               rn::on(b.recv(), [&](std::optional<int>) { return handle(); }));
    };
    auto loop = rn::async(serve);
    co_await first.await();
    co_await second.await();
    co_await rn::test::wait_idle();
    must(handled == 4 && !busy);
    auto end = co_await loop.shutdown();
    must(end.canceled());
  };
  under_many_schedules(body);
}

// PR-15: of who cancels and then sends, the cancel is heard first, also where the message is there already.
TEST(pr, what_is_sent_after_a_cancel_is_not_taken) {
  auto body = []() -> rn::task<> {
    rn::chan<int> ch(16);
    std::vector<int> taken;
    auto [ctx, cancel] = rn::context::background().with_cancel();
    auto receive = [&]() -> rn::task<> {
      for (;;) {
        auto v = co_await ch.recv();
        taken.push_back(*v);
        co_await rn::yield();
      }
    };
    auto receiver = [](rn::context in, decltype(receive)& f) -> rn::task<> { co_await rn::with_context(in, f()); };
    auto t = rn::async(receiver, ctx, std::ref(receive));
    for (int i = 0; i < 3; ++i) {
      must(ch.try_send(1));
      co_await rn::yield();
    }
    cancel();
    must(ch.try_send(2));
    auto r = co_await rn::as_result(t.await());
    must(r.canceled());
    for (int v : taken) must(v == 1);
    int left = 0;
    while (auto v = ch.try_recv()) left = *v;
    must(left == 2);
  };
  under_many_schedules(body);
}

}  // namespace
