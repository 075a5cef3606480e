// SPDX-License-Identifier: BSL-1.0
// runnel/detail/random.hpp: random numbers for jitter, from the processor's generator.
// Layer: L1
#pragma once

#include <runnel/config.hpp>
#include <runnel/detail/processor.hpp>

#include <atomic>
#include <cstdint>

namespace runnel::detail {

// From 0 to below 1. On a thread that runs goroutines it is drawn from its processor's generator, so that one seed
// decides everything that is random there (GEN-19).
RUNNEL_SHARED inline double random_unit() noexcept {
  std::uint64_t bits;
  if (processor* here = this_processor()) {
    bits = here->next_random();
  } else {
    static std::atomic<std::uint64_t> outside{0x9E3779B97F4A7C15ull};  // splitmix64; relaxed: any order will do
    bits = outside.fetch_add(0x9E3779B97F4A7C15ull, std::memory_order_relaxed);
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9ull;
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EBull;
    bits ^= bits >> 31;
  }
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

}  // namespace runnel::detail
