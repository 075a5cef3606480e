// SPDX-License-Identifier: BSL-1.0
#include <runnel/chan.hpp>

#include <runnel/as_result.hpp>
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/runtime.hpp>
#include <runnel/with_context.hpp>

#include "support/channel_waiters.hpp"
#include "support/conserves_frames.hpp"
#include "support/wait_until.hpp"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using runnel_test::eventually;
using runnel_test::on_1_2_and_4_threads;
using runnel_test::wait_until;
using runnel_test::waiting_receivers;
using runnel_test::waiting_senders;

class chan : public runnel_test::conserves_frames {};

// ---- Creation and identity ----

// CH-01
TEST_F(chan, refuses_a_negative_or_absurd_capacity) {
  EXPECT_THROW((void)rn::chan<int>(-1), rn::misuse_error);
  EXPECT_THROW((void)rn::chan<int>(std::numeric_limits<std::ptrdiff_t>::min()), rn::misuse_error);
  EXPECT_THROW((void)rn::chan<int>(std::numeric_limits<std::ptrdiff_t>::max()), rn::misuse_error);
  EXPECT_THROW((void)rn::chan<std::string>(std::numeric_limits<std::ptrdiff_t>::max() / 8), rn::misuse_error);
#if !RUNNEL_ASAN && !RUNNEL_TSAN  // a sanitizer's allocator ends the program instead
  EXPECT_THROW((void)rn::chan<char>(std::numeric_limits<std::ptrdiff_t>::max() / 2), std::bad_alloc);
#endif
  rn::chan<int> ch(3);
  EXPECT_EQ(ch.cap(), 3u);
  EXPECT_EQ(rn::chan<int>(0).cap(), 0u);
}

// CH-04
TEST_F(chan, handles_compare_by_identity) {
  rn::chan<int> a(1), b(1), copy = a, nil;
  EXPECT_EQ(a, copy);
  EXPECT_NE(a, b);
  EXPECT_NE(a, nil);
  EXPECT_EQ(nil, rn::chan<int>());
  EXPECT_TRUE(a);
  EXPECT_FALSE(nil);
  EXPECT_EQ(rn::sender<int>(a), rn::sender<int>(copy));
  EXPECT_NE(rn::receiver<int>(a), rn::receiver<int>(b));
  rn::chan<int> moved = std::move(copy);
  EXPECT_EQ(moved, a);
  EXPECT_FALSE(copy);
  moved = *&moved;
  EXPECT_EQ(moved, a);
}

template <class Half>
concept can_receive = requires(const Half& h) { h.recv(), h.try_recv(), h.blocking_recv(); };
template <class Half>
concept can_send = requires(const Half& h) { h.send(1), h.try_send(1), h.blocking_send(1), h.emplace(1); };
template <class Half>
concept can_close = requires(const Half& h) { h.close(); } || requires(const Half& h) { h.close_if_open(); } ||
                    requires(const Half& h) { h.closer(); };

// CH-03
static_assert(can_receive<rn::chan<int>> && can_send<rn::chan<int>> && can_close<rn::chan<int>>);
static_assert(can_receive<rn::receiver<int>> && !can_send<rn::receiver<int>> && !can_close<rn::receiver<int>>);
static_assert(!can_receive<rn::sender<int>> && can_send<rn::sender<int>> && can_close<rn::sender<int>>);
static_assert(std::is_convertible_v<rn::chan<int>, rn::receiver<int>> &&
              std::is_convertible_v<rn::chan<int>, rn::sender<int>>);
static_assert(!std::is_constructible_v<rn::chan<int>, rn::receiver<int>> &&
              !std::is_constructible_v<rn::chan<int>, rn::sender<int>> &&
              !std::is_constructible_v<rn::sender<int>, rn::receiver<int>> &&
              !std::is_constructible_v<rn::receiver<int>, rn::sender<int>>);
// An element is not made from what cannot make it, and a capacity is not made by accident.
template <class T, class U>
concept sends = requires(const rn::chan<T>& ch, U u) { ch.send(u); };
static_assert(sends<std::string, const char*> && !sends<std::string, std::vector<int>> && !sends<int*, int>);
static_assert(!std::is_convertible_v<int, rn::chan<int>>);
static_assert(std::is_nothrow_move_constructible_v<rn::chan<int>> && std::is_nothrow_copy_constructible_v<rn::chan<int>>);

// CH-03
TEST_F(chan, its_halves_send_and_receive) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(4);
    rn::sender<int> out = ch;
    rn::receiver<int> in = ch;
    co_await out.send(1);
    co_await out.emplace(2);
    EXPECT_TRUE(out.try_send(3));
    int x = 4;
    co_await out.send(rn::moved(x));
    EXPECT_EQ(in.len(), 4u);
    EXPECT_EQ(out.cap(), 4u);
    out.close();
    EXPECT_TRUE(in.is_closed() && out.is_closed());
    EXPECT_EQ(*in.try_recv(), 1);
    for (int i = 2; auto v = co_await in.recv(); ++i) EXPECT_EQ(*v, i);
  });
  rn::sender<int> no_sender;
  rn::receiver<int> no_receiver;
  EXPECT_FALSE(no_sender || no_receiver);
  EXPECT_FALSE(no_sender.try_send(1));
  EXPECT_TRUE(no_receiver.try_recv().would_block());
}

// ---- The nil channel ----

rn::task<> recv_once(rn::chan<int> ch, std::atomic<int>& returned) {
  co_await ch.recv();
  ++returned;
}
rn::task<> send_once(rn::chan<int> ch, std::atomic<int>& returned) {
  co_await ch.send(1);
  ++returned;
}

// CH-05, CH-22
TEST_F(chan, nil_blocks_for_ever_and_can_be_cancelled) {
  EXPECT_EQ(rn::chan<int>().len(), 0u);
  EXPECT_EQ(rn::chan<int>().cap(), 0u);
  EXPECT_FALSE(rn::chan<int>().is_closed());
  EXPECT_FALSE(rn::chan<int>().try_send(1));
  EXPECT_TRUE(rn::chan<int>().try_recv().would_block());
  EXPECT_THROW((void)rn::chan<int>().blocking_recv(), rn::misuse_error);
  EXPECT_THROW((void)rn::chan<int>().blocking_send(1), rn::misuse_error);
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> returned{0};
    rn::chan<int> nil;
    std::size_t others = runnel_test::waiting_on_nil();
    rn::errgroup g;
    for (int i = 0; i < 10; ++i) {
      g.go(recv_once, nil, std::ref(returned));
      g.go(send_once, nil, std::ref(returned));
    }
    co_await eventually([&] { return runnel_test::waiting_on_nil() == others + 20; });
    for (int i = 0; i < 20; ++i) co_await rn::yield();
    g.cancel();
    co_await g.wait();
    EXPECT_EQ(returned, 0);
    EXPECT_EQ(runnel_test::waiting_on_nil(), others);
    auto [ctx, cancel] = rn::context::background().with_cancel();
    cancel();
    auto r = co_await rn::as_result(rn::with_context(ctx, nil.recv()));
    EXPECT_TRUE(r.canceled());
  });
}

// ---- try forms ----

// CH-24, CH-C01
TEST_F(chan, try_recv_has_three_outcomes) {
  rn::chan<int> ch(1);
  auto r = ch.try_recv();
  EXPECT_TRUE(r.would_block() && !r.closed() && !r.has_value() && !r);
  EXPECT_TRUE(ch.try_send(3));
  r = ch.try_recv();
  EXPECT_TRUE(r && r.has_value() && !r.would_block() && !r.closed());
  EXPECT_EQ(*r, 3);
  EXPECT_TRUE(ch.try_send(4));
  ch.close();
  EXPECT_EQ(*ch.try_recv(), 4);
  r = ch.try_recv();
  EXPECT_TRUE(r.closed() && !r.would_block() && !r);

  rn::chan<std::unique_ptr<int>> owners(1);
  EXPECT_TRUE(owners.try_send(std::make_unique<int>(5)));
  std::unique_ptr<int> p = *owners.try_recv();
  EXPECT_EQ(*p, 5);
}

// CH-24: on a rendezvous a try form succeeds exactly if somebody waits on the other side.
TEST_F(chan, try_forms_meet_who_waits) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(0);
    EXPECT_FALSE(ch.try_send(1));
    EXPECT_TRUE(ch.try_recv().would_block());
    std::atomic<int> returned{0};
    rn::errgroup g;
    g.go(recv_once, ch, std::ref(returned));
    co_await eventually([&] { return waiting_receivers(ch) == 1; });
    EXPECT_TRUE(ch.try_send(1));
    EXPECT_FALSE(ch.try_send(1));
    g.go(send_once, ch, std::ref(returned));
    co_await eventually([&] { return waiting_senders(ch) == 1; });
    EXPECT_EQ(*ch.try_recv(), 1);
    co_await g.wait();
    EXPECT_EQ(returned, 2);
  });
}

// CH-23: the channel holds one element when the call begins, and is closed meanwhile.
TEST_F(chan, try_recv_of_an_element_never_answers_would_block_while_it_is_closed) {
  constexpr int rounds = 5000;
  std::vector<rn::chan<int>> channels;
  for (int i = 0; i < rounds; ++i) {
    channels.emplace_back(1);
    ASSERT_TRUE(channels.back().try_send(i));
  }
  std::atomic<int> at{-1};
  std::thread closer([&] {
    for (int i = 0; i < rounds; ++i) {
      wait_until([&] { return at.load() >= i; });
      channels[static_cast<std::size_t>(i)].close();
    }
  });
  int wrong = 0;
  for (int i = 0; i < rounds; ++i) {
    auto& ch = channels[static_cast<std::size_t>(i)];
    at = i;
    auto r = ch.try_recv();
    wrong += !r || *r != i;
    for (bool done = false; !done;) {  // and then "would block" until it is "closed", never the other way round
      auto again = ch.try_recv();
      wrong += again.has_value();
      done = again.closed();
      if (!done) std::this_thread::yield();
    }
    wrong += !ch.try_recv().closed();
  }
  closer.join();
  EXPECT_EQ(wrong, 0);
}

// CH-25
TEST_F(chan, len_and_cap_are_snapshots_that_anybody_may_take_at_any_time) {
  rn::chan<int> ch(8);
  std::atomic<bool> stop{false};
  std::thread watcher([&] {
    while (!stop) {
      EXPECT_LE(ch.len(), 8u);
      EXPECT_EQ(ch.cap(), 8u);
      (void)ch.is_closed();
    }
  });
  {
    rn::runtime rt(rn::threads(2));
    rt.run([&]() -> rn::task<> {
      auto drain = [](rn::chan<int> c) -> rn::task<> {
        while (auto v = co_await c.recv()) {}
      };
      rn::errgroup g;
      g.go(drain, ch);
      for (int i = 0; i < 2000; ++i) co_await ch.send(i);
      ch.close();
      co_await g.wait();
    });
  }
  stop = true;
  watcher.join();
  EXPECT_EQ(ch.len(), 0u);
}

// ---- Plain threads ----

// GEN-15
TEST_F(chan, blocking_forms_meet_goroutines_and_each_other) {
  for (int capacity : {0, 3}) {
    rn::chan<int> in(capacity), out(capacity);
    std::atomic<std::int64_t> sum{0};
    {
      rn::runtime rt(rn::threads(2));
      auto relay = [](rn::chan<int> from, rn::chan<int> to) -> rn::task<> {
        while (auto v = co_await from.recv()) co_await to.send(*v);
      };
      for (int i = 0; i < 3; ++i) rt.go(relay, in, out);
      std::vector<std::thread> receivers, senders;
      for (int t = 0; t < 2; ++t)
        receivers.emplace_back([&] {
          while (auto v = out.blocking_recv()) sum += *v;
        });
      for (int t = 0; t < 2; ++t)
        senders.emplace_back([&] {
          for (int i = 1; i <= 500; ++i) in.blocking_send(i);
        });
      for (auto& t : senders) t.join();
      in.close();
      wait_until([&] { return rt.live() == 0; });
      out.close();
      for (auto& t : receivers) t.join();
    }
    EXPECT_EQ(sum, 2 * 500 * 501 / 2);
  }
}

// GEN-15, CH-17
TEST_F(chan, close_releases_blocked_threads) {
  rn::chan<int> receivers(0), senders(1);
  EXPECT_TRUE(senders.try_send(1));
  std::thread a([&] { EXPECT_EQ(receivers.blocking_recv(), std::nullopt); });
  std::thread b([&] { EXPECT_THROW(senders.blocking_send(2), rn::closed_channel); });
  wait_until([&] { return waiting_receivers(receivers) == 1 && waiting_senders(senders) == 1; });
  receivers.close();
  senders.close();
  a.join();
  b.join();
  EXPECT_EQ(senders.blocking_recv(), 1);
  EXPECT_EQ(senders.blocking_recv(), std::nullopt);
  rn::chan<void> counts(1);
  counts.blocking_send();
  EXPECT_TRUE(counts.blocking_recv());
  counts.close();
  EXPECT_FALSE(counts.blocking_recv());
}

// GEN-15
TEST_F(chan, blocking_forms_are_refused_in_a_goroutine) {
  rn::runtime rt(rn::threads(1));
  rt.run([]() -> rn::task<> {
    rn::chan<int> ch(1);
    EXPECT_THROW(ch.blocking_recv(), rn::misuse_error);
    EXPECT_THROW(ch.blocking_send(1), rn::misuse_error);
    EXPECT_EQ(ch.len(), 0u);
    EXPECT_EQ(waiting_receivers(ch), 0u);
    co_return;
  });
}

// GEN-15: a plain handler may wait for a goroutine that it keeps from running.
TEST_F(chan, blocking_forms_are_refused_in_a_handler_of_a_context_with_goroutines) {
  rn::chan<int> ch(1);
  auto refused = [&] {
    try {
      ch.blocking_send(1);
    } catch (const rn::misuse_error&) {
      return true;
    }
    return false;
  };
  std::atomic<int> refusals{0};
  {
    boost::asio::thread_pool pool(1);
    rn::scheduler sched(pool);
    boost::asio::post(pool, [&] { refusals += refused(); });
    wait_until([&] { return refusals == 1; });
  }
  boost::asio::io_context io, other;
  rn::scheduler sched(io, rn::threads(1));
  boost::asio::post(io, [&] { refusals += refused(); });
  io.run();
  EXPECT_EQ(refusals, 2);
  EXPECT_EQ(ch.len(), 0u);
  boost::asio::post(other, [&] { refusals += refused(); });
  other.run();
  EXPECT_EQ(refusals, 2);
  EXPECT_EQ(ch.len(), 1u);
}

}  // namespace
