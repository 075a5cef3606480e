// SPDX-License-Identifier: BSL-1.0
// runnel/detail/steal.hpp: what a thief takes from a processor.
// Layer: L1
#pragma once

#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/processor.hpp>
#include <runnel/detail/sharing_loss.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace runnel::detail {

inline constexpr std::uint32_t steal_at_most = 64;
// Of goroutines that wait in the queue. Many come together: a cancellation, a close, a broadcast has woken them. By 64,
// each time with a system call during which the victim stands still, a hundred thousand took longer on two threads than
// on one. To walk along these while the gate is shut takes less than a pump's time.
inline constexpr std::size_t steal_at_most_waiting = 16'384;

// Takes the largest pieces of work: the oldest children, else the older half of the goroutines that have not begun,
// else the older half of the others. `stuck`: the victim has been in one resume for long, so that even what it would
// run next is worth taking. Returns one; the rest is the thief's now.
inline runnable_item steal_from(processor& victim, processor& thief, bool stuck) noexcept {
  sharing_loss theft;
  fifo goroutines;
  list_head fresh;
  list_link* children[steal_at_most];
  std::uint32_t fresh_count = 0, child_count = 0;
  victim.gate.enter_foreign();
  if (auto n = victim.child_count.load(std::memory_order_relaxed); n > 0) {
    child_count = std::clamp(n / 16, 1u, steal_at_most);
    for (std::uint32_t i = 0; i < child_count; ++i) children[i] = victim.pop_oldest_child();
  } else if (victim.fresh_count > 0) {
    fresh_count = std::min((victim.fresh_count + 1) / 2, steal_at_most);
    for (std::uint32_t i = 0; i < fresh_count; ++i) fresh.push_back(victim.pop_oldest_fresh());
  } else if (std::size_t waiting = victim.goroutines.size(); waiting > 0) {
    goroutines = victim.take_goroutines(std::min((waiting + 1) / 2, steal_at_most_waiting));
  } else if (fifo_link* next = stuck ? victim.clear_next() : nullptr) {
    goroutines.push(next);
  }
  victim.gate.leave_foreign();

  runnable_item first;
  if (child_count > 0) first.child = children[--child_count];
  if (fresh_count > 0) first.fresh = fresh.pop_front(), --fresh_count;
  if (!goroutines.empty()) first.goroutine = goroutines.pop();
  thief.gate.enter();
  for (std::uint32_t i = 0; i < child_count; ++i) thief.push_child(children[i]);
  thief.append_fresh(fresh, fresh_count);
  thief.append_goroutines(goroutines);
  thief.gate.leave();
  if (!first.child && thief.woken_at != 0) {  // it was woken for this
    add_sharing_loss(std::min(thief.sampled_at - thief.woken_at, longest_sharing_loss));
    thief.sampled_at = std::exchange(thief.woken_at, 0);
  }
  return first;
}

}  // namespace runnel::detail
