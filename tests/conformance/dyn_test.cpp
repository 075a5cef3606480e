// SPDX-License-Identifier: BSL-1.0
// DYN: dynamic supervisors, by rule number, in virtual time. DYN-03 (extra arguments) is what std::ref and captures are.
#include <runnel/adopt.hpp>
#include <runnel/as_result.hpp>
#include <runnel/otp/dynamic_supervisor.hpp>
#include <runnel/otp/supervisor.hpp>
#include <runnel/this_task.hpp>
#include <support/never_mind.hpp>
#include <support/supervised.hpp>

#include <gtest/gtest.h>

#include <algorithm>
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

template <class Body> void in_one(rn::dynamic_supervisor sup, Body body) {
  rn::test::run([&]() -> rn::task<> {
    auto both = [&](rn::errgroup& g) -> rn::task<> {
      auto run = [&sup]() -> rn::task<> { co_await sup.run(); };
      co_await g.go(run);
      co_await body(sup);
      g.cancel();
    };
    co_await rn::with_errgroup(both);
  });
}

// DYN-01
TEST(dyn, it_starts_empty_and_children_have_numbers) {
  world w;
  in_one(rn::dynamic_supervisor(), [&](rn::dynamic_supervisor& sup) -> rn::task<> {
    EXPECT_EQ(sup.count_children().specs, 0u);
    auto a = co_await sup.start_child(obey, std::ref(w), std::string("a"));
    auto b = co_await sup.start_child(rn::transient, obey, std::ref(w), std::string("b"));
    EXPECT_TRUE(a && b);
    EXPECT_NE(a.number(), b.number());
    auto all = sup.which_children();
    EXPECT_EQ(all.size(), 2u);
    EXPECT_EQ(all[0].number, a.number());
    EXPECT_EQ(all[1].number, b.number());
    std::string said;
    try {
      (void)sup.start_child(rn::temporary, rn::significant, [] {});
    } catch (const rn::misuse_error& e) {
      said = e.what();
    }
    EXPECT_EQ(said, "runnel: children of a dynamic_supervisor are not significant: it does not stop with them");
  });
}

// DYN-02
TEST(dyn, children_beyond_the_limit_are_refused_and_those_being_restarted_count) {
  std::string said;
  try {
    rn::max_children none(0);
  } catch (const rn::misuse_error& e) {
    said = e.what();
  }
  EXPECT_EQ(said, "runnel: max_children(n) takes at least 1");
  world w;
  in_one(rn::dynamic_supervisor(rn::max_children(2)), [&](rn::dynamic_supervisor& sup) -> rn::task<> {
    (void)co_await sup.start_child(rn::backoff(1s, 1s, 0), obey, std::ref(w), std::string("a"));
    (void)co_await sup.start_child(rn::temporary, obey, std::ref(w), std::string("b"));
    co_await w.tell("a", "throw");
    EXPECT_EQ(sup.which_children()[0].state, child_state::restarting);
    auto c = co_await sup.start_child([] {});
    EXPECT_FALSE(c);
    EXPECT_EQ(c.outcome(), child_outcome::too_many);
    EXPECT_EQ(c.number(), 0u);
    co_await w.tell("b", "return");
    EXPECT_TRUE(co_await sup.start_child(obey, std::ref(w), std::string("c")));
  });
}

// DYN-04
TEST(dyn, what_does_not_start_is_not_kept) {
  world w;
  int failures = 1;
  in_one(rn::dynamic_supervisor(), [&](rn::dynamic_supervisor& sup) -> rn::task<> {
    EXPECT_EQ((co_await sup.start_child(rn::wait_ready(1s), [] {})).outcome(), child_outcome::ignored);
    auto bad = [&]() -> rn::task<> {
      (void)co_await sup.start_child(rn::wait_ready(1s), start_badly, std::ref(w), std::string("x"),
                                     std::ref(failures));
    };
    EXPECT_EQ(what(co_await error_of_run(bad())), "a child has not started: x does not start");
    EXPECT_EQ(sup.count_children().specs, 0u);
  });
}

// DYN-04, SUP-21
TEST(dyn, a_restart_that_fails_is_tried_again_and_one_that_is_ignored_drops_the_child) {
  world w;
  int failures = 0;
  in_one(rn::dynamic_supervisor(rn::max_restarts(10, 1s)), [&](rn::dynamic_supervisor& sup) -> rn::task<> {
    (void)co_await sup.start_child(rn::wait_ready(1s), start_badly, std::ref(w), std::string("x"), std::ref(failures));
    failures = 2;
    co_await w.tell("x", "throw");
    EXPECT_EQ(w.take(), "?x +x -x ?x ?x ?x +x");
    int starts = 0;
    auto once = [](int& n) -> rn::task<> {
      if (++n > 1) co_return;
      co_await rn::ready();
      co_await rn::yield();
      throw std::runtime_error("again");
    };
    EXPECT_TRUE(co_await sup.start_child(rn::wait_ready(1s), once, std::ref(starts)));
    co_await rn::test::wait_idle();
    EXPECT_EQ(starts, 2);
    EXPECT_EQ(sup.count_children().specs, 1u);
  });
}

// SUP-11: one that is not started again is forgotten, whatever its policy
TEST(dyn, who_has_ended_for_good_is_forgotten) {
  world w;
  in_one(rn::dynamic_supervisor(), [&](rn::dynamic_supervisor& sup) -> rn::task<> {
    for (auto policy : {rn::transient, rn::temporary}) {
      auto c = co_await sup.start_child(policy, obey, std::ref(w), std::string("x"));
      co_await w.tell("x", "return");
      EXPECT_EQ(sup.count_children().specs, 0u);
      EXPECT_EQ(co_await sup.terminate_child(c.number()), child_outcome::not_found);
    }
    auto c = co_await sup.start_child(obey, std::ref(w), std::string("p"));
    co_await w.tell("p", "return");
    EXPECT_EQ(sup.which_children().at(0).number, c.number()) << "it keeps its number";
    EXPECT_EQ(sup.which_children().at(0).restarts, 1u);
  });
}

// DYN-05
TEST(dyn, all_children_are_stopped_at_once_each_with_its_own_grace) {
  world w;
  in_one(rn::dynamic_supervisor(), [&](rn::dynamic_supervisor& sup) -> rn::task<> {
    for (int i = 0; i < 50; ++i) {
      std::string name = "c" + std::to_string(i);
      auto grace = rn::shutdown(std::chrono::seconds(i % 2 == 0 ? 10 : 1));
      (void)co_await sup.start_child(grace, obey, std::ref(w), name);
      co_await w.tell(name, "die slowly");
    }
    EXPECT_EQ(rn::test::elapsed(), 0s);
    w.take();
  });
  EXPECT_EQ(std::count(w.said.begin(), w.said.end(), '-'), 50);
}
TEST(dyn, stopping_takes_as_long_as_the_slowest) {
  world w;
  rn::test::run([&]() -> rn::task<> {
    rn::dynamic_supervisor sup;
    auto both = [&](rn::errgroup& g) -> rn::task<> {
      auto run = [&sup]() -> rn::task<> { co_await sup.run(); };
      co_await g.go(run);
      for (int i = 0; i < 50; ++i) {
        std::string name = "c" + std::to_string(i);
        (void)co_await sup.start_child(obey, std::ref(w), name);
        co_await w.tell(name, "die slowly");
      }
      g.cancel();
    };
    co_await rn::with_errgroup(both);
    EXPECT_EQ(rn::test::elapsed(), 3s);
  });
}

// DYN-06
TEST(dyn, a_child_is_terminated_by_its_number_also_between_restarts) {
  world w;
  in_one(rn::dynamic_supervisor(), [&](rn::dynamic_supervisor& sup) -> rn::task<> {
    auto a = co_await sup.start_child(obey, std::ref(w), std::string("a"));
    auto b = co_await sup.start_child(rn::backoff(1h, 1h), obey, std::ref(w), std::string("b"));
    EXPECT_EQ(co_await sup.terminate_child(a.number()), child_outcome::ok);
    EXPECT_EQ(co_await sup.terminate_child(a.number()), child_outcome::not_found);
    co_await w.tell("b", "throw");
    EXPECT_EQ(sup.which_children().at(0).state, child_state::restarting);
    EXPECT_EQ(co_await sup.terminate_child(b.number()), child_outcome::ok);
    EXPECT_EQ(sup.count_children().specs, 0u);
    EXPECT_EQ(co_await sup.terminate_child(0), child_outcome::not_found);
  });
}

// DYN-06, SUP-08: terminated, each has the time that it was given.
TEST(dyn, a_child_that_is_terminated_has_its_own_grace) {
  world w;
  in_one(rn::dynamic_supervisor(), [&](rn::dynamic_supervisor& sup) -> rn::task<> {
    struct row {
      rn::shutdown grace;
      std::chrono::nanoseconds takes;
    };
    for (const row& r : {row{rn::shutdown(rn::kill), 0s}, row{rn::shutdown(1s), 1s}, row{rn::shutdown(10s), 3s},
                         row{rn::shutdown(rn::infinite), 3s}}) {
      auto x = co_await sup.start_child(r.grace, obey, std::ref(w), std::string("x"));
      co_await w.tell("x", "die slowly");
      auto before = rn::test::elapsed();
      EXPECT_EQ(co_await sup.terminate_child(x.number()), child_outcome::ok);
      EXPECT_EQ(rn::test::elapsed() - before, r.takes);
      EXPECT_EQ(w.take(), "+x -x") << "it is not started again";
      EXPECT_EQ(co_await sup.terminate_child(x.number()), child_outcome::not_found);
    }
  });
}

// DYN-C01 as DESIGN 4 has it: who is not ended by a kill is waited for, and has its place until then.
TEST(dyn, a_child_that_does_not_end_is_waited_for_and_keeps_its_place) {
  testing::internal::CaptureStderr();
  in_one(rn::dynamic_supervisor(rn::max_children(1)), [&](rn::dynamic_supervisor& sup) -> rn::task<> {
    std::coroutine_handle<> stuck;
    auto ignores = [](std::coroutine_handle<>& h) -> rn::task<> { co_await rn::adopt(never_mind(h)); };
    auto x = co_await sup.start_child(rn::shutdown(rn::kill), ignores, std::ref(stuck));
    co_await rn::test::wait_idle();
    auto terminated = sup.terminate_child(x.number());
    auto next = sup.start_child([] {});
    co_await rn::sleep(30s);
    EXPECT_EQ(sup.which_children().at(0).state, child_state::stopping);
    EXPECT_EQ(sup.count_children().active, 1u);
    stuck.resume();
    EXPECT_EQ(co_await std::move(terminated), child_outcome::ok);
    EXPECT_TRUE(co_await std::move(next));
  });
  EXPECT_NE(testing::internal::GetCapturedStderr().find("has not ended"), std::string::npos);
}

// DYN-07, SUP-C05
TEST(dyn, what_a_temporary_child_was_given_is_not_kept) {
  auto given = std::make_shared<int>(1);
  in_one(rn::dynamic_supervisor(), [&](rn::dynamic_supervisor& sup) -> rn::task<> {
    auto f = [](std::shared_ptr<int> p) -> rn::task<> {
      p.reset();
      co_await rn::sleep(1h);
    };
    (void)co_await sup.start_child(rn::temporary, f, given);
    co_await rn::test::wait_idle();
    EXPECT_EQ(given.use_count(), 1);
    (void)co_await sup.start_child(rn::transient, f, given);
    co_await rn::test::wait_idle();
    EXPECT_EQ(given.use_count(), 2) << "this one may be needed again";
  });
}

// DYN-08: what one costs does not grow with the others; so 20,000 are no matter.
TEST(dyn, many_children_come_and_go) {
  in_one(rn::dynamic_supervisor(), [&](rn::dynamic_supervisor& sup) -> rn::task<> {
    auto f = []() -> rn::task<> { co_await rn::sleep(1h); };
    std::vector<std::uint64_t> numbers;
    for (int i = 0; i < 20'000; ++i) {
      auto c = co_await sup.start_child(rn::temporary, f);
      numbers.push_back(c.number());
    }
    EXPECT_EQ(sup.count_children().active, 20'000u);
    for (std::size_t i = 0; i < numbers.size(); i += 2) {
      auto outcome = co_await sup.terminate_child(numbers[i]);
      EXPECT_EQ(outcome, child_outcome::ok);
    }
    EXPECT_EQ(sup.count_children().specs, 10'000u);
  });
}

// SUP-16, SUP-18
TEST(dyn, too_many_restarts_end_it) {
  rn::test::run([]() -> rn::task<> {
    world w;
    rn::dynamic_supervisor sup(rn::max_restarts(1, 5s));
    auto both = [&](rn::errgroup& g) -> rn::task<> {
      auto run = [&sup]() -> rn::task<> { co_await sup.run(); };
      co_await g.go(run);
      (void)co_await sup.start_child(obey, std::ref(w), std::string("a"));
      (void)co_await sup.start_child(obey, std::ref(w), std::string("b"));
      co_await w.tell("a", "throw");
      co_await w.tell("b", "throw");
    };
    EXPECT_TRUE(as<rn::restart_limit_error>(co_await error_of_run(rn::with_errgroup(both))));
    EXPECT_EQ(w.take(), "+a +b -a +a -b -a");
    EXPECT_EQ((co_await sup.start_child([] {})).outcome(), child_outcome::not_running);
  });
}

// SUP-31
TEST(dyn, as_a_child_it_is_a_supervisor_and_is_started_again_empty) {
  rn::test::run([]() -> rn::task<> {
    world w;
    rn::dynamic_supervisor sessions(rn::max_restarts(0, 1s));
    auto ref = sessions.ref();
    rn::supervisor sup(rn::one_for_one);
    sup.child("sessions", std::move(sessions)).child("z", obey, std::ref(w), std::string("z"));
    co_await while_it_runs(sup, [&]() -> rn::task<> {
      EXPECT_EQ(sup.count_children().supervisors, 1u);
      EXPECT_TRUE(co_await ref.start_child(obey, std::ref(w), std::string("a")));
      co_await w.tell("a", "throw");
      EXPECT_EQ(ref.count_children().specs, 0u);
      EXPECT_TRUE(co_await ref.start_child(obey, std::ref(w), std::string("b")));
    });
    EXPECT_EQ(w.take(), "+z +a -a +b -z -b");
  });
}

// ---- Disturbed at each place ----

TEST(dyn, nothing_is_left_wherever_it_is_cancelled_killed_or_out_of_memory) {
  int alive = 0;
  auto body = [&]() -> rn::task<> {
    alive = 0;
    auto child = [](int& n) -> rn::task<> {
      struct lives {
        int& n;
        explicit lives(int& in) : n(in) { ++n; }
        ~lives() { --n; }
      } l(n);
      co_await rn::ready();
      co_await rn::sleep(10ms);
      throw std::runtime_error("again");
    };
    rn::dynamic_supervisor sup(rn::max_restarts(100, 1s));
    auto both = [&](rn::errgroup& g) -> rn::task<> {
      auto run = [&sup]() -> rn::task<> { co_await sup.run(); };
      co_await g.go(run);
      auto a = co_await sup.start_child(rn::wait_ready(1s), rn::backoff(1ms, 2ms), child, std::ref(alive));
      (void)co_await sup.start_child(rn::transient, child, std::ref(alive));
      (void)co_await sup.start_child(rn::temporary, rn::shutdown(rn::kill), child, std::ref(alive));
      co_await rn::sleep(25ms);
      (void)co_await sup.terminate_child(a.number());
      g.cancel();
    };
    try {
      co_await rn::with_errgroup(both);
    } catch (const rn::supervisor_error&) {  // a child that cannot be made has not started
    }
    if (alive != 0) throw std::logic_error("a child is left");
  };
  auto none = [&] { return alive == 0; };
  rn::test::explore(300, body);
  EXPECT_GT(rn::test::cancel_everywhere(body, none), 40u);
  EXPECT_GT(rn::test::fail_everywhere(body, none), 10u);
}

}  // namespace
