// SPDX-License-Identifier: BSL-1.0
#include <runnel/all.hpp>
#include <runnel/as_result.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/with_context.hpp>
#include <support/checked_runtime.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <ranges>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
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

rn::task<int> number(int n) { co_return n; }
rn::task<int> slow_number(int n, int turns) {
  for (int i = 0; i < turns; ++i) co_await rn::yield();
  co_return n;
}
rn::task<> nothing() { co_return; }
rn::task<int> fails(std::string message) {
  test::fail(message);
  co_return 0;
}
rn::task<> runs(std::atomic<int>& ran) {
  ++ran;
  co_return;
}
rn::task<> with_argument(std::atomic<int>& ran, counted) {
  ++ran;
  co_return;
}

// ---- Results ----

TEST(all, results_come_in_the_order_of_the_tasks) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto r = co_await rn::all(slow_number(1, 30), number(2), slow_number(3, 10), number(4));
    static_assert(std::is_same_v<decltype(r), std::tuple<int, int, int, int>>);
    EXPECT_EQ(r, std::make_tuple(1, 2, 3, 4));
  });
}

TEST(all, types_may_differ_and_void_is_monostate) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto text = [](std::size_t length) -> rn::task<std::string> { co_return std::string(length, 'x'); };
    auto r = co_await rn::all(number(1), nothing(), text(100));
    static_assert(std::is_same_v<decltype(r), std::tuple<int, std::monostate, std::string>>);
    EXPECT_EQ(std::get<0>(r), 1);
    EXPECT_EQ(std::get<2>(r), std::string(100, 'x'));
  });
}

TEST(all, references_stay_references_and_move_only_values_are_moved) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    int n = 0;
    auto reference = [&]() -> rn::task<int&> { co_return n; };
    auto pointer = []() -> rn::task<std::unique_ptr<int>> {
      co_await rn::yield();
      co_return std::make_unique<int>(7);
    };
    auto r = co_await rn::all(reference(), pointer());
    static_assert(std::is_same_v<decltype(r), std::tuple<int&, std::unique_ptr<int>>>);
    EXPECT_EQ(&std::get<0>(r), &n);
    EXPECT_EQ(*std::get<1>(r), 7);
  });
}

TEST(all, one_task_is_enough) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    EXPECT_EQ(std::get<0>(co_await rn::all(number(1))), 1);
    EXPECT_EQ(std::get<0>(co_await rn::all(slow_number(2, 5))), 2);
    EXPECT_EQ(co_await error_of_awaiting([] { return rn::all(fails("x")); }), "x");
  });
}

TEST(all, a_range_gives_a_vector_in_order) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::vector<rn::task<int>> tasks;
    for (int i = 0; i < 100; ++i) tasks.push_back(slow_number(i, i % 7));
    std::vector<int> r = co_await rn::all(std::move(tasks));
    EXPECT_EQ(r.size(), 100u);
    for (int i = 0; i < 100; ++i) EXPECT_EQ(r[static_cast<std::size_t>(i)], i);

    auto views = co_await rn::all(std::views::iota(0, 5) | std::views::transform(number));
    EXPECT_EQ(views, (std::vector<int>{0, 1, 2, 3, 4}));

    std::vector<rn::task<>> voids;
    for (int i = 0; i < 3; ++i) voids.push_back(nothing());
    std::vector<std::monostate> nothings = co_await rn::all(std::move(voids));
    EXPECT_EQ(nothings.size(), 3u);
  });
}

TEST(all, a_range_of_move_only_values) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto make = [](int n) -> rn::task<std::unique_ptr<int>> { co_return std::make_unique<int>(n); };
    std::vector<rn::task<std::unique_ptr<int>>> tasks;
    for (int i = 0; i < 10; ++i) tasks.push_back(make(i));
    auto r = co_await rn::all(std::move(tasks));
    for (int i = 0; i < 10; ++i) EXPECT_EQ(*r[static_cast<std::size_t>(i)], i);
  });
}

TEST(all, an_empty_range_gives_an_empty_vector_and_one_of_one_works) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::vector<int> r = co_await rn::all(std::vector<rn::task<int>>());
    EXPECT_TRUE(r.empty());
    std::vector<rn::task<int>> one;
    one.push_back(number(5));
    r = co_await rn::all(std::move(one));
    EXPECT_EQ(r, std::vector<int>{5});
  });
}

TEST(all, a_hundred_thousand_tasks) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::vector<rn::task<int>> tasks;
    for (int i = 0; i < 100'000; ++i) tasks.push_back(i % 100 == 0 ? slow_number(i, 1) : number(i));
    auto r = co_await rn::all(std::move(tasks));
    long sum = 0;
    for (int n : r) sum += n;
    EXPECT_EQ(sum, 4999950000);
    EXPECT_EQ(r.size(), 100'000u);
  });
}

// ---- Errors ----

TEST(all, the_first_error_is_rethrown_and_the_parked_are_cancelled) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    auto fail_late = [&]() -> rn::task<> {
      co_await until([&] { return alive == 2; });
      test::fail("late");
    };
    EXPECT_EQ(co_await error_of_awaiting(
                  [&] { return rn::all(park_for_ever(alive), fail_late(), park_for_ever(alive)); }),
              "late");
    EXPECT_EQ(alive, 0);
  });
}

TEST(all, children_that_have_not_begun_when_it_fails_never_do) {
  checked_runtime rt(1);  // one thread: the first child runs first
  rt.run([]() -> rn::task<> {
    std::atomic<int> ran = 0, arguments = 0;
    auto tasks = [&](std::string message) {
      std::vector<rn::task<>> v;
      v.push_back([](std::string m) -> rn::task<> {
        test::fail(m);
        co_return;
      }(message));
      for (int i = 0; i < 100; ++i) v.push_back(with_argument(ran, counted(arguments)));
      return v;
    };
    EXPECT_EQ(co_await error_of_awaiting([&] { return rn::all(tasks("first")); }), "first");
    EXPECT_EQ(ran, 0);
    EXPECT_EQ(arguments, 0) << "their frames died";
    EXPECT_EQ(co_await error_of_awaiting([&] { return rn::all(fails("x"), runs(ran), runs(ran)); }), "x");
    EXPECT_EQ(ran, 0);
  });
}

TEST(all, errors_after_the_first_go_to_the_hook) {
  for (int n : {1, 2, 4}) {
    checked_runtime rt(n);
    rt.run([]() -> rn::task<> {
      std::atomic<int> alive = 0;
      auto first = [&]() -> rn::task<> {
        co_await until([&] { return alive == 2; });
        test::fail("first");
      };
      auto late = [&] { return test::fail_when_cancelled(alive, "late"); };
      EXPECT_EQ(co_await error_of_awaiting([&] { return rn::all(late(), first(), late()); }), "first");
    });
    EXPECT_EQ(rt.unobserved(), (std::vector<std::string>{"late", "late"}));
  }
}

TEST(all, results_that_nobody_gets_are_destroyed) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> values = 0;
    auto value = [&]() -> rn::task<counted> { co_return counted(values); };
    auto fail_late = [&]() -> rn::task<counted> {
      co_await until([&] { return values == 2; });
      test::fail("x");
      co_return counted(values);
    };
    EXPECT_EQ(co_await error_of_awaiting([&] { return rn::all(value(), fail_late(), value()); }), "x");
    EXPECT_EQ(values, 0);
  });
}

// ---- A child that a context of its own ends ----

// It has no result, so there is none for the caller either: what `co_await f(ctx)` does, `all(f(ctx), ...)` does too.
TEST(all, a_child_that_its_own_context_ends_unwinds_the_caller_as_a_plain_await_would) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    cancel();
    std::atomic<int> alive = 0, went_on = 0;
    auto mine = [&]() -> rn::task<int> {
      co_await rn::with_context(ctx, park_for_ever(alive));
      co_return 1;
    };
    auto awaits = [&]() -> rn::task<> {
      co_await mine();
      ++went_on;
    };
    auto awaits_all = [&]() -> rn::task<> {
      co_await rn::all(park_for_ever(alive), mine(), park_for_ever(alive));
      ++went_on;
    };
    for (bool plain : {true, false}) {
      auto work = plain ? awaits() : awaits_all();  // by its name: compiler.hpp, hazard 1
      auto r = co_await rn::as_result(std::move(work));
      EXPECT_TRUE(r.canceled());
      EXPECT_EQ(alive, 0) << "a sibling was not joined";
      co_await rn::yield();  // the caller's own context is not done: it goes on
    }
    EXPECT_EQ(went_on, 0);
  });
}

// An error is more than the want of a result: one that a sibling throws while it is cancelled is thrown.
TEST(all, an_error_of_a_sibling_goes_before_a_child_that_gave_up) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    std::atomic<int> alive = 0;
    auto mine = [&]() -> rn::task<> { co_await rn::with_context(ctx, park_for_ever(alive)); };
    rn::errgroup g;
    g.go([&]() -> rn::task<> {
      co_await until([&] { return alive == 2; });
      cancel();
    });
    EXPECT_EQ(co_await error_of_awaiting([&] { return rn::all(mine(), test::fail_when_cancelled(alive, "x")); }), "x");
    EXPECT_EQ(alive, 0);
    co_await g.wait();
  });
}

// Who wants the others to go on makes a value of it.
TEST(all, a_child_whose_own_context_ends_it_may_have_a_result_by_as_result) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    cancel();
    std::atomic<int> alive = 0;
    auto mine = [&]() -> rn::task<bool> {
      auto r = co_await rn::as_result(rn::with_context(ctx, park_for_ever(alive)));
      co_return r.canceled();
    };
    auto both = co_await rn::all(mine(), slow_number(7, 3));
    EXPECT_TRUE(std::get<0>(both));
    EXPECT_EQ(std::get<1>(both), 7);
  });
}

TEST(all, an_error_at_an_inner_level_ends_the_outer_one) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> inner_alive = 0, outer_alive = 0;
    auto leaf = [&]() -> rn::task<> {
      co_await until([&] { return inner_alive == 2 && outer_alive == 1; });
      test::fail("leaf");
    };
    auto inner = [&]() -> rn::task<> {
      co_await rn::all(park_for_ever(inner_alive), leaf(), park_for_ever(inner_alive));
      ADD_FAILURE() << "an all that failed returned";
    };
    EXPECT_EQ(co_await error_of_awaiting([&] { return rn::all(park_for_ever(outer_alive), inner()); }), "leaf");
    EXPECT_EQ(inner_alive, 0);
    EXPECT_EQ(outer_alive, 0);
  });
}

TEST(all, an_error_at_an_inner_level_that_is_caught_leaves_the_outer_one_alone) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    auto inner = [&]() -> rn::task<int> {
      auto error = co_await error_of_awaiting([&] { return rn::all(park_for_ever(alive), fails("x")); });
      co_return error == "x" ? 1 : 0;
    };
    auto r = co_await rn::all(inner(), slow_number(2, 50), inner());
    EXPECT_EQ(r, std::make_tuple(1, 2, 1));
    EXPECT_EQ(alive, 0);
  });
}

TEST(all, an_error_at_the_outer_level_unwinds_the_inner_ones) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    std::function<rn::task<>(int)> tree = [&](int depth) -> rn::task<> {
      if (depth == 0)
        co_await park_for_ever(alive);
      else
        co_await rn::all(tree(depth - 1), tree(depth - 1));
      ADD_FAILURE() << "went on";
    };
    auto fail_late = [&]() -> rn::task<> {
      co_await until([&] { return alive == 32; });
      test::fail("outer");
    };
    EXPECT_EQ(co_await error_of_awaiting([&] { return rn::all(tree(5), fail_late()); }), "outer");
    EXPECT_EQ(alive, 0);
  });
}

// ---- Nesting ----

rn::task<long> fib(int n) {
  if (n < 2) co_return n;
  auto both = co_await rn::all(fib(n - 1), fib(n - 2));
  co_return std::get<0>(both) + std::get<1>(both);
}

rn::task<long> skynet(long base, long size) {
  if (size == 1) co_return base;
  std::vector<rn::task<long>> ten;
  for (int i = 0; i < 10; ++i) ten.push_back(skynet(base + i * (size / 10), size / 10));
  long sum = 0;
  for (long n : co_await rn::all(std::move(ten))) sum += n;
  co_return sum;
}

TEST(all, fib) {
  on_1_2_and_4_threads([]() -> rn::task<> { EXPECT_EQ(co_await fib(20), 6765); });
}

TEST(all, skynet) {
  on_1_2_and_4_threads([]() -> rn::task<> { EXPECT_EQ(co_await skynet(0, 10'000), 49995000); });
}

rn::task<int> deep(int depth) {
  if (depth == 0) co_return 0;
  co_return std::get<0>(co_await rn::all(deep(depth - 1))) + 1;
}
rn::task<int> deep_and_parked(int depth) {
  if (depth == 0) co_await rn::yield();
  if (depth == 0) co_return 0;
  co_return std::get<0>(co_await rn::all(deep_and_parked(depth - 1), nothing())) + 1;
}

TEST(all, ten_thousand_levels_use_no_stack) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    EXPECT_EQ(co_await deep(10'000), 10'000);
    EXPECT_EQ(co_await deep_and_parked(10'000), 10'000);
  });
}

rn::task<> deep_and_for_ever(int depth, std::atomic<int>& alive) {
  if (depth == 0)
    co_await park_for_ever(alive);
  else
    co_await rn::all(deep_and_for_ever(depth - 1, alive), nothing());
}

TEST(all, ten_thousand_levels_unwind) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    rn::errgroup g;
    g.go(deep_and_for_ever, 10'000, std::ref(alive));
    co_await until([&] { return alive == 1; });
    g.cancel();
    co_await g.wait();
    EXPECT_EQ(alive, 0);
  });
}

TEST(all, a_million_in_a_row_use_no_stack) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    long sum = 0;
    for (int i = 0; i < 100'000; ++i) {
      auto r = co_await rn::all(number(1), number(2));
      sum += std::get<0>(r) + std::get<1>(r);
    }
    EXPECT_EQ(sum, 300'000);
  });
}

// ---- Misuse ----

TEST(all, a_task_that_was_moved_from_is_misuse) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> ran = 0;
    auto gone = runs(ran);
    auto taken = std::move(gone);
    bool threw = false;
    try {
      (void)co_await rn::all(runs(ran), std::move(gone));
    } catch (const rn::misuse_error&) {
      threw = true;
    }
    EXPECT_TRUE(threw);
    threw = false;
    std::vector<rn::task<>> tasks;
    tasks.push_back(runs(ran));
    tasks.push_back(std::move(gone));
    try {
      (void)co_await rn::all(std::move(tasks));
    } catch (const rn::misuse_error&) {
      threw = true;
    }
    EXPECT_TRUE(threw);
    EXPECT_EQ(ran, 0);
    co_await std::move(taken);
  });
}

TEST(all, one_that_is_made_and_never_awaited_runs_nothing) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> ran = 0, arguments = 0;
    {
      [[maybe_unused]] auto never = rn::all(with_argument(ran, counted(arguments)), runs(ran));
      EXPECT_EQ(arguments, 1);
    }
    EXPECT_EQ(arguments, 0);
    EXPECT_EQ(ran, 0);
    co_return;
  });
}

}  // namespace
