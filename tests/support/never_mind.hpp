// SPDX-License-Identifier: BSL-1.0
// support/never_mind.hpp: a wait that neither a cancel nor a kill ends.
#pragma once

#include <coroutine>

namespace runnel_test {

// Ignores cancellation, and leaves its handle to who ends it. Awaited by rn::adopt.
struct never_mind {
  std::coroutine_handle<>& handle;
  explicit never_mind(std::coroutine_handle<>& h) noexcept : handle(h) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> h) const noexcept { handle = h; }
  void await_resume() const noexcept {}
};

}  // namespace runnel_test
