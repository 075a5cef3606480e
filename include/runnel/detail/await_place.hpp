// SPDX-License-Identifier: BSL-1.0
// runnel/detail/await_place.hpp: where a co_await stands, for async traces; without them, nothing.
// Layer: L1
#pragma once

#include <runnel/config.hpp>

#if RUNNEL_ASYNC_TRACES

#include <runnel/detail/trace_store.hpp>

// The default argument of an await_place.
#define RUNNEL_AWAIT_PLACE std::source_location::current()

namespace runnel::detail {

// A type of its own, and explicit in nothing but this, so that it is no parameter of anybody's coroutine.
struct await_place {
  std::source_location where = {};
  await_place() noexcept = default;
  await_place(const std::source_location& at) noexcept : where(at) {}
};
inline void note_await(const std::exception_ptr& e, const await_place& at) noexcept {
  trace_store::the().await(e, at.where);
}
inline void note_spawn(const std::exception_ptr& e, const std::source_location& at) noexcept {
  trace_store::the().spawn(e, at);
}
inline std::string trace_text(const std::exception_ptr& e) { return trace_store::the().text(e); }

}  // namespace runnel::detail

#else

#include <exception>
#include <source_location>
#include <string>

#define RUNNEL_AWAIT_PLACE \
  {}

namespace runnel::detail {

struct await_place {};
inline void note_await(const std::exception_ptr&, const await_place&) noexcept {}
inline void note_spawn(const std::exception_ptr&, const std::source_location&) noexcept {}
inline std::string trace_text(const std::exception_ptr&) { return {}; }

}  // namespace runnel::detail

#endif
