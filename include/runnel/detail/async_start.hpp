// SPDX-License-Identifier: BSL-1.0
// runnel/detail/async_start.hpp: how async starts a task, and how its handle waits with a time limit.
// Layer: L9
#pragma once

#include <runnel/after.hpp>
#include <runnel/as_result.hpp>
#include <runnel/compiler.hpp>
#include <runnel/detail/async_task.hpp>
#include <runnel/detail/call_result.hpp>
#include <runnel/detail/fork_join.hpp>
#include <runnel/detail/processor.hpp>
#include <runnel/detail/select_case.hpp>
#include <runnel/detail/select_operation.hpp>
#include <runnel/detail/spawn.hpp>
#include <runnel/error.hpp>
#include <runnel/result.hpp>
#include <runnel/task.hpp>

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <source_location>
#include <type_traits>
#include <utility>

namespace runnel {

/// The task had been asked to end by shutdown(grace), did not within the grace time, and was killed.
class RUNNEL_SHARED task_killed : public canceled {
 public:
  const char* what() const noexcept override {
    return "runnel: the task did not end when it was asked to, and was killed";
  }
};

namespace detail {

// The root frame of a task: as with goroutines (spawn.hpp), but for what it returns.
template <class T, class F, class... A> task<T> run_owned_for_result(F f, A... args) {
  if constexpr (is_task<std::invoke_result_t<F&, A...>>)
    co_return co_await std::invoke(f, std::move(args)...);
  else
    co_return std::invoke(f, std::move(args)...);
}
template <class F, class... A> struct returns_by_own_frame : std::false_type {};
template <class T, class... P, class... A>
requires(sizeof...(P) == sizeof...(A)) struct returns_by_own_frame<task<T> (*)(P...), A...>
    : std::bool_constant<(std::is_same_v<P, A> && ...)> {
};
template <class T, class... P, class... A>
requires(sizeof...(P) == sizeof...(A)) struct returns_by_own_frame<task<T> (*)(P...) noexcept, A...>
    : std::bool_constant<(std::is_same_v<P, A> && ...)> {
};

template <class T, class F, class... A> task<T> make_task_root(F&& f, A&&... args) {
  using G = std::decay_t<F>;
  if constexpr (returns_by_own_frame<G, std::decay_t<A>...>::value) {
    return f(std::forward<A>(args)...);
  } else {
    if constexpr (captureless<G>)
      if constexpr (returns_by_own_frame<decltype(+std::declval<G>()), std::decay_t<A>...>::value)
        return (+f)(std::forward<A>(args)...);
    return run_owned_for_result<T, G, std::decay_t<A>...>(std::forward<F>(f), std::forward<A>(args)...);
  }
}

inline goroutine& opener_of_task() {
  goroutine* g = current_goroutine();
  if (!g)
    throw misuse_error(
        "runnel: async outside of a goroutine: a task belongs to the one that starts it; use scheduler::go or "
        "runtime::go");
  return *g;
}

// Either all of it happens, or nothing.
template <class T, class F, class... A>
task_use<async_task<T>> start_task(std::source_location where, F&& f, A&&... args) {
  goroutine& me = opener_of_task();
  auto* t = new async_task<T>(where);
  task_use<async_task<T>> use(t);
  runners_use runner{t};
  // Nor from a destructor while frames are unwound: nobody would join it.
  if (me.context.load(std::memory_order_relaxed)->due() || this_processor()->unwinding) {
    std::exchange(runner.t, nullptr)->refuse();
    return use;
  }
  auto g = std::make_unique<goroutine>();
  task<T> body = make_task_root<T>(std::forward<F>(f), std::forward<A>(args)...);
  task_scope& scope = task_scope::open(me);  // last: f, where it is no coroutine, may have started tasks of its own
  cancel_node& ambient = *me.context.load(std::memory_order_relaxed);
  std::exchange(runner.t, nullptr)->start(me, ambient, scope, g.release(), body.release(), *t);
  return use;
}

// A task that has ended, with a value.
template <class T, class... V> task_use<async_task<T>> make_completed(V&&... value) {
  auto* t = new async_task<T>(std::source_location());
  task_use<async_task<T>> use(t);
  runners_use runner{t};
  t->result.emplace(std::forward<V>(value)...);
  std::exchange(runner.t, nullptr)->complete();
  return use;
}

// Waits for the end of a task for so long: `co_await std::move(w.either)` is 0 if it has ended. The task goes on.
struct end_within {
  task_end_operation end;
  after_operation timer;
  select_case<task_end_operation> by_end{end};
  select_case<after_operation> by_timer{timer};
  select_operation<true, select_case<task_end_operation>, select_case<after_operation>> either{by_end, by_timer};

  template <class Task>
  end_within(const task_use<Task>& t, std::int64_t ns)
      : end(task_use<async_task_base>(t)), timer(*runtime_core::here(), ns) {}
  end_within(const end_within&) = delete;
};
template <class Task> task<bool> ends_within(task_use<Task> t, std::int64_t ns) {
  end_within wait(t, ns);
  std::size_t which = co_await std::move(wait.either);
  co_return which == 0;
}

template <class T> task<T> await_within(task_use<async_task<T>> t, std::int64_t ns) {
  bool ended = co_await ends_within(t, ns);
  if (ended) co_return t->take();
  t->spend();
  throw deadline_exceeded();
}
template <class T> task<std::optional<result<T>>> await_for(task_use<async_task<T>> t, std::int64_t ns) {
  bool ended = co_await ends_within(t, ns);
  if (!ended) co_return std::nullopt;
  co_return std::optional<result<T>>(t->take_as_result());
}

// Asks, or kills; where there is a grace time, kills when it has passed. All in this frame: once it has asked nothing
// may fail, for the task has ended when it returns.
template <class T>
task<result<T>> shut_down_task(task_use<async_task<T>> t, std::uint8_t level, std::optional<std::int64_t> grace_ns) {
  t->cancel(level);
  bool in_time = true;
  if (grace_ns) {
    end_within wait(t, *grace_ns);
    std::size_t which = co_await std::move(wait.either);
    in_time = which == 0;
    if (!in_time) t->cancel(level_kill);
  }
  co_await task_end_operation(task_use<async_task_base>(t));
  result<T> outcome = t->take_as_result();
  if (!in_time && outcome.canceled()) co_return result<T>(std::make_exception_ptr(task_killed()));
  co_return std::move(outcome);
}

// What as_result awaits: a task that was cancelled unwinds who waits for its result.
template <class T> task<T> await_or_unwind(task_use<async_task<T>> t) {
  co_await task_end_operation(task_use<async_task_base>(t));
  result<T> outcome = t->take_as_result();
  if (outcome.canceled()) co_await stop_operation();
  co_return std::move(outcome).value();
}

}  // namespace detail
}  // namespace runnel
