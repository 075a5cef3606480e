// SPDX-License-Identifier: BSL-1.0
// runnel/as_result.hpp: as_result, which makes an outcome a value; finally, for clean-up that suspends.
// Layer: L7
#pragma once

#include <runnel/compiler.hpp>
#include <runnel/detail/boundary.hpp>
#include <runnel/result.hpp>
#include <runnel/with_context.hpp>

#include <functional>
#include <type_traits>
#include <utility>

namespace runnel {

namespace detail {

// A kill of the context around it goes on, unless something has to be done first.
enum class on_kill : unsigned char { goes_on, stops_here };

template <class T, on_kill OnKill = on_kill::goes_on>
class result_operation : public boundary<result_operation<T, OnKill>, T> {
 public:
  explicit result_operation(task<T> t) noexcept : boundary<result_operation, T>(std::move(t)) {}
  void entered(goroutine&) const noexcept {}
  bool unwound(goroutine& g) noexcept {
    x_unwound = OnKill == on_kill::stops_here || !g.context.load(std::memory_order_relaxed)->killed();
    return !x_unwound;
  }
  runnel::result<T> resume() { return x_unwound ? runnel::result<T>() : take_result<T>(this->result); }

 private:
  bool x_unwound = false;
};

// Goes on unwinding after something suspended on the way.
class stop_operation : public awaitable_base {
 public:
  bool suspend(promise_base* leaf) const {
    stop_here(goroutine_of(leaf), leaf);
    return true;
  }
  void resume() const noexcept {}
};

template <class T, class Cleanup> task<T> run_finally(task<T> body, Cleanup cleanup) {
  auto outcome = co_await result_operation<T, on_kill::stops_here>(std::move(body));
  co_await shield(std::invoke(cleanup));
  if (outcome.canceled()) co_await stop_operation();
  co_return std::move(outcome).value();
}

}  // namespace detail

/// Awaits work and makes of its outcome a value: `auto r = co_await rn::as_result(fetch(url));`
///
/// Returns: a result: the value, the exception, or canceled() if work was cancelled. Where the cancellation came from
/// a context around this, the next suspension unwinds again; if that stands in an as_result too, it is a value again:
/// a loop has to look at canceled(). Cancel-safety: a kill of the context around this is not absorbed.
template <detail::awaitable W> [[nodiscard("co_await it")]] auto as_result(W&& work) {
  return detail::result_operation<detail::awaited_t<W>>(detail::as_task(std::forward<W>(work)));
}

/// Runs work and then, whatever becomes of it, `co_await cleanup()`, shielded from cancellation: for clean-up that has
/// to suspend, which a destructor cannot. A kill pierces the clean-up at its first suspension.
///
/// Returns, throws: what work does; if cleanup throws, that instead. If work was cancelled, unwinding goes on after
/// the clean-up. cleanup is moved into the frame.
template <detail::awaitable W, class Cleanup>
[[nodiscard("co_await it")]] auto finally(W&& work, Cleanup&& cleanup) -> task<detail::awaited_t<W>> {
  detail::refuse_hazardous<Cleanup>();
  static_assert(
      detail::is_task<std::invoke_result_t<detail::kept_t<Cleanup>&>>,
      "finally(work, cleanup): cleanup is a function that returns a task; for clean-up that does not suspend, "
      "use a destructor");
  return detail::run_finally<detail::awaited_t<W>, detail::kept_t<Cleanup>>(
      detail::as_task(std::forward<W>(work)), detail::unmoved(std::forward<Cleanup>(cleanup)));
}

}  // namespace runnel
