// SPDX-License-Identifier: BSL-1.0
// support/random_work.hpp: rounds of a stress test from one seed, which is printed when a round fails.
#pragma once

#include <gtest/gtest.h>
#include <support/checked_runtime.hpp>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <utility>

namespace test {

/// Numbers from a seed; a copy repeats them, split() gives an independent source for a child.
class random_source {
 public:
  explicit random_source(std::uint64_t seed) noexcept : x_state(seed) {}
  std::uint64_t next() noexcept {  // splitmix64
    std::uint64_t z = (x_state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  std::uint64_t below(std::uint64_t n) noexcept { return next() % n; }
  bool one_in(std::uint64_t n) noexcept { return below(n) == 0; }
  random_source split() noexcept { return random_source(next()); }

 private:
  std::uint64_t x_state;
};

/// Runs round(random_source) for RUNNEL_STRESS_SECONDS (2), or up to the first failure. Each round has a seed of its
/// own; with RUNNEL_STRESS_SEED all rounds have that one.
template <class Round>
void stress_rounds(Round&& round) {
  const char* seconds = std::getenv("RUNNEL_STRESS_SECONDS");
  const char* fixed = std::getenv("RUNNEL_STRESS_SEED");
  auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds ? std::atol(seconds) : 2);
  std::uint64_t seed = fixed ? std::strtoull(fixed, nullptr, 10) : std::random_device()();
  std::printf("first seed: %llu\n", static_cast<unsigned long long>(seed));
  long rounds = 0;
  do {
    std::fflush(stdout);
    round(random_source(seed));
    ++rounds;
    if (testing::Test::HasFailure()) {
      ADD_FAILURE() << "replay with RUNNEL_STRESS_SEED=" << seed;
      return;
    }
    if (!fixed) ++seed;
  } while (std::chrono::steady_clock::now() < end);
  std::printf("%ld rounds\n", rounds);
}

/// The same on one runtime: app(random_source) is a goroutine. Errors that no join sees are expected.
template <class App>
void stress_on(long threads, App app) {
  auto before = checked_runtime::live_blocks();
  {
    runnel::runtime_options options;
    options.on_unobserved_error([](const runnel::goroutine_error&) {});
    runnel::runtime rt(runnel::threads(threads), std::move(options));
    stress_rounds([&](random_source random) { rt.run(app, random); });
  }
  EXPECT_EQ(checked_runtime::live_blocks(), before) << "frames, goroutines or nodes leaked";
}

}  // namespace test
