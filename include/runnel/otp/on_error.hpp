// SPDX-License-Identifier: BSL-1.0
// runnel/otp/on_error.hpp: on_error, who hears of the errors of tasks that nobody waits for.
// Layer: L10
#pragma once

#include <runnel/detail/runtime_options.hpp>
#include <runnel/error.hpp>

#include <functional>
#include <memory>
#include <utility>

namespace runnel {

/// An option of a task_supervisor: f(const goroutine_error&) hears of the errors that nobody waits for: those of what
/// start_child has started, also where it is started again, and those of tasks whose handle is gone. Without it the
/// first go to the on_unobserved_error hook of the supervisor's runtime; the others to that of the runtime on whose
/// thread the last use of the task dies, and on a plain thread to stderr. It is called on those threads, by many at
/// once; it must not wait. What it throws is printed. Throws: misuse_error for an empty function; bad_alloc.
class on_error {
 public:
  explicit on_error(std::function<void(const goroutine_error&)> f) {
    if (!f) throw misuse_error("runnel: on_error(f) takes a function; this one is empty");
    x_handler = std::make_shared<const detail::error_handler>(std::move(f));
  }
  const std::shared_ptr<const detail::error_handler>& handler() const noexcept { return x_handler; }

 private:
  std::shared_ptr<const detail::error_handler> x_handler;
};

}  // namespace runnel
