// SPDX-License-Identifier: BSL-1.0
// Out of memory at every allocation of making a channel and of starting a goroutine: bad_alloc is thrown at the call,
// there is no effect, and nothing leaks. And what never allocates: waking, closing, cancelling, selecting.
//
// Frames fail by detail::frame_alloc_hook, everything else by this program's operator new, which stands here for the
// whole program and changes nothing for anybody who has not asked it to. A sanitizer needs its own: there frames alone
// fail.
#include <runnel/after.hpp>
#include <runnel/all.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/detail/frame_pool.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>
#include <runnel/select.hpp>
#include <runnel/sleep.hpp>
#include <runnel/this_task.hpp>
#include <runnel/ticker.hpp>
#include <runnel/with_context.hpp>

#include "support/channel_waiters.hpp"
#include "support/failing_allocations.hpp"
#include "support/wait_until.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#if RUNNEL_TEST_OPERATOR_NEW

static constinit std::atomic<long> blocks_out{0};  // allocated and not yet freed, by the whole program

void* operator new(std::size_t size) {
  if (runnel_test::allocation_watch::here().next_fails()) throw std::bad_alloc();
  void* p = std::malloc(size ? size : 1);
  if (!p) throw std::bad_alloc();
  ++blocks_out;
  return p;
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  if (runnel_test::allocation_watch::here().next_fails()) throw std::bad_alloc();
  auto a = static_cast<std::size_t>(alignment);
  if (a < sizeof(void*)) a = sizeof(void*);
  void* p = size > static_cast<std::size_t>(-1) - a ? nullptr : std::aligned_alloc(a, (size + a - 1) / a * a);
  if (!p) throw std::bad_alloc();
  ++blocks_out;
  return p;
}
void operator delete(void* p) noexcept {
  if (p) --blocks_out;
  std::free(p);
}
void operator delete(void* p, std::size_t) noexcept { operator delete(p); }
void operator delete(void* p, std::align_val_t) noexcept { operator delete(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { operator delete(p); }

#endif

namespace {

namespace rn = runnel;
using runnel_test::allocation_watch;
using runnel_test::eventually;

class out_of_memory : public runnel_test::failing_allocations {};

struct attempt {
  bool threw = false;
  bool failed = false;
  int allocations = 0;
};

// Runs f with the n-th of its allocations failing; -1: with none.
template <class F>
attempt with_failure(int n, F&& f) {
  auto& watch = allocation_watch::here();
  watch = {true, false, 0, n};
  attempt result;
  try {
    f();
  } catch (const std::bad_alloc&) {
    result.threw = true;
  }
  watch.armed = false;
  result.failed = watch.failed;
  result.allocations = watch.seen;
  return result;
}

template <class F>
int allocations_of(F&& f) {
  return with_failure(-1, std::forward<F>(f)).allocations;
}

// Fails each allocation of f in turn until it gets through, and asks after each failure whether nothing has happened.
template <class F, class Unchanged>
int fail_each(F&& f, Unchanged&& unchanged) {
  for (int n = 0;; ++n) {
    attempt a = with_failure(n, f);
    EXPECT_EQ(a.threw, a.failed) << "allocation " << n;
    if (!a.failed) return n;
    unchanged();
  }
}

TEST_F(out_of_memory, making_a_channel_throws_and_leaves_nothing) {
#if RUNNEL_TEST_OPERATOR_NEW
  std::vector<rn::chan<std::string>> made;
  made.reserve(500);
  int failures = 0, most = 0;
  for (int i = 0; i < 200; ++i) {  // more than one chunk of the pool has
    long before = 0;
    int n = fail_each(
        [&] {
          before = blocks_out;
          made.emplace_back(i % 3 == 0 ? 0 : i);
        },
        [&] { EXPECT_EQ(blocks_out, before); });
    EXPECT_EQ(made.size(), static_cast<std::size_t>(i + 1));
    EXPECT_EQ(made.back().cap(), static_cast<std::size_t>(i % 3 == 0 ? 0 : i));
    failures += n;
    most = n > most ? n : most;
  }
  EXPECT_GT(failures, 133);  // the buffers, and the chunks
  EXPECT_EQ(most, 2);
  for (auto& ch : made) EXPECT_EQ(ch.try_send("x"), ch.cap() > 0);
#else
  GTEST_SKIP() << "the sanitizer's allocator cannot be made to fail";
#endif
}

std::atomic<int> ran{0};
rn::task<> own_root(std::shared_ptr<int>) {
  ++ran;
  co_return;
}
void plain(const std::shared_ptr<int>&) { ++ran; }
struct key {
  using type = int;
};

// Starts with each of the ways to start, each of their allocations failing; p is what the goroutine is given.
template <class Start>
void fail_each_start(Start start, std::function<std::size_t()> live) {
  auto p = std::make_shared<int>(1);
  int ran_before = ran;
  std::size_t live_before = live();
  auto frames = rn::detail::frame_pool_stats().live_blocks;
  int n = fail_each([&] { start(p); },
                    [&] {
                      EXPECT_EQ(p.use_count(), 1);
                      EXPECT_EQ(live(), live_before);
                      EXPECT_EQ(rn::detail::frame_pool_stats().live_blocks, frames);
                    });
  EXPECT_GE(n, 2);  // at least a frame and a goroutine
  runnel_test::wait_until([&] { return live() == live_before; });
  EXPECT_EQ(ran, ran_before + 1);
  EXPECT_EQ(p.use_count(), 1);
}

TEST_F(out_of_memory, starting_a_goroutine_from_outside_throws_and_leaves_nothing) {
  rn::runtime rt(rn::threads(1));
  auto live = [&] { return rt.live(); };
  fail_each_start([&](auto& p) { rt.go(own_root, p); }, live);
  fail_each_start([&](auto& p) { rt.go(plain, p); }, live);
  fail_each_start([&](auto& p) { rt.go([p]() -> rn::task<> { return own_root(p); }); }, live);
  fail_each_start([&](auto& p) { rt.run([p] { ++ran; }); }, live);
}

// In a goroutine, whose values make a context for each that it starts.
TEST_F(out_of_memory, starting_a_goroutine_from_a_goroutine_throws_and_leaves_nothing) {
  rn::runtime rt(rn::threads(1));
  for (bool with_values : {false, true}) {
    int ran_before = ran, failures = 0;
    rt.run([&]() -> rn::task<> {
      auto body = [&]() -> rn::task<> {
        auto p = std::make_shared<int>(1);
        for (int form = 0; form < 3; ++form) {
          auto frames = rn::detail::frame_pool_stats().live_blocks;
          failures += fail_each(
              [&] {
                if (form == 0) rn::go(own_root, p);
                if (form == 1) rn::go(plain, p);
                if (form == 2) rn::go([p] { ++ran; });
              },
              [&] {
                EXPECT_EQ(rt.live(), 1u);
                EXPECT_EQ(p.use_count(), 1);
                EXPECT_EQ(rn::detail::frame_pool_stats().live_blocks, frames);
              });
          co_await eventually([&] { return rt.live() == 1; });
        }
      };
      auto ctx = rn::context::background();
      if (with_values) ctx = ctx.with_value<key>(1);
      co_await rn::with_context(ctx, body());
    });
    EXPECT_EQ(ran, ran_before + 3);
    EXPECT_EQ(failures, with_values ? 9 : 6);
  }
}

struct other_key {
  using type = int;
};

// with_context, where the values of two contexts have to be put together: thrown by the co_await, and nothing has
// begun.
TEST_F(out_of_memory, entering_a_context_throws_and_leaves_nothing) {
  rn::runtime rt(rn::threads(1));
  int failures = 0, entered = 0;
  rt.run([&]() -> rn::task<> {
    auto ctx = rn::context::background().with_value<other_key>(1).with_value<other_key>(2);
    auto work = [&]() -> rn::task<> {
      allocation_watch::here().armed = false;
      EXPECT_EQ(*rn::this_context().value<key>(), 1);
      EXPECT_EQ(*rn::this_context().value<other_key>(), 2);
      ++entered;
      co_return;
    };
    auto under = [&]() -> rn::task<> {
      auto& watch = allocation_watch::here();
      for (int n = 0;; ++n) {
        if (entered != 0) break;
        auto frames = rn::detail::frame_pool_stats().live_blocks;
        try {
          watch = {true, false, 0, n};
          co_await rn::with_context(ctx, work());
        } catch (const std::bad_alloc&) {
          ++failures;
        }
        watch.armed = false;
        EXPECT_EQ(rn::detail::frame_pool_stats().live_blocks, frames);
        auto here = rn::this_context();
        EXPECT_EQ(*here.value<key>(), 1);
        EXPECT_EQ(here.value<other_key>(), nullptr);
      }
    };
    co_await rn::with_value<key>(1, under());
  });
  EXPECT_EQ(entered, 1);
  EXPECT_EQ(failures, RUNNEL_TEST_OPERATOR_NEW ? 3 : 1);  // the frame of work, and the two values of ctx
}

rn::task<> wait_at(rn::chan<int> ch, bool sends) {
  if (sends) {
    try {
      co_await ch.send(1);
    } catch (const rn::closed_channel&) {
    }
  } else {
    co_await ch.recv();
  }
}

TEST_F(out_of_memory, does_not_touch_waking_closing_and_cancelling) {
  rn::runtime rt(rn::threads(1));
  rt.run([&]() -> rn::task<> {
    for (bool senders : {false, true}) {
      rn::chan<int> ch(0);
      rn::errgroup woken, closed;
      rn::errgroup cancelled;
      auto waiting = [&] { return runnel_test::waiting_senders(ch) + runnel_test::waiting_receivers(ch); };
      for (int i = 0; i < 100; ++i) woken.go(wait_at, ch, senders);
      co_await eventually([&] { return waiting() == 100; });
      EXPECT_EQ(allocations_of([&] {
                  for (int i = 0; i < 100; ++i) {
                    if (senders)
                      (void)ch.try_recv();
                    else
                      (void)ch.try_send(i);
                  }
                }),
                0);
      EXPECT_EQ(waiting(), 0u);
      for (int i = 0; i < 100; ++i) cancelled.go(wait_at, ch, senders);
      co_await eventually([&] { return waiting() == 100; });
      EXPECT_EQ(allocations_of([&] { cancelled.cancel(); }), 0);
      EXPECT_EQ(waiting(), 0u);
      for (int i = 0; i < 100; ++i) closed.go(wait_at, ch, senders);
      co_await eventually([&] { return waiting() == 100; });
      EXPECT_EQ(allocations_of([&] { ch.close(); }), 0);
      EXPECT_EQ(waiting(), 0u);
      co_await woken.wait();
      co_await cancelled.wait();
      co_await closed.wait();
    }
  });
}

// On one thread, so that what the goroutine awaits, and whoever it waits for, allocates under the watch.
TEST_F(out_of_memory, does_not_touch_a_select) {
  rn::runtime rt(rn::threads(1));
  rt.run([]() -> rn::task<> {
    rn::chan<int> a(0), b(0), full(1), nil;
    (void)full.try_send(1);
    auto feed = [](rn::chan<int> to) -> rn::task<> {
      for (int i = 0; i < 40; ++i) co_await to.send(i);
    };
    rn::go(feed, a);
    rn::ticker ticker(std::chrono::hours(1));
    std::vector<decltype(a.recv())> few;
    for (int i = 0; i < 8; ++i) few.push_back(i % 2 == 0 ? a.recv() : b.recv());
    auto& watch = allocation_watch::here();
    auto all_forms = [&]() -> rn::task<> {
      for (int i = 0; i < 10; ++i) {
        co_await rn::select(a.recv(), b.recv(), full.send(2), nil.recv());
        co_await rn::select(rn::on(a.recv(), [] {}), rn::on(b.recv(), [] {}), rn::on(rn::after(std::chrono::hours(1)), [] {}),
                            rn::on(ticker.recv(), [] {}), rn::on(rn::done(), [] {}));
        co_await rn::select(b.recv(), full.send(2), rn::otherwise);
        co_await rn::select(few);
      }
    };
    co_await all_forms();  // Asio's timer makes its queue
    rn::go(feed, a);
    co_await rn::yield();
    rn::task<> again = all_forms();
    watch = {true, false, 0, -1};
    co_await std::move(again);
    watch.armed = false;
    EXPECT_EQ(watch.seen, 0);
  });
}

TEST_F(out_of_memory, a_select_over_many_throws_at_the_call_and_has_no_effect) {
#if RUNNEL_TEST_OPERATOR_NEW
  rn::runtime rt(rn::threads(1));
  rt.run([]() -> rn::task<> {
    rn::chan<int> ready(1);
    co_await ready.send(1);
    std::vector<decltype(ready.recv())> ops;
    for (int i = 0; i < 100; ++i) ops.push_back(ready.recv());
    int n = fail_each([&] { [[maybe_unused]] auto made = rn::select(ops, rn::otherwise); },
                      [&] { EXPECT_EQ(ready.len(), 1u); });
    EXPECT_GE(n, 2);
    EXPECT_EQ((co_await rn::select(ops)).get(), 1);
  });
#else
  GTEST_SKIP() << "the sanitizer's allocator cannot be made to fail";
#endif
}

TEST_F(out_of_memory, a_coroutine_handler_without_memory_throws_and_leaks_nothing) {
  rn::runtime rt(rn::threads(1));
  rt.run([]() -> rn::task<> {
    rn::chan<std::shared_ptr<int>> ch(1);
    auto p = std::make_shared<int>(1);
    auto handler = [](std::optional<std::shared_ptr<int>> v) -> rn::task<int> { co_return **v; };
    auto& watch = allocation_watch::here();
    int got = 0;
    for (int n = 0; got == 0; ++n) {
      if (ch.len() == 0) co_await ch.send(p);
      watch = {true, false, 0, n};
      try {
        got = co_await rn::select(rn::on(ch.recv(), handler));
      } catch (const std::bad_alloc&) {
      }
      watch.armed = false;
      EXPECT_EQ(watch.failed, got == 0);
      EXPECT_EQ(p.use_count(), static_cast<long>(1 + ch.len()));
    }
    EXPECT_EQ(got, 1);
  });
}

TEST_F(out_of_memory, a_child_of_all_that_first_waits_by_a_select_throws_there) {
  rn::runtime rt(rn::threads(1));
  rt.run([]() -> rn::task<> {
    rn::chan<int> ready(1), other(0);
    co_await ready.send(1);
    int refused = 0;
    for (int n = 0; ready.len() == 1; ++n) {
      auto child = [&]() -> rn::task<> {
        auto& watch = allocation_watch::here();
        watch = {true, false, 0, n};
        try {
          co_await rn::select(ready.recv(), other.recv());
        } catch (const std::bad_alloc&) {
          ++refused;
          EXPECT_EQ(ready.len(), 1u);
        }
        watch.armed = false;
      };
      co_await rn::all(child());
    }
    EXPECT_GE(refused, 2);  // a goroutine, and a context for its join
  });
}

#if RUNNEL_TEST_OPERATOR_NEW
TEST(out_of_memory_death, a_timer_of_asio_that_gets_none_ends_the_program_with_a_sentence) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  auto sleeps = [] {
    rn::runtime rt(rn::threads(1));
    rt.run([]() -> rn::task<> {
      for (int n = 0; n < 100; ++n) {
        auto& watch = allocation_watch::here();
        watch = {true, false, 0, n};
        try {
          co_await rn::with_timeout(std::chrono::hours(1), rn::sleep(std::chrono::microseconds(1)));  // sleeps: a timer
        } catch (const std::bad_alloc&) {
        }
        watch.armed = false;
      }
    });
  };
  EXPECT_DEATH(sleeps(), "runnel: Asio has no memory for its timer");
}
#endif

}  // namespace
