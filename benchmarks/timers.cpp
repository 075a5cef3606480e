// SPDX-License-Identifier: BSL-1.0
// What do sleeps cost, tickers, and timeouts that do not strike?
#include "support.hpp"

#include <chrono>

namespace {

using namespace std::chrono_literals;

rn::task<> sleep_for(std::chrono::milliseconds d) { co_await rn::sleep(d); }

rn::task<> many_sleeps(long n) {
  rn::errgroup g;
  for (long i = 0; i < n; ++i) co_await g.go(sleep_for, std::chrono::milliseconds(i % 100 + 1));
  co_await g.wait();
}

constexpr int ticks = 10;
rn::task<> tick() {
  rn::ticker t(20ms);
  for (int i = 0; i < ticks; ++i) co_await t.recv();
}
rn::task<> many_tickers(long n) {
  rn::errgroup g;
  for (long i = 0; i < n; ++i) co_await g.go(tick);
  co_await g.wait();
}

// Returns the seconds of CPU that a run costs.
template <class F> double measure(benchmark::State& state, F many, long n) {
  rn::runtime rt(bench::threads_of(state));
  rt.run(many, n);
  double cpu = 0;
  for (auto _ : state) {
    const auto before = bench::usage_now();
    const auto start = bench::clock::now();
    rt.run(many, n);
    state.SetIterationTime(bench::seconds_since(start));
    cpu += bench::usage_now().cpu - before.cpu;
  }
  return cpu / static_cast<double>(state.iterations());
}

// Sleeps of 1 to 100 ms; the ideal is 100 ms for all of them, whatever their number. `cpu_ms` is what they cost.
void sleeps(benchmark::State& state) {
  state.counters["cpu_ms"] = 1e3 * measure(state, many_sleeps, bench::scaled(100'000));
}
BENCHMARK(sleeps)
    ->ArgName("threads")->Arg(1)->Arg(2)->UseManualTime()->Unit(benchmark::kMillisecond)->Iterations(5);

// Ten thousand tickers; the ideal is 200 ms. `cpu_ns` is what a tick costs.
void tickers(benchmark::State& state) {
  const long n = bench::scaled(10'000);
  state.counters["cpu_ns"] = 1e9 * measure(state, many_tickers, n) / static_cast<double>(n * ticks);
}
BENCHMARK(tickers)
    ->ArgName("threads")->Arg(1)->Arg(2)->UseManualTime()->Unit(benchmark::kMillisecond)->Iterations(3);

rn::task<> nothing() { co_return; }

rn::task<long> timeout_not_struck() {
  const long n = bench::scaled(1'000'000);
  for (long i = 0; i < n; ++i) co_await rn::with_timeout(1h, nothing());
  co_return n;
}

rn::task<long> timeout_by_context() {
  const long n = bench::scaled(1'000'000);
  auto [parent, cancel_parent] = rn::context::background().with_cancel();
  for (long i = 0; i < n; ++i) {
    auto [ctx, cancel] = parent.with_timeout(1h);
    cancel();
  }
  co_return n;
}

const int registered = [] {
  bench::batch("timeout_not_struck", timeout_not_struck);
  bench::batch("timeout_by_context", timeout_by_context);
  return 0;
}();

}  // namespace

BENCHMARK_MAIN();
