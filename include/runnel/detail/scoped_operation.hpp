// SPDX-License-Identifier: BSL-1.0
// runnel/detail/scoped_operation.hpp: awaiting a task in a context node of its own; the shield.
// Layer: L3
#pragma once

#include <runnel/detail/boundary.hpp>
#include <runnel/detail/cancel_node.hpp>
#include <runnel/detail/goroutine.hpp>
#include <runnel/task.hpp>

#include <utility>

namespace runnel::detail {

// The common part: the work runs in a context node of its own, in the awaiting frame. What is moved, before it is
// awaited, is the work and what was asked for; the node is made anew.
template <class Self, class T> class scoped_operation : public boundary<Self, T> {
 public:
  T resume() {
    x_scope.leave(this->self());
    return this->result.take();
  }

 protected:
  scoped_operation(task<T> t, cancel_node::form f) noexcept : boundary<Self, T>(std::move(t)), x_scope(f) {}
  scoped_operation(scoped_operation&& other, cancel_node::form f) noexcept
      : boundary<Self, T>(std::move(other)), x_scope(f) {}
  scoped_context x_scope;
};

template <class T> class shield_operation : public scoped_operation<shield_operation<T>, T> {
 public:
  explicit shield_operation(task<T> t) noexcept
      : scoped_operation<shield_operation, T>(std::move(t), cancel_node::form::shielded) {}
  shield_operation(shield_operation&& other) noexcept
      : scoped_operation<shield_operation, T>(std::move(other), cancel_node::form::shielded) {}
  void entered(goroutine& g) noexcept { this->x_scope.enter(g); }
  bool unwound(goroutine& g) noexcept {
    this->x_scope.leave(g);
    return true;
  }
};

}  // namespace runnel::detail
