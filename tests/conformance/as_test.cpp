// SPDX-License-Identifier: BSL-1.0
// Streams by rule number, under many schedules, cancelled, killed and out of memory at each place.
#include <runnel/adopt.hpp>
#include <runnel/as_result.hpp>
#include <runnel/async.hpp>
#include <runnel/async_stream.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/sleep.hpp>
#include <runnel/test.hpp>
#include <runnel/this_task.hpp>
#include <runnel/with_context.hpp>
#include <support/never_mind.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <coroutine>
#include <cstdint>
#include <exception>
#include <functional>
#include <new>
#include <optional>
#include <source_location>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using runnel_test::never_mind;

void must(bool holds, std::source_location where = std::source_location::current()) {
  if (!holds) throw std::logic_error("does not hold: line " + std::to_string(where.line()));
}
template <class Body, class Invariant> void everywhere(Body body, Invariant invariant) {
  auto checked = [&]() -> rn::task<> {
    co_await body();
    invariant();
  };
  try {
    rn::test::explore(200, checked);
    rn::test::exhaust(checked, rn::test::preemptions(1));
    rn::test::cancel_everywhere(body, invariant);
    for (std::uint64_t n = 1; n <= 10; ++n) rn::test::cancel_everywhere(body, invariant, rn::test::seed(n));
    rn::test::fail_everywhere(body, invariant);
  } catch (const rn::test::failure& f) {
    ADD_FAILURE() << f.what();
  }
}
template <class Body> void in_virtual_time(Body body) { EXPECT_NO_THROW(rn::test::run(body)); }

// What the tasks of a stream do, counted. It outlives them.
struct counts {
  int pulled = 0, alive = 0, most = 0, began = 0;
};
struct in_task {
  counts& c;
  explicit in_task(counts& of) : c(of) {
    ++c.began;
    if (++c.alive > c.most) c.most = c.alive;
  }
  ~in_task() { --c.alive; }
};
auto numbers(counts& c, int n) {
  return [&c, n]() -> std::optional<int> {
    if (c.pulled == n) return std::nullopt;
    return c.pulled++;
  };
}
// n sleeps n seconds; a negative one fails.
auto sleeper(counts& c) {
  return [&c](int n) -> rn::task<int> {
    in_task here(c);
    if (n > 0) co_await rn::sleep(std::chrono::seconds(n));
    if (n < 0) throw std::runtime_error("negative");
    co_return n;
  };
}

// AS-03, AS-04, AS-05, AS-07: order, limit, nothing lost.
TEST(as, an_ordered_stream_delivers_all_in_order_and_keeps_its_limit) {
  counts c;
  auto body = [&]() -> rn::task<> {
    c = counts();
    auto items = rn::async_stream(numbers(c, 4), rn::max_concurrency(2), sleeper(c));
    for (int i = 0; i < 4; ++i) {
      auto r = co_await items.next();
      if (!r->ok()) std::rethrow_exception(r->reason());
      must(r->value() == i && r->input() == i);
    }
    auto end = co_await items.next();
    must(!end);
  };
  everywhere(body, [&] { must(c.alive == 0 && c.most <= 2 && c.pulled <= 4); });
}

// AS-06, AS-17
TEST(as, an_unordered_stream_delivers_all) {
  counts c;
  auto body = [&]() -> rn::task<> {
    c = counts();
    auto items = rn::async_stream(numbers(c, 4), rn::max_concurrency(3), rn::unordered, sleeper(c));
    int sum = 0, n = 0;
    while (auto r = co_await items.next()) {
      if (!r->ok()) std::rethrow_exception(r->reason());
      sum += r->value(), ++n;
    }
    must(sum == 6 && n == 4);
  };
  everywhere(body, [&] { must(c.alive == 0 && c.most <= 3); });
}

// AS-11: an early stop leaves nothing behind.
TEST(as, closing_early_joins_the_rest) {
  counts c;
  auto body = [&]() -> rn::task<> {
    c = counts();
    auto items = rn::async_stream(numbers(c, 100), rn::max_concurrency(3), sleeper(c));
    auto first = co_await items.next();
    if (!first->ok()) std::rethrow_exception(first->reason());
    must(c.pulled == 3);
    co_await items.close();
    must(c.alive == 0 && c.pulled == 3);
    auto end = co_await items.next();
    must(!end);
  };
  everywhere(body, [&] { must(c.alive == 0); });
}

// AS-C02 as decision 018 has it: the scope joins what a stream that has died leaves behind.
TEST(as, a_dead_streams_tasks_are_joined_by_the_scope) {
  counts c;
  auto body = [&]() -> rn::task<> {
    c = counts();
    co_await rn::with_errgroup([&](rn::errgroup&) -> rn::task<> {
      auto items = rn::async_stream(numbers(c, 100), rn::max_concurrency(3), sleeper(c));
      auto first = co_await items.next();
      if (!first->ok()) std::rethrow_exception(first->reason());
    });
    must(c.alive == 0);
  };
  everywhere(body, [&] { must(c.alive == 0); });
}

// Inputs from a channel: while the stream waits for one it delivers what has ended. AS-16: nor is the last one lost, which
// comes with the end.
TEST(as, a_stream_over_a_channel) {
  counts c;
  auto body = [&]() -> rn::task<> {
    c = counts();
    rn::chan<int> ch(0);
    auto feeder = rn::async(
        [](rn::chan<int> to) -> rn::task<> {
          for (int i = 0; i < 3; ++i) co_await to.send(i);
          to.close();
        },
        ch);
    auto items = rn::async_stream(ch, rn::max_concurrency(2), sleeper(c));
    for (int i = 0; i < 3; ++i) {
      auto r = co_await items.next();
      if (!r->ok()) std::rethrow_exception(r->reason());
      must(r->value() == i);
    }
    auto end = co_await items.next();
    must(!end);
    co_await feeder.await();
  };
  everywhere(body, [&] { must(c.alive == 0 && c.most <= 2); });
}

TEST(as, map_and_for_each) {
  counts c;
  auto body = [&]() -> rn::task<> {
    c = counts();
    auto values = co_await rn::map(numbers(c, 3), rn::max_concurrency(2), sleeper(c));
    must(values.size() == 3 && values[2] == 2);
    c.pulled = 0;
    co_await rn::for_each(numbers(c, 3), rn::max_concurrency(2), sleeper(c));
  };
  everywhere(body, [&] { must(c.alive == 0 && c.most <= 2); });
}

// AS-02, AS-C01: nothing runs before the first demand.
// AS-12: while nobody asks, running tasks go on, and nothing is started.
TEST(as, nothing_is_pulled_without_demand) {
  in_virtual_time([]() -> rn::task<> {
    counts c;
    auto items = rn::async_stream(numbers(c, 100), rn::max_concurrency(3), sleeper(c));
    co_await rn::sleep(10s);
    must(c.pulled == 0);
    (void)co_await items.next();
    must(c.pulled == 3);
    co_await rn::sleep(10s);
    must(c.pulled == 3 && c.alive == 0);
    (void)co_await items.next();
    must(c.pulled == 4);  // two more could be delivered, and keep their places
    co_await items.close();
  });
}

// AS-05: a slot is free when its task has ended, not when its result is delivered.
TEST(as, a_slow_head_does_not_hold_up_the_others) {
  in_virtual_time([]() -> rn::task<> {
    counts c;
    std::vector<int> inputs{100, 1, 1, 1, 1, 1};
    auto items = rn::async_stream(inputs, rn::max_concurrency(2), sleeper(c));
    auto first = co_await items.next();
    must(first->value() == 100 && rn::test::elapsed() == 100s && c.began == 6);
    int n = 0;
    while (auto r = co_await items.next()) ++n;
    must(n == 5 && rn::test::elapsed() == 100s);
  });
}

// AS-09: a task has its time from its own start, whatever the consumer does.
TEST(as, the_time_limit_is_each_tasks_own) {
  in_virtual_time([]() -> rn::task<> {
    counts c;
    std::vector<int> inputs{1, 3, 1, 3};
    auto items = rn::async_stream(inputs, rn::max_concurrency(1), rn::timeout(2s), rn::kill_on_timeout, sleeper(c));
    std::vector<bool> ok;
    while (auto r = co_await items.next()) {
      ok.push_back(r->ok());
      co_await rn::sleep(10s);
    }
    must(ok == std::vector<bool>{true, false, true, false} && c.alive == 0);
    auto begun = rn::test::elapsed();
    std::vector<int> late{5, 1};
    auto fails = rn::async_stream(late, rn::max_concurrency(2), rn::timeout(2s), sleeper(c));
    bool threw = false;
    try {
      (void)co_await fails.next();
    } catch (const rn::deadline_exceeded&) {
      threw = true;
    }
    must(threw && rn::test::elapsed() - begun == 2s && c.alive == 0);
  });
}

// AS-07, AS-10: a failure is an item; map throws it, and joins first.
TEST(as, failures) {
  in_virtual_time([]() -> rn::task<> {
    counts c;
    std::vector<int> inputs{1, -1, 2};
    auto items = rn::async_stream(inputs, sleeper(c));
    std::vector<int> failed;
    while (auto r = co_await items.next())
      if (!r->ok()) failed.push_back(r->input());
    must(failed == std::vector<int>{-1});
    std::vector<int> long_ones{100, -1, 100};
    bool threw = false;
    auto began = rn::test::elapsed();
    try {
      (void)co_await rn::map(long_ones, rn::max_concurrency(3), sleeper(c));
    } catch (const std::runtime_error&) {
      threw = true;
    }
    must(threw && c.alive == 0 && rn::test::elapsed() == began);
  });
}

rn::task<int> outlived_by_its_own(int& alive) {
  auto own = rn::async(
      [](int& n) -> rn::task<> {
        ++n;
        co_await rn::shield(rn::sleep(10s));
        --n;
      },
      std::ref(alive));
  co_await rn::sleep(1s);
  (void)own.ignore();
  co_return 1;
}
// AS-08: a result counts when its task has ended, which is when what it has started has; and it counts though the time was
// up meanwhile.
TEST(as, a_result_counts_when_its_task_has_ended) {
  in_virtual_time([]() -> rn::task<> {
    int alive = 0;
    auto work = [&](int) { return outlived_by_its_own(alive); };
    auto items = rn::async_stream(std::vector{1}, rn::timeout(2s), work);
    auto r = co_await items.next();
    must(r->ok() && r->value() == 1 && alive == 0 && rn::test::elapsed() == 10s);
  });
}

// AS-04, AS-C03: a task that has been killed has its place until it is gone.
TEST(as, a_killed_task_that_does_not_end_keeps_its_place) {
  in_virtual_time([]() -> rn::task<> {
    counts c;
    std::coroutine_handle<> stuck;
    auto work = [&](int n) -> rn::task<int> {
      in_task here(c);
      if (n == 0) co_await rn::adopt(never_mind(stuck));
      co_return n;
    };
    auto release = rn::async(
        [](std::coroutine_handle<>& h, counts& of) -> rn::task<> {
          co_await rn::sleep(10s);
          must(of.pulled == 1 && of.alive == 1);
          h.resume();
        },
        std::ref(stuck), std::ref(c));
    auto items = rn::async_stream(numbers(c, 3), rn::max_concurrency(1), rn::timeout(2s), rn::kill_on_timeout, work);
    auto first = co_await items.next();
    must(first && rn::test::elapsed() == 10s && c.most == 1);
    auto rest = co_await items.collect();
    must(rest.size() == 2 && c.most == 1 && c.alive == 0);
    co_await release.await();
  });
}

// AS-05, AS-07, AS-17: fewer places than inputs, as many, and more; the slowest first; one that fails.
TEST(as, the_order_is_that_of_the_inputs_whatever_the_limit) {
  for (int limit = 1; limit <= 6; ++limit)
    in_virtual_time([limit]() -> rn::task<> {
      counts c;
      std::vector<int> inputs{4, 3, -1, 1};
      auto items = rn::async_stream(inputs, rn::max_concurrency(limit), sleeper(c));
      std::vector<int> got, failed;
      while (auto r = co_await items.next()) {
        auto& with = r->ok() ? got : failed;
        with.push_back(r->input());
      }
      must(got == std::vector{4, 3, 1} && failed == std::vector{-1});
      must(c.most == std::min(limit, 3) && rn::test::elapsed() == (limit == 1 ? 8s : 4s));
    });
}

// AS-02, PR-12: a task has the values of who made the stream.
struct user {
  using type = int;
};
TEST(as, tasks_have_the_values_of_who_made_the_stream) {
  in_virtual_time([]() -> rn::task<> {
    auto who = [](int) {
      const int* id = rn::this_context().value<user>();
      return id ? *id : 0;
    };
    auto read = [&]() -> rn::task<int> {
      auto items = rn::async_stream(std::vector{1}, who);
      auto inside = [&]() -> rn::task<int> {
        auto r = co_await items.next();
        co_return r->value();
      };
      co_return co_await rn::with_value<user>(6, inside());
    };
    must(co_await rn::with_value<user>(5, read()) == 5);
  });
}

// A move of it throws where it is the n-th of its life.
struct fragile {
  int moves = 0;
  int fails_at;
  explicit fragile(int n) : fails_at(n) {}
  fragile(fragile&& other) : moves(other.moves + 1), fails_at(other.fails_at) {
    if (moves == fails_at) throw std::runtime_error("a move that throws");
  }
  fragile& operator=(fragile&& other) {
    moves = other.moves + 1;
    return *this;
  }
};
// AS-11: what storing or delivering a value throws ends the others too, before it is seen.
TEST(as, nothing_runs_on_where_a_result_cannot_be_moved) {
  int threw = 0;
  for (int n = 1; n <= 12; ++n)
    in_virtual_time([n, &threw]() -> rn::task<> {
      counts c;
      auto work = [&](int i) -> rn::task<fragile> {
        in_task here(c);
        if (i == 1) co_await rn::shield(rn::sleep(10s));
        co_return fragile(n);
      };
      std::vector<int> inputs{0, 1};
      try {
        (void)co_await rn::map(inputs, rn::max_concurrency(2), work);
      } catch (const std::runtime_error&) {
        ++threw;
        must(c.alive == 0);
      }
      auto items = rn::async_stream(inputs, rn::max_concurrency(2), work);
      try {
        (void)co_await items.collect();
      } catch (const std::runtime_error&) {
        must(c.alive == 0);
      }
    });
  EXPECT_GT(threw, 2);
}

// AS-11: one allocation fails, whichever it is: what is thrown is seen when no task is left.
TEST(as, nothing_runs_on_where_memory_is_out) {
  counts c;
  int left = 0;
  bool threw = false;
  auto one_fails = [&](int i) -> rn::task<int> {
    in_task here(c);
    if (i == 1) co_await rn::shield(rn::sleep(10s));
    co_await rn::yield();
    throw std::runtime_error("this one fails");
  };
  auto two_are_slow = [&](int) -> rn::task<> {
    in_task here(c);
    co_await rn::shield(rn::sleep(10s));
  };
  std::vector<int> inputs{0, 1};
  auto check = [&](auto made) -> rn::task<> {
    try {
      (void)co_await std::move(made);
    } catch (const std::bad_alloc&) {
      threw = true;
      left += c.alive;
      throw;
    } catch (const std::exception&) {
      left += c.alive;
    }
  };
  auto try_all = [&](auto body) {
    try {
      rn::test::fail_everywhere(body, [&] { must(c.alive == 0 && left == 0); });
    } catch (const rn::test::failure& f) {
      ADD_FAILURE() << f.what();
    }
    left = 0;
  };
  auto fresh = [&] { c = counts(), left = 0; };
  try_all([&]() -> rn::task<> {
    fresh();
    co_await check(rn::map(inputs, rn::max_concurrency(2), one_fails));
  });
  try_all([&]() -> rn::task<> {
    fresh();
    co_await check(rn::for_each(inputs, rn::max_concurrency(2), one_fails));
  });
  try_all([&]() -> rn::task<> {
    fresh();
    auto items = rn::async_stream(inputs, rn::max_concurrency(2), rn::timeout(1s), two_are_slow);
    co_await check(items.next());
    co_await items.close();  // of an item that says that its task was out of memory
  });
  try_all([&]() -> rn::task<> {
    fresh();
    auto items = rn::async_stream(inputs, rn::max_concurrency(2), rn::unordered, one_fails);
    co_await check(items.collect());
  });
  EXPECT_TRUE(threw);
}

// An input is a value, also where the range gives a proxy: the bits may be gone before the task.
TEST(as, a_moved_in_vector_of_bool) {
  in_virtual_time([]() -> rn::task<> {
    std::vector<bool> flags(2000, true);
    auto late = [](bool b) -> rn::task<int> {
      co_await rn::sleep(1s);
      co_return b ? 1 : 0;
    };
    auto found = co_await rn::map(std::move(flags), rn::max_concurrency(3000), late);
    must(std::count(found.begin(), found.end(), 1) == 2000);
    std::vector<bool> named{true, false};
    auto items = rn::async_stream(named, late);
    auto first = co_await items.next();
    static_assert(std::is_same_v<decltype(first->input()), bool&>);
    must(first->input());
  });
}

// What can be moved and not assigned, as a task's result may.
TEST(as, results_that_cannot_be_assigned) {
  struct row {
    const int id;
  };
  in_virtual_time([]() -> rn::task<> {
    std::vector<int> inputs{1, 2};
    auto make = [](int i) { return row{i}; };
    auto rows = co_await rn::map(inputs, make);
    must(rows.size() == 2 && rows[1].id == 2);
    auto items = rn::async_stream(inputs, make);
    auto all = co_await items.collect();
    must(all.size() == 2 && all[0].value().id == 1);
  });
}

// AS-06: what could be delivered is in the place of a task: who consumes slowly is not run ahead of.
TEST(as, a_slow_consumer_holds_the_inputs_up) {
  auto run = [](auto... options) {
    in_virtual_time([=]() -> rn::task<> {
      counts c;
      auto quick = [&](int i) -> rn::task<int> {
        in_task here(c);
        co_await rn::sleep(1s);
        co_return i;
      };
      auto items = rn::async_stream(numbers(c, 1000), rn::max_concurrency(4), options..., quick);
      for (int delivered = 1; delivered <= 50; ++delivered) {
        auto r = co_await items.next();
        must(r.has_value());
        must(c.pulled <= delivered + 4);
        co_await rn::sleep(10s);
      }
      co_await items.close();
      must(c.alive == 0 && c.most == 4);
    });
  };
  run(rn::unordered);
  run(rn::ordered);
}
TEST(as, a_slow_consumer_leaves_the_rest_in_the_channel) {
  in_virtual_time([]() -> rn::task<> {
    rn::chan<int> inputs(100);
    for (int i = 0; i < 100; ++i) (void)inputs.try_send(i);
    auto items = rn::async_stream(inputs, rn::max_concurrency(4), rn::unordered, [](int i) { return i; });
    for (int delivered = 1; delivered <= 20; ++delivered) {
      auto r = co_await items.next();
      must(r.has_value());
      must(100 - static_cast<int>(inputs.len()) <= delivered + 4);
      co_await rn::sleep(10s);
    }
    co_await items.close();
  });
}
// AS-03, AS-06: a consumer that takes no time finds the stream full, whatever the inputs come from.
TEST(as, a_quick_consumer_has_all_places_at_work) {
  auto run = [](auto pull, auto... options) {
    in_virtual_time([=]() -> rn::task<> {
      counts c;
      auto inputs = pull(c);
      auto work = [&](int i) -> rn::task<int> {
        in_task here(c);
        co_await rn::sleep(1s);
        co_return i;
      };
      auto items = rn::async_stream(inputs, rn::max_concurrency(4), options..., work);
      int n = 0;
      while (auto r = co_await items.next()) ++n;
      must(n == 40 && c.most == 4 && rn::test::elapsed() == 10s);
    });
  };
  auto at_once = [](counts& c) { return numbers(c, 40); };
  auto by_task = [](counts& c) {
    return [&c]() -> rn::task<std::optional<int>> {
      co_await rn::yield();
      if (c.pulled == 40) co_return std::nullopt;
      co_return c.pulled++;
    };
  };
  run(at_once, rn::ordered);
  run(at_once, rn::unordered);
  run(by_task, rn::ordered);
  run(by_task, rn::unordered);
}

// AS-06: what has ended is delivered before a pull that waits; a pull that is cancelled loses nothing.
TEST(as, results_do_not_wait_for_a_slow_pull) {
  in_virtual_time([]() -> rn::task<> {
    int pulled = 0;
    auto source = [&]() -> rn::task<std::optional<int>> {
      if (pulled == 2) co_await rn::sleep(1h);
      co_return pulled++;
    };
    auto items = rn::async_stream(source, rn::max_concurrency(4), [](int i) { return i; });
    auto r = co_await rn::as_result(rn::with_timeout(1min, items.next()));
    must(!r.ok() && pulled == 2);
    for (int i = 0; i < 2; ++i) {
      auto item = co_await items.next();
      must(item->value() == i && rn::test::elapsed() == 1min);
    }
    co_await items.close();
  });
}
TEST(as, each_result_comes_when_it_is_there_though_each_pull_waits) {
  in_virtual_time([]() -> rn::task<> {
    int pulled = 0;
    auto source = [&]() -> rn::task<std::optional<int>> {
      co_await rn::sleep(10s);
      if (pulled == 4) co_return std::nullopt;
      co_return pulled++;
    };
    auto work = [](int i) -> rn::task<int> {
      co_await rn::sleep(1s);
      co_return i;
    };
    auto items = rn::async_stream(source, rn::max_concurrency(4), work);
    for (int i = 0; i < 4; ++i) {
      auto r = co_await items.next();
      must(r->value() == i && rn::test::elapsed() <= (i + 2) * 10s);
    }
    auto end = co_await items.next();
    must(!end);
  });
}

// GEN-02, GO-09: a next() that finds its result ready gives others their turn all the same.
TEST(as, results_that_are_there_leave_others_their_turn) {
  in_virtual_time([]() -> rn::task<> {
    int turns = 0;
    bool all = false;
    rn::chan<void> head(0);
    auto other = rn::async([&]() -> rn::task<> {
      while (!all) {
        ++turns;
        co_await rn::yield();
      }
    });
    counts c;
    auto first_waits = [&](int i) -> rn::task<int> {
      if (i == 0) co_await head.recv();
      if (++c.began == 1999) head.close();
      co_return i;
    };
    auto items = rn::async_stream(numbers(c, 2000), rn::max_concurrency(8), first_waits);
    (void)co_await items.next();
    int before = turns, n = 1;
    while (auto r = co_await items.next()) ++n;
    all = true;
    co_await other.await();
    must(n == 2000 && turns - before >= 10);
  });
}

}  // namespace
