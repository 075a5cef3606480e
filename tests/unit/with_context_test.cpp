// SPDX-License-Identifier: BSL-1.0
// with_timeout, with_deadline, with_context, with_value, shield.
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>
#include <runnel/sleep.hpp>
#include <runnel/with_context.hpp>

#include "support/until.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;
using test_support::until;

rn::task<int> answer_after(std::chrono::nanoseconds d) {
  co_await rn::sleep(d);
  co_return 42;
}
rn::task<> for_ever() { co_await rn::chan<int>().recv(); }

TEST(with_timeout, a_body_that_completes_gives_its_value) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    EXPECT_EQ(co_await rn::with_timeout(1h, answer_after(0ms)), 42);
    EXPECT_EQ(co_await rn::with_timeout(1h, answer_after(1ms)), 42);
    EXPECT_TRUE(rt.core().timers.empty());  // disarmed
  };
  rt.run(app);
}

TEST(with_timeout, a_body_that_does_not_end_in_time_is_unwound_first) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    bool unwound = false, caught = false;
    auto body = [&]() -> rn::task<int> {
      struct guard {
        bool& flag;
        ~guard() { flag = rn::unwinding(); }
      } g{unwound};
      co_await for_ever();
      co_return 1;
    };
    auto start = clock::now();
    try {
      (void)co_await rn::with_timeout(3ms, body());
    } catch (const rn::deadline_exceeded&) {
      caught = true;
      EXPECT_TRUE(unwound);
    }
    EXPECT_TRUE(caught);
    EXPECT_GE(clock::now() - start, 3ms);
    EXPECT_FALSE(rn::unwinding());
    co_await rn::yield();  // the goroutine is whole
  };
  rt.run(app);
}

TEST(with_timeout, an_exception_of_the_body_passes) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    auto body = []() -> rn::task<int> {
      co_await rn::sleep(1ms);
      throw std::runtime_error("mine");
    };
    EXPECT_THROW((void)co_await rn::with_timeout(1h, body()), std::runtime_error);
    EXPECT_TRUE(rt.core().timers.empty());
  };
  rt.run(app);
}

// It ended by itself, if late: its value counts.
TEST(with_timeout, a_body_that_does_not_suspend_completes_though_late) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    auto busy = []() -> rn::task<int> {
      test_support::spin_until([] { return false; }, 3ms);
      co_return 7;
    };
    EXPECT_EQ(co_await rn::with_timeout(1ms, busy()), 7);
  };
  rt.run(app);
}

TEST(with_timeout, at_or_below_zero_has_passed) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    for (auto d : {std::chrono::nanoseconds(0), std::chrono::nanoseconds(-1), std::chrono::nanoseconds::min()}) {
      bool began = false, went_on = false;
      auto body = [&]() -> rn::task<> {
        began = true;  // up to its first suspension
        co_await rn::yield();
        went_on = true;
      };
      EXPECT_THROW(co_await rn::with_timeout(d, body()), rn::deadline_exceeded);
      EXPECT_TRUE(began);
      EXPECT_FALSE(went_on);
    }
    EXPECT_TRUE(rt.core().timers.empty());
  };
  rt.run(app);
}

TEST(with_timeout, nested_and_the_inner_passes_first) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<std::string> {
    std::string log;
    auto middle = [&]() -> rn::task<> {
      try {
        co_await rn::with_timeout(2ms, for_ever());
      } catch (const rn::deadline_exceeded&) {
        log += "inner ";
      }
      co_await rn::sleep(1ms);
      log += "went on ";
    };
    co_await rn::with_timeout(1h, middle());
    co_return log;
  };
  EXPECT_EQ(rt.run(app), "inner went on ");
}

TEST(with_timeout, nested_and_the_outer_passes_first) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<std::string> {
    std::string log;
    auto middle = [&]() -> rn::task<> {
      try {
        co_await rn::with_timeout(1h, for_ever());
      } catch (const rn::deadline_exceeded&) {
        log += "inner ";
      }
      log += "went on ";
    };
    try {
      co_await rn::with_timeout(2ms, middle());
    } catch (const rn::deadline_exceeded&) {
      log += "outer";
    }
    co_return log;
  };
  EXPECT_EQ(rt.run(app), "outer");
}

// Both have passed when the goroutine gets to look: the outer one counts, for the inner may not swallow it.
TEST(with_timeout, nested_and_both_have_passed) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<std::string> {
    std::string log;
    auto busy = [&]() -> rn::task<> {
      test_support::spin_until([] { return false; }, 4ms);
      while (!rn::this_context().is_done()) co_await rn::yield();
      co_await rn::sleep(1h);
    };
    auto middle = [&]() -> rn::task<> {
      try {
        co_await rn::with_timeout(2ms, busy());
      } catch (const rn::deadline_exceeded&) {
        log += "inner ";
      }
      co_await rn::yield();
      log += "went on ";
    };
    try {
      co_await rn::with_timeout(1ms, middle());
    } catch (const rn::deadline_exceeded&) {
      log += "outer";
    }
    co_return log;
  };
  auto log = rt.run(app);
  EXPECT_TRUE(log == "outer" || log == "inner outer") << log;
}

TEST(with_timeout, the_ambient_deadline_is_inherited_and_the_earliest_wins) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    auto inner = [](clock::time_point outer) -> rn::task<> {
      EXPECT_EQ(rn::this_context().deadline(), outer);
      co_return;
    };
    auto body = [&]() -> rn::task<> {
      auto at = rn::this_context().deadline();
      EXPECT_TRUE(at);
      co_await rn::with_timeout(2h, inner(*at));
      co_await inner(*at);
      auto shielded = []() -> rn::task<> {
        EXPECT_FALSE(rn::this_context().deadline());
        co_return;
      };
      co_await rn::shield(shielded());
    };
    co_await rn::with_timeout(1h, body());
    EXPECT_FALSE(rn::this_context().deadline());
  };
  rt.run(app);
}

TEST(with_timeout, it_takes_an_operation) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    rn::chan<int> ch(1);
    EXPECT_THROW((void)co_await rn::with_timeout(1ms, ch.recv()), rn::deadline_exceeded);
    co_await ch.send(5);
    EXPECT_EQ(co_await rn::with_timeout(1h, ch.recv()), 5);
    co_await rn::with_timeout(1h, ch.send(6));
    EXPECT_THROW(co_await rn::with_timeout(1ms, ch.send(7)), rn::deadline_exceeded);
    EXPECT_EQ(co_await ch.recv(), 6);
    EXPECT_EQ(ch.len(), 0u);
    EXPECT_THROW(co_await rn::with_timeout(1ms, rn::sleep(1h)), rn::deadline_exceeded);
    EXPECT_THROW(co_await rn::with_timeout(1ms, rn::context::background().done()), rn::deadline_exceeded);
  };
  rt.run(app);
}

TEST(with_timeout, it_gives_references_and_move_only_values) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    int x = 1;
    auto ref = [&]() -> rn::task<int&> { co_return x; };
    EXPECT_EQ(&co_await rn::with_timeout(1h, ref()), &x);
    auto unique = []() -> rn::task<std::unique_ptr<int>> { co_return std::make_unique<int>(3); };
    EXPECT_EQ(*co_await rn::with_timeout(1h, unique()), 3);
  };
  rt.run(app);
}

TEST(with_deadline, it_takes_a_point_in_time) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    EXPECT_EQ(co_await rn::with_deadline(clock::now() + 1h, answer_after(1ms)), 42);
    auto at = clock::now() + 2ms;
    EXPECT_THROW(co_await rn::with_deadline(at, for_ever()), rn::deadline_exceeded);
    EXPECT_GE(clock::now(), at);
    EXPECT_THROW(co_await rn::with_deadline(clock::now() - 1ms, for_ever()), rn::deadline_exceeded);
    EXPECT_EQ(co_await rn::with_deadline(clock::time_point::max(), answer_after(1ms)), 42);
  };
  rt.run(app);
}

TEST(with_timeout, inside_a_shield_it_still_passes) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<std::string> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    std::string log;
    auto shielded = [&]() -> rn::task<> {
      cancel();
      try {
        co_await rn::with_timeout(1ms, for_ever());
      } catch (const rn::deadline_exceeded&) {
        log += "timeout ";
      }
      co_await rn::yield();
      log += "shield ends ";
    };
    auto body = [&]() -> rn::task<> {
      co_await rn::shield(shielded());
      log += "after ";
      co_await rn::yield();
      log += "never";
    };
    EXPECT_TRUE((co_await rn::as_result(rn::with_context(ctx, body()))).canceled());
    co_return log;
  };
  EXPECT_EQ(rt.run(app), "timeout shield ends after ");
}

TEST(with_timeout, a_shield_inside_of_it_holds_it_up) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<std::string> {
    std::string log;
    auto shielded = [&]() -> rn::task<> {
      co_await rn::sleep(4ms);
      log += "shielded ";
    };
    auto body = [&]() -> rn::task<> {
      co_await rn::shield(shielded());
      log += "after ";
      co_await rn::yield();
      log += "never";
    };
    try {
      co_await rn::with_timeout(1ms, body());
    } catch (const rn::deadline_exceeded&) {
      log += "timeout";
    }
    co_return log;
  };
  EXPECT_EQ(rt.run(app), "shielded after timeout");
}

// A body whose last step is a shield ends by itself.
TEST(with_timeout, a_body_that_is_all_shield_completes) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<int> { co_return co_await rn::with_timeout(1ms, rn::shield(answer_after(3ms))); };
  EXPECT_EQ(rt.run(app), 42);
}

TEST(with_timeout, a_cancellation_from_outside_is_not_made_an_exception) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    bool caught = false;
    auto body = [&]() -> rn::task<> {
      try {
        auto cancels = [&]() -> rn::task<> {
          cancel();
          co_await for_ever();
        };
        co_await rn::with_timeout(1h, cancels());
      } catch (...) {
        caught = true;
      }
    };
    EXPECT_TRUE((co_await rn::as_result(rn::with_context(ctx, body()))).canceled());
    EXPECT_FALSE(caught);
    EXPECT_TRUE(rt.core().timers.empty());
  };
  rt.run(app);
}

TEST(with_context, either_of_the_two_parents_ends_it) {
  rn::runtime rt(rn::threads(2));
  auto app = [&]() -> rn::task<> {
    for (bool explicit_one : {true, false}) {
      auto [ambient, cancel_ambient] = rn::context::background().with_cancel();
      auto [given, cancel_given] = rn::context::background().with_cancel();
      std::atomic<bool> waiting{false}, ended{false};
      rn::go([&]() -> rn::task<> {
        auto inner = [&]() -> rn::task<> {
          waiting = true;
          co_await for_ever();
        };
        auto r = co_await rn::as_result(rn::with_context(ambient, rn::with_context(given, inner())));
        EXPECT_TRUE(r.canceled());
        ended = true;
      });
      co_await until([&] { return waiting.load(); });
      for (int i = 0; i < 5; ++i) co_await rn::yield();
      EXPECT_FALSE(ended);
      if (explicit_one)
        cancel_given();
      else
        cancel_ambient();
      co_await until([&] { return ended.load(); });
      EXPECT_EQ(given.is_done(), explicit_one);
      EXPECT_EQ(ambient.is_done(), !explicit_one);
    }
  };
  rt.run(app);
}

TEST(with_context, under_a_done_context_the_first_suspension_unwinds) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    cancel();
    bool began = false, went_on = false;
    auto body = [&]() -> rn::task<> {
      began = true;
      co_await rn::yield();
      went_on = true;
    };
    EXPECT_TRUE((co_await rn::as_result(rn::with_context(ctx, body()))).canceled());
    EXPECT_TRUE(began);
    EXPECT_FALSE(went_on);
    co_await rn::yield();  // this goroutine's own context is not done
  };
  rt.run(app);
}

TEST(with_context, its_deadline_counts_and_the_ambient_one_too) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_timeout(1h);
    auto expected = ctx.deadline();
    auto look = [&]() -> rn::task<std::optional<clock::time_point>> { co_return rn::this_context().deadline(); };
    EXPECT_EQ(co_await rn::with_context(ctx, look()), expected);
    EXPECT_EQ(co_await rn::with_timeout(2h, rn::with_context(ctx, look())), expected);
    auto sooner = co_await rn::with_timeout(1min, rn::with_context(ctx, look()));
    EXPECT_LT(*sooner, *expected);
    auto [soon, cancel_soon] = rn::context::background().with_timeout(1ms);
    EXPECT_TRUE((co_await rn::as_result(rn::with_context(soon, for_ever()))).canceled());
  };
  rt.run(app);
}

// One context that many goroutines run under.
TEST(with_context, a_shared_context_ends_all_that_run_under_it) {
  rn::runtime rt(rn::threads(2));
  auto app = [&]() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    std::atomic<int> waiting{0}, ended{0};
    for (int i = 0; i < 1000; ++i)
      rn::go([&]() -> rn::task<> {
        auto inner = [&]() -> rn::task<> {
          ++waiting;
          co_await for_ever();
        };
        (void)co_await rn::as_result(rn::with_context(ctx, inner()));
        ++ended;
      });
    co_await until([&] { return waiting == 1000; });
    std::thread outside([&] { cancel(); });  // from a foreign thread
    outside.join();
    co_await until([&] { return ended == 1000; });
  };
  rt.run(app);
}

TEST(shield, a_cancelled_goroutine_finishes_what_is_shielded) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<int> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    int steps = 0;
    auto shielded = [&]() -> rn::task<> {
      cancel();
      for (; steps < 5; ++steps) co_await rn::sleep(100us);
    };
    auto body = [&]() -> rn::task<> {
      co_await rn::shield(shielded());
      co_await rn::yield();
      steps = 100;
    };
    EXPECT_TRUE((co_await rn::as_result(rn::with_context(ctx, body()))).canceled());
    co_return steps;
  };
  EXPECT_EQ(rt.run(app), 5);
}

TEST(shield, a_parked_goroutine_in_it_is_not_woken) {
  rn::runtime rt(rn::threads(2));
  auto app = [&]() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    rn::chan<int> ch(0);
    std::atomic<int> received{0};
    std::atomic<bool> ended{false};
    rn::go([&]() -> rn::task<> {
      auto body = [&]() -> rn::task<> {
        auto got = co_await rn::shield(ch.recv());
        received = got.value_or(-1);
      };
      (void)co_await rn::as_result(rn::with_context(ctx, body()));
      ended = true;
    });
    for (int i = 0; i < 10; ++i) co_await rn::yield();
    cancel();
    for (int i = 0; i < 10; ++i) co_await rn::yield();
    EXPECT_FALSE(ended);
    co_await ch.send(9);
    co_await until([&] { return ended.load(); });
    EXPECT_EQ(received, 9);
  };
  rt.run(app);
}

TEST(shield, a_kill_pierces_it) {
  rn::runtime rt(rn::threads(2));
  auto app = [&]() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    std::atomic<bool> ended{false}, unwound{false};
    struct guard {
      std::atomic<bool>& flag;
      ~guard() { flag = rn::unwinding(); }
    };
    rn::go([&]() -> rn::task<> {
      guard e{ended};
      auto inner = [&]() -> rn::task<> {
        guard g{unwound};
        co_await for_ever();
      };
      co_await rn::with_context(ctx, rn::shield(inner()));
    });
    for (int i = 0; i < 10; ++i) co_await rn::yield();
    cancel();
    for (int i = 0; i < 10; ++i) co_await rn::yield();
    EXPECT_FALSE(unwound);
    ctx.node().cancel(rn::detail::level_kill, false, rn::detail::canceled_cause());
    co_await until([&] { return ended.load(); });
    EXPECT_TRUE(unwound);
  };
  rt.run(app);
}

// A timeout is no shelter from a kill: it must not be turned into an exception that can be caught.
TEST(with_timeout, a_kill_passes_through_it) {
  rn::runtime rt(rn::threads(2));
  auto app = [&]() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    std::atomic<bool> ended{false}, caught{false};
    rn::go([&]() -> rn::task<> {
      auto stubborn = [&]() -> rn::task<> {
        try {
          co_await rn::with_timeout(1h, for_ever());
        } catch (...) {
          caught = true;
        }
      };
      auto r = co_await rn::as_result(rn::with_context(ctx, stubborn()));
      EXPECT_TRUE(r.canceled());
      ended = true;
    });
    for (int i = 0; i < 10; ++i) co_await rn::yield();
    ctx.node().cancel(rn::detail::level_kill, false, rn::detail::canceled_cause());
    co_await until([&] { return ended.load(); });
    EXPECT_FALSE(caught);
  };
  rt.run(app);
}

TEST(with_timeout, a_form_that_is_never_awaited_frees_its_task) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    auto held = std::make_shared<int>();
    auto body = [](std::shared_ptr<int>) -> rn::task<> { co_return; };
    {
      auto dropped = rn::with_timeout(1s, body(held));
      EXPECT_EQ(held.use_count(), 2);
    }
    EXPECT_EQ(held.use_count(), 1);
    co_return;
  };
  rt.run(app);
}

TEST(with_timeout, a_task_that_was_awaited_already_is_misuse) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    auto t = answer_after(0ms);
    (void)co_await std::move(t);
    EXPECT_THROW((void)co_await rn::with_timeout(1s, std::move(t)), rn::misuse_error);
    co_await rn::yield();
  };
  rt.run(app);
}

}  // namespace
