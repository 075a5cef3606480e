// SPDX-License-Identifier: BSL-1.0
// What holds for every primitive: GEN-01 to GEN-18 as far as there is something to hold. GEN-05, GEN-08 and GEN-09 for
// channels are in chan_transfer_test.cpp and chan_values_test.cpp; GEN-17 is the ThreadSanitizer build of all tests.
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/error.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>
#include <runnel/sleep.hpp>
#include <runnel/sync/wait_group.hpp>
#include <runnel/this_task.hpp>

#include "support/channel_waiters.hpp"
#include "support/conserves_frames.hpp"
#include "support/wait_until.hpp"

#include <gtest/gtest.h>

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using runnel_test::eventually;
using runnel_test::on_1_2_and_4_threads;
using runnel_test::wait_until;

class general : public runnel_test::conserves_frames {};

// GEN-01: between two suspension points nothing else runs on the only thread.
TEST_F(general, a_goroutine_gives_up_its_thread_only_where_it_awaits) {
  rn::runtime rt(rn::threads(1));
  rt.run([]() -> rn::task<> {
    int others = 0;
    for (int i = 0; i < 10; ++i) rn::go([&] { ++others; });
    rn::chan<int> ch(4);
    EXPECT_TRUE(ch.try_send(1));
    ch.close();
    EXPECT_EQ(others, 0);
    co_await eventually([&] { return others == 10; });
  });
}

rn::task<> ping(rn::chan<int> out, rn::chan<int> in, std::atomic<bool>& stop, std::atomic<long>& rounds) {
  while (!stop) {
    co_await out.send(1);
    co_await in.recv();
    ++rounds;
  }
  out.close();
}
rn::task<> pong(rn::chan<int> in, rn::chan<int> out) {
  while (auto v = co_await in.recv()) co_await out.send(*v);
}
rn::task<> send_and_receive(rn::chan<int> ch, std::atomic<bool>& stop, std::atomic<long>& rounds) {
  while (!stop) {  // neither ever waits
    co_await ch.send(1);
    co_await ch.recv();
    ++rounds;
  }
}
rn::task<> take_turns(std::atomic<int>& turns) {
  while (turns < 200) {
    ++turns;
    co_await rn::yield();
  }
}

// GEN-02, GO-09, GO-C05: on one thread, with two goroutines that exchange values for ever, others run, timers fire,
// and handlers of the pool are called.
TEST_F(general, goroutines_on_ready_channels_starve_nobody) {
  for (int how = 0; how < 3; ++how) {
    rn::runtime rt(rn::threads(1));
    std::atomic<bool> stop{false};
    std::atomic<long> rounds{0};
    std::atomic<int> turns{0}, handled{0};
    if (how < 2) {
      rn::chan<int> there(how), back(how);
      rt.go(ping, there, back, std::ref(stop), std::ref(rounds));
      rt.go(pong, there, back);
    } else {
      rt.go(send_and_receive, rn::chan<int>(1), std::ref(stop), std::ref(rounds));
      rt.go(send_and_receive, rn::chan<int>(1), std::ref(stop), std::ref(rounds));
    }
    wait_until([&] { return rounds > 1000; });
    rt.go(take_turns, std::ref(turns));
    boost::asio::post(rt.get_executor(), [&] { ++handled; });
    boost::asio::steady_timer timer(rt.get_executor(), 1ms);
    timer.async_wait([&](boost::system::error_code) { ++handled; });
    rt.go([&]() -> rn::task<> {
      co_await rn::sleep(1ms);
      ++handled;
    });
    wait_until([&] { return turns == 200 && handled == 3; });
    stop = true;
    wait_until([&] { return rt.live() == 0; });
  }
}

// GEN-04: a wake hands the other to its scheduler; it does not run in the waker.
TEST_F(general, whoever_is_woken_does_not_run_inside_of_the_waker) {
  rn::runtime rt(rn::threads(1));
  rt.run([]() -> rn::task<> {
    rn::chan<int> ch(0);
    bool ran = false;
    auto wait = [](rn::chan<int> c, bool& r) -> rn::task<> {
      co_await c.recv();
      r = true;
    };
    rn::go(wait, ch, std::ref(ran));
    co_await eventually([&] { return runnel_test::waiting_receivers(ch) == 1; });
    EXPECT_TRUE(ch.try_send(1));
    EXPECT_FALSE(ran);
    co_await eventually([&] { return ran; });
  });
}

// GEN-07: the object that a woken goroutine destroys is not touched by who woke it. The sanitizers watch.
TEST_F(general, a_woken_goroutine_may_destroy_what_woke_it) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int i = 0; i < 300; ++i) {
      auto wait = [](std::unique_ptr<rn::chan<void>> last, rn::chan<void> done) -> rn::task<> {
        co_await last->recv();
        last.reset();
        co_await done.send();
      };
      auto mine = std::make_unique<rn::chan<void>>(0);
      auto theirs = std::make_unique<rn::chan<void>>(*mine);
      rn::chan<void> done(0);
      rn::go(wait, std::move(theirs), done);
      co_await mine->send();
      mine.reset();
      EXPECT_TRUE(co_await done.recv());
    }
  });
}

// GEN-10
static_assert(std::is_base_of_v<rn::misuse_error, rn::closed_channel>);
static_assert(std::is_base_of_v<std::logic_error, rn::misuse_error>);
static_assert(std::is_base_of_v<rn::timeout_error, rn::deadline_exceeded>);
static_assert(!std::is_base_of_v<rn::misuse_error, rn::canceled> && !std::is_base_of_v<rn::timeout_error, rn::canceled>);
static_assert(std::is_base_of_v<std::exception, rn::canceled> && std::is_base_of_v<std::exception, rn::shutting_down>);

TEST_F(general, misuse_is_thrown_at_the_call_and_can_be_caught_there) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(1);
    ch.close();
    int caught = 0;
    for (int i = 0; i < 3; ++i) {
      try {
        co_await ch.send(1);
      } catch (const rn::misuse_error&) {
        ++caught;
      }
    }
    EXPECT_EQ(caught, 3);
  });
}

// GEN-11
TEST_F(general, a_wait_without_length_ends_at_once_and_none_ends_early) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    co_await rn::sleep(0s);
    co_await rn::sleep(-5h);
    co_await rn::sleep_until(std::chrono::steady_clock::now() - 1h);  // sleeps: time itself is tested
    for (auto d : {1us, 500us, 1500us, 3000us}) {
      auto began = std::chrono::steady_clock::now();
      co_await rn::sleep(d);
      EXPECT_GE(std::chrono::steady_clock::now() - began, d);
    }
    bool ended = false;  // the sum does not wrap round into the past
    auto for_ever = [](bool& e) -> rn::task<> {
      co_await rn::sleep(std::chrono::nanoseconds::max());
      e = true;
    };
    rn::errgroup g;
    g.go(for_ever, std::ref(ended));
    co_await rn::sleep(2ms);
    EXPECT_FALSE(ended);
    g.cancel();
    co_await g.wait();
    EXPECT_FALSE(ended);
  });
}

// GEN-12
static_assert(std::is_default_constructible_v<rn::wait_group> && std::is_default_constructible_v<rn::errgroup> &&
              std::is_default_constructible_v<rn::task_group>);
static_assert(!std::is_move_constructible_v<rn::wait_group> && !std::is_move_constructible_v<rn::errgroup> &&
              !std::is_move_constructible_v<rn::task_group>);

// GEN-13: the last owner may be the waiter.
TEST_F(general, a_handle_in_the_waiting_frame_keeps_its_channel) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(0), result(0);
    auto wait = [](rn::chan<int> c, rn::chan<int> out) -> rn::task<> {
      auto v = co_await std::exchange(c, {}).recv();  // the temporary is the only handle that is left
      co_await out.send(v.value_or(-1));
    };
    rn::go(wait, ch, result);
    co_await eventually([&] { return runnel_test::waiting_receivers(ch) == 1; });
    EXPECT_TRUE(rn::sender<int>(std::exchange(ch, {})).try_send(4));
    EXPECT_EQ(co_await result.recv(), 4);
  });
}

// GEN-14: shutdown ends everybody who waits, for whatever it is.
TEST_F(general, nobody_is_left_when_a_runtime_has_ended) {
  for (long n : {1L, 2L, 4L}) {
    std::atomic<int> began{0}, ended{0};
    struct alive {
      std::atomic<int>& n;
      ~alive() { ++n; }
    };
    {
      rn::runtime rt{rn::threads(n)};
      for (int i = 0; i < 60; ++i)
        rt.go([&, i]() -> rn::task<> {
          alive here{ended};
          ++began;
          if (i % 4 == 0) co_await rn::chan<int>().recv();
          if (i % 4 == 1) co_await rn::chan<int>(0).send(1);
          if (i % 4 == 2) co_await rn::sleep(24h);
          for (;;) co_await rn::yield();
        });
      wait_until([&] { return began == 60; });
    }
    EXPECT_EQ(ended, 60);
  }
}

// GEN-15. Of plain handlers tests/unit/chan_test.cpp tells.
TEST_F(general, a_thread_of_the_pool_refuses_to_block) {
  rn::runtime rt(rn::threads(1));
  rn::chan<int> ch(0);
  std::string in_goroutine, run_in_goroutine;
  rt.run([&] {
    try {
      ch.blocking_recv();
    } catch (const rn::misuse_error& e) {
      in_goroutine = e.what();
    }
    try {
      rt.run([] {});
    } catch (const rn::misuse_error& e) {
      run_in_goroutine = e.what();
    }
  });
  EXPECT_NE(in_goroutine.find("co_await"), std::string::npos) << in_goroutine;
  EXPECT_NE(run_in_goroutine.find("co_await"), std::string::npos) << run_in_goroutine;
}

// GEN-16
TEST_F(general, the_callable_outlives_the_coroutine_made_from_it) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto token = std::make_shared<int>(42);
    std::weak_ptr<int> watch = token;
    rn::chan<int> out(0);
    {
      auto body = [token, out]() -> rn::task<> {
        co_await rn::yield();
        co_await out.send(*token);
      };
      token.reset();
      rn::go(std::move(body));
    }
    EXPECT_EQ(co_await out.recv(), 42);
    co_await eventually([&] { return watch.expired(); });
  });
}

}  // namespace
