// SPDX-License-Identifier: BSL-1.0
// runnel/time_point.hpp: points on the monotonic clock as nanoseconds, which saturate and never wrap.
// Layer: L0
#pragma once

#include <chrono>
#include <cstdint>

namespace runnel::detail {

inline constexpr std::int64_t end_of_time = INT64_MAX;  // never

// A duration of any unit in nanoseconds, saturated. Rounded up: a wait never ends early.
template <class Rep, class Period>
constexpr std::int64_t to_ns(std::chrono::duration<Rep, Period> d) noexcept {
  using seconds = std::chrono::duration<double>;
  auto approximate = std::chrono::duration_cast<seconds>(d).count();
  if (!(approximate < 9.2e9)) return end_of_time;  // and a NaN waits for ever
  if (approximate < -9.2e9) return -end_of_time;
  return std::chrono::ceil<std::chrono::nanoseconds>(d).count();
}
inline std::int64_t to_ns(std::chrono::steady_clock::time_point at) noexcept {
  return to_ns(at.time_since_epoch());
}
inline std::chrono::steady_clock::time_point from_ns(std::int64_t at) noexcept {
  return std::chrono::steady_clock::time_point(
      std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::nanoseconds(at)));
}

constexpr std::int64_t saturating_add(std::int64_t at, std::int64_t ns) noexcept {
  std::int64_t sum = 0;
  if (!__builtin_add_overflow(at, ns, &sum)) return sum;
  return ns > 0 ? end_of_time : -end_of_time;
}

}  // namespace runnel::detail
