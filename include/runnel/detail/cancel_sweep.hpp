// SPDX-License-Identifier: BSL-1.0
// runnel/detail/cancel_sweep.hpp: what a walk of the cancellation tree keeps while it tells the members of a node.
// Layer: L2
#pragma once

#include <runnel/detail/asymmetric_fence.hpp>
#include <runnel/detail/goroutine.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/processor.hpp>

#include <cstdint>
#include <utility>

namespace runnel::detail {

class cancel_node;

// One hold of a node's lock, in which members are told one by one.
//
// Invariant: it holds at most one park_lock, that of whatever the last goroutine was parked on: those who wait for the
// same mostly stand one behind the other, and its lock is taken once for them all. While it holds one, nothing else is
// locked, no system call is made, and nothing but links and words of goroutines is touched.
class cancel_sweep {
 public:
  // `fenced`: the level for which the node has had its fence.
  cancel_sweep(wake_batch& w, std::uint8_t level, std::uint8_t& fenced) noexcept
      : wakes(w), x_fenced(fenced), x_level(level) {}
  cancel_sweep(const cancel_sweep&) = delete;
  cancel_sweep& operator=(const cancel_sweep&) = delete;
  ~cancel_sweep() { let_go(); }

  void hold(park_lock& q) noexcept {
    if (x_held == &q) return;
    let_go();
    x_biased = x_here && q.enter_biased(x_here);  // a walk does not take a bias away from whoever runs it, nor earn one
    if (!x_biased) (void)q.lock(nullptr);
    x_held = &q;
  }
  void let_go() noexcept {
    if (x_held) std::exchange(x_held, nullptr)->unlock(x_biased);
  }

  // Makes visible what anybody has stored before a light fence: one is enough for a node and a level, and who goes by a
  // light fence later sees the level. False: it has been made before.
  bool fence() noexcept {
    let_go();
    if (x_fenced >= x_level) return false;
    x_fenced = x_level;
    heavy_fence();
    return true;
  }

  wake_batch& wakes;  // whom it has taken out of their sleep

 private:
  processor* const x_here = this_processor();
  park_lock* x_held = nullptr;
  bool x_biased = false;
  std::uint8_t& x_fenced;
  const std::uint8_t x_level;
};

// Tells a goroutine that its current context is due. Defined with the waiter protocol (waiter.hpp).
bool interrupt(goroutine& g, const cancel_node& node, cancel_sweep& sweep) noexcept;

}  // namespace runnel::detail
