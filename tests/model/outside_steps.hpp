// SPDX-License-Identifier: BSL-1.0
// tests/model/outside_steps.hpp: those who are no goroutines: cancellers, closers, the timers.
#pragma once

#include "model/walk_steps.hpp"

namespace runnel::model {

inline outcome canceller_step(machine& m, canceller& k, raise_spec what) {
  if (k.step == 0) {
    begin_raise(k.walk, what.node, what.level);
    k.step = 1;
    return outcome::ran;
  }
  if (k.walk.step == walker::idle) return outcome::blocked;
  return walk(m, k.walk).step();
}

// close() claims all waiters under the lock and schedules them after it. The last handle that dies unlinks them: they
// stay parked, on nothing, and can still be cancelled.
inline outcome closer_step(machine& m, closer& it, closer_spec what) {
  enum : byte { start, claim, wake, done };
  channel& c = m.s.c[what.channel];
  switch (it.step) {
    case start:
      if (!m.lockable(what.channel)) return outcome::blocked;
      m.lock_outside(what.channel);
      if (!what.death) {
        c.closed = 1;
        it.step = claim;
        return outcome::ran;
      }
      for (byte* queue : {c.receivers, c.senders})
        while (byte waiter = queue[0]) {
          machine::remove(queue, waiter);
          goroutine& owner = m.touch(goroutine_of(waiter));
          if (m.broken(mutation::death_leaves_links))
            owner.stale = static_cast<byte>(owner.stale | 1u << case_of(waiter));
        }
      c.died = 1;
      m.unlock(what.channel);
      it.step = done;
      return outcome::ran;
    case claim: {
      byte* queue = c.receivers[0] || m.broken(mutation::close_forgets_senders) ? c.receivers : c.senders;
      auto taken = m.claim_first(what.channel, queue, -1);
      if (taken.what == machine::claim_t::nobody) {
        m.unlock(what.channel);
        it.step = wake;
      } else if (taken.what == machine::claim_t::claimed) {
        m.s.g[taken.peer].slot = 2;
        if (taken.schedule) it.to_wake = static_cast<byte>(it.to_wake | 1u << taken.peer);
      }
      return outcome::ran;
    }
    case wake:
      for (int g = 0; g < m.goroutines(); ++g) {
        if (!(it.to_wake >> g & 1)) continue;
        it.to_wake = static_cast<byte>(it.to_wake & ~(1u << g));
        m.schedule(g);
        return outcome::ran;
      }
      it.step = done;
      return outcome::ran;
    default:
      return outcome::blocked;
  }
}

// Whom the wheel has claimed gets its tick under the lock, and is scheduled after it.
inline outcome woken(machine& m, machine::claim_t taken) {
  wheel_thread& t = m.s.timers;
  if (taken.what == machine::claim_t::claimed) {
    m.s.g[taken.peer].slot = 1;
    if (taken.schedule) {
      t.who = static_cast<byte>(taken.peer);
      t.step = wheel_thread::wake;
    }
  }
  m.unlock(wheel);
  return outcome::ran;
}

// The wheel's handler wakes any sleeper or fires any deadline, at any time.
inline outcome wheel_step(machine& m, int which) {
  wheel_thread& t = m.s.timers;
  channel& c = m.s.c[wheel];
  if (t.step != wheel_thread::idle && which) return outcome::no_such_choice;
  switch (t.step) {
    case wheel_thread::idle: {
      if (c.locked) return outcome::blocked;
      if (m.conf.ticks) {  // the next tick of a timer: for the first who can be claimed, or it is pending
        if (t.ticks < m.conf.ticks && !c.items && which-- == 0) {
          ++t.ticks;
          m.lock_outside(wheel);
          auto taken = m.claim_first(wheel, c.receivers, -1);
          while (taken.what == machine::claim_t::dropped) taken = m.claim_first(wheel, c.receivers, -1);
          if (taken.what == machine::claim_t::nobody && !m.broken(mutation::lost_tick)) c.items = 1;
          return woken(m, taken);
        }
      } else {  // any sleeper
        if (which < machine::length(c.receivers)) {
          m.lock_outside(wheel);
          std::swap(c.receivers[0], c.receivers[which]);
          return woken(m, m.claim_first(wheel, c.receivers, -1));
        }
        which -= machine::length(c.receivers);
      }
      for (int n = 0; n < m.nodes(); ++n) {
        if (m.s.n[n].timer != timer_state::armed || which-- > 0) continue;
        m.s.n[n].timer = timer_state::firing;  // under the wheel's lock; pins the node
        m.s.n[n].fired = 1;
        t.who = static_cast<byte>(n);
        t.step = wheel_thread::walking;
        begin_raise(t.walk, n, 1);
        return outcome::ran;
      }
      return outcome::no_such_choice;
    }
    case wheel_thread::wake:
      m.schedule(t.who);
      t.step = wheel_thread::idle;
      t.who = 0;
      return outcome::ran;
    default:
      if (t.walk.step != walker::idle) return walk(m, t.walk).step();
      if (c.locked) return outcome::blocked;
      m.touch_node(t.who).timer = timer_state::idle;  // under the wheel's lock: the last touch of the node
      t.step = wheel_thread::idle;
      t.who = 0;
      return outcome::ran;
  }
}

}  // namespace runnel::model
