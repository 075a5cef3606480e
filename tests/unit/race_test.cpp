// SPDX-License-Identifier: BSL-1.0
#include <runnel/all.hpp>
#include <runnel/as_result.hpp>
#include <runnel/dump.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/with_context.hpp>
#include <support/checked_runtime.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
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

rn::task<int> number(int n) { co_return n; }
rn::task<int> never(std::atomic<int>& alive) {
  co_await park_for_ever(alive);
  co_return 0;
}
rn::task<int> number_when(int n, std::atomic<int>& alive, int parked) {
  co_await until([&] { return alive == parked; });
  co_return n;
}
rn::task<int> fails_when(std::string message, std::atomic<int>& n, int value) {
  co_await until([&] { return n == value; });
  ++n;
  test::fail(message);
  co_return 0;
}

TEST(race, the_first_success_wins_and_the_others_are_cancelled_and_joined) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    int n = co_await rn::race(never(alive), number_when(7, alive, 2), never(alive));
    EXPECT_EQ(n, 7);
    EXPECT_EQ(alive, 0);
  });
}

TEST(race, children_that_have_not_begun_when_it_is_won_never_do) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    std::atomic<int> ran = 0;
    auto runs = [&]() -> rn::task<int> {
      ++ran;
      co_return 2;
    };
    EXPECT_EQ(co_await rn::race(number(1), runs(), runs()), 1);
    EXPECT_EQ(ran, 0);
  });
}

TEST(race, an_error_does_not_win) {
  for (int threads : {1, 2, 4}) {
    checked_runtime rt(threads);
    rt.run([]() -> rn::task<> {
      std::atomic<int> alive = 0, order = 0;
      int n = co_await rn::race(fails_when("loser", order, 0), number_when(7, order, 1), never(alive));
      EXPECT_EQ(n, 7);
    });
    EXPECT_EQ(rt.unobserved(), std::vector<std::string>{"loser"});
  }
}

TEST(race, errors_of_all_losers_go_to_the_hook_before_and_after_the_win) {
  for (int threads : {1, 2, 4}) {
    checked_runtime rt(threads);
    rt.run([]() -> rn::task<> {
      std::atomic<int> order = 0, alive = 0;
      auto late = [&]() -> rn::task<int> {
        co_await test::fail_when_cancelled(alive, "after");
        co_return 0;
      };
      auto wins = [&]() -> rn::task<int> {
        co_await until([&] { return order == 2 && alive == 2; });
        co_return 7;
      };
      int n = co_await rn::race(fails_when("before", order, 0), late(), wins(), fails_when("before", order, 1), late());
      EXPECT_EQ(n, 7);
    });
    EXPECT_EQ(rt.unobserved(), (std::vector<std::string>{"after", "after", "before", "before"}));
  }
}

TEST(race, if_all_fail_the_first_error_is_thrown_and_the_others_go_to_the_hook) {
  for (int threads : {1, 2, 4}) {
    checked_runtime rt(threads);
    rt.run([&]() -> rn::task<> {
      auto left = [&](int n) {
        std::ostringstream out;
        rn::dump(out, rt.get());
        return out.str().find("all or race: " + std::to_string(n) + " child") != std::string::npos;
      };
      auto fails_with_left = [&](std::string message, int n) -> rn::task<int> {
        co_await until([&] { return left(n); });  // by then the others' errors have been noted
        test::fail(message);
        co_return 0;
      };
      auto race = [&] {
        return rn::race(fails_with_left("third", 1), fails_with_left("first", 3), fails_with_left("second", 2));
      };
      EXPECT_EQ(co_await error_of_awaiting(race), "first");
    });
    EXPECT_EQ(rt.unobserved(), (std::vector<std::string>{"second", "third"}));
  }
}

TEST(race, errors_of_a_race_that_is_unwound_go_to_the_hook) {
  for (int threads : {1, 2, 4}) {
    checked_runtime rt(threads);
    rt.run([]() -> rn::task<> {
      std::atomic<int> order = 0, alive = 0;
      rn::errgroup g;
      g.go([&]() -> rn::task<> {
        (void)co_await rn::race(fails_when("lost", order, 0), never(alive));
        ADD_FAILURE() << "nobody won";
      });
      co_await until([&] { return order == 1 && alive == 1; });
      co_await test::let_others_run();
      g.cancel();
      co_await g.wait();
    });
    EXPECT_EQ(rt.unobserved(), std::vector<std::string>{"lost"});
  }
}

TEST(race, of_different_types_it_is_a_variant_whose_index_is_the_winners) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    auto text = [&]() -> rn::task<std::string> {
      co_await until([&] { return alive == 2; });
      co_return "won";
    };
    auto r = co_await rn::race(never(alive), text(), park_for_ever(alive));
    static_assert(std::is_same_v<decltype(r), std::variant<int, std::string, std::monostate>>);
    EXPECT_EQ(r.index(), 1u);
    EXPECT_EQ(std::get<1>(r), "won");

    auto quiet = [&]() -> rn::task<> { co_await until([&] { return alive == 2; }); };
    auto s = co_await rn::race(never(alive), never(alive), quiet());
    static_assert(std::is_same_v<decltype(s), std::variant<int, int, std::monostate>>);
    EXPECT_EQ(s.index(), 2u);
  });
}

TEST(race, void_is_monostate_references_and_move_only_values_work) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    auto quiet = []() -> rn::task<> { co_return; };
    std::monostate m = co_await rn::race(quiet(), park_for_ever(alive));
    (void)m;
    int n = 0;
    auto reference = [&]() -> rn::task<int&> { co_return n; };
    int& r = co_await rn::race(reference(), reference());
    EXPECT_EQ(&r, &n);
    auto pointer = [](int v) -> rn::task<std::unique_ptr<int>> {
      co_await rn::yield();
      co_return std::make_unique<int>(v);
    };
    auto p = co_await rn::race(pointer(3), pointer(3));
    EXPECT_EQ(*p, 3);
  });
}

TEST(race, values_of_losers_are_destroyed) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> values = 0, alive = 0;
    auto early = [&]() -> rn::task<counted> { co_return counted(values); };
    auto late = [&]() -> rn::task<counted> {  // succeeds though it was cancelled: it does not suspend again
      auto r = co_await rn::as_result(park_for_ever(alive));
      EXPECT_TRUE(r.canceled());
      co_return counted(values);
    };
    {
      auto winner = co_await rn::race(late(), early(), late(), early());
      EXPECT_EQ(values, 1);
    }
    EXPECT_EQ(values, 0);
  });
}

TEST(race, over_a_range) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    std::vector<rn::task<int>> tasks;
    for (int i = 0; i < 100; ++i) tasks.push_back(i == 50 ? number_when(50, alive, 99) : never(alive));
    EXPECT_EQ(co_await rn::race(std::move(tasks)), 50);
    EXPECT_EQ(alive, 0);
    std::vector<rn::task<int>> one;
    one.push_back(number(1));
    EXPECT_EQ(co_await rn::race(std::move(one)), 1);
    EXPECT_EQ(co_await rn::race(number(2)), 2);
  });
}

TEST(race, an_empty_range_is_misuse) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    bool threw = false;
    try {
      (void)co_await rn::race(std::vector<rn::task<int>>());
    } catch (const rn::misuse_error&) {
      threw = true;
    }
    EXPECT_TRUE(threw);
  });
}

TEST(race, a_task_that_was_moved_from_is_misuse) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto gone = number(1);
    auto taken = std::move(gone);
    bool threw = false;
    try {
      (void)co_await rn::race(number(1), std::move(gone));
    } catch (const rn::misuse_error&) {
      threw = true;
    }
    EXPECT_TRUE(threw);
    EXPECT_EQ(co_await std::move(taken), 1);
  });
}

TEST(race, a_winner_that_waited_gets_its_result_through_while_losers_are_unwound) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int round = 0; round < 100; ++round) {
      std::atomic<int> alive = 0;
      rn::chan<int> ch(0);
      auto receive = [&]() -> rn::task<std::string> {
        auto v = co_await ch.recv();
        co_return std::string(50, 'a') + std::to_string(v.value_or(-1));
      };
      auto nobody = [&]() -> rn::task<std::string> {
        co_await park_for_ever(alive);
        co_return "";
      };
      auto race = [&]() -> rn::task<std::string> { co_return co_await rn::race(nobody(), receive(), nobody()); };
      auto send = [&]() -> rn::task<> {
        co_await until([&] { return alive == 2; });
        co_await ch.send(round);
      };
      auto r = co_await rn::all(race(), send());
      EXPECT_EQ(std::get<0>(r), std::string(50, 'a') + std::to_string(round));
      EXPECT_EQ(alive, 0);
    }
  });
}

TEST(race, races_nest_in_all_and_the_other_way_round) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    std::function<rn::task<int>(int)> tree = [&](int depth) -> rn::task<int> {
      if (depth == 0) co_return co_await number(1);
      if (depth % 2) co_return co_await rn::race(tree(depth - 1), never(alive));
      auto both = co_await rn::all(tree(depth - 1), tree(depth - 1));
      co_return std::get<0>(both) + std::get<1>(both);
    };
    EXPECT_EQ(co_await tree(10), 32);
    EXPECT_EQ(alive, 0);
  });
}

TEST(race, of_a_timeout_and_work) {
  for (int threads : {1, 2, 4}) {
    checked_runtime rt(threads);
    rt.run([]() -> rn::task<> {
      std::atomic<int> alive = 0, timed_out = 0;
      auto impatient = [&]() -> rn::task<int> {
        try {
          co_await rn::with_timeout(1ms, park_for_ever(alive));
        } catch (const rn::timeout_error&) {
          ++timed_out;
          throw;
        }
        co_return 0;
      };
      EXPECT_EQ(co_await rn::race(impatient(), number_when(7, timed_out, 1)), 7);
      EXPECT_EQ(alive, 0);
    });
    EXPECT_EQ(rt.unobserved(), std::vector<std::string>{"deadline exceeded"});
  }
}

TEST(race, a_cancelled_parent_is_unwound_when_the_runners_have_been_joined) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0, around = 0;
    std::atomic<bool> went_on = false;
    rn::errgroup g;
    g.go([&]() -> rn::task<> {
      counted c(around);
      (void)co_await rn::race(never(alive), never(alive));
      went_on = true;
    });
    co_await until([&] { return alive == 2; });
    g.cancel();
    co_await g.wait();
    EXPECT_EQ(alive, 0);
    EXPECT_EQ(around, 0);
    EXPECT_FALSE(went_on);
  });
}

}  // namespace
