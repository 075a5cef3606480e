// SPDX-License-Identifier: BSL-1.0
// blocking: results, errors, the bound, the order, cancellation before and while it runs, shutdown, tests in virtual time.
#include <runnel/blocking.hpp>

#include <runnel/all.hpp>
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/dump.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>
#include <runnel/sleep.hpp>
#include <runnel/test.hpp>
#include <runnel/with_context.hpp>

#include "support/checked_runtime.hpp"
#include "support/conserves_frames.hpp"
#include "support/counted.hpp"
#include "support/gate.hpp"
#include "support/wait_until.hpp"

#include <gtest/gtest.h>
#include <boost/asio/io_context.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using runnel_test::counted;
using runnel_test::eventually;
using runnel_test::gate;
using runnel_test::on_1_2_and_4_threads;
using runnel_test::wait_until;

class blocking : public runnel_test::conserves_frames {};
class blocking_death : public ::testing::Test {};

rn::detail::blocking_pool& pool_of(rn::runtime& rt) {
  return static_cast<rn::detail::blocking_pool&>(*rt.core().blocking());
}
rn::runtime_options at_most(long n) { return rn::runtime_options().blocking_threads(n); }
rn::task<> wait_at(gate& g) { co_await rn::blocking(&gate::wait, &g); }

// D-01, OB-C04: what blocks its thread goes to threads of its own, never to those of the goroutines. GEN-04:
// who waited resumes on its own scheduler.
TEST_F(blocking, yields_what_the_function_returns_and_resumes_at_home) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::thread::id there;
    auto where = [&there](int x) {
      there = std::this_thread::get_id();
      return x + 1;
    };
    int got = co_await rn::blocking(where, 4);
    EXPECT_EQ(got, 5);
    EXPECT_NE(there, std::thread::id());
    EXPECT_NE(there, std::this_thread::get_id());
    EXPECT_TRUE(rn::detail::this_processor());

    bool ran = false;
    co_await rn::blocking([&ran] { ran = true; });
    EXPECT_TRUE(ran);
    auto p = co_await rn::blocking([](std::unique_ptr<int> own) { return own; }, std::make_unique<int>(6));
    EXPECT_EQ(*p, 6);
    int local = 1;
    int& same = co_await rn::blocking([](int& x) -> int& { return ++x, x; }, std::ref(local));
    EXPECT_EQ(&same, &local);
    EXPECT_EQ(local, 2);
  });
}

TEST_F(blocking, rethrows_what_the_function_throws) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    auto fails = [](const std::string& what) -> int { throw std::runtime_error(what); };
    EXPECT_EQ(co_await test::error_of(rn::blocking(fails, std::string("no disk"))), "no disk");
    EXPECT_EQ(co_await test::error_of(rn::blocking([] { throw std::runtime_error("void"); })), "void");
  });
}

TEST_F(blocking, a_runtime_that_never_blocks_has_no_thread_more) {
  rn::runtime rt{rn::threads(2)};
  rt.run([]() -> rn::task<> { co_await rn::yield(); });
  EXPECT_EQ(rt.core().blocking(), nullptr);
  auto before = runnel_test::count_threads();
  rt.run([]() -> rn::task<> { co_await rn::blocking([] {}); });
  ASSERT_NE(rt.core().blocking(), nullptr);
  EXPECT_EQ(pool_of(rt).threads(), 1u);
  EXPECT_TRUE(runnel_test::threads_become(before + 1));
}

TEST_F(blocking, one_thread_serves_calls_that_come_one_after_the_other) {
  rn::runtime rt{rn::threads(1)};
  rt.run([&]() -> rn::task<> {
    for (int i = 0; i < 100; ++i) {
      co_await rn::blocking([] {});
      co_await eventually([&] { return pool_of(rt).idle() == 1; });
    }
  });
  EXPECT_EQ(pool_of(rt).threads(), 1u);
}

TEST_F(blocking, has_as_many_threads_as_it_may_and_begins_the_others_in_order) {
  for (long most : {1L, 2L, 3L}) {
    rn::runtime rt(rn::threads(2), at_most(most));
    gate g;
    std::atomic<int> running{0}, most_running{0};
    std::vector<int> order;
    rt.run([&]() -> rn::task<> {
      co_await rn::with_errgroup([&](rn::errgroup& group) -> rn::task<> {
        for (long i = 0; i < most; ++i) group.go(wait_at, std::ref(g));
        co_await eventually([&] { return g.waiting() == most; });
        for (int i = 0; i < 10; ++i) {
          auto next = [&](int n) -> rn::task<> {
            co_await rn::blocking([&, n] {
              int now = ++running;
              for (int seen = most_running; seen < now && !most_running.compare_exchange_weak(seen, now);) {
              }
              if (most == 1) order.push_back(n);
              --running;
            });
          };
          group.go(next, i);
          co_await eventually([&] { return pool_of(rt).waiting() == static_cast<std::size_t>(i) + 1; });
        }
        EXPECT_EQ(pool_of(rt).threads(), static_cast<std::size_t>(most));
        EXPECT_EQ(running, 0);
        g.open();
      });
    });
    EXPECT_LE(most_running, most);
    if (most == 1) {
      EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
    }
    EXPECT_EQ(pool_of(rt).threads(), static_cast<std::size_t>(most));
  }
}

TEST_F(blocking, threads_end_when_they_have_had_nothing_to_do_and_others_start) {
  auto before = runnel_test::count_threads();
  rn::runtime rt(rn::threads(1), rn::runtime_options().blocking_idle(0ns));
  for (int i = 0; i < 3; ++i) {
    gate g;
    rt.run([&]() -> rn::task<> {
      co_await rn::with_errgroup([&](rn::errgroup& group) -> rn::task<> {
        for (int n = 0; n < 4; ++n) group.go(wait_at, std::ref(g));
        co_await eventually([&] { return g.waiting() == 4; });
        EXPECT_EQ(pool_of(rt).threads(), 4u);
        g.open();
      });
    });
    wait_until([&] { return pool_of(rt).threads() == 0; });
    wait_until([&] { return runnel_test::count_threads() <= before + 1 + 1; });  // the pool's, and one not joined yet
  }
}

// GEN-05: before a thread has taken it, a cancelled call has no effect at all.
TEST_F(blocking, a_call_that_waits_for_its_turn_is_taken_back) {
  for (bool kill : {false, true}) {
    rn::runtime rt(rn::threads(2), at_most(1));
    gate g;
    std::atomic<int> ran{0};
    rt.run([&]() -> rn::task<> {
      co_await rn::with_errgroup([&](rn::errgroup& group) -> rn::task<> {
        group.go(wait_at, std::ref(g));
        co_await eventually([&] { return g.waiting() == 1; });
        auto [ctx, cancel] = rn::context::background().with_cancel();
        rn::errgroup waiting;
        for (int i = 0; i < 5; ++i)
          waiting.go(
              [](rn::context c, std::atomic<int>& n) -> rn::task<> {
                auto r = co_await rn::as_result(rn::with_context(c, rn::blocking([&n] { ++n; })));
                EXPECT_TRUE(r.canceled());
              },
              ctx, std::ref(ran));
        auto last = [](std::atomic<int>& n) -> rn::task<> { co_await rn::blocking([&n] { n += 100; }); };
        group.go(last, std::ref(ran));
        co_await eventually([&] { return pool_of(rt).waiting() == 6; });
        if (kill)
          ctx.node().cancel(rn::detail::level_kill, false, rn::detail::canceled_cause());
        else
          cancel();
        co_await waiting.wait();  // although the one thread is busy
        EXPECT_EQ(ran, 0);
        EXPECT_EQ(pool_of(rt).waiting(), 1u);
        g.open();
      });
    });
    EXPECT_EQ(ran, 100);  // who was not cancelled has had its turn
  }
}

TEST_F(blocking, a_call_that_runs_is_waited_for_and_what_it_returns_arrives) {
  for (long threads : {1L, 2L, 4L}) {
    test::checked_runtime rt(threads);
    gate g;
    bool arrived = false, gone_on = false;
    std::atomic<int> in_frame{0};
    rt.run([&]() -> rn::task<> {
      rn::errgroup group;
      group.go([&]() -> rn::task<> {
        test::counted local(in_frame);
        counted c = co_await rn::blocking([&] {
          g.wait();
          EXPECT_EQ(in_frame, 1);  // the frame that it refers to is there
          return counted(1);
        });
        arrived = true;
        co_await rn::yield();
        gone_on = true;
      });
      co_await eventually([&] { return g.waiting() == 1; });
      group.cancel();
      for (int turn = 0; turn < 50; ++turn) co_await rn::yield();
      EXPECT_EQ(group.live(), 1u);
      EXPECT_EQ(in_frame, 1);
      g.open();
      co_await group.wait();
    });
    EXPECT_TRUE(arrived);
    EXPECT_FALSE(gone_on);
    EXPECT_EQ(in_frame, 0);
    EXPECT_EQ(counted::alive(), 0);
  }
}

TEST_F(blocking, what_a_cancelled_call_throws_arrives) {
  test::checked_runtime rt(2);
  gate g;
  std::string error;
  rt.run([&]() -> rn::task<> {
    rn::errgroup group;
    group.go([&]() -> rn::task<> {
      try {
        co_await rn::blocking([&] {
          g.wait();
          throw std::runtime_error("disk full");
        });
      } catch (const std::runtime_error& e) {
        error = e.what();
      }
    });
    co_await eventually([&] { return g.waiting() == 1; });
    group.cancel();
    g.open();
    co_await group.wait();
  });
  EXPECT_EQ(error, "disk full");
}

TEST_F(blocking, a_deadline_is_told_when_the_call_has_returned) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto work = []() -> rn::task<> {
      auto until_done = [](rn::context ctx) {  // f may look at a context, and return early
        while (!ctx.is_done()) std::this_thread::yield();
      };
      co_await rn::blocking(until_done, rn::this_context());
      co_await rn::yield();
      ADD_FAILURE() << "it has gone on";
    };
    std::string error = co_await test::error_of_awaiting([&] { return rn::with_timeout(1ms, work()); });
    EXPECT_EQ(error, "runnel: deadline exceeded");
  });
}

// GEN-05: what the call returned arrives, though the time is up, where nothing suspends behind it.
TEST_F(blocking, what_a_call_returns_arrives_though_the_time_is_up) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<bool> begun = false;
    auto until_done = [&](rn::context ctx) {
      begun = true;
      while (!ctx.is_done()) std::this_thread::yield();
      return 7;
    };
    auto work = [&]() -> rn::task<int> { co_return co_await rn::blocking(until_done, rn::this_context()); };
    int got = 0;
    while (!begun) {  // where the time was up before, the call was taken back
      auto r = co_await rn::as_result(rn::with_timeout(5ms, work()));
      if (r.ok()) got = std::move(r).value();
    }
    EXPECT_EQ(got, 7);
  });
}

TEST_F(blocking, is_not_begun_under_a_context_that_is_done) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    cancel();
    bool ran = false;
    auto r = co_await rn::as_result(rn::with_context(ctx, rn::blocking([&ran] { ran = true; })));
    EXPECT_TRUE(r.canceled());
    EXPECT_FALSE(ran);
  });
}

TEST_F(blocking, in_a_shield_it_is_not_taken_back) {
  rn::runtime rt(rn::threads(2), at_most(1));
  gate g;
  bool ran = false;
  rt.run([&]() -> rn::task<> {
    rn::errgroup group, shielded;
    group.go(wait_at, std::ref(g));
    co_await eventually([&] { return g.waiting() == 1; });
    shielded.go([&]() -> rn::task<> { co_await rn::shield(rn::blocking([&] { ran = true; })); });
    co_await eventually([&] { return pool_of(rt).waiting() == 1; });
    shielded.cancel();
    for (int turn = 0; turn < 20; ++turn) co_await rn::yield();
    EXPECT_EQ(shielded.live(), 1u);
    g.open();
    co_await shielded.wait();
    co_await group.wait();
  });
  EXPECT_TRUE(ran);
}

TEST_F(blocking, is_awaited_in_parallel_by_all_and_race) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    // Each waits for the other: they run at the same time.
    std::atomic<int> there{0};
    auto meet = [&there](int x) {
      ++there;
      while (there < 2) std::this_thread::yield();
      return x;
    };
    auto both = co_await rn::all(rn::blocking(meet, 1), rn::blocking(meet, 2));
    EXPECT_EQ(std::get<0>(both) + std::get<1>(both), 3);
    auto first = co_await rn::race(rn::blocking([] { return 7; }), rn::blocking([] { return 7; }));
    EXPECT_EQ(first, 7);
  });
}

TEST_F(blocking, is_refused_outside_of_a_goroutine_and_in_a_call) {
  auto says = [](auto f) -> std::string {
    try {
      f();
    } catch (const rn::misuse_error& e) {
      return e.what();
    }
    return "nothing";
  };
  auto made = [] { (void)rn::blocking([] {}); };
  EXPECT_EQ(says(made), "runnel: blocking outside of a goroutine: there the call can be made as it is");
  rn::runtime rt{rn::threads(1)};
  rt.run([&]() -> rn::task<> {
    auto within = co_await rn::blocking([&] { return says(made); });
    EXPECT_EQ(within, "runnel: blocking outside of a goroutine: there the call can be made as it is");
    auto ends = co_await rn::blocking([&] { return says([&] { rt.shut_down(); }); });
    EXPECT_EQ(ends, "runnel: a thread that runs goroutines cannot wait for their end: shut down from outside");
    int nested = co_await rn::blocking([&] { return rt.run([]() -> rn::task<int> { co_return 3; }); });
    EXPECT_EQ(nested, 3);  // it may wait for goroutines: that is blocking
  });
  EXPECT_EQ(says([] { (void)at_most(0); }), "runnel: blocking_threads(n) takes 1 to 1024");
  EXPECT_EQ(says([] { (void)at_most(1025); }), "runnel: blocking_threads(n) takes 1 to 1024");
  EXPECT_EQ(says([] { (void)rn::runtime_options().blocking_idle(-1ns); }),
            "runnel: blocking_idle(d) takes no negative time");
}

TEST_F(blocking, shutdown_waits_for_the_calls_and_joins_the_threads) {
  auto before = runnel_test::count_threads();
  for (long threads : {1L, 2L, 4L}) {
    gate g;
    std::atomic<int> returned{0};
    auto rt = std::make_unique<rn::runtime>(rn::threads(threads), rn::runtime_options().grace(30s));
    for (int i = 0; i < 3; ++i)
      rt->go([&]() -> rn::task<> {
        co_await rn::blocking([&] {
          g.wait();
          ++returned;
        });
      });
    wait_until([&] { return g.waiting() == 3; });
    std::thread later([&] {
      wait_until([&] { return rt->core().closing(); });
      g.open();
    });
    rt->shut_down();
    EXPECT_EQ(returned, 3);
    EXPECT_EQ(rt->live(), 0u);
    later.join();
    rt.reset();
    EXPECT_TRUE(runnel_test::threads_become(before));
  }
}

TEST_F(blocking, a_dump_tells_who_waits_for_a_thread_and_who_for_a_call) {
  rn::runtime rt(rn::threads(1), at_most(1));
  gate g;
  rt.go(wait_at, std::ref(g));
  wait_until([&] { return g.waiting() == 1; });
  rt.go(wait_at, std::ref(g));
  std::string text;
  wait_until([&] {
    std::ostringstream out;
    rn::dump(out, rt);
    text = out.str();
    return text.find("for a thread to make a blocking call") != std::string::npos;
  });
  EXPECT_NE(text.find("for its blocking call to return"), std::string::npos) << text;
  g.open();
  wait_until([&] { return rt.live() == 0; });
}

TEST_F(blocking, runs_beside_an_io_context_of_ones_own) {
  auto before = runnel_test::count_threads();
  boost::asio::io_context io{1};
  int got = 0;
  {
    rn::scheduler sched(io, rn::threads(1));
    sched.go([&]() -> rn::task<> { got = co_await rn::blocking([] { return 9; }); });
    io.run();  // returns: nothing lives
    EXPECT_EQ(got, 9);
  }
  EXPECT_TRUE(runnel_test::threads_become(before));
}

// The thread that destroys the context ends what lives in it, and the call is waited for.
TEST_F(blocking, an_io_context_may_be_destroyed_while_a_call_runs) {
  auto before = runnel_test::count_threads();
  gate g;
  std::atomic<int> in_frame{0};
  auto io = std::make_unique<boost::asio::io_context>(1);
  auto sched = std::make_unique<rn::scheduler>(*io, rn::threads(1), rn::runtime_options().kill_grace(30s));
  sched->go([&]() -> rn::task<> {
    test::counted local(in_frame);
    co_await rn::blocking([&] { g.wait(); });
    co_await rn::yield();
    ADD_FAILURE() << "it has gone on";
  });
  while (g.waiting() != 1) io->poll_one();
  std::thread later([&] {
    wait_until([&] { return sched->core().closing(); });
    g.open();
  });
  io.reset();
  later.join();
  EXPECT_EQ(in_frame, 0);
  EXPECT_EQ(sched->live(), 0u);
  sched.reset();
  EXPECT_TRUE(runnel_test::threads_become(before));
}

// Not on blocking: what is stuck is leaked.
TEST(blocking_shutdown, a_call_that_does_not_return_is_reported_with_its_place_and_given_up) {
  gate at;  // outlives the call, which returns to nobody
  static gate* g;
  static std::atomic<int> returned;
  g = &at;
  returned = 0;
  static int* left = nullptr;  // so that a leak checker finds what is leaked on purpose
  ::testing::internal::CaptureStderr();
  {
    rn::runtime rt(rn::threads(1), rn::runtime_options().grace(2ms).kill_grace(2ms).leak_stuck());
    rt.run([] {
      rn::go([]() -> rn::task<> {
        int local = 1;
        left = &local;
        co_await rn::blocking([] {
          g->wait();
          ++returned;
        });
        local = 2;
      });
    });
    wait_until([] { return g->waiting() == 1; });
    rt.shut_down();
    EXPECT_EQ(rt.live(), 1u);
  }
  auto printed = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(printed.find("blocking_test.cpp"), std::string::npos) << printed;
  EXPECT_NE(printed.find("in a blocking call that has not returned"), std::string::npos) << printed;
  g->open();  // it returns after all, to nobody
  wait_until([] { return returned == 1; });
  EXPECT_EQ(*left, 1);
}

#if RUNNEL_FAULT_INJECTION
class no_threads {
 public:
  explicit no_threads(bool (*fails)() noexcept) { rn::detail::thread_start_hook = fails; }
  no_threads(const no_threads&) = delete;
  no_threads& operator=(const no_threads&) = delete;
  ~no_threads() { rn::detail::thread_start_hook = nullptr; }
};

TEST_F(blocking, throws_where_not_one_thread_can_be_started_and_works_again_later) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    bool ran = false, caught = false;
    {
      no_threads fault([]() noexcept { return true; });
      try {
        co_await rn::blocking([&ran] { ran = true; });
      } catch (const std::system_error& e) {
        caught = e.code() == std::errc::resource_unavailable_try_again;
      }
    }
    EXPECT_TRUE(caught);
    EXPECT_FALSE(ran);
    co_await rn::blocking([&ran] { ran = true; });
    EXPECT_TRUE(ran);
  });
}

TEST_F(blocking, waits_for_the_threads_that_there_are_if_no_other_can_be_started) {
  static std::atomic<int> started;
  started = 0;
  no_threads fault([]() noexcept { return ++started > 1; });
  rn::runtime rt{rn::threads(2)};
  gate g;
  std::atomic<int> ran{0};
  rt.run([&]() -> rn::task<> {
    co_await rn::with_errgroup([&](rn::errgroup& group) -> rn::task<> {
      group.go(wait_at, std::ref(g));
      co_await eventually([&] { return g.waiting() == 1; });
      auto count = [](std::atomic<int>& n) -> rn::task<> { co_await rn::blocking([&n] { ++n; }); };
      for (int i = 0; i < 5; ++i) group.go(count, std::ref(ran));
      co_await eventually([] { return started == 6; });
      EXPECT_EQ(ran, 0);
      EXPECT_EQ(pool_of(rt).threads(), 1u);
      g.open();
    });
  });
  EXPECT_EQ(ran, 5);
}
#endif

TEST_F(blocking, in_a_test_run_it_is_called_on_the_one_thread_and_time_stands_still) {
  auto here = std::this_thread::get_id();
  auto threads = runnel_test::count_threads();
  std::string order;
  rn::test::run([&]() -> rn::task<> {
    co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
      g.go([&]() -> rn::task<> {
        auto began = rn::test::elapsed();
        // Longer than what a goroutine may block its thread for.
        auto nap = [&] {
          order += 'b';
          std::this_thread::sleep_for(300ms);  // sleeps: that a call may, in a test too, is what is tested
          return std::this_thread::get_id();
        };
        auto there = co_await rn::blocking(nap);
        order += 'r';
        EXPECT_EQ(there, here);
        EXPECT_EQ(rn::test::elapsed(), began);
      });
      g.go([&]() -> rn::task<> {
        co_await rn::sleep(1ms);
        order += 's';
      });
      co_return;
    });
  });
  EXPECT_EQ(order, "brs");
  EXPECT_TRUE(runnel_test::threads_become(threads));
}

TEST_F(blocking, in_a_test_run_others_run_before_the_call_and_behind_it) {
  int before = 0, behind = 0;
  for (std::uint64_t n = 1; n <= 50; ++n) {
    bool returned = false, resumed = false;
    auto body = [&]() -> rn::task<> {
      co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
        g.go([&]() -> rn::task<> {
          co_await rn::blocking([&] { returned = true; });
          resumed = true;
        });
        g.go([&]() -> rn::task<> {
          for (int i = 0; i < 10; ++i) {
            before += !returned;
            behind += returned && !resumed;
            co_await rn::yield();
          }
        });
        co_return;
      });
    };
    rn::test::run(rn::test::seed(n), body);
  }
  EXPECT_GT(before, 0);
  EXPECT_GT(behind, 0);
}

TEST_F(blocking, cancelled_everywhere_a_call_runs_whole_or_not_at_all) {
  int begun = 0, taken = 0;
  auto body = [&]() -> rn::task<> {
    begun = taken = 0;
    co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
      for (int i = 0; i < 2; ++i)
        g.go([&]() -> rn::task<> {
          counted c = co_await rn::blocking([&] {
            ++begun;
            return counted(1);
          });
          ++taken;
        });
      co_await rn::yield();
    });
  };
  auto runs = rn::test::cancel_everywhere(body, [&] { return taken <= begun && begun <= 2 && counted::alive() == 0; });
  EXPECT_GT(runs, 10u);
#if RUNNEL_FAULT_INJECTION
  EXPECT_GT(rn::test::fail_everywhere(body, [&] { return counted::alive() == 0; }), 3u);
#endif
}

// GEN-05: some schedule cancels before the call; once it was made, its result arrives.
TEST_F(blocking, cancelled_everywhere_it_never_ran_or_was_taken) {
  bool never_ran = false, ran = false, taken = false;
  auto body = [&]() -> rn::task<> {
    ran = taken = false;
    co_await rn::yield();
    co_await rn::blocking([&] { ran = true; });
    taken = true;
  };
  rn::test::cancel_everywhere(body, [&] {
    never_ran = never_ran || !ran;
    EXPECT_EQ(ran, taken);
  });
  EXPECT_TRUE(never_ran);
}

}  // namespace
