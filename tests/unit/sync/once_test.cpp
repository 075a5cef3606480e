// SPDX-License-Identifier: BSL-1.0
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/sync/once.hpp>
#include <support/checked_runtime.hpp>
#include <support/done_context.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace {

namespace rn = runnel;
using test::checked_runtime;
using test::on_1_2_and_4_threads;
using test::until;

static_assert(!std::is_copy_constructible_v<rn::once> && !std::is_move_constructible_v<rn::once>);

constinit rn::once of_the_program;

TEST(once, arguments_are_moved_in) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    int seen = 0;
    auto take = [](int& out, std::unique_ptr<int> p, std::string s) -> rn::task<> {
      co_await rn::yield();
      out = *p + static_cast<int>(s.size());
    };
    auto p = std::make_unique<int>(5);
    co_await of_the_program.call(take, std::ref(seen), std::move(p), std::string("abc"));
    EXPECT_EQ(seen, 8);
    EXPECT_TRUE(of_the_program.is_done());
  });
}

TEST(once, a_call_that_comes_too_late_leaves_its_arguments_whole) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::once o;
    co_await o.call([] {});
    auto p = std::make_unique<int>(5);
    auto take = [](std::unique_ptr<int>) {};
    co_await o.call(take, std::move(p));
    EXPECT_TRUE(p);
  });
}

struct throws_when_copied {
  throws_when_copied() = default;
  throws_when_copied(const throws_when_copied&) { throw std::runtime_error("copy"); }
};

TEST(once, a_call_that_fails_before_it_begins_has_no_effect) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::once o;
    throws_when_copied x;
    auto take = [](const throws_when_copied&) {};
    auto call = [&]() -> rn::task<> { co_await o.call(take, x); };
    EXPECT_EQ(co_await test::error_of(call()), "copy");
    EXPECT_FALSE(o.is_done());
    bool ran = false;
    co_await o.call([&] { ran = true; });
    EXPECT_TRUE(ran);
  });
}

TEST(once, a_done_context_wins) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::once o;
    auto f = [] {};
    EXPECT_FALSE(co_await test::completes_in_a_done_context([&] { return o.call(f); }));
    EXPECT_FALSE(o.is_done());
    co_await o.call(f);
    EXPECT_FALSE(co_await test::completes_in_a_done_context([&] { return o.call(f); }));
  });
}

TEST(once, one_that_is_done_lets_others_run) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::once o;
    bool other_ran = false;
    co_await o.call([] {});
    rn::go([&other_ran] { other_ran = true; });
    for (int i = 0; !other_ran && i < 100'000; ++i) co_await o.call([] {});
    EXPECT_TRUE(other_ran);
  });
}

TEST(once, it_may_die_as_soon_as_it_is_seen_done) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int round = 0; round < 300; ++round) {
      auto o = std::make_unique<rn::once>();
      rn::errgroup g;
      auto call = [](rn::once* of) -> rn::task<> { co_await of->call([] {}); };
      co_await g.go(call, o.get());
      if (round % 2 == 0)
        co_await o->call([] {});
      else
        co_await until([&] { return o->is_done(); });
      if (round % 2 == 1) o.reset();
      co_await g.wait();
    }
  });
}

TEST(once, a_loop_of_calls_that_complete_at_once_uses_no_stack) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::once_value value([] { return 3; });
    long sum = 0;
    for (int i = 0; i < 200'000; ++i) sum += co_await value();
    EXPECT_EQ(sum, 600'000);
  });
}

TEST(once_death, dying_while_its_function_runs_is_reported) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  auto die = [] {
    checked_runtime rt(1);
    rt.run([]() -> rn::task<> {
      std::optional<rn::once> o(std::in_place);
      std::atomic<int> alive = 0;
      rn::errgroup g;
      auto call = [](rn::once& of, std::atomic<int>& n) -> rn::task<> {
        co_await of.call(test::park_for_ever, std::ref(n));
      };
      g.go(call, std::ref(*o), std::ref(alive));
      co_await until([&] { return alive == 1; });
      o.reset();
    });
  };
  EXPECT_DEATH(die(), "a once was destroyed while its function was running");
}

}  // namespace
