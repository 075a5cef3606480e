// SPDX-License-Identifier: BSL-1.0
// TSV: task supervisors, by rule number, in virtual time, under many schedules, and disturbed at each place. Streams
// under one are in tsv_stream_test.cpp.
#include <runnel/as_result.hpp>
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/otp/task_supervisor.hpp>
#include <runnel/sleep.hpp>
#include <runnel/test.hpp>
#include <runnel/this_task.hpp>
#include <runnel/with_context.hpp>
#include <support/tasks.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
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
using rn::child_outcome;

// Why it was refused; ok if it was not.
template <class Request> rn::task<child_outcome> refusal(Request request) {
  try {
    (void)co_await std::move(request);
  } catch (const rn::task_refused& e) {
    co_return e.outcome();
  }
  co_return child_outcome::ok;
}

// TSV-01, TSV-06
TEST(tsv, tasks_are_temporary_unless_asked_otherwise_and_live_ones_are_listed) {
  int alive = 0;
  in_one(rn::task_supervisor(), [&](rn::task_supervisor& sup) -> rn::task<> {
    auto a = co_await sup.start_child(fail_after, 1ms, std::ref(alive));
    auto b = co_await sup.start_child(rn::permanent, rn::backoff(1h, 1h, 0), fail_after, 1ms, std::ref(alive));
    auto c = co_await sup.start_child(give_after, 1h, 1, std::ref(alive));
    EXPECT_EQ(sup.children(), (std::vector{a.number(), b.number(), c.number()}));
    co_await rn::sleep(10ms);
    EXPECT_EQ(sup.children(), std::vector{c.number()}) << "b waits for its restart";
    EXPECT_EQ(sup.count(), 1u);
    EXPECT_EQ(sup.count_children().specs, 2u);
    EXPECT_EQ(co_await sup.terminate_child(c.number()), child_outcome::ok);
    EXPECT_EQ(co_await sup.terminate_child(c.number()), child_outcome::not_found);
    EXPECT_EQ(co_await sup.terminate_child(a.number()), child_outcome::not_found);
    EXPECT_EQ(alive, 0);
  });
}

// TSV-02
TEST(tsv, a_task_yields_its_value_or_its_error_to_who_has_the_handle) {
  int alive = 0;
  in_one(rn::task_supervisor(), [&](rn::task_supervisor& sup) -> rn::task<> {
    auto a = co_await sup.async(give_after, 2ms, 7, std::ref(alive));
    auto b = co_await sup.async_nolink(fail_after, 1ms, std::ref(alive));
    EXPECT_EQ(sup.count(), 2u);
    auto failed = co_await rn::as_result(std::move(b));
    EXPECT_EQ(what(failed.error()), "failed");
    EXPECT_EQ(co_await a.await(), 7);
    co_await rn::test::wait_idle();
    EXPECT_EQ(sup.count_children().specs, 0u);
    auto only = std::make_unique<int>(5);  // what cannot be copied is moved
    auto take = [](std::unique_ptr<int> p) { return *p; };
    auto c = co_await sup.async(take, rn::moved(only));
    EXPECT_EQ(co_await c.await(), 5);
  });
}

// TSV-02, over TSK-C03: the handle is the link.
TEST(tsv, a_linked_task_ends_with_its_handle_and_another_goes_on) {
  int alive = 0, told = 0;
  auto hear = [&](const rn::goroutine_error& e) {
    EXPECT_EQ(what(e.error), "failed");
    ++told;
  };
  in_one(rn::task_supervisor(rn::on_error(hear)), [&](rn::task_supervisor& sup) -> rn::task<> {
    auto owner = [&](bool linked) -> rn::task<> {
      if (linked) {
        auto t = co_await sup.async(fail_after, 5ms, std::ref(alive));
        co_await t.await();
      } else {
        auto t = co_await sup.async_nolink(fail_after, 5ms, std::ref(alive));
        co_await t.await();
      }
    };
    EXPECT_TRUE((co_await rn::as_result(rn::with_timeout(1ms, owner(true)))).error());
    co_await rn::test::wait_idle();
    EXPECT_EQ(alive, 0);
    EXPECT_TRUE((co_await rn::as_result(rn::with_timeout(1ms, owner(false)))).error());
    co_await rn::test::wait_idle();
    EXPECT_EQ(alive, 1);
    EXPECT_EQ(told, 0);
    co_await rn::sleep(10ms);
    EXPECT_EQ(alive, 0);
    EXPECT_EQ(told, 1) << "nobody else hears of it";
  });
}

// TSV-02, TSK-13
TEST(tsv, a_handle_cancels_shuts_down_and_ignores) {
  int alive = 0;
  in_one(rn::task_supervisor(), [&](rn::task_supervisor& sup) -> rn::task<> {
    auto a = co_await sup.async_nolink(give_after, 1h, 1, std::ref(alive));
    EXPECT_TRUE((co_await a.shutdown()).canceled());
    auto b = co_await sup.async(give_after, 5ms, 1, std::ref(alive));
    EXPECT_FALSE(b.ignore());
    EXPECT_FALSE(b);
    auto c = co_await sup.async(die_slowly, 10s, std::ref(alive));
    co_await rn::sleep(1ms);
    auto killed = co_await c.shutdown(1s);
    EXPECT_FALSE(killed.ok());
    EXPECT_EQ(rn::test::elapsed(), 1001ms);
    EXPECT_EQ(alive, 0);
  });
}

// TSV-03
TEST(tsv, beyond_max_children_a_task_is_refused_and_a_place_is_free_when_its_task_is_heard_of) {
  int alive = 0, frames = 0;
  in_one(rn::task_supervisor(rn::max_children(1)), [&](rn::task_supervisor& sup) -> rn::task<> {
    for (int i = 0; i < 20; ++i) {
      auto a = co_await sup.async(give_after, 1ms, i, std::ref(alive));
      auto held = std::make_shared<int>(0);
      auto f = [](std::shared_ptr<int>, int& n) { ++n; };
      EXPECT_EQ(co_await refusal(sup.async(f, held, std::ref(frames))), child_outcome::too_many);
      EXPECT_EQ(co_await refusal(sup.async_nolink(f, held, std::ref(frames))), child_outcome::too_many);
      EXPECT_EQ(held.use_count(), 1) << "what it was given is gone";
      EXPECT_EQ((co_await sup.start_child(f, held, std::ref(frames))).outcome(), child_outcome::too_many);
      EXPECT_EQ(co_await a.await(), i);
    }
    EXPECT_EQ(frames, 0);
    EXPECT_STREQ(rn::task_refused(child_outcome::too_many).what(),
                 "runnel: a task is refused: there are max_children already");
  });
}
// The same under many schedules, also where the supervisor has yet to hear of the end. PR-09: what an end frees is free
// when it is told. TSV-06: nor is it counted or listed any more.
TEST(tsv, who_has_heard_of_an_end_can_have_the_place) {
  auto body = []() -> rn::task<> {
    rn::task_supervisor sup(rn::max_children(1));
    co_await beside(sup, [&]() -> rn::task<> {
      for (int i = 0; i < 4; ++i) {
        auto t = co_await sup.async([](int n) { return n; }, i);
        (void)co_await t.await();
        if (sup.count() != 0 || !sup.children().empty()) throw std::logic_error("it is still counted");
      }
    });
  };
  EXPECT_NO_THROW(rn::test::explore(300, body));
  EXPECT_NO_THROW(rn::test::exhaust(body, rn::test::preemptions(1)));
}
TEST(tsv, a_task_that_fails_is_not_started_again) {
  int starts = 0;
  in_one(rn::task_supervisor(rn::max_restarts(0, 1s)), [&](rn::task_supervisor& sup) -> rn::task<> {
    auto f = [](int& n) {
      ++n;
      throw std::runtime_error("once");
    };
    auto t = co_await sup.async(f, std::ref(starts));
    EXPECT_EQ(what((co_await rn::as_result(std::move(t))).error()), "once");
    co_await rn::test::wait_idle();
    EXPECT_EQ(starts, 1);
    EXPECT_TRUE(sup.is_running());
  });
}

// TSV-04
TEST(tsv, what_start_child_starts_is_restarted_as_told_and_its_errors_are_heard) {
  int alive = 0, starts = 0;
  std::vector<std::string> told;
  auto hear = [&](const rn::goroutine_error& e) {
    told.push_back(what(e.error));
    EXPECT_NE(e.where.line(), 0u);
  };
  in_one(rn::task_supervisor(rn::on_error(hear)), [&](rn::task_supervisor& sup) -> rn::task<> {
    (void)co_await sup.start_child(fail_after, 1ms, std::ref(alive));
    auto thrice = [](int& n) -> rn::task<> {
      if (++n < 3) throw std::runtime_error("attempt " + std::to_string(n));
      co_return;
    };
    (void)co_await sup.start_child(rn::transient, thrice, std::ref(starts));
    co_await rn::sleep(10ms);
    EXPECT_EQ(starts, 3);
    EXPECT_EQ(told, (std::vector<std::string>{"attempt 1", "attempt 2", "failed"}));
    EXPECT_EQ(sup.count_children().specs, 0u);
  });
}

// TSK-15: nobody waits for it, so its error is told, once, with the place where it was started; a normal end, and one that
// was asked for, are not.
TEST(tsv, of_what_start_child_starts_errors_are_told_with_their_place_and_nothing_else_is) {
  int alive = 0;
  std::vector<std::string> told;
  auto hear = [&](const rn::goroutine_error& e) {
    told.push_back(what(e.error) + "@" + std::to_string(e.where.line()));
  };
  std::string expected;
  in_one(rn::task_supervisor(rn::on_error(hear)), [&](rn::task_supervisor& sup) -> rn::task<> {
    (void)co_await sup.start_child(give_after, 1ms, 1, std::ref(alive));
    expected = "failed@" + std::to_string(std::source_location::current().line() + 1);
    (void)co_await sup.start_child(fail_after, 1ms, std::ref(alive));
    auto asked = co_await sup.start_child(give_after, 1h, 1, std::ref(alive));
    (void)co_await sup.start_child(give_after, 1h, 1, std::ref(alive));
    co_await rn::sleep(10ms);
    (void)co_await sup.terminate_child(asked.number());
    EXPECT_EQ(sup.count(), 1u) << "and none of them was started again";
  });
  EXPECT_EQ(told, std::vector{expected});
}

// TSV-05, DYN-05
TEST(tsv, each_task_has_its_own_time_when_it_is_stopped) {
  int alive = 0;
  rn::test::run([&]() -> rn::task<> {
    rn::task_supervisor sup;
    std::optional<rn::join_handle<int>> slow, killed, out_of_time;
    co_await beside(sup, [&]() -> rn::task<> {
      slow.emplace(co_await sup.async(die_slowly, 4s, std::ref(alive)));
      killed.emplace(co_await sup.async_nolink(rn::shutdown(rn::kill), die_slowly, 1h, std::ref(alive)));
      out_of_time.emplace(co_await sup.async(rn::shutdown(2s), die_slowly, 1h, std::ref(alive)));
      (void)co_await sup.start_child(rn::shutdown(3s), die_slowly, 1h, std::ref(alive));
      co_await rn::sleep(1s);
      EXPECT_EQ(alive, 4);
    });
    EXPECT_EQ(rn::test::elapsed(), 5s);
    EXPECT_EQ(alive, 0);
    for (auto* t : {&slow, &killed, &out_of_time}) EXPECT_TRUE((*t)->done());
    EXPECT_TRUE((co_await slow->shutdown()).canceled());
  });
}
TEST(tsv, a_kill_kills_all_at_once) {
  int alive = 0;
  rn::test::run([&]() -> rn::task<> {
    rn::task_supervisor sup;
    auto runner = rn::async([&sup]() -> rn::task<> { co_await sup.run(); });
    auto t = co_await sup.async(die_slowly, 1h, std::ref(alive));
    (void)co_await sup.start_child(die_slowly, 1h, std::ref(alive));
    co_await rn::sleep(1ms);
    (void)co_await runner.shutdown(rn::kill);
    EXPECT_EQ(alive, 0);
    EXPECT_EQ(rn::test::elapsed(), 1ms);
    EXPECT_TRUE(t.done());
  });
}

// TSV-07
TEST(tsv, who_gives_up_before_the_task_is_handed_over_leaves_none) {
  int starts = 0, alive = 0;
  rn::test::run([&]() -> rn::task<> {
    rn::task_supervisor sup;
    auto count = [](int& n) { ++n; };
    (void)sup.async(count, std::ref(starts));  // before it runs
    {
      auto ask = [&]() -> rn::task<> { (void)co_await sup.async(count, std::ref(starts)); };
      EXPECT_TRUE((co_await rn::as_result(rn::with_timeout(1ms, ask()))).error());
    }
    co_await beside(sup, [&]() -> rn::task<> {
      co_await rn::test::wait_idle();
      EXPECT_EQ(starts, 0);
      EXPECT_EQ(sup.count_children().specs, 0u);
      (void)sup.async_nolink(give_after, 5ms, 1, std::ref(alive));
      co_await rn::test::wait_idle();
      EXPECT_EQ(alive, 1) << "this one needs nobody";
    });
    EXPECT_EQ(alive, 0);
  });
}

// Before, after, and again
TEST(tsv, it_is_asked_before_it_runs_and_refuses_when_it_has_ended) {
  rn::test::run([]() -> rn::task<> {
    int alive = 0;
    std::optional<rn::task_supervisor_ref> ref;
    {
      rn::task_supervisor sup;
      ref.emplace(sup.ref());
      auto early = sup.async(give_after, 1ms, 3, std::ref(alive));
      co_await beside(sup, [&]() -> rn::task<> {
        auto t = co_await std::move(early);
        EXPECT_EQ(co_await t.await(), 3);
      });
      EXPECT_EQ(co_await refusal(ref->async(give_after, 1ms, 3, std::ref(alive))), child_outcome::not_running);
      auto asked = sup.async(give_after, 1ms, 3, std::ref(alive));
      co_await beside(sup, [&]() -> rn::task<> {
        co_await rn::test::wait_idle();
        auto t = co_await ref->async(give_after, 1ms, 4, std::ref(alive));
        EXPECT_EQ(co_await t.await(), 4);
      });
      EXPECT_EQ(co_await refusal(std::move(asked)), child_outcome::not_running);
    }
    EXPECT_EQ(co_await refusal(ref->async_nolink(give_after, 1ms, 3, std::ref(alive))), child_outcome::not_running);
    EXPECT_EQ((co_await ref->start_child(give_after, 1ms, 3, std::ref(alive))).outcome(), child_outcome::not_running);
    EXPECT_EQ(ref->count(), 0u);
    rn::task_supervisor never;
    auto waits = never.async(give_after, 1ms, 3, std::ref(alive));
    never = rn::task_supervisor();
    EXPECT_EQ(co_await refusal(std::move(waits)), child_outcome::not_running);
  });
}
// TSV-01, SUP-31
TEST(tsv, as_a_child_it_is_started_again_empty_and_its_tasks_have_been_cancelled) {
  rn::test::run([]() -> rn::task<> {
    int alive = 0;
    rn::task_supervisor tasks(rn::max_restarts(0, 1s));
    auto ref = tasks.ref();
    rn::supervisor sup(rn::one_for_one);
    sup.child("tasks", std::move(tasks));
    auto both = [&](rn::errgroup& g) -> rn::task<> {
      auto run = [&sup]() -> rn::task<> { co_await sup.run(); };
      co_await g.go(run);
      auto t = co_await ref.async(give_after, 1h, 1, std::ref(alive));
      EXPECT_EQ(sup.count_children().supervisors, 1u);
      (void)co_await ref.start_child(rn::permanent, fail_after, 1ms, std::ref(alive));  // one restart too many
      co_await rn::sleep(10ms);
      EXPECT_TRUE(t.done());
      EXPECT_TRUE((co_await t.shutdown()).canceled());
      EXPECT_TRUE(ref.is_running());
      EXPECT_EQ(ref.count(), 0u);
      auto u = co_await ref.async(give_after, 1ms, 2, std::ref(alive));
      EXPECT_EQ(co_await u.await(), 2);
      g.cancel();
    };
    co_await rn::with_errgroup(both);
    EXPECT_EQ(alive, 0);
  });
}

// TSK-16, PR-12: who asks is known by what its context carries.
struct request_id {
  using type = int;
};
TEST(tsv, a_task_has_the_values_of_its_caller_and_not_its_deadline) {
  in_one(rn::task_supervisor(), [&](rn::task_supervisor& sup) -> rn::task<> {
    auto seen = []() -> rn::task<int> {
      const int* id = rn::this_context().value<request_id>();
      co_return (id ? *id : -1) * (rn::this_context().deadline() ? 0 : 1);
    };
    auto ask = [&]() -> rn::task<int> {
      auto t = co_await sup.async(seen);
      co_return co_await t.await();
    };
    EXPECT_EQ(co_await ask(), -1);
    EXPECT_EQ(co_await rn::with_timeout(1h, rn::with_value<request_id>(5, ask())), 5);
  });
}

// ---- Disturbed at each place ----

TEST(tsv, nothing_is_left_wherever_it_is_cancelled_killed_or_out_of_memory) {
  int alive = 0;
  auto body = [&]() -> rn::task<> {
    alive = 0;
    rn::task_supervisor sup(rn::max_children(4), rn::on_error([](const rn::goroutine_error&) {}));
    auto work = [&]() -> rn::task<> {
      auto a = co_await sup.async(give_after, 1ms, 1, std::ref(alive));
      auto b = co_await sup.async_nolink(rn::shutdown(rn::kill), fail_after, 20ms, std::ref(alive));
      (void)co_await sup.start_child(rn::transient, fail_after, 3ms, std::ref(alive));
      (void)co_await a.await();
      (void)b.ignore();
      auto c = co_await sup.async(die_slowly, 1ms, std::ref(alive));
      co_await rn::yield();
      (void)co_await c.shutdown(1s);
    };
    try {
      co_await beside(sup, work);
    } catch (const rn::supervisor_error&) {
    } catch (const rn::task_refused&) {  // the supervisor had no memory to begin
    }
    if (alive != 0) throw std::logic_error("a task is left");
  };
  auto none = [&] { return alive == 0; };
  rn::test::explore(300, body);
  EXPECT_GT(rn::test::cancel_everywhere(body, none), 40u);
  for (std::uint64_t n = 1; n <= 5; ++n) rn::test::cancel_everywhere(rn::test::seed(n), body, none);
  EXPECT_GT(rn::test::fail_everywhere(body, none), 10u);
}
}  // namespace
