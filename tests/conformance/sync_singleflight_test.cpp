// SPDX-License-Identifier: BSL-1.0
// SF: singleflight, by rule number; with what the tests of golang.org/x/sync/singleflight check, in our words.
#include <runnel/as_result.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/sync/event.hpp>
#include <runnel/sync/singleflight.hpp>
#include <runnel/with_context.hpp>
#include <support/checked_runtime.hpp>
#include <support/done_context.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

namespace rn = runnel;
using test::checked_runtime;
using test::error_of;
using test::let_others_run;
using test::on_1_2_and_4_threads;
using test::until;

using flights_t = rn::singleflight<std::string, std::string>;

// What is called: it counts its runs, and ends when the door opens.
struct service {
  rn::event door;
  std::atomic<int> runs{0}, inside{0};
  rn::task<std::string> operator()(std::string answer) {
    ++runs;
    test::counted here(inside);
    co_await door.wait();
    co_return answer;
  }
};

rn::task<> ask(flights_t& flights, service& of, std::string key, std::vector<std::string>& answers,
               std::atomic<int>& shared) {
  auto r = co_await flights.call(key, std::ref(of), key + "!");
  static std::mutex guards_the_answers;
  std::lock_guard hold(guards_the_answers);
  answers.push_back(r.value());
  shared += r.shared();
}

// SF-01, P-115
TEST(sf, a_call_yields_what_the_function_yields) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    flights_t flights;
    auto f = []() -> rn::task<std::string> { co_return "bar"; };
    auto r = co_await flights.call("key", f);
    EXPECT_EQ(r.value(), "bar");
    EXPECT_FALSE(r.shared()) << "SF-02";
    auto plain = [] { return "text"; };
    EXPECT_EQ((co_await flights.call("key", plain)).value(), "text");
  });
}

// SF-01, P-115
TEST(sf, an_error_is_thrown_and_not_kept) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    flights_t flights;
    auto fails = []() -> std::string { throw std::runtime_error("some error"); };
    EXPECT_EQ(co_await error_of(flights.call("key", fails)), "some error");
    EXPECT_EQ(co_await error_of(flights.call("key", fails)), "some error");
    auto works = [] { return "fine"; };
    EXPECT_EQ((co_await flights.call("key", works)).value(), "fine") << "SF-04";
  });
}

// SF-01, SF-02, SF-08, MM-11, P-116
TEST(sf, callers_at_the_same_time_share_one_run) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int round = 0; round < 20; ++round) {
      flights_t flights;
      service of;
      std::vector<std::string> answers;
      std::atomic<int> shared = 0;
      constexpr int n = 10;
      rn::errgroup g;
      for (int i = 0; i < n; ++i)
        co_await g.go(ask, std::ref(flights), std::ref(of), std::string("key"), std::ref(answers), std::ref(shared));
      co_await until([&] { return of.inside == 1 && of.door.waiting() == 1; });
      co_await until([&] { return flights.waiting("key") == n; });
      of.door.set();
      co_await g.wait();
      EXPECT_EQ(of.runs, 1);
      EXPECT_EQ(answers, std::vector<std::string>(n, "key!"));
      EXPECT_EQ(shared, n);
    }
  });
}

// SF-01, SF-08
TEST(sf, other_keys_fly_by_themselves) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    flights_t flights;
    service of;
    std::vector<std::string> answers;
    std::atomic<int> shared = 0;
    rn::errgroup g;
    for (const char* key : {"a", "b", "c"})
      co_await g.go(ask, std::ref(flights), std::ref(of), std::string(key), std::ref(answers), std::ref(shared));
    co_await until([&] { return of.inside == 3; });
    of.door.set();
    co_await g.wait();
    EXPECT_EQ(of.runs, 3);
    EXPECT_EQ(shared, 0);
    auto nested = [&]() -> rn::task<std::string> {
      auto inner = [] { return std::string("inner"); };
      co_return (co_await flights.call("other", inner)).value() + "+outer";
    };
    EXPECT_EQ((co_await flights.call("key", nested)).value(), "inner+outer");
  });
}

struct clumsy_hash {
  std::size_t operator()(int) const noexcept { return 7; }
};

// Keys are told apart by equality, not by their hash.
TEST(sf, keys_of_the_same_hash_are_different_keys) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::singleflight<int, int, clumsy_hash> flights;
    rn::event door;
    std::atomic<int> runs = 0, wrong = 0;
    auto f = [&](int x) -> rn::task<int> {
      ++runs;
      co_await door.wait();
      co_return x;
    };
    auto caller = [&](int key) -> rn::task<> {
      auto r = co_await flights.call(key, std::ref(f), key * 10);
      if (r.value() != key * 10) ++wrong;
    };
    rn::errgroup g;
    for (int i = 0; i < 20; ++i) co_await g.go(std::ref(caller), i % 5);
    co_await until([&] { return runs == 5; });
    door.set();
    co_await g.wait();
    EXPECT_EQ(wrong, 0);

    // One of them ends, and another key's is still under way: the next call joins that.
    auto wait_at = [&](rn::event* at) -> rn::task<int> {
      ++runs;
      co_await at->wait();
      co_return 1;
    };
    for (bool first_ends : {true, false}) {
      rn::event doors[2];
      runs = 0;
      rn::chan<rn::result<rn::shared_result<int>>> answers[2];
      for (int i : {0, 1}) {
        answers[i] = flights.call_chan(i, std::ref(wait_at), &doors[i]);
        co_await until([&] { return runs == i + 1; });
      }
      const int ends = first_ends ? 0 : 1, stays = 1 - ends;
      doors[ends].set();
      (void)co_await answers[ends].recv();
      auto joined = flights.call_chan(stays, std::ref(wait_at), &doors[stays]);
      doors[stays].set();
      (void)co_await answers[stays].recv();
      (void)co_await joined.recv();
      EXPECT_EQ(runs, 2);
    }
  });
}

// SF-03, P-117
TEST(sf, a_call_by_channel_gets_one_result_and_no_close) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    flights_t flights;
    auto f = []() -> rn::task<std::string> {
      co_await rn::yield();
      co_return "bar";
    };
    auto answer = flights.call_chan("key", f);
    auto r = co_await answer.recv();
    EXPECT_EQ(r->value().value(), "bar");
    EXPECT_FALSE(r->value().shared());
    co_await let_others_run();
    EXPECT_TRUE(answer.try_recv().would_block());
    EXPECT_EQ(answer.cap(), 1u);
  });
}

// SF-02, SF-03: callers of both kinds share.
TEST(sf, channels_and_callers_share_one_run) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    flights_t flights;
    service of;
    auto first = flights.call_chan("key", std::ref(of), "x");
    std::vector<std::string> answers;
    std::atomic<int> shared = 0;
    rn::errgroup g;
    co_await g.go(ask, std::ref(flights), std::ref(of), std::string("key"), std::ref(answers), std::ref(shared));
    co_await until([&] { return flights.waiting("key") == 2; });
    of.door.set();
    auto r = co_await first.recv();
    co_await g.wait();
    EXPECT_EQ(r->value().value(), "x");
    EXPECT_TRUE(r->value().shared());
    EXPECT_EQ(answers, std::vector<std::string>{"x"});
    EXPECT_EQ(shared, 1);
    EXPECT_EQ(of.runs, 1);
  });
}

// SF-05: later calls start anew; the end of the old run does not remove the new one.
TEST(sf, forget_lets_the_next_call_start_anew) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    flights_t flights;
    service old_one, new_one;
    auto old_answer = flights.call_chan("key", std::ref(old_one), "old");
    co_await until([&] { return old_one.inside == 1; });
    flights.forget("key");
    flights.forget("no such key");
    auto new_answer = flights.call_chan("key", std::ref(new_one), "new");
    co_await until([&] { return new_one.inside == 1; });
    old_one.door.set();
    EXPECT_EQ((co_await old_answer.recv())->value().value(), "old");
    auto joined = flights.call_chan("key", std::ref(old_one), "a third one");
    new_one.door.set();
    EXPECT_EQ((co_await new_answer.recv())->value().value(), "new");
    EXPECT_EQ((co_await joined.recv())->value().value(), "new");
    EXPECT_EQ(old_one.runs + new_one.runs, 2);
  });
}

// SF-06, SF-C01, P-118, P-120: one exception for all, the original type within reach; no crash.
TEST(sf, an_exception_reaches_everybody_who_shares) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    flights_t flights;
    rn::event door;
    std::atomic<int> heard = 0;
    auto fails = [&]() -> rn::task<std::string> {
      co_await door.wait();
      throw std::out_of_range("boom");
    };
    auto caller = [&]() -> rn::task<> {
      try {
        (void)co_await flights.call("key", std::ref(fails));
      } catch (const std::out_of_range& e) {
        heard += std::string(e.what()) == "boom";
      }
    };
    auto answer = flights.call_chan("key", std::ref(fails));
    rn::errgroup g;
    for (int i = 0; i < 5; ++i) co_await g.go(std::ref(caller));
    co_await until([&] { return flights.waiting("key") == 6; });
    door.set();
    co_await g.wait();
    EXPECT_EQ(heard, 5);
    auto r = co_await answer.recv();
    EXPECT_EQ(rn::detail::what_of(r->error()), "boom");
  });
}

// SF-07, P-119: a run that was cancelled leaves nobody waiting.
TEST(sf, a_run_that_is_cancelled_is_canceled_for_everybody) {
  std::atomic<int> alive = 0;
  checked_runtime rt(2);
  flights_t flights;
  rn::chan<rn::result<flights_t::result_type>> answer;
  rt.run([&]() -> rn::task<> {
    auto hang = [&]() -> rn::task<std::string> {
      co_await test::park_for_ever(alive);
      co_return "";
    };
    answer = flights.call_chan("key", std::move(hang));
    co_await until([&] { return alive == 1; });
  });
  rt.shut_down();
  auto r = answer.try_recv();
  EXPECT_TRUE(r.has_value());
  if (r.has_value()) {
    EXPECT_TRUE(r->canceled());
  }
}

// SF-C02: a caller may leave; the others do not notice.
TEST(sf, a_cancelled_caller_does_not_cancel_the_run) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (bool first_leaves : {true, false}) {
      flights_t flights(rn::cancel_abandoned);
      service of;
      std::vector<std::string> answers;
      std::atomic<int> shared = 0;
      rn::errgroup doomed, stays;
      auto start = [&](rn::errgroup& g) {
        return g.go(ask, std::ref(flights), std::ref(of), std::string("key"), std::ref(answers), std::ref(shared));
      };
      rn::errgroup& first = first_leaves ? doomed : stays;
      rn::errgroup& second = first_leaves ? stays : doomed;
      co_await start(first);
      co_await until([&] { return of.inside == 1; });
      co_await start(second);
      co_await until([&] { return flights.waiting("key") == 2; });
      doomed.cancel();
      co_await doomed.wait();
      EXPECT_EQ(flights.waiting("key"), 1u);
      co_await let_others_run();
      EXPECT_EQ(of.inside, 1);
      of.door.set();
      co_await stays.wait();
      EXPECT_EQ(answers, std::vector<std::string>{"key!"});
      EXPECT_EQ(of.runs, 1);
    }
  });
}

// SF-C02
TEST(sf, a_run_that_everybody_has_left_goes_on_unless_it_is_to_be_cancelled) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (bool cancels : {false, true}) {
      auto flights = cancels ? std::make_unique<flights_t>(rn::cancel_abandoned) : std::make_unique<flights_t>();
      service of;
      std::vector<std::string> answers;
      std::atomic<int> shared = 0;
      rn::errgroup doomed;
      for (int i = 0; i < 3; ++i)
        co_await doomed.go(ask, std::ref(*flights), std::ref(of), std::string("key"), std::ref(answers),
                           std::ref(shared));
      co_await until([&] { return flights->waiting("key") == 3 && of.inside == 1; });
      doomed.cancel();
      co_await doomed.wait();
      if (cancels) {
        co_await until([&] { return of.inside == 0; });
      } else {
        co_await let_others_run();
        EXPECT_EQ(of.inside, 1);
        of.door.set();
        co_await until([&] { return of.inside == 0; });
      }
      EXPECT_TRUE(answers.empty());
    }
  });
}

// SF-C02: whoever comes after it was abandoned does not join what is being cancelled.
TEST(sf, a_run_that_was_abandoned_takes_nobody_along) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int round = 0; round < 50; ++round) {
      flights_t flights(rn::cancel_abandoned);
      service of;
      std::vector<std::string> answers;
      std::atomic<int> shared = 0;
      rn::errgroup doomed, next;
      co_await doomed.go(ask, std::ref(flights), std::ref(of), std::string("key"), std::ref(answers), std::ref(shared));
      co_await until([&] { return of.inside == 1; });
      doomed.cancel();
      co_await next.go(ask, std::ref(flights), std::ref(of), std::string("key"), std::ref(answers), std::ref(shared));
      co_await doomed.wait();
      of.door.set();
      co_await next.wait();
      co_await until([&] { return of.inside == 0; });
      EXPECT_EQ(answers, std::vector<std::string>{"key!"});
    }
  });
}

TEST(sf, an_error_that_nobody_is_left_to_hear_is_unobserved) {
  checked_runtime rt(2);
  rt.run([]() -> rn::task<> {
    flights_t flights;
    rn::event door;
    std::atomic<bool> ended = false;
    auto fails = [&]() -> rn::task<std::string> {
      co_await door.wait();
      ended = true;
      throw std::runtime_error("lost");
    };
    auto caller = [&]() -> rn::task<> { (void)co_await flights.call("key", std::ref(fails)); };
    rn::errgroup doomed;
    co_await doomed.go(std::ref(caller));
    co_await until([&] { return door.waiting() == 1; });
    doomed.cancel();
    co_await doomed.wait();
    door.set();
    co_await until([&] { return ended && flights.waiting("key") == 0; });
  });
  rt.shut_down();
  EXPECT_EQ(rt.unobserved(), std::vector<std::string>{"lost"});
}

TEST(sf, a_done_context_starts_nothing) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    flights_t flights;
    std::atomic<int> runs = 0;
    auto f = [&] {
      ++runs;
      return "x";
    };
    EXPECT_FALSE(co_await test::completes_in_a_done_context([&] { return flights.call("key", std::ref(f)); }));
    co_await let_others_run();
    EXPECT_EQ(runs, 0);
  });
}

TEST(sf, it_may_die_while_functions_run) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    service of;
    rn::chan<rn::result<flights_t::result_type>> answer;
    {
      flights_t flights;
      answer = flights.call_chan("key", std::ref(of), "late");
      co_await until([&] { return of.inside == 1; });
    }
    of.door.set();
    EXPECT_EQ((co_await answer.recv())->value().value(), "late");
  });
}

TEST(sf, functions_that_yield_nothing) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::singleflight<int, void> flights;
    int runs = 0;
    auto f = [&runs]() -> rn::task<> {
      ++runs;
      co_await rn::yield();
    };
    EXPECT_FALSE((co_await flights.call(1, f)).shared());
    EXPECT_EQ(runs, 1);
  });
}

TEST(sf, by_channel_outside_of_a_runtime_is_misuse) {
  flights_t flights;
  auto f = [] { return "x"; };
  EXPECT_THROW((void)flights.call_chan("key", f), rn::misuse_error);
  EXPECT_EQ(flights.waiting("key"), 0u) << "nothing was left behind";
}

}  // namespace
