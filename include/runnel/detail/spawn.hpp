// SPDX-License-Identifier: BSL-1.0
// runnel/detail/spawn.hpp: how a callable and its arguments become a goroutine.
// Layer: L2
#pragma once

#include <runnel/compiler.hpp>
#include <runnel/detail/await_place.hpp>
#include <runnel/detail/context_node.hpp>
#include <runnel/detail/goroutine.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/detail/task_scope.hpp>
#include <runnel/task.hpp>

#include <exception>
#include <functional>
#include <source_location>
#include <type_traits>
#include <utility>

namespace runnel::detail {

// The end of a goroutine, by return, exception or unwinding: its frames are gone.
inline void end_goroutine(goroutine& g, std::exception_ptr error, bool unwound) noexcept {
  if (g.listed) g.home->unlist(g);
  if (g.owns_home) static_cast<context_node*>(g.home)->release();
  goroutine_owner* owner = g.owner;
  std::source_location where = g.where;
  this_processor()->current = 0;  // what the owner calls runs in no goroutine
  delete &g;
  note_spawn(error, where);
  owner->goroutine_ended(std::move(error), unwound, where);
}

inline constexpr link_ops goroutine_root_ops{
    .finished = [](link& up) noexcept -> std::coroutine_handle<> {
      auto& g = static_cast<goroutine&>(static_cast<task_link<void>&>(up));
      if (g.scopes) [[unlikely]]
        if (wait_for_tasks(g, up)) return std::noop_coroutine();
      end_goroutine(g, g.result.failed() ? g.result.take_error() : nullptr, false);
      return std::noop_coroutine();
    },
    .unwound = [](link& up, goroutine*, bool&) noexcept -> promise_base* {
      end_goroutine(static_cast<goroutine&>(static_cast<task_link<void>&>(up)), nullptr, true);
      return nullptr;
    },
    .mark = nullptr,
    .child = nullptr,
    .is_root = true,
    .joined = [](link& up) noexcept -> promise_base* {
      auto& g = static_cast<goroutine&>(static_cast<task_link<void>&>(up));
      end_goroutine(g, g.result.failed() ? g.result.take_error() : nullptr, false);
      return nullptr;
    }};

// Where each parameter of F is a value of exactly the type that is passed, F's own frame can hold the arguments and
// be the goroutine's root. A reference or a view parameter would dangle; those go through run_owned().
template <class F, class... A>
struct is_own_root : std::false_type {};
template <class... P, class... A>
  requires(sizeof...(P) == sizeof...(A))
struct is_own_root<task<void> (*)(P...), A...> : std::bool_constant<(std::is_same_v<P, A> && ...)> {};
template <class... P, class... A>
  requires(sizeof...(P) == sizeof...(A))
struct is_own_root<task<void> (*)(P...) noexcept, A...> : std::bool_constant<(std::is_same_v<P, A> && ...)> {};

// The root frame of everything else: it owns the callable and its arguments, so that captures and references live
// as long as the goroutine. What f returns is dropped, as Go drops it.
template <class F, class... A>
task<> run_owned(F f, A... args) {
  if constexpr (is_task<std::invoke_result_t<F&, A...>>)
    (void)co_await std::invoke(f, std::move(args)...);
  else
    (void)std::invoke(f, std::move(args)...);
  co_return;
}

template <class F>
concept captureless = std::is_empty_v<F> && requires(F f) { +f; };

template <class F, class... A>
constexpr void check_spawnable() {
  static_assert(!is_task<std::remove_cvref_t<F>>,
                "pass the function and its arguments, not a task that is already made: go(f, x), not go(f(x))");
  if constexpr (!is_task<std::remove_cvref_t<F>>)
    static_assert(std::is_invocable_v<kept_t<F>&, kept_t<A>...>,
                  "the callable cannot be called with these arguments: they are moved into the goroutine, so a "
                  "parameter of type T& needs std::ref(x), and a lambda must take what it is given by value or const&");
}

template <class F, class... A>
task<> make_root_of(F&& f, A&&... args) {
  using G = std::decay_t<F>;
  if constexpr (is_own_root<G, std::decay_t<A>...>::value)
    return f(std::forward<A>(args)...);
  else if constexpr (captureless<G>) {
    using pointer = decltype(+std::declval<G>());
    if constexpr (is_own_root<pointer, std::decay_t<A>...>::value)
      return (+f)(std::forward<A>(args)...);
    else
      return run_owned<G, std::decay_t<A>...>(std::forward<F>(f), std::forward<A>(args)...);
  } else
    return run_owned<G, std::decay_t<A>...>(std::forward<F>(f), std::forward<A>(args)...);
}
template <class F, class... A>
task<> make_root(F&& f, A&&... args) {
  return make_root_of(unmoved(std::forward<F>(f)), unmoved(std::forward<A>(args))...);
}

// Makes a goroutine that is not yet scheduled. Throws what copying the arguments throws, or bad_alloc; no effect then.
inline goroutine* make_goroutine(processor& some, cancel_node& home, goroutine_owner& owner, task<> root,
                                 std::source_location where) {
  auto* g = new goroutine;
  promise_base* frame = root.release();
  frame->cont = g;
  frame->g = g;
  g->ops = &goroutine_root_ops;
  g->set_leaf(frame);
  g->home = &home;
  g->context.store(&home, std::memory_order_relaxed);
  g->proc = &some;
  g->owner = &owner;
  g->where = where;
  return g;
}

// Takes back a goroutine that never ran. Its owner hears nothing.
inline void discard_goroutine(goroutine& g) noexcept {
  g.leaf()->handle().destroy();
  if (g.owns_home) static_cast<context_node*>(g.home)->release();
  delete &g;
}

}  // namespace runnel::detail
