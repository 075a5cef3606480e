// SPDX-License-Identifier: BSL-1.0
// runnel/detail/owned_operation.hpp: an operation of foreign code that a goroutine waits for, and who may touch it.
// Layer: L3
#pragma once

#include <runnel/detail/calling_out.hpp>
#include <runnel/detail/cancel_node.hpp>
#include <runnel/detail/goroutine.hpp>
#include <runnel/detail/promise.hpp>

#include <atomic>
#include <cstdint>

namespace runnel::detail {

// What starts the operation, the steps that it takes, its completion and the request to cancel it are foreign code, and
// come from any thread. They exclude one another, and no lock is held over them: each runs in the hands of the *owner*,
// who is named by a bit of the goroutine's word.
//
//   W = operation + owned      somebody runs foreign code of it
//     + pending                somebody else has come meanwhile: the owner runs what that brought
//     + requested              a canceller has asked: the owner emits the request, once
//
//   begin     W = operation + owned; the goroutine's context is done: W = 0, and it has not begun
//   arrive    owned: sets pending, and the owner sees to it; else takes owned
//   leave     pending: clears it and runs that; requested and not emitted: emits; else clears owned, the last touch
//   interrupt (waiter.hpp) sets requested; if nobody owned sets owned, and emits when it has left its locks, before it
//             runs what is pending
//
// Invariants:
//   1. Everything here but W is touched by the owner, or by the one handler that is outstanding, before it arrives.
//   2. The goroutine goes on when the operation is over and not before, so its frames outlive whatever refers to them;
//      a request never takes it out. It is stopped only if the operation was aborted because of a request: a result
//      that came in spite of it is delivered.
//   3. Who owns it when it is over sets W = 0 and schedules the goroutine, its last touch.
class owned_operation : public cancel_hook {
 public:
  owned_operation& operator=(const owned_operation&) = delete;

  // By who brings something. True: the caller is the owner now. False: the owner has been told, or nothing is left.
  bool arrive() noexcept {
    auto seen = word().load(std::memory_order_relaxed);
    for (;;) {
      bool owned = seen & word::owned;
      // [arrive] release: what was brought, before the owner's leave(); acquire: after the last owner's
      if (word().compare_exchange_weak(seen, seen | (owned ? word::pending : word::owned), std::memory_order_acq_rel,
                                       std::memory_order_relaxed))
        return !owned;
    }
  }
  // The same for who would rather wait. False: somebody owns it.
  bool try_own() noexcept {
    auto seen = word().load(std::memory_order_relaxed);
    return !(seen & word::owned) &&
           word().compare_exchange_strong(seen, seen | word::owned, std::memory_order_acq_rel,
                                          std::memory_order_relaxed);
  }
  // By the owner, who owns it no longer. True: it is over, and the goroutine is the caller's alone.
  bool leave() noexcept {
    auto seen = word().load(std::memory_order_acquire);
    for (;;) {
      if (seen & word::pending) {
        word().fetch_and(~word::pending, std::memory_order_acq_rel);  // after [arrive]
        if (run_pending()) return true;
      } else if ((seen & word::requested) && !x_emitted) {
        x_emitted = true;
        if (!emit()) return false;
      } else if (word().compare_exchange_weak(seen, seen & ~word::owned, std::memory_order_acq_rel,
                                              std::memory_order_acquire)) {
        return false;
      } else {
        continue;
      }
      seen = word().load(std::memory_order_acquire);
    }
  }
  // By the owner: leaves, and lets the goroutine go on if the operation is over. `in_handler`: nothing of it is on the
  // stack any more, so that whatever is runnable may run here.
  void settle(bool in_handler) noexcept {
    if (leave()) go_on(in_handler);
  }

 protected:
  owned_operation() noexcept = default;
  owned_operation(owned_operation&&) noexcept : cancel_hook() {}  // of what has not begun
  ~owned_operation() = default;

  // Runs what has arrived. True: the operation is over.
  virtual bool run_pending() noexcept = 0;
  // Asks the operation to end. False: somebody else will, and owns it from now on.
  virtual bool emit() noexcept = 0;
  // Of what is over: the goroutine goes on. The last touch.
  virtual void go_on(bool in_handler) noexcept = 0;

  // By the goroutine, which becomes the owner. False: its context is done.
  bool begin(goroutine& g, promise_base* leaf) noexcept {
    x_goroutine = &g;
    fire = [](cancel_hook& self, wake_batch&) noexcept { static_cast<owned_operation&>(self).interrupted(); };
    g.set_leaf(leaf);
    g.set_node(this);
    publish(g.word, word::operation | word::owned | g.tagged_generation());  // as park_on() does
    if (!g.context.load(std::memory_order_relaxed)->due()) return true;
    end();
    return false;
  }
  // By the owner: W = 0, and the goroutine is the caller's.
  void end() noexcept {
    x_goroutine->word.store(0, std::memory_order_relaxed);  // relaxed: it travels with the goroutine from here on
  }
  bool requested() const noexcept { return x_goroutine->word.load(std::memory_order_relaxed) & word::requested; }
  goroutine& waiting() const noexcept { return *x_goroutine; }

 private:
  // By a canceller that owns it now, on whatever thread. It emits before all else: where that is an errand to where the
  // operation runs, the steps that have arrived meanwhile are to run there, too.
  void interrupted() noexcept {
    calling_out now;
    x_emitted = true;
    if (emit()) settle(false);
  }
  std::atomic<std::uint64_t>& word() const noexcept { return x_goroutine->word; }

  goroutine* x_goroutine = nullptr;
  bool x_emitted = false;
};

}  // namespace runnel::detail
