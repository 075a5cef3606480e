// SPDX-License-Identifier: BSL-1.0
// What happens when it crashes: the owner hears of it, tries again, or starts it again.
#include <runnel.hpp>
#include <runnel/otp.hpp>

#include <chrono>
#include <cstdio>
#include <functional>
#include <stdexcept>
#include <string>

namespace rn = runnel;
using namespace std::chrono_literals;

// Go: the error is a value that its owner looks at. Here it is an exception that the owner gets; there is no goroutine
// with an error that nobody hears of.
rn::task<> parse(int line) {
  if (line == 3) throw std::invalid_argument("line 3 makes no sense");
  co_await rn::yield();
}

rn::task<> errors_have_owners() {
  rn::errgroup g(rn::collect_all);
  for (int line = 1; line <= 4; ++line) g.go(parse, line);
  try {
    co_await g.wait();
  } catch (const std::invalid_argument& error) {
    std::printf("  three lines are read, and: %s\n", error.what());
  }
}

// Go: the worker's loop with recover and a pause. Attempts, pauses and what to give up at are options.
rn::task<std::string> dial(int& calls) {
  co_await rn::yield();
  if (++calls < 3) throw std::runtime_error("connection refused");
  co_return "connected";
}

rn::task<> try_again() {
  int calls = 0;
  auto said = co_await rn::retry(rn::attempts(5), rn::backoff(1ms, 10ms), dial, std::ref(calls));
  std::printf("  %s at attempt %d\n", said.c_str(), calls);
}

// Elixir: let it crash. Three children, started in order; the second breaks once, when all are there. Who is started
// again is the strategy's to say.
struct tree {
  explicit tree(const char* strategy) { std::printf("  %s:", strategy); }
  int lives_of_b = 0;
  rn::event c_runs;
};

rn::task<> a(tree&) {
  std::printf(" a");
  co_await rn::ready();
  co_await rn::done();
}

rn::task<rn::child_end> b(tree& t) {
  std::printf(" b");
  co_await rn::ready();
  if (++t.lives_of_b == 1) {
    co_await t.c_runs.wait();
    std::printf(" |");
    throw std::runtime_error("b has crashed");
  }
  co_await t.c_runs.wait();
  co_return rn::child_end::stop_supervisor;
}

rn::task<> c(tree& t) {
  struct running {
    explicit running(rn::event& e) : event(e) { event.set(); }
    ~running() { event.reset(); }
    rn::event& event;
  };
  std::printf(" c");
  running r(t.c_runs);
  co_await rn::done();
}

rn::task<> let_it_crash(rn::supervision_strategy strategy, const char* name) {
  tree t(name);
  rn::supervisor sup(strategy, rn::max_restarts(3, 5s));
  sup.child("a", rn::permanent, rn::wait_ready(5s), a, std::ref(t))
      .child("b", rn::permanent, rn::wait_ready(5s), rn::backoff(1ms, 1s), b, std::ref(t))
      .child("c", rn::permanent, rn::shutdown(1s), c, std::ref(t));
  co_await sup.run();
  std::puts("");
}

rn::task<> app() {
  std::puts("errors have owners:");
  co_await errors_have_owners();
  std::puts("try again:");
  co_await try_again();
  std::puts("let it crash:");
  co_await let_it_crash(rn::one_for_one, "one_for_one");
  co_await let_it_crash(rn::one_for_all, "one_for_all");
  co_await let_it_crash(rn::rest_for_one, "rest_for_one");
}

int main() { return rn::run(app); }
