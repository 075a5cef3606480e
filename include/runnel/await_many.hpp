// SPDX-License-Identifier: BSL-1.0
// runnel/await_many.hpp: await_many and await_done_within, for several tasks of async at once.
// Layer: L9
#pragma once

#include <runnel/after.hpp>
#include <runnel/all.hpp>
#include <runnel/async.hpp>
#include <runnel/detail/async_task.hpp>
#include <runnel/detail/select_case.hpp>
#include <runnel/detail/select_operation.hpp>
#include <runnel/detail/task_watch.hpp>
#include <runnel/detail/wait_operation.hpp>
#include <runnel/error.hpp>
#include <runnel/result.hpp>
#include <runnel/task.hpp>
#include <runnel/time_point.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

namespace runnel {

namespace detail {

template <class H>
inline constexpr bool is_join_handle = false;
template <class T>
inline constexpr bool is_join_handle<join_handle<T>> = true;
template <class R>
using handle_in = std::remove_cvref_t<decltype(*std::begin(std::declval<R&>()))>;

template <class T>
using task_uses = std::vector<task_use<async_task<T>>>;

// Who awaits keeps the handles; the uses keep what is waited for.
template <class R> auto uses_of(R& handles) {
  task_uses<typename handle_in<R>::value_type> uses;
  for (auto& h : handles) uses.push_back(h.awaitable_task());
  return uses;
}
template <class R> constexpr void check_handles() {
  static_assert(std::is_lvalue_reference_v<R>,
                "the handles stay with who awaits: name the range of them, and pass the name");
  static_assert(is_join_handle<handle_in<std::remove_reference_t<R>>>, "await_many awaits a range of join_handle<T>");
}

// Waits for the end of one more. False: the time is up.
inline task<bool> one_more_ends(task_watch& watch, std::optional<after_operation>& timer) {
  if (!timer) {
    co_await task_watch_wait(watch);
    co_return true;
  }
  task_watch_wait news(watch);
  select_case<task_watch_wait> by_news(news);
  select_case<after_operation> by_timer(*timer);
  select_operation<true, select_case<task_watch_wait>, select_case<after_operation>> either(by_news, by_timer);
  std::size_t which = co_await std::move(either);
  co_return which == 0;
}

template <class T>
task<std::vector<not_void<T>>> await_each(task_uses<T> tasks, std::optional<std::int64_t> limit_ns) {
  co_await checkpoint();
  std::optional<after_operation> timer;
  if (limit_ns) timer.emplace(*runtime_core::here(), *limit_ns);
  task_watch watch(tasks.size());
  for (auto& t : tasks) watch.add(task_use<async_task_base>(t));
  watch.begin();
  for (std::size_t left = tasks.size(); left > 0;) {
    if (std::size_t i = watch.next(); i < tasks.size()) {
      --left;
      if (!tasks[i]->has_value()) (void)tasks[i]->take();  // throws
      continue;
    }
    bool in_time = co_await one_more_ends(watch, timer);
    if (in_time) continue;
    for (auto& t : tasks) t->spend();
    throw deadline_exceeded();
  }
  std::vector<not_void<T>> values;
  values.reserve(tasks.size());
  for (auto& t : tasks) {
    if constexpr (std::is_void_v<T>)
      t->take(), values.emplace_back();
    else
      values.push_back(t->take());
  }
  co_return values;
}

template <class T>
task<std::vector<std::optional<result<T>>>> await_some(task_uses<T> tasks, std::int64_t limit_ns, std::size_t at_most,
                                                       bool kills) {
  co_await checkpoint();
  std::optional<after_operation> timer;
  timer.emplace(*runtime_core::here(), limit_ns);
  task_watch watch(tasks.size());
  for (auto& t : tasks) watch.add(task_use<async_task_base>(t));
  watch.begin();
  std::size_t wanted = at_most < tasks.size() ? at_most : tasks.size();
  bool in_time = true;
  for (std::size_t ended = 0; ended < wanted && in_time;) {
    if (watch.next() < tasks.size())
      ++ended;
    else
      in_time = co_await one_more_ends(watch, timer);
  }
  if (!in_time && kills) {
    for (auto& t : tasks) t->cancel(level_kill);
    for (auto& t : tasks) co_await task_end_operation(task_use<async_task_base>(t));
  }
  std::vector<std::optional<result<T>>> outcomes(tasks.size());
  for (std::size_t i = 0; i < tasks.size(); ++i)
    if (tasks[i]->has_ended()) outcomes[i].emplace(tasks[i]->take_as_result());
  co_return outcomes;
}

}  // namespace detail

/// Waits until all tasks of a range of handles have ended: `auto values = co_await rn::await_many(handles);`.
///
/// Returns: a vector of the values, in the order of the handles; of void, std::monostate; of an empty range, none.
/// Throws: as soon as one of them has ended without a value, its exception, or canceled; the others go on, and may be
/// awaited. misuse_error, at the call, if one has been awaited.
/// Suspends: until then; resumes on its own scheduler. Cancel-safety: results stay where they are, and the tasks go on.
/// Lifetime: the handles stay with the caller.
/// Contract: TSK-10.
template <class R> [[nodiscard("co_await it")]] auto await_many(R&& handles) {
  detail::check_handles<R>();
  using T = typename detail::handle_in<std::remove_reference_t<R>>::value_type;
  return detail::await_each<T>(detail::uses_of(handles), std::nullopt);
}
/// The same for at most so long: `co_await rn::await_many(2s, handles)`. When the time is up it throws
/// deadline_exceeded; the tasks go on, and are not awaited any more.
template <class Rep, class Period, class R>
[[nodiscard("co_await it")]] auto await_many(std::chrono::duration<Rep, Period> limit, R&& handles) {
  detail::check_handles<R>();
  using T = typename detail::handle_in<std::remove_reference_t<R>>::value_type;
  return detail::await_each<T>(detail::uses_of(handles), detail::to_ns(limit));
}

/// Waits for so long, or until all have ended, and takes what is there: `co_await rn::await_done_within(5s, handles)`.
/// The name says which: those that are done within the time. yield, in another language, is a word that is taken here.
///
/// Returns: for each handle, in order, how its task ended, as a value: canceled() if it was cancelled; empty if it goes
/// on: then it may be awaited again. Throws: misuse_error, at the call, if one has been awaited.
/// Suspends: until then; resumes on its own scheduler. Cancel-safety: results stay where they are.
/// Contract: TSK-09.
template <class Rep, class Period, class R>
[[nodiscard("co_await it")]] auto await_done_within(std::chrono::duration<Rep, Period> limit, R&& handles) {
  detail::check_handles<R>();
  using T = typename detail::handle_in<std::remove_reference_t<R>>::value_type;
  return detail::await_some<T>(detail::uses_of(handles), detail::to_ns(limit), SIZE_MAX, false);
}
/// The same; those that have not ended when the time is up are killed, and waited for: none is empty.
template <class Rep, class Period, class R>
[[nodiscard("co_await it")]] auto await_done_within(std::chrono::duration<Rep, Period> limit, kill_t, R&& handles) {
  detail::check_handles<R>();
  using T = typename detail::handle_in<std::remove_reference_t<R>>::value_type;
  return detail::await_some<T>(detail::uses_of(handles), detail::to_ns(limit), SIZE_MAX, true);
}

}  // namespace runnel
