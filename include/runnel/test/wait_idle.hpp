// SPDX-License-Identifier: BSL-1.0
// runnel/test/wait_idle.hpp: wait_idle, which waits until everybody else waits.
// Layer: L13
#pragma once

#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/detail/test_host.hpp>
#include <runnel/error.hpp>
#include <runnel/waiter.hpp>

namespace runnel::detail {

class idle_operation : public awaitable_base {
 public:
  idle_operation() noexcept = default;
  idle_operation(idle_operation&&) noexcept {}
  idle_operation& operator=(const idle_operation&) = delete;

  bool suspend(promise_base* leaf) {
    test_host* host = test_host::current();
    if (!host) throw misuse_error("runnel: wait_idle outside of a test run");
    goroutine& g = goroutine_of(leaf);
    if (!enter_operation(g)) return stop_here(g, leaf), true;
    if (!host->quiet_waiters.empty())
      throw misuse_error("runnel: somebody waits in wait_idle already, and would never find this goroutine waiting");
    park_lock& q = hashed_lock(host);
    bool biased = q.lock(nullptr);
    bool parked = park(g, leaf, q, x_waiter, host->quiet_waiters);
    q.unlock(biased);
    if (!parked) stop_here(g, leaf);
    return true;
  }
  void resume() const noexcept {}

 private:
  waiter x_waiter{waiter::reason_t::quiet};
};

}  // namespace runnel::detail

namespace runnel::test {

/// Waits until every other goroutine of the test run waits for something: `co_await rn::test::wait_idle()`. Timers that
/// are due have fired by then; the clock does not move.
///
/// Suspends: always. Cancel-safety: nothing to lose. Ordering: what the others did before they waited happens before
/// it returns (SY-11).
/// Throws: misuse_error outside of a test run, and for the second goroutine that waits in it at once.
/// Contract: SEMANTICS.md SY-04.
[[nodiscard("co_await it")]] inline detail::idle_operation wait_idle() noexcept { return detail::idle_operation(); }

}  // namespace runnel::test
