// SPDX-License-Identifier: BSL-1.0
// Children of all and race that wait: they become goroutines, hear of cancellation, and may find no memory for it.
#include <runnel/all.hpp>
#include <runnel/as_result.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/sleep.hpp>
#include <runnel/sync/wait_group.hpp>
#include <runnel/with_context.hpp>
#include <support/checked_runtime.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using test::checked_runtime;
using test::counted;
using test::error_of;
using test::error_of_awaiting;
using test::on_1_2_and_4_threads;
using test::park_for_ever;
using test::until;

rn::task<> nothing() { co_return; }
rn::task<int> number(int n) { co_return n; }

// ---- What a child may wait for ----

TEST(fork_join, children_talk_through_a_channel) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(0);
    auto produce = [&]() -> rn::task<> {
      for (int i = 0; i < 1000; ++i) co_await ch.send(i);
      ch.close();
    };
    auto consume = [&]() -> rn::task<int> {
      int sum = 0;
      while (auto v = co_await ch.recv()) sum += *v;
      co_return sum;
    };
    auto r = co_await rn::all(produce(), consume());
    EXPECT_EQ(std::get<1>(r), 499500);
    rn::chan<int> other(3);
    ch = other;
    auto s = co_await rn::all(consume(), consume(), produce());
    EXPECT_EQ(std::get<0>(s) + std::get<1>(s), 499500);
  });
}

TEST(fork_join, children_sleep_at_the_same_time) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto begin = std::chrono::steady_clock::now();
    std::atomic<int> asleep = 0;
    auto sleeps = [&]() -> rn::task<> {
      ++asleep;
      co_await rn::sleep(5ms);
      co_await until([&] { return asleep == 100; });  // for ever, if one begins when the one before has ended
    };
    std::vector<rn::task<>> tasks;
    for (int i = 0; i < 100; ++i) tasks.push_back(sleeps());
    co_await rn::all(std::move(tasks));
    EXPECT_GE(std::chrono::steady_clock::now() - begin, 5ms);
  });
}

TEST(fork_join, a_timeout_inside_of_a_child) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    auto impatient = [&]() -> rn::task<std::string> {
      try {
        co_await rn::with_timeout(2ms, park_for_ever(alive));
      } catch (const rn::deadline_exceeded&) {
        co_return "timed out";
      }
      co_return "?";
    };
    auto r = co_await rn::all(impatient(), number(2), impatient());
    EXPECT_EQ(r, std::make_tuple("timed out", 2, "timed out"));
    EXPECT_EQ(alive, 0);
  });
}

TEST(fork_join, groups_inside_of_children) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto sum_by_group = [](int n) -> rn::task<int> {
      std::atomic<int> sum = 0;
      rn::errgroup g(rn::limit(2));
      for (int i = 1; i <= n; ++i)
        co_await g.go([&](int k) { sum += k; }, i);
      co_await g.wait();
      co_return sum.load();
    };
    auto sum_by_with = [](int n) -> rn::task<int> {
      std::atomic<int> sum = 0;
      co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
        for (int i = 1; i <= n; ++i)
          g.go(
              [&](int k) -> rn::task<> {
                co_await rn::yield();
                sum += k;
              },
              i);
        co_return;
      });
      co_return sum.load();
    };
    auto r = co_await rn::all(sum_by_group(10), sum_by_with(20), sum_by_group(30), sum_by_with(40));
    EXPECT_EQ(r, std::make_tuple(55, 210, 465, 820));
  });
}

TEST(fork_join, a_group_inside_of_a_child_is_joined_when_a_sibling_fails) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    auto grouped = [&]() -> rn::task<> {
      counted local(alive);
      rn::errgroup g;
      for (int i = 0; i < 5; ++i) g.go(park_for_ever, std::ref(alive));
      co_await g.wait();
    };
    auto fail_late = [&]() -> rn::task<> {
      co_await until([&] { return alive == 12; });
      test::fail("x");
    };
    EXPECT_EQ(co_await error_of_awaiting([&] { return rn::all(grouped(), fail_late(), grouped()); }), "x");
    EXPECT_EQ(alive, 0);
  });
}

TEST(fork_join, wait_groups_and_go_inside_of_children) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto child = [](int n) -> rn::task<int> {
      std::atomic<int> ran = 0;
      rn::wait_group wg;
      for (int i = 0; i < n; ++i) wg.go([&] { ++ran; });
      co_await wg.wait();
      co_return ran.load();
    };
    auto r = co_await rn::all(child(1), child(2), child(3));
    EXPECT_EQ(r, std::make_tuple(1, 2, 3));
  });
}

TEST(fork_join, children_wait_first_in_a_frame_deep_below) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::function<rn::task<int>(int)> down = [&](int depth) -> rn::task<int> {
      if (depth > 0) co_return co_await down(depth - 1) + 1;
      co_await rn::yield();
      co_return 0;
    };
    auto r = co_await rn::all(down(1000), down(10), number(3));
    EXPECT_EQ(r, std::make_tuple(1000, 10, 3));
  });
}

TEST(fork_join, a_child_that_waited_forks_again_and_the_other_way_round) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::function<rn::task<int>(int)> tree = [&](int depth) -> rn::task<int> {
      if (depth == 0) co_return 1;
      if (depth % 3 == 0) co_await rn::yield();
      auto r = co_await rn::all(tree(depth - 1), tree(depth - 1));
      if (depth % 3 == 1) co_await rn::yield();
      auto s = co_await rn::all(tree(depth - 1), number(0));
      co_return std::get<0>(r) + std::get<1>(r) + std::get<0>(s);
    };
    EXPECT_EQ(co_await tree(7), 2187);
  });
}

TEST(fork_join, the_context_of_a_child_is_below_its_parents) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    struct key {
      using type = int;
    };
    auto child = [](int want) -> rn::task<> {
      auto* v = rn::this_context().value<key>();
      EXPECT_NE(v, nullptr);
      EXPECT_EQ(v ? *v : -1, want);
      EXPECT_TRUE(rn::this_context().deadline().has_value());
      co_return;
    };
    auto both = [&](int want) -> rn::task<> { co_await rn::all(child(want), child(want)); };
    auto other = [&]() -> rn::task<> { co_await rn::with_value<key>(2, both(2)); };
    auto nested = [&]() -> rn::task<> { co_await rn::all(both(1), other(), both(1)); };
    co_await rn::with_timeout(1h, rn::with_value<key>(1, nested()));
  });
}

// ---- Cancelling the parent ----

// One child parks at once, one through a group, one runs and yields, one is itself an all.
rn::task<> family(std::atomic<int>& alive, std::atomic<bool>& went_on) {
  counted me(alive);
  auto busy = [&]() -> rn::task<> {
    counted c(alive);
    for (;;) co_await rn::yield();
  };
  auto grouped = [&]() -> rn::task<> {
    co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
      g.go(park_for_ever, std::ref(alive));
      co_await park_for_ever(alive);
    });
  };
  auto both = [&]() -> rn::task<> { co_await rn::all(park_for_ever(alive), nothing(), busy()); };
  co_await rn::all(park_for_ever(alive), grouped(), busy(), both());
  went_on = true;
}

TEST(fork_join, a_cancelled_parent_is_unwound_after_its_children) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    std::atomic<bool> went_on = false;
    rn::errgroup g;
    for (int i = 0; i < 3; ++i) g.go(family, std::ref(alive), std::ref(went_on));
    co_await until([&] { return alive == 21; });
    g.cancel();
    co_await g.wait();
    EXPECT_EQ(alive, 0);
    EXPECT_FALSE(went_on);
  });
}

TEST(fork_join, a_parent_is_cancelled_at_any_time) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int turns = 0; turns < 60; ++turns) {
      std::atomic<int> alive = 0;
      std::atomic<bool> went_on = false;
      rn::errgroup g;
      g.go(family, std::ref(alive), std::ref(went_on));
      for (int i = 0; i < turns / 4; ++i) co_await rn::yield();
      g.cancel();
      co_await g.wait();
      EXPECT_EQ(alive, 0);
      EXPECT_FALSE(went_on);
    }
  });
}

TEST(fork_join, a_timeout_around_ends_the_whole_family_and_the_caller_goes_on) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int i = 0; i < 5; ++i) {
      std::atomic<int> alive = 0;
      std::atomic<bool> went_on = false;
      bool timed_out = false;
      try {
        co_await rn::with_timeout(1ms, family(alive, went_on));
      } catch (const rn::deadline_exceeded&) {
        timed_out = true;
      }
      EXPECT_TRUE(timed_out);
      EXPECT_EQ(alive, 0);
      EXPECT_FALSE(went_on);
    }
  });
}

TEST(fork_join, a_done_context_keeps_children_from_beginning) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> ran = 0, arguments = 0;
    auto child = [](std::atomic<int>& n, counted) -> rn::task<> {
      ++n;
      co_return;
    };
    auto work = [&]() -> rn::task<> {
      co_await rn::all(child(ran, counted(arguments)), child(ran, counted(arguments)));
      ADD_FAILURE() << "went on";
    };
    auto r = co_await rn::as_result(rn::with_timeout(0s, work()));
    EXPECT_NE(r.error(), nullptr);
    EXPECT_EQ(ran, 0);
    EXPECT_EQ(arguments, 0);
  });
}

TEST(fork_join, the_parent_of_cancelled_children_sees_it_as_a_value) {
  // The parent is a fork-join child that never waited itself: unwinding stops at a boundary in its frames.
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    std::atomic<int> saw = 0;
    auto boundary = [&]() -> rn::task<> {
      auto inner = [&]() -> rn::task<> { co_await rn::all(park_for_ever(alive), park_for_ever(alive)); };
      auto r = co_await rn::as_result(inner());
      EXPECT_TRUE(r.canceled());
      ++saw;
    };
    auto fail_late = [&]() -> rn::task<> {
      co_await until([&] { return alive == 4; });
      test::fail("x");
    };
    EXPECT_EQ(co_await error_of_awaiting([&] { return rn::all(boundary(), fail_late(), boundary()); }), "x");
    EXPECT_EQ(saw, 2);
    EXPECT_EQ(alive, 0);
  });
}

TEST(fork_join, a_child_in_a_shield_delays_the_parent) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> gate(0);
    std::atomic<int> shielded = 0, alive = 0;
    std::atomic<bool> failing = false, caught = false;
    auto child = [&]() -> rn::task<> {
      auto work = [&]() -> rn::task<> {
        counted c(shielded);
        co_await gate.recv();
      };
      co_await rn::shield(work());
    };
    auto fail_late = [&]() -> rn::task<> {
      co_await until([&] { return shielded == 1 && alive == 1; });
      failing = true;
      test::fail("x");
    };
    rn::errgroup g;
    g.go([&]() -> rn::task<> {
      EXPECT_EQ(co_await error_of_awaiting([&] { return rn::all(child(), park_for_ever(alive), fail_late()); }), "x");
      caught = true;
    });
    co_await until([&] { return failing.load(); });
    co_await test::let_others_run();
    EXPECT_FALSE(caught);
    gate.close();
    co_await g.wait();
    EXPECT_TRUE(caught);
  });
}

TEST(fork_join, a_kill_at_shutdown_unwinds_everything) {
  for (int n : {1, 2, 4}) {
    std::atomic<int> alive = 0;
    auto before = checked_runtime::live_blocks();
    {
      rn::runtime_options options;
      options.grace(1ms);
      rn::runtime rt(rn::threads(n), options);
      rt.run([&]() -> rn::task<> {
        rn::go([&]() -> rn::task<> {
          auto deaf = [&]() -> rn::task<> { co_await rn::shield(park_for_ever(alive)); };
          auto both = [&]() -> rn::task<> { co_await rn::all(deaf(), park_for_ever(alive)); };
          auto deaf_both = [&]() -> rn::task<> { co_await rn::shield(both()); };
          co_await rn::all(deaf_both(), both(), deaf());
        });
        co_await until([&] { return alive == 5; });
      });
    }
    EXPECT_EQ(alive, 0);
    EXPECT_EQ(checked_runtime::live_blocks(), before);
  }
}

TEST(fork_join, a_child_that_gives_up_by_itself_takes_its_siblings_with_it) {
  // It was cancelled by a context that it named, so it has no result, and `all` cannot have one either.
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    auto [ctx, cancel] = rn::context::background().with_cancel();
    auto mine = [&]() -> rn::task<> { co_await rn::with_context(ctx, park_for_ever(alive)); };
    auto both = [&]() -> rn::task<> { co_await rn::all(mine(), park_for_ever(alive)); };
    rn::errgroup g;
    g.go([&]() -> rn::task<> {
      co_await until([&] { return alive == 2; });
      cancel();
    });
    auto r = co_await rn::as_result(rn::with_timeout(60s, both()));
    EXPECT_TRUE(r.canceled()) << "the sibling went on until the timeout";
    EXPECT_EQ(alive, 0);
    co_await g.wait();
  });
}

// ---- Out of memory ----

thread_local bool t_fail = false;
bool fails_if_armed(std::size_t) noexcept { return t_fail; }
RUNNEL_NOINLINE void arm(bool yes) { t_fail = yes; }

class without_memory {  // while it lives no frame and no goroutine can be made on the thread that made it
 public:
  without_memory() { arm(true); }
  ~without_memory() { arm(false); }
};

class fork_join_memory : public testing::Test {
 protected:
  void SetUp() override { rn::detail::frame_alloc_hook = &fails_if_armed; }
  void TearDown() override { rn::detail::frame_alloc_hook = nullptr; }
};

// Waits for the first time with no memory for a goroutine.
rn::task<std::string> wait_without_memory(rn::chan<int> ch) {
  std::string outcome = "received";
  auto receive = ch.recv();
  try {
    without_memory now;
    co_await std::move(receive);
  } catch (const std::bad_alloc&) {
    outcome = "bad_alloc";
  }
  co_return outcome;
}

TEST_F(fork_join_memory, a_child_that_cannot_be_promoted_gets_bad_alloc_and_may_go_on) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ready(1);
    auto r = co_await rn::all(wait_without_memory(ready), number(2), wait_without_memory(ready));
    EXPECT_EQ(r, std::make_tuple("bad_alloc", 2, "bad_alloc"));
  });
}

TEST_F(fork_join_memory, it_may_wait_again_when_there_is_memory) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto child = []() -> rn::task<int> {
      rn::chan<int> ready(1);
      EXPECT_EQ(co_await wait_without_memory(ready), "bad_alloc");
      EXPECT_EQ(co_await wait_without_memory(ready), "bad_alloc");
      co_await rn::yield();
      co_return 1;
    };
    auto inner = [&]() -> rn::task<int> {
      auto r = co_await rn::all(child(), child());
      co_return std::get<0>(r) + std::get<1>(r);
    };
    auto r = co_await rn::all(inner(), inner(), child());
    EXPECT_EQ(r, std::make_tuple(2, 2, 1));
  });
}

TEST_F(fork_join_memory, bad_alloc_that_leaves_a_child_cancels_the_others) {
  checked_runtime rt(1);  // one thread: children begin in order, and the last one finds the others parked
  rt.run([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    auto child = [&]() -> rn::task<> {
      EXPECT_EQ(alive, 2);
      auto y = rn::yield();
      without_memory now;
      co_await std::move(y);
    };
    bool failed = false;
    try {
      (void)co_await rn::all(park_for_ever(alive), park_for_ever(alive), child());
    } catch (const std::bad_alloc&) {
      failed = true;
    }
    EXPECT_TRUE(failed);
    EXPECT_EQ(alive, 0);
  });
}

TEST_F(fork_join_memory, unwinding_needs_no_memory) {
  // The children have waited, the parents have not: when the children are cancelled the parents are unwound as well.
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    std::function<rn::task<>(int)> tree = [&](int depth) -> rn::task<> {
      if (depth == 0)
        co_await park_for_ever(alive);
      else
        co_await rn::all(tree(depth - 1), tree(depth - 1));
    };
    rn::errgroup g;
    g.go(std::ref(tree), 6);
    co_await until([&] { return alive == 64; });
    {
      auto join = g.wait();
      without_memory now;
      g.cancel();
      co_await std::move(join);
    }
    EXPECT_EQ(alive, 0);
  });
}

TEST_F(fork_join_memory, a_done_context_and_no_memory) {
  // The inner all finds its context done, and cannot become a goroutine to be unwound: it gets bad_alloc instead.
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::errgroup g;
    std::atomic<int> ran = 0;
    std::string outcome;
    auto child = [&]() -> rn::task<> {
      ++ran;
      co_return;
    };
    auto parent = [&]() -> rn::task<> {
      g.cancel();
      auto inner = rn::all(child(), child());
      try {
        without_memory now;
        co_await std::move(inner);
        outcome = "went on";
      } catch (const std::bad_alloc&) {
        outcome = "bad_alloc";
      }
    };
    auto work = [&]() -> rn::task<> { co_await rn::all(parent(), nothing()); };
    g.go(work);
    co_await g.wait();
    EXPECT_EQ(outcome, "bad_alloc");
    EXPECT_EQ(ran, 0);
  });
}

}  // namespace
