// SPDX-License-Identifier: BSL-1.0
// ON: once and once_value, by rule number; with what Go's own tests of sync.Once, OnceFunc and OnceValue check, in our
// words.
#include <runnel/as_result.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/sync/once.hpp>
#include <runnel/with_context.hpp>
#include <support/checked_runtime.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using test::checked_runtime;
using test::error_of;
using test::error_of_awaiting;
using test::let_others_run;
using test::on_1_2_and_4_threads;
using test::until;

// ON-01, MM-07, P-071: `value` is not atomic.
rn::task<> call_and_look(rn::once& o, int& value, std::atomic<int>& wrong) {
  auto slowly = [&value]() -> rn::task<> {
    for (int i = 0; i < 10; ++i) co_await rn::yield();
    ++value;
  };
  co_await o.call(slowly);
  if (value != 1) ++wrong;
}
TEST(on, ten_callers_one_run_and_all_see_its_effect) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int round = 0; round < 50; ++round) {
      rn::once o;
      int value = 0;
      std::atomic<int> wrong = 0;
      rn::errgroup g;
      for (int i = 0; i < 10; ++i) co_await g.go(call_and_look, std::ref(o), std::ref(value), std::ref(wrong));
      co_await g.wait();
      EXPECT_EQ(wrong, 0);
      EXPECT_EQ(value, 1);
      EXPECT_TRUE(o.is_done());
    }
  });
}

// ON-01: whatever their f
TEST(on, later_calls_do_not_run_their_own_function) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::once o;
    int first = 0, second = 0;
    co_await o.call([&] { ++first; });
    co_await o.call([&] { ++second; });
    EXPECT_EQ(first, 1);
    EXPECT_EQ(second, 0);
  });
}

// ON-01: they return when it has ended, not before.
TEST(on, callers_wait_until_the_run_has_ended) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::once o;
    std::atomic<bool> go = false, ended = false;
    std::atomic<int> returned = 0;
    auto run = [&]() -> rn::task<> {
      co_await until([&] { return go.load(); });
      ended = true;
    };
    auto caller = [&]() -> rn::task<> {
      co_await o.call(run);
      EXPECT_TRUE(ended);
      ++returned;
    };
    rn::errgroup g;
    for (int i = 0; i < 5; ++i) co_await g.go(std::ref(caller));
    co_await until([&] { return o.waiting() == 4; });
    co_await let_others_run();
    EXPECT_EQ(returned, 0);
    go = true;
    co_await g.wait();
    EXPECT_EQ(returned, 5);
  });
}

// ON-02, P-072
TEST(on, an_exception_reaches_the_first_caller_alone_and_the_once_is_done) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::once o;
    int runs = 0;
    auto fail = [&] {
      ++runs;
      throw std::runtime_error("boom");
    };
    EXPECT_EQ(co_await error_of_awaiting([&]() -> rn::task<> { co_await o.call(fail); }), "boom");
    EXPECT_EQ(co_await error_of_awaiting([&]() -> rn::task<> { co_await o.call(fail); }), "");
    EXPECT_EQ(runs, 1);
    EXPECT_TRUE(o.is_done());
  });
}

// ON-03, ON-C01
TEST(on, calling_itself_is_misuse_instead_of_a_wait_for_ever) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::once o;
    std::string said;
    auto itself = [&]() -> rn::task<> {
      auto inner = [&]() -> rn::task<> { co_await o.call([] {}); };
      said = co_await error_of(inner());
    };
    co_await o.call(itself);
    EXPECT_EQ(said, "runnel: a once is called by its own function, which would wait for itself");
    EXPECT_TRUE(o.is_done());
  });
}

// ON-07: leaving by cancellation counts as the run.
TEST(on, a_run_that_is_cancelled_is_not_repeated) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::once o;
    std::atomic<int> alive = 0, runs = 0, returned = 0;
    auto hang = [&]() -> rn::task<> {
      ++runs;
      co_await test::park_for_ever(alive);
    };
    auto caller = [&]() -> rn::task<> {
      co_await o.call(hang);
      ++returned;
    };
    rn::errgroup doomed, others;
    co_await doomed.go(std::ref(caller));
    co_await until([&] { return alive == 1; });
    for (int i = 0; i < 3; ++i) co_await others.go(std::ref(caller));
    co_await until([&] { return o.waiting() == 3; });
    doomed.cancel();
    co_await doomed.wait();
    co_await others.wait();
    EXPECT_EQ(runs, 1);
    EXPECT_EQ(returned, 3);
    EXPECT_TRUE(o.is_done());
  });
}

TEST(on, a_caller_that_is_cancelled_while_it_waits_changes_nothing) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::once o;
    std::atomic<bool> go = false, started = false;
    rn::errgroup g;
    auto run = [&]() -> rn::task<> {
      started = true;
      co_await until([&] { return go.load(); });
    };
    auto caller = [&]() -> rn::task<> { co_await o.call(run); };
    co_await g.go(std::ref(caller));
    co_await until([&] { return started.load(); });
    auto outcome = co_await rn::as_result(rn::with_timeout(1ms, caller()));
    EXPECT_TRUE(outcome.error());
    EXPECT_EQ(o.waiting(), 0u);
    go = true;
    co_await g.wait();
    EXPECT_TRUE(o.is_done());
  });
}

// ON-04, P-073
TEST(on, a_value_is_computed_once_and_is_the_same_for_all) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> runs = 0;
    rn::once_value value([&runs]() -> rn::task<std::unique_ptr<int>> {
      ++runs;
      co_await rn::yield();
      co_return std::make_unique<int>(42);
    });
    std::atomic<int> wrong = 0;
    const auto* place = (co_await value()).get();
    rn::errgroup g;
    auto look = [&]() -> rn::task<> {
      const std::unique_ptr<int>& mine = co_await value();
      if (mine.get() != place || *mine != 42) ++wrong;
    };
    for (int i = 0; i < 10; ++i) co_await g.go(std::ref(look));
    co_await g.wait();
    EXPECT_EQ(runs, 1);
    EXPECT_EQ(wrong, 0);
  });
}

// ON-04: functions that are no coroutines, and that return nothing (Go's OnceFunc)
TEST(on, any_function_will_do) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    int runs = 0;
    rn::once_value plain([&runs] { return ++runs; });
    EXPECT_EQ(co_await plain(), 1);
    EXPECT_EQ(co_await plain(), 1);
    rn::once_value nothing([&runs] { ++runs; });
    co_await nothing();
    co_await nothing();
    EXPECT_EQ(runs, 2);
    EXPECT_TRUE(nothing.is_done());
  });
}

// ON-05, P-074
TEST(on, every_call_throws_the_same_exception) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    int runs = 0;
    rn::once_value value([&runs]() -> int {
      ++runs;
      throw std::runtime_error("no value");
    });
    auto get = [&]() -> rn::task<int> { co_return co_await value(); };
    std::exception_ptr first = (co_await rn::as_result(get())).error();
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(co_await error_of(get()), "no value");
      EXPECT_TRUE((co_await rn::as_result(get())).error() == first) << "the very same";
    }
    EXPECT_EQ(runs, 1);
  });
}

// ON-06
TEST(on, the_function_is_released_after_the_first_call) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (bool throws : {false, true}) {
      auto held = std::make_shared<int>(1);
      std::weak_ptr<int> watch = held;
      rn::once_value value([held = std::move(held), throws]() -> rn::task<int> {
        if (throws) test::fail("x");
        co_return *held;
      });
      EXPECT_FALSE(watch.expired());
      (void)co_await error_of_awaiting([&]() -> rn::task<> { (void)co_await value(); });
      EXPECT_TRUE(watch.expired());
    }
  });
}

// ON-07, P-075
TEST(on, a_value_whose_computation_was_cancelled_is_canceled_for_all) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0, runs = 0;
    rn::once_value value([&]() -> rn::task<int> {
      ++runs;
      co_await test::park_for_ever(alive);
      co_return 1;
    });
    auto get = [&]() -> rn::task<> { (void)co_await value(); };
    rn::errgroup doomed;
    co_await doomed.go(std::ref(get));
    co_await until([&] { return alive == 1; });
    doomed.cancel();
    co_await doomed.wait();
    EXPECT_EQ(co_await error_of(get()), "runnel: canceled");
    EXPECT_EQ(co_await error_of(get()), "runnel: canceled");
    EXPECT_EQ(runs, 1);
  });
}

}  // namespace
