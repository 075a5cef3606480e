// SPDX-License-Identifier: BSL-1.0
// Watches that are set by several at once, and followed by those who time out, are cancelled, come and go.
#include <runnel.hpp>

#include "support/stress.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <thread>
#include <utility>

namespace {

namespace rn = runnel;
using stress::dice;

class watch_stress : public stress::stress_test {};

constexpr unsigned setters = 3;
struct state {
  unsigned from;
  std::uint64_t number;
  state(unsigned f, std::uint64_t n) noexcept : from(f), number(n) {}
};
struct ledger {
  std::atomic<std::uint64_t> wrong{0};
  std::atomic<unsigned> setting{0};
};

void set_some(rn::watch<state> w, ledger& book, unsigned me, dice d) {
  for (std::uint64_t n = 1, most = d.between(1, 300); n <= most; ++n) {
    w.set(state(me, n));
    stress::dawdle(d);
  }
  if (--book.setting == 0) w.close();
}
rn::task<> set(rn::watch<state> w, ledger& book, unsigned me, dice d) {
  for (std::uint64_t n = 1, most = d.between(1, 300); n <= most; ++n) {
    w.set(state(me, n));
    if (d.one_in(3)) co_await rn::yield();
  }
  if (--book.setting == 0) w.close();
}

struct record {
  std::array<std::uint64_t, setters> last{};
  const state* seen = nullptr;  // for its address alone
  void see(ledger& book, const state& s) {
    if (s.number < last[s.from]) ++book.wrong;
    last[s.from] = s.number;
    seen = &s;
  }
};
rn::task<> see_next(rn::watcher<state>& w, record& r, ledger& book, bool& over) {
  bool more = co_await w.changed();
  if (more)
    r.see(book, *w.get());
  else
    over = true;
}
rn::task<> see_next_of(rn::watcher<state>& w, rn::chan<int> ch, record& r, ledger& book, bool& over) {
  co_await rn::select(rn::on(w.changed(),
                             [&](bool more) {
                               if (more)
                                 r.see(book, *w.get());
                               else
                                 over = true;
                             }),
                      rn::on(ch.recv(), [](std::optional<int>) {}));
}
rn::task<> follow(rn::watcher<state> w, rn::chan<int> ch, ledger& book, rn::context ctx, dice d) {
  record r;
  for (bool over = false; !over;) {
    if (d.one_in(3))
      (void)co_await rn::as_result(rn::with_timeout(d.microseconds(60), see_next(w, r, book, over)));
    else if (d.one_in(2))
      (void)co_await rn::as_result(rn::with_timeout(d.microseconds(60), see_next_of(w, ch, r, book, over)));
    else if (d.one_in(2))
      (void)co_await rn::as_result(rn::with_context(ctx, see_next(w, r, book, over)));
    else
      co_await see_next(w, r, book, over);
  }
  // It was told of the end only when it had seen the last one, which is still there.
  if (r.seen != w.get().get()) ++book.wrong;
}
rn::task<> disturb(rn::chan<int> ch, dice d) {
  for (unsigned n = d.below(100); n > 0; --n) {
    (void)ch.try_send(1);
    co_await rn::yield();
  }
}

TEST_F(watch_stress, whoever_follows_to_the_end_has_seen_the_last_value) {
  run_rounds([](unsigned threads, dice d) {
    ledger book;
    book.setting = setters;
    {
      rn::runtime rt{rn::threads(threads)};
      auto [ctx, cancel] = rn::context::background().with_cancel();
      rn::watch<state> w(std::in_place, 0u, std::uint64_t{0});
      rn::chan<int> ch(1);
      for (unsigned i = d.between(1, 8); i > 0; --i) rt.go(follow, w.observe(), ch, std::ref(book), ctx, d.split());
      rt.go(disturb, ch, d.split());
      rt.go(set, w, std::ref(book), 0u, d.split());
      rt.go(set, w, std::ref(book), 1u, d.split());
      std::thread outside(set_some, w, std::ref(book), 2u, d.split());
      for (unsigned k = d.below(20); k > 0; --k) stress::dawdle(d);
      if (d.one_in(2)) cancel();
      outside.join();
      stress::wait_until([&] { return rt.live() == 0; }, "goroutines that follow a closed watch");
      rt.shut_down();
    }
    EXPECT_EQ(book.wrong, 0u);
  });
}

}  // namespace
