// SPDX-License-Identifier: BSL-1.0
// runnel/detail/token_bucket.hpp: the arithmetic of a rate limiter.
// Layer: L4
#pragma once

#include <runnel/detail/spinlock.hpp>
#include <runnel/time_point.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>

namespace runnel::detail {

// Tokens come at a rate, up to the burst; who takes some may go below zero, and acts when the bucket is back at
// zero.
//
// Invariants, under x_lock:
//   1. x_tokens are those of the moment x_last, which never goes back.
//   2. x_last_act is the latest moment at which somebody who has taken tokens will act.
class token_bucket {
 public:
  token_bucket(double limit, std::ptrdiff_t burst, std::int64_t now) noexcept
      : x_limit(limit), x_burst(burst), x_tokens(static_cast<double>(burst)), x_last(now) {}

  // What was taken: how many tokens, when to act on it, and the limit of that time.
  struct taken_t {
    double count = 0;
    std::int64_t at = 0;
    double limit = 0;
  };
  // Takes n tokens; empty, and none taken, if that would mean to wait longer than `patience`, or for ever.
  std::optional<taken_t> take(std::ptrdiff_t n, std::int64_t now, std::int64_t patience) noexcept {
    std::lock_guard hold(x_lock);
    auto count = static_cast<double>(n);
    if (std::isinf(x_limit)) return taken_t{count, now, x_limit};
    if (n > x_burst) return std::nullopt;
    advance(now);
    double left = x_tokens - count;
    std::int64_t wait = left < 0 ? time_for(-left, x_limit) : 0;
    if (wait > patience) return std::nullopt;
    x_tokens = left;
    taken_t taken{count, saturating_add(x_last, wait), x_limit};
    x_last_act = taken.at;
    return taken;
  }
  // Who has taken them does not act. Tokens that others have taken since, on credit behind them, are not given
  // back, for those others wait as long as they were told.
  void give_back(const taken_t& taken, std::int64_t now) noexcept {
    std::lock_guard hold(x_lock);
    if (std::isinf(x_limit) || std::isinf(taken.limit) || taken.count == 0 || taken.at < now) return;
    double back = taken.count - tokens_in(x_last_act - taken.at, taken.limit);
    if (back <= 0) return;
    advance(now);
    x_tokens = std::min(x_tokens + back, static_cast<double>(x_burst));
    if (taken.at == x_last_act) {
      std::int64_t before = saturating_add(taken.at, -time_for(taken.count, taken.limit));
      if (before >= now) x_last_act = before;
    }
  }

  bool can_ever(std::ptrdiff_t n) const noexcept {
    std::lock_guard hold(x_lock);
    return n <= x_burst || std::isinf(x_limit);
  }
  double limit() const noexcept {
    std::lock_guard hold(x_lock);
    return x_limit;
  }
  std::ptrdiff_t burst() const noexcept {
    std::lock_guard hold(x_lock);
    return x_burst;
  }
  double tokens(std::int64_t now) const noexcept {
    std::lock_guard hold(x_lock);
    return tokens_at(now);
  }
  void set_limit(double limit, std::int64_t now) noexcept {
    std::lock_guard hold(x_lock);
    advance(now);
    x_limit = limit;
  }
  void set_burst(std::ptrdiff_t burst, std::int64_t now) noexcept {
    std::lock_guard hold(x_lock);
    advance(now);
    x_burst = burst;
    x_tokens = std::min(x_tokens, static_cast<double>(burst));
  }

 private:
  double tokens_at(std::int64_t now) const noexcept {
    auto burst = static_cast<double>(x_burst);
    if (std::isinf(x_limit)) return burst;
    return now <= x_last ? x_tokens : std::min(burst, x_tokens + tokens_in(now - x_last, x_limit));
  }
  void advance(std::int64_t now) noexcept {
    x_tokens = tokens_at(now);
    x_last = std::max(x_last, now);
  }
  static double tokens_in(std::int64_t ns, double limit) noexcept { return static_cast<double>(ns) * 1e-9 * limit; }
  // Rounded up: a wait never ends early.
  static std::int64_t time_for(double tokens, double limit) noexcept {
    double ns = std::ceil(tokens / limit * 1e9);
    return ns < 9.2e18 ? static_cast<std::int64_t>(ns) : end_of_time;
  }

  mutable spinlock x_lock;
  double x_limit;
  std::ptrdiff_t x_burst;
  double x_tokens;
  std::int64_t x_last;
  std::int64_t x_last_act = 0;
};

}  // namespace runnel::detail
