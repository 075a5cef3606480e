// SPDX-License-Identifier: BSL-1.0
// SUP: restarts, their limit, and the pauses between them, by rule number, in virtual time.
#include <runnel/as_result.hpp>
#include <runnel/context.hpp>
#include <runnel/otp/supervisor.hpp>
#include <runnel/sleep.hpp>
#include <runnel/this_task.hpp>
#include <runnel/with_context.hpp>
#include <support/supervised.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <exception>
#include <functional>
#include <initializer_list>
#include <stdexcept>
#include <string>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using namespace runnel_test;
using rn::child_outcome;

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

// SUP-16, SUP-18: whatever the strategy.
TEST(sup, a_second_failure_in_the_window_of_one_restart_ends_all) {
  struct row {
    rn::supervision_strategy strategy;
    const char* said;
  };
  for (const row& r :
       {row{rn::one_for_one, "+a +b +c -b +b -b -c -a"}, row{rn::rest_for_one, "+a +b +c -b -c +b +c -b -c -a"},
        row{rn::one_for_all, "+a +b +c -b -c -a +a +b +c -b -c -a"}})
    rn::test::run([&]() -> rn::task<> {
      world w;
      rn::supervisor sup = abc(w, r.strategy, rn::max_restarts(1, 5s));
      auto body = [&]() -> rn::task<> {
        co_await w.tell("b", "throw");
        EXPECT_TRUE(sup.is_running());
        co_await w.tell("b", "throw");
        EXPECT_FALSE(sup.is_running());
      };
      EXPECT_TRUE(as<rn::restart_limit_error>(co_await error_of_run(while_it_runs(sup, body))));
      EXPECT_EQ(w.take(), r.said);
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

// SUP-21, SUP-C04: no child even begins here, so the supervisor never has to wait for anything.
TEST(sup, a_start_that_cannot_even_be_made_keeps_nobody_from_asking) {
  rn::test::run(rn::test::max_steps(10'000), []() -> rn::task<> {
    world w;
    struct fragile {
      bool& broken;
      explicit fragile(bool& b) : broken(b) {}
      fragile(const fragile& other) : broken(other.broken) {
        if (broken) throw std::runtime_error("it cannot be copied now");
      }
      fragile& operator=(const fragile&) = delete;
    };
    bool broken = false;
    auto child = [](world& in, const fragile&) -> rn::task<> { co_await obey(in, "x"); };
    rn::supervisor sup(rn::one_for_one, rn::max_restarts::unlimited());
    sup.child("x", child, std::ref(w), fragile(broken));
    co_await while_it_runs(sup, [&]() -> rn::task<> {
      broken = true;
      co_await w.to("x").send("throw");
      while (sup.which_children().at(0).state == rn::child_state::running) co_await rn::yield();
      EXPECT_EQ(states(sup), "x:restarting");
      EXPECT_EQ(what(sup.which_children().at(0).last_error), "it cannot be copied now");
      EXPECT_EQ(co_await sup.terminate_child("x"), child_outcome::ok);
      EXPECT_EQ(states(sup), "x:idle");
      broken = false;
      EXPECT_EQ(co_await sup.restart_child("x"), child_outcome::ok);
      EXPECT_EQ(states(sup), "x:running");
    });
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

// SUP-C04: whoever has ended that run.
TEST(sup, pauses_start_anew_also_when_a_sibling_or_a_request_has_ended_a_long_run) {
  rn::test::run([]() -> rn::task<> {
    world w;
    rn::supervisor sup(rn::one_for_all, rn::max_restarts::unlimited());
    sup.child("x", rn::backoff(1s, 8s, 0), obey, std::ref(w), std::string("x"))
        .child("y", obey, std::ref(w), std::string("y"));
    auto fails_and_waits = [&](std::chrono::seconds pause) -> rn::task<> {
      co_await w.tell("x", "throw");
      co_await rn::sleep(pause - 1ms);
      EXPECT_EQ(states(sup), "x:restarting y:restarting") << pause.count();
      co_await rn::sleep(1ms);
      co_await rn::test::wait_idle();
      EXPECT_EQ(states(sup), "x:running y:running") << pause.count();
    };
    co_await while_it_runs(sup, [&]() -> rn::task<> {
      co_await fails_and_waits(1s);
      co_await fails_and_waits(2s);
      co_await w.tell("y", "throw");
      co_await fails_and_waits(4s);  // it had not run for long
      co_await rn::sleep(8s);
      co_await w.tell("y", "throw");
      co_await fails_and_waits(1s);
      co_await fails_and_waits(2s);
      (void)co_await sup.terminate_child("x");
      (void)co_await sup.restart_child("x");
      co_await fails_and_waits(1s);
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

// SUP-23: one that was added meanwhile, and fails behind the one that is waited for, waits with it.
TEST(sup, a_failure_further_down_does_not_take_over_the_pause) {
  for (bool longer : {false, true}) {
    rn::test::run([&]() -> rn::task<> {
      world w;
      rn::supervisor sup(rn::rest_for_one);
      sup.child("a", obey, std::ref(w), std::string("a"))
          .child("b", rn::backoff(10s, 10s, 0), obey, std::ref(w), std::string("b"))
          .child("c", obey, std::ref(w), std::string("c"));
      co_await while_it_runs(sup, [&]() -> rn::task<> {
        co_await w.tell("b", "throw");
        auto pause = longer ? rn::backoff(30s, 30s, 0) : rn::backoff(1s, 1s, 0);
        (void)co_await sup.start_child("d", pause, obey, std::ref(w), std::string("d"));
        co_await rn::sleep(1s);
        co_await w.tell("d", "throw");
        EXPECT_EQ(states(sup), "a:running b:restarting c:restarting d:restarting");
        w.take();
        std::chrono::milliseconds left = longer ? 30s : 9s;
        co_await rn::sleep(left - 1ms);
        EXPECT_EQ(w.take(), "") << "the longer pause counts";
        co_await rn::sleep(1ms);
        co_await rn::test::wait_idle();
        EXPECT_EQ(w.take(), "+b +c +d");
        // and each has one pause only
        co_await rn::sleep(60s);
        EXPECT_EQ(w.take(), "");
      });
    });
  }
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

rn::task<> unwinds_by_itself(int& starts, rn::context done) {
  ++starts;
  co_await rn::with_context(done, rn::sleep(1h));
}

// SUP-08: one that has not said that it is ready has not started, however it has ended.
TEST(sup, a_child_that_unwinds_by_itself_before_it_is_ready_has_not_started) {
  rn::test::run([]() -> rn::task<> {
    int starts = 0;
    auto made = rn::context::background().with_cancel();
    made.second();
    rn::supervisor sup(rn::one_for_one);
    sup.child("x", rn::permanent, rn::wait_ready(1s), unwinds_by_itself, std::ref(starts), made.first);
    bool failed = false;
    try {
      co_await sup.run();
    } catch (const rn::child_start_error&) {
      failed = true;
    }
    EXPECT_TRUE(failed);
    EXPECT_EQ(starts, 1);
  });
}

rn::task<rn::child_end> decides(int& starts, rn::child_end end) {
  if (++starts == 1) co_await rn::sleep(40ms);
  if (starts > 1) co_await rn::sleep(1h);
  co_return end;
}
rn::task<> fails_once(int& starts) {
  if (++starts > 1) co_await rn::sleep(1h);
  co_await rn::sleep(20ms);
  throw std::runtime_error("once");
}
rn::task<> is_slow_to_stop() {
  co_await rn::shield(rn::sleep(60ms));
  co_await rn::sleep(1h);
}

// SUP-C06: also of one that ends while its siblings are stopped for another's failure.
TEST(sup, what_a_child_returns_by_itself_counts_during_a_restart_too) {
  for (rn::child_end end : {rn::child_end::stop_supervisor, rn::child_end::do_not_restart})
    rn::test::run([&]() -> rn::task<> {
      int failed = 0, starts = 0;
      rn::supervisor sup(rn::one_for_all);
      sup.child("fails", rn::permanent, fails_once, std::ref(failed))
          .child("decides", rn::permanent, decides, std::ref(starts), end)
          .child("slow", rn::permanent, is_slow_to_stop);
      auto r = co_await rn::as_result(rn::with_timeout(1s, sup.run()));
      EXPECT_EQ(r.ok(), end == rn::child_end::stop_supervisor);
      EXPECT_EQ(starts, 1);
    });
}
// SUP-C06: nor is one that has said so before started again with its siblings. A request starts it, and then it is as
// the others.
TEST(sup, one_that_is_not_to_be_restarted_is_not_when_a_sibling_fails) {
  for (auto strategy : {rn::one_for_all, rn::rest_for_one})
    rn::test::run([&]() -> rn::task<> {
      world w;
      auto f = [](world& in) -> rn::task<rn::child_end> {
        auto order = co_await in.to("x").recv();
        co_return order == "for good" ? rn::child_end::do_not_restart : rn::child_end::done;
      };
      rn::supervisor sup(strategy);
      sup.child("a", obey, std::ref(w), std::string("a")).child("x", rn::transient, f, std::ref(w));
      co_await while_it_runs(sup, [&]() -> rn::task<> {
        co_await w.tell("x", "for good");
        EXPECT_EQ(states(sup), "a:running x:idle");
        co_await w.tell("a", "throw");
        EXPECT_EQ(states(sup), "a:running x:idle");
        EXPECT_EQ(co_await sup.restart_child("x"), child_outcome::ok);
        co_await w.tell("x", "return");
        EXPECT_EQ(states(sup), "a:running x:idle");
        co_await w.tell("a", "throw");
        EXPECT_EQ(states(sup), "a:running x:running");
      });
    });
}

// SUP-11, SUP-19: it is the end of a supervisor that is orderly when it gives up, not that of a worker that hears of it.
TEST(sup, a_worker_that_fails_with_the_error_of_a_supervisor_has_failed) {
  auto fails = [](int& starts) -> rn::task<> {
    if (++starts > 1) co_await rn::sleep(1h);
    throw rn::child_start_error("of another", std::make_exception_ptr(std::runtime_error("no connection")));
  };
  rn::test::run([&]() -> rn::task<> {
    int of_worker = 0, of_subtree = 0;
    rn::supervisor sup(rn::one_for_one);
    sup.child("worker", rn::transient, fails, std::ref(of_worker))
        .child("tree", rn::transient, rn::subtree, fails, std::ref(of_subtree));
    co_await while_it_runs(sup, [&]() -> rn::task<> {
      EXPECT_EQ(states(sup), "worker:running tree:idle");
      co_return;
    });
    EXPECT_EQ(of_worker, 2);
    EXPECT_EQ(of_subtree, 1);
  });
}

}  // namespace
