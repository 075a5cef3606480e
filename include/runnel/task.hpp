// SPDX-License-Identifier: BSL-1.0
// runnel/task.hpp: task<T>, a call that may suspend.
// Layer: L2
#pragma once

#include <runnel/compiler.hpp>
#include <runnel/detail/await_place.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/detail/unwind.hpp>
#include <runnel/error.hpp>
#include <runnel/failure.hpp>

#include <concepts>
#include <coroutine>
#include <exception>
#include <type_traits>
#include <utility>

namespace runnel {

template <class T>
class task;

namespace detail {

template <class T>
inline constexpr bool is_task = false;
template <class T>
inline constexpr bool is_task<task<T>> = true;

template <class...>
inline constexpr bool never = false;

template <class A>
concept own_awaitable = std::derived_from<std::remove_cvref_t<A>, awaitable_base>;

// Where nothing in a frame that has ended has a destructor that does something, its memory is all there is to it. Not
// on clang, which may put a frame into its caller's: only destroy() knows then that there is nothing to free.
template <class Promise>
concept leaves_only_memory =
    RUNNEL_GCC == 1 && Promise::parameters_are_trivial && std::is_trivially_destructible_v<Promise>;

// Gives the frame back as soon as its coroutine has ended, while it is hot, and goes to whoever awaits it.
struct final_awaiter {
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> h) const noexcept {
    promise_base& promise = h.promise();
    link& up = *promise.cont;
    if constexpr (leaves_only_memory<Promise>)
      promise_base::operator delete(h.address(), promise.frame_size);
    else
      h.destroy();
    if (!up.ops) [[likely]] return transfer_to(up.parent);
    return up.ops->finished(up);
  }
  void await_resume() const noexcept {}
};

// The same where the coroutine ends by a failure: its locals are alive, and die with the frame.
struct failing_awaiter {
  std::exception_ptr error;
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> h) noexcept {
    link& up = *h.promise().cont;
    h.promise().fail(std::move(error));
    h.destroy();  // this object too
    if (!up.ops) [[likely]] return transfer_to(up.parent);
    return up.ops->finished(up);
  }
  void await_resume() const noexcept {}
};

[[noreturn]] RUNNEL_NOINLINE inline void throw_awaited_twice() {
  throw misuse_error("runnel: this task has been awaited or moved from: a task is awaited once");
}

// co_await of a task: the link to it, and its result, live here.
template <class T>
struct task_awaiter : task_link<T> {
  promise_base* child;

  RUNNEL_ALWAYS_INLINE task_awaiter(promise_base* awaiter, promise_base* awaited) : child(awaited) {
    if (!awaited) [[unlikely]] throw_awaited_twice();
    link::parent = awaiter;
    awaited->cont = this;
    awaited->g = awaiter->g;
  }
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise>) const noexcept {
    return transfer_to(child);
  }
  RUNNEL_ALWAYS_INLINE T await_resume() { return this->result.take(); }
};

template <class T>
struct task_promise_base : promise_base {
  task<T> get_return_object() noexcept;
  std::suspend_always initial_suspend() const noexcept { return {}; }
  final_awaiter final_suspend() const noexcept { return {}; }
  void unhandled_exception() noexcept { fail(std::current_exception()); }
  void fail(std::exception_ptr error) noexcept {
    note_await(error, x_last_await);
    out().fail(std::move(error));
  }
  failing_awaiter yield_value(failure f) noexcept { return {std::move(f).take()}; }
  template <class A>
    requires(!std::is_same_v<std::remove_cvref_t<A>, failure>)
  void yield_value(A&&) {
    static_assert(never<A>, "a task yields nothing but co_yield rn::failure(error), with which it ends: send a "
                            "sequence of values into a channel");
  }

  template <class U>
  task_awaiter<U> await_transform(task<U>&& t, await_place at = RUNNEL_AWAIT_PLACE);
  template <class U>
  void await_transform(task<U>&) {
    static_assert(never<U>, "a task is awaited once, as an rvalue: write co_await std::move(t)");
  }
  template <own_awaitable A>
    requires(!std::is_reference_v<A>)
  operation_awaiter<A> await_transform(A&& a, await_place at = RUNNEL_AWAIT_PLACE) noexcept {
    x_last_await = at;
    return operation_awaiter<A>(a, this);
  }
  template <own_awaitable A>
  void await_transform(A&) {
    static_assert(never<A>, "an operation is awaited once, as an rvalue: co_await the call that makes it, or write "
                            "co_await std::move(op)");
  }
  template <class A>
    requires(!own_awaitable<A> && !is_task<std::remove_cvref_t<A>>)
  void await_transform(A&&) {
    static_assert(never<A>,
                  "this awaitable belongs to another library, and cancelling it would not work: write co_await "
                  "rn::adopt(x) to await it shielded from cancellation; for an Asio operation pass rn::use_task");
  }

 protected:
  result_slot<T>& out() noexcept { return static_cast<task_link<T>*>(cont)->result; }

 private:
  [[no_unique_address]] await_place x_last_await;
};

template <class T>
struct task_promise : task_promise_base<T> {
  template <class U = T>
    requires std::is_constructible_v<T, U&&> && (!std::is_reference_v<T> || std::is_convertible_v<U&&, T>)
  void return_value(U&& value) {
    this->out().emplace(std::forward<U>(value));
  }
};

template <>
struct task_promise<void> : task_promise_base<void> {
  void return_void() const noexcept {}
};

// Of a coroutine whose parameters, as the frame keeps them, are trivially destructible.
template <class T>
struct task_promise_of_trivial : task_promise<T> {
  static constexpr bool parameters_are_trivial = true;
};

}  // namespace detail

/// A call that may suspend: lazy, awaited once, as an rvalue. `co_await f(x)` runs f to its end and yields its result,
/// or rethrows its exception. A coroutine that returns task<T> may await tasks and the library's own operations; for
/// anything else there is rn::adopt.
///
/// Awaiting a task costs no allocation beyond its frame and checks nothing: it is a call. Where the coroutine is
/// cancelled while it waits, the frames die from the leaf up to the nearest boundary and code after the co_await does
/// not run: clean-up belongs in destructors or rn::finally.
///
/// Thread-safety: a task has one owner. Lifetime: a task that is never awaited destroys its frame, unrun.
template <class T = void>
class [[nodiscard("a task does nothing until it is awaited: co_await it, or hand its function to rn::go")]] task {
  static_assert(!std::is_rvalue_reference_v<T>, "task<T&&> is not supported: return T by value");
  static_assert(alignof(std::conditional_t<std::is_void_v<T>, char, std::remove_reference_t<T>>) <= 16,
                "over-aligned results are not supported: return a unique_ptr to it");

 public:
  using value_type = T;
  using promise_type = detail::task_promise<T>;

  task(task&& other) noexcept : x_frame(std::exchange(other.x_frame, nullptr)) {}
  task& operator=(task&& other) noexcept {
    task(std::move(other)).swap(*this);
    return *this;
  }
  ~task() {
    if (x_frame) x_frame->handle().destroy();
  }
  void swap(task& other) noexcept { std::swap(x_frame, other.x_frame); }

  /// Whether there is still something to await.
  explicit operator bool() const noexcept { return x_frame; }

  /// For the layers above: hands over the frame, which then belongs to whoever links it.
  [[nodiscard]] detail::promise_base* release() noexcept { return std::exchange(x_frame, nullptr); }

 private:
  template <class>
  friend struct detail::task_promise_base;
  explicit task(detail::promise_base* frame) noexcept : x_frame(frame) {}

  detail::promise_base* x_frame;
};

// Implementation

template <class T>
task<T> detail::task_promise_base<T>::get_return_object() noexcept {
  static_assert(alignof(task_promise<T>) <= 16, "a promise is found from its frame by a constant");
  return task<T>(this);
}

template <class T>
template <class U>
detail::task_awaiter<U> detail::task_promise_base<T>::await_transform(task<U>&& t, await_place at) {
  x_last_await = at;
  return task_awaiter<U>(this, t.release());
}

}  // namespace runnel

template <class T, class... Parameters>
  requires(std::is_trivially_destructible_v<Parameters> && ...)
struct std::coroutine_traits<runnel::task<T>, Parameters...> {
  using promise_type = runnel::detail::task_promise_of_trivial<T>;
};
