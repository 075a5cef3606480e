// SPDX-License-Identifier: BSL-1.0
// runnel/waiter.hpp: the one protocol by which a goroutine sleeps, is woken, and is cancelled.
// Layer: L3
#pragma once

#include <runnel/detail/asymmetric_fence.hpp>
#include <runnel/detail/cancel_node.hpp>
#include <runnel/detail/cancel_sweep.hpp>
#include <runnel/detail/fork_join.hpp>
#include <runnel/detail/goroutine.hpp>
#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/park_lock.hpp>

#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace runnel::detail {

// Everything that a goroutine can wait for has a park_lock q (in memory that never dies) and a queue of waiters.
// docs/design/waiter-protocol.md has the states, the transitions and the proof; tests/model explores it.
//
// Invariants:
//   1. A waiter is in a queue only under that queue's lock; `next` and `prev` change only there.
//   2. Whoever takes a waiter out of a queue claims it before doing anything else with it. A claim that fails
//      (a select that somebody else has claimed) leaves the peer with its element, and with the next waiter.
//   3. What the peer hands over (an element, `outcome`) is written after the claim, under the queue's lock.
//   4. After the claim of a plain waiter and the unlock, the peer touches only the goroutine, to schedule it; the
//      waiter's frame may be gone as soon as it is scheduled.
struct waiter : list_link {
  enum class kind_t : std::uint8_t { plain, select_case, foreign };
  enum class outcome_t : std::uint8_t { pending, done, closed, closed_with_error };
  // What a plain waiter waits for, for reports. It is kept in `index`, which only the cases of a select need: a
  // constant there costs nothing.
  enum class reason_t : std::uint16_t {
    unknown, receive, send, slot, zero_count, done, quiet,
    tick, lock, permits, notification, event, latch, barrier, once, thread,
    broadcast, oneshot, watch, task
  };

  union {
    goroutine* g = nullptr;            // of a goroutine, once it parks
    void (*wake)(waiter&) noexcept;    // of a foreign waiter: called once, with no lock held; the waiter may die in it
    void* before_parking;              // the operation's own
  };
  kind_t kind = kind_t::plain;
  outcome_t outcome = outcome_t::pending;
  std::uint16_t index = 0;             // of the case in its select; of a plain waiter, its reason

  constexpr waiter() noexcept = default;
  explicit constexpr waiter(reason_t r) noexcept : index(static_cast<std::uint16_t>(r)) {}
  // For who is plain, and linked only while it waits.
  waiter(unset, reason_t r) noexcept : list_link(unset()), index(static_cast<std::uint16_t>(r)) {}
  reason_t reason() const noexcept { return static_cast<reason_t>(index); }
};

// A thread outside the pool that blocks until its waiter is woken.
class thread_parker {
 public:
  void wait() {
    std::unique_lock hold(x_mutex);
    x_woken.wait(hold, [this] { return x_done; });
  }
  void notify() noexcept {
    std::lock_guard hold(x_mutex);  // held over notify: the waiter may end this object once it has the mutex
    x_done = true;
    x_woken.notify_one();
  }

 private:
  std::mutex x_mutex;
  std::condition_variable x_woken;
  bool x_done = false;
};

// Whom to wake once the lock is left.
struct woken {
  goroutine* g = nullptr;
  waiter* other = nullptr;  // a foreign one

  void fire() const noexcept {
    if (g) wake(g);
    if (other) other->wake(*other);
  }
  void fire(processor& here) const noexcept {
    if (g) wake(here, g);
    if (other) [[unlikely]] other->wake(*other);
  }
};

// The same for many, as a close has them.
class woken_batch {
 public:
  void add(const woken& w) noexcept {
    if (w.g) x_goroutines.add(w.g);
    if (w.other) x_others.push_back(w.other);
  }
  void fire() noexcept {
    x_goroutines.flush();
    while (list_link* first = x_others.pop_front()) {
      auto& other = *static_cast<waiter*>(first);
      other.wake(other);
    }
  }

 private:
  wake_batch x_goroutines;
  list_head x_others;
};

// Claims the goroutine behind a waiter that was just taken out of a queue, under that queue's lock. False: it is
// somebody else's; take the next waiter.
RUNNEL_NOINLINE inline bool claim_other(waiter& w, woken& out) noexcept {
  if (w.kind == waiter::kind_t::foreign) {
    out.other = &w;
    return true;
  }
  auto seen = w.g->word.load(std::memory_order_relaxed);
  for (;;) {
    auto kind = word::kind_of(seen);
    if (kind != word::registering && kind != word::parked) return false;
    auto mine = word::with_kind(seen, word::claimed) | static_cast<std::uint64_t>(w.index) << word::index_shift;
    // [claim] acq_rel: acquires the select's cases, before we write the slot; releases our past to its owner
    if (w.g->word.compare_exchange_weak(seen, mine, std::memory_order_acq_rel, std::memory_order_relaxed)) {
      if (kind == word::parked) out.g = w.g;  // who is still registering finds the claim by itself
      return true;
    }
  }
}

inline goroutine* claim_plain(waiter& w) noexcept {
  goroutine* g = w.g;
  g->word.store(0, std::memory_order_release);  // the claim; release: before interrupt()'s recheck under q
  return g;
}
inline bool claim(waiter& w, woken& out) noexcept {
  if (w.kind != waiter::kind_t::plain) [[unlikely]] return claim_other(w, out);
  out.g = claim_plain(w);
  return true;
}

// The oldest waiter that can be claimed, taken out of its queue; null if there is none.
RUNNEL_NOINLINE inline waiter* take_other(list_head& queue, woken& out) noexcept {
  while (list_link* first = queue.pop_front()) {
    auto* w = static_cast<waiter*>(first);
    if (claim(*w, out)) return w;
  }
  return nullptr;
}
inline waiter* take(list_head& queue, woken& out) noexcept {
  auto* first = static_cast<waiter*>(queue.front());
  if (!first) return nullptr;
  if (first->kind != waiter::kind_t::plain) [[unlikely]] return take_other(queue, out);
  queue.drop_front();  // nobody looks at the links of a plain waiter that is claimed
  out.g = claim_plain(*first);
  return first;
}

// What every awaited operation does first. False: the context is done, and the goroutine unwinds. Who goes on to park
// has entered before, holding no lock: a goroutine is listed, for cancellers to find, before its first sleep.
inline bool may_operate(const goroutine& g) noexcept { return !g.context.load(std::memory_order_relaxed)->due(); }
inline bool enter_operation(goroutine& g) noexcept {
  list_at_home(g);
  return may_operate(g);
}

// Lets the pump unwind the goroutine from this frame. The caller has suspended it and touches nothing afterwards. True.
RUNNEL_NOINLINE inline bool stop_here(goroutine& g, promise_base* leaf) noexcept {
  g.set_leaf(leaf);
  g.stop = true;
  requeue_self(g);
  return true;
}

// Makes g parked plainly, under q, on a link that the caller puts into q's queue before it leaves q, which is the last
// thing that it does. The link is a waiter, of which reports read the reason, or is marked as a timer before q is left.
// False: its context is done.
RUNNEL_ALWAYS_INLINE bool park_on(goroutine& g, promise_base* leaf, park_lock& q, list_link& node,
                                  bool fence_is_free = asymmetric_fences) noexcept {
  g.set_leaf(leaf);
  g.set_node(&node);
  publish(g.word, word::of(&q), fence_is_free);  // before the level is read: against raise() and interrupt()
  if (!g.context.load(std::memory_order_relaxed)->due()) [[likely]] return true;
  g.word.store(0, std::memory_order_relaxed);
  return false;
}

// The same for a waiter in a queue. (Inlined in any case: to g++ sleep is rare, and to be called.)
RUNNEL_ALWAYS_INLINE bool park(goroutine& g, promise_base* leaf, park_lock& q, waiter& w, list_head& queue,
                               bool fence_is_free = asymmetric_fences) noexcept {
  w.g = &g;
  if (!park_on(g, leaf, q, w, fence_is_free)) [[unlikely]] return false;
  queue.push_back(&w);
  return true;
}

// The operation completed without waiting. True: its budget is spent, others get a turn first, and the goroutine
// stays suspended until then.
RUNNEL_NOINLINE inline bool give_others_a_turn(goroutine& g, promise_base* leaf) noexcept {
  g.set_leaf(leaf);
  g.budget = goroutine::spent_budget;
  requeue_self(g);
  return true;
}
inline bool spend_budget(goroutine& g, promise_base* leaf) noexcept {
  if (--g.budget != 0) [[likely]] return false;
  return give_others_a_turn(g, leaf);
}
// The same after waking somebody.
RUNNEL_NOINLINE inline bool wake_rarely(processor& here, goroutine* woken, goroutine& g, promise_base* leaf) noexcept {
  wake(here, woken);
  return spend_budget(g, leaf);
}
inline bool wake_and_spend_budget(processor& here, goroutine* woken, goroutine& g, promise_base* leaf) noexcept {
  if (woken->proc != &here || !scheduler_core::try_schedule_next(here, woken)) [[unlikely]]
    return wake_rarely(here, woken, g, leaf);
  return spend_budget(g, leaf);
}

// Tells g that `node`, a context of which it is a member or the owner, is done. Under that node's lock, so that g
// cannot end. Does nothing unless the node is g's current context: a deeper one tells g itself, or shields it.
inline bool interrupt(goroutine& g, const cancel_node& node, cancel_sweep& sweep) noexcept {
  for (;;) {
    auto seen = g.word.load(std::memory_order_seq_cst);
    auto kind = word::kind_of(seen);
    bool waits = seen != 0 && (kind == word::plain || kind == word::registering || kind == word::parked ||
                               kind == word::operation);
    if (!waits) {
      // It looks as if it ran, or ended a select, and then it reads the level before it next parks. But what it has
      // stored since, before a light fence, may be on its way to us: only a heavy fence tells.
      if (!sweep.fence()) return false;
      continue;
    }
    if (kind == word::plain) {
      auto* q = reinterpret_cast<park_lock*>(seen);
      sweep.hold(*q);
      if (g.word.load(std::memory_order_relaxed) != seen) continue;  // it left, and may have come back elsewhere
      if (g.context.load(std::memory_order_relaxed) != &node) return false;
      unlink(g.node());
      g.word.store(0, std::memory_order_relaxed);
      g.stop = true;
      sweep.wakes.add(&g);
      return true;
    }
    sweep.let_go();
    if (g.context.load(std::memory_order_acquire) != &node) return false;  // the generation in `seen` vouches for it
    if (kind == word::operation) {
      if (seen & word::requested) return false;
      auto asked = seen | word::requested | word::owned;
      if (!g.word.compare_exchange_strong(seen, asked, std::memory_order_seq_cst)) continue;
      // The operation, which is ours if nobody owned it, asks foreign code to end: with no lock held.
      if (!(seen & word::owned)) sweep.wakes.add_after(static_cast<member&>(*g.node()));
      return true;
    }
    auto stopped = word::with_kind(seen, word::stopped);
    if (!g.word.compare_exchange_strong(seen, stopped, std::memory_order_seq_cst)) continue;
    if (kind == word::parked) {
      g.stop = true;  // it is ours; unwinding leaves the select first, for that is a scope of g
      sweep.wakes.add(&g);
    }
    return true;
  }
}

}  // namespace runnel::detail
