// SPDX-License-Identifier: BSL-1.0
// Selects against selects, third parties, closes, cancels and timers: nothing is lost or doubled, nobody who could be
// matched stays behind, and nothing is left in a queue.
#include <runnel.hpp>

#include "support/channel_waiters.hpp"
#include "support/stress.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using stress::dice;

class select_stress : public stress::stress_test {};

constexpr unsigned channels = 3;
using shelves = std::array<rn::chan<std::uint32_t>, channels>;

std::size_t waiters(const shelves& s) {
  std::size_t n = 0;
  for (const auto& ch : s) n += runnel_test::waiting_receivers(ch) + runnel_test::waiting_senders(ch);
  return n;
}

// Sums, so that an element that is lost, doubled or torn shows.
struct books {
  std::atomic<std::uint64_t> sent{0}, received{0}, sends{0}, receives{0};
  std::atomic<int> ended{0};
  void expect_even(const shelves& s) {
    std::uint64_t left = 0, count = 0;
    for (const auto& ch : s)
      for (auto got = ch.try_recv(); got; got = ch.try_recv()) left += *got, ++count;
    EXPECT_EQ(sent, received + left);
    EXPECT_EQ(sends, receives + count);
    EXPECT_EQ(waiters(s), 0u);
  }
};

// ---- those who must be matched to the last ----

// One select of a program: channels to receive from and to send to, each with one case.
struct shape {
  int receives, sends;  // -1: none
};

rn::task<> matched(const shelves& s, books& b, shape what, unsigned rounds, dice d) {
  for (unsigned n = 0; n < rounds; ++n) {
    std::uint32_t value = static_cast<std::uint32_t>(d.next()) >> 8;
    auto got = [&](std::optional<std::uint32_t> v) { b.received += *v, ++b.receives; };
    auto gone = [&] { b.sent += value, ++b.sends; };
    auto& in = s[static_cast<std::size_t>(what.receives)];
    auto& out = s[static_cast<std::size_t>(what.sends)];
    if (d.one_in(2))
      co_await rn::select(rn::on(in.recv(), got), rn::on(out.send(value), gone));
    else
      co_await rn::select(rn::on(out.send(value), gone), rn::on(rn::after(1h), [] { std::abort(); }),
                          rn::on(in.recv(), got));
    if (d.one_in(16)) co_await rn::yield();
    stress::dawdle(d);
  }
  ++b.ended;
}

// PROTOCOL: {r0,s1} | {s0,r1} | {r1,s0}. Every match involves the first, and there are as many others: all must end.
TEST_F(select_stress, a_third_party_gets_its_share) {
  run_rounds([](unsigned threads, dice d) {
    shelves s{rn::chan<std::uint32_t>(0), rn::chan<std::uint32_t>(0), rn::chan<std::uint32_t>(0)};
    books b;
    rn::runtime rt{rn::threads(threads)};
    unsigned second = d.between(1, 300), third = d.between(1, 300);
    rt.go(matched, std::cref(s), std::ref(b), shape{0, 1}, second + third, d.split());
    rt.go(matched, std::cref(s), std::ref(b), shape{1, 0}, second, d.split());
    rt.go(matched, std::cref(s), std::ref(b), shape{1, 0}, third, d.split());
    stress::wait_until([&] { return b.ended == 3; }, "three selects of which each match involves the first");
    b.expect_even(s);
  });
}

// {s0,r1} | {s1,r2} | {s2,r0}: any two can match, so at most one is left.
TEST_F(select_stress, a_cycle_of_three_comes_to_its_end) {
  run_rounds([](unsigned threads, dice d) {
    shelves s{rn::chan<std::uint32_t>(0), rn::chan<std::uint32_t>(0), rn::chan<std::uint32_t>(0)};
    books b;
    rn::runtime rt{rn::threads(threads)};
    for (int i = 0; i < 3; ++i)
      rt.go(matched, std::cref(s), std::ref(b), shape{(i + 1) % 3, i}, d.between(1, 300), d.split());
    stress::wait_until([&] { return b.ended >= 2; }, "a cycle of three selects");
    rt.cancel();
    stress::wait_until([&] { return rt.live() == 0; }, "the last of a cycle, cancelled");
    b.expect_even(s);
  });
}

// ---- anything at all ----

// Books a send by its own account, also if the goroutine is unwound in it: the value was taken, or it was not.
struct parcel {
  books* book = nullptr;
  std::uint32_t value = 0;
  parcel(books& b, dice& d) noexcept : book(&b), value(static_cast<std::uint32_t>(d.next()) >> 8) {}
  parcel(parcel&& other) noexcept : book(std::exchange(other.book, nullptr)), value(other.value) {}
  parcel& operator=(parcel&& other) noexcept {
    book = std::exchange(other.book, nullptr);
    value = other.value;
    return *this;
  }
};
using parcels = std::array<rn::chan<parcel>, channels>;

struct sending {
  parcel mine;
  books& book;
  sending(books& b, dice& d) noexcept : mine(b, d), book(b) {}
  sending(const sending&) = delete;
  sending& operator=(const sending&) = delete;
  ~sending() {
    if (!mine.book) book.sent += mine.value, ++book.sends;
  }
};

void receive(books& b, std::optional<parcel> got) {
  if (!got) return;
  if (got->book != &b) std::abort();
  b.received += got->value;
  ++b.receives;
}

rn::task<> one_of_many(const parcels& ch, books& b, dice& d, rn::ticker& ticker) {
  sending x(b, d), y(b, d);
  std::array<unsigned, 3> at{d.below(channels), d.below(channels), d.below(channels)};
  const auto &p = ch[at[0]], &q = ch[at[1]], &r = ch[at[2]];
  auto got = [&b](std::optional<parcel> v) { receive(b, std::move(v)); };
  auto nothing = [] {};
  switch (d.below(12)) {
    case 0:
      co_await rn::select(rn::on(p.recv(), got), rn::on(q.recv(), got));
      break;
    case 1:
      co_await rn::select(p.send(rn::moved(x.mine)), q.send(rn::moved(y.mine)));
      break;
    case 2:
      co_await rn::select(rn::on(p.recv(), got), rn::on(q.send(rn::moved(x.mine)), nothing));
      break;
    case 3:
      co_await rn::select(rn::on(p.send(rn::moved(x.mine)), nothing), rn::on(p.recv(), got));
      break;
    case 4:
      co_await rn::select(rn::on(p.recv(), got), rn::on(q.send(rn::moved(x.mine)), nothing), rn::on(r.recv(), got),
                          rn::on(rn::after(d.microseconds(200)), nothing));
      break;
    case 5:
      co_await rn::select(rn::on(p.recv(), got), rn::on(q.send(rn::moved(x.mine)), nothing),
                          rn::on(rn::otherwise, nothing));
      break;
    case 6:
      co_await rn::select(rn::on(rn::done(), nothing), rn::on(p.recv(), got), rn::on(r.recv(), got));
      break;
    case 7:
      co_await rn::select(rn::on(ticker.recv(), nothing), rn::on(p.recv(), got),
                          rn::on(q.send(rn::moved(y.mine)), nothing));
      break;
    case 8:
      co_await p.send(rn::moved(x.mine));
      break;
    case 9:
      got(co_await p.recv());
      break;
    case 10: {
      std::vector<decltype(p.recv())> ops;
      for (const auto& c : ch) ops.push_back(c.recv());
      auto taken = co_await rn::select(ops);
      got(std::move(taken).get());
      break;
    }
    default: {
      auto later = [&](std::optional<parcel> v) -> rn::task<> {
        receive(b, std::move(v));
        co_await rn::yield();
      };
      co_await rn::select(rn::on(p.recv(), later), rn::on(q.recv(), later), rn::on(p.send(rn::moved(x.mine)), nothing),
                          rn::on(r.send(rn::moved(y.mine)), nothing));
    }
  }
}

rn::task<> anything(const parcels& ch, books& b, rn::context ctx, rn::ticker& ticker, dice d) {
  for (unsigned n = d.between(1, 60); n > 0; --n) {
    rn::task<> work = one_of_many(ch, b, d, ticker);
    if (d.one_in(3)) work = [](rn::task<> w, std::chrono::microseconds us) -> rn::task<> {
      co_await rn::with_timeout(us, std::move(w));
    }(std::move(work), d.microseconds(150));
    if (d.one_in(3)) work = [](rn::task<> w, rn::context c) -> rn::task<> {
      co_await rn::with_context(c, std::move(w));
    }(std::move(work), ctx);
    (void)co_await rn::as_result(std::move(work));  // a closed channel, a timeout, a cancellation
    if (d.one_in(4)) co_await rn::yield();
  }
}

TEST_F(select_stress, whatever_happens_every_parcel_is_received_or_buffered_or_still_its_senders) {
  run_rounds([](unsigned threads, dice d) {
    parcels ch;
    for (auto& c : ch) c = rn::chan<parcel>(d.below(3));
    books b;
    bool killed = d.one_in(3);
    {
      rn::runtime rt(rn::threads(threads), killed ? rn::runtime_options().grace(0ns) : rn::runtime_options());
      std::optional<rn::ticker> ticker;
      rt.run([&]() -> rn::task<> {
        ticker.emplace(50us);
        co_return;
      });
      auto [ctx, cancel] = rn::context::background().with_cancel();
      for (unsigned i = d.between(2, 10); i > 0; --i)
        rt.go(anything, std::cref(ch), std::ref(b), ctx, std::ref(*ticker), d.split());
      for (unsigned i = d.below(5); i > 0; --i) {
        for (unsigned k = d.below(20); k > 0; --k) stress::dawdle(d);
        if (d.one_in(3)) ch[d.below(channels)].close_if_open();
        if (d.one_in(3)) cancel();
        if (d.one_in(4)) rt.cancel();
        if (d.one_in(3)) ticker->reset(std::chrono::microseconds(d.between(1, 300)));
      }
      if (!killed) {
        for (auto& c : ch) c.close_if_open();
        ticker->reset(1us);
        stress::wait_until([&] { return rt.live() == 0; }, "selects on closed channels");
      }
      rt.shut_down();
      ticker.reset();
    }
    std::uint64_t left = 0, count = 0;
    for (const auto& c : ch)
      for (auto got = c.try_recv(); got; got = c.try_recv()) left += got->value, ++count;
    EXPECT_EQ(b.sent, b.received + left);
    EXPECT_EQ(b.sends, b.receives + count);
    for (const auto& c : ch) EXPECT_EQ(runnel_test::waiting_receivers(c) + runnel_test::waiting_senders(c), 0u);
  });
}

// ---- told of the end of a context, once ----

rn::task<> told(const shelves& s, rn::context above, std::atomic<int>& times, std::atomic<int>& alive, bool ambient,
                dice d) {
  struct ends {
    std::atomic<int>& n;
    ~ends() { --n; }
  } guard{alive};
  for (bool over = false; !over;) {
    auto is_over = [&]() -> rn::task<> {
      co_await rn::yield();  // would unwind, were it not shielded
      over = true;
      ++times;
    };
    const auto &p = s[d.below(channels)], &q = s[d.below(channels)];
    std::uint32_t v = 1;
    if (ambient)
      co_await rn::select(p.recv(), rn::on(rn::done(), is_over), q.send(v), rn::after(d.microseconds(300)));
    else
      co_await rn::select(p.recv(), q.send(v), rn::on(above.done(), is_over));
  }
}

TEST_F(select_stress, everybody_who_names_a_context_is_told_exactly_once) {
  run_rounds([](unsigned threads, dice d) {
    shelves s;
    for (auto& ch : s) ch = rn::chan<std::uint32_t>(d.below(2));
    std::atomic<int> times{0}, alive{0};
    unsigned parties = d.between(1, 12);
    rn::runtime rt{rn::threads(threads)};
    auto [top, cancel] = rn::context::background().with_cancel();
    rt.run([&, above = top]() -> rn::task<> {
      for (unsigned i = 0; i < parties; ++i) {
        ++alive;
        bool ambient = d.one_in(2);
        auto [own, keep] = above.with_cancel();
        auto party = [](const shelves& on, rn::context a, std::atomic<int>& t, std::atomic<int>& n, bool amb, dice own_dice,
                        rn::cancel_function) -> rn::task<> { co_await told(on, a, t, n, amb, own_dice); };
        rn::go(own, party, std::cref(s), above, std::ref(times), std::ref(alive), ambient, d.split(), std::move(keep));
      }
      co_return;
    });
    for (unsigned k = d.below(40); k > 0; --k) stress::dawdle(d);
    cancel();
    stress::wait_until([&] { return alive == 0; }, "selects that name a context");
    EXPECT_EQ(times, static_cast<int>(parties));
    rt.shut_down();
    EXPECT_EQ(waiters(s), 0u);
  });
}

// ---- timers that are set anew while they are selected on ----

TEST_F(select_stress, each_tick_is_taken_once_whoever_waits_for_it) {
  run_rounds([](unsigned threads, dice d) {
    rn::runtime rt{rn::threads(threads)};
    std::atomic<int> ticks{0}, early{0};
    int expected = 0;
    rt.run([&]() -> rn::task<> {
      rn::timer t;
      rn::chan<int> silent(0);
      std::atomic<bool> over{false};
      rn::wait_group ended;
      auto party = [&](dice own) -> rn::task<> {
        while (!over) {
          auto r = co_await rn::select(silent.recv(), t.recv(), rn::after(own.microseconds(100)));
          if (r.index() != 1) continue;
          ++ticks;
          early += std::chrono::steady_clock::now() < r.get<1>();
        }
      };
      for (unsigned i = d.between(1, 4); i > 0; --i) ended.go([party, own = d.split()] { return party(own); });
      for (unsigned n = d.between(1, 60); n > 0; --n) {
        int before = ticks;
        bool pending = t.reset(d.microseconds(60));
        EXPECT_FALSE(pending);
        if (d.one_in(3)) {
          if (d.one_in(2)) co_await rn::yield();
          if (t.stop()) {
            EXPECT_EQ(ticks, before);
            continue;
          }
        }
        ++expected;
        while (ticks == before) co_await rn::yield();
      }
      over = true;
      co_await ended.wait();
    });
    EXPECT_EQ(ticks, expected);
    EXPECT_EQ(early, 0);
  });
}

}  // namespace
