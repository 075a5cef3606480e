// SPDX-License-Identifier: BSL-1.0
#include <runnel/broadcast.hpp>
#include <runnel/chan.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/select.hpp>
#include <runnel/select_loop.hpp>
#include <runnel/with_context.hpp>
#include <support/checked_runtime.hpp>
#include <support/done_context.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using test::checked_runtime;
using test::on_1_2_and_4_threads;
using test::until;
using ints = std::vector<int>;

static_assert(!std::is_copy_constructible_v<rn::subscription<int>>);
static_assert(std::is_nothrow_move_constructible_v<rn::subscription<int>>);

// What is heard until it is closed; what was missed counts as minus its number.
rn::task<> listen(rn::subscription<int> s, ints& all, std::atomic<int>& listening) {
  ++listening;
  for (;;) {
    auto h = co_await s.recv();
    if (!h) co_return;
    if (h.missed() > 0) all.push_back(-static_cast<int>(h.missed()));
    all.push_back(*h);
  }
}

TEST(broadcast, everybody_hears_everything_that_is_sent_after_they_subscribed) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::broadcast<int> b(64);
    EXPECT_EQ(b.send(-1), 0u) << "nobody hears it";
    ints heard[3];
    std::atomic<int> listening = 0;
    rn::errgroup g;
    co_await g.go(listen, b.subscribe(), std::ref(heard[0]), std::ref(listening));
    co_await g.go(listen, b.subscribe(), std::ref(heard[1]), std::ref(listening));
    EXPECT_EQ(b.subscriptions(), 2u);
    EXPECT_EQ(b.send(0), 2u);
    co_await g.go(listen, b.subscribe(), std::ref(heard[2]), std::ref(listening));
    for (int i = 1; i < 20; ++i) {
      EXPECT_EQ(b.send(i), 3u);
      if (i % 5 == 0) co_await rn::yield();
    }
    b.close();
    co_await g.wait();
    ints all;
    for (int i = 0; i < 20; ++i) all.push_back(i);
    EXPECT_EQ(heard[0], all);
    EXPECT_EQ(heard[1], all);
    all.erase(all.begin());
    EXPECT_EQ(heard[2], all);
    EXPECT_EQ(b.subscriptions(), 0u);
  });
}

TEST(broadcast, who_lags_is_told_how_many_it_missed_and_goes_on_with_the_oldest) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::broadcast<int> b(3);
    auto s = b.subscribe();
    for (int i = 0; i < 3; ++i) b.send(i);
    EXPECT_EQ(s.behind(), 3u);
    auto h = co_await s.recv();
    EXPECT_EQ(h.missed(), 0u) << "as many as the capacity are kept";
    EXPECT_EQ(*h, 0);
    for (int i = 3; i < 10; ++i) b.send(i);
    EXPECT_EQ(s.behind(), 9u);
    h = co_await s.recv();
    EXPECT_EQ(h.missed(), 6u);
    EXPECT_EQ(*h, 7);
    h = co_await s.recv();
    EXPECT_EQ(h.missed(), 0u) << "it is told once";
    EXPECT_EQ(*h, 8);
    b.close();
    h = co_await s.recv();
    EXPECT_EQ(*h, 9) << "what was sent is heard after the close";
    h = co_await s.recv();
    EXPECT_FALSE(h);
    EXPECT_TRUE(h.closed());
  });
}

TEST(broadcast, try_recv_tells_nothing_yet_from_closed) {
  rn::broadcast<std::string> b(2);
  auto s = b.subscribe();
  auto h = s.try_recv();
  EXPECT_FALSE(h);
  EXPECT_FALSE(h.closed());
  for (const char* t : {"a", "b", "c"}) b.send(t);
  h = s.try_recv();
  EXPECT_EQ(h.missed(), 1u);
  EXPECT_EQ(h->size(), 1u);
  EXPECT_EQ(*s.try_recv(), "c");
  b.close(std::runtime_error("gone"));
  h = s.try_recv();
  EXPECT_FALSE(h);
  EXPECT_TRUE(h.closed());
}

TEST(broadcast, the_error_of_close_is_thrown_behind_the_last_element) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::broadcast<int> b(2);
    auto s = b.subscribe();
    b.send(1);
    std::string said;
    rn::errgroup g;
    std::atomic<bool> first = false;
    co_await g.go([](rn::subscription<int>& from, std::string& into, std::atomic<bool>& heard_one) -> rn::task<> {
      EXPECT_EQ(*(co_await from.recv()), 1);
      heard_one = true;
      into = co_await test::error_of_awaiting([&] { return from.recv(); });
    }, std::ref(s), std::ref(said), std::ref(first));
    co_await until([&] { return first.load(); });
    b.close(std::runtime_error("the source is dry"));
    co_await g.wait();
    EXPECT_EQ(said, "the source is dry");
    EXPECT_EQ(co_await test::error_of_awaiting([&] { return s.recv(); }), "the source is dry");
  });
}

TEST(broadcast, a_send_after_the_close_is_refused_and_so_is_a_second_close) {
  rn::broadcast<int> b(2);
  EXPECT_FALSE(b.is_closed());
  b.close();
  EXPECT_TRUE(b.is_closed());
  EXPECT_THROW(b.send(1), rn::closed_channel);
  EXPECT_THROW(b.close(), rn::closed_channel);
  EXPECT_FALSE(b.close_if_open());
}

TEST(broadcast, a_capacity_below_one_is_misuse) {
  EXPECT_THROW(rn::broadcast<int>(0), rn::misuse_error);
  EXPECT_THROW(rn::broadcast<int>(-1), rn::misuse_error);
  EXPECT_THROW(rn::broadcast<int>(PTRDIFF_MAX), rn::misuse_error);
}

// A T that cannot be copied, and whose lives are counted.
TEST(broadcast, elements_are_shared_and_die_when_nobody_keeps_them) {
  rn::broadcast<std::shared_ptr<int>> b(1);
  auto s = b.subscribe(), t = b.subscribe();
  auto life = std::make_shared<int>(7);
  std::weak_ptr<int> alive = life;
  b.send(std::move(life));
  auto one = s.try_recv(), two = t.try_recv();
  EXPECT_EQ(one.share().get(), two.share().get());
  EXPECT_EQ(alive.use_count(), 1);
  auto kept = one.share();
  b.send(nullptr);
  one = s.try_recv();
  two = t.try_recv();
  EXPECT_FALSE(alive.expired());
  kept.reset();
  EXPECT_TRUE(alive.expired());
  rn::broadcast<std::unique_ptr<int>> moves(1);
  auto u = moves.subscribe();
  moves.send(std::make_unique<int>(3));
  EXPECT_EQ(**u.try_recv(), 3);
}

TEST(broadcast, a_cancelled_receive_hears_the_element_the_next_time) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::broadcast<int> b(4);
    auto s = b.subscribe();
    for (int i = 0; i < 20; ++i) {
      auto timed_out = co_await rn::as_result(rn::with_timeout(100us, s.recv()));
      EXPECT_TRUE(timed_out.error());
      b.send(i);
      auto h = co_await s.recv();
      EXPECT_EQ(*h, i);
      EXPECT_EQ(h.missed(), 0u);
    }
  });
}

TEST(broadcast, a_done_context_wins_over_an_element) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::broadcast<int> b(4);
    auto s = b.subscribe();
    b.send(1);
    EXPECT_FALSE(co_await test::completes_in_a_done_context([&] { return s.recv(); }));
    EXPECT_EQ(s.behind(), 1u);
  });
}

// GEN-02
TEST(broadcast, who_only_receives_what_is_there_lets_others_run) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::broadcast<int> b(1);
    auto s = b.subscribe();
    bool other_ran = false;
    rn::go([&other_ran] { other_ran = true; });
    for (int i = 0; !other_ran && i < 100'000; ++i) {
      b.send(i);
      auto h = co_await s.recv();
      EXPECT_EQ(*h, i);
    }
    EXPECT_TRUE(other_ran);
  });
}

TEST(broadcast, is_a_case_of_a_select) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::broadcast<int> b(4);
    rn::chan<int> ch(1);
    auto s = b.subscribe();
    for (int i = 0; i < 50; ++i) {
      co_await ch.send(i);
      auto r = co_await rn::select(s.recv(), ch.recv());
      EXPECT_EQ(r.index(), 1u);
      b.send(i);
      auto h = co_await rn::select(s.recv(), ch.recv());
      EXPECT_EQ(h.index(), 0u);
      EXPECT_EQ(*h.get<0>(), i);
    }
    auto none = co_await rn::select(rn::on(s.recv(), [](rn::heard<int>) { return 1; }),
                                    rn::on(rn::otherwise, [] { return 2; }));
    EXPECT_EQ(none, 2);
  });
}

TEST(broadcast, a_select_that_waits_is_woken_by_it_once) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::broadcast<int> b(64);
    rn::chan<int> quit(0);
    ints got;
    rn::errgroup g;
    co_await g.go([](rn::subscription<int> s, rn::chan<int> until_closed, ints& into) -> rn::task<> {
      co_await rn::select_loop(rn::on(s.recv(), [&into](rn::heard<int> h) { into.push_back(*h); }),
                               rn::on(until_closed.recv(), [] { return rn::stop; }));
      for (auto h = s.try_recv(); h; h = s.try_recv()) into.push_back(*h);
    }, b.subscribe(), quit, std::ref(got));
    ints all;
    for (int i = 0; i < 40; ++i) {
      b.send(i);
      all.push_back(i);
      co_await rn::yield();
    }
    quit.close();
    co_await g.wait();
    EXPECT_EQ(got, all);
  });
}

TEST(broadcast, one_goroutine_at_a_time_receives_from_a_subscription) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::broadcast<int> b(4);
    auto s = b.subscribe();
    std::atomic<int> listening = 0;
    rn::errgroup g;
    co_await g.go([](rn::subscription<int>& from, std::atomic<int>& n) -> rn::task<> {
      ++n;
      EXPECT_EQ(*(co_await from.recv()), 5);
    }, std::ref(s), std::ref(listening));
    co_await until([&] { return listening == 1; });
    EXPECT_THROW((void)s.recv(), rn::misuse_error);
    EXPECT_THROW((void)s.try_recv(), rn::misuse_error);
    b.send(5);
    co_await g.wait();
    auto moved = std::move(s);
    EXPECT_THROW((void)s.recv(), rn::misuse_error);  // NOLINT: that is what is tested
    EXPECT_EQ(moved.behind(), 0u);
  });
}

TEST(broadcast_death, a_subscription_that_dies_while_somebody_waits_is_reported) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  auto die = [] {
    checked_runtime rt(1);
    rt.run([]() -> rn::task<> {
      rn::broadcast<int> b(4);
      std::optional<rn::subscription<int>> s(b.subscribe());
      rn::errgroup g;
      co_await g.go([](rn::subscription<int>& from) -> rn::task<> { (void)co_await from.recv(); }, std::ref(*s));
      for (int i = 0; i < 3; ++i) co_await rn::yield();
      s.reset();
    });
  };
  EXPECT_DEATH(die(), "a subscription was destroyed or moved while somebody waited for it");
}

}  // namespace
