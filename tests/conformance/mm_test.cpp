// SPDX-License-Identifier: BSL-1.0
// The memory model: MM-01 to MM-05, MM-08 to MM-11 and MM-13. What one side writes and the other reads is not atomic, so
// that a missing edge is a data race, which ThreadSanitizer reports, and on occasion a wrong value.
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>
#include <runnel/sync/condition.hpp>
#include <runnel/sync/mutex.hpp>
#include <runnel/sync/wait_group.hpp>
#include <runnel/timer.hpp>

#include "support/conserves_frames.hpp"
#include "support/wait_until.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <functional>
#include <thread>
#include <vector>

namespace {

namespace rn = runnel;
using runnel_test::on_1_2_and_4_threads;

class memory_model : public runnel_test::conserves_frames {};

constexpr int rounds = 300;

// MM-01
TEST_F(memory_model, the_start_of_a_goroutine_happens_before_its_body) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto look = [](const int& x, int want, rn::chan<bool> out) -> rn::task<> { co_await out.send(x == want); };
    rn::chan<bool> out(0);
    for (int i = 0; i < rounds; ++i) {
      int x = i;
      rn::go(look, std::cref(x), i, out);
      EXPECT_EQ(co_await out.recv(), true);
    }
  });
}

rn::task<> write_then_send(std::vector<int>& shared, rn::chan<void> ch) {
  for (std::size_t i = 0; i < shared.size(); ++i) {
    shared[i] = static_cast<int>(i);
    co_await ch.send();
  }
}

// MM-02
TEST_F(memory_model, a_send_happens_before_its_receive_completes) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int capacity : {0, 1, 8}) {
      std::vector<int> shared(rounds, -1);
      rn::chan<void> ch(capacity);
      rn::errgroup g;
      g.go(write_then_send, std::ref(shared), ch);
      int wrong = 0;
      for (std::size_t i = 0; i < shared.size(); ++i) {
        co_await ch.recv();
        wrong += shared[i] != static_cast<int>(i);
      }
      co_await g.wait();
      EXPECT_EQ(wrong, 0);
    }
  });
}

// MM-03
TEST_F(memory_model, a_close_happens_before_a_receive_that_sees_it) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int i = 0; i < rounds; ++i) {
      int x = -1;
      rn::chan<int> ch(i % 2);
      rn::go([&x, i, ch] {
        x = i;
        ch.close();
      });
      if (i % 3 == 0) {
        while (!ch.try_recv().closed()) co_await rn::yield();
      } else {
        co_await ch.recv();
      }
      EXPECT_EQ(x, i);
    }
  });
}

rn::task<> write_then_recv(std::vector<int>& shared, rn::chan<void> ch) {
  for (std::size_t i = 0; i < shared.size(); ++i) {
    shared[i] = static_cast<int>(i);
    co_await ch.recv();
  }
}

// MM-04
TEST_F(memory_model, an_unbuffered_receive_happens_before_its_send_completes) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::vector<int> shared(rounds, -1);
    rn::chan<void> ch(0);
    rn::errgroup g;
    g.go(write_then_recv, std::ref(shared), ch);
    int wrong = 0;
    for (std::size_t i = 0; i < shared.size(); ++i) {
      co_await ch.send();
      wrong += shared[i] != static_cast<int>(i);
    }
    co_await g.wait();
    EXPECT_EQ(wrong, 0);
  });
}

rn::task<> guarded(rn::chan<void> tokens, int& inside, int& total) {
  for (int i = 0; i < rounds; ++i) {
    co_await tokens.send();
    EXPECT_EQ(++inside, 1);
    ++total;
    --inside;
    co_await tokens.recv();
  }
}

// MM-05: a channel of capacity 1 is a mutex.
TEST_F(memory_model, a_receive_happens_before_the_send_that_needs_its_room) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<void> tokens(1);
    int inside = 0, total = 0;
    rn::errgroup g;
    for (int i = 0; i < 6; ++i) g.go(guarded, tokens, std::ref(inside), std::ref(total));
    co_await g.wait();
    EXPECT_EQ(total, 6 * rounds);
  });
}

// MM-05 with more room: the k-th receive happens before the (k + 3)-th send completes.
TEST_F(memory_model, a_buffer_hands_its_places_back_in_order) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    constexpr std::size_t room = 3;
    std::vector<int> place(room, -1);
    rn::chan<void> free(room), full(room);
    auto read = [&]() -> rn::task<> {
      for (std::size_t i = 0; i < rounds; ++i) {
        co_await full.recv();
        EXPECT_EQ(place[i % room], static_cast<int>(i));
        place[i % room] = -1;
        co_await free.recv();
      }
    };
    rn::errgroup g;
    g.go(read);
    for (std::size_t i = 0; i < rounds; ++i) {
      co_await free.send();
      EXPECT_EQ(place[i % room], -1);
      place[i % room] = static_cast<int>(i);
      co_await full.send();
    }
    co_await g.wait();
  });
}

// MM-02 and MM-04 where one side is a plain thread.
TEST_F(memory_model, blocking_forms_are_edges_too) {
  rn::runtime rt(rn::threads(2));
  rn::chan<void> there(0), back(0);
  int x = 0;
  std::thread other([&] {
    for (int i = 0; i < rounds; ++i) {
      there.blocking_recv();
      ++x;
      back.blocking_send();
    }
  });
  rt.run([&]() -> rn::task<> {
    for (int i = 0; i < rounds; ++i) {
      ++x;
      co_await there.send();
      co_await back.recv();
    }
    EXPECT_EQ(x, 2 * rounds);
  });
  other.join();
}

// MM-08
TEST_F(memory_model, done_of_a_wait_group_happens_before_the_wait_that_it_releases) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int i = 0; i < rounds; ++i) {
      int a = 0, b = 0;
      rn::wait_group group;
      group.go([&] { a = i; });
      group.go([&] { b = i; });
      co_await group.wait();
      EXPECT_EQ(a + b, 2 * i);
    }
  });
}

// MM-09. What is written is written outside of the lock, behind the last time that the other holds it.
rn::task<> wait_and_look(rn::mutex& m, rn::condition& c, rn::chan<void> waits, const int& x, int want) {
  auto guard = co_await m.lock();
  co_await waits.send();
  co_await c.wait(guard);
  EXPECT_EQ(x, want);
}
TEST_F(memory_model, a_notify_happens_before_the_wait_that_it_releases) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int i = 0; i < rounds; ++i) {
      rn::mutex m;
      rn::condition c;
      rn::chan<void> waits(0);
      int x = -1;
      rn::errgroup g;
      g.go(wait_and_look, std::ref(m), std::ref(c), waits, std::cref(x), i);
      co_await waits.recv();
      (void)co_await m.lock();  // it waits now
      x = i;
      if (i % 2)
        c.notify_one();
      else
        c.notify_all();
      co_await g.wait();
    }
  });
}

// MM-10
TEST_F(memory_model, a_cancel_happens_before_whoever_sees_it) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int i = 0; i < rounds; ++i) {
      auto [ctx, cancel] = rn::context::background().with_cancel();
      int x = -1;
      rn::errgroup g;
      g.go([&x, &stop = cancel, i] {
        x = i;
        stop();
      });
      if (i % 2) {
        co_await ctx.done();
      } else {
        while (!ctx.is_done()) co_await rn::yield();
      }
      EXPECT_EQ(x, i);
      EXPECT_TRUE(ctx.cause());
      co_await g.wait();
    }
  });
}

// MM-11
TEST_F(memory_model, the_end_of_a_child_happens_before_the_wait_of_its_group) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int i = 0; i < rounds; ++i) {
      std::vector<int> results(4, -1);
      rn::errgroup g;
      for (std::size_t k = 0; k < results.size(); ++k) g.go([&results, k] { results[k] = static_cast<int>(k); });
      co_await g.wait();
      EXPECT_EQ(results, (std::vector<int>{0, 1, 2, 3}));
    }
  });
}

// MM-13
TEST_F(memory_model, setting_a_timer_happens_before_its_tick_is_received) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int i = 0; i < rounds; ++i) {
      rn::timer t;
      int x = -1;
      rn::errgroup g;
      g.go([&]() -> rn::task<> {
        co_await t.recv();
        EXPECT_EQ(x, i);
      });
      if (i % 2) co_await rn::yield();
      x = i;
      t.reset(std::chrono::microseconds(i % 3));
      co_await g.wait();
    }
  });
}

}  // namespace
