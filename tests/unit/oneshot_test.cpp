// SPDX-License-Identifier: BSL-1.0
#include <runnel/chan.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/oneshot.hpp>
#include <runnel/select.hpp>
#include <runnel/select_loop.hpp>
#include <runnel/with_context.hpp>
#include <support/checked_runtime.hpp>
#include <support/done_context.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using test::checked_runtime;
using test::on_1_2_and_4_threads;
using test::until;

static_assert(!std::is_copy_constructible_v<rn::oneshot_sender<int>>);
static_assert(!std::is_copy_constructible_v<rn::oneshot_receiver<int>>);
static_assert(std::is_nothrow_move_constructible_v<rn::oneshot_sender<int>>);

rn::task<> send(rn::oneshot_sender<int> tx, int value) {
  EXPECT_TRUE(tx.send(value));
  co_return;
}

TEST(oneshot, what_is_sent_is_received_whoever_comes_first) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int i = 0; i < 50; ++i) {
      auto [tx, rx] = rn::oneshot<int>();
      rn::errgroup g;
      co_await g.go(send, std::move(tx), i);
      if (i % 2 == 0) co_await rn::yield();
      EXPECT_EQ(co_await rx.recv(), i);
      co_await g.wait();
      EXPECT_EQ(co_await rx.recv(), std::nullopt) << "there is one value only";
    }
  });
}

TEST(oneshot, an_error_is_rethrown_at_each_receive) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto [tx, rx] = rn::oneshot<int>();
    EXPECT_TRUE(tx.fail(std::runtime_error("no such page")));
    for (int i = 0; i < 2; ++i)
      EXPECT_EQ(co_await test::error_of_awaiting([&from = rx] { return from.recv(); }), "no such page");
    EXPECT_TRUE(rx.try_recv().closed());
  });
}

TEST(oneshot, the_receiver_learns_that_the_sender_has_died) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto [tx, rx] = rn::oneshot<std::string>();
    std::atomic<int> state = 0;
    rn::errgroup g;
    co_await g.go([](rn::oneshot_receiver<std::string> from, std::atomic<int>& s) -> rn::task<> {
      s = 1;
      auto got = co_await from.recv();
      EXPECT_FALSE(got);
      s = 2;
    }, std::move(rx), std::ref(state));
    co_await until([&] { return state == 1; });
    {
      auto dies = std::move(tx);
      EXPECT_FALSE(dies.is_abandoned());
    }
    co_await g.wait();
    EXPECT_EQ(state, 2);
  });
}

TEST(oneshot, the_sender_learns_that_nobody_receives) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto [tx, rx] = rn::oneshot<std::unique_ptr<int>>();
    std::atomic<int> state = 0;
    rn::errgroup g;
    co_await g.go([](rn::oneshot_sender<std::unique_ptr<int>>& to, std::atomic<int>& s) -> rn::task<> {
      s = 1;
      co_await to.abandoned();
      s = 2;
    }, std::ref(tx), std::ref(state));
    co_await until([&] { return state == 1; });
    EXPECT_FALSE(tx.is_abandoned());
    { auto dies = std::move(rx); }
    co_await g.wait();
    EXPECT_EQ(state, 2);
    co_await tx.abandoned();
    EXPECT_TRUE(tx.is_abandoned());
    auto value = std::make_unique<int>(7);
    EXPECT_FALSE(tx.send(std::move(value)));
    EXPECT_TRUE(value) << "what is not sent is whole";  // NOLINT: that is what is tested
    EXPECT_FALSE(tx.fail(std::runtime_error("nobody hears it")));
  });
}

TEST(oneshot, a_value_that_nobody_received_dies_with_the_receiver) {
  auto [tx, rx] = rn::oneshot<std::shared_ptr<int>>();
  auto value = std::make_shared<int>(7);
  std::weak_ptr<int> alive = value;
  EXPECT_TRUE(tx.send(std::move(value)));
  EXPECT_FALSE(alive.expired());
  { auto dies = std::move(rx); }
  EXPECT_TRUE(alive.expired());
}

TEST(oneshot, try_recv_tells_nothing_yet_from_a_value_and_from_the_end) {
  auto [tx, rx] = rn::oneshot<std::string>();
  EXPECT_TRUE(rx.try_recv().would_block());
  EXPECT_TRUE(tx.send("a"));
  auto got = rx.try_recv();
  EXPECT_TRUE(got);
  EXPECT_EQ(*got, "a");
  EXPECT_TRUE(rx.try_recv().closed());
  auto other = rn::oneshot<void>();
  { auto dies = std::move(other.first); }
  EXPECT_TRUE(other.second.try_recv().closed());
}

TEST(oneshot, a_signal_without_a_value) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    auto [tx, rx] = rn::oneshot<void>();
    EXPECT_TRUE(tx.send());
    EXPECT_TRUE(co_await rx.recv());
    EXPECT_FALSE(co_await rx.recv());
  });
}

TEST(oneshot, sending_twice_and_using_what_was_moved_from_is_misuse) {
  auto [tx, rx] = rn::oneshot<int>();
  EXPECT_TRUE(tx.send(1));
  EXPECT_THROW(tx.send(2), rn::misuse_error);
  EXPECT_THROW(tx.fail(std::runtime_error("x")), rn::misuse_error);
  EXPECT_THROW(tx.fail(std::exception_ptr()), rn::misuse_error);
  auto to = std::move(tx);
  auto from = std::move(rx);
  EXPECT_THROW(tx.send(3), rn::misuse_error);          // NOLINT: that is what is tested
  EXPECT_THROW((void)rx.try_recv(), rn::misuse_error);  // NOLINT
  EXPECT_THROW((void)rx.recv(), rn::misuse_error);      // NOLINT
  EXPECT_THROW((void)tx.abandoned(), rn::misuse_error);  // NOLINT
  EXPECT_EQ(*from.try_recv(), 1);
}

struct fragile {
  explicit fragile(int v) {
    if (v < 0) throw std::invalid_argument("negative");
  }
};
TEST(oneshot, a_value_that_cannot_be_made_leaves_it_open) {
  auto [tx, rx] = rn::oneshot<fragile>();
  EXPECT_THROW(tx.send(-1), std::invalid_argument);
  EXPECT_TRUE(rx.try_recv().would_block());
  EXPECT_TRUE(tx.send(1));
  EXPECT_TRUE(rx.try_recv());
}

TEST(oneshot, a_cancelled_receive_leaves_the_value_where_it_is) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto [tx, rx] = rn::oneshot<int>();
    EXPECT_TRUE((co_await rn::as_result(rn::with_timeout(100us, rx.recv()))).error());
    EXPECT_TRUE((co_await rn::as_result(rn::with_timeout(100us, tx.abandoned()))).error());
    EXPECT_TRUE(tx.send(4));
    EXPECT_FALSE(co_await test::completes_in_a_done_context([&from = rx] { return from.recv(); }));
    EXPECT_EQ(co_await rx.recv(), 4);
  });
}

TEST(oneshot, both_ends_are_cases_of_a_select) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto [tx, rx] = rn::oneshot<int>();
    rn::chan<int> ch(1);
    co_await ch.send(1);
    auto first = co_await rn::select(rx.recv(), tx.abandoned(), ch.recv());
    EXPECT_EQ(first.index(), 2u);
    rn::errgroup g;
    co_await g.go(send, std::move(tx), 9);
    auto second = co_await rn::select(ch.recv(), rx.recv());
    EXPECT_EQ(second.get<1>(), 9);
    co_await g.wait();
    auto other = rn::oneshot<int>();
    co_await g.go([](rn::oneshot_receiver<int> dies) -> rn::task<> {
      auto here = std::move(dies);
      co_await rn::yield();
    }, std::move(other.second));
    auto third = co_await rn::select(ch.recv(), other.first.abandoned());
    EXPECT_EQ(third.index(), 1u);
    co_await g.wait();
  });
}

TEST(oneshot, a_select_loop_is_told_once) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    auto [tx, rx] = rn::oneshot<int>();
    rn::chan<int> ch(3);
    for (int i = 0; i < 3; ++i) co_await ch.send(i);
    ch.close();
    EXPECT_TRUE(tx.send(1));
    int told = 0, received = 0;
    co_await rn::select_loop(rn::on(rx.recv(), [&](std::optional<int> v) { told += v.value_or(100); }),
                             rn::on(ch.recv(), [&](std::optional<int> v) { received += v.has_value(); }));
    EXPECT_EQ(told, 1);
    EXPECT_EQ(received, 3);
  });
}

TEST(oneshot_death, a_half_that_dies_while_somebody_waits_is_reported) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  auto die = [](bool sender) {
    checked_runtime rt(1);
    rt.run([sender]() -> rn::task<> {
      auto made = rn::oneshot<int>();
      std::optional<rn::oneshot_sender<int>> tx(std::move(made.first));
      std::optional<rn::oneshot_receiver<int>> rx(std::move(made.second));
      rn::errgroup g;
      co_await g.go([](rn::oneshot_receiver<int>& from) -> rn::task<> { (void)co_await from.recv(); }, std::ref(*rx));
      co_await g.go([](rn::oneshot_sender<int>& to) -> rn::task<> { co_await to.abandoned(); }, std::ref(*tx));
      for (int i = 0; i < 3; ++i) co_await rn::yield();
      if (sender)
        tx.reset();
      else
        rx.reset();
    });
  };
  EXPECT_DEATH(die(true), "the sender of a oneshot was destroyed while somebody waited for the end of its receiver");
  EXPECT_DEATH(die(false), "the receiver of a oneshot was destroyed while somebody waited for it");
}

}  // namespace
