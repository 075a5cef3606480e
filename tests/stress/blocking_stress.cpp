// SPDX-License-Identifier: BSL-1.0
// Blocking calls that are cancelled, killed and shut down while they wait for a thread, run and return: each runs once
// or never, what it makes is taken, what it throws is caught, and no thread is left.
#include <runnel.hpp>

#include "support/counted.hpp"
#include "support/gate.hpp"
#include "support/stress.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using runnel_test::counted;
using stress::dice;

class blocking_stress : public stress::stress_test {};

struct books {
  std::atomic<int> asked{0}, begun{0}, returned{0}, thrown{0};  // by calls
  std::atomic<int> taken{0}, caught{0};                         // by those who asked
  std::atomic<int> unobserved{0};
  std::atomic<int> running{0}, most_running{0};
  std::atomic<int> frames{0};  // that calls refer to
  std::atomic<int> wrong{0};
};

// A frame that must outlive its call.
struct in_frame {
  books& b;
  std::atomic<bool> alive{true};
  explicit in_frame(books& of) : b(of) { ++b.frames; }
  in_frame(const in_frame&) = delete;
  in_frame& operator=(const in_frame&) = delete;
  ~in_frame() {
    alive = false;
    --b.frames;
  }
};

counted work(books& b, in_frame& frame, dice d) {
  ++b.begun;
  int now = ++b.running;
  for (int seen = b.most_running; seen < now && !b.most_running.compare_exchange_weak(seen, now);) {
  }
  stress::dawdle(d);
  if (d.one_in(8)) std::this_thread::sleep_for(d.microseconds(300));  // sleeps: so do the calls that this is for
  if (!frame.alive) ++b.wrong;
  --b.running;
  if (d.one_in(5)) {
    ++b.thrown;
    throw std::runtime_error("work");
  }
  ++b.returned;
  return counted(7);
}

rn::task<int> ask(books& b, dice d) {
  in_frame frame(b);
  ++b.asked;
  try {
    counted c = co_await rn::blocking(work, std::ref(b), std::ref(frame), d.split());
    if (c.value() != 7) ++b.wrong;
    ++b.taken;
  } catch (const std::runtime_error&) {
    ++b.caught;
  }
  co_return 1;
}

rn::task<> ask_again_and_again(books& b, rn::context ctx, dice d) {
  for (unsigned n = d.between(1, 8); n > 0; --n) {
    switch (d.below(6)) {
      case 0:
        (void)co_await rn::as_result(rn::with_timeout(d.microseconds(400), ask(b, d.split())));
        break;
      case 1:
        (void)co_await rn::as_result(rn::with_context(ctx, ask(b, d.split())));
        break;
      case 2:
        (void)co_await rn::as_result(rn::shield(ask(b, d.split())));
        break;
      case 3:
        (void)co_await rn::all(ask(b, d.split()), ask(b, d.split()));
        break;
      case 4:
        (void)co_await rn::race(ask(b, d.split()), ask(b, d.split()));
        break;
      default:
        (void)co_await ask(b, d.split());
    }
  }
}

rn::runtime_options options(books& b, unsigned most, dice& d) {
  rn::runtime_options o;
  o.on_unobserved_error([&b](const rn::goroutine_error&) { ++b.unobserved; });
  o.blocking_threads(most).blocking_idle(d.one_in(2) ? std::chrono::microseconds(0) : d.microseconds(500));
  o.grace(std::chrono::seconds(d.one_in(3) ? 0 : 5)).kill_grace(std::chrono::seconds(60));
  return o;
}

void check(books& b, unsigned most) {
  EXPECT_LE(b.begun, b.asked);
  EXPECT_EQ(b.begun, b.returned + b.thrown);
  EXPECT_EQ(b.taken, b.returned);
  EXPECT_EQ(b.thrown, b.caught);
  EXPECT_EQ(b.unobserved, 0);
  EXPECT_EQ(b.running, 0);
  EXPECT_LE(b.most_running, static_cast<int>(most));
  EXPECT_EQ(b.frames, 0);
  EXPECT_EQ(b.wrong, 0);
  EXPECT_EQ(counted::alive(), 0);
}

// An end at a random moment: everything is cancelled, and perhaps killed at once, with calls waiting and running.
TEST_F(blocking_stress, calls_are_cancelled_killed_and_shut_down_at_any_moment) {
  auto threads_before = runnel_test::count_threads();
  run_rounds([&](unsigned threads, dice d) {
    books b;
    unsigned most = d.between(1, 5);
    {
      rn::runtime rt(rn::threads(threads), options(b, most, d));
      auto [ctx, cancel_it] = rn::context::background().with_cancel();
      auto& cancel = cancel_it;
      auto& node = ctx.node();
      for (unsigned i = d.between(1, 25); i > 0; --i) rt.go(ask_again_and_again, std::ref(b), ctx, d.split());
      std::thread outside([&, mine = d.split()]() mutable {
        for (unsigned k = mine.below(80); k > 0; --k) stress::dawdle(mine);
        if (mine.one_in(2)) cancel();
        for (unsigned k = mine.below(80); k > 0; --k) stress::dawdle(mine);
        if (mine.one_in(3)) node.cancel(rn::detail::level_kill, false, rn::detail::canceled_cause());
        for (unsigned k = mine.below(80); k > 0; --k) stress::dawdle(mine);
        if (mine.one_in(3)) rt.cancel();
      });
      outside.join();
      if (d.one_in(2)) stress::wait_until([&] { return rt.live() == 0; }, "those who asked");
      rt.shut_down();
    }
    check(b, most);
    EXPECT_TRUE(runnel_test::threads_become(threads_before));
  });
}

// Nobody is cancelled: every call is made, and every result arrives, while threads come and go.
TEST_F(blocking_stress, no_call_is_lost_while_threads_start_and_end) {
  run_rounds([](unsigned threads, dice d) {
    books b;
    unsigned most = d.between(1, 5);
    {
      rn::runtime rt(rn::threads(threads), options(b, most, d));
      auto some = [](books& of, dice mine) -> rn::task<> {
        for (unsigned n = mine.between(1, 10); n > 0; --n) {
          (void)co_await ask(of, mine.split());
          if (mine.one_in(4)) co_await rn::sleep(mine.microseconds(300));
        }
      };
      for (unsigned i = d.between(1, 25); i > 0; --i) rt.go(some, std::ref(b), d.split());
      stress::wait_until([&] { return rt.live() == 0; }, "those who asked");
    }
    check(b, most);
    EXPECT_EQ(b.begun, b.asked);
  });
}

}  // namespace
