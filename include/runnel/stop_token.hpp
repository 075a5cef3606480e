// SPDX-License-Identifier: BSL-1.0
// runnel/stop_token.hpp: contexts and std::stop_token: work that hears a token, a token that follows a context.
// Layer: L7
#pragma once

#include <runnel/context.hpp>
#include <runnel/detail/boundary.hpp>
#include <runnel/task.hpp>
#include <runnel/with_context.hpp>

#include <source_location>
#include <stop_token>
#include <utility>

// libc++ before 20 has std::stop_token with -fexperimental-library alone; without it there is nothing here.
#if defined(__cpp_lib_jthread)

namespace runnel {

namespace detail {

// The callback runs in whoever requests the stop. It cancels a context, which runs nobody's code and waits for nobody's
// work; so it may, and the end of the callback, which waits for one that is running, waits for no more than that.
struct cancel_by_stop {
  const cancel_function& cancel;
  void operator()() const noexcept { cancel(); }
};
template <class T> task<T> run_with_stop_token(std::stop_token token, task<T> work) {
  auto [ctx, cancel] = context::background().with_cancel();
  std::stop_callback<cancel_by_stop> link(std::move(token), cancel_by_stop{cancel});
  co_return co_await with_context(ctx, std::move(work));
}

}  // namespace detail

/// Runs work, a task or one of the library's operations, until it has ended, or a stop is requested, which cancels it:
/// `co_await rn::with_stop_token(token, fetch(url))`. Whoever requests the stop does not wait for it.
///
/// Returns, throws: what work does; bad_alloc. Being cancelled by the token unwinds like any cancellation;
/// rn::as_result shows it as a value. Suspends: while work runs; the contexts around it are in force as always.
/// Cancel-safety: that of work. Thread-safety: a stop may be requested from any thread, in the work itself, too.
/// Contract: CTX-C04.
template <detail::awaitable W> [[nodiscard("co_await it")]] auto with_stop_token(std::stop_token token, W&& work) {
  return detail::run_with_stop_token<detail::awaited_t<W>>(std::move(token), detail::as_task(std::forward<W>(work)));
}

/// A std::stop_source that is stopped when a context is done, for code that takes a std::stop_token:
///
///     rn::linked_stop_source stop(rn::this_context());
///     co_await rn::blocking(old_code, stop.get_token());
///
/// The stop is requested by a goroutine of the runtime, soon after the context is done, and not by whoever cancels:
/// callbacks of the token run there, and must neither block for long nor throw, which ends the program.
/// When this dies first the link is gone: the token is not stopped any more, unless it has begun.
///
/// Throws: misuse_error outside of a runtime; bad_alloc. Thread-safety: tokens, from any thread; this has one owner.
/// Lifetime: tokens may outlive this, the context and the runtime. Neither copied nor moved.
/// Contract: CTX-C04, the posted form.
class linked_stop_source {
 public:
  explicit linked_stop_source(const context& ctx, std::source_location where = std::source_location::current())
      : x_link(ctx.after_func([source = x_source]() mutable { source.request_stop(); }, where)) {}
  linked_stop_source(const linked_stop_source&) = delete;
  linked_stop_source& operator=(const linked_stop_source&) = delete;
  ~linked_stop_source() { x_link.stop(); }

  std::stop_token get_token() const noexcept { return x_source.get_token(); }
  bool stop_requested() const noexcept { return x_source.stop_requested(); }

 private:
  std::stop_source x_source;
  after_func_handle x_link;
};

}  // namespace runnel

#endif  // defined(__cpp_lib_jthread)
