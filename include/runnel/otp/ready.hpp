// SPDX-License-Identifier: BSL-1.0
// runnel/otp/ready.hpp: ready, by which a child says that the next one may start.
// Layer: L10
#pragma once

#include <runnel/detail/child_slot.hpp>
#include <runnel/detail/context_ops.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/waiter.hpp>

namespace runnel {

namespace detail {

class ready_operation : public awaitable_base {
 public:
  bool suspend(promise_base* leaf) const {
    goroutine& g = goroutine_of(leaf);
    if (!enter_operation(g)) return stop_here(g, leaf);
    const auto* signal = find_value<ready_key>(g.context.load(std::memory_order_relaxed)->values());
    if (signal && *signal) (*signal)->say();
    return spend_budget(g, leaf);
  }
  void resume() const noexcept {}
};

}  // namespace detail

/// Says that the child of a supervisor that runs this is ready: `co_await rn::ready()`. From the child itself, or from
/// anything that has its context. Where nobody waits for that (the child's specification has no rn::wait_ready, it has
/// been said before, there is no supervisor) it does nothing.
///
/// Suspends: no longer than rn::yield. Cancel-safety: a cancelled one has not said it.
[[nodiscard("co_await it")]] inline detail::ready_operation ready() noexcept { return detail::ready_operation(); }

}  // namespace runnel
