// SPDX-License-Identifier: BSL-1.0
// Deep nests of scopes, cancelled and killed at any moment: every frame dies, leaf first, and only where it should.
#include <runnel.hpp>

#include "support/stress.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using stress::dice;

class cancel_stress : public stress::stress_test {};

struct tally {
  std::atomic<int> frames{0};  // that are alive
  std::atomic<int> out_of_order{0};
  std::atomic<int> pierced{0};  // shields that were left early though nobody was killed
  std::atomic<int> ended{0};    // goroutines whose frames are gone
  std::atomic<bool> killing{false};
};

// A local of each frame of one goroutine; `depth` belongs to the goroutine.
struct frame_mark {
  tally& count;
  int& depth;
  int mine;
  frame_mark(tally& t, int& d) noexcept : count(t), depth(d), mine(++d) { ++count.frames; }
  frame_mark(const frame_mark&) = delete;
  frame_mark& operator=(const frame_mark&) = delete;
  ~frame_mark() {
    if (depth-- != mine) ++count.out_of_order;
    --count.frames;
  }
};

rn::task<> nest(tally& t, int& depth, rn::chan<int> ch, rn::context ctx, dice& d, unsigned levels);

rn::task<> shielded(tally& t, int& depth, rn::chan<int> ch, dice& d) {
  struct guard {
    tally& count;
    bool through = false;
    ~guard() {
      if (!through && !count.killing) ++count.pierced;
    }
  } g{t};
  frame_mark mark(t, depth);
  for (unsigned i = d.below(4); i > 0; --i) co_await rn::yield();
  if (d.one_in(2)) co_await rn::sleep(d.microseconds(200));
  (void)ch.try_send(1);
  g.through = true;
}

rn::task<> child(tally& t, rn::chan<int> ch, rn::context ctx, dice d, unsigned levels) {
  int depth = 0;
  co_await nest(t, depth, ch, ctx, d, levels);
}

rn::task<> leaf(tally& t, int& depth, rn::chan<int> ch, rn::context ctx, dice& d) {
  frame_mark mark(t, depth);
  switch (d.below(6)) {
    case 0:
      co_await rn::sleep(d.microseconds(300));
      break;
    case 1:
      (void)co_await ch.recv();
      break;
    case 2:
      co_await ch.send(1);
      break;
    case 3:
      co_await ctx.done();
      break;
    case 4:
      for (unsigned i = d.below(8); i > 0; --i) co_await rn::yield();
      break;
    default:
      co_await rn::sleep(std::chrono::hours(1));
  }
}

rn::task<> nest(tally& t, int& depth, rn::chan<int> ch, rn::context ctx, dice& d, unsigned levels) {
  frame_mark mark(t, depth);
  if (levels == 0) {
    co_await leaf(t, depth, ch, ctx, d);
    co_return;
  }
  rn::task<> deeper = nest(t, depth, ch, ctx, d, levels - 1);
  switch (d.below(8)) {
    case 0:
      co_await rn::with_timeout(d.microseconds(400), std::move(deeper));
      break;
    case 1:
      co_await rn::with_context(ctx, std::move(deeper));
      break;
    case 2: {
      auto outcome = co_await rn::as_result(std::move(deeper));
      if (outcome.canceled()) co_await rn::yield();  // unwinds, unless what was cancelled lies inside
      break;
    }
    case 3:
      co_await rn::shield(shielded(t, depth, ch, d));
      co_await std::move(deeper);
      break;
    case 4: {
      auto body = [&](rn::errgroup& g) -> rn::task<> {
        for (unsigned i = d.below(3); i > 0; --i) g.go(child, std::ref(t), ch, ctx, d.split(), levels - 1);
        if (d.one_in(3)) g.cancel();
        co_await std::move(deeper);
      };
      co_await rn::with_errgroup(body);
      break;
    }
    case 5: {
      auto cleanup = [&]() -> rn::task<> { return shielded(t, depth, ch, d); };
      auto all = rn::finally(std::move(deeper), cleanup);
      co_await std::move(all);
      break;
    }
    case 6: {
      rn::task<> other = child(t, ch, ctx, d.split(), levels - 1);
      rn::task<> one = child(t, ch, ctx, d.split(), levels - 1);
      if (d.one_in(2))
        (void)co_await rn::all(std::move(one), std::move(other));
      else
        (void)co_await rn::race(std::move(one), std::move(other));
      break;
    }
    default:
      co_await std::move(deeper);
  }
}

rn::task<> whole(tally& t, rn::chan<int> ch, rn::context ctx, dice d) {
  struct at_end {
    tally& count;
    ~at_end() { ++count.ended; }
  } end{t};
  int depth = 0;
  rn::task<> work = nest(t, depth, ch, ctx, d, d.below(7));
  (void)co_await rn::as_result(std::move(work));  // deadlines that passed
}

// CTX-11 to CTX-20, GEN-14: whatever nest of scopes is cancelled or killed, and whenever.
TEST_F(cancel_stress, nests_of_scopes_unwind_leaf_first_and_shields_hold) {
  run_rounds([](unsigned threads, dice d) {
    tally t;
    int started = 0;
    {
      bool killed = d.one_in(3);
      rn::runtime rt(rn::threads(threads), rn::runtime_options()
                                               .grace(std::chrono::hours(killed ? 0 : 1))
                                               .kill_grace(std::chrono::hours(1))
                                               .on_unobserved_error([](const rn::goroutine_error&) {}));
      rn::chan<int> ch(d.below(3));
      auto [ctx, cancel] = rn::context::background().with_cancel();
      for (unsigned i = d.between(1, 20); i > 0; --i, ++started) rt.go(whole, std::ref(t), ch, ctx, d.split());
      for (unsigned k = d.below(30); k > 0; --k) stress::dawdle(d);
      if (d.one_in(2)) cancel();
      for (unsigned k = d.below(30); k > 0; --k) stress::dawdle(d);
      t.killing = killed;
      rt.shut_down();
    }
    EXPECT_EQ(t.frames, 0);
    EXPECT_EQ(t.out_of_order, 0);
    EXPECT_EQ(t.pierced, 0);
    EXPECT_EQ(t.ended, started);
  });
}

// One canceller wins, everybody wakes once, while peers wake the same goroutines.
TEST_F(cancel_stress, many_cancel_what_others_wake) {
  run_rounds([](unsigned threads, dice d) {
    std::atomic<int> ended{0};
    rn::runtime rt{rn::threads(threads)};
    rn::chan<int> ch(d.below(2));
    auto [ctx, cancel_it] = rn::context::background().with_cancel();
    auto& cancel = cancel_it;
    auto wait = [](rn::chan<int> from, std::atomic<int>& n) -> rn::task<> {
      struct at_end {
        std::atomic<int>& count;
        ~at_end() { ++count; }
      } end{n};
      for (;;) (void)co_await from.recv();
    };
    auto under = [wait](rn::context c, rn::chan<int> from, std::atomic<int>& n) -> rn::task<> {
      auto work = rn::with_context(std::move(c), wait(std::move(from), n));
      co_await std::move(work);
    };
    int waiting = static_cast<int>(d.between(1, 50));
    for (int i = 0; i < waiting; ++i) rt.go(under, ctx, ch, std::ref(ended));
    std::vector<std::thread> outside;
    for (unsigned i = d.between(1, 3); i > 0; --i)
      outside.emplace_back([&cancel, &ch, mine = d.split()]() mutable {
        for (unsigned k = mine.below(300); k > 0; --k) (void)ch.try_send(1), stress::dawdle(mine);
        cancel();
        for (unsigned k = mine.below(20); k > 0; --k) (void)ch.try_send(1);
      });
    for (auto& t : outside) t.join();
    stress::wait_until([&] { return rt.live() == 0; }, "cancelled goroutines");
    EXPECT_EQ(ended, waiting);
  });
}

// A walk that comes from those who wait at one channel to those at the other, while peers wake them: each element that
// was sent is received or still there.
TEST_F(cancel_stress, a_group_at_two_channels_loses_no_element) {
  run_rounds([](unsigned threads, dice d) {
    std::atomic<long> sent{0}, received{0};
    std::atomic<int> ready{0};
    std::atomic<bool> over{false};
    rn::runtime rt{rn::threads(threads)};
    rn::chan<int> channels[]{rn::chan<int>(d.below(2)), rn::chan<int>(d.below(2))};
    auto wait = [](rn::chan<int> from, std::atomic<long>& n) -> rn::task<> {
      for (;;) n += *co_await from.recv();
    };
    const auto waiting = static_cast<int>(d.between(1, 400));
    const auto pauses = d.below(200);
    std::vector<std::thread> outside;
    for (int i = 0; i < 2; ++i)
      outside.emplace_back([&, mine = d.split()]() mutable {
        ++ready;
        while (!over) {
          sent += channels[mine.below(2)].try_send(1);
          if (mine.one_in(4)) stress::dawdle(mine);
        }
      });
    auto app = [&]() -> rn::task<> {
      rn::errgroup g;
      for (int i = 0; i < waiting; ++i) co_await g.go(wait, channels[i % 2], std::ref(received));
      while (ready != 2) co_await rn::yield();
      for (auto n = pauses; n > 0; --n) co_await rn::yield();
      g.cancel();
      co_await g.wait();
    };
    rt.run(app);
    over = true;
    for (auto& t : outside) t.join();
    for (auto& ch : channels) received += static_cast<long>(ch.len());
    EXPECT_EQ(sent, received);
  });
}

// Store, then load, on both sides: who parks stores its word and reads the level, who cancels stores the level and reads
// the word. Both threads come to that at the same moment, give or take a few instructions.
TEST_F(cancel_stress, a_cancel_that_meets_a_park_is_not_lost) {
  run_rounds([](unsigned threads, dice d) {
    constexpr int meetings = 500;
    auto spin_until = [](std::atomic<int>& number, int is) {
      for (int turns = 0; number != is; ++turns)
        if (turns > 1000) std::this_thread::yield();  // the other one is not running
    };
    rn::runtime rt{rn::threads(threads)};
    rn::chan<int> silent(0);
    std::atomic<rn::cancel_function*> cancel_next{nullptr};
    std::atomic<int> parks{0}, cancelled{0};
    std::thread canceller([&, mine = d.split()]() mutable {
      for (int i = 1; i <= meetings; ++i) {
        spin_until(parks, i);
        for (unsigned n = mine.below(16); n > 0; --n) rn::cpu_pause();
        (*cancel_next)();
        cancelled = i;
      }
    });
    auto app = [&, mine = d.split()]() mutable -> rn::task<> {
      auto wait = [&](int i) -> rn::task<> {
        auto pauses = mine.below(16);
        parks = i;
        for (; pauses > 0; --pauses) rn::cpu_pause();
        (void)co_await silent.recv();
      };
      for (int i = 1; i <= meetings; ++i) {
        auto [ctx, cancel] = rn::context::background().with_cancel();
        cancel_next = &cancel;
        auto outcome = co_await rn::as_result(rn::with_context(ctx, wait(i)));
        EXPECT_TRUE(outcome.canceled());
        spin_until(cancelled, i);
      }
    };
    rt.run(app);
    canceller.join();
  });
}

rn::task<> down(int levels, std::atomic<int>& depth) {
  struct count {
    std::atomic<int>& n;
    explicit count(std::atomic<int>& d) noexcept : n(d) { ++n; }
    count(const count&) = delete;
    count& operator=(const count&) = delete;
    ~count() { --n; }
  } mark(depth);
  if (levels == 0)
    co_await rn::sleep(std::chrono::hours(1));
  else
    co_await down(levels - 1, depth);
}

// A chain of any depth needs no stack, also where it is cancelled while it still grows.
TEST_F(cancel_stress, deep_chains_unwind) {
  run_rounds([](unsigned threads, dice d) {
    std::atomic<int> depth{0};
    {
      rn::runtime rt{rn::threads(threads)};
      for (unsigned i = d.between(1, 4); i > 0; --i) rt.go(down, static_cast<int>(d.below(3000)), std::ref(depth));
      for (unsigned k = d.below(30); k > 0; --k) stress::dawdle(d);
      rt.shut_down();
    }
    EXPECT_EQ(depth, 0);
  });
}

}  // namespace
