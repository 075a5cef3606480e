// SPDX-License-Identifier: BSL-1.0
// What the benchmarks share: sizes that one variable scales, clocks, the registration of a batch of work, and two in turn.
#pragma once

#include <runnel.hpp>

#include <benchmark/benchmark.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

namespace rn = runnel;

namespace bench {

using clock = std::chrono::steady_clock;

inline double seconds_since(clock::time_point start) {
  return std::chrono::duration<double>(clock::now() - start).count();
}

/// RUNNEL_BENCH_SCALE multiplies the sizes, for a quick look.
inline double scale() {
  static const double value = [] {
    const char* text = std::getenv("RUNNEL_BENCH_SCALE");
    const double given = text ? std::atof(text) : 1;
    return given > 0 ? given : 1;
  }();
  return value;
}
inline long scaled(long n) { return std::max(1L, std::lround(static_cast<double>(n) * scale())); }

/// The CPU time of this process, in seconds, and how often its threads have slept.
struct usage {
  double cpu;
  long sleeps;
};
inline usage usage_now() {
  rusage u{};
  ::getrusage(RUSAGE_SELF, &u);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return {seconds(u.ru_utime) + seconds(u.ru_stime), u.ru_nvcsw};
}

/// The memory of this process that is in RAM, in bytes.
inline double resident_bytes() {
  long size = 0, resident = 0;
  if (std::FILE* f = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(f, "%ld %ld", &size, &resident) != 2) resident = 0;
    std::fclose(f);
  }
  return static_cast<double>(resident) * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

inline void check(bool right, const char* what) {
  if (!right) throw std::logic_error(std::string("wrong result: ") + what);
}

/// What the benchmark is told: its runtime's threads come first among its arguments.
inline rn::threads threads_of(const benchmark::State& state) { return rn::threads(state.range(0)); }

/// Registers one benchmark for each thread count. `work` is a function that returns rn::task<long>: it does the whole
/// batch and yields how many operations that was. The counter `ns` is the time of one, unless the batch is one; the time
/// shown is the batch's.
/// A run that is not measured comes first.
template <class Work>
benchmark::internal::Benchmark* batch(const char* name, Work work) {
  auto* b = benchmark::RegisterBenchmark(name, [work](benchmark::State& state) {
    rn::runtime rt(threads_of(state));
    rt.run(work);
    double total = 0, operations = 0;
    for (auto _ : state) {
      const auto start = clock::now();
      const long n = rt.run(work);
      const double seconds = seconds_since(start);
      state.SetIterationTime(seconds);
      total += seconds;
      operations += static_cast<double>(n);
    }
    if (operations > static_cast<double>(state.iterations())) state.counters["ns"] = 1e9 * total / operations;
  });
  return b->ArgName("threads")->Arg(1)->Arg(2)->Arg(8)->UseManualTime()->Unit(benchmark::kMillisecond);
}

/// Two works in turn, each a function that returns how many seconds it took; which comes first alternates. The counter
/// `percent` is the median of what the first takes of the second's time. A run of each that is not measured comes first.
template <class First, class Second> void in_turn(benchmark::State& state, First first, Second second) {
  second();
  first();
  std::vector<double> ratios;
  for (auto _ : state) {
    const bool second_leads = ratios.size() % 2 == 0;
    const double leads = second_leads ? second() : first();
    const double follows = second_leads ? first() : second();
    ratios.push_back(second_leads ? follows / leads : leads / follows);
    state.SetIterationTime(leads + follows);
  }
  auto middle = ratios.begin() + static_cast<std::ptrdiff_t>(ratios.size() / 2);
  std::nth_element(ratios.begin(), middle, ratios.end());
  state.counters["percent"] = 100 * *middle;
}

}  // namespace bench
