// SPDX-License-Identifier: BSL-1.0
// runnel/this_task.hpp: what a goroutine does with itself: yield, and asking whether it is being unwound.
// Layer: L3
#pragma once

#include <runnel/waiter.hpp>

namespace runnel {

namespace detail {

class yield_operation : public awaitable_base {
 public:
  bool suspend(promise_base* leaf) {
    goroutine& g = goroutine_of(leaf);
    g.set_leaf(leaf);
    g.stop = !enter_operation(g);
    requeue_self(g);
    return true;
  }
  void resume() const noexcept {}
};

}  // namespace detail

/// Lets the other goroutines of this processor run first, and Asio's handlers from time to time.
///
/// Suspends: always; resumes on its own scheduler. Cancel-safety: a cancelled goroutine unwinds here.
[[nodiscard("co_await it: rn::yield() alone does nothing")]] inline detail::yield_operation yield() noexcept {
  return {};
}

/// Whether the calling code is a destructor that runs because its goroutine was cancelled.
inline bool unwinding() noexcept {
  detail::processor* here = detail::this_processor();
  return here && here->unwinding;
}

}  // namespace runnel
