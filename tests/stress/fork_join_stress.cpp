// SPDX-License-Identifier: BSL-1.0
// Fork-join under stress: promotion at random places, stealing, failures, cancels, and no memory now and then.
// RUNNEL_STRESS_SECONDS says how long each test runs (2), RUNNEL_STRESS_SEED replays one.
#include <runnel/all.hpp>
#include <runnel/as_result.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/with_context.hpp>
#include <support/random_work.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <new>
#include <stdexcept>
#include <tuple>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using test::counted;
using test::random_source;
using test::stress_on;

// ---- Sums are right however the work is spread, and whoever waits ----

rn::task<long> sum(long from, long to, random_source random) {
  if (to - from == 1) {
    if (random.one_in(16)) co_await rn::yield();
    co_return from;
  }
  long middle = from + (to - from) / 2;
  auto left = random.split(), right = random.split();
  auto both = co_await rn::all(sum(from, middle, left), sum(middle, to, right));
  if (random.one_in(64)) co_await rn::yield();
  co_return std::get<0>(both) + std::get<1>(both);
}

void sums(long threads) {
  stress_on(threads, [](random_source random) -> rn::task<> {
    long n = 1 + static_cast<long>(random.below(2000));
    EXPECT_EQ(co_await sum(0, n, random), n * (n - 1) / 2);
  });
}
TEST(fork_join_stress, sums_on_one_thread) { sums(1); }
TEST(fork_join_stress, sums_on_two_threads) { sums(2); }
TEST(fork_join_stress, sums_on_four_threads) { sums(4); }

// ---- Trees that fail, wait, are cancelled, and run out of memory ----

thread_local std::uint32_t t_fail_countdown = 0;  // 0: never
bool fails_now_and_then(std::size_t) noexcept { return t_fail_countdown != 0 && --t_fail_countdown == 0; }
RUNNEL_NOINLINE void fail_within(std::uint32_t allocations) { t_fail_countdown = allocations; }

struct tree {
  std::atomic<int> alive{0};
  rn::chan<int> channel{2};
  bool lacks_memory = false;

  rn::task<int> grow(random_source random, int depth) {
    counted me(alive);
    if (lacks_memory && random.one_in(8)) fail_within(1 + static_cast<std::uint32_t>(random.below(4)));
    if (depth > 0) {
      auto a = random.split(), b = random.split(), c = random.split();
      switch (random.below(5)) {
        case 0: {
          auto r = co_await rn::all(grow(a, depth - 1), grow(b, depth - 1));
          co_return std::get<0>(r) + std::get<1>(r);
        }
        case 1: co_return co_await rn::race(grow(a, depth - 1), grow(b, depth - 1));
        case 2: {
          std::vector<rn::task<int>> many;
          for (auto n = random.below(10); n > 0; --n) many.push_back(grow(random.split(), depth - 1));
          auto r = co_await rn::all(std::move(many));
          co_return static_cast<int>(r.size());
        }
        case 3: {
          auto r = co_await rn::as_result(grow(a, depth - 1));
          co_return r.ok() ? 1 : 0;
        }
        default: {
          auto r = co_await rn::all(grow(a, depth - 1), grow(b, depth - 1), grow(c, depth - 1));
          co_return std::get<0>(r) + std::get<1>(r) + std::get<2>(r);
        }
      }
    }
    switch (random.below(16)) {
      case 0: co_await rn::yield(); break;
      case 1: co_await channel.send(1); break;
      case 2: (void)co_await channel.recv(); break;
      case 3: throw std::runtime_error("leaf");
      case 4: co_await rn::with_timeout(std::chrono::microseconds(random.below(200)), channel.recv()); break;
      case 5: co_await rn::shield(rn::yield()); break;
      default: break;
    }
    co_return 1;
  }
};

// A tree that waits for ever is ended by the cancel: every round ends.
rn::task<> one_tree(random_source random, bool lacks_memory) {
  tree t;
  t.lacks_memory = lacks_memory;
  rn::errgroup g;
  for (auto n = 1 + random.below(3); n > 0; --n)
    g.go([](tree& at, random_source r) -> rn::task<> { (void)co_await rn::as_result(at.grow(r, 6)); }, std::ref(t),
         random.split());
  for (auto n = random.below(100); n > 0; --n) co_await rn::yield();
  fail_within(0);
  g.cancel();
  try {
    co_await g.wait();
  } catch (const std::bad_alloc&) {
    EXPECT_TRUE(lacks_memory);
  }
  EXPECT_EQ(t.alive, 0) << "a child outlived its parent";
}

void trees(long threads) {
  stress_on(threads, [](random_source random) { return one_tree(random, false); });
}
TEST(fork_join_stress, trees_on_one_thread) { trees(1); }
TEST(fork_join_stress, trees_on_two_threads) { trees(2); }
TEST(fork_join_stress, trees_on_four_threads) { trees(4); }

// The parts of the test itself that allocate do so where it cannot fail: between rounds.
void trees_without_memory(long threads) {
  rn::detail::frame_alloc_hook = &fails_now_and_then;
  stress_on(threads, [](random_source random) -> rn::task<> {
    for (;;) {
      fail_within(0);
      try {
        co_await one_tree(random, true);
        break;
      } catch (const std::bad_alloc&) {
      }
    }
    fail_within(0);
  });
  rn::detail::frame_alloc_hook = nullptr;
}
TEST(fork_join_stress, trees_without_memory_on_one_thread) { trees_without_memory(1); }

}  // namespace
