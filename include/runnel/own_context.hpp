// SPDX-License-Identifier: BSL-1.0
// runnel/own_context.hpp: a task whose first parameter is a context runs under it, as a ported Go function means to.
// Layer: L7
#pragma once

#include <runnel/context.hpp>
#include <runnel/detail/cancel_node.hpp>
#include <runnel/detail/fork_join.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/task.hpp>

#include <concepts>
#include <coroutine>
#include <type_traits>

namespace runnel::detail {

// While such a task runs, this is its goroutine's current context: a child of the ambient one, and of the parameter.
struct own_context_node : cancel_node {
  cancel_edge edge{*this};
  context given;
  cancel_node* const outer;
  context_values held;

  own_context_node(const context& c, cancel_node& ambient) : given(c), outer(&ambient) {
    if (!c.node().values()) return;
    held = join_values(c.node().values(), ambient.values());
    set_values(held.get());
  }
  static void* operator new(std::size_t size) { return frame_allocate(size); }
  static void operator delete(void* p, std::size_t size) noexcept { frame_deallocate(p, size); }
};

inline void enter_own_context(promise_base& frame, const context& given) {
  goroutine& g = goroutine_of(&frame);
  auto* node = new own_context_node(given, *g.context.load(std::memory_order_relaxed));
  node->set_owner(&g);
  node->attach(*node->outer, given.node().deadline());
  given.node().list_edge(node->edge);
  g.set_context(node);
}

inline void leave_own_context(promise_base& frame) noexcept {
  goroutine& g = *frame.g;
  auto* node = static_cast<own_context_node*>(g.context.load(std::memory_order_relaxed));
  node->given.node().unlist(node->edge);
  g.set_context(node->outer);
  node->detach();
  delete node;
}

template <class T>
class own_context_promise : public task_promise<T> {
 public:
  template <class... A>
  explicit own_context_promise(const context& given, A&...) noexcept : x_given(&given) {}
  template <class Object, class... A>
    requires(!std::same_as<std::remove_cvref_t<Object>, context>)
  own_context_promise(Object&, const context& given, A&...) noexcept : x_given(&given) {}

  ~own_context_promise() {
    if (x_entered) leave_own_context(*this);  // however the frame ends; its locals are gone
  }

  auto initial_suspend() noexcept {
    struct installer {
      own_context_promise& promise;
      bool await_ready() const noexcept { return false; }
      void await_suspend(std::coroutine_handle<>) const noexcept {}
      void await_resume() const {
        enter_own_context(promise, *promise.x_given);
        promise.x_entered = true;
      }
    };
    return installer{*this};
  }

 private:
  const context* x_given;  // the parameter: in this frame, or what it refers to, until the task begins
  bool x_entered = false;
};

}  // namespace runnel::detail

template <class T, class C, class... A>
  requires std::same_as<std::remove_cvref_t<C>, runnel::context>
struct std::coroutine_traits<runnel::task<T>, C, A...> {
  using promise_type = runnel::detail::own_context_promise<T>;
};
// Member functions and lambdas, whose first parameter is the object, by reference.
template <class T, class Object, class C, class... A>
  requires(std::is_lvalue_reference_v<Object> && std::is_class_v<std::remove_cvref_t<Object>> &&
           !std::same_as<std::remove_cvref_t<Object>, runnel::context> &&
           std::same_as<std::remove_cvref_t<C>, runnel::context>)
struct std::coroutine_traits<runnel::task<T>, Object, C, A...> {
  using promise_type = runnel::detail::own_context_promise<T>;
};
