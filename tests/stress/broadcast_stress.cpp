// SPDX-License-Identifier: BSL-1.0
// Broadcasts with subscriptions that come and go, lag, time out and are cancelled: each element is heard or missed.
#include <runnel.hpp>

#include "support/stress.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using stress::dice;

class broadcast_stress : public stress::stress_test {};

constexpr unsigned senders = 3;
struct parcel {
  unsigned from;
  std::uint64_t number;
  parcel(unsigned f, std::uint64_t n) noexcept : from(f), number(n) {}
};
using station = rn::broadcast<parcel>;

struct ledger {
  std::atomic<std::uint64_t> sent{0}, wrong{0};
  std::atomic<unsigned> sending{0};
};

// What one subscription has heard: numbers of each sender rise, and nothing is missed that it is not told of.
struct record {
  std::array<std::uint64_t, senders> last{};
  std::uint64_t heard = 0, missed = 0;
  bool note(ledger& book, const rn::heard<parcel>& h) {
    if (!h) return false;
    missed += h.missed();
    ++heard;
    auto& before = last[h->from];
    if (h->number <= before) ++book.wrong;
    before = h->number;
    return true;
  }
};

void send_some(const station& b, ledger& book, unsigned me, std::uint64_t& number) {
  if (b.is_closed()) return;
  b.send(parcel(me, ++number));
  ++book.sent;
}
rn::task<> send(station b, ledger& book, unsigned me, dice d) {
  std::uint64_t number = 0;
  for (unsigned n = d.between(1, 200); n > 0; --n) {
    send_some(b, book, me, number);
    if (d.one_in(3)) co_await rn::yield();
  }
  if (--book.sending == 0) b.close();
}
void send_outside(station b, ledger& book, unsigned me, dice d) {
  std::uint64_t number = 0;
  for (unsigned n = d.between(1, 200); n > 0; --n) {
    send_some(b, book, me, number);
    stress::dawdle(d);
  }
  if (--book.sending == 0) b.close();
}

rn::task<> hear_one(rn::subscription<parcel>& s, record& r, ledger& book, bool& over) {
  auto h = co_await s.recv();
  if (!r.note(book, h)) over = true;
}
rn::task<> hear_one_of(rn::subscription<parcel>& s, rn::chan<int> ch, record& r, ledger& book, bool& over) {
  co_await rn::select(rn::on(s.recv(), [&](rn::heard<parcel> h) {
                        if (!r.note(book, h)) over = true;
                      }),
                      rn::on(ch.recv(), [](std::optional<int>) {}));
}
// Subscribed before anything was sent, it hears or misses all of it.
rn::task<> hear_all(rn::subscription<parcel> s, rn::chan<int> ch, ledger& book, rn::context ctx, dice d) {
  record r;
  for (bool over = false; !over;) {
    if (d.one_in(6)) {
      (void)r.note(book, s.try_recv());
    } else if (d.one_in(3)) {
      (void)co_await rn::as_result(rn::with_timeout(d.microseconds(60), hear_one(s, r, book, over)));
    } else if (d.one_in(2)) {
      (void)co_await rn::as_result(rn::with_timeout(d.microseconds(60), hear_one_of(s, ch, r, book, over)));
    } else if (d.one_in(2)) {
      (void)co_await rn::as_result(rn::with_context(ctx, hear_one(s, r, book, over)));
    } else {
      co_await hear_one(s, r, book, over);
    }
    if (d.one_in(8)) co_await rn::yield();
  }
  if (r.heard + r.missed != book.sent) ++book.wrong;
}
rn::task<> hear_some(station b, ledger& book, dice d) {
  for (unsigned n = d.between(1, 10); n > 0; --n) {
    auto s = b.subscribe();
    record r;
    bool over = false;
    for (unsigned k = d.below(20); k > 0 && !over; --k) co_await hear_one(s, r, book, over);
  }
}
rn::task<> disturb(rn::chan<int> ch, dice d) {
  for (unsigned n = d.below(100); n > 0; --n) {
    (void)ch.try_send(1);
    co_await rn::yield();
  }
}

TEST_F(broadcast_stress, every_element_is_heard_or_told_as_missed) {
  run_rounds([](unsigned threads, dice d) {
    ledger book;
    book.sending = senders;
    {
      rn::runtime rt{rn::threads(threads)};
      auto [ctx, cancel] = rn::context::background().with_cancel();
      station b(d.between(1, d.one_in(2) ? 4 : 64));
      rn::chan<int> ch(1);
      for (unsigned i = d.between(1, 6); i > 0; --i)
        rt.go(hear_all, b.subscribe(), ch, std::ref(book), ctx, d.split());
      for (unsigned i = d.below(4); i > 0; --i) rt.go(hear_some, b, std::ref(book), d.split());
      rt.go(disturb, ch, d.split());
      rt.go(send, b, std::ref(book), 0u, d.split());
      rt.go(send, b, std::ref(book), 1u, d.split());
      std::thread outside(send_outside, b, std::ref(book), 2u, d.split());
      for (unsigned k = d.below(20); k > 0; --k) stress::dawdle(d);
      if (d.one_in(2)) cancel();
      outside.join();
      stress::wait_until([&] { return rt.live() == 0; }, "goroutines that hear a closed broadcast");
      EXPECT_EQ(b.subscriptions(), 0u);
      rt.shut_down();
    }
    EXPECT_EQ(book.wrong, 0u);
  });
}

}  // namespace
