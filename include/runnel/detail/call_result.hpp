// SPDX-License-Identifier: BSL-1.0
// runnel/detail/call_result.hpp: what a call yields, awaited if it is a coroutine's.
// Layer: L2
#pragma once

#include <runnel/task.hpp>

#include <type_traits>

namespace runnel::detail {

template <class R> struct awaited_result { using type = R; };
template <class T> struct awaited_result<task<T>> { using type = T; };
template <class F, class... A> using call_result_t = typename awaited_result<std::invoke_result_t<F, A...>>::type;

}  // namespace runnel::detail
