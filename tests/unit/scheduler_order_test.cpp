// SPDX-License-Identifier: BSL-1.0
// What runs when: rescue, parallelism, the chooser, and idling.
#include <runnel/all.hpp>
#include <runnel/chan.hpp>
#include <runnel/detail/scheduler_core.hpp>
#include <runnel/detail/unwind.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>
#include <runnel/sleep.hpp>
#include <runnel/this_task.hpp>

#include "support/until.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include <sys/resource.h>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using test_support::spin_until;
using test_support::until;

// What waits behind a goroutine that does not suspend is run by a thread that is idle.
TEST(scheduler_order, work_behind_a_busy_goroutine_is_rescued) {
  rn::runtime rt(rn::threads(2));
  for (int round = 0; round < 5; ++round) {
    bool rescued = rt.run([&]() -> rn::task<bool> {
      std::atomic<int> ran{0};
      for (int i = 0; i < 10; ++i) rn::go([&] { ++ran; });
      // Busy for as long as it takes: only another thread can run them.
      bool all = spin_until([&] { return ran == 10; });
      co_return all;
    });
    EXPECT_TRUE(rescued);
  }
}

// Also the one that was woken last and would run next.
TEST(scheduler_order, a_goroutine_woken_by_a_busy_one_is_rescued) {
  rn::runtime rt(rn::threads(2));
  EXPECT_TRUE(rt.run([&]() -> rn::task<bool> {
    rn::chan<void> ch(0);
    std::atomic<bool> parked{false}, ran{false};
    rn::go([&]() -> rn::task<> {
      parked = true;
      co_await ch.recv();
      ran = true;
    });
    co_await until([&] { return parked.load(); });
    for (int i = 0; i < 5; ++i) co_await rn::yield();
    co_await ch.send();
    co_return spin_until([&] { return ran.load(); });
  }));
}

TEST(scheduler_order, two_busy_goroutines_run_on_two_threads) {
  rn::runtime rt(rn::threads(2));
  std::mutex mutex;
  std::set<std::thread::id> threads;
  std::atomic<int> inside{0};
  rt.run([&]() -> rn::task<> {
    std::atomic<int> ended{0};
    for (int i = 0; i < 2; ++i)
      rn::go([&] {
        {
          std::lock_guard hold(mutex);
          threads.insert(std::this_thread::get_id());
        }
        ++inside;
        spin_until([&] { return inside == 2; });  // neither ends unless both run at once
        ++ended;
      });
    co_await until([&] { return ended == 2; });
  });
  EXPECT_EQ(threads.size(), 2u);
}

// More processors than the machine has.
TEST(scheduler_order, eight_busy_goroutines_run_at_once_on_eight_threads) {
  rn::runtime rt(rn::threads(8));
  std::atomic<int> inside{0};
  rt.run([&]() -> rn::task<> {
    std::atomic<int> ended{0};
    for (int i = 0; i < 7; ++i)
      rn::go([&] {
        ++inside;
        EXPECT_TRUE(spin_until([&] {
          std::this_thread::yield();
          return inside >= 7;
        }));
        ++ended;
      });
    co_await until([&] { return ended == 7; });
  });
}

// While what runs is short, no more processors are woken than the machine has cores; those that get stuck are relieved.
TEST(scheduler_order, eight_goroutines_that_get_stuck_among_short_ones_run_at_once) {
  rn::runtime rt(rn::threads(8));
  std::atomic<int> inside{0};
  rt.run([&]() -> rn::task<> {
    std::atomic<int> ended{0};
    for (int i = 0; i < 10'000; ++i) co_await rn::yield();
    for (int i = 0; i < 7; ++i)
      rn::go([&]() -> rn::task<> {
        for (int n = 0; n < 10'000; ++n) co_await rn::yield();
        ++inside;
        EXPECT_TRUE(spin_until([&] {
          std::this_thread::yield();
          return inside >= 7;
        }));
        ++ended;
      });
    co_await until([&] { return ended == 7; });
  });
}

TEST(scheduler_order, a_yield_lets_the_others_run_first) {
  rn::runtime rt(rn::threads(1));
  std::vector<int> order;
  rt.run([&]() -> rn::task<> {
    for (int i = 0; i < 3; ++i)
      rn::go([&, i]() -> rn::task<> {
        for (int n = 0; n < 2; ++n) {
          order.push_back(i);
          co_await rn::yield();
        }
      });
    while (order.size() < 6) co_await rn::yield();
  });
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 0, 1, 2}));
}

// The seam for deterministic tests.
TEST(scheduler_order, a_chooser_decides_what_runs_next) {
  struct newest final : rn::detail::chooser {
    int asked = 0;
    std::size_t choose(std::size_t n) noexcept override {
      ++asked;
      return n - 1;
    }
  };
  struct oldest final : rn::detail::chooser {
    std::size_t choose(std::size_t) noexcept override { return 0; }
  };
  auto order_under = [](rn::detail::chooser& c) {
    rn::runtime rt(rn::threads(1));
    rt.core().core.set_chooser(&c);
    std::vector<int> order;
    rt.run([&]() -> rn::task<> {
      rn::chan<void> ended(8);
      for (int i = 0; i < 8; ++i)
        rn::go([&, i] {
          order.push_back(i);
          ended.try_send();
        });
      for (int i = 0; i < 8; ++i) co_await ended.recv();
    });
    rt.shut_down();
    return order;
  };
  newest n;
  oldest o;
  EXPECT_EQ(order_under(o), (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_GE(n.asked, 0);
  auto reversed = order_under(n);
  ASSERT_EQ(reversed.size(), 8u);
  EXPECT_GE(n.asked, 8);
  // The receiver is among the runnable and newest once it is woken; the spawned ones come out newest first.
  EXPECT_EQ(reversed, (std::vector<int>{7, 6, 5, 4, 3, 2, 1, 0}));
}

// Fork-join children are chosen like everything else, and the others keep their order.
TEST(scheduler_order, a_chooser_sees_every_fork_join_child) {
  struct second final : rn::detail::chooser {
    std::size_t most = 0;
    std::size_t choose(std::size_t n) noexcept override {
      most = std::max(most, n);
      return n > 1 ? 1 : 0;
    }
  } second;
  rn::runtime rt(rn::threads(1));
  rt.core().core.set_chooser(&second);
  std::vector<int> order;
  auto note = [&](int i) -> rn::task<> {
    order.push_back(i);
    co_await rn::yield();
    order.push_back(10 + i);
  };
  rt.run([&]() -> rn::task<> { co_await rn::all(note(0), note(1), note(2), note(3)); });
  rt.shut_down();
  // The first is entered directly. Then the second is taken of the children 1 (newest), 2, 3 and the goroutine 0; and
  // so on. Where 0 ends, it enters the newest child that is left.
  EXPECT_EQ(order, (std::vector<int>{0, 2, 3, 10, 1, 13, 11, 12}));
  EXPECT_EQ(second.most, 4u);
}

// A chooser that wants nothing to run ends the pump; help() begins another.
TEST(scheduler_order, a_chooser_may_choose_nothing) {
  struct stepper final : rn::detail::chooser {
    std::atomic<int> steps{0};
    std::size_t choose(std::size_t n) noexcept override {
      return steps.load() == 0 ? n : (--steps, std::size_t{0});
    }
  } stepper;
  rn::runtime rt(rn::threads(1));
  rt.core().core.set_chooser(&stepper);
  std::atomic<int> ran{0};
  for (int i = 0; i < 3; ++i) rt.go([&] { ++ran; });
  for (int i = 0; i < 100; ++i) rt.core().core.help<rn::detail::run_policy>();
  EXPECT_EQ(ran, 0);
  for (int i = 1; i <= 3; ++i) {
    ++stepper.steps;
    ASSERT_TRUE(test_support::wait_until([&] {
      rt.core().core.help<rn::detail::run_policy>();
      return ran == i;
    }));
    EXPECT_EQ(stepper.steps, 0);
  }
  ASSERT_TRUE(test_support::wait_until([&] { return rt.live() == 0; }));
  stepper.steps = 1000;
}

TEST(scheduler_order, a_choice_among_equals_is_the_choosers_or_fair) {
  struct third final : rn::detail::chooser {
    std::size_t choose(std::size_t) noexcept override { return 0; }
    std::size_t draw(std::size_t n) noexcept override { return n > 2 ? 2 : 0; }
  } third;
  rn::runtime rt(rn::threads(1));
  auto& core = rt.core().core;
  std::vector<int> drawn(4);
  for (int i = 0; i < 4000; ++i) ++drawn[core.draw(core.any_processor(), 4)];
  for (int n : drawn) EXPECT_GT(n, 700);
  core.set_chooser(&third);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(core.draw(core.any_processor(), 4), 2u);
  core.set_chooser(nullptr);
}

std::chrono::microseconds cpu_used() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  auto us = [](const timeval& t) { return std::chrono::seconds(t.tv_sec) + std::chrono::microseconds(t.tv_usec); };
  return us(usage.ru_utime) + us(usage.ru_stime);
}

void pass(std::chrono::milliseconds d) {  // the time in which nothing is to happen
  std::mutex mutex;
  std::unique_lock hold(mutex);
  std::condition_variable never;
  never.wait_for(hold, d, [] { return false; });
}

TEST(scheduler_order, an_idle_runtime_uses_no_cpu) {
  rn::runtime rt(rn::threads(4));
  std::atomic<int> parked{0};
  for (int i = 0; i < 100; ++i)
    rt.go([&]() -> rn::task<> {
      ++parked;
      if (parked % 2)
        co_await rn::sleep(1h);
      else
        co_await rn::chan<int>().recv();
    });
  ASSERT_TRUE(test_support::wait_until([&] { return parked == 100; }));
  pass(20ms);  // its monitor goes to rest
  // What others do to the machine may be charged to us now and then; what an idle runtime did would be each time.
  auto least = std::chrono::microseconds::max();
  for (int i = 0; i < 20 && least >= 5ms; ++i) {
    auto before = cpu_used();
    pass(300ms);
    least = std::min(least, cpu_used() - before);
  }
  EXPECT_LT(least, 5ms);
}

}  // namespace
