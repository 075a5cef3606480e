// SPDX-License-Identifier: BSL-1.0
// runnel/blocking.hpp: blocking, which makes a call that blocks its thread where that hurts nobody.
// Layer: L11
#pragma once

#include <runnel/compiler.hpp>
#include <runnel/detail/blocking_pool.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/detail/runtime_core.hpp>
#include <runnel/detail/wait_operation.hpp>
#include <runnel/error.hpp>
#include <runnel/task.hpp>
#include <runnel/this_task.hpp>
#include <runnel/waiter.hpp>

#include <chrono>
#include <exception>
#include <functional>
#include <type_traits>
#include <utility>

namespace runnel {

namespace detail {

// Makes the call. What it returns or throws is taken by who waits for it, always: a call that was made is delivered.
template <class T, class F, class... A> void call_into(result_slot<T>& outcome, F& f, A&... args) noexcept {
  try {
    if constexpr (std::is_void_v<T>)
      std::invoke(f, std::move(args)...), outcome.emplace();
    else
      outcome.emplace(std::invoke(f, std::move(args)...));
  } catch (...) {
    outcome.fail(std::current_exception());
  }
}

// Waits until a thread of the pool has made the call.
template <class F> class blocking_operation : public awaitable_base, blocking_call {
 public:
  blocking_operation(blocking_pool& pool, F& f) noexcept : blocking_call(&make_it), x_pool(pool), x_f(f) {}
  blocking_operation(blocking_operation&& other) noexcept : blocking_operation(other.x_pool, other.x_f) {}
  blocking_operation& operator=(const blocking_operation&) = delete;

  bool suspend(promise_base* leaf) {
    goroutine& me = goroutine_of(leaf);
    if (!enter_operation(me)) return stop_here(me, leaf);
    if (x_pool.submit(me, leaf, *this)) return true;
    return stop_here(me, leaf);
  }
  void resume() const noexcept {}

 private:
  static void make_it(blocking_call& self) noexcept { static_cast<blocking_operation&>(self).x_f(); }

  blocking_pool& x_pool;
  F& x_f;
};

// Has others run first, whatever becomes of the context: what has been called is delivered.
class others_first : public awaitable_base {
 public:
  bool suspend(promise_base* leaf) const noexcept {
    goroutine& g = goroutine_of(leaf);
    g.set_leaf(leaf);
    requeue_self(g);
    return true;
  }
  void resume() const noexcept {}
};

// The same on the one thread of a test: it is made where it would be taken out of the queue. Others may run before and
// behind it.
template <class F> task<> call_in_test(pump_host& host, F& f) {
  co_await yield();
  co_await checkpoint();
  auto began = std::chrono::steady_clock::now();
  f();
  host.excuse((std::chrono::steady_clock::now() - began) / std::chrono::nanoseconds(1));
  co_await others_first();
}

template <class T, class F, class... A> task<T> call_blocking(F f, A... args) {
  result_slot<T> outcome;
  auto call = [&]() noexcept { call_into<T>(outcome, f, args...); };
  runtime_core& runtime = *runtime_core::here();
  if (runtime.core.host().is_test())
    co_await call_in_test(runtime.core.host(), call);
  else
    co_await blocking_operation<decltype(call)>(runtime.make_blocking<blocking_pool>(), call);
  co_return outcome.take();
}

}  // namespace detail

/// Makes a call that blocks its thread, or computes for long, on a thread where nobody waits behind it:
/// `auto text = co_await rn::blocking(read_file, path)`.
///
/// f and args are moved into the frame, out of rn::moved(x) too; std::ref(x) for a reference. f is a plain function,
/// not a coroutine. It runs on a thread of a pool of the runtime, which has none before the first call, starts one
/// where all are busy, up to runtime_options::blocking_threads (64), and ends those that have had nothing to do for a
/// while. Where that many are busy calls wait for their turn.
///
/// Returns: what f returns. Suspends: until f has returned; resumes on its own scheduler.
/// Cancel-safety: a call that waits for its turn is taken back, and f never runs. One that runs is waited for, by a
/// killed goroutine too, because f may refer to what is in its frames; what it returned or threw arrives, and the
/// goroutine unwinds at its next suspension. f may look at a context that it is given, and return.
/// Ordering: calls begin in the order in which they came. What happened before the await happens before f, and f before
/// what comes after the await.
/// Throws: what f throws; misuse_error outside of a goroutine; bad_alloc; std::system_error if not even one thread can
/// be started.
/// Contract: under test::run f is called on the thread of the test, at a moment that the schedule chooses.
template <class F, class... A>
[[nodiscard("co_await it: rn::blocking(f) alone does nothing")]] auto blocking(F&& f, A&&... args) {
  detail::refuse_hazardous<F, A...>();
  static_assert(std::is_invocable_v<detail::kept_t<F>&, detail::kept_t<A>...>,
                "blocking: the callable cannot be called with these arguments: they are moved into the frame, so a "
                "parameter of type T& needs std::ref(x)");
  using T = std::invoke_result_t<detail::kept_t<F>&, detail::kept_t<A>...>;
  static_assert(!detail::is_task<T>, "blocking calls a plain function on another thread: a coroutine is awaited here");
  if (!detail::runtime_core::here())
    throw misuse_error("runnel: blocking outside of a goroutine: there the call can be made as it is");
  return detail::call_blocking<T, detail::kept_t<F>, detail::kept_t<A>...>(
      detail::unmoved(std::forward<F>(f)), detail::unmoved(std::forward<A>(args))...);
}

}  // namespace runnel
