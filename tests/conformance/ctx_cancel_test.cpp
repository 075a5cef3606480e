// SPDX-License-Identifier: BSL-1.0
// Contexts: cancellation and causes. CTX-01 to CTX-15, CTX-27, CTX-C01, CTX-C02, CTX-C06.
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>
#include <runnel/with_context.hpp>

#include "support/until.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using test_support::until;

std::exception_ptr error(const char* what) { return std::make_exception_ptr(std::runtime_error(what)); }

bool is_plain_canceled(const std::exception_ptr& cause) {
  try {
    std::rethrow_exception(cause);
  } catch (const rn::canceled&) {
    return true;
  } catch (...) {
    return false;
  }
}

// CTX-01
TEST(ctx_cancel, background_is_never_done_and_has_no_deadline) {
  auto ctx = rn::context::background();
  EXPECT_FALSE(ctx.is_done());
  EXPECT_FALSE(ctx.err());
  EXPECT_EQ(ctx.cause(), nullptr);
  EXPECT_FALSE(ctx.deadline());
  EXPECT_EQ(ctx.value<int>(), nullptr);
  EXPECT_NO_THROW(ctx.check());
  EXPECT_EQ(ctx, rn::context::background());
}

// CTX-01: its done() is Go's nil channel: who waits for it waits until cancelled.
TEST(ctx_cancel, waiting_for_background_ends_only_by_cancellation) {
  rn::runtime rt(rn::threads(1));
  bool went_on = false;
  auto app = [&]() -> rn::task<> {
    try {
      co_await rn::with_timeout(5ms, rn::context::background().done());
      went_on = true;
    } catch (const rn::deadline_exceeded&) {
    }
  };
  rt.run(app);
  EXPECT_FALSE(went_on);
}

// CTX-02
TEST(ctx_cancel, a_child_is_done_by_its_cancel_function) {
  auto [ctx, cancel] = rn::context::background().with_cancel();
  EXPECT_FALSE(ctx.is_done());
  cancel();
  EXPECT_TRUE(ctx.is_done());
  EXPECT_EQ(ctx.err(), rn::context_errc::canceled);
  EXPECT_EQ(ctx.err(), std::errc::operation_canceled);
  EXPECT_THROW(ctx.check(), rn::canceled);
}

// CTX-02
TEST(ctx_cancel, a_child_is_done_by_its_parent) {
  auto [parent, cancel_parent] = rn::context::background().with_cancel();
  auto [child, cancel_child] = parent.with_cancel();
  cancel_parent();
  EXPECT_TRUE(child.is_done());
  EXPECT_EQ(child.err(), rn::context_errc::canceled);
}

// DESIGN section 3: the cancel function cancels when it dies.
TEST(ctx_cancel, a_cancel_function_cancels_when_it_dies) {
  auto ctx = rn::context::background();
  {
    auto [child, cancel] = ctx.with_cancel();
    ctx = child;
    auto moved = std::move(cancel);
    EXPECT_FALSE(ctx.is_done());
  }
  EXPECT_TRUE(ctx.is_done());
}

TEST(ctx_cancel, assigning_a_cancel_function_cancels_what_it_had) {
  auto [a, cancel_a] = rn::context::background().with_cancel();
  auto [b, cancel_b] = rn::context::background().with_cancel();
  cancel_a = std::move(cancel_b);
  EXPECT_TRUE(a.is_done());
  EXPECT_FALSE(b.is_done());
  cancel_a();
  EXPECT_TRUE(b.is_done());
}

// CTX-03: any number of threads at once; none of them waits for anybody's work.
TEST(ctx_cancel, cancel_may_be_called_by_many_threads_at_once) {
  for (int round = 0; round < 50; ++round) {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    std::atomic<int> ready{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
      threads.emplace_back([&] {
        ++ready;
        while (ready != 4) std::this_thread::yield();
        cancel();
      });
    for (auto& t : threads) t.join();
    EXPECT_EQ(ctx.err(), rn::context_errc::canceled);
  }
}

// CTX-03
TEST(ctx_cancel, cancel_does_not_wait_for_work) {
  rn::runtime rt(rn::threads(2));
  auto [ctx, cancel] = rn::context::background().with_cancel();
  std::atomic<bool> inside{false}, released{false};
  rt.go([&]() -> rn::task<> {
    auto busy = [&]() -> rn::task<> {
      inside = true;
      test_support::spin_until([&] { return released.load(); });
      co_return;
    };
    co_await rn::with_context(ctx, busy());
  });
  ASSERT_TRUE(test_support::wait_until([&] { return inside.load(); }));
  cancel();  // returns although the work cannot
  EXPECT_TRUE(ctx.is_done());
  EXPECT_FALSE(released);
  released = true;
  EXPECT_TRUE(test_support::wait_until([&] { return rt.live() == 0; }));  // it refers to what dies here
}

// CTX-04
TEST(ctx_cancel, all_descendants_are_done_when_cancel_returns) {
  auto [root, cancel] = rn::context::background().with_cancel();
  std::vector<std::pair<rn::context, rn::cancel_function>> below;
  for (int i = 0; i < 200; ++i)
    below.push_back((i == 0 ? root : below[static_cast<std::size_t>(i) / 2].first).with_cancel());
  cancel();
  for (auto& [ctx, c] : below) EXPECT_TRUE(ctx.is_done());
}

// CTX-05
TEST(ctx_cancel, err_is_set_when_done_is_seen_and_never_changes) {
  rn::runtime rt(rn::threads(2));
  auto app = [&]() -> rn::task<> {
    for (int round = 0; round < 200; ++round) {
      auto [ctx, cancel] = rn::context::background().with_cancel();
      rn::go([&]() -> rn::task<> {
        cancel();
        co_return;
      });
      co_await ctx.done();
      EXPECT_EQ(ctx.err(), rn::context_errc::canceled);
      EXPECT_TRUE(ctx.cause());
      cancel(error("too late"));
      EXPECT_TRUE(is_plain_canceled(ctx.cause()));
    }
  };
  rt.run(app);
}

// CTX-07: every wait for done ends, however many wait, before and after.
TEST(ctx_cancel, done_can_be_awaited_by_many_and_afterwards) {
  rn::runtime rt(rn::threads(2));
  auto app = [&]() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    std::atomic<int> waiting{0}, woken{0};
    for (int i = 0; i < 50; ++i)
      rn::go([&]() -> rn::task<> {
        ++waiting;
        co_await ctx.done();
        co_await ctx.done();
        ++woken;
      });
    co_await until([&] { return waiting == 50; });
    EXPECT_EQ(woken, 0);
    cancel();
    co_await until([&] { return woken == 50; });
    co_await ctx.done();
  };
  rt.run(app);
}

// CTX-07: cancelled before the first call.
TEST(ctx_cancel, done_of_a_done_context_does_not_wait) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<bool> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    cancel();
    co_await ctx.done();
    co_return true;
  };
  EXPECT_TRUE(rt.run(app));
}

// CTX-08
TEST(ctx_cancel, a_child_of_a_done_parent_is_done_with_its_err_and_cause) {
  auto [parent, cancel] = rn::context::background().with_cancel();
  auto cause = error("the parent's");
  cancel(cause);
  auto [child, cancel_child] = parent.with_cancel();
  EXPECT_TRUE(child.is_done());
  EXPECT_EQ(child.err(), rn::context_errc::canceled);
  EXPECT_EQ(child.cause(), cause);
  auto valued = parent.with_value<int>(1);
  EXPECT_TRUE(valued.is_done());
  EXPECT_EQ(valued.cause(), cause);
}

// CTX-09
TEST(ctx_cancel, a_cancelled_child_does_not_affect_its_parent) {
  auto [parent, cancel] = rn::context::background().with_cancel();
  auto [child, cancel_child] = parent.with_cancel();
  auto [sibling, cancel_sibling] = parent.with_cancel();
  cancel_child();
  EXPECT_TRUE(child.is_done());
  EXPECT_FALSE(parent.is_done());
  EXPECT_FALSE(sibling.is_done());
}

// CTX-09, CTX-C01
TEST(ctx_cancel, children_that_are_gone_leave_nothing_in_their_parent) {
  auto [parent, cancel] = rn::context::background().with_cancel();
  auto before = rn::detail::frame_pool_stats().live_blocks;
  for (int i = 0; i < 10'000; ++i) {
    auto [child, cancel_child] = parent.with_cancel();
    if (i % 2) cancel_child();
  }
  EXPECT_EQ(rn::detail::frame_pool_stats().live_blocks, before);
}

// CTX-11, CTX-12
TEST(ctx_cancel, the_first_cause_stays) {
  auto [ctx, cancel] = rn::context::background().with_cancel_cause();
  auto first = error("first");
  cancel(first);
  cancel(error("second"));
  cancel();
  EXPECT_EQ(ctx.cause(), first);  // CTX-C02: by identity
  EXPECT_EQ(ctx.err(), rn::context_errc::canceled);
  EXPECT_THROW(ctx.check(), std::runtime_error);
}

// CTX-11
TEST(ctx_cancel, descendants_have_the_cause_of_the_first_cancellation) {
  auto [root, cancel] = rn::context::background().with_cancel();
  auto [middle, cancel_middle] = root.with_cancel();
  auto [leaf, cancel_leaf] = middle.with_cancel();
  auto why = error("why");
  cancel(why);
  EXPECT_EQ(middle.cause(), why);
  EXPECT_EQ(leaf.cause(), why);
}

// CTX-12, CTX-15
TEST(ctx_cancel, without_a_cause_it_is_canceled_and_null_until_done) {
  auto [ctx, cancel] = rn::context::background().with_cancel();
  EXPECT_EQ(ctx.cause(), nullptr);
  cancel(nullptr);
  ASSERT_TRUE(ctx.cause());
  EXPECT_TRUE(is_plain_canceled(ctx.cause()));
}

// CTX-13
TEST(ctx_cancel, a_child_cancelled_first_keeps_its_own_cause) {
  auto [parent, cancel_parent] = rn::context::background().with_cancel();
  auto [child, cancel_child] = parent.with_cancel();
  auto mine = error("child"), theirs = error("parent");
  cancel_child(mine);
  cancel_parent(theirs);
  EXPECT_EQ(child.cause(), mine);
  EXPECT_EQ(parent.cause(), theirs);
}

// CTX-13
TEST(ctx_cancel, a_parent_cancelled_first_gives_its_cause) {
  auto [parent, cancel_parent] = rn::context::background().with_cancel();
  auto [child, cancel_child] = parent.with_cancel();
  auto theirs = error("parent");
  cancel_parent(theirs);
  cancel_child(error("child"));
  EXPECT_EQ(child.cause(), theirs);
}

// CTX-13
TEST(ctx_cancel, a_plain_cancel_of_the_child_first_stays_plain) {
  auto [parent, cancel_parent] = rn::context::background().with_cancel();
  auto [child, cancel_child] = parent.with_cancel();
  cancel_child();
  cancel_parent(error("parent"));
  EXPECT_TRUE(is_plain_canceled(child.cause()));
}

// CTX-27: the child is cancelled by who observes the parent, while the parent's cancellation goes on.
TEST(ctx_cancel, cancelling_a_child_while_its_parent_is_cancelled_does_not_deadlock) {
  rn::runtime rt(rn::threads(2));
  auto app = [&]() -> rn::task<> {
    for (int round = 0; round < 200; ++round) {
      auto [parent, cancel_parent] = rn::context::background().with_cancel();
      std::vector<std::pair<rn::context, rn::cancel_function>> children;
      for (int i = 0; i < 8; ++i) children.push_back(parent.with_cancel());
      std::atomic<int> ended{0};
      for (auto& [ctx, cancel] : children)
        rn::go([&]() -> rn::task<> {
          co_await parent.done();
          cancel();
          ++ended;
        });
      co_await rn::yield();
      std::thread other([&] { for (auto& c : children) c.second(); });
      cancel_parent();
      other.join();
      co_await until([&] { return ended == 8; });
    }
  };
  rt.run(app);
}

// CTX-C01: dropping a context's handles does not cancel it; its children keep it.
TEST(ctx_cancel, children_keep_their_parents_alive) {
  auto top = rn::context::background().with_cancel();
  auto leaf = [&] {
    auto middle = top.first.with_value<int>(1);
    return middle.with_value<long>(2);
  }();
  EXPECT_FALSE(leaf.is_done());
  ASSERT_TRUE(leaf.value<int>());
  top.second();
  EXPECT_TRUE(leaf.is_done());
}

// CTX-C06
TEST(ctx_cancel, a_chain_of_a_hundred_thousand_is_cancelled_and_freed_without_recursion) {
  auto before = rn::detail::frame_pool_stats().live_blocks;
  {
    auto [root, cancel] = rn::context::background().with_cancel();
    auto leaf = root;
    for (int i = 0; i < 100'000; ++i) leaf = leaf.with_value<int>(i);
    auto [last, cancel_last] = leaf.with_cancel();
    EXPECT_FALSE(last.is_done());
    cancel();
    EXPECT_TRUE(last.is_done());
  }
  EXPECT_EQ(rn::detail::frame_pool_stats().live_blocks, before);
}

// CTX-C06
TEST(ctx_cancel, a_hundred_thousand_children_are_cancelled) {
  auto [root, cancel] = rn::context::background().with_cancel();
  std::vector<std::pair<rn::context, rn::cancel_function>> children;
  children.reserve(100'000);
  for (int i = 0; i < 100'000; ++i) children.push_back(root.with_cancel());
  cancel();
  for (auto& c : children) ASSERT_TRUE(c.first.is_done());
}

// CTX-04, CTX-09: contexts come and go on one thread while another cancels above them.
TEST(ctx_cancel, deriving_races_with_cancelling) {
  for (int round = 0; round < 100; ++round) {
    auto [root, cancel] = rn::context::background().with_cancel();
    std::atomic<bool> go{false};
    std::thread deriving([&] {
      while (!go) std::this_thread::yield();
      for (int i = 0; i < 200; ++i) {
        auto [a, cancel_a] = root.with_cancel();
        auto b = a.with_value<int>(i);
        if (i % 3 == 0) cancel_a();
        if (root.is_done()) {
          EXPECT_TRUE(root.with_cancel().first.is_done());
        }
      }
    });
    go = true;
    if (round % 2) std::this_thread::yield();
    cancel();
    deriving.join();
    EXPECT_TRUE(root.is_done());
  }
}

}  // namespace
