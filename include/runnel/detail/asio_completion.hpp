// SPDX-License-Identifier: BSL-1.0
// runnel/detail/asio_completion.hpp: what an operation of Asio completes with, and what an await makes of it.
// Layer: L11
#pragma once

#include <runnel/detail/asio_world.hpp>
#include <runnel/io/io_result.hpp>

#include <boost/asio/error.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/system_error.hpp>

#include <exception>
#include <tuple>
#include <type_traits>
#include <utility>

namespace runnel::detail {

// The values behind the error, if there is one: nothing, the one, or a tuple.
template <class... V> struct values_of {
  using type = std::tuple<V...>;
};
template <> struct values_of<> {
  using type = void;
};
template <class V> struct values_of<V> {
  using type = V;
};

template <class... A> class completion {
 public:
  static constexpr bool has_code = false, can_fail = false;
  using value = typename values_of<A...>::type;
  std::tuple<A...> values;
  template <class... X> explicit completion(X&&... x) : values(std::forward<X>(x)...) {}
  bool aborted() const noexcept { return false; }
  void check() const noexcept {}
};
template <class... A> class completion<boost::system::error_code, A...> {
 public:
  static constexpr bool has_code = true, can_fail = std::is_default_constructible_v<std::tuple<A...>>;
  using value = typename values_of<A...>::type;
  boost::system::error_code error;
  std::tuple<A...> values;
  template <class... X> explicit completion(boost::system::error_code e, X&&... x)
      : error(e), values(std::forward<X>(x)...) {}
  static completion failed() { return completion(injected_error(), A()...); }
  bool aborted() const noexcept { return error == boost::asio::error::operation_aborted; }
  void check() const {
    if (error) throw boost::system::system_error(error);
  }
};
template <class... A> class completion<std::exception_ptr, A...> {
 public:
  static constexpr bool has_code = false, can_fail = std::is_default_constructible_v<std::tuple<A...>>;
  using value = typename values_of<A...>::type;
  std::exception_ptr error;
  std::tuple<A...> values;
  template <class... X> explicit completion(std::exception_ptr e, X&&... x)
      : error(std::move(e)), values(std::forward<X>(x)...) {}
  static completion failed() {
    return completion(std::make_exception_ptr(boost::system::system_error(injected_error())), A()...);
  }
  bool aborted() const noexcept {
    try {
      check();
    } catch (const boost::system::system_error& e) {
      return e.code() == boost::asio::error::operation_aborted;
    } catch (...) {
    }
    return false;
  }
  void check() const {
    if (error) std::rethrow_exception(error);
  }
};

template <class Value, class... V> Value take_values(std::tuple<V...>& values) {
  if constexpr (sizeof...(V) == 1)
    return std::get<0>(std::move(values));
  else if constexpr (sizeof...(V) > 1)
    return std::move(values);
}

struct throwing_policy {
  template <class C> static auto take(C& c) -> typename C::value {
    c.check();
    return take_values<typename C::value>(c.values);
  }
};
struct result_policy {
  template <class C> static auto take(C& c) {
    using T = typename C::value;
    static_assert(C::has_code,
                  "rn::use_result is for operations that complete with an error_code; of the others rn::use_task "
                  "returns the values, and throws the exception");
    if constexpr (std::is_void_v<T>)
      return io_result<T>(c.error, {});
    else
      return io_result<T>(c.error, take_values<T>(c.values));
  }
};

}  // namespace runnel::detail
