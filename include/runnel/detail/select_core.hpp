// SPDX-License-Identifier: BSL-1.0
// runnel/detail/select_core.hpp: how a select registers with everything that it waits for, sleeps, and leaves.
// Layer: L6
#pragma once

#include <runnel/config.hpp>
#include <runnel/detail/asymmetric_fence.hpp>
#include <runnel/detail/chan_core.hpp>
#include <runnel/detail/goroutine.hpp>
#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/processor.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/detail/wait_source.hpp>
#include <runnel/waiter.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

namespace runnel::detail {

// A case that is a channel operation: where, and which waiter. The direction is the lowest bit of the channel's
// address.
class channel_slot {
 public:
  channel_slot() noexcept {}  // NOLINT: filled when the select first has to wait
  channel_slot(chan_core& core, waiter& w, bool sends) noexcept
      : x_core(reinterpret_cast<std::uintptr_t>(&core) | std::uintptr_t{sends}), x_waiter(&w) {}

  chan_core& core() const noexcept { return *reinterpret_cast<chan_core*>(x_core & ~std::uintptr_t{1}); }
  waiter& own() const noexcept { return *x_waiter; }
  bool same_channel(const channel_slot& other) const noexcept {
    return ((x_core ^ other.x_core) & ~std::uintptr_t{1}) == 0;
  }
  // In the order in which channels are locked.
  bool before(const channel_slot& other) const noexcept { return x_core < other.x_core; }

  // Under the channel's lock.
  bool ready() const noexcept {
    chan_core& ch = core();
    if (ch.is_closed()) return true;
    return sends() ? ch.len() < ch.cap() || has_claimable(ch.receivers) : ch.len() > 0 || has_claimable(ch.senders);
  }
  void join_queue(goroutine& g) const noexcept {
    x_waiter->g = &g;
    x_waiter->kind = waiter::kind_t::select_case;
    (sends() ? core().senders : core().receivers).push_back(x_waiter);
  }
  void leave_queue() const noexcept {
    unlink(x_waiter);
    x_waiter->kind = waiter::kind_t::plain;  // as it was, so that the operation can be used again
    x_waiter->before_parking = &core();
  }

 private:
  static_assert(alignof(chan_core) > 1, "the lowest bit of its address is free");
  bool sends() const noexcept { return x_core & 1; }

  // Drops those at the head whose select has been claimed: they look again at everything before they sleep.
  static bool has_claimable(list_head& queue) noexcept {
    while (list_link* first = queue.front()) {
      auto& w = *static_cast<waiter*>(first);
      if (w.kind != waiter::kind_t::select_case) return true;
      auto kind = word::kind_of(w.g->word.load(std::memory_order_relaxed));
      if (kind == word::registering || kind == word::parked) return true;
      unlink(first);
    }
    return false;
  }

  std::uintptr_t x_core;
  waiter* x_waiter;
};

// The part of a select that does not depend on the types of its cases. docs/design/select.md has the steps and why they
// lose nothing.
//
// Invariants:
//   1. x_put_slots and x_put_sources count the waiters that may be in queues, from the front of the lists. Only the
//      goroutine that selects, or its unwinder, changes them.
//   2. While any is out W is registering, parked, or claimed for good; W = 0 is stored when none is.
//   3. While it sleeps it is the innermost scope of its goroutine, so that an unwinding leaves all queues before
//      anything of the select dies.
//   4. At most one lock is held, but for otherwise, which takes those of the channels in the order of their addresses.
class select_core : private scope_base {
 protected:
  enum class outcome_t : std::uint8_t { parked, committed, stopped, again };
  // The ordinary operation of a channel case, under its channel's lock. False: it would have to wait.
  using attempt_t = bool (*)(select_core&, std::size_t index, goroutine& g, woken& peer) noexcept;

  select_core() noexcept = default;
  select_core(const select_core&) = delete;
  select_core& operator=(const select_core&) = delete;
  ~select_core() = default;

  std::size_t chosen() const noexcept { return x_chosen; }
  void choose(std::size_t index) noexcept { x_chosen = static_cast<std::uint32_t>(index); }
  // Whether it slept and has not yet left.
  bool asleep() const noexcept { return x_asleep; }

  // What it waits for. Slots are sorted here.
  void set_cases(channel_slot* slots, std::size_t slot_count, wait_source** sources,
                 std::size_t source_count, bool hears_outside) noexcept {
    for (std::size_t i = 1; i < slot_count; ++i) {
      channel_slot moving = slots[i];
      std::size_t at = i;
      for (; at > 0 && moving.before(slots[at - 1]); --at) slots[at] = slots[at - 1];
      slots[at] = moving;
    }
    x_slots = slots;
    x_sources = sources;
    x_slot_count = static_cast<std::uint32_t>(slot_count);
    x_source_count = static_cast<std::uint32_t>(source_count);
    x_hears_outside = hears_outside;
  }

  // Registers with everything and sleeps, unless something is ready, or becomes ready, or the context is done.
  //   parked     nothing of the select may be touched any more
  //   committed  chosen() is done
  //   stopped    the context is done
  //   again      what looked ready was not, and meanwhile other waiters have passed us by: nothing is out
  outcome_t wait(goroutine& g, promise_base* leaf, attempt_t attempt) noexcept {
    publish(g.word, as(g, word::registering));  // before the level is read: against raise() and interrupt()
    if (g.context.load(std::memory_order_relaxed)->due()) [[unlikely]] {
      g.word.store(0, std::memory_order_relaxed);
      return outcome_t::stopped;
    }
    for (std::uint32_t i = 0; i < x_slot_count;)
      if (step_t s = put_channel(g, i, attempt); s != step_t::next) return end(g, s);
    for (std::uint32_t i = 0; i < x_source_count; ++i)
      if (step_t s = put_source(g, i); s != step_t::next) return end(g, s);

    g.set_leaf(leaf);
    scope_base::opener = &g;
    scope_base::outer = g.scopes;
    scope_base::begin_unwind_join = &leave_unwinding;
    g.scopes = this;
    x_asleep = true;
    auto registering = as(g, word::registering);
    // [park] release: the frame and the cases, before [claim]; on success the last touch of goroutine and frame
    if (g.word.compare_exchange_strong(registering, as(g, word::parked), std::memory_order_acq_rel,
                                       std::memory_order_relaxed))
      return outcome_t::parked;
    x_asleep = false;
    g.scopes = scope_base::outer;
    return end(g, step_t::claimed);
  }

  // Woken: leaves all queues and finds out for which case.
  void leave() noexcept {
    goroutine& g = *scope_base::opener;
    leave_queues(g);
    choose(word::index_of(g.word.load(std::memory_order_relaxed)));
    g.word.store(0, std::memory_order_relaxed);
  }

  // For `otherwise`: all locks, each once, channels by address, then sources by address; and all of them held.
  std::size_t collect_locks(park_lock** locks) noexcept {
    std::size_t n = 0;
    for (std::uint32_t i = 0; i < x_slot_count; ++i)
      if (i == 0 || !x_slots[i].same_channel(x_slots[i - 1])) locks[n++] = &x_slots[i].core().lock();
    x_channel_locks = static_cast<std::uint32_t>(n);
    for (std::uint32_t i = 0; i < x_source_count; ++i) {
      park_lock* guard = x_sources[i]->guard;
      std::size_t at = n;
      while (at > x_channel_locks && std::less<>()(guard, locks[at - 1])) --at;
      if (!guard || (at > x_channel_locks && locks[at - 1] == guard)) continue;
      for (std::size_t k = n++; k > at; --k) locks[k] = locks[k - 1];
      locks[at] = guard;
    }
    return n;
  }
  class all_locks {
   public:
    all_locks(const select_core& select, park_lock** locks, bool* biased, std::size_t n, processor& here) noexcept
        : x_locks(locks), x_biased(biased), x_count(n) {
      for (std::size_t i = 0; i < n; ++i)
        biased[i] = locks[i]->lock(i < select.x_channel_locks ? &here : nullptr, i + 1);
    }
    ~all_locks() {
      while (x_count-- > 0) x_locks[x_count]->unlock(x_biased[x_count], x_count + 1);
    }
    all_locks(const all_locks&) = delete;
    all_locks& operator=(const all_locks&) = delete;

   private:
    park_lock** x_locks;
    bool* x_biased;
    std::size_t x_count;
  };

 private:
  enum class step_t : std::uint8_t { next, claimed, committed, nothing };

  std::uint64_t as(const goroutine& g, word::kind kind) const noexcept {
    return kind | (x_hears_outside ? word::hears_outside : 0) | g.tagged_generation();
  }
  static bool registering(const goroutine& g) noexcept {
    return word::kind_of(g.word.load(std::memory_order_relaxed)) == word::registering;
  }
  // For good: whoever fails to claim us drops our waiter.
  bool claim_self(goroutine& g) noexcept {
    auto registering = as(g, word::registering);
    return g.word.compare_exchange_strong(registering, as(g, word::self), std::memory_order_acq_rel,
                                          std::memory_order_relaxed);
  }

  // All cases of the channel at slot i, which goes on to the next channel.
  step_t put_channel(goroutine& g, std::uint32_t& i, attempt_t attempt) noexcept {
    processor& here = *g.proc;
    park_lock& q = x_slots[i].core().lock();
    std::uint32_t end = i + 1;
    while (end < x_slot_count && x_slots[end].same_channel(x_slots[i])) ++end;
    bool biased = q.lock(&here);
    if (i != 0 && !registering(g)) [[unlikely]] {
      q.unlock(biased);
      return step_t::claimed;
    }
    const channel_slot* ready = nullptr;
    std::uint32_t count = 0;
    for (std::uint32_t n = i; n < end; ++n)
      if (x_slots[n].ready() && (count++ == 0 || here.core->draw(here, count) == 0)) ready = &x_slots[n];
    if (ready) [[unlikely]] {
      step_t result = step_t::claimed;
      woken peer;
      if (claim_self(g)) {
        choose(ready->own().index);
        result = attempt(*this, x_chosen, g, peer) ? step_t::committed : step_t::nothing;
      }
      q.unlock(biased);
      peer.fire(here);
      return result;
    }
    for (; i < end; ++i) x_slots[i].join_queue(g);
    x_put_slots = i;
    q.unlock(biased);
    return step_t::next;
  }

  step_t put_source(goroutine& g, std::uint32_t i) noexcept {
    wait_source& source = *x_sources[i];
    source.g = &g;
    source.kind = waiter::kind_t::select_case;
    wait_source::listed_t joined;
    {
      source_guard hold(source);
      if (!registering(g)) [[unlikely]]
        return step_t::claimed;
      bool ready = source.ready(g);
      if (!ready) ready = !(joined = source.join_queue(g)).listed;
      if (ready) {
        if (!claim_self(g)) return step_t::claimed;
        source.take(g);
        choose(source.index);
        return step_t::committed;
      }
      x_put_sources = i + 1;
    }
    joined.finish();
    return step_t::next;
  }

  // Nobody changes W any more.
  outcome_t end(goroutine& g, step_t step) noexcept {
    leave_queues(g);
    auto seen = g.word.load(std::memory_order_relaxed);
    g.word.store(0, std::memory_order_relaxed);
    if (step == step_t::committed) return outcome_t::committed;
    if (step == step_t::nothing) return outcome_t::again;
    if (word::kind_of(seen) == word::stopped) return outcome_t::stopped;
    choose(word::index_of(seen));
    return outcome_t::committed;
  }

  void leave_queues(goroutine& g) noexcept {
    if (std::exchange(x_asleep, false)) g.scopes = scope_base::outer;
    processor& here = *g.proc;
    for (std::uint32_t i = 0; i < x_put_slots;) {
      const channel_slot& first = x_slots[i];
      park_lock::guard hold(first.core().lock(), &here);
      do x_slots[i].leave_queue();
      while (++i < x_put_slots && x_slots[i].same_channel(first));
    }
    x_put_slots = 0;
    for (std::uint32_t i = 0; i < x_put_sources; ++i) {
      source_guard hold(*x_sources[i]);
      x_sources[i]->leave_queue();
    }
    x_put_sources = 0;
  }

  // A canceller has taken the goroutine out of its sleep, and the unwinder ends its scopes.
  static bool leave_unwinding(scope_base& scope, goroutine& g) noexcept {
    static_cast<select_core&>(scope).leave_queues(g);
    g.word.store(0, std::memory_order_relaxed);
    return false;
  }

  channel_slot* x_slots = nullptr;
  wait_source** x_sources = nullptr;
  std::uint32_t x_slot_count = 0;
  std::uint32_t x_source_count = 0;
  std::uint32_t x_put_slots = 0;
  std::uint32_t x_put_sources = 0;
  std::uint32_t x_channel_locks = 0;  // of otherwise
  std::uint32_t x_chosen = 0;
  bool x_asleep = false;
  bool x_hears_outside = false;
};

}  // namespace runnel::detail
