// SPDX-License-Identifier: BSL-1.0
// runnel/detail/processor.hpp: a processor: run queues, and the right to run goroutines.
// Layer: L1
#pragma once

#include <runnel/config.hpp>
#include <runnel/detail/asymmetric_fence.hpp>
#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/sharing_loss.hpp>
#include <runnel/detail/spinlock.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace runnel::detail {

class scheduler_core;
class fork_join;

// The door to a processor's private queues. The thread that pumps the processor goes in and out with plain stores;
// a thief or a rescuer shuts it first, and pays for both.
//
// Invariants: at most one thread is inside. The owner never waits while it is inside, and does not nest.
//
//   x_inside  written by the owner only; read by a foreigner after heavy_fence()
//   x_door    shut: written by the foreigner that holds x_foreign; read by the owner after a light fence. Otherwise
//             open, or, where a light fence is not free, fenced: then the owner fences by itself
class owner_gate {
 public:
#if RUNNEL_HAS_MEMBARRIER
  void enter() noexcept {
    x_inside.store(true, std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);  // x_inside, then x_door, against enter_foreign()
    if (x_door.load(std::memory_order_acquire) != open) [[unlikely]]  // acquire: after leave_foreign()
      enter_fenced();
  }
  void leave() noexcept { x_inside.store(false, std::memory_order_release); }  // before [shut] in enter_foreign()

  void enter_foreign() noexcept {
    x_foreign.lock();
    x_door.store(shut, std::memory_order_relaxed);
    heavy_fence();
    while (x_inside.load(std::memory_order_acquire)) cpu_pause();  // [shut] acquire: after the owner's leave()
  }
  void leave_foreign() noexcept {
    x_door.store(not_shut(), std::memory_order_release);
    x_foreign.unlock();
  }

 private:
  static constexpr std::uint8_t open = 0, fenced = 1, shut = 2;
  static std::uint8_t not_shut() noexcept { return asymmetric_fences ? open : fenced; }

  void wait_outside() noexcept {
    sharing_loss wait;
    while (x_door.load(std::memory_order_acquire) == shut) cpu_pause();
  }
  RUNNEL_NOINLINE void enter_fenced() noexcept {
    for (light_fence(); x_door.load(std::memory_order_acquire) == shut; light_fence()) {
      x_inside.store(false, std::memory_order_release);
      wait_outside();
      x_inside.store(true, std::memory_order_relaxed);
    }
  }

  // Each in a word of its own: a load waits for what was stored to the same word last, even to another byte of it.
  alignas(8) std::atomic<bool> x_inside{false};
  alignas(8) std::atomic<std::uint8_t> x_door{not_shut()};
  spinlock x_foreign;
#else
  void enter() noexcept { x_lock.lock(); }
  void leave() noexcept { x_lock.unlock(); }
  void enter_foreign() noexcept { x_lock.lock(); }
  void leave_foreign() noexcept { x_lock.unlock(); }

 private:
  spinlock x_lock;
#endif
};

// What a pump can run. At most one is set.
struct runnable_item {
  fifo_link* goroutine = nullptr;
  list_link* child = nullptr;  // of a fork-join
  list_link* fresh = nullptr;  // a goroutine, too
  explicit operator bool() const noexcept { return goroutine || child || fresh; }
};

// Invariants:
//   1. Everything from `goroutines` to `gate`, and fresh_count, is touched by the thread that pumps this processor,
//      between gate.enter() and leave(), or by a foreigner between enter_foreign() and leave_foreign().
//   2. At most one pump per processor is posted or running; which thread that is may change between pumps.
//   3. A goroutine is in at most one queue; a fork-join child likewise.
//
//   run_next   null | a goroutine   set by the pumping thread alone, where it is null; cleared at the gate, by a
//              foreigner where it is not null. So nobody writes it once the pumping thread has seen null, and to set it
//              takes no gate
//   child_count, backlog   the lengths of children, and of goroutines and fresh: written at the gate; read anywhere, as
//              hints only
//   reserve    written by the pumping thread (release, after what a goroutine did that has ended); read anywhere
//   posted     how the pump was posted; taken by whoever runs it
//   progress   written by the pumping thread, one more for each resume; read by the monitor, as a hint only
//   visitors   how often somebody has come to scheduler_core::run_here() with it, who holds nothing that keeps the
//              scheduler alive: written by who has the processor, read when nothing lives
//   visitors_gone   how often one has left; read when nothing lives
struct alignas(cache_line * 2) processor : bias_owner {
  std::atomic<fifo_link*> run_next{nullptr};  // woken by what runs now: goes first, so a ping-pong stays on one core
  fifo goroutines;                // oldest first
  list_head fresh;                // goroutines that have not begun, and came when `window` others were waiting
  list_head children;             // fork-join children: the owner takes the newest, a thief the oldest
  owner_gate gate;
  std::atomic<std::uint32_t> child_count{0};
  std::atomic<std::uint32_t> backlog{0};
  std::uint32_t fresh_count = 0;
  bool oldest_is_due = false;        // the oldest of fresh comes next
  bool injected_went_first = false;  // in the last pump
  static constexpr std::uint32_t window = 256;

  // What the runtime has counted as alive ahead of time, so that who starts and ends here need not touch its counter.
  std::atomic<std::uint32_t> reserve{0};
  std::uint32_t transfers = 0;    // fork-join children entered by symmetric transfer since the pump last ran
  fork_join* unsettled = nullptr; // the innermost join of which children have ended here, and were not counted yet
  std::atomic<std::uint32_t> progress{0};
  std::uintptr_t current = 0;     // what runs: a goroutine, or a fork-join child with bit 0 set (detail/goroutine.hpp)
  scheduler_core* core = nullptr;
  std::uint64_t random = 0;
  std::int64_t sampled_at = 0;    // ns; when the cost model was last told of
  std::int64_t oldest_at = 0;     // ns; when the oldest of fresh last was due
  std::int64_t woken_at = 0;      // ns; 0: its pump was not posted to search, or has found something
  std::int64_t debt = 0;          // ns; what it has lost by sharing beyond half of its time (cost_model)
  std::uint32_t sampled_progress = 0;
  std::uint32_t looked_outside_at = 1u << 31;  // in progress, at last: for what was injected. Long ago
  static constexpr std::uint32_t frequent_samples = 32, rare_samples = 64, rarest_samples = 256;
  std::uint32_t sample_interval = frequent_samples;  // resumes
  bool unwinding = false;
  bool shares_next = true;        // who is woken goes into the queue instead of run_next
  unsigned index = 0;

  alignas(cache_line) std::uint32_t seen_progress = 0;  // the monitor's
  std::int64_t seen_at = 0;
  std::uint32_t visitors = 0;
  std::atomic<std::uint32_t> visitors_gone{0};
  static constexpr std::uint8_t not_posted = 0, posted_again = 1, posted_to_search = 2;
  std::atomic<std::uint8_t> posted{not_posted};

  // Takes run_next, by the thread that pumps.
  fifo_link* take_next() noexcept {
    gate.enter();
    fifo_link* g = run_next.load(std::memory_order_relaxed);
    run_next.store(nullptr, std::memory_order_relaxed);
    gate.leave();
    return g;
  }
  // Sets run_next, by the thread that pumps. False if it is set.
  bool set_next(fifo_link* g) noexcept {
    if (run_next.load(std::memory_order_relaxed)) [[unlikely]] return false;
    run_next.store(g, std::memory_order_release);  // before acquire in clear_next(), of another thread
    return true;
  }

  // At the gate.
  fifo_link* clear_next() noexcept {
    fifo_link* g = run_next.load(std::memory_order_acquire);
    if (g) run_next.store(nullptr, std::memory_order_relaxed);  // else it may be set between the two
    return g;
  }
  bool has_goroutines() const noexcept { return !goroutines.empty() || fresh_count != 0; }
  void push_goroutine(fifo_link* g) noexcept {
    goroutines.push(g);
    count_backlog();
  }
  void append_goroutines(fifo& chain) noexcept {
    goroutines.append(chain);
    count_backlog();
  }
  fifo_link* pop_goroutine() noexcept {
    fifo_link* g = goroutines.pop();
    count_backlog();
    return g;
  }
  fifo take_goroutines(std::size_t n) noexcept {  // the oldest
    fifo taken = goroutines.take_front(n);
    count_backlog();
    return taken;
  }
  void push_fresh(list_link* g) noexcept {
    fresh.push_back(g);
    count_fresh(fresh_count + 1);
  }
  list_link* pop_newest_fresh() noexcept {
    list_link* g = fresh.back();
    if (!g) return nullptr;
    fresh.drop_back();
    count_fresh(fresh_count - 1);
    return g;
  }
  list_link* pop_oldest_fresh() noexcept {
    list_link* g = fresh.front();
    if (!g) return nullptr;
    fresh.drop_front();
    count_fresh(fresh_count - 1);
    return g;
  }
  void append_fresh(list_head& others, std::uint32_t n) noexcept {
    fresh.splice_back(others);
    count_fresh(fresh_count + n);
  }
  void put_back(const runnable_item& item) noexcept {
    if (item.goroutine) push_goroutine(item.goroutine);
    if (item.child) push_child(item.child);
    if (item.fresh) push_fresh(item.fresh);
  }
  void push_child(list_link* child) noexcept {
    children.push_back(child);
    count_children(1);
  }
  void count_children(std::uint32_t n) noexcept {  // that were pushed
    child_count.store(child_count.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  list_link* pop_newest_child() noexcept {
    list_link* child = children.back();
    if (child) drop_newest_child();
    return child;
  }
  void drop_newest_child() noexcept {
    children.drop_back();
    child_count.store(child_count.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
  }
  list_link* pop_oldest_child() noexcept {
    list_link* child = children.front();
    if (!child) return nullptr;
    children.drop_front();
    child_count.store(child_count.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
    return child;
  }

  std::uint64_t next_random() noexcept {  // xorshift64*
    random ^= random >> 12;
    random ^= random << 25;
    random ^= random >> 27;
    return random * 0x2545F4914F6CDD1Dull;
  }

 private:
  void count_fresh(std::uint32_t n) noexcept {
    fresh_count = n;
    count_backlog();
  }
  void count_backlog() noexcept {
    backlog.store(static_cast<std::uint32_t>(goroutines.size()) + fresh_count, std::memory_order_relaxed);
  }
};

RUNNEL_SHARED inline constinit thread_local processor* t_processor = nullptr;

// Never inlined, so that no compiler keeps the address of a thread-local across a suspension.
RUNNEL_NOINLINE inline processor* this_processor() noexcept {
  asm volatile("" ::: "memory");
  return t_processor;
}
RUNNEL_NOINLINE inline void set_this_processor(processor* p) noexcept {
  asm volatile("" ::: "memory");
  t_processor = p;
}

}  // namespace runnel::detail
