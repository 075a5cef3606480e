// SPDX-License-Identifier: BSL-1.0
#include <runnel/detail/intrusive_list.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using namespace runnel::detail;

struct item : list_link {
  int value;
  explicit item(int v) : value(v) {}
};

struct job : fifo_link {
  int value;
  explicit job(int v) : value(v) {}
};

static_assert(std::is_trivially_destructible_v<list_link>);
static_assert(std::is_trivially_destructible_v<list_head>);
static_assert(std::is_trivially_destructible_v<fifo>);
constinit list_head static_list;
constinit fifo static_fifo;

// Takes all out, so that nothing outlives its items.
std::vector<int> drain(list_head& list) {
  std::vector<int> values;
  while (item* i = from<item>(list.pop_front())) {
    EXPECT_FALSE(i->linked());
    values.push_back(i->value);
  }
  EXPECT_TRUE(list.empty());
  return values;
}

std::vector<int> drain(fifo& queue) {
  std::vector<int> values;
  while (job* j = from<job>(queue.pop())) values.push_back(j->value);
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.size(), 0u);
  return values;
}

using values = std::vector<int>;

TEST(intrusive_list, pushes_and_pops_at_both_ends) {
  list_head list;
  item a(1), b(2), c(3), d(4);
  EXPECT_TRUE(list.empty());
  EXPECT_EQ(list.front(), nullptr);
  EXPECT_EQ(list.back(), nullptr);
  EXPECT_EQ(list.pop_front(), nullptr);
  EXPECT_EQ(list.pop_back(), nullptr);
  list.push_back(&b);
  list.push_back(&c);
  list.push_front(&a);
  list.push_back(&d);
  EXPECT_FALSE(list.empty());
  EXPECT_EQ(list.front(), &a);
  EXPECT_EQ(list.back(), &d);
  EXPECT_EQ(list.pop_back(), &d);
  EXPECT_FALSE(d.linked());
  EXPECT_EQ(drain(list), (values{1, 2, 3}));
}

TEST(intrusive_list, a_link_leaves_without_knowing_its_list) {
  list_head list;
  item a(1), b(2), c(3);
  for (item* i : {&a, &b, &c}) list.push_back(i);
  EXPECT_TRUE(b.linked());
  unlink(&b);
  EXPECT_FALSE(b.linked());
  list.push_back(&b);
  EXPECT_EQ(drain(list), (values{1, 3, 2}));
}

TEST(intrusive_list, leaving_no_list_changes_nothing) {
  item a(1);
  unlink(&a);
  unlink(&a);
  EXPECT_FALSE(a.linked());
  list_head list;
  list.push_back(&a);
  EXPECT_TRUE(a.linked());  // the only one
  unlink(&a);
  EXPECT_TRUE(list.empty());
  unlink(&a);
  EXPECT_TRUE(list.empty());
}

TEST(intrusive_list, splicing_keeps_the_order_and_empties_the_other) {
  item a(1), b(2), c(3), d(4);
  list_head list, other, none;
  list.push_back(&a);
  list.push_back(&b);
  other.push_back(&c);
  other.push_back(&d);
  list.splice_back(none);
  list.splice_back(other);
  EXPECT_TRUE(other.empty());
  other.splice_back(list);  // into an empty one
  EXPECT_TRUE(list.empty());
  EXPECT_EQ(drain(other), (values{1, 2, 3, 4}));
}

TEST(intrusive_list, begins_at_whichever_link_and_keeps_the_ring) {
  item a(1), b(2), c(3);
  list_head list;
  for (item* i : {&a, &b, &c}) list.push_back(i);
  list.begin_at(&a);
  list.begin_at(c.next);  // end()
  EXPECT_EQ(list.front(), &a);
  list.begin_at(&b);
  EXPECT_EQ(list.front(), &b);
  EXPECT_EQ(list.back(), &a);
  list.begin_at(&a);
  EXPECT_EQ(list.back(), &c);
  list.begin_at(&c);
  EXPECT_EQ(drain(list), (values{3, 1, 2}));
}

TEST(intrusive_list, works_before_any_constructor_has_run) {
  item a(1);
  job j(2);
  EXPECT_TRUE(static_list.empty());
  static_list.push_back(&a);
  static_fifo.push(&j);
  EXPECT_EQ(drain(static_list), values{1});
  EXPECT_EQ(drain(static_fifo), values{2});
}

TEST(intrusive_fifo, is_first_in_first_out_and_counts) {
  fifo queue;
  job a(1), b(2), c(3);
  EXPECT_EQ(queue.pop(), nullptr);
  EXPECT_EQ(queue.front(), nullptr);
  queue.push(&a);
  queue.push(&b);
  EXPECT_EQ(queue.size(), 2u);
  EXPECT_EQ(queue.front(), &a);
  EXPECT_EQ(queue.pop(), &a);
  queue.push(&c);
  EXPECT_EQ(drain(queue), (values{2, 3}));
  queue.push(&a);  // works again after it was empty
  EXPECT_EQ(drain(queue), values{1});
}

TEST(intrusive_fifo, detaches_the_oldest_as_a_chain) {
  std::deque<job> jobs;
  for (int n = 0; n <= 5; ++n) {
    fifo queue;
    jobs.clear();
    for (int i = 0; i < 4; ++i) queue.push(&jobs.emplace_back(i));
    fifo chain = queue.take_front(static_cast<std::size_t>(n));
    int taken = std::min(n, 4);
    EXPECT_EQ(chain.size(), static_cast<std::size_t>(taken));
    EXPECT_EQ(queue.size(), static_cast<std::size_t>(4 - taken));
    for (int i = 0; i < taken; ++i) chain.push(chain.pop());  // once around: it ends where it says
    EXPECT_EQ(from<job>(chain.front()), taken ? &jobs.front() : nullptr);
    job late(9), later(10);
    queue.push(&late);  // both ends are whole
    chain.push(&later);
    values oldest, rest;
    for (int i = 0; i < 4; ++i) (i < taken ? oldest : rest).push_back(i);
    oldest.push_back(10);
    rest.push_back(9);
    EXPECT_EQ(drain(chain), oldest);
    EXPECT_EQ(drain(queue), rest);
  }
}

TEST(intrusive_fifo, appends_a_chain_and_empties_it) {
  fifo queue, chain, none;
  job a(1), b(2), c(3), d(4);
  queue.append(none);
  EXPECT_TRUE(queue.empty());
  chain.push(&a);
  chain.push(&b);
  queue.append(chain);
  EXPECT_TRUE(chain.empty());
  chain.push(&c);
  queue.append(std::move(chain));
  queue.push(&d);
  EXPECT_EQ(queue.size(), 4u);
  EXPECT_EQ(drain(queue), (values{1, 2, 3, 4}));
}

// Many links over several lists, against vectors.
TEST(intrusive_list, behaves_as_a_vector_does) {
  std::mt19937 random(1);
  std::deque<item> items;
  for (int i = 0; i < 50; ++i) items.emplace_back(i);
  list_head lists[3];
  std::vector<int> models[3];
  for (int step = 0; step < 20000; ++step) {
    item& i = items[random() % items.size()];
    unsigned k = random() % 3;
    if (i.linked()) {
      unlink(&i);
      for (auto& model : models) std::erase(model, i.value);
    } else if (random() % 2) {
      lists[k].push_back(&i);
      models[k].push_back(i.value);
    } else {
      lists[k].push_front(&i);
      models[k].insert(models[k].begin(), i.value);
    }
    if (step % 100 == 0) {
      unsigned other = (k + 1) % 3;
      lists[k].splice_back(lists[other]);
      models[k].insert(models[k].end(), models[other].begin(), models[other].end());
      models[other].clear();
    }
    for (unsigned n = 0; n < 3; ++n) {
      ASSERT_EQ(lists[n].empty(), models[n].empty());
      if (models[n].empty()) continue;
      ASSERT_EQ(from<item>(lists[n].front())->value, models[n].front());
      ASSERT_EQ(from<item>(lists[n].back())->value, models[n].back());
    }
  }
  for (unsigned n = 0; n < 3; ++n) EXPECT_EQ(drain(lists[n]), models[n]);
}

}  // namespace
