// SPDX-License-Identifier: BSL-1.0
// runnel/select_loop.hpp: select_loop, the same select again and again.
// Layer: L6
#pragma once

#include <runnel/compiler.hpp>
#include <runnel/detail/chan_core.hpp>
#include <runnel/detail/select_case.hpp>
#include <runnel/detail/select_operation.hpp>
#include <runnel/detail/started_select.hpp>
#include <runnel/select.hpp>
#include <runnel/task.hpp>

#include <cstddef>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

namespace runnel {

/// What a handler of a select_loop returns to go on, or to end the loop. One that returns nothing goes on.
enum class loop_control : unsigned char { next, stop };
using enum loop_control;

namespace detail {

// A send of a value that it owns can be done once only.
template <class Op>
inline constexpr bool repeatable = true;
template <class T>
  requires(!std::is_void_v<T>)
inline constexpr bool repeatable<send_operation<T>> = false;

// What keeps a loop going: a case that can be taken any number of times. One that is taken once and then never again
// (after, the end of a context) does not, where there was anything else to wait for.
template <class Op>
inline constexpr bool lasting = channel_case<Op> || (source_case<Op> && requires { requires Op::is_lasting; });

template <class C> constexpr void check_loop_case() {
  using result = awaited_handler_result<C>;
  static_assert(!otherwise_case<typename C::operation>,
                "a select_loop with rn::otherwise would never wait: write the loop yourself, with a yield in it");
  static_assert(std::is_void_v<result> || std::is_same_v<result, loop_control>,
                "a handler of select_loop returns nothing, rn::next or rn::stop");
  static_assert(repeatable<typename C::operation>,
                "select_loop sends again and again: write ch.send(rn::moved(x)), and fill x in the handler");
}

// Invariant: x_lasting counts the lasting cases that can still become ready.
template <bool First, class... C> class loop_operation : public select_operation<First, C...> {
  using indices = std::index_sequence_for<C...>;

 public:
  explicit loop_operation(const C&... cases) noexcept : select_operation<First, C...>(cases...) {
    begin(indices());
    x_once = x_lasting == 0;
  }

  bool over() const noexcept { return x_lasting == 0 && x_taken_once >= (x_once ? once_count : 0); }

  // Before its handler runs: what can never be ready again is left out from now on.
  void taken(std::size_t i) noexcept {
    this->template at_case<void>(i, [&](auto n) {
      auto& op = this->template get_case<n>().op();
      using op_t = std::remove_reference_t<decltype(op)>;
      if constexpr (channel_case<op_t>) {
        auto outcome = select_access::own(op).outcome;
        if (sends<op_t> || (outcome != transfer::closed && outcome != transfer::closed_with_error)) return;
        select_access::own(op).before_parking = nullptr;  // as the nil channel
        --x_lasting;
      } else if constexpr (!lasting<op_t>) {
        op.silence();
        ++x_taken_once;
      }
    });
  }

 private:
  static constexpr std::size_t once_count = (std::size_t{0} + ... + std::size_t{!lasting<typename C::operation>});

  template <std::size_t... I> void begin(std::index_sequence<I...>) noexcept {
    ([&] {
      auto& op = this->template get_case<I>().op();
      using op_t = std::remove_reference_t<decltype(op)>;
      if constexpr (channel_case<op_t>)
        x_lasting += select_access::core(op) != nullptr;
      else
        x_lasting += lasting<op_t>;
      if constexpr (requires { op.stay(); }) op.stay();
    }(), ...);
  }

  std::size_t x_lasting = 0;
  std::size_t x_taken_once = 0;
  bool x_once = false;  // there is nothing but cases that are taken once
};

template <std::size_t I, class Select> task<loop_control> run_loop_handler(Select& select) {
  using result = awaited_handler_result<std::remove_cvref_t<decltype(select.template get_case<I>())>>;
  if constexpr (std::is_void_v<result>)
    co_await run_handler<void, I>(select);
  else
    co_return co_await run_handler<result, I>(select);
  co_return next;
}

// A handler that is no coroutine costs no frame: its answer is there at once, and `work` is empty.
struct loop_answer {
  loop_control control = next;
  std::optional<task<loop_control>> work;
};
template <std::size_t I, class Select> loop_answer ask_handler(Select& select) {
  using one = std::remove_cvref_t<decltype(select.template get_case<I>())>;
  if constexpr (has_coroutine_handler<one>)
    return {next, run_loop_handler<I>(select)};
  else if constexpr (std::is_void_v<handler_result<one>>)
    return (void)handle<I>(select), loop_answer();
  else
    return {handle<I>(select), std::nullopt};
}

template <bool First, class... C> task<> run_select_loop(C... cases) {
  loop_operation<First, C...> select(cases...);
  while (!select.over()) {
    std::size_t i = co_await std::move(select);  // which stays where it is
    select.taken(i);
    loop_answer answer = select.template at_case<loop_answer>(i, [&](auto n) { return ask_handler<n>(select); });
    if (answer.work) answer.control = co_await std::move(*answer.work);
    if (answer.control == stop) co_return;
  }
}

// The same with operations that the loop starts: they stay out from one round to the next, and end with the loop.
template <bool First, class... C> task<> run_started_loop(C... cases) {
  started_select<loop_operation<First, typename held_case<C>::type...>, C...> it(cases...);
  std::exception_ptr error;
  bool abandoned = false;
  try {
    while (!it.select.over()) {
      std::size_t i = co_await std::move(it.select);  // which stays where it is
      abandoned = it.abandoned(i);
      if (abandoned) break;
      it.select.taken(i);
      loop_answer answer =
          it.select.template at_case<loop_answer>(i, [&](auto n) { return ask_handler<n>(it.select); });
      if (answer.work) answer.control = co_await std::move(*answer.work);
      if (answer.control == stop) break;
    }
  } catch (...) {
    error = std::current_exception();
  }
  co_await it.all.end();
  if (abandoned) co_await give_up_operation();
  if (error) std::rethrow_exception(error);
}

template <bool First, class... C> task<> make_loop(const C&... cases) {
  if constexpr (has_started_case<C...>)
    return run_started_loop<First>(cases...);
  else
    return run_select_loop<First>(cases...);
}

}  // namespace detail

/// Selects again and again until a handler returns rn::stop:
///
///     co_await rn::select_loop(rn::on(jobs.recv(), handle), rn::on(rn::done(), flush));
///
/// The operations are those of the call, as if evaluated before the loop: rn::after ticks once, a ticker again and
/// again; ch.send(rn::moved(x)) sends what x is in each round; an operation of Asio stays out from one round to the
/// next, and ends with the loop. A receive from a channel that is closed and drained is taken once more, with nothing,
/// and never again. A context that is done is told once; after that the loop unwinds, if it is the ambient one or
/// above it.
///
/// The loop ends by itself when nothing is left that can be taken again: all channels that it receives from closed and
/// drained, no sends, no timers. rn::after and contexts alone do not keep a loop going that had more than them.
///
/// Suspends, Cancel-safety, Ordering, Throws, Lifetime: those of select; what a handler throws ends the loop.
/// Complexity: one frame for the loop, and what coroutine handlers need; nothing for a round.
template <class... Cases>
[[nodiscard("co_await it")]] task<> select_loop(Cases&&... cases RUNNEL_LIFETIMEBOUND) {
  detail::refuse_hazardous<Cases...>();
  (detail::check_started<Cases>(), ...);
  (detail::check_loop_case<detail::case_of<Cases>>(), ...);
  return detail::make_loop<false>(detail::as_case(cases)...);
}
template <class... Cases>
[[nodiscard("co_await it")]] task<> select_loop(prefer_first_t, Cases&&... cases RUNNEL_LIFETIMEBOUND) {
  detail::refuse_hazardous<Cases...>();
  (detail::check_started<Cases>(), ...);
  (detail::check_loop_case<detail::case_of<Cases>>(), ...);
  return detail::make_loop<true>(detail::as_case(cases)...);
}

}  // namespace runnel
