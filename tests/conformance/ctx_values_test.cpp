// SPDX-License-Identifier: BSL-1.0
// Context values and detaching: CTX-21, CTX-22, CTX-C03, CTX-C07.
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>
#include <runnel/sleep.hpp>
#include <runnel/this_task.hpp>
#include <runnel/with_context.hpp>

#include "support/until.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;

struct user_key {
  using type = std::string;
};
struct other_key {
  using type = std::string;
};
struct pointer_key {
  using type = const int*;
};

// CTX-21
TEST(ctx_values, the_nearest_binding_wins_and_the_outer_one_is_untouched) {
  auto outer = rn::context::background().with_value<user_key>("ann");
  auto inner = outer.with_value<user_key>("bob");
  EXPECT_EQ(*outer.value<user_key>(), "ann");
  EXPECT_EQ(*inner.value<user_key>(), "bob");
  auto [below, cancel] = inner.with_cancel();
  EXPECT_EQ(*below.value<user_key>(), "bob");
}

// CTX-21, CTX-C03: the type is the key.
TEST(ctx_values, keys_of_different_types_are_different) {
  auto ctx = rn::context::background().with_value<user_key>("ann");
  EXPECT_EQ(ctx.value<other_key>(), nullptr);
  EXPECT_EQ(ctx.value<std::string>(), nullptr);
  auto both = ctx.with_value<other_key>("x").with_value<std::string>("y");
  EXPECT_EQ(*both.value<user_key>(), "ann");
  EXPECT_EQ(*both.value<other_key>(), "x");
  EXPECT_EQ(*both.value<std::string>(), "y");
}

// CTX-21
TEST(ctx_values, a_binding_to_null_shadows) {
  static const int number = 1;
  auto ctx = rn::context::background().with_value<pointer_key>(&number).with_value<pointer_key>(nullptr);
  ASSERT_TRUE(ctx.value<pointer_key>());
  EXPECT_EQ(*ctx.value<pointer_key>(), nullptr);
}

TEST(ctx_values, a_value_lives_as_long_as_a_context_below_it) {
  auto value = std::make_shared<int>(7);
  std::weak_ptr<int> watch = value;
  {
    auto leaf = rn::context::background().with_value<std::shared_ptr<int>>(std::move(value)).with_value<int>(1);
    EXPECT_FALSE(watch.expired());
    EXPECT_EQ(**leaf.value<std::shared_ptr<int>>(), 7);
  }
  EXPECT_TRUE(watch.expired());
}

// CTX-22
TEST(ctx_values, without_cancel_keeps_values_and_nothing_else) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    auto valued = rn::context::background().with_value<user_key>("ann");
    auto [parent, cancel] = valued.with_timeout(1h);
    auto free = parent.without_cancel();
    EXPECT_FALSE(free.deadline());
    auto [derived, cancel_derived] = free.with_cancel();
    cancel(std::make_exception_ptr(std::runtime_error("x")));
    EXPECT_TRUE(parent.is_done());
    EXPECT_FALSE(free.is_done());
    EXPECT_FALSE(free.err());
    EXPECT_EQ(free.cause(), nullptr);
    EXPECT_EQ(*free.value<user_key>(), "ann");
    EXPECT_FALSE(derived.is_done());  // a fresh tree
    EXPECT_EQ(*derived.value<user_key>(), "ann");
    cancel_derived();
    EXPECT_TRUE(derived.is_done());
    EXPECT_FALSE(free.is_done());
    co_return;
  };
  rt.run(app);
}

// CTX-22: of a parent that is done already.
TEST(ctx_values, without_cancel_of_a_done_context_is_not_done) {
  auto [parent, cancel] = rn::context::background().with_cancel();
  cancel();
  EXPECT_FALSE(parent.without_cancel().is_done());
}

// DESIGN section 4: what is awaited and what a scope starts inherits values; rn::go inherits them too.
TEST(ctx_values, the_ambient_value_reaches_tasks_children_and_goroutines) {
  rn::runtime rt(rn::threads(2));
  auto name = []() -> std::string {
    auto ctx = rn::this_context();
    auto* found = ctx.value<user_key>();
    return found ? *found : "nobody";
  };
  auto app = [&]() -> rn::task<> {
    EXPECT_EQ(name(), "nobody");
    auto body = [&]() -> rn::task<> {
      EXPECT_EQ(name(), "ann");
      auto deeper = [&]() -> rn::task<> {
        EXPECT_EQ(name(), "ann");
        co_return;
      };
      co_await deeper();
      co_await rn::with_timeout(1h, deeper());
      co_await rn::shield(deeper());
      std::atomic<bool> ran{false};
      rn::go([&]() -> rn::task<> {
        EXPECT_EQ(name(), "ann");
        co_await rn::yield();
        EXPECT_EQ(name(), "ann");
        ran = true;
      });
      co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
        co_await g.go([&]() -> rn::task<> {
          EXPECT_EQ(name(), "ann");
          co_return;
        });
      });
      auto inner = [&]() -> rn::task<> {
        EXPECT_EQ(name(), "bob");
        co_return;
      };
      co_await rn::with_value<user_key>("bob", inner());
      EXPECT_EQ(name(), "ann");
      co_await test_support::until([&] { return ran.load(); });
    };
    co_await rn::with_value<user_key>("ann", body());
    EXPECT_EQ(name(), "nobody");
  };
  rt.run(app);
}

// A value bound by a scope that has ended is still there for who has inherited it.
TEST(ctx_values, a_goroutine_keeps_the_values_of_the_scope_that_started_it) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    std::atomic<bool> ended_scope{false}, ran{false};
    auto start = [&]() -> rn::task<> {
      rn::go([&]() -> rn::task<> {
        co_await test_support::until([&] { return ended_scope.load(); });
        EXPECT_EQ(*rn::this_context().value<user_key>(), "ann");
        ran = true;
      });
      co_return;
    };
    co_await rn::with_value<user_key>("ann", start());
    ended_scope = true;
    co_await test_support::until([&] { return ran.load(); });
  };
  rt.run(app);
}

// What is visible: "user other", with a dash for what is not bound.
std::string visible(const rn::context& ctx) {
  auto* user = ctx.value<user_key>();
  auto* other = ctx.value<other_key>();
  return (user ? *user : "-") + " " + (other ? *other : "-");
}
rn::task<> sees(std::string what) {
  EXPECT_EQ(visible(rn::this_context()), what);
  co_await rn::yield();
  EXPECT_EQ(visible(rn::this_context()), what);
}

// CTX-21, the nearest binding wins: with_context brings its context's values nearer than the ambient ones, and hides
// only those of the same key.
TEST(ctx_values, the_explicit_contexts_values_are_nearer_than_the_ambient_ones) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    const auto background = rn::context::background();
    auto user = background.with_value<user_key>("explicit");
    auto other = background.with_value<other_key>("explicit");
    auto both = user.with_value<other_key>("deep").with_value<other_key>("explicit");
    auto [none, cancel] = background.with_cancel();
    auto under = [&, &bare = none]() -> rn::task<> {
      co_await rn::with_context(user, sees("explicit -"));
      co_await rn::with_context(other, sees("ambient explicit"));
      co_await rn::with_context(both, sees("explicit explicit"));
      co_await rn::with_context(bare, sees("ambient -"));
      co_await rn::with_context(background, sees("ambient -"));
      co_await rn::with_context(other, rn::with_context(user, sees("explicit explicit")));
      co_await rn::with_context(user, rn::with_value<user_key>("inner", sees("inner -")));
      co_await sees("ambient -");
    };
    co_await rn::with_value<user_key>("ambient", under());
    co_await rn::with_context(both, sees("explicit explicit"));
    co_await sees("- -");
  };
  rt.run(app);
}

// The same where both go back to one context: what was bound in it before the explicit one was derived is its too.
TEST(ctx_values, a_context_that_was_derived_here_brings_what_it_had_then) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    auto body = []() -> rn::task<> {
      auto here = rn::this_context();
      auto [child, cancel] = here.with_cancel();
      auto more = here.with_value<other_key>("more");
      auto deeper = [&, &before = child]() -> rn::task<> {
        co_await sees("second -");
        co_await rn::with_context(before, sees("first -"));
        co_await rn::with_context(more, sees("first more"));
      };
      co_await rn::with_context(child, sees("first -"));
      co_await rn::with_context(more, sees("first more"));
      co_await rn::with_value<user_key>("second", deeper());
    };
    co_await rn::with_value<user_key>("first", body());
  };
  rt.run(app);
}

// A form that stands in another, or is kept, binds to what is ambient where it is awaited.
TEST(ctx_values, scopes_in_scopes_add_up) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    co_await rn::with_value<user_key>("a", rn::with_value<other_key>("b", sees("a b")));
    co_await rn::with_value<user_key>("a", rn::with_value<user_key>("b", sees("b -")));
    auto kept = rn::with_value<other_key>("kept", sees("a kept"));
    auto awaits = [](auto form) -> rn::task<> { co_await std::move(form); };
    co_await rn::with_value<user_key>("a", awaits(std::move(kept)));
  };
  rt.run(app);
}

// What has been put together lives as long as somebody who inherited it.
TEST(ctx_values, a_goroutine_keeps_the_values_that_with_context_put_together) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    std::atomic<bool> ended_scope{false}, ran{false};
    std::optional<rn::context> kept;
    auto start = [&]() -> rn::task<> {
      kept = rn::this_context().without_cancel();
      rn::go([&]() -> rn::task<> {
        co_await test_support::until([&] { return ended_scope.load(); });
        EXPECT_EQ(visible(rn::this_context()), "ambient explicit");
        ran = true;
      });
      co_return;
    };
    auto under = [&]() -> rn::task<> {
      auto other = rn::context::background().with_value<other_key>("explicit");
      co_await rn::with_context(other, start());
    };
    co_await rn::with_value<user_key>("ambient", under());
    ended_scope = true;
    co_await test_support::until([&] { return ran.load(); });
    EXPECT_EQ(visible(*kept), "ambient explicit");
  };
  rt.run(app);
}

// go(ctx, ...) is the explicit form: of values, too, it has those of its context alone.
TEST(ctx_values, a_goroutine_under_a_context_has_its_values_alone) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    std::atomic<bool> ran{false};
    auto start = [&]() -> rn::task<> {
      auto other = rn::context::background().with_value<other_key>("explicit");
      rn::go(other, [&]() -> rn::task<> {
        co_await sees("- explicit");
        ran = true;
      });
      co_return;
    };
    co_await rn::with_value<user_key>("ambient", start());
    co_await test_support::until([&] { return ran.load(); });
  };
  rt.run(app);
}

}  // namespace
