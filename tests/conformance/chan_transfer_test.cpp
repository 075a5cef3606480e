// SPDX-License-Identifier: BSL-1.0
// Channels: what passes from senders to receivers, in which order, and what cancellation leaves: CH-06 to CH-15, CH-C08,
// CH-C10, GEN-05.
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>
#include <runnel/with_context.hpp>

#include "support/channel_waiters.hpp"
#include "support/conserves_frames.hpp"
#include "support/wait_until.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using runnel_test::eventually;
using runnel_test::on_1_2_and_4_threads;
using runnel_test::waiting_receivers;
using runnel_test::waiting_senders;

class chan_transfer : public runnel_test::conserves_frames {};

rn::task<> send_one(rn::chan<int> ch, int value, std::atomic<int>& done) {
  co_await ch.send(value);
  ++done;
}
rn::task<> recv_one(rn::chan<int> ch, std::atomic<int>& got) { got = (co_await ch.recv()).value_or(-1); }

// CH-06
TEST_F(chan_transfer, an_unbuffered_send_completes_only_together_with_a_receive) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(0);
    std::atomic<int> sent{0};
    rn::go(send_one, ch, 1, std::ref(sent));
    co_await eventually([&] { return waiting_senders(ch) == 1; });
    for (int i = 0; i < 10; ++i) co_await rn::yield();
    EXPECT_EQ(sent, 0);
    EXPECT_EQ(ch.len(), 0u);  // CH-25: a parked sender is not buffered
    EXPECT_EQ(co_await ch.recv(), 1);
    co_await eventually([&] { return sent == 1; });
    EXPECT_EQ(waiting_senders(ch), 0u);
  });
}

// CH-06
TEST_F(chan_transfer, an_unbuffered_receive_completes_only_together_with_a_send) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(0);
    std::atomic<int> got{0};
    rn::go(recv_one, ch, std::ref(got));
    co_await eventually([&] { return waiting_receivers(ch) == 1; });
    for (int i = 0; i < 10; ++i) co_await rn::yield();
    EXPECT_EQ(got, 0);
    co_await ch.send(7);
    co_await eventually([&] { return got == 7; });
  });
}

// CH-07: with nobody on the other side, an operation that waited would wait for ever.
TEST_F(chan_transfer, buffered_operations_complete_at_once_while_there_is_room_or_something) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(3);
    for (int round = 0; round < 5; ++round) {  // the ring wraps
      for (int i = 0; i < 3; ++i) co_await ch.send(round * 3 + i);
      EXPECT_EQ(ch.len(), 3u);
      EXPECT_FALSE(ch.try_send(99));
      for (int i = 0; i < 2; ++i) EXPECT_EQ(co_await ch.recv(), round * 3 + i);
      co_await ch.send(100);
      EXPECT_EQ(co_await ch.recv(), round * 3 + 2);
      EXPECT_EQ(co_await ch.recv(), 100);
      EXPECT_TRUE(ch.try_recv().would_block());
    }
  });
}

// CH-10, CH-09
TEST_F(chan_transfer, a_send_goes_straight_to_the_receiver_that_waits_longest) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(2);
    std::atomic<int> first{0}, second{0};
    rn::go(recv_one, ch, std::ref(first));
    co_await eventually([&] { return waiting_receivers(ch) == 1; });
    rn::go(recv_one, ch, std::ref(second));
    co_await eventually([&] { return waiting_receivers(ch) == 2; });
    EXPECT_TRUE(ch.try_send(10));
    EXPECT_EQ(ch.len(), 0u);  // the buffer was not touched
    EXPECT_EQ(waiting_receivers(ch), 1u);
    co_await eventually([&] { return first == 10; });
    EXPECT_EQ(second, 0);
    EXPECT_TRUE(ch.try_send(11));
    co_await eventually([&] { return second == 11; });
  });
}

// CH-11, CH-13
TEST_F(chan_transfer, a_receive_from_a_full_buffer_moves_the_longest_waiting_sender_into_it) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(2);
    co_await ch.send(1);
    co_await ch.send(2);
    std::atomic<int> sent{0};
    for (int i = 0; i < 2; ++i) {
      rn::go(send_one, ch, 3 + i, std::ref(sent));
      co_await eventually([&] { return waiting_senders(ch) == static_cast<std::size_t>(i + 1); });
    }
    EXPECT_EQ(*ch.try_recv(), 1);
    EXPECT_EQ(ch.len(), 2u);
    EXPECT_EQ(waiting_senders(ch), 1u);
    EXPECT_FALSE(ch.try_send(99));  // a newcomer does not get the slot
    co_await eventually([&] { return sent == 1; });
    for (int want : {2, 3, 4}) EXPECT_EQ(*ch.try_recv(), want);
    co_await eventually([&] { return sent == 2; });
    EXPECT_TRUE(ch.try_recv().would_block());
  });
}

rn::task<> recv_into_slot(rn::chan<int> ch, int& slot, rn::chan<void> done) {
  slot = (co_await ch.recv()).value_or(-1);
  co_await done.send();
}

// CH-13, CH-14
TEST_F(chan_transfer, waiting_receivers_are_served_in_the_order_in_which_they_came) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(0);
    rn::chan<void> done(0);
    std::vector<int> got(40, -7);
    for (std::size_t i = 0; i < got.size(); ++i) {
      rn::go(recv_into_slot, ch, std::ref(got[i]), done);
      co_await eventually([&] { return waiting_receivers(ch) == i + 1; });
    }
    for (int i = 0; i < 40; ++i) EXPECT_TRUE(ch.try_send(i));
    for (int i = 0; i < 40; ++i) EXPECT_TRUE(co_await done.recv());
    for (int i = 0; i < 40; ++i) EXPECT_EQ(got[static_cast<std::size_t>(i)], i);
  });
}

// CH-12, CH-13
TEST_F(chan_transfer, waiting_senders_are_served_in_the_order_in_which_they_came) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int capacity : {0, 3}) {
      rn::chan<int> ch(capacity);
      std::atomic<int> sent{0};
      for (int i = 0; i < capacity; ++i) EXPECT_TRUE(ch.try_send(i));
      for (int i = 0; i < 40; ++i) {
        rn::go(send_one, ch, capacity + i, std::ref(sent));
        co_await eventually([&] { return waiting_senders(ch) == static_cast<std::size_t>(i + 1); });
      }
      for (int i = 0; i < 40 + capacity; ++i) EXPECT_EQ(co_await ch.recv(), i);
      co_await eventually([&] { return sent == 40; });
    }
  });
}

rn::task<> recv_until_stopped(rn::chan<int> ch, std::vector<int>& out) {
  while (auto v = co_await ch.recv()) out.push_back(*v);
}

// CH-13, CH-27: those who leave from the middle of a queue leave the others in order.
TEST_F(chan_transfer, cancelled_waiters_leave_the_queue_and_the_others_in_order) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(0);
    std::atomic<int> sent{0};
    constexpr int n = 300;
    rn::errgroup doomed, others;
    for (int i = 0; i < n; ++i) {
      auto& group = i % 3 == 0 ? others : doomed;
      group.go(send_one, ch, i, std::ref(sent));
      co_await eventually([&] { return waiting_senders(ch) == static_cast<std::size_t>(i + 1); });
    }
    doomed.cancel();
    co_await doomed.wait();
    EXPECT_EQ(waiting_senders(ch), static_cast<std::size_t>(n / 3));
    EXPECT_EQ(sent, 0);
    for (int i = 0; i < n; i += 3) EXPECT_EQ(*ch.try_recv(), i);
    EXPECT_TRUE(ch.try_recv().would_block());
    co_await others.wait();
  });
}

rn::task<> produce(rn::chan<std::pair<int, int>> ch, int who, int n) {
  for (int i = 0; i < n; ++i) co_await ch.emplace(who, i);
}
rn::task<> consume(rn::chan<std::pair<int, int>> ch, std::vector<std::atomic<int>>& times_seen, int n, int producers) {
  std::vector<int> last(static_cast<std::size_t>(producers), -1);
  while (auto v = co_await ch.recv()) {
    auto [who, i] = *v;
    auto& before = last[static_cast<std::size_t>(who)];
    EXPECT_LT(before, i) << "what one sender sent was overtaken";
    before = i;
    ++times_seen[static_cast<std::size_t>(who * n + i)];
  }
}

// CH-15, CH-12
TEST_F(chan_transfer, every_element_is_received_exactly_once) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    constexpr int producers = 8, n = 500;
    for (int capacity : {0, 1, 16}) {
      rn::chan<std::pair<int, int>> ch(capacity);
      std::vector<std::atomic<int>> times_seen(producers * n);
      co_await rn::with_errgroup([&](rn::errgroup& consumers) -> rn::task<> {
        for (int i = 0; i < 5; ++i) consumers.go(consume, ch, std::ref(times_seen), n, producers);
        co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
          for (int i = 0; i < producers; ++i) g.go(produce, ch, i, n);
          co_return;
        });
        ch.close();
      });
      int wrong = 0;
      for (auto& n_seen : times_seen) wrong += n_seen != 1;
      EXPECT_EQ(wrong, 0) << "capacity " << capacity;
    }
  });
}

// GEN-05
TEST_F(chan_transfer, a_cancelled_receive_leaves_the_element) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(1);
    std::vector<int> got;
    rn::errgroup g;
    g.go(recv_until_stopped, ch, std::ref(got));
    co_await eventually([&] { return waiting_receivers(ch) == 1; });
    g.cancel();
    co_await g.wait();
    EXPECT_EQ(waiting_receivers(ch), 0u);
    EXPECT_TRUE(ch.try_send(5));
    EXPECT_TRUE(got.empty());
    EXPECT_EQ(ch.len(), 1u);
    EXPECT_EQ(co_await ch.recv(), 5);
  });
}

// GEN-05, CH-C08: on one thread nothing runs between the commit and the cancellation.
TEST_F(chan_transfer, what_was_committed_is_delivered_even_if_the_cancellation_comes_before_the_receiver_runs) {
  rn::runtime rt(rn::threads(1));
  rt.run([]() -> rn::task<> {
    rn::chan<int> ch(0);
    std::vector<int> got;
    rn::errgroup g;
    g.go(recv_until_stopped, ch, std::ref(got));
    co_await eventually([&] { return waiting_receivers(ch) == 1; });
    EXPECT_TRUE(ch.try_send(5));
    g.cancel();
    EXPECT_TRUE(got.empty());
    co_await g.wait();
    EXPECT_EQ(got, std::vector<int>{5});  // and the next receive unwound
  });
}

// GEN-05, CH-C08
TEST_F(chan_transfer, a_committed_send_is_reported_as_sent_even_if_the_cancellation_comes_before_the_sender_runs) {
  rn::runtime rt(rn::threads(1));
  rt.run([]() -> rn::task<> {
    rn::chan<int> ch(0);
    std::atomic<int> sent{0};
    rn::errgroup g;
    g.go(send_one, ch, 3, std::ref(sent));
    co_await eventually([&] { return waiting_senders(ch) == 1; });
    EXPECT_EQ(*ch.try_recv(), 3);
    g.cancel();
    EXPECT_EQ(sent, 0);
    co_await g.wait();
    EXPECT_EQ(sent, 1);
  });
}

rn::task<> recv_maybe(rn::chan<int> ch, std::atomic<int>& sum) {
  if (auto v = co_await ch.recv()) sum += *v;
}

// GEN-05, CH-C08: a receive and its cancellation race; the element is with the receiver, or still in the channel.
TEST_F(chan_transfer, no_element_is_lost_where_a_receive_and_its_cancellation_race) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    int cancelled = 0;
    for (int round = 0; round < 400; ++round) {
      rn::chan<int> ch(1);
      std::atomic<int> sum{0}, sent{0};
      rn::errgroup receiver, sender;
      receiver.go(recv_maybe, ch, std::ref(sum));
      if (round % 2) co_await eventually([&] { return waiting_receivers(ch) == 1; });
      sender.go(send_one, ch, 1, std::ref(sent));
      if (round % 3) co_await rn::yield();
      receiver.cancel();
      co_await receiver.wait();
      co_await sender.wait();
      int left = ch.try_recv().has_value() ? 1 : 0;
      cancelled += left;
      EXPECT_EQ(sum + left, 1);
    }
    EXPECT_GT(cancelled, 0);  // or nothing was tested
  });
}

// CH-C10
TEST_F(chan_transfer, a_done_context_wins_over_a_ready_channel) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    cancel();
    rn::chan<int> ch(2);
    EXPECT_TRUE(ch.try_send(1));
    auto received = co_await rn::as_result(rn::with_context(ctx, ch.recv()));
    EXPECT_TRUE(received.canceled());
    auto sent = co_await rn::as_result(rn::with_context(ctx, ch.send(2)));
    EXPECT_TRUE(sent.canceled());
    EXPECT_EQ(ch.len(), 1u);
    EXPECT_EQ(co_await ch.recv(), 1);
  });
}

}  // namespace
