// SPDX-License-Identifier: BSL-1.0
// runnel/detail/asio_test_world.hpp: operations of Asio in a test run, on objects that live in memory.
// Layer: L13
#pragma once

#include <runnel/detail/asio_world.hpp>
#include <runnel/detail/goroutine.hpp>
#include <runnel/detail/scheduler_core.hpp>
#include <runnel/detail/test_faults.hpp>
#include <runnel/error.hpp>

#include <boost/asio/execution/blocking.hpp>
#include <boost/asio/execution/context.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/system/system_error.hpp>

#include <atomic>
#include <cstddef>
#include <exception>
#include <iterator>
#include <list>
#include <memory>
#include <thread>
#include <type_traits>
#include <utility>

namespace runnel::detail {

inline bool is_injected(const std::exception_ptr& error) noexcept {
  try {
    std::rethrow_exception(error);
  } catch (const boost::system::system_error& e) {
    return e.code() == injected_error();
  } catch (...) {
    return false;
  }
}

// The execution context of a test run: whatever is posted to it is a step of the run, for the schedule to choose.
// Nothing comes from outside: what another thread posts, or what comes after the run's end, is destroyed.
//
// Executors share it, so that an object that outlives the run finds it alive, and closed.
//
//   x_thread, x_handlers, x_counts   of the run's thread
//   x_open                           read by others too, by mistake
class asio_test_world final : public asio_world,
                              public boost::asio::execution_context,
                              public std::enable_shared_from_this<asio_test_world> {
 public:
  class executor;
  struct handler {
    virtual ~handler() = default;
    virtual void operator()() = 0;
  };

  explicit asio_test_world(fault_count& operations) noexcept : asio_world(true), x_operations(operations) {}
  ~asio_test_world() { shutdown(); }

  std::size_t waiting() const noexcept { return x_handlers.size(); }
  void run(std::size_t n) {
    auto at = std::next(x_handlers.begin(), static_cast<std::ptrdiff_t>(n));
    std::unique_ptr<handler> next = std::move(*at);
    x_handlers.erase(at);
    try {
      (*next)();
    } catch (...) {
      if (!error) error = std::current_exception();
    }
  }
  std::exception_ptr error;  // that left a handler
  // The run is over.
  void close() noexcept {
    x_open.store(false, std::memory_order_relaxed);
    x_handlers.clear();
    shutdown();  // of the services: a strand's queue refers to the strand, and that to us
  }

  boost::asio::any_io_executor get_executor() const override;
  void go_on(goroutine& g, bool) noexcept override {
    fifo one;
    one.push(&g);
    g.core().schedule_all(one);
  }
  bool begins(const boost::asio::execution_context* where, bool can_fail) override {
    if (where != this)
      throw misuse_error(
          "runnel: an operation of Asio on an object of another context under test::run, where time is virtual and "
          "nothing comes from outside: give it an object in memory whose executor is rn::this_executor(), or run the "
          "test in a runtime");
    return can_fail && x_operations.next_fails();
  }

 private:
  // Whether the caller runs in the run.
  bool is_here() const noexcept {
    return x_open.load(std::memory_order_relaxed) && std::this_thread::get_id() == x_thread;
  }
  template <class F> struct handler_of final : handler {
    explicit handler_of(F&& from) : f(std::move(from)) {}
    void operator()() override { std::move(f)(); }
    F f;
  };

  const std::thread::id x_thread = std::this_thread::get_id();
  std::list<std::unique_ptr<handler>> x_handlers;  // oldest first
  fault_count& x_operations;
  std::atomic<bool> x_open{true};
};

// As a pool's executor does it, dispatch() runs a function at once: whoever calls it in the run is on its thread.
class asio_test_world::executor {
 public:
  explicit executor(std::shared_ptr<asio_test_world> world) noexcept : x_world(std::move(world)) {}

  template <class F> void execute(F&& f) const {
    if (!x_world->is_here()) return;
    if (!x_posts) return std::decay_t<F>(std::forward<F>(f))();
    x_world->x_handlers.push_back(std::make_unique<handler_of<std::decay_t<F>>>(std::decay_t<F>(std::forward<F>(f))));
  }
  boost::asio::execution_context& query(boost::asio::execution::context_t) const noexcept { return *x_world; }
  boost::asio::execution::blocking_t query(boost::asio::execution::blocking_t) const noexcept {
    if (x_posts) return boost::asio::execution::blocking.never;
    return boost::asio::execution::blocking.possibly;
  }
  executor require(boost::asio::execution::blocking_t::never_t) const noexcept { return with(true); }
  executor require(boost::asio::execution::blocking_t::possibly_t) const noexcept { return with(false); }

  friend bool operator==(const executor& a, const executor& b) noexcept {
    return a.x_world == b.x_world && a.x_posts == b.x_posts;
  }
  friend bool operator!=(const executor& a, const executor& b) noexcept { return !(a == b); }

 private:
  executor with(bool posts) const noexcept {
    executor other = *this;
    other.x_posts = posts;
    return other;
  }

  std::shared_ptr<asio_test_world> x_world;
  bool x_posts = false;
};

inline boost::asio::any_io_executor asio_test_world::get_executor() const {
  return executor(std::const_pointer_cast<asio_test_world>(shared_from_this()));
}

}  // namespace runnel::detail
