// SPDX-License-Identifier: BSL-1.0
// runnel/detail/sharing_loss.hpp: the time that a thread loses because its processor shares work with others.
// Layer: L0
#pragma once

#include <runnel/config.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <utility>

namespace runnel::detail {

RUNNEL_SHARED inline constinit thread_local std::int64_t t_sharing_loss = 0;  // ns, since it was last taken

// Never inlined, so that no compiler keeps the address of a thread-local across a suspension.
RUNNEL_NOINLINE inline void add_sharing_loss(std::int64_t ns) noexcept {
  asm volatile("" ::: "memory");
  t_sharing_loss += ns;
}
RUNNEL_NOINLINE inline bool any_sharing_loss() noexcept {
  asm volatile("" ::: "memory");
  return t_sharing_loss != 0;
}
RUNNEL_NOINLINE inline std::int64_t take_sharing_loss() noexcept {
  asm volatile("" ::: "memory");
  return std::exchange(t_sharing_loss, 0);
}

// One loss tells no more than this: what took longer was done by a thread that had no core.
inline constexpr std::int64_t longest_sharing_loss = 50'000;  // ns
// What a lock guards comes over from the cache of another core: an estimate, and the only one here.
inline constexpr std::int64_t loss_by_handoff = 250;  // ns

// From here to the end of the scope nothing is done but waiting for another, waking it, or stealing from it.
class sharing_loss {
 public:
  sharing_loss() noexcept : x_since(clock::now()) {}
  sharing_loss(const sharing_loss&) = delete;
  sharing_loss& operator=(const sharing_loss&) = delete;
  ~sharing_loss() {
    const std::chrono::nanoseconds passed = clock::now() - x_since;
    add_sharing_loss(std::min<std::int64_t>(passed.count(), longest_sharing_loss));
  }

 private:
  using clock = std::chrono::steady_clock;
  clock::time_point x_since;
};

}  // namespace runnel::detail
