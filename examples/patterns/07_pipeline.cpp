// SPDX-License-Identifier: BSL-1.0
// A pipeline with backpressure: stages and channels, a stage with several workers, and batches at its end.
#include <runnel.hpp>

#include <chrono>
#include <cstdio>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace rn = runnel;
using namespace std::chrono_literals;

// Go: each stage is a goroutine that owns the channel it writes to. None is more than the room of a channel ahead of
// the next, so a slow end slows the beginning down. An error closes the channel, and comes out at its other end.
rn::task<> read_lines(rn::sender<std::string> out, int lines) {
  auto last = out.closer();
  for (int n = 1; n <= lines; ++n) co_await out.send(std::to_string(n));
}

rn::task<> parse(rn::receiver<std::string> in, rn::sender<int> out) {
  auto last = out.closer();
  while (auto line = co_await in.recv()) co_await out.send(std::stoi(*line));
}

rn::task<> add_up(rn::receiver<int> in, long& sum) {
  while (auto n = co_await in.recv()) sum += *n;
}

rn::task<> stages() {
  rn::chan<std::string> lines(2);
  rn::chan<int> numbers(2);
  long sum = 0;
  co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
    g.go(read_lines, rn::sender(lines), 100);
    g.go(parse, rn::receiver(lines), rn::sender(numbers));
    g.go(add_up, rn::receiver(numbers), std::ref(sum));
    co_return;  // the group joins its stages
  });
  std::printf("  the sum of the lines is %ld\n", sum);
}

// Elixir's Flow: streams take channels for input, so a stage with four workers that keeps the order is one of them.
// It pulls a line when a worker is free, and no sooner.
rn::task<int> square(std::string line) {
  co_await rn::yield();
  if (line == "13") throw std::runtime_error("line 13 is broken");
  int n = std::stoi(line);
  n *= n;
  co_return n;
}

rn::task<> workers() {
  rn::chan<std::string> lines(2);
  rn::go(read_lines, rn::sender(lines), 20);
  auto squares = rn::async_stream(lines, rn::max_concurrency(4), rn::ordered, square);
  int sum = 0, last = 0;
  while (auto item = co_await squares.next()) {
    if (!item->ok()) {
      std::printf("  left out: line %s\n", item->input().c_str());
      continue;
    }
    last = item->value();
    sum += last;
  }
  std::printf("  the sum of the other squares is %d, the last is %d\n", sum, last);
}

// Broadway's batcher: what is there, up to eight at once. With a clock in it: a batch is sent when it is full, or when
// its first element has waited for long enough.
rn::task<> collect(rn::receiver<int> in, rn::sender<std::vector<int>> out, std::size_t most,
                   std::chrono::seconds limit) {
  auto last = out.closer();
  std::vector<int> batch;
  rn::timer patience;
  for (bool open = true; open;) {
    bool due = false;
    co_await rn::select(rn::on(in.recv(),
                               [&](std::optional<int> n) {
                                 if (n && batch.empty()) patience.reset(limit);
                                 if (n) batch.push_back(*n);
                                 open = n.has_value();
                               }),
                        rn::on(patience.recv(), [&] { due = true; }));
    if (batch.empty() || (open && !due && batch.size() < most)) continue;
    patience.stop();
    co_await out.send(rn::moved(batch));
    batch.clear();
  }
}

rn::task<> number_them(rn::sender<int> out) {
  auto last = out.closer();
  for (int n = 1; n <= 20; ++n) co_await out.send(n);
}

rn::task<> batches() {
  rn::chan<int> numbers(64);
  rn::chan<std::vector<int>> full(1);
  rn::go(number_them, rn::sender(numbers));
  rn::go(collect, rn::receiver(numbers), rn::sender(full), 8u, 5s);
  while (auto batch = co_await full.recv()) std::printf("  a batch of %zu\n", batch->size());
}

rn::task<> app() {
  std::puts("stages:");
  co_await stages();
  std::puts("a stage of four workers:");
  co_await workers();
  std::puts("batches:");
  co_await batches();
}

int main() { return rn::run(app); }
