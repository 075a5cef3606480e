// SPDX-License-Identifier: BSL-1.0
// runnel/detail/cancel_node.hpp: a node of the cancellation tree, and the walk that tells its members.
// Layer: L2
#pragma once

#include <runnel/config.hpp>
#include <runnel/detail/cancel_sweep.hpp>
#include <runnel/detail/goroutine.hpp>
#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/spinlock.hpp>
#include <runnel/error.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

namespace runnel::detail {

struct context_value;

inline constexpr std::uint8_t level_none = 0, level_cancel = 1, level_kill = 2;

// Somebody who wants to hear of the cancellation itself: whoever waits for done(), an after_func.
struct cancel_hook : member {
  // Called once, under the node's lock, unlisted: may claim and schedule by way of the batch, and nothing else. Called
  // again, with no lock held, if it has put itself into the batch with add_after().
  void (*fire)(cancel_hook&, wake_batch&) noexcept = nullptr;
  cancel_hook() noexcept : member(member::kind_t::hook) {}
};

// A second parent: the node at its end hears this node's cancellation like a child's.
struct cancel_edge : member {
  cancel_node& target;
  explicit cancel_edge(cancel_node& t) noexcept : member(member::kind_t::edge), target(t) {}
};

// A node of the cancellation tree.
//
// Invariants:
//   1. Members are ordered by what they have heard, least first; whoever joins a done node joins at the back and
//      has heard its level (it reads the level itself, after joining).
//   2. `level` only grows. Error and cause are set with the first level, under the lock, and never change.
//   3. At most one thread walks a node: the one that set `busy`. Who raises a busy node leaves the work to the
//      walker, which looks at the level again before it ends. While `busy`, the node lives.
//   4. Locks are taken downwards (a node, then its child; then a park_lock). Upwards only by trying.
//   5. A shielded node hears its parent's kill, not its cancel.
//   6. Hooks fire before anybody is interrupted: who waits for done() of its own context is woken, not stopped.
//
//   level   written under x_lock (seq_cst: against the word of a goroutine that parks); read anywhere
//   parent  written under this node's lock; read by the owner, and under this node's lock
class cancel_node : public member {
 public:
  // What it is part of: a with_ form, a shield, a context_node, a processor's branch of the root (which is a
  // context_node too), a group_core, a join_node, a task of async, a stream of them.
  enum class form : std::uint8_t { scoped, shielded, shared, branch, group, join, task, stream };
  explicit cancel_node(form f = form::scoped) noexcept : member(member::kind_t::node), x_form(f) {}
  cancel_node(const cancel_node&) = delete;
  static void* operator new(std::size_t size) { return frame_allocate(size); }
  static void operator delete(void* node, std::size_t size) noexcept { frame_deallocate(node, size); }
  cancel_node& operator=(const cancel_node&) = delete;

  std::uint8_t level() const noexcept { return x_level.load(std::memory_order_seq_cst); }
  bool due() const noexcept { return level() != level_none; }
  bool killed() const noexcept { return level() == level_kill; }
  // Why the node is done. Meaningful once due().
  bool by_deadline() const noexcept { return x_by_deadline; }
  const std::exception_ptr& cause() const noexcept { return x_cause; }
  cancel_node* parent() const noexcept { return x_parent; }
  std::int64_t deadline() const noexcept { return x_deadline; }
  // What is bound here or above; owned by a node above, or by this one.
  const context_value* values() const noexcept { return x_values; }
  void set_values(const context_value* v) noexcept { x_values = v; }

  // Whether this is a context_node, on the heap and shared.
  bool shared() const noexcept { return x_form == form::shared || x_form == form::branch; }
  form get_form() const noexcept { return x_form; }
  // Whether this is the node that this_context() made for a scope in a frame, which is done exactly when the scope is.
  bool stands_for(const cancel_node& scope) noexcept {
    std::lock_guard hold(x_lock);
    return x_parent == &scope && !scope.shared();
  }

  // The goroutine whose current context this node is or may become. Before anybody else knows the node.
  void set_owner(goroutine* g) noexcept { x_owner = g; }
  // The same for a node in use. A goroutine that comes late reads the level itself.
  void change_owner(goroutine* g) noexcept {
    std::lock_guard hold(x_lock);
    x_owner = g;
    x_owner_heard = x_level.load(std::memory_order_relaxed);
  }

  // Makes this node a child. It is done at once if the parent is.
  void attach(cancel_node& parent, std::int64_t deadline_ns = no_deadline) noexcept {
    x_deadline = std::min(deadline_ns, shielded() ? no_deadline : parent.x_deadline);
    if (!x_values) x_values = parent.x_values;
    std::lock_guard hold(parent.x_lock);
    x_parent = &parent;
    parent.list(*this);
    auto level = parent.x_level.load(std::memory_order_relaxed);
    if (level < (shielded() ? level_kill : level_cancel)) return;
    std::lock_guard self(x_lock);  // a task may be cancelled before it is attached
    adopt_level(parent, level);
  }

  // Leaves the tree: afterwards nobody raises, walks or reads this node. The parent is known to be alive.
  void detach() noexcept {
    cancel_node* above = x_parent;
    if (above) {
      std::lock_guard hold(above->x_lock);
      unlink(this);
      x_parent = nullptr;
    }
    wait_until_quiet();
    orphan_children(above);
  }

  // The same where the parent may die at the same time (it orphans its children under their locks).
  void detach_from_unpinned_parent() noexcept {
    for (;; cpu_pause()) {
      std::lock_guard self(x_lock);
      if (x_parent) {
        if (!x_parent->x_lock.try_lock()) continue;
        unlink(this);
        x_parent->x_lock.unlock();
        x_parent = nullptr;
      }
      if (!x_busy && x_members.empty()) return;  // nobody finds this node any more
      break;
    }
    wait_until_quiet();
    orphan_children();
  }

  // Goroutines register at their first park and leave when they end.
  void list_goroutine(goroutine& g) noexcept {
    std::lock_guard hold(x_lock);
    list(g);
  }
  void unlist(member& m) noexcept {
    std::lock_guard hold(x_lock);
    unlink(&m);
  }
  // False: the node is done, and the hook was not listed.
  bool list_hook(cancel_hook& h) noexcept {
    std::lock_guard hold(x_lock);
    if (x_level.load(std::memory_order_relaxed) != level_none) return false;
    x_hooks.push_back(&h);
    return true;
  }
  // False: it has fired.
  bool unlist_hook(cancel_hook& h) noexcept {
    std::lock_guard hold(x_lock);
    bool was = h.linked();
    unlink(&h);
    return was;
  }
  void list_edge(cancel_edge& e) noexcept {
    std::lock_guard hold(x_lock);
    list(e);
    if (auto level = x_level.load(std::memory_order_relaxed); level != level_none) {
      std::lock_guard hold_target(e.target.x_lock);
      e.target.adopt_level(*this, level);
    }
  }

  // Raises this node and everything below it, and tells every member. The first caller's reason stays.
  void cancel(std::uint8_t level, bool by_deadline, std::exception_ptr cause) noexcept {
    if (x_level.load(std::memory_order_acquire) >= level) return;  // acquire: as after the lock
    {
      std::lock_guard hold(x_lock);
      if (!raise(level, by_deadline, std::move(cause)) || x_busy) return;
      x_busy = true;
      x_up = nullptr;
    }
    walk();
  }

  // Visits what is below this node, for reports: v.enter(node), v.goroutine(g), v.leave(node). It goes down as the walk
  // does, along this node's and its branches' edges too, and keeps the locks of the path: v does little, and neither
  // allocates nor calls anybody. It may see the same twice. Of the goroutines those are listed that have ever parked;
  // where the runtime tracks them, all that have begun.
  template <class V> void visit(V&& v, bool along_edges = true) noexcept {
    cancel_node* at = this;
    at->x_lock.lock();
    v.enter(*at);
    for (list_link* l = at->x_members.first();;) {
      if (l == at->x_members.end()) {
        v.leave(*at);
        if (at == this) return at->x_lock.unlock();  // its link is guarded by whoever is above
        cancel_node* up = at->x_parent;
        l = at->next;
        at->x_lock.unlock();
        at = up;
        continue;
      }
      auto* m = static_cast<member*>(l);
      if (m->kind == member::kind_t::node) {
        at = static_cast<cancel_node*>(m);
        at->x_lock.lock();
        v.enter(*at);
        l = at->x_members.first();
        continue;
      }
      if (m->kind == member::kind_t::goroutine) v.goroutine(static_cast<detail::goroutine&>(*m));
      if (m->kind == member::kind_t::edge && along_edges && (at == this || at->x_form == form::branch))
        static_cast<cancel_edge*>(m)->target.visit(v, false);
      l = l->next;
    }
  }
  template <class F> void for_each_goroutine(F&& f) noexcept {
    struct visitor {
      F& f;
      void enter(cancel_node&) const noexcept {}
      void goroutine(const detail::goroutine& g) const noexcept { f(g); }
      void leave(cancel_node&) const noexcept {}
    };
    visit(visitor{f});
  }

  // Waits until nobody walks this node: what is below it has been told. Bounded by the size of the tree.
  void wait_until_quiet() noexcept {
    for (int spins = 0;; ++spins) {
      {
        std::lock_guard hold(x_lock);
        if (!x_busy) return;
      }
      if (spins < 100)
        cpu_pause();
      else
        std::this_thread::yield();
    }
  }

  static constexpr std::int64_t no_deadline = INT64_MAX;

 private:
  bool shielded() const noexcept { return x_form == form::shielded; }
  void list(member& m) noexcept {
    m.heard = x_level.load(std::memory_order_relaxed);
    x_members.push_back(&m);
  }
  // Under this node's lock, or before anybody else knows the node. Takes the cause only if it raises a node that was
  // not done; else it dies with the caller, who may be outside of the lock then.
  bool raise(std::uint8_t level, bool by_deadline, std::exception_ptr&& cause) noexcept {
    auto before = x_level.load(std::memory_order_relaxed);
    if (before >= level) return false;
    if (before == level_none) {
      x_by_deadline = by_deadline;
      x_cause = std::move(cause);
    }
    x_level.store(level, std::memory_order_seq_cst);  // [raise], then heavy_fence() and the members' words
    return true;
  }
  void adopt_level(const cancel_node& from, std::uint8_t level) noexcept {
    raise(level, from.x_by_deadline, std::exception_ptr(from.x_cause));
  }

  // Contexts derived from a node that ends are done, as after Go's deferred cancel. Tasks, which their owner joins
  // later, stay in reach of a kill: they become children of the node above, and of the next when that ends.
  void orphan_children(cancel_node* above = nullptr) noexcept {
    {
      std::lock_guard hold(x_lock);
      if (x_members.empty()) return;
    }
    cancel(level_cancel, false, canceled_cause());
    if (above) above->x_lock.lock();
    bool late = false;
    x_lock.lock();
    while (list_link* first = x_members.pop_front())
      if (auto* m = static_cast<member*>(first); m->kind == member::kind_t::node) {
        auto* child = static_cast<cancel_node*>(m);
        std::lock_guard hold_child(child->x_lock);
        bool stays = above && (child->x_form == form::task || child->x_form == form::stream);
        child->x_parent = stays ? above : nullptr;
        if (stays) late = above->take_over(*child) || late;
      }
    x_lock.unlock();
    if (!above) return;
    if (late && !above->x_busy) {  // else its walker will look again
      above->x_busy = true;
      above->x_up = nullptr;
      above->x_lock.unlock();
      above->walk();
    } else {
      above->x_lock.unlock();
    }
  }
  // Under both locks: lists a child that has members of its own. True: it has yet to be told of this node's level.
  bool take_over(cancel_node& child) noexcept {
    auto level = x_level.load(std::memory_order_relaxed), has = child.x_level.load(std::memory_order_relaxed);
    child.heard = std::min(level, has);
    if (level <= has) return x_members.push_back(&child), false;
    x_members.push_front(&child);  // who has heard least is first
    return true;
  }

  // Depth first, without recursion: x_up leads back. Each node on the way is busy, by us.
  RUNNEL_NOINLINE void walk() noexcept {
    wake_batch wakes;
    cancel_node* at = this;
    at->x_lock.lock();
    while (at) at = at->step(wakes);
    wakes.flush();
    while (member* m = wakes.pop_after()) {
      auto* hook = static_cast<cancel_hook*>(m);
      hook->fire(*hook, wakes);
    }
  }

  // One turn of the walk, under this node's lock. Returns the node to go on with, locked; null at the end.
  cancel_node* step(wake_batch& wakes) noexcept {
    auto level = x_level.load(std::memory_order_relaxed);
    while (list_link* first = x_hooks.pop_front()) {
      auto* hook = static_cast<cancel_hook*>(static_cast<member*>(first));
      hook->fire(*hook, wakes);
    }
    cancel_sweep sweep(wakes, level, x_fenced);
    if (std::exchange(x_owner_heard, level) < level && x_owner) interrupt(*x_owner, *this, sweep);
    cancel_node* child = nullptr;
    unsigned told = 0;
    list_link* at = x_members.first();
    while (!child && told < longest_hold && at != x_members.end()) {
      auto* m = static_cast<member*>(at);
      if (m->heard >= level) break;
      m->heard = level;
      at = at->next;
      ++told;
      if (m->kind == member::kind_t::goroutine) {
        interrupt(static_cast<goroutine&>(*m), *this, sweep);
      } else {
        sweep.let_go();  // a node is locked before a park_lock
        child = m->kind == member::kind_t::edge ? static_cast<cancel_edge*>(m)->target.enter_from(*this, level)
                                                : static_cast<cancel_node*>(m)->enter_from(*this, level);
      }
    }
    sweep.let_go();
    x_members.begin_at(at);  // who has heard least is first
    if (child) {
      x_lock.unlock();
      child->x_lock.lock();
      return child;
    }
    if (told == longest_hold) {  // others get at the lock; the woken are scheduled together, at the end
      x_lock.unlock();
      cpu_pause();
      x_lock.lock();
      return this;
    }
    if (x_level.load(std::memory_order_relaxed) != level) return this;  // raised meanwhile: told again
    cancel_node* up = x_up;
    x_busy = false;
    x_lock.unlock();  // last touch: the owner may be waiting to end this node
    if (up) up->x_lock.lock();
    return up;
  }

  static constexpr unsigned longest_hold = 256;  // members told without leaving the lock

  // Under the parent's lock: whether the walk goes down here.
  cancel_node* enter_from(cancel_node& above, std::uint8_t level) noexcept {
    if (shielded() && level < level_kill) return nullptr;
    std::lock_guard hold(x_lock);
    if (!raise(level, above.x_by_deadline, std::exception_ptr(above.x_cause)) || x_busy) return nullptr;
    x_busy = true;
    x_up = &above;
    return this;
  }

  const form x_form;
  bool x_by_deadline = false;
  bool x_busy = false;
  std::uint8_t x_owner_heard = 0;
  std::uint8_t x_fenced = level_none;  // the highest level for which a walk has made its heavy fence here
  std::atomic<std::uint8_t> x_level{level_none};
  spinlock x_lock;
  cancel_node* x_parent = nullptr;
  cancel_node* x_up = nullptr;
  goroutine* x_owner = nullptr;
  list_head x_members;
  list_head x_hooks;
  std::exception_ptr x_cause;
  const context_value* x_values = nullptr;
  std::int64_t x_deadline = no_deadline;
};

// Makes g known to cancellers and reports. By who runs it, or while it cannot go on; holding no node's lock.
inline void list_at_home(goroutine& g) noexcept {
  if (g.listed) [[likely]]
    return;
  g.home->list_goroutine(g);
  g.listed = true;
}

}  // namespace runnel::detail
