// SPDX-License-Identifier: BSL-1.0
// Run many tasks, so many at once, and collect what they return.
#include <runnel.hpp>

#include <chrono>
#include <cstdio>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

namespace rn = runnel;
using namespace std::chrono_literals;

// Go: workers between two channels. Copies of the closer count; with the last worker the results end.
rn::task<> worker(rn::receiver<int> in, rn::sender<int> out, rn::closer<int>) {
  while (auto n = co_await in.recv()) co_await out.send(*n * *n);
}

rn::task<> number_them(rn::sender<int> out) {
  auto last = out.closer();
  for (int n = 1; n <= 10; ++n) co_await out.send(n);
}

rn::task<> fan_out_fan_in() {
  rn::chan<int> numbers(0), squares(0);
  rn::go(number_them, rn::sender(numbers));
  {
    auto last = squares.closer();
    for (int i = 0; i < 3; ++i) rn::go(worker, numbers, squares, last);
  }
  int sum = 0;
  while (auto n = co_await squares.recv()) sum += *n;
  std::printf("  three workers: the sum of ten squares is %d\n", sum);
}

rn::task<std::size_t> fetch(std::string url) {
  if (url == "down") throw std::runtime_error("connection refused");
  if (url == "slow") co_await rn::sleep(1h);
  co_return url.size();
}

// Go's errgroup: the first error cancels the others and is thrown here, when all have ended. So children may write
// into the locals around the group.
rn::task<> keep(const std::string& url, std::size_t& size) { size = co_await fetch(url); }

rn::task<> group(const std::vector<std::string>& urls) {
  std::vector<std::size_t> sizes(urls.size());
  try {
    co_await rn::with_errgroup(rn::limit(2), [&](rn::errgroup& g) -> rn::task<> {
      for (std::size_t i = 0; i < urls.size(); ++i) co_await g.go(keep, std::cref(urls[i]), std::ref(sizes[i]));
    });
    std::printf("  the last one has %zu bytes\n", sizes.back());
  } catch (const std::runtime_error& error) {
    std::printf("  all given up: %s\n", error.what());
  }
}

// Elixir's Task.async_stream: results come in the order of the inputs; one that fails, or takes too long, is told by
// name, and the others go on. map is the short form: all of them, or the first error.
rn::task<> stream(const std::vector<std::string>& urls) {
  auto pages = rn::async_stream(urls, rn::max_concurrency(2), rn::timeout(50ms), rn::kill_on_timeout, fetch);
  while (auto page = co_await pages.next()) {
    if (page->ok())
      std::printf("  %s: %zu bytes\n", page->input().c_str(), page->value());
    else
      std::printf("  %s: nothing\n", page->input().c_str());
  }
}

rn::task<> app() {
  const std::vector<std::string> good{"a", "bb", "ccc"}, mixed{"a", "slow", "down", "bb"};
  std::puts("channels:");
  co_await fan_out_fan_in();
  std::puts("errgroup:");
  co_await group(good);
  co_await group(mixed);
  std::puts("async_stream, map:");
  co_await stream(mixed);
  auto sizes = co_await rn::map(good, rn::max_concurrency(8), fetch);
  std::printf("  mapped: %zu %zu %zu\n", sizes[0], sizes[1], sizes[2]);
}

int main() { return rn::run(app); }
