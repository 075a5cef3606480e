// SPDX-License-Identifier: BSL-1.0
// A libFuzzer target: random programs of sends, receives, selects, closes, cancels and timeouts. tests/fuzz/run.sh.
#include "fuzz/channel_program.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto complaint = fuzz::channel_program({data, size}).run();
  if (complaint.empty()) return 0;
  std::fprintf(stderr, "%s\n", complaint.c_str());
  std::abort();
}
