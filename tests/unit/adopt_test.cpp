// SPDX-License-Identifier: BSL-1.0
#include <runnel/adopt.hpp>

#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/as_result.hpp>
#include <runnel/runtime.hpp>
#include <runnel/with_context.hpp>

#include "support/conserves_frames.hpp"
#include "support/wait_until.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <coroutine>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

namespace {

namespace rn = runnel;
using runnel_test::eventually;
using runnel_test::on_1_2_and_4_threads;

class adopt : public runnel_test::conserves_frames {};

// Another library: it resumes what awaits it on a thread of its own.
class elsewhere {
 public:
  elsewhere() : x_thread([this] { work(); }) {}
  ~elsewhere() {
    post(nullptr);
    x_thread.join();
  }
  void post(std::coroutine_handle<> h) {
    std::lock_guard hold(x_mutex);
    x_ready.push_back(h);
    x_changed.notify_one();
  }
  /// Nothing is resumed until it is opened again.
  void open(bool yes) {
    std::lock_guard hold(x_mutex);
    x_open = yes;
    x_changed.notify_one();
  }
  std::size_t waiting() {
    std::lock_guard hold(x_mutex);
    return x_ready.size();
  }
  std::thread::id id() const { return x_thread.get_id(); }

 private:
  void work() {
    for (std::unique_lock hold(x_mutex);;) {
      x_changed.wait(hold, [this] { return x_open && !x_ready.empty(); });
      auto next = x_ready.front();
      x_ready.pop_front();
      if (!next) return;
      hold.unlock();
      next.resume();
      hold.lock();
    }
  }
  std::mutex x_mutex;
  std::condition_variable x_changed;
  std::deque<std::coroutine_handle<>> x_ready;
  bool x_open = true;
  std::thread x_thread;
};

template <class T>
class foreign {
 public:
  foreign(elsewhere& where, std::function<T()> f) : x_where(&where), x_f(std::move(f)) {}
  foreign(foreign&&) = default;
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> h) {
    started = true;
    x_where->post(h);
  }
  T await_resume() {
    resumed_on = std::this_thread::get_id();
    return x_f();
  }
  bool started = false;
  std::thread::id resumed_on;

 private:
  elsewhere* x_where;
  std::function<T()> x_f;
};

TEST_F(adopt, yields_what_the_foreign_awaitable_yields_and_resumes_at_home) {
  elsewhere there;
  on_1_2_and_4_threads([&]() -> rn::task<> {
    foreign<int> f(there, [] { return 5; });
    EXPECT_EQ(co_await rn::adopt(f), 5);
    EXPECT_EQ(f.resumed_on, there.id());
    EXPECT_NE(std::this_thread::get_id(), there.id());
    EXPECT_TRUE(rn::detail::this_processor());

    bool ran = false;
    foreign<void> nothing(there, [&] { ran = true; });
    co_await rn::adopt(nothing);
    EXPECT_TRUE(ran);

    foreign<std::unique_ptr<int>> owner(there, [] { return std::make_unique<int>(6); });
    auto p = co_await rn::adopt(std::move(owner));
    EXPECT_EQ(*p, 6);
  });
}

TEST_F(adopt, rethrows_what_the_foreign_awaitable_throws) {
  elsewhere there;
  on_1_2_and_4_threads([&]() -> rn::task<> {
    foreign<int> f(there, []() -> int { throw std::runtime_error("foreign"); });
    std::string caught;
    try {
      co_await rn::adopt(f);
    } catch (const std::runtime_error& e) {
      caught = e.what();
    }
    EXPECT_EQ(caught, "foreign");
  });
}

// One that completes on the spot, and two ways to say operator co_await.
struct at_once {
  int value;
  bool await_ready() const noexcept { return true; }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  int await_resume() const noexcept { return value; }
};
struct by_member {
  at_once operator co_await() const noexcept { return {1}; }
};
struct by_function {};
at_once operator co_await(const by_function&) noexcept { return {2}; }

TEST_F(adopt, takes_awaiters_and_both_forms_of_operator_co_await) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    EXPECT_EQ(co_await rn::adopt(at_once{0}), 0);
    EXPECT_EQ(co_await rn::adopt(by_member()), 1);
    EXPECT_EQ(co_await rn::adopt(by_function()), 2);
    int sum = 0;
    for (int i = 0; i < 1000; ++i) sum += co_await rn::adopt(at_once{1});
    EXPECT_EQ(sum, 1000);
  });
}

rn::task<> adopting(foreign<int>& f, std::atomic<int>& got, std::atomic<int>& after, rn::chan<int> nobody) {
  got = co_await rn::adopt(f);
  co_await nobody.recv();
  ++after;
}

TEST_F(adopt, is_shielded_from_cancellation_until_the_foreign_work_has_ended) {
  elsewhere there;
  on_1_2_and_4_threads([&]() -> rn::task<> {
    there.open(false);
    foreign<int> f(there, [] { return 7; });
    std::atomic<int> got{0}, after{0};
    rn::errgroup g;
    g.go(adopting, std::ref(f), std::ref(got), std::ref(after), rn::chan<int>());
    co_await eventually([&] { return there.waiting() == 1; });
    g.cancel();
    for (int i = 0; i < 50; ++i) co_await rn::yield();
    EXPECT_EQ(g.live(), 1u);
    there.open(true);
    co_await g.wait();
    EXPECT_EQ(got, 7);
    EXPECT_EQ(after, 0);  // what comes after it unwinds
  });
}

TEST_F(adopt, does_not_start_under_a_context_that_is_done) {
  elsewhere there;
  on_1_2_and_4_threads([&]() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    cancel();
    foreign<int> f(there, [] { return 7; });
    auto r = co_await rn::as_result(rn::with_context(ctx, rn::adopt(f)));
    EXPECT_TRUE(r.canceled());
    EXPECT_FALSE(f.started);
  });
}

rn::task<> adopt_many(elsewhere& there, std::atomic<int>& sum) {
  for (int i = 0; i < 50; ++i) {
    foreign<int> f(there, [] { return 1; });
    sum += co_await rn::adopt(f);
  }
}

TEST_F(adopt, many_goroutines_adopt_at_once) {
  elsewhere there;
  on_1_2_and_4_threads([&]() -> rn::task<> {
    std::atomic<int> sum{0};
    rn::errgroup g;
    for (int i = 0; i < 20; ++i) g.go(adopt_many, std::ref(there), std::ref(sum));
    co_await g.wait();
    EXPECT_EQ(sum, 1000);
  });
}

}  // namespace
