// SPDX-License-Identifier: BSL-1.0
// runnel/detail/timer_service.hpp: every timer of a runtime: sleeping goroutines, deadlines, callbacks.
// Layer: L2
#pragma once

#include <runnel/detail/calling_out.hpp>
#include <runnel/detail/cancel_node.hpp>
#include <runnel/detail/goroutine.hpp>
#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/timer_wheel.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <thread>
#include <utility>

namespace runnel::detail {

// What the service needs of the world: one timer that calls on_timer().
class timer_host {
 public:
  // timer_service::wanted() says something else: asks it, and sees to it that on_timer() is called by then; if that is
  // INT64_MAX, that nothing waits for a timer any more. May be called by several threads at once, with no lock held;
  // who asks last has the last word, so the order in which they come does not matter.
  virtual void set_timer() noexcept = 0;

 protected:
  ~timer_host() = default;
};

class timer_service;

struct service_timer : timer_entry {
  enum class kind_t : std::uint8_t { sleep, callback, tick };
  const kind_t kind;
  explicit service_timer(kind_t k) noexcept : kind(k) {}
};

// A sleeping goroutine: parked plainly under the service's lock; its waiter is the wheel's entry.
struct sleep_timer : service_timer {
  goroutine* g = nullptr;
  sleep_timer() noexcept : service_timer(kind_t::sleep) {}
};

// A timer that calls somebody.
//
//   state   idle -> armed -> due -> firing -> idle, and from armed and due back to idle by who calls it off. Changes
//           under the service's lock, except by fired(), which disarm() waits for. Who sees it idle, acquire, may end
//           it.
struct callback_timer : service_timer {
  enum class state_t : std::uint8_t { idle, armed, due, firing };
  std::atomic<state_t> state{state_t::idle};
  // Called with no lock held; may schedule, and nothing else. Ends with service.fired(timer).
  void (*fire)(callback_timer&, timer_service& service) noexcept = nullptr;
  callback_timer() noexcept : service_timer(kind_t::callback) {}
};

// A timer that others wait for, by a queue of their own that is guarded by the service's lock.
struct tick_timer : service_timer {
  // Called under that lock, out of the wheel, when due_ns has come. May claim, and appends whom to wake to `woken`.
  // Returns true to be put in again, with another due_ns.
  bool (*expire)(tick_timer&, std::int64_t now, fifo& woken) noexcept = nullptr;
  tick_timer() noexcept : service_timer(kind_t::tick) {}
};

// Invariants:
//   1. The wheel changes only under x_lock. Nothing is fired under it but sleepers and ticks, which claim there whom
//      they wake.
//   2. x_armed_for is at most the due time of the earliest entry whenever x_lock is free and no on_timer() is on
//      its way to re-arm.
//   3. Whoever changes x_armed_for to what is earlier, or to INT64_MAX, calls set_timer() after leaving x_lock.
//   4. While something lives (x_held), a timer that is called off leaves the host armed: setting and calling off is
//      what happens most, and costs the host nothing. When nothing lives and the wheel is empty, x_armed_for is
//      INT64_MAX.
class timer_service {
 public:
  timer_service(timer_host& host, std::int64_t now) : x_host(host), x_wheel(now) {}

  park_lock& lock() noexcept { return x_lock; }

  // When on_timer() is to be called; INT64_MAX: it need not be.
  std::int64_t wanted() noexcept {
    park_lock::guard hold(x_lock, nullptr);
    return x_armed_for;
  }
  // Whether something lives that keeps the host's context running.
  void hold(bool yes) noexcept {
    bool idle;
    {
      park_lock::guard guard(x_lock, nullptr);
      x_held = yes;
      idle = forget_if_idle();
    }
    if (idle) x_host.set_timer();
  }

  // Under lock(): lists a sleeper, or a tick. Returns whether set_host() is to be called, once the lock is left.
  bool add_sleeper(sleep_timer& t) noexcept { return add(t); }
  bool add_tick(tick_timer& t) noexcept { return add(t); }
  void set_host() noexcept { x_host.set_timer(); }

  void arm(callback_timer& t, std::int64_t due_ns) noexcept {
    bool earlier;
    {
      park_lock::guard hold(x_lock, nullptr);
      t.due_ns = due_ns;
      t.state.store(callback_timer::state_t::armed, std::memory_order_relaxed);
      earlier = add(t);
    }
    if (earlier) x_host.set_timer();
  }
  // Afterwards the timer neither fires nor is firing. Returns whether this kept it from firing.
  bool disarm(callback_timer& t) noexcept {
    if (called_off how = call_off(t); how != called_off::not_armed) {
      if (how == called_off::was_the_last) x_host.set_timer();
      return true;
    }
    // acquire: after the firing thread's last touch
    for (int spins = 0; t.state.load(std::memory_order_acquire) == callback_timer::state_t::firing; ++spins)
      spins < 100 ? cpu_pause() : std::this_thread::yield();
    return false;
  }
  // The same for a caller whom the firing may wait for, and who holds a lock. Returns whether set_host() is to be
  // called once that is left.
  bool disarm_unless_firing(callback_timer& t) noexcept { return call_off(t) == called_off::was_the_last; }

  // The host's timer has fired. Appends who is to be woken to `woken`.
  void on_timer(std::int64_t now, fifo& woken) noexcept {
    list_head callbacks;
    bool calls;
    std::int64_t next;
    {
      park_lock::guard hold(x_lock, nullptr);
      x_wheel.advance(now, [&](timer_entry& entry) { expire(entry, now, callbacks, woken); });
      next = x_armed_for = x_wheel.next_due();
      calls = !callbacks.empty();
    }
    if (next != INT64_MAX) x_host.set_timer();  // before all calls, which may take their time
    if (calls) call(callbacks);
  }

  // For a clock that jumps, and somebody who chooses the order. When to call take_due(); INT64_MAX: no timer is set.
  std::int64_t next_due() noexcept {
    park_lock::guard hold(x_lock, nullptr);
    return x_wheel.next_due();
  }
  // Moves what is due to the end of a list. It stays armed there: it may still be disarmed, or its sleeper cancelled.
  void take_due(std::int64_t now, list_head& due) noexcept {
    park_lock::guard hold(x_lock, nullptr);
    x_wheel.advance(now, [&](timer_entry& entry) { due.push_back(&entry); });
  }
  // Fires the nth of that list. Appends who is to be woken to `woken`.
  void fire_nth(list_head& due, std::size_t nth, std::int64_t now, fifo& woken) noexcept {
    list_head callbacks;
    bool calls;
    {
      park_lock::guard hold(x_lock, nullptr);
      list_link* link = due.first();
      while (nth-- > 0) link = link->next;
      unlink(link);
      expire(*static_cast<timer_entry*>(link), now, callbacks, woken);
      calls = !callbacks.empty();
    }
    if (calls) call(callbacks);
  }

  // No timer is set, and none is firing.
  bool empty() noexcept {
    park_lock::guard hold(x_lock, nullptr);
    return x_wheel.empty() && x_unfired.load(std::memory_order_acquire) == 0;  // after what was fired
  }

  // The last touch of a timer by the thread that fires it: whoever waits in disarm() may end it now.
  void fired(callback_timer& t) noexcept {
    x_unfired.fetch_sub(1, std::memory_order_release);
    t.state.store(callback_timer::state_t::idle, std::memory_order_release);
  }
  // The same of a timer that lives until let_go(), which belongs to the firing: it may wake somebody.
  template <class F> void fired(callback_timer& t, F&& let_go) noexcept {
    t.state.store(callback_timer::state_t::idle, std::memory_order_release);
    let_go();
    x_unfired.fetch_sub(1, std::memory_order_release);
  }

 private:
  enum class called_off : std::uint8_t { not_armed, yes, was_the_last };

  called_off call_off(callback_timer& t) noexcept {
    using enum callback_timer::state_t;
    if (t.state.load(std::memory_order_acquire) == idle) return called_off::not_armed;  // [ended]
    park_lock::guard hold(x_lock, nullptr);
    auto was = t.state.load(std::memory_order_relaxed);
    if (was != armed && was != due) return called_off::not_armed;
    if (was == due) x_unfired.fetch_sub(1, std::memory_order_relaxed);
    timer_wheel::remove(t);
    t.state.store(idle, std::memory_order_release);  // last touch: before [ended]
    return forget_if_idle() ? called_off::was_the_last : called_off::yes;
  }

  // Under x_lock. True: nothing is wanted any more, and something was.
  bool forget_if_idle() noexcept {
    if (x_held || x_armed_for == INT64_MAX || !x_wheel.empty()) return false;
    x_armed_for = INT64_MAX;
    return true;
  }
  bool add(timer_entry& t) noexcept {
    x_wheel.add(t);
    if (t.due_ns >= x_armed_for) return false;
    x_armed_for = t.due_ns;
    return true;
  }

  // Under x_lock, of an entry that has been taken out.
  void expire(timer_entry& entry, std::int64_t now, list_head& callbacks, fifo& woken) noexcept {
    auto& timer = static_cast<service_timer&>(entry);
    if (timer.kind == service_timer::kind_t::sleep) {
      goroutine* g = static_cast<sleep_timer&>(timer).g;
      g->word.store(0, std::memory_order_release);  // the claim, as of any plain waiter
      woken.push(g);
    } else if (timer.kind == service_timer::kind_t::callback) {
      static_cast<callback_timer&>(timer).state.store(callback_timer::state_t::due, std::memory_order_relaxed);
      x_unfired.fetch_add(1, std::memory_order_relaxed);
      callbacks.push_back(&entry);
    } else {
      auto& tick = static_cast<tick_timer&>(timer);
      if (tick.expire(tick, now, woken)) x_wheel.add(tick);
    }
  }
  // One at a time: what fires may call the others off, or wait until they are.
  void call(list_head& callbacks) noexcept {
    calling_out now;
    while (callback_timer* next = begin_firing(callbacks)) next->fire(*next, *this);
  }
  callback_timer* begin_firing(list_head& callbacks) noexcept {
    park_lock::guard hold(x_lock, nullptr);
    list_link* link = callbacks.pop_front();
    if (!link) return nullptr;
    auto& timer = *static_cast<callback_timer*>(static_cast<service_timer*>(static_cast<timer_entry*>(link)));
    timer.state.store(callback_timer::state_t::firing, std::memory_order_relaxed);
    return &timer;
  }

  timer_host& x_host;
  park_lock x_lock;
  timer_wheel x_wheel;
  std::int64_t x_armed_for = INT64_MAX;
  bool x_held = false;
  std::atomic<unsigned> x_unfired{0};  // callbacks that are due or firing; raised under x_lock
};

// The deadline of a context. Disarming may be repeated, and by several threads at once.
class deadline_timer : protected callback_timer {
 public:
  deadline_timer() noexcept : deadline_timer([](callback_timer& t, timer_service& service) noexcept {
    static_cast<deadline_timer&>(t).expire();
    service.fired(t);
  }) {}

  // `keep` keeps the service alive where the context may outlive it.
  void arm(timer_service& timers, cancel_node& node, std::int64_t at_ns, std::exception_ptr cause,
           std::shared_ptr<void> keep = nullptr) noexcept {
    x_timers = &timers;
    x_node = &node;
    x_cause = std::move(cause);
    x_keep = std::move(keep);
    timers.arm(*this, at_ns);
  }
  void disarm() noexcept {
    if (x_timers) x_timers->disarm(*this);
  }
  bool disarm_unless_firing() noexcept { return x_timers && x_timers->disarm_unless_firing(*this); }
  void set_host() noexcept { x_timers->set_host(); }

 protected:
  explicit deadline_timer(void (*f)(callback_timer&, timer_service&) noexcept) noexcept { callback_timer::fire = f; }
  void expire() noexcept { x_node->cancel(level_cancel, true, x_cause ? x_cause : deadline_cause()); }

 private:
  timer_service* x_timers = nullptr;
  cancel_node* x_node = nullptr;
  std::exception_ptr x_cause;
  std::shared_ptr<void> x_keep;
};

}  // namespace runnel::detail
