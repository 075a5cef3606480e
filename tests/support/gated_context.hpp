// SPDX-License-Identifier: BSL-1.0
// support/gated_context.hpp: an execution context whose post() returns late, as one may that is interrupted in it.
#pragma once

#include <boost/asio/execution.hpp>
#include <boost/asio/execution_context.hpp>

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

namespace runnel_test {

/// What is posted can run at once, by run_all(); a thread that is held posts, and stays there until the gate is open.
class gated_context : public boost::asio::execution_context {
 public:
  class executor_type {
   public:
    explicit executor_type(gated_context& c) noexcept : x_context(&c) {}
    gated_context& query(boost::asio::execution::context_t) const noexcept { return *x_context; }
    static constexpr boost::asio::execution::blocking_t query(boost::asio::execution::blocking_t) noexcept {
      return boost::asio::execution::blocking.never;
    }
    template <class F> void execute(F&& f) const {
      x_context->add([shared = std::make_shared<std::decay_t<F>>(std::forward<F>(f))] { (*shared)(); });
    }
    friend bool operator==(const executor_type& a, const executor_type& b) noexcept { return a.x_context == b.x_context; }
    friend bool operator!=(const executor_type& a, const executor_type& b) noexcept { return !(a == b); }

   private:
    gated_context* x_context;
  };

  gated_context() = default;
  ~gated_context() { end(); }
  /// Its services end, and with them what they have.
  void end() {
    shutdown();
    destroy();
  }
  executor_type get_executor() noexcept { return executor_type(*this); }

  void run_all() {
    for (;;) {
      std::function<void()> next;
      {
        std::lock_guard hold(x_mutex);
        if (x_posted.empty()) return;
        next = std::move(x_posted.front());
        x_posted.pop_front();
      }
      next();
    }
  }
  /// The calling thread is held at its next post().
  void hold_me() { x_held_thread = std::this_thread::get_id(); }
  bool is_held() const noexcept { return x_is_held; }
  void open_gate() noexcept { x_is_open = true; }

 private:
  void add(std::function<void()> f) {
    {
      std::lock_guard hold(x_mutex);
      x_posted.push_back(std::move(f));
    }
    if (x_held_thread.load() != std::this_thread::get_id()) return;
    x_is_held = true;
    while (!x_is_open) std::this_thread::yield();
    x_is_held = false;  // touches what must still be there
  }
  std::mutex x_mutex;
  std::deque<std::function<void()>> x_posted;
  std::atomic<std::thread::id> x_held_thread{};
  std::atomic<bool> x_is_held{false}, x_is_open{false};
};

}  // namespace runnel_test
