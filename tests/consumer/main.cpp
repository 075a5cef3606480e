// SPDX-License-Identifier: BSL-1.0
// tests/consumer/main.cpp: the program of a stranger who has found the library.
#include <runnel.hpp>

#include <cstdio>

namespace rn = runnel;

rn::task<int> app() {
  rn::chan<int> numbers(2);
  rn::go([](rn::chan<int> out) -> rn::task<> {
    for (int i = 1; i <= 4; ++i) co_await out.send(i);
    out.close();
  }, numbers);
  int sum = 0;
  while (auto n = co_await numbers.recv()) sum += *n;
  std::printf("runnel %s says %d\n", rn::version_string, sum);
  co_return sum == 10 ? 0 : 1;
}

int main() { return rn::run(app); }
