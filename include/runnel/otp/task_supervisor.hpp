// SPDX-License-Identifier: BSL-1.0
// runnel/otp/task_supervisor.hpp: task_supervisor, which owns tasks, awaited ones and others, for whoever starts them.
// Layer: L10
#pragma once

#include <runnel/async.hpp>
#include <runnel/async_stream.hpp>
#include <runnel/compiler.hpp>
#include <runnel/detail/async_start.hpp>
#include <runnel/detail/async_task.hpp>
#include <runnel/detail/call_result.hpp>
#include <runnel/detail/fork_join.hpp>
#include <runnel/detail/frame_allocator.hpp>
#include <runnel/detail/prepared_task.hpp>
#include <runnel/detail/spawn_place.hpp>
#include <runnel/detail/stream_run.hpp>
#include <runnel/detail/supervisor_call.hpp>
#include <runnel/detail/supervisor_core.hpp>
#include <runnel/otp/child_spec.hpp>
#include <runnel/otp/dynamic_supervisor.hpp>
#include <runnel/otp/max_children.hpp>
#include <runnel/otp/on_error.hpp>
#include <runnel/otp/supervision.hpp>
#include <runnel/otp/supervisor.hpp>
#include <runnel/task.hpp>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <source_location>
#include <type_traits>
#include <utility>
#include <vector>

namespace runnel {

/// A task that a task_supervisor has been asked for: `auto t = co_await tasks.async(f, x);`. Dropping it is dropping
/// the handle. get() is the same for a plain thread, which it blocks.
///
/// Returns: the join_handle. Suspends: until the supervisor has started it; resumes on its own scheduler.
/// Cancel-safety: a cancelled one is as one that is dropped.
/// Throws: task_refused; bad_alloc; get(): misuse_error on a thread that runs goroutines.
template <class T>
class [[nodiscard("co_await it: it yields the handle of the task")]] task_request : public detail::awaitable_base {
 public:
  task_request(std::shared_ptr<detail::supervisor_call> call, join_handle<T> t) noexcept
      : x_call(std::move(call)), x_handle(std::move(t)) {}
  task_request(task_request && other) noexcept : x_call(std::move(other.x_call)), x_handle(std::move(other.x_handle)) {}
  task_request& operator=(task_request&&) = delete;

  join_handle<T> get() { return handed_over(x_call.get()); }

  /// For co_await.
  bool suspend(detail::promise_base * leaf) { return x_call.suspend(leaf); }
  join_handle<T> resume() { return handed_over(x_call.resume()); }

 private:
  join_handle<T> handed_over(child_outcome o) {
    if (o != child_outcome::ok) throw task_refused(o);
    return std::move(x_handle);
  }

  child_request x_call;
  join_handle<T> x_handle;
};

namespace detail {

template <class O>
concept task_supervisor_option = dynamic_supervisor_option<O> || std::same_as<std::remove_cvref_t<O>, on_error>;

inline void set_option(supervisor_options& o, const on_error& e) noexcept { o.on_error = e.handler(); }

// Options of a stream, and rn::shutdown, which is its tasks'.
struct supervised_stream_settings : stream_settings {
  shutdown stop{std::chrono::seconds(5)};
  template <class O> static constexpr bool takes = is_stream_option<O> || std::is_same_v<O, shutdown>;
};
inline void set_option(supervised_stream_settings& s, const shutdown& stop) noexcept { s.stop = stop; }

class stream_host final : public task_host {
 public:
  stream_host(const supervisor_link& link, const shutdown& stop) noexcept : x_link(link), x_stop(stop) {}
  void start(std::unique_ptr<prepared_task> t) override {
    auto spec = make_shared_frame<child_spec>();
    spec->where = t->where();
    spec->restart = temporary;
    spec->set(x_stop);
    spec->once = std::move(t);
    (void)x_link.submit_start(std::move(spec));  // the stream hears of a refusal as of an end
  }
  context_values values(const context_value* of_caller) const override { return x_link.values_for_task(of_caller); }

 private:
  const supervisor_link x_link;
  const shutdown x_stop;
};

}  // namespace detail

/// A handle to a task_supervisor, which is one itself. Copies share it, and none keeps it alive: once it is gone every
/// task is refused.
///
/// A task inherits the values of the caller's context (where that has none, the supervisor's), and neither its deadline
/// nor its cancellation: it is cancelled by its supervisor. So it may refer to what outlives that, and to nothing of
/// the caller's.
///
/// Thread-safety: everything may be called from any thread; async_stream, from goroutines.
class task_supervisor_ref : public dynamic_supervisor_ref {
 public:
  /// Starts f(args...), and forgets it: `co_await tasks.start_child(send_mail, to)`. Options, first, as of any child;
  /// by default it is rn::temporary. Its errors go to on_error.
  ///
  /// Returns: a started_child; `too_many` beyond max_children, `not_running`. Throws: as of a dynamic_supervisor.
  RUNNEL_SPAWN_OVERLOADS(start_request, start_child, start_child_at)

  /// Starts f(args...) as a task: `auto t = co_await tasks.async(f, x);`, and later `co_await t.await()`. rn::shutdown
  /// may stand before f, which may be a plain function; callable and arguments are moved in, and need not be copyable.
  /// Dropping the handle cancels the task.
  ///
  /// Returns: a task_request, which yields the join_handle. A task that is cancelled before it has begun does not.
  /// Throws: the request: task_refused; at the call: bad_alloc, and what moving or copying the arguments throws.
  RUNNEL_SPAWN_OVERLOADS(auto, async, async_at)
  /// The same of a task that goes on when the handle is dropped; nobody is to hear of its result then, and on_error of
  /// its error.
  RUNNEL_SPAWN_OVERLOADS(auto, async_nolink, async_nolink_at)

  /// As rn::async_stream, with tasks that are the supervisor's; rn::shutdown is an option too. f, what it refers to,
  /// and the inputs outlive the tasks, or the supervisor.
  ///
  /// Throws: next() also task_refused, when all that was running has been cancelled and has ended.
  template <class R, class... X>
  [[nodiscard("a stream does nothing until its next() is awaited")]] auto async_stream(R&& range,
                                                                                       X&&... options_and_f) {
    return stream(true, std::forward<R>(range), std::forward<X>(options_and_f)...);
  }
  /// The same of tasks that go on when the stream is dropped; close() cancels them all the same.
  template <class R, class... X>
  [[nodiscard("a stream does nothing until its next() is awaited")]] auto async_stream_nolink(R&& range,
                                                                                              X&&... options_and_f) {
    return stream(false, std::forward<R>(range), std::forward<X>(options_and_f)...);
  }

  /// The tasks that run at present, by number, in the order of their starts. Those that wait for a restart do not, nor
  /// does one whose end can be heard of already.
  std::vector<std::uint64_t> children() const { return x_link.active(); }
  /// How many of them there are.
  std::size_t count() const noexcept { return count_children().active; }

 protected:
  using dynamic_supervisor_ref::dynamic_supervisor_ref;

 private:
  std::shared_ptr<detail::child_spec> new_spec(std::source_location where) const {
    auto spec = detail::make_shared_frame<detail::child_spec>();
    spec->where = where;
    spec->restart = temporary;
    return spec;
  }
  detail::context_values callers_values() const {
    detail::goroutine* me = detail::current_goroutine();
    return x_link.values_for_task(me ? me->context.load(std::memory_order_relaxed)->values() : nullptr);
  }

  template <class... A> start_request start_child_at(std::source_location where, A&&... options_f_args) {
    detail::refuse_hazardous<A...>();
    auto spec = new_spec(where);
    spec->values = callers_values();
    return start(std::move(spec), std::forward<A>(options_f_args)...);
  }
  template <class... A> auto async_at(std::source_location where, A&&... options_f_args) {
    detail::refuse_hazardous<A...>();
    return with_handle(true, new_spec(where), std::forward<A>(options_f_args)...);
  }
  template <class... A> auto async_nolink_at(std::source_location where, A&&... options_f_args) {
    detail::refuse_hazardous<A...>();
    return with_handle(false, new_spec(where), std::forward<A>(options_f_args)...);
  }
  template <class First, class... Rest>
  auto with_handle(bool linked, std::shared_ptr<detail::child_spec> spec, First&& first, Rest&&... rest) {
    if constexpr (detail::child_option<First>) {
      static_assert(std::same_as<std::remove_cvref_t<First>, shutdown>,
                    "a task with a handle is started once: of a child's options it takes rn::shutdown; start_child "
                    "takes the others");
      static_assert(sizeof...(Rest) > 0, "the function that the task runs is missing: options first");
      spec->set(first);
      return with_handle(linked, std::move(spec), std::forward<Rest>(rest)...);
    } else {
      return start_task(linked, std::move(spec), detail::unmoved(std::forward<First>(first)),
                        detail::unmoved(std::forward<Rest>(rest))...);
    }
  }
  template <class F, class... A>
  auto start_task(bool linked, std::shared_ptr<detail::child_spec> spec, F&& f, A&&... args) {
    if constexpr (detail::check_async<F, A...>()) {
      using T = detail::call_result_t<std::decay_t<F>&, std::decay_t<A>...>;
      auto* t = new detail::async_task<T>(spec->where);
      detail::task_use<detail::async_task<T>> use(t);
      detail::runners_use runner{t};
      t->set_values(callers_values());
      if (!linked) t->set_independent();
      spec->once = std::make_unique<detail::prepared_task>(
          *t, detail::make_task_root<T>(std::forward<F>(f), std::forward<A>(args)...));
      runner.t = nullptr;
      join_handle<T> handle(std::move(use));
      return task_request<T>(x_link.submit_start(std::move(spec)), std::move(handle));
    }
  }
  template <class R, class... X> auto stream(bool linked, R&& range, X&&... options_and_f) {
    detail::refuse_hazardous<R>();
    using held = detail::unmoved_t<R>;
    return detail::with_parsed<held, detail::supervised_stream_settings>(
        [&](detail::supervised_stream_settings& s, auto&& f) {
          s.host = std::make_shared<detail::stream_host>(x_link, s.stop);
          s.linked = linked;
          return detail::make_stream<held>(s, detail::unmoved(std::forward<R>(range)), std::forward<decltype(f)>(f));
        },
        std::forward<X>(options_and_f)...);
  }
};

/// Owns tasks: whoever starts one need not outlive it. It stops them when it is stopped, each with its own grace time,
/// and all have ended when run() has.
///
///     rn::task_supervisor tasks(rn::max_children(1000), rn::on_error(log));
///     auto ref = tasks.ref();
///     sup.child("tasks", std::move(tasks)) ...
///     co_await ref.start_child(send_mail, to);                   // nobody waits
///     auto t = co_await ref.async_nolink(rn::shutdown(1s), f, x);  // somebody may
///
/// It is a dynamic_supervisor: run, stopped, started again (empty) by a supervisor above, as that is.
/// Contract: SEMANTICS.md TSV-01 to TSV-07, AS-10, AS-13, AS-14, and DYN-*; docs/reference/otp/task_supervisor.md says
/// where it differs.
class task_supervisor : public task_supervisor_ref {
 public:
  /// Options: rn::max_children, rn::max_restarts, rn::on_error. Throws: bad_alloc.
  template <detail::task_supervisor_option... O>
  explicit task_supervisor(const O&... options)
      : task_supervisor(std::make_shared<detail::supervisor_core>(detail::dynamic_options(options...))) {}
  task_supervisor(task_supervisor&&) noexcept = default;
  task_supervisor& operator=(task_supervisor&&) noexcept = default;

  /// As dynamic_supervisor::run.
  [[nodiscard("co_await it: run() alone starts nothing")]] task<> run() {
    return detail::run_supervisor(detail::usable(x_core));
  }
  [[nodiscard("co_await it")]] task<> operator()() { return run(); }

  /// A handle for others.
  task_supervisor_ref ref() const noexcept { return *this; }

  /// For the layers above: what a supervisor above this one calls.
  auto as_child() && {
    detail::usable(x_core);
    return [core = std::move(x_core)] { return detail::run_supervisor(core); };
  }

 private:
  explicit task_supervisor(std::shared_ptr<detail::supervisor_core> core) noexcept
      : task_supervisor_ref(core), x_core(std::move(core)) {}

  std::shared_ptr<detail::supervisor_core> x_core;
};

}  // namespace runnel
