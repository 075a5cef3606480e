// SPDX-License-Identifier: BSL-1.0
// runnel/sync/singleflight.hpp: singleflight, by which those who want the same at the same time share one call.
// Layer: L7
#pragma once

#include <runnel/chan.hpp>
#include <runnel/compiler.hpp>
#include <runnel/context.hpp>
#include <runnel/detail/call_result.hpp>
#include <runnel/detail/flight_table.hpp>
#include <runnel/detail/wait_operation.hpp>
#include <runnel/error.hpp>
#include <runnel/go.hpp>
#include <runnel/result.hpp>
#include <runnel/task.hpp>

#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

namespace runnel {

/// An option of singleflight: a call that nobody waits for any more is cancelled.
struct cancel_abandoned_t {
  explicit constexpr cancel_abandoned_t() noexcept = default;
};
inline constexpr cancel_abandoned_t cancel_abandoned{};

/// What a singleflight yields: a copy of the value, and whether it was shared.
template <class T> class shared_result {
  using stored = detail::flight_value<T>;

 public:
  explicit shared_result(stored value, bool shared) : x_value(std::move(value)), x_shared(shared) {}
  stored& value() & noexcept { return x_value; }
  stored&& value() && noexcept { return std::move(x_value); }
  /// Whether more than one caller got it.
  bool shared() const noexcept { return x_shared; }

 private:
  stored x_value;
  bool x_shared;
};

/// Calls for the same key at the same time share one call of the function.
///
///     rn::singleflight<std::string, page> flights;
///     auto r = co_await flights.call(url, fetch, url);     // r.value(), r.shared()
///
/// The first call for a key starts the function, in a goroutine of its own that belongs to the runtime, so that no
/// caller's cancellation ends it for the others. Nothing is kept: when it has ended, the next call starts it anew.
/// A call inside of the function for the same key waits for itself.
///
/// Cancel-safety: a cancelled call leaves, and the function goes on; with rn::cancel_abandoned it is cancelled when
/// the last caller has left. An error that nobody is left to hear goes to the on_unobserved_error hook.
/// Ordering: the end of the function happens before the return of every call that shares it.
/// Thread-safety: everything may be called by any goroutine at the same time.
/// Lifetime: neither copied nor moved; it may die while functions run.
/// Contract: SEMANTICS.md SF-01 to SF-08, SF-C01, SF-C02.
template <class Key, class T, class Hash = std::hash<Key>, class Equal = std::equal_to<Key>> class singleflight {
  using table = detail::flight_table<Key, T, Hash, Equal>;
  using flight = typename table::flight;

 public:
  using result_type = shared_result<T>;

  singleflight() : x_table(std::make_shared<table>(false)) {}
  explicit singleflight(cancel_abandoned_t) : x_table(std::make_shared<table>(true)) {}
  singleflight(const singleflight&) = delete;
  singleflight& operator=(const singleflight&) = delete;

  /// Waits for the call that is under way for this key, or for one that it starts: f(args...), a coroutine or not.
  ///
  /// Returns: a shared_result. Suspends: until the function has ended. Throws: what it throws, to all who share it;
  /// canceled if it was cancelled; shutting_down; what copying the value throws.
  template <class K, class F, class... A>
  requires std::is_constructible_v<Key, K&&>
  [[nodiscard("co_await it")]] task<result_type> call(K&& key, F&& f, A&&... args) {
    check<K, F, A...>();
    return call_in<detail::kept_t<F>, detail::kept_t<A>...>(x_table, Key(std::forward<K>(key)),
                                                            detail::unmoved(std::forward<F>(f)),
                                                            detail::unmoved(std::forward<A>(args))...);
  }
  /// The same without waiting. Returns: a channel that gets exactly one result and is never closed. A call with a
  /// channel counts as one that is waited for.
  /// Throws: misuse_error outside of a runtime; shutting_down; bad_alloc.
  template <class K, class F, class... A>
  requires std::is_constructible_v<Key, K&&>
  [[nodiscard("the result comes by it")]] chan<result<result_type>> call_chan(K&& key, F&& f, A&&... args) {
    check<K, F, A...>();
    chan<result<result_type>> answer(1);
    auto deliver = [answer](const flight& of) { answer.try_send(outcome_of(of)); };
    auto joined = x_table->join(Key(std::forward<K>(key)), deliver);
    if (joined.second)
      start(x_table, joined.first, detail::unmoved(std::forward<F>(f)), detail::unmoved(std::forward<A>(args))...);
    return answer;
  }
  /// The next call for this key starts the function anew, even if one is under way, whose callers keep waiting for
  /// it.
  void forget(const Key& key) { x_table->forget(key); }
  /// How many wait for this key, channels included, a snapshot.
  std::size_t waiting(const Key& key) const { return x_table->waiting(key); }

 private:
  template <class K, class F, class... A> static constexpr void check() {
    detail::refuse_hazardous<K, F, A...>();
    static_assert(
        std::is_invocable_v<detail::kept_t<F>&, detail::kept_t<A>...>,
        "the function cannot be called with these arguments: they are moved into its frame, so a parameter of "
        "type T& needs std::ref(x)");
    static_assert(
        std::is_void_v<T> || std::is_convertible_v<detail::call_result_t<detail::kept_t<F>&, detail::kept_t<A>...>, T>,
        "the function must yield what this singleflight shares");
  }
  static result<result_type> outcome_of(const flight& of) {
    if (of.error) return result<result_type>(of.error);
    if (!of.value) return result<result_type>();
    try {
      return result<result_type>(result_type(*of.value, of.shared));
    } catch (...) {
      return result<result_type>(std::current_exception());
    }
  }

  template <class F, class... A>
  static task<result_type> call_in(std::shared_ptr<table> flights, Key key, F f, A... args) {
    co_await detail::checkpoint();  // a done context starts nothing
    auto joined = flights->join(std::move(key), nullptr);
    typename table::caller me(*flights, joined.first);
    if (joined.second) start(flights, joined.first, std::move(f), std::move(args)...);
    co_await joined.first->ended.wait();
    co_return outcome_of(*joined.first).value();
  }
  template <class F, class... A>
  static void start(const std::shared_ptr<table>& flights, const std::shared_ptr<flight>& mine, F&& f, A&&... args) {
    try {
      if (!flights->cancels_abandoned()) {
        go(&fly<std::decay_t<F>, std::decay_t<A>...>, flights, mine, std::forward<F>(f), std::forward<A>(args)...);
      } else {
        auto [ctx, cancel] = this_context().without_cancel().with_cancel();
        flights->set_cancel(mine, std::move(cancel));
        go(ctx, &fly<std::decay_t<F>, std::decay_t<A>...>, flights, mine, std::forward<F>(f), std::forward<A>(args)...);
      }
    } catch (...) {
      mine->error = std::current_exception();
      flights->land(mine);
      throw;
    }
  }
  template <class F, class... A>
  static task<> fly(std::shared_ptr<table> flights, std::shared_ptr<flight> mine, F f, A... args) {
    typename table::lander at_end{*flights, mine};
    try {
      if constexpr (std::is_void_v<T>) {
        if constexpr (detail::is_task<std::invoke_result_t<F&, A...>>)
          (void)co_await std::invoke(f, std::move(args)...);
        else
          (void)std::invoke(f, std::move(args)...);
        mine->value.emplace();
      } else if constexpr (detail::is_task<std::invoke_result_t<F&, A...>>) {
        mine->value.emplace(co_await std::invoke(f, std::move(args)...));
      } else {
        mine->value.emplace(std::invoke(f, std::move(args)...));
      }
    } catch (...) {
      mine->error = std::current_exception();
    }
    co_return;
  }

  std::shared_ptr<table> x_table;
};

}  // namespace runnel
