// SPDX-License-Identifier: BSL-1.0
// The primitives that no other file runs so: cancelled, killed and out of memory at each place, and nothing is left of
// them, nobody waits in vain, and what must hold of each does. (MU, CO, ON, SF, TM, SEL, PART, CTX-C04)
#include <runnel/after.hpp>
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/otp/partition_supervisor.hpp>
#include <runnel/select_loop.hpp>
#include <runnel/sleep.hpp>
#include <runnel/stop_token.hpp>
#include <runnel/sync/barrier.hpp>
#include <runnel/sync/condition.hpp>
#include <runnel/sync/event.hpp>
#include <runnel/sync/hedge.hpp>
#include <runnel/sync/latch.hpp>
#include <runnel/sync/mutex.hpp>
#include <runnel/sync/once.hpp>
#include <runnel/sync/rate_limiter.hpp>
#include <runnel/sync/retry.hpp>
#include <runnel/sync/shared_mutex.hpp>
#include <runnel/sync/singleflight.hpp>
#include <runnel/test.hpp>
#include <runnel/this_task.hpp>
#include <runnel/ticker.hpp>
#include <runnel/timer.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;

// In the default order and in those of some seeds.
template <class Body, class Invariant, class... Options>
void disturbed(Body body, Invariant invariant, Options... options) {
  try {
    EXPECT_GT(rn::test::cancel_everywhere(options..., body, invariant), 4u);
    EXPECT_GT(rn::test::fail_everywhere(options..., body, invariant), 1u);
    for (std::uint64_t n = 1; n <= 4; ++n) {
      rn::test::cancel_everywhere(rn::test::seed(n), options..., body, invariant);
      rn::test::fail_everywhere(rn::test::seed(n), options..., body, invariant);
    }
  } catch (const rn::test::failure& f) {
    ADD_FAILURE() << f.what();
  }
}

// What stands in a box is there once: posted and not taken, or taken and not posted again.
TEST(disturbed, a_condition_and_its_mutex) {
  std::deque<int> box;
  int posted = 0, taken = 0;
  auto body = [&]() -> rn::task<> {
    box.clear();
    posted = taken = 0;
    rn::mutex m;
    rn::condition not_empty;
    auto post = [&]() -> rn::task<> {
      auto guard = co_await m.lock();
      box.push_back(1);
      ++posted;
      not_empty.notify_one();
    };
    auto take = [&]() -> rn::task<> {
      auto guard = co_await m.lock();
      while (box.empty()) co_await not_empty.wait(guard);
      box.pop_front();
      ++taken;
    };
    auto all = [&](rn::errgroup& g) -> rn::task<> {
      for (int i = 0; i < 2; ++i) co_await g.go(take);
      for (int i = 0; i < 2; ++i) co_await g.go(post);
    };
    co_await rn::with_errgroup(all);
  };
  disturbed(body, [&] { return posted == taken + static_cast<int>(box.size()); });
}

TEST(disturbed, a_shared_mutex) {
  int readers = 0, writers = 0;
  bool together = false;
  struct inside {
    int& n;
    explicit inside(int& count) : n(count) { ++n; }
    inside(const inside&) = delete;
    inside& operator=(const inside&) = delete;
    ~inside() { --n; }
  };
  auto body = [&]() -> rn::task<> {
    rn::shared_mutex m;
    auto read = [&]() -> rn::task<> {
      auto held = co_await m.lock_shared();
      inside here(readers);
      together = together || writers != 0;
      co_await rn::yield();
    };
    auto write = [&]() -> rn::task<> {
      auto held = co_await m.lock();
      inside here(writers);
      together = together || readers != 0 || writers != 1;
      co_await rn::yield();
    };
    auto all = [&](rn::errgroup& g) -> rn::task<> {
      co_await g.go(read);
      co_await g.go(write);
      co_await g.go(read);
    };
    co_await rn::with_errgroup(all);
  };
  disturbed(body, [&] { return readers == 0 && writers == 0 && !together; });
}

TEST(disturbed, an_event_a_latch_and_a_barrier) {
  int early = 0;
  auto body = [&]() -> rn::task<> {
    rn::event ready;
    rn::latch both(2);
    rn::barrier step(2);
    int before = 0, arrived = 0;
    auto work = [&]() -> rn::task<> {
      co_await ready.wait();
      ++before;
      co_await step.arrive_and_wait();
      early += before != 2;
      ++arrived;
      both.count_down();
    };
    auto all = [&](rn::errgroup& g) -> rn::task<> {
      for (int i = 0; i < 2; ++i) co_await g.go(work);
      ready.set();
      co_await both.wait();
      early += arrived != 2;
    };
    co_await rn::with_errgroup(all);
  };
  disturbed(body, [&] { return early == 0; });
}

TEST(disturbed, a_once_value_is_made_by_one_at_a_time) {
  int inside = 0, made = 0;
  bool twice = false;
  auto body = [&]() -> rn::task<> {
    made = 0;
    auto make = [&]() -> rn::task<int> {
      struct count {
        int& n;
        explicit count(int& c) : n(c) { ++n; }
        count(const count&) = delete;
        count& operator=(const count&) = delete;
        ~count() { --n; }
      } here(inside);
      twice = twice || inside != 1;
      co_await rn::yield();
      co_return ++made;
    };
    rn::once_value value(make);
    auto ask = [&]() -> rn::task<> {
      int seen = co_await value();
      twice = twice || seen != made;
    };
    auto all = [&](rn::errgroup& g) -> rn::task<> {
      for (int i = 0; i < 3; ++i) co_await g.go(ask);
    };
    co_await rn::with_errgroup(all);
  };
  disturbed(body, [&] { return inside == 0 && !twice; });
}

// A flight goes on without those who have asked for it: it ends with the runtime (SF-C02).
TEST(disturbed, a_singleflight) {
  int inside = 0;
  bool twice = false;
  auto load = [&]() -> rn::task<int> {  // outlives the body
    struct count {
      int& n;
      explicit count(int& c) : n(c) { ++n; }
      count(const count&) = delete;
      count& operator=(const count&) = delete;
      ~count() { --n; }
    } here(inside);
    twice = twice || inside != 1;
    co_await rn::sleep(1ms);
    co_return 7;
  };
  auto body = [&]() -> rn::task<> {
    rn::singleflight<std::string, int> flights;
    auto ask = [&]() -> rn::task<> {
      auto r = co_await flights.call("key", std::ref(load));
      twice = twice || r.value() != 7;
    };
    auto all = [&](rn::errgroup& g) -> rn::task<> {
      for (int i = 0; i < 3; ++i) co_await g.go(ask);
    };
    co_await rn::with_errgroup(all);
  };
  disturbed(body, [&] { return inside == 0 && !twice; }, rn::test::cancel_at_end);
}

TEST(disturbed, a_rate_limiter_and_retries) {
  int calls = 0;
  auto body = [&]() -> rn::task<> {
    calls = 0;
    rn::rate_limiter limiter(1000, 1);
    auto fails_twice = [&]() -> rn::task<> {
      co_await limiter.wait();
      if (++calls < 3) throw std::runtime_error("no answer");
    };
    co_await rn::retry(rn::attempts(5), rn::backoff(1ms, 10ms), std::ref(fails_twice));
  };
  disturbed(body, [&] { return calls <= 3; });
}

TEST(disturbed, hedged_calls_join_the_loser) {
  int alive = 0;
  auto body = [&]() -> rn::task<> {
    auto ask = [&](int who, std::chrono::milliseconds takes) -> rn::task<int> {
      struct count {
        int& n;
        explicit count(int& c) : n(c) { ++n; }
        count(const count&) = delete;
        count& operator=(const count&) = delete;
        ~count() { --n; }
      } here(alive);
      co_await rn::sleep(takes);
      co_return who;
    };
    (void)co_await rn::hedge(10ms, ask(1, 1h), ask(2, 1ms));  // 1 wins where 2 has no memory
    if (alive != 0) throw std::logic_error("the loser goes on");
  };
  disturbed(body, [&] { return alive == 0; });
}

// Elements that a loop has taken, and those that are left, are those that were sent.
TEST(disturbed, a_select_loop_over_a_channel_a_ticker_and_a_timer) {
  int sent = 0, received = 0;
  std::size_t left = 0;
  auto body = [&]() -> rn::task<> {
    sent = received = 0;
    left = 0;
    rn::chan<int> ch(2);
    struct counts {
      rn::chan<int>& ch;
      std::size_t& left;
      counts(rn::chan<int>& c, std::size_t& n) : ch(c), left(n) {}
      counts(const counts&) = delete;
      counts& operator=(const counts&) = delete;
      ~counts() { left = ch.len(); }
    } at_end(ch, left);
    rn::ticker beat(1ms);
    rn::timer limit(5ms);
    auto produce = [&]() -> rn::task<> {
      for (int i = 0; i < 3; ++i) {
        co_await ch.send(i);
        ++sent;
      }
    };
    auto end = [] { return rn::stop; };
    auto both = [&](rn::errgroup& g) -> rn::task<> {
      co_await g.go(produce);
      co_await rn::select_loop(rn::on(ch.recv(), [&] { ++received; }), rn::on(beat.recv(), [] {}),
                               rn::on(limit.recv(), end));
    };
    co_await rn::with_errgroup(both);
  };
  disturbed(body, [&] { return sent == received + static_cast<int>(left); });
}

#if defined(__cpp_lib_jthread)  // as in <runnel/stop_token.hpp>
TEST(disturbed, a_stop_token_and_a_linked_source) {
  auto body = []() -> rn::task<> {
    std::stop_source source;
    auto stops = [&]() -> rn::task<> {
      co_await rn::sleep(1ms);
      source.request_stop();
    };
    auto waits = []() -> rn::task<> {
      rn::linked_stop_source linked(rn::this_context());
      co_await rn::sleep(1h);
    };
    bool slept = false;
    auto both = [&](rn::errgroup& g) -> rn::task<> {
      co_await g.go(stops);
      auto r = co_await rn::as_result(rn::with_stop_token(source.get_token(), waits()));
      slept = r.ok();
    };
    co_await rn::with_errgroup(both);  // throws where nobody had the memory to stop anybody
    if (slept) throw std::logic_error("it was not stopped");
  };
  disturbed(body, [] { return true; });
}
#endif

TEST(disturbed, a_partition_supervisor) {
  int alive = 0;
  auto body = [&]() -> rn::task<> {
    auto child = [&](std::size_t) -> rn::task<> {
      struct count {
        int& n;
        explicit count(int& c) : n(c) { ++n; }
        count(const count&) = delete;
        count& operator=(const count&) = delete;
        ~count() { --n; }
      } here(alive);
      co_await rn::sleep(1h);
    };
    rn::partition_supervisor shards(rn::partitions(2), child);
    auto run = [&]() -> rn::task<> {
      try {
        co_await shards.run();
      } catch (const rn::child_start_error&) {  // a child that had no memory to start
      }
    };
    auto both = [&](rn::errgroup& g) -> rn::task<> {
      co_await g.go(run);
      co_await rn::sleep(1ms);
      g.cancel();
    };
    co_await rn::with_errgroup(both);
  };
  disturbed(body, [&] { return alive == 0; });
}

}  // namespace
