// SPDX-License-Identifier: BSL-1.0
// runnel/detail/supervisor_board.hpp: what a supervisor shares with others: its list of children, mail, calls.
// Layer: L10
#pragma once

#include <runnel/detail/cancel_node.hpp>
#include <runnel/detail/child_slot.hpp>
#include <runnel/detail/frame_allocator.hpp>
#include <runnel/detail/goroutine.hpp>
#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/detail/supervisor_call.hpp>
#include <runnel/otp/supervision.hpp>
#include <runnel/waiter.hpp>

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace runnel::detail {

// Leaves it in the mail that a context is done. Its first level counts.
struct level_hook : cancel_hook {
  supervisor_mail& mail;
  bool supervisor_mail::*const what;
  level_hook(supervisor_mail& m, bool supervisor_mail::*w) noexcept : mail(m), what(w) {
    fire = [](cancel_hook& h, wake_batch& batch) noexcept {
      auto& self = static_cast<level_hook&>(h);
      std::lock_guard hold(self.mail.lock);
      self.mail.*self.what = true;
      if (goroutine* owner = self.mail.announce()) batch.add(owner);
    };
  }
  // In the owner, which does not wait.
  void say(supervisor_mail& m) const noexcept {
    std::lock_guard hold(m.lock);
    m.*what = true;
  }
};

// Invariants:
//   1. x_order and what a slot shows (its state and what follows that) are changed by the owner under x_view, and read
//      by others under it. The owner reads without. User code never runs under it.
//   2. x_phase and x_calls are under the mail's lock. Calls that come while nothing runs yet wait; those that come
//      once it stops are refused.
//
//   x_phase   fresh -> starting -> running -> stopping -> ended -> starting ...
class supervisor_board {
 public:
  enum class phase : std::uint8_t { fresh, starting, running, stopping, ended };

  supervisor_board(const supervisor_board&) = delete;
  supervisor_board& operator=(const supervisor_board&) = delete;

  // Asks the supervisor. From any thread.
  void enqueue(std::shared_ptr<supervisor_call> call) noexcept {
    supervisor_call& c = *call;
    c.queued = std::move(call);
    goroutine* owner = nullptr;
    bool accepted;
    {
      std::lock_guard hold(x_mail.lock);
      accepted = x_phase < phase::stopping;
      if (accepted) {
        x_calls.push_back(&c);
        owner = x_mail.announce();
      }
    }
    if (owner) wake(owner);
    if (!accepted) c.settle(child_outcome::not_running);
  }

  // A child, as it was. From any thread.
  struct seen {
    std::shared_ptr<const child_spec> spec;
    child_state state;
    std::uint64_t start_number, number;
    std::size_t restarts;
    std::exception_ptr last_error;
    bool active;  // as count() counts
  };
  std::vector<seen> look() const {
    std::vector<seen> all;
    for (;;) {
      std::size_t room;
      {
        std::lock_guard hold(x_view);
        room = x_size;
        if (room <= all.capacity()) {
          for (list_link* l = x_order.first(); l != x_order.end(); l = l->next) {
            child_slot& s = in_order(l);
            all.push_back({s.spec, s.state, s.start_number, s.number, s.restarts, s.last_error, is_active(s)});
          }
          return all;
        }
      }
      all.reserve(room + room / 8 + 4);  // not under the mutex
    }
  }
  child_counts count() const noexcept {
    std::lock_guard hold(x_view);
    child_counts n;
    for (list_link* l = x_order.first(); l != x_order.end(); l = l->next) {
      child_slot& s = in_order(l);
      ++n.specs;
      ++(s.spec->is_supervisor ? n.supervisors : n.workers);
      if (is_active(s)) ++n.active;
    }
    return n;
  }
  bool runs() noexcept {
    std::lock_guard hold(x_mail.lock);
    return x_phase != phase::fresh && x_phase != phase::ended;
  }

 protected:
  supervisor_board() noexcept = default;
  ~supervisor_board() {
    remove_all();
    refuse_calls();
  }

  static child_slot& in_order(list_link* l) noexcept { return static_cast<child_slot&>(static_cast<order_link&>(*l)); }
  static order_link* link_of(child_slot& s) noexcept { return &s; }
  static bool has_goroutine(child_state s) noexcept {
    return s == child_state::starting || s == child_state::running || s == child_state::stopping;
  }
  static bool is_active(const child_slot& s) noexcept {
    return has_goroutine(s.state) && !s.left.load(std::memory_order_relaxed);
  }

  // ---- for the owner, who alone writes x_phase, and so reads it as it likes

  bool stopping() const noexcept { return x_phase == phase::stopping; }
  // How many places its children take.
  std::size_t size() const noexcept { return x_size - x_leaving; }
  void leaves(child_slot& s) noexcept {
    std::lock_guard hold(x_view);
    if (!std::exchange(s.leaving, true)) ++x_leaving;
  }
  void show(child_slot& s, child_state state) noexcept {
    std::lock_guard hold(x_view);
    s.state = state;
  }
  void show_error(child_slot& s, const std::exception_ptr& error) noexcept {
    std::exception_ptr before = error;
    std::lock_guard hold(x_view);
    std::swap(s.last_error, before);  // what it was dies outside of the mutex
  }
  void show_start(child_slot& s, std::uint64_t number, child_state state) noexcept {
    std::lock_guard hold(x_view);
    s.state = state;
    if (s.start_number != 0) ++s.restarts;
    s.start_number = number;
  }

  // Throws bad_alloc, with no effect. Ids are unique: the caller has looked.
  child_slot& append(std::shared_ptr<const child_spec> spec) {
    auto slot = std::make_unique<child_slot>(x_mail, std::move(spec));
    slot->number = ++x_last_number;
    if (slot->spec->id.empty())
      x_by_number.emplace(slot->number, slot.get());
    else
      x_by_id.emplace(slot->spec->id, slot.get());
    std::lock_guard hold(x_view);
    x_order.push_back(link_of(*slot));
    ++x_size;
    return *slot.release();
  }
  // One that has no goroutine, and whose timer is not set.
  void remove(child_slot& s) noexcept {
    if (s.spec->id.empty())
      x_by_number.erase(s.number);
    else
      x_by_id.erase(s.spec->id);
    unlink(static_cast<todo_link*>(&s));
    s.unlink_event();
    {
      std::lock_guard hold(x_view);
      unlink(link_of(s));
      --x_size;
      if (s.leaving) --x_leaving;
    }
    delete &s;
  }
  void remove_all() noexcept {
    while (list_link* first = x_order.front()) remove(in_order(first));
  }
  child_slot* find(const supervisor_call& c) noexcept {
    if (c.number != 0) {
      auto at = x_by_number.find(c.number);
      return at == x_by_number.end() ? nullptr : at->second;
    }
    auto at = x_by_id.find(c.id);
    return at == x_by_id.end() ? nullptr : at->second;
  }

  // What has happened to one child, taken from the mail.
  struct happened {
    child_slot* slot = nullptr;
    std::uint8_t events = 0;
    bool cancelled = false, killed = false;
  };
  happened next_event() noexcept {
    std::lock_guard hold(x_mail.lock);
    happened h;
    h.cancelled = std::exchange(x_mail.cancelled, false);
    h.killed = std::exchange(x_mail.killed, false);
    if (list_link* first = x_mail.events.pop_front()) {
      h.slot = &static_cast<child_slot&>(static_cast<event_link&>(*first));
      h.events = std::exchange(h.slot->events, std::uint8_t{0});
    }
    return h;
  }
  // The next to be served; null also where an event has come meanwhile, which is news: who asks may have heard of it.
  supervisor_call* next_served_call() noexcept {
    std::lock_guard hold(x_mail.lock);
    if (!x_mail.events.empty()) return nullptr;
    return static_cast<supervisor_call*>(x_calls.pop_front());
  }
  supervisor_call* next_call() noexcept {
    std::lock_guard hold(x_mail.lock);
    list_link* first = x_calls.pop_front();
    return static_cast<supervisor_call*>(first);
  }
  void refuse_calls() noexcept {
    while (supervisor_call* c = next_call()) c->settle(child_outcome::not_running);
  }
  // Before it looks at the mail.
  void clear_news() noexcept {
    std::lock_guard hold(x_mail.lock);
    x_mail.news = false;
  }
  void enter_phase(phase p) noexcept {
    std::lock_guard hold(x_mail.lock);
    x_phase = p;
  }
  // False: it runs already.
  bool enter_first_phase() noexcept {
    std::lock_guard hold(x_mail.lock);
    if (x_phase != phase::fresh && x_phase != phase::ended) return false;
    x_phase = phase::starting;
    x_mail.cancelled = x_mail.killed = false;
    return true;
  }

 public:
  // The owner waits for news. False: there is some.
  bool wait_for_news(goroutine& g) noexcept {
    std::lock_guard hold(x_mail.lock);
    if (x_mail.news) return false;
    x_mail.waiting = &g;
    return true;  // last touch of the goroutine is the unlock
  }

 protected:
  supervisor_mail x_mail;
  mutable list_head x_order;
  phase x_phase = phase::fresh;

 private:
  mutable std::mutex x_view;
  std::size_t x_size = 0;
  std::size_t x_leaving = 0;  // of those
  list_head x_calls;
  std::unordered_map<std::string_view, child_slot*> x_by_id;
  std::unordered_map<std::uint64_t, child_slot*, std::hash<std::uint64_t>, std::equal_to<>,
                     frame_allocator<std::pair<const std::uint64_t, child_slot*>>>
      x_by_number;
  std::uint64_t x_last_number = 0;
};

}  // namespace runnel::detail
