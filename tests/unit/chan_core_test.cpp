// SPDX-License-Identifier: BSL-1.0
// The state machine of a channel without any scheduler: who waits are foreign waiters, and nobody is woken but by us.
#include <runnel/detail/asymmetric_fence.hpp>
#include <runnel/detail/chan_core.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/processor.hpp>

#include "support/channel_waiters.hpp"
#include "support/counted.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <deque>
#include <exception>
#include <memory>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using namespace runnel::detail;
using runnel_test::count_waiters;
using runnel_test::counted;

// One that waits at the channel, and notes when it is woken.
template <class Waiter>
struct peer : Waiter {
  std::vector<const waiter*>* woken_in = nullptr;
  int wakes = 0;

  template <class... A>
  explicit peer(A&... args) : Waiter(args...) {
    this->kind = waiter::kind_t::foreign;
    this->wake = [](waiter& w) noexcept {
      auto& self = static_cast<peer&>(static_cast<Waiter&>(w));
      ++self.wakes;
      if (self.woken_in) self.woken_in->push_back(&self);
    };
  }
  bool completed() const { return this->outcome == transfer::done; }
};

struct waiting_receiver : peer<recv_waiter<counted>> {
  ~waiting_receiver() { discard(); }
  int value() { return completed() ? element().value() : -1; }
};
struct its_element {
  counted place;
};
struct waiting_sender : its_element, peer<send_waiter<counted>> {
  explicit waiting_sender(int value) : its_element{counted(value)}, peer(place) {}
};

class a_channel : public ::testing::Test {
 protected:
  void make(std::size_t capacity) { core = chan_core::make<counted>(capacity); }
  void TearDown() override {
    if (core) core->release<counted>();
    EXPECT_EQ(counted::alive(), 0);
  }
  transfer send(int value, woken& out) {
    counted c(value);
    auto outcome = core->send(c, out);
    EXPECT_EQ(c.whole(), outcome != transfer::done);  // moved from only if it was sent
    return outcome;
  }
  // What is received, or minus one, or minus two when closed.
  int recv(woken& out) {
    recv_waiter<counted> into;
    core->recv(into, out);
    if (into.outcome == transfer::pending) return -1;
    int value = into.outcome == transfer::done ? into.element().value() : -2;
    into.discard();
    return value;
  }
  chan_core* core = nullptr;
  woken none;
};

bool wakes(const woken& w, const waiter& p) { return w.other == &p && !w.g; }
bool wakes_nobody(const woken& w) { return !w.other && !w.g; }

TEST_F(a_channel, without_room_or_peers_lets_nothing_pass) {
  make(0);
  EXPECT_EQ(send(1, none), transfer::pending);
  EXPECT_EQ(recv(none), -1);
  EXPECT_TRUE(wakes_nobody(none));
  EXPECT_EQ(core->len(), 0u);
}

// CH-07, CH-12
TEST_F(a_channel, with_room_is_a_ring) {
  make(3);
  int next_in = 0, next_out = 0;
  for (int round = 0; round < 7; ++round) {
    while (core->len() < 3) EXPECT_EQ(send(next_in++, none), transfer::done);
    EXPECT_EQ(send(99, none), transfer::pending);
    for (int i = 0; i < 1 + round % 3; ++i) EXPECT_EQ(recv(none), next_out++);
  }
  EXPECT_TRUE(wakes_nobody(none));
}

// CH-10
TEST_F(a_channel, hands_an_element_to_the_oldest_receiver_and_says_whom_to_wake) {
  make(2);
  waiting_receiver first, second;
  core->receivers.push_back(&first);
  core->receivers.push_back(&second);
  woken w;
  EXPECT_EQ(send(1, w), transfer::done);
  EXPECT_TRUE(wakes(w, first));
  EXPECT_TRUE(first.completed() && !second.completed());
  EXPECT_FALSE(first.linked());
  EXPECT_EQ(first.wakes, 0);  // that is the caller's to do, outside of the lock
  EXPECT_EQ(core->len(), 0u);
  EXPECT_EQ(first.value(), 1);
  woken w2;
  EXPECT_EQ(send(2, w2), transfer::done);
  EXPECT_TRUE(wakes(w2, second));
  woken w3;
  EXPECT_EQ(send(3, w3), transfer::done);
  EXPECT_TRUE(wakes_nobody(w3));
  EXPECT_EQ(core->len(), 1u);
}

// CH-06
TEST_F(a_channel, takes_an_element_from_the_oldest_sender_and_says_whom_to_wake) {
  make(0);
  waiting_sender first(1), second(2);
  core->senders.push_back(&first);
  core->senders.push_back(&second);
  for (auto* s : {&first, &second}) {
    woken w;
    EXPECT_EQ(recv(w), s == &first ? 1 : 2);
    EXPECT_TRUE(wakes(w, *s));
    EXPECT_TRUE(s->completed());
    EXPECT_FALSE(s->place.whole());
  }
  EXPECT_EQ(recv(none), -1);
}

// CH-11
TEST_F(a_channel, that_is_full_takes_the_oldest_sender_into_the_slot_that_a_receive_frees) {
  make(2);
  EXPECT_EQ(send(1, none), transfer::done);
  EXPECT_EQ(send(2, none), transfer::done);
  waiting_sender third(3), fourth(4);
  core->senders.push_back(&third);
  core->senders.push_back(&fourth);
  woken w;
  EXPECT_EQ(recv(w), 1);
  EXPECT_TRUE(wakes(w, third));
  EXPECT_EQ(core->len(), 2u);
  EXPECT_EQ(count_waiters(core->lock(), core->senders), 1u);
  EXPECT_EQ(send(99, none), transfer::pending);
  woken w2;
  EXPECT_EQ(recv(w2), 2);
  EXPECT_TRUE(wakes(w2, fourth));
  EXPECT_EQ(recv(none), 3);
  EXPECT_EQ(recv(none), 4);
  EXPECT_EQ(recv(none), -1);
}

// CH-13
TEST_F(a_channel, passes_over_who_has_left) {
  make(0);
  waiting_receiver first, second, third;
  for (auto* r : {&first, &second, &third}) core->receivers.push_back(r);
  unlink(&second);
  unlink(&first);
  woken w;
  EXPECT_EQ(send(1, w), transfer::done);
  EXPECT_TRUE(wakes(w, third));
  EXPECT_EQ(send(2, none), transfer::pending);
}

// CH-17, CH-C07
TEST_F(a_channel, that_is_closed_wakes_receivers_in_order_with_nothing) {
  make(1);
  std::vector<const waiter*> order;
  std::deque<waiting_receiver> receivers(5);
  for (auto& r : receivers) {
    r.woken_in = &order;
    core->receivers.push_back(&r);
  }
  EXPECT_TRUE(core->close<counted>(nullptr));
  ASSERT_EQ(order.size(), 5u);
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(order[i], &receivers[i]);
    EXPECT_EQ(receivers[i].outcome, transfer::closed);
    EXPECT_EQ(receivers[i].wakes, 1);
  }
  EXPECT_EQ(recv(none), -2);
}

// CH-17, CH-18, CH-19
TEST_F(a_channel, that_is_closed_wakes_senders_in_order_keeps_the_buffer_and_takes_no_more) {
  make(2);
  EXPECT_EQ(send(1, none), transfer::done);
  EXPECT_EQ(send(2, none), transfer::done);
  std::vector<const waiter*> order;
  std::deque<waiting_sender> senders;
  for (int i = 0; i < 3; ++i) {
    senders.emplace_back(10 + i);
    senders.back().woken_in = &order;
    core->senders.push_back(&senders.back());
  }
  EXPECT_TRUE(core->close<counted>(nullptr));
  EXPECT_FALSE(core->close<counted>(nullptr));  // CH-16
  ASSERT_EQ(order.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(order[i], &senders[i]);
    EXPECT_EQ(senders[i].outcome, transfer::closed);
    EXPECT_TRUE(senders[i].place.whole());
    EXPECT_EQ(senders[i].wakes, 1);
  }
  EXPECT_EQ(send(3, none), transfer::closed);
  EXPECT_EQ(recv(none), 1);
  EXPECT_EQ(send(3, none), transfer::closed);  // also with room
  EXPECT_EQ(recv(none), 2);
  EXPECT_EQ(recv(none), -2);
  EXPECT_EQ(recv(none), -2);
}

TEST_F(a_channel, that_is_closed_with_an_error_gives_it_to_who_waits_and_to_who_comes) {
  make(1);
  waiting_receiver waits;
  core->receivers.push_back(&waits);
  EXPECT_TRUE(core->close<counted>(std::make_exception_ptr(std::runtime_error("pipe"))));
  EXPECT_EQ(waits.outcome, transfer::closed_with_error);
  for (int i = 0; i < 2; ++i) {
    recv_waiter<counted> into;
    core->recv(into, none);
    ASSERT_EQ(into.outcome, transfer::closed_with_error);
    EXPECT_THROW(std::rethrow_exception(into.error()), std::runtime_error);
    into.discard();
  }
  core->release<counted>();
  core = nullptr;
  EXPECT_THROW(std::rethrow_exception(waits.error()), std::runtime_error);  // it outlives the channel
}

// CH-28
TEST_F(a_channel, that_dies_lets_go_of_who_waits_without_waking_them) {
  make(1);
  EXPECT_EQ(send(1, none), transfer::done);
  waiting_sender sends(2);
  core->senders.push_back(&sends);
  core->retain();
  core->release<counted>();
  EXPECT_TRUE(sends.linked());
  core->release<counted>();
  core = nullptr;
  EXPECT_FALSE(sends.linked());
  EXPECT_EQ(sends.wakes, 0);
  EXPECT_TRUE(sends.place.whole());
}

// Who is parked on a channel may be cancelled by way of a lock whose channel has died and whose block has another.
TEST(memory_of_a_channel, is_used_again_with_the_same_lock) {
  auto* one = chan_core::make<int>(0);
  park_lock* lock = &one->lock();
  one->release<int>();
  auto* two = chan_core::make<int>(0);
  EXPECT_EQ(&two->lock(), lock);
  two->release<int>();
}

TEST(memory_of_a_channel, has_a_lock_without_a_bias_when_the_channel_has_died) {
  if (!asymmetric_fences) GTEST_SKIP() << "no lock is biased where membarrier is not to be had";
  processor here;
  set_this_processor(&here);
  auto* core = chan_core::make<int>(0);
  park_lock& lock = core->lock();
  bool biased = false;
  for (int n = 0; n < 2'000'000 && !biased; ++n) {
    lock.unlock(lock.lock(&here));
    biased = lock.enter_biased(&here);
    if (biased) lock.leave_biased();
  }
  EXPECT_TRUE(biased);
  core->release<int>();
  EXPECT_FALSE(lock.enter_biased(&here));
  set_this_processor(nullptr);
}

TEST(element_of, is_a_box_where_a_move_may_throw) {
  struct may_throw {
    may_throw(may_throw&&) noexcept(false) {}
  };
  static_assert(std::is_same_v<element_of<int>, int>);
  static_assert(std::is_same_v<element_of<counted>, counted>);
  static_assert(std::is_same_v<element_of<may_throw>, std::unique_ptr<may_throw>>);
  static_assert(std::is_empty_v<element_of<void>>);
}

}  // namespace
