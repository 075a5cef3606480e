// SPDX-License-Identifier: BSL-1.0
// runnel/io/serve.hpp: serve, the loop that accepts connections, and the end of it.
// Layer: L11
#pragma once

#include <runnel/as_result.hpp>
#include <runnel/compiler.hpp>
#include <runnel/context.hpp>
#include <runnel/detail/fork_join.hpp>
#include <runnel/detail/runtime_core.hpp>
#include <runnel/detail/wait_operation.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/error.hpp>
#include <runnel/io/use_task.hpp>
#include <runnel/result.hpp>
#include <runnel/sleep.hpp>
#include <runnel/sync/semaphore.hpp>
#include <runnel/task.hpp>
#include <runnel/with_context.hpp>

#include <boost/asio/error.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <type_traits>
#include <utility>

namespace runnel {

/// An option of serve: how long sessions may go on when the server stops. Default: not at all.
class drain {
 public:
  template <class Rep, class Period> explicit drain(std::chrono::duration<Rep, Period> d) : x_time(d) {
    if (d < d.zero()) throw misuse_error("runnel: drain(d) takes no negative time");
  }
  std::chrono::nanoseconds time() const noexcept { return x_time; }

 private:
  std::chrono::nanoseconds x_time;
};

namespace detail {

// Of accept(): this connection failed, or there is nothing to be had for the moment; the listening socket is well.
inline bool accept_may_go_on(const boost::system::error_code& e) noexcept {
  namespace error = boost::asio::error;
  namespace errc = boost::system::errc;
  return e == error::connection_aborted || e == error::connection_reset || e == error::no_descriptors ||
         e == errc::too_many_files_open_in_system || e == error::no_buffer_space || e == error::no_memory ||
         e == error::try_again || e == error::network_down || e == error::network_unreachable ||
         e == error::host_unreachable || e == errc::protocol_error;
}

// One connection. Its error is its own, and goes to the runtime's on_unobserved_error.
template <class F, class Socket> task<> run_session(F& session, Socket socket, permit) {
  try {
    co_await std::invoke(session, std::move(socket));
  } catch (...) {
    runtime_core::here()->unobserved(std::current_exception(), current_goroutine()->where);
  }
}

template <class Acceptor, class F>
task<> accept_each(Acceptor& acceptor, semaphore& slots, errgroup& sessions, F& session) {
  using namespace std::chrono_literals;
  constexpr auto shortest = 5ms, longest = 1000ms;
  for (auto pause = shortest;;) {
    permit slot = co_await slots.acquire();
    auto accepted = co_await acceptor.async_accept(use_result);
    if (accepted) {
      pause = shortest;
      auto socket = std::move(accepted).value();
      sessions.go(run_session<F, decltype(socket)>, std::ref(session), std::move(socket), std::move(slot));
    } else if (accept_may_go_on(accepted.error())) {
      co_await sleep(pause);
      pause = std::min(2 * pause, longest);
    } else {
      throw boost::system::system_error(accepted.error());
    }
  }
}

// Closes what it listens at when it dies: who connects to a server that drains is refused, and may go elsewhere,
// instead of waiting in a queue that nobody serves.
template <class Acceptor> class closes_at_end {
 public:
  explicit closes_at_end(Acceptor& acceptor) noexcept : x_acceptor(acceptor) {}
  closes_at_end(const closes_at_end&) = delete;
  closes_at_end& operator=(const closes_at_end&) = delete;
  ~closes_at_end() {
    boost::system::error_code ignored;
    (void)x_acceptor.close(ignored);
  }

 private:
  Acceptor& x_acceptor;
};

// A frame of its own: also where a kill unwinds it, it closes before the sessions are joined.
template <class Acceptor, class F>
task<result<void>> accept_until(Acceptor& acceptor, semaphore& slots, errgroup& sessions, F& session, context outer) {
  closes_at_end<Acceptor> listens(acceptor);
  co_return co_await as_result(with_context(outer, accept_each(acceptor, slots, sessions, session)));
}

inline task<> all_given_back(semaphore& slots, std::ptrdiff_t n) { permit all = co_await slots.acquire(n); }

// In a shield: the sessions belong to a group in it, and hear of the server's end when their time is over; and of a
// kill.
template <class Acceptor, class F>
task<> run_server(Acceptor& acceptor, std::ptrdiff_t most, std::chrono::nanoseconds time, F session, context outer) {
  semaphore slots(most);
  errgroup sessions;
  auto stopped = co_await accept_until(acceptor, slots, sessions, session, std::move(outer));
  if (time > time.zero()) (void)co_await as_result(with_timeout(time, all_given_back(slots, most)));
  sessions.cancel();
  co_await sessions.wait();
  if (stopped.error()) std::rethrow_exception(stopped.error());
}
template <class Acceptor, class F>
task<> start_server(Acceptor& acceptor, std::ptrdiff_t most, std::chrono::nanoseconds time, F session) {
  co_await shield(run_server<Acceptor, F>(acceptor, most, time, std::move(session), this_context()));
  co_await checkpoint();  // it goes on only where nobody has cancelled it
}

inline constexpr std::ptrdiff_t unlimited = PTRDIFF_MAX / 2;  // as many units as a semaphore can have
template <class Acceptor, class F>
task<> serve_at_most(Acceptor& acceptor, std::ptrdiff_t most, std::chrono::nanoseconds time, F&& session) {
  refuse_hazardous<F>();
  using socket = typename Acceptor::protocol_type::socket;
  static_assert(is_task<std::invoke_result_t<kept_t<F>&, socket>>,
                "serve: the session is a coroutine that takes the socket by value and returns a task; a lambda needs "
                "-> rn::task<> written out");
  return start_server<Acceptor, kept_t<F>>(acceptor, std::min(most, unlimited), time,
                                           unmoved(std::forward<F>(session)));
}

}  // namespace detail

/// Accepts connections, and runs a session for each, until it is cancelled:
/// `co_await rn::serve(acceptor, rn::limit(1000), rn::drain(5s), session);`
///
/// session(socket) is a coroutine, called from many goroutines at once. With limit(n) at most n run: while that many do
/// nobody is accepted, and who connects waits in the system's queue. Default: no limit.
/// A cancellation stops accepting: the acceptor is closed, and who connects from then on is refused, as is who waits in
/// the system's queue. The sessions do not hear of it until the time of drain() is over; then those that are left are
/// cancelled. So one that can end early looks at a context that it is given. Default: they are cancelled at once. A
/// kill reaches them at once.
///
/// Suspends: until all sessions have ended. Errors: of a session, to the runtime's on_unobserved_error. Of accepting:
/// where there is nothing to be had for the moment (no descriptors, a connection that was given up) it tries again
/// after 5 ms, and ever later, up to a second.
/// Throws: boost::system::system_error for others, when the sessions have ended; the acceptor is closed before.
/// Lifetime: the acceptor outlives it, and nobody else uses it meanwhile. session is moved into the frame.
template <class Acceptor, class F>
[[nodiscard("co_await it")]] task<> serve(Acceptor& acceptor, limit most, drain time, F&& session) {
  return detail::serve_at_most(acceptor, static_cast<std::ptrdiff_t>(most.count()), time.time(),
                               std::forward<F>(session));
}
template <class Acceptor, class F>
[[nodiscard("co_await it")]] task<> serve(Acceptor& acceptor, limit most, F&& session) {
  return detail::serve_at_most(acceptor, static_cast<std::ptrdiff_t>(most.count()), {}, std::forward<F>(session));
}
template <class Acceptor, class F>
[[nodiscard("co_await it")]] task<> serve(Acceptor& acceptor, drain time, F&& session) {
  return detail::serve_at_most(acceptor, detail::unlimited, time.time(), std::forward<F>(session));
}
template <class Acceptor, class F> [[nodiscard("co_await it")]] task<> serve(Acceptor& acceptor, F&& session) {
  return detail::serve_at_most(acceptor, detail::unlimited, {}, std::forward<F>(session));
}

}  // namespace runnel
