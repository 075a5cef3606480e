// SPDX-License-Identifier: BSL-1.0
// runnel/detail/stream_source.hpp: where the inputs of a stream come from: a range, a channel, a function.
// Layer: L9
#pragma once

#include <runnel/chan.hpp>
#include <runnel/compiler.hpp>
#include <runnel/task.hpp>

#include <concepts>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

namespace runnel::detail {

// A source has input, the type of its elements, and one of
//   std::optional<input> pull()         empty at its end; is not called again
//   task<std::optional<input>> pull()   the same
//   receiver<input>& channel()          when nothing is there it waits, and so may the stream for results

template <class R>
concept iterated = requires(R& r) {
  std::begin(r);
  std::end(r);
};
template <class T>
inline constexpr bool is_channel = false;
template <class T>
inline constexpr bool is_channel<chan<T>> = true;
template <class T>
inline constexpr bool is_channel<receiver<T>> = true;
template <class T>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;
template <class T>
inline constexpr bool is_optional<task<std::optional<T>>> = true;
template <class F>
concept generating = requires(F& f) { requires is_optional<std::invoke_result_t<F&>>; };

// Refers to elements of something else.
template <class R>
concept view_like = std::ranges::enable_borrowed_range<R> || std::ranges::enable_view<R>;
template <class R>
inline constexpr bool is_initializer_list = false;
template <class T>
inline constexpr bool is_initializer_list<std::initializer_list<T>> = true;

// What an iterator's elements are as values: where its reference is a proxy, as of std::vector<bool>, a copy of that
// would refer into the range, which may be gone before the task.
template <class I> struct value_at : std::type_identity<std::remove_cvref_t<decltype(*std::declval<I&>())>> {};
template <class I>
  requires std::constructible_from<std::iter_value_t<I>, decltype(*std::declval<I&>())>
struct value_at<I> : std::type_identity<std::iter_value_t<I>> {};

// R is an lvalue reference, of a range that belongs to somebody else, or the type of one that belongs to the stream,
// and whose elements are moved out of it.
template <class R> class range_source {
  using range = std::remove_reference_t<R>;
  static constexpr bool owns = !std::is_reference_v<R>;
  using iterator = decltype(std::begin(std::declval<range&>()));
  using reference = decltype(*std::declval<iterator&>());

 public:
  using input = typename value_at<iterator>::type;
  explicit range_source(R&& r) noexcept(!owns) : x_range(std::forward<R>(r)) {}

  std::optional<input> pull() {
    if (!x_at)
      x_at.emplace(std::begin(x_range));
    else
      ++*x_at;
    if (!(*x_at != std::end(x_range))) return std::nullopt;
    if constexpr (owns && std::is_lvalue_reference_v<reference> && !view_like<range>)
      return std::optional<input>(std::in_place, std::move(**x_at));
    else
      return std::optional<input>(std::in_place, **x_at);
  }

 private:
  std::conditional_t<owns, range, range&> x_range;
  std::optional<iterator> x_at;
};

template <class T> class channel_source {
 public:
  using input = T;
  explicit channel_source(receiver<T> r) noexcept : x_channel(std::move(r)) {}
  receiver<T>& channel() noexcept { return x_channel; }

 private:
  receiver<T> x_channel;
};

template <class F> class function_source {
  using pulled = std::invoke_result_t<F&>;

 public:
  using input = typename std::conditional_t<is_task<pulled>, pulled, task<pulled>>::value_type::value_type;
  explicit function_source(F&& f) : x_f(std::move(f)) {}
  explicit function_source(const F& f) : x_f(f) {}
  pulled pull() { return std::invoke(x_f); }

 private:
  F x_f;
};

template <class R> constexpr void check_source() {
  using range = std::remove_cvref_t<R>;
  static_assert(!is_initializer_list<range>, "a braced list dies with the expression: name a vector or an array of it");
  static_assert(std::is_lvalue_reference_v<R> || is_channel<range> || generating<range> || !view_like<range>,
                "a temporary view may refer to what dies before the stream: name the view, and what it looks at, or "
                "pass a container, which is moved in");
  static_assert(is_channel<range> || generating<range> || iterated<std::remove_reference_t<R>>,
                "the inputs of a stream come from a range, a chan or receiver, or a function that returns an optional, "
                "or a task of one, empty at its end");
}
template <class R> struct source_for;
template <class R>
  requires is_channel<std::remove_cvref_t<R>>
struct source_for<R> : std::type_identity<channel_source<typename std::remove_cvref_t<R>::value_type>> {};
template <class R>
  requires(generating<std::remove_cvref_t<R>> && !is_channel<std::remove_cvref_t<R>>)
struct source_for<R> : std::type_identity<function_source<std::remove_cvref_t<R>>> {};
template <class R>
  requires(iterated<std::remove_reference_t<R>> && !generating<std::remove_cvref_t<R>> &&
           !is_channel<std::remove_cvref_t<R>>)
struct source_for<R> : std::type_identity<range_source<R>> {};
template <class R>
using source_of = typename source_for<R>::type;

}  // namespace runnel::detail
