// SPDX-License-Identifier: BSL-1.0
// support/tasks.hpp: tasks of a task supervisor that give, fail and die as they are told; and one that runs beside them.
#pragma once

#include <runnel/errgroup.hpp>
#include <runnel/otp/task_supervisor.hpp>
#include <runnel/sleep.hpp>
#include <runnel/test.hpp>
#include <runnel/with_context.hpp>

#include "support/what.hpp"

#include <chrono>
#include <exception>
#include <stdexcept>
#include <string>

namespace runnel_test {

namespace rn = runnel;
using namespace std::chrono_literals;

struct alive_here {
  int& n;
  explicit alive_here(int& counter) : n(counter) { ++n; }
  alive_here(const alive_here&) = delete;
  alive_here& operator=(const alive_here&) = delete;
  ~alive_here() { --n; }
};
inline rn::task<int> give_after(std::chrono::milliseconds d, int value, int& alive) {
  alive_here here(alive);
  co_await rn::sleep(d);
  co_return value;
}
inline rn::task<int> fail_after(std::chrono::milliseconds d, int& alive) {
  alive_here here(alive);
  co_await rn::sleep(d);
  throw std::runtime_error("failed");
}
inline rn::task<> lie(std::chrono::milliseconds d) { co_await rn::sleep(d); }
// When it is cancelled it takes so long, shielded.
inline rn::task<int> die_slowly(std::chrono::milliseconds d, int& alive) {
  alive_here here(alive);
  auto slow = [d] { return lie(d); };
  co_await rn::finally(rn::sleep(1000h), slow);
  co_return 0;
}

// Runs body beside it; then it is stopped. Throws what either does.
template <class Body> rn::task<> beside(rn::task_supervisor& sup, Body body) {
  auto both = [&](rn::errgroup& g) -> rn::task<> {
    auto run = [&sup]() -> rn::task<> { co_await sup.run(); };
    co_await g.go(run);
    co_await body();
    g.cancel();
  };
  co_await rn::with_errgroup(both);
}
template <class Body> void in_one(rn::task_supervisor sup, Body body) {
  rn::test::run([&]() -> rn::task<> { co_await beside(sup, [&]() -> rn::task<> { co_await body(sup); }); });
}

}  // namespace runnel_test
