// SPDX-License-Identifier: BSL-1.0
// runnel/sync/hedge.hpp: hedge, which asks a second one when the first is slow, and takes the first answer.
// Layer: L8
#pragma once

#include <runnel/all.hpp>
#include <runnel/compiler.hpp>
#include <runnel/error.hpp>
#include <runnel/sync/event.hpp>
#include <runnel/task.hpp>
#include <runnel/with_context.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <type_traits>
#include <utility>

namespace runnel {

namespace detail {

template <class F> struct hedged { using type = std::invoke_result_t<F&>; };
template <class T> struct hedged<task<T>> { using type = task<T>; };

// The runners of one hedge, in the frame of run_hedge: each starts when its predecessor has started and, since
// then, has failed or has been running for the delay.
template <std::size_t N> struct hedge_line {
  std::chrono::nanoseconds delay;
  std::array<event, N> started, failed;
  explicit hedge_line(std::chrono::nanoseconds d) noexcept : delay(d) {}

  task<> turn(std::size_t i) {
    if (i > 0) {
      co_await started[i - 1].wait();
      try {
        co_await with_timeout(delay, failed[i - 1].wait());
      } catch (const deadline_exceeded&) {
      }
    }
    started[i].set();
  }
};

template <class T, std::size_t N, class F> task<T> run_hedged(hedge_line<N>& line, std::size_t i, F& f) {
  try {
    co_await line.turn(i);
    if constexpr (is_task<F>)
      co_return co_await std::move(f);
    else
      co_return co_await std::invoke(f);
  } catch (...) {
    line.started[i].set();  // it may have failed before it began: whoever comes next is not to wait for that
    line.failed[i].set();
    throw;
  }
}

template <class... F, std::size_t... I>
auto run_hedge(std::index_sequence<I...>, std::chrono::nanoseconds delay, F... f)
    -> task<typename race_operation<typename hedged<F>::type::value_type...>::value> {
  hedge_line<sizeof...(F)> line(delay);
  co_return co_await race(run_hedged<typename hedged<F>::type::value_type>(line, I, f)...);
}

}  // namespace detail

/// Runs the first; if it has not ended after the delay, or has failed, the next beside it, and so on. The first
/// success wins, the others are cancelled and joined: `co_await rn::hedge(50ms, fetch(a), fetch(b))`.
///
/// Each is a task, or a function without parameters that returns one, and is called when its turn comes.
///
/// Returns: the winner's result, as race does. Suspends: until one has won and the others have ended. Throws: if
/// all fail, the first error; errors of losers go to the runtime's on_unobserved_error hook. A delay at or below
/// zero makes it a race.
/// Cancel-safety: all of them are cancelled and joined before the caller unwinds.
template <class Rep, class Period, class... F>
[[nodiscard("co_await it")]] auto hedge(std::chrono::duration<Rep, Period> delay, F&&... f) {
  static_assert(sizeof...(F) > 0, "hedge() of nothing has no winner");
  detail::refuse_hazardous<F...>();
  static_assert((detail::is_task<typename detail::hedged<detail::kept_t<F>>::type> && ...),
                "hedge takes tasks, or functions without parameters that return tasks");
  return detail::run_hedge<detail::kept_t<F>...>(std::index_sequence_for<F...>(),
                                                 std::chrono::nanoseconds(detail::to_ns(delay)),
                                                 detail::unmoved(std::forward<F>(f))...);
}

}  // namespace runnel
