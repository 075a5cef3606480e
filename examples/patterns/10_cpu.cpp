// SPDX-License-Identifier: BSL-1.0
// Computing beside I/O: what a long loop does to the others, measured, and three ways out.
#include <runnel.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <utility>

namespace rn = runnel;
using namespace std::chrono_literals;
using std::chrono::steady_clock;

void compute(std::chrono::microseconds how_long) {
  for (auto end = steady_clock::now() + how_long; steady_clock::now() < end;) continue;
}

// A heart that beats each millisecond, as a connection would be served. A beat is late if its goroutine gets no thread.
rn::task<> heart(steady_clock::duration& worst) {
  rn::ticker beat(1ms);
  for (;;) {
    auto due = co_await beat.recv();
    worst = std::max(worst, steady_clock::now() - due);
  }
}

rn::task<> measure(const char* name, rn::task<> work) {
  steady_clock::duration worst{};
  auto beats = rn::async(heart, std::ref(worst));
  co_await rn::sleep(5ms);
  co_await std::move(work);
  co_await rn::sleep(5ms);
  (void)co_await beats.shutdown();
  long ms = std::chrono::duration_cast<std::chrono::milliseconds>(worst).count();
  std::printf("  %s: %s\n", name, ms > 100 ? "held up" : "on time");
  std::fprintf(stderr, "  (%s: a beat was %ld ms late)\n", name, ms);
}

// There is no preemption, other than in Go and on the BEAM: who computes for 200 ms has its processor for 200 ms.
rn::task<> one_loop() {
  compute(200ms);
  co_return;
}

// 1. Let the others in now and then. It is a place where a cancellation is heard, too.
rn::task<> with_yield() {
  for (int i = 0; i < 2000; ++i) {
    compute(100us);
    co_await rn::yield();
  }
}

// 2. Elixir's dirty schedulers and NIFs on threads: a plain function, on a thread where nobody waits behind it.
rn::task<> on_a_thread() { co_await rn::blocking(compute, 200ms); }

rn::task<> one_processor() {
  co_await measure("one loop", one_loop());
  co_await measure("with yield", with_yield());
  co_await measure("blocking", on_a_thread());
}

// 3. GOMAXPROCS: an idle processor takes over those who wait behind a loop.
rn::task<> two_processors() { co_await measure("one loop", one_loop()); }

int main() {
  std::puts("one processor:");
  if (int status = rn::run(rn::threads(1), one_processor)) return status;
  std::puts("two processors:");
  return rn::run(rn::threads(2), two_processors);
}
