// SPDX-License-Identifier: BSL-1.0
// tests/model/channel_steps.hpp: a plain send or receive, and the attempt that select shares with it.
#pragma once

#include "model/machine.hpp"

namespace runnel::model {

inline constexpr byte delivered = 1, closed = 2;

// Who holds locks in `attempt` to `release`: a plain park and a polling select one lock, a registered select one lock,
// `otherwise` all of its channels.
inline bool claimed_itself(const machine& m, int g) { return m.s.g[g].selecting; }

inline at after_level(const machine& m, int g) {
  return m.broken(mutation::register_after_level) && !m.s.g[g].registered ? at::plain_late_register : at::plain_enqueue;
}

inline outcome attempt(machine& m, int g) {
  goroutine& me = m.s.g[g];
  const choice x = m.now(g).cases[me.which];
  channel& c = m.s.c[x.channel];
  if (c.closed && (x.direction == choice::send || !c.items)) {
    me.slot = closed;
    return m.go(g, at::release);
  }
  if (x.direction == choice::receive && c.items) {
    --c.items;
    me.slot = delivered;
    return m.go(g, m.conf.capacity[x.channel] ? at::refill : at::release);
  }
  auto claim = m.claim_first(x.channel, m.peer_queue(x), g);
  if (claim.what == machine::claim_t::dropped) return outcome::ran;
  if (claim.what == machine::claim_t::claimed) {
    me.peer = static_cast<byte>(claim.peer);
    me.wakes_peer = claim.schedule;
    me.slot = delivered;
    return m.go(g, at::give);
  }
  if (x.direction == choice::send && c.items < m.conf.capacity[x.channel]) {
    ++c.items;
    me.slot = delivered;
    return m.go(g, at::release);
  }
  if (m.now(g).what == does::otherwise) return m.go(g, at::otherwise_look);
  if (m.now(g).what != does::select) {
    if (!me.registered && registers_when_it_waits(m, g) && !m.broken(mutation::waits_unregistered)) {
      m.unlock(x.channel);
      return m.go(g, at::first_park);
    }
    if (!m.conf.publishes_first)
      return m.go(g, m.broken(mutation::level_before_publish) ? at::plain_level : at::plain_publish);
    return m.go(g, after_level(m, g));
  }
  if (!me.selecting) {  // polling
    m.unlock(x.channel);
    return m.go(g, at::select_poll);
  }
  if (m.broken(mutation::claim_reverted)) {
    me.w.code = code::registering;
    return m.go(g, at::select_enqueue);
  }
  // Every peer was claimed elsewhere. The own claim stays until no waiter is out, then select starts again.
  m.unlock(x.channel);
  me.restart = 1;
  me.index = 0;
  return m.go(g, at::unregister);
}

// An element left a full buffer: the first sender that waits puts its own there.
inline outcome refill(machine& m, int g) {
  goroutine& me = m.s.g[g];
  const int x = m.now(g).cases[me.which].channel;
  channel& c = m.s.c[x];
  auto claim = m.claim_first(x, c.senders, g);
  if (claim.what == machine::claim_t::dropped) return outcome::ran;
  if (claim.what == machine::claim_t::nobody) return m.go(g, at::release);
  ++c.items;
  me.peer = static_cast<byte>(claim.peer);
  me.wakes_peer = claim.schedule;
  return m.go(g, at::give);
}

inline outcome release(machine& m, int g) {
  goroutine& me = m.s.g[g];
  const instruction& op = m.now(g);
  if (op.what == does::otherwise) {
    for (int c : lock_order(m, g)) m.unlock(c);
  } else if (op.what == does::select) {
    m.unlock(op.cases[me.which].channel);
  } else {
    if (m.conf.publishes_first) {
      if (!m.has_room(g)) return outcome::blocked;
      m.store_word(g, code::none);
    }
    me.node = 0;
    m.unlock(op.cases[0].channel);
  }
  if (m.broken(mutation::slot_after_unlock) && me.peer != 0xFF) return m.go(g, at::late_give);
  return m.go(g, at::wake);
}

inline outcome channel_step(machine& m, int g) {
  goroutine& me = m.s.g[g];
  const instruction& op = m.now(g);
  const int c = op.cases.empty() ? 0 : op.cases[0].channel;
  const byte own_waiter = waiter_number(g, 0);
  switch (me.step) {
    case at::enter_operation:
      if (int named = op.what == does::select ? m.case_that_is_told(g) : -1; named >= 0) {
        me.which = static_cast<byte>(named);
        me.slot = delivered;
        return m.go(g, at::finish);
      }
      if (m.stop_due(g)) return m.go(g, at::stopped);
      if (op.what == does::asio) return m.go(g, at::asio_publish);
      if (op.what == does::select) return m.go(g, m.conf.polls ? at::select_poll : at::select_begin);
      return m.go(g, m.conf.publishes_first ? at::plain_publish : at::plain_lock);
    case at::plain_lock:
      if (!m.lockable(c)) return outcome::blocked;
      m.lock(c, g);
      return m.go(g, m.conf.publishes_first ? at::plain_level : at::attempt);
    case at::plain_publish: {
      if (!m.has_room(g)) return outcome::blocked;
      m.publish(g, code::plain(c));
      if (m.broken(mutation::level_before_publish)) return m.go(g, after_level(m, g));
      return m.go(g, m.conf.publishes_first ? at::plain_lock : at::plain_level);
    }
    case at::plain_level:
      if (!m.stop_due(g)) {
        if (m.conf.publishes_first) return m.go(g, at::attempt);
        return m.go(g, m.broken(mutation::level_before_publish) ? at::plain_publish : after_level(m, g));
      }
      if (!m.has_room(g)) return outcome::blocked;
      m.store_word(g, code::none);
      m.unlock(c);
      return m.go(g, at::stopped);
    case at::attempt:
      return attempt(m, g);
    case at::refill:
      return refill(m, g);
    case at::give:
      if (m.broken(mutation::slot_after_unlock)) return m.go(g, at::release);
      m.touch(me.peer).slot = delivered;
      me.peer = me.wakes_peer ? me.peer : 0xFF;
      return m.go(g, at::release);
    case at::late_give:  // mutation only
      m.touch(me.peer).slot = delivered;
      return m.go(g, at::wake);
    case at::release:
      return release(m, g);
    case at::wake:
      if (me.wakes_peer) m.schedule(me.peer);
      me.wakes_peer = 0;
      me.peer = 0xFF;
      me.index = 0;
      return m.go(g, claimed_itself(m, g) ? at::unregister : at::finish);
    case at::plain_late_register: {  // mutation only
      node& home = m.touch_node(m.prog(g).home);
      if (home.locked) return outcome::blocked;
      home.heard_by_goroutine[g] = static_cast<byte>(home.level + 1);
      me.registered = 1;
      return m.go(g, at::plain_enqueue);
    }
    case at::plain_enqueue:
      me.waiters = 1;
      me.node = 1;
      m.push(m.own_queue(op.cases[0]), own_waiter);
      m.stop_running(g);
      m.unlock(c);  // the last touch of goroutine and frame
      return m.go(g, at::plain_parked);
    case at::plain_parked:
      if (!m.resumed(g)) return outcome::blocked;
      m.require(!m.in_queue(c, own_waiter), "a goroutine was resumed while its waiter was queued");
      me.waiters = me.stale = 0;
      return m.go(g, me.stop ? at::stopped : at::finish);
    default:
      return outcome::blocked;
  }
}

}  // namespace runnel::model
