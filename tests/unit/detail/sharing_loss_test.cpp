// SPDX-License-Identifier: BSL-1.0
// What counts as lost by sharing, and what does not.
#include <runnel/config.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/processor.hpp>
#include <runnel/detail/scheduler_core.hpp>
#include <runnel/detail/sharing_loss.hpp>
#include <runnel/detail/steal.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace {

using namespace runnel::detail;

// Takes more time than one loss can be.
void pass_longest() noexcept {
  const auto since = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() - since <= std::chrono::nanoseconds(longest_sharing_loss)) runnel::cpu_pause();
}

class a_sharing_loss : public testing::Test {
 protected:
  a_sharing_loss() { take_sharing_loss(); }
  static constexpr int most_tries = 20'000;  // a second, if nobody ever loses anything
  // Two threads call f again and again, until one has lost something. Returns what.
  template <class F> static std::int64_t until_one_loses(F f) {
    std::atomic<std::int64_t> lost{0};
    auto go_on = [&] {
      for (int i = 0; i < most_tries && lost == 0; ++i) {
        f();
        if (any_sharing_loss()) lost = take_sharing_loss();
      }
    };
    std::thread other(go_on);
    go_on();
    other.join();
    return lost;
  }
  bias_owner one, other;  // two processors, for a lock
};

TEST_F(a_sharing_loss, is_taken_once) {
  add_sharing_loss(3);
  add_sharing_loss(4);
  EXPECT_TRUE(any_sharing_loss());
  EXPECT_EQ(take_sharing_loss(), 7);
  EXPECT_FALSE(any_sharing_loss());
  EXPECT_EQ(take_sharing_loss(), 0);
}

TEST_F(a_sharing_loss, is_the_threads_own) {
  std::thread([] { add_sharing_loss(3); }).join();
  EXPECT_FALSE(any_sharing_loss());
}

TEST_F(a_sharing_loss, of_one_scope_has_a_limit) {
  {
    sharing_loss scope;
    pass_longest();
  }
  EXPECT_EQ(take_sharing_loss(), longest_sharing_loss);
}

TEST_F(a_sharing_loss, is_not_what_one_processor_does_alone) {
  park_lock lock;
  for (int i = 0; i < 1'000; ++i) lock.unlock(lock.lock(&one));
  EXPECT_EQ(take_sharing_loss(), 0);
}

TEST_F(a_sharing_loss, comes_with_each_change_of_hands) {
  park_lock lock;
  lock.unlock(lock.lock(&one));
  for (int i = 0; i < 5; ++i) {
    lock.unlock(lock.lock(&other));
    lock.unlock(lock.lock(&one));
  }
  EXPECT_EQ(take_sharing_loss(), 10 * loss_by_handoff);
}

TEST_F(a_sharing_loss, is_no_processors_where_a_thread_outside_has_the_lock) {
  park_lock lock;
  lock.unlock(lock.lock(&one));
  lock.unlock(lock.lock(nullptr));
  EXPECT_EQ(take_sharing_loss(), 0);
}

TEST_F(a_sharing_loss, comes_with_waiting_for_a_lock) {
  park_lock lock;
  EXPECT_GT(until_one_loses([&] {
              bool biased = lock.lock(nullptr);  // which counts no change of hands
              pass_longest();
              lock.unlock(biased);
            }),
            0);
}

#if RUNNEL_HAS_MEMBARRIER  // else the gate is a plain lock
TEST_F(a_sharing_loss, comes_with_waiting_for_a_thief_at_the_gate) {
  owner_gate gate;
  std::atomic<bool> done{false};
  std::thread thief([&] {
    while (!done) {
      gate.enter_foreign();
      pass_longest();
      gate.leave_foreign();
    }
  });
  for (int i = 0; i < most_tries / 20 && !any_sharing_loss(); ++i) {
    gate.enter();
    gate.leave();
    pass_longest();
  }
  done = true;
  thief.join();
  EXPECT_GT(take_sharing_loss(), 0);
}
#endif

struct link : fifo_link {};

TEST_F(a_sharing_loss, comes_with_a_theft_and_with_the_wake_up_for_it) {
  processor victim, thief;
  link work[4];
  victim.gate.enter();
  for (link& each : work) victim.push_goroutine(&each);
  victim.gate.leave();
  thief.woken_at = 1'000'000;
  thief.sampled_at = thief.woken_at + 30'000;
  EXPECT_TRUE(steal_from(victim, thief, false));
  EXPECT_GE(take_sharing_loss(), 30'000);
  EXPECT_EQ(thief.sampled_at, 1'000'000);
  EXPECT_EQ(thief.woken_at, 0);

  thief.sampled_at = 2'000'000;  // it goes on, and steals again
  EXPECT_TRUE(steal_from(victim, thief, false));
  EXPECT_GT(take_sharing_loss(), 0);
  EXPECT_EQ(thief.sampled_at, 2'000'000);
}

struct slow_host final : pump_host {
  std::vector<processor*> posted;
  void post_pump(processor& p, bool) noexcept override {
    posted.push_back(&p);
    pass_longest();
  }
  void arm_monitor(std::int64_t) noexcept override {}
  void hold_work(bool) noexcept override {}
  mutable std::int64_t time = 0;  // passes when it is asked for
  std::int64_t now() const noexcept override { return time += 1'000; }
  std::shared_ptr<void> share() noexcept override { return nullptr; }
};
// What runs says what it has found.
struct visit : fifo_link {
  std::int64_t loses = 0;
  std::int64_t woken_at = -1;
};
struct visits {
  static void goroutine(processor& p, fifo_link* g) noexcept {
    auto& it = *static_cast<visit*>(g);
    it.woken_at = p.woken_at;
    if (it.loses != 0) add_sharing_loss(it.loses);
  }
  static void child(processor&, list_link*) noexcept {}
  static void settle(processor&) noexcept {}
  static void fetch_next(fifo_link*) noexcept {}
  static fifo_link* of_fresh(list_link*) noexcept { return nullptr; }
};

struct open_scheduler : scheduler_core {
  using scheduler_core::scheduler_core;
  using scheduler_core::x_cost;
};

TEST_F(a_sharing_loss, comes_with_waking_another_and_with_being_woken_only_for_a_theft) {
  slow_host host;
  scheduler_core core(host, 2);
  visit injected;
  core.schedule(&injected);
  EXPECT_EQ(take_sharing_loss(), longest_sharing_loss);
  ASSERT_EQ(host.posted.size(), 1u);
  processor& woken = *host.posted.front();
  EXPECT_EQ(woken.woken_at, host.time);
  core.pump_posted<visits>(woken);
  EXPECT_EQ(injected.woken_at, 0);
  EXPECT_FALSE(any_sharing_loss());
  EXPECT_TRUE(core.all_idle());
}

// A processor that is woken, loses time, and runs dry before its first sample is due.
TEST_F(a_sharing_loss, is_told_to_the_cost_model_by_the_shortest_pump_too) {
  slow_host host;
  host.time = 1'000'000'000;
  open_scheduler core(host, 2);
  visit injected;
  injected.loses = 1'000'000;
  ASSERT_TRUE(core.x_cost.is_coarse(15'000));
  core.schedule(&injected);
  core.pump_posted<visits>(*host.posted.front());
  EXPECT_FALSE(core.x_cost.is_coarse(15'000));
}

// What a thread has lost before is not this processor's.
TEST_F(a_sharing_loss, is_not_told_where_no_pump_was) {
  slow_host host;
  host.time = 1'000'000'000;
  open_scheduler core(host, 2);
  visit injected;
  core.schedule(&injected);
  add_sharing_loss(1'000'000);
  core.pump_posted<visits>(*host.posted.front());
  EXPECT_TRUE(core.x_cost.is_coarse(15'000));
}

}  // namespace
