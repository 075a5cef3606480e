// SPDX-License-Identifier: BSL-1.0
// Background jobs: a pool of workers on a queue, attempts with pauses, and an orderly end.
#include <runnel.hpp>
#include <runnel/otp.hpp>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <exception>
#include <functional>
#include <stdexcept>

namespace rn = runnel;
using namespace std::chrono_literals;

enum class to { good_host, busy_host, no_host, silent_host };  // what becomes of a mail

struct ledger {
  std::atomic<int> delivered = 0, dead = 0, calls_of_busy = 0;
  rn::event something_delivered;
};

rn::task<> deliver(to host, ledger& books) {
  if (host == to::silent_host) co_await rn::sleep(1h);
  if (host == to::no_host) throw std::runtime_error("no such host");
  if (host == to::busy_host && ++books.calls_of_busy < 3) throw std::runtime_error("not now");
  ++books.delivered;
  books.something_delivered.set();
}

// Go: workers on a channel. A catch that swallows everything does not swallow a cancellation: that unwinds the worker.
rn::task<> worker(rn::receiver<to> queue, ledger& books) {
  while (auto host = co_await queue.recv()) {
    try {
      co_await rn::retry(rn::attempts(3), rn::backoff(1ms, 10ms), deliver, *host, std::ref(books));
    } catch (...) {
      ++books.dead;  // its letter would go to where the dead ones are
    }
  }
}

rn::task<> pool(int workers, rn::receiver<to> queue, ledger& books) {
  co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
    for (int i = 0; i < workers; ++i) g.go(worker, queue, std::ref(books));
    co_return;
  });
}

// The end: nothing new comes in, what is queued is done; after the grace time what is left is given up, and told.
rn::task<> mail(rn::chan<to> queue, int workers, std::chrono::milliseconds grace) {
  ledger books;
  auto running = rn::async(pool, workers, queue, std::ref(books));
  queue.close();
  auto end = co_await running.await_for(grace);
  if (!end) end = co_await running.shutdown(1s);
  std::printf("  %d delivered, %d dead after three attempts, %zu left in the queue: %s\n", books.delivered.load(),
              books.dead.load(), queue.len(), end->ok() ? "drained" : "given up");
}

// Elixir: each job is a child of a supervisor: started again after an error, with a pause that grows, until it is done;
// and no more than two at once.
rn::task<> supervised() {
  ledger books;
  rn::dynamic_supervisor jobs(rn::max_children(2), rn::max_restarts::unlimited());
  auto running = rn::async([&]() -> rn::task<> { co_await jobs.run(); });
  for (to host : {to::silent_host, to::busy_host, to::good_host}) {
    auto job = co_await jobs.start_child(rn::transient, rn::backoff(1ms, 10ms), deliver, host, std::ref(books));
    if (!job) std::puts("  the third is one too many");
  }
  co_await books.something_delivered.wait();
  (void)co_await running.shutdown(5s);  // asks the silent one to end
  std::printf("  %d delivered, at attempt %d\n", books.delivered.load(), books.calls_of_busy.load());
}

rn::task<> app() {
  std::puts("workers on a queue:");
  rn::chan<to> queue(16), more(16);
  for (to host : {to::good_host, to::no_host, to::busy_host, to::good_host}) co_await queue.send(host);
  co_await mail(queue, 3, 5s);
  for (to host : {to::silent_host, to::good_host, to::good_host}) co_await more.send(host);
  co_await mail(more, 1, 50ms);
  std::puts("supervised jobs:");
  co_await supervised();
}

int main() { return rn::run(app); }
