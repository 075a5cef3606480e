// SPDX-License-Identifier: BSL-1.0
// In which order a processor runs what has not begun, and what a thief takes of it: on a host of the test's own.
#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/processor.hpp>
#include <runnel/detail/scheduler_core.hpp>
#include <runnel/detail/steal.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <iterator>
#include <memory>
#include <numeric>
#include <vector>

namespace {

using namespace runnel::detail;

struct fake_host final : pump_host {
  std::vector<processor*> posted;
  mutable std::int64_t time = 0;
  std::int64_t step = 0;  // that the clock makes when it is looked at

  void post_pump(processor& p, bool) noexcept override { posted.push_back(&p); }
  void arm_monitor(std::int64_t) noexcept override {}
  void hold_work(bool) noexcept override {}
  std::int64_t now() const noexcept override { return time += step; }
  std::shared_ptr<void> share() noexcept override { return nullptr; }
};

struct runner;

// A goroutine, as far as the scheduler knows one.
struct item : fifo_link, list_link {
  int number;
  runner& on;
  item(int n, runner& r) : number(n), on(r) {}
};

struct runner {
  fake_host host;
  scheduler_core core{host, 1};
  std::deque<item> items;
  std::vector<int> order;
  std::function<void(int)> body = [](int) {};

  void start() { core.start(&items.emplace_back(static_cast<int>(items.size()), *this)); }
  void start(int n) {
    for (int i = 0; i < n; ++i) start();
  }
  // Runs all that is runnable, and what that starts, beginning with item 0.
  void run();
};

struct policy {
  static void goroutine(processor&, fifo_link* g) noexcept {
    auto& it = *static_cast<item*>(g);
    it.on.order.push_back(it.number);
    it.on.body(it.number);
  }
  static void child(processor&, list_link*) noexcept {}
  static void settle(processor&) noexcept {}
  static void fetch_next(fifo_link*) noexcept {}
  static fifo_link* of_fresh(list_link* g) noexcept { return static_cast<item*>(g); }
};

void runner::run() {
  start();  // from outside of a processor: injected
  while (!host.posted.empty()) {
    processor* p = host.posted.back();
    host.posted.pop_back();
    core.pump_posted<policy>(*p);
  }
}

constexpr int window = processor::window;

TEST(run_order, goroutines_begin_in_the_order_in_which_they_were_started) {
  runner r;
  r.body = [&](int n) {
    if (n == 0) r.start(window);
  };
  r.run();
  std::vector<int> expected(window + 1);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(r.order, expected);
}

TEST(run_order, behind_many_the_newest_begins_first) {
  runner r;
  r.body = [&](int n) {
    if (n == 0) r.start(window + 3);
  };
  r.run();
  std::vector<int> early(window + 1), order_of_late;
  std::iota(early.begin(), early.end(), 0);
  auto is_late = [](int n) { return n > window; };
  std::copy_if(r.order.begin(), r.order.end(), std::back_inserter(order_of_late), is_late);
  std::erase_if(r.order, is_late);
  EXPECT_EQ(r.order, early);
  EXPECT_EQ(order_of_late, (std::vector<int>{window + 3, window + 2, window + 1}));
}

constexpr int late = 100;

// How many turns it takes until those have begun that came when the queue was full, while the first `going_on` of the
// queue go on for ever, by `go_on`.
std::size_t turns_until_all_have_begun(int going_on, void (scheduler_core::*go_on)(fifo_link*) noexcept) {
  runner r;
  int begun = 0;
  std::size_t turns = 0;
  r.body = [&](int n) {
    ++turns;
    if (turns == 1) r.start(window + late);
    if (n > window) ++begun;
    if (n < going_on && begun < late && turns < 1'000'000) (r.core.*go_on)(&r.items[static_cast<std::size_t>(n)]);
  };
  r.run();
  EXPECT_EQ(begun, late);
  return turns;
}

// GEN-02, GO-09: those in the queue may go on for ever, by yields or because they wake each other; the clock stands
// still. What has not begun gets a fixed share of the turns.
TEST(run_order, what_has_not_begun_gets_its_share_while_the_queue_never_empties) {
  for (int going_on : {1, window})
    EXPECT_LE(turns_until_all_have_begun(going_on, &scheduler_core::schedule),
              static_cast<std::size_t>(window + 32 * (late + 1)));
}

// The same where one wakes the next without end, which has its streaks.
TEST(run_order, what_has_not_begun_gets_its_share_while_one_wakes_the_next) {
  EXPECT_LE(turns_until_all_have_begun(1, &scheduler_core::schedule_next),
            static_cast<std::size_t>(window + 2 * 64 * (late + 2)));
}

// A sample of short resumes is rare, unless the system's clock has ticked: then they are short no more, perhaps.
std::uint32_t resumes_of_a_rare_sample(bool clock_ticks) {
  const std::int64_t real_now = std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
  constexpr std::int64_t second = 1'000'000'000;
  runner r;
  r.host.time = real_now + 3600 * second;  // so that the clock of the system does not tick after a sample
  r.host.step = 1;
  processor& p = r.core.any_processor();
  std::uint32_t sampled = 0, began = 0;
  r.body = [&](int) {
    if (began == 0 && p.sample_interval == processor::rarest_samples && p.sampled_progress != sampled) {
      began = p.sampled_progress;
      if (clock_ticks) p.sampled_at = real_now - second;
    }
    sampled = p.sampled_progress;
    if ((began == 0 || sampled == began) && r.order.size() < 100'000) r.core.schedule(&r.items[0]);
  };
  r.run();
  return sampled - began;
}
TEST(run_order, a_rare_sample_ends_with_the_streak_in_which_the_clock_ticks) {
  EXPECT_LE(resumes_of_a_rare_sample(true), 64u);
#if defined(__linux__)
  EXPECT_EQ(resumes_of_a_rare_sample(false), processor::rarest_samples);
#endif
}

// Each level that is open has at most the window's children behind it.
TEST(run_order, a_tree_of_goroutines_never_lives_all_at_once) {
  constexpr int fan_out = 10, levels = 5, all = 111'111;
  runner r;
  std::vector<int> level{0};
  std::size_t most = 0;
  r.body = [&](int n) {
    auto mine = level[static_cast<std::size_t>(n)];
    if (mine < levels) {
      level.insert(level.end(), fan_out, mine + 1);
      r.start(fan_out);
    }
    most = std::max(most, r.items.size() - r.order.size());
  };
  r.run();
  EXPECT_EQ(r.order.size(), all);
  EXPECT_LE(most, std::size_t{window} * fan_out * levels);
}

// GEN-02: nothing that is runnable waits for ever, whatever the others do.
TEST(run_order, the_oldest_begins_while_others_start_more_without_end) {
  constexpr int few = 20, most = 1'000'000;
  runner r;
  r.host.step = 10'000;
  int begun = 0;
  std::vector<int> order_of_late;
  r.body = [&](int n) {
    if (n == 0) return r.start(window + few);
    if (n > window && n <= window + few) {
      ++begun;
      order_of_late.push_back(n - window);
      return;
    }
    if (begun < few && r.order.size() < most) r.start(2);  // so that the window stays full, and others are newer
  };
  r.run();
  std::vector<int> oldest_first(few);
  std::iota(oldest_first.begin(), oldest_first.end(), 1);
  EXPECT_EQ(order_of_late, oldest_first);
  EXPECT_LT(r.order.size(), most);
}

TEST(run_order, a_thief_takes_the_older_half_of_what_has_not_begun) {
  runner r;
  processor victim, thief;
  for (int i = 0; i < 9; ++i) {
    item& it = r.items.emplace_back(i, r);
    victim.gate.enter();
    victim.push_fresh(&it);
    victim.gate.leave();
  }
  runnable_item first = steal_from(victim, thief, false);
  ASSERT_TRUE(first.fresh);
  EXPECT_EQ(static_cast<item*>(first.fresh)->number, 0);
  EXPECT_EQ(victim.fresh_count, 4u);
  EXPECT_EQ(victim.backlog.load(), 4u);
  EXPECT_EQ(thief.fresh_count, 4u);
  EXPECT_EQ(thief.backlog.load(), 4u);
  for (int i = 1; i <= 4; ++i) EXPECT_EQ(static_cast<item*>(thief.pop_oldest_fresh())->number, i);
  for (int i = 5; i <= 8; ++i) EXPECT_EQ(static_cast<item*>(victim.pop_oldest_fresh())->number, i);
  EXPECT_FALSE(steal_from(victim, thief, true));
}

}  // namespace
