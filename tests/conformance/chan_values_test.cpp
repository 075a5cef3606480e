// SPDX-License-Identifier: BSL-1.0
// Channels: what kinds of values pass, and what becomes of them: CH-01, CH-02, CH-26, CH-C02, CH-C04, GEN-08, GEN-09,
// and DESIGN section 4's rn::moved.
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>
#include <runnel/with_context.hpp>

#include "support/channel_waiters.hpp"
#include "support/conserves_frames.hpp"
#include "support/counted.hpp"
#include "support/wait_until.hpp"

#include <gtest/gtest.h>

#include <any>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using runnel_test::core_of;
using runnel_test::counted;
using runnel_test::eventually;
using runnel_test::on_1_2_and_4_threads;
using runnel_test::waiting_receivers;
using runnel_test::waiting_senders;

class chan_values : public runnel_test::conserves_frames {
 protected:
  void TearDown() override {
    EXPECT_EQ(counted::alive(), 0);
    conserves_frames::TearDown();
  }
};

template <class T>
rn::task<> echo(rn::chan<T> from, rn::chan<T> to) {
  while (auto v = co_await from.recv()) co_await to.send(rn::moved(*v));
}

// GEN-08, GEN-09, PR-13: move-only, without a default, through a waiting receiver, a waiting sender and a buffer.
TEST_F(chan_values, move_only_elements_without_a_default_pass) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int capacity : {0, 3}) {
      rn::chan<counted> in(capacity), out(capacity);
      rn::errgroup g;
      g.go(echo<counted>, in, out);
      for (int i = 0; i < 100; ++i) {
        if (i % 2)
          co_await in.emplace(i);
        else
          co_await in.send(counted(i));
        auto v = co_await out.recv();
        EXPECT_TRUE(v && v->value() == i);
      }
      in.close();
      co_await g.wait();
    }
  });
}

template <class T, class V>
concept can_send = requires(rn::chan<T> ch, V v) { ch.send(std::forward<V>(v)); };
template <class T, class V>
concept can_try = requires(rn::chan<T> ch, V v) { ch.try_send(std::forward<V>(v)); };
template <class T, class V>
concept can_block = requires(rn::chan<T> ch, V v) { ch.blocking_send(std::forward<V>(v)); };

// GEN-08: what has a name is copied, whatever sends it, unless it is handed over.
TEST_F(chan_values, a_value_with_a_name_is_copied_by_every_form_of_send) {
  const std::string text(100, 'x');
  auto check = [&](auto send) {
    rn::chan<std::string> ch(1);
    std::string mine = text;
    send(ch, mine);
    EXPECT_EQ(mine, text);
    EXPECT_EQ(*ch.try_recv(), text);
  };
  check([](auto& ch, std::string& s) { EXPECT_TRUE(ch.try_send(s)); });
  check([](auto& ch, std::string& s) { EXPECT_TRUE(rn::sender<std::string>(ch).try_send(s)); });
  check([](auto& ch, std::string& s) { EXPECT_TRUE(ch.try_send(std::as_const(s))); });
  check([](auto& ch, std::string& s) { ch.blocking_send(s); });
  check([](auto& ch, std::string& s) {
    rn::runtime rt(rn::threads(1));
    rt.run([&]() -> rn::task<> { co_await ch.send(s); });
  });
}

TEST_F(chan_values, what_is_handed_over_to_a_try_or_a_blocking_form_is_moved_from_if_it_is_sent) {
  rn::chan<std::unique_ptr<int>> ch(1);
  auto a = std::make_unique<int>(1), b = std::make_unique<int>(2), c = std::make_unique<int>(3);
  EXPECT_TRUE(ch.try_send(rn::moved(a)));
  EXPECT_FALSE(a);
  EXPECT_FALSE(ch.try_send(rn::moved(b)));
  EXPECT_FALSE(ch.try_send(std::move(c)));
  EXPECT_TRUE(b && c);
  EXPECT_EQ(**ch.try_recv(), 1);
  ch.blocking_send(rn::moved(b));
  EXPECT_FALSE(b);
  EXPECT_EQ(**ch.try_recv(), 2);
  EXPECT_TRUE(ch.try_send(std::move(c)));
  ch.close();
  auto d = std::make_unique<int>(4);
  EXPECT_FALSE(ch.try_send(rn::moved(d)));
  EXPECT_THROW(ch.blocking_send(rn::moved(d)), rn::closed_channel);
  EXPECT_TRUE(d);
}

TEST_F(chan_values, a_try_converts_what_is_no_element) {
  rn::chan<std::string> ch(1);
  EXPECT_TRUE(ch.try_send("text"));
  EXPECT_EQ(*ch.try_recv(), "text");
  static_assert(!can_try<std::unique_ptr<int>, std::unique_ptr<int>&>);
}

// A T that can be made of anything is not made of the reference that rn::moved is.
TEST_F(chan_values, what_is_moved_is_no_value_itself) {
  rn::chan<std::any> ch(1);
  using reference = rn::moved_ref<std::string>;
  static_assert(!can_send<std::any, reference> && !can_try<std::any, reference> && !can_block<std::any, reference>);
  static_assert(can_send<std::any, rn::moved_ref<std::any>> && can_try<std::any, std::string>);
  std::string text = "text";
  std::any any = text;
  EXPECT_TRUE(ch.try_send(rn::moved(any)));
  EXPECT_EQ(std::any_cast<std::string>(*ch.try_recv()), text);
  rn::runtime rt(rn::threads(1));
  rt.run([&]() -> rn::task<> { co_await ch.emplace(rn::moved(text)); });
  EXPECT_EQ(std::any_cast<std::string>(*ch.try_recv()), "text");
}

// Its moves may throw, and do so when told.
struct restless {
  static inline std::atomic<bool> throws{false};
  std::unique_ptr<int> value;
  explicit restless(int v) : value(std::make_unique<int>(v)) {}
  restless(restless&& other) noexcept(false) : value((check(), std::move(other.value))) {}
  restless& operator=(restless&& other) noexcept(false) {
    check();
    value = std::move(other.value);
    return *this;
  }
  static void check() {
    if (throws) throw std::string("a move failed");
  }
};
static_assert(!std::is_nothrow_move_constructible_v<restless>);

// GEN-08: such elements are boxed, so that they do not move while they wait and under no lock.
TEST_F(chan_values, elements_whose_move_may_throw_are_boxed) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int capacity : {0, 2}) {
      rn::chan<restless> in(capacity), out(capacity);
      auto pass = [](rn::chan<restless> from, rn::chan<restless> to) -> rn::task<> {
        while (auto v = co_await from.recv()) co_await to.send(std::move(*v));
      };
      rn::errgroup g;
      g.go(pass, in, out);
      for (int i = 0; i < 50; ++i) {
        co_await in.emplace(i);
        auto v = co_await out.recv();
        EXPECT_TRUE(v && *v->value == i);
      }
      in.close();
      co_await g.wait();
    }
  });

  rn::chan<restless> ch(1);
  ch.blocking_send(restless(1));
  restless mine(2);
  EXPECT_FALSE(ch.try_send(std::move(mine)));
  EXPECT_EQ(*mine.value, 2);  // whole
  restless::throws = true;
  EXPECT_THROW((void)ch.try_recv(), std::string);  // thrown to who takes it out, outside of the lock
  restless::throws = false;
  EXPECT_EQ(ch.len(), 0u);
  EXPECT_TRUE(ch.try_send(std::move(mine)));
  EXPECT_EQ(*ch.try_recv()->value, 2);
}

struct nothing {};
struct alignas(64) wide {
  std::array<std::uint64_t, 40> words;
  bool aligned() const { return reinterpret_cast<std::uintptr_t>(this) % 64 == 0; }
};

// CH-02
TEST_F(chan_values, empty_and_large_and_over_aligned_elements_pass) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<nothing> empty(5);
    for (int i = 0; i < 5; ++i) co_await empty.send(nothing());
    EXPECT_EQ(empty.len(), 5u);
    EXPECT_FALSE(empty.try_send(nothing()));
    for (int i = 0; i < 5; ++i) EXPECT_TRUE(co_await empty.recv());
    EXPECT_TRUE(empty.try_recv().would_block());

    rn::chan<std::array<char, 5000>> large(3);
    std::array<char, 5000> text;
    for (char c : {'a', 'b', 'c'}) {
      text.fill(c);
      co_await large.send(text);
    }
    for (char c : {'a', 'b', 'c'}) {
      auto got = co_await large.recv();
      EXPECT_TRUE(got && (*got)[0] == c && (*got)[4999] == c);
    }
    rn::chan<rn::chan<int>> channels(1);
    rn::chan<int> inner(1);
    co_await channels.send(inner);
    EXPECT_EQ(co_await channels.recv(), inner);  // CH-04
  });
  rn::chan<wide> aligned(4);
  wide w{};
  for (std::uint64_t i = 0; i < 4; ++i) {
    w.words.fill(i);
    EXPECT_TRUE(aligned.try_send(w));
  }
  for (std::uint64_t i = 0; i < 4; ++i) {
    auto got = aligned.try_recv();
    EXPECT_TRUE(got && got->words[39] == i && got->aligned());
  }
}

rn::task<> post(rn::chan<void> ch, int n) {
  for (int i = 0; i < n; ++i) co_await ch.send();
}

// CH-02: chan<void> counts.
TEST_F(chan_values, a_channel_of_void_counts) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int capacity : {0, 7}) {
      rn::chan<void> ch(capacity);
      rn::errgroup g;
      for (int i = 0; i < 4; ++i) g.go(post, ch, 25);
      for (int i = 0; i < 100; ++i) EXPECT_TRUE(co_await ch.recv());
      co_await g.wait();
      EXPECT_TRUE(ch.try_recv().would_block());
      EXPECT_EQ(ch.try_send(), capacity > 0);
      ch.close();
      EXPECT_EQ(co_await ch.recv(), capacity > 0);
      EXPECT_FALSE(co_await ch.recv());
      EXPECT_TRUE(ch.try_recv().closed());
      EXPECT_FALSE(ch.try_send());
    }
  });
}

struct message {  // an aggregate
  int id;
  std::string body;
};

// DESIGN section 6
TEST_F(chan_values, emplace_makes_an_aggregate_from_its_fields) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<message> ch(2);
    std::string body(100, 'x');
    co_await ch.emplace(1, body);
    message named{2, body};
    co_await ch.send(rn::moved(named));
    EXPECT_TRUE(named.body.empty());
    for (int id : {1, 2}) {
      auto m = co_await ch.recv();
      EXPECT_TRUE(m && m->id == id && m->body == body);
    }
    named = {3, body};
    co_await ch.send(named);  // copied
    EXPECT_EQ(named.body, body);
    EXPECT_EQ((co_await ch.recv())->id, 3);
  });
}

// GEN-08: a conversion happens at the call.
TEST_F(chan_values, what_converts_to_an_element_can_be_sent) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<std::string> ch(4);
    const std::string constant = "constant";
    co_await ch.send("literal");
    co_await ch.send(constant);
    EXPECT_TRUE(ch.try_send("tried"));
    EXPECT_TRUE(ch.try_send(constant));
    EXPECT_FALSE(ch.try_send(constant));
    for (auto want : {"literal", "constant", "tried", "constant"}) EXPECT_EQ(co_await ch.recv(), want);
    EXPECT_EQ(constant, "constant");
  });
}

rn::task<> send_moved(rn::chan<counted> ch, counted& x, std::atomic<int>& outcome) {
  try {
    co_await ch.send(rn::moved(x));
    outcome = 1;
  } catch (const rn::closed_channel&) {
    outcome = 2;
  }
}

// DESIGN section 4, GEN-05, GEN-08, CH-C02
TEST_F(chan_values, what_is_sent_as_moved_moves_at_the_commit_and_is_whole_after_a_cancel_or_close) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<counted> ch(0);
    counted x(1);
    std::atomic<int> outcome{0};
    {
      rn::errgroup g;
      g.go(send_moved, ch, std::ref(x), std::ref(outcome));
      co_await eventually([&] { return waiting_senders(ch) == 1; });
      EXPECT_TRUE(x.whole());
      g.cancel();
      co_await g.wait();
      EXPECT_TRUE(x.whole());
      EXPECT_EQ(outcome, 0);
    }
    {
      rn::errgroup g;
      g.go(send_moved, ch, std::ref(x), std::ref(outcome));
      co_await eventually([&] { return waiting_senders(ch) == 1; });
      EXPECT_EQ((co_await ch.recv())->value(), 1);
      EXPECT_FALSE(x.whole());  // it was moved when the receive committed, before its sender ran again
      co_await g.wait();
      EXPECT_EQ(outcome, 1);
    }
    x = counted(2);
    {
      rn::errgroup g;
      g.go(send_moved, ch, std::ref(x), std::ref(outcome));
      co_await eventually([&] { return waiting_senders(ch) == 1; });
      ch.close();
      co_await g.wait();
      EXPECT_EQ(outcome, 2);
      EXPECT_EQ(x.value(), 2);
    }
  });
}

// GEN-08
TEST_F(chan_values, a_try_send_that_would_wait_leaves_its_argument_whole) {
  rn::chan<counted> ch(1);
  counted a(1), b(2);
  EXPECT_TRUE(ch.try_send(std::move(a)));
  EXPECT_FALSE(a.whole());
  EXPECT_FALSE(ch.try_send(std::move(b)));
  EXPECT_EQ(b.value(), 2);
  rn::chan<counted> nil;
  EXPECT_FALSE(nil.try_send(std::move(b)));
  EXPECT_EQ(b.value(), 2);
}

rn::task<> send_counted(rn::chan<counted> ch, int n) { co_await ch.emplace(n); }
rn::task<> recv_counted(rn::chan<counted> ch) { co_await ch.recv(); }

// GEN-05, CH-C04: elements of operations that are taken back die with them; none is destroyed twice.
TEST_F(chan_values, elements_of_cancelled_and_refused_sends_are_destroyed_once) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    {
      rn::chan<counted> ch(0);
      rn::errgroup g;
      for (int i = 0; i < 30; ++i) g.go(send_counted, ch, i);
      co_await eventually([&] { return waiting_senders(ch) == 30; });
      EXPECT_EQ(counted::alive(), 30);
      for (int i = 0; i < 10; ++i) EXPECT_TRUE(ch.try_recv());
      g.cancel();
      co_await g.wait();
      EXPECT_EQ(counted::alive(), 0);
    }
    {
      rn::chan<counted> ch(2);
      rn::errgroup g(rn::collect_all);
      for (int i = 0; i < 30; ++i) g.go(send_counted, ch, i);
      co_await eventually([&] { return waiting_senders(ch) == 28; });
      ch.close();
      auto outcome = co_await rn::as_result(g.wait());
      EXPECT_THROW(std::move(outcome).value(), rn::closed_channel);
      EXPECT_EQ(counted::alive(), 2);
    }
    EXPECT_EQ(counted::alive(), 0);
  });
}

// GEN-05: the element has been handed to a receiver that is then never resumed.
TEST_F(chan_values, an_element_handed_to_a_receiver_that_is_unwound_later_is_destroyed_once) {
  rn::runtime rt(rn::threads(1));
  rt.run([]() -> rn::task<> {
    rn::chan<counted> ch(0);
    rn::errgroup g;
    g.go(recv_counted, ch);
    co_await eventually([&] { return waiting_receivers(ch) == 1; });
    EXPECT_TRUE(ch.try_send(counted(1)));
    g.cancel();
    co_await g.wait();
    EXPECT_EQ(counted::alive(), 0);
  });
}

// CH-26
TEST_F(chan_values, a_channel_keeps_nothing_of_what_it_has_delivered) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int capacity : {0, 1, 4}) {
      rn::chan<std::shared_ptr<int>> ch(capacity);
      auto p = std::make_shared<int>(1);
      std::weak_ptr<int> watch = p;
      auto deliver = [](rn::chan<std::shared_ptr<int>> c, std::shared_ptr<int> x) -> rn::task<> {
        co_await c.send(rn::moved(x));
      };
      rn::errgroup g;
      g.go(deliver, ch, std::move(p));
      auto got = co_await ch.recv();
      EXPECT_EQ(got->use_count(), 1);
      got.reset();
      EXPECT_TRUE(watch.expired());
      co_await g.wait();
    }
  });
}

// Its destructor wants the lock of a channel, on a thread of its own, so that a failure is no deadlock.
class wants_lock {
 public:
  static inline std::atomic<runnel::detail::chan_core*> of{nullptr};
  static inline std::atomic<int> asked{0}, refused{0};

  wants_lock() = default;
  wants_lock(wants_lock&& other) noexcept : x_holds(std::exchange(other.x_holds, false)) {}
  ~wants_lock() {
    if (!x_holds || !of) return;
    ++asked;
    auto& lock = of.load()->lock();
    auto got = std::async(std::launch::async, [&lock] { runnel::detail::park_lock::guard hold(lock, nullptr); });
    if (got.wait_for(std::chrono::seconds(5)) != std::future_status::ready) {
      ++refused;
      std::thread([later = std::move(got)] {}).detach();
    }
  }

 private:
  bool x_holds = true;
};

// CH-C04, GEN-03
TEST_F(chan_values, elements_are_destroyed_outside_of_the_lock) {
  wants_lock::asked = 0;
  {
    rn::chan<wants_lock> ch(2);
    wants_lock::of = core_of(ch);
    EXPECT_TRUE(ch.try_send(wants_lock()));
    EXPECT_TRUE(ch.try_send(wants_lock()));
    EXPECT_FALSE(ch.try_send(wants_lock()));  // the temporary
    EXPECT_EQ(wants_lock::asked, 1);
    EXPECT_TRUE(ch.try_recv());
    EXPECT_EQ(wants_lock::asked, 2);
    {
      rn::runtime rt(rn::threads(1));
      rt.run([&]() -> rn::task<> {
        co_await ch.emplace();
        auto block = [](rn::chan<wants_lock> c) -> rn::task<> { co_await c.emplace(); };
        rn::errgroup g(rn::collect_all);
        g.go(block, ch);
        co_await eventually([&] { return waiting_senders(ch) == 1; });
        g.cancel();  // a cancelled send
        co_await g.wait();
        EXPECT_EQ(wants_lock::asked, 3);
        rn::errgroup h(rn::collect_all);
        h.go(block, ch);
        co_await eventually([&] { return waiting_senders(ch) == 1; });
        ch.close();  // a refused send
        (void)co_await rn::as_result(h.wait());
        EXPECT_EQ(wants_lock::asked, 4);
      });
    }
  }  // two are buffered
  EXPECT_EQ(wants_lock::asked, 6);
  EXPECT_EQ(wants_lock::refused, 0);
  wants_lock::of = nullptr;
}

}  // namespace
