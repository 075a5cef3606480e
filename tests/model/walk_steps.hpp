// SPDX-License-Identifier: BSL-1.0
// tests/model/walk_steps.hpp: raising a node and walking its members: what cancel and kill do.
#pragma once

#include "model/asio_steps.hpp"

namespace runnel::model {

inline void begin_raise(walker& w, int n, int level) {
  w = {};
  w.step = walker::raise;
  w.node = w.root = static_cast<byte>(n);
  w.level = static_cast<byte>(level);
}

// One thread in raise() or walk(). It holds the lock of w.node in the steps from `pick` to `unlock`.
class walk {
 public:
  walk(machine& machine, walker& walker) : m(machine), w(walker), n(machine.s.n[walker.node]) {}

  // Blocked, or ran; the walk has ended when w.step is idle.
  outcome step() {
    switch (w.step) {
      case walker::raise:
        return raise();
      case walker::enter:
        return enter();
      case walker::pick:
        return pick();
      case walker::fire:
        return fire();
      case walker::read:
        return read();
      case walker::fence:
        return fence();
      case walker::read_context:
        return read_context();
      case walker::lock_queue:
        return lock_queue();
      case walker::act:
        return act();
      case walker::claim:
        return claim();
      case walker::store_level:
        return store_level();
      case walker::unlock:
        return unlock();
      case walker::flush:
        return flush();
      default:
        return outcome::blocked;
    }
  }

 private:
  outcome to(walker::step_t next) {
    w.step = next;
    return outcome::ran;
  }
  outcome next_member() {
    w.seen = {};
    w.seen_context = 0;
    return to(walker::pick);
  }
  // A level raised meanwhile by somebody who found the node busy counts too.
  byte goal() const {
    return m.broken(mutation::new_level_missed) || m.broken(mutation::level_after_members) ? w.level : n.level;
  }

  outcome raise() {
    if (n.locked) return outcome::blocked;
    m.touch_node(w.node);
    if (n.level >= w.level) return end();
    if (!m.broken(mutation::level_after_members)) n.level = w.level;
    if (n.busy && !m.broken(mutation::busy_ignored)) return end();
    n.busy = 1;
    n.locked = 1;
    return to(walker::pick);
  }

  outcome enter() {
    if (n.locked) return outcome::blocked;
    if (m.broken(mutation::child_locked_late) && w.descend) {
      // the child is found under its parent's lock, but raised without it
      m.touch_node(w.node);
      n.level = std::max(n.level, w.level);
      n.busy = 1;
    }
    m.touch_node(w.node);
    w.descend = 0;
    n.locked = 1;
    return to(walker::pick);
  }

  // The first member that has not heard this level; at the end of the node, `busy` goes under its lock.
  outcome pick() {
    byte level = goal();
    if (n.hooks && !m.broken(mutation::hooks_after_members)) return take_hook();
    for (int g = 0; g < m.goroutines(); ++g) {
      if (!n.heard_by_goroutine[g] || n.heard_by_goroutine[g] - 1 >= level) continue;
      n.heard_by_goroutine[g] = m.broken(mutation::cancel_delists) ? 3 : static_cast<byte>(level + 1);
      w.member = static_cast<byte>(g);
      return to(walker::read);
    }
    for (int c = 0; c < m.nodes(); ++c) {
      if (!n.heard_by_node[c] || n.heard_by_node[c] - 1 >= level) continue;
      return tell_child(c, level);
    }
    if (n.hooks && m.broken(mutation::hooks_after_members)) return take_hook();
    if (m.broken(mutation::level_after_members) && n.level < w.level) return to(walker::store_level);
    n.busy = 0;
    return to(walker::unlock);
  }

  // A hook is taken out of the list, and then fired, both under the node's lock.
  outcome take_hook() {
    int g = 0;
    while (!(n.hooks >> g & 1)) ++g;
    n.hooks = static_cast<byte>(n.hooks & ~(1u << g));
    w.member = static_cast<byte>(g);
    return to(walker::fire);
  }
  outcome fire() {
    goroutine& g = m.touch(w.member);
    const int which = m.case_of_end(w.member, w.node);
    m.touch_waiter(waiter_number(w.member, which < 0 ? 0 : which));
    m.require(which >= 0, "a hook was fired whose select had gone on");
    if (which < 0 || !m.may_be_claimed(g.w)) return to(walker::pick);
    if (g.w.code == code::parked || m.broken(mutation::hook_claim_schedules))
      w.to_wake = static_cast<byte>(w.to_wake | 1u << w.member);
    g.w.code = code::claimed(which);
    g.slot = 1;
    return to(walker::pick);
  }

  // The last touch: an owner that waits to end the node reads `busy` under its lock.
  outcome unlock() {
    m.touch_node(w.node);
    n.locked = 0;
    return to(walker::flush);
  }

  outcome tell_child(int c, byte level) {
    node& child = m.s.n[c];
    byte heard = m.broken(mutation::cancel_delists) ? 3 : static_cast<byte>(level + 1);
    if (m.inherited(c, level) == 0) {  // a shield hears only kill
      n.heard_by_node[c] = heard;
      return outcome::ran;
    }
    if (m.broken(mutation::child_locked_late)) {
      n.heard_by_node[c] = heard;
      n.locked = 0;
      w.descend = 1;
      w.node = static_cast<byte>(c);
      return to(walker::flush);
    }
    if (child.locked) return outcome::blocked;
    m.touch_node(c);
    n.heard_by_node[c] = heard;
    if (child.level >= level) return outcome::ran;
    child.level = level;
    if (child.busy && !m.broken(mutation::busy_ignored)) return outcome::ran;  // whoever walks it picks the level up
    child.busy = 1;
    n.locked = 0;
    w.node = static_cast<byte>(c);
    w.level = level;
    w.descend = 1;
    return to(walker::flush);
  }

  outcome store_level() {  // mutation only
    n.level = w.level;
    n.busy = 0;
    return to(walker::unlock);
  }

  // ---- one goroutine ----

  outcome read() {
    goroutine& g = m.touch(w.member);
    w.seen = g.w;
    byte c = w.seen.code;
    if (code::is_plain(c)) {
      if (m.broken(mutation::context_before_lock)) w.seen_context = g.seen_context;
      return to(walker::lock_queue);
    }
    if (c == code::registering || c == code::parked || code::is_operation(c)) return to(walker::read_context);
    // It runs, or will: it reads the level before it parks again, unless its store of W is still under way.
    bool looks = m.broken(mutation::barrier_for_zero_only) ? c == code::none : true;
    if (m.conf.light && looks && !(w.fenced >> w.node & 1) && !m.broken(mutation::no_heavy_barrier))
      return to(walker::fence);
    return next_member();
  }

  outcome fence() {
    m.drain_all();
    w.fenced = static_cast<byte>(w.fenced | (m.broken(mutation::one_barrier_per_tree) ? 0xFF : 1u << w.node));
    return to(walker::read);
  }

  outcome lock_queue() {
    int q = w.seen.code - 1;
    if (!m.lockable(q)) return outcome::blocked;
    m.lock_outside(q);
    return to(walker::act);
  }

  // Under the lock of what it was parked on.
  outcome act() {
    goroutine& g = m.touch(w.member);
    int q = w.seen.code - 1;
    if (g.w != w.seen && !m.broken(mutation::no_recheck)) {
      m.unlock(q);
      return to(walker::read);
    }
    byte context = m.broken(mutation::context_before_lock) ? w.seen_context : g.seen_context;
    if (g.node && (context == w.node || m.broken(mutation::any_walk_interrupts))) {
      byte waiter = waiter_number(w.member, 0);
      m.touch_waiter(waiter);
      m.require(m.now(w.member).cases.empty() || m.now(w.member).cases[0].channel == q,
                "a waiter was touched under the lock of another channel");
      if (!m.fault) m.erase(q, waiter);
      g.node = 0;
      g.w = {};
      g.stop = 1;
      w.to_wake = static_cast<byte>(w.to_wake | 1u << w.member);
    }
    m.unlock(q);
    return next_member();
  }

  outcome read_context() {
    w.seen_context = m.touch(w.member).seen_context;
    if (w.seen_context != w.node && !m.broken(mutation::any_walk_interrupts)) return next_member();
    return to(walker::claim);
  }

  // The compare-and-swap on W: fails if anything changed since it was read, the context included.
  outcome claim() {
    goroutine& g = m.touch(w.member);
    if (g.w != w.seen) return to(walker::read);
    byte bit = static_cast<byte>(1u << w.member);
    if (g.w.code == code::registering) {
      if (!m.broken(mutation::canceller_skips_registering)) g.w.code = code::stopped;
    } else if (g.w.code == code::parked) {
      g.w.code = code::stopped;
      w.to_wake |= bit;
    } else if (m.broken(mutation::canceller_takes_operation)) {
      g.w = {};
      g.stop = 1;
      w.to_wake |= bit;
    } else if (!(g.w.code & code::requested)) {
      bool take = !(g.w.code & code::owned);
      g.w.code |= code::requested;
      if (m.broken(mutation::emit_without_ownership)) {
        w.to_own |= bit;
      } else if (take) {
        g.w.code |= code::owned;
        w.to_own |= bit;
      }
    }
    return next_member();
  }

  // ---- outside the locks ----

  outcome flush() {
    for (int g = 0; g < m.goroutines(); ++g) {
      if (!(w.to_wake >> g & 1)) continue;
      w.to_wake = static_cast<byte>(w.to_wake & ~(1u << g));
      m.schedule(g);
      return outcome::ran;
    }
    if (w.owned) return own();
    for (int g = 0; g < m.goroutines(); ++g) {
      if (!(w.to_own >> g & 1)) continue;
      w.to_own = static_cast<byte>(w.to_own & ~(1u << g));
      w.owned = static_cast<byte>(g + 1);
      w.owner.step = m.broken(mutation::emit_without_ownership) ? operation_owner::emit : operation_owner::leave;
      return outcome::ran;
    }
    if (w.descend) return to(walker::enter);
    return up();
  }

  outcome own() {
    bool out = m.broken(mutation::emit_without_ownership) && w.owner.step == operation_owner::leave;
    if (!out && owner_step(m, w.owned - 1, w.owner) == owning::goes_on) return outcome::ran;
    w.owned = 0;
    w.owner = {};
    return outcome::ran;
  }

  // The node is not touched any more: its number was all that was kept of it.
  outcome up() {
    if (w.node == w.root) return end();
    w.node = static_cast<byte>(m.spec(w.node).parent);
    return to(walker::enter);
  }

  outcome end() {
    w = {};
    return outcome::ran;
  }

  machine& m;
  walker& w;
  node& n;
};

}  // namespace runnel::model
