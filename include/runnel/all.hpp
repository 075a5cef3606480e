// SPDX-License-Identifier: BSL-1.0
// runnel/all.hpp: all and race: tasks in parallel, without spawning by hand.
// Layer: L8
#pragma once

#include <runnel/detail/fork_join.hpp>
#include <runnel/detail/processor.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/detail/runtime_core.hpp>
#include <runnel/detail/task_scope.hpp>
#include <runnel/error.hpp>
#include <runnel/task.hpp>
#include <runnel/waiter.hpp>

#include <coroutine>
#include <cstddef>
#include <exception>
#include <iterator>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace runnel {

namespace detail {

template <class T>
using not_void = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

// The first error decides an `all`; the first success decides a `race`.
struct all_policy {
  // A child that was cancelled by a context of its own has no result: there can be none for the parent either.
  static void unwound(fork_join& join) noexcept { join.give_up(); }
  template <class T>
  static void ended(fork_join& join, fork_child<T>& child) noexcept {
    if (child.result.failed()) [[unlikely]]
      if (std::exception_ptr error = child.result.take_error(); !join.decide(error)) report_loser(std::move(error));
  }
  static void report_loser(std::exception_ptr error) noexcept {
    if (auto* runtime = runtime_core::here()) runtime->unobserved(std::move(error), {});
  }
};
struct race_policy {
  static void unwound(fork_join&) noexcept {}
  template <class T>
  static void ended(fork_join& join, fork_child<T>& child) noexcept {
    if (child.result.failed()) {
      if (std::exception_ptr later = join.keep_error(child.result.take_error()))
        all_policy::report_loser(std::move(later));
    } else if (join.decide(nullptr)) {
      join.set_winner(child);
    } else {
      child.result.discard();
    }
  }
};

template <class Policy, class T>
inline constexpr link_ops fork_ops{
    .finished = [](link& up) noexcept -> std::coroutine_handle<> {
      auto& child = static_cast<fork_child<T>&>(static_cast<task_link<T>&>(up));
      Policy::ended(*child.join, child);
      if (goroutine* g = child.g(); g && g->scopes) [[unlikely]]
        if (wait_for_tasks(*g, up)) return std::noop_coroutine();
      return child.join->child_finished(child);
    },
    .unwound = [](link& up, goroutine*, bool& keep_unwinding) noexcept -> promise_base* {
      auto& child = static_cast<fork_child<T>&>(static_cast<task_link<T>&>(up));
      Policy::unwound(*child.join);
      return child.join->child_unwound(child, keep_unwinding);
    },
    .mark = nullptr,
    .child = [](link& up) noexcept -> fork_child_base* {
      return &static_cast<fork_child<T>&>(static_cast<task_link<T>&>(up));
    },
    .is_root = true,
    .joined = [](link& up) noexcept -> promise_base* {
      auto& child = static_cast<fork_child<T>&>(static_cast<task_link<T>&>(up));
      return child.join->child_joined(child);
    }};

template <class Policy, class T>
typename fork_child<T>::origin child_from(fork_join& join, task<T>& t) noexcept {
  return {join, t.release(), fork_ops<Policy, T>};
}
// The same of an operation that is moved, and has not begun.
template <class T>
typename fork_child<T>::origin moved_child(fork_join& join, fork_child<T>& from) noexcept {
  return {join, std::exchange(from.entry, nullptr), *from.ops};
}
template <class T>
RUNNEL_ALWAYS_INLINE void end_child(fork_child<T>& child) noexcept {
  if (child.entry) [[unlikely]] child.entry->handle().destroy();  // it never began
  child.result.discard();
}
inline void check_all_there(bool there) {
  if (!there) throw misuse_error("runnel: one of the tasks has been awaited or moved from: a task is awaited once");
}

class fork_operation_base : public awaitable_base {
 protected:
  fork_operation_base() noexcept = default;
  fork_operation_base(fork_operation_base&&) noexcept {}  // of what has not begun; the children are moved
  fork_operation_base& operator=(const fork_operation_base&) = delete;
  RUNNEL_ALWAYS_INLINE ~fork_operation_base() {
    if (x_join.eventful()) [[unlikely]] drop_error();
  }

  // Suspends the parent, offers all children but the first, and enters that, unless a chooser is to.
  // `push_others` puts them into a queue, from the last one to the second.
  template <class F>
  std::coroutine_handle<> fork(promise_base* leaf, std::uint32_t n, fork_child_base& first, F&& push_others) {
    check_all_there(first.entry);
    processor& here = *this_processor();
    x_join.begin(leaf, here, n);
    if (x_join.ambient_due()) [[unlikely]] {
      stop_here(goroutine_of(leaf), leaf);
      return std::noop_coroutine();
    }
    if (n > 1) {
      here.gate.enter();
      push_others(here.children);
      here.count_children(n - 1);
      here.gate.leave();
      here.core->offer_children(here);
    }
    if (!fork_join::may_transfer(here)) [[unlikely]] return fork_join::leave_to_chooser(here, first);
    return transfer_to(fork_join::enter(here, first));
  }
  // In the parent, after the last child. Rethrows what decided the join.
  RUNNEL_ALWAYS_INLINE void finish_all() {
    if (x_join.eventful()) [[unlikely]] rethrow_error();
  }
  // The child that won; rethrows the first error if none did.
  fork_child_base& finish_race() {
    std::exception_ptr error = x_join.finish();
    if (!x_join.winner()) std::rethrow_exception(std::move(error));
    if (error) all_policy::report_loser(std::move(error));
    return *x_join.winner();
  }
  fork_join x_join;

 private:
  RUNNEL_NOINLINE void rethrow_error() {
    if (std::exception_ptr error = x_join.finish()) std::rethrow_exception(std::move(error));
  }
  // A parent that was unwound has not heard of the error of a race that nobody won.
  RUNNEL_NOINLINE void drop_error() noexcept {
    if (std::exception_ptr lost = x_join.finish()) all_policy::report_loser(std::move(lost));
  }
};

template <class Policy, class... T>
class fork_operation : public fork_operation_base {
 public:
  explicit fork_operation(task<T>&... tasks) noexcept : x_children(child_from<Policy>(x_join, tasks)...) {}
  fork_operation(fork_operation&& other) noexcept : fork_operation(other, std::index_sequence_for<T...>()) {}
  ~fork_operation() {
    std::apply([](auto&... child) { (end_child(child), ...); }, x_children);
  }
  std::coroutine_handle<> suspend(promise_base* leaf) {
    return fork(leaf, sizeof...(T), std::get<0>(x_children), [this](list_head& queue) {
      // Of none, which all() refuses, the compiler is not to count down from zero.
      push_others(queue, std::make_index_sequence<(sizeof...(T) > 0 ? sizeof...(T) - 1 : 0)>());
    });
  }

 protected:
  std::tuple<fork_child<T>...> x_children;

 private:
  template <std::size_t... I>
  fork_operation(fork_operation& other, std::index_sequence<I...>) noexcept
      : x_children(moved_child(x_join, std::get<I>(other.x_children))...) {}
  template <std::size_t... I>
  void push_others(list_head& queue, std::index_sequence<I...>) noexcept {
    (queue.push_back(&std::get<sizeof...(I) - I>(x_children)), ...);
  }
};

template <class T>
RUNNEL_ALWAYS_INLINE not_void<T> take_not_void(result_slot<T>& slot) {
  if constexpr (std::is_void_v<T>)
    return slot.take(), std::monostate();
  else
    return slot.take();
}

template <class... T>
class all_operation : public fork_operation<all_policy, T...> {
 public:
  using fork_operation<all_policy, T...>::fork_operation;
  std::tuple<not_void<T>...> resume() {
    this->finish_all();
    return std::apply(
        [](auto&... child) { return std::tuple<not_void<T>...>{take_not_void<T>(child.result)...}; },
        this->x_children);
  }
};

template <class... T>
class race_operation : public fork_operation<race_policy, T...> {
  static constexpr bool same = (std::is_same_v<T, std::tuple_element_t<0, std::tuple<T...>>> && ...);
  using first = std::tuple_element_t<0, std::tuple<T...>>;

 public:
  using value = std::conditional_t<same, not_void<first>, std::variant<not_void<T>...>>;
  using fork_operation<race_policy, T...>::fork_operation;
  value resume() { return pick<0>(this->finish_race()); }

 private:
  template <std::size_t I>
  value pick(fork_child_base& winner) {
    auto& child = std::get<I>(this->x_children);
    using U = std::tuple_element_t<I, std::tuple<T...>>;
    if constexpr (I + 1 < sizeof...(T))
      if (&child != &winner) return pick<I + 1>(winner);
    if constexpr (same)
      return take_not_void<U>(child.result);
    else
      return value(std::in_place_index<I>, take_not_void<U>(child.result));
  }
};

// The same over a range.
template <class Policy, class T>
class fork_range_operation : public fork_operation_base {
 public:
  explicit fork_range_operation(std::vector<task<T>> tasks)
      : x_count(static_cast<std::uint32_t>(tasks.size())),
        x_memory(::operator new(tasks.size() * sizeof(fork_child<T>))),
        x_children(static_cast<fork_child<T>*>(x_memory.get())) {
    static_assert(std::is_trivially_destructible_v<fork_child<T>>);
    for (std::uint32_t i = 0; i < x_count; ++i)
      std::construct_at(x_children + i, child_from<Policy>(x_join, tasks[i]));
  }
  fork_range_operation(fork_range_operation&& other) noexcept
      : fork_operation_base(std::move(other)),
        x_count(std::exchange(other.x_count, 0)),
        x_memory(std::move(other.x_memory)),
        x_children(static_cast<fork_child<T>*>(x_memory.get())) {
    for (std::uint32_t i = 0; i < x_count; ++i) x_children[i].join = &x_join;
  }
  ~fork_range_operation() {
    for (std::uint32_t i = 0; i < x_count; ++i) end_child(x_children[i]);
  }
  std::coroutine_handle<> suspend(promise_base* leaf) {
    check_all_there(static_cast<bool>(x_memory));
    if (x_count == 0) return transfer_to(leaf);
    return fork(leaf, x_count, x_children[0], [this](list_head& queue) {
      for (std::uint32_t i = x_count; i-- > 1;) queue.push_back(&x_children[i]);
    });
  }

 protected:
  std::uint32_t x_count;

 private:
  struct give_back {
    void operator()(void* memory) const noexcept { ::operator delete(memory); }
  };
  std::unique_ptr<void, give_back> x_memory;

 protected:
  fork_child<T>* const x_children;
};

template <class T>
class all_range_operation : public fork_range_operation<all_policy, T> {
 public:
  using fork_range_operation<all_policy, T>::fork_range_operation;
  std::vector<not_void<T>> resume() {
    this->finish_all();
    std::vector<not_void<T>> results;
    results.reserve(this->x_count);
    for (std::uint32_t i = 0; i < this->x_count; ++i) results.push_back(take_not_void<T>(this->x_children[i].result));
    return results;
  }
};

template <class T>
class race_range_operation : public fork_range_operation<race_policy, T> {
 public:
  using fork_range_operation<race_policy, T>::fork_range_operation;
  not_void<T> resume() {
    return take_not_void<T>(static_cast<fork_child<T>&>(this->finish_race()).result);
  }
};

// What a range-based for goes through; <ranges> is a twentieth of what this library costs to compile.
template <class R>
using element_in = std::remove_cvref_t<decltype(*std::begin(std::declval<R&>()))>;
template <class R>
concept range_of_tasks = requires(R& range) { std::end(range); } && is_task<element_in<R>>;

template <class R>
auto collect_tasks(R&& range) {
  static_assert(!std::is_lvalue_reference_v<R>, "the tasks are moved out of the range: pass std::move(tasks)");
  std::vector<element_in<R>> tasks;
  for (auto&& t : range) {
    check_all_there(static_cast<bool>(t));
    tasks.push_back(std::move(t));
  }
  if (tasks.size() > UINT32_MAX) throw misuse_error("runnel: too many tasks at once");
  return tasks;
}

}  // namespace detail

/// Runs tasks in parallel and waits for all: `auto [a, b] = ...` is not for a co_await; write
/// `auto both = co_await rn::all(f(x), g(y));` and std::get<0>(both).
///
/// Children run on this processor, newest first, and on idle ones, oldest first; a child that never waits costs a frame
/// and nothing else. They share a context: the first error cancels the others. A child that has begun and never
/// suspends does not hear of it.
///
/// Returns: a tuple of the results, in order; void is std::monostate. Suspends: until all have ended. Cancel-safety:
/// children are cancelled and joined before the caller unwinds. Throws: the first error; later ones go to the
/// runtime's on_unobserved_error hook. bad_alloc may be thrown inside a child that waits for the first time.
template <class... T>
[[nodiscard("co_await it")]] auto all(task<T>... tasks) {
  static_assert(sizeof...(T) > 0, "all() of nothing");
  detail::check_all_there((static_cast<bool>(tasks) && ...));
  return detail::all_operation<T...>(tasks...);
}
/// The same over a range of tasks, which are moved out of it. Returns: a vector of the results, in order.
template <detail::range_of_tasks R>
[[nodiscard("co_await it")]] auto all(R&& tasks) {
  auto collected = detail::collect_tasks(std::forward<R>(tasks));
  using T = typename decltype(collected)::value_type::value_type;
  static_assert(!std::is_reference_v<T>, "a vector cannot hold references: let the tasks return pointers");
  return detail::all_range_operation<T>(std::move(collected));
}

/// Runs tasks in parallel; the first success wins, the others are cancelled and joined.
///
/// Returns: the winner's result; where the types differ, a variant whose index is the winner's; void is std::monostate.
/// Throws: if all fail, the first error. Errors of losers go to the on_unobserved_error hook.
/// Cancel-safety: children are cancelled and joined before the caller unwinds.
template <class... T>
[[nodiscard("co_await it")]] auto race(task<T>... tasks) {
  static_assert(sizeof...(T) > 0, "race() of nothing has no winner");
  detail::check_all_there((static_cast<bool>(tasks) && ...));
  return detail::race_operation<T...>(tasks...);
}
/// The same over a range of tasks of one type. Throws: misuse_error if it is empty.
template <detail::range_of_tasks R>
[[nodiscard("co_await it")]] auto race(R&& tasks) {
  auto collected = detail::collect_tasks(std::forward<R>(tasks));
  if (collected.empty()) throw misuse_error("runnel: a race without runners has no winner");
  using T = typename decltype(collected)::value_type::value_type;
  return detail::race_range_operation<T>(std::move(collected));
}

}  // namespace runnel
