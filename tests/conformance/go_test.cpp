// SPDX-License-Identifier: BSL-1.0
// Goroutines: GO-01 to GO-11 and GO-C01 to GO-C06 as DESIGN section 4 has them. tests/unit/go_test.cpp has what go() takes.
#include <runnel/chan.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>
#include <runnel/this_task.hpp>

#include "support/channel_waiters.hpp"
#include "support/conserves_frames.hpp"
#include "support/wait_until.hpp"

#include <gtest/gtest.h>

#include <boost/asio/post.hpp>

#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using runnel_test::eventually;
using runnel_test::on_1_2_and_4_threads;
using runnel_test::wait_until;

class goroutines : public runnel_test::conserves_frames {};

// GO-01, GO-02, GO-C01: arguments are evaluated by the caller, before anything runs.
TEST_F(goroutines, start_with_what_their_arguments_were_at_the_call) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> out(10);
    for (int i = 0; i < 10; ++i) rn::go([](int n, rn::chan<int> o) -> rn::task<> { co_await o.send(n); }, i, out);
    int sum = 0;
    for (int i = 0; i < 10; ++i) sum += (co_await out.recv()).value();
    EXPECT_EQ(sum, 45);
  });
}

// GO-03
static_assert(std::is_void_v<decltype(rn::go([] {}))>, "there is nothing by which to wait for it");

rn::task<> wait_for(rn::chan<void> ch, bool& unwound) {
  struct at_end {
    bool& unwound;
    ~at_end() { unwound = true; }
  } end{unwound};
  co_await ch.recv();
}

// GO-04, GO-C04: what app leaves running is asked to stop, and unwound, when the runtime ends.
TEST_F(goroutines, that_are_left_when_the_app_ends_are_unwound) {
  for (long n : {1L, 2L, 4L}) {
    bool unwound[20] = {};
    rn::chan<void> ch(0);
    {
      rn::runtime rt{rn::threads(n)};
      int result = rt.run([&]() -> rn::task<int> {
        for (bool& u : unwound) rn::go(wait_for, ch, std::ref(u));
        co_await eventually([&] { return runnel_test::waiting_receivers(ch) == 20; });
        co_return 3;
      });
      EXPECT_EQ(result, 3);
      wait_until([&] { return rt.live() == 20; });  // the app's own goroutine may still be ending
    }
    for (bool u : unwound) EXPECT_TRUE(u);
  }
}

// GO-C04
TEST_F(goroutines, run_returns_or_rethrows_what_the_app_does) {
  rn::runtime rt(rn::threads(2));
  EXPECT_EQ(*rt.run([](int n) -> rn::task<std::unique_ptr<int>> { co_return std::make_unique<int>(n); }, 5), 5);
  EXPECT_EQ(rt.run([](int n) { return n + 1; }, 5), 6);
  int x = 0;
  EXPECT_EQ(&rt.run([&]() -> rn::task<int&> { co_return x; }), &x);
  EXPECT_THROW(rt.run([]() -> rn::task<> {
                 throw std::runtime_error("app");
                 co_return;
               }),
               std::runtime_error);
  EXPECT_THROW(rt.run([] { throw std::runtime_error("app"); }), std::runtime_error);
  EXPECT_EQ(rt.run([]() -> rn::task<int> { co_return 1; }), 1);  // and is as good as new
}

// GO-C04
TEST_F(goroutines, run_throws_canceled_when_the_app_was_cancelled) {
  for (bool returns_something : {false, true}) {
    rn::runtime rt(rn::threads(2));
    rn::chan<int> nobody(0);
    std::thread canceller([&] {
      wait_until([&] { return runnel_test::waiting_receivers(nobody) == 1; });
      rt.cancel();
    });
    if (returns_something) {
      EXPECT_THROW(rt.run([&]() -> rn::task<int> { co_return (co_await nobody.recv()).value(); }), rn::canceled);
    } else {
      EXPECT_THROW(rt.run([&]() -> rn::task<> { co_await nobody.recv(); }), rn::canceled);
    }
    canceller.join();
  }
}

// GO-05: an exception runs the destructors of its goroutine before anybody hears of it.
TEST_F(goroutines, that_fail_have_died_when_their_error_is_reported) {
  bool destroyed = false, destroyed_first = false;
  std::atomic<int> reports{0};
  rn::runtime rt(rn::threads(1), rn::runtime_options().on_error([&](const rn::goroutine_error&) {
    destroyed_first = destroyed;
    ++reports;
  }));
  rt.run([&]() -> rn::task<> {
    auto fail = [](bool& d) -> rn::task<> {
      struct at_end {
        bool& d;
        ~at_end() { d = true; }
      } end{d};
      co_await rn::yield();
      throw std::runtime_error("on purpose");
    };
    rn::go(fail, std::ref(destroyed));
    co_await eventually([&] { return reports == 1; });
  });
  EXPECT_TRUE(destroyed_first);
}

// GO-09: every runnable goroutine runs, however many there are and however busy the others.
TEST_F(goroutines, all_make_progress) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<bool> stop{false};
    std::vector<std::atomic<int>> turns(50);
    auto spin = [&](std::atomic<int>& n) -> rn::task<> {
      while (!stop) {
        ++n;
        co_await rn::yield();
      }
    };
    rn::errgroup g;
    for (auto& n : turns) g.go(spin, std::ref(n));
    co_await eventually([&] {
      for (auto& n : turns)
        if (n < 100) return false;
      return true;
    });
    stop = true;
    co_await g.wait();
  });
}

// GO-09: Asio's handlers are not starved by goroutines that only yield, nor by those that spawn.
TEST_F(goroutines, do_not_starve_the_handlers_of_their_pool) {
  for (long n : {1L, 2L}) {
    rn::runtime rt{rn::threads(n)};
    std::atomic<int> handled{0};
    rt.run([&]() -> rn::task<> {
      std::function<void()> again = [&] {
        if (++handled < 50) boost::asio::post(rt.get_executor(), again);
      };
      boost::asio::post(rt.get_executor(), again);
      auto spin = [&]() -> rn::task<> {
        while (handled < 50) co_await rn::yield();
      };
      rn::errgroup g;
      for (int i = 0; i < 5; ++i) g.go(spin);
      co_await g.wait();
    });
  }
}

rn::task<> pass_on(rn::chan<int> from, rn::chan<int> to) {
  auto v = co_await from.recv();
  co_await to.send(v.value() + 1);
}

// GO-10
TEST_F(goroutines, ten_thousand_are_chained_by_channels) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> first(0), left = first;
    for (int i = 0; i < 10'000; ++i) {
      rn::chan<int> right(0);
      rn::go(pass_on, left, right);
      left = right;
    }
    co_await first.send(0);
    EXPECT_EQ(co_await left.recv(), 10'000);
  });
}

rn::task<> spawn_tree(int depth, std::atomic<int>& leaves) {
  if (depth == 0) {
    ++leaves;
    co_return;
  }
  for (int i = 0; i < 4; ++i) rn::go(spawn_tree, depth - 1, std::ref(leaves));
}

// GO-10
TEST_F(goroutines, spawn_goroutines) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> leaves{0};
    rn::go(spawn_tree, 6, std::ref(leaves));
    co_await eventually([&] { return leaves == 4096; });
  });
}

// GO-C04, DESIGN section 4: what cannot be is refused.
TEST_F(goroutines, a_runtime_is_neither_run_from_nor_shut_down_by_its_own_goroutines) {
  rn::runtime rt(rn::threads(2)), other(rn::threads(1));
  rt.run([&]() -> rn::task<> {
    EXPECT_THROW(rt.run([] {}), rn::misuse_error);
    EXPECT_THROW(other.run([] {}), rn::misuse_error);
    EXPECT_THROW(rt.shut_down(), rn::misuse_error);
    co_return;
  });
  EXPECT_THROW(rn::threads(0), rn::misuse_error);
  EXPECT_THROW(rn::threads(-1), rn::misuse_error);
  EXPECT_THROW(rn::threads(1'000'000), rn::misuse_error);
}

}  // namespace
