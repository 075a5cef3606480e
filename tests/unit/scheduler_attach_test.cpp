// SPDX-License-Identifier: BSL-1.0
// scheduler: goroutines on an execution context that is already there.
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/detail/frame_pool.hpp>
#include <runnel/detail/intrusive_list.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>
#include <runnel/sleep.hpp>
#include <runnel/this_task.hpp>
#include <runnel/with_context.hpp>

#include "support/until.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
namespace asio = boost::asio;
using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;
using test_support::wait_until;

rn::task<> for_ever() { co_await rn::chan<int>().recv(); }

struct guard {
  std::atomic<int>& n;
  explicit guard(std::atomic<int>& count) : n(count) {}
  ~guard() { n += rn::unwinding() ? 1 : 1000; }
};

TEST(scheduler, io_run_returns_when_the_last_goroutine_ends) {
  asio::io_context io(1);
  rn::scheduler sched(io, rn::threads(1));
  rn::chan<int> ch(0);
  int sum = 0;
  sched.go([&]() -> rn::task<> {
    for (int i = 1; i <= 100; ++i) co_await ch.send(i);
    co_await rn::sleep(1ms);
    ch.close();
  });
  sched.go([&]() -> rn::task<> {
    while (auto v = co_await ch.recv()) sum += *v;
  });
  EXPECT_EQ(sched.live(), 2u);
  io.run();
  EXPECT_EQ(sum, 5050);
  EXPECT_EQ(sched.live(), 0u);
}

// In the same turn, so that the reserve that these have left has not gone back.
TEST(scheduler, live_is_exact_while_a_processor_counts_ahead) {
  rn::runtime rt(rn::threads(1));
  rt.run([&]() -> rn::task<> {
    for (int i = 0; i < 10; ++i) rn::go([]() -> rn::task<> { co_await rn::yield(); });
    EXPECT_EQ(rt.live(), 11u);
    co_return;
  });
}

// Processors count ahead of time; what they hold in reserve is not alive.
TEST(scheduler, live_counts_what_lives_on_all_processors) {
  rn::runtime rt(rn::threads(2));
  constexpr std::size_t parents = 10, children = 100;
  rt.run([&]() -> rn::task<> {
    rn::chan<void> gate(0);
    std::atomic<std::size_t> begun{0};
    auto child = [&]() -> rn::task<> {
      ++begun;
      co_await gate.recv();
    };
    for (std::size_t i = 0; i < parents; ++i)
      rn::go([&, child]() -> rn::task<> {
        for (std::size_t k = 0; k < children; ++k) rn::go(child);
        co_await child();
      });
    co_await test_support::until([&] { return begun == parents * (children + 1); });
    co_await test_support::until([&] { return rt.live() == parents * (children + 1) + 1; });  // or it waits in vain
    gate.close();
    co_await test_support::until([&] { return rt.live() == 1; });
  });
  EXPECT_TRUE(wait_until([&] { return rt.live() == 0; }));
}

// A pump may end with the last goroutine's turn, and the next one not run: nothing is held in reserve between the two.
TEST(scheduler, live_is_exact_where_its_context_is_stopped) {
  for (int n = 1; n <= 300; ++n) {
    asio::io_context io(1);
    rn::scheduler sched(io, rn::threads(1));
    for (int i = 1; i < n; ++i) sched.go([] {});
    sched.go([&] { io.stop(); });
    io.run();
    EXPECT_EQ(sched.live(), 0u) << n;
  }
}

// Children of a group are not the runtime's to count, and may keep a processor busy for long.
TEST(scheduler, live_does_not_wait_for_a_processor_to_run_dry) {
  rn::runtime rt(rn::threads(1));
  std::atomic<bool> enough{false};
  std::optional<rn::task_group> group;
  rt.run([&] {
    group.emplace();
    group->go([&]() -> rn::task<> {
      while (!enough) co_await rn::yield();
    });
  });
  EXPECT_TRUE(wait_until([&] { return rt.live() == 0; }));
  enough = true;
  rt.run([&]() -> rn::task<> { co_await group->wait(); });
  group.reset();
}

// A timer that is no longer wanted does not keep the context running.
TEST(scheduler, a_timer_that_was_called_off_does_not_hold_io_run) {
  asio::io_context io(1);
  rn::scheduler sched(io, rn::threads(1));
  sched.go([]() -> rn::task<> { co_await rn::with_timeout(1h, rn::sleep(1ms)); });
  io.run_for(30s);  // returns when there is no work left
  EXPECT_TRUE(io.stopped()) << "it was held until the time was up";
}

// Nobody lives, but somebody has kept a context with a deadline an hour away: that holds the context, until it is
// cancelled, here by a thread of nobody's.
TEST(scheduler, a_deadline_that_is_called_off_from_outside_does_not_hold_io_run) {
  for (bool by_parent : {false, true}) {
    asio::io_context io(1);
    rn::scheduler sched(io, rn::threads(1));
    std::optional<rn::context> kept;
    std::optional<rn::cancel_function> cancel, cancel_parent;
    sched.go([&] {
      auto [parent, cancel_it] = rn::context::background().with_cancel();
      auto [ctx, cancel_child] = parent.with_timeout(1h);
      kept = ctx;
      cancel.emplace(std::move(cancel_child));
      cancel_parent.emplace(std::move(cancel_it));
    });
    std::thread outside([&] {
      wait_until([&] { return sched.live() == 0; });
      (by_parent ? *cancel_parent : *cancel)();
    });
    io.run_for(30s);  // returns when there is no work left
    EXPECT_TRUE(io.stopped()) << "it was held until the time was up";
    outside.join();
    EXPECT_TRUE(kept->is_done());
  }
}

// ---- housekeeping ----

// More slabs than the frame pool keeps are spare, as after a burst: it is looked after, from when a pump ends.
class housekeeping : public testing::Test {
 protected:
  void SetUp() override {
    depot.store.release_all();
    (void)rn::detail::frame_pool_tend();  // has looked, and seen none spare: for a while it gives none back
    std::vector<rn::detail::list_link*> slabs;
    for (std::size_t i = 0; i < 2 * depot.store.kept; ++i)
      slabs.push_back(::new (depot.store.take()) rn::detail::list_link);
    for (auto* slab : slabs) depot.store.put(slab);
    ASSERT_TRUE(depot.store.has_surplus());
  }
  void TearDown() override { depot.store.release_all(); }

  rn::detail::frame_depot& depot = rn::detail::the_frame_depot;
};

TEST_F(housekeeping, is_no_work_of_the_context) {
  for (int n : {1, 2}) {
    asio::io_context io(1);
    rn::scheduler sched(io, rn::threads(n));  // of two one is idle: the monitor is on its way as well
    sched.go([] {});
    while (sched.live() != 0) io.run_one();
    while (io.poll() != 0) continue;
    EXPECT_TRUE(io.stopped()) << n;  // as it is when there is no work left
    EXPECT_TRUE(depot.store.has_surplus()) << "it has nothing to look after";
  }
}

TEST_F(housekeeping, delays_neither_the_end_of_run_nor_that_of_join) {
  auto mapped = depot.store.mapped();
  asio::io_context io(1);
  rn::scheduler on_context(io, rn::threads(1));
  for (int i = 0; i < 3; ++i) {
    on_context.go([] {});
    io.run();
    io.restart();
  }
  asio::thread_pool pool(1);
  rn::scheduler on_pool(pool, rn::threads(1));
  on_pool.go([] {});
  pool.join();
  EXPECT_EQ(depot.store.mapped(), mapped) << "so long that memory went back";
}

TEST_F(housekeeping, gives_memory_back_while_the_context_goes_on_for_others) {
  asio::io_context io(1);
  rn::scheduler sched(io, rn::threads(1));
  auto others = asio::make_work_guard(io);
  sched.go([] {});
  std::thread thread([&] { io.run(); });
  EXPECT_TRUE(wait_until([&] { return sched.live() == 0 && !depot.store.has_surplus(); }));
  others.reset();
  thread.join();
}

// What waits when run() has returned goes on with the next run().
TEST_F(housekeeping, goes_on_where_the_context_runs_again) {
  asio::io_context io(1);
  rn::scheduler sched(io, rn::threads(1));
  sched.go([] {});
  io.run();
  ASSERT_TRUE(depot.store.has_surplus());
  io.restart();
  auto others = asio::make_work_guard(io);
  std::thread thread([&] { io.run(); });
  EXPECT_TRUE(wait_until([&] { return !depot.store.has_surplus(); }));
  others.reset();
  thread.join();
}

// Of waits that a scheduler has left behind its context neither runs out of work too early nor never.
TEST_F(housekeeping, that_waits_is_dropped_with_the_scheduler_or_the_context) {
  {
    asio::io_context io(1);
    for (int i = 0; i < 3; ++i) {
      rn::scheduler sched(io, rn::threads(2));
      sched.go([] {});
      io.run();
      io.restart();
    }
    int ran = 0;
    for (int i = 0; i < 3; ++i) asio::post(io, [&] { ++ran; });
    io.run();  // with what the schedulers have left behind
    EXPECT_EQ(ran, 3);
    EXPECT_TRUE(io.stopped());
  }
  auto io = std::make_unique<asio::io_context>(1);
  rn::scheduler sched(*io, rn::threads(2));
  sched.go([] {});
  io->run();
  io.reset();
  EXPECT_EQ(sched.live(), 0u);
}

TEST(scheduler, io_may_run_again_for_later_goroutines) {
  asio::io_context io(1);
  rn::scheduler sched(io, rn::threads(1));
  int ran = 0;
  for (int i = 0; i < 3; ++i) {
    sched.go([&]() -> rn::task<> {
      co_await rn::sleep(100us);
      ++ran;
    });
    io.run();
    io.restart();
    EXPECT_EQ(ran, i + 1);
  }
}

TEST(scheduler, four_threads_run_the_context) {
  asio::io_context io(4);
  rn::scheduler sched(io, rn::threads(4));
  std::atomic<int> ended{0};
  for (int i = 0; i < 200; ++i)
    sched.go([&]() -> rn::task<> {
      for (int n = 0; n < 20; ++n) co_await rn::yield();
      co_await rn::sleep(50us);
      ++ended;
    });
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { io.run(); });
  for (auto& t : threads) t.join();
  EXPECT_EQ(ended, 200);
}

TEST(scheduler, goroutines_and_handlers_interleave_on_one_thread) {
  asio::io_context io(1);
  rn::scheduler sched(io, rn::threads(1));
  std::string log;
  rn::chan<void> from_handler(1);
  sched.go([&]() -> rn::task<> {
    log += "g1 ";
    asio::post(io, [&] {
      log += "h1 ";
      EXPECT_TRUE(from_handler.try_send());
      sched.go([&] { log += "g2 "; });
    });
    co_await from_handler.recv();
    log += "g3 ";
  });
  io.run();
  EXPECT_TRUE(log == "g1 h1 g3 g2 " || log == "g1 h1 g2 g3 ") << log;
}

TEST(scheduler, a_saturated_pool_serves_timers_and_posts) {
  for (int n : {1, 2}) {
    asio::io_context io(n);
    rn::threads concurrency(n);
    rn::scheduler sched(io, concurrency);
    std::atomic<int> served{0};
    auto app = [&]() -> rn::task<> {
      auto give_up = clock::now() + test_support::patience;
      while (served < 2 && clock::now() < give_up) co_await rn::yield();
      EXPECT_EQ(served, 2);
    };
    for (int i = 0; i < 4; ++i) sched.go(app);
    asio::steady_timer timer(io, 2ms);
    timer.async_wait([&](boost::system::error_code) {
      asio::post(io, [&] { ++served; });
      ++served;
    });
    std::vector<std::thread> threads;
    for (int i = 0; i < n; ++i) threads.emplace_back([&] { io.run(); });
    for (auto& t : threads) t.join();
    EXPECT_EQ(served, 2);
  }
}

// A sample is a number of turns. Where each of them takes long, Asio is not to wait for all of a sample.
TEST(scheduler, long_turns_let_asio_in_after_a_few_of_them) {
  asio::io_context io(1);
  rn::scheduler sched(io, rn::threads(1));
  int turns = 0, posted_at = 0, longest_wait = 0, served = 0;
  sched.go([&]() -> rn::task<> {
    for (; turns < 150; ++turns) {
      if (turns % 50 == 40) {
        posted_at = turns;
        asio::post(io, [&] {
          longest_wait = std::max(longest_wait, turns - posted_at);
          ++served;
        });
      }
      for (auto end = clock::now() + 1ms; clock::now() < end;) continue;
      co_await rn::yield();
    }
  });
  io.run();
  EXPECT_EQ(served, 3);
  EXPECT_LE(longest_wait, 4);
}

TEST(scheduler, long_turns_let_sleepers_in_after_a_few_of_them) {
  asio::io_context io(1);
  rn::scheduler sched(io, rn::threads(1));
  int turns = 0, longest_wait = 0;
  sched.go([&]() -> rn::task<> {
    for (; turns < 150; ++turns) {
      for (auto end = clock::now() + 1ms; clock::now() < end;) continue;
      co_await rn::yield();
    }
  });
  sched.go([&]() -> rn::task<> {
    while (turns < 140) {
      int begin = turns;
      co_await rn::sleep(1ms);
      if (begin >= 40) longest_wait = std::max(longest_wait, turns - begin);  // by then it is known how long they are
    }
  });
  io.run();
  EXPECT_GE(longest_wait, 1);
  EXPECT_LE(longest_wait, 6);
}

TEST(scheduler, long_turns_of_many_let_sleepers_in_before_all_had_theirs) {
  constexpr int many = 40;
  asio::io_context io(1);
  rn::scheduler sched(io, rn::threads(1));
  int turns = 0, longest_wait = 0;
  for (int i = 0; i < many; ++i)
    sched.go([&]() -> rn::task<> {
      while (turns < 500) {
        ++turns;
        for (auto end = clock::now() + 1ms; clock::now() < end;) continue;
        co_await rn::yield();
      }
    });
  sched.go([&]() -> rn::task<> {
    while (turns < 400) {
      int begin = turns;
      co_await rn::sleep(1ms);
      if (begin >= 150) longest_wait = std::max(longest_wait, turns - begin);  // by then it is known how long they are
    }
  });
  io.run();
  EXPECT_GE(longest_wait, 1);
  EXPECT_LE(longest_wait, 10);
}

// The library's own timers too.
TEST(scheduler, a_saturated_pool_serves_sleepers) {
  asio::io_context io(1);
  rn::scheduler sched(io, rn::threads(1));
  bool woke = false;
  sched.go([&]() -> rn::task<> {
    auto give_up = clock::now() + test_support::patience;
    while (!woke && clock::now() < give_up) co_await rn::yield();
  });
  sched.go([&]() -> rn::task<> {
    co_await rn::sleep(1ms);
    woke = true;
  });
  io.run();
  EXPECT_TRUE(woke);
}

TEST(scheduler, spawn_and_wake_from_foreign_threads) {
  asio::thread_pool pool(2);
  rn::scheduler sched(pool, rn::threads(2));
  constexpr int threads = 4, each = 500;
  rn::chan<int> ch(0);
  std::atomic<long> received{0};
  std::atomic<int> ended{0};
  std::vector<std::thread> foreign;
  for (int t = 0; t < threads; ++t)
    foreign.emplace_back([&] {
      for (int i = 0; i < each; ++i) {
        sched.go([&]() -> rn::task<> {
          if (auto v = co_await ch.recv()) received += *v;
          ++ended;
        });
        ch.blocking_send(1);
      }
    });
  for (auto& t : foreign) t.join();
  EXPECT_TRUE(wait_until([&] { return ended == threads * each; }));
  EXPECT_EQ(received, threads * each);
}

TEST(scheduler, two_on_one_context_are_apart) {
  asio::io_context io(1);
  rn::scheduler a(io, rn::threads(1)), b(io, rn::threads(1));
  std::atomic<int> a_ended{0}, b_ended{0};
  rn::chan<int> ch(0);
  a.go([&]() -> rn::task<> {
    guard g(a_ended);
    co_await for_ever();
  });
  b.go([&]() -> rn::task<> {
    for (int i = 0; i < 10; ++i) co_await rn::yield();
    a.cancel();
    for (int i = 0; i < 10; ++i) co_await rn::yield();
    ++b_ended;
  });
  io.run();
  EXPECT_EQ(a_ended, 1);
  EXPECT_EQ(b_ended, 1);
}

// ---- the end ----

TEST(scheduler, destroyed_while_its_context_is_stopped_it_unwinds_what_lives) {
  std::atomic<int> unwound{0};
  auto blocks = rn::detail::frame_pool_stats().live_blocks;
  {
    asio::io_context io(1);
    {
      rn::scheduler sched(io, rn::threads(1));
      std::atomic<int> parked{0};
      for (int i = 0; i < 20; ++i)
        sched.go([&]() -> rn::task<> {
          guard g(unwound);
          ++parked;
          co_await rn::sleep(1h);
        });
      while (parked < 20) io.run_one();
      io.stop();
    }
    EXPECT_EQ(unwound, 20);
  }
  EXPECT_EQ(rn::detail::frame_pool_stats().live_blocks, blocks);
}

TEST(scheduler, destroyed_though_its_context_never_ran_it_unwinds_what_lives) {
  std::atomic<int> begun{0}, unwound{0};
  {
    asio::io_context io(1);
    rn::scheduler sched(io, rn::threads(1));
    for (int i = 0; i < 20; ++i)
      sched.go([&]() -> rn::task<> {
        ++begun;
        guard g(unwound);
        co_await for_ever();
      });
  }
  EXPECT_EQ(begun, 20);
  EXPECT_EQ(unwound, 20);
}

// Clean-up that takes time is served by the destroying thread.
TEST(scheduler, destroyed_while_its_context_is_stopped_it_serves_sleeping_cleanup) {
  bool cleaned = false;
  asio::io_context io(1);
  {
    rn::scheduler sched(io, rn::threads(1));
    bool parked = false;
    sched.go([&]() -> rn::task<> {
      auto cleanup = [&]() -> rn::task<> {
        co_await rn::sleep(2ms);
        cleaned = true;
      };
      parked = true;
      co_await rn::finally(for_ever(), cleanup);
    });
    while (!parked) io.run_one();
    io.stop();
  }
  EXPECT_TRUE(cleaned);
}

TEST(scheduler, destroyed_while_threads_run_its_context_it_joins_what_lives) {
  std::atomic<int> unwound{0}, parked{0};
  asio::io_context io(2);
  auto work = asio::make_work_guard(io);
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) threads.emplace_back([&] { io.run(); });
  {
    rn::scheduler sched(io, rn::threads(2));
    for (int i = 0; i < 100; ++i)
      sched.go([&]() -> rn::task<> {
        guard g(unwound);
        ++parked;
        co_await for_ever();
      });
    EXPECT_TRUE(wait_until([&] { return parked == 100; }));
  }
  EXPECT_EQ(unwound, 100);
  work.reset();
  for (auto& t : threads) t.join();
}

// "Where the context is destroyed with goroutines still in it, they are killed and unwound by that thread."
TEST(scheduler, a_context_that_is_destroyed_first_unwinds_what_lives) {
  std::atomic<int> unwound{0};
  auto io = std::make_unique<asio::io_context>(1);
  auto sched = std::make_unique<rn::scheduler>(*io, rn::threads(1));
  bool parked = false;
  sched->go([&]() -> rn::task<> {
    guard g(unwound);
    parked = true;
    co_await rn::shield(rn::sleep(1h));
  });
  while (!parked) io->run_one();
  io.reset();
  EXPECT_EQ(unwound, 1);
  EXPECT_EQ(sched->live(), 0u);
  EXPECT_THROW(sched->go([] {}), rn::shutting_down);
  sched.reset();
}

TEST(scheduler, a_handler_that_comes_late_finds_it_alive) {
  asio::io_context io(1);
  std::atomic<int> ran{0};
  {
    rn::scheduler sched(io, rn::threads(1));
    sched.go([&]() -> rn::task<> {
      ++ran;
      co_return;
    });
  }  // its pump and timers are still posted
  io.run();
  EXPECT_EQ(ran, 1);
}

// Of somebody who was cancelled while another goroutine keeps the shutdown waiting.
TEST(scheduler, a_timer_that_was_called_off_at_shutdown_does_not_hold_io_run) {
  asio::io_context io;
  rn::scheduler rt(io, rn::threads(2));
  std::atomic<bool> busy{false};
  rt.go([]() -> rn::task<> { co_await rn::sleep(1h); });
  std::thread runner([&] { io.run(); });
  rt.go([&]() -> rn::task<> {
    busy = true;
    std::this_thread::sleep_for(30ms);  // sleeps: the shutdown is to come round more than once
    co_return;
  });
  wait_until([&] { return busy.load(); });
  rt.shut_down();
  runner.join();
  EXPECT_EQ(rt.live(), 0u);
}

// What an after_func starts at the last moment is waited for, or never begins. Nobody but the shutdown runs it.
TEST(scheduler, what_begins_while_it_ends_is_waited_for) {
  for (int round = 0; round < 200; ++round) {
    asio::io_context io;
    std::vector<std::pair<rn::context, rn::cancel_function>> due;
    std::vector<rn::after_func_handle> registrations;
    std::atomic<bool> cancels{false}, cancelled{false}, ended{false};
    std::atomic<int> late{0};
    std::optional<rn::scheduler> rt;
    rt.emplace(io, rn::threads(1), rn::runtime_options().watchdog(1ms));
    rt->go([&]() -> rn::task<> {
      for (int i = 0; i < 200; ++i) {
        due.push_back(rn::context::background().with_cancel());
        registrations.push_back(due.back().first.after_func([&]() -> rn::task<> {
          if (ended) ++late;
          co_return;
        }));
      }
      co_return;
    });
    io.run();
    io.restart();
    std::thread canceller([&] {
      while (!cancels) {
      }
      for (auto& [ctx, cancel] : due) {
        cancel();
        for (int pauses = round % 100; pauses > 0; --pauses) rn::cpu_pause();
      }
      cancelled = true;
    });
    cancels = true;
    if (round % 2)
      while (!cancelled) rt->shut_down();
    rt.reset();
    ended = true;
    canceller.join();
    io.run();
    EXPECT_EQ(late, 0) << "in round " << round;
  }
}

TEST(scheduler, has_not_ended_while_an_after_func_begins) {
  asio::io_context io;
  using executor = asio::io_context::executor_type;
  auto host = std::make_shared<rn::detail::asio_host_on<executor>>(io.get_executor(), 1u, rn::detail::runtime_options());
  ASSERT_TRUE(host->core.count_prepared());
  EXPECT_FALSE(host->core.end(false)) << "one has begun since nothing lived";
  EXPECT_TRUE(host->core.count_prepared()) << "so the next may, too";
  host->core.uncount_prepared();
  host->core.uncount_prepared();
  EXPECT_TRUE(host->core.end(false));
  EXPECT_FALSE(host->core.count_prepared());
}

TEST(scheduler, leaves_who_is_stuck_behind_though_a_handler_has_woken_it) {
  asio::io_context io;
  std::atomic<bool> stuck{false}, released{false};
  std::optional<rn::scheduler> rt;
  rt.emplace(io, rn::threads(2), rn::runtime_options().grace(5ms).kill_grace(5ms).leak_stuck());
  rt->go([&]() -> rn::task<> {
    co_await rn::sleep(1ms);  // a timer's handler runs it from here
    stuck = true;
    while (!released) std::this_thread::yield();
  });
  std::thread runner([&] { io.run(); });
  wait_until([&] { return stuck.load(); });
  rt.reset();
  released = true;
  runner.join();
}

TEST(scheduler, grace_may_be_the_longest_time) {
  asio::io_context io;
  std::atomic<bool> in_shield{false};
  bool finished = false;
  rn::scheduler rt(io, rn::threads(1), rn::runtime_options().grace(std::chrono::nanoseconds::max()));
  auto cleanup = [&]() -> rn::task<> {
    in_shield = true;
    co_await rn::sleep(20ms);
    finished = true;
  };
  rt.go([&]() -> rn::task<> { co_await rn::shield(cleanup()); });
  std::thread runner([&] { io.run(); });
  wait_until([&] { return in_shield.load(); });
  rt.shut_down();
  runner.join();
  EXPECT_TRUE(finished);
}

TEST(scheduler, nothing_starts_after_its_shutdown) {
  asio::io_context io(1);
  rn::scheduler sched(io, rn::threads(1));
  sched.shut_down();
  EXPECT_THROW(sched.go([] {}), rn::shutting_down);
  io.run();
}

}  // namespace
