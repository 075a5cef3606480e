// SPDX-License-Identifier: BSL-1.0
// runnel/detail/waiters.hpp: the queue of those who wait for something in user memory.
// Layer: L4
#pragma once

#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/processor.hpp>
#include <runnel/waiter.hpp>

#include <cstddef>

namespace runnel::detail {

// Under the lock: takes all of them out, in order.
inline void take_all(list_head& queue, woken_batch& out) noexcept {
  for (woken one; take(queue, one); one = {}) out.add(one);
}

// Under the lock.
inline std::size_t length_of(const list_head& queue) noexcept {
  std::size_t n = 0;
  for (const list_link* at = queue.end()->next; at != queue.end(); at = at->next) ++n;
  return n;
}
// How many wait, as a snapshot. `object` is what its queues are hashed by.
template <class Object, class... Queues>
std::size_t count_waiting(const Object& object, const Queues&... queues) noexcept {
  park_lock::guard hold(hashed_lock(&object), this_processor());
  return (length_of(queues) + ...);
}

}  // namespace runnel::detail
