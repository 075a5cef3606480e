// SPDX-License-Identifier: BSL-1.0
// runnel/adopt.hpp: adopt, which awaits an awaitable of another library.
// Layer: L3
#pragma once

#include <runnel/compiler.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/waiter.hpp>

#include <coroutine>
#include <exception>
#include <type_traits>
#include <utility>

namespace runnel {

namespace detail {

// A coroutine of nobody's: it awaits the foreign awaitable, and may be resumed on any thread.
struct foreign_root {
  struct promise_type {
    foreign_root get_return_object() noexcept { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_always initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    void unhandled_exception() const noexcept { std::terminate(); }  // the body catches everything
  };
  std::coroutine_handle<promise_type> handle;
};

template <class A> decltype(auto) foreign_awaiter(A&& a) {
  if constexpr (requires { std::forward<A>(a).operator co_await(); })
    return std::forward<A>(a).operator co_await();
  else if constexpr (requires { operator co_await(std::forward<A>(a)); })
    return operator co_await(std::forward<A>(a));
  else
    return std::forward<A>(a);
}
template <class A>
using foreign_result = decltype(std::declval<decltype(foreign_awaiter(std::declval<A>()))>().await_resume());

// By reference: g++ 12 copies an awaiter that is named by anything but a variable.
template <class W> class awaiter_ref {
 public:
  explicit awaiter_ref(W& w) noexcept : x_awaiter(w) {}
  bool await_ready() const { return static_cast<bool>(x_awaiter.await_ready()); }
  template <class Promise> decltype(auto) await_suspend(std::coroutine_handle<Promise> h) const {
    return x_awaiter.await_suspend(h);
  }
  decltype(auto) await_resume() const { return x_awaiter.await_resume(); }

 private:
  W& x_awaiter;
};

// The goroutine waits for it like for a join: nothing can take it out but the end of the foreign work. A temporary
// moves in; one that cannot, and a named object, are referred to.
template <class A> class adopt_operation : public awaitable_base {
  using T = std::remove_cvref_t<foreign_result<A>>;
  using kept = std::conditional_t<std::is_move_constructible_v<A>, A, A&&>;

 public:
  explicit adopt_operation(A&& foreign) : x_foreign(static_cast<A&&>(foreign)) {}
  adopt_operation(adopt_operation&& other) : x_foreign(static_cast<A&&>(other.x_foreign)) {}
  adopt_operation& operator=(const adopt_operation&) = delete;

  bool suspend(promise_base* leaf) {
    goroutine& g = goroutine_of(leaf);
    if (!enter_operation(g)) return stop_here(g, leaf), true;
    g.set_leaf(leaf);
    drive(*this, g).handle.resume();
    return true;  // the goroutine may already run elsewhere
  }
  T resume() { return x_result.take(); }

 private:
  static foreign_root drive(adopt_operation& op, goroutine& g) {
    try {
      decltype(auto) awaiter = foreign_awaiter(static_cast<A&&>(op.x_foreign));
      awaiter_ref<std::remove_reference_t<decltype(awaiter)>> by_reference(awaiter);
      if constexpr (std::is_void_v<T>)
        co_await by_reference, op.x_result.emplace();
      else
        op.x_result.emplace(co_await by_reference);
    } catch (...) {
      op.x_result.fail(std::current_exception());
    }
    requeue(&g);
  }

  kept x_foreign;
  result_slot<T> x_result;
};
template <class A> adopt_operation<A> adopt_unmoved(A&& foreign) {
  return adopt_operation<A>(std::forward<A>(foreign));
}

}  // namespace detail

/// Awaits an awaitable of another library in a goroutine: `co_await rn::adopt(their_task())`.
///
/// Returns, throws: what it does. Suspends: until it completes, wherever that happens; resumes on its own scheduler.
/// Cancel-safety: it is not cancelled: a cancelled goroutine unwinds when the foreign work has ended. A context that is
/// done already keeps it from starting.
/// Lifetime: a temporary moves into the operation; one that cannot move is referred to. asio::awaitable has an
/// adopt of its own, which is cancelled: runnel/io/adopt_awaitable.hpp.
template <class A> [[nodiscard("co_await it")]] auto adopt(A&& foreign) {
  detail::refuse_hazardous<A>();
  return detail::adopt_unmoved(detail::unmoved(std::forward<A>(foreign)));
}

}  // namespace runnel
