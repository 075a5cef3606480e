// SPDX-License-Identifier: BSL-1.0
// select: cases, handlers, results, and what becomes of the cases that are not taken.
#include <runnel/after.hpp>
#include <runnel/all.hpp>
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/go.hpp>
#include <runnel/select.hpp>
#include <runnel/sleep.hpp>
#include <runnel/with_context.hpp>

#include "support/channel_waiters.hpp"
#include "support/checked_runtime.hpp"
#include "support/counted.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using runnel_test::counted;
using runnel_test::waiting_receivers;
using runnel_test::waiting_senders;
using test::on_1_2_and_4_threads;
using test::until;

rn::task<> send_one(rn::chan<int> ch, int value) { co_await ch.send(value); }

template <class A> using yielded = decltype(std::declval<A&>().resume());

// ---- results ----

TEST(select, without_handlers_yields_the_index_and_the_value) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> numbers(1);
    rn::chan<std::string> words(1);
    co_await words.send("word");
    auto r = co_await rn::select(numbers.recv(), words.recv());
    static_assert(std::same_as<decltype(r), rn::select_result<std::optional<int>, std::optional<std::string>>>);
    EXPECT_EQ(r.index(), 1u);
    EXPECT_EQ(r.get<1>(), "word");
    EXPECT_THROW((void)r.get<0>(), rn::misuse_error);
    const auto& constant = r;
    EXPECT_EQ(constant.get<1>(), "word");
    EXPECT_EQ(std::move(r).get<1>(), "word");
  });
}

TEST(select, a_case_that_yields_nothing_has_an_index_too) {
  test::checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::chan<int> empty(0), roomy(1);
    auto r = co_await rn::select(empty.recv(), roomy.send(7));
    EXPECT_EQ(r.index(), 1u);
    static_assert(std::is_void_v<decltype(r.get<1>())>);
    r.get<1>();
    EXPECT_EQ(roomy.len(), 1u);
  });
}

TEST(select, yields_the_common_type_of_what_the_handlers_return) {
  test::checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::chan<int> in(1);
    co_await in.send(1);
    auto from_in = rn::chan<int>(0);
    auto v = co_await rn::select(rn::on(in.recv(), [](std::optional<int> x) { return x; }),
                                 rn::on(from_in.recv(), [] { return std::optional<int>{}; }));
    static_assert(std::same_as<decltype(v), std::optional<int>>);
    EXPECT_EQ(v, 1);
    auto number = co_await rn::select(rn::on(in.recv(), [] { return 1; }), rn::on(rn::otherwise, [] { return 2L; }));
    static_assert(std::same_as<decltype(number), long>);
    EXPECT_EQ(number, 2);
  });
}

TEST(select, handlers_that_return_nothing_make_it_yield_nothing) {
  test::checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::chan<int> ch(1);
    int got = 0, sent = 0;
    auto add = [&](std::optional<int> v) { got += *v; };
    auto count = [&] { ++sent; };
    static_assert(std::is_void_v<yielded<decltype(rn::select(rn::on(ch.recv(), add), rn::on(ch.send(3), count)))>>);
    co_await rn::select(rn::on(ch.recv(), add), rn::on(ch.send(3), count));
    co_await rn::select(rn::on(ch.recv(), add), rn::on(ch.send(3), count));
    EXPECT_EQ(sent, 1);
    EXPECT_EQ(got, 3);
  });
}

TEST(select, a_case_may_be_left_without_a_handler_among_others) {
  test::checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::chan<int> a(1), b(1);
    bool called = false;
    co_await b.send(1);
    co_await rn::select(rn::on(a.recv(), [&](std::optional<int>) { called = true; }), b.recv());
    EXPECT_FALSE(called);
    EXPECT_EQ(b.len(), 0u);
  });
}

TEST(select, a_handler_may_take_what_is_yielded_or_nothing_and_be_named) {
  test::checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::chan<int> ch(3);
    for (int i = 0; i < 3; ++i) co_await ch.send(i);
    int calls = 0;
    auto named = [&calls] { ++calls; };
    co_await rn::select(rn::on(ch.recv(), named));
    auto owner = std::make_unique<int>(5);
    auto captures = [&calls, owner = std::move(owner)](const std::optional<int>& v) { calls += *owner + *v; };
    co_await rn::select(rn::on(ch.recv(), captures));
    co_await rn::select(rn::on(ch.recv(), rn::moved(captures)));
    EXPECT_EQ(calls, 1 + 6 + 7);
  });
}

TEST(select, what_a_handler_throws_comes_out_of_it) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(1);
    co_await ch.send(1);
    auto fails = [](rn::chan<int> from) -> rn::task<> {
      co_await rn::select(rn::on(from.recv(), [](std::optional<int>) { throw std::runtime_error("handler"); }));
    };
    EXPECT_EQ(co_await test::error_of(fails(ch)), "handler");
    EXPECT_EQ(ch.len(), 0u);  // it was taken all the same
  });
}

// ---- handlers that are coroutines ----

TEST(select, awaits_a_handler_that_is_a_coroutine) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(0), other(0);
    rn::go(send_one, ch, 4);
    auto square = [](std::optional<int> v) -> rn::task<int> {
      co_await rn::yield();
      co_return *v * *v;
    };
    int n = co_await rn::select(rn::on(ch.recv(), square), rn::on(other.recv(), [] { return -1; }));
    EXPECT_EQ(n, 16);
  });
}

TEST(select, what_a_coroutine_handler_refers_to_lives_as_long_as_it_runs) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<std::unique_ptr<int>> ch(1);
    co_await ch.send(std::make_unique<int>(9));
    auto by_reference = [](const std::optional<std::unique_ptr<int>>& v) -> rn::task<int> {
      for (int i = 0; i < 5; ++i) co_await rn::yield();
      co_return **v;
    };
    EXPECT_EQ(co_await rn::select(rn::on(ch.recv(), by_reference)), 9);
  });
}

TEST(select, plain_and_coroutine_handlers_have_a_common_type) {
  test::checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::chan<int> ch(1);
    auto slow = []() -> rn::task<long> { co_return 1; };
    auto first = co_await rn::select(rn::on(ch.recv(), slow), rn::on(ch.send(1), [] { return 2; }));
    static_assert(std::same_as<decltype(first), long>);
    EXPECT_EQ(first, 2);
    auto second = co_await rn::select(rn::on(ch.recv(), slow), rn::on(ch.send(1), [] { return 2; }));
    EXPECT_EQ(second, 1);
  });
}

TEST(select, an_error_of_a_coroutine_handler_comes_out_of_it) {
  test::checked_runtime rt(2);
  rt.run([]() -> rn::task<> {
    rn::chan<int> ch(1);
    co_await ch.send(1);
    auto fails = [](std::optional<int>) -> rn::task<> {
      co_await rn::yield();
      throw std::runtime_error("late");
    };
    auto waits = [&fails](rn::chan<int> from) -> rn::task<> { co_await rn::select(rn::on(from.recv(), fails)); };
    EXPECT_EQ(co_await test::error_of(waits(ch)), "late");
  });
}

// ---- what is sent and received ----

TEST(select, moves_what_is_sent_only_if_that_case_is_taken) {  // SEL-C01, P-264
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<counted> full(1), roomy(1);
    co_await full.send(counted(1));
    counted a(2), b(3);
    auto r = co_await rn::select(full.send(rn::moved(a)), roomy.send(rn::moved(b)));
    EXPECT_EQ(r.index(), 1u);
    EXPECT_TRUE(a.whole());
    EXPECT_FALSE(b.whole());
    EXPECT_EQ((co_await roomy.recv())->value(), 3);
    EXPECT_EQ(full.len(), 1u);
  });
  EXPECT_EQ(counted::alive(), 0);
}

TEST(select, a_value_that_was_not_sent_dies_with_the_operation) {
  {
    test::checked_runtime rt(1);
    rt.run([]() -> rn::task<> {
      rn::chan<counted> full(1), roomy(2);
      co_await full.send(counted(1));
      co_await rn::select(full.send(counted(2)), roomy.send(counted(3)));
      EXPECT_EQ(counted::alive(), 2);
    });
  }
  EXPECT_EQ(counted::alive(), 0);
}

TEST(select, a_parked_send_is_moved_by_the_receiver) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<counted> ch(0), silent(0);
    counted value(8);
    std::atomic<bool> sent{false};
    rn::go([&]() -> rn::task<> {
      co_await rn::select(ch.send(rn::moved(value)), silent.recv());
      EXPECT_FALSE(value.whole());
      sent = true;
    });
    co_await until([&] { return waiting_senders(ch) == 1 && waiting_receivers(silent) == 1; });
    EXPECT_TRUE(value.whole());
    EXPECT_EQ((co_await ch.recv())->value(), 8);
    co_await until([&] { return sent.load(); });
    EXPECT_EQ(waiting_receivers(silent), 0u);
  });
}

struct throws_when_moved {
  int value;
  explicit throws_when_moved(int v) : value(v) {}
  throws_when_moved(throws_when_moved&& other) noexcept(false) : value(other.value) {}
  throws_when_moved& operator=(throws_when_moved&&) = default;
  ~throws_when_moved() { value = -1; }
};

TEST(select, elements_in_boxes_pass_through_it) {
  test::checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::chan<throws_when_moved> ch(1);
    auto sent = co_await rn::select(ch.send(throws_when_moved(6)), ch.recv());
    EXPECT_EQ(sent.index(), 0u);
    auto got = co_await rn::select(ch.recv());
    EXPECT_EQ(got.get<0>()->value, 6);
  });
}

TEST(select, channels_of_void_count) {
  test::checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::chan<void> ch(1);
    auto sent = co_await rn::select(ch.send(), ch.recv());
    EXPECT_EQ(sent.index(), 0u);
    auto got = co_await rn::select(ch.send(), ch.recv());
    EXPECT_EQ(got.index(), 1u);
    EXPECT_TRUE(got.get<1>());
    ch.close();
    EXPECT_FALSE((co_await rn::select(ch.recv())).get<0>());
  });
}

TEST(select, halves_of_channels_and_emplace_are_cases) {
  test::checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::chan<std::pair<int, std::string>> ch(1);
    rn::sender<std::pair<int, std::string>> out(ch);
    rn::receiver<std::pair<int, std::string>> in(ch);
    co_await rn::select(out.emplace(1, "x"), in.recv());
    auto r = co_await rn::select(in.recv());
    EXPECT_EQ(r.get<0>()->second, "x");
  });
}

TEST(select, an_error_that_a_channel_was_closed_with_comes_out_of_it) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(0), silent(0);
    std::atomic<bool> done{false};
    auto wait = [](rn::chan<int> a, rn::chan<int> b) -> rn::task<> { co_await rn::select(a.recv(), b.recv()); };
    rn::go([&]() -> rn::task<> {
      EXPECT_EQ(co_await test::error_of(wait(ch, silent)), "gone");
      done = true;
    });
    co_await until([&] { return waiting_receivers(ch) == 1; });
    ch.close(std::runtime_error("gone"));
    co_await until([&] { return done.load(); });
    EXPECT_EQ(waiting_receivers(silent), 0u);
    EXPECT_EQ(co_await test::error_of(wait(ch, silent)), "gone");
  });
}

// ---- where it waits ----

TEST(select, waits_inside_of_boundaries_and_leaves_no_trace_when_they_end_it) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> a(0), b(0);
    bool passed = false;
    try {
      co_await rn::with_timeout(1ms, rn::select(a.recv(), b.send(1)));
    } catch (const rn::deadline_exceeded&) {
      passed = true;
    }
    EXPECT_TRUE(passed);
    EXPECT_EQ(waiting_receivers(a), 0u);
    EXPECT_EQ(waiting_senders(b), 0u);
    // The operation lies in this frame, the wait in another; what comes after it in the same expression may wait again.
    auto outcome = [&](rn::result<rn::select_result<std::optional<int>, std::optional<int>>> r) -> rn::task<bool> {
      rn::go(send_one, a, 1);
      co_await a.recv();
      co_return r.canceled();
    };
    auto [ctx, cancel] = rn::this_context().with_cancel();
    rn::go([&, end = std::move(cancel)]() -> rn::task<> {
      co_await until([&] { return waiting_receivers(b) == 1; });
      end();
    });
    rn::task<bool> last = outcome(co_await rn::as_result(rn::with_context(ctx, rn::select(a.recv(), b.recv()))));
    EXPECT_TRUE(co_await std::move(last));
    EXPECT_EQ(waiting_receivers(a), 0u);
    EXPECT_EQ(waiting_receivers(b), 0u);
  });
}

TEST(select, children_of_all_may_wait_by_it) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> a(0), b(0);
    auto give = [](rn::chan<int> ch) -> rn::task<int> {
      auto r = co_await rn::select(ch.send(5), rn::after(1h));
      co_return static_cast<int>(r.index());
    };
    auto take = [](rn::chan<int> one, rn::chan<int> ten) -> rn::task<int> {
      int sum = 0;
      for (int i = 0; i < 2; ++i)
        sum += co_await rn::select(rn::on(one.recv(), [](std::optional<int> v) { return *v; }),
                                   rn::on(ten.recv(), [](std::optional<int> v) { return *v * 10; }));
      co_return sum;
    };
    auto results = co_await rn::all(give(a), take(a, b), give(b));
    EXPECT_EQ(results, std::tuple(0, 55, 0));
  });
}

TEST(select, children_of_a_race_that_is_won_are_unwound_out_of_it) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> a(0), b(0);
    auto wait = [](rn::chan<int> x, rn::chan<int> y) -> rn::task<int> {
      co_await rn::select(x.recv(), y.recv(), rn::after(1h));
      co_return 0;
    };
    auto win = [](rn::chan<int> x) -> rn::task<int> {
      co_await until([&] { return waiting_receivers(x) == 1; });
      co_return 7;
    };
    EXPECT_EQ(co_await rn::race(wait(a, b), win(b)), 7);
    EXPECT_EQ(waiting_receivers(a), 0u);
    EXPECT_EQ(waiting_receivers(b), 0u);
  });
}

TEST(select, over_nothing_waits_until_it_is_cancelled) {  // SEL-05
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto r = co_await rn::as_result(rn::with_timeout(1ms, rn::select()));
    EXPECT_TRUE(r.error());
    EXPECT_EQ((co_await rn::select(rn::otherwise)).index(), 0u);
  });
}

TEST(select, operations_that_were_not_taken_can_be_used_again) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> a(1), b(1);
    auto from_a = a.recv();
    auto from_b = b.recv();
    for (int i = 0; i < 10; ++i) {
      rn::go(send_one, i % 2 ? a : b, i);
      auto r = co_await rn::select(from_a, from_b);
      EXPECT_EQ(r.index(), i % 2 ? 0u : 1u);
      EXPECT_EQ(i % 2 ? r.get<0>() : r.get<1>(), i);
    }
    co_await a.send(3);
    EXPECT_EQ(co_await std::move(from_a), 3);  // alone, too
  });
}

TEST(select, parks_where_all_of_its_waiters_are_in_queues) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::vector<rn::chan<int>> ch;
    for (int i = 0; i < 4; ++i) ch.emplace_back(0);
    std::atomic<int> taken{-1};
    rn::go([&]() -> rn::task<> {
      auto r = co_await rn::select(ch[3].recv(), ch[0].send(1), ch[2].recv(), ch[1].send(2), ch[2].recv());
      taken = static_cast<int>(r.index());
    });
    auto all_in = [&] {
      return waiting_receivers(ch[3]) == 1 && waiting_senders(ch[0]) == 1 && waiting_senders(ch[1]) == 1 &&
             waiting_receivers(ch[2]) == 2;
    };
    co_await until(all_in);
    EXPECT_EQ(co_await ch[1].recv(), 2);
    co_await until([&] { return taken == 3; });
    for (auto& c : ch) EXPECT_EQ(waiting_receivers(c) + waiting_senders(c), 0u);
  });
}

}  // namespace
