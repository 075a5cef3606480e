// SPDX-License-Identifier: BSL-1.0
// runnel/detail/supervisor_restarts.hpp: how children that have failed are started again: which, when, how often.
// Layer: L10
#pragma once

#include <runnel/detail/child_slot.hpp>
#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/restart_window.hpp>
#include <runnel/detail/runtime_core.hpp>
#include <runnel/detail/supervisor_rounds.hpp>
#include <runnel/time_point.hpp>

#include <cstdint>
#include <exception>
#include <memory>
#include <utility>

namespace runnel::detail {

// Invariants:
//   1. Of a group (one_for_all, rest_for_one) those that have been taken down wait for one pause, the culprit's. The
//      culprit is in state `restarting`, and its timer is set, or it is in x_todo as due.
//   2. Only the owner is here.
class supervisor_restarts : public supervisor_rounds {
 protected:
  enum class round : std::uint8_t { none, initial, restart, call, shutdown };
  struct end_t {
    enum class kind_t : std::uint8_t { stopped, start_failed, gave_up } kind = kind_t::stopped;
    std::shared_ptr<const child_spec> spec;
    std::exception_ptr error;
  };

  explicit supervisor_restarts(const supervisor_options& options) noexcept : supervisor_rounds(options) {}
  ~supervisor_restarts() = default;

  // The supervisor ends, because of that.
  virtual void finish(end_t how) noexcept = 0;

  bool is_group() const noexcept { return x_options.strategy != restart_strategy::one; }
  // After s; or all but s.
  template <class F> void for_siblings(child_slot& s, F&& f) noexcept {
    list_link* from = x_options.strategy == restart_strategy::rest ? link_of(s)->next : x_order.first();
    for (list_link* l = from; l != x_order.end(); l = l->next)
      if (child_slot& other = in_order(l); &other != &s) f(other);
  }

  // False: it gives up.
  bool count_restart(child_slot& s, const std::exception_ptr& error) noexcept {
    if (x_window.count(x_runtime->core.now(), s.spec, error)) return true;
    show(s, child_state::idle);
    finish(end_t{end_t::kind_t::gave_up, s.spec, error});
    return false;
  }
  void restart(child_slot& s, std::exception_ptr error) noexcept {
    if (!count_restart(s, error)) return;
    show(s, child_state::restarting);
    forgive(s);
    if (is_group()) {
      for_siblings(s, [&](child_slot& other) { take_down(other); });
      x_round = round::restart;
      begin_round(whole(), work::stop);
    }
    pause_then_start(s);
  }
  // With its sibling; to be started again with it.
  void take_down(child_slot& s) noexcept {
    if (s.state == child_state::idle) {
      if (s.verdict == child_end::do_not_restart) return;  // as its last end; a launch forgets it
      return show(s, child_state::restarting);
    }
    if (s.state != child_state::running) return;
    s.stop_next = true;
    s.start_again = s.spec->restart != temporary;
  }
  void pause_then_start(child_slot& s) noexcept {
    std::int64_t pause = s.pause ? s.pause->next().count() : 0;
    if (is_group()) {
      std::int64_t until = saturating_add(x_runtime->core.now(), pause);
      if (x_culprit && x_culprit->number < s.number) return wait_with_culprit(pause, until);
      if (x_culprit) forget_pause(*x_culprit);  // of a round that begins anew, further up
      x_culprit = &s;
      x_pause_ends = until;
    }
    if (pause > 0) return s.set_timer(*x_runtime, pause);
    s.due = true;
    x_todo.push_back(static_cast<todo_link*>(&s));
  }
  // Of one that was added while the group waits, and has failed: it is started with the group, behind the culprit, and
  // not before its own pause is over.
  void wait_with_culprit(std::int64_t pause, std::int64_t until) noexcept {
    if (until <= x_pause_ends) return;
    x_pause_ends = until;
    if (std::exchange(x_culprit->due, false)) unlink(static_cast<todo_link*>(x_culprit));
    x_culprit->set_timer(*x_runtime, pause);
  }
  void forget_pause(child_slot& s) noexcept {
    s.clear_timer(*x_runtime);
    if (std::exchange(s.due, false)) unlink(static_cast<todo_link*>(&s));
    if (x_culprit == &s) x_culprit = nullptr;
  }
  // The pause is over: of s, or of all that have been taken down.
  void start_waiting(child_slot& s) noexcept {
    x_round = round::restart;
    s.start_next = s.state == child_state::restarting;
    if (!is_group()) return begin_round(only(s), work::start);
    for (list_link* l = x_order.first(); l != x_order.end(); l = l->next)
      if (child_slot& other = in_order(l); other.state == child_state::restarting) other.start_next = true;
    begin_round(whole(), work::start);
  }

  restart_window x_window;
  round x_round = round::none;
  child_slot* x_culprit = nullptr;  // for whose pause a group waits
  std::int64_t x_pause_ends = 0;    // the culprit's
};

}  // namespace runnel::detail
