// SPDX-License-Identifier: BSL-1.0
// SUP: supervisors, by rule number, in virtual time. Where DESIGN section 4 wins: a child that does not end is waited
// for and reported, not detached.
#include <runnel/adopt.hpp>
#include <runnel/otp/supervisor.hpp>
#include <support/checked_runtime.hpp>
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
using rn::child_state;

rn::supervisor abc(world& w, rn::supervision_strategy strategy, rn::max_restarts limit = {3, 5s}) {
  rn::supervisor sup(strategy, limit);
  for (const char* name : {"a", "b", "c"}) sup.child(name, obey, std::ref(w), std::string(name));
  return sup;
}
std::string states(const rn::supervisor_ref& sup) {
  std::string all;
  for (auto& c : sup.which_children()) {
    const char* names[] = {"idle", "starting", "running", "stopping", "restarting"};
    all += (all.empty() ? "" : " ") + c.id + ":" + names[static_cast<int>(c.state)];
  }
  return all;
}

// Ignores cancellation, and leaves its handle to who ends it.
struct never_mind {
  std::coroutine_handle<>& handle;
  explicit never_mind(std::coroutine_handle<>& h) noexcept : handle(h) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> h) const noexcept { handle = h; }
  void await_resume() const noexcept {}
};

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

// SUP-01
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

// ---- Restarts ----

// SUP-11
TEST(sup, who_is_restarted_after_what) {
  struct row {
    rn::restart_policy policy;
    const char* order;
    int starts;
    const char* states;
  };
  for (const row& r : std::initializer_list<row>{{rn::permanent, "return", 2, "x:running"},
                                                 {rn::permanent, "throw", 2, "x:running"},
                                                 {rn::transient, "return", 1, "x:idle"},
                                                 {rn::transient, "throw", 2, "x:running"},
                                                 {rn::temporary, "return", 1, ""},
                                                 {rn::temporary, "throw", 1, ""}})
    rn::test::run([&]() -> rn::task<> {
      world w;
      rn::supervisor sup(rn::one_for_one);
      sup.child("x", r.policy, obey, std::ref(w), std::string("x"));
      co_await while_it_runs(sup, [&]() -> rn::task<> {
        co_await w.tell("x", r.order);
        EXPECT_EQ(w.starts["x"], r.starts) << r.order;
        EXPECT_EQ(states(sup), r.states) << r.order;
      });
    });
}

// SUP-11
TEST(sup, a_transient_child_that_has_returned_can_be_started_on_request) {
  rn::test::run([]() -> rn::task<> {
    world w;
    rn::supervisor sup(rn::one_for_one);
    sup.child("x", rn::transient, obey, std::ref(w), std::string("x"));
    co_await while_it_runs(sup, [&]() -> rn::task<> {
      co_await w.tell("x", "return");
      EXPECT_EQ(co_await sup.restart_child("x"), child_outcome::ok);
      EXPECT_EQ(states(sup), "x:running");
    });
    EXPECT_EQ(w.take(), "+x -x +x -x");
  });
}

// SUP-12, SUP-14
TEST(sup, one_for_one_restarts_that_child_alone) {
  rn::test::run([]() -> rn::task<> {
    world w;
    rn::supervisor sup = abc(w, rn::one_for_one);
    co_await while_it_runs(sup, [&]() -> rn::task<> {
      w.take();
      co_await w.tell("b", "throw");
      EXPECT_EQ(w.take(), "-b +b");
      auto all = sup.which_children();
      EXPECT_EQ(all[0].start_number, 1u);
      EXPECT_EQ(all[1].start_number, 4u);
      EXPECT_EQ(all[2].start_number, 3u);
      EXPECT_EQ(all[1].restarts, 1u);
      EXPECT_EQ(what(all[1].last_error), "b fails");
      EXPECT_EQ(all[1].id, "b");
    });
    EXPECT_EQ(w.take(), "-c -b -a");
  });
}

// SUP-12
TEST(sup, one_for_all_stops_the_others_in_reverse_and_starts_all_in_order) {
  rn::test::run([]() -> rn::task<> {
    world w;
    rn::supervisor sup = abc(w, rn::one_for_all);
    co_await while_it_runs(sup, [&]() -> rn::task<> {
      w.take();
      co_await w.tell("b", "throw");
      EXPECT_EQ(w.take(), "-b -c -a +a +b +c");
    });
  });
}

// SUP-12
TEST(sup, rest_for_one_does_so_with_those_behind) {
  rn::test::run([]() -> rn::task<> {
    world w;
    rn::supervisor sup = abc(w, rn::rest_for_one);
    co_await while_it_runs(sup, [&]() -> rn::task<> {
      w.take();
      co_await w.tell("b", "throw");
      EXPECT_EQ(w.take(), "-b -c +b +c");
      co_await w.tell("c", "throw");
      EXPECT_EQ(w.take(), "-c +c");
      co_await w.tell("a", "return");
      EXPECT_EQ(w.take(), "-a -c -b +a +b +c");
    });
  });
}

// SUP-13
TEST(sup, temporary_bystanders_are_not_restarted) {
  rn::test::run([]() -> rn::task<> {
    world w;
    rn::supervisor sup(rn::one_for_all);
    sup.child("a", obey, std::ref(w), std::string("a"))
        .child("t", rn::temporary, obey, std::ref(w), std::string("t"))
        .child("b", rn::transient, obey, std::ref(w), std::string("b"));
    co_await while_it_runs(sup, [&]() -> rn::task<> {
      w.take();
      co_await w.tell("a", "throw");
      EXPECT_EQ(w.take(), "-a -b -t +a +b");
      EXPECT_EQ(states(sup), "a:running b:running");
    });
  });
}

// ---- How many restarts ----

// SUP-04, SUP-15, SUP-16, SUP-18
TEST(sup, the_restart_that_is_too_many_ends_all_and_tells_why) {
  rn::test::run([]() -> rn::task<> {
    world w;
    rn::supervisor sup = abc(w, rn::one_for_all);
    std::string before;
    auto body = [&]() -> rn::task<> {
      for (int i = 0; i < 3; ++i) co_await w.tell("b", "throw");
      before = w.take();
      co_await w.tell("b", "throw");
    };
    auto error = co_await error_of_run(while_it_runs(sup, body));
    EXPECT_EQ(w.take(), "-b -c -a");
    EXPECT_EQ(before.size(), std::string("+a +b +c").size() + 3 * std::string(" -b -c -a +a +b +c").size());
    EXPECT_EQ(what(error), "a supervisor gave up, too many restarts; the last child was \"b\": b fails");
    auto* e = as<rn::restart_limit_error>(error);
    EXPECT_TRUE(e);
    if (!e) co_return;
    EXPECT_EQ(e->id(), "b");
    EXPECT_EQ(what(e->reason()), "b fails");
    EXPECT_EQ(e->reasons().size(), 4u);
    for (auto& r : e->reasons()) EXPECT_EQ(r.id + " " + what(r.error), "b b fails");
  });
}

// SUP-16
TEST(sup, no_restarts_at_all) {
  rn::test::run([]() -> rn::task<> {
    world w;
    rn::supervisor sup = abc(w, rn::one_for_one, rn::max_restarts(0, 1s));
    auto error = co_await error_of_run(while_it_runs(sup, [&]() -> rn::task<> { co_await w.tell("a", "return"); }));
    EXPECT_EQ(what(error), "a supervisor gave up, too many restarts; the last child was \"a\": it returned");
    EXPECT_EQ(w.take(), "+a +b +c -a -c -b");
  });
}

// SUP-17
TEST(sup, the_window_includes_its_edge_and_nothing_beyond) {
  for (auto apart : {1000ms, 1001ms})
    rn::test::run([&]() -> rn::task<> {
      world w;
      rn::supervisor sup = abc(w, rn::one_for_one, rn::max_restarts(1, 1s));
      auto body = [&]() -> rn::task<> {
        for (int i = 0; i < 5; ++i) {
          co_await w.tell("a", "throw");
          co_await rn::sleep(apart);
        }
      };
      auto error = co_await error_of_run(while_it_runs(sup, body));
      EXPECT_EQ(as<rn::restart_limit_error>(error) != nullptr, apart == 1000ms);
      EXPECT_EQ(w.starts["a"], apart == 1000ms ? 2 : 6);
    });
}

// SUP-24
TEST(sup, clean_ends_that_restart_nobody_are_not_counted) {
  rn::test::run([]() -> rn::task<> {
    world w;
    rn::supervisor sup(rn::one_for_one, rn::max_restarts(0, 1h));
    sup.child("x", rn::transient, obey, std::ref(w), std::string("x"))
        .child("t", rn::temporary, obey, std::ref(w), std::string("t"));
    co_await while_it_runs(sup, [&]() -> rn::task<> {
      for (int i = 0; i < 10; ++i) {
        co_await w.tell("x", "return");
        EXPECT_EQ(co_await sup.restart_child("x"), child_outcome::ok);
      }
      co_await w.tell("t", "return");
    });
    EXPECT_EQ(w.starts["x"], 11);
  });
}

// SUP-18, SUP-19, SUP-20
TEST(sup, a_supervisor_that_gave_up_is_restarted_with_its_first_children_if_it_is_permanent) {
  for (auto policy : {rn::permanent, rn::transient})
    rn::test::run([&]() -> rn::task<> {
      world w;
      rn::supervisor inner(rn::one_for_one, rn::max_restarts(0, 1s));
      inner.child("a", obey, std::ref(w), std::string("a"));
      rn::supervisor_ref within = inner.ref();
      rn::supervisor outer(rn::one_for_one);
      outer.child("tree", policy, std::move(inner)).child("z", obey, std::ref(w), std::string("z"));
      co_await while_it_runs(outer, [&]() -> rn::task<> {
        EXPECT_EQ(co_await within.start_child("more", obey, std::ref(w), std::string("more")), child_outcome::ok);
        EXPECT_EQ(states(within), "a:running more:running");
        co_await w.tell("a", "throw");
        EXPECT_EQ(states(within), policy == rn::permanent ? "a:running" : "");
        EXPECT_EQ(states(outer), policy == rn::permanent ? "tree:running z:running" : "tree:idle z:running");
      });
    });
}

// SUP-21, SUP-22
TEST(sup, while_a_restart_is_tried_again_and_again_the_supervisor_serves_others) {
  rn::test::run([]() -> rn::task<> {
    world w;
    int failures = 0;
    rn::supervisor sup(rn::one_for_one, rn::max_restarts::unlimited());
    sup.child("x", rn::wait_ready(1s), rn::backoff(1s, 1s, 0), start_badly, std::ref(w), std::string("x"),
              std::ref(failures));
    co_await while_it_runs(sup, [&]() -> rn::task<> {
      failures = 1'000'000;
      co_await w.tell("x", "throw");
      co_await rn::sleep(10s);
      EXPECT_EQ(states(sup), "x:restarting");
      EXPECT_EQ(co_await sup.start_child("x", [] {}), child_outcome::already_present);
      EXPECT_EQ(co_await sup.restart_child("x"), child_outcome::restarting);
      EXPECT_EQ(co_await sup.delete_child("x"), child_outcome::restarting);
      EXPECT_EQ(co_await sup.start_child("y", obey, std::ref(w), std::string("y")), child_outcome::ok);
      EXPECT_EQ(co_await sup.terminate_child("x"), child_outcome::ok);
      EXPECT_EQ(states(sup), "x:idle y:running");
      int tried = 1'000'000 - failures;
      EXPECT_GE(tried, 9);
      co_await rn::sleep(10s);
      EXPECT_EQ(1'000'000 - failures, tried) << "it is not tried any more";
    });
  });
}

// SUP-21
TEST(sup, starts_that_fail_without_a_pause_leave_room_for_calls_and_end_by_the_limit) {
  rn::test::run([]() -> rn::task<> {
    world w;
    int failures = 0;
    rn::supervisor sup(rn::one_for_one, rn::max_restarts(100, 1s));
    sup.child("x", rn::wait_ready(1s), start_badly, std::ref(w), std::string("x"), std::ref(failures));
    auto body = [&]() -> rn::task<> {
      failures = 1'000'000;
      co_await w.to("x").send("throw");
      EXPECT_EQ(co_await sup.start_child("y", obey, std::ref(w), std::string("y")), child_outcome::ok);
      co_await rn::test::wait_idle();
    };
    auto error = co_await error_of_run(while_it_runs(sup, body));
    auto* e = as<rn::restart_limit_error>(error);
    EXPECT_TRUE(e);
    EXPECT_EQ(1'000'000 - failures, 100) << "the first restart is the first attempt";
    EXPECT_EQ(e ? e->reasons().size() : 0, 16u);
  });
}

// SUP-23
TEST(sup, one_for_all_stops_again_whom_it_has_started_when_another_does_not_start) {
  rn::test::run([]() -> rn::task<> {
    world w;
    int failures = 0;
    rn::supervisor sup(rn::one_for_all);
    sup.child("a", obey, std::ref(w), std::string("a"))
        .child("b", rn::wait_ready(1s), start_badly, std::ref(w), std::string("b"), std::ref(failures))
        .child("c", obey, std::ref(w), std::string("c"));
    co_await while_it_runs(sup, [&]() -> rn::task<> {
      w.take();
      failures = 1;
      co_await w.tell("a", "throw");
      EXPECT_EQ(w.take(), "-a -c -b +a ?b -a +a ?b +b +c");
    });
  });
}

// SUP-23
TEST(sup, rest_for_one_tries_again_from_the_one_that_does_not_start) {
  rn::test::run([]() -> rn::task<> {
    world w;
    int failures = 0;
    rn::supervisor sup(rn::rest_for_one);
    sup.child("a", obey, std::ref(w), std::string("a"))
        .child("b", rn::wait_ready(1s), start_badly, std::ref(w), std::string("b"), std::ref(failures))
        .child("c", obey, std::ref(w), std::string("c"));
    co_await while_it_runs(sup, [&]() -> rn::task<> {
      w.take();
      failures = 2;
      co_await w.tell("a", "throw");
      EXPECT_EQ(w.take(), "-a -c -b +a ?b ?b ?b +b +c");
    });
  });
}

// SUP-C04
TEST(sup, pauses_between_restarts_grow_and_start_anew_when_it_has_run_well) {
  rn::test::run([]() -> rn::task<> {
    world w;
    rn::supervisor sup(rn::one_for_one, rn::max_restarts::unlimited());
    sup.child("x", rn::backoff(1s, 8s, 0), obey, std::ref(w), std::string("x"));
    co_await while_it_runs(sup, [&]() -> rn::task<> {
      for (auto pause : {1s, 2s, 4s, 8s, 8s}) {
        co_await w.tell("x", "throw");
        EXPECT_EQ(states(sup), "x:restarting");
        co_await rn::sleep(pause - 1ms);
        EXPECT_EQ(states(sup), "x:restarting") << pause.count();
        co_await rn::sleep(1ms);
        co_await rn::test::wait_idle();
        EXPECT_EQ(states(sup), "x:running") << pause.count();
      }
      co_await rn::sleep(8s);
      co_await w.tell("x", "throw");
      co_await rn::sleep(1s);
      co_await rn::test::wait_idle();
      EXPECT_EQ(states(sup), "x:running");
    });
  });
}

// SUP-C04, GEN-19
TEST(sup, the_jitter_of_a_pause_is_decided_by_the_seed) {
  auto took = [](std::uint64_t seed) {
    std::chrono::nanoseconds at{};
    rn::test::run(rn::test::seed(seed), [&]() -> rn::task<> {
      world w;
      rn::supervisor sup(rn::one_for_one);
      sup.child("x", rn::backoff(10s, 10s, 1.0), obey, std::ref(w), std::string("x"));
      co_await while_it_runs(sup, [&]() -> rn::task<> {
        co_await w.tell("x", "throw");
        while (w.starts["x"] < 2) co_await rn::sleep(1ms);
        at = rn::test::elapsed();
      });
    });
    return at;
  };
  EXPECT_EQ(took(3), took(3));
  EXPECT_NE(took(3), took(4));
  EXPECT_LE(took(5), 10001ms);
}

// SUP-12, SUP-C04
TEST(sup, siblings_wait_for_the_pause_of_the_one_that_failed) {
  rn::test::run([]() -> rn::task<> {
    world w;
    rn::supervisor sup(rn::rest_for_one, rn::max_restarts::unlimited());
    for (const char* name : {"a", "b", "c"})
      sup.child(name, rn::backoff(2s, 2s, 0), obey, std::ref(w), std::string(name));
    co_await while_it_runs(sup, [&]() -> rn::task<> {
      w.take();
      co_await w.tell("b", "throw");
      EXPECT_EQ(w.take(), "-b -c");
      EXPECT_EQ(states(sup), "a:running b:restarting c:restarting");
      co_await rn::sleep(1s);
      co_await w.tell("a", "throw");  // the pause begins anew
      EXPECT_EQ(states(sup), "a:restarting b:restarting c:restarting");
      co_await rn::sleep(1999ms);
      EXPECT_EQ(w.take(), "-a");
      co_await rn::sleep(1ms);
      co_await rn::test::wait_idle();
      EXPECT_EQ(w.take(), "+a +b +c");
      co_await w.tell("b", "throw");
      EXPECT_EQ(co_await sup.terminate_child("b"), child_outcome::ok);
      co_await rn::test::wait_idle();
      EXPECT_EQ(states(sup), "a:running b:idle c:running") << "who waited for it goes on without";
    });
  });
}

// ---- Automatic shutdown ----

// SUP-25, SUP-26
TEST(sup, significant_children_that_end_for_good_end_their_supervisor) {
  for (auto when : {rn::auto_shutdown(rn::any_significant), rn::auto_shutdown(rn::all_significant)})
    for (auto policy : {rn::transient, rn::temporary})
      rn::test::run([&]() -> rn::task<> {
        world w;
        bool any = when.value() == rn::detail::auto_stop::any;
        rn::supervisor sup(rn::one_for_one, when);
        sup.child("a", policy, rn::significant, obey, std::ref(w), std::string("a"))
            .child("b", policy, rn::significant, obey, std::ref(w), std::string("b"))
            .child("c", rn::transient, obey, std::ref(w), std::string("c"));
        co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
          co_await g.go([&]() -> rn::task<> { co_await sup.run(); });
          co_await rn::test::wait_idle();
          co_await w.tell("c", "return");
          EXPECT_TRUE(sup.is_running()) << "c is not significant";
          std::string order = policy == rn::transient ? "return" : "throw";
          co_await w.tell("a", order);
          EXPECT_EQ(sup.is_running(), !any);
          if (any) co_return;
          co_await w.tell("b", "return");
          EXPECT_FALSE(sup.is_running());
        });
      });
}

// SUP-27
TEST(sup, terminating_or_restarting_a_significant_child_does_not_end_its_supervisor) {
  rn::test::run([]() -> rn::task<> {
    world w;
    rn::supervisor sup(rn::one_for_all, rn::auto_shutdown(rn::any_significant));
    sup.child("a", rn::transient, rn::significant, obey, std::ref(w), std::string("a"))
        .child("t", rn::temporary, rn::significant, obey, std::ref(w), std::string("t"))
        .child("b", obey, std::ref(w), std::string("b"));
    co_await while_it_runs(sup, [&]() -> rn::task<> {
      co_await w.tell("a", "throw");
      EXPECT_EQ(states(sup), "a:running b:running") << "t was a bystander";
      EXPECT_EQ(co_await sup.terminate_child("a"), child_outcome::ok);
      EXPECT_TRUE(sup.is_running());
    });
  });
}

// SUP-28
TEST(sup, an_automatic_shutdown_goes_up_by_supervisors_that_are_significant) {
  for (bool significant : {true, false})
    rn::test::run([&]() -> rn::task<> {
      world w;
      rn::supervisor inner(rn::one_for_one, rn::auto_shutdown(rn::any_significant));
      inner.child("a", rn::transient, rn::significant, obey, std::ref(w), std::string("a"));
      rn::supervisor outer(rn::one_for_one, rn::auto_shutdown(rn::any_significant));
      if (significant)
        outer.child("tree", rn::transient, rn::significant, std::move(inner));
      else
        outer.child("tree", rn::transient, std::move(inner));
      co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
        co_await g.go([&]() -> rn::task<> { co_await outer.run(); });
        co_await rn::test::wait_idle();
        co_await w.tell("a", "return");
        EXPECT_EQ(outer.is_running(), !significant);
        g.cancel();
      });
    });
}

// SUP-C06
TEST(sup, a_child_may_say_that_it_is_not_to_be_restarted_or_that_all_is_to_end) {
  for (auto end : {rn::child_end::done, rn::child_end::do_not_restart, rn::child_end::stop_supervisor})
    rn::test::run([&]() -> rn::task<> {
      world w;
      auto f = [](world& in, rn::child_end e) -> rn::task<rn::child_end> {
        in.say("+x");
        (void)co_await in.to("x").recv();
        co_return e;
      };
      rn::supervisor sup(rn::one_for_one);
      sup.child("x", f, std::ref(w), end).child("y", obey, std::ref(w), std::string("y"));
      co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
        co_await g.go([&]() -> rn::task<> { co_await sup.run(); });
        co_await rn::test::wait_idle();
        co_await w.tell("x", "go");
        EXPECT_EQ(sup.is_running(), end != rn::child_end::stop_supervisor);
        EXPECT_EQ(states(sup), end == rn::child_end::done             ? "x:running y:running"
                               : end == rn::child_end::do_not_restart ? "x:idle y:running"
                                                                      : "");
        g.cancel();
      });
    });
}

// ---- While it runs ----

// SUP-29
TEST(sup, children_are_added_behind_the_others) {
  rn::test::run([]() -> rn::task<> {
    world w;
    int failures = 1;
    rn::supervisor sup = abc(w, rn::one_for_one);
    co_await while_it_runs(sup, [&]() -> rn::task<> {
      EXPECT_EQ(co_await sup.start_child("d", rn::transient, obey, std::ref(w), std::string("d")), child_outcome::ok);
      EXPECT_EQ(co_await sup.start_child("d", [] {}), child_outcome::already_started);
      EXPECT_EQ(co_await sup.start_child("i", rn::wait_ready(1s), [] {}), child_outcome::ignored);
      co_await w.tell("d", "return");
      EXPECT_EQ(co_await sup.start_child("d", [] {}), child_outcome::already_present);
      auto bad = [&]() -> rn::task<> {
        (void)co_await sup.start_child("e", rn::wait_ready(1s), start_badly, std::ref(w), std::string("e"),
                                       std::ref(failures));
      };
      EXPECT_EQ(what(co_await error_of_run(bad())), "the child \"e\" has not started: e does not start");
      EXPECT_EQ(states(sup), "a:running b:running c:running d:idle i:idle") << "e is not kept";
    });
  });
}

// SUP-30
TEST(sup, terminate_restart_and_delete_in_each_state) {
  rn::test::run([]() -> rn::task<> {
    world w;
    rn::supervisor sup = abc(w, rn::one_for_one);
    sup.child("t", rn::temporary, obey, std::ref(w), std::string("t"));
    co_await while_it_runs(sup, [&]() -> rn::task<> {
      EXPECT_EQ(co_await sup.restart_child("b"), child_outcome::running);
      EXPECT_EQ(co_await sup.delete_child("b"), child_outcome::running);
      EXPECT_EQ(co_await sup.terminate_child("b"), child_outcome::ok);
      EXPECT_EQ(co_await sup.terminate_child("b"), child_outcome::ok);
      EXPECT_EQ(states(sup), "a:running b:idle c:running t:running");
      EXPECT_EQ(co_await sup.restart_child("b"), child_outcome::ok);
      EXPECT_EQ(co_await sup.terminate_child("b"), child_outcome::ok);
      EXPECT_EQ(co_await sup.delete_child("b"), child_outcome::ok);
      EXPECT_EQ(co_await sup.terminate_child("t"), child_outcome::ok);
      for (const char* gone : {"b", "t", "nobody"}) {
        EXPECT_EQ(co_await sup.terminate_child(gone), child_outcome::not_found);
        EXPECT_EQ(co_await sup.restart_child(gone), child_outcome::not_found);
        EXPECT_EQ(co_await sup.delete_child(gone), child_outcome::not_found);
      }
      EXPECT_EQ(states(sup), "a:running c:running");
    });
  });
}

// SUP-30
TEST(sup, a_restart_on_request_that_fails_keeps_the_specification) {
  rn::test::run([]() -> rn::task<> {
    world w;
    int failures = 0;
    rn::supervisor sup(rn::one_for_one);
    sup.child("x", rn::wait_ready(1s), start_badly, std::ref(w), std::string("x"), std::ref(failures));
    co_await while_it_runs(sup, [&]() -> rn::task<> {
      EXPECT_EQ(co_await sup.terminate_child("x"), child_outcome::ok);
      failures = 1;
      auto again = [&]() -> rn::task<> { (void)co_await sup.restart_child("x"); };
      EXPECT_EQ(what(co_await error_of_run(again())), "the child \"x\" has not started: x does not start");
      EXPECT_EQ(states(sup), "x:idle");
      EXPECT_EQ(co_await sup.restart_child("x"), child_outcome::ok);
    });
  });
}

// SUP-31
TEST(sup, children_are_counted_by_kind_and_life) {
  rn::test::run([]() -> rn::task<> {
    world w;
    rn::supervisor inner(rn::one_for_one);
    rn::supervisor sup = abc(w, rn::one_for_one);
    sup.child("tree", std::move(inner));
    co_await while_it_runs(sup, [&]() -> rn::task<> {
      EXPECT_EQ(co_await sup.terminate_child("b"), child_outcome::ok);
      auto n = sup.count_children();
      EXPECT_EQ(n.specs, 4u);
      EXPECT_EQ(n.active, 3u);
      EXPECT_EQ(n.workers, 3u);
      EXPECT_EQ(n.supervisors, 1u);
      EXPECT_TRUE(sup.which_children()[3].is_supervisor);
    });
    EXPECT_EQ(sup.count_children().specs, 0u);
  });
}

// SUP-32
TEST(sup, calls_to_a_supervisor_that_has_ended_come_to_not_running) {
  rn::test::run([]() -> rn::task<> {
    world w;
    rn::supervisor sup = abc(w, rn::one_for_one);
    rn::supervisor_ref ref = sup;
    co_await while_it_runs(sup, []() -> rn::task<> { co_return; });
    EXPECT_EQ(co_await ref.start_child("x", [] {}), child_outcome::not_running);
    EXPECT_EQ(co_await ref.terminate_child("a"), child_outcome::not_running);
    EXPECT_EQ(co_await ref.restart_child("a"), child_outcome::not_running);
    EXPECT_EQ(co_await ref.delete_child("a"), child_outcome::not_running);
  });
}

// SUP-33: cancelling the context of run() is how it is stopped; it may be run again.
TEST(sup, it_may_be_run_again_with_its_first_children) {
  rn::test::run([]() -> rn::task<> {
    world w;
    rn::supervisor sup = abc(w, rn::one_for_one);
    for (int i = 0; i < 3; ++i) {
      co_await while_it_runs(sup, [&]() -> rn::task<> {
        EXPECT_EQ(co_await sup.start_child("d", obey, std::ref(w), std::string("d")), child_outcome::ok);
      });
      EXPECT_EQ(w.take(), "+a +b +c +d -d -c -b -a");
    }
  });
}

}  // namespace
