// SPDX-License-Identifier: BSL-1.0
// Do two threads ever take longer than one for goroutines that share a channel, with little or much work between?
#include "pipes.hpp"
#include "support.hpp"

#include <cstddef>

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

// `percent` is what two threads take of the time of one.
void two_threads_of_one(benchmark::State& state, int pairs, std::size_t capacity, int work) {
  const long n = bench::scaled(60'000'000 / (20 + 3 * work));
  rn::runtime one(rn::threads(1)), two(rn::threads(2));
  auto seconds_on = [=](rn::runtime& rt) {
    const auto start = bench::clock::now();
    rt.run([=] { return bench::pipes(n, pairs, capacity, produce, consume, work); });
    return bench::seconds_since(start);
  };
  bench::in_turn(state, [&] { return seconds_on(two); }, [&] { return seconds_on(one); });
}

const int registered = [] {
  auto twenty_pairs = [](const char* name, int pairs, std::size_t capacity, int work) {
    auto* b = benchmark::RegisterBenchmark(name, two_threads_of_one, pairs, capacity, work);
    b->ArgName("threads")->Arg(2)->Iterations(20)->UseManualTime()->Unit(benchmark::kMillisecond);
  };
  twenty_pairs("one_to_one", 1, 128, 0);
  twenty_pairs("four_to_four", 4, 128, 0);
  twenty_pairs("four_to_four_with_4096", 4, 4096, 0);
  twenty_pairs("one_to_one_little_work", 1, 1024, 80);
  twenty_pairs("four_to_four_little_work", 4, 1024, 80);
  twenty_pairs("one_to_one_some_work", 1, 1024, 400);
  twenty_pairs("four_to_four_some_work", 4, 1024, 400);
  return 0;
}();

}  // namespace

BENCHMARK_MAIN();
