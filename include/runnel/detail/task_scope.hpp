// SPDX-License-Identifier: BSL-1.0
// runnel/detail/task_scope.hpp: tasks that a goroutine has started by async, and who joins them.
// Layer: L2
#pragma once

#include <runnel/detail/cancel_node.hpp>
#include <runnel/detail/frame_pool.hpp>
#include <runnel/detail/goroutine.hpp>
#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/detail/spawn_place.hpp>
#include <runnel/detail/spinlock.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>

namespace runnel::detail {

// A task in its scope's list.
class scoped_task : public list_link {
 public:
  // So that it lives while it is cancelled.
  virtual void retain() noexcept = 0;
  virtual void cancel_and_release() noexcept = 0;

 protected:
  scoped_task() noexcept = default;
  ~scoped_task() = default;

 private:
  friend class task_scope;
  bool x_swept = false;  // guarded by the scope's lock
};

class task_scope;

// Whoever will start tasks in a scope later: while it is kept an empty scope stays. Of the opener alone.
struct scope_keeper : list_link {
  task_scope* scope = nullptr;  // null: the scope has been joined
};

// A scope of a goroutine, on the heap, that is joined: when the goroutine is unwound, before the next of its frames
// dies; at the end of a with_errgroup in which it was opened; or at the goroutine's end.
//
// Invariants:
//   1. Only the goroutine `opener` links and unlinks scopes, adds tasks, and joins.
//   2. x_left counts tasks that have not ended, and one more for the opener until it joins. Who brings it to zero
//      continues the joiner; then nobody but the joiner touches the scope. A task's last touch is to count itself down.
//   3. While a boundary has this scope as its mark, `pins` is not 0: then it stays in the stack, and no task is added,
//      for what is started inside of the boundary must be joined by an unwinding that stops there.
//
//   x_left    counted up by the opener, down by any thread (acq_rel: what the tasks did, before the join returns)
//   x_joiner  written by the opener before it counts itself down
class task_scope final : public scope_base {
 public:
  // Where the goroutine's next task belongs. Throws bad_alloc.
  static task_scope& open(goroutine& g) {
    if (g.scopes && g.scopes->holds_tasks && g.scopes->pins == 0) return static_cast<task_scope&>(*g.scopes);
    auto* fresh = new task_scope(g);
    drop_empty(g);
    fresh->set_outer(g.scopes);
    g.scopes = fresh;
    return *fresh;
  }
  // The goroutine's innermost scope, if that is one of tasks.
  static task_scope* innermost(const goroutine& g) noexcept {
    return g.scopes && g.scopes->holds_tasks ? static_cast<task_scope*>(g.scopes) : nullptr;
  }
  static void* operator new(std::size_t size) { return frame_allocate(size); }
  static void operator delete(void* scope, std::size_t size) noexcept { frame_deallocate(scope, size); }

  void add(scoped_task& t) noexcept {
    x_left.fetch_add(1, std::memory_order_relaxed);
    std::lock_guard hold(x_lock);
    x_tasks.push_back(&t);
  }
  void keep(scope_keeper& k) noexcept {
    k.scope = this;
    x_keepers.push_back(&k);
  }
  // Of a task that ends: first it leaves the list, then, when nothing of it is left, the count.
  void remove(scoped_task& t) noexcept {
    std::lock_guard hold(x_lock);
    unlink(&t);
  }
  void count_down() noexcept {
    if (x_left.fetch_sub(1, std::memory_order_acq_rel) == 1) wake(x_joiner.load(std::memory_order_relaxed));
  }

  // True: the goroutine must stay suspended; the last task schedules it.
  bool begin_join(goroutine& g) noexcept {
    x_joins = true;
    x_joiner.store(&g, std::memory_order_relaxed);
    return x_left.fetch_sub(1, std::memory_order_acq_rel) != 1;
  }
  // Who waits for the tasks, for reports. While one of them is in the tree: then the scope is there.
  const goroutine* joiner() const noexcept { return x_joiner.load(std::memory_order_relaxed); }
  // Of the innermost scope, once it is joined.
  void close() noexcept {
    opener->scopes = outer;
    while (list_link* k = x_keepers.pop_front()) static_cast<scope_keeper*>(k)->scope = nullptr;
    delete this;
  }

  // The goroutine has no frames any more. Joins what is left of its tasks. True: it waits, with leaf and stop set.
  static bool join_all(goroutine& g) noexcept {
    while (g.scopes) {
      if (!g.scopes->holds_tasks) [[unlikely]] die_of_group(g);  // every other scope lives in a frame
      auto& scope = static_cast<task_scope&>(*g.scopes);
      if (!scope.x_joins && scope.begin_join(g)) return true;
      scope.close();
    }
    return false;
  }

 private:
  explicit task_scope(goroutine& g) noexcept {
    opener = &g;
    holds_tasks = true;
    begin_unwind_join = &join_while_unwinding;
  }
  [[noreturn]] RUNNEL_NOINLINE static void die_of_group(const goroutine& g) noexcept {
    std::fprintf(stderr, "runnel: an errgroup outlives the goroutine that made it (%s): ", started_at(g.where).c_str());
    std::fputs("wait for it there, or use a task_group\n", stderr);
    std::abort();
  }
  bool empty() const noexcept { return x_left.load(std::memory_order_acquire) == 1 && x_keepers.empty(); }

  // Scopes that were left behind where boundaries stood between them.
  static void drop_empty(goroutine& g) noexcept {
    for (scope_base** at = &g.scopes; *at;) {
      scope_base* scope = *at;
      if (scope->holds_tasks && scope->pins == 0 && static_cast<task_scope*>(scope)->empty()) {
        *at = scope->outer;
        delete static_cast<task_scope*>(scope);
      } else {
        at = &scope->outer;
      }
    }
  }

  // The handles of the tasks may lie in frames that have yet to die: so the tasks are cancelled here.
  static bool join_while_unwinding(scope_base& scope, goroutine& g) noexcept {
    auto& self = static_cast<task_scope&>(scope);
    if (!self.x_joins) {
      self.cancel_all();
      if (self.begin_join(g)) return true;
    }
    self.close();
    return false;
  }
  void cancel_all() noexcept {
    for (;;) {
      scoped_task* t;
      {
        std::lock_guard hold(x_lock);
        t = static_cast<scoped_task*>(x_tasks.front());
        if (!t || t->x_swept) return;
        t->x_swept = true;
        x_tasks.push_back(x_tasks.pop_front());
        t->retain();
      }
      t->cancel_and_release();  // not under the lock: it schedules others
    }
  }

  std::atomic<std::size_t> x_left{1};
  std::atomic<goroutine*> x_joiner{nullptr};
  bool x_joins = false;  // of the opener alone
  list_head x_keepers;
  spinlock x_lock;
  list_head x_tasks;
};

// co_await: joins the innermost scope. Not cancellable: the tasks hear a cancellation themselves.
class task_join_operation : public awaitable_base {
 public:
  explicit task_join_operation(task_scope& scope) noexcept : x_scope(scope) {}
  bool suspend(promise_base* leaf) noexcept {
    goroutine& g = *x_scope.opener;
    list_at_home(g);  // for reports
    g.set_leaf(leaf);
    return x_scope.begin_join(g);
  }
  void resume() const noexcept { x_scope.close(); }

 private:
  task_scope& x_scope;
};

// How a goroutine waits for its tasks when its frames are gone: its leaf is the link that its root frame reported to,
// marked by bit 0, and `stop` is set; so the pump's unwinding goes on with that link's end. The bit is free: frames are
// aligned, and so are links.
inline promise_base* leaf_of_end(link& up) noexcept {
  return reinterpret_cast<promise_base*>(reinterpret_cast<std::uintptr_t>(&up) | 1);
}
inline link* end_of_leaf(promise_base* leaf) noexcept {
  auto bits = reinterpret_cast<std::uintptr_t>(leaf);
  return bits & 1 ? reinterpret_cast<link*>(bits & ~std::uintptr_t{1}) : nullptr;
}
// True: the goroutine waits for its tasks, and `up.ops->joined` is called when they have ended.
RUNNEL_NOINLINE inline bool wait_for_tasks(goroutine& g, link& up) noexcept {
  list_at_home(g);  // for reports
  g.set_leaf(leaf_of_end(up));
  g.stop = true;
  if (task_scope::join_all(g)) return true;
  g.stop = false;
  return false;
}

}  // namespace runnel::detail
