// SPDX-License-Identifier: BSL-1.0
// Rows 1, 1b, 1c, 1d, 8 and 13 with TooManyCooks, by its public interface. Built where a checkout of it is given.
#define TMC_IMPL
#include <tmc/ex_cpu.hpp>
#include <tmc/spawn.hpp>
#include <tmc/spawn_many.hpp>
#include <tmc/spawn_tuple.hpp>
#include <tmc/sync.hpp>
#include <tmc/task.hpp>

#include "../peer.hpp"

#include <cstddef>
#include <ranges>

tmc::task<void> nothing() { co_return; }
tmc::task<long> one() { co_return 1; }

tmc::task<void> spawn_all(long n, long batches) {
  for (long b = 0; b < batches; ++b) {
    auto children = std::views::iota(0L, n) | std::views::transform([](long) { return nothing(); });
    co_await tmc::spawn_many(children.begin(), static_cast<std::size_t>(n));
  }
}

tmc::task<void> spawn_one(long n) {
  for (long i = 0; i < n; ++i) {
    auto child = tmc::spawn(nothing()).fork();
    co_await std::move(child);
  }
}

tmc::task<void> plain_await(long n) {
  long sum = 0;
  for (long i = 0; i < n; ++i) sum += co_await one();
  peer::check(sum == n);
}

tmc::task<long> skynet(long number, long size) {
  if (size == 1) co_return number;
  auto children = std::views::iota(0L, 10L) |
                  std::views::transform([=](long i) { return skynet(number + i * (size / 10), size / 10); });
  long sum = 0;
  for (long part : co_await tmc::spawn_many<10>(children.begin())) sum += part;
  co_return sum;
}

tmc::task<long> fib(int n) {
  if (n < 2) co_return n;
  auto [a, b] = co_await tmc::spawn_tuple(fib(n - 1), fib(n - 2));
  co_return a + b;
}

void run(const peer::command& c) {
  const auto start = std::chrono::steady_clock::now();
  const auto per_op = [&](long n) {
    peer::print("tmc", c, peer::milliseconds_since(start) * 1e6 / static_cast<double>(n), "ns");
  };
  const auto block_on = [](auto task) { return tmc::post_waitable(tmc::cpu_executor(), std::move(task)).get(); };
  if (c.row == "1") {
    block_on(spawn_all(c.of(1'000'000), 1));
    per_op(c.of(1'000'000));
  } else if (c.row == "1b") {
    block_on(spawn_all(1000, c.of(1000)));
    per_op(1000 * c.of(1000));
  } else if (c.row == "1c") {
    block_on(spawn_one(c.of(1'000'000)));
    per_op(c.of(1'000'000));
  } else if (c.row == "1d") {
    block_on(plain_await(c.of(20'000'000)));
    per_op(c.of(20'000'000));
  } else if (c.row == "8") {
    const long size = c.skynet_size();
    peer::check(block_on(skynet(0, size)) == size * (size - 1) / 2);
    peer::print("tmc", c, peer::milliseconds_since(start), "ms");
  } else if (c.row == "13") {
    block_on(fib(c.fib_size()));
    peer::print("tmc", c, peer::milliseconds_since(start), "ms");
  } else {
    peer::unknown_row(c);
  }
}

int main(int argc, char** argv) {
  const auto c = peer::parse(argc, argv);
  tmc::cpu_executor().set_thread_count(static_cast<std::size_t>(c.threads)).init();
  for (int i = 0; i < c.repetitions; ++i) run(c);
}
