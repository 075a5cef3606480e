// SPDX-License-Identifier: BSL-1.0
// runnel/detail/supervisor_core.hpp: the state machine of a supervisor, which one goroutine steps.
// Layer: L10
#pragma once

#include <runnel/detail/cancel_node.hpp>
#include <runnel/detail/child_slot.hpp>
#include <runnel/detail/context_ops.hpp>
#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/runtime_core.hpp>
#include <runnel/detail/supervisor_call.hpp>
#include <runnel/detail/supervisor_restarts.hpp>
#include <runnel/otp/supervision.hpp>

#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

namespace runnel::detail {

// docs/design/supervision.md has the states, and what may happen in each.
//
// Invariants:
//   1. One goroutine, the owner, calls begin(), step() and end(). Nothing in step() throws or waits.
//   2. While there is a round, exits, pauses that are over, and calls wait; a cancellation does not.
//   3. Once it is stopping nothing starts. It has ended when no slot has a goroutine.
class supervisor_core final : public supervisor_restarts {
 public:
  enum class next_step : std::uint8_t { wait, more, finished };

  explicit supervisor_core(const supervisor_options& options) noexcept : supervisor_restarts(options) {}

  const std::shared_ptr<const error_handler>& errors() const noexcept { return x_options.on_error; }

  // A child that each run begins with. Throws misuse_error and bad_alloc, with no effect.
  void add(std::shared_ptr<const child_spec> spec) {
    if (runs())
      throw misuse_error("runnel: " + spec->name() +
                         " is added to a supervisor that runs: co_await start_child instead");
    check(*spec);
    if (!x_ids.insert(spec->id).second)
      throw misuse_error("runnel: " + spec->name() + " is there already: ids are unique in a supervisor");
    try {
      x_specs.push_back(std::move(spec));
    } catch (...) {
      x_ids.erase(spec->id);
      throw;
    }
  }
  // Whether it may be one of this supervisor's.
  void check(const child_spec& spec) const {
    if (spec.is_significant && x_options.when_significant == auto_stop::never)
      throw misuse_error("runnel: " + spec.name() +
                         " is significant, in a supervisor that does not stop with its children: give that "
                         "rn::auto_shutdown, or leave rn::significant out");
  }

  // In g, whose context is not done, or is by now: then it begins and stops. Throws misuse_error and bad_alloc, with no
  // effect.
  void begin(goroutine& g) {
    if (!enter_first_phase())
      throw misuse_error("runnel: this supervisor runs already: it is run by one goroutine at a time");
    x_runtime = &runtime_core::of(g);
    x_outer = g.context.load(std::memory_order_relaxed);
    try {
      x_window.begin(x_options.max_restarts, x_options.window_ns);
      const auto* above = find_value<ready_key>(x_outer->values());
      x_tell_ready = above ? *above : nullptr;
      if (x_options.dynamic && x_options.on_error) x_values = values_for_kept(x_outer->values(), x_options.on_error);
      // its own children are not to be taken for the one that it is
      if (x_tell_ready) x_values = bind_value<ready_key>(x_values ? x_values.get() : x_outer->values(), nullptr);
      for (const auto& spec : x_specs) append(spec);
    } catch (...) {
      leave_run();
      throw;
    }
    x_round = round::initial;
    x_stop_asked = false;
    x_end = end_t();
    for (list_link* l = x_order.first(); l != x_order.end(); l = l->next) in_order(l).start_next = true;
    begin_round(whole(), work::start);
    x_scope.emplace(cancel_node::form::shielded);  // what it is cancelled by is passed on in order, a kill at once
    x_scope->attach(*x_outer);
    if (!x_outer->list_hook(x_on_cancel)) x_on_cancel.say(x_mail);
    if (!x_scope->list_hook(x_on_kill)) x_on_kill.say(x_mail);
  }

  // Goes on as far as it can.
  next_step step() noexcept {
    clear_news();
    for (int turn = 0; turn < longest_step; ++turn) {
      advance();
      if (x_phase == phase::stopping && x_work == work::none) return next_step::finished;
      if (!take_event() && (x_work != work::none || !take_work())) return next_step::wait;
    }
    return next_step::more;
  }

  // No child is left. Throws what run() throws; true: its context is done, and it unwinds.
  bool end() {
    x_outer->unlist_hook(x_on_cancel);
    x_scope->unlist_hook(x_on_kill);
    x_scope->detach();
    x_scope.reset();
    bool due = x_outer->due();
    end_t how = std::exchange(x_end, end_t());
    leave_run();
    using kind = end_t::kind_t;
    if (how.kind == kind::start_failed) throw child_start_error(how.spec->id, how.error);
    if (how.kind == kind::gave_up) throw restart_limit_error(how.spec->id, how.error, x_window.reasons());
    return due;
  }

 private:
  static constexpr int longest_step = 64;
  // ---- rounds

  void round_done() noexcept override {
    if (std::exchange(x_round, round::none) == round::initial) {
      enter_phase(phase::running);
      if (x_tell_ready) x_tell_ready->say();
    }
    if (x_call) {
      supervisor_call* c = std::exchange(x_call, nullptr);
      c->settle(x_call_outcome, std::exchange(x_call_error, nullptr));
    }
  }

  // ---- events

  bool take_event() noexcept {
    happened h = next_event();
    if (h.slot) happens(*h.slot, h.events);  // first: a shutdown sets timers, and it is not they that have fired
    if (h.cancelled || h.killed) begin_shutdown();
    if (h.killed) all_are_killed();
    return h.slot || h.cancelled || h.killed;
  }
  void happens(child_slot& s, std::uint8_t events) noexcept {
    if (events & child_slot::leaves) leaves(s);
    if ((events & child_slot::ready) && s.state == child_state::starting) started(s);
    if (events & child_slot::ended)
      ended(s);
    else if (events & child_slot::time)
      timed(s);
  }
  // ---- between rounds

  // Calls and the rest in turn, so that neither keeps out the other.
  bool take_work() noexcept {
    if (x_phase != phase::running) return false;
    if (std::exchange(x_stop_asked, false)) return begin_shutdown(), true;
    x_calls_next = !x_calls_next;
    return x_calls_next ? take_call() || take_todo() : take_todo() || take_call();
  }
  bool take_todo() noexcept {
    list_link* first = x_todo.pop_front();
    if (!first) return false;
    child_slot& s = static_cast<child_slot&>(static_cast<todo_link&>(*first));
    if (std::exchange(s.exited, false)) {
      exited(s);
    } else if (std::exchange(s.due, false)) {
      x_culprit = nullptr;
      start_waiting(s);
    }
    return true;
  }
  void exited(child_slot& s) noexcept {
    std::exception_ptr error = std::exchange(s.error, nullptr);
    if (s.unwound) error = canceled_cause();
    if (error) show_error(s, error);
    bool stops = !error && s.verdict == child_end::stop_supervisor;
    bool orderly = !error || (s.spec->is_supervisor && is_orderly(error));
    bool again = s.spec->restart == permanent || (s.spec->restart == transient && !orderly);
    if (!error && s.verdict != child_end::done) again = false;
    if (error && (!again || x_options.on_error)) tell(error, s.spec->where);
    if (again) return restart(s, std::move(error));
    bool significant = s.spec->is_significant;
    put_down(s);
    if (stops || (significant && ends_with_significant())) begin_shutdown();
  }
  bool ends_with_significant() noexcept {
    if (x_options.when_significant != auto_stop::all) return x_options.when_significant == auto_stop::any;
    for (list_link* l = x_order.first(); l != x_order.end(); l = l->next)
      if (child_slot& s = in_order(l); s.spec->is_significant && s.state != child_state::idle) return false;
    return true;
  }

  void start_ignored() noexcept override { x_call_outcome = child_outcome::ignored; }
  void start_failed(child_slot& s, std::exception_ptr error) noexcept override {
    show_error(s, error);
    if (stopping()) return show(s, child_state::idle);
    if (x_round == round::initial) {
      show(s, child_state::idle);
      return finish(end_t{end_t::kind_t::start_failed, s.spec, std::move(error)});
    }
    if (x_round == round::call) {
      x_call_error = start_error_of(s.spec->id, error);
      if (x_call->kind == supervisor_call::kind_t::start) return remove(s);
      return put_down(s);
    }
    if (x_options.on_error) tell(error, s.spec->where);
    if (!count_restart(s, error)) return;
    show(s, child_state::restarting);
    if (is_group()) {
      // Who comes after it in the round waits for the next; before it, if all have to go, they are stopped again.
      for_siblings(s, [&](child_slot& other) {
        if (!std::exchange(other.start_next, false)) take_down(other);
      });
      begin_round(whole(), work::stop);
    }
    pause_then_start(s);
  }

  // ---- calls

  bool take_call() noexcept {
    supervisor_call* c = next_served_call();
    if (!c) return false;
    child_slot* s = find(*c);
    x_call_outcome = child_outcome::ok;
    switch (c->kind) {
      case supervisor_call::kind_t::start:
        start_new(*c, s);
        break;
      case supervisor_call::kind_t::restart:
        if (!s || s->state != child_state::idle) return c->settle(why_not(s)), true;
        s->start_next = true;
        if (s->pause) s->pause->reset();
        begin_call(*c, *s, work::start);
        break;
      case supervisor_call::kind_t::terminate:
        terminate(*c, s);
        break;
      case supervisor_call::kind_t::erase:
        if (!s || s->state != child_state::idle) return c->settle(why_not(s)), true;
        remove(*s);
        c->settle(child_outcome::ok);
        break;
    }
    return true;
  }
  static child_outcome why_not(const child_slot* s) noexcept {
    if (!s) return child_outcome::not_found;
    return s->state == child_state::restarting ? child_outcome::restarting : child_outcome::running;
  }
  void begin_call(supervisor_call& c, child_slot& s, work w) noexcept {
    x_call = &c;
    x_round = round::call;
    begin_round(only(s), w);
  }
  void start_new(supervisor_call& c, child_slot* there) noexcept {
    if (there)
      return c.settle(has_goroutine(there->state) ? child_outcome::already_started : child_outcome::already_present);
    if (size() >= x_options.max_children) return c.settle(child_outcome::too_many);
    try {
      child_slot& s = append(c.spec);
      c.number = s.number;
      s.start_next = true;
      begin_call(c, s, work::start);
    } catch (...) {
      c.settle(child_outcome::ok, std::current_exception());
    }
  }
  void terminate(supervisor_call& c, child_slot* s) noexcept {
    if (!s) return c.settle(child_outcome::not_found);
    if (s->state == child_state::idle) return c.settle(child_outcome::ok);
    if (s->state != child_state::restarting) {
      s->stop_next = true;
      return begin_call(c, *s, work::stop);
    }
    bool was_culprit = x_culprit == s;
    forget_pause(*s);
    if (was_culprit) {  // the others have waited for it
      show(*s, child_state::idle);
      start_waiting(*s);
    } else {
      put_down(*s);
    }
    c.settle(child_outcome::ok);
  }

  // ---- the end

  void finish(end_t how) noexcept override {
    if (!stopping()) x_end = std::move(how);
    begin_shutdown();
  }
  void begin_shutdown() noexcept {
    if (stopping()) return;
    enter_phase(phase::stopping);
    x_round = round::shutdown;
    x_starting = nullptr;
    for (list_link* l = x_order.first(); l != x_order.end(); l = l->next) {
      child_slot& s = in_order(l);
      s.start_next = s.start_again = false;
      s.stop_next = s.state == child_state::running || s.state == child_state::starting;
      if (s.state != child_state::restarting) continue;
      forget_pause(s);
      show(s, child_state::idle);
    }
    begin_round(whole(), work::stop);
    x_call_error = nullptr;  // of that call: not for one of the next run
    if (supervisor_call* c = std::exchange(x_call, nullptr)) c->settle(child_outcome::not_running);
    refuse_calls();  // those that came before: a child that is to end may wait for one
  }
  // No child has a goroutine.
  void leave_run() noexcept {
    remove_all();
    x_tell_ready.reset();
    x_values.reset();
    x_outer = nullptr;
    if (x_options.listener) x_options.listener->run_ends();  // before another one can begin
    enter_phase(phase::ended);
    refuse_calls();
  }

  std::vector<std::shared_ptr<const child_spec>> x_specs;
  std::unordered_set<std::string_view> x_ids;  // of x_specs
  cancel_node* x_outer = nullptr;
  level_hook x_on_cancel{x_mail, &supervisor_mail::cancelled};
  level_hook x_on_kill{x_mail, &supervisor_mail::killed};
  std::shared_ptr<ready_signal> x_tell_ready;
  bool x_calls_next = false;
  supervisor_call* x_call = nullptr;  // that the round is for
  child_outcome x_call_outcome = child_outcome::ok;
  std::exception_ptr x_call_error;
  end_t x_end;
};

}  // namespace runnel::detail
