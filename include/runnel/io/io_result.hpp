// SPDX-License-Identifier: BSL-1.0
// runnel/io/io_result.hpp: io_result<T>, how an operation of Asio ended, and what it brought all the same.
// Layer: L11
#pragma once

#include <boost/system/error_code.hpp>
#include <boost/system/system_error.hpp>

#include <type_traits>
#include <utility>
#include <variant>

namespace runnel {

/// How an operation of Asio ended, without an exception: what `co_await op(..., rn::use_result)` returns.
///
/// An operation may bring something along with its error: a read that reaches the end has read so many bytes. That is
/// partial(). Thread-safety: that of a value.
template <class T> class [[nodiscard("an outcome that nobody looks at hides errors")]] io_result {
  using stored = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

 public:
  using value_type = T;

  io_result(boost::system::error_code error, stored value) : x_error(error), x_value(std::move(value)) {}

  bool ok() const noexcept { return !x_error; }
  explicit operator bool() const noexcept { return ok(); }
  /// Zero if it succeeded.
  const boost::system::error_code& error() const noexcept { return x_error; }

  /// What it brought. Throws: boost::system::system_error if it failed.
  T value() && {
    check();
    return static_cast<T>(std::move(x_value));
  }
  std::add_lvalue_reference_t<const T> value() const& {
    check();
    if constexpr (!std::is_void_v<T>) return x_value;
  }
  /// What it brought, failed or not: the bytes that were transferred before the error.
  const stored& partial() const& noexcept { return x_value; }
  stored partial() && { return std::move(x_value); }

 private:
  void check() const {
    if (x_error) throw boost::system::system_error(x_error);
  }
  boost::system::error_code x_error;
  stored x_value;
};

}  // namespace runnel
