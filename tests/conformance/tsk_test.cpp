// SPDX-License-Identifier: BSL-1.0
// Tasks by rule number, under many schedules, under all with few preemptions, cancelled, killed and out of memory at
// each place.
#include <runnel/all.hpp>
#include <runnel/as_result.hpp>
#include <runnel/async.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/select.hpp>
#include <runnel/sleep.hpp>
#include <runnel/test.hpp>
#include <runnel/this_task.hpp>
#include <runnel/with_context.hpp>
#include <support/counted.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <new>
#include <optional>
#include <source_location>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using element = runnel_test::counted;

void must(bool holds, std::source_location where = std::source_location::current()) {
  if (!holds) throw std::logic_error("does not hold: line " + std::to_string(where.line()));
}

template <class Body, class Invariant>
void everywhere(Body body, Invariant invariant, std::size_t preempted = 2, bool without_memory = true) {
  auto checked = [&]() -> rn::task<> {
    co_await body();
    invariant();
  };
  try {
    rn::test::explore(300, checked);
    rn::test::exhaust(checked, rn::test::preemptions(preempted));
    rn::test::cancel_everywhere(body, invariant);
    for (std::uint64_t n = 1; n <= 10; ++n) rn::test::cancel_everywhere(body, invariant, rn::test::seed(n));
    if (without_memory) rn::test::fail_everywhere(body, invariant);
  } catch (const rn::test::failure& f) {
    ADD_FAILURE() << f.what();
  }
}
// One run in virtual time.
template <class Body> void in_virtual_time(Body body) { EXPECT_NO_THROW(rn::test::run(body)); }

// Whether it was cancelled. Rethrows bad_alloc, where that came first.
template <class T> bool was_canceled(rn::result<T> r) {
  if (!r.canceled()) (void)std::move(r).value();
  return r.canceled();
}
struct alive_here {
  int& n;
  explicit alive_here(int& counter) : n(counter) { ++n; }
  ~alive_here() { --n; }
};
rn::task<element> make(int& alive, int value) {
  alive_here here(alive);
  co_await rn::yield();
  co_return element(value);
}
rn::task<> sleep_long(int& alive) {
  alive_here here(alive);
  co_await rn::sleep(1h);
}
rn::task<int> after(std::chrono::nanoseconds d, int value) {
  co_await rn::sleep(d);
  co_return value;
}
rn::task<int> fail_after(std::chrono::nanoseconds d) {
  co_await rn::sleep(d);
  throw std::runtime_error("failed");
}

// TSK-01, TSK-03: the result comes to the owner, once, and nothing of the task is left behind.
TEST(tsk, a_result_reaches_its_owner) {
  int alive = 0;
  auto body = [&]() -> rn::task<> {
    alive = 0;
    auto a = rn::async(make, std::ref(alive), 1);
    auto b = rn::async(make, std::ref(alive), 2);
    auto two = co_await b.await();
    auto one = co_await std::move(a);
    must(one.value() == 1 && two.value() == 2);
  };
  everywhere(body, [&] { must(alive == 0 && element::alive() == 0); });
}

// DESIGN 4: a goroutine joins its tasks at its end, and before its frames die where it is unwound.
TEST(tsk, a_goroutine_does_not_end_before_its_tasks) {
  int alive = 0, owner_ended = 0;
  auto body = [&]() -> rn::task<> {
    alive = owner_ended = 0;
    co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
      co_await g.go(
          [](int& n, int& ended) -> rn::task<> {
            struct at_end {
              int& e;
              ~at_end() { ++e; }
            } end{ended};
            auto kept = rn::async(sleep_long, std::ref(n));
            auto dropped = std::make_optional(rn::async(sleep_long, std::ref(n)));
            co_await rn::yield();
            dropped.reset();
            co_await rn::yield();
          },
          std::ref(alive), std::ref(owner_ended));
    });
    must(alive == 0 && owner_ended == 1);
  };
  everywhere(body, [&] { must(alive == 0); });
}

// The same of a local to which the task refers. Not so where an exception leaves the frame: so memory does not fail here.
TEST(tsk, what_a_task_refers_to_outlives_it_where_its_owner_is_unwound) {
  int alive = 0;
  auto body = [&]() -> rn::task<> {
    alive = 0;
    struct local {
      int users = 0;
      ~local() { must_be_unused(); }
      void must_be_unused() const {
        if (users != 0) std::abort();
      }
    } here;
    auto t = rn::async(
        [](local& l, int& n) -> rn::task<> {
          alive_here count(n), use(l.users);
          co_await rn::finally(rn::sleep(1h), []() -> rn::task<> { co_await rn::yield(); });
        },
        std::ref(here), std::ref(alive));
    auto inner = [&]() -> rn::task<> {
      local deeper;
      auto u = rn::async(
          [](local& l, int& n) -> rn::task<> {
            alive_here count(n), use(l.users);
            co_await rn::sleep(1h);
          },
          std::ref(deeper), std::ref(alive));
      co_await rn::sleep(1h);
    };
    auto r = co_await rn::as_result(rn::with_timeout(1s, inner()));
    must(!r.ok());
    auto s = co_await t.shutdown();
    must(was_canceled(std::move(s)));
  };
  everywhere(
      body, [&] { must(alive == 0); }, 1, false);
}

// DESIGN 4: with_errgroup is a scope for the tasks of its body.
TEST(tsk, the_tasks_of_a_body_are_joined_with_its_group) {
  int alive = 0;
  auto body = [&]() -> rn::task<> {
    alive = 0;
    std::optional<rn::join_handle<element>> t;
    co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
      t.emplace(rn::async(make, std::ref(alive), 3));
      auto dropped = rn::async(sleep_long, std::ref(alive));
      co_await g.go(
          [](int& n) -> rn::task<> {
            auto own = rn::async(make, std::ref(n), 4);
            auto got = co_await own.await();
            must(got.value() == 4);
          },
          std::ref(alive));
    });
    must(alive == 0);
    auto got = co_await t->await();
    must(got.value() == 3);
  };
  everywhere(body, [&] { must(alive == 0 && element::alive() == 0); });
}

TEST(tsk, children_of_all_and_race_join_their_tasks) {
  int alive = 0;
  auto body = [&]() -> rn::task<> {
    alive = 0;
    auto child = [&](int n) -> rn::task<int> {
      auto dropped = rn::async(sleep_long, std::ref(alive));
      auto t = rn::async(make, std::ref(alive), n);
      auto got = co_await t.await();
      co_return got.value();
    };
    auto both = co_await rn::all(child(1), child(2));
    must(alive == 0 && std::get<0>(both) == 1 && std::get<1>(both) == 2);
    int first = co_await rn::race(child(5), child(5));
    must(alive == 0 && first == 5);
  };
  everywhere(
      body, [&] { must(alive == 0 && element::alive() == 0); }, 1);
}

// TSK-03, TSK-06, DESIGN 4 (errors): rethrown at the await; of a task that was cancelled: canceled.
TEST(tsk, an_await_throws_what_the_task_ended_with) {
  in_virtual_time([]() -> rn::task<> {
    auto t = rn::async(fail_after, 1s);
    bool threw = false;
    try {
      (void)co_await t.await();
    } catch (const std::runtime_error&) {
      threw = true;
    }
    must(threw);
    auto u = rn::async(after, 1h, 1);
    u.cancel();
    threw = false;
    try {
      (void)co_await u.await();
    } catch (const rn::canceled&) {
      threw = true;
    }
    must(threw && rn::test::elapsed() == 1s);
  });
}

// TSK-04, TSK-05: an await is done once; after one whose time is up the task goes on.
TEST(tsk, a_task_goes_on_after_an_await_has_timed_out_and_is_not_awaited_again) {
  in_virtual_time([]() -> rn::task<> {
    bool done = false;
    auto t = rn::async(
        [](bool& d) -> rn::task<> {
          co_await rn::sleep(10s);
          d = true;
        },
        std::ref(done));
    bool threw = false;
    try {
      co_await t.await(4s);
    } catch (const rn::deadline_exceeded&) {
      threw = true;
    }
    must(threw && rn::test::elapsed() == 4s && !done && !t.done());
    threw = false;
    try {
      (void)t.await();
    } catch (const rn::misuse_error&) {
      threw = true;
    }
    must(threw);
    co_await rn::sleep(7s);
    must(done && t.done());
  });
}

// TSK-08: value, error, or nothing yet, and then again.
TEST(tsk, await_for_has_three_outcomes_and_may_be_repeated) {
  in_virtual_time([]() -> rn::task<> {
    auto t = rn::async(after, 10s, 7);
    must(!(co_await t.await_for(4s)).has_value());
    must(!(co_await t.await_for(4s)).has_value());
    auto r = co_await t.await_for(4s);
    must(r && std::move(*r).value() == 7 && rn::test::elapsed() == 10s);
    auto f = rn::async(fail_after, 1s);
    auto s = co_await f.await_for(2s);
    must(s && s->error());
    auto c = rn::async(after, 10s, 7);
    c.cancel();
    auto u = co_await c.await_for(2s);
    must(u && u->canceled());
  });
}

// TSK-11, TSK-C04
TEST(tsk, shutdown_tells_a_value_from_an_error_from_an_end_that_was_asked_for_from_a_kill) {
  in_virtual_time([]() -> rn::task<> {
    auto done = rn::async(after, 1s, 7);
    co_await rn::sleep(2s);
    auto a = co_await done.shutdown(5s);
    must(std::move(a).value() == 7);
    auto failed = rn::async(fail_after, 1s);
    co_await rn::sleep(2s);
    auto b = co_await failed.shutdown(rn::kill);
    must(b.error() != nullptr);
    auto asked = rn::async(after, 1h, 7);
    auto c = co_await asked.shutdown(5s);
    must(c.canceled());
    auto finishes = rn::async([]() -> rn::task<int> {
      co_await rn::shield(rn::sleep(3s));
      co_return 8;
    });
    co_await rn::yield();
    auto began = rn::test::elapsed();
    auto d = co_await finishes.shutdown(5s);
    must(std::move(d).value() == 8 && rn::test::elapsed() - began == 3s);
    auto deaf = rn::async([]() -> rn::task<int> {
      co_await rn::shield(rn::sleep(1h));
      co_return 8;
    });
    co_await rn::yield();
    began = rn::test::elapsed();
    auto e = co_await deaf.shutdown(5s);
    must(!e.canceled() && e.error() && rn::test::elapsed() - began == 5s);
    auto killed = rn::async([]() -> rn::task<int> {
      co_await rn::shield(rn::sleep(1h));
      co_return 8;
    });
    co_await rn::yield();
    auto f = co_await killed.shutdown(rn::kill);
    must(f.canceled());
  });
}

// TSK-12: the request reaches the task even if who makes it is cancelled while it waits.
TEST(tsk, a_shutdown_that_is_cancelled_has_asked) {
  int alive = 0;
  auto body = [&]() -> rn::task<> {
    alive = 0;
    auto t = rn::async(sleep_long, std::ref(alive));
    co_await rn::yield();
    auto r = co_await t.shutdown(1s);
    must(was_canceled(std::move(r)) && alive == 0);
  };
  everywhere(body, [&] { must(alive == 0); });
}

// TSK-11, TSK-12: what has asked waits, whichever allocation fails.
TEST(tsk, a_shutdown_that_is_out_of_memory_leaves_nothing_running) {
  int alive = 0, left = 0;
  auto body = [&]() -> rn::task<> {
    alive = left = 0;
    auto work = [&]() -> rn::task<> {
      alive_here here(alive);
      co_await rn::shield(rn::sleep(10s));
    };
    auto t = rn::async(work);
    co_await rn::sleep(1s);
    auto ended = t.shutdown(1h);
    try {
      (void)co_await std::move(ended);
    } catch (const std::bad_alloc&) {
      left = alive;
      throw;
    }
  };
  try {
    rn::test::fail_everywhere(body, [&] { must(alive == 0 && left == 0); });
  } catch (const rn::test::failure& f) {
    ADD_FAILURE() << f.what();
  }
}

// TSK-C03 as DESIGN 4 has it: dropping the handle cancels; the scope joins.
TEST(tsk, dropping_a_handle_cancels_its_task) {
  in_virtual_time([]() -> rn::task<> {
    int alive = 0;
    { auto t = rn::async(sleep_long, std::ref(alive)); }
    auto u = std::make_optional(rn::async(sleep_long, std::ref(alive)));
    co_await rn::test::wait_idle();
    must(alive == 1);
    u.reset();
    co_await rn::test::wait_idle();
    must(alive == 0 && rn::test::elapsed() == 0s);
  });
}

// TSK-02, TSK-C01: the right to the result moves with the handle.
TEST(tsk, a_handle_may_be_awaited_by_another_goroutine) {
  int alive = 0;
  auto body = [&]() -> rn::task<> {
    alive = 0;
    co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
      auto t = rn::async(make, std::ref(alive), 6);
      co_await g.go(
          [](rn::join_handle<element> h) -> rn::task<> {
            auto got = co_await h.await();
            must(got.value() == 6);
          },
          std::move(t));
    });
  };
  everywhere(body, [&] { must(alive == 0 && element::alive() == 0); });
}

// SEL-11: a select that takes another case leaves the result where it is.
TEST(tsk, a_select_takes_a_result_or_leaves_it) {
  int alive = 0;
  auto body = [&]() -> rn::task<> {
    alive = 0;
    auto t = rn::async(make, std::ref(alive), 6);
    rn::chan<int> ch(0);
    auto u = rn::async([](rn::chan<int> to) -> rn::task<> { co_await to.send(1); }, ch);
    bool by_channel = false;
    std::optional<element> got;
    co_await rn::select(rn::on(t.await(), [&](element e) { got.emplace(std::move(e)); }),
                        rn::on(ch.recv(), [&] { by_channel = true; }));
    must(by_channel != got.has_value());
    if (by_channel) got.emplace(co_await t.await());
    must(got->value() == 6);
  };
  everywhere(body, [&] { must(alive == 0 && element::alive() == 0); });
}

// A context that ends cancels what was started under it; the task keeps what the context carried.
TEST(tsk, a_task_hears_the_end_of_the_context_that_it_inherited) {
  int alive = 0;
  auto body = [&]() -> rn::task<> {
    alive = 0;
    std::optional<rn::join_handle<>> t;
    auto inner = [&]() -> rn::task<> {
      t.emplace(rn::async(sleep_long, std::ref(alive)));
      co_await rn::yield();
    };
    co_await rn::with_timeout(1h, inner());
    auto r = co_await rn::as_result(t->await());
    must(was_canceled(std::move(r)));
  };
  everywhere(body, [&] { must(alive == 0); });
}

// DESIGN 4: unwinding cancels the tasks that it joins, also where the context that is done is none of theirs.
TEST(tsk, unwinding_cancels_tasks_whose_own_context_is_not_done) {
  int alive = 0;
  in_virtual_time([&]() -> rn::task<> {
    auto work = [&]() -> rn::task<> {
      auto t = rn::async(sleep_long, std::ref(alive));
      co_await rn::test::wait_idle();
      auto [ctx, cancel] = rn::context::background().with_cancel();
      cancel();
      co_await rn::with_context(ctx, rn::sleep(1s));
    };
    auto r = co_await rn::as_result(work());
    must(r.canceled() && alive == 0 && rn::test::elapsed() == 0s);
  });
}

// TSK-13
TEST(tsk, a_task_that_is_ignored_goes_on_and_is_joined_by_its_scope) {
  int alive = 0, ended = 0;
  auto body = [&]() -> rn::task<> {
    alive = ended = 0;
    auto scope = [&](rn::errgroup&) -> rn::task<> {
      auto t = rn::async(
          [](int& n, int& e) -> rn::task<> {
            alive_here here(n);
            co_await rn::sleep(1ms);
            ++e;
          },
          std::ref(alive), std::ref(ended));
      auto r = t.ignore();
      must(!r && !t);
      auto done = rn::async([] { return 7; });
      while (!done.done()) co_await rn::yield();
      auto there = done.ignore();
      must(there && std::move(*there).value() == 7);
    };
    co_await rn::with_errgroup(scope);
    must(ended == 1);
  };
  everywhere(
      body, [&] { must(alive == 0); }, 1, false);  // a task without memory fails, and nobody hears of it
}
// TSK-14
TEST(tsk, a_task_may_be_made_completed) {
  auto body = [&]() -> rn::task<> {
    auto t = rn::completed(element(4));
    must(t.done());
    auto v = co_await t.await();
    must(v.value() == 4);
    auto u = rn::completed(5);
    auto r = co_await u.shutdown(rn::kill);
    must(std::move(r).value() == 5);
    auto w = rn::completed(element(6));
    must(w.ignore().has_value());
    auto dropped = rn::completed(element(7));
    auto nothing = rn::completed();
    co_await nothing.await();
  };
  everywhere(body, [&] { must(element::alive() == 0); });
  (void)rn::completed(1);  // from anywhere
}

// TSK-13, where the task has failed already, or fails later: the error is told to nobody who has not asked.
TEST(tsk, an_ignored_task_that_fails_disturbs_nobody) {
  in_virtual_time([]() -> rn::task<> {
    auto failed = rn::async(fail_after, 1s);
    co_await rn::sleep(2s);
    auto r = failed.ignore();
    must(r && r->error());
    int ended = 0;
    auto later = [](int& n) -> rn::task<> {
      co_await rn::sleep(1s);
      ++n;
      throw std::runtime_error("later");
    };
    auto fails = rn::async(later, std::ref(ended));
    must(!fails.ignore());
    co_await rn::sleep(2s);
    must(ended == 1 && !rn::this_context().is_done());
  });
}

// TSK-07 as DESIGN 4 has it: who returns does not stop a task whose handle is elsewhere, nor one that it has ignored, and
// has ended when they have.
TEST(tsk, an_owner_that_returns_waits_for_tasks_whose_handles_it_has_not) {
  in_virtual_time([]() -> rn::task<> {
    int ended = 0;
    rn::chan<rn::join_handle<>> handles(1);
    auto works = [](int& n) -> rn::task<> {
      co_await rn::sleep(5s);
      ++n;
    };
    auto owner = [&works, &handles](int& n) -> rn::task<> {
      auto given_away = rn::async(works, std::ref(n));
      co_await handles.send(std::move(given_away));
      auto ignored = rn::async(works, std::ref(n));
      (void)ignored.ignore();
    };
    auto t = rn::async(owner, std::ref(ended));
    auto handle = co_await handles.recv();
    co_await t.await();
    must(ended == 2 && rn::test::elapsed() == 5s);
    co_await handle->await();
  });
}

// TSK-C02, as the error table has it: what the task ended with is thrown at the await, and uncaught ends who awaits with
// the same. Others of the scope do not hear of it.
TEST(tsk, an_error_goes_up_by_awaits_and_nowhere_else) {
  in_virtual_time([]() -> rn::task<> {
    auto owner = []() -> rn::task<int> {
      auto inner = rn::async(fail_after, 1s);
      co_return co_await inner.await();
    };
    auto sibling = rn::async(after, 10s, 4);
    auto t = rn::async(owner);
    co_await rn::sleep(2s);
    must(t.done() && !sibling.done() && !rn::this_context().is_done());
    auto r = co_await rn::as_result(t.await());
    bool same = false;
    try {
      std::rethrow_exception(r.error());
    } catch (const std::runtime_error& e) {
      same = e.what() == std::string("failed");
    }
    int of_sibling = co_await sibling.await();
    must(same && of_sibling == 4);
    auto cancelled = rn::async([]() -> rn::task<> {
      auto inner = rn::async(after, 1h, 1);
      inner.cancel();
      (void)co_await inner.await();
    });
    bool canceled = false;
    try {
      co_await cancelled.await();
    } catch (const rn::canceled&) {
      canceled = true;
    }
    must(canceled);
  });
}

// TSK-11: a value or an error that was there before the kill is told; who was cancelled before ended as asked; and what has
// been taken is not there a second time.
TEST(tsk, shutdown_of_a_task_that_has_ended) {
  in_virtual_time([]() -> rn::task<> {
    auto done = rn::async(after, 1s, 7);
    auto failed = rn::async(fail_after, 1s);
    auto cancelled = rn::async(after, 1h, 1);
    co_await rn::sleep(2s);
    cancelled.cancel();
    co_await rn::test::wait_idle();
    auto a = co_await done.shutdown(rn::kill);
    must(std::move(a).value() == 7);
    auto b = co_await failed.shutdown(5s);
    must(b.error() != nullptr);
    auto c = co_await cancelled.shutdown(5s);
    must(c.canceled() && rn::test::elapsed() == 2s);
    bool refused = false;
    try {
      (void)co_await done.shutdown(5s);
    } catch (const rn::misuse_error&) {
      refused = true;
    }
    must(refused);
  });
}

// TSK-14
TEST(tsk, a_completed_task_answers_every_question_at_once) {
  in_virtual_time([]() -> rn::task<> {
    auto a = rn::completed(4);
    auto r = co_await a.await_for(1s);
    must(r && std::move(*r).value() == 4);
    auto b = rn::completed(5);
    auto s = co_await b.shutdown(1s);
    must(std::move(s).value() == 5 && rn::test::elapsed() == 0s);
  });
}

}  // namespace
