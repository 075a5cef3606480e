// SPDX-License-Identifier: BSL-1.0
// A local whose destructor notes its name, the number of exceptions in flight, and whether its goroutine unwinds.
#pragma once

#include <runnel/this_task.hpp>

#include <exception>
#include <string>
#include <utility>
#include <vector>

namespace test_support {

struct death {
  std::string name;
  int raised;  // exceptions in flight now, less those when the object was made
  bool unwinding;
  friend bool operator==(const death&, const death&) = default;
};
using deaths = std::vector<death>;

class unwind_probe {
 public:
  unwind_probe(deaths& log, std::string name) : x_log(log), x_name(std::move(name)) {}
  unwind_probe(const unwind_probe&) = delete;
  unwind_probe& operator=(const unwind_probe&) = delete;
  ~unwind_probe() {
    x_log.push_back(death{std::move(x_name), std::uncaught_exceptions() - x_before, runnel::unwinding()});
  }

 private:
  deaths& x_log;
  std::string x_name;
  int x_before = std::uncaught_exceptions();
};

inline std::vector<std::string> names(const deaths& log) {
  std::vector<std::string> result;
  for (const auto& d : log) result.push_back(d.name);
  return result;
}

}  // namespace test_support
