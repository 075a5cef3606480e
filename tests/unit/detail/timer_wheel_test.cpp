// SPDX-License-Identifier: BSL-1.0
#include <runnel/detail/timer_wheel.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <random>
#include <vector>

namespace {

using runnel::detail::timer_entry;
using runnel::detail::timer_wheel;

constexpr std::int64_t tick = timer_wheel::tick_ns;

void add(timer_wheel& wheel, timer_entry& entry, std::int64_t due) {
  entry.due_ns = due;
  wheel.add(entry);
}

std::vector<std::int64_t> fired(timer_wheel& wheel, std::int64_t now) {
  std::vector<std::int64_t> dues;
  wheel.advance(now, [&](timer_entry& entry) {
    EXPECT_FALSE(entry.linked());
    dues.push_back(entry.due_ns);
  });
  return dues;
}

using dues = std::vector<std::int64_t>;

TEST(timer_wheel, an_empty_wheel_is_due_never) {
  timer_wheel wheel(12345);
  EXPECT_TRUE(wheel.empty());
  EXPECT_EQ(wheel.next_due(), INT64_MAX);
  EXPECT_EQ(fired(wheel, INT64_MAX), dues{});
}

TEST(timer_wheel, an_entry_fires_at_its_due_time_and_not_a_nanosecond_earlier) {  // TM-01
  for (std::int64_t start : {std::int64_t{0}, std::int64_t{1}, tick - 1, 63 * tick, 4096 * tick - 1}) {
    for (int bit = 0; bit < 62; ++bit) {
      for (std::int64_t off : {-1, 0, 1}) {
        timer_wheel wheel(start);
        timer_entry entry;
        std::int64_t due = start + (std::int64_t{1} << bit) + off;
        add(wheel, entry, due);
        EXPECT_LE(wheel.next_due(), due);
        if (due > start) {
          EXPECT_EQ(fired(wheel, due - 1), dues{});
        }
        EXPECT_FALSE(wheel.empty());
        EXPECT_EQ(fired(wheel, due), dues{due});
        EXPECT_TRUE(wheel.empty());
      }
    }
  }
}

TEST(timer_wheel, a_due_time_in_the_past_is_due_now) {
  timer_wheel wheel(1000 * tick);
  timer_entry a, b, c;
  add(wheel, a, 5);
  add(wheel, b, INT64_MIN);
  add(wheel, c, 1000 * tick - 1);
  EXPECT_LE(wheel.next_due(), 1000 * tick);
  EXPECT_EQ(fired(wheel, 1000 * tick), (dues{INT64_MIN, 5, 1000 * tick - 1}));
}

TEST(timer_wheel, the_end_of_time_never_fires_early_and_disturbs_nobody) {  // TM-12
  timer_wheel wheel(7);
  timer_entry never, almost, soon;
  add(wheel, never, INT64_MAX);
  add(wheel, almost, INT64_MAX - 1);
  add(wheel, soon, 8);
  EXPECT_EQ(wheel.next_due(), 8);
  EXPECT_EQ(fired(wheel, 1'000'000'000), dues{8});
  EXPECT_EQ(fired(wheel, INT64_MAX / 2), dues{});
  EXPECT_EQ(fired(wheel, INT64_MAX - 2), dues{});
  EXPECT_EQ(wheel.next_due(), INT64_MAX - 1);
  EXPECT_EQ(fired(wheel, INT64_MAX - 1), dues{INT64_MAX - 1});
  EXPECT_FALSE(wheel.empty());
  EXPECT_EQ(fired(wheel, INT64_MAX), dues{INT64_MAX});
}

TEST(timer_wheel, different_due_times_fire_in_their_order_even_within_a_tick) {  // TM-13
  timer_wheel wheel(0);
  std::deque<timer_entry> entries(5000);
  std::mt19937_64 random(4);
  for (auto& entry : entries) add(wheel, entry, static_cast<std::int64_t>(random() % (200 * tick)));
  auto order = fired(wheel, 200 * tick);
  EXPECT_EQ(order.size(), entries.size());
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST(timer_wheel, entries_of_one_tick_fire_one_by_one_as_time_reaches_them) {
  timer_wheel wheel(0);
  timer_entry a, b, c;
  add(wheel, a, 10 * tick + 30);
  add(wheel, b, 10 * tick + 10);
  add(wheel, c, 10 * tick + 20);
  EXPECT_EQ(wheel.next_due(), 10 * tick + 10);
  EXPECT_EQ(fired(wheel, 10 * tick + 9), dues{});
  EXPECT_EQ(fired(wheel, 10 * tick + 10), dues{10 * tick + 10});
  EXPECT_EQ(wheel.next_due(), 10 * tick + 20);
  add(wheel, b, 10 * tick + 25);
  EXPECT_EQ(fired(wheel, 10 * tick + 29), (dues{10 * tick + 20, 10 * tick + 25}));
  EXPECT_EQ(fired(wheel, 11 * tick), dues{10 * tick + 30});
}

TEST(timer_wheel, a_removed_entry_does_not_fire_and_can_be_put_in_again) {
  timer_wheel wheel(0);
  timer_entry a, b;
  timer_wheel::remove(a);  // in no wheel: harmless
  add(wheel, a, 3 * tick);
  add(wheel, b, 3 * tick);
  timer_wheel::remove(a);
  EXPECT_EQ(fired(wheel, 2 * tick), dues{});
  timer_wheel::remove(b);
  EXPECT_TRUE(wheel.empty());
  EXPECT_EQ(wheel.next_due(), INT64_MAX);
  add(wheel, a, 5000 * tick);
  EXPECT_EQ(fired(wheel, 4999 * tick), dues{});
  EXPECT_EQ(fired(wheel, 5000 * tick), dues{5000 * tick});
}

TEST(timer_wheel, a_callback_may_add_and_remove) {
  timer_wheel wheel(0);
  timer_entry ticker, victim, late;
  add(wheel, ticker, tick);
  add(wheel, victim, 3 * tick + 1);
  add(wheel, late, 100 * tick);
  int ticks = 0;
  wheel.advance(10 * tick, [&](timer_entry& entry) {
    ASSERT_EQ(&entry, &ticker);
    ++ticks;
    if (ticks == 3) timer_wheel::remove(victim);
    add(wheel, ticker, entry.due_ns + tick);
  });
  EXPECT_EQ(ticks, 10);
  EXPECT_EQ(fired(wheel, 200 * tick), (dues{11 * tick, 100 * tick}));
}

TEST(timer_wheel, time_that_goes_back_fires_nothing_early) {
  timer_wheel wheel(0);
  timer_entry a;
  EXPECT_EQ(fired(wheel, 1000 * tick), dues{});
  add(wheel, a, 500 * tick);
  EXPECT_EQ(fired(wheel, 400 * tick), dues{});
  EXPECT_EQ(fired(wheel, 500 * tick), dues{500 * tick});
}

// Whoever calls advance() when next_due() says so misses nothing, and does not have to call often.
TEST(timer_wheel, one_distant_entry_needs_one_call) {
  timer_wheel wheel(17);
  timer_entry entry;
  add(wheel, entry, 100'000'000'000);
  EXPECT_EQ(wheel.next_due(), 100'000'000'000);
}

TEST(timer_wheel, following_next_due_takes_few_steps_and_is_never_late) {
  timer_wheel wheel(0);
  std::deque<timer_entry> entries(1000);
  std::mt19937_64 random(5);
  for (auto& entry : entries) add(wheel, entry, static_cast<std::int64_t>(random() % 100'000'000'000));
  std::size_t n = 0;
  int steps = 0;
  while (!wheel.empty()) {
    ASSERT_LT(++steps, 5000);
    std::int64_t now = wheel.next_due();
    wheel.advance(now, [&](timer_entry& entry) {
      EXPECT_EQ(entry.due_ns, now);
      ++n;
    });
  }
  EXPECT_EQ(n, entries.size());
}

// Random adds, removals and jumps of every size, against a sorted map.
TEST(timer_wheel, behaves_as_a_sorted_map_does) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    auto below = [&](std::int64_t n) {
      return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n));
    };
    std::int64_t now = below(2) ? below(INT64_MAX / 4) : below(100 * tick);
    timer_wheel wheel(now);
    std::deque<timer_entry> entries(200);
    std::multimap<std::int64_t, timer_entry*> model;
    auto forget = [&](timer_entry& entry) {
      auto [first, last] = model.equal_range(entry.due_ns);
      for (auto it = first; it != last; ++it) {
        if (it->second != &entry) continue;
        model.erase(it);
        return true;
      }
      return false;
    };
    auto distance = [&]() -> std::int64_t {
      switch (below(6)) {
        case 0: return below(3);
        case 1: return below(4 * tick);
        case 2: return below(100) * tick + below(3) - 1;                       // about exact ticks
        case 3: return (std::int64_t{1} << below(60)) + below(3) - 1;          // about exact slots
        case 4: return below(std::int64_t{1} << (1 + below(60)));
        default: return -below(10 * tick);
      }
    };
    for (int step = 0; step < 3000; ++step) {
      timer_entry& entry = entries[random() % entries.size()];
      if (below(100) < 60) {
        if (entry.linked()) {
          timer_wheel::remove(entry);
          ASSERT_TRUE(forget(entry));
        } else {
          std::int64_t d = distance();
          std::int64_t due = d > 0 && now > INT64_MAX - d ? INT64_MAX : now + d;
          if (below(50) == 0) due = INT64_MAX;
          if (below(4) == 0 && !model.empty()) due = model.begin()->first;     // equal due times
          add(wheel, entry, due);
          model.emplace(due, &entry);
        }
      } else {
        // Small steps and great leaps, but not so many that all the rest happens at the end of time.
        std::int64_t d = below(3) ? below(3 * tick) : std::max<std::int64_t>(distance(), 0) >> below(40);
        if (below(2000) == 0) d = INT64_MAX / 8;
        std::int64_t wanted = now > INT64_MAX - d ? INT64_MAX : now + d;
        if (below(4) == 0 && !model.empty()) wanted = std::max(now, model.begin()->first - below(2));
        now = wanted;
        std::int64_t before = INT64_MIN;
        wheel.advance(now, [&](timer_entry& e) {
          EXPECT_LE(e.due_ns, now);
          EXPECT_LE(before, e.due_ns);
          before = e.due_ns;
          EXPECT_FALSE(e.linked());
          EXPECT_TRUE(forget(e));
        });
        ASSERT_TRUE(model.empty() || model.begin()->first > now) << "somebody was due and did not fire";
      }
      ASSERT_EQ(wheel.empty(), model.empty());
      ASSERT_LE(wheel.next_due(), model.empty() ? INT64_MAX : model.begin()->first);
    }
    wheel.advance(INT64_MAX, [&](timer_entry& e) { EXPECT_TRUE(forget(e)); });
    EXPECT_TRUE(model.empty());
    EXPECT_TRUE(wheel.empty());
  }
}

}  // namespace
