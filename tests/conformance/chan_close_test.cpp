// SPDX-License-Identifier: BSL-1.0
// Channels: closing: CH-16 to CH-22, CH-28, CH-C03, CH-C06, CH-C07, and DESIGN section 4's close(error).
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>

#include "support/channel_waiters.hpp"
#include "support/conserves_frames.hpp"
#include "support/counted.hpp"
#include "support/wait_until.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using runnel_test::counted;
using runnel_test::eventually;
using runnel_test::on_1_2_and_4_threads;
using runnel_test::waiting_receivers;
using runnel_test::waiting_senders;

class chan_close : public runnel_test::conserves_frames {};

struct broken : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// What became of operations, in the order in which they became it.
struct journal {
  std::mutex mutex;
  std::vector<std::string> entries;
  void add(std::string entry) {
    std::lock_guard hold(mutex);
    entries.push_back(std::move(entry));
  }
  std::size_t size() {
    std::lock_guard hold(mutex);
    return entries.size();
  }
};

rn::task<> receive(rn::chan<int> ch, std::string name, journal& log) {
  try {
    auto v = co_await ch.recv();
    log.add(name + (v ? " got " + std::to_string(*v) : " found it closed"));
  } catch (const broken& e) {
    log.add(name + " caught " + e.what());
  }
}
rn::task<> send(rn::chan<int> ch, int value, std::string name, journal& log) {
  try {
    co_await ch.send(value);
    log.add(name + " sent");
  } catch (const rn::closed_channel&) {
    log.add(name + " was refused");
  }
}

// CH-16, CH-C03, CH-05
TEST_F(chan_close, closing_twice_or_closing_nil_is_misuse) {
  rn::chan<int> ch(1);
  EXPECT_FALSE(ch.is_closed());
  ch.close();
  EXPECT_TRUE(ch.is_closed());
  EXPECT_THROW(ch.close(), rn::closed_channel);
  EXPECT_THROW(ch.close(broken("again")), rn::closed_channel);
  EXPECT_THROW(ch.close(), rn::misuse_error);  // closed_channel is one
  EXPECT_FALSE(ch.close_if_open());
  rn::chan<int> open(0);
  EXPECT_TRUE(open.close_if_open());
  EXPECT_FALSE(open.close_if_open());

  rn::chan<int> nil;
  try {
    nil.close();
    ADD_FAILURE() << "closed the nil channel";
  } catch (const rn::closed_channel&) {
    ADD_FAILURE() << "the nil channel is not closed";
  } catch (const rn::misuse_error& e) {
    EXPECT_NE(std::string(e.what()).find("nil"), std::string::npos);
  }
  EXPECT_FALSE(nil.close_if_open());
  EXPECT_THROW((void)nil.closer(), rn::misuse_error);
}

// CH-17
TEST_F(chan_close, every_waiting_receiver_finds_it_closed) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int capacity : {0, 4}) {
      rn::chan<int> ch(capacity);
      journal log;
      for (int i = 0; i < 100; ++i) rn::go(receive, ch, std::string("r"), std::ref(log));
      co_await eventually([&] { return waiting_receivers(ch) == 100; });
      ch.close();
      co_await eventually([&] { return log.size() == 100; });
      for (auto& entry : log.entries) EXPECT_EQ(entry, "r found it closed");
    }
  });
}

// CH-17, CH-19
TEST_F(chan_close, every_waiting_sender_is_refused_and_its_element_not_delivered) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int capacity : {0, 2}) {
      rn::chan<int> ch(capacity);
      journal log;
      for (int i = 0; i < capacity; ++i) EXPECT_TRUE(ch.try_send(i));
      for (int i = 0; i < 100; ++i) rn::go(send, ch, 1000 + i, std::string("s"), std::ref(log));
      co_await eventually([&] { return waiting_senders(ch) == 100; });
      ch.close();
      co_await eventually([&] { return log.size() == 100; });
      for (auto& entry : log.entries) EXPECT_EQ(entry, "s was refused");
      for (int i = 0; i < capacity; ++i) EXPECT_EQ(co_await ch.recv(), i);  // CH-18
      EXPECT_EQ(co_await ch.recv(), std::nullopt);
    }
  });
}

// CH-21, CH-C07: on one thread the order in which waiters become runnable can be seen.
TEST_F(chan_close, waiters_go_on_in_the_order_in_which_they_came) {
  rn::runtime rt(rn::threads(1));
  rt.run([]() -> rn::task<> {
    for (bool senders : {false, true}) {
      rn::chan<int> ch(0);
      journal log;
      std::vector<std::string> want;
      for (int i = 0; i < 10; ++i) {
        auto name = std::to_string(i);
        want.push_back(name + (senders ? " was refused" : " found it closed"));
        if (senders)
          rn::go(send, ch, i, name, std::ref(log));
        else
          rn::go(receive, ch, name, std::ref(log));
        co_await eventually([&] { return waiting_senders(ch) + waiting_receivers(ch) == static_cast<std::size_t>(i + 1); });
      }
      ch.close();
      EXPECT_EQ(log.size(), 0u);  // CH-C06, GEN-04: close woke them, it did not run them
      co_await eventually([&] { return log.size() == 10; });
      EXPECT_EQ(log.entries, want);
    }
  });
}

// CH-18, CH-22, CH-24
TEST_F(chan_close, what_is_buffered_is_received_in_order_and_then_nothing_for_ever) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(8);
    for (int i = 0; i < 5; ++i) co_await ch.send(i);
    ch.close();
    EXPECT_EQ(ch.len(), 5u);
    int next = 0;
    while (auto v = co_await ch.recv()) EXPECT_EQ(*v, next++);
    EXPECT_EQ(next, 5);
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(co_await ch.recv(), std::nullopt);
      EXPECT_TRUE(ch.try_recv().closed());
    }
  });
}

// CH-19, GEN-08
TEST_F(chan_close, a_send_on_a_closed_channel_is_refused_in_every_form_also_with_room) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<std::unique_ptr<int>> ch(4);
    ch.close();
    auto mine = std::make_unique<int>(1);
    bool thrown = false;
    try {
      co_await ch.send(rn::moved(mine));
    } catch (const rn::closed_channel& e) {
      thrown = true;
      EXPECT_STREQ(e.what(), "runnel: the channel is closed");
    }
    EXPECT_TRUE(thrown);
    EXPECT_TRUE(mine);
    EXPECT_FALSE(ch.try_send(std::move(mine)));
    EXPECT_TRUE(mine);
    thrown = false;
    try {
      co_await ch.send(std::make_unique<int>(2));
    } catch (const rn::closed_channel&) {
      thrown = true;
    }
    EXPECT_TRUE(thrown);
    thrown = false;
    try {
      co_await ch.emplace(new int(3));
    } catch (const rn::closed_channel&) {
      thrown = true;
    }
    EXPECT_TRUE(thrown);
    EXPECT_EQ(ch.len(), 0u);
  });
  rn::chan<int> ch(4);
  ch.close();
  EXPECT_THROW(ch.blocking_send(1), rn::closed_channel);
}

rn::task<> send_until_closed(rn::chan<int> ch, std::atomic<int>& accepted) {
  try {
    for (;;) {
      co_await ch.send(1);
      ++accepted;
    }
  } catch (const rn::closed_channel&) {
  }
}
rn::task<> sum_until_closed(rn::chan<int> ch, std::atomic<int>& sum) {
  while (auto v = co_await ch.recv()) sum += *v;
}

// CH-20, CH-15: with waiters and newcomers on both sides, what was accepted is what is received.
TEST_F(chan_close, a_send_that_races_with_close_is_delivered_or_refused) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int round = 0; round < 60; ++round) {
      rn::chan<int> ch(round % 3);
      std::atomic<int> accepted{0}, received{0};
      rn::errgroup g;
      for (int i = 0; i < 4; ++i) {
        g.go(send_until_closed, ch, std::ref(accepted));
        if (i < round % 5) g.go(sum_until_closed, ch, std::ref(received));
      }
      if (round % 5 == 0) {
        co_await eventually([&] { return waiting_senders(ch) == 4; });
      } else {
        co_await eventually([&] { return received > 3 * round; });
      }
      ch.close();
      co_await g.wait();
      while (auto v = ch.try_recv()) received += *v;
      EXPECT_EQ(accepted, received);
    }
  });
}

// DESIGN section 4: close(error) is rethrown at the drained receiver, at each of them.
TEST_F(chan_close, an_error_reaches_every_waiting_receiver) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(0);
    journal log;
    for (int i = 0; i < 20; ++i) rn::go(receive, ch, std::string("r"), std::ref(log));
    co_await eventually([&] { return waiting_receivers(ch) == 20; });
    ch.close(broken("pipe"));
    co_await eventually([&] { return log.size() == 20; });
    for (auto& entry : log.entries) EXPECT_EQ(entry, "r caught pipe");
  });
}

// DESIGN section 4
TEST_F(chan_close, an_error_comes_after_what_is_buffered_and_every_time) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(2);
    co_await ch.send(1);
    co_await ch.send(2);
    journal log;
    rn::go(send, ch, 3, std::string("s"), std::ref(log));
    co_await eventually([&] { return waiting_senders(ch) == 1; });
    ch.close(std::make_exception_ptr(broken("pipe")));
    EXPECT_EQ(co_await ch.recv(), 1);
    EXPECT_EQ(*ch.try_recv(), 2);
    for (int i = 0; i < 3; ++i) {
      auto r = co_await rn::as_result(ch.recv());
      EXPECT_THROW(std::move(r).value(), broken);
      EXPECT_TRUE(ch.try_recv().closed());  // the try form tells, and does not throw
    }
    co_await eventually([&] { return log.size() == 1; });
    EXPECT_EQ(log.entries[0], "s was refused");  // senders hear that it is closed, not the receivers' error
  });
  rn::chan<void> ch(0);
  ch.close(broken("pipe"));
  EXPECT_THROW(ch.blocking_recv(), broken);
  EXPECT_THROW(ch.blocking_recv(), broken);
}

// DESIGN section 4
TEST_F(chan_close, an_error_outlives_the_channel) {
  rn::runtime rt(rn::threads(1));
  rt.run([]() -> rn::task<> {
    journal log;
    auto error = std::make_exception_ptr(broken("pipe"));
    {
      rn::chan<int> ch(0);
      for (int i = 0; i < 3; ++i) {  // the only handles that are left are theirs
        rn::go(receive, ch, std::string("r"), std::ref(log));
        co_await eventually([&] { return waiting_receivers(ch) == static_cast<std::size_t>(i + 1); });
      }
      ch.close(std::exchange(error, nullptr));
    }
    co_await eventually([&] { return log.size() == 3; });
    EXPECT_EQ(log.entries, std::vector<std::string>(3, "r caught pipe"));
  });
}

// DESIGN section 4
TEST_F(chan_close, the_last_copy_of_a_closer_closes) {
  rn::chan<int> ch(1);
  {
    auto first = ch.closer();
    std::optional<rn::closer<int>> second(first);
    auto third = ch.closer();
    EXPECT_FALSE(ch.is_closed());
    second.reset();
    auto fourth = std::move(third);
    EXPECT_FALSE(ch.is_closed());
  }
  EXPECT_TRUE(ch.is_closed());

  rn::chan<int> by_hand(1), other(1);
  {
    auto last = by_hand.closer();
    by_hand.close();
    last = other.closer();  // the channel is closed already: nothing is thrown
    EXPECT_FALSE(other.is_closed());
    last = rn::closer<int>(last);
    EXPECT_FALSE(other.is_closed());
  }
  EXPECT_TRUE(other.is_closed());
}

rn::task<> produce(rn::chan<int> ch, rn::closer<int>) {
  for (int i = 0; i < 10; ++i) co_await ch.send(i);
}

// DESIGN section 3, program 3
TEST_F(chan_close, producers_that_share_a_closer_end_the_loop_of_the_consumer) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(2);
    {
      auto last = ch.closer();
      for (int i = 0; i < 5; ++i) rn::go(produce, ch, last);
    }
    int n = 0;
    while (auto v = co_await ch.recv()) ++n;
    EXPECT_EQ(n, 50);
  });
}

struct waits_without_handle {
  std::unique_ptr<rn::chan<int>> ch;
  std::atomic<bool> unwound{false};
};
rn::task<> wait_on(waits_without_handle& w, bool sends) {
  struct at_end {
    waits_without_handle& w;
    ~at_end() { w.unwound = rn::unwinding(); }
  } end{w};
  if (sends)
    co_await w.ch->send(1);
  else
    co_await w.ch->recv();
  ADD_FAILURE() << "nobody could have completed it";
}

// CH-28, GEN-13, GEN-14
TEST_F(chan_close, the_death_of_the_last_handle_wakes_nobody_and_leaves_waiters_cancellable) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (bool sends : {false, true}) {
      waits_without_handle w{std::make_unique<rn::chan<int>>(0)};
      rn::errgroup g;
      g.go(wait_on, std::ref(w), sends);
      co_await eventually([&] { return waiting_senders(*w.ch) + waiting_receivers(*w.ch) == 1; });
      w.ch.reset();
      std::vector<rn::chan<int>> others;  // which get the memory of the dead one
      for (int i = 0; i < 8; ++i) {
        others.emplace_back(1);
        EXPECT_TRUE(others.back().try_send(i));
        others.back().close();
      }
      for (int i = 0; i < 20; ++i) co_await rn::yield();
      EXPECT_EQ(g.live(), 1u);
      g.cancel();
      co_await g.wait();
      EXPECT_TRUE(w.unwound);
    }
  });
}

// CH-28, CH-C04
TEST_F(chan_close, the_last_handle_destroys_what_is_buffered) {
  {
    rn::chan<counted> ch(4);
    rn::chan<counted> copy = ch;
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(ch.try_send(counted(i)));
    EXPECT_TRUE(ch.try_recv());
    EXPECT_TRUE(ch.try_send(counted(3)));
    EXPECT_TRUE(ch.try_send(counted(4)));  // wrapped
    EXPECT_EQ(counted::alive(), 4);
    ch = rn::chan<counted>();
    EXPECT_EQ(counted::alive(), 4);
    EXPECT_FALSE(copy.is_closed());
  }
  EXPECT_EQ(counted::alive(), 0);
}

// GEN-14: shutdown reaches everybody who waits.
TEST_F(chan_close, shutdown_unwinds_who_waits_at_a_channel) {
  for (long n : {1L, 2L, 4L}) {
    rn::chan<int> senders(0), receivers(0), nil;
    journal log;
    std::size_t nobody_on_nil = runnel_test::waiting_on_nil();
    {
      rn::runtime rt{rn::threads(n)};
      for (int i = 0; i < 50; ++i) {
        rt.go(send, senders, i, std::string("s"), std::ref(log));
        rt.go(receive, receivers, std::string("r"), std::ref(log));
        rt.go(receive, nil, std::string("n"), std::ref(log));
      }
      runnel_test::wait_until([&] {
        return waiting_senders(senders) == 50 && waiting_receivers(receivers) == 50 &&
               runnel_test::waiting_on_nil() == nobody_on_nil + 50;
      });
    }
    EXPECT_EQ(log.size(), 0u);
    EXPECT_EQ(waiting_senders(senders) + waiting_receivers(receivers), 0u);
    EXPECT_EQ(runnel_test::waiting_on_nil(), nobody_on_nil);
  }
}

}  // namespace
