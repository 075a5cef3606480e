// SPDX-License-Identifier: BSL-1.0
// runnel/io/adopt_awaitable.hpp: adopt, of a coroutine of Asio's: boost::asio::awaitable<T>.
// Layer: L11
#pragma once

#include <runnel/adopt.hpp>
#include <runnel/detail/asio_operation.hpp>
#include <runnel/io/use_task.hpp>
#include <runnel/runtime.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/strand.hpp>

#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

namespace runnel {

namespace detail {

// The coroutine runs on a strand of its own over the goroutine's executor, for the request to end, which comes from any
// thread, touches what the coroutine touches. The strand is made when the operation begins, in the goroutine.
template <class T, class Executor> class awaitable_initiation {
 public:
  using executor_type = boost::asio::strand<boost::asio::any_io_executor>;

  explicit awaitable_initiation(boost::asio::awaitable<T, Executor>&& work) : x_work(std::move(work)) {}
  executor_type get_executor() {
    if (!x_strand) x_strand.emplace(boost::asio::make_strand(this_executor()));
    return *x_strand;
  }
  template <class Handler> void operator()(Handler&& handler) && {
    boost::asio::co_spawn(get_executor(), std::move(x_work), std::forward<Handler>(handler));
  }

 private:
  boost::asio::awaitable<T, Executor> x_work;
  std::optional<executor_type> x_strand;
};

template <class T>
using completion_of_awaitable =
    typename std::conditional_t<std::is_void_v<T>, std::type_identity<completion<std::exception_ptr>>,
                                std::type_identity<completion<std::exception_ptr, T>>>::type;

}  // namespace detail

/// Awaits a coroutine of Asio's in a goroutine: `std::size_t n = co_await rn::adopt(their_coroutine(socket));`
///
/// Returns, throws: what the coroutine does. T has a default constructor: co_spawn wants that.
/// Suspends: until it has ended. It runs by asio::co_spawn, on a strand over this_executor(), and not before it is
/// awaited; the goroutine resumes on its own scheduler.
/// Cancel-safety: a cancellation asks the coroutine to end (cancellation_type::terminal), and the goroutine unwinds
/// when it has ended as aborted; a coroutine that ends otherwise all the same delivers that. Under a context that is
/// done it is not started. This is unlike adopt() of other libraries' awaitables, which are not cancelled.
/// Thread-safety: its steps run one at a time. An I/O object that it shares with others wants their strand:
/// `co_await asio::co_spawn(strand, their_coroutine(socket), rn::use_task)`.
/// Lifetime: the coroutine moves into the operation; what it refers to outlives it.
template <class T, class Executor> [[nodiscard("co_await it")]] auto adopt(boost::asio::awaitable<T, Executor>&& work) {
  using init = detail::awaitable_initiation<T, Executor>;
  return detail::asio_operation<detail::throwing_policy, detail::completion_of_awaitable<T>, init>(
      std::in_place, init(std::move(work)));
}
/// One that has a name is std::move'd.
template <class T, class Executor> void adopt(boost::asio::awaitable<T, Executor>&) = delete;

}  // namespace runnel
