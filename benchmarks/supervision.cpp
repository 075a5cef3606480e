// SPDX-License-Identifier: BSL-1.0
// What does a supervised start cost, and what a restart?
#include "support.hpp"

#include <runnel/otp.hpp>

#include <atomic>
#include <stdexcept>

namespace {

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

rn::task<> return_at_once() { co_return; }

// start_child of a dynamic supervisor, awaited, of a temporary child that returns at once.
rn::task<long> start() {
  const long n = bench::scaled(200'000);
  rn::dynamic_supervisor sup;
  auto body = [&]() -> rn::task<> {
    for (long i = 0; i < n; ++i) (void)co_await sup.start_child(rn::temporary, return_at_once);
  };
  co_await beside(sup, body);
  co_return n;
}

// async_nolink of a task supervisor, awaited, and its result.
rn::task<long> identity(long n) { co_return n; }
rn::task<long> start_and_await() {
  const long n = bench::scaled(200'000);
  long sum = 0;
  rn::task_supervisor sup;
  auto body = [&]() -> rn::task<> {
    for (long i = 0; i < n; ++i) {
      auto t = co_await sup.async_nolink(identity, i);
      sum += co_await t.await();
    }
  };
  co_await beside(sup, body);
  bench::check(sum == n * (n - 1) / 2, "async_nolink");
  co_return n;
}

std::atomic<long> starts{0};

rn::task<> fail() {
  starts.fetch_add(1, std::memory_order_relaxed);
  throw std::runtime_error("again");
  co_return;
}
rn::task<> fail_without_a_throw() {
  starts.fetch_add(1, std::memory_order_relaxed);
  co_yield rn::failure(std::runtime_error("again"));
}
rn::task<> give_way() {
  starts.fetch_add(1, std::memory_order_relaxed);
  co_return;
}

template <class F> rn::task<long> restart(F child) {
  const long n = bench::scaled(200'000);
  starts.store(0, std::memory_order_relaxed);
  rn::supervisor sup(rn::one_for_one, rn::max_restarts::unlimited());
  sup.child("x", child);
  auto body = [&]() -> rn::task<> {
    while (starts.load(std::memory_order_relaxed) < n) co_await rn::yield();
  };
  co_await beside(sup, body);
  co_return n;
}
rn::task<long> restart_after_an_error() { return restart(fail); }
rn::task<long> restart_after_a_failure() { return restart(fail_without_a_throw); }
rn::task<long> restart_after_a_return() { return restart(give_way); }

const int registered = [] {
  bench::batch("supervised_start", start);
  bench::batch("supervised_task", start_and_await);
  bench::batch("restart_after_an_error", restart_after_an_error);
  bench::batch("restart_after_a_failure", restart_after_a_failure);
  bench::batch("restart_after_a_return", restart_after_a_return);
  return 0;
}();

}  // namespace

BENCHMARK_MAIN();
