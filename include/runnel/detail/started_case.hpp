// SPDX-License-Identifier: BSL-1.0
// runnel/detail/started_case.hpp: an operation of foreign code as a case of a select, which starts it and ends it.
// Layer: L6
#pragma once

#include <runnel/detail/goroutine.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/processor.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/detail/wait_source.hpp>
#include <runnel/waiter.hpp>

#include <atomic>
#include <cstdint>
#include <utility>

namespace runnel::detail {

class started_case;

// The operations of one select, or of one select_loop. It lies in the frame that selects, and is a scope of the
// goroutine from the first round on: neither the frame nor what lies below it dies before all operations have ended.
//
// Invariants:
//   1. x_left counts the operations that are out, and one more for the goroutine until it waits for them. Who brings
//      it to zero lets the goroutine go on; then nobody but the goroutine touches any of this.
//   2. Everything else is the goroutine's alone, or its unwinder's.
//
//   x_left   counted up by the goroutine, down by any thread (acq_rel: what the operation did, before the end returns)
class started_cases : private scope_base {
 public:
  started_cases() noexcept = default;
  started_cases(const started_cases&) = delete;
  started_cases& operator=(const started_cases&) = delete;
  ~started_cases() = default;

  void add(started_case& c) noexcept;
  void open(goroutine& g) noexcept {
    if (scope_base::opener) return;
    scope_base::opener = &g;
    scope_base::set_outer(g.scopes);
    scope_base::holds_operations = true;
    scope_base::begin_unwind_join = &end_while_unwinding;
    g.scopes = this;
  }
  void count_up() noexcept { x_left.fetch_add(1, std::memory_order_relaxed); }  // relaxed: ours is counted already
  // The goroutine that is to go on, or null.
  goroutine* count_down() noexcept {
    goroutine* g = scope_base::opener;  // read before: this may be gone afterwards
    return x_left.fetch_sub(1, std::memory_order_acq_rel) == 1 ? g : nullptr;
  }

  // co_await cases.end(): asks those that are out to end, and waits until they have; nothing interrupts that. Where no
  // round has begun, for want of memory, nothing is out.
  class end_operation : public awaitable_base {
   public:
    explicit end_operation(started_cases& cases) noexcept : x_cases(cases) {}
    bool suspend(promise_base* leaf) noexcept { return x_cases.opener && x_cases.begin_end(leaf); }
    void resume() noexcept {
      x_cases.close();
      x_cases.give_back();
    }

   private:
    started_cases& x_cases;
  };
  end_operation end() noexcept { return end_operation(*this); }

 private:
  // True: whoever comes last lets the goroutine go on, at `leaf`.
  bool begin_end(promise_base* leaf) noexcept;
  void give_back() noexcept;
  // Handlers of a loop may have left scopes of tasks inside of this one.
  void close() noexcept {
    if (!scope_base::opener) return;
    for (scope_base** at = &scope_base::opener->scopes; *at; at = &(*at)->outer)
      if (*at == this) {
        *at = scope_base::outer;
        break;
      }
  }
  static bool end_while_unwinding(scope_base& scope, goroutine& g) noexcept {
    auto& self = static_cast<started_cases&>(scope);
    if (!self.x_ends && self.begin_end(g.leaf())) return true;
    self.close();
    return false;
  }

  started_case* x_first = nullptr;
  std::atomic<std::uint32_t> x_left{1};
  bool x_ends = false;
};

// One of them. Foreign code of it (initiation, a request to end) runs with no lock held: in join_queue(), when all
// else that the select waits for is registered, and in ask().
//
//   idle   it is not out, and there is no result: the next wait starts it
//   out    it has been started, and refers to this
//   kept   it has ended, and its result is there until a select, or a plain await, takes it
//
//   join_queue   idle -> out, and starts it; kept: there is no need to wait
//   the end      out -> kept; or idle, if it was aborted because a request asked for that. What is kept claims the
//                select, if that is listed
//   value        kept -> idle
//
// Invariants:
//   1. x_references counts those that touch this on their own: who starts it, its handler, who asks it to end. The last
//      one ends it; before that nobody takes the result or starts it anew.
//   2. A waiter is claimed under the lock, and only while it is listed.
//   3. Whether it is asked to end, and whether there is something to ask yet, meet in x_phase: who starts it asks for
//      the goroutine if that came first.
//
//   x_state        written by the goroutine while nothing is out, and by the last reference, under the lock (release:
//                  the result); read by the goroutine (acquire)
//   x_references   set when it is started; counted down by all, up by the goroutine unless it is zero
//   x_phase        starting; begun, by who has started it; or asked for good, by the goroutine while it was starting
//   x_requested    written by the goroutine while it has a reference, read by the last reference
class started_case : public wait_source {
 public:
  static constexpr bool is_started = true;
  static constexpr bool is_lasting = true;  // in a select_loop

  started_case(const started_case&) = delete;
  started_case& operator=(const started_case&) = delete;

  void enter(goroutine& me) noexcept final { x_cases.open(me); }
  bool looks_ready(goroutine&) noexcept final { return x_state.load(std::memory_order_acquire) == state_t::kept; }
  bool ready(goroutine& me) noexcept final { return looks_ready(me); }
  void take(goroutine&) noexcept final { outcome = outcome_t::done; }
  listed_t join_queue(goroutine& me) noexcept final {
    {
      park_lock::guard hold(hashed_lock(this), me.proc);
      auto state = x_state.load(std::memory_order_relaxed);
      if (state == state_t::kept) return {.listed = false};
      x_listed = true;
      if (state == state_t::out) return {};
      x_state.store(state_t::out, std::memory_order_relaxed);  // nobody else knows of it yet
    }
    x_requested = x_abandoned = false;
    x_phase.store(phase_t::starting, std::memory_order_relaxed);
    x_references.store(2, std::memory_order_relaxed);  // who starts it, and the handler
    x_cases.count_up();
    start(me);
    return {};
  }
  void leave_queue() noexcept final {
    park_lock::guard hold(hashed_lock(this), nullptr);
    x_listed = false;
  }

  // By the goroutine, which waits for it no longer.
  void ask() noexcept {
    if (x_state.load(std::memory_order_acquire) != state_t::out) return;
    auto phase = phase_t::starting;
    // [asked] before begun() takes it up; acquire: what who has started it did
    if (x_phase.compare_exchange_strong(phase, phase_t::asked, std::memory_order_acq_rel, std::memory_order_acquire))
      return;
    auto seen = x_references.load(std::memory_order_relaxed);
    do {
      if (seen == 0) return;  // it is over, or will be at once
    } while (!x_references.compare_exchange_weak(seen, seen + 1, std::memory_order_acq_rel, std::memory_order_relaxed));
    x_requested = true;
    emit();
  }
  // Whether its handler was destroyed: the goroutine is to be unwound. Of what was taken.
  bool abandoned() const noexcept { return x_abandoned; }

 protected:
  explicit started_case(started_cases& cases) noexcept : x_cases(cases) { cases.add(*this); }
  ~started_case() = default;

  // Starts it, here or elsewhere; that calls begun() when it has done so, and the handler calls let_go().
  virtual void start(goroutine& me) noexcept = 0;
  // Asks it to end, here or elsewhere, and calls let_go().
  virtual void emit() noexcept = 0;
  // It has ended; nobody else touches it. False: it is as new.
  virtual bool keeps_result(bool requested) noexcept = 0;
  // The select, or the loop, has ended, and a handler of it may make the operation a case of another one. What was
  // taken has yet to be read.
  virtual void give_back() noexcept = 0;

  // By who has started it. `ask_here` asks it to end.
  template <class F> goroutine* begun(F ask_here) noexcept {
    auto phase = phase_t::starting;
    // After [asked], which stays: whoever ends the operation has to know of it.
    if (!x_phase.compare_exchange_strong(phase, phase_t::begun, std::memory_order_acq_rel, std::memory_order_acquire))
      ask_here();
    return let_go();
  }
  // Ends one of the references: the last touch. The goroutine that is to go on, or null.
  [[nodiscard]] goroutine* let_go() noexcept {
    if (x_references.fetch_sub(1, std::memory_order_acq_rel) != 1) return nullptr;
    started_cases& cases = x_cases;
    const bool kept = keeps_result(x_requested || x_phase.load(std::memory_order_relaxed) == phase_t::asked);
    woken selects;
    {
      park_lock::guard hold(hashed_lock(this), this_processor());
      x_state.store(kept ? state_t::kept : state_t::idle, std::memory_order_release);
      if (kept && std::exchange(x_listed, false)) claim(*this, selects);
    }
    goroutine* ends = cases.count_down();  // null for who is claimed here: it has not gone on, and is counted
    return selects.g ? selects.g : ends;
  }

  void has_result() noexcept { x_state.store(state_t::kept, std::memory_order_relaxed); }  // before the first round
  void set_as_new() noexcept { x_state.store(state_t::idle, std::memory_order_relaxed); }  // its result was taken

  bool x_abandoned = false;

 private:
  friend class started_cases;
  enum class state_t : std::uint8_t { idle, out, kept };
  enum class phase_t : std::uint8_t { starting, begun, asked };

  started_cases& x_cases;
  started_case* x_next = nullptr;
  std::atomic<std::uint32_t> x_references{0};
  std::atomic<state_t> x_state{state_t::idle};
  std::atomic<phase_t> x_phase{phase_t::starting};
  bool x_listed = false;  // guarded by the lock
  bool x_requested = false;
};

inline void started_cases::add(started_case& c) noexcept { c.x_next = std::exchange(x_first, &c); }
inline bool started_cases::begin_end(promise_base* leaf) noexcept {
  for (started_case* c = x_first; c; c = c->x_next) c->ask();
  x_ends = true;
  scope_base::opener->set_leaf(leaf);
  return x_left.fetch_sub(1, std::memory_order_acq_rel) != 1;
}

inline void started_cases::give_back() noexcept {
  for (started_case* c = x_first; c; c = c->x_next) c->give_back();
}

// An operation that a select starts names what it is as a case.
template <class Op>
concept started_operation = requires { typename Op::case_type; };

}  // namespace runnel::detail
