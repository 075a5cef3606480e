// SPDX-License-Identifier: BSL-1.0
// runnel/sync/retry.hpp: retry, which calls something again until it succeeds.
// Layer: L7
#pragma once

#include <runnel/compiler.hpp>
#include <runnel/detail/call_result.hpp>
#include <runnel/error.hpp>
#include <runnel/sleep.hpp>
#include <runnel/sync/backoff.hpp>
#include <runnel/task.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <type_traits>
#include <utility>

namespace runnel {

/// An option of retry: at most n attempts. Throws: misuse_error for n below 1.
class attempts {
 public:
  explicit attempts(std::ptrdiff_t n) : x_n(static_cast<std::size_t>(n)) {
    if (n < 1) throw misuse_error("runnel: attempts(n) takes at least 1");
  }
  /// Until it succeeds, or is cancelled.
  static attempts unlimited() { return attempts(PTRDIFF_MAX); }
  std::size_t count() const noexcept { return x_n; }

 private:
  std::size_t x_n;
};

namespace detail {

template <class P> class retry_condition {
 public:
  explicit retry_condition(P p) : x_predicate(std::move(p)) {}
  bool operator()(const std::exception_ptr& error) { return x_predicate(error); }

 private:
  P x_predicate;
};

// What is worth another attempt unless retry_if says otherwise: not what the program or its owner has decided.
struct retry_all {
  bool operator()(const std::exception_ptr& error) const noexcept {
    try {
      std::rethrow_exception(error);
    } catch (const misuse_error&) {
      return false;
    } catch (const canceled&) {
      return false;
    } catch (const shutting_down&) {
      return false;
    } catch (...) {
      return true;
    }
  }
};

template <class Condition = retry_all> struct retry_options {
  std::size_t most = 3;
  std::optional<backoff> pause;
  Condition again;

  explicit retry_options(Condition c = Condition()) : again(std::move(c)) {}
  retry_options with(const attempts& a) && { return most = a.count(), std::move(*this); }
  retry_options with(const backoff& b) && { return pause = b, std::move(*this); }
  template <class P> retry_options<retry_condition<P>> with(retry_condition<P> c) && {
    retry_options<retry_condition<P>> changed(std::move(c));
    changed.most = most;
    changed.pause = pause;
    return changed;
  }
};

template <class O> inline constexpr bool is_retry_condition = false;
template <class P> inline constexpr bool is_retry_condition<retry_condition<P>> = true;
template <class O>
concept retry_option = std::same_as<std::remove_cvref_t<O>, attempts> ||
    std::same_as<std::remove_cvref_t<O>, backoff> || is_retry_condition<std::remove_cvref_t<O>>;

template <class T, class Condition, class F, class... A>
task<T> run_retry(retry_options<Condition> options, F f, A... args) {
  for (std::size_t n = 1;; ++n) {
    std::exception_ptr error;
    try {
      if constexpr (is_task<std::invoke_result_t<F&, A&...>>)
        co_return co_await std::invoke(f, args...);
      else
        co_return std::invoke(f, args...);
    } catch (...) {
      error = std::current_exception();
    }
    if (n >= options.most || !options.again(error)) std::rethrow_exception(std::move(error));
    error = nullptr;  // not kept while it sleeps
    std::chrono::nanoseconds pause(0);
    if (options.pause) pause = options.pause->next();
    co_await sleep(pause);
  }
}

template <class Condition, class F, class... A>
requires(!retry_option<F>) auto retry_with(retry_options<Condition> options, F&& f, A&&... args) {
  refuse_hazardous<F, A...>();
  static_assert(
      std::is_invocable_v<kept_t<F>&, kept_t<A>&...>,
      "retry calls f(args...) again and again, with the same arguments as lvalues: f must take them by value, "
      "or by reference with std::ref(x)");
  using T = call_result_t<kept_t<F>&, kept_t<A>&...>;
  return run_retry<T, Condition, kept_t<F>, kept_t<A>...>(std::move(options), unmoved(std::forward<F>(f)),
                                                          unmoved(std::forward<A>(args))...);
}
template <class Condition, retry_option O, class... Rest>
auto retry_with(retry_options<Condition> options, O&& option, Rest&&... rest) {
  return retry_with(std::move(options).with(std::forward<O>(option)), std::forward<Rest>(rest)...);
}

}  // namespace detail

/// An option of retry: only errors for which pred(const std::exception_ptr&) is true are worth another attempt.
template <class P> auto retry_if(P&& pred) {
  detail::refuse_hazardous<P>();
  static_assert(std::is_invocable_r_v<bool, detail::kept_t<P>&, const std::exception_ptr&>,
                "retry_if takes a predicate over const std::exception_ptr&");
  return detail::retry_condition<detail::kept_t<P>>(detail::unmoved(std::forward<P>(pred)));
}

/// Calls f(args...), a coroutine or not, until it returns: `co_await rn::retry(rn::attempts(5), rn::backoff(100ms,
/// 5s), fetch, url)`. Options come first: attempts (3), backoff (none: it is called again at once), retry_if.
///
/// f and args are moved into the frame, and args are given to f as lvalues, each time the same.
///
/// Returns: what f returns. Suspends: while f runs, and between the attempts. Throws: the last error. misuse_error,
/// canceled and shutting_down are not retried unless retry_if says so.
/// Cancel-safety: cancellation is not an error: it ends f, or the pause, and nothing is tried again.
template <class... A> [[nodiscard("co_await it")]] auto retry(A&&... options_f_args) {
  return detail::retry_with(detail::retry_options<>(), std::forward<A>(options_f_args)...);
}

}  // namespace runnel
