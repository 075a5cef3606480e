// SPDX-License-Identifier: BSL-1.0
// runnel/detail/unwind.hpp: how a stopped goroutine's frames die, leaf first, and what the pump does with an item.
// Layer: L2
#pragma once

#include <runnel/detail/fork_join.hpp>
#include <runnel/detail/goroutine.hpp>
#include <runnel/detail/processor.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/detail/task_scope.hpp>
#include <runnel/error.hpp>

#include <cstdint>
#include <exception>

namespace runnel::detail {

// The frame above; null at a root, and where this unwinding may stop.
inline promise_base* frame_above(promise_base* p) noexcept {
  return p->cont->ops && p->cont->ops->ends_unwinding() ? nullptr : p->cont->parent;
}

// Which frame, from `leaf` up to where this unwinding may stop, a scope lives in. Null: in none of them, but on the
// heap; then it is joined before the next frame dies, which is early but safe.
inline promise_base* frame_of_scope(promise_base* leaf, const scope_base* scope) noexcept {
  for (promise_base* p = leaf; p; p = frame_above(p))
    if (p->contains(scope)) return p;
  return nullptr;
}

// The frame before whose end the innermost scope is to be joined: the one that it lives in; or a deeper one that has a
// scope of operations, as when a handler of a select_loop has made a group in a frame above the loop's.
inline promise_base* home_of_scopes(promise_base* leaf, const goroutine& g, const scope_base* mark) noexcept {
  promise_base* home = frame_of_scope(leaf, g.scopes);
  if (!home || !g.scopes->covers_operations) [[likely]] return home;
  for (const scope_base* s = g.scopes->outer; s && s != mark; s = s->outer)
    if (s->holds_operations)
      for (promise_base* p = leaf; p != home; p = frame_above(p))
        if (p->contains(s)) {
          home = p;
          break;
        }
  return home;
}

// The innermost scope that was open where this unwinding may stop; the scopes inside it are to be joined.
inline scope_base* scope_mark(promise_base* leaf) noexcept {
  promise_base* p = leaf;
  while (promise_base* above = frame_above(p)) p = above;
  return p->cont->ops->mark ? *p->cont->ops->mark(*p->cont) : nullptr;
}

// The goroutine that runs on this processor, without promoting anybody.
inline goroutine* running_goroutine(const processor& p) noexcept {
  if (p.current & 1) return reinterpret_cast<fork_child_base*>(p.current & ~std::uintptr_t{1})->g();
  return reinterpret_cast<goroutine*>(p.current);
}

// Destroys frames from g's leaf up, joining each scope before the frame that it lives in dies. Iterative: a chain of
// a hundred thousand frames unwinds on a few hundred bytes of stack. Returns the frame to resume, if a boundary
// stopped the unwinding; null if the goroutine waits for a scope, or is gone.
inline promise_base* unwind(processor& here, goroutine* g) noexcept {
  promise_base* at = g->leaf();
  if (link* end = end_of_leaf(at)) return wait_for_tasks(*g, *end) ? nullptr : end->ops->joined(*end);
  for (;;) {
    scope_base* mark = g->scopes ? scope_mark(at) : nullptr;
    promise_base* home = g->scopes != mark ? home_of_scopes(at, *g, mark) : nullptr;
    for (;;) {
      while (g->scopes != mark && (!home || home == at)) {
        g->set_leaf(at);
        g->stop = true;  // unwinding goes on here when the children have ended
        if (g->scopes->begin_unwind_join(*g->scopes, *g)) return nullptr;
        g->stop = false;
        home = g->scopes != mark ? home_of_scopes(at, *g, mark) : nullptr;
      }
      link& up = *at->cont;
      at->handle().destroy();
      if (up.ops) {
        bool ends = up.ops->ends_unwinding();
        bool keep_unwinding = true;
        at = up.ops->unwound(up, g, keep_unwinding);
        if (!at || !keep_unwinding) return at;
        if (ends) break;
      } else {
        at = up.parent;
      }
    }
    g = running_goroutine(here);  // past a fork-join child it is the parent's
  }
}

// Thrown around a batch of unwinding, so that destructors see std::uncaught_exceptions() one higher than when their
// objects were made: scope_failure guards fire, transactions roll back.
struct unwinding_exception {};

// How a processor runs what it takes from its queues.
struct run_policy {
  // Who has waited in a queue for long is no longer in the cache: the next one's frame, and the one after that, are
  // fetched while others run.
  static void fetch_next(fifo_link* next) noexcept {
    if (!next) return;
    auto* frame = reinterpret_cast<const char*>(static_cast<detail::goroutine*>(next)->leaf());
    __builtin_prefetch(frame - promise_offset);
    __builtin_prefetch(frame - promise_offset + cache_line);
    __builtin_prefetch(frame - promise_offset + 2 * cache_line);
    if (next->next) {
      __builtin_prefetch(next->next);
      __builtin_prefetch(reinterpret_cast<const char*>(next->next) + cache_line);
    }
  }

  static fifo_link* of_fresh(list_link* g) noexcept { return static_cast<detail::goroutine*>(g); }

  static void goroutine(processor& p, fifo_link* item,
                        std::uint8_t budget = detail::goroutine::full_budget) noexcept {
    auto& g = *static_cast<detail::goroutine*>(item);
    enter(p, g, budget);
    if (g.stop) [[unlikely]]
      unwind_and_go_on(p, g);
    else
      resume(g.leaf());
  }

  static void child(processor& p, list_link* item) noexcept {
    auto& child = *static_cast<fork_child_base*>(item);
    if (child.join->decided()) [[unlikely]] {
      if (promise_base* parent = fork_join::skip(p, child)) resume(parent);
    } else {
      resume(fork_join::enter(p, child));
    }
  }

  // Counts the children that have ended on p; the parents of those that were the last go on.
  RUNNEL_NOINLINE static void settle(processor& p) noexcept {
    while (p.unsettled)
      if (promise_base* parent = fork_join::settle(p)) resume(parent);
  }

 private:
  // A frame of a fork-join child that never parked, where unwinding was stopped: no queue can hold it.
  struct frame_of_child {
    promise_base* frame = nullptr;
    std::uintptr_t current = 0;
  };

  // One throw pays for a whole batch: everything next in line that is stopped as well is unwound with it.
  RUNNEL_NOINLINE static void unwind_and_go_on(processor& p, detail::goroutine& first) noexcept {
    struct batch {
      processor& p;
      detail::goroutine* g;
      frame_of_child& result;

      ~batch() {
        p.unwinding = true;
        const std::int64_t began = p.core->now();
        for (std::uint32_t n = 0; g; g = goes_on(p, ++n, began) ? next_stopped(p) : nullptr) {
          if (n != 0) p.progress.store(p.progress.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
          g->stop = false;
          enter(p, *g);
          promise_base* frame = unwind(p, g);
          if (!frame) continue;
          if (p.current & 1) {
            result = {frame, p.current};
            break;
          }
          auto* stopped_at = reinterpret_cast<detail::goroutine*>(p.current);
          stopped_at->set_leaf(frame);
          p.core->push(p, stopped_at);
        }
        p.unwinding = false;
      }
    };
    frame_of_child go_on;
    try {
      batch now{p, &first, go_on};
      throw unwinding_exception();
    } catch (const unwinding_exception&) {
    }
    if (!go_on.frame) return;
    p.current = go_on.current;
    resume(go_on.frame);
  }

  // A throw takes as long as to unwind some twenty small goroutines. So it serves as many as end soon. An odd number:
  // else, where one batch ends as run_next goes behind the others, all would.
  static constexpr std::uint32_t shortest_batch = 63, longest_batch = 4 * shortest_batch;
  static constexpr std::int64_t soon = 20'000;  // ns

  static bool goes_on(const processor& p, std::uint32_t n, std::int64_t began) noexcept {
    return n % shortest_batch != 0 || (n < longest_batch && p.core->now() - began < soon);
  }
  static detail::goroutine* next_stopped(processor& p) noexcept {
    if (p.core->has_chooser()) return nullptr;
    p.gate.enter();
    detail::goroutine* g = nullptr;
    if (!p.goroutines.empty() && static_cast<detail::goroutine*>(p.goroutines.front())->stop)
      g = static_cast<detail::goroutine*>(p.pop_goroutine());
    if (g) fetch_next(p.goroutines.front());
    p.gate.leave();
    return g;
  }
};

}  // namespace runnel::detail
