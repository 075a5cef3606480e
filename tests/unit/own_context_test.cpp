// SPDX-License-Identifier: BSL-1.0
// A task whose first parameter is a context runs under it, and under the ambient one.
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/own_context.hpp>
#include <runnel/runtime.hpp>
#include <runnel/sleep.hpp>
#include <runnel/with_context.hpp>

#include "support/until.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using test_support::until;

struct name_key {
  using type = std::string;
};

rn::task<int> free_function(rn::context ctx, int x) {
  (void)ctx;
  co_await rn::sleep(100us);
  co_return x;
}
rn::task<> waits_for_ever(rn::context) { co_await rn::chan<int>().recv(); }
rn::task<std::string> name_of(rn::context) {
  auto ctx = rn::this_context();
  auto* name = ctx.value<name_key>();
  co_return name ? *name : "nobody";
}

struct service {
  int calls = 0;
  rn::task<int> call(rn::context, int x) {
    ++calls;
    co_await rn::sleep(100us);
    co_return x;
  }
  rn::task<int> look(rn::context, int x) const {
    co_await rn::sleep(100us);
    co_return x;
  }
};

TEST(own_context, it_runs_and_returns) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    auto ctx = rn::context::background();
    EXPECT_EQ(co_await free_function(ctx, 3), 3);
    service s;
    EXPECT_EQ(co_await s.call(ctx, 4), 4);
    EXPECT_EQ(s.calls, 1);
    EXPECT_EQ(co_await s.look(ctx, 5), 5);
    auto lambda = [](rn::context, int x) -> rn::task<int> {
      co_await rn::yield();
      co_return x;
    };
    EXPECT_EQ(co_await lambda(ctx, 6), 6);
    int captured = 7;
    auto capturing = [&](rn::context) -> rn::task<int> {
      co_await rn::yield();
      co_return captured;
    };
    EXPECT_EQ(co_await capturing(ctx), 7);
    co_await rn::yield();
  };
  rt.run(app);
}

template <class Make>
void cancelled_by_its_parameter(Make make) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    cancel();
    auto r = co_await rn::as_result(make(ctx));
    EXPECT_TRUE(r.canceled());
    co_await rn::yield();  // the caller is not cancelled
  };
  rt.run(app);
}

TEST(own_context, a_free_function_is_cancelled_by_its_parameter) {
  cancelled_by_its_parameter([](rn::context ctx) { return free_function(ctx, 1); });
}
TEST(own_context, a_member_function_is_cancelled_by_its_parameter) {
  static service s;
  cancelled_by_its_parameter([](rn::context ctx) { return s.call(ctx, 1); });
  cancelled_by_its_parameter([](rn::context ctx) { return s.look(ctx, 1); });
}
TEST(own_context, a_lambda_is_cancelled_by_its_parameter) {
  static auto lambda = [](rn::context) -> rn::task<int> {
    co_await rn::sleep(1h);
    co_return 1;
  };
  cancelled_by_its_parameter([](rn::context ctx) { return lambda(ctx); });
}

TEST(own_context, a_parked_one_hears_both_parents) {
  rn::runtime rt(rn::threads(2));
  auto app = [&]() -> rn::task<> {
    for (bool given_one : {true, false}) {
      auto [ambient, cancel_ambient] = rn::context::background().with_cancel();
      auto [given, cancel_given] = rn::context::background().with_cancel();
      std::atomic<bool> begun{false}, ended{false};
      rn::go([&]() -> rn::task<> {
        begun = true;
        auto r = co_await rn::as_result(rn::with_context(ambient, waits_for_ever(given)));
        EXPECT_TRUE(r.canceled());
        ended = true;
      });
      co_await until([&] { return begun.load(); });
      for (int i = 0; i < 5; ++i) co_await rn::yield();
      EXPECT_FALSE(ended);
      given_one ? cancel_given() : cancel_ambient();
      co_await until([&] { return ended.load(); });
    }
  };
  rt.run(app);
}

TEST(own_context, its_values_and_deadline_are_in_force_inside_and_not_after) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_value<name_key>("ann").with_timeout(1h);
    EXPECT_EQ(co_await name_of(ctx), "ann");
    EXPECT_EQ(co_await name_of(rn::context::background()), "nobody");
    EXPECT_EQ(co_await rn::with_value<name_key>("bob", name_of(rn::context::background())), "bob");
    auto deadline = [](rn::context) -> rn::task<std::optional<std::chrono::steady_clock::time_point>> {
      co_return rn::this_context().deadline();
    };
    EXPECT_EQ(co_await deadline(ctx), ctx.deadline());
    EXPECT_FALSE(rn::this_context().deadline());
    auto here = rn::this_context();
    EXPECT_EQ(here.value<name_key>(), nullptr);
  };
  rt.run(app);
}

// The ambient values show behind those of the context, as with with_context.
TEST(own_context, the_ambient_values_show_behind_its_own) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    struct other_key {
      using type = int;
    };
    auto both = [](rn::context) -> rn::task<std::string> {
      auto here = rn::this_context();
      co_return *here.value<name_key>() + std::to_string(*here.value<other_key>());
    };
    auto ann = rn::context::background().with_value<name_key>("ann");
    auto under = [&]() -> rn::task<> { EXPECT_EQ(co_await both(ann), "ann1"); };
    co_await rn::with_value<name_key>("bob", rn::with_value<other_key>(1, under()));
  };
  rt.run(app);
}

TEST(own_context, an_exception_passes_and_the_context_is_left) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    auto throws = [](rn::context) -> rn::task<> {
      co_await rn::yield();
      throw std::runtime_error("x");
    };
    auto [ctx, cancel] = rn::context::background().with_cancel();
    auto before = rn::this_context();
    EXPECT_THROW(co_await throws(ctx), std::runtime_error);
    EXPECT_EQ(rn::this_context(), before);
    cancel();
    co_await rn::yield();
  };
  rt.run(app);
}

TEST(own_context, recursion_nests_and_unwinds) {
  rn::runtime rt(rn::threads(1));
  struct recursive {
    static rn::task<> down(rn::context ctx, int depth, int& died) {
      struct probe {
        int& n;
        ~probe() { ++n; }
      } p{died};
      if (depth > 0)
        co_await down(ctx, depth - 1, died);
      else
        co_await rn::sleep(1h);
    }
  };
  auto app = []() -> rn::task<> {
    auto blocks = rn::detail::frame_pool_stats().live_blocks;
    {
      int died = 0;
      auto [ctx, cancel] = rn::context::background().with_timeout(2ms);
      auto r = co_await rn::as_result(recursive::down(ctx, 1000, died));
      EXPECT_TRUE(r.canceled());
      EXPECT_EQ(died, 1001);
    }
    EXPECT_LE(rn::detail::frame_pool_stats().live_blocks, blocks);
  };
  rt.run(app);
}

TEST(own_context, it_may_be_the_root_of_a_goroutine_and_of_a_child) {
  rn::runtime rt(rn::threads(2));
  auto app = []() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    std::atomic<int> ended{0};
    struct count {
      std::atomic<int>& n;
      explicit count(std::atomic<int>& c) : n(c) {}
      ~count() { ++n; }
    };
    auto root = [&](rn::context) -> rn::task<> {
      count c(ended);
      co_await rn::sleep(1h);
    };
    rn::go(root, ctx);
    auto body = [&](rn::errgroup& g) -> rn::task<> {
      co_await g.go(root, ctx);
      for (int i = 0; i < 10; ++i) co_await rn::yield();
      EXPECT_EQ(ended, 0);
      cancel();
    };
    co_await rn::with_errgroup(body);
    co_await until([&] { return ended == 2; });
  };
  rt.run(app);
}

// Never awaited: nothing is installed, and nothing leaks.
TEST(own_context, one_that_is_never_awaited_is_harmless) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    { auto dropped = free_function(ctx, 1); }
    cancel();
    co_await rn::yield();
  };
  rt.run(app);
}

// A reference to a context says the same.
rn::task<int> by_const_reference(const rn::context&) {
  co_await rn::sleep(100us);
  co_return 1;
}
TEST(own_context, a_parameter_by_const_reference_is_a_context_too) {
  cancelled_by_its_parameter([](const rn::context& ctx) { return by_const_reference(ctx); });
}

// A free function whose first parameter is of a class is no member function: the context behind it is one like any
// other.
rn::task<bool> after_a_name(std::string name, rn::context request) {
  co_await rn::sleep(100us);
  co_return !name.empty() && request.is_done();
}
TEST(own_context, a_context_behind_a_parameter_of_a_class_is_a_parameter_like_any_other) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    cancel();
    const auto done = co_await rn::as_result(after_a_name("login", ctx));
    EXPECT_TRUE(done.ok());
  };
  rt.run(app);
}

}  // namespace
