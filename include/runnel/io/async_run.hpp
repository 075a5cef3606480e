// SPDX-License-Identifier: BSL-1.0
// runnel/io/async_run.hpp: async_run, a goroutine as an operation of Asio.
// Layer: L11
#pragma once

#include <runnel/all.hpp>
#include <runnel/as_result.hpp>
#include <runnel/context.hpp>
#include <runnel/result.hpp>
#include <runnel/task.hpp>
#include <runnel/with_context.hpp>

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/system/system_error.hpp>

#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

namespace runnel {

namespace detail {

inline std::exception_ptr aborted_error() {
  return std::make_exception_ptr(boost::system::system_error(boost::asio::error::operation_aborted));
}

// Calls the handler on its executor, once: with the outcome, or as aborted when it dies without one.
template <class T, class Handler> class handler_to_call {
  using executor = boost::asio::associated_executor_t<Handler>;

 public:
  explicit handler_to_call(Handler handler)
      : x_work(boost::asio::get_associated_executor(handler)), x_handler(std::move(handler)) {}
  handler_to_call(handler_to_call&& other) noexcept
      : x_work(std::move(other.x_work)), x_handler(std::exchange(other.x_handler, std::nullopt)) {}
  handler_to_call& operator=(handler_to_call&&) = delete;
  ~handler_to_call() {
    if (x_handler) complete(result<T>());
  }
  void complete(result<T> outcome) noexcept {
    auto until_posted = x_work;  // the handler may end its context's run(), and the context, before post() returns
    boost::asio::post(until_posted.get_executor(),
                      call{std::move(x_work), std::move(*std::exchange(x_handler, std::nullopt)), std::move(outcome)});
  }

 private:
  struct call {
    boost::asio::executor_work_guard<executor> work;
    Handler handler;
    result<T> outcome;
    void operator()() {
      boost::asio::get_associated_cancellation_slot(handler).clear();
      std::exception_ptr error = outcome.canceled() ? aborted_error() : outcome.error();
      if constexpr (std::is_void_v<T>)
        std::move(handler)(std::move(error));
      else if (error)
        std::move(handler)(std::move(error), T());
      else
        std::move(handler)(std::move(error), std::move(outcome).value());
    }
  };

  boost::asio::executor_work_guard<executor> x_work;
  std::optional<Handler> x_handler;
};

template <class T, class Handler>
task<> run_for_handler(handler_to_call<T, Handler> handler, context ctx, task<T> work) {
  handler.complete(co_await as_result(with_context(ctx, std::move(work))));
}

struct start_for_handler {
  template <class Handler, class Scheduler, class T>
  void operator()(Handler&& handler, Scheduler* scheduler, task<T> work) const {
    using run = handler_to_call<T, std::decay_t<Handler>>;
    context ctx = context::background();
    if (auto slot = boost::asio::get_associated_cancellation_slot(handler); slot.is_connected()) {
      auto [derived, cancel] = ctx.with_cancel();
      ctx = std::move(derived);
      slot.template emplace<emission>(std::move(cancel));
    }
    try {
      scheduler->go(run_for_handler<T, std::decay_t<Handler>>, run(std::forward<Handler>(handler)), std::move(ctx),
                    std::move(work));
    } catch (...) {  // the handler has been told
    }
  }

 private:
  struct emission {
    cancel_function cancel;
    explicit emission(cancel_function c) noexcept : cancel(std::move(c)) {}
    void operator()(boost::asio::cancellation_type) noexcept { cancel(); }
  };
};

}  // namespace detail

/// Runs a task as a goroutine of a scheduler, or a runtime, for plain Asio code:
/// `int n = co_await rn::async_run(sched, work(x), asio::use_awaitable);`
///
/// Completes with: (exception_ptr) for a task<>, else (exception_ptr, T), as co_spawn does: T() along with an
/// exception. That is system_error(operation_aborted) if the goroutine was cancelled, or could not be started because
/// the scheduler ends or memory lacks.
/// Executor: the handler's associated one, which has work meanwhile; never called inside of this call.
/// Cancel-safety: any cancellation_type cancels the goroutine's context; the operation completes when it has unwound.
/// Lifetime: what the task refers to, and the scheduler, outlive the operation.
template <class Scheduler, class T, class Token> auto async_run(Scheduler& scheduler, task<T> work, Token&& token) {
  static_assert(std::is_void_v<T> || std::is_default_constructible_v<T>,
                "async_run: the handler gets a T along with an exception too, so T must be default-constructible, as "
                "with asio::co_spawn: return a std::optional");
  using plain = std::type_identity<void(std::exception_ptr)>;
  using with_value = std::type_identity<void(std::exception_ptr, detail::not_void<T>)>;
  using signature = typename std::conditional_t<std::is_void_v<T>, plain, with_value>::type;
  return boost::asio::async_initiate<Token, signature>(detail::start_for_handler(), token, &scheduler, std::move(work));
}

}  // namespace runnel
