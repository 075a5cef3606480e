// SPDX-License-Identifier: BSL-1.0
// Does a runtime with nothing to do leave the machine alone?
#include "support.hpp"

#include <chrono>
#include <thread>

namespace {

using namespace std::chrono_literals;

rn::task<> wait_at(rn::chan<int> gate) { co_await gate.recv(); }
rn::task<> sleep_long() { co_await rn::sleep(1h); }

rn::task<> start_some(rn::chan<int> gate) {
  for (int i = 0; i < 1000; ++i) rn::go(wait_at, gate);
  for (int i = 0; i < 1000; ++i) rn::go(sleep_long);
  co_await rn::yield();
}

// A thousand goroutines at a channel, a thousand asleep for an hour: `cpu_ms` is what 1.5 s of that cost, `sleeps` how
// often a thread had woken, less the one that measures.
void idle(benchmark::State& state) {
  rn::runtime rt(bench::threads_of(state));
  rn::chan<int> gate(0);
  rt.run(start_some, gate);
  std::this_thread::sleep_for(100ms);
  double cpu = 0, slept = 0;
  for (auto _ : state) {
    const auto before = bench::usage_now();
    std::this_thread::sleep_for(1500ms);
    const auto after = bench::usage_now();
    cpu += after.cpu - before.cpu;
    slept += static_cast<double>(after.sleeps - before.sleeps - 1);
  }
  state.counters["cpu_ms"] = 1e3 * cpu / static_cast<double>(state.iterations());
  state.counters["sleeps"] = slept / static_cast<double>(state.iterations());
}
BENCHMARK(idle)
    ->ArgName("threads")->Arg(1)->Arg(2)->Arg(8)->UseRealTime()->Unit(benchmark::kMillisecond)->Iterations(1);

}  // namespace

BENCHMARK_MAIN();
