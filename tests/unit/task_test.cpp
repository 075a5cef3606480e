// SPDX-License-Identifier: BSL-1.0
#include <runnel/task.hpp>

#include <runnel/runtime.hpp>
#include <runnel/this_task.hpp>

#include "support/conserves_frames.hpp"
#include "support/counted.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace {

namespace rn = runnel;
using runnel_test::counted;

class task : public runnel_test::conserves_frames {
 protected:
  template <class F>
  auto run(F f) {
    rn::runtime rt(rn::threads(1));
    return rt.run(std::move(f));
  }
};

// Where the stack is now.
RUNNEL_NOINLINE std::uintptr_t stack_position() noexcept {
  return reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
}
struct stack_extent {
  std::uintptr_t lowest = UINTPTR_MAX, highest = 0;
  void look() noexcept {
    auto at = stack_position();
    lowest = at < lowest ? at : lowest;
    highest = at > highest ? at : highest;
  }
  std::uintptr_t bytes() const noexcept { return highest - lowest; }
};

rn::task<int> one(stack_extent& stack) {
  stack.look();
  co_return 1;
}

TEST_F(task, a_million_awaits_that_complete_at_once_use_no_stack) {
  stack_extent stack;
  int sum = run([&]() -> rn::task<int> {
    int n = 0;
    for (int i = 0; i < 1'000'000; ++i) n += co_await one(stack);
    co_return n;
  });
  EXPECT_EQ(sum, 1'000'000);
  EXPECT_LT(stack.bytes(), 4096u);
}

rn::task<int> yields(stack_extent& stack) {
  co_await rn::yield();
  stack.look();
  co_return 1;
}
TEST_F(task, awaits_that_suspend_use_no_stack) {
  stack_extent stack;
  int sum = run([&]() -> rn::task<int> {
    int n = 0;
    for (int i = 0; i < 20'000; ++i) n += co_await yields(stack);
    co_return n;
  });
  EXPECT_EQ(sum, 20'000);
  EXPECT_LT(stack.bytes(), 16384u);
}

rn::task<int> depth_of(int n, stack_extent& stack) {
  stack.look();
  if (n == 0) co_return 0;
  int below = co_await depth_of(n - 1, stack);
  stack.look();
  co_return below + 1;
}

TEST_F(task, a_recursion_of_a_hundred_thousand_awaits_uses_no_stack) {
  stack_extent stack;
  EXPECT_EQ(run([&]() -> rn::task<int> { co_return co_await depth_of(100'000, stack); }), 100'000);
  EXPECT_LT(stack.bytes(), 4096u);
}

rn::task<int> fail_at_depth(int n) {
  if (n == 0) throw std::runtime_error("at the bottom");
  co_return co_await fail_at_depth(n - 1) + 1;
}

TEST_F(task, an_exception_passes_through_ten_thousand_awaits) {
  try {
    run([]() -> rn::task<int> { co_return co_await fail_at_depth(10'000); });
    ADD_FAILURE() << "nothing was thrown";
  } catch (const std::runtime_error& e) {
    EXPECT_STREQ(e.what(), "at the bottom");
  }
}

rn::task<> nothing(bool& ran) {
  ran = true;
  co_return;
}
rn::task<int&> reference(int& x) { co_return x; }
rn::task<const std::string&> constant(const std::string& s) { co_return s; }
rn::task<std::unique_ptr<int>> owner(int x) { co_return std::make_unique<int>(x); }
rn::task<counted> no_default(int x) { co_return counted(x); }
rn::task<std::string> converted() { co_return "a literal"; }
rn::task<std::optional<int>> empty() { co_return std::nullopt; }
rn::task<rn::task<int>> nested(stack_extent& stack) { co_return one(stack); }

TEST_F(task, yields_what_was_returned) {
  bool ran = false;
  int x = 1;
  std::string s = "s";
  stack_extent stack;
  run([&]() -> rn::task<> {
    co_await nothing(ran);
    EXPECT_TRUE(ran);
    int& r = co_await reference(x);
    EXPECT_EQ(&r, &x);
    EXPECT_EQ(&co_await constant(s), &s);
    EXPECT_EQ(*co_await owner(5), 5);
    EXPECT_EQ((co_await no_default(6)).value(), 6);
    EXPECT_EQ(co_await converted(), "a literal");
    EXPECT_EQ(co_await empty(), std::nullopt);
    EXPECT_EQ(co_await co_await nested(stack), 1);
    (void)co_await no_default(7);  // a result that nobody wants
    EXPECT_EQ(counted::alive(), 0);
  });
}

static_assert(std::is_same_v<rn::task<>, rn::task<void>>);
static_assert(std::is_same_v<rn::task<int&>::value_type, int&>);
static_assert(std::is_nothrow_move_constructible_v<rn::task<int>> && !std::is_copy_constructible_v<rn::task<int>>);

rn::task<> throw_int() {
  throw 42;
  co_return;
}
rn::task<int&> throw_instead_of_reference() {
  throw 43;
  co_return *static_cast<int*>(nullptr);
}
rn::task<int> throw_after(bool& destroyed) {
  struct mark {
    bool& destroyed;
    ~mark() { destroyed = true; }
  } local{destroyed};
  co_await rn::yield();
  throw std::runtime_error("late");
  co_return 1;
}

TEST_F(task, rethrows_what_was_thrown_after_its_locals_have_died) {
  run([]() -> rn::task<> {
    int caught = 0;
    try {
      co_await throw_int();
    } catch (int i) {
      caught = i;
    }
    EXPECT_EQ(caught, 42);
    try {
      co_await throw_instead_of_reference();
    } catch (int i) {
      caught = i;
    }
    EXPECT_EQ(caught, 43);
    bool destroyed = false, destroyed_first = false;
    try {
      co_await throw_after(destroyed);
    } catch (const std::runtime_error&) {
      destroyed_first = destroyed;
    }
    EXPECT_TRUE(destroyed_first);
  });
}

TEST_F(task, a_result_whose_construction_throws_is_an_exception) {
  struct thrower {
    explicit thrower(int) { throw std::logic_error("in the result"); }
  };
  struct made {
    static rn::task<thrower> make() { co_return 1; }
  };
  run([]() -> rn::task<> {
    bool caught = false;
    try {
      co_await made::make();
    } catch (const std::logic_error&) {
      caught = true;
    }
    EXPECT_TRUE(caught);
  });
}

TEST_F(task, is_lazy) {
  bool ran = false;
  run([&]() -> rn::task<> {
    rn::task<> t = nothing(ran);
    co_await rn::yield();
    EXPECT_FALSE(ran);
    EXPECT_TRUE(t);
    co_await std::move(t);
    EXPECT_TRUE(ran);
    EXPECT_FALSE(t);
  });
}

TEST_F(task, awaited_twice_or_moved_from_is_misuse) {
  bool ran = false;
  run([&]() -> rn::task<> {
    rn::task<> t = nothing(ran);
    co_await std::move(t);
    ran = false;
    std::string said;
    try {
      co_await std::move(t);
    } catch (const rn::misuse_error& e) {
      said = e.what();
    }
    EXPECT_EQ(said, "runnel: this task has been awaited or moved from: a task is awaited once");
    EXPECT_FALSE(ran);

    rn::task<> from = nothing(ran);
    rn::task<> to = std::move(from);
    said.clear();
    try {
      co_await std::move(from);
    } catch (const rn::misuse_error& e) {
      said = e.what();
    }
    EXPECT_FALSE(said.empty());
    co_await std::move(to);
    EXPECT_TRUE(ran);
  });
}

rn::task<> holds(std::shared_ptr<int> p, bool& ran) {
  ran = true;
  (void)p;
  co_return;
}

TEST_F(task, never_awaited_gives_its_frame_back_unrun) {
  auto p = std::make_shared<int>(1);
  bool ran = false;
  auto frames = [] { return rn::detail::frame_pool_stats().live_blocks; };
  auto before = frames();
  {
    rn::task<> t = holds(p, ran);
    EXPECT_EQ(p.use_count(), 2);
    EXPECT_LE(frames(), before + 1);  // a compiler may do without the frame of a task that is never awaited
  }
  EXPECT_EQ(p.use_count(), 1);
  EXPECT_EQ(frames(), before);
  rn::task<> t = holds(p, ran);
  t = holds(p, ran);  // assignment frees the one that was there
  EXPECT_EQ(p.use_count(), 2);
  EXPECT_EQ(frames(), before + 1);
  auto& same = t;
  t = std::move(same);
  EXPECT_TRUE(t);
  rn::task<> other = holds(p, ran);
  t.swap(other);
  EXPECT_TRUE(t && other);
  EXPECT_FALSE(ran);
}

TEST_F(task, gives_its_frame_back_before_its_awaiter_goes_on) {
  auto frames = [] { return rn::detail::frame_pool_stats().live_blocks; };
  run([&]() -> rn::task<> {
    auto p = std::make_shared<int>(1);
    bool ran = false;
    auto before = frames();
    co_await holds(p, ran);
    EXPECT_EQ(p.use_count(), 1);
    EXPECT_EQ(frames(), before);
  });
}

// Unwinding finds out by addresses in which frame a group lives. A compiler that puts the frame of a task that runs into
// its caller's would leave its size unwritten.
struct own_frame : rn::detail::awaitable_base {
  rn::detail::promise_base* suspend_at = nullptr;
  bool suspend(rn::detail::promise_base* leaf) noexcept {
    suspend_at = leaf;
    return false;
  }
  rn::detail::promise_base& resume() noexcept { return *suspend_at; }
};
// So that it lives in the frame, and not in registers or on the stack.
RUNNEL_NOINLINE void use(void* object) noexcept { asm volatile("" : : "r"(object) : "memory"); }
template <std::size_t Size>
bool is_in_frame(rn::detail::promise_base& frame, const std::array<char, Size>& local) {
  return frame.contains(local.data()) && frame.contains(local.data() + Size - 1) && frame.frame_size < 4 * Size + 400;
}
rn::task<bool> knows_its_frame(int n) {
  std::array<char, 300> local{};
  local[static_cast<std::size_t>(n)] = 1;
  use(&local);
  auto& frame = co_await own_frame();
  use(&local);
  co_return is_in_frame(frame, local);
}

TEST_F(task, that_runs_has_a_frame_of_its_own_and_knows_its_size) {
  run([]() -> rn::task<> {
    std::array<char, 2000> local{};
    use(&local);
    EXPECT_TRUE(co_await knows_its_frame(1)) << "awaited at once";
    auto kept = knows_its_frame(2);
    EXPECT_TRUE(co_await std::move(kept)) << "awaited by name";
    std::optional<rn::task<bool>> maybe(knows_its_frame(3));
    EXPECT_TRUE(co_await std::move(*maybe)) << "in an optional";
    auto never = knows_its_frame(4);  // destroyed unrun: this one may be elided
    auto& frame = co_await own_frame();
    use(&local);
    EXPECT_TRUE(is_in_frame(frame, local)) << "the outermost";
  });
}

}  // namespace
