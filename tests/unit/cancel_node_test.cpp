// SPDX-License-Identifier: BSL-1.0
// The cancellation tree itself: levels, shields, edges, walks that meet.
#include <runnel/context.hpp>
#include <runnel/detail/cancel_node.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <stdexcept>
#include <thread>
#include <vector>

namespace {

using namespace runnel::detail;

std::exception_ptr error() { return std::make_exception_ptr(std::runtime_error("x")); }

// Detaches when it dies, as a frame's node does.
struct scoped_node : cancel_node {
  scoped_node() = default;
  explicit scoped_node(cancel_node* parent, form f = form::scoped) : cancel_node(f) { attach(*parent); }
  ~scoped_node() { detach(); }
};

TEST(cancel_node, the_level_only_grows_and_the_first_reason_stays) {
  scoped_node node;
  auto cause = error();
  EXPECT_FALSE(node.due());
  node.cancel(level_cancel, true, cause);
  EXPECT_TRUE(node.due());
  EXPECT_FALSE(node.killed());
  node.cancel(level_kill, false, error());
  EXPECT_TRUE(node.killed());
  EXPECT_TRUE(node.by_deadline());
  EXPECT_EQ(node.cause(), cause);
  node.cancel(level_cancel, false, error());
  EXPECT_TRUE(node.killed());
  EXPECT_EQ(node.cause(), cause);
}

TEST(cancel_node, a_kill_that_is_the_first_fixes_the_reason) {
  scoped_node node;
  auto cause = error();
  node.cancel(level_kill, false, cause);
  EXPECT_TRUE(node.killed());
  EXPECT_EQ(node.cause(), cause);
}

TEST(cancel_node, a_shielded_node_hears_a_kill_and_not_a_cancel) {
  scoped_node root;
  scoped_node shield(&root, cancel_node::form::shielded);
  scoped_node below(&shield);
  root.cancel(level_cancel, false, error());
  EXPECT_FALSE(shield.due());
  EXPECT_FALSE(below.due());
  root.cancel(level_kill, false, error());
  EXPECT_TRUE(shield.killed());
  EXPECT_TRUE(below.killed());
}

TEST(cancel_node, joining_a_done_parent_takes_its_level) {
  scoped_node root;
  auto cause = error();
  root.cancel(level_cancel, true, cause);
  scoped_node child(&root);
  EXPECT_TRUE(child.due());
  EXPECT_TRUE(child.by_deadline());
  EXPECT_EQ(child.cause(), cause);
  scoped_node shield(&root, cancel_node::form::shielded);
  EXPECT_FALSE(shield.due());
  root.cancel(level_kill, false, cause);
  EXPECT_TRUE(child.killed());
  EXPECT_TRUE(shield.killed());
  scoped_node late(&root, cancel_node::form::shielded);
  EXPECT_TRUE(late.killed());
}

TEST(cancel_node, what_has_left_hears_nothing) {
  scoped_node root;
  cancel_node child;
  child.attach(root);
  child.detach();
  root.cancel(level_kill, false, error());
  EXPECT_FALSE(child.due());
}

TEST(cancel_node, children_of_a_node_that_ends_are_done_and_have_no_parent) {
  cancel_node child;
  {
    scoped_node parent;
    child.attach(parent);
  }
  EXPECT_TRUE(child.due());
  EXPECT_EQ(child.parent(), nullptr);
  child.detach();
}

TEST(cancel_node, the_nearest_deadline_is_inherited_but_not_by_a_shield) {
  scoped_node root;
  cancel_node a, b, c, d;
  a.attach(root, 100);
  b.attach(a, 200);
  EXPECT_EQ(b.deadline(), 100);
  c.attach(b, 50);
  EXPECT_EQ(c.deadline(), 50);
  scoped_node shield(&a, cancel_node::form::shielded);
  EXPECT_EQ(shield.deadline(), cancel_node::no_deadline);
  c.detach();
  b.detach();
  shield.detach();
  a.detach();
}

// A second parent by an edge.
TEST(cancel_node, an_edge_brings_the_level_of_a_second_parent) {
  for (bool before : {true, false}) {
    scoped_node first, second;
    scoped_node node(&first);
    cancel_edge edge(node);
    auto cause = error();
    if (before) second.cancel(level_cancel, false, cause);
    second.list_edge(edge);
    if (!before) second.cancel(level_cancel, false, cause);
    EXPECT_TRUE(node.due());
    EXPECT_EQ(node.cause(), cause);
    EXPECT_FALSE(first.due());
    second.unlist(edge);
  }
}

TEST(cancel_node, hooks_fire_once_and_only_while_listed) {
  struct hook : cancel_hook {
    int fired = 0;
    hook() {
      fire = [](cancel_hook& h, wake_batch&) noexcept { ++static_cast<hook&>(h).fired; };
    }
  };
  scoped_node node;
  hook listed, unlisted, late;
  EXPECT_TRUE(node.list_hook(listed));
  EXPECT_TRUE(node.list_hook(unlisted));
  EXPECT_TRUE(node.unlist_hook(unlisted));
  EXPECT_FALSE(node.unlist_hook(unlisted));
  node.cancel(level_cancel, false, error());
  node.cancel(level_kill, false, error());
  EXPECT_EQ(listed.fired, 1);
  EXPECT_FALSE(node.unlist_hook(listed));
  EXPECT_EQ(unlisted.fired, 0);
  EXPECT_FALSE(node.list_hook(late));
}

TEST(cancel_node, a_chain_of_a_hundred_thousand_is_walked_without_recursion) {
  std::deque<cancel_node> chain(100'000);
  for (std::size_t i = 1; i < chain.size(); ++i) chain[i].attach(chain[i - 1]);
  chain.front().cancel(level_cancel, false, error());
  EXPECT_TRUE(chain.back().due());
  chain.front().cancel(level_kill, false, error());
  EXPECT_TRUE(chain.back().killed());
  for (std::size_t i = chain.size(); i-- > 0;) chain[i].detach();
}

TEST(cancel_node, a_hundred_thousand_children_are_told) {
  scoped_node root;
  std::deque<cancel_node> children(100'000);
  for (auto& c : children) c.attach(root);
  root.cancel(level_cancel, false, error());
  for (auto& c : children) ASSERT_TRUE(c.due());
  for (auto& c : children) c.detach();
}

// Cancel from above, cancel and kill from the middle, and leaves that come and go.
TEST(cancel_node, walks_that_meet_leave_nobody_untold) {
  for (int round = 0; round < 300; ++round) {
    cancel_node root, middle;
    middle.attach(root);
    std::deque<cancel_node> leaves(20);
    for (auto& l : leaves) l.attach(middle);
    std::atomic<int> ready{0};
    auto together = [&] {
      ++ready;
      while (ready < 3) std::this_thread::yield();
    };
    std::thread above([&] {
      together();
      root.cancel(level_cancel, false, error());
    });
    std::thread here([&] {
      together();
      middle.cancel(level_kill, true, error());
    });
    together();
    for (int i = 0; i < 50; ++i) {
      cancel_node comes;
      comes.attach(middle);
      comes.detach();
    }
    above.join();
    here.join();
    EXPECT_TRUE(root.due());
    EXPECT_TRUE(middle.killed());
    for (auto& l : leaves) {
      EXPECT_TRUE(l.killed());
      EXPECT_EQ(l.cause(), middle.cause());
      l.detach();
    }
    middle.detach();
  }
}

// Who leaves waits for a walk through its own subtree, and only for that.
TEST(cancel_node, leaving_while_the_parent_is_walked) {
  for (int round = 0; round < 500; ++round) {
    cancel_node root;
    std::atomic<bool> go{false};
    std::thread canceller([&] {
      while (!go) std::this_thread::yield();
      root.cancel(level_cancel, false, error());
    });
    {
      std::deque<cancel_node> nodes(8);
      for (auto& n : nodes) n.attach(root);
      go = true;
      for (auto& n : nodes) n.detach();
    }
    canceller.join();
  }
}

}  // namespace
