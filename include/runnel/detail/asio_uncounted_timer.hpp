// SPDX-License-Identifier: BSL-1.0
// runnel/detail/asio_uncounted_timer.hpp: a timer for housekeeping, for which nobody keeps a context running.
// Layer: L2
#pragma once

#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/execution/context.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/wait_traits.hpp>
#include <boost/system/error_code.hpp>

#include <chrono>
#include <utility>

namespace runnel::detail {

// Asio counts a wait as a piece of work, and run() and join() wait until there is none. This timer takes its wait off
// that count until the handler runs.
//
// Invariants:
//   1. A wait is counted once, by Asio's scheduler: timer_executor knows nothing of work that would be held on top.
//   2. From the start of a wait to the call of its handler that one is taken off, so the count is what the others have.
//      Asio takes it off when the handler has run, and not for one that is destroyed with the context.
//
// An executor that does not give its count away (Asio's do, unless BOOST_ASIO_NO_TS_EXECUTORS says not) keeps the wait.
//
// Thread-safety: none, as of Asio's timers. Lifetime: a handler that outlives the timer is called with an error.
template <class Executor> class asio_uncounted_timer {
 public:
  explicit asio_uncounted_timer(const Executor& executor) : x_executor(executor), x_timer(timer_executor{executor}) {}

  // Calls handler(error_code) later. One that waits already is called with an error.
  template <class Handler> void wait(std::chrono::nanoseconds after, Handler handler) {
    x_timer.expires_after(after);
    x_timer.async_wait(counted_handler<Handler>{x_executor, std::move(handler)});
    if constexpr (counts) x_executor.on_work_finished();
  }

 private:
  static constexpr bool counts = requires(const Executor& e) { e.on_work_started(), e.on_work_finished(); };

  struct timer_executor {
    Executor inner;
    auto& query(boost::asio::execution::context_t) const noexcept {
      return boost::asio::query(inner, boost::asio::execution::context);
    }
    template <class F> void execute(F&& f) const { inner.execute(std::forward<F>(f)); }
    bool operator==(const timer_executor&) const noexcept = default;
  };
  template <class Handler> struct counted_handler {
    using allocator_type = typename Handler::allocator_type;
    Executor executor;
    Handler handler;
    allocator_type get_allocator() const noexcept { return handler.get_allocator(); }
    void operator()(boost::system::error_code error) const {
      if constexpr (counts) executor.on_work_started();
      handler(error);
    }
  };

  Executor x_executor;
  boost::asio::basic_waitable_timer<std::chrono::steady_clock, boost::asio::wait_traits<std::chrono::steady_clock>,
                                    timer_executor>
      x_timer;
};

}  // namespace runnel::detail
