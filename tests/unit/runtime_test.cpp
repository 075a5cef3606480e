// SPDX-License-Identifier: BSL-1.0
// runtime: run, errors that nobody waits for, shutdown by cancel, grace, kill and report.
#include <runnel/adopt.hpp>
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>
#include <runnel/sleep.hpp>
#include <runnel/with_context.hpp>

#include "support/until.hpp"

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <future>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using test_support::until;
using test_support::wait_until;

rn::task<> for_ever() { co_await rn::chan<int>().recv(); }

TEST(threads, one_to_1024) {
  EXPECT_EQ(rn::threads(1).count(), 1u);
  EXPECT_EQ(rn::threads(1024).count(), 1024u);
  for (long n : {0L, -1L, 1025L, 100'000L, LONG_MAX, LONG_MIN}) EXPECT_THROW(rn::threads{n}, rn::misuse_error) << n;
  EXPECT_GE(rn::threads::of_machine().count(), 1u);
}

TEST(runtime, run_returns_what_the_app_returns) {
  rn::runtime rt(rn::threads(2));
  EXPECT_EQ(rt.run([]() -> rn::task<int> { co_return 3; }), 3);
  EXPECT_EQ(rt.run([](int a, std::string b) -> rn::task<std::string> { co_return b + std::to_string(a); }, 1, "x"), "x1");
  EXPECT_EQ(*rt.run([]() -> rn::task<std::unique_ptr<int>> { co_return std::make_unique<int>(4); }), 4);
  EXPECT_EQ(rt.run([] { return 5; }), 5);  // a plain function
  bool ran = false;
  rt.run([&] { ran = true; });
  EXPECT_TRUE(ran);
  int x = 0;
  auto reference = [&]() -> rn::task<int&> { co_return x; };
  static_assert(std::is_same_v<decltype(rt.run(reference)), int&>);
  EXPECT_EQ(std::addressof(rt.run(reference)), &x);
}

#if RUNNEL_FAULT_INJECTION
std::atomic<int> allocations_until_failure{0};
bool fails_in_turn(std::size_t) noexcept { return allocations_until_failure.fetch_sub(1) == 0; }

TEST(runtime, that_lacks_memory_for_its_contexts_leaves_nothing_behind) {
  { rn::runtime first(rn::threads(1)); }
  auto before = rn::detail::frame_pool_stats().live_blocks;
  for (int n = 0; n < 4; ++n) {  // the root, and a branch for each processor
    allocations_until_failure = n;
    rn::detail::frame_alloc_hook.store(&fails_in_turn);
    EXPECT_THROW(rn::runtime rt(rn::threads(3)), std::bad_alloc) << n;
    rn::detail::frame_alloc_hook.store(nullptr);
    EXPECT_EQ(rn::detail::frame_pool_stats().live_blocks, before) << n;
  }
}
#endif

TEST(runtime, run_rethrows_what_the_app_throws) {
  rn::runtime rt(rn::threads(1));
  EXPECT_THROW(rt.run([]() -> rn::task<> {
    co_await rn::yield();
    throw std::runtime_error("x");
  }),
               std::runtime_error);
  EXPECT_THROW(rt.run([]() -> int { throw 3; }), int);
  EXPECT_EQ(rt.run([] { return 1; }), 1);  // it goes on
}

TEST(runtime, run_throws_canceled_when_the_app_is_cancelled) {
  rn::runtime rt(rn::threads(1));
  std::atomic<bool> parked{false};
  std::thread canceller([&] {
    wait_until([&] { return parked.load(); });
    rt.cancel();
  });
  EXPECT_THROW(rt.run([&]() -> rn::task<int> {
    parked = true;
    co_await for_ever();
    co_return 1;
  }),
               rn::canceled);
  canceller.join();
  EXPECT_THROW(rt.run([]() -> rn::task<> { co_await rn::yield(); }), rn::canceled);  // the root context stays done
}

TEST(runtime, run_may_be_called_by_several_threads_at_once) {
  rn::runtime rt(rn::threads(2));
  std::vector<std::thread> callers;
  std::atomic<int> sum{0};
  for (int i = 0; i < 4; ++i)
    callers.emplace_back([&, i] {
      for (int n = 0; n < 50; ++n)
        sum += rt.run([](int k) -> rn::task<int> {
          co_await rn::yield();
          co_return k;
        },
                      i);
    });
  for (auto& t : callers) t.join();
  EXPECT_EQ(sum, 50 * (0 + 1 + 2 + 3));
}

TEST(runtime, what_the_app_left_running_goes_on) {
  rn::runtime rt(rn::threads(1));
  std::atomic<bool> ran{false};
  rt.run([&] {
    rn::go([&]() -> rn::task<> {
      co_await rn::sleep(1ms);
      ran = true;
    });
  });
  EXPECT_TRUE(wait_until([&] { return ran.load(); }));
}

TEST(runtime, run_is_refused_on_a_goroutine) {
  rn::runtime rt(rn::threads(2)), other(rn::threads(1));
  rt.run([&]() -> rn::task<> {
    EXPECT_THROW(rt.run([] {}), rn::misuse_error);
    EXPECT_THROW(other.run([] {}), rn::misuse_error);
    EXPECT_THROW(rt.shut_down(), rn::misuse_error);
    co_return;
  });
}

// It would wait for itself.
TEST(runtime, run_is_refused_in_a_handler_on_its_own_pool) {
  rn::runtime rt(rn::threads(2));
  std::promise<bool> refused;
  boost::asio::post(rt.get_executor(), [&] {
    try {
      rt.run([] {});
      refused.set_value(false);
    } catch (const rn::misuse_error&) {
      refused.set_value(true);
    }
  });
  EXPECT_TRUE(refused.get_future().get());
}

TEST(runtime, handlers_and_goroutines_share_its_threads) {
  rn::runtime rt(rn::threads(1));
  std::promise<std::thread::id> handler;
  boost::asio::post(rt.get_executor(), [&] { handler.set_value(std::this_thread::get_id()); });
  EXPECT_EQ(rt.run([] { return std::this_thread::get_id(); }), handler.get_future().get());
}

// ---- errors that leave a goroutine ----

TEST(runtime, an_error_that_leaves_a_goroutine_reaches_the_handler_with_its_place) {
  std::promise<rn::goroutine_error> seen;
  rn::runtime rt(rn::threads(1), rn::runtime_options().on_error([&](const rn::goroutine_error& e) { seen.set_value(e); }));
  unsigned line = 0;
  rt.run([&] {
    line = __LINE__ + 1;
    rn::go([]() -> rn::task<> { throw std::runtime_error("boom"); co_return; });
  });
  auto e = seen.get_future().get();
  EXPECT_THROW(std::rethrow_exception(e.error), std::runtime_error);
  EXPECT_EQ(e.where.line(), line);
  EXPECT_FALSE(rt.core().failed());
  EXPECT_EQ(rt.run([] { return 1; }), 1);  // the handler decides; nothing is cancelled
}

TEST(runtime, without_a_handler_it_is_printed_and_everything_is_cancelled) {
  rn::runtime rt(rn::threads(1));
  ::testing::internal::CaptureStderr();
  EXPECT_THROW(rt.run([]() -> rn::task<> {
    rn::go([]() -> rn::task<> { throw std::runtime_error("boom"); co_return; });
    co_await for_ever();
  }),
               rn::canceled);
  auto printed = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(printed.find("boom"), std::string::npos) << printed;
  EXPECT_NE(printed.find("runtime_test.cpp"), std::string::npos) << printed;
  EXPECT_TRUE(rt.core().failed());
}

TEST(runtime, canceled_and_timeouts_that_leave_a_goroutine_are_only_logged) {
  rn::runtime rt(rn::threads(1));
  ::testing::internal::CaptureStderr();
  rt.run([]() -> rn::task<> {
    rn::go([]() -> rn::task<> { throw rn::canceled(); co_return; });
    rn::go([]() -> rn::task<> { throw rn::deadline_exceeded(); co_return; });
    for (int i = 0; i < 10; ++i) co_await rn::yield();
  });
  EXPECT_TRUE(wait_until([&] { return rt.live() == 0; }));
  auto printed = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(printed.find("canceled"), std::string::npos);
  EXPECT_FALSE(rt.core().failed());
  EXPECT_EQ(rt.run([] { return 1; }), 1);
}

TEST(runtime, a_handler_that_throws_does_no_harm) {
  rn::runtime rt(rn::threads(1), rn::runtime_options().on_error([](const rn::goroutine_error&) { throw 1; }));
  ::testing::internal::CaptureStderr();
  rt.go([]() -> rn::task<> { throw std::runtime_error("boom"); co_return; });
  EXPECT_TRUE(wait_until([&] { return rt.live() == 0; }));
  EXPECT_NE(::testing::internal::GetCapturedStderr().find("boom"), std::string::npos);
  EXPECT_EQ(rt.run([] { return 1; }), 1);
}

// ---- shutdown ----

TEST(shutdown, it_cancels_and_joins_what_lives) {
  std::atomic<int> unwound{0};
  struct guard {
    std::atomic<int>& n;
    ~guard() { n += rn::unwinding() ? 1 : 100; }
  };
  {
    rn::runtime rt(rn::threads(2));
    std::atomic<int> parked{0};
    for (int i = 0; i < 50; ++i)
      rt.go([&]() -> rn::task<> {
        guard g{unwound};
        ++parked;
        co_await for_ever();
      });
    ASSERT_TRUE(wait_until([&] { return parked == 50; }));
    EXPECT_EQ(rt.live(), 50u);
    rt.shut_down();
    EXPECT_EQ(rt.live(), 0u);
    EXPECT_EQ(unwound, 50);
    rt.shut_down();  // again: nothing to do
  }
  EXPECT_EQ(unwound, 50);
}

TEST(shutdown, the_destructor_does_it_too) {
  std::atomic<bool> unwound{false};
  struct guard {
    std::atomic<bool>& flag;
    ~guard() { flag = rn::unwinding(); }
  };
  auto blocks = rn::detail::frame_pool_stats().live_blocks;
  {
    rn::runtime rt(rn::threads(1));
    rt.go([&]() -> rn::task<> {
      guard g{unwound};
      co_await rn::sleep(1h);
    });
    ASSERT_TRUE(wait_until([&] { return !rt.core().timers.empty(); }));
  }
  EXPECT_TRUE(unwound);
  EXPECT_EQ(rn::detail::frame_pool_stats().live_blocks, blocks);
}

TEST(shutdown, nothing_new_starts_once_it_has_begun) {
  rn::runtime rt(rn::threads(1));
  std::atomic<bool> parked{false}, refused{false}, ran{false};
  rt.go([&]() -> rn::task<> {
    auto cleanup = [&]() -> rn::task<> {
      try {
        rn::go([&] { ran = true; });
      } catch (const rn::shutting_down&) {
        refused = true;
      }
      co_return;
    };
    parked = true;
    co_await rn::finally(for_ever(), cleanup);
  });
  ASSERT_TRUE(wait_until([&] { return parked.load(); }));
  rt.shut_down();
  EXPECT_TRUE(refused);
  auto held = std::make_shared<int>();
  EXPECT_THROW(rt.go([held, &ran] { ran = true; }), rn::shutting_down);
  EXPECT_EQ(held.use_count(), 1);
  EXPECT_THROW(rt.run([] {}), rn::shutting_down);
  EXPECT_EQ(rt.live(), 0u);
  EXPECT_FALSE(ran);
}

TEST(shutdown, within_the_grace_shielded_work_finishes) {
  rn::runtime rt(rn::threads(1), rn::runtime_options().grace(30s));
  std::atomic<bool> begun{false}, finished{false};
  rt.go([&]() -> rn::task<> {
    auto work = [&]() -> rn::task<> {
      begun = true;
      co_await rn::sleep(5ms);
      finished = true;
    };
    co_await rn::shield(work());
  });
  ASSERT_TRUE(wait_until([&] { return begun.load(); }));
  rt.shut_down();
  EXPECT_TRUE(finished);
}

TEST(shutdown, after_the_grace_a_kill_pierces_shields) {
  rn::runtime rt(rn::threads(1), rn::runtime_options().grace(3ms).kill_grace(30s));
  std::atomic<bool> begun{false}, unwound{false};
  struct guard {
    std::atomic<bool>& flag;
    ~guard() { flag = rn::unwinding(); }
  };
  rt.go([&]() -> rn::task<> {
    guard g{unwound};
    begun = true;
    co_await rn::shield(for_ever());
  });
  ASSERT_TRUE(wait_until([&] { return begun.load(); }));
  auto start = std::chrono::steady_clock::now();
  rt.shut_down();
  EXPECT_GE(std::chrono::steady_clock::now() - start, 3ms);
  EXPECT_TRUE(unwound);
  EXPECT_EQ(rt.live(), 0u);
}

// Foreign work that nothing can stop.
struct stuck_awaitable {
  std::coroutine_handle<>* handle;
  std::atomic<bool>* begun;
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> h) const noexcept {
    *handle = h;
    *begun = true;  // from now on
  }
  void await_resume() const noexcept {}
};

TEST(shutdown, what_is_stuck_is_reported_and_leaked_by_request) {
  static std::coroutine_handle<> left{};
  std::atomic<bool> begun{false};
  ::testing::internal::CaptureStderr();
  {
    rn::runtime rt(rn::threads(1), rn::runtime_options().grace(2ms).kill_grace(2ms).leak_stuck());
    auto app = [&] { rn::go([&]() -> rn::task<> { co_await rn::adopt(stuck_awaitable{&left, &begun}); }); };
    rt.run(app);
    EXPECT_TRUE(wait_until([&] { return begun.load(); }));
    rt.shut_down();
    EXPECT_EQ(rt.live(), 1u);
  }  // goes on: the pool is joined although a goroutine is stuck
  auto printed = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(printed.find("1 goroutine"), std::string::npos) << printed;
  EXPECT_NE(printed.find("runtime_test.cpp"), std::string::npos) << printed;
  left.resume();  // after all: what it belonged to is still there, and runs it no more
}

TEST(shutdown_death, what_is_stuck_is_reported_and_ends_the_program) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        static std::coroutine_handle<> left{};
        std::atomic<bool> begun{false};
        rn::runtime rt(rn::threads(1), rn::runtime_options().grace(2ms).kill_grace(2ms));
        auto app = [&] { rn::go([&]() -> rn::task<> { co_await rn::adopt(stuck_awaitable{&left, &begun}); }); };
        rt.run(app);
        wait_until([&] { return begun.load(); });
        rt.shut_down();
      },
      "1 goroutine.* still alive.*\n.*runtime_test.cpp");
}

// Who has never suspended is in no list, so it has no name; but it is not passed over.
TEST(shutdown_death, who_never_suspends_is_counted_too) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        std::atomic<bool> begun{false};
        rn::runtime rt(rn::threads(1), rn::runtime_options().grace(2ms).kill_grace(2ms));
        auto app = [&] {
          rn::go([&]() -> rn::task<> {
            begun = true;
            for (volatile bool on = true; on;) {}
            co_return;
          });
        };
        rt.run(app);
        wait_until([&] { return begun.load(); });
        rt.shut_down();
      },
      "1 goroutine.* still alive.*\n.*and 1 that have never waited");
}

// ---- two runtimes ----

TEST(runtime, two_talk_through_one_channel) {
  rn::runtime a(rn::threads(2)), b(rn::threads(2));
  rn::chan<int> there(0), back(3);
  constexpr int n = 5000;
  a.go([&]() -> rn::task<> {
    for (int i = 0; i < n; ++i) co_await there.send(i);
    there.close();
  });
  b.go([&]() -> rn::task<> {
    while (auto v = co_await there.recv()) co_await back.send(*v);
    back.close();
  });
  long sum = 0, count = 0;
  a.run([&]() -> rn::task<> {
    while (auto v = co_await back.recv()) sum += *v, ++count;
  });
  EXPECT_EQ(count, n);
  EXPECT_EQ(sum, static_cast<long>(n) * (n - 1) / 2);
}

// A goroutine keeps its scheduler for life, whoever wakes it.
TEST(runtime, a_goroutine_keeps_its_runtime) {
  rn::runtime a(rn::threads(1)), b(rn::threads(1));
  auto a_thread = a.run([] { return std::this_thread::get_id(); });
  rn::chan<int> ch(0);
  std::atomic<bool> done{false};
  a.go([&]() -> rn::task<> {
    while (auto v = co_await ch.recv()) EXPECT_EQ(std::this_thread::get_id(), a_thread);
    done = true;
  });
  b.run([&]() -> rn::task<> {
    for (int i = 0; i < 100; ++i) co_await ch.send(i);
    ch.close();
  });
  EXPECT_TRUE(wait_until([&] { return done.load(); }));
}

// One runtime's context cancels another's goroutine.
TEST(runtime, a_context_reaches_across_runtimes) {
  rn::runtime a(rn::threads(1)), b(rn::threads(1));
  auto [ctx, cancel] = rn::context::background().with_cancel();
  std::atomic<bool> parked{false}, ended{false};
  a.go([&]() -> rn::task<> {
    parked = true;
    (void)co_await rn::as_result(rn::with_context(ctx, for_ever()));
    ended = true;
  });
  ASSERT_TRUE(wait_until([&] { return parked.load(); }));
  b.run([&] { cancel(); });
  EXPECT_TRUE(wait_until([&] { return ended.load(); }));
}

TEST(runtime, making_and_ending_many_leaves_nothing) {
  auto blocks = rn::detail::frame_pool_stats().live_blocks;
  for (int i = 0; i < 50; ++i) {
    rn::runtime rt(rn::threads(1 + i % 3));
    if (i % 2) {
      rt.run([]() -> rn::task<> { co_await rn::sleep(10us); });
    }
    if (i % 5 == 0) rt.go(for_ever);
  }
  EXPECT_EQ(rn::detail::frame_pool_stats().live_blocks, blocks);
}

}  // namespace
