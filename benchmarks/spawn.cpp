// SPDX-License-Identifier: BSL-1.0
// What does it cost to start a goroutine and join it; and to await a task, which starts nothing?
#include "support.hpp"

#include <functional>

namespace {

rn::task<> nothing() { co_return; }

rn::task<> count_down(rn::wait_group& wg) {
  wg.done();
  co_return;
}

rn::task<> spawn_group(long n) {
  rn::errgroup g;
  for (long i = 0; i < n; ++i) co_await g.go(nothing);
  co_await g.wait();
}

rn::task<long> spawn_and_join() {
  const long n = bench::scaled(1'000'000);
  co_await spawn_group(n);
  co_return n;
}

// The parent starts them all before it lets any of them run.
rn::task<long> spawn_a_flood() {
  const long n = bench::scaled(1'000'000);
  rn::wait_group wg;
  for (long i = 0; i < n; ++i) {
    wg.add(1);
    rn::go(count_down, std::ref(wg));
  }
  co_await wg.wait();
  co_return n;
}

rn::task<long> spawn_batches() {
  const long batches = bench::scaled(1000);
  for (long i = 0; i < batches; ++i) co_await spawn_group(1000);
  co_return 1000 * batches;
}

rn::task<long> spawn_one_join_one() {
  const long n = bench::scaled(1'000'000);
  for (long i = 0; i < n; ++i) co_await spawn_group(1);
  co_return n;
}

rn::task<long> spawn_one_wait_group() {
  const long n = bench::scaled(1'000'000);
  rn::wait_group wg;
  for (long i = 0; i < n; ++i) {
    wg.add(1);
    rn::go(count_down, std::ref(wg));
    co_await wg.wait();
  }
  co_return n;
}

rn::task<long> one() { co_return 1; }

rn::task<long> await_a_task() {
  const long n = bench::scaled(20'000'000);
  long sum = 0;
  for (long i = 0; i < n; ++i) sum += co_await one();
  bench::check(sum == n, "await");
  co_return n;
}

rn::task<> yield_often(long n) {
  for (long i = 0; i < n; ++i) co_await rn::yield();
}

rn::task<long> yield() {
  const long each = bench::scaled(500'000);
  rn::errgroup g;
  for (int i = 0; i < 8; ++i) co_await g.go(yield_often, each);
  co_await g.wait();
  co_return 8 * each;
}

const int registered = [] {
  bench::batch("spawn_and_join", spawn_and_join);
  bench::batch("spawn_a_flood", spawn_a_flood);
  bench::batch("spawn_batches", spawn_batches);
  bench::batch("spawn_one_join_one", spawn_one_join_one);
  bench::batch("spawn_one_wait_group", spawn_one_wait_group);
  bench::batch("await_a_task", await_a_task);
  bench::batch("yield", yield);
  return 0;
}();

}  // namespace

BENCHMARK_MAIN();
