// SPDX-License-Identifier: BSL-1.0
// The command line of the example http_fanout.
#pragma once

#include <charconv>
#include <chrono>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

struct options {
  static constexpr auto usage =
      "usage: http_fanout [--listen PORT [--tls] [--backends HOST:PORT,...] [--limit N] [--connections N]\n"
      "                   [--deadline MS] [--patience MS] [--idle MS] [--grace MS]]\n";

  bool serves = false;
  unsigned short port = 0;  // 0: any that is free
  bool tls = false;
  std::vector<std::string> backends;  // none: three of its own
  int limit = 1000;                   // requests that ask backends at the same time
  int connections = 10'000;
  std::chrono::milliseconds deadline{1'000};  // of a request
  std::chrono::milliseconds patience{5'000};  // with a client that sends a request, or takes an answer
  std::chrono::milliseconds idle{60'000};     // between two requests
  std::chrono::milliseconds grace{5'000};     // from SIGTERM to the end

  bool read(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
      std::string_view name = argv[i];
      if (name == "--tls") {
        tls = true;
        continue;
      }
      if (++i == argc) return false;
      if (!read(name, argv[i])) return false;
    }
    return serves || argc == 1;
  }

 private:
  bool read(std::string_view name, std::string_view value) {
    if (name == "--backends") return split(value);
    int n = 0;
    auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), n);
    if (error != std::errc() || end != value.data() + value.size() || n < (name == "--listen" ? 0 : 1)) return false;
    if (name == "--listen") return serves = true, port = static_cast<unsigned short>(n), n <= 65535;
    if (name == "--limit") return limit = n, true;
    if (name == "--connections") return connections = n, true;
    for (auto [of, time] :
         {std::pair{"--deadline", &deadline}, {"--patience", &patience}, {"--idle", &idle}, {"--grace", &grace}})
      if (name == of) return *time = std::chrono::milliseconds(n), true;
    return false;
  }
  bool split(std::string_view list) {
    while (!list.empty()) {
      auto one = list.substr(0, list.find(','));
      if (one.find(':') == one.npos) return false;
      backends.emplace_back(one);
      list.remove_prefix(one.size() == list.size() ? list.size() : one.size() + 1);
    }
    return !backends.empty();
  }
};
