// SPDX-License-Identifier: BSL-1.0
// Select, when something is ready: which case is taken, what default means, nil and closed channels: SEL-01 to SEL-03,
// SEL-05 to SEL-07, SEL-09, SEL-10, SEL-16, SEL-17, SEL-19, SEL-C02, SEL-C07, GEN-19.
#include <runnel/after.hpp>
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>
#include <runnel/select.hpp>
#include <runnel/sleep.hpp>
#include <runnel/timer.hpp>

#include "support/channel_waiters.hpp"
#include "support/checked_runtime.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using runnel_test::waiting_receivers;
using runnel_test::waiting_senders;
using test::on_1_2_and_4_threads;
using test::until;

// ---- chance ----

// How far counts are from what they should be, in multiples of what one deviates by chance in one case of a thousand.
double surprise(const std::vector<long>& counts, const std::vector<double>& weights) {
  static constexpr double critical[] = {0, 10.83, 13.82, 16.27, 18.47, 20.52, 22.46, 24.32};  // by degrees of freedom
  double n = 0, weight = 0, chi_square = 0;
  std::size_t degrees = 0;
  for (long c : counts) n += static_cast<double>(c);
  for (double w : weights) weight += w;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    double expected = n * weights[i] / weight;
    if (expected == 0) {
      EXPECT_EQ(counts[i], 0) << "case " << i << " was never ready";
      continue;
    }
    double d = static_cast<double>(counts[i]) - expected;
    chi_square += d * d / expected;
    ++degrees;
  }
  return chi_square / critical[degrees - 1];
}

constexpr long trials = 20'000;

rn::runtime_options seeded(std::uint64_t seed) { return rn::runtime_options().seed(seed); }

rn::chan<int> with(std::size_t n, std::ptrdiff_t capacity = 1) {
  rn::chan<int> ch(capacity);
  for (std::size_t i = 0; i < n; ++i) (void)ch.try_send(static_cast<int>(i));
  return ch;
}
rn::chan<int> closed(std::ptrdiff_t capacity = 1) {
  rn::chan<int> ch(capacity);
  ch.close();
  return ch;
}

// SEL-02
TEST(sel_choice, cases_that_are_ready_are_taken_with_the_same_chance) {
  rn::runtime rt(rn::threads(1), seeded(1));
  rt.run([]() -> rn::task<> {
    std::vector<long> counts(4);
    for (long i = 0; i < trials; ++i) {
      rn::chan<int> a = with(1), b = with(0), c = with(1), d = closed();
      auto r = co_await rn::select(a.recv(), b.send(1), c.recv(), d.recv());
      ++counts[r.index()];
    }
    EXPECT_LT(surprise(counts, {1, 1, 1, 1}), 1);
  });
}

// SEL-C07: not uniform over all with another try from where it struck, which would favour the one behind those not ready
TEST(sel_choice, cases_that_are_not_ready_do_not_favour_their_neighbours) {
  rn::runtime rt(rn::threads(1), seeded(2));
  rt.run([]() -> rn::task<> {
    rn::chan<int> empty(1), nil;
    std::vector<long> counts(8);
    for (long i = 0; i < trials; ++i) {
      rn::chan<int> a = with(1), b = with(1), c = with(1), full = with(1);
      auto r = co_await rn::select(a.recv(), empty.recv(), empty.recv(), nil.recv(), full.send(1), b.recv(),
                                   rn::after(1h), c.recv());
      ++counts[r.index()];
    }
    EXPECT_LT(surprise(counts, {1, 0, 0, 0, 0, 1, 0, 1}), 1);
  });
}

// SEL-02, SEL-19
TEST(sel_choice, the_form_over_a_range_chooses_in_the_same_way) {
  rn::runtime rt(rn::threads(1), seeded(3));
  rt.run([]() -> rn::task<> {
    std::vector<long> counts(8);
    rn::chan<int> ready = closed(), empty(1);
    std::vector<decltype(ready.recv())> ops;
    for (int i = 0; i < 8; ++i) ops.push_back(i % 3 == 0 ? empty.recv() : ready.recv());
    for (long i = 0; i < trials; ++i) {
      auto r = co_await rn::select(ops);
      ++counts[r.index()];
    }
    EXPECT_LT(surprise(counts, {0, 1, 1, 0, 1, 1, 0, 1}), 1);
    std::vector<long> of_default(8);
    for (long i = 0; i < trials; ++i) {
      auto r = co_await rn::select(ops, rn::otherwise);
      ++of_default[r.index()];
    }
    EXPECT_LT(surprise(of_default, {0, 1, 1, 0, 1, 1, 0, 1}), 1);
  });
}

// SEL-02: with a default the choice is made under all locks
TEST(sel_choice, a_select_with_default_chooses_in_the_same_way) {
  rn::runtime rt(rn::threads(1), seeded(4));
  rt.run([]() -> rn::task<> {
    std::vector<long> counts(4);
    rn::chan<int> empty(1), open = closed();
    for (long i = 0; i < trials; ++i) {
      auto r = co_await rn::select(open.recv(), empty.recv(), open.recv(), rn::otherwise);
      ++counts[r.index()];
    }
    EXPECT_LT(surprise(counts, {1, 0, 1, 0}), 1);
  });
}

// SEL-09: each occurrence is a candidate
TEST(sel_choice, a_channel_that_stands_in_two_cases_is_taken_twice_as_often) {
  rn::runtime rt(rn::threads(1), seeded(5));
  rt.run([]() -> rn::task<> {
    std::vector<long> counts(3);
    rn::chan<int> a = closed(), b = closed();
    for (long i = 0; i < trials; ++i) {
      auto r = co_await rn::select(a.recv(), b.recv(), a.recv());
      ++counts[r.index()];
    }
    EXPECT_LT(surprise(counts, {1, 1, 1}), 1);
  });
}

// SEL-02, SEL-C05: a tick that is due is a case like any other
TEST(sel_choice, a_tick_that_is_due_is_taken_with_the_same_chance) {
  rn::runtime rt(rn::threads(1), seeded(6));
  rt.run([]() -> rn::task<> {
    std::vector<long> counts(3);
    rn::chan<int> ready = closed();
    rn::timer timer;
    for (long i = 0; i < trials; ++i) {
      auto due = rn::after(0s);
      timer.reset(-1s);
      auto r = co_await rn::select(due, ready.recv(), timer.recv());
      ++counts[r.index()];
    }
    EXPECT_LT(surprise(counts, {1, 1, 1}), 1);
  });
}

TEST(sel_choice, prefer_first_takes_the_first_that_is_ready) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> empty(1), ready = closed();
    std::vector<decltype(ready.recv())> ops;
    for (int i = 0; i < 4; ++i) ops.push_back(i == 0 ? empty.recv() : ready.recv());
    for (int i = 0; i < 200; ++i) {
      auto r = co_await rn::select(rn::prefer_first, empty.recv(), ready.recv(), ready.recv(), rn::after(0s));
      EXPECT_EQ(r.index(), 1u);
      EXPECT_EQ((co_await rn::select(rn::prefer_first, ops)).index(), 1u);
      EXPECT_EQ((co_await rn::select(rn::prefer_first, ops, rn::otherwise)).index(), 1u);
      auto d = co_await rn::select(rn::prefer_first, rn::otherwise, empty.recv(), ready.recv(), ready.recv());
      EXPECT_EQ(d.index(), 2u);
    }
  });
}

// GEN-19, P-277
TEST(sel_choice, the_same_seed_makes_the_same_choices_on_one_thread) {
  auto choices = [](std::uint64_t seed) {
    rn::runtime rt(rn::threads(1), seeded(seed));
    return rt.run([]() -> rn::task<std::string> {
      std::string taken;
      rn::chan<int> ready = closed();
      for (int i = 0; i < 100; ++i) {
        auto r = co_await rn::select(ready.recv(), ready.recv(), ready.recv(), ready.recv());
        taken += static_cast<char>('0' + r.index());
      }
      co_return taken;
    });
  };
  EXPECT_EQ(choices(7), choices(7));
  EXPECT_NE(choices(7), choices(8));
}

// ---- operands ----

// SEL-01, P-008, P-014, P-017: each operand is evaluated once, in an order that is C++'s; a target only if its case is taken
TEST(sel_choice, operands_are_evaluated_once_and_targets_only_of_the_case_that_is_taken) {
  test::checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    int channels = 0, values = 0, targets = 0;
    rn::chan<int> full = with(1), ready = with(1);
    auto channel = [&](rn::chan<int>& ch) -> rn::chan<int>& { return ++channels, ch; };
    auto value = [&](int v) { return ++values, v; };
    for (int i = 0; i < 10; ++i) {
      (void)ready.try_send(i);
      auto target = [&](std::optional<int>) { ++targets; };
      co_await rn::select(rn::on(channel(ready).recv(), target), rn::on(channel(full).send(value(i)), [] {}));
    }
    EXPECT_EQ(channels, 20);
    EXPECT_EQ(values, 10);
    EXPECT_EQ(targets, 10);
  });
}

// SEL-05, SEL-17, P-014
TEST(sel_choice, a_case_is_disabled_by_making_its_channel_nil) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> a = with(5, 5), b = with(5, 5);
    a.close();
    b.close();
    int from_a = 0, from_b = 0;
    while (a || b) {
      auto r = co_await rn::select(a.recv(), b.recv());
      auto& got = r.index() == 0 ? r.get<0>() : r.get<1>();
      if (got)
        ++(r.index() == 0 ? from_a : from_b);
      else
        (r.index() == 0 ? a : b) = rn::chan<int>();
    }
    EXPECT_EQ(from_a, 5);
    EXPECT_EQ(from_b, 5);
  });
}

// ---- SEL-16, SEL-03, SEL-05, SEL-06, CH-19, P-001, P-016: the whole table ----

enum class state { nil, empty, half, full, closed_empty, closed_full };
enum class form { alone, beside_nil, beside_silent, with_default, with_default_and_nil, over_range, range_with_default };
enum class outcome { blocks, done, closed, throws, default_taken };

rn::chan<int> in_state(state s, std::ptrdiff_t capacity) {
  if (s == state::nil) return rn::chan<int>();
  rn::chan<int> ch(capacity);
  bool fills = s == state::full || s == state::closed_full;
  for (std::ptrdiff_t i = 0; fills ? i < capacity : s == state::half && i < capacity / 2; ++i)
    (void)ch.try_send(static_cast<int>(i));
  if (s == state::closed_empty || s == state::closed_full) ch.close();
  return ch;
}

outcome of(const std::optional<int>& v) { return v ? outcome::done : outcome::closed; }

// One operation in one form. What it would block on is waited for, and then cancelled.
rn::task<outcome> receive(rn::chan<int> ch, form f) {
  rn::chan<int> nil, silent(0);
  std::vector<decltype(ch.recv())> ops;
  ops.push_back(nil.recv());
  ops.push_back(ch.recv());
  switch (f) {
    case form::alone: {
      auto r = co_await rn::select(ch.recv());
      co_return of(r.get<0>());
    }
    case form::beside_nil: {
      auto r = co_await rn::select(nil.recv(), ch.recv(), nil.send(1));
      co_return of(r.get<1>());
    }
    case form::beside_silent: {
      auto r = co_await rn::select(silent.recv(), ch.recv());
      co_return of(r.get<1>());
    }
    case form::with_default: {
      auto r = co_await rn::select(ch.recv(), rn::otherwise);
      co_return r.index() == 1 ? outcome::default_taken : of(r.get<0>());
    }
    case form::with_default_and_nil: {
      auto r = co_await rn::select(nil.send(1), ch.recv(), rn::otherwise, silent.recv());
      co_return r.index() == 2 ? outcome::default_taken : of(r.get<1>());
    }
    case form::over_range: {
      auto r = co_await rn::select(ops);
      co_return of(r.get());
    }
    default: {
      auto r = co_await rn::select(ops, rn::otherwise);
      co_return r ? of(r.get()) : outcome::default_taken;
    }
  }
}
rn::task<outcome> send(rn::chan<int> ch, form f) {
  rn::chan<int> nil, silent(0);
  std::vector<decltype(ch.send(1))> ops;
  ops.push_back(nil.send(1));
  ops.push_back(ch.send(1));
  try {
    switch (f) {
      case form::alone:
        co_await rn::select(ch.send(1));
        co_return outcome::done;
      case form::beside_nil:
        co_await rn::select(nil.recv(), ch.send(1), nil.send(1));
        co_return outcome::done;
      case form::beside_silent:
        co_await rn::select(silent.recv(), ch.send(1));
        co_return outcome::done;
      case form::with_default: {
        auto r = co_await rn::select(ch.send(1), rn::otherwise);
        co_return r.index() == 1 ? outcome::default_taken : outcome::done;
      }
      case form::with_default_and_nil: {
        auto r = co_await rn::select(nil.send(1), ch.send(1), rn::otherwise, silent.recv());
        co_return r.index() == 2 ? outcome::default_taken : outcome::done;
      }
      case form::over_range:
        co_await rn::select(ops);
        co_return outcome::done;
      default: {
        auto r = co_await rn::select(ops, rn::otherwise);
        co_return r ? outcome::done : outcome::default_taken;
      }
    }
  } catch (const rn::closed_channel&) {
  }
  co_return outcome::throws;
}

rn::task<outcome> outcome_of(bool sends, rn::chan<int> ch, form f) {
  auto [ctx, cancel] = rn::this_context().with_cancel();
  std::atomic<bool> ended{false};
  outcome result = outcome::blocks;
  rn::task<> body = [](bool s, rn::chan<int> c, form how, outcome& into) -> rn::task<> {
    if (s)  // an if statement: of a conditional expression g++ 12 destroys both branches with a suspended frame
      into = co_await send(c, how);
    else
      into = co_await receive(c, how);
  }(sends, ch, f, result);
  auto run = [](rn::context in, rn::task<> work, std::atomic<bool>& over) -> rn::task<> {
    (void)co_await rn::as_result(rn::with_context(in, std::move(work)));
    over = true;
  };
  rn::go(run, ctx, std::move(body), std::ref(ended));
  co_await test::let_others_run();
  cancel();
  co_await until([&] { return ended.load(); });
  co_return result;
}

outcome expected(bool sends, state s, std::ptrdiff_t capacity, form f) {
  bool has_default = f == form::with_default || f == form::with_default_and_nil || f == form::range_with_default;
  outcome nothing = has_default ? outcome::default_taken : outcome::blocks;
  switch (s) {
    case state::nil:
      return nothing;
    case state::empty:
      return sends && capacity > 0 ? outcome::done : nothing;
    case state::half:
      return sends ? (capacity > 0 ? outcome::done : nothing) : capacity > 1 ? outcome::done : nothing;
    case state::full:
      return !sends && capacity > 0 ? outcome::done : nothing;
    case state::closed_empty:
      return sends ? outcome::throws : outcome::closed;
    default:
      return sends ? outcome::throws : capacity > 0 ? outcome::done : outcome::closed;
  }
}

TEST(sel_choice, every_state_of_a_channel_in_every_form_of_select) {
  test::checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    for (bool sends : {false, true})
      for (state s : {state::nil, state::empty, state::half, state::full, state::closed_empty, state::closed_full})
        for (std::ptrdiff_t capacity : {0, 1, 4})
          for (form f : {form::alone, form::beside_nil, form::beside_silent, form::with_default,
                         form::with_default_and_nil, form::over_range, form::range_with_default}) {
            rn::chan<int> ch = in_state(s, capacity);
            auto len = ch.len();
            outcome found = co_await outcome_of(sends, ch, f);
            EXPECT_EQ(found, expected(sends, s, capacity, f))
                << (sends ? "send" : "receive") << ", state " << static_cast<int>(s) << ", capacity " << capacity
                << ", form " << static_cast<int>(f);
            if (found == outcome::done) sends ? ++len : --len;
            EXPECT_EQ(ch.len(), len);
            EXPECT_EQ(ch ? waiting_receivers(ch) + waiting_senders(ch) : 0, 0u);  // SEL-03: nothing is queued
          }
  });
}

// SEL-06: a send on a closed channel is ready, and takes part in the choice
TEST(sel_choice, a_send_on_a_closed_channel_is_one_of_the_ready) {
  rn::runtime rt(rn::threads(1), seeded(9));
  rt.run([]() -> rn::task<> {
    std::vector<long> counts(2);
    rn::chan<int> gone = closed(), ready = closed();
    for (long i = 0; i < 2000; ++i) {
      try {
        co_await rn::select(gone.send(1), ready.recv());
        ++counts[1];
      } catch (const rn::closed_channel&) {
        ++counts[0];
      }
    }
    EXPECT_LT(surprise(counts, {1, 1}), 1);
  });
}

// ---- SEL-07 ----

// A mover puts an element into one channel before it takes that of the other, so that one of the two always has one.
TEST(sel_choice, a_default_is_not_taken_while_at_every_moment_some_case_is_ready) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (bool range : {false, true}) {
      rn::chan<int> a(1), b(1), quiet(1);
      co_await a.send(1);
      std::atomic<bool> over{false};
      std::thread mover([&] {  // in parallel, whatever the scheduler thinks of stealing
        auto insist = [&](auto attempt) {
          while (!over && !attempt()) std::this_thread::yield();
        };
        while (!over) {
          insist([&] { return b.try_send(1); });
          insist([&] { return a.try_recv().has_value(); });
          insist([&] { return a.try_send(1); });
          insist([&] { return b.try_recv().has_value(); });
        }
      });
      long defaults = 0;
      for (int i = 0; i < 5'000; ++i) {
        // What is received is put back at once, so that the mover finds it.
        std::optional<int> got;
        bool from_a = false;
        if (range) {  // many quiet ones between the two: time enough for what is looked at one by one to change
          std::vector<decltype(a.recv())> ops;
          ops.push_back(a.recv());
          for (int k = 0; k < 100; ++k) ops.push_back(quiet.recv());
          ops.push_back(b.recv());
          auto r = co_await rn::select(ops, rn::otherwise);
          if (r) got = r.get(), from_a = r.index() == 0;
        } else {
          auto r = co_await rn::select(a.recv(), b.recv(), rn::otherwise);
          if (r.index() < 2) got = r.index() == 0 ? r.get<0>() : r.get<1>(), from_a = r.index() == 0;
        }
        rn::chan<int>& back = from_a ? a : b;
        if (got)
          co_await back.send(*got);
        else
          ++defaults;
      }
      over = true;
      mover.join();
      EXPECT_EQ(defaults, 0);
    }
  });
}

// ---- SEL-09, SEL-10 ----

TEST(sel_choice, a_select_does_not_match_its_own_send_with_its_own_receive) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(0);
    auto none = co_await rn::select(ch.recv(), ch.send(1), rn::otherwise);
    EXPECT_EQ(none.index(), 2u);
    std::atomic<int> received{0}, sent{0};
    auto both = [&]() -> rn::task<> {
      co_await rn::select(rn::on(ch.recv(), [&](std::optional<int> v) { received += *v; }),
                          rn::on(ch.send(1), [&] { ++sent; }));
    };
    rn::go(both);
    co_await until([&] { return waiting_receivers(ch) == 1 && waiting_senders(ch) == 1; });
    co_await test::let_others_run();
    EXPECT_EQ(received + sent, 0);
    rn::go(both);  // two of them match each other
    co_await until([&] { return received + sent == 2; });
    EXPECT_EQ(received, 1);
    EXPECT_EQ(waiting_receivers(ch) + waiting_senders(ch), 0u);
  });
}

TEST(sel_choice, on_a_buffered_channel_either_side_may_complete_against_the_buffer) {
  test::checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::chan<int> ch(1);
    int received = 0, sent = 0;
    for (int i = 0; i < 100; ++i) {
      auto r = co_await rn::select(ch.recv(), ch.send(1));
      ++(r.index() == 0 ? received : sent);
      EXPECT_EQ(ch.len(), static_cast<std::size_t>(sent - received));
    }
    EXPECT_EQ(received, 50);
  });
}

}  // namespace
