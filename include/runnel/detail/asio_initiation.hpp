// SPDX-License-Identifier: BSL-1.0
// runnel/detail/asio_initiation.hpp: what can be told of an operation of Asio by its initiation.
// Layer: L11
#pragma once

#include <runnel/detail/goroutine.hpp>

#include <boost/asio/execution/context.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/query.hpp>

#include <concepts>
#include <optional>
#include <string_view>
#include <utility>

namespace runnel::detail {

// Whether an initiation is a member of one of Asio's own objects (basic_stream_socket, basic_waitable_timer), or says
// itself that it is one: such an operation is a single step, with one handler, the last. What cannot be told so is
// taken for an operation of many.
template <class Init> constexpr bool is_single_step() noexcept {
  if constexpr (requires { requires Init::is_single_step; }) return true;
  std::string_view name = __PRETTY_FUNCTION__;
  auto at = name.find("Init = ");
  if (at == name.npos) return false;
  name.remove_prefix(at + 7);
  constexpr std::string_view asio = "boost::asio::";
  if (!name.starts_with(asio)) return false;
  name.remove_prefix(asio.size());
  for (std::string_view space : {"posix::", "windows::", "ip::"})
    if (name.starts_with(space)) name.remove_prefix(space.size());
  return name.starts_with("basic_");
}

// The executor of the I/O object, by the initiation or, as Beast has it, by what that is called with: the object, a
// pointer to it, or to what has its stream.
template <class X> constexpr bool has_executor = requires(X& x) { x.get_executor(); };
template <class X> constexpr bool points_to_executor = requires(X& x) { x->get_executor(); };
template <class X> constexpr bool points_to_stream = requires(X& x) { x->stream().get_executor(); };
// A token around ours (as_tuple, append) puts its own initiation around the object's; bind_executor, an executor too.
template <class X> constexpr bool wraps_initiation = requires(X& x) { x.initiation_; };
template <class X> constexpr bool binds_executor = requires(X& x) { x.initiation_, x.ex_; };
template <class X> constexpr bool tells_executor() noexcept {
  if constexpr (has_executor<X> || points_to_executor<X> || points_to_stream<X> || binds_executor<X>)
    return true;
  else if constexpr (wraps_initiation<X>)
    return tells_executor<decltype(std::declval<X&>().initiation_)>();
  else
    return false;
}
template <class... X> constexpr bool any_has_executor = (tells_executor<X>() || ...);

template <class X, class... More> decltype(auto) executor_among(X& x, More&... more) {
  if constexpr (has_executor<X>)
    return x.get_executor();
  else if constexpr (points_to_executor<X>)
    return x->get_executor();
  else if constexpr (points_to_stream<X>)
    return x->stream().get_executor();
  else if constexpr (binds_executor<X>)
    return std::as_const(x.ex_);
  else if constexpr (tells_executor<X>())
    return executor_among(x.initiation_);
  else
    return executor_among(more...);
}

template <class Executor> const boost::asio::execution_context* context_of([[maybe_unused]] const Executor& ex) {
  if constexpr (boost::asio::can_query_v<const Executor&, boost::asio::execution::context_t>)
    return &boost::asio::query(ex, boost::asio::execution::context);
  else
    return nullptr;
}

// Whether an initiation can also complete the operation at once, and hears how it ended, or that it did not begin.
// False: it would have to wait.
template <class Init, class Completion>
concept can_attempt = requires(Init& init, goroutine& g, std::optional<Completion>& out) {
  { init.attempt(g, out) } -> std::same_as<bool>;
  init.ended(*out);
  init.not_begun();
};

// Whether it may try once more, some time later, by a handler.
template <class Init, class Completion>
concept can_defer = can_attempt<Init, Completion> && requires(Init& init, std::optional<Completion>& out) {
  { init.attempt_again(out) } -> std::same_as<bool>;
};

}  // namespace runnel::detail
