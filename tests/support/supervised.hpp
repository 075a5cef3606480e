// SPDX-License-Identifier: BSL-1.0
// support/supervised.hpp: children that do as they are told, and say what they do; for tests of supervisors.
#pragma once

#include <runnel/chan.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/otp/supervisor.hpp>
#include <runnel/sleep.hpp>
#include <runnel/test.hpp>
#include <runnel/with_context.hpp>

#include "support/what.hpp"

#include <chrono>
#include <exception>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>

namespace runnel_test {

namespace rn = runnel;

// What children are told, and what they have said: "+a" for a start, "-a" for an end, separated by spaces.
struct world {
  std::string said;
  std::map<std::string, rn::chan<std::string>> orders;
  std::map<std::string, int> starts;

  void say(const std::string& what) { said += (said.empty() ? "" : " ") + what; }
  std::string take() { return std::exchange(said, std::string()); }
  rn::chan<std::string> to(const std::string& name) {
    auto [at, fresh] = orders.try_emplace(name, 16);
    return at->second;
  }
  // Tells a child, and waits until everybody has done what follows from it.
  rn::task<> tell(std::string name, std::string what) {
    co_await to(name).send(what);
    co_await rn::test::wait_idle();
  }
};

struct ended {
  world& w;
  std::string name;
  ended(world& in, std::string n) : w(in), name(std::move(n)) {}
  ended(const ended&) = delete;
  ended& operator=(const ended&) = delete;
  ~ended() { w.say("-" + name); }
};

inline rn::task<> lie_down(std::chrono::milliseconds d) { co_await rn::sleep(d); }

// Says that it has started, and obeys: "throw", "return"; "die slowly": when it is cancelled, it takes 3 s, shielded.
inline rn::task<> obey(world& w, std::string name) {
  w.say("+" + name);
  ++w.starts[name];
  ended e(w, name);
  rn::chan<std::string> orders = w.to(name);
  for (;;) {
    auto order = co_await orders.recv();
    if (order == "throw") throw std::runtime_error(name + " fails");
    if (order == "return") co_return;
    if (order == "die slowly")
      co_await rn::finally(lie_down(std::chrono::hours(10'000)), [] { return lie_down(std::chrono::seconds(3)); });
  }
}

// Fails before it has begun, as often as it is told; then it obeys.
inline rn::task<> start_badly(world& w, std::string name, int& failures) {
  w.say("?" + name);
  if (failures > 0) {
    --failures;
    throw std::runtime_error(name + " does not start");
  }
  co_await rn::ready();
  co_await obey(w, name);
}

// Runs body while the supervisor runs, which is cancelled then. Throws what either does.
template <class Body> rn::task<> while_it_runs(rn::supervisor& sup, Body body) {
  auto both = [&](rn::errgroup& g) -> rn::task<> {
    auto run = [&sup]() -> rn::task<> { co_await sup.run(); };
    co_await g.go(run);
    co_await rn::test::wait_idle();
    co_await body();
    g.cancel();
  };
  co_await rn::with_errgroup(both);
}

// Three children that obey.
inline rn::supervisor abc(world& w, rn::supervision_strategy strategy,
                          rn::max_restarts limit = {3, std::chrono::seconds(5)}) {
  rn::supervisor sup(strategy, limit);
  for (const char* name : {"a", "b", "c"}) sup.child(name, obey, std::ref(w), std::string(name));
  return sup;
}
inline std::string states(const rn::supervisor_ref& sup) {
  std::string all;
  for (auto& c : sup.which_children()) {
    const char* names[] = {"idle", "starting", "running", "stopping", "restarting"};
    all += (all.empty() ? "" : " ") + c.id + ":" + names[static_cast<int>(c.state)];
  }
  return all;
}

// What it throws; null if it does not.
template <class W> rn::task<std::exception_ptr> error_of_run(W work) {
  auto outcome = co_await rn::as_result(std::move(work));
  co_return outcome.error();
}
template <class E> const E* as(const std::exception_ptr& e) {
  try {
    if (e) std::rethrow_exception(e);
  } catch (const E& x) {
    return &x;  // of e, which keeps it
  } catch (...) {
  }
  return nullptr;
}

}  // namespace runnel_test
