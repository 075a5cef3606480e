// SPDX-License-Identifier: BSL-1.0
// Random trees of groups, all, race, timeouts and shields, with random failures, cancels and waits.
// RUNNEL_STRESS_SECONDS says how long each test runs (2), RUNNEL_STRESS_SEED replays one.
#include <runnel/all.hpp>
#include <runnel/as_result.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/sleep.hpp>
#include <runnel/sync/wait_group.hpp>
#include <runnel/with_context.hpp>
#include <support/random_work.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using test::counted;
using test::random_source;
using test::stress_on;

struct world {
  std::atomic<int> frames{0};   // node frames alive
  std::atomic<int> started{0};  // node frames ever
  rn::chan<int> silent{0};      // nobody ever sends
  rn::chan<int> busy{1};        // some send, some receive
};

rn::task<int> node(world& w, random_source random, int depth);

rn::task<> void_node(world& w, random_source random, int depth) { (void)co_await node(w, random, depth); }

rn::task<> time_out(world& w, std::uint64_t microseconds) {
  co_await rn::with_timeout(std::chrono::microseconds(microseconds), w.silent.recv());
}

// Waits in one of the ways there are; some of them only a cancel or a timeout ends.
rn::task<int> leaf(world& w, random_source random) {
  switch (random.below(10)) {
    case 0: co_await rn::yield(); break;
    case 1: co_await rn::sleep(std::chrono::microseconds(random.below(200))); break;
    case 2: (void)co_await rn::as_result(time_out(w, random.below(300))); break;
    case 3: co_await time_out(w, random.below(300)); break;
    case 4: (void)w.busy.try_send(1); break;
    case 5: (void)w.busy.try_recv(); break;
    case 6: throw std::runtime_error("leaf");
    case 7:
      for (auto i = random.below(20); i > 0; --i) co_await rn::yield();
      break;
    case 8: {
      rn::wait_group wg;
      wg.add(1);
      struct at_end {  // a kill goes through as_result
        rn::wait_group& wg;
        ~at_end() { wg.done(); }
      } guard{wg};
      (void)co_await rn::as_result(rn::with_timeout(std::chrono::microseconds(random.below(100)), wg.wait()));
      break;
    }
    default: break;
  }
  co_return 1;
}

// What a body does with its group: queue, wait for slots, cancel now and then, work itself.
rn::task<> fill(world& w, random_source random, int depth, rn::errgroup& g) {
  for (auto n = random.below(6); n > 0; --n) {
    if (random.one_in(2))
      g.go(void_node, std::ref(w), random.split(), depth - 1);
    else
      (void)co_await g.go(void_node, std::ref(w), random.split(), depth - 1);
    if (random.one_in(10)) g.cancel();
  }
  if (random.one_in(4)) (void)co_await node(w, random.split(), depth - 2);
  if (random.one_in(8)) throw std::runtime_error("body");
}

// A failure of node() inside would leave a bare group in the wrong way: there it is made a value.
rn::task<> bare_group_of(world& w, random_source random, int depth) {
  rn::errgroup g;
  auto n = random.below(5);
  for (std::uint64_t i = 0; i < n; ++i) g.go(void_node, std::ref(w), random.split(), depth - 1);
  auto r = co_await rn::as_result(node(w, random.split(), 0));
  if (r.error()) g.cancel(r.error());
  co_await g.wait();
}

rn::task<int> node(world& w, random_source random, int depth) {
  counted me(w.frames);
  ++w.started;
  if (depth <= 0) co_return co_await leaf(w, random);
  auto child = [&w, &random, depth] { return node(w, random.split(), depth - 1); };
  switch (random.below(12)) {
    case 0: {
      auto r = co_await rn::all(child(), child());
      co_return std::get<0>(r) + std::get<1>(r);
    }
    case 1: {
      std::vector<rn::task<int>> many;
      for (auto n = random.below(8); n > 0; --n) many.push_back(child());
      int sum = 0;
      for (int n : co_await rn::all(std::move(many))) sum += n;
      co_return sum;
    }
    case 2: co_return co_await rn::race(child(), child(), child());
    case 3: {
      auto r = co_await rn::race(child(), void_node(w, random.split(), depth - 1));
      co_return static_cast<int>(r.index());
    }
    case 4: {
      auto limit = rn::limit(static_cast<long>(1 + random.below(3)));
      co_await rn::with_errgroup(limit, [&](rn::errgroup& g) { return fill(w, random.split(), depth, g); });
      co_return 1;
    }
    case 5: {
      co_await bare_group_of(w, random.split(), depth);
      co_return 1;
    }
    case 6: {
      auto limit = std::chrono::microseconds(random.below(500));
      co_return co_await rn::with_timeout(limit, child());
    }
    case 7: {
      auto r = co_await rn::as_result(child());
      co_return r.ok() ? 1 : 0;
    }
    case 8: {
      int n = 0;
      try {
        n = co_await child();
      } catch (const std::exception&) {
        n = -1;
      }
      co_return n;
    }
    case 9: co_return co_await rn::shield(child());
    case 10: {
      co_await rn::with_errgroup(rn::collect_all, [&](rn::errgroup& g) { return fill(w, random.split(), depth, g); });
      co_return 1;
    }
    default: {
      auto r = co_await rn::all(child(), child(), child());
      co_return std::get<0>(r) + std::get<1>(r) + std::get<2>(r);
    }
  }
}

// Each round: some trees side by side, cancelled after a random while, or left to end.
rn::task<> round_of(world& w, random_source random) {
  rn::errgroup g;
  for (auto n = 1 + random.below(4); n > 0; --n)
    g.go([](world& v, random_source r) -> rn::task<> { (void)co_await rn::as_result(node(v, r, 5)); }, std::ref(w),
         random.split());
  if (random.one_in(2)) {
    for (auto n = random.below(50); n > 0; --n) co_await rn::yield();
    g.cancel();
  }
  co_await g.wait();
  EXPECT_EQ(w.frames, 0) << "a child outlived its group";
}

void random_trees(long threads) {
  stress_on(threads, [](random_source random) -> rn::task<> {
    world w;
    co_await round_of(w, random.split());
  });
}

TEST(groups_stress, random_trees_on_one_thread) { random_trees(1); }
TEST(groups_stress, random_trees_on_two_threads) { random_trees(2); }
TEST(groups_stress, random_trees_on_four_threads) { random_trees(4); }

// Trees that shutdown ends: cancel, and where shields are in the way, kill.
void trees_at_shutdown(long threads) {
  test::stress_rounds([threads](random_source random) {
    auto before = test::checked_runtime::live_blocks();
    std::atomic<int> frames = 0;
    {
      world w;
      {
        rn::runtime_options options;
        options.grace(std::chrono::milliseconds(1));
        options.on_unobserved_error([](const rn::goroutine_error&) {});
        rn::runtime rt(rn::threads(threads), options);
        for (int i = 0; i < 4; ++i)
          rt.go(
              [](world& v, random_source r) -> rn::task<> {
                try {
                  (void)co_await node(v, r, 5);
                } catch (const std::exception&) {
                }
              },
              std::ref(w), random.split());
        for (auto n = random.below(100); n > 0; --n) std::this_thread::yield();
      }
      frames = w.frames.load();
    }
    EXPECT_EQ(frames, 0);
    EXPECT_EQ(test::checked_runtime::live_blocks(), before);
  });
}

TEST(groups_stress, trees_at_shutdown_on_one_thread) { trees_at_shutdown(1); }
TEST(groups_stress, trees_at_shutdown_on_two_threads) { trees_at_shutdown(2); }
TEST(groups_stress, trees_at_shutdown_on_four_threads) { trees_at_shutdown(4); }

}  // namespace
