// SPDX-License-Identifier: BSL-1.0
// Batches among single sends and receives, cancelled and closed on: nothing is lost, nothing is doubled, nobody overtakes.
#include <runnel.hpp>

#include "support/stress.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using stress::dice;

class chan_many_stress : public stress::stress_test {};

constexpr unsigned producers = 6;
constexpr std::uint64_t numbers_of_one = 1'000'000;

struct ledger {
  std::atomic<std::uint64_t> sent{0}, received{0}, wrong{0};
};

// An element is producer * numbers_of_one + number. What one receiver sees of one producer rises.
struct order {
  std::array<std::uint64_t, producers> last{};
  void check(ledger& book, std::uint64_t e) {
    auto& before = last[e / numbers_of_one];
    if (e % numbers_of_one <= before) ++book.wrong;
    before = e % numbers_of_one;
    ++book.received;
  }
};

// Books what went, also if the goroutine is unwound in the middle of it.
struct attempt {
  ledger& book;
  std::vector<std::uint64_t>& batch;
  std::uint64_t next;  // the last number that must be left, if any is
  std::size_t before;
  attempt(ledger& b, std::vector<std::uint64_t>& what) noexcept
      : book(b), batch(what), next(what.empty() ? 0 : what.back()), before(what.size()) {}
  attempt(const attempt&) = delete;
  attempt& operator=(const attempt&) = delete;
  ~attempt() {
    book.sent += before - batch.size();
    for (std::size_t i = 0; i < batch.size(); ++i)
      if (batch[i] != next - (batch.size() - 1 - i)) ++book.wrong;
  }
};

rn::task<> send_batch(rn::chan<std::uint64_t> ch, ledger& book, std::vector<std::uint64_t>& batch) {
  attempt a(book, batch);
  co_await ch.send_many(batch);
}
rn::task<> receive_batch(rn::chan<std::uint64_t> ch, std::vector<std::uint64_t>& out, std::ptrdiff_t most) {
  (void)co_await ch.recv_many(out, most);
}

rn::task<> under_something(rn::task<> work, rn::context ctx, dice& d) {
  if (d.one_in(4))
    co_await rn::with_timeout(d.microseconds(100), std::move(work));
  else
    co_await rn::with_context(ctx, std::move(work));
}

rn::task<> produce(rn::chan<std::uint64_t> ch, ledger& book, rn::context ctx, unsigned me, dice d) {
  std::uint64_t number = 0;
  for (unsigned n = d.between(1, 30); n > 0; --n) {
    std::vector<std::uint64_t> batch;
    for (unsigned i = d.below(d.one_in(8) ? 700 : 12); i > 0; --i) batch.push_back(me * numbers_of_one + ++number);
    rn::task<> work = under_something(send_batch(ch, book, batch), ctx, d);
    (void)co_await rn::as_result(std::move(work));
    if (d.one_in(4)) co_await rn::yield();
  }
}
rn::task<> consume(rn::chan<std::uint64_t> ch, ledger& book, rn::context ctx, dice d) {
  order seen;
  for (unsigned n = d.between(1, 120); n > 0; --n) {
    if (d.one_in(4)) {
      if (auto got = ch.try_recv()) seen.check(book, *got);
      continue;
    }
    std::vector<std::uint64_t> out;
    auto most = static_cast<std::ptrdiff_t>(d.between(1, d.one_in(4) ? 600 : 10));
    rn::task<> work = under_something(receive_batch(ch, out, most), ctx, d);
    (void)co_await rn::as_result(std::move(work));
    for (auto e : out) seen.check(book, e);  // whatever the outcome
    if (ch.is_closed() && out.empty() && ch.len() == 0) co_return;
  }
}

// CH-07, CH-11, CH-20, CH-C08, GEN-05
TEST_F(chan_many_stress, every_element_is_received_or_buffered_or_still_in_its_batch) {
  run_rounds([](unsigned threads, dice d) {
    ledger book;
    rn::chan<std::uint64_t> ch(d.one_in(3) ? 0 : d.below(400));
    {
      rn::runtime rt{rn::threads(threads)};
      auto [ctx, cancel] = rn::context::background().with_cancel();
      for (unsigned i = 0; i < producers; ++i) rt.go(produce, ch, std::ref(book), ctx, i, d.split());
      for (unsigned i = d.between(1, 6); i > 0; --i) rt.go(consume, ch, std::ref(book), ctx, d.split());
      for (unsigned i = d.below(4); i > 0; --i) {
        for (unsigned k = d.below(20); k > 0; --k) stress::dawdle(d);
        if (d.one_in(4)) ch.close_if_open();
        if (d.one_in(3)) cancel();
        if (d.one_in(3)) rt.cancel();
      }
      for (unsigned k = d.below(50); k > 0; --k) stress::dawdle(d);
      ch.close_if_open();
      stress::wait_until([&] { return rt.live() == 0; }, "goroutines on a closed channel");
      rt.shut_down();
    }
    order seen;
    while (auto got = ch.try_recv()) seen.check(book, *got);
    EXPECT_EQ(book.sent, book.received);
    EXPECT_EQ(book.wrong, 0u);
  });
}

}  // namespace
