// SPDX-License-Identifier: BSL-1.0
// What does it cost to pass a value from one goroutine to another?
#include "pipes.hpp"
#include "support.hpp"

#include <cstddef>

namespace {

rn::task<> serve(rn::chan<int> in, rn::chan<int> out) {
  while (auto v = co_await in.recv()) co_await out.send(*v);
  out.close();
}

// An operation is a round trip.
rn::task<long> ping_pong() {
  const long n = bench::scaled(1'000'000);
  rn::chan<int> ping(0), pong(0);
  rn::go(serve, ping, pong);
  for (long i = 0; i < n; ++i) {
    co_await ping.send(static_cast<int>(i));
    co_await pong.recv();
  }
  ping.close();
  co_await pong.recv();
  co_return n;
}

rn::task<> produce(rn::chan<int> out, long n) {
  for (long i = 0; i < n; ++i) co_await out.send(static_cast<int>(i));
}

rn::task<> consume(rn::chan<int> in, long& received) {
  long count = 0;
  while (auto v = co_await in.recv()) ++count;
  received = count;
}

// An operation is an int that got through.
rn::task<long> pipes(long n, int pairs, std::size_t capacity) {
  return bench::pipes(n, pairs, capacity, produce, consume);
}

rn::task<long> spsc() { return pipes(bench::scaled(5'000'000), 1, 128); }
rn::task<long> mpmc() { return pipes(bench::scaled(4'000'000), 4, 128); }
rn::task<long> mpmc_unbuffered() { return pipes(bench::scaled(2'000'000), 4, 0); }

const int registered = [] {
  bench::batch("ping_pong", ping_pong);
  bench::batch("spsc", spsc);
  bench::batch("mpmc", mpmc);
  bench::batch("mpmc_unbuffered", mpmc_unbuffered);
  return 0;
}();

}  // namespace

BENCHMARK_MAIN();
