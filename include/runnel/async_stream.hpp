// SPDX-License-Identifier: BSL-1.0
// runnel/async_stream.hpp: async_stream, a task for each input, so many at once; map and for_each.
// Layer: L9
#pragma once

#include <runnel/all.hpp>
#include <runnel/compiler.hpp>
#include <runnel/detail/async_start.hpp>
#include <runnel/detail/call_result.hpp>
#include <runnel/detail/fork_join.hpp>
#include <runnel/detail/runtime_core.hpp>
#include <runnel/detail/stream_run.hpp>
#include <runnel/detail/stream_source.hpp>
#include <runnel/error.hpp>
#include <runnel/task.hpp>
#include <runnel/time_point.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace runnel {

/// An option of a stream: at most n tasks at once; by default as many as there are processors. Throws: misuse_error for
/// n below 1.
class max_concurrency {
 public:
  explicit max_concurrency(std::ptrdiff_t n) : x_n(static_cast<std::size_t>(n)) {
    if (n < 1) throw misuse_error("runnel: max_concurrency(n) takes at least 1: with none nothing would ever run");
  }
  std::size_t count() const noexcept { return x_n; }

 private:
  std::size_t x_n;
};

/// An option of a stream: each task has so long, from its start. One that takes longer is killed; the stream ends with
/// deadline_exceeded, unless there is kill_on_timeout. Throws: misuse_error for a negative duration.
class timeout {
 public:
  template <class Rep, class Period> explicit timeout(std::chrono::duration<Rep, Period> d) : x_ns(detail::to_ns(d)) {
    if (d < d.zero()) throw misuse_error("runnel: timeout(d) takes no negative time");
  }
  std::int64_t ns() const noexcept { return x_ns; }

 private:
  std::int64_t x_ns;
};

struct kill_on_timeout_t {
  explicit constexpr kill_on_timeout_t() noexcept = default;
};
struct ordered_t {
  explicit constexpr ordered_t() noexcept = default;
};
struct unordered_t {
  explicit constexpr unordered_t() noexcept = default;
};
/// An option of a stream: a task whose time is up is killed, and its item says so; the others go on.
inline constexpr kill_on_timeout_t kill_on_timeout{};
/// Options of a stream: items come in the order of the inputs, which is the default; or as tasks end.
inline constexpr ordered_t ordered{};
inline constexpr unordered_t unordered{};

/// A stream of results, one for each input: see async_stream, which makes it.
///
/// Thread-safety: it is the goroutine's that made it. Lifetime: moved, not copied; a local that dies cancels its tasks.
template <class Source, class F> class result_stream {
  using state = detail::stream_state<Source, F>;

 public:
  using item = typename state::item;

  explicit result_stream(detail::stream_owner<Source, F> s) noexcept : x_state(std::move(s)) {}
  result_stream(result_stream&& other) noexcept : x_state(std::move(other.x_state)) {}
  result_stream& operator=(result_stream&&) = delete;

  /// The next item; empty at the end. One call at a time.
  ///
  /// Pulls inputs and starts their tasks as long as there is room, and then delivers what has ended; before it pulls,
  /// where a pull may wait.
  /// Suspends: until there is one. Cancel-safety: a cancelled next() loses nothing, and the tasks go on.
  /// Throws: deadline_exceeded for a task whose time was up, without kill_on_timeout; what pulling an input throws;
  /// bad_alloc. All tasks have been cancelled and have ended then, and the stream is at its end. A call that throws
  /// bad_alloc before it is awaited has done nothing.
  [[nodiscard("co_await it")]] task<std::optional<item>> next() { return usable().next(); }
  /// All that are left. Throws: as next().
  [[nodiscard("co_await it")]] task<std::vector<item>> collect() { return collect_from(usable()); }
  /// Cancels the tasks, and waits for their end; what pulls inputs is gone at once. Afterwards next() yields empty.
  [[nodiscard("co_await it")]] task<> close() { return usable().close(); }

 private:
  state& usable() const {
    if (!x_state) throw misuse_error("runnel: this stream has been moved from");
    return *x_state;
  }
  static task<std::vector<item>> collect_from(state& s) {
    s.check_consumer();  // what somebody else calls stops nothing
    std::exception_ptr error;
    try {
      std::vector<item> all;
      while (auto one = co_await s.next()) all.push_back(std::move(*one));
      co_return all;
    } catch (...) {
      error = std::current_exception();
    }
    s.stop();
    while (s.stopping()) co_await detail::stream_wait(s);
    std::rethrow_exception(std::move(error));
  }

  detail::stream_owner<Source, F> x_state;
};

namespace detail {

template <> inline constexpr bool is_stream_option<max_concurrency> = true;
template <> inline constexpr bool is_stream_option<timeout> = true;
template <> inline constexpr bool is_stream_option<kill_on_timeout_t> = true;
template <> inline constexpr bool is_stream_option<ordered_t> = true;
template <> inline constexpr bool is_stream_option<unordered_t> = true;

inline void set_option(stream_settings& s, const max_concurrency& n) noexcept { s.at_most = n.count(); }
inline void set_option(stream_settings& s, const timeout& t) noexcept {
  s.limited = t.ns() != end_of_time;
  s.limit_ns = t.ns();
}
inline void set_option(stream_settings& s, kill_on_timeout_t) noexcept { s.kill_on_timeout = true; }
inline void set_option(stream_settings& s, ordered_t) noexcept { s.in_order = true; }
inline void set_option(stream_settings& s, unordered_t) noexcept { s.in_order = false; }

// Options, and last the function.
template <class Settings, class Use, class First, class... Rest>
decltype(auto) with_settings(Settings& s, Use&& use, First&& first, Rest&&... rest) {
  if constexpr (sizeof...(Rest) == 0) {
    static_assert(!Settings::template takes<std::remove_cvref_t<First>>,
                  "async_stream(range, options..., f): the function that each input is passed to comes last");
    return use(std::forward<First>(first));
  } else {
    static_assert(Settings::template takes<std::remove_cvref_t<First>>,
                  "async_stream(range, options..., f): an option is rn::max_concurrency(n), rn::timeout(d), "
                  "rn::kill_on_timeout, rn::ordered or rn::unordered, and f comes last");
    set_option(s, first);
    return with_settings(s, std::forward<Use>(use), std::forward<Rest>(rest)...);
  }
}

template <class R, class F> constexpr void check_called_with() {
  static_assert(std::is_invocable_v<const std::decay_t<F>&, typename source_of<R>::input&>,
                "the function is called with each input, as an lvalue that is not const, by many tasks at once: it "
                "takes T, const T& or T&, and a lambda that is mutable does not fit");
}
template <class R, class F>
stream_owner<source_of<R>, std::decay_t<F>> make_stream_state(stream_settings s, R&& range, F&& f) {
  check_called_with<R, F>();
  goroutine& me = opener_of_task();
  if (s.at_most == 0) s.at_most = runtime_core::of(me).core.concurrency();
  return stream_owner<source_of<R>, std::decay_t<F>>(
      new stream_state<source_of<R>, std::decay_t<F>>(me, s, std::forward<R>(range), std::forward<F>(f)));
}
template <class R, class F> auto make_stream(const stream_settings& s, R&& range, F&& f) {
  return result_stream<source_of<R>, std::decay_t<F>>(
      make_stream_state<R>(s, std::forward<R>(range), std::forward<F>(f)));
}

// Of rn::moved(range), the range; else what a forwarding reference deduced.
template <class R> struct unmoved_range : std::type_identity<R> {};
template <class R>
requires is_moved_ref<std::remove_cvref_t<R>>
struct unmoved_range<R> : std::type_identity<typename std::remove_cvref_t<R>::value_type> {
};
template <class R> using unmoved_t = typename unmoved_range<R>::type;

// Reads what is behind the range, and calls use(settings, f).
template <class R, class Settings = stream_settings, class Use, class... X>
auto with_parsed(Use&& use, X&&... options_and_f) {
  refuse_hazardous<X...>();
  static_assert(sizeof...(X) > 0, "async_stream(range, options..., f): the function is missing");
  check_source<R>();
  Settings s;
  return with_settings(
      s, [&](auto&& f) { return use(s, unmoved(std::forward<decltype(f)>(f))); }, std::forward<X>(options_and_f)...);
}

// The range in a frame: R is an lvalue reference, or it is moved in.
template <class R> class held_range {
 public:
  explicit held_range(R&& r) : x_range(std::forward<R>(r)) {}
  R&& get() noexcept { return std::forward<R>(x_range); }

 private:
  R x_range;
};

// Values, in the order of the inputs; the first error ends it, one of storing a value too. The stream is made here, so
// that its tasks are under the context and in the scope of who awaits.
template <class R, class F> using mapped = call_result_t<const F&, typename source_of<R>::input&>;
template <class R, class F>
task<std::vector<not_void<mapped<R, F>>>> map_all(stream_settings s, held_range<R> range, F f) {
  using T = mapped<R, F>;
  s.in_order = false;
  auto stream = make_stream_state<R>(s, range.get(), std::move(f));
  std::vector<std::optional<not_void<T>>> found;
  std::exception_ptr error;
  try {
    while (auto one = co_await stream->next()) {
      error = one->reason();
      if (error) break;
      if (one->index() >= found.size()) found.resize(one->index() + 1);
      if constexpr (std::is_void_v<T>)
        found[one->index()].emplace();
      else
        found[one->index()].emplace(std::move(*one).value());
    }
  } catch (...) {
    error = std::current_exception();
  }
  if (error) {
    stream->stop();
    while (stream->stopping()) co_await stream_wait(*stream);
    std::rethrow_exception(std::move(error));
  }
  std::vector<not_void<T>> values;
  values.reserve(found.size());
  for (auto& v : found) values.push_back(std::move(*v));
  co_return values;
}
template <class R, class F> task<> for_all(stream_settings s, held_range<R> range, F f) {
  s.in_order = false;
  auto stream = make_stream_state<R>(s, range.get(), std::move(f));
  std::exception_ptr error;
  try {
    while (auto one = co_await stream->next()) {
      error = one->reason();
      if (error) break;
    }
  } catch (...) {
    error = std::current_exception();
  }
  if (!error) co_return;
  stream->stop();
  while (stream->stopping()) co_await stream_wait(*stream);
  std::rethrow_exception(std::move(error));
}

}  // namespace detail

/// A task for each input of a range, so many at once, and a stream of their results:
///
///     auto items = rn::async_stream(urls, rn::max_concurrency(8), rn::timeout(5s), rn::kill_on_timeout, fetch);
///     while (auto r = co_await items.next()) r->ok() ? use(r->value()) : report(r->input(), r->reason());
///
/// The inputs come from a range: a named one is referred to, and its elements copied; a container that is a temporary,
/// or moved, is moved in, and its elements moved. Or from a chan or receiver; or from a function that returns an
/// optional, or a task of one, empty at its end. A temporary view is refused. f is called with each input, as an
/// lvalue, by many tasks at once; it may return a task, or be a plain function.
///
/// Lazy: nothing is pulled and nothing runs before the first next(), and never more than may run at once. A result that
/// could be delivered has a place too, so a slow consumer holds the tasks up; one that waits behind a slow input has
/// none. A task that fails is an item that says why, and the others go on.
///
/// The tasks inherit the context in force here, and belong to the scope that is innermost here, as tasks of async do. A
/// stream that dies early cancels its tasks, which the scope joins; close() waits for them.
///
/// Options: max_concurrency(n), timeout(d), kill_on_timeout, ordered, unordered.
/// Throws: misuse_error outside of a goroutine; bad_alloc, and what copying the function throws.
/// Contract: SEMANTICS.md AS-01 to AS-17 and AS-C01 to AS-C04.
template <class R, class... X>
[[nodiscard("a stream does nothing until its next() is awaited")]] auto async_stream(R&& range, X&&... options_and_f) {
  detail::refuse_hazardous<R>();
  using held = detail::unmoved_t<R>;
  return detail::with_parsed<held>(
      [&](const detail::stream_settings& s, auto&& f) {
        return detail::make_stream<held>(s, detail::unmoved(std::forward<R>(range)), std::forward<decltype(f)>(f));
      },
      std::forward<X>(options_and_f)...);
}

/// Calls f with each input, so many at once, and returns a vector of what it returned, in the order of the inputs:
/// `auto pages = co_await rn::map(urls, rn::max_concurrency(8), fetch);`. Inputs and options as of async_stream.
///
/// Returns: the values; of void, std::monostate. Suspends: until all have ended.
/// Cancel-safety: the tasks are cancelled and joined before the caller unwinds.
/// Throws: the first error; the others have been cancelled and have ended then.
template <class R, class... X> [[nodiscard("co_await it")]] auto map(R&& range, X&&... options_and_f) {
  detail::refuse_hazardous<R>();
  using held = detail::unmoved_t<R>;
  return detail::with_parsed<held>(
      [&]<class F>(const detail::stream_settings& s, F&& f) {
        detail::check_called_with<held, F>();
        return detail::map_all<held, std::decay_t<F>>(
            s, detail::held_range<held>(detail::unmoved(std::forward<R>(range))), std::forward<F>(f));
      },
      std::forward<X>(options_and_f)...);
}
/// The same without results.
template <class R, class... X> [[nodiscard("co_await it")]] auto for_each(R&& range, X&&... options_and_f) {
  detail::refuse_hazardous<R>();
  using held = detail::unmoved_t<R>;
  return detail::with_parsed<held>(
      [&]<class F>(const detail::stream_settings& s, F&& f) {
        detail::check_called_with<held, F>();
        return detail::for_all<held, std::decay_t<F>>(
            s, detail::held_range<held>(detail::unmoved(std::forward<R>(range))), std::forward<F>(f));
      },
      std::forward<X>(options_and_f)...);
}

}  // namespace runnel
