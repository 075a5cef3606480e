// SPDX-License-Identifier: BSL-1.0
// runnel/io/use_task.hpp: use_task and use_result, the tokens by which a goroutine awaits an operation of Asio.
// Layer: L11
#pragma once

#include <runnel/detail/asio_case.hpp>
#include <runnel/detail/asio_operation.hpp>
#include <runnel/task.hpp>

#include <boost/asio/async_result.hpp>
#include <boost/asio/bind_executor.hpp>

#include <type_traits>
#include <utility>

namespace runnel {

/// A completion token: `std::size_t n = co_await socket.async_read_some(buffer, rn::use_task);`
///
/// Returns: what the operation completes with, behind the error: nothing, the value, or a tuple of several.
/// Suspends: until the operation has completed; the goroutine resumes on its own scheduler, in the handler itself where
/// that can be. The operation starts when it is awaited, and not before.
/// Cancel-safety: a cancellation asks the operation to end (cancellation_type::terminal); the goroutine unwinds when it
/// has ended as aborted. An operation that succeeds all the same delivers its result; one that does not listen delays
/// the end of its goroutine. Of an operation of many steps (async_read) something may have been transferred.
/// As a case of a select, if it is of a single step and has a name: it ends with the select, and keeps its result if it
/// had done its work all the same.
/// Throws: boost::system::system_error for an error_code; what an exception_ptr holds; what starting it throws;
/// misuse_error under test::run, unless the object is on the run's executor.
/// Ordering: what the operation's handlers did happens before the goroutine goes on.
/// Thread-safety: on an I/O object whose executor is a pool's, the request to end comes from any thread: whoever uses
/// the object at the same time in another goroutine needs a strand, as always with Asio. On a strand, or another
/// executor that is not a pool's, the operation is started, stepped and asked to end there.
/// Lifetime: the I/O object and the buffers outlive the operation: as locals of the goroutine they do.
struct use_task_t {
  constexpr use_task_t() noexcept = default;

  /// The executor of an I/O object whose operations need no token.
  template <class Inner> struct executor_with_default : Inner {
    using default_completion_token_type = use_task_t;
    template <class Other>
      requires(!std::is_same_v<Other, executor_with_default> && std::is_convertible_v<const Other&, Inner>)
    executor_with_default(const Other& other) : Inner(other) {}
  };
  template <class T>
  using as_default_on_t =
      typename T::template rebind_executor<executor_with_default<typename T::executor_type>>::other;
  /// `auto socket = rn::use_task.as_default_on(tcp::socket(ex));`, then `co_await socket.async_read_some(buffer)`.
  template <class T> static auto as_default_on(T&& object) {
    return as_default_on_t<std::decay_t<T>>(std::forward<T>(object));
  }
};
inline constexpr use_task_t use_task{};

/// The same, where an error is a value: `auto r = co_await socket.async_read_some(buffer, rn::use_result);`
///
/// Returns: an io_result. The rest as for use_task; a goroutine that is cancelled unwinds all the same.
struct use_result_t {
  constexpr use_result_t() noexcept = default;
};
inline constexpr use_result_t use_result{};

}  // namespace runnel

namespace runnel::detail {

// The initiation of an operation whose token is bound to an executor.
template <class Init, class Executor> struct bound_initiation {
  using executor_type = Executor;
  Init init;
  Executor ex;
  executor_type get_executor() const noexcept { return ex; }
  template <class H, class... Args> void operator()(H&& handler, Args&&... args) {
    std::move(init)(std::forward<H>(handler), std::forward<Args>(args)...);
  }
};

template <class Policy, class... A, class Init, class Executor, class... Args>
auto bound_operation(Init&& init, const Executor& ex, Args&&... args) {
  using bound = bound_initiation<std::decay_t<Init>, Executor>;
  return asio_operation<Policy, completion<std::decay_t<A>...>, bound, std::decay_t<Args>...>(
      std::in_place, bound{std::forward<Init>(init), ex}, std::forward<Args>(args)...);
}

}  // namespace runnel::detail

namespace boost::asio {

template <class R, class... A> class async_result<runnel::use_task_t, R(A...)> {
 public:
  template <class Init, class... Args> static auto initiate(Init&& init, runnel::use_task_t, Args&&... args) {
    using namespace runnel::detail;
    return asio_operation<throwing_policy, completion<std::decay_t<A>...>, std::decay_t<Init>, std::decay_t<Args>...>(
        std::in_place, std::forward<Init>(init), std::forward<Args>(args)...);
  }
};

template <class R, class... A> class async_result<runnel::use_result_t, R(A...)> {
 public:
  template <class Init, class... Args> static auto initiate(Init&& init, runnel::use_result_t, Args&&... args) {
    using namespace runnel::detail;
    return asio_operation<result_policy, completion<std::decay_t<A>...>, std::decay_t<Init>, std::decay_t<Args>...>(
        std::in_place, std::forward<Init>(init), std::forward<Args>(args)...);
  }
};

// asio::bind_executor(strand, rn::use_task): the operation is that executor's, as if its object were.
template <class Executor, class R, class... A>
class async_result<executor_binder<runnel::use_task_t, Executor>, R(A...)> {
 public:
  template <class Init, class Token, class... Args> static auto initiate(Init&& init, Token&& token, Args&&... args) {
    return runnel::detail::bound_operation<runnel::detail::throwing_policy, A...>(
        std::forward<Init>(init), token.get_executor(), std::forward<Args>(args)...);
  }
};
template <class Executor, class R, class... A>
class async_result<executor_binder<runnel::use_result_t, Executor>, R(A...)> {
 public:
  template <class Init, class Token, class... Args> static auto initiate(Init&& init, Token&& token, Args&&... args) {
    return runnel::detail::bound_operation<runnel::detail::result_policy, A...>(
        std::forward<Init>(init), token.get_executor(), std::forward<Args>(args)...);
  }
};

}  // namespace boost::asio
