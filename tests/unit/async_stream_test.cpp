// SPDX-License-Identifier: BSL-1.0
#include <runnel/as_result.hpp>
#include <runnel/async.hpp>
#include <runnel/async_stream.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/sleep.hpp>
#include <runnel/this_task.hpp>
#include <runnel/with_context.hpp>
#include <support/checked_runtime.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using test::checked_runtime;
using test::error_of;
using test::on_1_2_and_4_threads;
using test::until;

std::vector<int> first_numbers(int n) {
  std::vector<int> v;
  for (int i = 0; i < n; ++i) v.push_back(i);
  return v;
}
rn::task<int> twice(int n) {
  for (int i = 0; i < n % 3; ++i) co_await rn::yield();
  co_return 2 * n;
}
// Values of the items, or -1.
template <class S> rn::task<std::vector<int>> values_of(S& stream) {
  std::vector<int> got;
  while (auto r = co_await stream.next()) {
    int value = r->ok() ? r->value() : -1;
    got.push_back(value);
  }
  co_return got;
}
struct counts {
  std::atomic<int> alive{0}, most{0}, began{0};
  void enter() {
    ++began;
    int now = ++alive;
    for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
    }
  }
};
struct in_task {
  counts& c;
  explicit in_task(counts& of) : c(of) { c.enter(); }
  ~in_task() { --c.alive; }
};

TEST(async_stream, results_come_in_the_order_of_the_inputs) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto inputs = first_numbers(100);
    auto items = rn::async_stream(inputs, rn::max_concurrency(7), twice);
    for (int i = 0; i < 100; ++i) {
      auto r = co_await items.next();
      EXPECT_EQ(r->value(), 2 * i);
      EXPECT_EQ(r->input(), i);
      EXPECT_EQ(r->index(), static_cast<std::size_t>(i));
      EXPECT_FALSE(r->reason());
    }
    auto end = co_await items.next();
    EXPECT_FALSE(end);
    end = co_await items.next();
    EXPECT_FALSE(end);
  });
}

TEST(async_stream, unordered_results_are_all_there) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto inputs = first_numbers(100);
    auto items = rn::async_stream(inputs, rn::unordered, rn::max_concurrency(7), twice);
    auto got = co_await values_of(items);
    std::sort(got.begin(), got.end());
    for (int i = 0; i < 100; ++i) EXPECT_EQ(got[static_cast<std::size_t>(i)], 2 * i);
    EXPECT_EQ(got.size(), 100u);
  });
}

TEST(async_stream, a_slow_head_is_waited_for_and_holds_nobody_up) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> ended = 0;
    auto work = [&ended](int n) -> rn::task<int> {
      if (n == 0) co_await until([&] { return ended == 9; });
      ++ended;
      co_return n;
    };
    auto inputs = first_numbers(10);
    auto items = rn::async_stream(inputs, rn::max_concurrency(2), work);
    EXPECT_EQ(co_await values_of(items), inputs);
    ended = 0;
    auto as_they_end = rn::async_stream(inputs, rn::unordered, rn::max_concurrency(2), work);
    auto got = co_await values_of(as_they_end);
    EXPECT_EQ(got.back(), 0);
  });
}

TEST(async_stream, one_at_a_time_is_in_order) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto inputs = first_numbers(20);
    auto items = rn::async_stream(inputs, rn::unordered, rn::max_concurrency(1), [](int n) { return n; });
    EXPECT_EQ(co_await values_of(items), inputs);
  });
}

// AS-04. Also where the source itself takes so long that the context is done meanwhile.
TEST(async_stream, one_that_is_cancelled_while_it_pulls_pulls_no_more) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto made = rn::context::background().with_cancel();
    int pulled = 0;
    auto source = [&]() -> std::optional<int> {
      if (++pulled == 3) made.second();
      if (pulled == 1000) return std::nullopt;
      return pulled;
    };
    auto consume = [&]() -> rn::task<> {
      auto stream = rn::async_stream(source, rn::max_concurrency(4), twice);
      while (auto item = co_await stream.next()) {
      }
    };
    auto r = co_await rn::as_result(rn::with_context(made.first, consume()));
    EXPECT_TRUE(r.canceled());
    EXPECT_EQ(pulled, 3);
  });
}

TEST(async_stream, it_is_lazy_and_never_pulls_more_than_may_run) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    int pulled = 0;
    counts c;
    auto source = [&]() -> std::optional<int> {
      if (pulled == 30) return std::nullopt;
      return pulled++;
    };
    auto work = [&c](int n) -> rn::task<int> {
      in_task here(c);
      co_await rn::yield();
      co_return n;
    };
    auto items = rn::async_stream(source, rn::max_concurrency(3), work);
    EXPECT_EQ(pulled, 0);
    int delivered = 0;
    while (auto r = co_await items.next()) {
      ++delivered;
      EXPECT_LE(c.alive, 3);
    }
    EXPECT_EQ(delivered, 30);
    EXPECT_LE(c.most, 3);
    EXPECT_EQ(c.began, 30);
  });
}

TEST(async_stream, a_first_demand_fills_it_and_no_more) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    int pulled = 0;
    rn::chan<void> gate(0);
    auto source = [&]() -> std::optional<int> { return pulled++; };
    auto work = [gate](int n) -> rn::task<int> {
      if (n > 0) co_await gate.recv();
      co_return n;
    };
    auto items = rn::async_stream(source, rn::max_concurrency(3), work);
    auto first = co_await items.next();
    EXPECT_EQ(first->value(), 0);
    EXPECT_EQ(pulled, 3);
    gate.close();
    co_await rn::yield();
    EXPECT_EQ(pulled, 3) << "nothing is pulled where nobody asks";
    co_await items.close();
    EXPECT_EQ(pulled, 3);
  });
}

// AS-C04: without max_concurrency there is a place for each processor.
TEST(async_stream, there_are_as_many_places_as_processors_unless_told) {
  for (int n : {1, 3}) {
    checked_runtime rt(n);
    rt.run([&]() -> rn::task<> {
      int pulled = 0;
      auto source = [&]() -> std::optional<int> { return pulled++; };
      auto work = [](int i) -> rn::task<> {
        if (i > 0) co_await rn::sleep(1h);
      };
      auto items = rn::async_stream(source, work);
      (void)co_await items.next();
      EXPECT_EQ(pulled, n);
      co_await items.close();
    });
  }
}

TEST(async_stream, a_task_that_fails_is_an_item_that_names_its_input) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::vector<std::string> inputs{"a", "bad", "c"};
    auto work = [](const std::string& s) -> rn::task<std::size_t> {
      if (s == "bad") throw std::runtime_error("no good");
      co_return s.size();
    };
    auto items = rn::async_stream(inputs, work);
    auto a = co_await items.next();
    EXPECT_TRUE(a->ok());
    auto bad = co_await items.next();
    EXPECT_FALSE(bad->ok());
    EXPECT_EQ(bad->input(), "bad");
    EXPECT_THROW(std::rethrow_exception(bad->reason()), std::runtime_error);
    EXPECT_THROW(bad->value(), std::runtime_error);
    auto c = co_await items.next();
    EXPECT_EQ(std::move(*c).value(), 1u);
  });
}

TEST(async_stream, a_task_whose_time_is_up_is_killed_and_is_an_item_or_ends_the_stream) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    auto work = [&alive](int n) -> rn::task<int> {
      test::counted here(alive);
      if (n == 1) co_await rn::shield(rn::sleep(1h));
      if (n == 2) co_await until([&] { return alive == 1; });
      co_return n;
    };
    auto inputs = first_numbers(3);
    auto items = rn::async_stream(inputs, rn::max_concurrency(3), rn::timeout(1ms), rn::kill_on_timeout, work);
    auto zero = co_await items.next();
    EXPECT_TRUE(zero->ok());
    auto one = co_await items.next();
    EXPECT_FALSE(one->ok());
    EXPECT_THROW(std::rethrow_exception(one->reason()), rn::deadline_exceeded);
    (void)co_await items.next();
    auto end = co_await items.next();
    EXPECT_FALSE(end);
    auto fails = rn::async_stream(inputs, rn::max_concurrency(3), rn::timeout(1ms), work);
    EXPECT_EQ(co_await error_of(values_of(fails)), "runnel: deadline exceeded");
    EXPECT_EQ(alive, 0) << "all have ended when it throws";
    end = co_await fails.next();
    EXPECT_FALSE(end);
    auto none = rn::async_stream(inputs, rn::timeout(0s), rn::kill_on_timeout, [](int) -> rn::task<int> {
      co_await rn::yield();
      co_return 1;
    });
    {
      auto got = co_await values_of(none);
      EXPECT_EQ(got, (std::vector<int>{-1, -1, -1}));
    }
  });
}

TEST(async_stream, closing_cancels_and_joins_the_rest) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    std::weak_ptr<int> source_lives;
    auto work = [&alive](int n) -> rn::task<int> {
      if (n > 0) co_await test::park_for_ever(alive);
      co_return n;
    };
    auto held = std::make_shared<int>(0);
    source_lives = held;
    auto source = [held = std::move(held)]() -> std::optional<int> { return (*held)++; };
    auto items = rn::async_stream(rn::moved(source), rn::max_concurrency(4), work);
    (void)co_await items.next();
    co_await until([&] { return alive == 3; });
    co_await items.close();
    EXPECT_EQ(alive, 0);
    EXPECT_TRUE(source_lives.expired());
    auto end = co_await items.next();
    EXPECT_FALSE(end);
  });
}

TEST(async_stream, a_stream_that_dies_early_cancels_its_tasks_and_the_scope_joins_them) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    co_await rn::with_errgroup([&](rn::errgroup&) -> rn::task<> {
      auto items = rn::async_stream(first_numbers(10), rn::max_concurrency(4), [&alive](int) -> rn::task<int> {
        co_await test::park_for_ever(alive);
        co_return 1;
      });
      auto r = co_await rn::as_result(rn::with_timeout(1ms, items.next()));
      EXPECT_FALSE(r.ok());
      co_await until([&] { return alive == 4; });  // a next() that is given up leaves them alone
    });
    EXPECT_EQ(alive, 0);
  });
}

TEST(async_stream, an_unwound_consumer_has_joined_its_tasks_before_its_frame_dies) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    auto work = [&]() -> rn::task<> {
      struct local {
        std::atomic<int>& n;
        ~local() { EXPECT_EQ(n, 0); }
      } guard{alive};
      auto items = rn::async_stream(first_numbers(10), rn::max_concurrency(4), [&alive](int) -> rn::task<int> {
        co_await test::park_for_ever(alive);
        co_return 1;
      });
      (void)co_await items.next();
    };
    auto r = co_await rn::as_result(rn::with_timeout(1ms, work()));
    EXPECT_FALSE(r.ok());
    EXPECT_EQ(alive, 0);
  });
}

// Makes a stream when its frame is unwound, and keeps it if somebody wants it.
template <class S> class makes_a_stream_at_its_end {
 public:
  explicit makes_a_stream_at_its_end(std::optional<S>* kept = nullptr) : x_kept(kept) {}
  makes_a_stream_at_its_end(const makes_a_stream_at_its_end&) = delete;
  makes_a_stream_at_its_end& operator=(const makes_a_stream_at_its_end&) = delete;
  ~makes_a_stream_at_its_end() {
    EXPECT_TRUE(rn::unwinding());
    auto made = rn::async_stream(first_numbers(3), twice);
    if (x_kept) x_kept->emplace(std::move(made));
  }

 private:
  std::optional<S>* x_kept;
};
using stream_of_twice = decltype(rn::async_stream(first_numbers(3), twice));

// The last frame of its goroutine, where it is started with a pointer: no frame is left before whose end to join.
rn::task<> parks_and_makes_a_stream(std::atomic<int>* alive) {
  makes_a_stream_at_its_end<stream_of_twice> last;
  co_await test::park_for_ever(*alive);
}

TEST(async_stream, one_that_is_made_in_a_destructor_while_frames_are_unwound_leaves_nothing_behind) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    rn::errgroup g;
    g.go(parks_and_makes_a_stream, &alive);
    g.go([&]() -> rn::task<> { co_await parks_and_makes_a_stream(&alive); });
    g.go([&]() -> rn::task<> {
      auto t = rn::async(parks_and_makes_a_stream, &alive);
      co_await parks_and_makes_a_stream(&alive);
    });
    co_await until([&] { return alive == 4; });
    g.cancel();
    co_await g.wait();
  });
}

TEST(async_stream, one_that_was_made_in_a_destructor_while_frames_were_unwound_says_so) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::optional<stream_of_twice> kept;
    std::atomic<int> alive = 0;
    auto parks = [&]() -> rn::task<> {
      makes_a_stream_at_its_end<stream_of_twice> last(&kept);
      co_await test::park_for_ever(alive);
    };
    auto r = co_await rn::as_result(rn::with_timeout(1ms, parks()));
    EXPECT_THROW(std::move(r).value(), rn::deadline_exceeded);
    const std::string why =
        "runnel: this stream was made in a destructor while its goroutine was unwound: nobody would join its tasks";
    EXPECT_EQ(co_await error_of(kept->next()), why);
    EXPECT_EQ(co_await error_of(kept->close()), why);
  });
}

TEST(async_stream, an_input_that_cannot_be_pulled_ends_it_with_that_error) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    int n = 0;
    auto source = [&]() -> std::optional<int> {
      if (n == 3) throw std::runtime_error("no more");
      return n++;
    };
    auto items = rn::async_stream(source, rn::max_concurrency(5), [&alive](int) -> rn::task<int> {
      co_await test::park_for_ever(alive);
      co_return 1;
    });
    EXPECT_EQ(co_await error_of(values_of(items)), "no more");
    EXPECT_EQ(alive, 0);
    auto end = co_await items.next();
    EXPECT_FALSE(end);
  });
}

TEST(async_stream, inputs_of_every_kind) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto plus_one = [](int n) { return n + 1; };
    std::list<int> list{1, 2, 3};
    auto a = rn::async_stream(list, plus_one);
    {
      auto got = co_await values_of(a);
      EXPECT_EQ(got, (std::vector<int>{2, 3, 4}));
    }
    auto b = rn::async_stream(first_numbers(3), plus_one);
    {
      auto got = co_await values_of(b);
      EXPECT_EQ(got, (std::vector<int>{1, 2, 3}));
    }
    std::span<int> view;
    auto c = rn::async_stream(view, plus_one);
    {
      auto got = co_await values_of(c);
      EXPECT_EQ(got, std::vector<int>());
    }
    int array[] = {4, 5};
    auto d = rn::async_stream(array, plus_one);
    {
      auto got = co_await values_of(d);
      EXPECT_EQ(got, (std::vector<int>{5, 6}));
    }
    std::vector<std::unique_ptr<int>> owners;
    owners.push_back(std::make_unique<int>(7));
    auto e = rn::async_stream(std::move(owners), [](std::unique_ptr<int>& p) { return *p; });
    {
      auto got = co_await values_of(e);
      EXPECT_EQ(got, (std::vector<int>{7}));
    }
    int n = 0;
    auto pull = [&]() -> rn::task<std::optional<int>> {
      co_await rn::yield();
      if (n == 3) co_return std::nullopt;
      co_return n++;
    };
    auto f = rn::async_stream(pull, plus_one);
    {
      auto got = co_await values_of(f);
      EXPECT_EQ(got, (std::vector<int>{1, 2, 3}));
    }
    const std::map<int, int> table{{1, 2}, {3, 4}};
    auto g = rn::async_stream(table, [](const std::pair<const int, int>& p) { return p.first * p.second; });
    {
      auto got = co_await values_of(g);
      EXPECT_EQ(got, (std::vector<int>{2, 12}));
    }
  });
}

TEST(async_stream, inputs_from_a_channel_are_received_while_results_come) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(0);
    auto items = rn::async_stream(ch, rn::unordered, rn::max_concurrency(4), twice);
    auto feeder = rn::async([](rn::chan<int> to) -> rn::task<> {
      for (int i = 0; i < 50; ++i) co_await to.send(i);
      to.close();
    }, ch);
    auto got = co_await values_of(items);
    std::sort(got.begin(), got.end());
    EXPECT_EQ(got.size(), 50u);
    EXPECT_EQ(got.back(), 98);
    co_await feeder.await();
    rn::chan<int> slow(1);
    co_await slow.send(1);
    auto waits = rn::async_stream(rn::receiver<int>(slow), rn::max_concurrency(4), twice);
    auto one = co_await waits.next();
    EXPECT_EQ(one->value(), 2) << "a result does not wait for the next input";
    slow.close(std::make_exception_ptr(std::runtime_error("torn")));
    EXPECT_EQ(co_await error_of(values_of(waits)), "torn");
  });
}

// AS-01
TEST(async_stream, options_are_checked_when_it_is_built) {
  EXPECT_THROW(rn::max_concurrency(0), rn::misuse_error);
  EXPECT_THROW(rn::max_concurrency(-1), rn::misuse_error);
  EXPECT_THROW(rn::timeout(-1ms), rn::misuse_error);
  EXPECT_THROW((void)rn::async_stream(first_numbers(1), twice), rn::misuse_error);
}

TEST(async_stream, only_the_goroutine_that_made_it_consumes_it_and_only_in_its_scope) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto items = rn::async_stream(first_numbers(3), twice);
    co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
      co_await g.go([](decltype(items)& s) -> rn::task<> {
        EXPECT_EQ(co_await error_of(s.next()), "runnel: a stream is consumed by the goroutine that made it");
        EXPECT_EQ(co_await error_of(s.collect()), "runnel: a stream is consumed by the goroutine that made it");
      }, std::ref(items));
    });
    auto moved = std::move(items);
    EXPECT_THROW((void)items.next(), rn::misuse_error);  // NOLINT: that is what is tested
    {
      auto got = co_await values_of(moved);
      EXPECT_EQ(got, (std::vector<int>{0, 2, 4}));
    }
    auto escaped = co_await rn::with_errgroup([&](rn::errgroup&) -> rn::task<decltype(items)> {
      auto made = rn::async_stream(first_numbers(30), rn::max_concurrency(2), twice);
      (void)co_await made.next();
      co_return std::move(made);
    });
    EXPECT_EQ(co_await error_of(escaped.next()), "runnel: the scope in which this stream was made has ended");
  });
}

TEST(async_stream, two_streams_are_read_in_turns) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto inputs = first_numbers(20);
    auto a = rn::async_stream(inputs, rn::max_concurrency(3), twice);
    auto b = rn::async_stream(inputs, rn::max_concurrency(3), [](int n) { return -n; });
    for (int i = 0; i < 20; ++i) {
      auto x = co_await a.next();
      auto y = co_await b.next();
      EXPECT_EQ(x->value() + 2 * y->value(), 0);
    }
  });
}

TEST(map, values_in_the_order_of_the_inputs) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto inputs = first_numbers(50);
    auto values = co_await rn::map(inputs, rn::max_concurrency(8), twice);
    for (int i = 0; i < 50; ++i) EXPECT_EQ(values[static_cast<std::size_t>(i)], 2 * i);
    auto none = co_await rn::map(std::vector<int>(), twice);
    EXPECT_TRUE(none.empty());
    auto nothing = co_await rn::map(inputs, [](int) {});
    EXPECT_EQ(nothing.size(), 50u);
  });
}

TEST(map, the_first_error_ends_it_and_the_others_have_been_joined) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    auto work = [&alive](int n) -> rn::task<int> {
      if (n == 3) {
        co_await until([&] { return alive == 3; });
        test::fail("three");
      }
      co_await test::park_for_ever(alive);
      co_return n;
    };
    auto inputs = first_numbers(10);
    EXPECT_EQ(co_await error_of(rn::map(inputs, rn::max_concurrency(4), work)), "three");
    EXPECT_EQ(alive, 0);
    EXPECT_EQ(co_await error_of(rn::for_each(inputs, rn::max_concurrency(4), work)), "three");
    EXPECT_EQ(alive, 0);
  });
}

TEST(map, its_tasks_are_under_the_context_of_who_awaits_it) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    auto inputs = first_numbers(10);
    auto work = [&alive](int n) -> rn::task<int> {
      EXPECT_TRUE(rn::this_context().deadline());
      co_await test::park_for_ever(alive);
      co_return n;
    };
    auto r = co_await rn::as_result(rn::with_timeout(1ms, rn::map(inputs, work)));
    EXPECT_FALSE(r.ok());
    EXPECT_EQ(alive, 0);
  });
}

TEST(for_each, each_input_once) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> sum = 0;
    co_await rn::for_each(first_numbers(100), rn::max_concurrency(5), [&sum](int n) -> rn::task<> {
      co_await rn::yield();
      sum += n;
    });
    EXPECT_EQ(sum, 4950);
  });
}

}  // namespace
