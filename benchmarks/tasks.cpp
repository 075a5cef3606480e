// SPDX-License-Identifier: BSL-1.0
// What does a task with a handle cost, and an item of a stream?
#include "support.hpp"

#include <cstddef>
#include <optional>
#include <vector>

namespace {

rn::task<long> identity(long n) { co_return n; }

// Start one, await it.
rn::task<long> one_after_the_other() {
  const long n = bench::scaled(200'000);
  long sum = 0;
  for (long i = 0; i < n; ++i) {
    auto t = rn::async(identity, i);
    sum += co_await t.await();
  }
  bench::check(sum == n * (n - 1) / 2, "async");
  co_return n;
}

// Start a hundred, await them.
rn::task<long> a_hundred_at_once() {
  const long n = bench::scaled(2'000);
  long sum = 0;
  std::vector<rn::join_handle<long>> tasks;
  for (long i = 0; i < n; ++i) {
    for (long k = 0; k < 100; ++k) tasks.push_back(rn::async(identity, k));
    for (auto& t : tasks) sum += co_await t.await();
    tasks.clear();
  }
  bench::check(sum == n * 4950, "async");
  co_return n * 100;
}

template <class Order> rn::task<long> stream(Order order) {
  const long n = bench::scaled(200'000);
  long next = 0, sum = 0;
  auto inputs = [&]() -> std::optional<long> {
    if (next == n) return std::nullopt;
    return next++;
  };
  auto items = rn::async_stream(inputs, order, rn::max_concurrency(8), identity);
  while (auto r = co_await items.next()) sum += r->value();
  bench::check(sum == n * (n - 1) / 2, "async_stream");
  co_return n;
}

const int registered = [] {
  bench::batch("async_await", one_after_the_other);
  bench::batch("async_await_100", a_hundred_at_once);
  bench::batch("async_stream_ordered", [] { return stream(rn::ordered); });
  bench::batch("async_stream_unordered", [] { return stream(rn::unordered); });
  return 0;
}();

}  // namespace

BENCHMARK_MAIN();
