// SPDX-License-Identifier: BSL-1.0
// What does a parked goroutine take, and how fast do a million of them wake and end?
#include "support.hpp"

#include <atomic>
#include <chrono>
#include <functional>

namespace {

using namespace std::chrono_literals;

struct figures {
  double bytes_each = 0;
  double wake_seconds = 0;
};

std::atomic<long> here{0};  // not an argument: only what is measured belongs into the frames

rn::task<> wait_at(rn::chan<int> gate) {
  here.fetch_add(1, std::memory_order_relaxed);
  co_await gate.recv();
}

rn::task<> park(long n, figures& found) {
  rn::chan<int> gate(0);
  here.store(0, std::memory_order_relaxed);
  rn::errgroup g;
  const double before = bench::resident_bytes();
  for (long i = 0; i < n; ++i) co_await g.go(wait_at, gate);
  while (here.load(std::memory_order_relaxed) < n) co_await rn::yield();
  co_await rn::sleep(20ms);  // the last ones are on their way from the counter to the wait
  found.bytes_each = (bench::resident_bytes() - before) / static_cast<double>(n);
  const auto start = bench::clock::now();
  gate.close();
  co_await g.wait();
  found.wake_seconds = bench::seconds_since(start);
}

// Once a process: memory that an earlier run left behind would not show again.
void parked(benchmark::State& state) {
  const long n = bench::scaled(1'000'000);
  rn::runtime rt(bench::threads_of(state));
  figures warm, found;
  rt.run(park, 1000L, std::ref(warm));
  for (auto _ : state) {
    rt.run(park, n, std::ref(found));
    state.SetIterationTime(found.wake_seconds);
  }
  state.counters["bytes"] = found.bytes_each;
  state.counters["ns"] = 1e9 * found.wake_seconds / static_cast<double>(n);
}
BENCHMARK(parked)
    ->ArgName("threads")->Arg(1)->Arg(2)->UseManualTime()->Unit(benchmark::kMillisecond)->Iterations(1);

}  // namespace

BENCHMARK_MAIN();
