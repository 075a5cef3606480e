// SPDX-License-Identifier: BSL-1.0
// A goroutine makes itself known to cancellers before it sleeps at a channel for the first time, and not before.
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/detail/goroutine.hpp>
#include <runnel/detail/processor.hpp>
#include <runnel/go.hpp>

#include "support/channel_waiters.hpp"
#include "support/checked_runtime.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>

namespace {

namespace rn = runnel;
using test::on_1_2_and_4_threads;
using test::until;

// Of the goroutine that asks.
bool is_listed() {
  return reinterpret_cast<const rn::detail::goroutine*>(rn::detail::this_processor()->current)->listed;
}

rn::task<> in_and_out(rn::chan<int> full, rn::chan<bool> seen) {
  co_await full.send(1);
  (void)co_await full.recv();
  co_await seen.send(is_listed());
  (void)co_await full.recv();  // there is nothing
  co_await seen.send(is_listed());
}

TEST(first_sleep, is_what_makes_a_goroutine_known) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> elements(1);
    rn::chan<bool> seen(2);
    rn::go(in_and_out, elements, seen);
    EXPECT_FALSE(*co_await seen.recv()) << "by what it need not wait for";
    co_await until([&] { return runnel_test::waiting_receivers(elements) == 1; });
    co_await elements.send(1);
    EXPECT_TRUE(*co_await seen.recv());
  });
}

rn::task<> hand_over(rn::chan<int> ch, rn::chan<bool> seen) {
  co_await ch.send(1);
  co_await seen.send(is_listed());
}

TEST(first_sleep, is_not_had_by_who_meets_a_receiver) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(0);
    rn::chan<bool> seen(1);
    for (int i = 0; i < 200; ++i) {  // so often that the lock is biased to a processor, and not
      rn::go([](rn::chan<int> from) -> rn::task<> { (void)co_await from.recv(); }, ch);
      co_await until([&] { return runnel_test::waiting_receivers(ch) == 1; });
      rn::go(hand_over, ch, seen);
      EXPECT_FALSE(*co_await seen.recv());
    }
  });
}

// So many operations that need not wait, then one that does.
rn::task<> sleep_at_last(rn::chan<int> ch, int before, bool sends, test::counted) {
  for (int i = 0; i < before; ++i) {
    co_await ch.send(i);
    (void)co_await ch.recv();
  }
  if (!sends) (void)co_await ch.recv();
  for (;;) co_await ch.send(1);
}

TEST(first_sleep, is_ended_by_a_cancel) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive{0};
    for (int capacity : {0, 1, 2})
      for (int before : {0, 1, 5})
        for (bool sends : {false, true}) {
          if (capacity == 0 && before != 0) continue;
          rn::chan<int> ch(capacity);
          auto [ctx, cancel] = rn::context::background().with_cancel();
          rn::go(ctx, sleep_at_last, ch, before, sends, test::counted(alive));
          co_await until([&] { return runnel_test::waiting_senders(ch) + runnel_test::waiting_receivers(ch) == 1; });
          cancel();
          co_await until([&] { return alive == 0; });
        }
  });
}

TEST(first_sleep, is_ended_or_forgone_whenever_the_cancel_comes) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive{0};
    for (int i = 0; i < 2'000; ++i) {
      rn::chan<int> ch(i % 3);
      auto [ctx, cancel] = rn::context::background().with_cancel();
      rn::go(ctx, sleep_at_last, ch, i % 3 == 0 ? 0 : i % 5, i % 2 == 0, test::counted(alive));
      for (int turns = i % 4; turns > 0; --turns) co_await rn::yield();
      cancel();
      co_await until([&] { return alive == 0; });
    }
  });
}

TEST(first_sleep, at_a_nil_channel_is_ended_by_a_cancel) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive{0};
    auto [ctx, cancel] = rn::context::background().with_cancel();
    const std::size_t others = runnel_test::waiting_on_nil();
    rn::go(ctx, sleep_at_last, rn::chan<int>(), 0, true, test::counted(alive));
    co_await until([&] { return runnel_test::waiting_on_nil() == others + 1; });
    cancel();
    co_await until([&] { return alive == 0; });
  });
}

}  // namespace
