// SPDX-License-Identifier: BSL-1.0
// runnel/detail/timer_service.hpp: every timer of a runtime: sleeping goroutines, deadlines, callbacks.
// Layer: L2
#pragma once

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

// What the service needs of the world: one timer that calls on_timer() at or after the nearest time asked for.
class timer_host {
 public:
  virtual void arm_timer(std::int64_t at_ns) noexcept = 0;

 protected:
  ~timer_host() = default;
};

struct service_timer : timer_entry {
  const bool calls;  // a callback_timer; else a sleep_timer
  explicit service_timer(bool c) noexcept : calls(c) {}
};

// A sleeping goroutine: parked plainly under the service's lock; its waiter is the wheel's entry.
struct sleep_timer : service_timer {
  goroutine* g = nullptr;
  sleep_timer() noexcept : service_timer(false) {}
};

// A timer that calls somebody.
//
//   x_state   idle -> armed -> firing -> idle. To armed and firing under the service's lock; from firing to idle as
//             the last touch of the thread that fires; disarm() waits for that.
struct callback_timer : service_timer {
  enum class state_t : std::uint8_t { idle, armed, firing };
  std::atomic<state_t> state{state_t::idle};
  void (*fire)(callback_timer&) noexcept = nullptr;  // called with no lock held; may schedule, and nothing else
  callback_timer() noexcept : service_timer(true) {}
};

// Invariants:
//   1. The wheel changes only under x_lock. Nothing is fired under it but sleepers, which are claimed there.
//   2. x_armed_for is at most the due time of the earliest entry whenever x_lock is free and no on_timer() is on
//      its way to re-arm.
class timer_service {
 public:
  timer_service(timer_host& host, std::int64_t now) : x_host(host), x_wheel(now) {}

  park_lock& lock() noexcept { return x_lock; }

  // Under lock(): lists a sleeper. Returns when to arm the host for, once the lock is left; 0: no need.
  std::int64_t add_sleeper(sleep_timer& t) noexcept { return add(t); }

  void arm(callback_timer& t, std::int64_t due_ns) noexcept {
    std::int64_t at;
    {
      park_lock::guard hold(x_lock, nullptr);
      t.due_ns = due_ns;
      t.state.store(callback_timer::state_t::armed, std::memory_order_relaxed);
      at = add(t);
    }
    arm_host(at);
  }
  // Afterwards the timer neither fires nor is firing. Returns whether this kept it from firing.
  bool disarm(callback_timer& t) noexcept {
    {
      park_lock::guard hold(x_lock, nullptr);
      if (t.state.load(std::memory_order_relaxed) == callback_timer::state_t::armed) {
        timer_wheel::remove(t);
        t.state.store(callback_timer::state_t::idle, std::memory_order_relaxed);
        return true;
      }
    }
    // acquire: after the firing thread's last touch
    for (int spins = 0; t.state.load(std::memory_order_acquire) == callback_timer::state_t::firing; ++spins)
      spins < 100 ? cpu_pause() : std::this_thread::yield();
    return false;
  }
  // The same for a caller whom the firing may wait for.
  void disarm_unless_firing(callback_timer& t) noexcept {
    park_lock::guard hold(x_lock, nullptr);
    if (t.state.load(std::memory_order_relaxed) != callback_timer::state_t::armed) return;
    timer_wheel::remove(t);
    t.state.store(callback_timer::state_t::idle, std::memory_order_relaxed);
  }
  void arm_host(std::int64_t at) noexcept {
    if (at) x_host.arm_timer(at);
  }
  // True: no timer is set, and the host need not call until it is armed again.
  bool call_off_if_empty() noexcept {
    park_lock::guard hold(x_lock, nullptr);
    if (!x_wheel.empty()) return false;
    x_armed_for = INT64_MAX;
    return true;
  }

  // The host's timer has fired. Appends who is to be woken to `woken`.
  void on_timer(std::int64_t now, fifo& woken) noexcept {
    list_head callbacks;
    std::int64_t next;
    {
      park_lock::guard hold(x_lock, nullptr);
      x_wheel.advance(now, [&](timer_entry& entry) { expire(entry, callbacks, woken); });
      next = x_armed_for = x_wheel.next_due();
    }
    call(callbacks);
    if (next != INT64_MAX) x_host.arm_timer(next);
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
  void fire_nth(list_head& due, std::size_t nth, fifo& woken) noexcept {
    list_head callbacks;
    {
      park_lock::guard hold(x_lock, nullptr);
      list_link* link = due.first();
      while (nth-- > 0) link = link->next;
      unlink(link);
      expire(*static_cast<timer_entry*>(link), callbacks, woken);
    }
    call(callbacks);
  }

  bool empty() noexcept {
    park_lock::guard hold(x_lock, nullptr);
    return x_wheel.empty();
  }

 private:
  std::int64_t add(timer_entry& t) noexcept {
    x_wheel.add(t);
    if (t.due_ns >= x_armed_for) return 0;
    x_armed_for = t.due_ns;
    return std::max<std::int64_t>(t.due_ns, 1);
  }

  // Under x_lock, of an entry that has been taken out.
  static void expire(timer_entry& entry, list_head& callbacks, fifo& woken) noexcept {
    auto& timer = static_cast<service_timer&>(entry);
    if (timer.calls) {
      static_cast<callback_timer&>(timer).state.store(callback_timer::state_t::firing, std::memory_order_relaxed);
      callbacks.push_back(&entry);
    } else {
      goroutine* g = static_cast<sleep_timer&>(timer).g;  // the claim, as of any plain waiter
      g->word.store(0, std::memory_order_release);
      woken.push(g);
    }
  }
  static void call(list_head& callbacks) noexcept {
    while (list_link* link = callbacks.pop_front()) {
      auto& timer = *static_cast<callback_timer*>(static_cast<service_timer*>(static_cast<timer_entry*>(link)));
      timer.fire(timer);
      timer.state.store(callback_timer::state_t::idle, std::memory_order_release);  // last touch: see disarm()
    }
  }

  timer_host& x_host;
  park_lock x_lock;
  timer_wheel x_wheel;
  std::int64_t x_armed_for = INT64_MAX;
};

// The deadline of a context. Disarming may be repeated, and by several threads at once.
class deadline_timer : private callback_timer {
 public:
  deadline_timer() noexcept { callback_timer::fire = &expire; }

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
  void disarm_unless_firing() noexcept {
    if (x_timers) x_timers->disarm_unless_firing(*this);
  }

 private:
  static void expire(callback_timer& t) noexcept {
    auto& self = static_cast<deadline_timer&>(t);
    self.x_node->cancel(level_cancel, true, self.x_cause ? self.x_cause : deadline_cause());
  }

  timer_service* x_timers = nullptr;
  cancel_node* x_node = nullptr;
  std::exception_ptr x_cause;
  std::shared_ptr<void> x_keep;
};

}  // namespace runnel::detail
