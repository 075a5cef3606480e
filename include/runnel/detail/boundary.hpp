// SPDX-License-Identifier: BSL-1.0
// runnel/detail/boundary.hpp: awaiting a task through something that has a say when it ends or is unwound.
// Layer: L3
#pragma once

#include <runnel/detail/cancel_node.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/detail/timer_service.hpp>
#include <runnel/result.hpp>
#include <runnel/task.hpp>
#include <runnel/waiter.hpp>

#include <coroutine>
#include <exception>
#include <memory>
#include <type_traits>
#include <utility>
#include <variant>

namespace runnel::detail {

// What a with_ form awaits: a task, or one of the library's operations, which moves into the frame of one. So the form
// owns its work, and may be kept and awaited later.
template <class T>
task<T> as_task(task<T>&& t) noexcept {
  return std::move(t);
}
template <class A>
auto await_operation(A operation) -> task<decltype(operation.resume())> {
  co_return co_await std::move(operation);
}
template <own_awaitable A>
auto as_task(A&& operation) {
  static_assert(!std::is_lvalue_reference_v<A>, "an operation is awaited once, as an rvalue: pass std::move(op)");
  return await_operation<std::remove_cvref_t<A>>(std::move(operation));
}
template <class A>
using awaited_t = typename std::remove_cvref_t<decltype(as_task(std::declval<A>()))>::value_type;

template <class A>
concept awaitable = is_task<std::remove_cvref_t<A>> || own_awaitable<A>;

// The base of the boundaries: `Self` has entered(g), called before the task runs, and unwound(g), called when its
// frames are gone, which says whether unwinding goes on.
template <class Self, class T>
class boundary : public awaitable_base, protected task_link<T> {
 public:
  std::coroutine_handle<> suspend(promise_base* leaf) {
    goroutine& g = goroutine_of(leaf);
    if (!x_child) throw misuse_error("runnel: this task has been awaited or moved from: a task is awaited once");
    static_cast<Self&>(*this).entered(g);
    x_scopes = g.scopes;
    x_pins = x_scopes && x_scopes->holds_tasks;
    if (x_pins) [[unlikely]]
      ++x_scopes->pins;
    link::parent = leaf;
    link::ops = &boundary_ops;
    x_child->cont = this;
    x_child->g = &g;
    return transfer_to(std::exchange(x_child, nullptr));
  }

 protected:
  explicit boundary(task<T> t) noexcept : x_child(t.release()) {}
  boundary(boundary&& other) noexcept : x_child(std::exchange(other.x_child, nullptr)) {}  // until it is awaited
  boundary& operator=(const boundary&) = delete;
  ~boundary() {
    if (x_child) x_child->handle().destroy();
  }
  // The goroutine, in resume().
  goroutine& self() const noexcept { return *link::parent->g; }

 private:
  static inline constexpr link_ops boundary_ops{
      .finished = [](link& up) noexcept {
        static_cast<boundary&>(static_cast<task_link<T>&>(up)).unpin();
        return transfer_to(up.parent);
      },
      .unwound = [](link& up, goroutine* g, bool& keep_unwinding) noexcept -> promise_base* {
        auto& self = static_cast<boundary&>(static_cast<task_link<T>&>(up));
        self.unpin();
        keep_unwinding = static_cast<Self&>(self).unwound(*g);
        return up.parent;
      },
      .mark = [](link& up) noexcept -> scope_base* const* {
        return &static_cast<boundary&>(static_cast<task_link<T>&>(up)).x_scopes;
      },
      .child = nullptr,
      .is_root = false,
      .joined = nullptr};
  // While it is the mark, tasks are started in a scope inside of it (task_scope).
  void unpin() noexcept {
    if (x_pins) [[unlikely]]
      --x_scopes->pins;
  }

  promise_base* x_child;
  scope_base* x_scopes = nullptr;
  bool x_pins = false;
};

// The outcome that a task has left, as a value.
template <class T>
runnel::result<T> take_result(result_slot<T>& slot) {
  if (slot.failed()) return runnel::result<T>(slot.take_error());
  if constexpr (std::is_void_v<T>)
    return runnel::result<T>(std::monostate());
  else if constexpr (std::is_reference_v<T>)
    return runnel::result<T>(std::addressof(slot.take()));
  else
    return runnel::result<T>(slot.take());
}

// A context node that lives in a frame, and is the goroutine's current context while what it scopes runs.
class scoped_context {
 public:
  explicit scoped_context(cancel_node::form f = cancel_node::form::scoped) noexcept : x_node(f) {}
  scoped_context(const scoped_context&) = delete;
  scoped_context& operator=(const scoped_context&) = delete;

  void enter(goroutine& g, std::int64_t deadline_ns = cancel_node::no_deadline) noexcept {
    x_outer = g.context.load(std::memory_order_relaxed);
    x_node.set_owner(&g);
    x_node.attach(*x_outer, deadline_ns);
    g.set_context(&x_node);
  }
  void leave(goroutine& g) noexcept {
    g.set_context(x_outer);
    x_node.detach();
  }
  cancel_node& node() noexcept { return x_node; }
  cancel_node& outer() noexcept { return *x_outer; }

 private:
  cancel_node x_node;
  cancel_node* x_outer = nullptr;
};

}  // namespace runnel::detail
