// SPDX-License-Identifier: BSL-1.0
// Computing beside I/O: what a long loop does to the others, measured, and three ways out.
#include <runnel.hpp>

#include <algorithm>
#include <atomic>
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

// A heart that beats each millisecond, as a connection would be served, if its goroutine gets a thread.
struct pulse {
  std::atomic<int> beats = 0;
  steady_clock::duration latest{};  // how much too late a beat was
};
rn::task<> heart(pulse& p) {
  rn::ticker beat(1ms);
  for (;;) {
    auto due = co_await beat.recv();
    p.latest = std::max(p.latest, steady_clock::now() - due);
    ++p.beats;
  }
}

rn::task<> measure(const char* name, rn::task<> work) {
  pulse p;
  auto beating = rn::async(heart, std::ref(p));
  co_await rn::sleep(5ms);
  int before = p.beats;
  co_await std::move(work);
  int meanwhile = p.beats - before;
  co_await rn::sleep(5ms);
  (void)co_await beating.shutdown();
  std::printf("  %s: %s\n", name, meanwhile == 0 ? "nobody else ran" : "the heart went on");
  auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(p.latest).count();
  std::fprintf(stderr, "  (%s: %d beats, one of them %d ms late)\n", name, meanwhile, static_cast<int>(ms));
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
