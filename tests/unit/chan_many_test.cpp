// SPDX-License-Identifier: BSL-1.0
// Many elements at once: send_many, recv_many, for_each.
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/with_context.hpp>
#include <support/channel_waiters.hpp>
#include <support/checked_runtime.hpp>
#include <support/counted.hpp>
#include <support/done_context.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using runnel_test::waiting_receivers;
using runnel_test::waiting_senders;
using test::checked_runtime;
using test::on_1_2_and_4_threads;
using test::until;
using element = runnel_test::counted;
using ints = std::vector<int>;

ints numbers(int from, int to) {
  ints v(static_cast<std::size_t>(to - from));
  std::iota(v.begin(), v.end(), from);
  return v;
}
rn::task<> send_one(rn::chan<int> ch, int value) { co_await ch.send(value); }
rn::task<> receive_one(rn::chan<int> ch, std::atomic<int>& sum) {
  auto v = co_await ch.recv();
  if (v) sum += *v;
}

TEST(chan_many, a_batch_that_fits_is_sent_at_once_and_received_at_once) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(8);
    ints batch = numbers(0, 5);
    co_await ch.send_many(batch);
    EXPECT_TRUE(batch.empty()) << "what is sent is taken out";
    EXPECT_EQ(ch.len(), 5u);
    EXPECT_EQ(co_await ch.recv_many(3), numbers(0, 3));
    ints out{-1};
    EXPECT_EQ(co_await ch.recv_many(out, 100), 2u);
    EXPECT_EQ(out, (ints{-1, 3, 4})) << "it is appended";
    EXPECT_EQ(ch.len(), 0u);
  });
}

TEST(chan_many, a_span_is_moved_on_behind_what_was_sent) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::chan<std::string> ch(4);
    std::string words[] = {"a", "b", "c"};
    std::span<std::string> rest(words);
    co_await ch.send_many(rest);
    EXPECT_TRUE(rest.empty());
    std::vector<std::string> got = co_await ch.recv_many(4), expected{"a", "b", "c"};
    EXPECT_EQ(got, expected);
  });
}

TEST(chan_many, a_batch_larger_than_the_channel_waits_for_room_and_keeps_its_order) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (std::ptrdiff_t capacity : {0, 1, 3, 1000}) {
      rn::chan<int> ch(capacity);
      ints batch = numbers(0, 2000);
      rn::errgroup g;
      co_await g.go(
          [](rn::chan<int> to, ints& what) -> rn::task<> {
            co_await to.send_many(what);
            to.close();
          },
          ch, std::ref(batch));
      ints got;
      std::size_t n = 1;
      while (n != 0) {
        n = co_await ch.recv_many(got, 64);
        EXPECT_LE(n, 64u);
      }
      co_await g.wait();
      EXPECT_EQ(got, numbers(0, 2000)) << "capacity " << capacity;
      EXPECT_TRUE(batch.empty());
    }
  });
}

TEST(chan_many, all_receivers_that_wait_are_served_and_woken) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (std::ptrdiff_t capacity : {0, 2}) {
      rn::chan<int> ch(capacity);
      std::atomic<int> sum = 0;
      rn::errgroup g;
      for (int i = 0; i < 5; ++i) co_await g.go(receive_one, ch, std::ref(sum));
      co_await until([&] { return waiting_receivers(ch) == 5; });
      ints batch = numbers(1, 6);
      co_await ch.send_many(batch);
      EXPECT_EQ(ch.len(), 0u);
      co_await g.wait();
      EXPECT_EQ(sum, 15);
    }
  });
}

TEST(chan_many, all_senders_that_wait_are_taken_from_and_woken) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (std::ptrdiff_t capacity : {0, 2}) {
      rn::chan<int> ch(capacity);
      auto room = static_cast<int>(capacity);
      for (int i = 0; i < room; ++i) co_await ch.send(i);
      rn::errgroup g;
      for (int i = 0; i < 5; ++i) {
        co_await g.go(send_one, ch, room + i);
        co_await until([&] { return waiting_senders(ch) == static_cast<std::size_t>(i) + 1; });
      }
      EXPECT_EQ(co_await ch.recv_many(room + 3), numbers(0, room + 3));
      co_await until([&] { return waiting_senders(ch) == static_cast<std::size_t>(2 - room); });
      EXPECT_EQ(ch.len(), static_cast<std::size_t>(room)) << "those who come next have moved up";
      EXPECT_EQ(co_await ch.recv_many(10), numbers(room + 3, room + 5));
      co_await g.wait();
    }
  });
}

TEST(chan_many, the_room_that_is_made_goes_to_those_who_wait) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(3);
    for (int i = 0; i < 3; ++i) co_await ch.send(i);
    rn::errgroup g;
    for (int i = 3; i < 6; ++i) {
      co_await g.go(send_one, ch, i);
      co_await until([&] { return waiting_senders(ch) == static_cast<std::size_t>(i) - 2; });
    }
    EXPECT_EQ(co_await ch.recv_many(2), numbers(0, 2));
    EXPECT_EQ(waiting_senders(ch), 1u);
    EXPECT_EQ(ch.len(), 3u);
    EXPECT_EQ(co_await ch.recv_many(4), numbers(2, 6));
    co_await g.wait();
  });
}

TEST(chan_many, a_receive_waits_for_the_first_and_takes_what_came_with_it) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::chan<int> ch(8);
    ints got;
    rn::errgroup g;
    co_await g.go([](rn::chan<int> from, ints& into) -> rn::task<> { (void)co_await from.recv_many(into, 4); }, ch,
                  std::ref(got));
    co_await until([&] { return waiting_receivers(ch) == 1; });
    ints batch = numbers(0, 6);
    co_await ch.send_many(batch);
    co_await g.wait();
    EXPECT_EQ(got, numbers(0, 4));
    EXPECT_EQ(ch.len(), 2u);
  });
}

TEST(chan_many, close_fails_what_is_left_and_leaves_it_in_the_range) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(2);
    ints batch = numbers(0, 5);
    std::string error;
    rn::errgroup g;
    co_await g.go([](rn::chan<int> to, ints& what,
                     std::string& said) -> rn::task<> { said = co_await test::error_of(to.send_many(what)); },
                  ch, std::ref(batch), std::ref(error));
    co_await until([&] { return waiting_senders(ch) == 1; });
    ch.close();
    co_await g.wait();
    EXPECT_EQ(error, "runnel: the channel is closed");
    EXPECT_EQ(batch, numbers(2, 5));
    EXPECT_EQ(co_await ch.recv_many(10), numbers(0, 2));
    EXPECT_TRUE((co_await ch.recv_many(10)).empty());
    EXPECT_EQ(co_await test::error_of(ch.send_many(batch)), "runnel: the channel is closed");
    EXPECT_EQ(batch, numbers(2, 5));
  });
}

TEST(chan_many, an_empty_batch_sends_nothing_and_asks_nothing_of_the_channel) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::chan<int> ch(1);
    ints none;
    co_await ch.send_many(none);
    ch.close();
    co_await ch.send_many(none);
    rn::chan<int> nil;
    co_await nil.send_many(none);
    EXPECT_FALSE(co_await test::completes_in_a_done_context([&] { return ch.send_many(none); }));
  });
}

TEST(chan_many, the_error_of_close_comes_behind_the_last_element) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(4);
    ints batch = numbers(0, 3), out;
    co_await ch.send_many(batch);
    ch.close(std::runtime_error("the source is dry"));
    EXPECT_EQ(co_await ch.recv_many(out, 10), 3u);
    for (int i = 0; i < 2; ++i) {
      EXPECT_EQ(co_await test::error_of_awaiting([&] { return ch.recv_many(out, 10); }), "the source is dry");
      EXPECT_EQ(co_await test::error_of_awaiting([&] { return ch.recv_many(10); }), "the source is dry");
    }
    EXPECT_EQ(out.size(), 3u);
  });
}

TEST(chan_many, a_receive_that_waits_hears_of_the_close) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (bool with_error : {false, true}) {
      rn::chan<int> ch(1);
      std::string said = "nothing";
      rn::errgroup g;
      co_await g.go(
          [](rn::chan<int> from, std::string& into) -> rn::task<> {
            ints out;
            into = co_await test::error_of_awaiting([&] { return from.recv_many(out, 3); });
            EXPECT_TRUE(out.empty());
          },
          ch, std::ref(said));
      co_await until([&] { return waiting_receivers(ch) == 1; });
      if (with_error)
        ch.close(std::runtime_error("gone"));
      else
        ch.close();
      co_await g.wait();
      EXPECT_EQ(said, with_error ? "gone" : "");
    }
  });
}

TEST(chan_many, a_cancelled_send_leaves_the_rest_whole_and_in_order) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<element> ch(2);
    std::vector<element> batch;
    for (int i = 0; i < 5; ++i) batch.emplace_back(i);
    auto outcome = co_await rn::as_result(rn::with_timeout(1ms, ch.send_many(batch)));
    EXPECT_TRUE(outcome.error());
    EXPECT_EQ(batch.size(), 3u);
    for (std::size_t i = 0; i < batch.size(); ++i) EXPECT_EQ(batch[i].value(), static_cast<int>(i) + 2);
    EXPECT_EQ(waiting_senders(ch), 0u);
    EXPECT_EQ((co_await ch.recv_many(9)).size(), 2u);
  });
  EXPECT_EQ(element::alive(), 0);
}

TEST(chan_many, a_cancelled_receive_leaves_the_queue) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(2);
    ints out;
    EXPECT_TRUE((co_await rn::as_result(rn::with_timeout(1ms, ch.recv_many(out, 3)))).error());
    EXPECT_EQ(waiting_receivers(ch), 0u);
    EXPECT_TRUE(ch.try_send(1));
    EXPECT_EQ(ch.len(), 1u);
  });
}

TEST(chan_many, a_done_context_wins_over_a_channel_that_is_ready) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::chan<int> ch(4);
    ints batch = numbers(0, 2), out;
    EXPECT_FALSE(co_await test::completes_in_a_done_context([&] { return ch.send_many(batch); }));
    EXPECT_EQ(batch.size(), 2u);
    co_await ch.send_many(batch);
    EXPECT_FALSE(co_await test::completes_in_a_done_context([&] { return ch.recv_many(out, 2); }));
    EXPECT_FALSE(co_await test::completes_in_a_done_context([&] { return ch.for_each([](int) {}); }));
    EXPECT_EQ(ch.len(), 2u);
  });
}

TEST(chan_many, on_the_nil_channel_they_wait_for_ever) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::chan<int> nil;
    ints batch{1};
    EXPECT_TRUE((co_await rn::as_result(rn::with_timeout(1ms, nil.send_many(batch)))).error());
    EXPECT_EQ(batch.size(), 1u);
    EXPECT_TRUE((co_await rn::as_result(rn::with_timeout(1ms, nil.recv_many(2)))).error());
    EXPECT_TRUE((co_await rn::as_result(rn::with_timeout(1ms, nil.for_each([](int) {})))).error());
    EXPECT_EQ(runnel_test::waiting_on_nil(), 0u);
  });
}

TEST(chan_many, a_receive_of_less_than_one_is_misuse) {
  rn::chan<int> ch(1);
  ints out;
  EXPECT_THROW((void)ch.recv_many(0), rn::misuse_error);
  EXPECT_THROW((void)ch.recv_many(out, -1), rn::misuse_error);
}

// GEN-02
TEST(chan_many, who_only_sends_and_receives_what_is_ready_lets_others_run) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::chan<int> ch(4);
    bool other_ran = false;
    rn::go([&other_ran] { other_ran = true; });
    for (int i = 0; !other_ran && i < 100'000; ++i) {
      ints batch = numbers(0, 4);
      co_await ch.send_many(batch);
      (void)co_await ch.recv_many(4);
    }
    EXPECT_TRUE(other_ran);
  });
}

// GEN-02: one call is not endless either while others keep the channel filled.
TEST(chan_many, a_receive_without_a_limit_ends) {
  checked_runtime rt(1);
  std::atomic<bool> over = false;
  rt.run([&over]() -> rn::task<> {
    rn::chan<int> ch(16);
    std::jthread outside([&over, ch] {
      while (!over) (void)ch.try_send(1);
    });
    for (int i = 0; i < 50; ++i) EXPECT_LE((co_await ch.recv_many(1'000'000'000)).size(), 16u + 1024u);
    over = true;
  });
}

struct throwing_move {
  int value;
  explicit throwing_move(int v) : value(v) {}
  throwing_move(throwing_move&& other) noexcept(false) : value(other.value) {}
  throwing_move& operator=(throwing_move&&) = default;
};
TEST(chan_many, elements_whose_move_may_throw_are_received_too) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<throwing_move> ch(5);
    for (int i = 0; i < 5; ++i) co_await ch.send(throwing_move(i));
    auto got = co_await ch.recv_many(3);
    EXPECT_EQ(got.size(), 3u);
    EXPECT_EQ(co_await ch.recv_many(got, 10), 2u);
    for (std::size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i].value, static_cast<int>(i));
  });
}

TEST(chan_many, elements_that_can_only_be_moved_and_bools) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::chan<std::unique_ptr<int>> ch(3);
    std::vector<std::unique_ptr<int>> batch;
    for (int i = 0; i < 3; ++i) batch.push_back(std::make_unique<int>(i));
    co_await ch.send_many(batch);
    auto got = co_await ch.recv_many(3);
    EXPECT_EQ(*got.at(2), 2);
    rn::chan<bool> flags(2);
    co_await flags.send(true);
    co_await flags.send(false);
    std::vector<bool> seen = co_await flags.recv_many(5), expected{true, false};
    EXPECT_EQ(seen, expected);
  });
}

struct unassignable {
  const int value;
  explicit unassignable(int v) : value(v) {}
};
TEST(chan_many, elements_that_cannot_be_assigned) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::chan<unassignable> ch(3);
    unassignable row[] = {unassignable(1), unassignable(2), unassignable(3)};
    std::span<unassignable> rest(row);
    co_await ch.send_many(rest);
    auto got = co_await ch.recv_many(3);
    EXPECT_EQ(got.at(2).value, 3);
  });
}

// The ring's end lies at each place within a batch.
TEST(chan_many, batches_go_around_the_end_of_the_ring) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::chan<element> ch(7);
    int sent = 0, received = 0;
    for (std::size_t n = 1; n <= 40; ++n) {
      std::vector<element> batch;
      for (std::size_t i = 0; i < n % 7 + 1; ++i) batch.emplace_back(sent++);
      co_await ch.send_many(batch);
      while (ch.len() > 0) {
        auto got = co_await ch.recv_many(static_cast<std::ptrdiff_t>(n % 5 + 1));
        for (auto& e : got) EXPECT_EQ(e.value(), received++);
      }
    }
    EXPECT_EQ(received, sent);
  });
  EXPECT_EQ(element::alive(), 0);
}

TEST(chan_many, the_halves_have_them_too) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::chan<int> ch(4);
    rn::sender<int> to(ch);
    rn::receiver<int> from(ch);
    ints batch = numbers(0, 4), out;
    co_await to.send_many(batch);
    EXPECT_EQ((co_await from.recv_many(1)).size(), 1u);
    EXPECT_EQ(co_await from.recv_many(out, 1), 1u);
    to.close();
    int sum = 0;
    co_await from.for_each([&sum](int i) { sum += i; });
    EXPECT_EQ(sum, 5);
  });
}

TEST(chan_many, a_waiting_receive_keeps_the_channel_alive) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    auto ch = std::make_optional<rn::chan<int>>(4);
    ints got;
    rn::errgroup g;
    co_await g.go(
        [](std::optional<rn::chan<int>>& from, ints& into) -> rn::task<> { (void)co_await from->recv_many(into, 4); },
        std::ref(ch), std::ref(got));
    co_await until([&] { return waiting_receivers(*ch) == 1; });
    ints batch = numbers(0, 3);
    co_await ch->send_many(batch);
    ch.reset();
    co_await g.wait();
    EXPECT_EQ(got, numbers(0, 3));
  });
}

// CH-22
TEST(chan_for_each, ends_when_the_channel_is_closed_and_drained) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(2);
    rn::errgroup g;
    ints batch = numbers(0, 50), got;
    co_await g.go(
        [](rn::chan<int> to, ints& what) -> rn::task<> {
          auto last = to.closer();
          co_await to.send_many(what);
        },
        ch, std::ref(batch));
    co_await ch.for_each([&got](int i) { got.push_back(i); });
    co_await g.wait();
    EXPECT_EQ(got, numbers(0, 50));
  });
}

TEST(chan_for_each, a_coroutine_is_awaited_before_the_next_is_received) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::chan<std::string> ch(3);
    for (const char* s : {"a", "b", "c"}) co_await ch.send(s);
    ch.close();
    std::string all;
    int busy = 0;
    auto slow = [&](std::string s) -> rn::task<> {
      EXPECT_EQ(++busy, 1);
      co_await rn::yield();
      all += s;
      --busy;
    };
    co_await ch.for_each(slow);
    EXPECT_EQ(all, "abc");
  });
}

TEST(chan_for_each, the_error_of_close_is_thrown_behind_the_last_element) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::chan<int> ch(3);
    ints batch = numbers(1, 4);
    co_await ch.send_many(batch);
    ch.close(std::runtime_error("the source is dry"));
    int sum = 0;
    auto add = [&sum](int i) { sum += i; };
    EXPECT_EQ(co_await test::error_of(ch.for_each(add)), "the source is dry");
    EXPECT_EQ(sum, 6);
  });
}

TEST(chan_for_each, what_the_function_throws_leaves_the_others_in_the_channel) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::chan<int> ch(3);
    ints batch = numbers(1, 4);
    co_await ch.send_many(batch);
    auto refuse = [](int i) {
      if (i == 2) throw std::runtime_error("not two");
    };
    EXPECT_EQ(co_await test::error_of(ch.for_each(refuse)), "not two");
    EXPECT_EQ(ch.len(), 1u);
  });
}

TEST(chan_for_each, a_named_closure_is_moved_in_and_a_chan_of_void_counts) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::chan<void> ch(3);
    co_await ch.send();
    co_await ch.send();
    ch.close();
    auto count = std::make_shared<int>(0);
    auto add = [count] { ++*count; };
    co_await ch.for_each(rn::moved(add));
    EXPECT_EQ(*count, 2);
    EXPECT_EQ(count.use_count(), 1) << "it was moved into the call, and died with it";
  });
}

}  // namespace
