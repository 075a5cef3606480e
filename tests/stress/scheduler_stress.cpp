// SPDX-License-Identifier: BSL-1.0
// Storms of wake-ups from inside and outside, and schedulers that come and go: nobody is forgotten.
#include <runnel.hpp>

#include "support/stress.hpp"

#include <gtest/gtest.h>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using stress::dice;

class scheduler_stress : public stress::stress_test {};

void burn(dice& d) noexcept {
  if (d.one_in(8))
    for (unsigned i = d.below(20'000); i > 0; --i) rn::cpu_pause();
}

rn::task<> spread(std::atomic<int>& ran, dice d, unsigned generations) {
  ++ran;
  burn(d);
  try {
    for (unsigned i = generations ? d.below(3) : 0; i > 0; --i)
      rn::go(spread, std::ref(ran), d.split(), generations - 1);
  } catch (const rn::shutting_down&) {
  }
  for (unsigned i = d.below(3); i > 0; --i) co_await rn::yield();
  if (d.one_in(8)) co_await rn::sleep(d.microseconds(100));
}

// One wake-up at a time, each waited for: a lost one shows at once, there is nothing else that would heal it.
TEST_F(scheduler_stress, a_single_goroutine_from_outside_always_runs) {
  run_rounds([](unsigned threads, dice d) {
    rn::runtime rt{rn::threads(threads)};
    auto body = [](std::atomic<int>& n, dice mine) -> rn::task<> {
      burn(mine);
      ++n;
      co_return;
    };
    std::vector<std::thread> outside;
    for (unsigned i = d.between(1, 3); i > 0; --i)
      outside.emplace_back([&, mine = d.split()]() mutable {
        for (unsigned n = mine.below(100); n > 0; --n) {
          std::atomic<int> mine_ran{0};
          rt.go(body, std::ref(mine_ran), mine.split());
          stress::wait_until([&] { return mine_ran == 1; }, "a goroutine that was started outside");
          stress::dawdle(mine);
        }
      });
    rt.run([&]() -> rn::task<> {  // and timers, whose pumps take idle processors on another way
      for (unsigned n = d.below(20); n > 0; --n) co_await rn::sleep(d.microseconds(200));
    });
    for (auto& t : outside) t.join();
  });
}

TEST_F(scheduler_stress, storms_of_starts_all_run) {
  run_rounds([](unsigned threads, dice d) {
    std::atomic<int> ran{0}, started{0};
    rn::runtime rt{rn::threads(threads)};
    std::vector<std::thread> outside;
    for (unsigned i = d.between(1, 3); i > 0; --i)
      outside.emplace_back([&, mine = d.split()]() mutable {
        for (unsigned n = mine.below(60); n > 0; --n) {
          ++started;
          rt.go(spread, std::ref(ran), mine.split(), mine.below(4));
          stress::dawdle(mine);
        }
      });
    for (auto& t : outside) t.join();
    stress::wait_until([&] { return rt.live() == 0; }, "storms of starts");
    EXPECT_GE(ran, started);
  });
}

// Foreign threads wake parked goroutines, which wake each other: each token arrives.
TEST_F(scheduler_stress, wake_storms_reach_everybody) {
  run_rounds([](unsigned threads, dice d) {
    rn::runtime rt{rn::threads(threads)};
    std::atomic<long> arrived{0};
    long sent = 0;
    std::vector<rn::chan<int>> doors;
    unsigned n = d.between(1, 8);
    for (unsigned i = 0; i < n; ++i) doors.emplace_back(static_cast<std::ptrdiff_t>(d.below(4)));
    auto relay = [](rn::chan<int> from, rn::chan<int> to, std::atomic<long>& count, dice mine) -> rn::task<> {
      while (auto hops = co_await from.recv()) {
        burn(mine);
        if (*hops == 0)
          ++count;
        else if (!to.try_send(*hops - 1))
          ++count;  // nobody waits there: it ends here
      }
    };
    for (unsigned i = 0; i < n; ++i) rt.go(relay, doors[i], doors[(i + 1) % n], std::ref(arrived), d.split());
    std::vector<std::thread> outside;
    std::vector<long> counts(3);
    for (unsigned i = 0; i < 3; ++i)
      outside.emplace_back([&, i, mine = d.split()]() mutable {
        for (unsigned k = mine.below(200); k > 0; --k) {
          if (doors[mine.below(n)].try_send(static_cast<int>(mine.below(5)))) ++counts[i];
          stress::dawdle(mine);
        }
      });
    for (auto& t : outside) t.join();
    for (long c : counts) sent += c;
    stress::wait_until([&] { return arrived == sent; }, "tokens");
    for (auto& door : doors) door.close();
    stress::wait_until([&] { return rt.live() == 0; }, "relays of closed channels");
  });
}

// What waits behind a goroutine that runs long is run by somebody else.
TEST_F(scheduler_stress, nobody_waits_behind_a_busy_goroutine) {
  run_rounds([](unsigned threads, dice d) {
    if (threads == 1) return;  // there is nobody else
    rn::runtime rt{rn::threads(threads)};
    std::atomic<bool> ran{false}, gave_up{false};
    rt.run([&]() -> rn::task<> {
      rn::chan<int> ping(0), pong(0), door(0);
      auto echo = [](rn::chan<int> from, rn::chan<int> to) -> rn::task<> {
        while (auto v = co_await from.recv()) co_await to.send(1);
      };
      rn::go(echo, ping, pong);
      for (unsigned i = d.below(20'000); i > 0; --i) {  // so that the scheduler takes its items for small ones
        co_await ping.send(1);
        (void)co_await pong.recv();
      }
      ping.close();
      auto late = [](rn::chan<int> from, std::atomic<bool>& flag) -> rn::task<> {
        (void)co_await from.recv();
        flag = true;
      };
      rn::go(late, door, std::ref(ran));
      co_await rn::sleep(d.microseconds(3000));  // until it waits, and until everything is idle
      if (!door.try_send(1)) {
        co_await door.send(1);
        co_return;
      }
      auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      while (!ran && !gave_up) gave_up = std::chrono::steady_clock::now() > give_up;
    });
    EXPECT_FALSE(gave_up);
  });
}

// Schedulers on one io_context, made and ended while others work, with goroutines that run, wait, or have just begun.
TEST_F(scheduler_stress, schedulers_come_and_go_on_one_context) {
  run_rounds([](unsigned threads, dice d) {
    boost::asio::io_context io;
    auto work = std::make_optional(boost::asio::make_work_guard(io));
    std::vector<std::thread> pool;
    for (unsigned i = 0; i < threads; ++i) pool.emplace_back([&io] { io.run(); });
    std::vector<std::thread> users;
    for (unsigned i = d.between(1, 3); i > 0; --i)
      users.emplace_back([&io, mine = d.split()]() mutable {
        for (unsigned n = mine.between(1, 10); n > 0; --n) {
          std::atomic<int> ran{0}, ended{0};
          int started = 0;
          rn::chan<int> never(0);
          {
            rn::scheduler s(io, rn::threads(static_cast<long>(mine.between(1, 3))));
            auto wait = [](rn::chan<int> ch, std::atomic<int>& count) -> rn::task<> {
              struct at_end {
                std::atomic<int>& n;
                ~at_end() { ++n; }
              } end{count};
              (void)co_await ch.recv();
            };
            for (unsigned k = mine.below(10); k > 0; --k) s.go(spread, std::ref(ran), mine.split(), 2u);
            for (unsigned k = mine.below(5); k > 0; --k, ++started) s.go(wait, never, std::ref(ended));
            if (mine.one_in(2)) boost::asio::post(io, [] {});
            for (unsigned k = mine.below(20); k > 0; --k) stress::dawdle(mine);
            if (mine.one_in(3)) s.cancel();
            if (mine.one_in(3)) s.shut_down();
          }
          EXPECT_EQ(ended, started);
        }
      });
    for (auto& t : users) t.join();
    work.reset();
    for (auto& t : pool) t.join();
  });
}

}  // namespace
