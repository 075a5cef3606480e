// SPDX-License-Identifier: BSL-1.0
// The library's own promises under many schedules, under all with few preemptions, and cancelled, killed and out of
// memory at each place. The rules are those of SEMANTICS.md that each test names.
#include <runnel/all.hpp>
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/own_context.hpp>
#include <runnel/sleep.hpp>
#include <runnel/sync/wait_group.hpp>
#include <runnel/test.hpp>
#include <runnel/this_task.hpp>
#include <runnel/with_context.hpp>

#include "support/counted.hpp"

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <source_location>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using runnel_test::counted;

// In a body and in an invariant: a run in which it does not hold fails, and says where.
void must(bool holds, std::source_location where = std::source_location::current()) {
  if (!holds) throw std::logic_error("does not hold: line " + std::to_string(where.line()));
}

struct extent {
  std::uint64_t seeds = 300;
  std::uint64_t preemptions = 2;
  bool survives_bad_alloc = true;
};

// The body checks what must hold at its own end; the invariant what must hold however it ends.
template <class Body, class Invariant> void everywhere(Body body, Invariant invariant, extent e = {}) {
  auto checked = [&]() -> rn::task<> {
    co_await body();
    invariant();
  };
  try {
    rn::test::explore(e.seeds, checked);
    rn::test::exhaust(checked, rn::test::preemptions(e.preemptions));
    rn::test::cancel_everywhere(body, invariant);
    for (std::uint64_t n = 1; n <= 10; ++n) rn::test::cancel_everywhere(body, invariant, rn::test::seed(n));
    if (!e.survives_bad_alloc) return;
    rn::test::fail_everywhere(body, invariant);
    for (std::uint64_t n = 1; n <= 5; ++n) rn::test::fail_everywhere(body, invariant, rn::test::seed(n));
  } catch (const rn::test::failure& f) {
    ADD_FAILURE() << f.what();
  }
}

// Elements that are sent and received by several goroutines. An element whose send has returned was received once, or is
// still in the channel; one whose send has not returned was not received, unless by who was told so (GEN-05).
class traffic {
 public:
  static constexpr int elements = 4;

  void begin(std::ptrdiff_t capacity) {
    x_channel.emplace(capacity);
    x_sent.fill(0);
    x_received.fill(0);
  }
  rn::task<> send(int first) {
    for (int i = first; i < elements; i += 2) {
      co_await x_channel->send(counted(i));
      ++x_sent[static_cast<std::size_t>(i)];
    }
  }
  rn::task<> receive() {
    while (auto v = co_await x_channel->recv()) ++x_received[static_cast<std::size_t>(v->value())];
  }
  rn::task<> close_after(int n) {
    for (int i = 0; i < n; ++i) co_await rn::yield();
    x_channel->close();
  }
  rn::chan<counted>& channel() { return *x_channel; }
  int received() const {
    int sum = 0;
    for (int n : x_received) sum += n;
    return sum;
  }
  // Nothing is lost, nothing is doubled.
  void check() {
    if (!x_channel) return;
    while (auto left = x_channel->try_recv()) ++x_received[static_cast<std::size_t>(left->value())];
    must(x_sent == x_received);
    x_channel.reset();
    must(counted::alive() == 0);
  }

 private:
  std::optional<rn::chan<counted>> x_channel;
  std::array<int, elements> x_sent{}, x_received{};
};

// CH-07, CH-12, CH-C06, GEN-05
TEST(deterministic, channels_lose_and_double_nothing) {
  for (std::ptrdiff_t capacity : {0, 1, 3}) {
    SCOPED_TRACE(capacity);
    traffic t;
    auto body = [&]() -> rn::task<> {
      t.begin(capacity);
      co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
        auto sending = [&](int first) { return t.send(first); };
        auto receiving = [&] { return t.receive(); };
        g.go(receiving);
        g.go(receiving);
        co_await rn::with_errgroup([&](rn::errgroup& senders) -> rn::task<> {
          senders.go(sending, 0);
          senders.go(sending, 1);
          co_return;
        });
        t.channel().close();
      });
      must(t.received() == traffic::elements);
    };
    everywhere(body, [&] { t.check(); });
  }
}

// CH-20 to CH-24: a close at any time: senders fail, receivers drain.
TEST(deterministic, a_close_at_any_time_loses_and_doubles_nothing) {
  for (std::ptrdiff_t capacity : {0, 2}) {
    SCOPED_TRACE(capacity);
    traffic t;
    auto body = [&]() -> rn::task<> {
      t.begin(capacity);
      co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
        auto sending = [&](int first) -> rn::task<> {
          try {
            co_await t.send(first);
          } catch (const rn::closed_channel&) {
          }
        };
        auto receiving = [&] { return t.receive(); };
        auto closing = [&] { return t.close_after(2); };
        g.go(sending, 0);
        g.go(sending, 1);
        g.go(receiving);
        g.go(closing);
        co_return;
      });
    };
    everywhere(body, [&] { t.check(); });
  }
}

// A timeout at the very instant at which a value comes: it is received, or it is still there.
TEST(deterministic, a_receive_that_times_out_takes_nothing) {
  bool got = false, timed_out = false, sent = false;
  std::optional<rn::chan<counted>> ch;
  int timeouts = 0, values = 0;
  auto body = [&]() -> rn::task<> {
    got = timed_out = sent = false;
    ch.emplace(0);
    co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
      auto sending = [&]() -> rn::task<> {
        co_await rn::sleep(1s);
        co_await ch->send(counted(1));
        sent = true;
      };
      g.go(sending);
      try {
        got = (co_await rn::with_timeout(1s, ch->recv())).has_value();
      } catch (const rn::deadline_exceeded&) {
        timed_out = true;
      }
      if (timed_out) must((co_await ch->recv())->value() == 1);
      timed_out ? ++timeouts : ++values;
    });
    must(sent && got != timed_out);
  };
  everywhere(body, [&] {
    must(counted::alive() == 0);
    must(!got || sent || !timed_out);
    ch.reset();
  });
  EXPECT_GT(timeouts, 10);
  EXPECT_GT(values, 10);
}

// EG-02, EG-04, DESIGN section 4: the first error wins, the others are cancelled, and all are joined before it goes on.
TEST(deterministic, a_group_joins_everybody_whatever_happens) {
  int alive = 0;
  int left = 0;
  struct presence {
    int& n;
    explicit presence(int& count) : n(count) { ++n; }
    ~presence() { --n; }
  };
  auto body = [&]() -> rn::task<> {
    rn::chan<int> silent(0);
    auto waits = [&](int yields) -> rn::task<> {
      presence here(alive);
      for (int i = 0; i < yields; ++i) co_await rn::yield();
      (void)co_await silent.recv();
      must(false);
    };
    auto fails = [&](int yields, const char* what) -> rn::task<> {
      presence here(alive);
      for (int i = 0; i < yields; ++i) co_await rn::yield();
      throw std::out_of_range(what);
    };
    try {
      co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
        presence here(alive);
        g.go(waits, 0);
        g.go(waits, 2);
        g.go(fails, 1, "one");
        g.go(fails, 1, "two");
        (void)co_await silent.recv();
      });
      must(false);
    } catch (const std::out_of_range&) {
      must(alive == 0);
    }
    ++left;
  };
  everywhere(body, [&] { must(alive == 0); });
  EXPECT_GT(left, 300);
}

// EG-05, EG-C03: never more than the limit, and in the order of the calls.
TEST(deterministic, a_limit_holds_and_slots_are_passed_on_in_order) {
  int active = 0;
  std::vector<int> order;
  auto body = [&]() -> rn::task<> {
    active = 0;
    order.clear();
    co_await rn::with_errgroup(rn::limit(2), [&](rn::errgroup& g) -> rn::task<> {
      auto work = [&](int n) -> rn::task<> {
        order.push_back(n);
        struct slot {
          int& count;
          explicit slot(int& c) : count(c) { must(++count <= 2); }
          ~slot() { --count; }
        } mine(active);
        co_await rn::yield();
      };
      for (int i = 0; i < 4; ++i) co_await g.go(work, i);
    });
    must(order.size() == 4);
  };
  everywhere(body, [&] { must(active == 0); });
}

// all: results in order; the first error is thrown when everybody has ended.
TEST(deterministic, all_and_race_join_their_children) {
  int alive = 0;
  struct presence {
    int& n;
    explicit presence(int& count) : n(count) { ++n; }
    ~presence() { --n; }
  };
  auto body = [&]() -> rn::task<> {
    auto value = [&](int n, int yields) -> rn::task<int> {
      presence here(alive);
      for (int i = 0; i < yields; ++i) co_await rn::yield();
      co_return n;
    };
    auto fails = [&](int yields) -> rn::task<int> {
      presence here(alive);
      for (int i = 0; i < yields; ++i) co_await rn::yield();
      throw std::out_of_range("one fails");
    };
    auto both = co_await rn::all(value(1, 2), value(2, 0));
    must(std::get<0>(both) == 1 && std::get<1>(both) == 2 && alive == 0);
    bool thrown = false;
    try {
      (void)co_await rn::all(value(1, 3), fails(1));
    } catch (const std::out_of_range&) {
      thrown = true;
    }
    must(thrown && alive == 0);
    int first = co_await rn::race(value(1, 1), value(2, 1), fails(0));
    must((first == 1 || first == 2) && alive == 0);
  };
  everywhere(body, [&] { must(alive == 0); }, {.preemptions = 2});
}

TEST(deterministic, nested_joins_are_cancelled_from_within_and_from_outside) {
  int alive = 0;
  struct presence {
    int& n;
    explicit presence(int& count) : n(count) { ++n; }
    ~presence() { --n; }
  };
  auto body = [&]() -> rn::task<> {
    rn::chan<int> silent(0);
    auto parks = [&]() -> rn::task<> {
      presence here(alive);
      (void)co_await silent.recv();
    };
    auto group_of_all = [&]() -> rn::task<> {
      presence here(alive);
      co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
        auto inner = [&]() -> rn::task<> { co_await rn::all(parks(), parks()); };
        g.go(inner);
        g.go(parks);
        co_return;
      });
    };
    auto soon = [&]() -> rn::task<> {
      co_await rn::yield();
      co_await rn::yield();
    };
    co_await rn::with_timeout(1h, rn::detail::as_task(rn::race(soon(), group_of_all(), parks())));
    must(alive == 0);
    bool timed_out = false;
    try {
      co_await rn::with_timeout(1s, group_of_all());
    } catch (const rn::deadline_exceeded&) {
      timed_out = true;
    }
    must(timed_out && alive == 0);
  };
  everywhere(body, [&] { must(alive == 0); }, {.seeds = 200, .preemptions = 1});
}

// CTX-02, CTX-03, CTX-23: done() and after_func hear of a cancellation, once; whoever is under the context is unwound.
TEST(deterministic, a_cancellation_reaches_everybody_once) {
  int heard = 0, ran = 0, unwound = 0;
  auto body = [&]() -> rn::task<> {
    heard = ran = unwound = 0;
    auto made = rn::this_context().with_cancel();
    rn::context& ctx = made.first;
    rn::cancel_function& cancel = made.second;
    auto function = [&] { ++ran; };
    auto handle = ctx.after_func(function);
    co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
      auto listens = [&]() -> rn::task<> {
        co_await ctx.done();
        ++heard;
      };
      auto works = [&]() -> rn::task<> {
        auto r = co_await rn::as_result(rn::with_context(ctx, rn::sleep(1h)));
        if (r.canceled()) ++unwound;
      };
      auto cancels = [&]() -> rn::task<> {
        co_await rn::yield();
        cancel();
        cancel();
      };
      g.go(listens);
      g.go(works);
      g.go(works);
      g.go(cancels);
      co_return;
    });
    co_await rn::test::wait_idle();
    must(heard == 1 && ran == 1 && unwound == 2);
    must(rn::test::elapsed() == 0s);
  };
  everywhere(body, [&] { must(heard <= 1 && ran <= 1 && unwound <= 2); });
}

// CTX-16 to CTX-19: the nearest deadline, at its instant.
TEST(deterministic, deadlines_nest) {
  auto body = []() -> rn::task<> {
    auto inner = []() -> rn::task<int> {
      try {
        co_await rn::with_timeout(3s, rn::sleep(1h));
      } catch (const rn::deadline_exceeded&) {
        co_return 3;
      }
      co_return 0;
    };
    int which = 0;
    try {
      which = co_await rn::with_timeout(5s, inner());
    } catch (const rn::deadline_exceeded&) {
      which = 5;
    }
    must(which == 3 && rn::test::elapsed() == 3s);
    try {
      which = co_await rn::with_timeout(1s, inner());
    } catch (const rn::deadline_exceeded&) {
      which = 1;
    }
    must(which == 1 && rn::test::elapsed() == 4s);
    // Both at one instant: either may be first, but only one is seen.
    try {
      which = co_await rn::with_timeout(3s, inner());
    } catch (const rn::deadline_exceeded&) {
      which = 1;
    }
    must((which == 1 || which == 3) && rn::test::elapsed() == 7s);
  };
  everywhere(body, [] {});
}

// DESIGN section 4: clean-up runs to its end when it is cancelled, and is begun when it is killed.
TEST(deterministic, clean_up_that_waits_runs_to_its_end_unless_killed) {
  int opened = 0, closing = 0, closed = 0;
  auto body = [&]() -> rn::task<> {
    opened = closing = closed = 0;
    auto work = [&]() -> rn::task<> {
      ++opened;
      co_await rn::yield();
      co_await rn::sleep(1s);
    };
    auto cleanup = [&]() -> rn::task<> {
      ++closing;
      co_await rn::yield();
      co_await rn::sleep(1s);
      ++closed;
    };
    co_await rn::finally(work(), rn::moved(cleanup).get());
    must(opened == 1 && closed == 1);
  };
  everywhere(body, [&] { must(closed <= closing && closing <= 1 && opened <= 1 && (!opened || closing)); },
             {.survives_bad_alloc = false});
}

// own_context: a task that takes a context runs under it as well.
rn::task<> under(rn::context ctx, rn::chan<int> ch, int& unwound) {
  struct note {
    int& n;
    ~note() { n += rn::unwinding(); }
  } at_end{unwound};
  (void)ctx;
  (void)co_await ch.recv();
}
TEST(deterministic, a_task_that_takes_a_context_hears_both) {
  int unwound = 0;
  auto body = [&]() -> rn::task<> {
    unwound = 0;
    rn::chan<int> silent(0);
    auto made = rn::context::background().with_cancel();
    rn::context& ctx = made.first;
    rn::cancel_function& cancel = made.second;
    co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
      auto cancels = [&]() -> rn::task<> {
        co_await rn::yield();
        cancel();
      };
      g.go(cancels);
      auto r = co_await rn::as_result(under(ctx, silent, unwound));
      if (!r.canceled()) std::move(r).value();
    });
    must(unwound == 1);
  };
  everywhere(body, [&] { must(unwound <= 1); });
}

// WG-03, WG-07
TEST(deterministic, a_wait_group_releases_at_zero) {
  for (std::uint64_t n = 0; n < 200; ++n)
    rn::test::run(rn::test::seed(n), []() -> rn::task<> {
      rn::wait_group all;
      int ended = 0, released = 0;
      for (int i = 0; i < 3; ++i) {
        auto work = [&, i]() -> rn::task<> {
          for (int k = 0; k < i; ++k) co_await rn::yield();
          ++ended;
        };
        all.go(work);
      }
      rn::wait_group waiters;
      for (int i = 0; i < 2; ++i) {
        auto waits = [&]() -> rn::task<> {
          co_await all.wait();
          must(ended == 3);
          ++released;
        };
        waiters.go(waits);
      }
      co_await waiters.wait();
      must(released == 2);
    });
}

// GO-C04: what a run leaves behind is cancelled and unwound at its end.
TEST(deterministic, what_is_left_at_the_end_is_unwound) {
  int alive = 0;
  struct presence {
    int& n;
    explicit presence(int& count) : n(count) { ++n; }
    ~presence() { --n; }
  };
  auto body = [&]() -> rn::task<> {
    rn::chan<int> ch(0);
    auto server = [&, ch]() -> rn::task<> {
      presence here(alive);
      while (auto v = co_await ch.recv()) co_await rn::sleep(1ms);
    };
    rn::go(server);
    rn::go(server);
    for (int i = 0; i < 3; ++i) co_await ch.send(i);
  };
  try {
    EXPECT_EQ(rn::test::explore(300, rn::test::cancel_at_end, body), 300u);
    EXPECT_GT(rn::test::cancel_everywhere(rn::test::cancel_at_end, body, [&] { return alive == 0; }), 10u);
    EXPECT_GT(rn::test::fail_everywhere(rn::test::cancel_at_end, body, [&] { return alive == 0; }), 3u);
  } catch (const rn::test::failure& f) {
    ADD_FAILURE() << f.what();
  }
}

}  // namespace
