// EXPECT: T's move may throw, so it cannot wait outside: send it by value
// SPDX-License-Identifier: BSL-1.0

#include <runnel/chan.hpp>
#include <runnel/task.hpp>

#include <utility>

struct restless {
  restless() = default;
  restless(restless&&) noexcept(false) {}
};

runnel::task<> sends(runnel::chan<restless> ch) {
  restless named;
#ifdef RUNNEL_CONTROL
  co_await ch.send(std::move(named));
#else
  co_await ch.send(runnel::moved(named));
#endif
}
