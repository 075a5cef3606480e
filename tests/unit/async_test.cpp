// SPDX-License-Identifier: BSL-1.0
#include <runnel/all.hpp>
#include <runnel/as_result.hpp>
#include <runnel/async.hpp>
#include <runnel/chan.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/select.hpp>
#include <runnel/select_loop.hpp>
#include <runnel/runtime.hpp>
#include <runnel/sleep.hpp>
#include <runnel/this_task.hpp>
#include <runnel/with_context.hpp>
#include <support/checked_runtime.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using test::checked_runtime;
using test::counted;
using test::error_of;
using test::error_of_awaiting;
using test::on_1_2_and_4_threads;
using test::park_for_ever;
using test::until;

static_assert(!std::is_copy_constructible_v<rn::join_handle<int>>);
static_assert(std::is_nothrow_move_constructible_v<rn::join_handle<int>>);
static_assert(std::is_same_v<decltype(rn::async(std::declval<int (*)(int)>(), 1)), rn::join_handle<int>>);

rn::task<int> twice(int n) {
  co_await rn::yield();
  co_return 2 * n;
}

rn::task<int> one() { co_return 1; }
// No coroutine: what it starts belongs to who calls it.
rn::task<int> starts_another_first() {
  auto group = std::make_unique<rn::errgroup>();
  auto other = rn::async(one);
  return one();
}
// Started in a context that has ended, and shielded: whoever kills its owner kills it, too.
TEST(async, a_task_that_outlives_its_context_is_killed_with_its_owner) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    std::atomic<bool> waits = false;
    auto stubborn = [&]() -> rn::task<> { co_await rn::shield(park_for_ever(alive)); };
    auto owner = [&]() -> rn::task<> {
      std::optional<rn::join_handle<void>> kept;
      auto start = [&]() -> rn::task<> {
        kept.emplace(rn::async(stubborn));
        co_await until([&] { return alive == 1; });
      };
      co_await rn::with_timeout(1h, start());
      auto nested = [&]() -> rn::task<> { co_await rn::shield(rn::with_timeout(1h, rn::yield())); };
      co_await nested();
      waits = true;
      co_await rn::sleep(1h);
    };
    auto t = rn::async(owner);
    co_await until([&] { return waits.load(); });
    EXPECT_EQ(alive, 1);
    auto r = co_await t.shutdown(rn::kill);
    EXPECT_TRUE(r.canceled());
    EXPECT_EQ(alive, 0);
  });
}

// The same through several contexts that end one after the other, and at shutdown.
TEST(async, a_task_is_handed_up_as_its_contexts_end) {
  std::atomic<int> alive = 0;
  {
    rn::runtime_options options;
    options.grace(1ms);
    rn::runtime rt(rn::threads(2), options);
    std::atomic<bool> waits = false;
    auto stubborn = [&]() -> rn::task<> { co_await rn::shield(park_for_ever(alive)); };
    rt.go([&]() -> rn::task<> {
      std::optional<rn::join_handle<void>> kept;
      auto start = [&]() -> rn::task<> {
        kept.emplace(rn::async(stubborn));
        co_await until([&] { return alive == 1; });
      };
      auto deep = [&]() -> rn::task<> { co_await rn::with_timeout(1h, rn::with_value<int>(1, start())); };
      co_await rn::shield(deep());
      waits = true;
      co_await rn::sleep(1h);
    });
    rt.run([&] { return until([&] { return waits.load(); }); });
  }
  EXPECT_EQ(alive, 0);
}

TEST(async, a_function_that_is_no_coroutine_may_start_tasks_first) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto t = rn::async(starts_another_first);
    EXPECT_EQ(co_await t.await(), 1);
  });
}

TEST(async, a_task_runs_at_once_and_its_result_is_awaited) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<bool> began = false;
    auto t = rn::async([](std::atomic<bool>& b) -> rn::task<int> {
      b = true;
      co_return 7;
    }, std::ref(began));
    co_await until([&] { return began.load(); });
    EXPECT_EQ(co_await t.await(), 7);
    EXPECT_TRUE(t.done());
  });
}

TEST(async, functions_of_every_kind_and_results_of_every_kind) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto a = rn::async(twice, 4);
    auto b = rn::async([](int x) { return std::make_unique<int>(x); }, 5);
    auto c = rn::async([] {});
    static int global = 1;
    auto d = rn::async([]() -> rn::task<int&> { co_return global; });
    std::string named = "named";
    auto body = [named](std::string more) -> rn::task<std::string> { co_return named + more; };
    auto e = rn::async(rn::moved(body), std::string("!"));
    EXPECT_EQ(co_await a.await(), 8);
    auto p = co_await b.await();
    EXPECT_EQ(*p, 5);
    co_await c.await();
    int& r = co_await d.await();
    EXPECT_EQ(&r, &global);
    EXPECT_EQ(co_await e.await(), "named!");
  });
}

TEST(async, a_handle_is_awaited_as_an_rvalue_too) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto t = rn::async(twice, 4);
    EXPECT_EQ(co_await std::move(t), 8);
    auto u = rn::async(twice, 5);
    EXPECT_EQ(co_await rn::with_timeout(1h, std::move(u)), 10);
  });
}

TEST(async, its_error_is_rethrown_at_the_await) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto t = rn::async([] { test::fail("broken"); });
    EXPECT_EQ(co_await error_of_awaiting([&] { return t.await(); }), "broken");
    auto u = rn::async([] { test::fail("broken too"); });
    auto r = co_await rn::as_result(u.await());
    EXPECT_TRUE(r.error());
    auto v = rn::async([] { test::fail("and this"); });
    auto s = co_await v.await_for(1h);
    EXPECT_TRUE(s && s->error());
  });
}

TEST(async, an_error_that_nobody_awaits_goes_to_the_hook) {
  for (int n : {1, 2, 4}) {
    std::atomic<int> alive = 0;
    checked_runtime rt(n);
    rt.run([&]() -> rn::task<> {
      auto ended = rn::async([] { test::fail("ended"); });
      co_await until([&] { return ended.done(); });
      {
        auto dropped = rn::async(test::fail_when_cancelled, std::ref(alive), std::string("dropped"));
        co_await until([&] { return alive == 1; });
      }
    });
    EXPECT_EQ(rt.unobserved(), (std::vector<std::string>{"dropped", "ended"}));
  }
}

TEST(async, a_task_is_awaited_once) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    auto t = rn::async(twice, 1);
    auto op = t.await();
    EXPECT_EQ(co_await t.await(), 2);
    EXPECT_THROW((void)t.await(), rn::misuse_error);
    EXPECT_THROW((void)t.await(1s), rn::misuse_error);
    EXPECT_THROW((void)t.await_for(1s), rn::misuse_error);
    EXPECT_THROW((void)t.shutdown(), rn::misuse_error);
    EXPECT_NE(co_await error_of_awaiting([&] { return std::move(op); }), "") << "one that was made before";
    EXPECT_NE(co_await error_of_awaiting([&] { return std::move(t); }), "");
    auto u = rn::async(twice, 1);
    auto v = std::move(u);
    EXPECT_FALSE(u);                                  // NOLINT: that is what is tested
    EXPECT_THROW((void)u.await(), rn::misuse_error);  // NOLINT
    u.cancel();                                       // NOLINT: nothing to cancel
    EXPECT_FALSE(u.done());                           // NOLINT
    EXPECT_EQ(co_await v.await(), 2);
  });
}

TEST(async, outside_of_a_goroutine_it_is_misuse) {
  EXPECT_THROW((void)rn::async(twice, 1), rn::misuse_error);
}

TEST(async, an_await_whose_time_is_up_throws_and_the_task_goes_on) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(0);
    auto t = rn::async([](rn::chan<int> from) -> rn::task<int> { co_return *co_await from.recv(); }, ch);
    EXPECT_EQ(co_await error_of(t.await(1ms)), "runnel: deadline exceeded");
    EXPECT_FALSE(t.done());
    EXPECT_THROW((void)t.await(), rn::misuse_error);
    co_await ch.send(3);
    auto r = co_await t.shutdown();
    EXPECT_EQ(std::move(r).value(), 3) << "the value wins over the request";
  });
}

TEST(async, await_for_may_be_repeated) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(0);
    auto t = rn::async([](rn::chan<int> from) -> rn::task<int> { co_return *co_await from.recv(); }, ch);
    EXPECT_FALSE((co_await t.await_for(0s)).has_value());
    EXPECT_FALSE((co_await t.await_for(100us)).has_value());
    co_await ch.send(3);
    auto r = co_await t.await_for(1h);
    EXPECT_EQ(std::move(*r).value(), 3);
    EXPECT_THROW((void)t.await_for(0s), rn::misuse_error);
  });
}

TEST(async, a_cancelled_task_is_canceled_to_who_awaits_it) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    auto t = rn::async(park_for_ever, std::ref(alive));
    co_await until([&] { return alive == 1; });
    t.cancel();
    EXPECT_EQ(co_await error_of_awaiting([&] { return t.await(); }), "runnel: canceled");
    EXPECT_EQ(alive, 0);
    auto u = rn::async(park_for_ever, std::ref(alive));
    u.cancel();
    auto r = co_await rn::as_result(u.await());
    EXPECT_TRUE(r.canceled());
    auto v = rn::async(park_for_ever, std::ref(alive));
    v.cancel();
    auto s = co_await rn::as_result(std::move(v));
    EXPECT_TRUE(s.canceled());
    auto w = rn::async(park_for_ever, std::ref(alive));
    w.cancel();
    auto x = co_await w.await_for(1h);
    EXPECT_TRUE(x && x->canceled());
  });
}

TEST(async, shutdown_asks_and_then_kills) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    auto asked = rn::async(park_for_ever, std::ref(alive));
    auto a = co_await asked.shutdown(1h);
    EXPECT_TRUE(a.canceled());
    auto deaf = [](std::atomic<int>& n) -> rn::task<> { co_await rn::shield(park_for_ever(n)); };
    auto b_task = rn::async(deaf, std::ref(alive));
    co_await until([&] { return alive == 1; });
    auto b = co_await b_task.shutdown(1ms);
    EXPECT_FALSE(b.canceled()) << "it did not end because it was asked to";
    EXPECT_THROW(std::move(b).value(), rn::task_killed);
    auto c_task = rn::async(deaf, std::ref(alive));
    co_await until([&] { return alive == 1; });
    auto c = co_await c_task.shutdown(rn::kill);
    EXPECT_TRUE(c.canceled());
    auto ended = rn::async(twice, 3);
    co_await until([&] { return ended.done(); });
    auto d = co_await ended.shutdown(rn::kill);
    EXPECT_EQ(std::move(d).value(), 6);
    auto failed = rn::async([] { test::fail("x"); });
    co_await until([&] { return failed.done(); });
    auto e = co_await failed.shutdown(1s);
    EXPECT_TRUE(e.error());
    EXPECT_EQ(alive, 0);
  });
}

TEST(async, a_handle_is_a_case_of_a_select) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(1);
    std::atomic<int> alive = 0;
    auto slow = rn::async(park_for_ever, std::ref(alive));
    auto quick = rn::async(twice, 4);
    auto first = co_await rn::select(slow.await(), quick.await(), ch.recv());
    EXPECT_EQ(first.get<1>(), 8);
    co_await ch.send(1);
    int n = co_await rn::select(rn::on(slow.await(), [] { return 1; }), rn::on(ch.recv(), [] { return 2; }));
    EXPECT_EQ(n, 2);
    slow.cancel();
    auto work = [&]() -> rn::task<> { (void)co_await rn::select(slow.await(), ch.recv()); };
    EXPECT_EQ(co_await error_of(work()), "runnel: canceled");
    EXPECT_THROW((void)slow.await(), rn::misuse_error);
  });
}

TEST(async, a_select_loop_is_told_once) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    auto t = rn::async(twice, 4);
    co_await until([&] { return t.done(); });
    rn::chan<int> ch(3);
    for (int i = 0; i < 3; ++i) co_await ch.send(i);
    ch.close();
    int told = 0, received = 0;
    co_await rn::select_loop(rn::on(t.await(), [&](int v) { told += v; }),
                             rn::on(ch.recv(), [&](std::optional<int> v) { received += v.has_value(); }));
    EXPECT_EQ(told, 8);
    EXPECT_EQ(received, 3);
  });
}

TEST(async, dropping_a_handle_cancels_the_task_and_the_goroutine_joins_it_at_its_end) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    std::atomic<bool> seen_at_end = false;
    rn::errgroup g;
    co_await g.go([](std::atomic<int>& n, std::atomic<bool>&) -> rn::task<> {
      auto kept = rn::async(park_for_ever, std::ref(n));
      { auto dropped = rn::async(park_for_ever, std::ref(n)); }
      co_await until([&] { return n == 1; });
    }, std::ref(alive), std::ref(seen_at_end));
    co_await g.wait();
    EXPECT_EQ(alive, 0) << "the goroutine ended before its tasks";
  });
}

// TSK-07
TEST(async, a_handle_that_has_moved_away_is_not_cancelled_by_the_end_of_the_goroutine_which_waits_for_the_task) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<rn::join_handle<int>> handles(1);
    rn::chan<int> ch(0);
    std::atomic<bool> ended = false;
    rn::errgroup g;
    co_await g.go([](rn::chan<rn::join_handle<int>> out, rn::chan<int> in) -> rn::task<> {
      auto t = rn::async([](rn::chan<int> from) -> rn::task<int> { co_return *co_await from.recv(); }, in);
      co_await out.send(std::move(t));
    }, handles, ch);
    auto t = co_await handles.recv();
    co_await g.go([](rn::chan<int> to, std::atomic<bool>& e) -> rn::task<> {
      for (int i = 0; i < 20; ++i) co_await rn::yield();
      EXPECT_FALSE(e);
      co_await to.send(5);
    }, ch, std::ref(ended));
    co_await g.wait();
    ended = true;
    EXPECT_EQ(co_await t->await(), 5);
  });
}

TEST(async, a_goroutine_that_is_unwound_joins_its_tasks_before_its_frames_die) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    std::atomic<int> frames = 0;
    rn::errgroup g;
    co_await g.go([](std::atomic<int>& n, std::atomic<int>& f) -> rn::task<> {
      struct local {
        std::atomic<int>&a, &f;
        ~local() {
          EXPECT_EQ(a, 0) << "a frame has died before the task that may refer to it";
          --f;
        }
      } guard{n, f};
      ++f;
      auto t = rn::async([](std::atomic<int>& m) -> rn::task<> {
        co_await rn::finally(park_for_ever(m), []() -> rn::task<> {
          for (int i = 0; i < 5; ++i) co_await rn::yield();
        });
      }, std::ref(n));
      co_await park_for_ever(n);
    }, std::ref(alive), std::ref(frames));
    co_await until([&] { return alive == 2; });
    g.cancel();
    co_await g.wait();
    EXPECT_EQ(frames, 0);
  });
}

TEST(async, a_boundary_joins_what_was_started_inside_of_it_and_nothing_else) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> outer = 0, inner = 0;
    auto t = rn::async(park_for_ever, std::ref(outer));
    co_await until([&] { return outer == 1; });
    for (int i = 0; i < 3; ++i) {
      auto work = [&]() -> rn::task<> {
        auto u = rn::async(park_for_ever, std::ref(inner));
        auto v = rn::async(park_for_ever, std::ref(inner));
        co_await until([&] { return inner == 2; });
        co_await rn::sleep(1h);
      };
      auto r = co_await rn::as_result(rn::with_timeout(1ms, work()));
      EXPECT_THROW(std::move(r).value(), rn::deadline_exceeded);
      EXPECT_EQ(inner, 0) << "unwinding has passed a task";
      EXPECT_EQ(outer, 1);
      EXPECT_FALSE(t.done());
    }
    (void)co_await t.shutdown();  // it refers to a local of this frame
  });
}

TEST(async, a_task_awaited_inside_of_a_boundary_that_is_younger_than_it_is_no_trouble) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    for (int i = 0; i < 5; ++i) {
      auto t = rn::async(twice, 4);
      auto work = [&]() -> rn::task<> {
        EXPECT_EQ(co_await t.await(), 8);
        auto u = rn::async(park_for_ever, std::ref(alive));
        co_await rn::sleep(1h);
      };
      (void)co_await rn::as_result(rn::with_timeout(200us, work()));
      EXPECT_EQ(alive, 0);
    }
  });
}

TEST(async, scopes_that_boundaries_left_behind_are_dropped) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    std::size_t most = 0, first = 0;
    for (int i = 0; i < 100; ++i) {
      auto work = [&]() -> rn::task<> {
        auto dropped = rn::async(park_for_ever, std::ref(alive));
        co_await rn::yield();
      };
      co_await rn::with_timeout(1h, work());
      co_await until([&] { return alive == 0; });
      std::size_t live = checked_runtime::live_blocks();
      if (i == 4) first = live;
      most = live;
    }
    EXPECT_EQ(most, first);
  });
}

TEST(async, with_errgroup_joins_the_tasks_of_its_body) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> ended = 0, alive = 0;
    std::optional<rn::join_handle<void>> kept;
    co_await rn::with_errgroup([&](rn::errgroup&) -> rn::task<> {
      kept.emplace(rn::async([](std::atomic<int>& n) -> rn::task<> {
        co_await test::let_others_run();
        ++n;
      }, std::ref(ended)));
      auto dropped = rn::async(park_for_ever, std::ref(alive));
      co_await until([&] { return alive == 1; });
    });
    EXPECT_EQ(ended, 1);
    EXPECT_EQ(alive, 0);
    co_await kept->await();
    auto fails = [&]() -> rn::task<> {
      co_await rn::with_errgroup([&](rn::errgroup&) -> rn::task<> {
        kept.emplace(rn::async(park_for_ever, std::ref(alive)));
        co_await until([&] { return alive == 1; });
        test::fail("body");
      });
    };
    EXPECT_EQ(co_await error_of(fails()), "body");
    EXPECT_EQ(alive, 0) << "the tasks of a body that fails are cancelled, and joined";
    auto child_fails = [&]() -> rn::task<> {
      co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
        kept.emplace(rn::async(park_for_ever, std::ref(alive)));
        co_await until([&] { return alive == 1; });
        g.go([] { test::fail("child"); });
      });
    };
    EXPECT_EQ(co_await error_of(child_fails()), "child");
    EXPECT_EQ(alive, 0);
  });
}

TEST(async, a_bare_errgroup_is_no_scope_for_tasks) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    std::optional<rn::join_handle<void>> t;
    {
      rn::errgroup g;
      t.emplace(rn::async(park_for_ever, std::ref(alive)));
      co_await until([&] { return alive == 1; });
      co_await g.wait();
    }
    EXPECT_EQ(alive, 1);
    (void)co_await t->shutdown();
  });
}

TEST(async, children_of_all_join_their_tasks) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    auto child = [&](int n) -> rn::task<int> {
      auto dropped = rn::async(park_for_ever, std::ref(alive));
      auto t = rn::async(twice, n);
      co_return co_await t.await();
    };
    for (int i = 0; i < 20; ++i) {
      auto both = co_await rn::all(child(1), child(2));
      EXPECT_EQ(alive, 0);
      EXPECT_EQ(std::get<0>(both) + std::get<1>(both), 6);
      int first = co_await rn::race(child(3), child(3));
      EXPECT_EQ(first, 6);
      EXPECT_EQ(alive, 0);
      auto fails = [&]() -> rn::task<int> {
        auto dropped = rn::async(park_for_ever, std::ref(alive));
        test::fail("child");
        co_return 0;
      };
      auto work = [&]() -> rn::task<> { (void)co_await rn::all(child(1), fails()); };
      EXPECT_EQ(co_await error_of(work()), "child");
      EXPECT_EQ(alive, 0);
    }
  });
}

TEST(async, tasks_inherit_the_context_whole) {
  struct user {
    using type = std::string;
  };
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto work = []() -> rn::task<> {
      auto t = rn::async([]() -> rn::task<std::string> {
        EXPECT_TRUE(rn::this_context().deadline());
        co_return *rn::this_context().value<user>();
      });
      EXPECT_EQ(co_await t.await(), "maria");
    };
    co_await rn::with_timeout(1h, rn::with_value<user>("maria", work()));
    std::atomic<int> alive = 0;
    auto late = [&]() -> rn::task<> {
      auto t = rn::async(park_for_ever, std::ref(alive));
      co_await t.await();
    };
    EXPECT_EQ(co_await error_of(rn::detail::as_task(rn::with_timeout(1ms, late()))), "runnel: deadline exceeded");
    EXPECT_EQ(alive, 0);
  });
}

TEST(async, a_task_does_not_outlive_the_context_that_it_inherits_and_keeps_its_values) {
  struct user {
    using type = std::string;
  };
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::optional<rn::join_handle<std::string>> t;
    auto work = [&]() -> rn::task<> {
      t.emplace(rn::async([]() -> rn::task<std::string> {
        auto r = co_await rn::as_result(rn::sleep(1h));
        EXPECT_TRUE(r.canceled());
        for (int i = 0; i < 10 && rn::this_context().err(); ++i) (void)co_await rn::as_result(rn::yield());
        co_return *rn::this_context().value<user>();
      }));
      co_await rn::yield();
    };
    co_await rn::with_value<user>("maria", work());
    EXPECT_EQ(co_await t->await(), "maria");
  });
}

TEST(async, in_a_done_context_nothing_starts) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<bool> ran = false;
    auto work = [&]() -> rn::task<> {
      auto [ctx, cancel] = rn::this_context().with_cancel();
      auto inner = [&]() -> rn::task<bool> {
        auto t = rn::async([](std::atomic<bool>& r) { r = true; }, std::ref(ran));
        co_return t.done();
      };
      cancel();
      EXPECT_TRUE(co_await rn::with_context(ctx, inner()));
    };
    co_await work();
    EXPECT_FALSE(ran);
  });
}

TEST(async, many_tasks) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::vector<rn::join_handle<int>> tasks;
    for (int i = 0; i < 1000; ++i) tasks.push_back(rn::async(twice, i));
    int sum = 0;
    for (auto& t : tasks) sum += co_await t.await();
    EXPECT_EQ(sum, 999 * 1000);
  });
}

TEST(async, tasks_have_tasks) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    struct tree {
      static rn::task<int> node(int depth) {
        if (depth == 0) co_return 1;
        auto left = rn::async(node, depth - 1);
        auto right = rn::async(node, depth - 1);
        int sum = co_await left.await();
        co_return sum + co_await right.await();
      }
    };
    EXPECT_EQ(co_await tree::node(8), 256);
  });
}

}  // namespace
