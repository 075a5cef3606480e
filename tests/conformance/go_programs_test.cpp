// SPDX-License-Identifier: BSL-1.0
// What the channel programs of Go's test suite show, restated: P-002, P-004 to P-007, P-009, P-010, P-012, P-021, P-023,
// P-024, P-027 to P-030, P-034.
#include <runnel.hpp>

#include "support/channel_waiters.hpp"
#include "support/conserves_frames.hpp"
#include "support/wait_until.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using runnel_test::eventually;
using runnel_test::on_1_2_and_4_threads;
using runnel_test::waiting_receivers;
using runnel_test::waiting_senders;

class go_programs : public runnel_test::conserves_frames {};

rn::task<> count_up(rn::chan<int> out, int from, int to) {
  for (int i = from; i < to; ++i) co_await out.send(i);
}
auto counting(rn::chan<int> out, int from, int to) {
  return [out, from, to] { return count_up(out, from, to); };
}

// ---- P-024 ----

rn::task<> what_a_channel_does_at_once(std::ptrdiff_t capacity) {
  rn::chan<int> ch(capacity);
  EXPECT_TRUE(ch.try_recv().would_block());
  for (int i = 0; i < capacity; ++i) EXPECT_TRUE(ch.try_send(i)) << i;
  EXPECT_FALSE(ch.try_send(-1));
  EXPECT_EQ(ch.len(), static_cast<std::size_t>(capacity));
  EXPECT_EQ(ch.cap(), static_cast<std::size_t>(capacity));
  ch.close();
  for (int i = 0; i < capacity; ++i) EXPECT_EQ(co_await ch.recv(), i);
  EXPECT_EQ(co_await ch.recv(), std::nullopt);
  EXPECT_TRUE(ch.try_recv().closed());
}
rn::task<> a_close_wakes_receivers(std::ptrdiff_t capacity) {
  rn::chan<int> ch(capacity);
  std::atomic<int> woken{0};
  rn::wait_group all;
  for (int i = 0; i < 2; ++i)
    all.go([&, ch]() -> rn::task<> {
      auto got = co_await ch.recv();
      if (!got) ++woken;
    });
  co_await eventually([&] { return waiting_receivers(ch) == 2; });
  ch.close();
  co_await all.wait();
  EXPECT_EQ(woken, 2);
}
rn::task<> order_is_kept(std::ptrdiff_t capacity) {
  rn::chan<int> ch(capacity);
  rn::wait_group all;
  all.go(counting(ch, 0, 100));
  for (int i = 0; i < 100; ++i) EXPECT_EQ(co_await ch.recv(), i);
  co_await all.wait();
}
rn::task<> each_arrives_once(std::ptrdiff_t capacity) {
  constexpr int parties = 4, each = 250;
  rn::chan<int> ch(capacity);
  std::array<std::atomic<int>, parties * each> seen{};
  rn::wait_group senders, receivers;
  for (int i = 0; i < parties; ++i) {
    senders.go(counting(ch, i * each, (i + 1) * each));
    receivers.go([&seen, ch]() -> rn::task<> {
      while (auto got = co_await ch.recv()) ++seen[static_cast<std::size_t>(*got)];
    });
  }
  co_await senders.wait();
  ch.close();
  co_await receivers.wait();
  for (auto& n : seen) EXPECT_EQ(n, 1);
}

TEST_F(go_programs, a_channel_of_each_capacity) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (std::ptrdiff_t capacity : {0, 1, 2, 3, 7, 50, 200}) {
      co_await what_a_channel_does_at_once(capacity);
      co_await a_close_wakes_receivers(capacity);
      co_await order_is_kept(capacity);
      co_await each_arrives_once(capacity);
    }
  });
}

// P-002
TEST_F(go_programs, length_and_capacity) {
  rn::chan<int> nil;
  EXPECT_EQ(nil.len(), 0u);
  EXPECT_EQ(nil.cap(), 0u);
  rn::chan<std::string> ch(3);
  EXPECT_TRUE(ch.try_send("one"));
  EXPECT_EQ(ch.len(), 1u);
  EXPECT_EQ(ch.cap(), 3u);
  EXPECT_THROW(rn::chan<char>(-1), rn::misuse_error);
  EXPECT_THROW((rn::chan<std::array<char, 64>>(PTRDIFF_MAX / 2)), rn::misuse_error);
}

// P-004: many senders, and receivers with and without select, on several channels: each receiver sees each sender's
// values in order, and together they see all.
TEST_F(go_programs, many_senders_and_selecting_receivers) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    constexpr int channels = 3, senders = 2, each = 200;
    std::array<rn::chan<int>, channels> ch;
    for (int i = 0; i < channels; ++i) ch[static_cast<std::size_t>(i)] = rn::chan<int>(i);
    std::atomic<int> received{0};
    std::atomic<bool> in_order{true};
    rn::wait_group sending, receiving;
    for (auto& c : ch)
      for (int s = 0; s < senders; ++s) sending.go(counting(c, s * each, (s + 1) * each));
    auto look = [&](std::array<int, channels * senders>& last, std::size_t channel, std::optional<int> v) {
      if (!v) return false;
      int& before = last[channel * senders + static_cast<std::size_t>(*v / each)];
      if (*v <= before) in_order = false;
      before = *v;
      ++received;
      return true;
    };
    for (int r = 0; r < 3; ++r)
      receiving.go([&]() -> rn::task<> {
        std::array<int, channels * senders> last;
        last.fill(-1);
        for (auto from = ch; from != std::array<rn::chan<int>, channels>();) {  // a closed one becomes nil
          auto take = [&](std::size_t i) {
            return [&, i](std::optional<int> v) {
              if (!look(last, i, v)) from[i] = {};
            };
          };
          auto first = take(0), second = take(1), third = take(2);
          co_await rn::select(rn::on(from[0].recv(), first), rn::on(from[1].recv(), second),
                              rn::on(from[2].recv(), third));
        }
      });
    for (std::size_t i = 0; i < channels; ++i)
      receiving.go([&, i]() -> rn::task<> {
        std::array<int, channels * senders> last;
        last.fill(-1);
        for (;;) {
          auto got = co_await ch[i].recv();
          if (!look(last, i, got)) break;
        }
      });
    co_await sending.wait();
    for (auto& c : ch) c.close();
    co_await receiving.wait();
    EXPECT_EQ(received, channels * senders * each);
    EXPECT_TRUE(in_order);
  });
}

// P-005
TEST_F(go_programs, one_sender_and_ten_receivers_that_select) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    constexpr std::size_t values = 500;
    rn::chan<int> ch(0), never(0);
    std::array<std::atomic<int>, values> marks{};
    rn::wait_group all;
    for (int r = 0; r < 10; ++r)
      all.go([&]() -> rn::task<> {
        for (bool open = true; open;) {
          auto mark = [&](std::optional<int> v) {
            if (!v) return void(open = false);
            EXPECT_EQ(marks[static_cast<std::size_t>(*v)].fetch_add(1), 1) << "not sent, or received already";
          };
          auto none = [](std::optional<int>) { ADD_FAILURE(); };
          co_await rn::select(rn::on(ch.recv(), mark), rn::on(never.recv(), none));
        }
      });
    for (std::size_t v = 0; v < values; ++v) {
      EXPECT_EQ(marks[v].fetch_add(1), 0);
      co_await ch.send(static_cast<int>(v));
    }
    ch.close();
    co_await all.wait();
    for (auto& m : marks) EXPECT_EQ(m, 2);
  });
}

// P-006
TEST_F(go_programs, the_second_send_waits_until_the_receiver_has_come_back) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(0), pause(0);
    std::atomic<int> sent{0};
    rn::wait_group all;
    all.go([&]() -> rn::task<> {
      co_await ch.send(1);
      ++sent;
      co_await ch.send(2);
      ++sent;
    });
    all.go([&]() -> rn::task<> {
      EXPECT_EQ(co_await ch.recv(), 1);
      (void)co_await pause.recv();
      EXPECT_EQ(co_await ch.recv(), 2);
    });
    co_await eventually([&] { return waiting_senders(ch) == 1 && waiting_receivers(pause) == 1; });
    EXPECT_EQ(sent, 1);
    co_await pause.send(0);
    co_await all.wait();
    EXPECT_EQ(sent, 2);
  });
}

// P-007, P-010: the try forms, against nobody and against who waits, for elements of several kinds.
template <class T> rn::task<> try_forms(T value) {
  rn::chan<T> unbuffered(0), buffered(1);
  for (auto& ch : {unbuffered, buffered}) EXPECT_TRUE(ch.try_recv().would_block());
  EXPECT_FALSE(unbuffered.try_send(T(value)));
  EXPECT_TRUE(buffered.try_send(T(value)));
  EXPECT_FALSE(buffered.try_send(T(value)));
  EXPECT_EQ(*buffered.try_recv(), value);

  for (auto& ch : {unbuffered, buffered}) {
    rn::wait_group all;
    all.go([ch, &value]() -> rn::task<> { EXPECT_EQ(co_await ch.recv(), value); });
    co_await eventually([&] { return waiting_receivers(ch) == 1; });
    EXPECT_TRUE(ch.try_send(T(value))) << "there is a receiver";
    co_await all.wait();

    if (ch.cap() > 0) {
      EXPECT_TRUE(ch.try_send(T(value)));
    }
    all.go([ch, &value]() -> rn::task<> { co_await ch.send(value); });
    co_await eventually([&] { return waiting_senders(ch) == 1; });
    for (std::size_t n = 0; n <= ch.cap(); ++n) EXPECT_EQ(*ch.try_recv(), value) << "there is a sender";
    co_await all.wait();
    EXPECT_TRUE(ch.try_recv().would_block());
  }
}
struct large {
  std::array<long, 64> numbers;
  friend bool operator==(const large&, const large&) = default;
};

TEST_F(go_programs, try_forms_of_small_and_large_elements) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    co_await try_forms(true);
    co_await try_forms(7);
    co_await try_forms(std::string("a string that does not fit into its object"));
    co_await try_forms(large{{1, 2, 3}});
  });
}

// P-009
TEST_F(go_programs, ten_thousand_goroutines_in_a_chain) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    constexpr int links = 10'000;
    rn::chan<int> last(0);
    rn::chan<int> right = last;
    rn::wait_group all;
    for (int i = 0; i < links; ++i) {
      rn::chan<int> left(0);
      all.go([right, left]() -> rn::task<> {
        int got = *co_await left.recv();
        co_await right.send(got + 1);
      });
      right = left;
    }
    all.go([right]() -> rn::task<> { co_await right.send(0); });
    EXPECT_EQ(co_await last.recv(), links);
    co_await all.wait();
  });
}

// ---- P-012: power series, a goroutine for each operation on each coefficient ----

using series = rn::chan<long>;

rn::task<> constant(series out, long c) {
  for (;;) co_await out.send(c);
}
rn::task<> copy_to_both(series in, series one, series other) {
  for (;;) {
    long c = *co_await in.recv();
    long to_one = c, to_other = c;
    auto nothing = [] {};
    std::size_t first = 0;
    auto one_first = [&] { first = 1; };
    co_await rn::select(rn::on(one.send(to_one), one_first), rn::on(other.send(to_other), nothing));
    if (first == 1)
      co_await other.send(c);
    else
      co_await one.send(c);
  }
}
// The rest of the product: f * G + g * F + x * (F * G), where f and g have gone, and x * is one coefficient of delay.
rn::task<> multiply(rn::errgroup& g, series f, series h, series out) {
  long a = *co_await f.recv(), b = *co_await h.recv();
  co_await out.send(a * b);
  series f1(0), f2(0), h1(0), h2(0), product(0);
  g.go(copy_to_both, f, f1, f2);
  g.go(copy_to_both, h, h1, h2);
  g.go(multiply, std::ref(g), f2, h2, product);
  long delayed = 0;
  for (;;) {
    long next_f = *co_await f1.recv(), next_h = *co_await h1.recv();
    co_await out.send(a * next_h + b * next_f + delayed);
    delayed = *co_await product.recv();
  }
}

TEST_F(go_programs, power_series) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::vector<long> square, cube;
    co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
      series ones(0), others(0), product(0);
      g.go(constant, ones, 1L);
      g.go(constant, others, 1L);
      g.go(multiply, std::ref(g), ones, others, product);
      for (int i = 0; i < 12; ++i) square.push_back(*co_await product.recv());
      series more(0), third(0);
      g.go(constant, third, 1L);
      series fresh_ones(0), fresh_others(0), again(0);
      g.go(constant, fresh_ones, 1L);
      g.go(constant, fresh_others, 1L);
      g.go(multiply, std::ref(g), fresh_ones, fresh_others, again);
      g.go(multiply, std::ref(g), again, third, more);
      for (int i = 0; i < 12; ++i) cube.push_back(*co_await more.recv());
      g.cancel();
    });
    for (long n = 0; n < 12; ++n) {
      EXPECT_EQ(square[static_cast<std::size_t>(n)], n + 1);                  // of 1 / (1 - x)
      EXPECT_EQ(cube[static_cast<std::size_t>(n)], (n + 1) * (n + 2) / 2);
    }
  });
}

// P-021
rn::task<> without_multiples(rn::chan<int> in, rn::chan<int> out, int prime) {
  for (;;) {
    int n = *co_await in.recv();
    if (n % prime != 0) co_await out.send(n);
  }
}
TEST_F(go_programs, prime_sieve) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::vector<int> primes;
    co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
      rn::chan<int> numbers(0);
      g.go(count_up, numbers, 2, 1 << 20);
      for (int i = 0; i < 100; ++i) {
        primes.push_back(*co_await numbers.recv());
        rn::chan<int> rest(0);
        g.go(without_multiples, numbers, rest, primes.back());
        numbers = rest;
      }
      g.cancel();
    });
    EXPECT_EQ(primes.front(), 2);
    EXPECT_EQ(primes[24], 97);
    EXPECT_EQ(primes.back(), 541);
  });
}

// P-023
TEST_F(go_programs, elements_without_size) {
  struct nothing {};
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<nothing> ch(2);
    rn::chan<void> bare(2);
    EXPECT_TRUE(ch.try_send(nothing()));
    EXPECT_TRUE(ch.try_send(nothing()));
    EXPECT_FALSE(ch.try_send(nothing()));
    EXPECT_TRUE((co_await ch.recv()).has_value());
    EXPECT_TRUE(bare.try_send());
    EXPECT_TRUE(co_await bare.recv());
    bare.close();
    EXPECT_FALSE(co_await bare.recv());
  });
}

// P-027
TEST_F(go_programs, many_consumers_lose_nothing) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    constexpr int consumers = 23, values = 10'000;
    rn::chan<int> queue(100), results(100);
    rn::wait_group working;
    for (int i = 0; i < consumers; ++i)
      working.go([&]() -> rn::task<> {
        while (auto v = co_await queue.recv()) {
          if (*v % 7 == 0) co_await rn::yield();
          co_await results.send(*v);
        }
      });
    rn::wait_group feeding;
    feeding.go([&]() -> rn::task<> {
      co_await count_up(queue, 0, values);
      queue.close();
      co_await working.wait();
      results.close();
    });
    long sum = 0, count = 0;
    while (auto v = co_await results.recv()) sum += *v, ++count;
    co_await feeding.wait();
    EXPECT_EQ(count, values);
    EXPECT_EQ(sum, long{values} * (values - 1) / 2);
  });
}

// P-028: what is sent lies in the sender's frame alone while it waits.
TEST_F(go_programs, a_waiting_senders_element_arrives_whole) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<std::unique_ptr<std::string>> ch(0);
    constexpr int senders = 50;
    rn::wait_group all;
    for (int i = 0; i < senders; ++i)
      all.go([ch, i]() -> rn::task<> { co_await ch.send(std::make_unique<std::string>(std::to_string(i))); });
    co_await eventually([&] { return waiting_senders(ch) == senders; });
    for (int i = 0; i < 200; ++i) rn::go([]() -> rn::task<> { co_await rn::yield(); });  // frames come and go
    std::vector<int> got;
    for (int i = 0; i < senders; ++i) got.push_back(std::stoi(**co_await ch.recv()));
    co_await all.wait();
    std::sort(got.begin(), got.end());
    std::vector<int> expected(senders);
    std::iota(expected.begin(), expected.end(), 0);
    EXPECT_EQ(got, expected);
  });
}

// P-029: a peer may come while a goroutine is about to wait.
TEST_F(go_programs, whoever_is_about_to_wait_is_woken) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(0);
    rn::wait_group all;
    all.go(counting(ch, 0, 10'000));
    long sum = 0;
    for (int i = 0; i < 10'000; ++i) sum += *co_await ch.recv();
    co_await all.wait();
    EXPECT_EQ(sum, 10'000L * 9'999 / 2);
  });
}

// P-030
TEST_F(go_programs, a_select_gets_its_value_into_the_right_place) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int which : {0, 1}) {
      rn::chan<int> one(0), other(0);
      std::optional<int> from_one, from_other;
      rn::wait_group all;
      all.go([&]() -> rn::task<> {
        auto keep_one = [&](std::optional<int> v) { from_one = v; };
        auto keep_other = [&](std::optional<int> v) { from_other = v; };
        co_await rn::select(rn::on(one.recv(), keep_one), rn::on(other.recv(), keep_other));
      });
      co_await eventually([&] { return waiting_receivers(one) == 1 && waiting_receivers(other) == 1; });
      if (which == 0)
        co_await one.send(42);
      else
        co_await other.send(42);
      co_await all.wait();
      EXPECT_EQ(from_one, which == 0 ? std::optional(42) : std::nullopt);
      EXPECT_EQ(from_other, which == 1 ? std::optional(42) : std::nullopt);
    }
  });
}

// P-034
TEST_F(go_programs, whoever_yields_in_a_loop_lets_others_through) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<bool> stop{false};
    rn::wait_group all;
    all.go([&]() -> rn::task<> {
      while (!stop) co_await rn::yield();
    });
    for (int i = 0; i < 100; ++i) co_await rn::yield();
    stop = true;
    co_await all.wait();
  });
}

}  // namespace
