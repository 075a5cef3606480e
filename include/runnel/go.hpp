// SPDX-License-Identifier: BSL-1.0
// runnel/go.hpp: go, which starts a goroutine that belongs to the runtime.
// Layer: L2
#pragma once

#include <runnel/detail/runtime_core.hpp>
#include <runnel/detail/spawn.hpp>
#include <runnel/error.hpp>

#include <source_location>
#include <type_traits>
#include <utility>

namespace runnel {

class context;

namespace detail {

template <class F>
concept not_a_context = !std::is_same_v<std::remove_cvref_t<F>, context>;

// go(f, args...) of the runtime that runs here.
struct ambient_spawner : spawner<ambient_spawner> {
  template <class F, class... A> void go_at(std::source_location where, F&& f, A&&... args) {
    check_spawnable<F, A...>();
    runtime_core* runtime = runtime_core::here();
    if (!runtime)
      throw misuse_error(
          "runnel: go outside of a runtime: call it on a goroutine, or use scheduler::go or runtime::go");
    task<> root = make_root(std::forward<F>(f), std::forward<A>(args)...);
    node_use home(runtime->home_for_go());
    runtime->start(home.node, std::move(root), where);
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
template <detail::not_a_context F> void go(F&& f, std::source_location where = std::source_location::current()) {
  detail::ambient_spawner().go(std::forward<F>(f), where);
}
template <detail::not_a_context F, class A>
void go(F&& f, A&& a, std::source_location where = std::source_location::current()) {
  detail::ambient_spawner().go(std::forward<F>(f), std::forward<A>(a), where);
}
template <detail::not_a_context F, class A, class B>
void go(F&& f, A&& a, B&& b, std::source_location where = std::source_location::current()) {
  detail::ambient_spawner().go(std::forward<F>(f), std::forward<A>(a), std::forward<B>(b), where);
}
template <detail::not_a_context F, class A, class B, class C>
void go(F&& f, A&& a, B&& b, C&& c, std::source_location where = std::source_location::current()) {
  detail::ambient_spawner().go(std::forward<F>(f), std::forward<A>(a), std::forward<B>(b), std::forward<C>(c), where);
}
template <detail::not_a_context F, class A, class B, class C, class... D>
  requires(sizeof...(D) > 0)
void go(F&& f, A&& a, B&& b, C&& c, D&&... d) {
  detail::ambient_spawner().go_at(std::source_location(), std::forward<F>(f), std::forward<A>(a), std::forward<B>(b),
                                  std::forward<C>(c), std::forward<D>(d)...);
}

}  // namespace runnel
