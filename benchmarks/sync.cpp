// SPDX-License-Identifier: BSL-1.0
// What does it cost eight goroutines to take turns at a mutex, or at a semaphore?
#include "support.hpp"

#include <atomic>

namespace {

constexpr int goroutines = 8;

// Eight goroutines that each do `turn` so often; an operation is a turn.
template <class Turns, class Turn> rn::task<long> take_turns(long n, Turn turn) {
  const long each = n / goroutines;
  Turns turns{0};
  rn::wait_group all;
  for (int i = 0; i < goroutines; ++i)
    all.go([&turns, each, turn]() -> rn::task<> {
      for (long k = 0; k < each; ++k) co_await turn(turns);
    });
  co_await all.wait();
  bench::check(turns == each * goroutines, "a turn was lost");
  co_return turns;
}

rn::task<> locked_turn(rn::mutex& m, long& turns) {
  auto guard = co_await m.lock();
  ++turns;
}
rn::task<> locked_turn_with_yield(rn::mutex& m, long& turns) {
  auto guard = co_await m.lock();
  ++turns;
  co_await rn::yield();
}
rn::task<> permitted_turn(rn::semaphore& s, std::atomic<long>& turns) {
  auto permit = co_await s.acquire();
  turns.fetch_add(1, std::memory_order_relaxed);
  co_await rn::yield();
}

rn::task<long> mutex_with_yield() {
  rn::mutex m;
  co_return co_await take_turns<long>(bench::scaled(2'000'000),
                                      [&m](long& turns) { return locked_turn_with_yield(m, turns); });
}
rn::task<long> mutex_without() {
  rn::mutex m;
  co_return co_await take_turns<long>(bench::scaled(8'000'000), [&m](long& turns) { return locked_turn(m, turns); });
}
// Two at a time of eight.
rn::task<long> semaphore() {
  rn::semaphore s(2);
  co_return co_await take_turns<std::atomic<long>>(
      bench::scaled(2'000'000), [&s](std::atomic<long>& turns) { return permitted_turn(s, turns); });
}

const int registered = [] {
  bench::batch("mutex_with_yield", mutex_with_yield);
  bench::batch("mutex", mutex_without);
  bench::batch("semaphore", semaphore);
  return 0;
}();

}  // namespace

BENCHMARK_MAIN();
