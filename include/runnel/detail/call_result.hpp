// SPDX-License-Identifier: BSL-1.0
// runnel/detail/call_result.hpp: what a call yields, awaited if it is a coroutine's.
// Layer: L2
#pragma once

#include <runnel/task.hpp>

#include <type_traits>

namespace runnel::detail {

template <class R> struct yielded_by { using type = R; };
template <class T> struct yielded_by<task<T>> { using type = T; };
template <class F, class... A> using call_result_t = typename yielded_by<std::invoke_result_t<F, A...>>::type;

}  // namespace runnel::detail
