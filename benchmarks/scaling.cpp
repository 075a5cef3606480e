// SPDX-License-Identifier: BSL-1.0
// Does work of the CPU get faster with threads, and no slower with more threads than there are cores?
#include "support.hpp"

#include <cstdint>
#include <tuple>

namespace {

// Some microseconds of arithmetic that no compiler does away with.
std::uint64_t churn(std::uint64_t x) {
  for (int i = 0; i < 2000; ++i) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
  }
  return x;
}

rn::task<std::uint64_t> tree(int depth, std::uint64_t seed) {
  if (depth == 0) co_return churn(seed);
  auto both = co_await rn::all(tree(depth - 1, 2 * seed), tree(depth - 1, 2 * seed + 1));
  co_return std::get<0>(both) ^ std::get<1>(both);
}

rn::task<long> working_tree() {
  benchmark::DoNotOptimize(co_await tree(14, 1));
  co_return 1;
}

rn::task<> work_for(std::uint64_t seed, int pieces) {
  for (int i = 0; i < pieces; ++i) {
    benchmark::DoNotOptimize(churn(seed));
    co_await rn::yield();
  }
}

rn::task<long> working_goroutines() {
  rn::errgroup g;
  for (std::uint64_t i = 1; i <= 16; ++i) co_await g.go(work_for, i, 1000);
  co_await g.wait();
  co_return 1;
}

const int registered = [] {
  bench::batch("working_tree", working_tree);
  bench::batch("working_goroutines", working_goroutines);
  return 0;
}();

}  // namespace

BENCHMARK_MAIN();
