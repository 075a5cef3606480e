// SPDX-License-Identifier: BSL-1.0
// support/stress.hpp: random tests that run for a while, say their seed, and can be run again with it.
#pragma once

#include <runnel/config.hpp>
#include <runnel/context.hpp>
#include <runnel/detail/frame_pool.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <thread>

namespace stress {

/// splitmix64. Each party of a test has its own, made from the round's, so that a seed fixes what everybody tries;
/// the order in which the threads come to it stays the machine's.
class dice {
 public:
  explicit dice(std::uint64_t seed) noexcept : x_state(seed) {}

  std::uint64_t next() noexcept {
    std::uint64_t z = x_state += 0x9E3779B97F4A7C15ull;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return z ^ z >> 31;
  }
  /// 0 to n - 1.
  unsigned below(unsigned n) noexcept { return static_cast<unsigned>((next() >> 32) * n >> 32); }
  unsigned between(unsigned least, unsigned most) noexcept { return least + below(most - least + 1); }
  bool one_in(unsigned n) noexcept { return below(n) == 0; }
  std::chrono::microseconds microseconds(unsigned most) noexcept { return std::chrono::microseconds(below(most + 1)); }
  dice split() noexcept { return dice(next()); }

 private:
  std::uint64_t x_state;
};

/// Burns a random time, mostly none, now and then longer than a goroutine runs.
inline void dawdle(dice& d) noexcept {
  unsigned n = d.one_in(4) ? d.below(d.one_in(8) ? 4000 : 200) : 0;
  for (unsigned i = 0; i < n; ++i) runnel::cpu_pause();
}

/// For a plain thread that waits for what others do. Gives up, and fails, if that takes absurdly long.
template <class Condition> void wait_until(Condition condition, const char* what) {
  auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > give_up) {
      std::fprintf(stderr, "stress: waited in vain: %s\n", what);
      std::abort();  // whatever is stuck refers to the test's locals: there is no way on
    }
    std::this_thread::yield();
  }
}

/// RUNNEL_STRESS_SECONDS is how long a test runs (2), RUNNEL_STRESS_SEED what it throws its dice with.
class stress_test : public ::testing::Test {
 protected:
  /// round(threads, dice) again and again, on 1, 2 and 4 threads in turn. After each nothing may be left.
  template <class Round> void run_rounds(Round&& round) {
    (void)runnel::context::background();  // made once, for ever
    const char* wanted = std::getenv("RUNNEL_STRESS_SEED");
    std::uint64_t seed = wanted ? std::strtoull(wanted, nullptr, 0) : std::random_device{}();
    std::printf("seed: RUNNEL_STRESS_SEED=%llu\n", static_cast<unsigned long long>(seed));
    std::fflush(stdout);
    dice rounds(seed);
    auto end = std::chrono::steady_clock::now() + duration();
    for (int n = 0; n < 3 || std::chrono::steady_clock::now() < end; ++n) {
      std::size_t before = runnel::detail::frame_pool_stats().live_blocks;
      round(1u << n % 3, rounds.split());
      ASSERT_EQ(runnel::detail::frame_pool_stats().live_blocks, before)
          << "frames, goroutines or contexts are left after round " << n << " of seed " << seed;
      ASSERT_FALSE(HasFailure()) << "in round " << n << " of seed " << seed;
    }
  }

 private:
  static std::chrono::nanoseconds duration() {
    const char* wanted = std::getenv("RUNNEL_STRESS_SECONDS");
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
        std::chrono::duration<double>(wanted ? std::strtod(wanted, nullptr) : 2.0));
  }
};

}  // namespace stress
