// SPDX-License-Identifier: BSL-1.0
#include <runnel/as_result.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/with_context.hpp>
#include <support/checked_runtime.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using test::checked_runtime;
using test::counted;
using test::error_of_awaiting;
using test::on_1_2_and_4_threads;
using test::park_for_ever;
using test::until;

// What happened in which order, from any thread.
class journal {
 public:
  void write(std::string line) {
    std::lock_guard hold(x_mutex);
    x_lines.push_back(std::move(line));
  }
  std::vector<std::string> lines() {
    std::lock_guard hold(x_mutex);
    return x_lines;
  }

 private:
  std::mutex x_mutex;
  std::vector<std::string> x_lines;
};

class line_at_end {
 public:
  line_at_end(journal& j, std::string line) : x_journal(j), x_line(std::move(line)) {}
  line_at_end(const line_at_end&) = delete;
  line_at_end& operator=(const line_at_end&) = delete;
  ~line_at_end() { x_journal.write(x_line); }

 private:
  journal& x_journal;
  std::string x_line;
};

rn::task<> park_and_tell(journal& j, std::string name, std::atomic<int>& parked) {
  line_at_end at_end(j, name);
  co_await park_for_ever(parked);
}

// ---- Children and the frame around ----

TEST(errgroup, children_work_on_locals_of_the_frame_around) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::vector<int> squares(200);
    rn::errgroup g(rn::limit(5));
    for (int i = 0; i < 200; ++i)
      co_await g.go(
          [](int n, int& out) -> rn::task<> {
            co_await rn::yield();
            out = n * n;
          },
          i, std::ref(squares[static_cast<std::size_t>(i)]));
    co_await g.wait();
    for (int i = 0; i < 200; ++i) EXPECT_EQ(squares[static_cast<std::size_t>(i)], i * i);
  });
}

TEST(errgroup, callables_and_arguments_are_moved_into_the_child) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> sum = 0;
    rn::errgroup g;
    auto take = [&sum](std::unique_ptr<int> p, int a, int b, int c, int d) -> rn::task<> {
      co_await rn::yield();
      sum += *p + a + b + c + d;
    };
    for (int i = 0; i < 5; ++i) g.go(take, std::make_unique<int>(1000), 100, 10, 1, 0);
    g.go([&sum, p = std::make_unique<int>(1)] { sum += *p; });
    EXPECT_TRUE(g.try_go(take, std::make_unique<int>(1), 1, 1, 1, 1));
    auto body = [&sum, p = std::make_unique<int>(20'000)] { sum += *p; };
    auto argument = std::make_unique<int>(10'000);
    co_await g.go(rn::moved(body));  // as g++ 12 has to have it
    co_await g.go(take, rn::moved(argument), 0, 0, 0, 0);
    EXPECT_EQ(argument, nullptr);
    co_await g.wait();
    EXPECT_EQ(sum, 5 * 1111 + 1 + 5 + 30'000);
  });
}

TEST(errgroup, children_start_children_of_the_same_group) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> ran = 0;
    rn::errgroup g;
    std::function<rn::task<>(int)> grow = [&](int depth) -> rn::task<> {
      ++ran;
      for (int i = 0; depth > 0 && i < 3; ++i) co_await g.go(std::ref(grow), depth - 1);
    };
    co_await g.go(std::ref(grow), 6);
    co_await g.wait();
    EXPECT_EQ(ran, 1093);
  });
}

TEST(errgroup, children_of_a_limited_group_queue_children_of_the_same_group) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> ran = 0;
    rn::errgroup g(rn::limit(2));
    std::function<rn::task<>(int)> grow = [&](int depth) -> rn::task<> {
      ++ran;
      co_await rn::yield();
      for (int i = 0; depth > 0 && i < 3; ++i) g.go(std::ref(grow), depth - 1);  // awaiting would hold the slot
    };
    g.go(std::ref(grow), 5);
    co_await g.wait();
    EXPECT_EQ(ran, 364);
  });
}

TEST(errgroup, other_threads_start_children) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> ran = 0, threads_left = 3;
    std::vector<std::jthread> threads;
    rn::errgroup g(rn::limit(3));
    for (int t = 0; t < 3; ++t)
      threads.emplace_back([&] {
        for (int i = 0; i < 200; ++i)
          g.go([&]() -> rn::task<> {
            co_await rn::yield();
            ++ran;
          });
        --threads_left;
      });
    co_await until([&] { return threads_left == 0; });
    co_await g.wait();
    EXPECT_EQ(ran, 600);
  });
}

TEST(errgroup, another_thread_cancels_while_children_queue_and_park) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int round = 0; round < 20; ++round) {
      std::atomic<int> alive = 0, started = 0;
      rn::errgroup g(rn::limit(4));
      std::jthread other;
      other = std::jthread([&] {
        while (started < 3) std::this_thread::yield();
        g.cancel();
        started = -1000;
      });
      for (int i = 0; i < 30; ++i)
        g.go([&]() -> rn::task<> {
          ++started;
          return park_for_ever(alive);
        });
      co_await until([&] { return started < 0; });
      co_await g.wait();
      EXPECT_EQ(alive, 0);
    }
  });
}

TEST(errgroup, each_go_tells_whether_its_child_runs_also_while_the_group_is_cancelled) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int round = 0; round < 50; ++round) {
      std::atomic<int> ran = 0, accepted = 0;
      rn::errgroup g(rn::limit(2)), spawners;
      for (int i = 0; i < 8; ++i)
        spawners.go([&]() -> rn::task<> {
          for (int k = 0; k < 10; ++k)
            if (bool runs = co_await g.go([&] { ++ran; })) accepted += runs;
        });
      spawners.go([&]() -> rn::task<> {
        for (int k = 0; k < round; ++k) co_await rn::yield();
        g.go([] { test::fail("x"); });
      });
      co_await spawners.wait();
      (void)co_await error_of_awaiting([&] { return g.wait(); });
      EXPECT_EQ(ran, accepted);
    }
  });
}

TEST(errgroup, the_ambient_context_reaches_the_children) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    std::atomic<bool> went_on = false;
    auto inner = [&]() -> rn::task<> {
      rn::errgroup g(rn::limit(10));
      for (int i = 0; i < 20; ++i) g.go(park_for_ever, std::ref(alive));
      co_await g.wait();
      went_on = true;
    };
    bool timed_out = false;
    try {
      co_await rn::with_timeout(5ms, inner());
    } catch (const rn::deadline_exceeded&) {
      timed_out = true;
    }
    EXPECT_TRUE(timed_out);
    EXPECT_FALSE(went_on);
    EXPECT_EQ(alive, 0);
  });
}

TEST(errgroup, queued_children_that_never_run_are_destroyed_with_their_arguments) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0, arguments = 0, ran = 0;
    rn::errgroup g(rn::limit(1));
    g.go(park_for_ever, std::ref(alive));
    for (int i = 0; i < 10; ++i) g.go([&ran](counted) { ++ran; }, counted(arguments));
    co_await until([&] { return alive == 1; });
    EXPECT_EQ(arguments, 10);
    g.cancel();
    co_await g.wait();
    EXPECT_EQ(arguments, 0);
    EXPECT_EQ(ran, 0);
  });
}

// ---- Cancelling it ----

TEST(errgroup, cancel_ends_the_children_and_is_no_error) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    rn::errgroup g;
    for (int i = 0; i < 10; ++i) g.go(park_for_ever, std::ref(alive));
    co_await until([&] { return alive == 10; });
    g.cancel();
    g.cancel();
    co_await g.wait();
    EXPECT_EQ(alive, 0);
  });
}

TEST(errgroup, cancel_with_a_cause_shows_in_the_children_and_is_not_thrown_by_wait) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::string cause;
    std::atomic<bool> ready = false;
    rn::errgroup g;
    g.go([&]() -> rn::task<> {
      auto ctx = rn::this_context();
      ready = true;
      co_await ctx.done();
      cause = rn::detail::what_of(ctx.cause());
    });
    co_await until([&] { return ready.load(); });
    g.cancel(std::make_exception_ptr(std::runtime_error("closing")));
    co_await g.wait();
    EXPECT_EQ(cause, "closing");
  });
}

TEST(errgroup, an_error_that_a_child_throws_after_the_cancel_is_thrown_by_wait) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> ready = 0;
    rn::errgroup g;
    g.go(test::fail_when_cancelled, std::ref(ready), std::string("while closing"));
    co_await until([&] { return ready == 1; });
    g.cancel();
    EXPECT_EQ(co_await error_of_awaiting([&] { return g.wait(); }), "while closing");
  });
}

TEST(errgroup, collect_all_lets_the_others_go_on_and_keeps_every_error) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> gate(0);
    std::atomic<int> ended = 0;
    rn::errgroup g(rn::collect_all);
    for (int i = 0; i < 5; ++i) g.go([] { test::fail("x"); });
    for (int i = 0; i < 5; ++i)
      g.go([&]() -> rn::task<> {
        co_await gate.recv();
        ++ended;
      });
    co_await until([&] { return g.live() == 5; });
    gate.close();
    EXPECT_EQ(co_await error_of_awaiting([&] { return g.wait(); }), "x");
    EXPECT_EQ(ended, 5);
    EXPECT_EQ(g.other_errors().size(), 4u);
    for (auto& e : g.other_errors())
      EXPECT_NE(std::string(e.where.file_name()).find("errgroup_test"), std::string::npos);
  });
}

TEST(errgroup, a_child_in_a_shield_keeps_the_parents_frame_alive) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    journal j;
    rn::chan<int> gate(0);
    std::atomic<int> shielded = 0;
    auto parent = [&]() -> rn::task<> {
      line_at_end local(j, "the parent's local");
      std::vector<int> data(3, 7);
      rn::errgroup g;
      g.go([&]() -> rn::task<> {
        auto work = [&]() -> rn::task<> {
          counted inside(shielded);
          co_await gate.recv();
          EXPECT_EQ(data, (std::vector<int>{7, 7, 7}));
          j.write("the shielded child");
        };
        co_await rn::shield(work());
      });
      co_await g.wait();
    };
    rn::errgroup outer;
    outer.go(parent);
    co_await until([&] { return shielded == 1; });
    outer.cancel();
    co_await test::let_others_run();
    EXPECT_TRUE(j.lines().empty());
    gate.close();
    co_await outer.wait();
    EXPECT_EQ(j.lines(), (std::vector<std::string>{"the shielded child", "the parent's local"}));
  });
}

TEST(errgroup, who_waits_for_done_of_its_own_context_goes_on_and_is_not_stopped) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> waiting = 0, went_on = 0;
    auto wait_for_done = [&]() -> rn::task<> {
      co_await rn::yield();  // it is listed in its group before it waits
      ++waiting;
      co_await rn::done();
      ++went_on;
    };
    rn::errgroup g;
    for (int i = 0; i < 5; ++i) g.go(wait_for_done);
    g.go([&]() -> rn::task<> { co_await rn::with_timeout(1h, wait_for_done()); });
    auto child = [&]() -> rn::task<> {  // the body's context is the group's, as its children's is
      co_await rn::with_errgroup([&](rn::errgroup&) -> rn::task<> { co_await wait_for_done(); });
    };
    g.go(child);
    co_await until([&] { return waiting == 7; });
    co_await test::let_others_run();
    g.cancel();
    co_await g.wait();
    EXPECT_EQ(went_on, 7);
  });
}

// ---- Left by unwinding ----

TEST(errgroup, unwinding_joins_the_children_before_locals_die_that_they_may_refer_to) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    journal j;
    std::atomic<int> parked = 0;
    auto parent = [&]() -> rn::task<> {
      line_at_end local(j, "local");
      rn::errgroup g;
      g.go(park_and_tell, std::ref(j), std::string("child"), std::ref(parked));
      co_await park_for_ever(parked);
    };
    rn::errgroup outer;
    outer.go(parent);
    co_await until([&] { return parked == 2; });
    outer.cancel();
    co_await outer.wait();
    EXPECT_EQ(j.lines(), (std::vector<std::string>{"child", "local"}));
    EXPECT_EQ(parked, 0);
  });
}

rn::task<> nested(journal& j, std::atomic<int>& parked, int depth) {
  std::string name = std::to_string(depth);
  line_at_end local(j, "local " + name);
  rn::errgroup g;
  g.go(park_and_tell, std::ref(j), "child " + name, std::ref(parked));
  if (depth > 1)
    co_await nested(j, parked, depth - 1);
  else
    co_await park_for_ever(parked);
}

TEST(errgroup, groups_of_nested_frames_are_joined_leaf_first) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    journal j;
    std::atomic<int> parked = 0;
    rn::errgroup outer;
    outer.go(nested, std::ref(j), std::ref(parked), 4);
    co_await until([&] { return parked == 5; });
    outer.cancel();
    co_await outer.wait();
    // Locals of a frame die after the frame's group is joined and before the next group is even cancelled from here;
    // but cancellation reaches all children through the tree, so only the frames' own order is certain.
    std::vector<std::string> locals;
    auto lines = j.lines();
    for (auto& line : lines)
      if (line.starts_with("local")) locals.push_back(line);
    EXPECT_EQ(locals, (std::vector<std::string>{"local 1", "local 2", "local 3", "local 4"}));
    for (int i = 1; i <= 4; ++i) {
      auto at = [&](const std::string& what) { return std::find(lines.begin(), lines.end(), what) - lines.begin(); };
      EXPECT_LT(at("child " + std::to_string(i)), at("local " + std::to_string(i)));
    }
  });
}

TEST(errgroup, a_deeper_frame_dies_before_the_join_of_a_group_above_it) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    // The child of the outer frame's group ends only when the inner frame has died: joined too early, it hangs.
    std::atomic<int> parked = 0;
    rn::chan<int> inner_died(0);
    auto inner = [&]() -> rn::task<> {
      auto last = inner_died.closer();
      co_await park_for_ever(parked);
    };
    auto middle = [&]() -> rn::task<> {
      rn::errgroup g;
      g.go([&]() -> rn::task<> {
        auto wait = [&]() -> rn::task<> {
          ++parked;
          co_await inner_died.recv();
          --parked;
        };
        co_await rn::shield(wait());
      });
      co_await inner();
    };
    rn::errgroup outer;
    outer.go(middle);
    co_await until([&] { return parked == 2; });
    outer.cancel();
    co_await outer.wait();
    EXPECT_EQ(parked, 0);
  });
}

TEST(errgroup, several_groups_of_one_frame_are_all_joined) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    auto parent = [&]() -> rn::task<> {
      rn::errgroup a, b(rn::limit(2)), c(rn::collect_all);
      for (rn::errgroup* g : {&a, &b, &c})
        for (int i = 0; i < 3; ++i) g->go(park_for_ever, std::ref(alive));
      co_await park_for_ever(alive);
    };
    rn::errgroup outer;
    outer.go(parent);
    co_await until([&] { return alive == 9; });  // one is queued
    outer.cancel();
    co_await outer.wait();
    EXPECT_EQ(alive, 0);
  });
}

TEST(errgroup, a_group_on_the_heap_is_joined_before_the_frames_die) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    journal j;
    std::atomic<int> parked = 0;
    auto parent = [&]() -> rn::task<> {
      line_at_end local(j, "local");
      auto g = std::make_unique<rn::errgroup>();
      g->go(park_and_tell, std::ref(j), std::string("child"), std::ref(parked));
      co_await park_for_ever(parked);
    };
    rn::errgroup outer;
    outer.go(parent);
    co_await until([&] { return parked == 2; });
    outer.cancel();
    co_await outer.wait();
    EXPECT_EQ(j.lines(), (std::vector<std::string>{"child", "local"}));
  });
}

TEST(errgroup, errors_of_children_that_unwinding_joins_go_to_the_hook) {
  for (int n : {1, 2, 4}) {
    checked_runtime rt(n);
    rt.run([]() -> rn::task<> {
      std::atomic<int> ready = 0;
      auto parent = [&]() -> rn::task<> {
        rn::errgroup g;
        for (int i = 0; i < 2; ++i)
          g.go([&]() -> rn::task<> {
            co_await test::fail_when_cancelled(ready, "late");
          });
        co_await park_for_ever(ready);
      };
      rn::errgroup outer;
      outer.go(parent);
      co_await until([&] { return ready == 3; });
      outer.cancel();
      co_await outer.wait();
    });
    EXPECT_EQ(rt.unobserved(), (std::vector<std::string>{"late", "late"}));
  }
}

TEST(errgroup, unwinding_to_an_as_result_leaves_groups_outside_of_it_alone) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> inside = 0, outside = 0;
    rn::chan<int> gate(0);
    std::atomic<bool> outside_went_on = false;
    rn::errgroup outer;  // of this frame, outside of the boundary
    outer.go([&]() -> rn::task<> {
      counted c(outside);
      co_await gate.recv();
      outside_went_on = true;
    });
    auto work = [&]() -> rn::task<> {
      rn::errgroup g;
      g.go(park_for_ever, std::ref(inside));
      co_await park_for_ever(inside);
    };
    auto [ctx, cancel] = rn::context::background().with_cancel();
    rn::errgroup canceller;
    canceller.go([&, stop = std::move(cancel)]() -> rn::task<> {
      co_await until([&] { return inside == 2 && outside == 1; });
      stop();
    });
    auto r = co_await rn::as_result(rn::with_context(ctx, work()));
    EXPECT_TRUE(r.canceled());
    EXPECT_EQ(inside, 0);
    EXPECT_EQ(outside, 1) << "the group outside was cancelled";
    EXPECT_EQ(outer.live(), 1u);
    gate.close();
    co_await outer.wait();
    EXPECT_TRUE(outside_went_on);
    co_await canceller.wait();
  });
}

TEST(errgroup, unwinding_to_a_timeout_leaves_groups_outside_of_it_alone) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> inside = 0, outside = 0;
    rn::chan<int> gate(0);
    auto heap = std::make_unique<rn::errgroup>();  // in no frame at all, but opened outside
    heap->go([&]() -> rn::task<> {
      counted c(outside);
      co_await gate.recv();
    });
    co_await until([&] { return outside == 1; });
    auto work = [&]() -> rn::task<> {
      rn::errgroup g;
      g.go(park_for_ever, std::ref(inside));
      co_await park_for_ever(inside);
    };
    bool timed_out = false;
    try {
      co_await rn::with_timeout(3ms, work());
    } catch (const rn::deadline_exceeded&) {
      timed_out = true;
    }
    EXPECT_TRUE(timed_out);
    EXPECT_EQ(inside, 0);
    EXPECT_EQ(outside, 1);
    gate.close();
    co_await heap->wait();
  });
}

TEST(errgroup, a_kill_reaches_children_in_a_shield) {
  std::atomic<int> alive = 0;
  rn::runtime_options options;
  options.grace(1ms);
  {
    rn::runtime rt(rn::threads(2), options);
    rt.run([&]() -> rn::task<> {
      rn::go([&]() -> rn::task<> {
        rn::errgroup g(rn::limit(1));
        auto shielded = [&]() -> rn::task<> { co_await rn::shield(park_for_ever(alive)); };
        g.go(shielded);
        g.go(shielded);
        co_await g.wait();
      });
      co_await until([&] { return alive == 1; });
    });
  }
  EXPECT_EQ(alive, 0);
}

// ---- Left in the wrong way ----

void run_on_one_thread(rn::task<> (*app)()) {
  rn::runtime rt(rn::threads(1));
  rt.run(app);
}

rn::task<> leave_early() {
  std::atomic<int> alive = 0;
  rn::errgroup g;
  g.go(park_for_ever, std::ref(alive));
  co_await until([&] { return alive == 1; });
}
rn::task<> leave_by_exception() {
  std::atomic<int> alive = 0;
  rn::errgroup g;
  g.go(park_for_ever, std::ref(alive));
  co_await until([&] { return alive == 1; });
  throw std::runtime_error("a group was not waited for");
}
rn::task<> leave_with_children_that_never_ran() {
  std::atomic<int> alive = 0;
  rn::errgroup g;
  g.go(park_for_ever, std::ref(alive));
  co_return;
}
rn::task<> leave_with_queued_children() {
  std::atomic<int> alive = 0;
  rn::errgroup g(rn::limit(1));
  for (int i = 0; i < 3; ++i) g.go(park_for_ever, std::ref(alive));
  co_await until([&] { return alive == 1; });
}

class errgroup_death : public testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(errgroup_death, an_early_return_with_live_children_names_where_they_were_started) {
  EXPECT_DEATH(run_on_one_thread(leave_early), "left with 1 live children(.|\n)*started at .*errgroup_test.cpp:[0-9]+");
}
TEST_F(errgroup_death, an_exception_that_leaves_live_children_names_where_they_were_started) {
  EXPECT_DEATH(run_on_one_thread(leave_by_exception),
               "left with 1 live children(.|\n)*started at .*errgroup_test.cpp:[0-9]+");
}
TEST_F(errgroup_death, children_that_never_ran_count_too) {
  EXPECT_DEATH(run_on_one_thread(leave_with_children_that_never_ran), "left with 1 live children");
}
TEST_F(errgroup_death, queued_children_count_too) {
  EXPECT_DEATH(run_on_one_thread(leave_with_queued_children), "left with 3 live children");
}

rn::task<> leave_to(std::unique_ptr<rn::errgroup>& outside) {
  outside = std::make_unique<rn::errgroup>();
  co_return;
}
void outlive_its_goroutine() {
  std::unique_ptr<rn::errgroup> outside;
  rn::runtime rt(rn::threads(1));
  rt.go(leave_to, std::ref(outside));
  rt.run([&] { return until([&] { return rt.live() == 1; }); });
}
TEST_F(errgroup_death, it_does_not_outlive_its_goroutine) {
  EXPECT_DEATH(outlive_its_goroutine(), "an errgroup outlives the goroutine that made it .started at");
}

// ---- Misuse, and out of memory ----

TEST(errgroup, outside_of_a_goroutine_it_is_misuse) { EXPECT_THROW(rn::errgroup g, rn::misuse_error); }

thread_local bool t_fail_frames = false;
bool fails(std::size_t) noexcept { return t_fail_frames; }
RUNNEL_NOINLINE void fail_frames(bool yes) {
  t_fail_frames = yes;
  rn::detail::frame_alloc_hook = yes ? &fails : nullptr;
}

int g_allocations_until_failure = 0;
bool fails_later(std::size_t) noexcept { return g_allocations_until_failure-- == 0; }

TEST(errgroup, go_without_memory_throws_and_starts_nothing) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    std::atomic<int> ran = 0, arguments = 0;
    int refused = 0;
    rn::errgroup g(rn::limit(1));
    for (int n = 0; n < 10; ++n) {
      g_allocations_until_failure = n;
      rn::detail::frame_alloc_hook = &fails_later;
      try {
        g.go([&](const counted&) { ++ran; }, counted(arguments));
      } catch (const std::bad_alloc&) {
        ++refused;
      }
      rn::detail::frame_alloc_hook = nullptr;
    }
    EXPECT_GE(refused, 2) << "the child's frame, and its goroutine";
    EXPECT_EQ(g.live(), static_cast<std::size_t>(10 - refused));
    co_await g.wait();
    EXPECT_EQ(ran, 10 - refused);
    EXPECT_EQ(arguments, 0);
  });
}

TEST(errgroup, cancelling_and_joining_allocate_nothing) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    auto outcome = co_await rn::as_result([](std::atomic<int>& n) -> rn::task<> {
      rn::errgroup g(rn::limit(5));
      for (int i = 0; i < 10; ++i) g.go(park_for_ever, std::ref(n));
      co_await until([&] { return n == 5; });
      fail_frames(true);
      g.cancel();
      co_await g.wait();
    }(alive));
    fail_frames(false);
    EXPECT_TRUE(outcome.ok());
    EXPECT_EQ(alive, 0);
  });
}

}  // namespace
