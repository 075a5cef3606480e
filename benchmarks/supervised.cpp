// SPDX-License-Identifier: BSL-1.0
// How much memory does a supervised child take, and how long does it take to stop many?
#include "support.hpp"

#include <runnel/otp.hpp>

#include <chrono>
#include <functional>

namespace {

using namespace std::chrono_literals;

// Runs body beside a supervisor, which is stopped then.
template <class Supervisor, class Body> rn::task<> beside(Supervisor& sup, Body body) {
  auto both = [&](rn::errgroup& g) -> rn::task<> {
    auto run = [&sup]() -> rn::task<> { co_await sup.run(); };
    co_await g.go(run);
    co_await body();
    g.cancel();
  };
  co_await rn::with_errgroup(both);
}

struct figures {
  double bytes_each = 0;
  double stop_seconds = 0;
};
rn::task<> sleep_long() { co_await rn::sleep(1h); }

rn::task<> keep(long n, figures& found) {
  rn::dynamic_supervisor sup;
  bench::clock::time_point start;
  auto body = [&]() -> rn::task<> {
    const double before = bench::resident_bytes();
    for (long i = 0; i < n; ++i) (void)co_await sup.start_child(sleep_long);
    found.bytes_each = (bench::resident_bytes() - before) / static_cast<double>(n);
    start = bench::clock::now();
  };
  co_await beside(sup, body);
  found.stop_seconds = bench::seconds_since(start);
}
// Once a process: memory that an earlier run left behind would not show again.
void supervised(benchmark::State& state) {
  const long n = bench::scaled(100'000);
  rn::runtime rt(bench::threads_of(state));
  figures warm, found;
  rt.run(keep, 1000L, std::ref(warm));
  for (auto _ : state) {
    rt.run(keep, n, std::ref(found));
    state.SetIterationTime(found.stop_seconds);
  }
  state.counters["bytes"] = found.bytes_each;
  state.counters["ns"] = 1e9 * found.stop_seconds / static_cast<double>(n);
}
BENCHMARK(supervised)
    ->ArgName("threads")
    ->Arg(1)
    ->Arg(2)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond)
    ->Iterations(1);

}  // namespace

BENCHMARK_MAIN();
