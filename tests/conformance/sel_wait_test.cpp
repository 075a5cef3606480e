// SPDX-License-Identifier: BSL-1.0
// Select, when nothing is ready: exactly one case, no trace of the others, close and cancellation: SEL-04, SEL-08, SEL-11
// to SEL-15, SEL-20, SEL-C01 to SEL-C06, CH-08, CH-13, GEN-02, GEN-05.
#include <runnel/after.hpp>
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>
#include <runnel/select.hpp>
#include <runnel/sleep.hpp>
#include <runnel/ticker.hpp>
#include <runnel/timer.hpp>
#include <runnel/with_context.hpp>

#include "support/channel_waiters.hpp"
#include "support/checked_runtime.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using runnel_test::waiting_receivers;
using runnel_test::waiting_senders;
using test::on_1_2_and_4_threads;
using test::until;

template <class... Ch> std::size_t waiting(const Ch&... ch) {
  return (waiting_receivers(ch) + ...) + (waiting_senders(ch) + ...);
}

// SEL-04, SEL-11, SEL-13
TEST(sel_wait, parks_on_all_channels_and_exactly_one_case_completes) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> a(0), b(0), c(2);
    for (int way = 0; way < 3; ++way) {
      std::atomic<int> taken{-1};
      rn::go([&]() -> rn::task<> {
        auto r = co_await rn::select(a.recv(), b.send(5), c.recv());
        taken = static_cast<int>(r.index());
      });
      co_await until([&] { return waiting(a, b, c) == 3; });
      co_await test::let_others_run();
      EXPECT_EQ(taken, -1);
      if (way == 0)
        co_await a.send(1);
      else if (way == 1)
        EXPECT_EQ(co_await b.recv(), 5);
      else
        co_await c.send(1);
      co_await until([&] { return taken == way; });
      EXPECT_EQ(waiting(a, b, c), 0u);
      EXPECT_EQ(c.len(), 0u);
    }
  });
}

// SEL-12, GEN-05: whoever loses the race for a select keeps its element and takes the next waiter
TEST(sel_wait, a_peer_that_comes_too_late_keeps_its_element) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int i = 0; i < 200; ++i) {
      rn::chan<int> a(0), b(0);
      std::atomic<int> got{0}, sent{0}, ended{0};
      rn::go([&]() -> rn::task<> {
        auto r = co_await rn::select(a.recv(), b.recv());
        got += r.index() == 0 ? *r.get<0>() : *r.get<1>();
        ++ended;
      });
      auto send = [&](rn::chan<int> ch, int v) -> rn::task<> {
        co_await ch.send(v);
        sent += v;
        ++ended;
      };
      rn::go(send, a, 1);
      rn::go(send, b, 10);
      co_await until([&] { return ended == 2; });
      EXPECT_EQ(got, sent);
      co_await until([&] { return waiting(a, b) == 1; });
      auto rest = co_await rn::select(a.recv(), b.recv());
      co_await until([&] { return ended == 3; });  // the last touch of these by anybody
      EXPECT_EQ(got + (rest.index() == 0 ? *rest.get<0>() : *rest.get<1>()), 11);
    }
  });
}

// SEL-11, CH-13: select's waiters stand in the same queues, in the order in which they came
TEST(sel_wait, selects_and_plain_operations_are_served_in_the_order_in_which_they_came) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(0), other(0);
    std::atomic<int> first{0}, second{0}, third{0};
    rn::go([&]() -> rn::task<> { first = (co_await ch.recv()).value_or(-1); });
    co_await until([&] { return waiting_receivers(ch) == 1; });
    rn::go([&]() -> rn::task<> {
      auto r = co_await rn::select(other.recv(), ch.recv());
      second = *r.get<1>();
    });
    co_await until([&] { return waiting_receivers(ch) == 2; });
    rn::go([&]() -> rn::task<> { third = (co_await ch.recv()).value_or(-1); });
    co_await until([&] { return waiting_receivers(ch) == 3; });
    for (int i = 1; i <= 3; ++i) co_await ch.send(i);
    co_await until([&] { return third != 0 && second != 0 && first != 0; });
    EXPECT_EQ(first, 1);
    EXPECT_EQ(second, 2);
    EXPECT_EQ(third, 3);
    EXPECT_EQ(waiting(ch, other), 0u);
  });
}

// SEL-13: removing from the middle of a queue leaves the others there
TEST(sel_wait, leaves_the_middle_of_a_queue_without_a_trace) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> crowded(0), quiet(0);
    std::atomic<int> got{0};
    auto plain = [&]() -> rn::task<> { got += (co_await crowded.recv()).value_or(0); };
    rn::go(plain);
    co_await until([&] { return waiting_receivers(crowded) == 1; });
    rn::go([&]() -> rn::task<> { co_await rn::select(crowded.recv(), quiet.recv(), crowded.recv()); });
    co_await until([&] { return waiting_receivers(crowded) == 3; });
    rn::go(plain);
    co_await until([&] { return waiting_receivers(crowded) == 4; });
    co_await quiet.send(1);
    co_await until([&] { return waiting_receivers(crowded) == 2; });
    co_await crowded.send(1);
    co_await crowded.send(2);
    co_await until([&] { return got == 3; });
  });
}

// SEL-13, P-015
TEST(sel_wait, a_hundred_thousand_rounds_over_a_quiet_channel_grow_nothing) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> quiet(0), busy(0), back(0);
    rn::go([&]() -> rn::task<> {
      for (int i = 0; i < 100'000; ++i) co_await busy.send(i);
    });
    std::size_t most = 0, blocks = 0;
    for (int i = 0; i < 100'000; ++i) {
      co_await rn::select(quiet.recv(), busy.recv(), back.send(1));
      if (i == 1000) blocks = test::checked_runtime::live_blocks();
      if (i % 1000 == 0) most = std::max(most, waiting(quiet, back));
    }
    EXPECT_EQ(most, 0u);
    EXPECT_LE(test::checked_runtime::live_blocks(), blocks + 1);
  });
}

// SEL-15, CH-17
TEST(sel_wait, a_close_wakes_its_receives_with_nothing_and_makes_its_sends_fail) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> a(0), b(0), quiet(0);
    std::atomic<int> closed{0}, failed{0};
    rn::go([&]() -> rn::task<> {
      auto r = co_await rn::select(quiet.recv(), a.recv());
      EXPECT_FALSE(r.get<1>());
      ++closed;
    });
    rn::go([&]() -> rn::task<> {
      try {
        co_await rn::select(quiet.recv(), b.send(1), rn::after(1h));
        ADD_FAILURE() << "a send on a closed channel went through";
      } catch (const rn::closed_channel&) {
        ++failed;
      }
    });
    co_await until([&] { return waiting(a, b, quiet) == 4; });
    a.close();
    b.close();
    co_await until([&] { return closed == 1 && failed == 1; });
    EXPECT_EQ(waiting(a, b, quiet), 0u);
  });
}

// SEL-08, SEL-10: the same channels in opposite orders, in both directions, never lock each other out
TEST(sel_wait, selects_over_the_same_channels_in_any_order_go_on) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> a(0), b(0), c(0);
    std::atomic<int> sent{0}, received{0}, ended{0};
    auto party = [&](rn::chan<int> x, rn::chan<int> y, rn::chan<int> z, int rounds) -> rn::task<> {
      auto count = [&](std::optional<int>) { ++received; };
      auto gone = [&] { ++sent; };
      for (int i = 0; i < rounds; ++i)
        co_await rn::select(rn::on(x.recv(), count), rn::on(y.send(1), gone), rn::on(z.recv(), count),
                            rn::on(x.send(1), gone));
      ++ended;
    };
    constexpr int rounds = 400;
    rn::go(party, a, b, c, rounds);
    rn::go(party, b, c, a, rounds);
    rn::go(party, c, a, b, rounds);
    rn::go(party, c, b, a, rounds);
    // The last of them may find nobody to go on with: then it is given what it waits for.
    co_await until([&] {
      if (ended >= 3) (void)(a.try_recv() || b.try_recv() || c.try_recv());
      return ended == 4;
    });
    EXPECT_LE(received, sent);
    EXPECT_EQ(sent + received, 4 * rounds);
    EXPECT_EQ(waiting(a, b, c), 0u);
  });
}

// ---- P-019, SEL-16: every form of receive against every form of send, either side first ----

enum class way { plain, select_alone, select_beside, select_with_default, attempt, range };
constexpr way ways[] = {way::plain, way::select_alone, way::select_beside, way::select_with_default, way::attempt,
                        way::range};

rn::task<int> receive(rn::chan<int> ch, way w) {
  rn::chan<int> silent(0);
  if (w == way::plain) co_return (co_await ch.recv()).value();
  if (w == way::select_alone) {
    auto r = co_await rn::select(ch.recv());
    co_return r.get<0>().value();
  }
  if (w == way::select_beside) {
    auto r = co_await rn::select(silent.recv(), ch.recv(), silent.send(1));
    co_return r.get<1>().value();
  }
  for (;; co_await rn::yield()) {
    if (w == way::attempt) {
      if (auto got = ch.try_recv()) co_return *got;
    } else if (w == way::range) {
      std::vector<decltype(ch.recv())> ops;
      ops.push_back(silent.recv());
      ops.push_back(ch.recv());
      auto r = co_await rn::select(ops);
      co_return r.get().value();
    } else {
      auto r = co_await rn::select(ch.recv(), rn::otherwise);
      if (r.index() == 0) co_return r.get<0>().value();
    }
  }
}
rn::task<> send(rn::chan<int> ch, way w, int value) {
  rn::chan<int> silent(0);
  switch (w) {
    case way::plain:
      co_await ch.send(value);
      break;
    case way::select_alone:
      co_await rn::select(ch.send(value));
      break;
    case way::select_beside:
      co_await rn::select(silent.recv(), ch.send(value), silent.send(1));
      break;
    case way::range: {
      std::vector<decltype(ch.send(value))> ops;
      ops.push_back(silent.send(0));
      ops.push_back(ch.send(value));
      co_await rn::select(ops);
      break;
    }
    default:
      for (;; co_await rn::yield()) {
        if (w == way::attempt) {
          if (ch.try_send(value)) co_return;
        } else {
          auto r = co_await rn::select(ch.send(value), rn::otherwise);
          if (r.index() == 0) co_return;
        }
      }
  }
}

TEST(sel_wait, every_form_of_receive_meets_every_form_of_send) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto never_waits = [](way w) { return w == way::attempt || w == way::select_with_default; };
    for (std::ptrdiff_t capacity : {0, 1, 10})
      for (way r : ways)
        for (way s : ways)
          for (bool sender_first : {false, true}) {
            if (capacity == 0 && never_waits(r) && never_waits(s)) continue;  // they would never meet
            rn::chan<int> ch(capacity);
            std::atomic<bool> sent{false};
            std::atomic<int> got{0};
            auto sender = [&]() -> rn::task<> {
              co_await send(ch, s, 7);
              sent = true;
            };
            auto receiver = [&]() -> rn::task<> { got = co_await receive(ch, r); };
            if (sender_first) {
              rn::go(sender);
              co_await rn::yield();
              rn::go(receiver);
            } else {
              rn::go(receiver);
              co_await rn::yield();
              rn::go(sender);
            }
            co_await until([&] { return sent && got != 0; });
            EXPECT_EQ(got, 7);
            EXPECT_EQ(waiting(ch), 0u);
          }
  });
}

// P-020: leaving from inside of a handler, and from a loop around it
TEST(sel_wait, a_handler_may_leave_the_loop_around_it) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> a(1), b(1);
    int rounds = 0;
    for (bool over = false; !over; ++rounds) {
      co_await a.send(rounds);
      co_await rn::select(rn::on(a.recv(), [&](std::optional<int> v) { over = *v == 3; }), b.recv());
    }
    EXPECT_EQ(rounds, 4);
  });
}

// GEN-02, P-036: always something ready, on one thread, and yet a third runs and time passes
TEST(sel_wait, two_selects_that_always_find_something_starve_nobody) {
  test::checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::chan<int> a(4), b(4), never(0);
    std::atomic<bool> over{false};
    std::atomic<int> ended{0};
    for (int i = 0; i < 2; ++i)
      rn::go([&]() -> rn::task<> {
        while (!over) co_await rn::select(a.recv(), a.send(1), b.recv(), b.send(2), never.recv());
        ++ended;
      });
    co_await rn::sleep(2ms);
    co_await rn::with_timeout(1h, rn::yield());
    over = true;
    co_await until([&] { return ended == 2; });
  });
}

// ---- SEL-C05, SEL-C06: time ----

TEST(sel_wait, a_timeout_that_loses_is_disarmed_and_one_that_wins_takes_nothing_else) {
  for (long threads : {1, 2, 4}) {
    test::checked_runtime rt(threads);
    rt.run([&]() -> rn::task<> {
      rn::chan<int> ch(0);
      rn::go([&]() -> rn::task<> { co_await ch.send(1); });
      auto r = co_await rn::select(ch.recv(), rn::after(1h));
      EXPECT_EQ(r.index(), 0u);
      EXPECT_TRUE(rt.get().core().timers.empty());
      auto begin = std::chrono::steady_clock::now();
      auto late = co_await rn::select(ch.recv(), rn::after(2ms), rn::after(1h));
      EXPECT_EQ(late.index(), 1u);
      EXPECT_GE(std::chrono::steady_clock::now() - begin, 2ms);
      EXPECT_GE(late.get<1>(), begin + 2ms);
      EXPECT_EQ(waiting(ch), 0u);
      EXPECT_TRUE(rt.get().core().timers.empty());
    });
  }
}

// SEL-C06, GEN-05
TEST(sel_wait, cancelled_while_it_waits_it_leaves_everything_as_it_was) {
  for (long threads : {1, 2, 4}) {
    test::checked_runtime rt(threads);
    rt.run([&]() -> rn::task<> {
      rn::chan<int> a(0), b(1);
      co_await b.send(1);
      rn::timer timer(1h);
      std::atomic<int> alive{0};
      auto [ctx, cancel] = rn::this_context().with_cancel();
      rn::go(ctx, [&]() -> rn::task<> {
        test::counted guard(alive);
        co_await rn::select(a.recv(), b.send(2), a.send(3), timer.recv(), rn::after(1h));
        ADD_FAILURE() << "it was not unwound";
      });
      co_await until([&] { return waiting(a, b) == 3; });
      cancel();
      co_await until([&] { return alive == 0; });
      EXPECT_EQ(waiting(a, b), 0u);
      EXPECT_EQ(b.len(), 1u);
      EXPECT_EQ(co_await b.recv(), 1);
      EXPECT_TRUE(timer.stop());
      EXPECT_TRUE(rt.get().core().timers.empty());
    });
  }
}

// SEL-C06: a done context is asked first
TEST(sel_wait, a_context_that_is_done_wins_over_a_case_that_is_ready) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ready(1);
    co_await ready.send(1);
    auto [ctx, cancel] = rn::this_context().with_cancel();
    cancel();
    auto r = co_await rn::as_result(rn::with_context(ctx, rn::select(ready.recv())));
    EXPECT_TRUE(r.canceled());
    EXPECT_EQ(ready.len(), 1u);
    auto d = co_await rn::as_result(rn::with_context(ctx, rn::select(ready.recv(), rn::otherwise)));
    EXPECT_TRUE(d.canceled());
  });
}

// GEN-05, P-263: received + left behind = sent, whatever is cancelled when
TEST(sel_wait, a_cancel_that_races_with_a_send_loses_nothing) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int i = 0; i < 300; ++i) {
      rn::chan<int> a(i % 2), b(0);
      std::atomic<int> received{0}, sent{0}, ended{0};
      auto [ctx, cancel] = rn::this_context().with_cancel();
      rn::go(ctx, [&]() -> rn::task<> {
        struct at_end {
          std::atomic<int>& n;
          ~at_end() { ++n; }
        } guard{ended};
        for (;;) {
          auto r = co_await rn::select(a.recv(), b.recv(), rn::after(1h));
          if (r.index() < 2) ++received;
        }
      });
      rn::go([&]() -> rn::task<> {
        (void)co_await rn::as_result(rn::with_timeout(1ms, [](rn::chan<int> x, rn::chan<int> y, std::atomic<int>& n)
                                                               -> rn::task<> {
          for (int k = 0; k < 20; ++k) {
            if (k % 3 == 0)
              co_await x.send(k);
            else
              co_await rn::select(x.send(k), y.send(k));
            ++n;
          }
        }(a, b, sent)));
        ++ended;
      });
      for (int k = i % 7; k > 0; --k) co_await rn::yield();
      cancel();
      co_await until([&] { return ended == 2; });
      while (a.try_recv()) ++received;
      EXPECT_EQ(received, sent);
      EXPECT_EQ(waiting(a, b), 0u);
    }
  });
}

}  // namespace
