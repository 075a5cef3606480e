// SPDX-License-Identifier: BSL-1.0
// The timer service and its host: whatever is set, called off and fired at the same time, the host is in the end armed
// for what is wanted, and for nothing when nothing is.
#include <runnel/context.hpp>
#include <runnel/detail/cancel_node.hpp>
#include <runnel/detail/context_node.hpp>
#include <runnel/detail/timer_service.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <random>
#include <thread>
#include <utility>

namespace {

using namespace runnel::detail;

constexpr std::int64_t never = INT64_MAX;

// Does at once what the service wants.
struct host final : timer_host {
  timer_service* service = nullptr;
  std::atomic<std::int64_t> armed_for{never};
  void set_timer() noexcept override { armed_for = service->wanted(); }
};

struct service_test : ::testing::Test {
  service_test() { clock.service = &service; }
  host clock;
  timer_service service{clock, 0};
  void fire(std::int64_t now) {
    fifo woken;
    clock.armed_for = never;
    service.on_timer(now, woken);
  }
};

struct timer : callback_timer {
  void (*then)(timer&) = nullptr;
  timer_service* service = nullptr;
  timer* other = nullptr;
  timer() noexcept {
    callback_timer::fire = [](callback_timer& t, timer_service& its_service) noexcept {
      auto& self = static_cast<timer&>(t);
      if (self.then) self.then(self);
      its_service.fired(t);
    };
  }
};

TEST_F(service_test, while_something_lives_a_host_that_was_armed_stays_armed) {
  service.hold(true);
  timer a;
  service.arm(a, 1'000);
  EXPECT_EQ(clock.armed_for, 1'000);
  EXPECT_TRUE(service.disarm(a));
  EXPECT_EQ(clock.armed_for, 1'000);  // setting and calling off is what happens most: it costs the host nothing
  service.arm(a, 2'000);
  EXPECT_EQ(clock.armed_for, 1'000);
  fire(1'000);
  EXPECT_EQ(clock.armed_for, 2'000);
  service.disarm(a);
}

TEST_F(service_test, when_nothing_lives_any_more_what_was_called_off_is_forgotten) {
  service.hold(true);
  timer a;
  service.arm(a, 1'000);
  service.disarm(a);
  service.hold(false);
  EXPECT_EQ(clock.armed_for, never);
}

TEST_F(service_test, a_timer_that_is_called_off_when_nothing_lives_releases_the_host) {
  service.hold(true);
  timer a, b;
  service.arm(a, 1'000);
  service.arm(b, 2'000);
  service.hold(false);
  EXPECT_EQ(clock.armed_for, 1'000);  // whoever set it, keeps the context running
  service.disarm(a);
  EXPECT_NE(clock.armed_for, never);
  service.disarm(b);
  EXPECT_EQ(clock.armed_for, never);
  service.arm(a, 3'000);
  EXPECT_EQ(clock.armed_for, 3'000);
  service.disarm(a);
  EXPECT_EQ(clock.armed_for, never);
}

// What fires first calls the last one off, and with it all ends, before on_timer() has armed the host anew.
TEST_F(service_test, a_timer_that_is_called_off_while_another_fires_does_not_arm_the_host) {
  service.hold(true);
  timer first, last;
  first.service = &service;
  first.other = &last;
  first.then = [](timer& self) {
    EXPECT_TRUE(self.service->disarm(*self.other));
    self.service->hold(false);
  };
  service.arm(first, 1'000);
  service.arm(last, 3'600'000'000'000);
  fire(1'000);
  EXPECT_EQ(clock.armed_for, never);
}

// What fires calls off what is due at the same time, and behind it.
TEST_F(service_test, a_timer_is_called_off_until_it_is_its_turn) {
  static bool fired_too;
  fired_too = false;
  timer first, second;
  first.service = &service;
  first.other = &second;
  first.then = [](timer& self) {
    EXPECT_FALSE(self.service->empty());
    EXPECT_TRUE(self.service->disarm(*self.other));
  };
  second.then = [](timer&) { fired_too = true; };
  service.arm(first, 1'000);
  service.arm(second, 1'000);
  fire(1'000);
  EXPECT_FALSE(fired_too);
  EXPECT_TRUE(service.empty());
  service.arm(second, 2'000);
  fire(2'000);
  EXPECT_TRUE(fired_too);
  EXPECT_TRUE(service.empty());
}

// What fires drops the last use of the context whose deadline it is. Its child belongs to another runtime, which is
// idle: the cancellation, once it has called the child's deadline off, has a use of it yet, and gives that up as it ends.
TEST_F(service_test, a_deadline_may_drop_the_last_use_of_its_context) {
  host other_clock;
  timer_service other_service{other_clock, 0};
  other_clock.service = &other_service;
  struct dropper : cancel_hook {
    context_node& node;
    bool later = false;
    explicit dropper(context_node& n) noexcept : node(n) {
      fire = [](cancel_hook& h, wake_batch& batch) noexcept {
        auto& self = static_cast<dropper&>(h);
        if (std::exchange(self.later, true))
          self.node.release();
        else
          batch.add_after(self);
      };
    }
  };
  std::weak_ptr<const context_value> seen;
  bool counts_as_fired = true;
  {
    auto values = std::make_shared<context_value>();
    seen = values;
    values->value.reset(&seen, [&](const void*) { counts_as_fired = service.empty(); });  // it may wake somebody
    auto* outer = new context_node(std::move(values));
    auto* inner = new context_node;
    inner->attach_to(*outer);
    dropper drops(*inner);
    inner->list_hook(drops);
    outer->arm(service, 1'000, nullptr, nullptr);
    inner->arm(other_service, 500, nullptr, nullptr);
    outer->release();
    EXPECT_FALSE(seen.expired());
    fire(1'000);
    EXPECT_TRUE(drops.later);
  }
  EXPECT_TRUE(seen.expired()) << "the context is gone";
  EXPECT_FALSE(counts_as_fired);
  EXPECT_TRUE(service.empty());
  EXPECT_EQ(clock.armed_for, never);
  EXPECT_EQ(other_clock.armed_for, never);
}

TEST_F(service_test, the_host_knows_of_the_next_timer_while_one_fires) {
  service.hold(true);
  static host* the_clock;
  the_clock = &clock;
  timer first, next;
  first.then = [](timer&) { EXPECT_EQ(the_clock->armed_for, 5'000); };
  service.arm(first, 1'000);
  service.arm(next, 5'000);
  fire(1'000);
  service.disarm(next);
}

TEST_F(service_test, a_timer_that_is_set_while_another_fires_arms_the_host) {
  service.hold(true);
  timer first, next;
  first.service = &service;
  first.other = &next;
  first.then = [](timer& self) { self.service->arm(*self.other, 5'000); };
  service.arm(first, 1'000);
  fire(1'000);
  EXPECT_EQ(clock.armed_for, 5'000);
  service.disarm(next);
}

// The same from several threads: at the end the host is armed for nothing.
TEST_F(service_test, a_storm_of_timers_leaves_the_host_at_rest) {
  for (int round = 0; round < 50; ++round) {
    service.hold(true);
    std::atomic<int> running{3};
    auto churn = [&](unsigned seed) {
      std::minstd_rand random(seed);
      for (int i = 0; i < 200; ++i) {
        timer t;
        service.arm(t, static_cast<std::int64_t>(random() % 1'000'000));
        service.disarm(t);
      }
      if (--running == 0) service.hold(false);
    };
    std::thread one(churn, round * 2 + 1), two(churn, round * 2 + 2);
    std::thread clockwork([&] {
      for (std::int64_t now = 0; now < 1'000'000; now += 10'000) {
        fifo woken;
        service.on_timer(now, woken);
      }
      if (--running == 0) service.hold(false);
    });
    one.join();
    two.join();
    clockwork.join();
    EXPECT_EQ(service.wanted(), never);
  }
}

}  // namespace
