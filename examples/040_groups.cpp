// SPDX-License-Identifier: BSL-1.0
// Groups: children that are joined whatever happens, so that they may work on the locals around them.
#include <runnel.hpp>

#include <atomic>
#include <cstdio>
#include <functional>
#include <stdexcept>
#include <vector>

namespace rn = runnel;

// At most three at once: awaiting go waits for a slot.
rn::task<> square(int n, int& out, std::atomic<int>& running, std::atomic<int>& peak) {
  const int now = ++running;
  int seen = peak;
  while (seen < now && !peak.compare_exchange_weak(seen, now)) continue;
  co_await rn::yield();  // let the others in
  out = n * n;
  --running;
}

rn::task<> limited() {
  std::vector<int> squares(10);
  std::atomic<int> running = 0, peak = 0;
  co_await rn::with_errgroup(rn::limit(3), [&](rn::errgroup& g) -> rn::task<> {
    for (int i = 0; i < 10; ++i)
      co_await g.go(square, i, std::ref(squares[i]), std::ref(running), std::ref(peak));
  });
  std::printf("squares:");
  for (int n : squares) std::printf(" %d", n);
  std::printf("\nat most three at once: %s\n", peak <= 3 ? "yes" : "no");
}

// The first error cancels the others and is rethrown where the group stands.
struct at_the_end {  // a destructor is all that clean-up takes: cancellation unwinds
  explicit at_the_end(std::atomic<int>& n) : count(n) {}
  ~at_the_end() { ++count; }
  std::atomic<int>& count;
};

rn::task<> wait_for_ever(rn::chan<int> silent, rn::wait_group& ready, std::atomic<int>& unwound) {
  at_the_end guard(unwound);
  ready.done();
  co_await silent.recv();
  std::puts("never printed: nobody sends");
}

rn::task<> fail_after(rn::wait_group& ready) {
  co_await ready.wait();
  throw std::runtime_error("the disk is full");
}

rn::task<> first_error() {
  rn::chan<int> silent(0);
  rn::wait_group ready;
  std::atomic<int> unwound = 0;
  ready.add(4);
  try {
    co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
      for (int i = 0; i < 4; ++i) co_await g.go(wait_for_ever, silent, std::ref(ready), std::ref(unwound));
      co_await g.go(fail_after, std::ref(ready));
    });
  } catch (const std::runtime_error& error) {
    std::printf("caught: %s\nsiblings unwound by then: %d\n", error.what(), unwound.load());
  }
}

rn::task<> app() {
  co_await limited();
  co_await first_error();
}

int main() { return rn::run(app); }
