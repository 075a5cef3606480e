// SPDX-License-Identifier: BSL-1.0
// runnel/detail/pump_turn.hpp: how long a pump goes on, and when it looks at more than whom it has woken last.
// Layer: L1
#pragma once

#include <runnel/detail/processor.hpp>

#include <algorithm>
#include <cstdint>

namespace runnel::detail {

// A pump's turn, between two of Asio's. It is counted in processor::progress, which goes round.
class pump_turn {
 public:
  static constexpr std::int64_t longest_sample = 500'000;  // ns

  // Of p, which has just been sampled.
  explicit pump_turn(const processor& p) noexcept
      : x_began(p.sampled_progress), x_began_at(p.sampled_at), x_attend_at(x_began) {}

  // For how many resumes those who are woken go before the others, to go behind them once then. For more where samples
  // are rarest, since resumes are short.
  static std::uint32_t streak_of(const processor& p) noexcept {
    return p.sample_interval > processor::rare_samples ? 64 : 16;
  }
  static bool ends_streak(const processor& p, std::uint32_t progress) noexcept { return progress % streak_of(p) == 0; }

  // Whether a streak has ended, or a sample. At first in any case.
  bool must_attend(std::uint32_t progress) const noexcept { return has_come(progress, x_attend_at); }
  static bool ends_sample(const processor& p, std::uint32_t progress) noexcept {
    return has_come(progress, p.sampled_progress + p.sample_interval);
  }
  // Whether Asio gets a turn after this sample, which took `elapsed`.
  bool ends(const processor& p, std::int64_t elapsed) const noexcept {
    return elapsed > longest_sample ||
           (p.sampled_progress - x_began >= most_resumes && p.sampled_at - x_began_at >= shortest);
  }
  void go_on(const processor& p, std::uint32_t progress) noexcept {
    const std::uint32_t streak = streak_of(p);
    x_attend_at = progress + std::min(streak - progress % streak, p.sampled_progress + p.sample_interval - progress);
  }
  void go_on_for_one(std::uint32_t progress) noexcept { x_attend_at = progress + 1; }

 private:
  static constexpr std::uint32_t most_resumes = 256;
  static constexpr std::int64_t shortest = 20'000;  // ns: Asio's turn is a system call, mostly in vain

  static bool has_come(std::uint32_t progress, std::uint32_t at) noexcept {
    return static_cast<std::int32_t>(progress - at) >= 0;
  }

  std::uint32_t x_began;
  std::int64_t x_began_at;
  std::uint32_t x_attend_at;
};

}  // namespace runnel::detail
