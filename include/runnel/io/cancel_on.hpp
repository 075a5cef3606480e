// SPDX-License-Identifier: BSL-1.0
// runnel/io/cancel_on.hpp: cancel_on, work that is given up when something happens: the client goes away, say.
// Layer: L11
#pragma once

#include <runnel/all.hpp>
#include <runnel/as_result.hpp>
#include <runnel/compiler.hpp>
#include <runnel/detail/boundary.hpp>
#include <runnel/result.hpp>
#include <runnel/task.hpp>

#include <utility>

namespace runnel {

namespace detail {

template <class T> task<result<T>> outcome_of(task<T> work) { co_return co_await as_result(std::move(work)); }
template <class T, class E> task<result<T>> nothing_after(task<E> event) {
  auto happened = co_await as_result(std::move(event));
  if (happened.error()) co_return result<T>(happened.error());
  co_return result<T>();
}
template <class T, class E> task<result<T>> run_cancel_on(task<E> event, task<T> work) {
  co_return co_await race(outcome_of(std::move(work)), nothing_after<T>(std::move(event)));
}

}  // namespace detail

/// Runs work until it has ended, or event has: then work is cancelled and joined.
/// `auto r = co_await rn::cancel_on(rn::peer_closed(socket), answer(request));`
///
/// Returns: a result: work's value or exception; canceled() if event came first, or somebody else cancelled; event's
/// exception, if that failed. Suspends: until both have ended; the one that comes later is cancelled.
/// Cancel-safety: both are cancelled, and the result is canceled(), as with as_result.
/// Contract: work begins first; where it has ended by itself its outcome is kept, whatever event does meanwhile.
template <detail::awaitable Event, detail::awaitable Work>
[[nodiscard("co_await it")]] auto cancel_on(Event&& event, Work&& work) -> task<result<detail::awaited_t<Work>>> {
  return detail::run_cancel_on<detail::awaited_t<Work>, detail::awaited_t<Event>>(
      detail::as_task(std::forward<Event>(event)), detail::as_task(std::forward<Work>(work)));
}

}  // namespace runnel
