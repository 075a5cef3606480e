// SPDX-License-Identifier: BSL-1.0
// Do two threads ever take longer than one for goroutines that share a channel, with little or much work between?
#include "support.hpp"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <vector>

namespace {

// Some ns of work that no compiler removes: a chain of multiplications.
[[gnu::noinline]] void compute(int steps) {
  unsigned x = 1;
  for (int i = 0; i < steps; ++i) {
    x = x * 1664525u + 1013904223u;
    asm volatile("" : "+r"(x));
  }
}

rn::task<> produce(rn::chan<int> out, long n, int work) {
  for (long i = 0; i < n; ++i) {
    compute(work);
    co_await out.send(static_cast<int>(i));
  }
}

rn::task<> consume(rn::chan<int> in, long& received, int work) {
  long count = 0;
  while (auto v = co_await in.recv()) {
    compute(work);
    ++count;
  }
  received = count;
}

rn::task<> pipes(long n, int pairs, std::size_t capacity, int work) {
  const long each = n / pairs;
  rn::chan<int> ch(capacity);
  std::vector<long> received(static_cast<std::size_t>(pairs));
  rn::errgroup producers, consumers;
  for (long& mine : received) {
    co_await producers.go(produce, ch, each, work);
    co_await consumers.go(consume, ch, std::ref(mine), work);
  }
  co_await producers.wait();
  ch.close();
  co_await consumers.wait();
  long sum = 0;
  for (long mine : received) sum += mine;
  bench::check(sum == each * pairs, "an element was lost");
}

// Pairs of runs, with one thread and with two in turn, in one process. `percent` is the median of what two threads took
// of the time of one.
void two_threads_of_one(benchmark::State& state, int pairs, std::size_t capacity, int work) {
  const long n = bench::scaled(60'000'000 / (20 + 3 * work));
  rn::runtime one(rn::threads(1)), two(rn::threads(2));
  auto seconds_on = [&](rn::runtime& rt) {
    const auto start = bench::clock::now();
    rt.run(pipes, n, pairs, capacity, work);
    return bench::seconds_since(start);
  };
  seconds_on(one);
  seconds_on(two);
  std::vector<double> ratios;
  for (auto _ : state) {
    const bool one_first = ratios.size() % 2 == 0;
    const double first = seconds_on(one_first ? one : two);
    const double second = seconds_on(one_first ? two : one);
    ratios.push_back(one_first ? second / first : first / second);
    state.SetIterationTime(first + second);
  }
  auto middle = ratios.begin() + static_cast<std::ptrdiff_t>(ratios.size() / 2);
  std::nth_element(ratios.begin(), middle, ratios.end());
  state.counters["percent"] = 100 * *middle;
}

const int registered = [] {
  auto pairs_of_runs = [](const char* name, int pairs, std::size_t capacity, int work) {
    auto* b = benchmark::RegisterBenchmark(name, two_threads_of_one, pairs, capacity, work);
    b->ArgName("threads")->Arg(2)->Iterations(20)->UseManualTime()->Unit(benchmark::kMillisecond);
  };
  pairs_of_runs("one_to_one", 1, 128, 0);
  pairs_of_runs("four_to_four", 4, 128, 0);
  pairs_of_runs("four_to_four_with_4096", 4, 4096, 0);
  pairs_of_runs("one_to_one_little_work", 1, 1024, 80);
  pairs_of_runs("four_to_four_little_work", 4, 1024, 80);
  pairs_of_runs("one_to_one_some_work", 1, 1024, 400);
  pairs_of_runs("four_to_four_some_work", 4, 1024, 400);
  return 0;
}();

}  // namespace

BENCHMARK_MAIN();
