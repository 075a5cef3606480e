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
#include <source_location>
#include <type_traits>
#include <utility>

namespace runnel::detail {

// Who is told of the end of a task that it has started itself: once, after those who wait, by the thread that ran it.
struct task_end_hook {
  void (*ended)(task_end_hook&) noexcept;
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
//      results are left, which belong to handles.
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
    if (ambient.values()) {
      x_values = ambient.values()->shared_from_this();
      node().set_values(x_values.get());
    }
    runtime_core& runtime = runtime_core::of(me);
    node().attach(ambient);
    body->cont = &up;
    body->g = g;
    g->set_leaf(body);
    g->home = &node();
    g->context.store(&node(), std::memory_order_relaxed);
    g->proc = &runtime.core.any_processor();
    g->owner = this;
    g->where = x_where;
    x_goroutine = g;
    x_scope = &scope;
    x_hook = hook;
    scope.add(*this);
    runtime.core.start(g);
  }
  // In a context that is done: it never runs.
  void refuse() noexcept {
    x_state.store(state_t::canceled, std::memory_order_relaxed);
    release();
  }

  // The root frame has ended, and the goroutine has no tasks of its own any more.
  void end() noexcept { end_goroutine(*x_goroutine, nullptr, x_unwound); }
  goroutine& runner() noexcept { return *x_goroutine; }
  void set_unwound() noexcept { x_unwound = true; }

 protected:
  explicit async_task_base(std::source_location where) noexcept : cancel_node(form::task), x_where(where) {}
  ~async_task_base() = default;
  virtual void destroy() noexcept = 0;
  const std::source_location& where() const noexcept { return x_where; }

  void report_lost(std::exception_ptr error) noexcept {
    if (auto* runtime = runtime_core::here()) return runtime->unobserved(std::move(error), x_where);
    std::fprintf(stderr, "runnel: an error that nobody waits for: %s (%s)\n", what_of(error).c_str(),
                 started_at(x_where).c_str());
  }

 private:
  void goroutine_ended(std::exception_ptr, bool, std::source_location) noexcept override {
    node().detach_from_unpinned_parent();
    task_scope& scope = *x_scope;
    scope.remove(*this);
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
    scope.count_down();
  }
  std::atomic<std::uint32_t> x_uses{2};
  std::atomic<state_t> x_state{state_t::running};
  std::atomic<bool> x_taken{false};
  std::atomic<bool> x_spent{false};
  bool x_unwound = false;  // of the runner
  list_head x_waiters;
  goroutine* x_goroutine = nullptr;
  task_scope* x_scope = nullptr;
  task_end_hook* x_hook = nullptr;
  context_values x_values;  // those of the ambient context, which may die first
  std::source_location x_where;
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
