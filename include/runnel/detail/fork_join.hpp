// SPDX-License-Identifier: BSL-1.0
// runnel/detail/fork_join.hpp: children that report into their parent's frame, and become goroutines only if they park.
// Layer: L2
#pragma once

#include <runnel/config.hpp>
#include <runnel/detail/cancel_node.hpp>
#include <runnel/detail/goroutine.hpp>
#include <runnel/detail/processor.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/detail/scheduler_core.hpp>
#include <runnel/detail/spinlock.hpp>

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

namespace runnel::detail {

class fork_join;

// One child. It lives in the parent's awaiter, with the link that its root frame reports to. Its list_link has two
// uses: in a queue until the child begins, then the place of its goroutine.
struct fork_child_base : list_link {
  fork_join* join;
  promise_base* entry;  // the root frame; null once it has ended

  fork_child_base(fork_join& j, promise_base* root) noexcept : list_link(unset()), join(&j), entry(root) {}

  // Null: not promoted. By way of void*: a goroutine is a list_link too, and its part that is one is not meant.
  goroutine* g() const noexcept { return static_cast<goroutine*>(static_cast<void*>(list_link::prev)); }
  void set_g(goroutine* g) noexcept { list_link::prev = static_cast<list_link*>(static_cast<void*>(g)); }
};

template <class T> struct fork_child : fork_child_base, task_link<T> {
  struct origin {
    fork_join& join;
    promise_base* entry;
    const link_ops& ops;
  };
  explicit fork_child(origin from) noexcept : fork_child_base(from.join, from.entry), task_link<T>(from.ops) {
    if (entry) entry->cont = this;
  }
};

struct join_node : cancel_node {
  fork_join& join;
  explicit join_node(fork_join& j) noexcept : cancel_node(form::join), join(j) {}
};

// The children of one `all` or `race`, and the frame that waits for them.
//
// Invariants:
//   1. `x_left` counts children that have not ended; who brings it to zero, and nobody else, continues the parent.
//      Children that end on the processor where the join began, `x_home`, are counted in `x_at_home`, without a
//      read-modify-write, as long as x_home only enters further children of this join, or ends them. While x_at_home
//      is not zero the join is in the processor's stack `unsettled`, of which each member is around the one before.
//      When the pump regains control it settles them all: they are counted in x_left like the others.
//   2. A child ends when its root frame is gone. Its result, or its failure, is in place before it is counted.
//   3. The join's context exists from the first promotion on (`x_linked`, under chain_lock and x_lock). Whoever
//      decides the join (first failure, winner of a race) cancels the context if it exists; who makes it looks at
//      the decision afterwards.
//   4. A promotion allocates a goroutine, and a node for each join that has none, and may fail with bad_alloc,
//      before anything has changed. A child that
//      was unwound leaves its goroutine as a spare, so that stopping the parent never allocates.
//   5. `x_eventful` is false as long as there is nothing for finish() to do.
//
//   x_left       counted down by any thread (acq_rel: results before the parent's await_resume)
//   x_eventful   set by any thread, before it ends a child (relaxed: x_left orders it); read by the parent
class fork_join {
 public:
  fork_join() noexcept = default;
  fork_join(const fork_join&) = delete;
  fork_join& operator=(const fork_join&) = delete;

  // The parent suspends: `children` will run. Called on the parent's processor, before any child is offered.
  void begin(promise_base* parent, processor& here, std::uint32_t children) noexcept {
    x_parent = parent;
    x_home = &here;
    x_resumes_as = here.current;
    x_ambient = x_resumes_as & 1 ? child_of(x_resumes_as)->join->x_ambient
                                 : goroutine_of(x_resumes_as)->context.load(std::memory_order_relaxed);
    x_left.store(children, std::memory_order_relaxed);
  }
  bool ambient_due() const noexcept { return x_ambient->due(); }

  // The first to decide has its way: an error (all), or success (race, with a null error). The others are cancelled.
  bool decide(std::exception_ptr error) noexcept {
    bool linked;
    {
      std::lock_guard hold(x_lock);
      if (x_decided.load(std::memory_order_relaxed)) return false;
      if (error) x_error = std::move(error);
      x_eventful.store(true, std::memory_order_relaxed);
      x_decided.store(true, std::memory_order_relaxed);
      linked = x_linked;
    }
    if (linked) node().cancel(level_cancel, false, canceled_cause());
    return true;
  }
  bool decided() const noexcept { return x_decided.load(std::memory_order_relaxed); }
  // Of a race: the first error, thrown if nobody wins; and who has. Returns an error that is not the first.
  std::exception_ptr keep_error(std::exception_ptr error) noexcept {
    std::lock_guard hold(x_lock);
    if (x_error) return error;
    x_error = std::move(error);
    x_eventful.store(true, std::memory_order_relaxed);
    return nullptr;
  }
  // Cancels the children without deciding: one of them was unwound, and the parent will be.
  void give_up() noexcept {
    if (!node().due()) node().cancel(level_cancel, false, canceled_cause());
  }
  void set_winner(fork_child_base& child) noexcept { x_winner = &child; }
  fork_child_base* winner() const noexcept { return x_winner; }

  // In the parent, when all children have ended; at the latest when its frame dies.
  bool eventful() const noexcept { return x_eventful.load(std::memory_order_relaxed); }
  std::exception_ptr finish() noexcept {
    x_eventful.store(false, std::memory_order_relaxed);
    if (x_linked) {
      x_node->detach();
      x_linked = false;
    }
    delete std::exchange(x_node, nullptr);
    delete std::exchange(x_spare, nullptr);
    return std::exchange(x_error, nullptr);
  }

  // A child has ended, and its frame is gone. Returns what to resume next on this thread.
  std::coroutine_handle<> child_finished(fork_child_base& child) noexcept {
    processor& here = *this_processor();
    end_goroutine(child, false);
    if (x_home == &here) [[likely]] {
      if (x_at_home++ == 0) x_around = std::exchange(here.unsettled, this);
      if (x_left.load(std::memory_order_acquire) == x_at_home) {  // acquire: after those that ended elsewhere
        here.unsettled = x_around;
        x_at_home = 0;
        return continue_parent(here);
      }
    } else if (x_left.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      return continue_parent(here);
    }
    return next_child(here);
  }

  // Counts what has ended on this processor of its innermost unsettled join. Returns the parent if it is to go on.
  static promise_base* settle(processor& here) noexcept {
    fork_join& join = *here.unsettled;
    here.unsettled = join.x_around;
    auto n = std::exchange(join.x_at_home, 0);
    if (join.x_left.fetch_sub(n, std::memory_order_acq_rel) != n) return nullptr;  // last touch, if it is not the last
    return join.parent_goes_on(here);
  }

  // The same for a child that was unwound: returns the parent if it was the last, and whether to unwind it too.
  promise_base* child_unwound(fork_child_base& child, bool& keep_unwinding) noexcept {
    processor& here = *this_processor();
    here.current = 0;
    x_stopped.store(true, std::memory_order_relaxed);
    end_goroutine(child, true);
    if (x_left.fetch_sub(1, std::memory_order_acq_rel) != 1) return nullptr;
    keep_unwinding = must_stop();
    if (keep_unwinding) parent_goroutine();
    return become_parent(here);
  }

  // The same for a child that had to wait for tasks that it had started. Returns the parent if it was the last.
  promise_base* child_joined(fork_child_base& child) noexcept {
    processor& here = *this_processor();
    here.current = 0;
    end_goroutine(child, false);
    if (x_left.fetch_sub(1, std::memory_order_acq_rel) != 1) return nullptr;
    return parent_goes_on(here);
  }

  // Whether control may pass to a child directly. Not under a chooser, which is to choose: then there is one processor,
  // and no thief for whom there is the gate.
  static bool may_transfer(const processor& here) noexcept { return here.transfers < longest_run; }
  RUNNEL_NOINLINE static std::coroutine_handle<> leave_to_chooser(processor& here, fork_child_base& child) noexcept {
    here.push_child(&child);
    return std::noop_coroutine();
  }

  // Takes the newest child of this processor, if it is one of this join's, to be entered by symmetric transfer. Any
  // other is the pump's: before it runs, what has ended is settled.
  std::coroutine_handle<> next_child(processor& here) noexcept {
    if (++here.transfers >= longest_run) return std::noop_coroutine();
    here.gate.enter();
    auto* child = static_cast<fork_child_base*>(here.children.back());
    bool mine = child && child->join == this;
    if (mine) here.drop_newest_child();
    here.gate.leave();
    if (!mine) return std::noop_coroutine();
    if (!decided()) [[likely]] return transfer_to(enter(here, *child));
    promise_base* parent = skip(here, *child);
    return parent ? transfer_to(parent) : std::noop_coroutine();
  }

  static promise_base* enter(processor& here, fork_child_base& child) noexcept {
    here.current = reinterpret_cast<std::uintptr_t>(&child) | 1;
    child.set_g(nullptr);
    return child.entry;
  }

  // A child whose join was decided before it began: its frame dies unrun. Returns the parent if it was the last.
  static promise_base* skip(processor& here, fork_child_base& child) noexcept {
    std::exchange(child.entry, nullptr)->handle().destroy();
    fork_join& join = *child.join;
    if (join.x_left.fetch_sub(1, std::memory_order_acq_rel) != 1) return nullptr;
    return join.parent_goes_on(here);
  }

  // Makes a goroutine of a child that is about to park, or that opens a scope. Throws bad_alloc.
  RUNNEL_NOINLINE static goroutine* promote(fork_child_base& child, processor& here) {
    child.join->link();
    return promote(child, here, new goroutine);
  }

  // For reports: how many children have not ended, and who waits for them, as in processor::current.
  std::uint32_t left() const noexcept { return x_left.load(std::memory_order_relaxed); }
  std::uintptr_t waiter() const noexcept { return x_resumes_as; }
  // The context of the join's children, once it is linked.
  cancel_node& node() noexcept { return *x_node; }

 private:
  // processor::current, taken apart.
  static fork_child_base* child_of(std::uintptr_t current) noexcept {
    return reinterpret_cast<fork_child_base*>(current & ~std::uintptr_t{1});
  }
  static goroutine* goroutine_of(std::uintptr_t current) noexcept { return reinterpret_cast<goroutine*>(current); }

  static constexpr std::uint32_t longest_run = 64;  // transfers in a row; then the pump looks at everybody else
  RUNNEL_SHARED static inline std::mutex chain_lock;  // linking is rare: once for each join in which a child parks

  static goroutine* promote(fork_child_base& child, processor& here, goroutine* g) noexcept {
    g->home = &child.join->node();
    g->context.store(g->home, std::memory_order_relaxed);
    g->proc = &here;
    g->budget = goroutine::full_budget;
    child.set_g(g);
    if (run_observer* o = here.core->observer()) [[unlikely]] o->promoted(child, *g);
    return g;
  }

  // Links this join's context into the tree, and before it those of the joins around it, outermost first. Throws
  // bad_alloc before anything is linked; never if this join is linked already.
  void link() {
    std::lock_guard hold(chain_lock);
    if (x_linked) return;
    fork_join* at = this;
    at->x_inner = nullptr;
    cancel_node* above;
    for (;;) {
      if (!at->x_node) at->x_node = new join_node(*at);
      at->x_eventful.store(true, std::memory_order_relaxed);
      if ((above = at->context_above())) break;
      fork_join* outer = at->join_above();
      outer->x_inner = at;
      at = outer;
    }
    if (goroutine* g = at->waiting_goroutine()) list_at_home(*g);  // for reports
    for (; at; above = &at->node(), at = at->x_inner) {
      bool decided;
      {
        std::lock_guard hold_join(at->x_lock);
        at->x_node->attach(*above);
        at->x_linked = true;
        decided = at->x_decided.load(std::memory_order_relaxed);
      }
      if (decided) at->node().cancel(level_cancel, false, canceled_cause());
    }
  }

  // Who waits, if that is a goroutine. It is suspended, so that nobody changes what is read of it here.
  goroutine* waiting_goroutine() const noexcept {
    return x_resumes_as & 1 ? child_of(x_resumes_as)->g() : goroutine_of(x_resumes_as);
  }
  cancel_node* context_above() const noexcept {
    if (goroutine* g = waiting_goroutine()) return g->context.load(std::memory_order_relaxed);
    fork_join* join = join_above();
    return join->x_linked ? &join->node() : nullptr;
  }
  fork_join* join_above() const noexcept { return child_of(x_resumes_as)->join; }

  void end_goroutine(fork_child_base& child, bool keep) noexcept {
    child.entry = nullptr;
    goroutine* g = child.g();
    if (!g) [[likely]]
      return;
    child.set_g(nullptr);
    if (g->listed) g->home->unlist(*g);
    g->listed = false;
    if (keep) {
      std::lock_guard hold(x_lock);
      if (!x_spare) {
        g->stop = false;
        x_spare = std::exchange(g, nullptr);
        x_eventful.store(true, std::memory_order_relaxed);
      }
    }
    delete g;
  }

  // All children have ended. Returns the parent's frame; or null, having scheduled the parent's unwinding.
  promise_base* parent_goes_on(processor& here) noexcept {
    if (!must_stop()) [[likely]] return become_parent(here);
    stop_parent(here);
    return nullptr;
  }
  std::coroutine_handle<> continue_parent(processor& here) noexcept {
    promise_base* parent = parent_goes_on(here);
    return parent ? transfer_to(parent) : std::noop_coroutine();
  }

  // Unwound children and nobody to blame: the parent's own context is done.
  bool must_stop() const noexcept {
    return x_stopped.load(std::memory_order_relaxed) && !x_decided.load(std::memory_order_relaxed);
  }

  promise_base* become_parent(processor& here) noexcept {
    here.current = x_resumes_as;
    if (goroutine* g = waiting_goroutine()) g->proc = &here;
    return x_parent;
  }

  // The parent's goroutine; a parent that is itself an unpromoted child becomes one, by way of the spare.
  goroutine* parent_goroutine() noexcept {
    if (!waiting_goroutine()) promote(*child_of(x_resumes_as), *this_processor(), std::exchange(x_spare, nullptr));
    return waiting_goroutine();
  }
  void stop_parent(processor& here) noexcept {
    goroutine* g = parent_goroutine();
    g->proc = &here;
    g->set_leaf(x_parent);
    g->stop = true;
    requeue(g);
  }

  promise_base* x_parent = nullptr;
  std::uintptr_t x_resumes_as = 0;  // processor::current of the parent
  processor* x_home = nullptr;
  fork_join* x_around = nullptr;    // the next in x_home's `unsettled`
  std::uint32_t x_at_home = 0;
  std::atomic<std::uint32_t> x_left{0};
  std::atomic<bool> x_eventful{false};
  std::atomic<bool> x_decided{false};
  std::atomic<bool> x_stopped{false};
  bool x_linked = false;
  spinlock x_lock;
  fork_join* x_inner = nullptr;      // the way back down, while chain_lock is held
  cancel_node* x_ambient = nullptr;  // a context around this join, which can be asked without linking
  goroutine* x_spare = nullptr;
  fork_child_base* x_winner = nullptr;
  std::exception_ptr x_error;
  join_node* x_node = nullptr;
};

// The goroutine that a frame belongs to. Promotes a fork-join child that has none yet, which may throw bad_alloc.
RUNNEL_NOINLINE inline goroutine* find_goroutine(promise_base* leaf) {
  promise_base* p = leaf;
  goroutine* g = nullptr;
  for (;; p = p->cont->parent) {
    if ((g = p->g)) break;
    if (p->cont->ops && p->cont->ops->child) {
      auto* child = p->cont->ops->child(*p->cont);
      g = child->g() ? child->g() : fork_join::promote(*child, *this_processor());
      p->g = g;
      break;
    }
  }
  this_processor()->current = reinterpret_cast<std::uintptr_t>(g);
  for (promise_base* q = leaf; q != p; q = q->cont->parent) q->g = g;
  return g;
}

inline goroutine& goroutine_of(promise_base* frame) { return frame->g ? *frame->g : *find_goroutine(frame); }

// The goroutine that runs on this thread, for calls that are not awaited; null outside of one. May throw bad_alloc.
inline goroutine* current_goroutine() {
  processor* here = this_processor();
  if (!here || !here->current) return nullptr;
  if (!(here->current & 1)) return reinterpret_cast<goroutine*>(here->current);
  auto* child = reinterpret_cast<fork_child_base*>(here->current & ~std::uintptr_t{1});
  goroutine* g = child->g() ? child->g() : fork_join::promote(*child, *here);
  here->current = reinterpret_cast<std::uintptr_t>(g);
  return g;
}

}  // namespace runnel::detail
