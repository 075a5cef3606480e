// SPDX-License-Identifier: BSL-1.0
// packaging/conan/test_package/test_package.cpp: the package is found, compiles and runs.
#include <runnel.hpp>

#include <cstdio>

namespace rn = runnel;

rn::task<int> app() {
  rn::chan<int> ch(1);
  co_await ch.send(42);
  auto v = co_await ch.recv();
  std::printf("runnel %s\n", rn::version_string);
  co_return v == 42 ? 0 : 1;
}

int main() { return rn::run(app); }
