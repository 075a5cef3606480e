// SPDX-License-Identifier: BSL-1.0
// SUP: automatic shutdown, and what is asked of a supervisor while it runs, by rule number, in virtual time.
#include <runnel/as_result.hpp>
#include <runnel/async.hpp>
#include <runnel/otp/supervisor.hpp>
#include <support/supervised.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using namespace runnel_test;
using rn::child_outcome;

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

// SUP-C06, SUP-06: also of one that returns before it is ready, and so is passed over.
TEST(sup, a_child_that_is_not_ready_may_say_that_all_is_to_end) {
  rn::test::run([]() -> rn::task<> {
    world w;
    auto stops = [] { return rn::child_end::stop_supervisor; };
    rn::supervisor first(rn::one_for_one);
    first.child("x", rn::wait_ready(1s), stops).child("y", obey, std::ref(w), std::string("y"));
    auto r = co_await rn::as_result(rn::with_timeout(1min, first.run()));
    EXPECT_TRUE(r.ok());
    EXPECT_EQ(w.take(), "+y -y");
    rn::supervisor asked(rn::one_for_one);
    co_await while_it_runs(asked, [&]() -> rn::task<> {
      EXPECT_EQ(co_await asked.start_child("x", rn::wait_ready(1s), stops), child_outcome::ignored);
      co_await rn::test::wait_idle();
      EXPECT_FALSE(asked.is_running());
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

// SUP-C01: one after another, in the order of the calls, each when the one before is done.
TEST(sup, requests_are_done_one_at_a_time) {
  rn::test::run([]() -> rn::task<> {
    world w;
    auto slow = [](world& in) -> rn::task<> {
      in.say("begins");
      co_await rn::sleep(2s);
      co_await rn::ready();
      co_await obey(in, "d");
    };
    rn::supervisor sup = abc(w, rn::one_for_one);
    co_await while_it_runs(sup, [&]() -> rn::task<> {
      w.take();
      auto first = sup.start_child("d", rn::wait_ready(5s), slow, std::ref(w));
      auto second = sup.terminate_child("c");
      auto third = sup.start_child("e", obey, std::ref(w), std::string("e"));
      co_await rn::test::wait_idle();
      co_await w.tell("a", "throw");
      EXPECT_EQ(w.take(), "begins -a") << "an end waits for the request as well";
      EXPECT_EQ(co_await std::move(third), child_outcome::ok);
      EXPECT_EQ(rn::test::elapsed(), 2s);
      EXPECT_EQ(co_await std::move(first), child_outcome::ok);
      EXPECT_EQ(co_await std::move(second), child_outcome::ok);
      co_await rn::test::wait_idle();
      std::string said = w.take();
      EXPECT_LT(said.find("+d"), said.find("-c")) << said;
      EXPECT_LT(said.find("-c"), said.find("+e")) << said;
      EXPECT_NE(said.find("+a"), std::string::npos) << said;
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
      EXPECT_EQ(co_await sup.delete_child("b"), child_outcome::ok);
      for (auto policy : {rn::transient, rn::temporary}) {
        bool kept = policy == rn::transient;
        auto deleted = kept ? child_outcome::ok : child_outcome::not_found;
        EXPECT_EQ(co_await sup.start_child("x", policy, obey, std::ref(w), std::string("x")), child_outcome::ok);
        n = sup.count_children();
        EXPECT_EQ(n.specs * 1000 + n.active * 100 + n.workers * 10 + n.supervisors, 4431u);
        co_await w.tell("x", "return");
        n = sup.count_children();
        EXPECT_EQ(n.specs * 1000 + n.active * 100 + n.workers * 10 + n.supervisors, kept ? 4331u : 3321u);
        EXPECT_EQ(co_await sup.delete_child("x"), deleted);
      }
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

// SUP-29: a start fails in the moment in which the supervisor is cancelled. The next run knows nothing of that.
TEST(sup, an_error_that_the_end_of_a_run_overtakes_is_not_told_to_a_caller_in_the_next) {
  rn::test::run([]() -> rn::task<> {
    world w;
    rn::supervisor sup = abc(w, rn::one_for_one);
    {
      auto run = rn::async([&]() -> rn::task<> { co_await sup.run(); });
      co_await rn::test::wait_idle();
      auto fails = [&run]() -> rn::task<> {
        run.cancel();
        throw std::runtime_error("of the first run");
        co_return;
      };
      EXPECT_EQ(co_await sup.start_child("x", rn::wait_ready(rn::infinite), fails), child_outcome::not_running);
      (void)co_await rn::as_result(run.await());
    }
    co_await while_it_runs(sup, [&]() -> rn::task<> {
      EXPECT_EQ(co_await sup.start_child("d", obey, std::ref(w), std::string("d")), child_outcome::ok);
    });
  });
}

}  // namespace
