// SPDX-License-Identifier: BSL-1.0
// Ints through one channel, from so many producers to as many consumers.
#pragma once

#include "support.hpp"

#include <cstddef>
#include <functional>
#include <vector>

namespace bench {

/// produce(ch, n, args...) sends n ints; consume(ch, received, args...) counts what it receives, until ch is closed.
/// Yields how many got through.
template <class Produce, class Consume, class... Args>
rn::task<long> pipes(long n, int pairs, std::size_t capacity, Produce produce, Consume consume, Args... args) {
  const long each = n / pairs;
  rn::chan<int> ch(capacity);
  std::vector<long> received(static_cast<std::size_t>(pairs));
  rn::errgroup producers, consumers;
  for (long& mine : received) {
    co_await producers.go(produce, ch, each, args...);
    co_await consumers.go(consume, ch, std::ref(mine), args...);
  }
  co_await producers.wait();
  ch.close();
  co_await consumers.wait();
  long sum = 0;
  for (long mine : received) sum += mine;
  check(sum == each * pairs, "an element was lost");
  co_return sum;
}

}  // namespace bench
