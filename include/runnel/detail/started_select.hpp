// SPDX-License-Identifier: BSL-1.0
// runnel/detail/started_select.hpp: a select among whose cases are operations of foreign code.
// Layer: L6
#pragma once

#include <runnel/detail/promise.hpp>
#include <runnel/detail/select_case.hpp>
#include <runnel/detail/started_case.hpp>
#include <runnel/waiter.hpp>

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

namespace runnel::detail {

template <class... C>
inline constexpr bool has_started_case = (false || ... || started_operation<typename C::operation>);

template <class C> struct case_of_select {
  started_cases& all;
  const C& c;
};

// A case as it lies in the frame that selects: with what stands for its operation, if that is to be started.
template <class C> class held_case {
 public:
  using type = C;
  explicit held_case(case_of_select<C> from) noexcept : x_case(from.c) {}
  type get() noexcept { return x_case; }

 private:
  C x_case;
};
template <class C>
  requires started_operation<typename C::operation>
class held_case<C> {
  using held = typename C::operation::case_type;

 public:
  using type = decltype(std::declval<const C&>().with(std::declval<held&>()));
  explicit held_case(case_of_select<C> from) : x_operation(from.all, from.c.op()), x_case(from.c) {}
  type get() noexcept { return x_case.with(x_operation); }

 private:
  held x_operation;
  C x_case;
};

// Select is a select_operation over held_case<C>::type...
//
// Invariant: when the frame that has it goes on after `all.end()`, or is unwound, nothing that it started is out.
template <class Select, class... C> class started_select {
 public:
  explicit started_select(const C&... cases)
      : x_held(case_of_select<C>{all, cases}...), select(make(std::index_sequence_for<C...>())) {}
  started_select(const started_select&) = delete;
  started_select& operator=(const started_select&) = delete;

  // Whether the operation of case i, which was taken, has lost its handler: the goroutine is to be unwound.
  bool abandoned(std::size_t i) {
    return select.template at_case<bool>(i, [&](auto n) {
      auto& op = select.template get_case<n>().op();
      if constexpr (requires { op.abandoned(); })
        return op.abandoned();
      else
        return false;
    });
  }

  started_cases all;

 private:
  template <std::size_t... I> Select make(std::index_sequence<I...>) { return Select(std::get<I>(x_held).get()...); }
  std::tuple<held_case<C>...> x_held;

 public:
  Select select;
};

// Unwinds the goroutine from here.
class give_up_operation : public awaitable_base {
 public:
  bool suspend(promise_base* leaf) noexcept { return stop_here(goroutine_of(leaf), leaf); }
  void resume() const noexcept {}
};

}  // namespace runnel::detail
