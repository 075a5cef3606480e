// SPDX-License-Identifier: BSL-1.0
// tests/model/scope_steps.hpp: a goroutine's program, its home, its nodes, groups and joins.
#pragma once

#include "model/started_steps.hpp"
#include "model/walk_steps.hpp"

namespace runnel::model {

inline bool counted(const machine& m, int n) {
  return m.spec(n).kind == node_spec::group || m.spec(n).kind == node_spec::fork;
}

// Takes the next instruction that counts: unwinding passes over all but what closes a scope, and clean-up.
inline outcome next_instruction(machine& m, int g) {
  goroutine& me = m.s.g[g];
  const auto& body = m.prog(g).body;
  me.which = me.index = me.wakes_peer = me.slot = me.stop = 0;
  me.peer = 0xFF;
  for (; me.instruction < body.size(); ++me.instruction) {
    const instruction& op = body[me.instruction];
    const bool skips = me.unwinding == unwind_state::yes;
    switch (op.what) {
      case does::enter:
        if (skips && !op.cleanup) continue;
        if (skips) me.unwinding = unwind_state::in_cleanup;
        return m.go(g, at::enter_link);
      case does::leave:
        if (me.context != op.arg) continue;
        return m.go(g, at::leave_switch);
      case does::join:
        if (!m.s.n[op.arg].alive) continue;
        me.detaching = static_cast<byte>(op.arg);
        return m.go(g, skips ? at::join_raise : at::join_count);
      case does::open:
        if (skips) continue;
        return m.go(g, at::open_node);
      case does::end_started:
        if (!m.s.io.alive) continue;
        me.after_end = static_cast<byte>(at::next);
        return m.go(g, at::started_ask);
      case does::spawn:
        if (skips) continue;
        return m.go(g, at::spawn);
      case does::fail:
        if (skips) continue;
        return m.go(g, at::fail_mark);
      case does::otherwise:
        if (skips) continue;
        return m.go(g, at::otherwise_lock);
      default:
        if (skips) continue;
        return m.go(g, me.registered || registers_when_it_waits(m, g) ? at::enter_operation : at::first_park);
    }
  }
  return m.go(g, m.broken(mutation::count_before_unregister) && counted(m, m.prog(g).home) ? at::end_count
                                                                                           : at::end_unregister);
}

// Lists node n under its parent, with the level that the parent has at that moment.
inline bool link(machine& m, int n) {
  node& parent = m.touch_node(m.spec(n).parent);
  node& child = m.s.n[n];
  if (parent.locked) return false;
  child.level = m.broken(mutation::link_without_parent_level) ? 0 : m.inherited(n, parent.level);
  parent.heard_by_node[n] = static_cast<byte>(parent.level + 1);
  child.linked = 1;
  return true;
}

inline outcome home_step(machine& m, int g) {
  goroutine& me = m.s.g[g];
  const int h = m.prog(g).home;
  node& home = m.s.n[h];
  walker& own = m.s.own_walk[g];
  const bool is_fork = m.spec(h).kind == node_spec::fork;
  switch (me.step) {
    case at::first_park:
      if (is_fork && !me.promoted)
        return m.go(g, m.broken(mutation::check_before_link) ? at::promote_check : at::promote_link);
      return m.go(g, m.broken(mutation::register_after_level) ? at::enter_operation : at::register_home);
    case at::promote_link:
      m.touch_node(h);
      if (!home.linked && !link(m, h)) return outcome::blocked;
      m.drain(g);
      me.promoted = 1;
      return m.go(g, m.broken(mutation::check_before_link) ? at::register_home : at::promote_check);
    case at::promote_check: {
      at otherwise = m.broken(mutation::check_before_link) ? at::promote_link : at::register_home;
      if (!home.failed) return m.go(g, otherwise);
      me.promoted = 1;
      if (m.broken(mutation::check_before_link)) return m.go(g, otherwise);
      begin_raise(own, h, 1);
      return m.go(g, at::promote_raise);
    }
    case at::promote_raise:
    case at::fail_raise:
      if (own.step != walker::idle) return walk(m, own).step();
      if (me.step == at::promote_raise) return m.go(g, at::register_home);
      ++me.instruction;
      return m.go(g, at::next);
    case at::register_home:
      m.touch_node(h);
      if (home.locked) return outcome::blocked;
      m.drain(g);
      home.heard_by_goroutine[g] = static_cast<byte>(home.level + 1);
      me.registered = 1;
      return m.go(g, at::enter_operation);
    case at::fail_mark:
      m.touch_node(h);
      if (!m.broken(mutation::look_before_fail)) home.failed = 1;
      return m.go(g, at::fail_look);
    case at::fail_look:
      m.drain(g);
      if (is_fork && !home.linked) {
        if (m.broken(mutation::look_before_fail)) return m.go(g, at::fail_late);
        ++me.instruction;
        return m.go(g, at::next);
      }
      begin_raise(own, h, 1);
      return m.go(g, at::fail_raise);
    case at::fail_late:  // mutation only
      home.failed = 1;
      ++me.instruction;
      return m.go(g, at::next);
    case at::end_unregister:
      m.drain(g);
      if (me.registered) {
        if (!m.broken(mutation::end_without_node_lock) && home.locked) return outcome::blocked;
        m.touch_node(h);
        home.heard_by_goroutine[g] = 0;
        me.registered = 0;
      }
      if (counted(m, h) && !m.broken(mutation::count_before_unregister)) return m.go(g, at::end_count);
      me.alive = 0;
      return m.go(g, at::ended);
    case at::end_count: {
      const bool early = m.broken(mutation::count_before_unregister);
      if (!early) me.alive = 0;
      m.touch_node(h);
      bool last = --home.count == 0;
      return m.go(g, last ? at::end_wake : early ? at::end_unregister : at::ended);
    }
    case at::end_wake:
      m.schedule(m.spec(h).owner);
      return m.go(g, m.broken(mutation::count_before_unregister) ? at::end_unregister : at::ended);
    default:
      return outcome::blocked;
  }
}

inline outcome detach_step(machine& m, int g) {
  goroutine& me = m.s.g[g];
  const int n = me.detaching;
  node& it = m.s.n[n];
  node& parent = m.s.n[m.spec(n).parent];
  switch (me.step) {
    case at::detach_unlink:
      m.touch_node(m.spec(n).parent);
      if (parent.locked) return outcome::blocked;
      m.drain(g);
      parent.heard_by_node[n] = 0;
      return m.go(g, m.broken(mutation::detach_does_not_wait) ? at::detach_free : at::detach_wait);
    case at::detach_wait:
      if (it.busy || (it.locked && !m.broken(mutation::busy_read_without_lock))) return outcome::blocked;
      m.drain(g);
      return m.go(g, at::detach_free);
    default: {
      const bool fired = it.fired;
      const bool scoped = !counted(m, n);
      if (scoped && me.unwinding == unwind_state::yes && fired && parent.level == 0) me.unwinding = unwind_state::no;
      if (m.spec(n).kind == node_spec::shield && me.unwinding == unwind_state::in_cleanup)
        me.unwinding = unwind_state::yes;
      it = {};
      ++me.instruction;
      return m.go(g, at::next);
    }
  }
}

inline outcome scope_step(machine& m, int g) {
  goroutine& me = m.s.g[g];
  const int n = m.now(g).arg;
  node& it = m.s.n[n];
  const node_spec& spec = m.spec(n);
  switch (me.step) {
    case at::enter_link:
      it = {};
      if (spec.kind != node_spec::apart) {
        if (!link(m, n)) return outcome::blocked;
        m.drain(g);
      }
      it.alive = 1;
      it.heard_by_goroutine[g] = static_cast<byte>(it.level + 1);  // a node lists the goroutine that it is current for
      return m.go(g, spec.kind == node_spec::timeout ? at::enter_arm : at::enter_switch);
    case at::enter_arm:
      if (m.s.c[wheel].locked) return outcome::blocked;
      m.drain(g);
      it.timer = timer_state::armed;
      return m.go(g, at::enter_switch);
    case at::enter_switch:
      if (!m.has_room(g)) return outcome::blocked;
      m.store_context(g, n);
      ++me.instruction;
      return m.go(g, at::next);
    case at::leave_switch:
      if (!m.has_room(g)) return outcome::blocked;
      m.store_context(g, spec.parent);
      me.detaching = static_cast<byte>(n);
      return m.go(g, spec.kind == node_spec::timeout ? at::leave_disarm
                     : spec.kind == node_spec::apart ? at::detach_wait
                                                     : at::detach_unlink);
    case at::leave_disarm:
      if (m.s.c[wheel].locked) return outcome::blocked;
      if (it.timer == timer_state::firing && !m.broken(mutation::firing_not_awaited)) return outcome::blocked;
      m.drain(g);
      it.timer = timer_state::idle;
      return m.go(g, at::detach_unlink);
    case at::open_node:
      it = {};
      if (spec.kind != node_spec::fork && !link(m, n)) return outcome::blocked;
      m.drain(g);
      it.alive = 1;
      it.count = 1;
      ++me.instruction;
      return m.go(g, at::next);
    case at::spawn: {
      goroutine& child = m.s.g[n];
      const int home = m.prog(n).home;
      if (counted(m, home)) ++m.touch_node(home).count;
      child.alive = child.running = 1;
      child.context = child.seen_context = static_cast<byte>(home);
      ++me.instruction;
      return m.go(g, at::next);
    }
    case at::join_raise:
      if (!me.index) {
        me.index = 1;
        begin_raise(m.s.own_walk[g], n, 1);
        return outcome::ran;
      }
      if (m.s.own_walk[g].step != walker::idle) return walk(m, m.s.own_walk[g]).step();
      return m.go(g, at::join_count);
    case at::join_count:
      m.drain(g);
      m.touch_node(n);
      if (m.broken(mutation::join_in_two_steps)) {
        if (it.count == 1) return m.go(g, at::detach_unlink);
        return m.go(g, at::join_look);
      }
      m.stop_running(g);  // the fetch_sub is the last touch, unless it finds nobody left
      if (--it.count) return m.go(g, at::join_parked);
      me.running = 1;
      return m.go(g, it.linked ? at::detach_unlink : at::detach_free);
    case at::join_look:  // mutation only: parks on what it read before
      m.stop_running(g);
      it.count = static_cast<byte>(it.count ? it.count - 1 : 0);
      return m.go(g, at::join_parked);
    case at::join_parked:
      if (!m.resumed(g)) return outcome::blocked;
      return m.go(g, it.linked ? at::detach_unlink : at::detach_free);
    default:
      return outcome::blocked;
  }
}

inline outcome finish(machine& m, int g) {
  goroutine& me = m.s.g[g];
  const instruction& op = m.now(g);
  m.require(me.slot, "a result was read before it was written");
  if (me.slot == 1 && op.what != does::asio) {
    const choice x = op.cases[me.which];
    if (x.is_at(wheel))
      ++m.s.ticked;
    else if (x.direction == choice::receive)
      ++m.s.received;
    else if (x.direction == choice::send)
      ++m.s.sent;
    else if (x.direction == choice::start)
      take_started(m);
    else
      m.require(m.s.n[x.channel].level >= 1, "a select was told of the end of a context that is not done");
  }
  ++me.instruction;
  return m.go(g, at::next);
}

// The pump finds `stop`: frames die leaf first, up to whatever closes a scope.
inline outcome stopped(machine& m, int g) {
  goroutine& me = m.s.g[g];
  m.require(m.stop_due(g), "a goroutine was stopped that no cancel had reached");
  const node_spec& context = m.spec(me.context);
  if (m.now(g).what == does::select)
    m.require(!(m.conf.told ? m.names_contexts(g) : m.case_of_end(g, me.context) >= 0),
              "a select that names the context that is done was stopped");
  m.require(context.kind != node_spec::shield || m.s.n[context.parent].level == 2, "a cancel went through a shield");
  m.require(!me.slot || (m.now(g).what == does::asio && me.slot == aborted),
            "a committed operation was turned into a stop");
  m.require(me.unwinding != unwind_state::yes, "a goroutine was stopped while it unwinds");
  me.unwinding = unwind_state::yes;
  me.node = 0;
  ++me.instruction;
  return m.go(g, at::next);
}

}  // namespace runnel::model
