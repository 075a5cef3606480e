// SPDX-License-Identifier: BSL-1.0
// How long does it take until everything that waits under a context has been cancelled, unwound and joined?
#include "support.hpp"

#include <atomic>
#include <chrono>
#include <functional>

namespace {

using namespace std::chrono_literals;

rn::task<> wait_at(rn::chan<int> gate, std::atomic<long>* here) {
  here->fetch_add(1, std::memory_order_relaxed);
  co_await gate.recv();
}

// The same under a context of its own, derived from the group's.
rn::task<> wait_derived(rn::chan<int> gate, std::atomic<long>* here) {
  co_await rn::with_timeout(1h, wait_at(gate, here));
}

template <class Wait>
rn::task<double> cancel_all(Wait wait, long n) {
  rn::chan<int> gate(0);
  std::atomic<long> here{0};
  rn::errgroup g;
  for (long i = 0; i < n; ++i) co_await g.go(wait, gate, &here);
  while (here.load(std::memory_order_relaxed) < n) co_await rn::yield();
  co_await rn::sleep(20ms);  // the last ones are on their way from the counter to the wait
  const auto start = bench::clock::now();
  g.cancel();
  co_await g.wait();
  co_return bench::seconds_since(start);
}

template <class Wait>
void measure(benchmark::State& state, Wait wait) {
  rn::runtime rt(bench::threads_of(state));
  const long n = bench::scaled(100'000);
  rt.run(cancel_all<Wait>, wait, n);
  for (auto _ : state) state.SetIterationTime(rt.run(cancel_all<Wait>, wait, n));
}

void cancel_shared(benchmark::State& state) { measure(state, wait_at); }
void cancel_derived(benchmark::State& state) { measure(state, wait_derived); }
BENCHMARK(cancel_shared)
    ->ArgName("threads")->Arg(1)->Arg(2)->UseManualTime()->Unit(benchmark::kMillisecond)->Iterations(5);
BENCHMARK(cancel_derived)
    ->ArgName("threads")->Arg(1)->Arg(2)->UseManualTime()->Unit(benchmark::kMillisecond)->Iterations(5);

}  // namespace

BENCHMARK_MAIN();
