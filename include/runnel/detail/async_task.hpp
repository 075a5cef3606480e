// SPDX-License-Identifier: BSL-1.0
// runnel/detail/async_task.hpp: a task of async: its goroutine, its context and its outcome, in one place.
// Layer: L9
#pragma once

#include <runnel/detail/cancel_node.hpp>
#include <runnel/detail/context_node.hpp>
#include <runnel/detail/context_ops.hpp>
#include <runnel/detail/goroutine.hpp>
#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/processor.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/detail/runtime_core.hpp>
#include <runnel/detail/spawn.hpp>
#include <runnel/detail/spawn_place.hpp>
#include <runnel/detail/task_scope.hpp>
#include <runnel/detail/wait_source.hpp>
#include <runnel/detail/waiters.hpp>
#include <runnel/error.hpp>
#include <runnel/result.hpp>
#include <runnel/waiter.hpp>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <source_location>
#include <type_traits>
#include <utility>

namespace runnel::detail {

// Who is told of the end of a task that it has started itself: once, after those who wait, by the thread that ran it.
struct task_end_hook {
  void (*ended)(task_end_hook&) noexcept;
  std::exception_ptr not_started;  // why it never was: written before
};

// Who has a task that belongs to no scope. task_leaves() is called before anybody hears of the task's end;
// goroutine_ended() is the last touch of anything of the task.
class task_keeper : public goroutine_owner {
 public:
  virtual void task_leaves() noexcept = 0;

 protected:
  ~task_keeper() = default;
};

// Whom the errors of tasks are told that nobody takes, among the values of a context. Null: the runtime.
struct task_errors_key {
  using type = std::shared_ptr<const error_handler>;
};

// The states: running, then for good ended or canceled, which is without a value or an error.
//
// Invariants:
//   1. x_uses counts the runner, up to its end, the handle, operations that wait, and who cancels the scope's tasks.
//      The last one ends the object, and reports an error that nobody took.
//   2. The node is a child of the ambient context, which may die first: then it cancels the task, and lets go of it. It
//      leaves the tree when the goroutine has ended, before anybody hears of the end.
//   3. The order at the end: the goroutine, the node, the list of the scope; who waits is woken; the runner's use;
//      the scope's count, which is the last touch of anything. So when a scope is joined its tasks are gone, or only
//      results are left, which belong to handles. The same of a keeper instead of a scope.
//   4. Who sets x_taken takes the outcome, and nobody else.
//
//   x_state    written by the runner under the hashed lock (release: the outcome); read anywhere (acquire)
//   x_taken    set once, by who takes the outcome
//   x_spent    set once, by an await whose time was up
class async_task_base : public scoped_task, private goroutine_owner, private cancel_node {
 public:
  enum class state_t : std::uint8_t { running, ended, canceled };

  async_task_base(const async_task_base&) = delete;
  async_task_base& operator=(const async_task_base&) = delete;

  park_lock& lock() const noexcept { return hashed_lock(this); }
  list_head& waiters() noexcept { return x_waiters; }
  state_t state() const noexcept { return x_state.load(std::memory_order_acquire); }
  bool has_ended() const noexcept { return state() != state_t::running; }
  bool taken() const noexcept { return x_taken.load(std::memory_order_relaxed); }
  bool spent() const noexcept { return x_spent.load(std::memory_order_relaxed); }
  void spend() noexcept { x_spent.store(true, std::memory_order_relaxed); }
  void begin_taking() {
    if (x_taken.exchange(true, std::memory_order_relaxed))
      throw misuse_error("runnel: this task has been awaited already: a task is awaited once");
  }
  void cancel(std::uint8_t level) noexcept {
    if (!has_ended()) node().cancel(level, false, canceled_cause());
  }
  cancel_node& node() noexcept { return *this; }

  void retain() noexcept override { x_uses.fetch_add(1, std::memory_order_relaxed); }  // relaxed: a use exists already
  // Its handle is gone.
  void drop() noexcept {
    if (!x_goes_on) cancel(level_cancel);
  }
  // It does not end with its handle. Before it starts.
  void set_independent() noexcept { x_goes_on = true; }
  void cancel_and_release() noexcept override {
    cancel(level_cancel);
    release();
  }
  void release() noexcept {
    if (x_uses.fetch_sub(1, std::memory_order_acq_rel) == 1) destroy();  // acq_rel: all uses before the end
  }

  // Starts the goroutine, whose root frame is `body`. Nothing may throw any more.
  void start(goroutine& me, cancel_node& ambient, task_scope& scope, goroutine* g, promise_base* body, link& up,
             task_end_hook* hook = nullptr) noexcept {
    set_values(share_values(ambient.values()));
    x_scope = &scope;
    x_hook = hook;
    runtime_core& runtime = runtime_core::of(me);
    set_up(runtime, ambient, g, body, up);
    scope.add(*this);
    runtime.core.start(g);
  }
  // The same of a task that belongs to a keeper, whose node is `above`, and has been given its values.
  void start_kept(task_keeper& keeper, runtime_core& runtime, cancel_node& above, goroutine* g, promise_base* body,
                  link& up, task_end_hook* hook) noexcept {
    x_keeper = &keeper;
    x_hook = hook;
    if (!x_values) set_values(share_values(above.values()));  // its errors may be told after its supervisor's end
    set_up(runtime, above, g, body, up);
    runtime.core.start(g);
  }
  void set_values(context_values values) noexcept {
    x_values = std::move(values);
    if (x_values) node().set_values(x_values.get());
  }
  // It never runs: its context is done, or it was refused.
  void refuse() noexcept {
    x_state.store(state_t::canceled, std::memory_order_release);
    release();
  }
  // It has been made with a result.
  void complete() noexcept {
    x_state.store(state_t::ended, std::memory_order_release);
    release();
  }

  // The root frame has ended, and the goroutine has no tasks of its own any more.
  void end() noexcept { end_goroutine(*x_goroutine, nullptr, x_unwound); }
  goroutine& runner() noexcept { return *x_goroutine; }
  void set_unwound() noexcept { x_unwound = true; }
  std::source_location where() const noexcept { return x_where; }
  // Of a node of form::task in the tree: who joins the scope that it belongs to. Null: nobody as yet.
  static const goroutine* joiner_of(cancel_node& node) noexcept {
    const task_scope* scope = static_cast<async_task_base&>(node).x_scope;
    return scope ? scope->joiner() : nullptr;
  }

 protected:
  explicit async_task_base(std::source_location where) noexcept : cancel_node(form::task), x_where(where) {}
  ~async_task_base() = default;
  virtual void destroy() noexcept = 0;

  void report_lost(std::exception_ptr error) noexcept {
    const auto* given = find_value<task_errors_key>(x_values.get());
    const error_handler* handler = given ? given->get() : nullptr;
    if (auto* runtime = runtime_core::here()) return runtime->unobserved(std::move(error), x_where, handler);
    try {
      if (handler) return (*handler)(goroutine_error{error, x_where});
    } catch (...) {
      std::fputs("runnel: an error handler threw while it handled:\n", stderr);
    }
    std::fprintf(stderr, "runnel: an error that nobody waits for: %s (%s)\n", what_of(error).c_str(),
                 started_at(x_where).c_str());
  }

 private:
  void set_up(runtime_core& runtime, cancel_node& above, goroutine* g, promise_base* body, link& up) noexcept {
    node().attach(above);
    body->cont = &up;
    body->g = g;
    g->set_leaf(body);
    g->home = &node();
    g->context.store(&node(), std::memory_order_relaxed);
    g->proc = &runtime.core.any_processor();
    g->owner = this;
    g->where = x_where;
    x_goroutine = g;
  }
  void goroutine_ended(std::exception_ptr, bool, std::source_location where) noexcept override {
    node().detach_from_unpinned_parent();
    task_scope* scope = x_scope;
    task_keeper* keeper = x_keeper;
    if (scope)
      scope->remove(*this);
    else
      keeper->task_leaves();
    woken_batch all;
    {
      park_lock::guard hold(lock(), this_processor());
      x_state.store(x_unwound ? state_t::canceled : state_t::ended, std::memory_order_release);
      for (woken one; waiter* w = take(x_waiters, one); one = {}) {
        w->outcome = waiter::outcome_t::done;
        all.add(one);
      }
    }
    all.fire();
    if (x_hook) x_hook->ended(*x_hook);
    release();
    if (scope)
      scope->count_down();
    else
      keeper->goroutine_ended(nullptr, false, where);
  }
  std::atomic<std::uint32_t> x_uses{2};
  std::atomic<state_t> x_state{state_t::running};
  std::atomic<bool> x_taken{false};
  std::atomic<bool> x_spent{false};
  bool x_unwound = false;  // of the runner
  bool x_goes_on = false;  // without its handle
  list_head x_waiters;
  goroutine* x_goroutine = nullptr;
  task_scope* x_scope = nullptr;  // or
  task_keeper* x_keeper = nullptr;
  task_end_hook* x_hook = nullptr;
  context_values x_values;  // those of the ambient context, which may die first
  std::source_location x_where;
};

// The runner's use, of a task that is not yet started.
struct runners_use {
  async_task_base* t;
  ~runners_use() {
    if (t) t->release();
  }
};

// One use of a task.
template <class Task> class task_use {
 public:
  task_use() noexcept = default;
  explicit task_use(Task* t) noexcept : x_task(t) {}  // takes over a use
  task_use(const task_use& other) noexcept : x_task(other.x_task) {
    if (x_task) x_task->retain();
  }
  task_use(task_use&& other) noexcept : x_task(std::exchange(other.x_task, nullptr)) {}
  template <class Derived>
    requires std::is_convertible_v<Derived*, Task*>
  explicit task_use(const task_use<Derived>& other) noexcept : x_task(other ? &*other : nullptr) {
    if (x_task) x_task->retain();
  }
  task_use& operator=(task_use other) noexcept {
    std::swap(x_task, other.x_task);
    return *this;
  }
  ~task_use() {
    if (x_task) x_task->release();
  }
  explicit operator bool() const noexcept { return x_task; }
  Task* operator->() const noexcept { return x_task; }
  Task& operator*() const noexcept { return *x_task; }

 private:
  Task* x_task = nullptr;
};

// Waits for the end of a task. In a select_loop it is taken once.
template <class Self, class Task> class task_wait : public source_operation<Self> {
 public:
  static constexpr waiter::reason_t reason = waiter::reason_t::task;

  explicit task_wait(task_use<Task> t) noexcept : x_task(std::move(t)) { this->guard = &x_task->lock(); }
  task_wait(task_wait&& other) noexcept : task_wait(other.x_task) {}
  task_wait& operator=(const task_wait&) = delete;

  bool looks_ready(goroutine&) noexcept override { return !x_silent && x_task->has_ended(); }
  bool ready(goroutine& me) noexcept override { return looks_ready(me); }
  void take(goroutine&) noexcept override { this->outcome = waiter::outcome_t::done; }
  wait_source::listed_t join_queue(goroutine&) noexcept override {
    if (!x_silent) x_task->waiters().push_back(this);
    return {};
  }
  void leave_queue() noexcept override { unlink(this); }
  void silence() noexcept { x_silent = true; }
  const task_use<Task>& use() const noexcept { return x_task; }

 protected:
  task_use<Task> x_task;

 private:
  bool x_silent = false;
};
class task_end_operation final : public task_wait<task_end_operation, async_task_base> {
 public:
  using task_wait::task_wait;
  void value() const noexcept {}
};

template <class T> class async_task final : public async_task_base, public task_link<T> {
 public:
  explicit async_task(std::source_location where) noexcept : async_task_base(where), task_link<T>(ops) {}
  static void* operator new(std::size_t size) { return frame_allocate(size); }
  static void operator delete(void* t, std::size_t size) noexcept { frame_deallocate(t, size); }

  // Of a task that has ended, and whose outcome is still there.
  bool has_value() const noexcept { return state() == state_t::ended && !this->result.failed(); }
  // Of a task that has ended. Throws: its exception, or canceled; misuse_error if the outcome is gone.
  T take() {
    begin_taking();
    if (state() == state_t::canceled) throw canceled();
    return this->result.take();
  }
  runnel::result<T> take_as_result() {
    begin_taking();
    if (state() == state_t::canceled) return runnel::result<T>();
    return take_result<T>(this->result);
  }

 private:
  static async_task& of(link& up) noexcept { return static_cast<async_task&>(static_cast<task_link<T>&>(up)); }
  static void finish(link& up) noexcept {
    async_task& self = of(up);
    if (self.runner().scopes) [[unlikely]]
      if (wait_for_tasks(self.runner(), up)) return;
    self.note_spawn_of_error();
    self.end();
  }
  void note_spawn_of_error() noexcept {
    if constexpr (RUNNEL_ASYNC_TRACES != 0)
      if (this->result.failed()) {
        std::exception_ptr error = this->result.take_error();
        note_spawn(error, where());
        this->result.fail(std::move(error));
      }
  }
  static inline constexpr link_ops ops{
      .finished = [](link& up) noexcept -> std::coroutine_handle<> {
        finish(up);
        return std::noop_coroutine();
      },
      .unwound = [](link& up, goroutine*, bool&) noexcept -> promise_base* {
        of(up).set_unwound();
        finish(up);
        return nullptr;
      },
      .mark = nullptr,
      .child = nullptr,
      .is_root = true,
      .joined = [](link& up) noexcept -> promise_base* {
        of(up).note_spawn_of_error();
        of(up).end();
        return nullptr;
      }};

  void destroy() noexcept override {
    if (this->result.failed())
      report_lost(this->result.take_error());  // nobody took it
    else
      this->result.discard();
    delete this;
  }
};

template <class T> class outcome_operation final : public task_wait<outcome_operation<T>, async_task<T>> {
 public:
  using task_wait<outcome_operation<T>, async_task<T>>::task_wait;
  T value() { return this->x_task->take(); }
};

}  // namespace runnel::detail
