// SPDX-License-Identifier: BSL-1.0
// runnel/async.hpp: async, which starts a task at once, and join_handle, by which its owner awaits it.
// Layer: L9
#pragma once

#include <runnel/as_result.hpp>
#include <runnel/compiler.hpp>
#include <runnel/detail/async_start.hpp>
#include <runnel/detail/async_task.hpp>
#include <runnel/detail/spawn.hpp>
#include <runnel/detail/spawn_place.hpp>
#include <runnel/error.hpp>
#include <runnel/kill.hpp>
#include <runnel/result.hpp>
#include <runnel/task.hpp>
#include <runnel/time_point.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <source_location>
#include <type_traits>
#include <utility>

namespace runnel {

/// A task that async has started, and the right to its result. Made by async. The task is awaited once: by await(), by
/// `co_await std::move(t)`, or by what shutdown returns.
///
/// Dropping the handle of a task that has not ended cancels the task. Its scope joins it all the same: see async.
/// An error that nobody takes goes to the on_unobserved_error hook of the runtime on whose thread the last use of the
/// task dies; on a plain thread it is printed.
///
/// Thread-safety: one owner, which may be another goroutine than the one that called async. Lifetime: it is moved, not
/// copied.
template <class T = void>
class [[nodiscard("dropping the handle cancels the task: keep it and await it, or use rn::go or a group")]] join_handle
    : public detail::awaitable_base {
  using use_t = detail::task_use<detail::async_task<T>>;

 public:
  using value_type = T;
  explicit join_handle(use_t task) noexcept : x_task(std::move(task)) {}
  join_handle(join_handle && other) noexcept : x_task(std::move(other.x_task)) {}  // of one that nobody waits by
  join_handle& operator=(join_handle&& other) noexcept {
    join_handle taken(std::move(other));
    std::swap(x_task, taken.x_task);
    return *this;
  }
  ~join_handle() {
    if (x_task) x_task->drop();
  }

  /// Waits for the task's end. Also as a case of a select; one that is not taken leaves the result where it is.
  ///
  /// Returns: what the task returned. Suspends: until it has ended; resumes on its own scheduler.
  /// Cancel-safety: a cancelled await leaves the result where it is.
  /// Ordering: all that the task did happens before the return.
  /// Throws: the task's exception; canceled if it was cancelled; misuse_error, at the call, if it has been awaited.
  [[nodiscard("co_await it: await() alone does not wait")]] auto await() {
    return detail::outcome_operation<T>(awaitable_task());
  }
  /// The same for at most so long. When the time is up it throws deadline_exceeded, and the task goes on; it can be
  /// cancelled and shut down, and is not awaited any more. A limit at or below zero takes what is there.
  template <class Rep, class Period>
  [[nodiscard("co_await it: await() alone does not wait")]] task<T> await(std::chrono::duration<Rep, Period> limit) {
    return detail::await_within<T>(awaitable_task(), detail::to_ns(limit));
  }
  /// Waits for at most so long. Returns: how the task ended, as a value: canceled() if it was cancelled; empty if it
  /// goes on: then it may be awaited again. Throws: misuse_error, at the call, if it has been awaited.
  template <class Rep, class Period>
  [[nodiscard("co_await it: await_for() alone does not wait")]] task<std::optional<result<T>>> await_for(
      std::chrono::duration<Rep, Period> limit) {
    return detail::await_for<T>(awaitable_task(), detail::to_ns(limit));
  }

  /// Cancels the task and waits for its end; when the grace time is up, kills it.
  ///
  /// Returns: its value or error if it had one, were it in spite of the request; canceled() if it ended because of it;
  /// the error task_killed if it had to be killed after the grace time. Suspends: until the task has ended, also after
  /// a kill: it may refer to what is here. Cancel-safety: the request has been made.
  /// Throws: misuse_error, at the call, if it has been awaited.
  template <class Rep, class Period>
  [[nodiscard("co_await it: shutdown() alone does nothing")]] task<result<T>> shutdown(
      std::chrono::duration<Rep, Period> grace) {
    return detail::shut_down_task<T>(task_with_outcome(), detail::level_cancel, detail::to_ns(grace));
  }
  /// The same, however long it takes.
  [[nodiscard("co_await it: shutdown() alone does nothing")]] task<result<T>> shutdown() {
    return detail::shut_down_task<T>(task_with_outcome(), detail::level_cancel, std::nullopt);
  }
  /// The same by a kill at once, which shield and finally do not hold off. Returns canceled() if the task ended by it.
  [[nodiscard("co_await it: shutdown() alone does nothing")]] task<result<T>> shutdown(kill_t) {
    return detail::shut_down_task<T>(task_with_outcome(), detail::level_kill, std::nullopt);
  }

  /// Gives the task up without cancelling it: it goes on, and its scope, or its supervisor, joins it. The handle is
  /// empty afterwards.
  ///
  /// Returns: how the task ended, if it has; else empty, and what it will yield is dropped; an error of it goes to the
  /// runtime's on_unobserved_error hook then. Throws: misuse_error if it has been awaited.
  [[nodiscard("an outcome that nobody looks at hides errors")]] std::optional<result<T>> ignore() {
    (void)task_with_outcome();
    use_t given_up = std::move(x_task);
    if (!given_up->has_ended()) return std::nullopt;
    return std::optional<result<T>>(given_up->take_as_result());
  }
  /// Asks the task to end: it unwinds at its next suspension. Does not wait.
  void cancel() noexcept {
    if (x_task) x_task->cancel(detail::level_cancel);
  }
  /// Whether the task has ended: an await would not wait.
  bool done() const noexcept { return x_task && x_task->has_ended(); }
  /// Whether there is a task: false of one that was moved from.
  explicit operator bool() const noexcept { return static_cast<bool>(x_task); }

  /// For the layers above. Throws as await() does, if the task is not to be awaited.
  const use_t& task_of() const noexcept { return x_task; }
  const use_t& awaitable_task() const {
    if (task_with_outcome()->spent())
      throw misuse_error(
          "runnel: an await of this task has timed out, and a task is awaited once: await_for may be repeated");
    return x_task;
  }

  // What `co_await std::move(t)` does: as await(). The operation lies here, so it is this object that must stay.
  bool suspend(detail::promise_base * leaf) {
    x_wait.emplace(awaitable_task());
    return x_wait->suspend(leaf);
  }
  T resume() { return x_wait->value(); }

 private:
  const use_t& usable() const {
    if (!x_task) throw misuse_error("runnel: this join_handle has been moved from");
    return x_task;
  }
  const use_t& task_with_outcome() const {
    if (usable()->taken()) throw misuse_error("runnel: this task has been awaited already: a task is awaited once");
    return x_task;
  }

  use_t x_task;
  std::optional<detail::outcome_operation<T>> x_wait;
};

namespace detail {

// What a task may be made of.
template <class F, class... A> constexpr bool check_async() {
  static_assert(!is_task<std::remove_cvref_t<F>>,
                "pass the function and its arguments, not a task that is already made: async(f, x), not async(f(x))");
  if constexpr (!is_task<std::remove_cvref_t<F>>)
    static_assert(std::is_invocable_v<std::decay_t<F>&, std::decay_t<A>...>,
                  "the callable cannot be called with these arguments: they are moved into the task, so a parameter "
                  "of type T& needs std::ref(x), and a lambda must take what it is given by value or const&");
  return !is_task<std::remove_cvref_t<F>>;
}

// async(f, args...), with its place.
struct task_starter {
  template <class F, class... A> static auto async_at(std::source_location where, F&& f, A&&... args) {
    refuse_hazardous<F, A...>();
    return start(where, unmoved(std::forward<F>(f)), unmoved(std::forward<A>(args))...);
  }

 private:
  template <class F, class... A> static auto start(std::source_location where, F&& f, A&&... args) {
    if constexpr (check_async<F, A...>()) {
      using T = call_result_t<std::decay_t<F>&, std::decay_t<A>...>;
      return join_handle<T>(start_task<T>(where, std::forward<F>(f), std::forward<A>(args)...));
    }
  }
};

}  // namespace detail

/// Starts f(args...) as a task, at once: `rn::join_handle<int> t = rn::async(slow_computation, x);` and, later,
/// `int n = co_await t.await();`.
///
/// The task is a goroutine that inherits the caller's context whole: values, deadline, cancellation. It does not
/// outlive a context that it inherits: when that ends (with_timeout returns, say), the task is cancelled. f may return
/// a task, or be a plain function. Callable and arguments are moved or copied into the task; rn::moved(x) moves a named
/// one, std::ref(x) passes a reference.
///
/// The task belongs to the innermost open scope of the caller: a with_errgroup whose body runs, a child of all or race,
/// or else the goroutine. That joins it at its end: it does not end before the task. So the task may refer to what
/// outlives the scope. A goroutine that is cancelled joins its tasks before any of its frames die. An exception only
/// drops handles, which cancels the tasks and does not wait: what a task refers to must outlive the scope, not just the
/// handle.
///
/// Returns: the handle. In a context that is done, and in a destructor during unwinding, f does not run, and the task
/// is a cancelled one.
/// Throws: misuse_error outside of a goroutine; bad_alloc, and what copying the arguments throws: f does not run then.
/// Ordering: the call happens before f begins.
/// Contract: SEMANTICS.md TSK-01 to TSK-15 and TSK-C01 to TSK-C04, DESIGN section 4.
RUNNEL_SPAWN_OVERLOADS(auto, async, detail::task_starter::async_at)

/// The handle of a task that has ended already, with that value; nothing is started: for a function that yields a task,
/// and sometimes knows the answer. `rn::join_handle<int> t = rn::completed(7);`. From anywhere.
/// Throws: bad_alloc, and what moving or copying the value throws.
template <class T> join_handle<std::decay_t<T>> completed(T&& value) {
  return join_handle<std::decay_t<T>>(detail::make_completed<std::decay_t<T>>(std::forward<T>(value)));
}
inline join_handle<> completed() { return join_handle<>(detail::make_completed<void>()); }

/// `co_await rn::as_result(t.await())` and `co_await rn::as_result(std::move(t))`: the task's outcome as a value, with
/// canceled() if it was cancelled. The second owns the task meanwhile: one that is given up is cancelled.
template <class T> [[nodiscard("co_await it")]] auto as_result(detail::outcome_operation<T>&& await) {
  return detail::result_operation<T>(detail::await_or_unwind<T>(await.use()));
}
template <class T> [[nodiscard("co_await it")]] auto as_result(join_handle<T>&& t) {
  struct owned {
    static task<T> await(join_handle<T> handle) { co_return co_await detail::await_or_unwind<T>(handle.task_of()); }
  };
  return detail::result_operation<T>(owned::await(std::move(t)));
}

}  // namespace runnel
