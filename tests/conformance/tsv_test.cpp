// SPDX-License-Identifier: BSL-1.0
// TSV: task supervisors, by rule number, and what AS says of streams under one; in virtual time, under many schedules,
// and disturbed at each place.
#include <runnel/as_result.hpp>
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/otp/task_supervisor.hpp>
#include <runnel/sleep.hpp>
#include <runnel/test.hpp>
#include <runnel/this_task.hpp>
#include <runnel/with_context.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using rn::child_outcome;

struct alive_here {
  int& n;
  explicit alive_here(int& counter) : n(counter) { ++n; }
  alive_here(const alive_here&) = delete;
  alive_here& operator=(const alive_here&) = delete;
  ~alive_here() { --n; }
};
rn::task<int> give_after(std::chrono::milliseconds d, int value, int& alive) {
  alive_here here(alive);
  co_await rn::sleep(d);
  co_return value;
}
rn::task<int> fail_after(std::chrono::milliseconds d, int& alive) {
  alive_here here(alive);
  co_await rn::sleep(d);
  throw std::runtime_error("failed");
}
rn::task<> lie(std::chrono::milliseconds d) { co_await rn::sleep(d); }
// When it is cancelled it takes so long, shielded.
rn::task<int> die_slowly(std::chrono::milliseconds d, int& alive) {
  alive_here here(alive);
  auto slow = [d] { return lie(d); };
  co_await rn::finally(rn::sleep(1000h), slow);
  co_return 0;
}

// Runs body beside it; then it is stopped. Throws what either does.
template <class Body> rn::task<> beside(rn::task_supervisor& sup, Body body) {
  auto both = [&](rn::errgroup& g) -> rn::task<> {
    auto run = [&sup]() -> rn::task<> { co_await sup.run(); };
    co_await g.go(run);
    co_await body();
    g.cancel();
  };
  co_await rn::with_errgroup(both);
}
template <class Body> void in_one(rn::task_supervisor sup, Body body) {
  rn::test::run([&]() -> rn::task<> { co_await beside(sup, [&]() -> rn::task<> { co_await body(sup); }); });
}
std::string what(const std::exception_ptr& e) { return e ? rn::detail::what_of(e) : "nothing"; }
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

// TSK-16: who asks is known by what its context carries.
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

// AS-05, AS-06, AS-07, AS-10
TEST(tsv, a_stream_under_it_delivers_as_any) {
  int alive = 0, most = 0;
  in_one(rn::task_supervisor(), [&](rn::task_supervisor& sup) -> rn::task<> {
    std::vector<int> inputs{5, 1, 3, 0, 2};
    auto f = [&](int n) -> rn::task<int> {
      alive_here here(alive);
      most = std::max(most, alive);
      co_await rn::sleep(std::chrono::milliseconds(n));
      if (n == 3) throw std::runtime_error("three");
      co_return n * 10;
    };
    for (bool linked : {true, false}) {
      std::string seen;
      auto read = [&](auto stream) -> rn::task<> {
        while (auto item = co_await stream.next()) {
          seen +=
              item->ok() ? std::to_string(item->value()) : what(item->reason()) + "@" + std::to_string(item->input());
          seen += " ";
        }
      };
      if (linked)
        co_await read(sup.async_stream(inputs, rn::max_concurrency(2), f));
      else
        co_await read(sup.async_stream_nolink(inputs, rn::max_concurrency(2), rn::shutdown(1s), f));
      EXPECT_EQ(seen, "50 10 three@3 0 20 ");
      EXPECT_EQ(most, 2);
    }
    co_await rn::test::wait_idle();
    EXPECT_EQ(sup.count_children().specs, 0u);
  });
}
// AS-11, AS-13
TEST(tsv, a_stream_that_is_left_cancels_its_tasks_if_they_are_linked) {
  int alive = 0;
  in_one(rn::task_supervisor(), [&](rn::task_supervisor& sup) -> rn::task<> {
    auto f = [&alive](std::chrono::milliseconds d) { return give_after(d, 1, alive); };
    std::vector<std::chrono::milliseconds> inputs{1ms, 1h, 1h};
    {
      auto items = sup.async_stream(inputs, rn::max_concurrency(3), f);
      (void)co_await items.next();
      EXPECT_EQ(alive, 2);
    }
    co_await rn::test::wait_idle();
    EXPECT_EQ(alive, 0);
    {
      auto items = sup.async_stream_nolink(inputs, rn::max_concurrency(3), f);
      (void)co_await items.next();
    }
    co_await rn::test::wait_idle();
    EXPECT_EQ(alive, 2) << "these are the supervisor's";
    auto items = sup.async_stream_nolink(inputs, rn::max_concurrency(3), f);
    (void)co_await items.next();
    EXPECT_EQ(alive, 4);
    co_await items.close();
    EXPECT_EQ(alive, 2);
    EXPECT_FALSE(co_await items.next());
  });
  EXPECT_EQ(alive, 0);
}
// AS-09
TEST(tsv, a_stream_under_it_has_timeouts) {
  int alive = 0;
  in_one(rn::task_supervisor(), [&](rn::task_supervisor& sup) -> rn::task<> {
    auto f = [&alive](std::chrono::milliseconds d) { return give_after(d, 1, alive); };
    std::vector<std::chrono::milliseconds> inputs{1ms, 1h, 2ms};
    auto items = sup.async_stream(inputs, rn::timeout(1s), rn::kill_on_timeout, rn::max_concurrency(3), f);
    auto all = co_await items.collect();
    EXPECT_TRUE(all[0].ok() && !all[1].ok() && all[2].ok());
    EXPECT_EQ(alive, 0);
  });
}
// AS-14
TEST(tsv, a_stream_that_is_refused_ends_when_its_tasks_have) {
  int alive = 0;
  in_one(rn::task_supervisor(rn::max_children(2)), [&](rn::task_supervisor& sup) -> rn::task<> {
    auto f = [&alive](std::chrono::milliseconds d) { return give_after(d, 1, alive); };
    std::vector<std::chrono::milliseconds> inputs{1h, 1h, 1h, 1h};
    auto items = sup.async_stream(inputs, rn::max_concurrency(3), f);
    auto read = [&]() -> rn::task<> { (void)co_await items.next(); };
    EXPECT_EQ(what((co_await rn::as_result(read())).error()), "a task is refused: there are max_children already");
    EXPECT_EQ(alive, 0);
    EXPECT_FALSE(co_await items.next());
    auto fits = sup.async_stream(std::vector<std::chrono::milliseconds>{1ms, 2ms, 3ms, 1ms}, rn::max_concurrency(2), f);
    EXPECT_EQ((co_await fits.collect()).size(), 4u);
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
TEST(tsv, nothing_is_left_of_a_stream_wherever_it_is_cancelled_killed_or_out_of_memory) {
  int alive = 0;
  auto body = [&]() -> rn::task<> {
    alive = 0;
    rn::task_supervisor sup(rn::max_children(3));
    auto f = [&alive](int n) { return give_after(std::chrono::milliseconds(n), n, alive); };
    auto work = [&]() -> rn::task<> {
      std::vector<int> inputs{2, 1, 3};
      auto items = sup.async_stream(inputs, rn::max_concurrency(2), f);
      (void)co_await items.next();
      {
        auto left = sup.async_stream_nolink(std::vector<int>{1, 30}, rn::max_concurrency(1), f);
        (void)co_await left.next();
      }
      (void)co_await items.collect();
    };
    try {
      co_await beside(sup, work);
    } catch (const rn::task_refused&) {
    }
    if (alive != 0) throw std::logic_error("a task is left");
  };
  auto none = [&] { return alive == 0; };
  rn::test::explore(300, body);
  EXPECT_GT(rn::test::cancel_everywhere(body, none), 30u);
  EXPECT_GT(rn::test::fail_everywhere(body, none), 10u);
}

}  // namespace
