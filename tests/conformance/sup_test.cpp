// SPDX-License-Identifier: BSL-1.0
// SUP: specifications, start and stop of supervisors, by rule number, in virtual time. Where DESIGN section 4 wins: a
// child that does not end is waited for and reported, not detached.
#include <runnel/adopt.hpp>
#include <runnel/as_result.hpp>
#include <runnel/async.hpp>
#include <runnel/chan.hpp>
#include <runnel/otp/supervisor.hpp>
#include <support/checked_runtime.hpp>
#include <support/never_mind.hpp>
#include <support/supervised.hpp>
#include <support/until.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <coroutine>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using namespace runnel_test;
using rn::child_outcome;

// ---- Specifications ----

// SUP-01, SUP-02, SUP-03
TEST(sup, what_cannot_be_a_child_is_refused_before_anything_starts) {
  auto said = [](auto f) -> std::string {
    try {
      f();
    } catch (const rn::misuse_error& e) {
      return e.what();
    }
    return "nothing";
  };
  auto nothing = [] {};
  rn::supervisor sup(rn::one_for_one);
  sup.child("db", nothing);
  EXPECT_EQ(said([&] { sup.child("db", nothing); }),
            "runnel: child \"db\" is there already: ids are unique in a supervisor");
  EXPECT_EQ(said([&] { sup.child("", nothing); }), "runnel: the id of a child is empty");
  EXPECT_EQ(said([&] { sup.child("s", rn::significant, nothing); }),
            "runnel: child \"s\" is significant and permanent: one that is always restarted never ends for good; make "
            "it transient or temporary");
  EXPECT_EQ(said([&] { sup.child("s", rn::significant, rn::transient, nothing); }),
            "runnel: child \"s\" is significant, in a supervisor that does not stop with its children: give that "
            "rn::auto_shutdown, or leave rn::significant out");
  EXPECT_EQ(said([] { rn::shutdown s(-1ms); }),
            "runnel: shutdown(grace) takes a time that is not negative; or rn::kill");
  EXPECT_EQ(said([] { rn::wait_ready w(0s); }), "runnel: wait_ready(limit) takes a positive time, or rn::infinite");
  EXPECT_EQ(said([] { rn::max_restarts m(-1, 1s); }),
            "runnel: max_restarts(n, period) takes no negative n; 0 is none at all");
  EXPECT_EQ(said([] { rn::max_restarts m(1, 0s); }), "runnel: max_restarts(n, period) takes a positive period");
  EXPECT_EQ(said([] { rn::max_restarts m(1, -1s); }), "runnel: max_restarts(n, period) takes a positive period");
  EXPECT_EQ(said([] { rn::max_restarts m(PTRDIFF_MAX, 1s); }),
            "runnel: more than 1,000,000 restarts are no limit: max_restarts::unlimited()");
  sup.child("still fine", nothing);
}

// SUP-01, SUP-C05
TEST(sup, functions_and_arguments_are_copied_into_each_start) {
  rn::test::run([]() -> rn::task<> {
    std::vector<std::string> seen;
    auto f = [&seen, count = 0](std::string s, const std::shared_ptr<int>& p) mutable {
      seen.push_back(s + std::to_string(*p) + std::to_string(++count));
      s = "spoilt";
      throw std::runtime_error("again");
    };
    rn::supervisor sup(rn::one_for_one, rn::max_restarts(2, 5s));
    sup.child("x", f, std::string("a"), std::make_shared<int>(7));
    auto error = co_await error_of_run(sup.run());
    EXPECT_TRUE(as<rn::restart_limit_error>(error));
    EXPECT_EQ(seen, (std::vector<std::string>{"a71", "a71", "a71"}));
  });
}

// ---- Start and stop ----

// SUP-05, SUP-09
TEST(sup, children_start_in_order_and_stop_in_reverse_each_after_the_one_before) {
  rn::test::run([]() -> rn::task<> {
    world w;
    rn::supervisor sup = abc(w, rn::one_for_one);
    co_await while_it_runs(sup, [&]() -> rn::task<> {
      EXPECT_EQ(w.take(), "+a +b +c");
      EXPECT_EQ(states(sup), "a:running b:running c:running");
      co_await w.tell("c", "die slowly");
    });
    EXPECT_EQ(w.take(), "-c -b -a");
    EXPECT_EQ(rn::test::elapsed(), 3s);
    EXPECT_EQ(states(sup), "");
  });
}

// SUP-05
TEST(sup, the_next_child_starts_when_the_one_before_says_that_it_is_ready) {
  rn::test::run([]() -> rn::task<> {
    world w;
    auto slow = [](world& in) -> rn::task<> {
      co_await rn::sleep(2s);
      in.say("ready");
      co_await rn::ready();
      co_await rn::ready();  // once more does nothing
      co_await obey(in, "a");
    };
    rn::supervisor sup(rn::one_for_one);
    sup.child("a", rn::wait_ready(5s), slow, std::ref(w)).child("b", obey, std::ref(w), std::string("b"));
    co_await while_it_runs(sup, [&]() -> rn::task<> {
      EXPECT_EQ(states(sup), "a:starting b:idle");
      co_await rn::sleep(1s);
      EXPECT_EQ(w.take(), "");
      co_await rn::sleep(2s);
      EXPECT_EQ(w.take(), "ready +a +b");
    });
  });
}

// SUP-06
TEST(sup, a_child_that_returns_before_it_is_ready_is_passed_over) {
  rn::test::run([]() -> rn::task<> {
    world w;
    rn::supervisor sup(rn::one_for_one);
    sup.child("kept", rn::wait_ready(1s), [] {})
        .child("dropped", rn::temporary, rn::wait_ready(1s), [] {})
        .child("c", obey, std::ref(w), std::string("c"));
    co_await while_it_runs(sup, [&]() -> rn::task<> {
      EXPECT_EQ(states(sup), "kept:idle c:running");
      EXPECT_EQ(co_await sup.restart_child("kept"), child_outcome::ignored);
      co_return;
    });
  });
}

// SUP-07
TEST(sup, a_child_that_does_not_start_ends_the_supervisor_after_the_others_were_stopped) {
  rn::test::run([]() -> rn::task<> {
    world w;
    int failures = 1;
    rn::supervisor sup(rn::one_for_one);
    sup.child("a", obey, std::ref(w), std::string("a"))
        .child("b", obey, std::ref(w), std::string("b"))
        .child("bad", rn::wait_ready(1s), start_badly, std::ref(w), std::string("bad"), std::ref(failures))
        .child("never", obey, std::ref(w), std::string("never"));
    auto error = co_await error_of_run(sup.run());
    EXPECT_EQ(what(error), "the child \"bad\" has not started: bad does not start");
    auto* e = as<rn::child_start_error>(error);
    EXPECT_TRUE(e);
    EXPECT_EQ(w.take(), "+a +b ?bad -b -a");
    if (!e) co_return;
    EXPECT_EQ(e->id(), "bad");
    EXPECT_EQ(what(e->reason()), "bad does not start");
  });
}

// SUP-07, SUP-08
TEST(sup, a_child_that_hangs_in_its_start_is_stopped_when_its_time_is_up) {
  rn::test::run([]() -> rn::task<> {
    world w;
    rn::supervisor sup(rn::one_for_one);
    sup.child("a", obey, std::ref(w), std::string("a"))
        .child("hangs", rn::wait_ready(2s), obey, std::ref(w), std::string("hangs"));
    auto error = co_await error_of_run(sup.run());
    EXPECT_EQ(what(error), "the child \"hangs\" has not started: it was not ready in time");
    EXPECT_EQ(w.take(), "+a +hangs -hangs -a");
    EXPECT_EQ(rn::test::elapsed(), 2s);
  });
}

// SUP-10
TEST(sup, a_cancellation_while_a_child_hangs_in_its_start_stops_it_first) {
  rn::test::run([]() -> rn::task<> {
    world w;
    rn::supervisor sup(rn::one_for_one);
    sup.child("a", obey, std::ref(w), std::string("a"))
        .child("hangs", rn::wait_ready(rn::infinite), obey, std::ref(w), std::string("hangs"))
        .child("never", obey, std::ref(w), std::string("never"));
    auto error = co_await error_of_run(rn::detail::as_task(rn::with_timeout(3s, sup.run())));
    EXPECT_TRUE(as<rn::deadline_exceeded>(error));
    EXPECT_EQ(w.take(), "+a +hangs -hangs -a");
  });
}

// SUP-08
TEST(sup, a_child_is_cancelled_and_killed_when_its_grace_is_over) {
  rn::test::run([]() -> rn::task<> {
    world w;
    rn::supervisor sup(rn::one_for_one);
    sup.child("patient", rn::shutdown(rn::infinite), obey, std::ref(w), std::string("patient"))
        .child("hasty", rn::shutdown(1s), obey, std::ref(w), std::string("hasty"))
        .child("killed", rn::shutdown(rn::kill), obey, std::ref(w), std::string("killed"));
    std::chrono::nanoseconds took[3];
    co_await while_it_runs(sup, [&]() -> rn::task<> {
      int i = 0;
      for (const char* name : {"killed", "hasty", "patient"}) {
        co_await w.tell(name, "die slowly");
        auto before = rn::test::elapsed();
        EXPECT_EQ(co_await sup.terminate_child(name), child_outcome::ok);
        took[i++] = rn::test::elapsed() - before;
      }
    });
    EXPECT_EQ(took[0], 0s);
    EXPECT_EQ(took[1], 1s);
    EXPECT_EQ(took[2], 3s);
  });
}

// SUP-08, SUP-C02: one that not even a kill ends is reported and waited for.
TEST(sup, a_child_that_does_not_end_delays_and_is_reported) {
  testing::internal::CaptureStderr();
  rn::test::run([]() -> rn::task<> {
    rn::supervisor sup(rn::one_for_one);
    std::coroutine_handle<> stuck;
    auto ignores = [](std::coroutine_handle<>& h) -> rn::task<> { co_await rn::adopt(never_mind(h)); };
    sup.child("x", rn::shutdown(1s), ignores, std::ref(stuck));
    co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
      co_await g.go([&]() -> rn::task<> { (void)co_await rn::as_result(rn::with_timeout(1s, sup.run())); });
      co_await g.go([&]() -> rn::task<> {
        co_await rn::shield(lie_down(60s));
        stuck.resume();
      });
      co_await rn::shield(lie_down(61s));
      EXPECT_FALSE(sup.is_running());
      g.cancel();
    });
  });
  std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("runnel: child \"x\" has not ended 5 s after it was killed"), std::string::npos) << said;
  EXPECT_EQ(said.find("has not ended"), said.rfind("has not ended")) << "once";
}

// SUP-C03 as DESIGN 4 has it: there are never two of one child.
TEST(sup, a_child_that_does_not_end_is_not_replaced_before_it_has) {
  testing::internal::CaptureStderr();
  rn::test::run([]() -> rn::task<> {
    world w;
    std::coroutine_handle<> stuck;
    int starts = 0;
    auto ignores = [](std::coroutine_handle<>& h, int& n) -> rn::task<> {
      if (++n == 1) co_await rn::adopt(never_mind(h));
      co_await rn::done();
    };
    rn::supervisor sup(rn::one_for_all);
    sup.child("x", rn::shutdown(1s), ignores, std::ref(stuck), std::ref(starts))
        .child("a", obey, std::ref(w), std::string("a"));
    co_await while_it_runs(sup, [&]() -> rn::task<> {
      co_await w.tell("a", "throw");
      co_await rn::sleep(30s);
      EXPECT_EQ(states(sup), "x:stopping a:restarting");
      EXPECT_EQ(w.take(), "+a -a");
      EXPECT_EQ(starts, 1);
      stuck.resume();
      co_await rn::test::wait_idle();
      EXPECT_EQ(states(sup), "x:running a:running");
      EXPECT_EQ(w.take(), "+a");
      EXPECT_EQ(starts, 2);
    });
  });
  std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("child \"x\" has not ended"), std::string::npos) << said;
}

// SUP-09, SUP-12: a crash in a branch is the branch's, and a tree is stopped from its last leaf on.
TEST(sup, a_tree_is_started_and_stopped_in_order_and_a_crash_stays_in_its_branch) {
  rn::test::run([]() -> rn::task<> {
    world w;
    rn::supervisor left(rn::one_for_all), right(rn::one_for_one);
    for (const char* name : {"a", "b"}) left.child(name, obey, std::ref(w), std::string(name));
    right.child("c", obey, std::ref(w), std::string("c"));
    rn::supervisor top(rn::one_for_all);
    top.child("left", std::move(left)).child("right", std::move(right)).child("z", obey, std::ref(w), std::string("z"));
    co_await while_it_runs(top, [&]() -> rn::task<> {
      EXPECT_EQ(w.take(), "+a +b +c +z");
      co_await w.tell("b", "throw");
      EXPECT_EQ(w.take(), "-b -a +a +b");
      co_await w.tell("z", "throw");
      EXPECT_EQ(w.take(), "-z -c -b -a +a +b +c +z");
      co_await w.tell("b", "die slowly");
    });
    EXPECT_EQ(w.take(), "-z -c -b -a");
    EXPECT_EQ(rn::test::elapsed(), 3s);
  });
}

// SUP-08
TEST(sup, an_error_of_a_child_that_is_being_stopped_is_reported_and_no_more) {
  test::checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    auto angry = [](bool& waits) -> rn::task<> {
      waits = true;
      co_await rn::done();
      throw std::runtime_error("it does not want to end");
    };
    bool waits = false;
    rn::supervisor sup(rn::one_for_one);
    sup.child("angry", angry, std::ref(waits));
    auto both = [&](rn::errgroup& g) -> rn::task<> {
      auto run = [&sup]() -> rn::task<> { co_await sup.run(); };
      co_await g.go(run);
      co_await test::until([&] { return waits; });
      g.cancel();
    };
    co_await rn::with_errgroup(both);
  });
  EXPECT_EQ(rt.unobserved(), std::vector<std::string>{"it does not want to end"});
}

// SUP-10
TEST(sup, a_kill_from_above_kills_all_at_once) {
  rn::test::run([]() -> rn::task<> {
    world w;
    rn::supervisor sup(rn::one_for_one);
    for (const char* name : {"a", "b"})
      sup.child(name, rn::shutdown(rn::infinite), obey, std::ref(w), std::string(name));
    rn::supervisor above(rn::one_for_one);
    above.child("tree", rn::shutdown(1s), std::move(sup));
    co_await while_it_runs(above, [&]() -> rn::task<> {
      co_await w.tell("a", "die slowly");
      co_await w.tell("b", "die slowly");
    });
    EXPECT_EQ(rn::test::elapsed(), 1s) << "the second of the tree's grace, and not 6";
    auto said = w.take();
    EXPECT_TRUE(said == "+a +b -b -a" || said == "+a +b -a -b") << said;
  });
}

// A supervisor is a function without arguments, and so a task like any other.
TEST(sup, beside_other_work_it_is_a_task) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    bool runs = false;
    rn::supervisor sup(rn::one_for_one);
    auto child = [&runs]() -> rn::task<> {
      runs = true;
      co_await rn::chan<int>().recv();
    };
    sup.child("c", child);
    auto tree = rn::async(std::ref(sup));
    co_await test_support::until([&] { return runs; });
    EXPECT_TRUE(sup.is_running());
    tree.cancel();
    auto outcome = co_await rn::as_result(tree.await());
    EXPECT_TRUE(outcome.canceled());
    EXPECT_FALSE(sup.is_running());
  };
  rt.run(app);
}

}  // namespace
