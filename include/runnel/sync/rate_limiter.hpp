// SPDX-License-Identifier: BSL-1.0
// runnel/sync/rate_limiter.hpp: rate_limiter, a token bucket: so many events a second, and so many at once.
// Layer: L7
#pragma once

#include <runnel/detail/context_ops.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/detail/runtime_core.hpp>
#include <runnel/detail/token_bucket.hpp>
#include <runnel/error.hpp>
#include <runnel/sleep.hpp>
#include <runnel/time_point.hpp>
#include <runnel/waiter.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>

namespace runnel {

/// The rate of one event each interval. Throws: misuse_error for an interval that is not positive.
template <class Rep, class Period> double every(std::chrono::duration<Rep, Period> interval) {
  auto ns = detail::to_ns(interval);
  if (ns <= 0) throw misuse_error("runnel: every(interval) takes a positive interval");
  return 1e9 / static_cast<double>(ns);
}

/// A token bucket. It holds at most `burst` tokens, is full at first, and gets `limit` tokens a second; an event
/// takes one. As in Go's golang.org/x/time/rate.
///
///     rn::rate_limiter limiter(100, 10);          // 100 a second, 10 at once
///     co_await limiter.wait();                    // or: if (!limiter.allow()) shed();
///
/// Who waits takes its tokens at once, on credit, and sleeps until they are there; so it is first come first
/// served.
///
/// Thread-safety: everything may be called from any thread at the same time.
/// Lifetime: neither copied nor moved. Reservations and waits refer to it.
/// Complexity: O(1), no allocation.
class rate_limiter {
 public:
  class reservation;
  /// No limit at all: everything is let through, whatever the burst.
  static constexpr double unlimited = std::numeric_limits<double>::infinity();

  /// Throws: misuse_error unless the limit is above zero and the burst at least 1.
  rate_limiter(double per_second, std::ptrdiff_t burst)
      : x_bucket(checked_limit(per_second), checked_burst(burst), detail::now_ns()) {}
  rate_limiter(const rate_limiter&) = delete;
  rate_limiter& operator=(const rate_limiter&) = delete;

  /// Takes n tokens if they are there now. Returns: whether it did. Throws: misuse_error for a negative n.
  bool allow(std::ptrdiff_t n = 1) {
    check_count(n);
    return x_bucket.take(n, detail::now_ns(), 0).has_value();
  }

  /// Takes n tokens, on credit if need be, and tells how long to wait before acting on it.
  /// Returns: a reservation, which converts to false if n is above the burst. Throws: misuse_error for a negative
  /// n.
  [[nodiscard("it says how long to wait")]] reservation reserve(std::ptrdiff_t n = 1);

  /// Waits until n tokens are its own: `co_await limiter.wait();`
  ///
  /// Suspends: until then; resumes on its own scheduler. Cancel-safety: a cancelled wait gives its tokens back, as
  /// far as nobody has been made to wait behind them.
  /// Throws: misuse_error, at the call, for a negative n and for one above the burst; deadline_exceeded, at once
  /// and without taking a token, if the context's deadline comes before they would be there.
  [[nodiscard("co_await it: wait() alone does not wait")]] auto wait(std::ptrdiff_t n = 1) {
    check_count(n);
    if (!x_bucket.can_ever(n)) throw misuse_error("runnel: a wait for more tokens than the burst would never end");
    return wait_operation(x_bucket, n);
  }

  double limit() const noexcept { return x_bucket.limit(); }
  std::ptrdiff_t burst() const noexcept { return x_bucket.burst(); }
  /// How many tokens there are; below zero while some are given on credit.
  double tokens() const noexcept { return x_bucket.tokens(detail::now_ns()); }
  /// Change the limit, the burst, from now on. Who waits already, waits as long as it was told.
  /// Throw: misuse_error as the constructor.
  void set_limit(double per_second) { x_bucket.set_limit(checked_limit(per_second), detail::now_ns()); }
  void set_burst(std::ptrdiff_t burst) { x_bucket.set_burst(checked_burst(burst), detail::now_ns()); }

 private:
  static double checked_limit(double per_second) {
    if (!(per_second > 0))
      throw misuse_error("runnel: the limit of a rate_limiter is above zero; unlimited is the most");
    return per_second;
  }
  static std::ptrdiff_t checked_burst(std::ptrdiff_t burst) {
    if (burst < 1) throw misuse_error("runnel: the burst of a rate_limiter is at least 1");
    return burst;
  }
  static void check_count(std::ptrdiff_t n) {
    if (n < 0) throw misuse_error("runnel: a negative number of tokens");
  }

  class wait_operation : public detail::awaitable_base {
   public:
    wait_operation(detail::token_bucket& bucket, std::ptrdiff_t n) noexcept : x_bucket(bucket), x_count(n) {}
    wait_operation(wait_operation&& other) noexcept : x_bucket(other.x_bucket), x_count(other.x_count) {}
    wait_operation& operator=(const wait_operation&) = delete;
    ~wait_operation() {
      if (x_sleep) x_bucket.give_back(x_taken, detail::now_ns());
    }

    bool suspend(detail::promise_base* leaf) {
      detail::goroutine& g = detail::goroutine_of(leaf);
      if (!detail::enter_operation(g)) return detail::stop_here(g, leaf), true;
      std::int64_t now = detail::runtime_core::of(g).core.now();
      std::int64_t deadline = g.context.load(std::memory_order_relaxed)->deadline();
      std::int64_t patience = deadline == detail::end_of_time ? deadline : std::max<std::int64_t>(deadline - now, 0);
      auto taken = x_bucket.take(x_count, now, patience);
      if (!taken) throw deadline_exceeded();
      x_taken = *taken;
      if (x_taken.at <= now) return detail::spend_budget(g, leaf);
      x_sleep.emplace(x_taken.at, false);
      return x_sleep->suspend(leaf);
    }
    void resume() noexcept { x_sleep.reset(); }

   private:
    detail::token_bucket& x_bucket;
    std::ptrdiff_t x_count;
    detail::token_bucket::taken_t x_taken;
    std::optional<detail::sleep_operation> x_sleep;
  };

  detail::token_bucket x_bucket;
};

/// Tokens that were taken on credit.
class rate_limiter::reservation {
 public:
  /// False: so many tokens at once will never be there.
  explicit operator bool() const noexcept { return x_bucket; }
  /// How long to wait, from now, before acting. Zero or more; the longest there is, if it converts to false.
  std::chrono::nanoseconds delay() const noexcept {
    if (!x_bucket) return std::chrono::nanoseconds::max();
    return std::chrono::nanoseconds(std::max<std::int64_t>(x_taken.at - detail::now_ns(), 0));
  }
  /// Gives the tokens back, as far as nobody has been made to wait behind them, if it has not been time to act.
  void cancel() noexcept {
    if (x_bucket) x_bucket->give_back(x_taken, detail::now_ns());
    x_taken.count = 0;
  }

 private:
  friend class rate_limiter;
  reservation() noexcept = default;
  reservation(detail::token_bucket& bucket, detail::token_bucket::taken_t taken) noexcept
      : x_bucket(&bucket), x_taken(taken) {}
  detail::token_bucket* x_bucket = nullptr;
  detail::token_bucket::taken_t x_taken;
};

inline rate_limiter::reservation rate_limiter::reserve(std::ptrdiff_t n) {
  check_count(n);
  auto taken = x_bucket.take(n, detail::now_ns(), detail::end_of_time);
  return taken ? reservation(x_bucket, *taken) : reservation();
}

}  // namespace runnel
