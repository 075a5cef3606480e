// SPDX-License-Identifier: BSL-1.0
// supervisor: under many schedules, disturbed at each place, from other threads, for long; and as a program.
#include <runnel/adopt.hpp>
#include <runnel/all.hpp>
#include <runnel/as_result.hpp>
#include <runnel/async.hpp>
#include <runnel/detail/frame_pool.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/otp/dynamic_supervisor.hpp>
#include <runnel/otp/partition_supervisor.hpp>
#include <runnel/otp/supervisor.hpp>
#include <runnel/otp/task_supervisor.hpp>
#include <runnel/run.hpp>
#include <runnel/runtime.hpp>
#include <runnel/sleep.hpp>
#include <runnel/test.hpp>
#include <runnel/this_task.hpp>
#include <runnel/with_context.hpp>
#include <support/checked_runtime.hpp>
#include <support/counted.hpp>
#include <support/failing_allocations.hpp>
#include <support/never_mind.hpp>
#include <support/supervised.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <coroutine>
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using namespace runnel_test;
using rn::child_outcome;
using test::on_1_2_and_4_threads;
using test::until;

// ---- Under many schedules, and disturbed ----

// A life with a failure, a pause, a handshake, a request, and an end. Whatever happens, nothing of it is left.
rn::task<> a_life(rn::supervision_strategy strategy, int& alive) {
  struct lives {
    int& n;
    explicit lives(int& in) : n(in) { ++n; }
    ~lives() { --n; }
  };
  int fails = 1;
  auto first = [](int& n, int& left) -> rn::task<> {
    lives l(n);
    co_await rn::ready();
    co_await rn::yield();
    if (left-- > 0) throw std::runtime_error("once");
    co_await rn::sleep(1h);
  };
  auto second = [](int& n) -> rn::task<> {
    lives l(n);
    co_await rn::finally(lie_down(10h), [] { return lie_down(10ms); });
  };
  rn::supervisor sup(strategy, rn::max_restarts(5, 1s));
  sup.child("first", rn::wait_ready(1s), rn::backoff(1ms, 5ms), first, std::ref(alive), std::ref(fails))
      .child("second", rn::shutdown(1s), second, std::ref(alive));
  auto both = [&](rn::errgroup& g) -> rn::task<> {
    auto run = [&sup]() -> rn::task<> { co_await sup.run(); };
    co_await g.go(run);
    (void)co_await sup.start_child("third", rn::temporary, second, std::ref(alive));
    co_await rn::sleep(50ms);
    (void)co_await sup.terminate_child("first");
    g.cancel();
  };
  co_await rn::with_errgroup(both);
  if (alive != 0) throw std::logic_error("a child is left");
}

class supervisor_everywhere : public testing::TestWithParam<int> {
 protected:
  static rn::supervision_strategy strategy() {
    return GetParam() == 0 ? rn::one_for_one : GetParam() == 1 ? rn::one_for_all : rn::rest_for_one;
  }
};
INSTANTIATE_TEST_SUITE_P(strategies, supervisor_everywhere, testing::Values(0, 1, 2));

TEST_P(supervisor_everywhere, a_life_goes_well_under_many_schedules) {
  int alive = 0;
  auto body = [&]() -> rn::task<> {
    alive = 0;
    co_await a_life(strategy(), alive);
  };
  rn::test::explore(500, body);
}

TEST_P(supervisor_everywhere, a_life_goes_well_under_every_schedule_with_a_preemption) {
  int alive = 0;
  auto body = [&]() -> rn::task<> {
    alive = 0;
    co_await a_life(strategy(), alive);
  };
  rn::test::exhaust(body, rn::test::preemptions(1));
}

TEST_P(supervisor_everywhere, nothing_is_left_wherever_it_is_cancelled_or_killed) {
  int alive = 0;
  auto body = [&]() -> rn::task<> {
    alive = 0;
    co_await a_life(strategy(), alive);
  };
  auto none = [&] { return alive == 0; };
  EXPECT_GT(rn::test::cancel_everywhere(body, none), 40u);
  for (std::uint64_t n = 1; n <= 10; ++n) rn::test::cancel_everywhere(rn::test::seed(n), body, none);
}

TEST_P(supervisor_everywhere, nothing_is_left_wherever_an_allocation_fails) {
  int alive = 0;
  auto body = [&]() -> rn::task<> {
    alive = 0;
    try {
      co_await a_life(strategy(), alive);
    } catch (const rn::supervisor_error&) {  // a child that cannot be made has not started
    }
  };
  EXPECT_GT(rn::test::fail_everywhere(body, [&] { return alive == 0; }), 10u);
}

// ---- Beside others ----

TEST(supervisor, a_context_and_an_all_around_it_end_it_in_order) {
  rn::test::run([]() -> rn::task<> {
    world w;
    rn::supervisor sup(rn::one_for_one);
    sup.child("a", obey, std::ref(w), std::string("a")).child("b", obey, std::ref(w), std::string("b"));
    auto fails = []() -> rn::task<> {
      co_await rn::sleep(1s);
      throw std::runtime_error("the other");
    };
    auto both = [&]() -> rn::task<> { co_await rn::all(sup.run(), fails()); };
    EXPECT_EQ(what(co_await error_of_run(both())), "the other");
    EXPECT_EQ(w.take(), "+a +b -b -a");
  });
}

TEST(supervisor, a_context_that_is_done_before_starts_nothing) {
  rn::test::run([]() -> rn::task<> {
    world w;
    rn::supervisor sup(rn::one_for_one);
    sup.child("a", obey, std::ref(w), std::string("a"));
    auto outcome = co_await rn::as_result(rn::with_timeout(0s, sup.run()));
    EXPECT_TRUE(as<rn::deadline_exceeded>(outcome.error()));
    EXPECT_EQ(w.take(), "");
    EXPECT_FALSE(sup.is_running());
  });
}

TEST(supervisor, children_inherit_what_the_context_carries_and_no_deadline) {
  struct user {
    using type = std::string;
  };
  rn::test::run([]() -> rn::task<> {
    std::string seen;
    bool deadline = true;
    auto f = [](std::string& s, bool& d) -> rn::task<> {
      auto ctx = rn::this_context();
      s = *ctx.value<user>();
      d = ctx.deadline().has_value();
      co_await rn::ready();
      co_await rn::sleep(1h);
    };
    rn::supervisor sup(rn::one_for_one);
    sup.child("a", rn::wait_ready(1s), f, std::ref(seen), std::ref(deadline));
    auto with_user = rn::with_value<user>(std::string("ann"), rn::with_timeout(1s, sup.run()));
    (void)co_await rn::as_result(std::move(with_user));
    EXPECT_EQ(seen, "ann");
    EXPECT_FALSE(deadline) << "its end is its supervisor's to decide";
  });
}

TEST(supervisor, ready_of_a_grandchild_is_not_taken_for_its_supervisors) {
  rn::test::run([]() -> rn::task<> {
    world w;
    auto eager = [](world& in) -> rn::task<> {
      co_await rn::ready();
      in.say("said");
      co_await rn::sleep(1h);
    };
    auto slow = []() -> rn::task<> {
      co_await rn::sleep(2s);
      co_await rn::ready();
      co_await rn::sleep(1h);
    };
    rn::supervisor inner(rn::one_for_one);
    inner.child("eager", eager, std::ref(w)).child("slow", rn::wait_ready(5s), slow);
    rn::supervisor outer(rn::one_for_one);
    outer.child("tree", std::move(inner)).child("next", obey, std::ref(w), std::string("next"));
    co_await while_it_runs(outer, [&]() -> rn::task<> {
      EXPECT_EQ(w.take(), "said");
      EXPECT_EQ(outer.which_children()[0].state, rn::child_state::starting);
      co_await rn::sleep(3s);
      EXPECT_EQ(w.take(), "+next");
    });
  });
}

TEST(supervisor, ready_says_nothing_where_nobody_asks) {
  rn::test::run([]() -> rn::task<> {
    co_await rn::ready();
    co_return;
  });
}

TEST(supervisor, a_child_terminates_itself_and_its_sibling) {
  rn::test::run([]() -> rn::task<> {
    world w;
    rn::supervisor sup(rn::one_for_one);
    auto f = [](world& in, rn::supervisor_ref ref) -> rn::task<> {
      ended e(in, "f");
      (void)co_await ref.terminate_child("a");
      (void)co_await ref.terminate_child("f");
      in.say("not here");
    };
    sup.child("a", obey, std::ref(w), std::string("a"));
    sup.child("f", f, std::ref(w), sup.ref());
    co_await while_it_runs(sup, [&]() -> rn::task<> {
      EXPECT_EQ(w.take(), "+a -a -f");
      co_return;
    });
  });
}

TEST(supervisor, a_handle_that_its_own_child_has_does_not_keep_it_alive) {
  auto given = std::make_shared<int>(1);
  rn::supervisor_ref ref = [&] {
    rn::supervisor sup(rn::one_for_one);
    sup.child(
        "x", [](const rn::supervisor_ref&, const std::shared_ptr<int>&) {}, sup.ref(), given);
    EXPECT_EQ(given.use_count(), 2);
    return sup.ref();
  }();
  EXPECT_EQ(given.use_count(), 1);
  EXPECT_EQ(ref.terminate_child("x").get(), child_outcome::not_running);
  EXPECT_TRUE(ref.which_children().empty());
  EXPECT_EQ(ref.count_children().specs, 0u);
}

// ---- Misuse ----

TEST(supervisor, running_it_twice_and_adding_children_meanwhile_are_refused) {
  rn::test::run([]() -> rn::task<> {
    rn::supervisor sup(rn::one_for_one);
    sup.child("a", [] {});
    rn::supervisor calm(rn::one_for_one);
    co_await while_it_runs(calm, [&]() -> rn::task<> {
      EXPECT_EQ(what(co_await error_of_run(calm.run())),
                "this supervisor runs already: it is run by one goroutine at a time");
      std::string said;
      try {
        calm.child("b", [] {});
      } catch (const rn::misuse_error& e) {
        said = e.what();
      }
      EXPECT_EQ(said, "runnel: child \"b\" is added to a supervisor that runs: co_await start_child instead");
      try {
        (void)calm.start_child("s", rn::significant, rn::transient, [] {});
      } catch (const rn::misuse_error& e) {
        said = e.what();
      }
      EXPECT_EQ(said.substr(0, 33), "runnel: child \"s\" is significant,");
      try {
        (void)calm.terminate_child("x").get();
      } catch (const rn::misuse_error& e) {
        said = e.what();
      }
      EXPECT_EQ(said, "runnel: get() would block a thread that runs goroutines: co_await the request instead");
    });
  });
}

TEST(supervisor, one_that_was_moved_from_is_refused) {
  rn::supervisor from(rn::one_for_one);
  rn::supervisor to = std::move(from);
  EXPECT_THROW(from.child("x", [] {}), rn::misuse_error);  // NOLINT: that is what is tested
  EXPECT_THROW((void)from.run(), rn::misuse_error);
  to.child("x", [] {});
}
TEST(supervisor, one_that_was_moved_from_is_refused_as_a_child) {
  rn::supervisor outer(rn::one_for_one), plain(rn::one_for_one);
  rn::dynamic_supervisor dynamic;
  rn::task_supervisor tasks;
  rn::partition_supervisor shards(rn::partitions(2), [](std::size_t) {});
  auto twice = [&outer](const std::string& id, auto& sup) {
    outer.child(id, std::move(sup));
    EXPECT_THROW(outer.child(id + " again", std::move(sup)), rn::misuse_error) << id;  // NOLINT: the same
  };
  twice("plain", plain);
  twice("dynamic", dynamic);
  twice("tasks", tasks);
  twice("shards", shards);
}

// ---- On threads ----

TEST(supervisor, others_change_its_children_from_their_threads_while_it_runs) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    auto work = [](std::atomic<int>& n) -> rn::task<> {
      struct lives {
        std::atomic<int>& n;
        explicit lives(std::atomic<int>& in) : n(in) { ++n; }
        ~lives() { --n; }
      } l(n);
      co_await rn::sleep(1h);
    };
    rn::supervisor sup(rn::one_for_one);
    sup.child("first", work, std::ref(alive));
    std::atomic<int> done = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t)
      threads.emplace_back([&, t, ref = sup.ref()]() mutable {
        for (int i = 0; i < 50; ++i) {
          std::string id = "c" + std::to_string(t) + "." + std::to_string(i);
          EXPECT_EQ(ref.start_child(id, work, std::ref(alive)).get(), child_outcome::ok);
          EXPECT_GE(ref.which_children().size(), 1u);
          if (i % 3 != 0) continue;
          EXPECT_EQ(ref.terminate_child(id).get(), child_outcome::ok);
          auto outcome = i % 6 == 0 ? ref.delete_child(id).get() : ref.restart_child(id).get();
          EXPECT_EQ(outcome, child_outcome::ok);
        }
        ++done;
      });
    co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
      auto run = [&sup]() -> rn::task<> { co_await sup.run(); };
      co_await g.go(run);
      co_await until([&] { return done == 3; });
      EXPECT_EQ(sup.count_children().specs, 1u + 3 * (50 - 9));
      g.cancel();
    });
    for (auto& t : threads) t.join();
    EXPECT_EQ(alive, 0);
  });
}

TEST(supervisor, requests_that_come_before_it_runs_wait_for_that) {
  rn::test::run([]() -> rn::task<> {
    world w;
    rn::supervisor sup(rn::one_for_one);
    rn::child_request early = sup.start_child("early", obey, std::ref(w), std::string("early"));
    sup.child("a", obey, std::ref(w), std::string("a"));
    co_await while_it_runs(sup, [&]() -> rn::task<> {
      EXPECT_EQ(co_await std::move(early), child_outcome::ok);
      EXPECT_EQ(w.take(), "+a +early");
    });
  });
}

TEST(supervisor, requests_to_one_that_never_runs_come_to_not_running_when_it_dies) {
  rn::test::run([]() -> rn::task<> {
    std::unique_ptr<rn::child_request> request;
    {
      rn::supervisor sup(rn::one_for_one);
      request = std::make_unique<rn::child_request>(sup.terminate_child("x"));
    }
    EXPECT_EQ(co_await std::move(*request), child_outcome::not_running);
  });
}

// ---- A program ----

TEST(supervisor, it_is_an_application) {
  std::atomic<int> ran = 0;
  rn::supervisor ends(rn::one_for_one, rn::auto_shutdown(rn::any_significant));
  ends.child("x", rn::transient, rn::significant, [&ran] { ++ran; });
  EXPECT_EQ(rn::run(rn::threads(2), rn::no_signals, std::move(ends)), 0);
  EXPECT_EQ(ran, 1);

  rn::supervisor fails(rn::one_for_one, rn::max_restarts(2, 1s));
  fails.child("x", [&ran] {
    ++ran;
    throw std::runtime_error("it fails");
  });
  testing::internal::CaptureStderr();
  EXPECT_EQ(rn::run(rn::threads(2), rn::no_signals, std::move(fails)), 1);
  EXPECT_EQ(ran, 4);
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "runnel: an exception left the app: a supervisor gave up, too many restarts; the last child was \"x\": it "
            "fails\n");
}

// ---- For long ----

// An hour of children that die at random, and of requests; the tree's invariants after each, and at each step of a child.
rn::task<> chaos(std::uint64_t seed, rn::supervision_strategy strategy) {
  std::uint64_t state = seed;
  auto below = [&state](std::uint64_t n) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % n;
  };
  constexpr int children = 6;
  std::vector<int> alive(children + 1);
  std::string broken;  // what a child finds: its error would only restart it
  std::function<void()> check;
  auto look = [&] {
    try {
      if (check) check();
    } catch (const std::exception& e) {
      broken = e.what();
    }
  };
  auto child = [&](int i) -> rn::task<> {
    struct lives {
      int& n;
      std::function<void()> look;
      lives(int& in, std::function<void()> l) : n(in), look(std::move(l)) { ++n; }
      lives(const lives&) = delete;
      lives& operator=(const lives&) = delete;
      ~lives() {
        look();
        --n;
        look();
      }
    } l(alive[static_cast<std::size_t>(i)], look);
    look();
    if (alive[static_cast<std::size_t>(i)] != 1) broken = "a child runs twice";
    bool first = rn::test::elapsed() == 0s;  // the outermost start is to succeed
    if (!first && below(8) == 0) co_await rn::sleep(std::chrono::milliseconds(below(3000)));
    if (!first && below(8) == 0) throw std::runtime_error("in its start");
    look();
    co_await rn::ready();
    look();
    if (below(4) == 0) {
      auto slow = [d = below(4000)] { return lie_down(std::chrono::milliseconds(d)); };
      co_await rn::finally(lie_down(std::chrono::seconds(below(600))), slow);
    } else {
      co_await rn::sleep(std::chrono::seconds(below(600)));
    }
    look();
    if (below(2) == 0) throw std::runtime_error("at random");
  };
  rn::supervisor inner(strategy, rn::max_restarts(20, 60s));
  for (int i = 0; i < children; ++i) {
    auto id = std::string(1, static_cast<char>('a' + i));
    if (i % 3 == 0)
      inner.child(id, rn::wait_ready(2s), rn::backoff(10ms, 5s), rn::shutdown(1s), child, i);
    else if (i % 3 == 1)
      inner.child(id, rn::transient, rn::shutdown(std::chrono::milliseconds(500)), child, i);
    else
      inner.child(id, rn::shutdown(rn::kill), child, i);
  }
  rn::supervisor_ref ref = inner.ref();
  rn::supervisor outer(rn::one_for_one, rn::max_restarts::unlimited());
  outer.child("tree", rn::backoff(100ms, 1s), std::move(inner));
  check = [&] {
    if (!broken.empty()) throw std::logic_error(broken);
    auto all = ref.which_children();
    for (auto& c : all) {
      bool active = c.state != rn::child_state::idle && c.state != rn::child_state::restarting;
      if (c.id.size() == 1) {
        auto i = static_cast<std::size_t>(c.id == "x" ? children : c.id[0] - 'a');
        if (!active && alive[i] != 0) throw std::logic_error(c.id + " is alive, and should not be");
      }
    }
    auto n = ref.count_children();
    if (n.active > n.specs || n.workers + n.supervisors != n.specs) throw std::logic_error("wrongly counted");
    if (all.empty())
      for (int a : alive)
        if (a != 0 && !ref.is_running()) throw std::logic_error("a child has outlived its supervisor");
  };
  auto both = [&](rn::errgroup& g) -> rn::task<> {
    auto run = [&outer]() -> rn::task<> { co_await outer.run(); };
    co_await g.go(run);
    while (rn::test::elapsed() < 1h) {
      co_await rn::sleep(std::chrono::seconds(below(60)));
      check();
      auto id = std::string(1, static_cast<char>('a' + below(children)));
      switch (below(6)) {
        case 0:
          (void)co_await ref.terminate_child(id);
          break;
        case 1:
          (void)co_await rn::as_result(ref.restart_child(id));
          break;
        case 2:
          (void)co_await rn::as_result(ref.start_child("x", rn::temporary, child, children));
          break;
        case 3:
          (void)co_await ref.terminate_child("x");
          break;
        default:
          break;
      }
      check();
    }
    g.cancel();
  };
  co_await rn::with_errgroup(both);
  check();
  for (int a : alive)
    if (a != 0) throw std::logic_error("a child is left");
}

TEST(supervisor, an_hour_of_chaos_keeps_the_tree_in_order) {
  const char* wanted = std::getenv("RUNNEL_CHAOS_SEEDS");
  std::uint64_t seeds = wanted ? std::strtoull(wanted, nullptr, 0) : RUNNEL_ASAN || RUNNEL_TSAN ? 50 : 1000;
  testing::internal::CaptureStderr();  // errors of children that are being stopped
  std::string failed;
  for (std::uint64_t n = 1; n <= seeds && failed.empty(); ++n)
    for (auto strategy : {rn::one_for_one, rn::one_for_all, rn::rest_for_one}) try {
        std::size_t before = rn::detail::frame_pool_stats().live_blocks;
        rn::test::run(rn::test::seed(n), [&]() -> rn::task<> { co_await chaos(n, strategy); });
        if (n > 1 && rn::detail::frame_pool_stats().live_blocks != before) failed = "frames are left";
      } catch (const std::exception& e) {
        failed = e.what();
      }
  std::string said = testing::internal::GetCapturedStderr();
  EXPECT_EQ(failed, "") << said.substr(said.size() > 4000 ? said.size() - 4000 : 0);
}

TEST(supervisor, a_child_is_restarted_100000_times_in_the_same_memory) {
  std::size_t early = 0, late = 0;
  int starts = 0;
  auto child = [&]() -> rn::task<> {
    if (++starts == 1000) early = rn::detail::frame_pool_stats().live_blocks;
    if (starts == 100'000) late = rn::detail::frame_pool_stats().live_blocks;
    co_await rn::sleep(1ms);
    if (starts % 2 == 0) throw std::runtime_error("again");
  };
  rn::test::run(rn::test::max_steps(100'000'000), [&]() -> rn::task<> {
    rn::supervisor sup(rn::one_for_one, rn::max_restarts::unlimited());
    sup.child("x", child);
    (void)co_await rn::as_result(rn::with_timeout(101s, sup.run()));
  });
  EXPECT_GE(starts, 100'000);
  EXPECT_EQ(late, early);
}

// The child's time to be ready, and the cancellation of its supervisor, at one instant, in each order.
TEST(supervisor, a_child_has_its_grace_time_whatever_else_happens_as_it_is_stopped) {
  auto body = []() -> rn::task<> {
    bool cleaned = false;
    auto clean = [&]() -> rn::task<> {
      co_await rn::sleep(10ms);
      cleaned = true;
    };
    auto child = [&]() -> rn::task<> { co_await rn::finally(rn::sleep(24h), clean); };
    rn::supervisor sup(rn::one_for_one);
    sup.child("child", rn::wait_ready(1ms), rn::shutdown(5s), child);
    auto run = rn::async([&]() -> rn::task<> { co_await sup.run(); });
    co_await rn::sleep(1ms);
    run.cancel();
    (void)co_await rn::as_result(run.await());
    EXPECT_TRUE(cleaned);
  };
  rn::test::explore(200, body);
}

// The child's grace time ends, and its supervisor is killed, at one instant.
TEST(supervisor, a_kill_from_above_as_the_grace_time_ends_is_not_told_as_a_child_that_does_not_end) {
  auto body = []() -> rn::task<> {
    auto child = []() -> rn::task<> {
      auto never = []() -> rn::task<> { co_await rn::sleep(24h); };
      co_await rn::finally(rn::sleep(24h), never);
    };
    rn::supervisor inner(rn::one_for_one), outer(rn::one_for_one);
    inner.child("child", rn::shutdown(1s), child);
    outer.child("tree", rn::shutdown(1s), std::move(inner));
    auto run = rn::async([&]() -> rn::task<> { co_await outer.run(); });
    co_await rn::sleep(1s);
    run.cancel();
    (void)co_await rn::as_result(run.await());
    EXPECT_EQ(rn::test::elapsed(), 2s);
  };
  testing::internal::CaptureStderr();
  rn::test::explore(500, body);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

// The report needs no memory: each allocation that is made about then fails in turn.
TEST(supervisor, a_child_that_does_not_end_is_reported_without_memory_too) {
  testing::internal::CaptureStderr();
  allocation_watch& watch = allocation_watch::here();
  bool failed = true;
  for (int at = 0; failed && at < 20; ++at)
    rn::test::run([&]() -> rn::task<> {
      std::coroutine_handle<> stuck;
      auto ignores = [](std::coroutine_handle<>& h) -> rn::task<> { co_await rn::adopt(never_mind(h)); };
      rn::supervisor sup(rn::one_for_one);
      sup.child("one with a rather long name", rn::shutdown(rn::kill), ignores, std::ref(stuck));
      auto run = rn::async([&]() -> rn::task<> { co_await sup.run(); });
      co_await rn::test::wait_idle();
      run.cancel();
      co_await rn::sleep(4999ms);
      // The scheduler keeps a record of its steps. When that has just grown it has room for what follows.
      for (int i = 0; i < 1000; ++i) co_await rn::yield();
      watch = {true, false, 0, -1};
      for (int i = 0; watch.seen == 0 && i < 10'000; ++i) co_await rn::yield();
      watch = {true, false, 0, at};
      co_await rn::sleep(2ms);
      watch.armed = false;
      failed = watch.failed;
      stuck.resume();
      (void)co_await rn::as_result(run.await());
    });
  std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("runnel: child \"one with a rather long name\" has not ended 5 s after it"), std::string::npos)
      << said;
}

}  // namespace
