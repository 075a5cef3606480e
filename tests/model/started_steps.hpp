// SPDX-License-Identifier: BSL-1.0
// tests/model/started_steps.hpp: an operation that a select starts, and that ends before the select goes on.
#pragma once

#include "model/asio_steps.hpp"
#include "model/channel_steps.hpp"

namespace runnel::model {

inline started_operation& touch_started(machine& m) {
  m.require(m.s.io.alive, "an operation was touched after its select had gone on");
  return m.s.io;
}

// ---- the last reference ends it ----

inline void end_started_operation(machine& m, letting_go& go) {
  started_operation& it = touch_started(m);
  goroutine& owner = m.s.g[it.owner];
  m.drain(it.owner);  // the lock was somebody else's
  const bool asked = it.requested || it.phase == started_operation::asked;
  m.require(it.result, "an operation ended before its handler had run");
  m.require(it.result != aborted || asked, "an operation was aborted that nobody had asked to end");
  const bool as_new = asked && (it.result == aborted || m.broken(mutation::success_forgotten));
  it.state = as_new ? started_operation::idle : started_operation::kept;
  if (as_new || !it.listed) return;
  it.listed = 0;
  if (owner.w.code != code::registering && owner.w.code != code::parked) return;
  const int which = m.case_that_starts(it.owner);
  m.require(which >= 0, "a select was claimed for an operation that is none of its cases");
  go.wakes = owner.w.code == code::parked;
  owner.w.code = code::claimed(which < 0 ? 0 : which);
  owner.slot = delivered;
}

// False: nothing is left to do.
inline bool let_go(machine& m, letting_go& go) {
  auto to = [&](letting_go::step_t next) {
    go.step = next;
    return next != letting_go::idle;
  };
  switch (go.step) {
    case letting_go::down:
      if (--touch_started(m).references) return to(letting_go::idle);
      if (m.broken(mutation::ended_by_handler)) return to(letting_go::count);
      return to(m.broken(mutation::counted_before_claim) ? letting_go::count : letting_go::end);
    case letting_go::end:
      end_started_operation(m, go);
      if (m.broken(mutation::counted_before_claim)) return to(go.wakes ? letting_go::wake : letting_go::idle);
      return to(letting_go::count);
    case letting_go::count:
      if (--touch_started(m).left == 0) go.wakes = 1;
      if (m.broken(mutation::counted_before_claim)) return to(letting_go::end);
      return to(go.wakes ? letting_go::wake : letting_go::idle);
    default:
      m.schedule(m.s.io.owner);
      go = {};
      return false;
  }
}

// ---- the goroutine ----

inline outcome conclude(machine& m, int g, at next) {
  if (!m.s.io.alive || m.s.io.owner != g || m.now(g).stays) return m.go(g, next);
  m.s.g[g].after_end = static_cast<byte>(next);
  return m.go(g, at::started_ask);
}

inline void take_started(machine& m) {
  started_operation& it = m.s.io;
  m.require(it.state == started_operation::kept, "a result was taken that was not there");
  if (it.result == succeeded) ++it.taken;
  it.state = started_operation::idle;
  it.result = 0;
}

// Under its lock, as the last that the select registers with.
inline outcome list_started(machine& m, int g) {
  goroutine& me = m.s.g[g];
  started_operation& it = m.s.io;
  const int which = m.case_that_starts(g);
  if (!m.conf.light) m.drain(g);
  if (it.state == started_operation::kept) {
    me.which = static_cast<byte>(which);
    return m.go(g, at::select_told);
  }
  if (!it.alive) it.alive = it.left = 1;
  it.owner = static_cast<byte>(g);
  me.waiters = static_cast<byte>(me.waiters | 1u << which);
  const bool starts = it.state == started_operation::idle;
  it.listed = !starts || !m.broken(mutation::listed_after_start);
  if (!starts) return m.go(g, at::select_park);
  it.state = started_operation::out;
  it.phase = started_operation::starting;
  it.references = 2;
  it.requested = it.emitted = it.result = 0;
  ++it.left;
  return m.go(g, at::started_start);
}

inline outcome started_step(machine& m, int g) {
  goroutine& me = m.s.g[g];
  started_operation& it = m.s.io;
  switch (me.step) {
    case at::started_start:  // no lock is held
      m.drain(g);
      if (m.conf.strand) {
        it.errand_start = 1;
        return m.go(g, m.broken(mutation::listed_after_start) ? at::started_begun : at::select_park);
      }
      it.in_flight = 1;
      return m.go(g, at::started_begun);
    case at::started_begun:
      if (m.broken(mutation::listed_after_start)) {
        it.listed = 1;
        return m.go(g, at::select_park);
      }
      it.phase = started_operation::begun;
      m.s.io_own.step = letting_go::down;
      return m.go(g, at::started_let_go);
    case at::started_let_go:
      if (let_go(m, m.s.io_own)) return outcome::ran;
      return m.go(g, at::select_park);
    case at::started_ask:
      if (it.state != started_operation::out) return m.go(g, at::started_count);
      if (it.phase != started_operation::starting) return m.go(g, at::started_refer);
      it.phase = started_operation::asked;
      return m.go(g, at::started_count);
    case at::started_refer:
      if (!it.references) return m.go(g, at::started_count);
      if (!m.broken(mutation::request_without_reference)) ++it.references;
      it.requested = 1;
      if (!m.conf.strand) return m.go(g, at::started_emit);
      it.errand_emit = 1;
      return m.go(g, at::started_count);
    case at::started_emit:
      m.drain(g);
      it.emitted = 1;
      return m.go(g, at::started_emitted);
    case at::started_emitted:
      if (m.broken(mutation::request_without_reference)) return m.go(g, at::started_count);
      m.s.io_own.step = letting_go::down;
      return m.go(g, at::started_emitted_let_go);
    case at::started_emitted_let_go:
      if (let_go(m, m.s.io_own)) return outcome::ran;
      return m.go(g, at::started_count);
    case at::started_count:
      m.drain(g);
      if (m.broken(mutation::end_not_awaited) || --it.left == 0) return m.go(g, at::started_close);
      m.stop_running(g);
      return m.go(g, at::started_wait);
    case at::started_wait:
      return m.resumed(g) ? m.go(g, at::started_close) : outcome::blocked;
    case at::started_close: {
      it.alive = it.left = it.listed = it.phase = it.requested = it.emitted = 0;
      const at next = static_cast<at>(me.after_end);
      me.after_end = 0;
      if (next == at::next) ++me.instruction;
      return m.go(g, next);
    }
    default:
      return outcome::blocked;
  }
}

// ---- the handler, and the strand, on some pool thread ----

inline outcome started_handler_step(machine& m, int which) {
  started_operation& it = m.s.io;
  started_actor& h = m.s.io_handler;
  if (h.step == started_actor::idle) {
    if (!it.in_flight) return outcome::no_such_choice;
    for (byte result : {succeeded, aborted}) {
      if (result == succeeded ? m.conf.only_when_asked : !it.emitted) continue;
      if (which-- > 0) continue;
      it.in_flight = 0;
      h = {started_actor::act, result, {}};
      return outcome::ran;
    }
    return outcome::no_such_choice;
  }
  if (which) return outcome::no_such_choice;
  if (h.step == started_actor::act) {
    touch_started(m).result = h.result;
    if (h.result == succeeded) ++it.succeeded;
    h.step = started_actor::go;
    h.go_step.step = letting_go::down;
    if (m.broken(mutation::ended_by_handler)) end_started_operation(m, h.go_step);
    return outcome::ran;
  }
  if (!let_go(m, h.go_step)) h = {};
  return outcome::ran;
}

inline outcome started_strand_step(machine& m) {
  started_operation& it = m.s.io;
  started_actor& s = m.s.io_strand;
  auto to = [&](started_actor::step_t next) {
    s.step = next;
    if (next == started_actor::go) s.go_step.step = letting_go::down;
    return outcome::ran;
  };
  switch (s.step) {
    case started_actor::idle:
      if (it.errand_start) {
        it.errand_start = 0;
        return to(started_actor::act);
      }
      if (!it.errand_emit) return outcome::blocked;
      it.errand_emit = 0;
      return to(started_actor::emit);
    case started_actor::act:
      touch_started(m).in_flight = 1;
      return to(started_actor::begun);
    case started_actor::begun: {
      const bool asked = touch_started(m).phase == started_operation::asked;
      if (!asked || m.broken(mutation::request_forgotten_while_starting)) {
        if (!asked) it.phase = started_operation::begun;
        return to(started_actor::go);
      }
      if (m.broken(mutation::request_overwritten)) it.phase = started_operation::begun;
      return to(started_actor::emit);
    }
    case started_actor::emit:
      touch_started(m).emitted = 1;
      if (m.broken(mutation::request_without_reference) && it.requested) {
        s = {};
        return outcome::ran;
      }
      return to(started_actor::go);
    default:
      if (!let_go(m, s.go_step)) s = {};
      return outcome::ran;
  }
}

}  // namespace runnel::model
