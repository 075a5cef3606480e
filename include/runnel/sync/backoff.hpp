// SPDX-License-Identifier: BSL-1.0
// runnel/sync/backoff.hpp: backoff, how long to wait before the next attempt.
// Layer: L4
#pragma once

#include <runnel/detail/random.hpp>
#include <runnel/error.hpp>
#include <runnel/time_point.hpp>

#include <chrono>
#include <cstdint>

namespace runnel {

/// How long to wait before each attempt: min at first, twice as long each time, at most max; and of that at random
/// up to the share `jitter` less, so that those who failed together do not come back together. An option of retry,
/// and a value that can be used alone:
///
///     rn::backoff pause(100ms, 30s);
///     for (bool there = co_await connect(); !there; there = co_await connect()) co_await rn::sleep(pause.next());
///
/// Thread-safety: that of a value.
class backoff {
 public:
  /// Throws: misuse_error unless 0 < min <= max and 0 <= jitter <= 1.
  template <class R, class P, class S, class Q>
  backoff(std::chrono::duration<R, P> min, std::chrono::duration<S, Q> max, double jitter = 0.5)
      : x_min(detail::to_ns(min)), x_max(detail::to_ns(max)), x_next(x_min), x_jitter(jitter) {
    if (x_min <= 0 || x_max < x_min)
      throw misuse_error("runnel: backoff(min, max) takes a positive min, and a max that is no less");
    if (!(jitter >= 0 && jitter <= 1)) throw misuse_error("runnel: the jitter of a backoff is a share, from 0 to 1");
  }

  /// The next delay.
  std::chrono::nanoseconds next() noexcept {
    std::int64_t delay = x_next;
    x_next = x_next > x_max / 2 ? x_max : x_next * 2;
    auto less = static_cast<std::int64_t>(static_cast<double>(delay) * x_jitter * detail::random_unit());
    return std::chrono::nanoseconds(less < delay ? delay - less : 0);
  }
  /// Begins anew: it has succeeded meanwhile.
  void reset() noexcept { x_next = x_min; }

  std::chrono::nanoseconds min() const noexcept { return std::chrono::nanoseconds(x_min); }
  std::chrono::nanoseconds max() const noexcept { return std::chrono::nanoseconds(x_max); }

 private:
  std::int64_t x_min;
  std::int64_t x_max;
  std::int64_t x_next;
  double x_jitter;
};

}  // namespace runnel
