// SPDX-License-Identifier: BSL-1.0
// Let it crash: a supervisor starts its children in order, starts again those that fail, with those that stand on them,
// and stops them in reverse.
#include <runnel.hpp>
#include <runnel/otp.hpp>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <functional>
#include <stdexcept>

namespace rn = runnel;
using namespace std::chrono_literals;

struct plant {
  std::atomic<int> connections = 0;
  rn::event working;
};

// The connection breaks once. It says when it is there: those behind it start then.
rn::task<> database(plant& p) {
  struct connection {
    connection() { std::puts("database: connected"); }
    ~connection() { std::puts("database: closed"); }
  } c;
  bool first = ++p.connections == 1;
  co_await rn::ready();
  if (first) {
    co_await p.working.wait();
    throw std::runtime_error("connection lost");
  }
  co_await rn::done();
}

// Built from what is in the database, so it is started anew with it.
rn::task<> cache() {
  std::puts("cache: warm");
  co_await rn::ready();
  co_await rn::done();
}

// A job that is done once it is done. It is significant: the tree stops with it.
rn::task<> job(plant& p) {
  p.working.set();
  if (p.connections == 1) co_await rn::sleep(1h);  // it is stopped, and started again, with the database
  std::puts("job: done");
}

int main() {
  plant p;
  rn::supervisor sup(rn::rest_for_one, rn::max_restarts(3, 5s), rn::auto_shutdown(rn::any_significant));
  sup.child("database", rn::permanent, rn::wait_ready(5s), rn::backoff(1ms, 1s), database, std::ref(p))
      .child("cache", rn::permanent, rn::wait_ready(5s), cache)
      .child("job", rn::transient, rn::significant, job, std::ref(p));
  return rn::run(std::move(sup));
}
