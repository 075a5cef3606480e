// SPDX-License-Identifier: BSL-1.0
// runnel/detail/prepared_task.hpp: a task that has been made, and that somebody else will start, or refuse.
// Layer: L9
#pragma once

#include <runnel/compiler.hpp>
#include <runnel/detail/async_start.hpp>
#include <runnel/detail/async_task.hpp>
#include <runnel/detail/cancel_node.hpp>
#include <runnel/detail/context_node.hpp>
#include <runnel/detail/goroutine.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/detail/runtime_core.hpp>
#include <runnel/task.hpp>

#include <exception>
#include <memory>
#include <utility>

namespace runnel::detail {

// Invariants: it holds the runner's use of the task, a goroutine and the root frame until begin() or refuse(), of which
// one is called, once, by who has it; its end is a refusal. Neither throws.
class prepared_task {
 public:
  // Takes over the runner's use of `t`. Throws bad_alloc: not so then.
  template <class T>
  prepared_task(async_task<T>& t, task<T> body, task_end_hook* hook = nullptr)
      : x_task(&t), x_up(&t), x_hook(hook), x_goroutine(std::make_unique<goroutine>()), x_body(body.release()) {}
  prepared_task(const prepared_task&) = delete;
  prepared_task& operator=(const prepared_task&) = delete;
  ~prepared_task() { refuse(nullptr); }

  std::source_location where() const noexcept { return x_task->where(); }

  // Of a task that has been cancelled meanwhile nothing runs.
  void begin(task_keeper& keeper, cancel_node& above, runtime_core& runtime) noexcept {
    if (x_task->node().due()) {
      std::source_location where = x_task->where();
      keeper.task_leaves();
      refuse(nullptr);
      return keeper.goroutine_ended(nullptr, false, where);
    }
    auto* t = std::exchange(x_task, nullptr);
    t->start_kept(keeper, runtime, above, x_goroutine.release(), std::exchange(x_body, nullptr), *x_up, x_hook);
  }
  // Why it is not to be; null: it has been cancelled.
  void refuse(std::exception_ptr why) noexcept {
    if (!x_task) return;
    if (promise_base* body = std::exchange(x_body, nullptr)) body->handle().destroy();
    x_goroutine.reset();
    auto* t = std::exchange(x_task, nullptr);
    t->refuse();
    if (!x_hook) return;
    x_hook->not_started = std::move(why);
    x_hook->ended(*x_hook);
  }

 private:
  async_task_base* x_task;
  link* x_up;
  task_end_hook* x_hook;
  std::unique_ptr<goroutine> x_goroutine;
  promise_base* x_body;
};

// Starts the tasks of a stream, where that is not its scope.
class task_host {
 public:
  // Throws bad_alloc; the task has been refused then.
  virtual void start(std::unique_ptr<prepared_task> t) = 0;
  virtual context_values values(const context_value* of_caller) const = 0;
  virtual ~task_host() = default;
};

// The values that a task takes along from where it is asked for: those of the caller's context, whose child it is not
// to be taken for, and whom its errors are told. Throws bad_alloc.
inline context_values values_for_kept(const context_value* of_caller,
                                      const std::shared_ptr<const error_handler>& errors) {
  while (of_caller && of_caller->key == &key_identity<task_errors_key>) of_caller = of_caller->outer.get();
  context_values values = share_values(of_caller);
  const auto* told = find_value<task_errors_key>(values.get());
  if (told ? *told != errors : errors != nullptr) values = bind_value<task_errors_key>(values.get(), errors);
  return values;
}

}  // namespace runnel::detail
