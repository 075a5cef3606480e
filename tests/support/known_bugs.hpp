// SPDX-License-Identifier: BSL-1.0
// support/known_bugs.hpp: small programs with the bugs of concurrent programs, each beside the right one.
#pragma once

#include <runnel/all.hpp>
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/error.hpp>
#include <runnel/go.hpp>
#include <runnel/sleep.hpp>
#include <runnel/task.hpp>
#include <runnel/with_context.hpp>

#include <chrono>
#include <functional>
#include <stdexcept>

namespace known_bugs {

enum class version { wrong, right };

namespace rn = runnel;
using namespace std::chrono_literals;

// A condition made by hand: who looked before the signal came, and waits after it, has missed it.
template <version V> rn::task<> lost_wake_up() {
  bool ready = false;
  rn::chan<void> signal(V == version::right ? 1 : 0);  // the wrong one forgets a signal that nobody waits for
  rn::chan<int> log(10);
  auto wait = [&]() -> rn::task<> {
    if (ready) co_return;
    co_await log.send(1);
    co_await signal.recv();
  };
  auto notify = [&]() -> rn::task<> {
    co_await log.send(2);
    ready = true;
    signal.try_send();
  };
  co_await rn::all(wait(), notify());
}

// The answer comes when nobody waits for it any more, and whoever brings it waits for ever.
template <version V> rn::task<> leaked_goroutine() {
  rn::chan<int> answer(V == version::right ? 1 : 0);
  rn::go([](rn::chan<int> to) -> rn::task<> {
    co_await rn::sleep(1s);
    co_await to.send(42);
  }, answer);
  try {
    co_await rn::with_timeout(1s, answer.recv());
  } catch (const rn::deadline_exceeded&) {
  }
  co_await rn::sleep(1s);
}

// Two locks, taken in different orders. A channel with room for one is a mutex.
template <version V> rn::task<> lock_order() {
  rn::chan<void> a(1), b(1);
  auto with_both = [](rn::chan<void> first, rn::chan<void> second) -> rn::task<> {
    co_await first.send();
    co_await second.send();
    second.try_recv();
    first.try_recv();
  };
  rn::chan<void>& first_of_other = V == version::right ? a : b;
  rn::chan<void>& second_of_other = V == version::right ? b : a;
  co_await rn::all(with_both(a, b), with_both(first_of_other, second_of_other));
}

// A value is read, others run, and the old value is written back.
template <version V> rn::task<> lost_update() {
  int balance = 0;
  rn::chan<void> mutex(1);
  rn::chan<int> log(10);
  auto deposit = [&]() -> rn::task<> {
    if (V == version::right) co_await mutex.send();
    int seen = balance;
    co_await log.send(seen);
    balance = seen + 1;
    if (V == version::right) mutex.try_recv();
  };
  co_await rn::all(deposit(), deposit());
  if (balance != 2) throw std::logic_error("an update was lost");
}

// Both runners may receive, and what the loser has received is gone. The right one receives in one place.
template <version V> rn::task<> lost_element() {
  rn::chan<int> a(1), b(1);
  auto receive = [](rn::chan<int> ch) -> rn::task<int> { co_return *co_await ch.recv(); };
  auto fill = [](rn::chan<int> first, rn::chan<int> second) -> rn::task<> {
    co_await first.send(1);
    co_await second.send(2);
  };
  rn::chan<int> second = V == version::right ? a : b;
  co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
    g.go(rn::moved(fill).get(), a, second);
    int sum = 0;
    if constexpr (V == version::right)
      sum = co_await receive(a);
    else
      sum = co_await rn::race(receive(a), receive(b));
    rn::chan<int>& rest = sum == 1 ? second : a;
    sum += co_await receive(rest);
    if (sum != 3) throw std::logic_error("an element was lost");
  });
}

// The account is charged before the receipt is out, and a cancellation in between leaves it so.
struct books {
  int charged = 0;
  int receipts = 0;
  bool balanced() const { return charged == receipts; }
};
template <version V> rn::task<> commit_on_cancel(books& b) {
  b = books();
  rn::chan<int> printer(0);
  co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
    g.go([](rn::chan<int> in) -> rn::task<> {
      while (auto job = co_await in.recv()) co_await rn::sleep(1ms);
    }, printer);
    for (int i = 0; i < 3; ++i) {
      if constexpr (V == version::wrong) {
        ++b.charged;
        co_await printer.send(i);
        ++b.receipts;
      } else {
        co_await printer.send(i);  // its success, and both counts, are one step
        ++b.charged, ++b.receipts;
      }
    }
    printer.close();
  });
}

}  // namespace known_bugs
