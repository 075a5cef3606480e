// SPDX-License-Identifier: BSL-1.0
// runnel/detail/context_ops.hpp: what stands behind context: values, waiting for done, after_func.
// Layer: L7
#pragma once

#include <runnel/detail/context_node.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/runtime_core.hpp>
#include <runnel/detail/spawn.hpp>
#include <runnel/detail/wait_source.hpp>
#include <runnel/time_point.hpp>
#include <runnel/waiter.hpp>

#include <atomic>
#include <cstddef>
#include <memory>
#include <new>
#include <source_location>
#include <type_traits>
#include <utility>

namespace runnel::detail {

// The context that is never done. It is never destroyed.
RUNNEL_SHARED inline context_node& background_node() noexcept {
  alignas(context_node) static std::byte memory[sizeof(context_node)];  // no allocation, and no end
  static context_node& node = *::new (static_cast<void*>(memory)) context_node;
  return node;
}

inline std::int64_t now_ns() noexcept {
  runtime_core* runtime = runtime_core::here();
  return runtime ? runtime->core.now() : to_ns(std::chrono::steady_clock::now());
}

// Values. A key is a type; its identity is the address of a variable.
template <class Key>
struct value_of_key {
  using type = Key;
};
template <class Key>
  requires requires { typename Key::type; }
struct value_of_key<Key> {
  using type = typename Key::type;
};
template <class Key>
using value_of = typename value_of_key<Key>::type;
template <class Key>
RUNNEL_SHARED inline constexpr char key_identity = 0;

inline context_values share_values(const context_value* values) {
  return values ? values->shared_from_this() : nullptr;
}
template <class Key>
std::shared_ptr<context_value> bind_value(const context_value* outer, value_of<Key> value) {
  auto bound = std::make_shared<context_value>();
  bound->outer = share_values(outer);
  bound->key = &key_identity<Key>;
  bound->value = std::make_shared<value_of<Key>>(std::move(value));
  return bound;
}
// The values of `nearer` before those of `outer`. Allocates only where both have some and nearer does not go on into
// outer by itself: then what is nearer is bound anew. Throws bad_alloc.
inline context_values join_values(const context_value* nearer, const context_value* outer) {
  if (!nearer) return share_values(outer);
  const context_value* end = nearer;
  while (end && end != outer) end = end->outer.get();
  if (end == outer) return share_values(nearer);  // also where outer has none
  context_values joined;
  for (context_values* at = &joined; nearer; nearer = nearer->outer.get()) {
    auto copy = std::make_shared<context_value>();
    copy->key = nearer->key;
    copy->value = nearer->value;
    context_values* next = &copy->outer;
    *at = std::move(copy);
    at = next;
    if (!nearer->outer) *at = share_values(outer);
  }
  return joined;
}
template <class Key>
const value_of<Key>* find_value(const context_value* values) noexcept {
  for (; values; values = values->outer.get())
    if (values->key == &key_identity<Key>) return static_cast<const value_of<Key>*>(values->value.get());
  return nullptr;
}

// ctx.done(), awaited or as a case of a select. The node's hook is the peer. A select is claimed by it under the node's
// lock; who awaits done() alone is parked plainly, under a hashed lock.
//
// Invariants: the hook is listed before the goroutine parks, and unlisted before this dies. x_fired and x_queue change
// under the hashed lock.
class done_operation final : public awaitable_base, public wait_source, private cancel_hook {
 public:
  static constexpr bool is_done = true;

  // Of a context that outlives this; without one, of the ambient context.
  explicit done_operation(cancel_node& node) noexcept : x_given(&node) { cancel_hook::fire = &node_is_done; }
  done_operation() noexcept { cancel_hook::fire = &node_is_done; }
  done_operation(done_operation&& other) noexcept : x_given(other.x_given) { cancel_hook::fire = &node_is_done; }
  done_operation& operator=(const done_operation&) = delete;
  ~done_operation() {
    if (x_listed) x_node->unlist_hook(*this);
  }

  bool suspend(promise_base* leaf) {
    goroutine& me = goroutine_of(leaf);
    bool due = !enter_operation(me);
    enter(me);
    x_fired = false;
    index = static_cast<std::uint16_t>(reason_t::done);
    x_listed = x_node->list_hook(*this);
    if (due && (x_listed || me.context.load(std::memory_order_relaxed)->killed())) return stop_here(me, leaf);
    if (!x_listed) return spend_budget(me, leaf);  // even where the ambient context is done: this is how one asks
    park_lock& q = hashed_lock(this);
    bool biased = q.lock(nullptr);
    bool fired = x_fired;
    bool parked = !fired && park(me, leaf, q, *this, x_queue);
    q.unlock(biased);
    if (fired || (!parked && x_node->due())) return spend_budget(me, leaf);  // due: the hook is about to fire
    if (!parked) stop_here(me, leaf);
    return true;
  }
  void resume() const noexcept {}

  // As a case of a select. The node's lock is inside of list_hook() and unlist_hook().
  void enter(goroutine& me) noexcept override {
    cancel_node* ambient = me.context.load(std::memory_order_relaxed);
    // told before g is interrupted: invariant 6 there
    x_node = !x_given || x_given->stands_for(*ambient) ? ambient : x_given;
    waiter::kind = waiter::kind_t::plain;
  }
  bool looks_ready(goroutine& me) noexcept override { return ready(me); }
  bool ready(goroutine&) noexcept override { return !x_silent && x_node->due(); }
  void take(goroutine&) noexcept override { outcome = outcome_t::done; }
  listed_t join_queue(goroutine&) noexcept override { return {.listed = x_silent || x_node->list_hook(*this)}; }
  void leave_queue() noexcept override { x_node->unlist_hook(*this); }
  void value() const noexcept {}
  cancel_node& node() const noexcept { return *x_node; }
  // In a loop, once it has been told.
  void silence() noexcept { x_silent = true; }

 private:
  static void node_is_done(cancel_hook& hook, wake_batch& wakes) noexcept {
    auto& self = static_cast<done_operation&>(hook);
    woken out;
    if (self.waiter::kind == waiter::kind_t::select_case) {
      if (claim(self, out) && out.g) wakes.add(out.g);
      return;
    }
    park_lock::guard hold(hashed_lock(&self), nullptr);
    self.x_fired = true;
    if (detail::take(self.x_queue, out)) wakes.add(out.g);
  }

  cancel_node* x_given = nullptr;  // null: the ambient context
  cancel_node* x_node = nullptr;
  list_head x_queue;
  bool x_listed = false;
  bool x_fired = false;
  bool x_silent = false;
};

// A function that runs when a context is done, in a goroutine that is made beforehand, so that cancelling never
// allocates. Shared by the handle and that goroutine's frame; the node's list only refers to it.
//
//   x_goroutine  taken, once, by whoever starts it or discards it
class after_func final : private cancel_hook, public prepared_work {
 public:
  after_func(runtime_core& runtime, context_node& node) noexcept
      : x_runtime(runtime), x_keep(runtime.core.host().share()), x_node(node) {
    cancel_hook::fire = &node_is_done;
    node.retain();
  }
  ~after_func() {
    x_runtime.unlist_prepared(*this);
    x_node.release();
  }

  static std::shared_ptr<after_func> start(runtime_core& runtime, context_node& node, task<> body,
                                           std::source_location where) {
    auto self = std::make_shared<after_func>(runtime, node);
    self->x_goroutine = runtime.prepare(run(self, std::move(body)), where);
    runtime.list_prepared(*self);
    if (!node.list_hook(*self)) self->fire_now();
    return self;
  }
  bool stop() noexcept {
    goroutine* g = x_goroutine.exchange(nullptr, std::memory_order_acq_rel);
    if (!g) return false;
    x_node.unlist_hook(*this);
    discard_goroutine(*g);
    return true;
  }
  // Its runtime ends, and it has not run.
  void discard() noexcept override { stop(); }

 private:
  static task<> run(std::shared_ptr<after_func> /* lives until the frame dies */, task<> body) {
    co_await std::move(body);
  }
  static void node_is_done(cancel_hook& hook, wake_batch& wakes) noexcept {
    auto& self = static_cast<after_func&>(hook);
    if (goroutine* g = self.take()) wakes.add(g);
  }
  void fire_now() noexcept {
    if (goroutine* g = take()) requeue(g);
  }
  // Null: it is somebody else's, or its runtime has ended.
  goroutine* take() noexcept {
    if (!x_runtime.count_prepared()) return nullptr;
    goroutine* g = x_goroutine.exchange(nullptr, std::memory_order_acq_rel);
    if (!g) x_runtime.uncount_prepared();
    return g;
  }

  runtime_core& x_runtime;
  std::shared_ptr<void> x_keep;  // the runtime
  context_node& x_node;
  std::atomic<goroutine*> x_goroutine{nullptr};
};

}  // namespace runnel::detail
