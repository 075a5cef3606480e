// SPDX-License-Identifier: BSL-1.0
// runnel/context.hpp: context, a node of the cancellation tree: a deadline, a cause, values.
// Layer: L7
#pragma once

#include <runnel/detail/context_node.hpp>
#include <runnel/detail/context_ops.hpp>
#include <runnel/detail/runtime_core.hpp>
#include <runnel/error.hpp>
#include <runnel/go.hpp>
#include <runnel/time_point.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <source_location>
#include <system_error>
#include <utility>

namespace runnel {

/// Cancels a context. Move-only; cancels when it dies, so that nothing derived is forgotten.
class [[nodiscard("the context is cancelled when this dies: keep it")]] cancel_function {
 public:
  cancel_function(cancel_function&& other) noexcept : x_node(std::exchange(other.x_node, nullptr)) {}
  cancel_function& operator=(cancel_function&& other) noexcept {
    cancel_function taken(std::move(other));
    std::swap(x_node, taken.x_node);
    return *this;
  }
  // Not inlined: in an optional g++ 12 takes it for uninitialized.
  RUNNEL_NOINLINE ~cancel_function() {
    if (!x_node) return;
    cancel(nullptr);
    x_node->release();
  }

  /// Cancels the context and everything derived from it; they see canceled, and the cause. Only the first
  /// cancellation counts. Does not wait for anybody's work.
  ///
  /// Thread-safety: may be called from any thread, at the same time. Complexity: linear in what is cancelled. One that
  /// was moved from does nothing.
  void operator()(std::exception_ptr cause = nullptr) const noexcept {
    if (x_node) cancel(std::move(cause));
  }

 private:
  friend class context;
  explicit cancel_function(detail::context_node& node) noexcept : x_node(&node) { node.retain(); }
  void cancel(std::exception_ptr cause) const noexcept {
    x_node->stop_clock();
    x_node->cancel(detail::level_cancel, false, cause ? std::move(cause) : detail::canceled_cause());
  }
  detail::context_node* x_node;
};

/// Undoes an after_func. Dropping it undoes nothing.
class after_func_handle {
 public:
  /// Returns: true if this kept f from running; false if it was started, or stopped before, or this was moved from.
  /// Does not wait for f.
  bool stop() noexcept { return x_registration && x_registration->stop(); }

 private:
  friend class context;
  explicit after_func_handle(std::shared_ptr<detail::after_func> r) noexcept : x_registration(std::move(r)) {}
  std::shared_ptr<detail::after_func> x_registration;
};

/// A handle to a node of the cancellation tree. Copies share the node.
///
/// A context is done when its cancel function is called, when its deadline passes, or when its parent is done;
/// the first of these fixes err() and cause(). A goroutine has a current context; what it awaits and what its scopes
/// start inherit it, so that contexts are rarely passed by hand. A task whose first parameter is a context runs under
/// it as well as under the ambient one.
///
/// Thread-safety: everything may be called from any thread; one handle object is not for two threads at once.
/// Contract: SEMANTICS.md CTX-01 to CTX-27 and CTX-C01 to CTX-C07, after Go's context package.
class context {
 public:
  /// Never done, no deadline, no values.
  static context background() { return context(detail::background_node()); }

  /// A child that can be cancelled: `auto [ctx, cancel] = parent.with_cancel();`
  std::pair<context, cancel_function> with_cancel() const;
  /// The same; kept for readers of Go: every cancel_function takes a cause.
  std::pair<context, cancel_function> with_cancel_cause() const { return with_cancel(); }
  /// A child with a deadline. An earlier deadline of the parent stays in force. Must be called in a runtime, whose
  /// timers it uses. A duration at or below zero is a passed deadline.
  /// Throws: misuse_error outside of a runtime.
  template <class Rep, class Period>
  std::pair<context, cancel_function> with_timeout(std::chrono::duration<Rep, Period> d,
                                                   std::exception_ptr cause = nullptr) const {
    const std::int64_t now = detail::now_ns();
    return with_deadline_ns(detail::saturating_add(now, detail::to_ns(d)), now, std::move(cause));
  }
  std::pair<context, cancel_function> with_deadline(std::chrono::steady_clock::time_point at,
                                                    std::exception_ptr cause = nullptr) const {
    return with_deadline_ns(detail::to_ns(at), detail::now_ns(), std::move(cause));
  }
  /// A child that carries a value: `ctx.with_value<user_key>(user)` is found by `ctx.value<user_key>()`, here and in
  /// everything derived. Key is a type, made for the purpose, with a member `using type = ...`; or the value's type.
  template <class Key>
  context with_value(detail::value_of<Key> value) const;
  /// A context with the same values that is never done, whatever happens to this one.
  context without_cancel() const;

  /// Runs f() once, in a goroutine of its own, when this context is done; at once if it is done already.
  template <class F>
  after_func_handle after_func(F&& f, std::source_location where = std::source_location::current()) const;

  /// Waits until this context is done: `co_await ctx.done()`. Goes on normally even if it is the ambient context that
  /// is done; the next suspension after it unwinds.
  /// Cancel-safety: nothing is lost.
  [[nodiscard("co_await it")]] detail::done_operation done() const noexcept { return detail::done_operation(*x_node); }
  bool is_done() const noexcept { return x_node->due(); }
  /// Why it is done: empty until it is, then context_errc::canceled or context_errc::deadline_exceeded.
  std::error_code err() const noexcept {
    if (!x_node->due()) return {};
    return x_node->by_deadline() ? context_errc::deadline_exceeded : context_errc::canceled;
  }
  /// The cause: null until it is done.
  std::exception_ptr cause() const noexcept { return x_node->due() ? x_node->cause() : nullptr; }
  /// Throws the cause if it is done.
  void check() const {
    if (x_node->due()) std::rethrow_exception(x_node->cause());
  }
  /// Empty if there is none.
  std::optional<std::chrono::steady_clock::time_point> deadline() const noexcept {
    if (x_node->deadline() == detail::cancel_node::no_deadline) return std::nullopt;
    return detail::from_ns(x_node->deadline());
  }
  /// How long until the deadline, for a call that takes a time limit; 0 when it has passed, empty if there is none.
  std::optional<std::chrono::nanoseconds> time_left() const noexcept {
    if (x_node->deadline() == detail::cancel_node::no_deadline) return std::nullopt;
    return std::chrono::nanoseconds(std::max<std::int64_t>(0, x_node->deadline() - detail::now_ns()));
  }
  /// The nearest value bound to Key here or above; null if there is none.
  template <class Key>
  const detail::value_of<Key>* value() const noexcept {
    return detail::find_value<Key>(x_node->values());
  }

  context(const context& other) noexcept : x_node(other.x_node) { x_node->retain(); }
  context& operator=(context other) noexcept {
    std::swap(x_node, other.x_node);
    return *this;
  }
  ~context() { x_node->release(); }
  friend bool operator==(const context& a, const context& b) noexcept { return a.x_node == b.x_node; }

  /// For the layers above.
  detail::context_node& node() const noexcept { return *x_node; }
  /// Takes over one use of the node.
  static context adopt(detail::context_node& node) noexcept {
    return context(&node);
  }

 private:
  explicit context(detail::context_node& node) noexcept : x_node(&node) { node.retain(); }
  explicit context(detail::context_node* taken_over) noexcept : x_node(taken_over) {}
  std::pair<context, cancel_function> with_deadline_ns(std::int64_t at, std::int64_t now,
                                                       std::exception_ptr cause) const;

  detail::context_node* x_node;
};

/// The current context of the calling goroutine. Throws: misuse_error outside of one.
inline context this_context() {
  detail::goroutine* g = detail::current_goroutine();
  if (!g) throw misuse_error("runnel: this_context outside of a goroutine");
  auto* current = g->context.load(std::memory_order_relaxed);
  if (current->shared()) {
    auto* shared = static_cast<detail::context_node*>(current);
    shared->retain();
    return context::adopt(*shared);
  }
  // A scoped node dies with its scope: a handle gets a child of it, which is done when the scope ends.
  auto* child = new detail::context_node(detail::share_values(current->values()));
  child->attach(*current);
  return context::adopt(*child);
}

/// Waits until the calling goroutine's context is done, and then goes on: this is how cancellation is seen without
/// being unwound. The next suspension unwinds.
[[nodiscard("co_await it")]] inline detail::done_operation done() noexcept { return detail::done_operation(); }

// Implementation

// rn::go(ctx, f, args...): the goroutine hears ctx, and the root, so that it is cancelled with ctx and at shutdown.
template <class F, class... A>
void detail::go_under(const context& ctx, std::source_location where, F&& f, A&&... args) {
  check_spawnable<F, A...>();
  runtime_core* runtime = runtime_core::here();
  if (!runtime) throw misuse_error("runnel: go outside of a runtime: call it on a goroutine, or use scheduler::go");
  task<> root = make_root(std::forward<F>(f), std::forward<A>(args)...);
  node_use home(*new context_node(share_values(ctx.node().values())));
  home.node.attach_to(ctx.node(), ctx.node().deadline());
  home.node.also_hear(runtime->root_here());
  runtime->start(home.node, std::move(root), where);
}

inline std::pair<context, cancel_function> context::with_cancel() const {
  auto* child = new detail::context_node(detail::share_values(x_node->values()));
  context ctx = adopt(*child);
  child->attach_to(*x_node);
  return {std::move(ctx), cancel_function(*child)};
}

inline std::pair<context, cancel_function> context::with_deadline_ns(std::int64_t at, std::int64_t now,
                                                                     std::exception_ptr cause) const {
  detail::runtime_core* runtime = detail::runtime_core::here();
  if (!runtime) throw misuse_error("runnel: a deadline needs a runtime's timers: derive it on a goroutine");
  auto* child = new detail::context_node(detail::share_values(x_node->values()));
  context ctx = adopt(*child);
  child->attach_to(*x_node, at);
  if (at <= now)
    child->cancel(detail::level_cancel, true, cause ? std::move(cause) : detail::deadline_cause());
  else
    child->arm(runtime->timers, at, std::move(cause), runtime->core.host().share());
  return {std::move(ctx), cancel_function(*child)};
}

template <class Key>
context context::with_value(detail::value_of<Key> value) const {
  auto bound = detail::bind_value<Key>(x_node->values(), std::move(value));
  auto* child = new detail::context_node(std::move(bound));
  context ctx = adopt(*child);
  child->attach_to(*x_node);
  return ctx;
}

inline context context::without_cancel() const {
  return adopt(*new detail::context_node(detail::share_values(x_node->values())));
}

template <class F>
after_func_handle context::after_func(F&& f, std::source_location where) const {
  detail::check_spawnable<F>();
  detail::runtime_core* runtime = detail::runtime_core::here();
  if (!runtime) throw misuse_error("runnel: after_func outside of a runtime: call it on a goroutine");
  return after_func_handle(
      detail::after_func::start(*runtime, *x_node, detail::make_root(std::forward<F>(f)), where));
}

}  // namespace runnel
