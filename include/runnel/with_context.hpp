// SPDX-License-Identifier: BSL-1.0
// runnel/with_context.hpp: running one piece of work under a deadline, a context, a value; or shielded.
// Layer: L7
#pragma once

#include <runnel/compiler.hpp>
#include <runnel/context.hpp>
#include <runnel/detail/boundary.hpp>
#include <runnel/detail/scoped_operation.hpp>
#include <runnel/error.hpp>

#include <chrono>
#include <coroutine>
#include <exception>
#include <memory>
#include <utility>

namespace runnel {

namespace detail {

template <class T> class deadline_operation : public scoped_operation<deadline_operation<T>, T> {
 public:
  deadline_operation(task<T> t, std::int64_t at, bool relative) noexcept
      : scoped_operation<deadline_operation, T>(std::move(t), cancel_node::form::scoped),
        x_at(at),
        x_relative(relative) {}
  deadline_operation(deadline_operation&& other) noexcept
      : scoped_operation<deadline_operation, T>(std::move(other), cancel_node::form::scoped),
        x_at(other.x_at),
        x_relative(other.x_relative) {}

  void entered(goroutine& g) noexcept {
    runtime_core& runtime = runtime_core::of(g);
    std::int64_t now = runtime.core.now();
    if (x_relative) x_at = saturating_add(now, x_at);
    std::int64_t outer = g.context.load(std::memory_order_relaxed)->deadline();
    this->x_scope.enter(g, x_at);
    if (x_at <= now)
      this->x_scope.node().cancel(level_cancel, true, deadline_cause());
    else if (x_at < outer && x_at != end_of_time)
      x_timer.arm(runtime.timers, this->x_scope.node(), x_at, nullptr);
  }
  bool unwound(goroutine& g) noexcept {
    x_timer.disarm();
    cancel_node& node = this->x_scope.node();
    x_passed = node.due() && node.by_deadline() && !node.killed() && !this->x_scope.outer().due();
    this->x_scope.leave(g);
    return !x_passed;
  }
  T resume() {
    if (x_passed) throw deadline_exceeded();
    x_timer.disarm();
    return scoped_operation<deadline_operation, T>::resume();
  }

 private:
  std::int64_t x_at;
  bool x_relative;
  bool x_passed = false;
  deadline_timer x_timer;
};

template <class T> class context_operation : public scoped_operation<context_operation<T>, T> {
 public:
  context_operation(task<T> t, context ctx) noexcept
      : scoped_operation<context_operation, T>(std::move(t), cancel_node::form::scoped),
        x_edge(this->x_scope.node()),
        x_context(std::move(ctx)) {}
  context_operation(context_operation&& other) noexcept
      : scoped_operation<context_operation, T>(std::move(other), cancel_node::form::scoped),
        x_edge(this->x_scope.node()),
        x_context(other.x_context) {}
  void entered(goroutine& g) {
    context_node& other = x_context.node();
    // The explicit context's values are nearer than the ambient ones, and its deadline counts.
    if (other.values()) {
      x_values = join_values(other.values(), g.context.load(std::memory_order_relaxed)->values());
      this->x_scope.node().set_values(x_values.get());
    }
    this->x_scope.enter(g, other.deadline());
    other.list_edge(x_edge);
  }
  bool unwound(goroutine& g) noexcept {
    x_context.node().unlist(x_edge);
    this->x_scope.leave(g);
    return true;
  }
  T resume() {
    x_context.node().unlist(x_edge);
    return scoped_operation<context_operation, T>::resume();
  }

 private:
  cancel_edge x_edge;
  context x_context;
  context_values x_values;
};

template <class T> class value_operation : public scoped_operation<value_operation<T>, T> {
 public:
  value_operation(task<T> t, std::shared_ptr<context_value> bound) noexcept
      : scoped_operation<value_operation, T>(std::move(t), cancel_node::form::scoped), x_bound(std::move(bound)) {}
  value_operation(value_operation&& other) noexcept
      : scoped_operation<value_operation, T>(std::move(other), cancel_node::form::scoped),
        x_bound(std::move(other.x_bound)) {}
  void entered(goroutine& g) noexcept {
    // What is ambient here, not where this was made: it may stand in another scope, or have been kept.
    x_bound->outer = share_values(g.context.load(std::memory_order_relaxed)->values());
    this->x_scope.node().set_values(x_bound.get());
    this->x_scope.enter(g);
  }
  bool unwound(goroutine& g) noexcept {
    this->x_scope.leave(g);
    return true;
  }

 private:
  std::shared_ptr<context_value> x_bound;
};

}  // namespace detail

/// Runs work, a task or one of the library's operations, with a time limit: `co_await rn::with_timeout(2s,
/// fetch(url))`.
///
/// Returns: what work returns; also if it ended by itself just after the deadline had passed.
/// Suspends: while work runs. When the deadline passes, work is cancelled, and its frames are unwound and its scopes
/// joined before this goes on. An earlier ambient deadline stays in force. A duration at or below zero has passed.
/// Throws: deadline_exceeded when this deadline ended the work; what work throws.
/// Cancel-safety: that of work.
/// Contract: DESIGN section 4, CTX-16 to CTX-20.
template <class Rep, class Period, detail::awaitable W>
[[nodiscard("co_await it")]] auto with_timeout(std::chrono::duration<Rep, Period> limit, W&& work) {
  return detail::deadline_operation<detail::awaited_t<W>>(detail::as_task(std::forward<W>(work)), detail::to_ns(limit),
                                                          true);
}
/// The same with a point in time.
template <detail::awaitable W>
[[nodiscard("co_await it")]] auto with_deadline(std::chrono::steady_clock::time_point at, W&& work) {
  return detail::deadline_operation<detail::awaited_t<W>>(detail::as_task(std::forward<W>(work)), detail::to_ns(at),
                                                          false);
}
/// Runs work under ctx and the ambient context, whichever is done first. Values of ctx are nearer than the ambient
/// ones. Being cancelled by ctx unwinds like any cancellation; rn::as_result shows it as a value.
template <detail::awaitable W> [[nodiscard("co_await it")]] auto with_context(context ctx, W&& work) {
  return detail::context_operation<detail::awaited_t<W>>(detail::as_task(std::forward<W>(work)), std::move(ctx));
}
/// Runs work with a value bound in its context: `rn::with_value<user_key>(user, handle(request))`.
template <class Key, detail::awaitable W>
[[nodiscard("co_await it")]] auto with_value(detail::value_of<Key> value, W&& work) {
  return detail::value_operation<detail::awaited_t<W>>(detail::as_task(std::forward<W>(work)),
                                                       detail::bind_value<Key>(nullptr, std::move(value)));
}
/// Runs work so that it does not hear the cancellation of the contexts around it, only a kill. Deadlines and groups
/// inside are in force as always. What comes after the shield unwinds at its next suspension.
template <detail::awaitable W> [[nodiscard("co_await it")]] auto shield(W&& work) {
  return detail::shield_operation<detail::awaited_t<W>>(detail::as_task(std::forward<W>(work)));
}

}  // namespace runnel
