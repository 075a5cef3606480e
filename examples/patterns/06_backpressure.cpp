// SPDX-License-Identifier: BSL-1.0
// Backpressure: wait for room, limit what runs at once, or shed what is too much.
#include <runnel.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <functional>
#include <utility>
#include <vector>

namespace rn = runnel;
using namespace std::chrono_literals;

struct gauge {  // how many run now, and how many did at most
  void up() {
    int now = ++running, seen = peak;
    while (seen < now && !peak.compare_exchange_weak(seen, now)) continue;
  }
  void down() { --running; }
  std::atomic<int> running = 0, peak = 0;
};

rn::task<> resize(int, gauge& g) {
  g.up();
  co_await rn::sleep(1ms);
  g.down();
}

// Go: a channel with room for four. The producer waits when it is full, so it is never further ahead than that.
rn::task<> produce(rn::sender<int> out, std::atomic<int>& made) {
  auto last = out.closer();
  for (int n = 1; n <= 100; ++n) {
    co_await out.send(n);
    ++made;
  }
}

rn::task<> bounded_channel() {
  rn::chan<int> queue(4);
  std::atomic<int> made = 0;
  int used = 0, ahead = 0;
  rn::go(produce, rn::sender(queue), std::ref(made));
  while (auto n = co_await queue.recv()) {
    ++used;
    ahead = std::max(ahead, made - used);
  }
  std::printf("  %d items, the producer never more than four ahead: %s\n", used, ahead <= 4 ? "yes" : "no");
}

// Go: a semaphore of 20 over the items. The permit is moved into the goroutine and goes back when that ends.
rn::task<> resize_with(int item, rn::permit, gauge& g) { co_await resize(item, g); }

rn::task<> semaphore() {
  gauge g;
  rn::semaphore slots(20);
  co_await rn::with_errgroup([&](rn::errgroup& group) -> rn::task<> {
    for (int item = 0; item < 100; ++item) {
      auto permit = co_await slots.acquire();
      group.go(resize_with, item, std::move(permit), std::ref(g));
    }
  });
  std::printf("  semaphore: at most 20 at once: %s\n", g.peak <= 20 ? "yes" : "no");
}

// Elixir: max_concurrency. A group has the same as limit(n).
rn::task<> max_concurrency() {
  gauge g;
  std::vector<int> items(100);
  auto one = [&](int item) { return resize(item, g); };
  co_await rn::for_each(items, rn::max_concurrency(20), one);
  std::printf("  max_concurrency: at most 20 at once: %s\n", g.peak <= 20 ? "yes" : "no");
}

// Go: select with default. What finds no room is refused at once, and whole.
rn::task<> shed_load() {
  rn::chan<int> queue(3);
  int refused = 0;
  for (int request = 0; request < 10; ++request)
    co_await rn::select(rn::on(queue.send(request), [] {}), rn::on(rn::otherwise, [&] { ++refused; }));
  std::printf("  select with otherwise: %zu queued, %d refused\n", queue.len(), refused);
  int late = 11;
  bool sent = queue.try_send(late);  // the same without the ceremony
  std::printf("  try_send: %s\n", sent ? "queued" : "refused");
}

rn::task<> app() {
  std::puts("wait for room:");
  co_await bounded_channel();
  std::puts("limit what runs at once:");
  co_await semaphore();
  co_await max_concurrency();
  std::puts("shed what is too much:");
  co_await shed_load();
}

int main() { return rn::run(app); }
