// SPDX-License-Identifier: BSL-1.0
#include <runnel/as_result.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/sleep.hpp>
#include <runnel/sync/hedge.hpp>
#include <support/checked_runtime.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using test::checked_runtime;
using test::error_of;
using test::on_1_2_and_4_threads;

rn::task<int> answer(int x) { co_return x; }
rn::task<int> never(std::atomic<int>& alive) {
  co_await test::park_for_ever(alive);
  co_return 0;
}
rn::task<int> failing(std::string message) {
  co_await rn::yield();
  throw std::runtime_error(message);
}

TEST(hedge, a_fast_first_one_is_alone) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> others = 0;
    auto other = [&]() -> rn::task<int> {
      ++others;
      co_return 2;
    };
    EXPECT_EQ(co_await rn::hedge(1h, answer(1), other), 1);
    EXPECT_EQ(others, 0);
  });
}

TEST(hedge, a_slow_first_one_gets_company_and_is_cancelled_and_joined) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(co_await rn::hedge(3ms, never(alive), answer(2)), 2);
    EXPECT_GE(std::chrono::steady_clock::now() - start, 3ms);
    EXPECT_EQ(alive, 0);
  });
}

TEST(hedge, the_third_starts_after_two_delays) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(co_await rn::hedge(2ms, never(alive), never(alive), answer(3)), 3);
    EXPECT_GE(std::chrono::steady_clock::now() - start, 4ms);
    EXPECT_EQ(alive, 0);
  });
}

TEST(hedge, a_failure_starts_the_next_one_at_once) {
  checked_runtime rt(2);
  rt.run([]() -> rn::task<> { EXPECT_EQ(co_await rn::hedge(1h, failing("a"), failing("b"), answer(3)), 3); });
  auto lost = rt.unobserved();
  EXPECT_EQ(lost, (std::vector<std::string>{"a", "b"}));
}

TEST(hedge, if_all_fail_the_first_error_is_thrown) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> { EXPECT_EQ(co_await error_of(rn::hedge(1h, failing("a"), failing("b"))), "a"); });
  EXPECT_EQ(rt.unobserved(), std::vector<std::string>{"b"});
}

TEST(hedge, functions_are_called_when_their_turn_comes) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    std::vector<std::string> calls;
    auto first = [&calls]() {
      calls.push_back("first");
      return failing("x");
    };
    auto second = [&calls]() -> rn::task<int> {
      calls.push_back("second");
      return answer(2);
    };
    EXPECT_EQ(co_await rn::hedge(1h, first, second), 2);
    EXPECT_EQ(calls, (std::vector<std::string>{"first", "second"}));
    EXPECT_EQ(co_await rn::hedge(1ms, answer(5)), 5) << "one alone";
  });
  (void)rt.unobserved();
}

TEST(hedge, different_results_are_a_variant) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    auto text = [](std::string s) -> rn::task<std::string> { co_return s; };
    std::atomic<int> alive = 0;
    auto r = co_await rn::hedge(1ms, never(alive), text("b"));
    EXPECT_EQ(r.index(), 1u);
    EXPECT_EQ(std::get<1>(r), "b");
  });
}

TEST(hedge, no_delay_makes_it_a_race) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    EXPECT_EQ(co_await rn::hedge(0s, never(alive), answer(2)), 2);
    EXPECT_EQ(co_await rn::hedge(-1s, never(alive), never(alive), answer(3)), 3);
    EXPECT_EQ(alive, 0);
  });
}

TEST(hedge, cancellation_ends_all_of_them) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    auto both = [&]() -> rn::task<> { (void)co_await rn::hedge(1us, never(alive), never(alive)); };
    auto one = [&]() -> rn::task<> { (void)co_await rn::hedge(1h, never(alive), never(alive)); };
    rn::errgroup g;
    co_await g.go(std::ref(both));
    co_await g.go(std::ref(one));
    co_await test::until([&] { return alive == 3; });
    g.cancel();
    co_await g.wait();
    EXPECT_EQ(alive, 0);
  });
}

}  // namespace
