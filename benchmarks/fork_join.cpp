// SPDX-License-Identifier: BSL-1.0
// How fast is a tree of children, by rn::all and by goroutines?
#include "support.hpp"

#include <cmath>
#include <cstddef>
#include <tuple>
#include <utility>

namespace {

// A power of ten of leaves.
long skynet_size() { return std::lround(std::pow(10.0, std::round(6 + std::log10(bench::scale())))); }
int fib_size() {
  return 30 + static_cast<int>(std::lround(std::log(bench::scale()) / std::log((1 + std::sqrt(5)) / 2)));
}

rn::task<long> skynet(long number, long size);

template <std::size_t... I>
auto ten_children(long number, long size, std::index_sequence<I...>) {
  return rn::all(skynet(number + static_cast<long>(I) * size, size)...);
}

rn::task<long> skynet(long number, long size) {
  if (size == 1) co_return number;
  auto parts = co_await ten_children(number, size / 10, std::make_index_sequence<10>());
  co_return std::apply([](auto... part) { return (part + ...); }, parts);
}

rn::task<long> skynet_by_all() {
  const long size = skynet_size();
  bench::check(co_await skynet(0, size) == size * (size - 1) / 2, "skynet");
  co_return 1;
}

rn::task<> skynet_goroutine(rn::chan<long> sum, long number, long size) {
  if (size == 1) {
    co_await sum.send(number);
    co_return;
  }
  rn::chan<long> children(0);
  for (long i = 0; i < 10; ++i) rn::go(skynet_goroutine, children, number + i * (size / 10), size / 10);
  long total = 0;
  for (long i = 0; i < 10; ++i) total += *co_await children.recv();
  co_await sum.send(total);
}

rn::task<long> skynet_by_goroutines() {
  const long size = skynet_size();
  rn::chan<long> sum(0);
  rn::go(skynet_goroutine, sum, 0L, size);
  bench::check(*co_await sum.recv() == size * (size - 1) / 2, "skynet");
  co_return 1;
}

rn::task<long> fib(int n) {
  if (n < 2) co_return n;
  auto both = co_await rn::all(fib(n - 1), fib(n - 2));
  co_return std::get<0>(both) + std::get<1>(both);
}

rn::task<long> fib_by_all() {
  benchmark::DoNotOptimize(co_await fib(fib_size()));
  co_return 1;
}

const int registered = [] {
  bench::batch("skynet_by_all", skynet_by_all);
  bench::batch("skynet_by_goroutines", skynet_by_goroutines);
  bench::batch("fib_by_all", fib_by_all);
  return 0;
}();

}  // namespace

BENCHMARK_MAIN();
