// SPDX-License-Identifier: BSL-1.0
// runnel/select.hpp: select, which waits for several things at once and takes exactly one of them.
// Layer: L6
#pragma once

#include <runnel/compiler.hpp>
#include <runnel/detail/cancel_node.hpp>
#include <runnel/detail/fork_join.hpp>
#include <runnel/detail/scoped_operation.hpp>
#include <runnel/detail/select_case.hpp>
#include <runnel/detail/select_operation.hpp>
#include <runnel/detail/select_range.hpp>
#include <runnel/detail/started_select.hpp>
#include <runnel/task.hpp>

#include <concepts>
#include <cstddef>
#include <type_traits>
#include <utility>

namespace runnel {

/// An option: of several cases that are ready, the first is taken, in the order in which they are written.
struct prefer_first_t {
  explicit constexpr prefer_first_t() noexcept = default;
};
inline constexpr prefer_first_t prefer_first{};

namespace detail {

// What the handlers of a select return: all of them values of one common type, or all of them nothing.
template <class... C> struct select_handlers {
  static constexpr bool none = sizeof...(C) > 0 && (!C::handled && ...);
  static constexpr bool coroutine = (has_coroutine_handler<C> || ...);
  static constexpr bool all_void = (std::is_void_v<awaited_handler_result<C>> && ...);
  static constexpr bool no_void = (!std::is_void_v<awaited_handler_result<C>> && ...);

  static constexpr auto common() {
    static_assert(all_void || no_void,
                  "the handlers of a select return values of a common type, or all of them nothing; a case without a "
                  "handler counts as one that returns nothing");
    if constexpr (all_void || !no_void)
      return std::type_identity<void>();
    else
      return std::type_identity<std::common_type_t<awaited_handler_result<C>...>>();
  }
  using result = typename decltype(common())::type;
};

// The context that a select was told of may be above the ambient one, and its cancellation still on the way down.
inline bool reaches_ambient(cancel_node& told) {
  goroutine& g = *current_goroutine();
  cancel_node& ambient = *g.context.load(std::memory_order_relaxed);
  if (&told != &ambient) told.wait_until_quiet();
  return ambient.due();
}

// Calls a coroutine handler; the value lives as long as it runs.
template <class R, std::size_t I, class Select> task<R> run_handler(Select& select) {
  auto& c = select.template get_case<I>();
  using one = std::remove_cvref_t<decltype(c)>;
  if constexpr (!has_coroutine_handler<one>) {
    co_return handle<I>(select);
  } else if constexpr (done_case<typename one::operation>) {
    cancel_node& told = c.op().node();
    take_value(c.op());
    using value = awaited_handler_result<one>;
    task<value> work = c.call();
    if (reaches_ambient(told)) co_return co_await shield_operation<value>(std::move(work));
    co_return co_await std::move(work);
  } else if constexpr (std::is_void_v<typename one::value>) {
    take_value(c.op());
    co_return co_await c.call();
  } else {
    auto value = take_value(c.op());
    co_return co_await c.call(std::move(value));
  }
}
template <class R, class Select> task<R> run_handler_of(Select& select, std::size_t i) {
  return select.template at_case<task<R>>(i, [&](auto n) { return run_handler<R, n>(select); });
}

template <bool First, class R, class... C> task<R> run_select(C... cases) {
  select_operation<First, C...> select(cases...);
  std::size_t i = co_await std::move(select);  // which stays where it is
  co_return co_await run_handler_of<R>(select, i);
}

// The same with operations that the select starts: they have ended before anything is done with what was taken.
template <bool First, class... C> task<select_result<typename C::value...>> run_started_values(C... cases) {
  using select = select_values<First, typename held_case<C>::type...>;
  using base = select_operation<First, typename held_case<C>::type...>;
  started_select<select, C...> it(cases...);
  std::size_t i = co_await std::move(static_cast<base&>(it.select));  // which stays where it is
  co_await it.all.end();
  if (it.abandoned(i)) co_await give_up_operation();
  co_return it.select.take(i);
}

template <bool First, class R, class... C> task<R> run_started_handled(C... cases) {
  started_select<select_operation<First, typename held_case<C>::type...>, C...> it(cases...);
  std::size_t i = co_await std::move(it.select);  // which stays where it is
  co_await it.all.end();
  if (it.abandoned(i)) co_await give_up_operation();
  if constexpr ((has_coroutine_handler<C> || ...))
    co_return co_await run_handler_of<R>(it.select, i);
  else
    co_return it.select.template at_case<R>(i, [&](auto n) -> R {
      if constexpr (std::is_void_v<R>)
        (void)handle<n>(it.select);
      else
        return handle<n>(it.select);
    });
}

template <bool First, class... C> auto make_select(const C&... cases) {
  using handlers = select_handlers<C...>;
  if constexpr (has_started_case<C...> && handlers::none)
    return run_started_values<First>(cases...);
  else if constexpr (has_started_case<C...>)
    return run_started_handled<First, typename handlers::result>(cases...);
  else if constexpr (handlers::none)
    return select_values<First, C...>(cases...);
  else if constexpr (!handlers::coroutine)
    return select_handled<typename handlers::result, First, C...>(cases...);
  else
    return run_select<First, typename handlers::result>(cases...);
}

}  // namespace detail

/// Waits until one of the cases can be taken, and takes exactly that one:
///
///     auto v = co_await rn::select(rn::on(in.recv(), [](std::optional<int> x) { return x; }),
///                                  rn::on(out.send(y), [] { return std::optional<int>{}; }),
///                                  rn::on(rn::after(1s), [] { return std::optional<int>{}; }));
///     auto r = co_await rn::select(a.recv(), b.recv());   // r.index(), r.get<0>()
///
/// A case is an operation, or rn::on(operation, handler). Operations: receives and sends (on the nil channel: never
/// ready; on a closed one: ready), rn::after, the ticks of timers and tickers, rn::done() and ctx.done(), t.await() of
/// a task, and rn::otherwise, which makes it a select that never waits; with <runnel/io.hpp> also operations of Asio
/// of one step, named (`auto read = socket.async_read_some(buffer, rn::use_result);`): they are started when it has to
/// wait, and end with it; what one did all the same is kept in it, for the next select or await.
///
/// Of several that are ready on entry each is taken with the same chance, or the first with rn::prefer_first before
/// the cases; while it waits, whichever comes first. A context that is done and is named by a case wins over
/// everything that is ready.
///
/// Returns: what the handler returns: the common type of all, or nothing. Without any handlers a select_result. Without
/// cases it waits for ever.
/// Suspends: while no case is ready; resumes on its own scheduler.
/// Cancel-safety: nothing is lost: a case that is not taken has no effect, a value that was not sent is whole (in the
/// operation, or behind rn::moved). A done context that no case names stops it first of all, as any operation.
/// Ordering: that of the operation that was taken. Handlers run when no lock is held and no trace of the others is
/// left.
/// Throws: what the operation does (closed_channel from a send, the error that a drained channel was closed with), and
/// what the handler does.
/// A coroutine as the handler of a context that is done runs shielded; after it the next suspension unwinds.
/// Lifetime: cases refer to channels without holding them, and the select to its cases: write them inside of it.
/// Complexity: O(cases). Allocates nothing, but frames for handlers that are coroutines, and one with such operations.
/// Contract: SEMANTICS.md SEL-01 to SEL-20 and SEL-C01 to SEL-C07.
template <class... Cases>
  requires(!detail::operation_range<Cases> && ...)
[[nodiscard("co_await it: a select alone waits for nothing")]]
auto select(Cases&&... cases RUNNEL_LIFETIMEBOUND) {
  detail::refuse_hazardous<Cases...>();
  (detail::check_started<Cases>(), ...);
  return detail::make_select<false>(detail::as_case(cases)...);
}
template <class... Cases>
  requires(!detail::operation_range<Cases> && ...)
[[nodiscard("co_await it: a select alone waits for nothing")]]
auto select(prefer_first_t, Cases&&... cases RUNNEL_LIFETIMEBOUND) {
  detail::refuse_hazardous<Cases...>();
  (detail::check_started<Cases>(), ...);
  return detail::make_select<true>(detail::as_case(cases)...);
}

template <class R, class... Otherwise>
  requires detail::started_range<R>
void select(R&&, Otherwise...) {
  static_assert(detail::never<R>,
                "a select over a range takes no operations of Asio: write each as a case, or rn::async functions that "
                "await them, and select over the await() of their handles");
}
template <class R, class... Otherwise>
  requires detail::started_range<R>
void select(prefer_first_t, R&& range, Otherwise... or_else) {
  select(range, or_else...);
}

/// The same over a range of operations of one type, of any length up to 65536: `std::vector ops{a.recv(), ...}` and
/// `auto r = co_await rn::select(ops)`. The operations can be used again.
///
/// Returns: a selected: which one, r.index(), and what it yielded, r.get().
/// Throws: misuse_error for too many, bad_alloc, at the call, with no effect; what the operation throws.
/// Complexity: O(n); for more than 16 operations a few allocations, at the call.
template <detail::operation_range R>
[[nodiscard("co_await it: a select alone waits for nothing")]]
auto select(R&& operations RUNNEL_LIFETIMEBOUND) {
  return detail::range_select<false, false, std::remove_reference_t<R>>(operations);
}
template <detail::operation_range R>
[[nodiscard("co_await it: a select alone waits for nothing")]]
auto select(prefer_first_t, R&& operations RUNNEL_LIFETIMEBOUND) {
  return detail::range_select<true, false, std::remove_reference_t<R>>(operations);
}
/// The same, and if none is ready it yields an empty selected at once.
template <detail::operation_range R>
[[nodiscard("co_await it: a select alone waits for nothing")]]
auto select(R&& operations RUNNEL_LIFETIMEBOUND, otherwise_t) {
  return detail::range_select<false, true, std::remove_reference_t<R>>(operations);
}
template <detail::operation_range R>
[[nodiscard("co_await it: a select alone waits for nothing")]]
auto select(prefer_first_t, R&& operations RUNNEL_LIFETIMEBOUND, otherwise_t) {
  return detail::range_select<true, true, std::remove_reference_t<R>>(operations);
}

}  // namespace runnel
