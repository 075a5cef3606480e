// SPDX-License-Identifier: BSL-1.0
// support/channel_waiters.hpp: who waits at a channel, so that a test can wait for them instead of for time to pass.
#pragma once

#include <runnel/chan.hpp>
#include <runnel/detail/chan_core.hpp>
#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/park_lock.hpp>

#include <cstddef>
#include <cstring>

namespace runnel_test {

/// What a handle refers to; null for the nil channel.
template <class T>
runnel::detail::chan_core* core_of(const runnel::chan<T>& ch) {
  static_assert(sizeof(ch) == sizeof(void*), "a handle is one pointer");
  runnel::detail::chan_core* core = nullptr;
  std::memcpy(&core, &ch, sizeof core);
  return core;
}

/// How many are in a queue that this lock guards.
inline std::size_t count_waiters(runnel::detail::park_lock& lock, runnel::detail::list_head& queue) {
  runnel::detail::park_lock::guard hold(lock, nullptr);
  std::size_t n = 0;
  for (const runnel::detail::list_link* at = queue.first(); at != queue.end(); at = at->next) ++n;
  return n;
}

template <class T>
std::size_t waiting_receivers(const runnel::chan<T>& ch) {
  return count_waiters(core_of(ch)->lock(), core_of(ch)->receivers);
}
template <class T>
std::size_t waiting_senders(const runnel::chan<T>& ch) {
  return count_waiters(core_of(ch)->lock(), core_of(ch)->senders);
}
/// Over all nil channels.
inline std::size_t waiting_on_nil() {
  return count_waiters(runnel::detail::nil_channel::lock, runnel::detail::nil_channel::waiters);
}

}  // namespace runnel_test
