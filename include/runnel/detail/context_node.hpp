// SPDX-License-Identifier: BSL-1.0
// runnel/detail/context_node.hpp: a context on the heap, shared by handles and goroutines; and what it carries.
// Layer: L2
#pragma once

#include <runnel/detail/cancel_node.hpp>
#include <runnel/detail/timer_service.hpp>

#include <atomic>
#include <memory>
#include <utility>

namespace runnel::detail {

// A value bound to a context: an immutable list, innermost first, shared by every context below.
struct context_value : std::enable_shared_from_this<context_value> {
  std::shared_ptr<const context_value> outer;
  const void* key = nullptr;  // the address of a variable that the key's type owns
  std::shared_ptr<const void> value;
};
using context_values = std::shared_ptr<const context_value>;

// Invariants:
//   1. A node with a parent on the heap holds a reference to it, and to the root that it hears beside. A parent in a
//      frame orphans its children before it dies (cancel_node), so that they may outlive it.
//   2. The deadline, if it is this node's own, is armed from arm() until the node is done, or gone.
//   3. The timer is disarmed, and not firing, before the node leaves the tree. So the hook that would call it off does
//      nothing from then on, and may still be listed when the node dies: in a list of the node's own, or else, while
//      the timer's host has yet to be told, in a batch, and with a use.
//
//   x_uses   handles, goroutines at home here, children, and a deadline that is firing; the last one ends the node
class context_node final : public cancel_node, private deadline_timer {
 public:
  explicit context_node(context_values values = nullptr)
      : cancel_node(form::shared), deadline_timer(&expire_held), x_held_values(std::move(values)) {
    set_values(x_held_values.get());
  }
  // A branch of the root, for what one processor starts: else all would list their goroutines under one lock.
  struct branch_of {
    context_node& root;
  };
  explicit context_node(branch_of b) noexcept : cancel_node(form::branch), deadline_timer(&expire_held) {
    attach_to(b.root);
  }

  static void* operator new(std::size_t size) { return frame_allocate(size); }
  static void operator delete(void* node, std::size_t size) noexcept { frame_deallocate(node, size); }

  void retain() noexcept { x_uses.fetch_add(1, std::memory_order_relaxed); }  // relaxed: a use exists already
  // For who is kept alive by something else than a use, as a walk is by `busy`.
  bool retain_if_used() noexcept {
    auto n = x_uses.load(std::memory_order_relaxed);
    while (n != 0)
      if (x_uses.compare_exchange_weak(n, n + 1, std::memory_order_relaxed)) return true;  // relaxed: as retain()
    return false;
  }
  void release() noexcept {
    context_node* node = this;
    while (node && node->x_uses.fetch_sub(1, std::memory_order_acq_rel) == 1) {  // acq_rel: all uses before the end
      node->disarm();  // a hook that fires now finds the timer disarmed, and does nothing
      context_node* root = node->x_root_use;
      if (root) root->unlist(node->x_edge);
      node->detach_from_unpinned_parent();  // a walk that came by the edge has gone back up then
      if (node->x_call_off.was_the_last) node->set_host();  // the hook came first, and found no use to hold on to
      context_node* parent = node->x_parent_use;
      delete node;
      if (root) root->release();  // one call deep: a root or a branch hears no other root
      node = parent;              // a chain of last uses ends without recursion
    }
  }

  // Becomes a child of another heap context, which it keeps alive.
  void attach_to(context_node& parent, std::int64_t deadline_ns = no_deadline) noexcept {
    parent.retain();
    x_parent_use = &parent;
    attach(parent, deadline_ns);
  }
  // Hears a root too, beside its parent, and keeps it alive: a handle to this node may outlive the root's runtime.
  void also_hear(context_node& root) noexcept {
    root.retain();
    x_root_use = &root;
    root.list_edge(x_edge);
  }
  // Arms the deadline, if it is nearer than the parent's.
  void arm(timer_service& timers, std::int64_t deadline_ns, std::exception_ptr cause, std::shared_ptr<void> keep) {
    if (due() || deadline_ns > deadline()) return;
    deadline_timer::arm(timers, *this, deadline_ns, std::move(cause), std::move(keep));
    if (!list_hook(x_call_off)) disarm();
  }
  void disarm() noexcept { deadline_timer::disarm(); }
  // The same for who may be called by the firing, which runs foreign code: does not wait for it.
  void stop_clock() noexcept {
    if (disarm_unless_firing()) set_host();
  }

 private:
  // The cancellation may end in the last release of what is below, and of this node: not before the timer is idle.
  static void expire_held(callback_timer& t, timer_service& service) noexcept {
    auto& self = static_cast<context_node&>(t);
    const bool held = self.retain_if_used();
    self.expire();
    if (!held) return service.fired(t);  // its end waits for that
    service.fired(t, [&] { self.release(); });
  }

  std::atomic<std::size_t> x_uses{1};
  context_node* x_parent_use = nullptr;
  context_values x_held_values;
  context_node* x_root_use = nullptr;
  cancel_edge x_edge{*this};

  // Cancelled from above: the timer is released at once (CTX-19). If nothing else kept the host's context running, it
  // is told so when the locks are left; until then the node must live.
  struct call_off : cancel_hook {
    context_node& node;
    bool was_the_last = false;
    explicit call_off(context_node& n) noexcept : node(n) {
      fire = [](cancel_hook& h, wake_batch& batch) noexcept {
        auto& self = static_cast<call_off&>(h);
        if (!self.was_the_last) {
          self.was_the_last = self.node.disarm_unless_firing();
          if (self.was_the_last && self.node.retain_if_used()) batch.add_after(self);  // else its end tells the host
        } else {
          self.was_the_last = false;
          self.node.set_host();
          self.node.release();
        }
      };
    }
  } x_call_off{*this};
};

// A use of a node, held as long as this lives; and one taken over.
struct node_hold {
  context_node& held;
  explicit node_hold(context_node& n) noexcept : held(n) { n.retain(); }
  node_hold(const node_hold&) = delete;
  node_hold& operator=(const node_hold&) = delete;
  ~node_hold() { held.release(); }
};
struct node_use {
  context_node& node;
  explicit node_use(context_node& n) noexcept : node(n) {}
  node_use(const node_use&) = delete;
  node_use& operator=(const node_use&) = delete;
  ~node_use() { node.release(); }
};

}  // namespace runnel::detail
