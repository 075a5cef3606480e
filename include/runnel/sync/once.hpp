// SPDX-License-Identifier: BSL-1.0
// runnel/sync/once.hpp: once and once_value: something is done once, and who needs it waits until it is done.
// Layer: L4
#pragma once

#include <runnel/compiler.hpp>
#include <runnel/detail/call_result.hpp>
#include <runnel/detail/once_core.hpp>
#include <runnel/error.hpp>
#include <runnel/task.hpp>

#include <cstddef>
#include <exception>
#include <functional>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

namespace runnel {

/// Runs one function, once: `co_await o.call(f, args...)`. The first call runs f, in the calling goroutine; all
/// others, whatever their f, wait until that has ended. f may be a coroutine or not; what it returns is dropped.
///
/// If f throws, its caller gets the exception, and the once is done all the same; so it is if its caller is
/// cancelled while f runs. For a value, or an exception, that everybody gets use once_value.
///
/// Cancel-safety: a cancelled call that waits has no effect.
/// Ordering: the end of f happens before the return of every call.
/// Thread-safety: everything may be called from any thread at the same time.
/// Lifetime: neither copied nor moved; constexpr. Destroying it while f runs is a reported error.
/// Contract: SEMANTICS.md ON-01 to ON-03, ON-07, ON-C01.
class once {
 public:
  constexpr once() noexcept = default;

  /// Suspends: while f runs, here or elsewhere. Throws: what f throws, if this call runs it; misuse_error if f
  /// calls the same once again, in this goroutine. Lifetime: f and the arguments are moved from when f begins:
  /// await it in the same expression. Complexity: O(1) once it is done.
  template <class F, class... A>
  [[nodiscard("co_await it: o.call(f) alone runs nothing")]] auto call(F&& f, A&&... args) noexcept {
    detail::refuse_hazardous<F, A...>();
    static_assert(
        std::is_invocable_v<detail::kept_t<F>&, detail::kept_t<A>...>,
        "the function cannot be called with these arguments: they are moved into its frame, so a parameter of "
        "type T& needs std::ref(x)");
    return call_operation<F, A...>(x_core, std::forward<F>(f), std::forward<A>(args)...);
  }
  bool is_done() const noexcept { return x_core.done(); }
  /// How many wait for f to end, a snapshot. O(waiters).
  std::size_t waiting() const noexcept { return x_core.waiting(); }

 private:
  template <class F, class... A> static task<> run(detail::once_core& core, F f, A... args) {
    detail::once_core::finisher end{core};
    if constexpr (detail::is_task<std::invoke_result_t<F&, A...>>)
      (void)co_await std::invoke(f, std::move(args)...);
    else
      (void)std::invoke(f, std::move(args)...);
    co_return;
  }

  template <class F, class... A> class call_operation : public detail::once_operation<call_operation<F, A...>> {
   public:
    call_operation(detail::once_core& core, F&& f, A&&... args) noexcept
        : detail::once_operation<call_operation>(core), x_call(std::forward<F>(f), std::forward<A>(args)...) {}
    task<> make() {
      return std::apply(
          [this](auto&&... each) {
            return run<detail::kept_t<F>, detail::kept_t<A>...>(
                this->core(), detail::unmoved(std::forward<decltype(each)>(each))...);
          },
          std::move(x_call));
    }
    void resume() { this->rethrow(); }

   private:
    std::tuple<F&&, A&&...> x_call;
  };

  detail::once_core x_core;
};

/// A function that is called at most once: `rn::once_value config(load); ... co_await config()`. The first call
/// runs it, in the calling goroutine; every call yields the same value, or throws the same exception. f may be a
/// coroutine or not.
///
/// f is destroyed as soon as it has ended. If its caller is cancelled while it runs, there is no value: every other
/// call throws canceled.
///
/// Cancel-safety: a cancelled call that waits has no effect.
/// Ordering: the end of f happens before the return of every call.
/// Thread-safety: everything may be called from any thread at the same time.
/// Lifetime: neither copied nor moved. What is yielded is a reference into it. It must not die while f runs.
/// Contract: SEMANTICS.md ON-04 to ON-07, ON-C01.
template <class F> class once_value {
  using T = std::decay_t<detail::call_result_t<F&>>;
  using stored = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

 public:
  using value_type = T;

  explicit once_value(F f) noexcept(std::is_nothrow_move_constructible_v<F>) : x_function(std::move(f)) {}

  /// Returns: a reference to the value (for void: nothing). Suspends: while f runs, here or elsewhere.
  /// Throws: what f has thrown; canceled if it was cancelled; misuse_error if f calls this, in this goroutine.
  [[nodiscard("co_await it: the call alone runs nothing")]] auto operator()() noexcept { return call_operation(*this); }
  bool is_done() const noexcept { return x_core.done(); }
  /// How many wait for f to end, a snapshot. O(waiters).
  std::size_t waiting() const noexcept { return x_core.waiting(); }

 private:
  struct at_end {  // the function first: nothing of it is left when the others go on
    once_value& self;
    ~at_end() {
      self.x_function.reset();
      self.x_core.finish();
    }
  };
  static task<> run(once_value& self) {
    at_end end{self};
    try {
      if constexpr (std::is_void_v<T>) {
        if constexpr (detail::is_task<std::invoke_result_t<F&>>)
          co_await std::invoke(*self.x_function);
        else
          std::invoke(*self.x_function);
        self.x_value.emplace();
      } else if constexpr (detail::is_task<std::invoke_result_t<F&>>) {
        self.x_value.emplace(co_await std::invoke(*self.x_function));
      } else {
        self.x_value.emplace(std::invoke(*self.x_function));
      }
    } catch (...) {
      self.x_error = std::current_exception();
    }
    co_return;
  }
  class call_operation : public detail::once_operation<call_operation> {
   public:
    explicit call_operation(once_value& self) noexcept
        : detail::once_operation<call_operation>(self.x_core), x_self(self) {}
    task<> make() { return run(x_self); }
    std::conditional_t<std::is_void_v<T>, void, const stored&> resume() {
      this->rethrow();
      if (x_self.x_error) std::rethrow_exception(x_self.x_error);
      if (!x_self.x_value) throw canceled();
      if constexpr (!std::is_void_v<T>) return *x_self.x_value;
    }

   private:
    once_value& x_self;
  };

  std::optional<F> x_function;
  std::optional<stored> x_value;
  std::exception_ptr x_error;
  detail::once_core x_core;
};

}  // namespace runnel
