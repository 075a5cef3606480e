// SPDX-License-Identifier: BSL-1.0
// support/checked_runtime.hpp: a runtime for one test, which keeps the errors that no join saw and finds leaks.
#pragma once

#include <gtest/gtest.h>
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/runtime.hpp>
#include <runnel/task.hpp>
#include <runnel/this_task.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace test {

/// The messages of errors, collected on any thread.
class error_log {
 public:
  void add(const std::exception_ptr& error) {
    std::lock_guard hold(x_mutex);
    x_messages.push_back(runnel::detail::what_of(error));
  }
  /// Sorted: which came first is mostly a matter of chance.
  std::vector<std::string> take() {
    std::lock_guard hold(x_mutex);
    std::sort(x_messages.begin(), x_messages.end());
    return std::exchange(x_messages, {});
  }

 private:
  std::mutex x_mutex;
  std::vector<std::string> x_messages;
};

/// Its destructor fails the test if frames, goroutines or nodes are left, or an error that the test did not take.
class checked_runtime {
 public:
  explicit checked_runtime(long threads) : x_live_before(live_blocks()) {
    runnel::runtime_options options;
    options.on_error([this](const runnel::goroutine_error& e) { x_of_go.add(e.error); });
    options.on_unobserved_error([this](const runnel::goroutine_error& e) { x_unobserved.add(e.error); });
    x_runtime.emplace(runnel::threads(threads), std::move(options));
  }
  checked_runtime(const checked_runtime&) = delete;
  checked_runtime& operator=(const checked_runtime&) = delete;
  ~checked_runtime() {
    x_runtime.reset();
    EXPECT_EQ(live_blocks(), x_live_before) << "frames, goroutines or nodes leaked";
    EXPECT_EQ(x_of_go.take(), std::vector<std::string>());
    EXPECT_EQ(x_unobserved.take(), std::vector<std::string>());
  }

  template <class F, class... A>
  auto run(F&& f, A&&... args) {
    return x_runtime->run(std::forward<F>(f), std::forward<A>(args)...);
  }
  runnel::runtime& get() noexcept { return *x_runtime; }
  /// Ends it, so that what the goroutines did last is seen.
  void shut_down() { x_runtime->shut_down(); }
  /// What was given to on_unobserved_error, and to on_error; forgotten once taken.
  std::vector<std::string> unobserved() { return x_unobserved.take(); }
  std::vector<std::string> of_go() { return x_of_go.take(); }

  static std::size_t live_blocks() noexcept {
    (void)runnel::context::background();  // made once, and never destroyed
    return runnel::detail::frame_pool_stats().live_blocks;
  }

 private:
  std::size_t x_live_before;
  error_log x_of_go;
  error_log x_unobserved;
  std::optional<runnel::runtime> x_runtime;
};

/// Runs app as a goroutine of a fresh checked_runtime, on one, two and four threads.
template <class F>
void on_1_2_and_4_threads(F&& app) {
  for (long n : {1, 2, 4}) {
    SCOPED_TRACE(testing::Message() << n << " threads");
    checked_runtime rt(n);
    rt.run(app);
  }
}

/// Lets others run until the condition holds.
template <class F>
runnel::task<> until(F condition) {
  while (!condition()) co_await runnel::yield();
}

/// Lets others run for a while, for what must not happen. On one thread everything runnable has run by then.
inline runnel::task<> let_others_run() {
  for (int i = 0; i < 100; ++i) co_await runnel::yield();
}

/// The message of the std::exception that work throws; empty if it returns.
template <class T>
runnel::task<std::string> error_of(runnel::task<T> work) {
  try {
    (void)co_await std::move(work);
  } catch (const std::exception& e) {
    co_return e.what();
  }
  co_return std::string();
}
/// The same for what is not a task: error_of_awaiting([&] { return g.wait(); }).
template <class F>
runnel::task<std::string> error_of_awaiting(F make) {
  try {
    (void)co_await make();
  } catch (const std::exception& e) {
    co_return e.what();
  }
  co_return std::string();
}

/// Counts how many of it are alive: a guard in a frame that must die.
class counted {
 public:
  explicit counted(std::atomic<int>& n) noexcept : x_n(&n) { ++*x_n; }
  counted(counted&& other) noexcept : x_n(std::exchange(other.x_n, nullptr)) {}
  counted& operator=(counted&&) = delete;
  ~counted() {
    if (x_n) --*x_n;
  }

 private:
  std::atomic<int>* x_n;
};

/// Parks for ever; `alive` counts those that have come here and are not yet unwound.
inline runnel::task<> park_for_ever(std::atomic<int>& alive) {
  counted guard(alive);
  runnel::chan<int> silent(0);
  co_await silent.recv();
  ADD_FAILURE() << "code after a receive that nobody answers has run";
}

/// Parks until it is cancelled, and then throws: an error that comes after somebody else's.
inline runnel::task<> fail_when_cancelled(std::atomic<int>& alive, std::string message) {
  auto r = co_await runnel::as_result(park_for_ever(alive));
  if (r.canceled()) throw std::runtime_error(message);
}

[[noreturn]] inline void fail(const std::string& message) { throw std::runtime_error(message); }

}  // namespace test
