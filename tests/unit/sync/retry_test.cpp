// SPDX-License-Identifier: BSL-1.0
#include <runnel/as_result.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/sync/retry.hpp>
#include <runnel/with_context.hpp>
#include <support/checked_runtime.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using test::checked_runtime;
using test::error_of;
using test::on_1_2_and_4_threads;

rn::task<int> succeed_at(int& calls, int at) {
  if (++calls < at) throw std::runtime_error("attempt " + std::to_string(calls));
  co_await rn::yield();
  co_return calls;
}

TEST(retry, it_is_called_until_it_succeeds) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    int calls = 0;
    EXPECT_EQ(co_await rn::retry(rn::attempts(5), rn::backoff(1us, 10us), succeed_at, std::ref(calls), 3), 3);
    EXPECT_EQ(calls, 3);
  });
}

TEST(retry, the_last_error_is_thrown) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    int calls = 0;
    EXPECT_EQ(co_await error_of(rn::retry(rn::attempts(4), succeed_at, std::ref(calls), 100)), "attempt 4");
    EXPECT_EQ(calls, 4);
    calls = 0;
    EXPECT_EQ(co_await error_of(rn::retry(succeed_at, std::ref(calls), 100)), "attempt 3") << "three unless said";
  });
}

TEST(retry, functions_that_are_no_coroutines_and_return_nothing) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    int calls = 0;
    auto f = [&calls] {
      if (++calls < 3) throw std::runtime_error("x");
    };
    co_await rn::retry(rn::attempts::unlimited(), f);
    EXPECT_EQ(calls, 3);
    auto value = [&calls](int by) -> int& { return calls += by; };
    int got = co_await rn::retry(value, 4);
    EXPECT_EQ(got, 7);
  });
}

TEST(retry, each_attempt_gets_the_same_arguments) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    std::vector<std::string> seen;
    auto f = [&seen](std::string s, const std::unique_ptr<int>& p) -> rn::task<> {
      seen.push_back(s + std::to_string(*p));
      s = "spoilt";
      if (seen.size() < 3) throw std::runtime_error("x");
      co_return;
    };
    auto p = std::make_unique<int>(7);
    co_await rn::retry(rn::attempts(3), f, std::string("a"), std::move(p));
    EXPECT_EQ(seen, (std::vector<std::string>{"a7", "a7", "a7"}));
  });
}

TEST(retry, it_waits_between_attempts) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    int calls = 0;
    auto start = std::chrono::steady_clock::now();
    (void)co_await rn::retry(rn::attempts(4), rn::backoff(2ms, 4ms, 0), succeed_at, std::ref(calls), 4);
    EXPECT_GE(std::chrono::steady_clock::now() - start, 2ms + 4ms + 4ms);
  });
}

TEST(retry, what_the_program_or_its_owner_has_decided_is_not_tried_again) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    int calls = 0;
    auto misuse = [&calls] {
      ++calls;
      throw rn::misuse_error("misuse");
    };
    auto canceled = [&calls] {
      ++calls;
      throw rn::canceled();
    };
    auto ending = [&calls] {
      ++calls;
      throw rn::shutting_down();
    };
    EXPECT_EQ(co_await error_of(rn::retry(misuse)), "misuse");
    EXPECT_EQ(co_await error_of(rn::retry(canceled)), "runnel: canceled");
    (void)co_await error_of(rn::retry(ending));
    EXPECT_EQ(calls, 3);
    auto late = [&calls] {
      ++calls;
      throw rn::deadline_exceeded();
    };
    (void)co_await error_of(rn::retry(rn::attempts(2), late));
    EXPECT_EQ(calls, 5) << "a timeout of its own is tried again";
  });
}

TEST(retry, retry_if_says_what_is_worth_another_attempt) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    int calls = 0;
    auto first_only = [](const std::exception_ptr& e) { return rn::detail::what_of(e) == "attempt 1"; };
    EXPECT_EQ(co_await error_of(rn::retry(rn::retry_if(first_only), rn::attempts(9), succeed_at, std::ref(calls), 5)),
              "attempt 2");
  });
}

TEST(retry, cancellation_ends_it_wherever_it_is) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0, calls = 0;
    auto hang = [&]() -> rn::task<> {
      ++calls;
      co_await test::park_for_ever(alive);
    };
    auto fail = [&] {
      ++calls;
      throw std::runtime_error("x");
    };
    auto in_f = [&]() -> rn::task<> { co_await rn::retry(rn::attempts(5), hang); };
    auto in_pause = [&]() -> rn::task<> { co_await rn::retry(rn::attempts(5), rn::backoff(1h, 1h), fail); };
    rn::errgroup g;
    co_await g.go(std::ref(in_f));
    co_await g.go(std::ref(in_pause));
    co_await test::until([&] { return calls == 2 && alive == 1; });
    g.cancel();
    co_await g.wait();
    EXPECT_EQ(calls, 2);
  });
}

TEST(retry, one_that_fails_at_once_for_ever_lets_others_run) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    std::atomic<bool> other_ran = false;
    rn::go([&] { other_ran = true; });
    auto f = [&] {
      if (!other_ran) throw std::runtime_error("x");
    };
    co_await rn::retry(rn::attempts(100'000), f);
    EXPECT_TRUE(other_ran);
  });
}

TEST(retry, bad_options_are_misuse) {
  EXPECT_THROW(rn::attempts(0), rn::misuse_error);
  EXPECT_THROW(rn::attempts(-1), rn::misuse_error);
  EXPECT_EQ(rn::attempts(7).count(), 7u);
}

}  // namespace
