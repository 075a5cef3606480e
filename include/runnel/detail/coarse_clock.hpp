// SPDX-License-Identifier: BSL-1.0
// runnel/detail/coarse_clock.hpp: whether some milliseconds have passed, for a third of what the time costs.
// Layer: L0
#pragma once

#include <cstdint>

#if defined(__linux__)
#include <time.h>
#endif

namespace runnel::detail {

// Whether the system's clock has ticked, as it does every 1 to 10 ms, since `at`, in ns of the steady clock. Yes, where
// nobody can tell.
inline bool has_ticked_since([[maybe_unused]] std::int64_t at) noexcept {
#if defined(CLOCK_MONOTONIC_COARSE)
  timespec tick;
  if (::clock_gettime(CLOCK_MONOTONIC_COARSE, &tick) == 0)
    return std::int64_t{tick.tv_sec} * 1'000'000'000 + tick.tv_nsec > at;
#endif
  return true;
}

}  // namespace runnel::detail
