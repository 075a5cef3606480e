// SPDX-License-Identifier: BSL-1.0
// runnel/sync/wait_group.hpp: wait_group, a counter that can be waited for until it is zero.
// Layer: L4
#pragma once

#include <runnel/compiler.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/error.hpp>
#include <runnel/go.hpp>
#include <runnel/waiter.hpp>

#include <atomic>
#include <cstdint>
#include <source_location>
#include <utility>

namespace runnel {

/// Counts pieces of work; wait() waits until the count is zero. For ported Go code: an errgroup carries errors and
/// cancellation as well, and cannot be left behind.
///
/// Ordering: each done() happens before the return of the wait() that it releases.
/// Thread-safety: everything may be called from any thread at the same time.
/// Lifetime: neither copied nor moved; destroying it with a count or with waiters is a reported error.
/// Contract: SEMANTICS.md WG-01 to WG-09.
//
// Invariants: x_count becomes 0 under the hashed lock only, by who then releases the waiters; wait() looks at it there.
class wait_group {
 public:
  wait_group() noexcept = default;
  wait_group(const wait_group&) = delete;
  wait_group& operator=(const wait_group&) = delete;
  ~wait_group() {
    if (x_count.load(std::memory_order_relaxed) != 0 || !x_waiters.empty())
      detail::fatal("a wait_group was destroyed while its count was not zero, or while somebody waited for it");
  }

  /// Changes the count. Throws: misuse_error, with no effect, if it would become negative.
  void add(std::int64_t delta = 1) {
    auto n = x_count.load(std::memory_order_relaxed);
    for (;;) {
      if (delta > 0 && n > INT64_MAX - delta) throw misuse_error("runnel: the count of a wait_group is too large");
      auto next = n + delta;
      if (next < 0) throw misuse_error("runnel: the count of a wait_group would become negative");
      if (next == 0 && n != 0) return reach_zero(delta);
      // release: what was done before, before the return of wait()
      if (x_count.compare_exchange_weak(n, next, std::memory_order_acq_rel, std::memory_order_relaxed)) return;
    }
  }
  void done() { add(-1); }

  /// Runs f in a goroutine of its own, and counts it until f returns. An error of f goes where those of rn::go go.
  template <class F>
  void go(F&& f, std::source_location where = std::source_location::current()) {
    detail::check_spawnable<F>();
    add(1);
    try {
      detail::ambient_spawner().go_at(where, &counted<detail::kept_t<F>>, this, detail::unmoved(std::forward<F>(f)),
                                      where);
    } catch (...) {
      done();
      throw;
    }
  }

  /// Waits until the count is zero.
  ///
  /// Suspends: while it is not; resumes on its own scheduler. Cancel-safety: nothing to lose.
  [[nodiscard("co_await it")]] auto wait() noexcept { return wait_operation(*this); }

 private:
  class wait_operation : public detail::awaitable_base {
   public:
    explicit wait_operation(wait_group& group) noexcept : x_group(group) {}
    wait_operation(wait_operation&& other) noexcept : x_group(other.x_group) {}
    bool suspend(detail::promise_base* leaf) {
      detail::goroutine& g = detail::goroutine_of(leaf);
      if (!detail::enter_operation(g)) return detail::stop_here(g, leaf), true;
      detail::park_lock& q = detail::hashed_lock(&x_group);
      bool biased = q.lock(nullptr);
      bool zero = x_group.x_count.load(std::memory_order_acquire) == 0;
      bool parked = !zero && detail::park(g, leaf, q, x_waiter, x_group.x_waiters);
      q.unlock(biased);
      if (zero) return detail::spend_budget(g, leaf);
      if (!parked) detail::stop_here(g, leaf);
      return true;
    }
    void resume() const noexcept {}

   private:
    wait_group& x_group;
    detail::waiter x_waiter{detail::waiter::reason_t::zero_count};
  };

  struct count_down {
    wait_group* group;
    ~count_down() { group->done(); }
  };
  template <class F>
  static task<> counted(wait_group* group, F f, std::source_location where) {
    count_down at_end{group};
    try {
      if constexpr (detail::is_task<std::invoke_result_t<F&>>)
        (void)co_await f();
      else
        f();
    } catch (...) {
      // Before the count goes down: whoever waits must not end the program as if all were well (WG-09).
      detail::runtime_core::here()->report(goroutine_error{std::current_exception(), where});
    }
    co_return;
  }

  void reach_zero(std::int64_t delta) {
    detail::woken_batch all;
    {
      detail::park_lock::guard hold(detail::hashed_lock(this), nullptr);
      auto n = x_count.fetch_add(delta, std::memory_order_acq_rel) + delta;
      if (n < 0) {
        x_count.fetch_sub(delta, std::memory_order_relaxed);
        throw misuse_error("runnel: the count of a wait_group would become negative");
      }
      if (n == 0)
        for (detail::woken one; detail::take(x_waiters, one); one = {}) all.add(one);
    }
    all.fire();  // *this may be gone
  }

  std::atomic<std::int64_t> x_count{0};
  detail::list_head x_waiters;
};

}  // namespace runnel
