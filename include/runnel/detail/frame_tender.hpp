// SPDX-License-Identifier: BSL-1.0
// runnel/detail/frame_tender.hpp: gives the memory back that a burst of goroutines has left, while all are idle.
// Layer: L1
#pragma once

#include <runnel/detail/frame_pool.hpp>
#include <runnel/detail/frame_slab.hpp>
#include <runnel/detail/processor_set.hpp>

#include <atomic>
#include <cstdint>

namespace runnel::detail {

// It has a timer of its own, ten times a second: the monitor, which must be there at once when work comes, would have
// to be called back from such a wait.
//
//   x_state   whether a call of tend() is on its way, and whether work has ended since that was armed. Written by
//             whoever ends a pump, and by tend(). relaxed but for [rest] and [arm]: nothing but the arming depends
//             on it
class frame_tender {
 public:
  // A processor has run dry.
  void pump_ends(pump_host& host) noexcept {
    if (the_frame_depot.store.has_surplus()) [[unlikely]] arm(host);
  }

  // One look. A slab goes when two looks have found it spare; after a few without anything to give, it rests.
  void tend(pump_host& host, bool idle) noexcept {
    if (x_state.exchange(state::armed, std::memory_order_relaxed) == state::asked_again) x_looks = 0;
    bool more = idle && the_frame_depot.store.has_surplus() && (frame_pool_tend() || ++x_looks < longest_wait);
    if (!more) x_looks = 0;
    auto unasked = state::armed;
    // [rest] release: x_looks, before the call of tend() that [arm] leads to
    if (more || !x_state.compare_exchange_strong(unasked, state::rests, std::memory_order_release))
      host.arm_tender(frame_slab_store::interval);
  }

 private:
  enum class state : std::uint8_t { rests, armed, asked_again };
  static constexpr int longest_wait = 4;

  void arm(pump_host& host) noexcept {
    auto seen = x_state.load(std::memory_order_relaxed);
    while (seen != state::asked_again) {
      auto next = seen == state::rests ? state::armed : state::asked_again;
      // [arm] acquire: after [rest]
      if (!x_state.compare_exchange_weak(seen, next, std::memory_order_acquire, std::memory_order_relaxed)) continue;
      if (next == state::armed) host.arm_tender(frame_slab_store::interval);
      return;
    }
  }

  std::atomic<state> x_state{state::rests};
  int x_looks = 0;  // tend()'s alone: one call is on its way at a time
};

}  // namespace runnel::detail
