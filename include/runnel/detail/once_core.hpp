// SPDX-License-Identifier: BSL-1.0
// runnel/detail/once_core.hpp: who runs what is done once, and who waits for it.
// Layer: L4
#pragma once

#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/processor.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/detail/waiters.hpp>
#include <runnel/error.hpp>
#include <runnel/task.hpp>
#include <runnel/waiter.hpp>

#include <atomic>
#include <coroutine>
#include <cstddef>

namespace runnel::detail {

// Invariants:
//   1. The state goes from idle to running to done, under the hashed lock; never back.
//   2. Who finishes takes the waiters out there; the store of done is its last touch.
class once_core {
 public:
  constexpr once_core() noexcept = default;
  once_core(const once_core&) = delete;
  once_core& operator=(const once_core&) = delete;
  ~once_core() {
    if (x_state.load(std::memory_order_relaxed) == running)
      fatal("a once was destroyed while its function was running");
  }

  bool done() const noexcept { return x_state.load(std::memory_order_acquire) == finished; }
  std::size_t waiting() const noexcept { return count_waiting(*this, x_waiters); }
  bool is_idle() const noexcept { return x_state.load(std::memory_order_relaxed) == idle; }

  // Whether it is g that runs it.
  bool begin(goroutine& g) noexcept {
    park_lock::guard hold(hashed_lock(this), g.proc);
    if (!is_idle()) return false;
    x_state.store(running, std::memory_order_relaxed);
    x_runner = &g;
    return true;
  }
  // Once it has begun.
  enum class wait_t : unsigned char { done, parked, stopped };
  wait_t wait(goroutine& g, promise_base* leaf, waiter& w) {
    park_lock& q = hashed_lock(this);
    park_lock::guard hold(q, g.proc);
    if (done()) return wait_t::done;
    if (x_runner == &g) throw misuse_error("runnel: a once is called by its own function, which would wait for itself");
    return park(g, leaf, q, w, x_waiters) ? wait_t::parked : wait_t::stopped;
  }
  // However it has ended.
  void finish() noexcept {
    woken_batch all;
    {
      park_lock::guard hold(hashed_lock(this), this_processor());
      take_all(x_waiters, all);
      x_state.store(finished, std::memory_order_release);
    }
    all.fire();
  }
  struct finisher {
    once_core& core;
    ~finisher() { core.finish(); }
  };

 private:
  static constexpr unsigned char idle = 0, running = 1, finished = 2;
  std::atomic<unsigned char> x_state{idle};
  goroutine* x_runner = nullptr;  // guarded by the hashed lock
  list_head x_waiters;
};

// Runs the task that Self::make() makes, if nobody has begun yet; else waits until it has ended.
template <class Self> class once_operation : public awaitable_base, private task_link<void> {
 public:
  std::coroutine_handle<> suspend(promise_base* leaf) {
    goroutine& g = goroutine_of(leaf);
    if (!enter_operation(g)) return stop_here(g, leaf), std::noop_coroutine();
    if (x_core.is_idle()) {
      task<> run = static_cast<Self&>(*this).make();  // which may fail, so nothing has begun
      if (x_core.begin(g)) return start(g, leaf, run.release());
    }
    if (!x_core.done()) {
      auto waits = x_core.wait(g, leaf, x_waiter);
      if (waits == once_core::wait_t::parked) return std::noop_coroutine();  // and this may be gone
      if (waits == once_core::wait_t::stopped) return stop_here(g, leaf), std::noop_coroutine();
    }
    return spend_budget(g, leaf) ? std::noop_coroutine() : transfer_to(leaf);
  }

 protected:
  explicit once_operation(once_core& core) noexcept : x_core(core) {}
  once_operation(once_operation&& other) noexcept : x_core(other.x_core) {}  // of what has not begun
  once_operation& operator=(const once_operation&) = delete;
  ~once_operation() = default;

  once_core& core() noexcept { return x_core; }
  // What the task has thrown, if it was run here.
  void rethrow() { result.take(); }

 private:
  std::coroutine_handle<> start(goroutine& g, promise_base* leaf, promise_base* frame) noexcept {
    link::parent = leaf;
    frame->cont = this;
    frame->g = &g;
    return transfer_to(frame);
  }
  once_core& x_core;
  waiter x_waiter;
};

}  // namespace runnel::detail
