// SPDX-License-Identifier: BSL-1.0
// runnel/detail/stream_core.hpp: the tasks of a stream, which have ended, and who waits for them.
// Layer: L9
#pragma once

#include <runnel/detail/async_task.hpp>
#include <runnel/detail/cancel_node.hpp>
#include <runnel/detail/context_node.hpp>
#include <runnel/detail/goroutine.hpp>
#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/processor.hpp>
#include <runnel/detail/runtime_core.hpp>
#include <runnel/detail/scoped_operation.hpp>
#include <runnel/detail/task_scope.hpp>
#include <runnel/detail/timer_service.hpp>
#include <runnel/detail/wait_source.hpp>
#include <runnel/detail/waiters.hpp>
#include <runnel/error.hpp>
#include <runnel/task.hpp>
#include <runnel/time_point.hpp>
#include <runnel/waiter.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <utility>

namespace runnel::detail {

// Runs work for so long, and kills it then: neither shield nor finally hold that off. Then it throws deadline_exceeded.
template <class T> class kill_after_operation : public scoped_operation<kill_after_operation<T>, T> {
  using base = scoped_operation<kill_after_operation<T>, T>;

 public:
  kill_after_operation(task<T> t, std::int64_t ns, bool& timed_out) noexcept
      : base(std::move(t), cancel_node::form::scoped), x_ns(ns), x_timed_out(timed_out) {}
  kill_after_operation(kill_after_operation&& other) noexcept
      : base(std::move(other), cancel_node::form::scoped), x_ns(other.x_ns), x_timed_out(other.x_timed_out) {}

  void entered(goroutine& g) noexcept {
    runtime_core& runtime = runtime_core::of(g);
    auto at = saturating_add(runtime.core.now(), x_ns);
    this->x_scope.enter(g, at);
    x_timer.node = &this->x_scope.node();
    x_timer.timers = &runtime.timers;
    if (x_ns <= 0)
      x_timer.kill();
    else if (at != end_of_time)
      runtime.timers.arm(x_timer, at);
  }
  bool unwound(goroutine& g) noexcept {
    x_timer.timers->disarm(x_timer);
    cancel_node& node = this->x_scope.node();
    bool passed = node.killed() && !this->x_scope.outer().due();
    if (passed) x_timed_out = true;
    x_passed = passed;
    this->x_scope.leave(g);
    return !passed;
  }
  T resume() {
    if (x_passed) throw deadline_exceeded();
    x_timer.timers->disarm(x_timer);
    return base::resume();
  }

 private:
  struct kill_timer : callback_timer {
    cancel_node* node = nullptr;
    timer_service* timers = nullptr;
    kill_timer() noexcept {
      callback_timer::fire = [](callback_timer& t, timer_service& service) noexcept {
        static_cast<kill_timer&>(t).kill();
        service.fired(t);
      };
    }
    void kill() noexcept { node->cancel(level_kill, true, deadline_cause()); }
  };
  std::int64_t x_ns;
  bool& x_timed_out;
  bool x_passed = false;
  kill_timer x_timer;
};

// One input and its task. In the stream's list, in the order of the inputs, until it is delivered or the stream ends.
class stream_core;
struct stream_slot : list_link, fifo_link, task_end_hook {
  stream_core& core;
  const std::size_t index;
  bool has_ended = false;  // of the consumer
  bool timed_out = false;  // of the task

  stream_slot(stream_core& c, std::size_t i) noexcept : core(c), index(i) {}
  virtual ~stream_slot() = default;
  virtual void cancel() noexcept = 0;
  virtual void forget() noexcept = 0;  // its outcome, that is: somebody has been told
};

// What the consumer of a stream and its tasks share. Its node is the tasks' context.
//
// Invariants:
//   1. x_uses counts the consumer and the tasks that have not ended; the last one ends the core and all slots that are
//      left. So input and function live as long as a task that refers to them.
//   2. x_finished and x_waiters change under the hashed lock. Everything else is the consumer's.
//   3. A task's end: its slot is in x_finished, who waits is woken; its use of the core is given back.
class stream_core : public cancel_node {
 public:
  stream_core(goroutine& consumer, std::size_t at_most, bool ordered)
      : cancel_node(form::stream), x_at_most(at_most), x_ordered(ordered), x_consumer(&consumer) {
    cancel_node& ambient = *consumer.context.load(std::memory_order_relaxed);
    // Not in a destructor while frames are unwound: of the last frame of a goroutine nobody would join the scope.
    if (!x_made_unwinding) task_scope::open(consumer).keep(x_keeper);  // may throw: first
    if (ambient.values()) {
      x_values = ambient.values()->shared_from_this();
      cancel_node::set_values(x_values.get());
    }
    cancel_node::attach(ambient);
  }
  void release() noexcept {
    if (x_uses.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

  // Of the consumer. Throws where no task can be started here any more.
  void check_consumer() const {
    if (current_goroutine() != x_consumer)
      throw misuse_error("runnel: a stream is consumed by the goroutine that made it");
    if (x_made_unwinding)
      throw misuse_error(
          "runnel: this stream was made in a destructor while its goroutine was unwound: nobody would join its tasks");
    if (!x_keeper.scope) throw misuse_error("runnel: the scope in which this stream was made has ended");
  }
  goroutine& consumer() const noexcept { return *x_consumer; }
  task_scope& scope() const noexcept { return *x_keeper.scope; }
  // A result that could be delivered has a place, so a consumer that is slower than the tasks holds them up. One behind
  // a slow first input has none: its task has made room for another.
  bool has_room() const noexcept { return x_running + x_ready < x_at_most; }
  std::size_t running() const noexcept { return x_running; }
  std::size_t next_index() const noexcept { return x_inputs; }
  // Before the task of the slot is started; or instead, where none is.
  void add(stream_slot& s) noexcept {
    ++x_inputs;
    x_slots.push_back(&s);
    if (x_ordered && x_pending == x_slots.end()) x_pending = &s;
    s.ended = &task_ended;
  }
  void count_started() noexcept {
    ++x_running;
    x_uses.fetch_add(1, std::memory_order_relaxed);
  }
  void add_done(stream_slot& s) noexcept {
    s.has_ended = true;
    if (!x_ordered) {
      x_done.push(&s);
      ++x_ready;
    } else {
      const list_link* end = x_slots.end();
      for (; x_pending != end && static_cast<const stream_slot*>(x_pending)->has_ended; x_pending = x_pending->next)
        ++x_ready;
    }
  }
  // Takes over what has finished. Returns whether one has timed out.
  bool collect() noexcept {
    fifo news;
    {
      park_lock::guard hold(lock(), this_processor());
      news.append(x_finished);
    }
    bool timed_out = false;
    while (fifo_link* l = news.pop()) {
      auto& s = *static_cast<stream_slot*>(l);
      --x_running;
      timed_out |= s.timed_out;
      if (s.not_started && !x_refusal) x_refusal = s.not_started;
      add_done(s);
    }
    return timed_out;
  }
  // The next to be delivered, taken out; null if there is none yet.
  stream_slot* take() noexcept {
    auto* s = x_ordered ? static_cast<stream_slot*>(x_slots.front()) : static_cast<stream_slot*>(x_done.pop());
    if (!s || !s->has_ended) return nullptr;
    --x_ready;
    unlink(static_cast<list_link*>(s));
    return s;
  }
  bool nothing_left() const noexcept { return x_slots.empty(); }
  void cancel_tasks() noexcept {
    for (list_link* l = x_slots.first(); l != x_slots.end(); l = l->next) {
      auto& s = *static_cast<stream_slot*>(l);
      if (!s.has_ended) s.cancel();
    }
  }
  // What nobody will be given.
  void drop_done() noexcept {
    while (x_done.pop()) {
    }
    x_ready = 0;
    x_pending = x_slots.end();
    for (list_link* l = x_slots.first(); l != x_slots.end();) {
      auto* s = static_cast<stream_slot*>(l);
      l = l->next;
      if (!s->has_ended) continue;
      if (s->timed_out) s->forget();  // that is what the stream has thrown
      unlink(static_cast<list_link*>(s));
      delete s;
    }
  }
  // Why a task of it could not be started; null if all were.
  std::exception_ptr take_refusal() noexcept { return std::exchange(x_refusal, nullptr); }
  // The consumer gives it up: what runs is cancelled, and joined by the scope or whoever has started it.
  void abandon(bool cancels) noexcept {
    if (cancels) cancel_tasks();
    unlink(&x_keeper);
    release();
  }

  park_lock& lock() const noexcept { return hashed_lock(this); }
  list_head& waiters() noexcept { return x_waiters; }
  bool has_news() const noexcept { return !x_finished.empty(); }
  bool has_news_now() noexcept {
    park_lock::guard hold(lock(), this_processor());
    return has_news();
  }

 protected:
  virtual ~stream_core() {
    unlink(&x_keeper);  // of a stream that could not be made; else it is out already
    while (list_link* l = x_slots.pop_front()) delete static_cast<stream_slot*>(l);
    cancel_node::detach_from_unpinned_parent();
  }

 private:
  static void task_ended(task_end_hook& hook) noexcept {
    auto& s = static_cast<stream_slot&>(hook);
    stream_core& core = s.core;
    woken one;
    {
      park_lock::guard hold(core.lock(), this_processor());
      core.x_finished.push(&s);
      if (waiter* w = detail::take(core.x_waiters, one)) w->outcome = waiter::outcome_t::done;
    }
    one.fire();
    core.release();
  }

  std::atomic<std::size_t> x_uses{1};
  fifo x_finished;
  list_head x_waiters;
  list_head x_slots;
  fifo x_done;  // ended, and not delivered; where the order is that of the ends
  std::size_t x_inputs = 0;
  std::size_t x_running = 0;
  std::size_t x_ready = 0;  // have ended and could be delivered: all of x_done, or those before x_pending
  const list_link* x_pending = x_slots.end();  // where the order is that of the inputs: the first that has not ended
  std::exception_ptr x_refusal;
  const std::size_t x_at_most;
  const bool x_ordered;
  const bool x_made_unwinding = this_processor()->unwinding;
  goroutine* const x_consumer;
  scope_keeper x_keeper;
  context_values x_values;
};

// Waits until a task has ended that the consumer has not heard of.
class stream_wait final : public source_operation<stream_wait> {
 public:
  static constexpr waiter::reason_t reason = waiter::reason_t::task;

  explicit stream_wait(stream_core& core) noexcept : x_core(core) { guard = &core.lock(); }
  stream_wait(stream_wait&& other) noexcept : stream_wait(other.x_core) {}

  bool looks_ready(goroutine&) noexcept override { return false; }  // it is asked for when nothing was there
  bool ready(goroutine&) noexcept override { return x_core.has_news(); }
  void take(goroutine&) noexcept override { outcome = outcome_t::done; }
  wait_source::listed_t join_queue(goroutine&) noexcept override {
    x_core.waiters().push_back(this);
    return {};
  }
  void leave_queue() noexcept override { unlink(this); }
  void value() const noexcept {}

 private:
  stream_core& x_core;
};

}  // namespace runnel::detail
