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

// What a processor has done. Times in ns.
struct work_sample {
  std::int64_t until = 0;
  std::int64_t elapsed = 0;
  std::int64_t lost = 0;  // of these: by sharing with others, see sharing_loss.hpp
  std::uint32_t resumes = 0;
};

// A stolen goroutine costs about as much as a hundred resumes of a small one, so work is shared by what it is worth:
// its number times the mean time of a resume. The mean moves on a logarithmic scale, so that one long item does not
// hide many short ones, nor the other way round.
//
// What is moved goes on working with what has stayed, now across processors. It waits for locks, wakes and is woken, is
// stolen back, and resumes seem long on a machine that is busy otherwise: so it would look as if even more were worth
// moving. Therefore the mean is without what was lost; and where a processor loses more than half of its time two are
// no faster than one: each such *fight* doubles what has to be worth moving, until there has been peace for a while.
//
// Everything here is a hint: written by any pump's sample, read anywhere, relaxed.
class cost_model {
 public:
  bool coarse() const noexcept { return x_coarse.load(std::memory_order_relaxed); }
  bool is_coarse(std::int64_t mean_ns) const noexcept {
    return mean_ns > std::int64_t{coarse_ns} << x_reluctance.load(std::memory_order_relaxed);
  }
  bool worth_waking(std::uint32_t backlog) const noexcept {
    return backlog >= x_wake_at.load(std::memory_order_relaxed);
  }
  bool worth_stealing(std::uint32_t backlog) const noexcept {
    return backlog >= x_steal_at.load(std::memory_order_relaxed);
  }

  // `debt` is kept for this processor: what it has lost lately beyond half of its time.
  void sample(const work_sample& work, std::int64_t& debt) noexcept {
    debt = std::max<std::int64_t>(debt + work.lost - work.elapsed / 2, 0);
    if (debt > most_debt) {
      debt = 0;
      change_reluctance(work.until, +1);
    } else if (x_reluctance.load(std::memory_order_relaxed) != 0) {
      change_reluctance(work.until, -1);
    }
    if (work.resumes == 0) return;
    auto mean = static_cast<std::uint64_t>(std::max<std::int64_t>(work.elapsed - work.lost, 0)) / work.resumes;
    auto fresh = static_cast<std::int32_t>(std::bit_width(mean | 1)) * fraction;
    auto log = x_log_mean.load(std::memory_order_relaxed);
    log += (fresh - log) / 4;
    x_log_mean.store(log, std::memory_order_relaxed);
    auto octave = std::clamp(log / fraction, 2, 30);
    std::uint32_t ns = (1u << octave) / 4 * 3;  // its middle
    bool share_all = is_coarse(ns);
    std::uint32_t share_at = 1;
    if (!share_all)  // share_ns / ns without a division
      share_at += share_ns / 3 * 4 << x_reluctance.load(std::memory_order_relaxed) >> octave;
    store_if_changed(x_coarse, share_all);
    store_if_changed(x_wake_at, share_at);
    store_if_changed(x_steal_at, ns < never_ns ? ~0u : share_at);
  }

 private:
  static constexpr std::uint32_t coarse_ns = 10'000;  // a mean item this long: share everything
  static constexpr std::uint32_t share_ns = 30'000;   // a backlog this long wakes a thread, and may be stolen from
  static constexpr std::uint32_t never_ns = 100;      // items shorter than this are never worth moving
  static constexpr std::int32_t fraction = 256;       // of the logarithm

  static constexpr std::int64_t most_debt = 250'000;       // ns
  static constexpr std::int64_t between_fights = 100'000;  // ns: until the last change shows
  static constexpr std::int64_t peace = 100'000'000;       // ns
  static constexpr std::uint32_t most_reluctant = 5;       // a millisecond of backlog, and 320 us an item

  void change_reluctance(std::int64_t at, int by) noexcept {
    if (at - x_changed_at.load(std::memory_order_relaxed) < (by > 0 ? between_fights : peace)) return;
    x_changed_at.store(at, std::memory_order_relaxed);
    auto reluctance = x_reluctance.load(std::memory_order_relaxed);
    if (by > 0 ? reluctance == most_reluctant : reluctance == 0) return;
    x_reluctance.store(reluctance + static_cast<std::uint32_t>(by), std::memory_order_relaxed);
  }

  template <class T>
  static void store_if_changed(std::atomic<T>& hint, T value) noexcept {
    if (hint.load(std::memory_order_relaxed) != value) hint.store(value, std::memory_order_relaxed);
  }

  std::atomic<std::uint32_t> x_wake_at{1};
  std::atomic<std::uint32_t> x_steal_at{1};
  std::atomic<std::int32_t> x_log_mean{15 * fraction};  // at first everything is taken for coarse
  std::atomic<bool> x_coarse{true};
  std::atomic<std::uint32_t> x_reluctance{0};  // what has to be worth moving doubles with each
  std::atomic<std::int64_t> x_changed_at{0};   // ns: x_reluctance was, or stayed at its most
};

}  // namespace runnel::detail
