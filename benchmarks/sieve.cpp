// SPDX-License-Identifier: BSL-1.0
// How fast is a long chain of goroutines and channels? The prime sieve, one goroutine for each prime.
#include "support.hpp"

#include <cstddef>

namespace {

int nth_prime(long n) {
  for (int i = 2;; ++i) {
    bool prime = true;
    for (int d = 2; d * d <= i && prime; ++d) prime = i % d != 0;
    if (prime && --n == 0) return i;
  }
}

// The numbers end with the last prime that is asked for, so that the chain closes from its head.
rn::task<> generate(rn::chan<int> out, int last) {
  for (int i = 2; i <= last; ++i) co_await out.send(i);
  out.close();
}

rn::task<> filter(rn::chan<int> in, rn::chan<int> out, int prime) {
  while (auto i = co_await in.recv())
    if (*i % prime != 0) co_await out.send(*i);
  out.close();
}

rn::task<long> sieve(std::size_t capacity) {
  const long primes = bench::scaled(2000);
  rn::chan<int> ch(capacity);
  rn::go(generate, ch, nth_prime(primes));
  long found = 0;
  while (auto prime = co_await ch.recv()) {
    ++found;
    rn::chan<int> next(capacity);
    rn::go(filter, ch, next, *prime);
    ch = next;
  }
  bench::check(found == primes, "primes");
  co_return 1;
}

rn::task<long> sieve_unbuffered() { return sieve(0); }
rn::task<long> sieve_buffered() { return sieve(128); }

const int registered = [] {
  bench::batch("sieve_unbuffered", sieve_unbuffered);
  bench::batch("sieve_buffered", sieve_buffered);
  return 0;
}();

}  // namespace

BENCHMARK_MAIN();
