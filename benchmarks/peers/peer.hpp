// SPDX-License-Identifier: BSL-1.0
// What the C++ peers share: their command line, ROW THREADS REPETITIONS [SCALE], and the line of JSON that a repetition
// prints.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace peer {

struct command {
  std::string row;
  int threads;
  int repetitions;
  double scale;

  long of(long n) const { return std::max(1L, std::lround(static_cast<double>(n) * scale)); }
  // Sizes of trees: a power of ten of leaves, and an argument of Fibonacci's.
  long skynet_size() const { return std::lround(std::pow(10.0, std::round(6 + std::log10(scale)))); }
  int fib_size() const {
    return 30 + static_cast<int>(std::lround(std::log(scale) / std::log((1 + std::sqrt(5)) / 2)));
  }
};

inline command parse(int argc, char** argv) {
  command c;
  if (argc == 4 || argc == 5) {
    c = {argv[1], std::atoi(argv[2]), std::atoi(argv[3]), argc == 5 ? std::atof(argv[4]) : 1.0};
    if (c.threads >= 1 && c.repetitions >= 1 && c.scale > 0) return c;
  }
  std::fputs("usage: peer ROW THREADS REPETITIONS [SCALE]\n", stderr);
  std::exit(2);
}

inline double milliseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

inline void print(const char* peer, const command& c, double value, const char* unit) {
  std::printf("{\"row\": \"%s\", \"peer\": \"%s\", \"threads\": %d, \"value\": %.6g, \"unit\": \"%s\"}\n",
              c.row.c_str(), peer, c.threads, value, unit);
  std::fflush(stdout);
}

[[noreturn]] inline void unknown_row(const command& c) {
  std::fprintf(stderr, "this peer has no row %s\n", c.row.c_str());
  std::exit(2);
}

inline void check(bool right) {
  if (right) return;
  std::fputs("wrong result\n", stderr);
  std::exit(1);
}

}  // namespace peer
