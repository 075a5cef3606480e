// SPDX-License-Identifier: BSL-1.0
// runnel/go.hpp: go, which starts a goroutine that belongs to the runtime.
// Layer: L2
#pragma once

#include <runnel/detail/runtime_core.hpp>
#include <runnel/detail/spawn.hpp>
#include <runnel/detail/spawn_place.hpp>
#include <runnel/error.hpp>

#include <source_location>
#include <type_traits>
#include <utility>

namespace runnel {

class context;

namespace detail {

// go(ctx, f, args...): in context.hpp, without which nobody has a context.
template <class F, class... A>
void go_under(const context& ctx, std::source_location where, F&& f, A&&... args);

// go(f, args...) of the runtime that runs here; go(ctx, f, args...) if f is a context.
struct ambient_spawner {
  template <class F, class... A>
  void go_at(std::source_location where, F&& f, A&&... args) {
    if constexpr (std::is_same_v<std::remove_cvref_t<F>, context>) {
      static_assert(sizeof...(A) > 0, "go(ctx, f, args...): what is to run under the context is missing");
      if constexpr (sizeof...(A) > 0) go_under(f, where, std::forward<A>(args)...);
    } else {
      check_spawnable<F, A...>();
      runtime_core* runtime = runtime_core::here();
      if (!runtime)
        throw misuse_error(
            "runnel: go outside of a runtime: call it on a goroutine, or use scheduler::go or runtime::go");
      runtime->start_here(make_root(std::forward<F>(f), std::forward<A>(args)...), where);
    }
  }
};

}  // namespace detail

/// Starts f(args...) as a goroutine that belongs to the runtime: it is cancelled and joined at shutdown.
///
/// The callable and its arguments are moved or copied into the goroutine; pass std::ref(x) for a reference, and see to
/// it that x outlives the goroutine. f may return a task, whose result is dropped, or be a plain function. The
/// goroutine inherits the values of the caller's context, and neither its deadline nor its cancellation.
///
/// Returns at once. An error that leaves f goes to the runtime's on_error handler: by default it is printed with the
/// place of this call, everything is cancelled, and run() fails.
/// Throws: misuse_error outside of a runtime; shutting_down once shutdown has begun; bad_alloc, and what copying the
/// arguments throws. f does not run then.
/// Ordering: the call happens before f begins (MM-01).
/// Contract: SEMANTICS.md GO-01 to GO-11, DESIGN section 4.
///
/// go(ctx, f, args...) is Go's explicit form: the goroutine belongs to the runtime in the same way, and runs under ctx,
/// whose values, deadline and cancellation it has. See context.hpp.
RUNNEL_SPAWN_OVERLOADS(void, go, detail::ambient_spawner().go_at)

}  // namespace runnel
