// SPDX-License-Identifier: BSL-1.0
// A walk tells many goroutines under one hold of a lock: who waits at what, in which order, and whose it is.
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>
#include <runnel/select.hpp>
#include <runnel/sleep.hpp>
#include <runnel/with_context.hpp>

#include "support/channel_waiters.hpp"
#include "support/checked_runtime.hpp"
#include "support/wait_until.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <thread>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using test::checked_runtime;
using test::counted;
using test::on_1_2_and_4_threads;
using test::until;
using runnel_test::wait_until;

// Notes its number when it dies.
struct numbered {
  std::vector<int>& log;
  int number;
  ~numbered() { log.push_back(number); }
};

rn::task<> wait_at(rn::chan<int> ch, std::vector<int>& log, int number) {
  numbered me{log, number};
  (void)co_await ch.recv();
}

// More than are told under one hold of the node's lock.
constexpr int many = 600;

TEST(cancel_sweep, tells_those_of_several_channels_in_the_order_in_which_they_came) {
  checked_runtime rt(1);
  auto app = []() -> rn::task<> {
    rn::chan<int> a(0), b(0);
    std::vector<int> died, expected;
    rn::errgroup g;
    for (int i = 0; i < many; ++i) {
      rn::chan<int> ch = a;
      if (i % 7 < 3) ch = b;
      co_await g.go(wait_at, ch, std::ref(died), i);
      expected.push_back(i);
      co_await rn::yield();
    }
    g.cancel();
    co_await g.wait();
    EXPECT_EQ(died, expected);
  };
  rt.run(app);
}

rn::task<> wait_somewhere(rn::chan<int> a, rn::chan<int> b, int kind, std::atomic<int>& alive) {
  counted guard(alive);
  rn::chan<int> out = a;
  switch (kind) {
    case 0: (void)co_await a.recv(); break;
    case 1: (void)co_await b.recv(); break;
    case 2: co_await rn::sleep(1h); break;
    case 3: co_await rn::select(a.recv(), b.recv()); break;
    case 4: co_await rn::with_timeout(1h, test::park_for_ever(alive)); break;
    default: co_await test::park_for_ever(alive);
  }
}

TEST(cancel_sweep, leaves_every_lock_that_it_has_taken) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> a(0), b(0);
    std::atomic<int> alive{0};
    for (int round = 0; round < 3; ++round) {
      rn::errgroup g;
      for (int i = 0; i < many; ++i) co_await g.go(wait_somewhere, a, b, i % 6, std::ref(alive));
      co_await until([&] { return alive == many + 2 * (many / 6); });
      co_await test::let_others_run();
      g.cancel();
      co_await g.wait();
      EXPECT_EQ(alive, 0);
      EXPECT_EQ(runnel_test::waiting_receivers(a), 0u);
      EXPECT_EQ(runnel_test::waiting_receivers(b), 0u);
      rn::errgroup pair;  // both channels, the timers and the nodes work as before
      co_await pair.go([](rn::chan<int> ch) -> rn::task<> { co_await ch.send(1); }, a);
      co_await pair.go([](rn::chan<int> ch) -> rn::task<> { co_await ch.send(2); }, b);
      EXPECT_EQ(*co_await a.recv() + *co_await b.recv(), 3);
      co_await rn::sleep(1ns);
      co_await pair.wait();
    }
  });
}

// Two walks: the runtime's comes with the channel's lock, from a goroutine of its own, to the group; the walker of that
// keeps the group, and comes from another channel to this one. Neither may wait for the other for ever.
TEST(cancel_sweep, does_not_keep_a_channel_while_it_enters_a_node) {
  constexpr std::size_t others = 200;
  auto wait = [](rn::chan<int> from) -> rn::task<> { (void)co_await from.recv(); };
  for (int round = 0; round < 200; ++round) {
    rn::runtime rt{rn::threads(1)};
    rn::chan<int> ch(0), other(0);
    std::atomic<bool> ready{false}, begin{false};
    rt.go(wait, ch);
    wait_until([&] { return runnel_test::waiting_receivers(ch) == 1; });
    rt.go([&]() -> rn::task<> {
      rn::errgroup group;
      for (std::size_t i = 0; i < others; ++i) co_await group.go(wait, other);
      co_await group.go(wait, ch);
      while (runnel_test::waiting_receivers(other) + runnel_test::waiting_receivers(ch) != others + 2) co_await rn::yield();
      ready = true;
      while (!begin) {
      }
      group.cancel();
      co_await group.wait();
    });
    wait_until([&] { return ready.load(); });
    begin = true;
    for (int pauses = round % 50; pauses > 0; --pauses) rn::cpu_pause();
    rt.shut_down();
  }
}

// Each is scheduled where it is at home, whoever stands before and behind it.
TEST(cancel_sweep, gives_the_goroutines_of_two_runtimes_to_their_own) {
  checked_runtime a(1);
  rn::runtime b{rn::threads(1)};
  const std::thread::id on_a = a.run(std::this_thread::get_id), on_b = b.run(std::this_thread::get_id);
  rn::chan<int> ch(0);
  std::atomic<std::size_t> right{0}, wrong{0};
  auto [ctx, cancel] = rn::context::background().with_cancel();
  auto wait = [&](rn::chan<int> from, std::thread::id home) -> rn::task<> {
    struct at_end {
      std::thread::id home;
      std::atomic<std::size_t>& here;
      std::atomic<std::size_t>& elsewhere;
      ~at_end() { ++(std::this_thread::get_id() == home ? here : elsewhere); }
    } end{home, right, wrong};
    (void)co_await from.recv();
  };
  constexpr std::size_t all = 100;
  for (std::size_t i = 0; i < all; ++i) {
    if (i % 5 < 2)
      a.run([&] { rn::go(ctx, wait, ch, on_a); });
    else
      b.run([&] { rn::go(ctx, wait, ch, on_b); });
    wait_until([&] { return runnel_test::waiting_receivers(ch) == i + 1; });
  }
  cancel();
  wait_until([&] { return right + wrong == all; });
  EXPECT_EQ(wrong, 0u);
}

}  // namespace
