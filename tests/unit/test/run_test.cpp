// SPDX-License-Identifier: BSL-1.0
// test::run: one thread, virtual time, the seed's choices; what it returns, throws and prints.
#include <runnel/all.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>
#include <runnel/sleep.hpp>
#include <runnel/sync/wait_group.hpp>
#include <runnel/test.hpp>
#include <runnel/this_task.hpp>
#include <runnel/with_context.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;

// Some of everything that a schedule decides: order of goroutines, of fork-join children, of timers.
rn::task<std::vector<int>> busy() {
  std::vector<int> order;
  rn::chan<int> ch(1);
  co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
    for (int i = 0; i < 4; ++i) {
      auto work = [&order, ch](int n) -> rn::task<> {
        co_await ch.send(n);
        order.push_back(n);
        co_await rn::sleep(1ms * (n % 2));
        order.push_back(10 + n);
      };
      g.go(rn::moved(work).get(), i);
    }
    for (int i = 0; i < 4; ++i) order.push_back(100 + *co_await ch.recv());
    co_return;
  });
  auto note = [&](int n) -> rn::task<> {
    order.push_back(n);
    co_await rn::yield();
    order.push_back(n + 1);
  };
  co_await rn::all(note(20), note(30), note(40));
  co_return order;
}

struct recorded {
  std::vector<int> result;
  rn::test::trace trace;
};
template <class... O> recorded record(const O&... options) {
  recorded r;
  r.result = rn::test::run(options..., rn::test::record_to(r.trace), busy);
  return r;
}

// SY-C01
TEST(test_run, the_same_seed_gives_the_same_run) {
  std::set<std::vector<int>> different;
  for (std::uint64_t n = 0; n < 50; ++n) {
    recorded first = record(rn::test::seed(n));
    recorded again = record(rn::test::seed(n));
    EXPECT_EQ(first.result, again.result);
    EXPECT_EQ(first.trace, again.trace);
    EXPECT_GT(first.trace.steps().size(), 20u);
    different.insert(first.result);
  }
  EXPECT_GT(different.size(), 40u);
}

TEST(test_run, another_seed_gives_another_trace) {
  EXPECT_NE(record(rn::test::seed(1)).trace, record(rn::test::seed(2)).trace);
  EXPECT_NE(record(rn::test::seed(1)).trace, record().trace);
}

TEST(test_run, without_a_seed_it_is_the_default_order_each_time) {
  recorded first = record();
  EXPECT_EQ(first.trace, record().trace);
  for (const auto& step : first.trace.steps()) EXPECT_EQ(step.choice, 0u);
  EXPECT_EQ(first.trace.schedule_text(), "");
}

// What a seed did can be had again by the schedule alone.
TEST(test_run, a_schedule_repeats_what_a_seed_did) {
  for (std::uint64_t n = 0; n < 20; ++n) {
    recorded seeded = record(rn::test::seed(n));
    recorded scheduled = record(rn::test::schedule(seeded.trace.schedule_text()));
    EXPECT_EQ(scheduled.result, seeded.result);
    EXPECT_EQ(scheduled.trace, seeded.trace);
  }
}

TEST(test_run, returns_what_the_body_returns) {
  EXPECT_EQ(rn::test::run([]() -> rn::task<int> { co_return 5; }), 5);
  int n = 0;
  int& same = rn::test::run([&]() -> rn::task<int&> { co_return n; });
  EXPECT_EQ(&same, &n);
  auto p = rn::test::run(rn::test::seed(3), []() -> rn::task<std::unique_ptr<int>> { co_return std::make_unique<int>(7); });
  EXPECT_EQ(*p, 7);
  rn::test::run([]() -> rn::task<> { co_return; });
}

TEST(test_run, throws_what_the_body_throws) {
  auto fails = []() -> rn::task<> {
    co_await rn::sleep(1s);
    throw std::out_of_range("beyond");
  };
  EXPECT_THROW(rn::test::run(rn::test::seed(1), fails), std::out_of_range);
}

TEST(test_run, throws_what_leaves_a_goroutine_that_nobody_joins) {
  bool unwound = false;
  auto body = [&]() -> rn::task<> {
    struct guard {
      bool& b;
      ~guard() { b = true; }
    } at_end{unwound};
    rn::go([]() -> rn::task<> {
      co_await rn::sleep(1ms);
      throw std::out_of_range("from a go");
    });
    co_await rn::chan<int>().recv();  // cancelled with everything else
  };
  EXPECT_THROW(rn::test::run(body), std::out_of_range);
  EXPECT_TRUE(unwound);
}

TEST(test_run, throws_canceled_when_the_body_is_cancelled) {
  auto body = []() -> rn::task<> {
    auto [ctx, cancel] = rn::this_context().with_cancel();
    cancel();
    co_await rn::with_context(ctx, rn::sleep(1s));
  };
  EXPECT_THROW(rn::test::run(body), rn::canceled);
}

// Everything on the calling thread.
TEST(test_run, runs_on_the_thread_that_calls_it) {
  auto here = std::this_thread::get_id();
  rn::test::run(rn::test::seed(9), [&]() -> rn::task<> {
    rn::wait_group all;
    for (int i = 0; i < 10; ++i) {
      auto f = [&]() -> rn::task<> {
        EXPECT_EQ(std::this_thread::get_id(), here);
        co_await rn::sleep(1ms);
        EXPECT_EQ(std::this_thread::get_id(), here);
      };
      all.go(f);
    }
    co_await all.wait();
  });
}

TEST(test_run, on_two_threads_at_once_is_two_runs) {
  std::vector<recorded> results(4);
  std::vector<std::thread> threads;
  for (auto& r : results) threads.emplace_back([&r] { r = record(rn::test::seed(5)); });
  for (auto& t : threads) t.join();
  for (auto& r : results) EXPECT_EQ(r.trace, results[0].trace);
}

// SY-02: time jumps, and only when everybody waits.
TEST(test_run, time_is_virtual_and_jumps) {
  auto begin = std::chrono::steady_clock::now();
  auto passed = rn::test::run([]() -> rn::task<std::chrono::nanoseconds> {
    auto start = rn::test::now();
    co_await rn::sleep(24h);
    EXPECT_EQ(rn::test::now() - start, 24h);
    for (int i = 0; i < 100; ++i) co_await rn::yield();
    EXPECT_EQ(rn::test::elapsed(), 24h);
    co_await rn::sleep_until(start + 48h);  // sleeps: in virtual time
    co_return rn::test::elapsed();
  });
  EXPECT_EQ(passed, 48h);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
}

TEST(test_run, timers_fire_in_their_order_whatever_the_seed) {
  for (std::uint64_t n = 0; n < 30; ++n) {
    std::vector<int> order;
    rn::test::run(rn::test::seed(n), [&]() -> rn::task<> {
      rn::wait_group all;
      for (int i : {5, 3, 9, 1, 7}) {
        auto f = [&, i]() -> rn::task<> {
          co_await rn::sleep(1h * i);
          order.push_back(i);
        };
        all.go(f);
      }
      co_await all.wait();
    });
    EXPECT_EQ(order, (std::vector<int>{1, 3, 5, 7, 9}));
  }
}

// SY-09, TM-13
TEST(test_run, timers_of_one_instant_fire_in_any_order) {
  std::set<std::vector<int>> orders;
  for (std::uint64_t n = 0; n < 200; ++n) {
    std::vector<int> order;
    rn::test::run(rn::test::seed(n), [&]() -> rn::task<> {
      rn::wait_group all;
      for (int i : {0, 1, 2}) {
        auto f = [&, i]() -> rn::task<> {
          co_await rn::sleep(1s);
          order.push_back(i);
        };
        all.go(f);
      }
      co_await all.wait();
    });
    orders.insert(order);
  }
  EXPECT_EQ(orders.size(), 6u);
}

// A deadline and a value at the same instant: either may come first.
TEST(test_run, a_deadline_races_with_what_happens_at_its_instant) {
  int timeouts = 0, values = 0;
  for (std::uint64_t n = 0; n < 100; ++n)
    rn::test::run(rn::test::seed(n), [&]() -> rn::task<> {
      rn::chan<int> ch(1);
      auto send = [ch]() -> rn::task<> {
        co_await rn::sleep(1s);
        ch.try_send(1);
      };
      co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
        g.go(send);
        try {
          co_await rn::with_timeout(1s, ch.recv());
          ++values;
        } catch (const rn::deadline_exceeded&) {
          ++timeouts;
        }
      });
    });
  EXPECT_GT(timeouts, 10);
  EXPECT_GT(values, 10);
}

// A deadline that is set and not reached costs no time.
TEST(test_run, a_deadline_that_is_not_needed_takes_no_time) {
  rn::test::run([]() -> rn::task<> {
    co_await rn::with_timeout(1h, rn::sleep(1s));
    EXPECT_EQ(rn::test::elapsed(), 1s);
    try {
      co_await rn::with_timeout(1s, rn::sleep(1h));
      ADD_FAILURE();
    } catch (const rn::deadline_exceeded&) {
    }
    EXPECT_EQ(rn::test::elapsed(), 2s);
  });
}

// SY-08
TEST(test_run, a_sleep_of_nothing_is_over_at_once) {
  rn::test::run([]() -> rn::task<> {
    co_await rn::sleep(0s);
    co_await rn::sleep(-1s);
    co_await rn::sleep_until(rn::test::now());  // sleeps: in virtual time
    EXPECT_EQ(rn::test::elapsed(), 0s);
  });
}

// SY-05, SY-10: what can go on when the body has ended goes on, but time stands still.
TEST(test_run, what_the_body_leaves_may_go_on_while_no_time_passes) {
  int ran = 0;
  rn::test::run([&]() -> rn::task<> {
    rn::go([&]() -> rn::task<> {
      for (int i = 0; i < 10; ++i) {
        co_await rn::yield();
        ++ran;
      }
    });
    co_return;
  });
  EXPECT_EQ(ran, 10);
}

TEST(test_run, cancel_at_end_cancels_what_is_left) {
  bool unwound = false;
  auto body = [&]() -> rn::task<> {
    rn::go([&]() -> rn::task<> {
      struct guard {
        bool& b;
        ~guard() { b = rn::unwinding(); }
      } at_end{unwound};
      for (;;) co_await rn::sleep(1s);
    });
    co_await rn::sleep(10s);
  };
  rn::test::run(rn::test::cancel_at_end, body);
  EXPECT_TRUE(unwound);
  unwound = false;
  EXPECT_THROW(rn::test::run(body), rn::test::leak_error);
  EXPECT_TRUE(unwound);
}

// Every co_await of the library is a place where others may come: a value read before it may be old after it.
TEST(test_run, any_await_may_let_others_run) {
  auto lost = [](std::uint64_t n) {
    return rn::test::run(rn::test::seed(n), []() -> rn::task<bool> {
      int value = 0;
      rn::chan<int> log(100);
      auto increment = [&]() -> rn::task<> {
        int old = value;
        co_await log.send(old);  // there is room: it does not wait
        value = old + 1;
      };
      co_await rn::all(increment(), increment(), increment());
      co_return value != 3;
    });
  };
  int bad = 0;
  for (std::uint64_t n = 0; n < 100; ++n) bad += lost(n);
  EXPECT_GT(bad, 20);
  EXPECT_LT(bad, 100);
}

// Also of all and race: the second may have ended before the first has begun.
TEST(test_run, fork_join_children_begin_in_any_order) {
  std::set<std::vector<int>> orders;
  for (std::uint64_t n = 0; n < 200; ++n) {
    std::vector<int> order;
    rn::test::run(rn::test::seed(n), [&]() -> rn::task<> {
      auto note = [&](int i) -> rn::task<> {
        order.push_back(i);
        co_return;
      };
      co_await rn::all(note(0), note(1), note(2));
    });
    orders.insert(order);
  }
  EXPECT_EQ(orders.size(), 6u);
}

TEST(test_run, a_run_leaves_nothing_behind) {
  (void)rn::context::background();
  auto before = rn::detail::frame_pool_stats().live_blocks;
  for (std::uint64_t n = 0; n < 20; ++n) (void)record(rn::test::seed(n));
  EXPECT_EQ(rn::detail::frame_pool_stats().live_blocks, before);
}

TEST(test_run, an_after_func_that_never_fires_is_no_leak) {
  rn::test::run([]() -> rn::task<> {
    auto handle = rn::context::background().after_func([] { ADD_FAILURE(); });
    co_return;
  });
}

// A context that outlives the run keeps its clock alive, and its deadline never passes (SY-10).
TEST(test_run, a_context_may_outlive_the_run) {
  auto pair = rn::test::run([]() -> rn::task<std::pair<rn::context, rn::cancel_function>> {
    co_return rn::context::background().with_timeout(1h);
  });
  EXPECT_FALSE(pair.first.is_done());
  pair.second();
  EXPECT_TRUE(pair.first.is_done());
}

class environment {
 public:
  environment(const char* name, const char* value) : x_name(name) { ::setenv(name, value, 1); }
  ~environment() { ::unsetenv(x_name); }

 private:
  const char* x_name;
};

TEST(test_run, the_environment_says_which_seed_or_schedule) {
  recorded wanted = record(rn::test::seed(77));
  {
    environment seed("RUNNEL_TEST_SEED", "77");
    EXPECT_EQ(record(rn::test::seed(1)).trace, wanted.trace);
    EXPECT_EQ(record().trace, wanted.trace);
  }
  {
    environment schedule("RUNNEL_TEST_SCHEDULE", wanted.trace.schedule_text().c_str());
    EXPECT_EQ(record(rn::test::seed(1)).trace, wanted.trace);
  }
  environment bad("RUNNEL_TEST_SEED", "seven");
  EXPECT_THROW(record(), rn::misuse_error);
}

TEST(test_run, a_failing_run_prints_how_to_have_it_again) {
  auto fails = []() -> rn::task<> { throw std::runtime_error("no"); };
  auto printed = [&](auto... options) {
    testing::internal::CaptureStderr();
    EXPECT_THROW(rn::test::run(options..., fails), std::runtime_error);
    return testing::internal::GetCapturedStderr();
  };
  EXPECT_NE(printed(rn::test::seed(41)).find("RUNNEL_TEST_SEED=41"), std::string::npos);
  EXPECT_NE(printed(rn::test::schedule("0:0")).find("RUNNEL_TEST_SCHEDULE=0:0"), std::string::npos);
  EXPECT_NE(printed().find("in the default order"), std::string::npos);
}

bool check_has_failed = false;

TEST(test_run, a_failed_check_prints_it_too) {
  rn::test::set_failure_hook([] { return check_has_failed; });
  testing::internal::CaptureStderr();
  rn::test::run(rn::test::seed(6), []() -> rn::task<> { co_return; });
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  testing::internal::CaptureStderr();
  rn::test::run(rn::test::seed(6), []() -> rn::task<> {
    check_has_failed = true;
    co_return;
  });
  EXPECT_NE(testing::internal::GetCapturedStderr().find("RUNNEL_TEST_SEED=6"), std::string::npos);
  testing::internal::CaptureStderr();  // one that had failed before is not this run's
  rn::test::run(rn::test::seed(6), []() -> rn::task<> { co_return; });
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  check_has_failed = false;
  rn::test::set_failure_hook(nullptr);
}

TEST(test_run_death, an_abort_in_a_run_says_how_to_have_it_again) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  EXPECT_DEATH(rn::test::run(rn::test::seed(23),
                             []() -> rn::task<> {
                               co_await rn::yield();
                               rn::errgroup left;  // fails fast
                               left.go([]() -> rn::task<> { co_await rn::sleep(1s); });
                             }),
               "RUNNEL_TEST_SEED=23");
}

// Bad input. SY-06
TEST(test_run, is_refused_in_a_goroutine) {
  auto inner = []() -> rn::task<> { co_return; };
  EXPECT_THROW(rn::test::run([&]() -> rn::task<> {
                 rn::test::run(inner);
                 co_return;
               }),
               rn::misuse_error);
  rn::runtime rt(rn::threads(1));
  EXPECT_THROW(rt.run([&] { rn::test::run(inner); }), rn::misuse_error);
}

TEST(test_run, other_runtimes_are_refused_in_it) {
  EXPECT_THROW(rn::test::run([]() -> rn::task<> {
                 rn::runtime rt(rn::threads(1));
                 rt.run([] {});
                 co_return;
               }),
               rn::misuse_error);
}

TEST(test_run, blocking_forms_are_refused_in_it) {
  EXPECT_THROW(rn::test::run([]() -> rn::task<> {
                 rn::chan<int> ch(0);
                 (void)ch.blocking_recv();
                 co_return;
               }),
               rn::misuse_error);
}

#if defined(__linux__)
TEST(test_run, real_sleeping_is_told_by_name) {
  auto sleeps = []() -> rn::task<> {
    rn::go([]() -> rn::task<> {
      co_await rn::yield();
      std::this_thread::sleep_for(60ms);  // sleeps: that is what is to be told
      co_await rn::yield();
    });
    co_await rn::yield();
    co_await rn::sleep(1s);
  };
  try {
    rn::test::run(rn::test::blocking_limit(20ms), sleeps);
    ADD_FAILURE() << "it was not seen";
  } catch (const rn::test::blocking_error& e) {
    std::string what = e.what();
    EXPECT_NE(what.find("goroutine 2"), std::string::npos) << what;
    EXPECT_NE(what.find("run_test.cpp"), std::string::npos) << what;
    EXPECT_NE(what.find("ms of real time"), std::string::npos) << what;
  }
  rn::test::run(rn::test::blocking_limit(0s), sleeps);
}

// Computing for long is no blocking.
TEST(test_run, real_computing_is_no_blocking) {
  rn::test::run(rn::test::blocking_limit(1ms), []() -> rn::task<> {
    auto end = std::chrono::steady_clock::now() + 5ms;
    while (std::chrono::steady_clock::now() < end) rn::cpu_pause();
    co_return;
  });
}
#endif

TEST(test_run, a_body_that_never_ends_is_told_by_name) {
  auto endless = []() -> rn::task<> {
    rn::go([]() -> rn::task<> {
      for (;;) co_await rn::yield();
    });
    co_await rn::chan<int>(0).recv();
  };
  try {
    rn::test::run(rn::test::max_steps(1000), endless);
    ADD_FAILURE() << "it has ended";
  } catch (const rn::test::endless_error& e) {
    std::string what = e.what();
    EXPECT_NE(what.find("max_steps(1000)"), std::string::npos) << what;
    EXPECT_NE(what.find("the last to run was goroutine 2"), std::string::npos) << what;
    EXPECT_NE(what.find("to receive from"), std::string::npos) << what;
  }
}

// SY-07: another thread has a hand in it.
TEST(test_run, being_woken_from_outside_is_refused) {
  std::atomic<bool> go{false}, sent{false};
  rn::chan<int> ch(0);  // so that a send succeeds by waking the receiver
  std::thread other([&] {
    while (!go) std::this_thread::yield();
    while (!ch.try_send(1)) std::this_thread::yield();
    sent = true;
  });
  // The body busily lets others run; the receiver waits until the other thread's element comes.
  EXPECT_THROW(rn::test::run(rn::test::max_steps(100'000'000), rn::test::blocking_limit(0s),
                             [&]() -> rn::task<> {
                               rn::go([&]() -> rn::task<> { (void)co_await ch.recv(); });
                               go = true;
                               while (!sent) co_await rn::sleep(1ns);
                               co_await rn::sleep(1s);
                             }),
               rn::misuse_error);
  other.join();
}

TEST(test_run, an_unreadable_schedule_is_refused) {
  for (const char* text : {"x", "1", "1:", ":1", "1:2,", "2:1,1:1", "1:1 2:1", "1:1,1:2", "-1:2"})
    EXPECT_THROW(rn::test::schedule{text}, rn::misuse_error) << text;
  rn::test::schedule empty("");
  rn::test::schedule good("1:2,30:4");
}

}  // namespace
