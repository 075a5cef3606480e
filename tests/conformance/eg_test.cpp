// SPDX-License-Identifier: BSL-1.0
// EG: error groups, by rule number. DESIGN section 4 wins: every group cancels, limits are fixed when it is made.
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/with_context.hpp>
#include <support/checked_runtime.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <system_error>
#include <type_traits>
#include <vector>

namespace {

namespace rn = runnel;
using test::checked_runtime;
using test::error_of_awaiting;
using test::let_others_run;
using test::on_1_2_and_4_threads;
using test::park_for_ever;
using test::until;

rn::task<> throws(std::string message) {
  test::fail(message);
  co_return;
}
rn::task<> throws_when_closed(rn::chan<int> gate, std::string message) {
  co_await gate.recv();
  test::fail(message);
}

std::string message_of(const std::exception_ptr& e) { return rn::detail::what_of(e); }

// EG-02: the wait is its owner's
TEST(eg, a_wait_of_another_goroutine_is_misuse_and_the_owners_goes_on) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> gate(0);
    std::string said;
    rn::errgroup g, others;
    g.go([](rn::chan<int> until) -> rn::task<> { co_await until.recv(); }, gate);
    others.go([](rn::errgroup& group, std::string& into) -> rn::task<> {
      into = co_await error_of_awaiting([&] { return group.wait(); });
    }, std::ref(g), std::ref(said));
    co_await others.wait();
    EXPECT_TRUE(said.starts_with("runnel: an errgroup is waited for by the goroutine that made it")) << said;
    EXPECT_EQ(g.live(), 1u);
    gate.close();
    co_await g.wait();
    EXPECT_EQ(g.live(), 0u);
  });
}

// EG-01
TEST(eg, a_default_group_has_no_limit) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> gate(0);
    std::atomic<int> running = 0;
    rn::errgroup g;
    for (int i = 0; i < 1000; ++i) {
      bool started = co_await g.go([&]() -> rn::task<> {
        ++running;
        co_await gate.recv();
      });
      EXPECT_TRUE(started);
    }
    co_await until([&] { return running == 1000; });
    EXPECT_EQ(g.live(), 1000u);
    gate.close();
    co_await g.wait();
    EXPECT_EQ(g.live(), 0u);
  });
}

// EG-01, over it DESIGN section 4: every group cancels on the first error unless collect_all
TEST(eg, a_default_group_cancels_its_children_on_the_first_error) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    rn::errgroup g;
    for (int i = 0; i < 10; ++i) g.go(park_for_ever, std::ref(alive));
    co_await until([&] { return alive == 10; });
    g.go(throws, std::string("first"));
    EXPECT_EQ(co_await error_of_awaiting([&] { return g.wait(); }), "first");
    EXPECT_EQ(alive, 0);
  });
}

// EG-02
TEST(eg, wait_returns_after_every_child_has_returned) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> ended = 0;
    rn::errgroup g;
    for (int i = 0; i < 100; ++i)
      g.go([&]() -> rn::task<> {
        for (int k = 0; k < 10; ++k) co_await rn::yield();
        ++ended;
      });
    co_await g.wait();
    EXPECT_EQ(ended, 100);
  });
}

// EG-02
TEST(eg, the_error_is_that_of_the_first_child_to_complete_not_the_first_started) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> gate(0);
    rn::errgroup g(rn::collect_all);
    g.go(throws_when_closed, gate, std::string("started first"));
    g.go(throws, std::string("completed first"));
    co_await until([&] { return g.live() == 1; });
    gate.close();
    EXPECT_EQ(co_await error_of_awaiting([&] { return g.wait(); }), "completed first");
    EXPECT_EQ(g.other_errors().size(), 1u);
    for (auto& other : g.other_errors()) EXPECT_EQ(message_of(other.error), "started first");
  });
}

// EG-03
TEST(eg, the_error_is_sticky) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> ran = 0;
    rn::errgroup g;
    g.go(throws, std::string("first"));
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(co_await error_of_awaiting([&] { return g.wait(); }), "first");
      EXPECT_FALSE(co_await g.go([&] { ++ran; })) << "after a wait nothing more starts";
      EXPECT_FALSE(g.try_go([&] { ++ran; }));
    }
    EXPECT_EQ(ran, 0);
  });
}

// EG-04
TEST(eg, the_first_error_cancels_the_context_and_is_its_cause) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> gate(0);
    std::atomic<bool> ready = false;
    std::string cause;
    std::error_code err;
    rn::errgroup g;
    g.go([&]() -> rn::task<> {
      auto ctx = rn::this_context();
      ready = true;
      co_await ctx.done();
      cause = message_of(ctx.cause());
      err = ctx.err();
    });
    g.go(throws_when_closed, gate, std::string("disk full"));
    co_await until([&] { return ready.load(); });
    gate.close();
    EXPECT_EQ(co_await error_of_awaiting([&] { return g.wait(); }), "disk full");
    EXPECT_EQ(cause, "disk full");
    EXPECT_EQ(err, rn::context_errc::canceled);
  });
}

// EG-04
TEST(eg, the_context_is_cancelled_before_the_failing_child_is_counted_as_finished) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::optional<rn::context> ctx;
    rn::chan<int> gate(0);
    std::atomic<bool> ready = false;
    rn::errgroup g;
    g.go([&]() -> rn::task<> {
      ctx = rn::this_context();
      ready = true;
      co_await gate.recv();
      test::fail("x");
    });
    co_await until([&] { return ready.load(); });
    EXPECT_FALSE(ctx->is_done());
    gate.close();
    co_await until([&] { return g.live() == 0; });
    EXPECT_TRUE(ctx->is_done());
    EXPECT_EQ(co_await error_of_awaiting([&] { return g.wait(); }), "x");
  });
}

// EG-04
TEST(eg, after_a_wait_without_errors_the_context_is_done_with_plain_canceled) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::optional<rn::context> ctx;
    rn::errgroup g;
    co_await g.go([&] { ctx = rn::this_context(); });
    co_await g.wait();
    EXPECT_TRUE(ctx->is_done());
    EXPECT_EQ(ctx->err(), rn::context_errc::canceled);
    EXPECT_EQ(message_of(ctx->cause()), "canceled");
    EXPECT_FALSE(rn::this_context().is_done()) << "the caller's own is not";
  });
}

// EG-05
TEST(eg, at_most_limit_children_are_active) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int limit : {1, 3, 7}) {
      std::atomic<int> active = 0, most = 0, ran = 0;
      rn::errgroup g{rn::limit(limit)};
      for (int i = 0; i < 100; ++i)
        co_await g.go([&]() -> rn::task<> {
          int now = ++active, seen = most;
          while (seen < now && !most.compare_exchange_weak(seen, now)) continue;
          co_await until([&] { return most >= limit; });  // none ends before all slots have been in use
          ++ran;
          --active;
        });
      co_await g.wait();
      EXPECT_EQ(most, limit);
      EXPECT_EQ(ran, 100);
    }
  });
}

// EG-05
TEST(eg, awaiting_go_waits_until_a_slot_is_free) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> gate(0);
    std::atomic<bool> second_ran = false, through = false;
    rn::errgroup g(rn::limit(1)), spawner;
    co_await g.go([&]() -> rn::task<> { co_await gate.recv(); });
    spawner.go([&]() -> rn::task<> {
      EXPECT_TRUE(co_await g.go([&] { second_ran = true; }));
      through = true;
    });
    co_await let_others_run();
    EXPECT_FALSE(through);
    EXPECT_FALSE(second_ran);
    gate.close();
    co_await spawner.wait();
    co_await g.wait();
    EXPECT_TRUE(second_ran);
  });
}

// EG-05: go that is not awaited only queues
TEST(eg, go_that_is_not_awaited_only_queues) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> gate(0);
    std::atomic<int> ran = 0;
    rn::errgroup g(rn::limit(1));
    for (int i = 0; i < 50; ++i)
      g.go([&]() -> rn::task<> {
        co_await gate.recv();
        ++ran;
      });
    EXPECT_EQ(g.live(), 50u);
    EXPECT_EQ(ran, 0);
    gate.close();
    co_await g.wait();
    EXPECT_EQ(ran, 50);
  });
}

// EG-05, EG-C05: a slot is freed when the error has been recorded and the group cancelled
TEST(eg, nothing_gets_the_slot_of_a_child_that_failed) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> gate(0);
    std::atomic<int> ran = 0;
    rn::errgroup g(rn::limit(1));
    g.go(throws_when_closed, gate, std::string("x"));
    for (int i = 0; i < 10; ++i) g.go([&] { ++ran; });
    gate.close();
    EXPECT_EQ(co_await error_of_awaiting([&] { return g.wait(); }), "x");
    EXPECT_EQ(ran, 0);
  });
}

// EG-P04
TEST(eg, a_child_that_fails_gives_its_slot_back_with_collect_all) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> ran = 0;
    rn::errgroup g(rn::limit(2), rn::collect_all);
    for (int i = 0; i < 20; ++i)
      EXPECT_TRUE(co_await g.go([&] {
        ++ran;
        test::fail("x");
      }));
    EXPECT_EQ(co_await error_of_awaiting([&] { return g.wait(); }), "x");
    EXPECT_EQ(ran, 20);
    EXPECT_EQ(g.other_errors().size(), 19u);
  });
}

// EG-06, over it DESIGN section 4: limit(0) is misuse
TEST(eg, a_limit_below_one_is_misuse) {
  EXPECT_THROW(rn::limit(0), rn::misuse_error);
  EXPECT_THROW(rn::limit(-1), rn::misuse_error);
  EXPECT_EQ(rn::limit(1).count(), 1u);
}

// EG-07
TEST(eg, try_go_starts_only_if_a_slot_is_free) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> gate(0);
    std::atomic<int> ran = 0;
    auto work = [&]() -> rn::task<> {
      ++ran;
      co_await gate.recv();
    };
    rn::errgroup g(rn::limit(2));
    EXPECT_TRUE(g.try_go(work));
    EXPECT_TRUE(g.try_go(work));
    EXPECT_FALSE(g.try_go(work));
    EXPECT_EQ(g.live(), 2u);
    co_await until([&] { return ran == 2; });
    co_await gate.send(1);
    co_await until([&] { return g.live() == 1; });
    EXPECT_TRUE(g.try_go(work)) << "accepts again";
    gate.close();
    co_await g.wait();
    EXPECT_EQ(ran, 3);
  });
}

// EG-07
TEST(eg, try_go_does_not_overtake_those_that_wait) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    // A slot that is passed on is never free in between: try_go fails as long as somebody holds it or is queued.
    rn::chan<int> first(0), last(0);
    std::atomic<bool> overtook = false, last_runs = false;
    rn::errgroup g(rn::limit(1));
    g.go([&]() -> rn::task<> { co_await first.recv(); });
    for (int i = 0; i < 20; ++i) g.go([]() -> rn::task<> { co_await rn::yield(); });
    g.go([&]() -> rn::task<> {
      last_runs = true;
      co_await last.recv();
    });
    first.close();
    while (!last_runs) {
      EXPECT_FALSE(g.try_go([&] { overtook = true; }));
      co_await rn::yield();
    }
    last.close();
    co_await g.wait();
    EXPECT_FALSE(overtook);
  });
}

// EG-08, EG-C02: there is no way to change a limit
template <class G>
concept limit_can_change = requires(G& g) { g.set_limit(1); } || requires(G& g) { g.limit(1); } || requires(G& g) {
  g = G();
};
TEST(eg, the_limit_is_fixed_when_the_group_is_made) {
  static_assert(!limit_can_change<rn::errgroup> && !limit_can_change<rn::task_group>);
  static_assert(!std::is_copy_constructible_v<rn::errgroup> && !std::is_move_constructible_v<rn::errgroup>);
}

// EG-09
TEST(eg, waiting_for_a_group_without_children_returns_at_once) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::errgroup g(rn::limit(1));
    co_await g.wait();
    co_await g.wait();
  });
}

// EG-10, EG-C01: an exception of any type is the child's error, with its payload
TEST(eg, an_exception_that_escapes_a_child_is_rethrown_as_it_is) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::errgroup g;
    g.go([] { throw 42; });
    int caught = 0;
    try {
      co_await g.wait();
    } catch (int n) {
      caught = n;
    }
    EXPECT_EQ(caught, 42);
  });
}

// EG-11
TEST(eg, errors_of_try_go_children_are_the_groups_too) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    rn::errgroup g;
    EXPECT_TRUE(g.try_go(park_for_ever, std::ref(alive)));
    co_await until([&] { return alive == 1; });
    EXPECT_TRUE(g.try_go(throws, std::string("x")));
    EXPECT_EQ(co_await error_of_awaiting([&] { return g.wait(); }), "x");
    EXPECT_EQ(alive, 0);
  });
}

// EG-C03: pending children start in order, whether their go is awaited or not
TEST(eg, queued_children_start_in_the_order_of_their_go) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::vector<int> order;  // limit(1): one child at a time
    rn::chan<int> gate(0);
    rn::errgroup g(rn::limit(1));
    g.go([&]() -> rn::task<> { co_await gate.recv(); });
    for (int i = 0; i < 100; ++i)
      g.go(
          [&](int n) -> rn::task<> {
            order.push_back(n);
            if (n % 3 == 0) co_await rn::yield();
          },
          i);
    gate.close();
    co_await g.wait();
    EXPECT_EQ(order.size(), 100u);
    EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  });
}

// EG-C03
TEST(eg, those_that_await_a_slot_are_served_in_order) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    // Each child keeps the slot until it is told to go on, so that one awaiter at a time is let through.
    rn::chan<int> next(0);
    std::atomic<int> asked = 0, through = 0;
    auto keep_slot = [&]() -> rn::task<> { co_await next.recv(); };
    rn::errgroup g(rn::limit(1)), spawners;
    co_await g.go(keep_slot);
    for (int i = 0; i < 10; ++i) {
      spawners.go(
          [&](int n) -> rn::task<> {
            auto slot = g.go(keep_slot);  // it queues at the call
            ++asked;
            EXPECT_TRUE(co_await std::move(slot));
            EXPECT_EQ(through, n);
            ++through;
          },
          i);
      co_await until([&] { return asked == i + 1; });
    }
    EXPECT_EQ(g.live(), 11u);
    for (int i = 0; i < 10; ++i) {
      co_await let_others_run();
      EXPECT_EQ(through, i);
      co_await next.send(1);
      co_await until([&] { return through == i + 1; });
    }
    co_await next.send(1);
    co_await spawners.wait();
    co_await g.wait();
  });
}

// EG-C03, over it DESIGN section 4: go queues at the call, so a cancelled wait leaves the child queued
TEST(eg, a_cancelled_wait_for_a_slot_leaves_the_child_queued) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> gate(0);
    std::atomic<bool> ran = false;
    rn::errgroup g(rn::limit(1));
    g.go([&]() -> rn::task<> { co_await gate.recv(); });
    bool timed_out = false;
    try {
      co_await rn::with_timeout(std::chrono::milliseconds(2), g.go([&] { ran = true; }));
    } catch (const rn::deadline_exceeded&) {
      timed_out = true;
    }
    EXPECT_TRUE(timed_out);
    EXPECT_FALSE(ran);
    EXPECT_EQ(g.live(), 2u);
    gate.close();
    co_await g.wait();
    EXPECT_TRUE(ran);
  });
}

// DESIGN section 4: it yields false, and f does not run, when the group is cancelled
TEST(eg, go_yields_false_when_the_group_is_cancelled) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> ran = 0, refused = 0, alive = 0;
    rn::errgroup g(rn::limit(1)), spawners;
    g.go(park_for_ever, std::ref(alive));
    for (int i = 0; i < 5; ++i)
      spawners.go([&]() -> rn::task<> {
        if (bool runs = co_await g.go([&] { ++ran; }); !runs) ++refused;
      });
    co_await until([&] { return alive == 1 && g.live() == 6; });
    g.cancel();
    co_await spawners.wait();
    EXPECT_EQ(refused, 5) << "those that waited";
    EXPECT_FALSE(co_await g.go([&] { ++ran; })) << "those that come later";
    co_await g.wait();
    EXPECT_EQ(ran, 0);
    EXPECT_EQ(alive, 0);
  });
}

// EG-C04
TEST(eg_death, a_group_that_dies_with_live_children_is_reported) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  auto leave_early = [] {
    rn::runtime rt(rn::threads(1));
    rt.run([]() -> rn::task<> {
      std::atomic<int> alive = 0;
      rn::errgroup g;
      g.go(park_for_ever, std::ref(alive));
      co_await until([&] { return alive == 1; });
    });
  };
  EXPECT_DEATH(leave_early(), "a group was left with 1 live children");
}

}  // namespace
