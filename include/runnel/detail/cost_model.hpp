// SPDX-License-Identifier: BSL-1.0
// runnel/detail/cost_model.hpp: what is worth waking a thread for, and worth stealing, by the mean time of a resume.
// Layer: L1
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace runnel::detail {

// A stolen goroutine costs about as much as a hundred resumes of a small one, so work is shared by what it is worth:
// its number times the mean time of a resume. The mean moves on a logarithmic scale, so that one long item does not
// hide many short ones, nor the other way round.
//
// What is moved goes on working with what has stayed, now across processors: it takes longer, and so looks as if even
// more were worth moving. Stealing for 3 us of work, a goroutine that selects over eight buffered channels, and the
// eight who fill them, took up to a hundred times as long on two threads as on one, with a theft for each few resumes.
//
// Everything here is a hint: written by any pump's sample, read anywhere, relaxed.
class cost_model {
 public:
  bool coarse() const noexcept { return x_coarse.load(std::memory_order_relaxed); }
  bool worth_waking(std::uint32_t backlog) const noexcept {
    return backlog >= x_wake_at.load(std::memory_order_relaxed);
  }
  bool worth_stealing(std::uint32_t backlog) const noexcept {
    return backlog >= x_steal_at.load(std::memory_order_relaxed);
  }

  // `resumes` of them took this long.
  void sample(std::int64_t elapsed_ns, std::uint32_t resumes) noexcept {
    auto mean = static_cast<std::uint64_t>(std::max<std::int64_t>(elapsed_ns, 0)) / resumes;
    auto fresh = static_cast<std::int32_t>(std::bit_width(mean | 1)) * fraction;
    auto log = x_log_mean.load(std::memory_order_relaxed);
    log += (fresh - log) / 4;
    x_log_mean.store(log, std::memory_order_relaxed);
    auto ns = static_cast<std::uint32_t>(1u << std::clamp(log / fraction, 2, 30)) / 4 * 3;  // the middle of its octave
    bool is_coarse = ns > coarse_ns;
    store_if_changed(x_coarse, is_coarse);
    store_if_changed(x_wake_at, is_coarse ? 1u : share_ns / ns + 1);
    store_if_changed(x_steal_at, ns < never_ns ? ~0u : is_coarse ? 1u : share_ns / ns + 1);
  }

  static constexpr std::uint32_t coarse_ns = 10'000;  // a mean item this long: share everything

 private:
  static constexpr std::int32_t fraction = 256;       // of the logarithm
  static constexpr std::uint32_t share_ns = 30'000;   // a backlog this long wakes a thread, and may be stolen from
  static constexpr std::uint32_t never_ns = 100;      // items shorter than this are never worth moving

  template <class T>
  static void store_if_changed(std::atomic<T>& hint, T value) noexcept {
    if (hint.load(std::memory_order_relaxed) != value) hint.store(value, std::memory_order_relaxed);
  }

  std::atomic<std::uint32_t> x_wake_at{1};
  std::atomic<std::uint32_t> x_steal_at{1};
  std::atomic<std::int32_t> x_log_mean{15 * fraction};  // at first everything is taken for coarse
  std::atomic<bool> x_coarse{true};
};

}  // namespace runnel::detail
