// SPDX-License-Identifier: BSL-1.0
// runnel/detail/child_slot.hpp: a child of a supervisor: its specification, its goroutine if it has one, its events.
// Layer: L10
#pragma once

#include <runnel/detail/cancel_node.hpp>
#include <runnel/detail/context_node.hpp>
#include <runnel/detail/context_ops.hpp>
#include <runnel/detail/frame_pool.hpp>
#include <runnel/detail/goroutine.hpp>
#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/spinlock.hpp>
#include <runnel/detail/timer_service.hpp>
#include <runnel/otp/child_spec.hpp>
#include <runnel/otp/supervision.hpp>
#include <runnel/sync/backoff.hpp>

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <source_location>
#include <utility>

namespace runnel::detail {

class child_slot;

// Where children leave what has happened for the goroutine that runs their supervisor, the owner.
//
// Invariants: everything here changes under `lock`, under which nothing is called. Who takes `waiting` schedules it,
// once the lock is left. `news` is set with everything that is left here, and cleared by the owner before it looks.
struct supervisor_mail {
  spinlock lock;
  list_head events;              // of slots
  goroutine* waiting = nullptr;  // the owner, while it waits: its word is 0, nobody else takes it out
  bool news = false;
  bool cancelled = false, killed = false;

  // Under the lock. Whom to wake.
  goroutine* announce() noexcept {
    news = true;
    return std::exchange(waiting, nullptr);
  }
};

struct event_link : list_link {};  // in supervisor_mail::events; under its lock
struct order_link : list_link {};  // in the order of starts; the owner's, changed under the view mutex
struct todo_link : list_link {};   // among those that have ended, or are due to start; the owner's

// Tells a supervisor that a child is ready; cut when that is of no interest any more.
class ready_signal {
 public:
  explicit ready_signal(child_slot& s) noexcept : x_slot(&s) {}
  void say() noexcept;
  void cut() noexcept {
    std::lock_guard hold(x_lock);
    x_slot = nullptr;
  }

 private:
  spinlock x_lock;
  child_slot* x_slot;
};
struct ready_key {
  using type = std::shared_ptr<ready_signal>;
};

// Invariants:
//   1. From launch() until its `ended` event has been taken, the slot has a goroutine and a node; the goroutine's end
//      touches nothing of the slot after it has left the mail's lock.
//   2. `events`, `error`, `unwound` are written under the mail's lock; the owner takes them there. `verdict` is the
//      child's until it has ended. `state` and what follows it are written by the owner under the view mutex, and
//      read by others under that. Everything else is the owner's.
//   3. The timer means what the state says: starting: it must be ready; stopping: it is to be killed, or, if it has
//      been, to be reported; restarting: it is to be started.
class child_slot final : public task_keeper, public event_link, public order_link, public todo_link {
 public:
  enum event : std::uint8_t { ended = 1, ready = 2, time = 4, leaves = 8 };

  child_slot(supervisor_mail& m, std::shared_ptr<const child_spec> s)
      : spec(std::move(s)), pause(spec->pause), x_mail(m) {
    x_timer.slot = this;
    x_timer.fire = [](callback_timer& t, timer_service& service) noexcept {
      static_cast<slot_timer&>(t).slot->post(time);
      service.fired(t);
    };
  }
  child_slot(const child_slot&) = delete;
  child_slot& operator=(const child_slot&) = delete;
  static void* operator new(std::size_t size) { return frame_allocate(size); }
  static void operator delete(void* slot, std::size_t size) noexcept { frame_deallocate(slot, size); }

  void goroutine_ended(std::exception_ptr e, bool was_unwound, std::source_location) noexcept override {
    goroutine* owner;
    {
      std::lock_guard hold(x_mail.lock);
      error = std::move(e);  // null before
      unwound = was_unwound;
      owner = leave(ended);
    }
    if (owner) wake(owner);
  }
  // Before who awaits it can ask for another one. The owner has time until it is asked, or hears of the end.
  void task_leaves() noexcept override {
    left.store(true, std::memory_order_relaxed);
    std::lock_guard hold(x_mail.lock);
    put(leaves);
  }
  void post(event e) noexcept {
    if (goroutine* owner = note(e)) wake(owner);
  }
  // The same for who holds a lock. Whom to wake when it is left.
  goroutine* note(event e) noexcept {
    std::lock_guard hold(x_mail.lock);
    return leave(e);
  }

  // Starts the goroutine under a node of its own below `above`, whose values are `given` if there are some. Returns
  // what the start threw, or bad_alloc; it has had no effect then.
  std::exception_ptr launch(runtime_core& runtime, cancel_node& above, const context_values& given) noexcept try {
    verdict = child_end::done;
    killed = reported = false;
    if (spec->once) {
      x_values = given;
      x_node.emplace();
      x_node->set_values(x_values.get());
      x_node->attach(above);
      spec->once->begin(*this, *x_node, runtime);
      return nullptr;
    }
    const context_values& from = spec->values ? spec->values : given;
    task<> root = spec->start->make(verdict);
    if (spec->handshake) {
      x_signal = std::make_shared<ready_signal>(*this);
      x_values = bind_value<ready_key>(from ? from.get() : above.values(), x_signal);
    } else {
      x_values = from;
    }
    x_node.emplace();
    x_node->set_values(x_values.get());
    x_node->attach(above);
    runtime.core.start(make_goroutine(runtime.core.any_processor(), *x_node, *this, std::move(root), spec->where));
    return nullptr;
  } catch (...) {
    release();
    return std::current_exception();
  }
  // Its goroutine has ended.
  void release() noexcept {
    cut_signal();
    if (x_node) x_node->detach();
    x_node.reset();
    x_values.reset();
  }
  void cut_signal() noexcept {
    if (!x_signal) return;
    x_signal->cut();
    x_signal.reset();
  }
  bool has_node() const noexcept { return x_node.has_value(); }
  void cancel(std::uint8_t level) noexcept { x_node->cancel(level, false, canceled_cause()); }
  bool is_killed() const noexcept { return x_node->killed(); }

  void set_timer(runtime_core& runtime, std::int64_t ns) noexcept {
    clear_timer(runtime);
    if (ns == INT64_MAX) return;
    x_timer_set = true;
    runtime.timers.arm(x_timer, saturating_add(runtime.core.now(), ns));
  }
  // It does not fire any more, nor is a thread busy with it; and if it has fired, that is forgotten.
  void clear_timer(runtime_core& runtime) noexcept {
    if (!std::exchange(x_timer_set, false)) return;
    runtime.timers.disarm(x_timer);
    std::lock_guard hold(x_mail.lock);
    events &= static_cast<std::uint8_t>(~time);
  }
  void unlink_event() noexcept {
    std::lock_guard hold(x_mail.lock);
    unlink(static_cast<event_link*>(this));
  }

  const std::shared_ptr<const child_spec> spec;
  std::uint8_t events = 0;
  bool unwound = false;
  std::exception_ptr error;
  child_end verdict = child_end::done;

  child_state state = child_state::idle;
  std::uint64_t start_number = 0;
  std::uint64_t number = 0;  // of the child, among those without an id
  // It is a task that has ended, or is about to. Two flags: who has heard of the end does not count it any more, but
  // its place is given back by the owner.
  //   left: set by the task, read by who lists and counts. relaxed: who has heard of the end hears of this by that.
  //   leaving: of its place, set when the owner hears of it.
  std::atomic<bool> left{false};
  bool leaving = false;
  std::size_t restarts = 0;
  std::exception_ptr last_error;

  std::optional<backoff> pause;
  std::int64_t started_at = 0;
  std::exception_ptr start_error;                                   // it is stopped because it has not started
  bool stop_next = false, start_next = false, start_again = false;  // marks for the round
  bool exited = false;  // it has ended by itself, and that has not been dealt with
  bool due = false;     // the pause before its start is over
  bool killed = false;
  bool reported = false;

 private:
  struct slot_timer : callback_timer {
    child_slot* slot = nullptr;
  };

  goroutine* leave(event e) noexcept {
    put(e);
    return x_mail.announce();
  }
  void put(event e) noexcept {
    events |= e;
    auto* link = static_cast<event_link*>(this);
    if (!link->linked()) x_mail.events.push_back(link);
    x_mail.news = true;
  }

  supervisor_mail& x_mail;
  std::optional<cancel_node> x_node;
  context_values x_values;
  std::shared_ptr<ready_signal> x_signal;
  slot_timer x_timer;
  bool x_timer_set = false;
};

inline void ready_signal::say() noexcept {
  goroutine* owner = nullptr;
  {
    std::lock_guard hold(x_lock);  // over the note: the slot may go once this is cut
    if (x_slot) owner = x_slot->note(child_slot::ready);
  }
  if (owner) wake(owner);
}

}  // namespace runnel::detail
