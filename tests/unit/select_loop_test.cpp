// SPDX-License-Identifier: BSL-1.0
// select_loop: when it goes on, when it ends, and what is evaluated once.
#include <runnel/after.hpp>
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/select_loop.hpp>
#include <runnel/ticker.hpp>
#include <runnel/timer.hpp>
#include <runnel/with_context.hpp>

#include "support/channel_waiters.hpp"
#include "support/checked_runtime.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using clock_type = std::chrono::steady_clock;
using runnel_test::waiting_receivers;
using runnel_test::waiting_senders;
using test::on_1_2_and_4_threads;
using test::until;

rn::task<> produce(rn::chan<int> ch, int n) {
  for (int i = 1; i <= n; ++i) co_await ch.send(i);
  ch.close();
}

TEST(select_loop, goes_on_until_a_handler_says_stop) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> a(0), b(0);
    rn::go(produce, a, 50);
    rn::go(produce, b, 50);
    int sum = 0, rounds = 0;
    auto plain = [&](std::optional<int> v) {
      sum += v.value_or(0);
      return ++rounds == 40 ? rn::stop : rn::next;
    };
    auto coroutine = [&](std::optional<int> v) -> rn::task<rn::loop_control> {
      co_await rn::yield();
      sum += v.value_or(0);
      co_return ++rounds == 40 ? rn::stop : rn::next;
    };
    co_await rn::select_loop(rn::on(a.recv(), plain), rn::on(b.recv(), coroutine));
    EXPECT_EQ(rounds, 40);
    co_await rn::select_loop(rn::on(a.recv(), [&](std::optional<int> v) { sum += v.value_or(0); }),
                             rn::on(b.recv(), [&](std::optional<int> v) -> rn::task<> {
                               sum += v.value_or(0);
                               co_return;
                             }));
    EXPECT_EQ(sum, 2 * (50 * 51 / 2));
  });
}

TEST(select_loop, a_channel_that_is_closed_and_drained_is_told_once_and_the_last_one_ends_it) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> a(2), b(0), nil;
    rn::go(produce, a, 10);
    rn::go(produce, b, 20);
    int from_a = 0, from_b = 0, closed = 0;
    auto count_a = [&](std::optional<int> v) { ++(v ? from_a : closed); };
    auto count_b = [&](std::optional<int> v) { ++(v ? from_b : closed); };
    co_await rn::select_loop(rn::on(a.recv(), count_a), rn::on(nil.recv(), [] { ADD_FAILURE(); }), rn::on(b.recv(), count_b),
                             rn::on(rn::done(), [] { ADD_FAILURE(); }), rn::on(rn::after(1h), [] { ADD_FAILURE(); }));
    EXPECT_EQ(from_a, 10);
    EXPECT_EQ(from_b, 20);
    EXPECT_EQ(closed, 2);
    rn::chan<void> counts(1);
    counts.close();
    int told = 0;
    auto tell = [&](bool more) { told += more ? 100 : 1; };
    co_await rn::select_loop(rn::on(counts.recv(), tell));
    EXPECT_EQ(told, 1);
    co_await rn::select_loop();
    co_await rn::select_loop(nil.recv());
  });
}

TEST(select_loop, sends_what_the_named_object_is_in_each_round) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<std::string> out(0);
    std::string got;
    std::atomic<bool> over{false};
    rn::go([&]() -> rn::task<> {
      while (auto v = co_await out.recv()) got += *v;
      over = true;
    });
    std::string next_one = "a";
    int rounds = 0;
    co_await rn::select_loop(rn::on(out.send(rn::moved(next_one)), [&] {
      next_one = std::string(1, static_cast<char>('a' + ++rounds));
      return rounds == 5 ? rn::stop : rn::next;
    }));
    out.close();
    co_await until([&] { return over.load(); });
    EXPECT_EQ(got, "abcde");
    rn::chan<void> counts(3);
    int sent = 0;
    auto three = [&] { return ++sent == 3 ? rn::stop : rn::next; };
    co_await rn::select_loop(rn::on(counts.send(), three));
    EXPECT_EQ(counts.len(), 3u);
  });
}

TEST(select_loop, after_ticks_once_counted_from_the_call) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> busy(1);
    auto begin = clock_type::now();
    int received = 0, ticks = 0, one = 1;
    co_await rn::select_loop(rn::on(busy.recv(), [&]() -> rn::task<rn::loop_control> {
                               co_await busy.send(1);  // something is always ready
                               ++received;
                               co_return ticks == 1 && received > 10 ? rn::stop : rn::next;
                             }),
                             rn::on(busy.send(rn::moved(one)), [] {}), rn::on(rn::after(3ms), [&] { ++ticks; }));
    EXPECT_GE(clock_type::now() - begin, 3ms);
    EXPECT_EQ(ticks, 1);
    co_await rn::select_loop(rn::on(rn::after(1ms), [&] { ++ticks; }), rn::on(rn::after(2ms), [&] { ++ticks; }));
    EXPECT_EQ(ticks, 3);  // nothing but cases that are taken once: each is, and then it ends
  });
}

TEST(select_loop, keeps_a_timer_in_the_wheel_while_it_goes_on_and_takes_it_out_at_the_end) {
  test::checked_runtime rt(1);
  rt.run([&]() -> rn::task<> {
    auto& timers = rt.get().core().timers;
    rn::chan<int> ch(0);
    rn::go(produce, ch, 3);
    int rounds = 0;
    co_await rn::select_loop(rn::on(ch.recv(), [&](std::optional<int>) {
                               EXPECT_TRUE(++rounds == 1 || !timers.empty());
                             }),
                             rn::on(rn::after(1h), [] {}));
    EXPECT_TRUE(timers.empty());
  });
}

TEST(select_loop, tickers_and_timers_keep_it_going) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::ticker ticker(200us);
    rn::timer idle(1h);
    rn::chan<int> ch(1);
    ch.close();
    int ticks = 0, closed = 0;
    co_await rn::select_loop(rn::on(ch.recv(), [&] { ++closed; }), rn::on(ticker.recv(),
                                                                          [&] {
                                                                            if (++ticks == 5) idle.reset(100us);
                                                                          }),
                             rn::on(idle.recv(), [] { return rn::stop; }));
    EXPECT_EQ(closed, 1);
    EXPECT_GE(ticks, 5);
  });
}

TEST(select_loop, the_ambient_context_is_told_once_and_then_it_unwinds) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> jobs(0);
    std::atomic<int> alive{1};
    int flushed = 0;
    bool went_on = false;
    auto [ctx, cancel] = rn::this_context().with_cancel();
    rn::go(ctx, [&]() -> rn::task<> {
      struct ends {
        std::atomic<int>& n;
        ~ends() { --n; }
      } guard{alive};
      auto flush = [&]() -> rn::task<> {
        co_await rn::yield();
        ++flushed;
      };
      co_await rn::select_loop(rn::on(jobs.recv(), [] {}), rn::on(rn::done(), flush));
      went_on = true;
    });
    co_await until([&] { return waiting_receivers(jobs) == 1; });
    cancel();
    co_await until([&] { return alive == 0; });
    EXPECT_EQ(flushed, 1);
    EXPECT_FALSE(went_on);
    EXPECT_EQ(waiting_receivers(jobs), 0u);
  });
}

TEST(select_loop, a_done_handler_that_says_stop_ends_it) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> jobs(0);
    std::atomic<int> ended{0};
    auto [ctx, cancel] = rn::this_context().with_cancel();
    rn::go(ctx, [&]() -> rn::task<> {
      co_await rn::select_loop(jobs.recv(), rn::on(rn::done(), [] { return rn::stop; }));
      ++ended;
    });
    co_await until([&] { return waiting_receivers(jobs) == 1; });
    cancel();
    co_await until([&] { return ended == 1; });
  });
}

TEST(select_loop, another_context_is_told_once_and_the_loop_goes_on) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> jobs(0);
    auto [ctx, cancel] = rn::context::background().with_cancel();
    std::atomic<int> told{0}, received{0};
    std::atomic<bool> over{false};
    rn::go([&, other = ctx]() -> rn::task<> {
      co_await rn::select_loop(rn::on(jobs.recv(),
                                      [&](std::optional<int> v) {
                                        if (v) ++received;
                                      }),
                               rn::on(other.done(), [&] { ++told; }));
      over = true;
    });
    co_await jobs.send(1);
    cancel();
    co_await until([&] { return told == 1; });
    co_await jobs.send(2);
    co_await jobs.send(3);
    jobs.close();
    co_await until([&] { return over.load(); });
    EXPECT_EQ(told, 1);
    EXPECT_EQ(received, 3);
  });
}

TEST(select_loop, what_is_thrown_ends_it) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(2), gone(0);
    co_await ch.send(1);
    auto fails = [&]() -> rn::task<> {
      co_await rn::select_loop(rn::on(ch.recv(), [](std::optional<int>) { throw std::runtime_error("handler"); }));
    };
    EXPECT_EQ(co_await test::error_of(fails()), "handler");
    gone.close(std::runtime_error("closed for a reason"));
    auto closed = [&]() -> rn::task<> { co_await rn::select_loop(ch.recv(), gone.recv()); };
    EXPECT_EQ(co_await test::error_of(closed()), "closed for a reason");
    int x = 1;
    auto sends = [&]() -> rn::task<> { co_await rn::select_loop(gone.send(rn::moved(x))); };
    EXPECT_EQ(co_await test::error_of(sends()), rn::closed_channel().what());
    EXPECT_EQ(waiting_receivers(ch) + waiting_senders(gone), 0u);
  });
}

TEST(select_loop, prefer_first_serves_the_first_first) {
  test::checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::chan<int> urgent(10), rest(10);
    for (int i = 0; i < 10; ++i) {
      co_await urgent.send(i);
      co_await rest.send(i);
    }
    urgent.close();
    rest.close();
    std::string order;
    co_await rn::select_loop(rn::prefer_first, rn::on(urgent.recv(),
                                                      [&](std::optional<int> v) {
                                                        if (v) order += 'u';
                                                      }),
                             rn::on(rest.recv(), [&](std::optional<int> v) {
                               if (v) order += 'r';
                             }));
    EXPECT_EQ(order, "uuuuuuuuuurrrrrrrrrr");
  });
}

TEST(select_loop, cancelled_in_a_handler_or_between_it_leaves_nothing_behind) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<std::unique_ptr<int>> ch(0), silent(0);
    rn::errgroup feeders;
    for (int i = 0; i < 30; ++i) {
      auto loop = [&]() -> rn::task<> {
        co_await rn::select_loop(rn::on(ch.recv(), [&](std::optional<std::unique_ptr<int>>) -> rn::task<> {
                                   co_await silent.recv();
                                 }),
                                 silent.recv());
      };
      auto feed = [&]() -> rn::task<> { co_await ch.send(std::make_unique<int>(1)); };
      if (i % 2 == 0) feeders.go(feed);
      auto r = co_await rn::as_result(rn::with_timeout(500us, loop()));
      EXPECT_TRUE(r.error());
      if (i % 2 == 0) (void)ch.try_recv();
    }
    co_await until([&] { return (void)ch.try_recv(), feeders.live() == 0; });  // one of them may have come late
    co_await feeders.wait();
    EXPECT_EQ(waiting_receivers(ch) + waiting_senders(ch) + waiting_receivers(silent), 0u);
  });
}

}  // namespace
