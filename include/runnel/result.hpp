// SPDX-License-Identifier: BSL-1.0
// runnel/result.hpp: result<T>, an outcome as a value: a T, an error, or "canceled".
// Layer: L2
#pragma once

#include <runnel/error.hpp>

#include <exception>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

namespace runnel {

/// How a piece of work ended: with a value, with an exception, or cancelled (then it has no result at all).
///
/// Thread-safety: that of a value.
template <class T>
class [[nodiscard("an outcome that nobody looks at hides errors")]] result {
  using stored = std::conditional_t<std::is_void_v<T>, std::monostate,
                                    std::conditional_t<std::is_reference_v<T>, std::remove_reference_t<T>*, T>>;

 public:
  using value_type = T;

  /// Canceled.
  result() noexcept = default;
  explicit result(stored&& value) : x_value(std::move(value)) {}
  explicit result(std::exception_ptr error) noexcept : x_error(std::move(error)) {}

  bool ok() const noexcept { return x_value.has_value(); }
  explicit operator bool() const noexcept { return ok(); }
  bool canceled() const noexcept { return !x_value && !x_error; }
  /// The exception that the work ended with; null if it did not.
  const std::exception_ptr& error() const noexcept { return x_error; }

  /// The value. Throws: the work's exception, or canceled.
  T value() && {
    check();
    if constexpr (std::is_reference_v<T>)
      return static_cast<T>(**x_value);
    else if constexpr (!std::is_void_v<T>)
      return std::move(*x_value);
  }
  std::conditional_t<std::is_void_v<T>, void, std::add_lvalue_reference_t<std::remove_reference_t<T>>> value() & {
    check();
    if constexpr (std::is_reference_v<T>)
      return **x_value;
    else if constexpr (!std::is_void_v<T>)
      return *x_value;
  }

 private:
  void check() const {
    if (x_error) std::rethrow_exception(x_error);
    if (!x_value) throw runnel::canceled();
  }
  std::optional<stored> x_value;
  std::exception_ptr x_error;
};

}  // namespace runnel
