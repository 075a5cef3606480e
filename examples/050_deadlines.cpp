// SPDX-License-Identifier: BSL-1.0
// Deadlines and what happens at one: everything inside unwinds; finally cleans up; shield finishes first.
#include <runnel.hpp>

#include <chrono>
#include <cstdio>
#include <utility>

namespace rn = runnel;
using namespace std::chrono_literals;

// The deadline is ambient: what is called inside knows nothing of it, and needs no parameter for it.
rn::task<int> slow_query() {
  struct transaction {
    ~transaction() { std::puts(rn::unwinding() ? "  rolled back" : "  committed"); }
  } guard;
  co_await rn::sleep(1h);
  co_return 42;
}

rn::task<> with_a_deadline() {
  try {
    co_await rn::with_timeout(5ms, slow_query());
    std::puts("never printed");
  } catch (const rn::deadline_exceeded& error) {
    std::printf("timeout: %s\n", error.what());
  }
}

// Work after a co_await may never run. Clean-up that itself has to wait goes into finally.
rn::task<> say_goodbye() {
  co_await rn::sleep(1ms);  // shielded: runs to its end
  std::puts("  said goodbye");
}

rn::task<> connection() {
  co_await rn::finally(rn::sleep(1h), say_goodbye);
  std::puts("never printed");
}

// What must not be torn in two is shielded: the cancellation waits at its end.
rn::task<> two_steps() {
  co_await rn::sleep(20ms);
  std::puts("  both steps done");
}

rn::task<> transfer() {
  co_await rn::shield(two_steps());
  co_await rn::yield();
  std::puts("never printed: the deadline has passed meanwhile");
}

rn::task<> give_up_after_5ms(const char* name, rn::task<> work) {
  try {
    co_await rn::with_timeout(5ms, std::move(work));
  } catch (const rn::timeout_error&) {
    std::printf("%s: timed out\n", name);
  }
}

rn::task<> app() {
  co_await with_a_deadline();
  co_await give_up_after_5ms("connection", connection());
  co_await give_up_after_5ms("transfer", transfer());
}

int main() { return rn::run(app); }
