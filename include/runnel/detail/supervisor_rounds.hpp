// SPDX-License-Identifier: BSL-1.0
// runnel/detail/supervisor_rounds.hpp: how a supervisor stops and starts children: one after another, or together.
// Layer: L10
#pragma once

#include <runnel/detail/cancel_node.hpp>
#include <runnel/detail/child_slot.hpp>
#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/runtime_core.hpp>
#include <runnel/detail/spawn_place.hpp>
#include <runnel/detail/supervisor_board.hpp>
#include <runnel/otp/supervision.hpp>

#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <utility>

namespace runnel::detail {

enum class restart_strategy : std::uint8_t { one, all, rest };
enum class auto_stop : std::uint8_t { never, any, all };

// Hears of the end of each run when nothing of it is left, and no other can have begun. In the owner; it must not wait.
struct run_listener {
  virtual void run_ends() noexcept = 0;

 protected:
  ~run_listener() = default;
};

struct supervisor_options {
  restart_strategy strategy = restart_strategy::one;
  auto_stop when_significant = auto_stop::never;
  std::size_t max_restarts = 3;
  std::int64_t window_ns = 5'000'000'000;
  std::size_t max_children = SIZE_MAX;
  std::shared_ptr<const error_handler> on_error;  // of children; null: the runtime's
  std::shared_ptr<run_listener> listener;         // null: nobody
  bool dynamic = false;  // children have no ids, are stopped together, and are not kept when they have ended
};

// Invariants:
//   1. A round stops the marked slots between its bounds, the last first, each ended before the next is asked (or all
//      together), and then starts the marked ones, the first first, each ready before the next. The slots at the bounds
//      are not of the round, and do not die in it.
//   2. A slot dies between rounds, or behind the cursor.
//   3. Nothing here throws or waits, and only the owner is here.
class supervisor_rounds : public supervisor_board {
 protected:
  enum class work : std::uint8_t { none, stop, start };
  struct bounds {
    list_link *before, *after;
  };

  explicit supervisor_rounds(const supervisor_options& options) noexcept : x_options(options) {}
  ~supervisor_rounds() = default;

  // What has come of it.
  virtual void start_failed(child_slot& s, std::exception_ptr error) noexcept = 0;
  virtual void start_ignored() noexcept = 0;
  virtual void round_done() noexcept = 0;

  bounds whole() noexcept { return {x_order.first()->prev, x_order.first()->prev}; }
  static bounds only(child_slot& s) noexcept { return {link_of(s)->prev, link_of(s)->next}; }

  void begin_round(bounds b, work first) noexcept {
    x_bounds = b;
    x_work = first;
    x_cursor = first == work::stop ? b.after->prev : b.before->next;
  }
  void advance() noexcept {
    while (x_work != work::none) {
      if (x_work == work::stop) {
        if (x_stopping != 0 && !x_options.dynamic) return;
        if (x_cursor != x_bounds.before) {
          child_slot& s = in_order(std::exchange(x_cursor, x_cursor->prev));
          if (std::exchange(s.stop_next, false)) begin_stop(s);
          continue;
        }
        if (x_stopping != 0) return;
        x_work = work::start;
        x_cursor = x_bounds.before->next;
      } else {
        if (x_starting || x_stopping != 0) return;
        if (x_cursor != x_bounds.after) {
          child_slot& s = in_order(std::exchange(x_cursor, x_cursor->next));
          if (std::exchange(s.start_next, false)) begin_start(s);
          continue;
        }
        x_work = work::none;
        round_done();
      }
    }
  }
  void begin_start(child_slot& s) noexcept {
    if (s.pause) s.started_at = x_runtime->core.now();  // who asks the time for each start pays a tenth of it for that
    s.reported = false;
    std::exception_ptr error = s.launch(*x_runtime, *x_scope, x_values);
    if (error) return start_failed(s, std::move(error));
    if (x_options.dynamic && s.spec->restart == temporary) s.spec->forget();
    if (!s.spec->handshake) return show_start(s, ++x_starts, child_state::running);
    show_start(s, ++x_starts, child_state::starting);
    x_starting = &s;
    s.set_timer(*x_runtime, s.spec->handshake->limit_ns());
  }
  void started(child_slot& s) noexcept {
    if (x_starting == &s) x_starting = nullptr;
    s.clear_timer(*x_runtime);
    s.cut_signal();
    show(s, child_state::running);
  }

  // After a run as long as its longest pause its pauses begin anew.
  void forgive(child_slot& s) noexcept {
    if (s.pause && x_runtime->core.now() - s.started_at >= s.pause->max().count()) s.pause->reset();
  }

  void begin_stop(child_slot& s) noexcept {
    if (s.exited || s.state == child_state::running) forgive(s);
    if (s.exited) {  // by itself, before
      s.exited = false;
      unlink(static_cast<todo_link*>(&s));
      if (!s.error && !s.unwound && s.verdict != child_end::done) {  // what it has returned stands
        s.start_again = false;
        x_stop_asked = x_stop_asked || s.verdict == child_end::stop_supervisor;
      }
      report_unobserved(s);
      return stopped(s);
    }
    if (!has_goroutine(s.state)) return;  // it has ended since it was marked
    s.clear_timer(*x_runtime);
    s.cut_signal();
    show(s, child_state::stopping);
    ++x_stopping;
    s.killed = s.spec->stop.kills() || s.is_killed();
    if (s.spec->stop.kills())
      s.cancel(level_kill);
    else
      s.cancel(level_cancel);
    s.set_timer(*x_runtime, s.killed ? reported_after_ns : s.spec->stop.grace_ns());
  }
  // It was stopped, and its goroutine has ended.
  void stopped(child_slot& s) noexcept {
    if (s.start_error) return start_failed(s, std::exchange(s.start_error, nullptr));
    if (!std::exchange(s.start_again, false)) return put_down(s);
    show(s, child_state::restarting);
  }
  // It has no goroutine, and will not by itself.
  void put_down(child_slot& s) noexcept {
    bool kept = s.spec->restart != temporary && !x_options.dynamic;
    if (kept || stopping()) return show(s, child_state::idle);
    remove(s);
  }

  void ended(child_slot& s) noexcept {
    s.clear_timer(*x_runtime);
    s.release();
    if (s.state == child_state::stopping) {
      --x_stopping;
      report_unobserved(s);
      return stopped(s);
    }
    if (s.state == child_state::starting) {
      x_starting = nullptr;
      std::exception_ptr error = std::exchange(s.error, nullptr);
      if (s.unwound && !x_scope->killed()) error = canceled_cause();  // by itself; else from above, and so are all
      if (error) return start_failed(s, std::move(error));
      if (!s.unwound) {
        x_stop_asked = x_stop_asked || s.verdict == child_end::stop_supervisor;
        start_ignored();
      }
      return put_down(s);
    }
    s.exited = true;
    x_todo.push_back(static_cast<todo_link*>(&s));
  }
  void timed(child_slot& s) noexcept {
    s.clear_timer(*x_runtime);
    switch (s.state) {
      case child_state::starting:
        x_starting = nullptr;
        s.start_error = not_ready_error();
        return begin_stop(s);
      case child_state::stopping:
        if (s.killed) return report_stuck(s);
        s.killed = true;
        s.cancel(level_kill);
        return s.set_timer(*x_runtime, reported_after_ns);
      case child_state::restarting:
        s.due = true;
        x_todo.push_back(static_cast<todo_link*>(&s));
        return;
      default:
        return;
    }
  }

  void report_unobserved(child_slot& s) noexcept {
    if (!s.error) return;
    show_error(s, s.error);
    tell(std::exchange(s.error, nullptr), s.spec->where);
  }
  // An error that nobody else hears of.
  void tell(std::exception_ptr error, std::source_location where) noexcept {
    x_runtime->unobserved(std::move(error), where, x_options.on_error.get());
  }
  static void report_stuck(child_slot& s) noexcept {
    if (std::exchange(s.reported, true)) return;
    const std::string& id = s.spec->id;  // not name(), which may throw
    std::fprintf(stderr, "runnel: %s%s%s has not ended 5 s after it was killed, and its supervisor waits for it (%s)\n",
                 id.empty() ? "a child without an id" : "child \"", id.c_str(), id.empty() ? "" : "\"",
                 started_at(s.spec->where).c_str());
  }
  // From above, by the tree. Those that are being stopped have no more time.
  void all_are_killed() noexcept {
    for (list_link* l = x_order.first(); l != x_order.end(); l = l->next) {
      child_slot& s = in_order(l);
      if (s.state != child_state::stopping || std::exchange(s.killed, true)) continue;
      s.set_timer(*x_runtime, reported_after_ns);
    }
  }
  static std::exception_ptr not_ready_error() noexcept { return std::make_exception_ptr(not_ready()); }

  static constexpr std::int64_t reported_after_ns = 5'000'000'000;

  const supervisor_options x_options;
  runtime_core* x_runtime = nullptr;
  std::optional<cancel_node> x_scope;  // of which the children's are children
  context_values x_values;             // for those without a handshake; null: those of x_scope
  list_head x_todo;                    // slots that have exited, or are due
  child_slot* x_starting = nullptr;    // of which the round waits for `ready`
  bool x_stop_asked = false;           // by a child that ended by itself during a round
  work x_work = work::none;

 private:
  bounds x_bounds{};
  list_link* x_cursor = nullptr;
  std::size_t x_stopping = 0;  // slots that were asked and have not ended
  std::uint64_t x_starts = 0;
};

}  // namespace runnel::detail
