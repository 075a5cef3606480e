// SPDX-License-Identifier: BSL-1.0
// runnel/tests/model/waiter_model.cpp: explores the waiter protocol exhaustively, whole and with each of its parts broken.
//
// Without arguments: the base configurations, which must be right, and the mutations, each of which must be found.
//   --big         the large configurations instead
//   --only TEXT   only configurations and mutations whose name contains TEXT
//   --trace       prints the execution that leads to each fault (one of a broken base is always printed)
//   --table       prints the results as the tables of docs/design/waiter-protocol.md
#include "model/base_configurations.hpp"
#include "model/model.hpp"

#include <chrono>
#include <cstdio>
#include <string_view>

namespace model = runnel::model;

namespace {

void print_word(model::word w) {
  using namespace model::code;
  if (w.code == none) std::printf(" 0");
  else if (is_plain(w.code)) std::printf(" plain(%d)", w.code - 1);
  else if (w.code == registering) std::printf(" registering.%d", w.generation);
  else if (w.code == parked) std::printf(" parked.%d", w.generation);
  else if (w.code == self) std::printf(" self.%d", w.generation);
  else if (w.code == stopped) std::printf(" stopped.%d", w.generation);
  else if (is_claimed(w.code)) std::printf(" claimed(%d).%d", w.code - first_claim, w.generation);
  else std::printf(" operation%s%s%s.%d", w.code & owned ? "+owned" : "", w.code & requested ? "+requested" : "", w.code & pending ? "+pending" : "", w.generation);
}

}  // namespace

int main(int argc, char** argv) {
  std::string_view only;
  for (int i = 1; i < argc; ++i)
    if (std::string_view(argv[i]) == "--only" && i + 1 < argc) only = argv[++i];
  for (auto& c : model::base_configurations()) {
    if (c.name.find(only) == std::string::npos) continue;
    model::waiter_model m(c);
    model::explorer<model::waiter_model> e(m);
    auto t0 = std::chrono::steady_clock::now();
    auto v = e.run(m.first(), 5000000);
    double t = std::chrono::duration<double>(std::chrono::steady_clock::now() - t0).count();
    std::printf("%-80s %8zu %6zu %.2fs %s%s%s\n", c.name.c_str(), v.states, v.ends, t, v.fault ? v.fault : "right", v.repeats ? " REPEATS" : "", v.complete ? "" : " INCOMPLETE");
    std::fflush(stdout);
    if (v.fault) for (auto [move, n] : v.trace) {
      auto before = e.at(n);
      std::printf("    %-50s", m.describe(move, before).c_str());
      for (std::size_t g = 0; g < c.goroutines.size(); ++g) print_word(before.g[g].w);
      std::printf("\n");
    }
  }
}
