// SPDX-License-Identifier: BSL-1.0
// runnel/failure.hpp: failure, by which a task ends with an error and without a throw.
// Layer: L1
#pragma once

#include <runnel/error.hpp>

#include <concepts>
#include <exception>
#include <type_traits>
#include <utility>

namespace runnel {

/// The error that a task ends with: `co_yield rn::failure(std::runtime_error("no route"));` For its awaiter, its group
/// or its supervisor it is as if the task had thrown it, at a fraction of the cost: no stack is searched, and an error
/// that travels as a value (to rn::as_result, a join handle, a supervisor) is never thrown.
///
/// Returns: nothing, and what stands behind it does not run. The locals of this coroutine die, as at a co_return:
/// nothing is being thrown, so no catch around it sees the error, and std::uncaught_exceptions() is what it was.
/// Suspends: no. Throws: in whoever awaits the task.
class failure {
 public:
  /// An exception object, of the type that a catch will name.
  template <class E>
    requires(!std::same_as<std::remove_cvref_t<E>, failure> && !std::convertible_to<E, std::exception_ptr>)
  explicit failure(E&& error) : x_error(std::make_exception_ptr(std::forward<E>(error))) {}
  /// An exception that was caught, or comes out of a result. Throws: misuse_error if it is null.
  explicit failure(std::exception_ptr error) : x_error(std::move(error)) {
    if (!x_error) throw misuse_error("runnel: a failure without an error: the exception_ptr is null");
  }

  std::exception_ptr take() && noexcept { return std::move(x_error); }

 private:
  std::exception_ptr x_error;
};

}  // namespace runnel
