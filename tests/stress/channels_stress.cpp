// SPDX-License-Identifier: BSL-1.0
// Everybody at once on a few small channels: nothing is lost, nothing is doubled, nobody overtakes.
#include <runnel.hpp>

#include "support/stress.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using stress::dice;

constexpr unsigned channels = 3, producers = 12;

class channels_stress : public stress::stress_test {};

// What became of every parcel of a round.
struct ledger {
  std::atomic<std::int64_t> whole{0};  // parcels that exist
  std::atomic<std::int64_t> sent{0};   // sends that reported success
  std::atomic<std::int64_t> kept{0};   // sends that did not, and left the parcel whole
  std::atomic<std::int64_t> attempts{0};
  std::atomic<std::int64_t> received{0};
  std::atomic<std::int64_t> broken{0};  // a send that failed and took the parcel, or succeeded and left it
  std::atomic<std::int64_t> overtaken{0};
};

class parcel {
 public:
  parcel(ledger& l, unsigned from, std::uint32_t nth) noexcept : producer(from), number(nth), x_ledger(&l) {
    ++l.whole;
  }
  parcel(parcel&& other) noexcept
      : producer(other.producer), number(other.number), x_ledger(std::exchange(other.x_ledger, nullptr)) {}
  parcel& operator=(parcel&& other) noexcept {
    parcel taken(std::move(other));
    std::swap(producer, taken.producer);
    std::swap(number, taken.number);
    std::swap(x_ledger, taken.x_ledger);
    return *this;
  }
  ~parcel() {
    if (x_ledger) --x_ledger->whole;
  }
  bool whole() const noexcept { return x_ledger; }

  unsigned producer;
  std::uint32_t number;

 private:
  ledger* x_ledger;
};

using parcels = rn::chan<parcel>;
using shop = std::array<parcels, channels>;

// Books one send, also if the goroutine is unwound in the middle of it.
struct attempt {
  ledger& book;
  parcel& what;
  bool sent = false;
  attempt(ledger& l, parcel& p) noexcept : book(l), what(p) { ++book.attempts; }
  attempt(const attempt&) = delete;
  attempt& operator=(const attempt&) = delete;
  ~attempt() {
    ++(sent ? book.sent : book.kept);
    if (sent == what.whole()) ++book.broken;
  }
};

// What one receiver has seen last of each producer on each channel.
struct order {
  std::array<std::array<std::int64_t, producers>, channels> last{};
  void check(ledger& book, unsigned channel, const parcel& p) noexcept {
    ++book.received;
    auto& before = last[channel][p.producer];
    if (p.number <= before) ++book.overtaken;
    before = p.number;
  }
};

rn::task<> send_one(parcels ch, ledger& book, parcel& p) {
  attempt a(book, p);
  co_await ch.send(rn::moved(p));
  a.sent = true;
}
rn::task<> receive_one(parcels ch, ledger& book, order& seen, unsigned channel) {
  auto got = co_await ch.recv();
  if (got) seen.check(book, channel, *got);
}

// One operation under whatever may end it early.
rn::task<> under_something(rn::task<> operation, rn::context ctx, dice& d) {
  switch (d.below(6)) {
    case 0:
      co_await rn::with_timeout(d.microseconds(150), std::move(operation));
      break;
    case 1:
      co_await rn::with_context(ctx, std::move(operation));
      break;
    case 2:
      co_await rn::with_timeout(d.microseconds(150), rn::with_context(ctx, std::move(operation)));
      break;
    default:
      co_await std::move(operation);
  }
}

rn::task<> produce(const shop& shelves, ledger& book, rn::context ctx, unsigned me, dice d) {
  for (std::uint32_t n = 1, most = d.between(1, 60); n <= most; ++n) {
    parcels ch = shelves[d.below(channels)];
    parcel p(book, me, n);
    if (d.one_in(5)) {
      attempt a(book, p);
      a.sent = ch.try_send(std::move(p));
      continue;
    }
    rn::task<> operation = under_something(send_one(ch, book, p), ctx, d);
    auto outcome = co_await rn::as_result(std::move(operation));  // a closed channel, a timeout, a cancellation
    if (d.one_in(4)) co_await rn::yield();
    if (outcome.error() && d.one_in(3)) co_return;
  }
}

rn::task<> consume(const shop& shelves, ledger& book, rn::context ctx, dice d) {
  order seen;
  for (unsigned n = d.between(1, 80); n > 0; --n) {
    unsigned channel = d.below(channels);
    parcels ch = shelves[channel];
    if (d.one_in(5)) {
      if (auto got = ch.try_recv()) seen.check(book, channel, *got);
      continue;
    }
    rn::task<> operation = under_something(receive_one(ch, book, seen, channel), ctx, d);
    (void)co_await rn::as_result(std::move(operation));
    if (d.one_in(4)) co_await rn::yield();
  }
}

void produce_outside(const shop& shelves, ledger& book, unsigned me, dice d, const std::atomic<bool>& over) {
  for (std::uint32_t n = 1; n <= 100 && !over; ++n) {
    parcel p(book, me, n);
    attempt a(book, p);
    a.sent = shelves[d.below(channels)].try_send(std::move(p));
    stress::dawdle(d);
  }
}
void consume_blocking(const shop& shelves, ledger& book, unsigned channel) {
  order seen;
  while (auto got = shelves[channel].blocking_recv()) seen.check(book, channel, *got);  // until it is closed
}
void produce_blocking(const shop& shelves, ledger& book, unsigned me, unsigned channel) {
  try {
    for (std::uint32_t n = 1; n <= 100; ++n) {
      ++book.attempts;
      ++book.kept;  // unless it goes
      shelves[channel].blocking_send(parcel(book, me, n));
      --book.kept;
      ++book.sent;
    }
  } catch (const rn::closed_channel&) {
  }
}

void check(ledger& book, const shop& shelves) {
  std::int64_t buffered = 0;
  order seen;
  for (unsigned k = 0; k < channels; ++k)
    for (auto got = shelves[k].try_recv(); got; got = shelves[k].try_recv()) {
      seen.check(book, k, *got);
      ++buffered;
    }
  EXPECT_EQ(book.sent, book.received) << buffered << " were buffered";
  EXPECT_EQ(book.attempts, book.sent + book.kept);
  EXPECT_EQ(book.broken, 0);
  EXPECT_EQ(book.overtaken, 0);
  EXPECT_EQ(book.whole, 0);
}

// CH-C01 to CH-C04: a send or receive that is cancelled, killed or times out has no effect; what has committed arrives.
TEST_F(channels_stress, every_parcel_is_received_or_buffered_or_still_its_senders) {
  run_rounds([](unsigned threads, dice d) {
    ledger book;
    shop shelves;
    for (auto& ch : shelves) ch = parcels(d.below(4));
    bool killed = d.one_in(3);
    std::atomic<bool> over{false};
    std::vector<std::thread> outside;
    {
      rn::runtime rt(rn::threads(threads),
                     killed ? rn::runtime_options().grace(std::chrono::nanoseconds(0)) : rn::runtime_options());
      auto [ctx, cancel] = rn::context::background().with_cancel();
      if (d.one_in(2))
        outside.emplace_back(produce_outside, std::cref(shelves), std::ref(book), 9u, d.split(), std::cref(over));
      if (d.one_in(3))
        outside.emplace_back(produce_blocking, std::cref(shelves), std::ref(book), 10u, d.below(channels));
      if (d.one_in(3)) outside.emplace_back(consume_blocking, std::cref(shelves), std::ref(book), d.below(channels));
      for (unsigned i = d.between(1, 8); i > 0; --i)
        rt.go(produce, std::cref(shelves), std::ref(book), ctx, i, d.split());
      for (unsigned i = d.between(1, 8); i > 0; --i) rt.go(consume, std::cref(shelves), std::ref(book), ctx, d.split());

      for (unsigned i = d.below(4); i > 0; --i) {
        for (unsigned k = d.below(20); k > 0; --k) stress::dawdle(d);
        if (d.one_in(2)) shelves[d.below(channels)].close_if_open();
        if (d.one_in(3)) cancel();
        if (d.one_in(3)) rt.cancel();
      }
      if (!killed)  // let them come to their end: with every channel closed nobody waits
        for (auto& ch : shelves) ch.close_if_open();
      if (!killed) stress::wait_until([&] { return rt.live() == 0; }, "goroutines on closed channels");
      rt.shut_down();
    }
    over = true;
    for (auto& ch : shelves) ch.close_if_open();
    for (auto& t : outside) t.join();
    check(book, shelves);
  });
}

rn::task<> pass_on(rn::chan<int> from, rn::chan<int> to) {
  while (auto got = co_await from.recv()) co_await to.send(*got);
  to.close_if_open();
}

// CH-11: one producer, one consumer, and whatever is in between: the whole sequence, in order.
TEST_F(channels_stress, a_chain_of_channels_keeps_the_order) {
  run_rounds([](unsigned threads, dice d) {
    rn::runtime rt{rn::threads(threads)};
    unsigned count = d.between(1, 2000), links = d.between(1, 6);
    int wrong = rt.run([&]() -> rn::task<int> {
      rn::chan<int> first(d.below(4)), last = first;
      for (unsigned i = 0; i < links; ++i) {
        rn::chan<int> next(d.below(4));
        rn::go(pass_on, last, next);
        last = next;
      }
      auto feed = [](rn::chan<int> ch, unsigned n) -> rn::task<> {
        for (unsigned i = 0; i < n; ++i) co_await ch.send(static_cast<int>(i));
        ch.close();
      };
      rn::go(feed, first, count);
      int expected = 0, bad = 0;
      while (auto got = co_await last.recv()) bad += *got != expected++;
      co_return bad + (expected != static_cast<int>(count));
    });
    EXPECT_EQ(wrong, 0);
  });
}

// CH-C09: goroutines that wait on a channel without handles wait until they are cancelled, and then end whole.
TEST_F(channels_stress, waiters_outlive_the_last_handle) {
  run_rounds([](unsigned, dice d) {
    ledger book;
    rn::runtime rt{rn::threads(1)};
    rt.run([&]() -> rn::task<> {
      auto ch = std::make_optional<parcels>(0);
      auto wait = [](std::optional<parcels>& handle, ledger& l, bool sends) -> rn::task<> {
        order seen;
        if (!sends) {
          auto got = co_await handle->recv();
          if (got) seen.check(l, 0, *got);
          co_return;
        }
        parcel p(l, 1, 1);
        attempt a(l, p);
        co_await handle->send(rn::moved(p));
        a.sent = true;
      };
      bool sends = d.one_in(2);
      rn::errgroup g;
      for (unsigned i = d.between(1, 5); i > 0; --i) g.go(wait, std::ref(ch), std::ref(book), sends);
      for (int i = 0; i < 3; ++i) co_await rn::yield();  // on the one thread: now all wait
      ch.reset();
      parcels another(d.below(3));  // may lie in the same memory
      EXPECT_TRUE(!another.try_recv());
      g.cancel();
      auto joined = g.wait();
      co_await std::move(joined);
    });
    rt.shut_down();
    EXPECT_EQ(book.sent, 0);
    EXPECT_EQ(book.received, 0);
    EXPECT_EQ(book.broken, 0);
    EXPECT_EQ(book.whole, 0);
  });
}

}  // namespace
