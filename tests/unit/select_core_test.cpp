// SPDX-License-Identifier: BSL-1.0
// The windows of select that chance seldom opens: something of ours is asked in each of them, and makes happen what may.
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/wait_source.hpp>
#include <runnel/go.hpp>
#include <runnel/select.hpp>
#include <runnel/with_context.hpp>

#include "support/channel_waiters.hpp"
#include "support/checked_runtime.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <optional>
#include <utility>

namespace {

namespace rn = runnel;
using runnel_test::waiting_receivers;
using runnel_test::waiting_senders;
using test::on_1_2_and_4_threads;

// A case that is never ready, unless it says so, and does as it is told when it is asked.
class probe final : public rn::detail::awaitable_base, public rn::detail::wait_source {
 public:
  std::function<void()> when_polled, when_registering, when_listed, when_left;
  bool is_ready = false;
  int taken = 0;

  probe() { guard = &rn::detail::hashed_lock(this); }
  bool looks_ready(rn::detail::goroutine&) noexcept override { return run(when_polled), is_ready; }
  bool ready(rn::detail::goroutine&) noexcept override { return run(when_registering), is_ready; }
  void take(rn::detail::goroutine&) noexcept override { ++taken; }
  listed_t join_queue(rn::detail::goroutine&) noexcept override {
    queue.push_back(this);
    run(when_listed);
    return {};
  }
  void leave_queue() noexcept override {
    rn::detail::unlink(this);
    run(when_left);
  }
  void value() const noexcept {}
  // Gives itself to whoever waits, as a peer would.
  void fire() {
    rn::detail::woken out;
    {
      rn::detail::park_lock::guard hold(*guard, nullptr);
      if (rn::detail::take(queue, out)) ++taken;
    }
    out.fire();
  }
  rn::detail::list_head queue;

 private:
  static void run(std::function<void()>& f) {
    if (f) std::exchange(f, nullptr)();
  }
};

template <class... Ch> std::size_t waiting(const Ch&... ch) {
  return (waiting_receivers(ch) + ...) + (waiting_senders(ch) + ...);
}

// What as_result makes of a select that is cancelled in a window.
template <class Prepare> rn::task<> expect_canceled(Prepare prepare) {
  rn::chan<int> a(0), b(0);
  probe p;
  auto [ctx, cancel] = rn::this_context().with_cancel();
  prepare(p, [&end = cancel] { end(); });
  auto r = co_await rn::as_result(rn::with_context(ctx, rn::select(a.recv(), p, b.send(1))));
  EXPECT_TRUE(r.canceled());
  EXPECT_EQ(p.taken, 0);
  EXPECT_FALSE(p.linked());
  EXPECT_EQ(waiting(a, b), 0u);
}

TEST(select_core, a_cancel_after_the_first_look_stops_it_before_it_registers) {
  on_1_2_and_4_threads([] {
    return expect_canceled([](probe& p, auto cancel) { p.when_polled = cancel; });
  });
}

TEST(select_core, a_cancel_while_it_registers_stops_it) {
  on_1_2_and_4_threads([] {
    return expect_canceled([](probe& p, auto cancel) { p.when_registering = cancel; });
  });
}

TEST(select_core, a_cancel_when_all_is_registered_stops_it_before_it_sleeps) {
  on_1_2_and_4_threads([] {
    return expect_canceled([](probe& p, auto cancel) { p.when_listed = cancel; });
  });
}

TEST(select_core, a_cancel_goes_first_where_something_becomes_ready_after_it) {
  on_1_2_and_4_threads([] {
    return expect_canceled([](probe& p, auto cancel) {
      p.when_registering = [&p, cancel] {
        cancel();
        p.is_ready = true;  // too late: it has been claimed
      };
    });
  });
}

// A peer that comes while it registers: its waiter is in the queue of the channel, which comes before the sources.
TEST(select_core, a_peer_claims_it_while_it_registers) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> a(0), b(0);
    probe p;
    bool sent = false;
    p.when_registering = [&] { sent = a.try_send(7); };
    auto r = co_await rn::select(a.recv(), p, b.recv());
    EXPECT_TRUE(sent);
    EXPECT_EQ(r.index(), 0u);
    EXPECT_EQ(r.get<0>(), 7);
    EXPECT_EQ(p.taken, 0);
    EXPECT_EQ(waiting(a, b), 0u);
  });
}

TEST(select_core, a_second_peer_finds_it_claimed_and_keeps_its_element) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> a(0), b(0);
    probe p;
    bool first = false, second = false;
    p.when_listed = [&] {
      first = a.try_send(1);
      second = b.try_send(2);
    };
    auto r = co_await rn::select(b.recv(), p, a.recv());
    EXPECT_TRUE(first);
    EXPECT_FALSE(second);
    EXPECT_EQ(r.get<2>(), 1);
    EXPECT_FALSE(p.linked());
    EXPECT_EQ(waiting(a, b), 0u);
  });
}

TEST(select_core, a_close_finds_it_while_it_registers) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> a(0), b(0);
    probe p;
    p.when_registering = [&] { a.close(); };
    auto r = co_await rn::select(a.recv(), p, b.recv());
    EXPECT_EQ(r.index(), 0u);
    EXPECT_FALSE(r.get<0>());
    bool threw = false;
    p.when_listed = [&] { b.close(); };
    try {
      co_await rn::select(b.send(1), p);
    } catch (const rn::closed_channel&) {
      threw = true;
    }
    EXPECT_TRUE(threw);
    EXPECT_FALSE(p.linked());
  });
}

TEST(select_core, a_source_that_becomes_ready_while_it_registers_is_taken) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> a(0);
    probe p;
    p.when_registering = [&] { p.is_ready = true; };
    auto r = co_await rn::select(a.recv(), p);
    EXPECT_EQ(r.index(), 1u);
    EXPECT_EQ(p.taken, 1);
    EXPECT_EQ(waiting(a), 0u);
  });
}

TEST(select_core, a_source_that_fires_before_it_sleeps_is_taken) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> a(0);
    probe first, second;
    second.when_registering = [&] { first.fire(); };
    auto r = co_await rn::select(first, a.recv(), second);
    EXPECT_EQ(r.index(), 0u);
    EXPECT_EQ(first.taken, 1);
    EXPECT_FALSE(second.linked());
    EXPECT_EQ(waiting(a), 0u);
  });
}

// The context that it names is done while it registers, and the walk has been quicker than its hook.
TEST(select_core, a_named_context_that_is_done_while_it_registers_is_told) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> a(0);
    for (bool late : {false, true}) {
      probe p;
      auto [top, cancel] = rn::this_context().with_cancel();
      auto [below, keep] = top.with_cancel();
      (late ? p.when_listed : p.when_registering) = [&end = cancel] { end(); };
      std::size_t told = 9;
      auto work = [&](rn::context above) -> rn::task<> {
        auto r = co_await rn::select(a.recv(), p, above.done());
        told = r.index();
        auto s = co_await rn::select(a.recv(), rn::done(), p);
        EXPECT_EQ(s.index(), 1u);
      };
      (void)co_await rn::as_result(rn::with_context(below, work(top)));
      EXPECT_EQ(told, 2u);
      EXPECT_EQ(p.taken, 0);
      EXPECT_FALSE(p.linked());
      EXPECT_EQ(waiting(a), 0u);
    }
  });
}

// SEL-07: something moves from a channel that will be looked at to one that has been.
TEST(select_core, the_default_is_not_taken_because_something_moved_meanwhile) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (bool swapped : {false, true}) {  // in which order the channels are looked at is the compiler's
      rn::chan<int> a(1), b(1);
      rn::chan<int>&from = swapped ? a : b, &to = swapped ? b : a;
      co_await from.send(1);
      probe p;
      p.when_polled = [&] {
        EXPECT_TRUE(to.try_send(2));
        EXPECT_TRUE(from.try_recv().has_value());
      };
      auto r = co_await rn::select(a.recv(), p, b.recv(), rn::otherwise);
      EXPECT_TRUE(r.index() == 0 || r.index() == 2);
      EXPECT_EQ(p.taken, 0);
    }
  });
}

// Its own waiters are not met: it does not hand to itself, even if asked under the lock.
TEST(select_core, what_was_claimed_is_dropped_from_the_queue_of_another_channel) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> a(0), b(0);
    probe p;
    p.when_left = [&] { EXPECT_EQ(waiting(a, b), 0u); };  // sources leave last
    p.when_listed = [&] {
      EXPECT_EQ(waiting(a, b), 4u);
      EXPECT_TRUE(b.try_send(3));
      EXPECT_TRUE(b.try_recv().would_block());  // its send to b is claimed, and dropped
      EXPECT_EQ(waiting_senders(b), 0u);
    };
    auto r = co_await rn::select(a.send(1), b.recv(), p, a.recv(), b.send(2));
    EXPECT_EQ(r.index(), 1u);
    EXPECT_EQ(r.get<1>(), 3);
  });
}

}  // namespace
