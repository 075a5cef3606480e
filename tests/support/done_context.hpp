// SPDX-License-Identifier: BSL-1.0
// support/done_context.hpp: what an operation does whose context is done before it begins.
#pragma once

#include <runnel/as_result.hpp>
#include <runnel/context.hpp>
#include <runnel/with_context.hpp>

namespace test {

/// Whether what make() yields, an operation or a task, completes although its context is done.
template <class Make> runnel::task<bool> completes_in_a_done_context(Make make) {
  auto derived = runnel::this_context().with_cancel();
  derived.second();
  auto outcome = co_await runnel::as_result(runnel::with_context(derived.first, make()));
  co_return !outcome.canceled();
}

}  // namespace test
