// SPDX-License-Identifier: BSL-1.0
// runnel/detail/rescue_monitor.hpp: finds work that is stuck behind a goroutine that runs long.
// Layer: L1
#pragma once

#include <runnel/detail/cost_model.hpp>
#include <runnel/detail/processor.hpp>
#include <runnel/detail/processor_set.hpp>
#include <runnel/detail/steal.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <utility>

namespace runnel::detail {

// Looks at the processors every so often, by the host's timer; only while one processor is busy and another idle.
//
// Invariant: while one processor is idle and another is not, the monitor is armed.
//
//   x_armed   true while a call of look() is on its way, or runs; set by who arms it
class rescue_monitor : public processor_set {
 protected:
  using processor_set::processor_set;

  void ensure_monitor() noexcept {
    if (x_concurrency == 1 || x_armed.load(std::memory_order_seq_cst)) return;  // after the idle bits, as look()
    if (x_armed.exchange(true, std::memory_order_seq_cst)) return;
    x_interval = shortest_interval;
    x_host.arm_monitor(shortest_interval);
  }

  // Called by the host's timer. Returns a processor that was idle and has work now: it is the caller's to pump.
  processor* look() noexcept {
    if (all_idle()) {
      x_armed.store(false, std::memory_order_seq_cst);
      if (!all_idle()) ensure_monitor();
      return nullptr;
    }
    processor* rescuer = rescue();
    x_interval = rescuer ? shortest_interval : std::min(x_interval * 3 / 2, longest_interval);
    x_host.arm_monitor(x_interval);
    return rescuer;
  }

  cost_model x_cost;

 private:
  static constexpr std::int64_t shortest_interval = 500'000;  // ns
  static constexpr std::int64_t longest_interval = 10'000'000;

  // Finds a processor that is stuck with work behind it, and moves some of it to an idle one.
  processor* rescue() noexcept {
    std::int64_t at = now();
    for (auto& victim : x_processors) {
      auto progress = victim.progress.load(std::memory_order_relaxed);
      auto resumes = progress - std::exchange(victim.seen_progress, progress);
      auto elapsed = at - std::exchange(victim.seen_at, at);
      if (is_idle(victim) || !x_cost.is_coarse(elapsed / (resumes + 1))) continue;
      processor* rescuer = take_idle();
      if (!rescuer) return nullptr;
      if (rescuer == &victim) {
        become_idle(*rescuer, false);
        continue;
      }
      if (runnable_item rescued = steal_from(victim, *rescuer, true)) {
        rescuer->gate.enter();
        rescuer->put_back(rescued);
        rescuer->gate.leave();
        return rescuer;
      }
      become_idle(*rescuer, false);
    }
    return nullptr;
  }

  std::atomic<bool> x_armed{false};
  std::int64_t x_interval = shortest_interval;  // look()'s alone: one call is on its way at a time
};

}  // namespace runnel::detail
