// SPDX-License-Identifier: BSL-1.0
// Select that names contexts: DESIGN section 4 ("whoever wants to see cancellation asks"), SEL-C05, SEL-C06.
#include <runnel/after.hpp>
#include <runnel/all.hpp>
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/own_context.hpp>
#include <runnel/runtime.hpp>
#include <runnel/select.hpp>
#include <runnel/sleep.hpp>
#include <runnel/with_context.hpp>

#include "support/channel_waiters.hpp"
#include "support/checked_runtime.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <ranges>
#include <string>
#include <thread>
#include <utility>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using runnel_test::waiting_receivers;
using test::on_1_2_and_4_threads;
using test::until;

// Of one goroutine; read when it has ended.
struct journal {
  std::atomic<int> alive{1};
  std::string told;
  struct ends {
    journal& of;
    ~ends() { --of.alive; }
  };
};

// ---- the ambient context ----

TEST(sel_done, a_select_that_names_done_is_told_and_the_next_suspension_unwinds) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> silent(0);
    journal log;
    auto [ctx, cancel] = rn::this_context().with_cancel();
    rn::go(ctx, [&]() -> rn::task<> {
      journal::ends guard{log};
      co_await rn::select(rn::on(silent.recv(), [&] { log.told += "received "; }),
                          rn::on(rn::done(), [&] { log.told += "done "; }));
      log.told += "after ";
      co_await rn::yield();
      log.told += "too late";
    });
    co_await until([&] { return waiting_receivers(silent) == 1; });
    cancel();
    co_await until([&] { return log.alive == 0; });
    EXPECT_EQ(log.told, "done after ");
    EXPECT_EQ(waiting_receivers(silent), 0u);
  });
}

TEST(sel_done, a_context_that_is_done_wins_over_everything_that_is_ready) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ready(1);
    co_await ready.send(1);
    auto [ctx, cancel] = rn::this_context().with_cancel();
    cancel();
    int dones = 0;
    auto ask = [&](rn::chan<int>& ch) -> rn::task<> {
      for (int i = 0; i < 50; ++i) {
        auto r = co_await rn::select(ch.recv(), rn::done(), ch.recv());
        dones += r.index() == 1;
        auto first = co_await rn::select(rn::prefer_first, ch.recv(), rn::done());
        dones += first.index() == 1;
        auto other = co_await rn::select(rn::otherwise, ch.recv(), rn::done());
        dones += other.index() == 2;
      }
    };
    (void)co_await rn::as_result(rn::with_context(ctx, ask(ready)));
    EXPECT_EQ(dones, 150);
    EXPECT_EQ(ready.len(), 1u);
  });
}

TEST(sel_done, its_handler_runs_shielded_if_it_is_a_coroutine) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> silent(0), flushed(1);
    journal log;
    auto [ctx, cancel] = rn::this_context().with_cancel();
    rn::go(ctx, [&]() -> rn::task<> {
      journal::ends guard{log};
      auto flush = [&]() -> rn::task<> {
        co_await rn::sleep(1ms);
        co_await flushed.send(7);
        log.told += "flushed ";
      };
      co_await rn::select(silent.recv(), rn::on(rn::done(), flush));
      log.told += "after ";
      co_await rn::sleep(1ms);
      log.told += "too late";
    });
    co_await until([&] { return waiting_receivers(silent) == 1; });
    cancel();
    co_await until([&] { return log.alive == 0; });
    EXPECT_EQ(log.told, "flushed after ");
    EXPECT_EQ(flushed.len(), 1u);
  });
}

TEST(sel_done, a_kill_pierces_the_handler) {
  rn::runtime_options options;
  options.grace(5ms);
  rn::runtime rt(rn::threads(2), std::move(options));
  std::atomic<int> begun{0}, unwound{0};
  rt.go([&]() -> rn::task<> {
    auto hangs = [&]() -> rn::task<> {
      ++begun;
      rn::chan<int> silent(0);
      struct at_end {
        std::atomic<int>& n;
        ~at_end() { ++n; }
      } guard{unwound};
      co_await silent.recv();
      ADD_FAILURE() << "nobody sends";
    };
    co_await rn::select(rn::on(rn::done(), hangs));
  });
  rt.cancel();
  while (begun == 0) std::this_thread::yield();
  rt.shut_down();
  EXPECT_EQ(begun, 1);
  EXPECT_EQ(unwound, 1);
}

// It is told each time that it asks, so only a kill ends it.
TEST(sel_done, a_kill_ends_a_loop_that_does_nothing_but_ask) {
  rn::runtime rt(rn::threads(2), rn::runtime_options().grace(5ms).kill_grace(30s));
  std::atomic<int> begun{0}, unwound{0};
  rt.go([&]() -> rn::task<> {
    struct at_end {
      std::atomic<int>& n;
      ~at_end() { ++n; }
    } guard{unwound};
    ++begun;
    rn::chan<int> silent(0);
    for (;;) co_await rn::select(rn::on(silent.recv(), [] {}), rn::on(rn::done(), [] {}));
  });
  rt.go([&]() -> rn::task<> {
    auto here = rn::this_context();
    ++begun;
    for (;;) {
      auto once = here.done();
      std::array ops{&once};
      auto only_done = std::views::transform(ops, [](auto* op) -> auto& { return *op; });
      co_await rn::select(only_done);
    }
  });
  while (begun < 2) std::this_thread::yield();
  rt.shut_down();
  EXPECT_EQ(unwound, 1);
}

TEST(sel_done, a_select_that_does_not_name_it_is_unwound) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> silent(0);
    journal log;
    auto [other, cancel_other] = rn::context::background().with_cancel();
    auto [ctx, cancel] = rn::this_context().with_cancel();
    rn::go(ctx, [&, stranger = other]() -> rn::task<> {
      journal::ends guard{log};
      co_await rn::select(silent.recv(), stranger.done());
      log.told += "told";
    });
    co_await until([&] { return waiting_receivers(silent) == 1; });
    cancel();
    co_await until([&] { return log.alive == 0; });
    EXPECT_EQ(log.told, "");
    EXPECT_EQ(waiting_receivers(silent), 0u);
  });
}

TEST(sel_done, inside_of_a_shield_it_is_the_shield_that_is_asked) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto [ctx, cancel] = rn::this_context().with_cancel();
    cancel();
    auto shielded = []() -> rn::task<std::size_t> {
      auto r = co_await rn::select(rn::done(), rn::after(1ms));
      co_return r.index();
    };
    auto work = [&]() -> rn::task<std::size_t> { co_return co_await rn::shield(shielded()); };
    auto r = co_await rn::as_result(rn::with_context(ctx, work()));
    EXPECT_EQ(std::move(r).value(), 1u);
  });
}

TEST(sel_done, a_deadline_is_told_like_a_cancel) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    bool told = false;
    auto work = [&]() -> rn::task<> {
      co_await rn::select(rn::on(rn::after(1h), [] {}), rn::on(rn::done(), [&] { told = true; }));
      co_await rn::yield();
      ADD_FAILURE() << "the suspension after it unwinds";
    };
    EXPECT_EQ(co_await test::error_of_awaiting([&] { return rn::with_timeout(2ms, work()); }),
              rn::deadline_exceeded().what());
    EXPECT_TRUE(told);
  });
}

// ---- contexts by name ----

// The idiom of ported Go code: the context is a parameter, and the task runs under it.
rn::task<> worker(rn::context ctx, rn::chan<int> jobs, journal& log) {
  journal::ends guard{log};
  for (bool over = false; !over;)
    co_await rn::select(rn::on(jobs.recv(), [&](std::optional<int> v) { log.told += std::to_string(*v) + " "; }),
                        rn::on(ctx.done(), [&]() -> rn::task<> {
                          co_await rn::yield();
                          log.told += "flushed";
                          over = true;
                        }));
}

TEST(sel_done, a_task_that_is_given_a_context_asks_for_its_end) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> jobs(0);
    journal log;
    auto [ctx, cancel] = rn::this_context().with_cancel();
    rn::go(worker, ctx, jobs, std::ref(log));
    co_await jobs.send(1);
    co_await jobs.send(2);
    co_await until([&] { return waiting_receivers(jobs) == 1; });
    cancel();
    co_await until([&] { return log.alive == 0; });
    EXPECT_EQ(log.told, "1 2 flushed");
    EXPECT_EQ(waiting_receivers(jobs), 0u);
  });
}

TEST(sel_done, the_end_of_a_context_far_above_is_told_before_it_arrives) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int i = 0; i < 50; ++i) {
      rn::chan<int> silent(0);
      journal log;
      auto [top, cancel] = rn::this_context().with_cancel();
      auto [middle, keep_middle] = top.with_cancel();
      rn::go(middle, [&, above = top]() -> rn::task<> {
        journal::ends guard{log};
        auto inner = [&]() -> rn::task<> {
          co_await rn::select(silent.recv(), rn::on(above.done(), [&]() -> rn::task<> {
                                co_await rn::yield();  // shielded: not unwound here
                                log.told += "told";
                              }));
          co_await rn::yield();
          log.told += " too late";
        };
        co_await rn::with_timeout(1h, inner());
      });
      if (i % 2 == 0) co_await until([&] { return waiting_receivers(silent) == 1; });
      cancel();
      co_await until([&] { return log.alive == 0; });
      EXPECT_EQ(log.told, "told");
      EXPECT_EQ(waiting_receivers(silent), 0u);
    }
  });
}

TEST(sel_done, the_handler_of_a_context_beside_ours_hears_our_cancellation) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> silent(0);
    std::atomic<bool> in_handler{false};
    journal log;
    auto [beside, cancel_beside] = rn::context::background().with_cancel();
    auto [ctx, cancel] = rn::this_context().with_cancel();
    rn::go(ctx, [&, neighbour = beside]() -> rn::task<> {
      journal::ends guard{log};
      auto handler = [&]() -> rn::task<> {
        in_handler = true;
        co_await silent.recv();
        log.told += "nobody sends";
      };
      co_await rn::select(silent.recv(), rn::on(neighbour.done(), handler));
    });
    co_await until([&] { return waiting_receivers(silent) == 1; });
    cancel_beside();
    co_await until([&] { return in_handler.load(); });
    cancel();
    co_await until([&] { return log.alive == 0; });
    EXPECT_EQ(log.told, "");
  });
}

TEST(sel_done, several_contexts_and_one_of_them_ends) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto [one, cancel_one] = rn::context::background().with_cancel();
    auto [two, cancel_two] = rn::context::background().with_cancel();
    auto [three, cancel_three] = rn::context::background().with_cancel();
    std::atomic<int> told{-1};
    rn::go([&, a = one, b = two, c = three]() -> rn::task<> {
      auto r = co_await rn::select(a.done(), b.done(), c.done(), rn::done(), rn::after(1h));
      told = static_cast<int>(r.index());
    });
    co_await test::let_others_run();
    EXPECT_EQ(told, -1);
    cancel_two();
    co_await until([&] { return told == 1; });
    auto again = co_await rn::select(three.done(), two.done());
    EXPECT_EQ(again.index(), 1u);
  });
}

TEST(sel_done, a_handle_to_the_context_of_a_scope_is_that_scope) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    bool told = false;
    auto work = [&]() -> rn::task<> {
      rn::context mine = rn::this_context();
      co_await rn::select(rn::on(mine.done(), [&]() -> rn::task<> {
        co_await rn::yield();
        told = true;
      }));
    };
    EXPECT_EQ(co_await test::error_of_awaiting([&] { return rn::with_timeout(1ms, work()); }), "");
    EXPECT_TRUE(told);
  });
}

// ---- groups, fork-join ----

TEST(sel_done, the_first_error_of_a_group_is_told_to_its_siblings) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> silent(0);
    std::atomic<int> told{0};
    auto child = [&]() -> rn::task<> {
      co_await rn::select(silent.recv(), rn::on(rn::done(), [&]() -> rn::task<> {
                            co_await rn::yield();
                            ++told;
                          }));
    };
    auto group = [&](rn::errgroup& g) -> rn::task<> {
      for (int i = 0; i < 4; ++i) co_await g.go(child);
      co_await until([&] { return waiting_receivers(silent) == 4; });
      co_await g.go([]() -> rn::task<> {
        test::fail("first");
        co_return;
      });
    };
    EXPECT_EQ(co_await test::error_of(rn::with_errgroup(group)), "first");
    EXPECT_EQ(told, 4);
  });
}

TEST(sel_done, children_of_all_are_told_when_one_of_them_fails) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> silent(0);
    std::atomic<int> told{0};
    auto waits = [&]() -> rn::task<int> {
      co_await rn::select(silent.recv(), rn::on(rn::done(), [&] { ++told; }));
      co_return 1;
    };
    auto fails = [&]() -> rn::task<int> {
      co_await until([&] { return waiting_receivers(silent) == 2; });
      test::fail("one");
      co_return 1;
    };
    EXPECT_EQ(co_await test::error_of(
                  [](auto a, auto b, auto c) -> rn::task<> {
                    co_await rn::all(std::move(a), std::move(b), std::move(c));
                  }(waits(), fails(), waits())),
              "one");
    EXPECT_EQ(told, 2);
  });
}

// ---- races ----

// Whatever the cancel meets, the select is told: it is never unwound, and never goes on as if nothing had happened.
TEST(sel_done, a_cancel_at_any_moment_is_told) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int i = 0; i < 500; ++i) {
      rn::chan<int> a(0), b(0), c(0);
      std::atomic<int> alive{1}, told{0}, received{0};
      auto [top, cancel] = rn::this_context().with_cancel();
      auto [ctx, keep] = top.with_cancel();
      rn::go(ctx, [&, above = top]() -> rn::task<> {
        struct at_end {
          std::atomic<int>& n;
          ~at_end() { --n; }
        } guard{alive};
        for (bool over = false; !over;) {
          auto is_over = [&]() -> rn::task<> {
            co_await rn::yield();
            over = true;
            ++told;
          };
          auto count = [&] { ++received; };
          if (i % 2 == 0)
            co_await rn::select(rn::on(c.recv(), count), rn::on(rn::done(), is_over), rn::on(a.recv(), count),
                                rn::on(b.recv(), count));
          else
            co_await rn::select(rn::on(b.recv(), count), rn::on(a.recv(), count), rn::on(above.done(), is_over),
                                rn::on(c.recv(), count));
        }
      });
      int sent = 0;
      for (int k = i % 11; k > 0; --k) {
        sent += (k % 3 == 0 ? a : k % 3 == 1 ? b : c).try_send(k);
        co_await rn::yield();
      }
      cancel();
      co_await until([&] { return alive == 0; });
      EXPECT_EQ(told, 1);
      EXPECT_EQ(received, sent);
    }
  });
}

}  // namespace
