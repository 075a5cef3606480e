// SPDX-License-Identifier: BSL-1.0
// tests/model/select_steps.hpp: select registers channel by channel, and claims itself to act.
#pragma once

#include "model/started_steps.hpp"

namespace runnel::model {

// Looking at a single case of a poll: hints, no lock.
inline bool looks_ready(machine& m, int g, choice x) {
  if (x.direction == choice::end) return false;  // asked on entry, and when it is listed
  if (x.direction == choice::start) return m.s.io.state == started_operation::kept;
  const byte first = m.peer_queue(x)[0];
  return m.has_room_or_item(x) || (first && goroutine_of(first) != g);
}
// Under the channel's lock.
inline bool is_ready(machine& m, int g, choice x) {
  if (x.direction == choice::end || x.direction == choice::start) return false;
  return m.has_room_or_item(x) || m.has_claimable(m.peer_queue(x), g);
}

inline outcome select_poll(machine& m, int g, int which) {
  goroutine& me = m.s.g[g];
  const auto& cases = m.now(g).cases;
  if (m.stop_due(g)) return which ? outcome::no_such_choice : m.go(g, at::stopped);
  int ready = 0;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    if (!looks_ready(m, g, cases[i])) continue;
    if (ready++ != which) continue;
    if (cases[i].direction == choice::start) {
      me.which = static_cast<byte>(i);
      me.slot = delivered;
      return conclude(m, g, at::finish);
    }
    if (!m.lockable(cases[i].channel)) return outcome::blocked;
    m.lock(cases[i].channel, g);
    me.which = static_cast<byte>(i);
    return m.go(g, at::attempt);
  }
  return ready || which ? outcome::no_such_choice : m.go(g, at::select_begin);
}

inline outcome unregister(machine& m, int g) {
  goroutine& me = m.s.g[g];
  const auto& cases = m.now(g).cases;
  auto order = lock_order(m, g);
  // Whoever has claimed a select in its sleep has left that channel before it scheduled it.
  const byte code = m.own_word(g).code;
  const choice taken = me.slept && code::is_claimed(code) ? cases[static_cast<std::size_t>(code - code::first_claim)]
                                                          : choice{choice::end, 0};
  const bool alone = std::count_if(cases.begin(), cases.end(), [&](choice x) { return x.is_at(taken.channel); }) == 1;
  for (; me.index < order.size(); ++me.index) {
    int c = order[me.index];
    bool put = false, in = false;
    if (taken.is_at(c) && alone) continue;
    for (std::size_t i = 0; i < cases.size(); ++i) {
      if (!cases[i].is_at(c)) continue;
      put = put || (me.waiters >> i & 1);
      in = in || m.in_queue(c, waiter_number(g, static_cast<int>(i)));
    }
    if (!put || (m.broken(mutation::popped_locks_skipped) && !in)) continue;
    if (!m.lockable(c)) return outcome::blocked;
    m.lock(c, g);
    for (std::size_t i = 0; i < cases.size(); ++i)
      if (cases[i].is_at(c) && (me.waiters >> i & 1)) m.erase(c, waiter_number(g, static_cast<int>(i)));
    m.unlock(c);
    ++me.index;
    return outcome::ran;
  }
  // Hooks: under the node's lock, even if they have fired.
  for (; me.index < order.size() + cases.size(); ++me.index) {
    const std::size_t i = me.index - order.size();
    if (cases[i].direction != choice::end || !(me.waiters >> i & 1) || m.broken(mutation::hook_stays)) continue;
    node& n = m.touch_node(cases[i].channel);
    if (m.broken(mutation::fired_hook_not_awaited) && !(n.hooks >> g & 1)) continue;
    if (n.locked) return outcome::blocked;
    m.drain(g);
    n.hooks = static_cast<byte>(n.hooks & ~(1u << g));
    ++me.index;
    return outcome::ran;
  }
  if (const int i = m.case_that_starts(g); i >= 0 && (me.waiters >> i & 1)) {  // under its lock
    if (!m.conf.light) m.drain(g);
    if (!m.broken(mutation::claims_though_unlisted)) m.s.io.listed = 0;
  }
  return m.go(g, at::select_out);
}

inline outcome told(machine& m, int g, int which) {
  m.s.g[g].which = static_cast<byte>(which);
  m.s.g[g].slot = delivered;
  return conclude(m, g, at::finish);
}

// No waiter is out any more: what the word says now is final.
inline outcome select_out(machine& m, int g) {
  goroutine& me = m.s.g[g];
  if (!m.has_room(g)) return outcome::blocked;
  word w = m.own_word(g);
  bool again = me.restart && w.code == code::self;
  const bool slept = me.slept;
  me.waiters = me.stale = me.restart = me.selecting = me.slept = me.index = 0;
  if (again) return m.go(g, m.conf.polls ? at::select_poll : at::select_begin);
  m.store_word(g, code::none);
  if (w.code == code::stopped) {
    // Out of its sleep it is unwound and asks nobody: a hook would have been quicker.
    const int which = slept || m.broken(mutation::stopped_forgets_contexts) ? -1 : m.case_that_is_told(g);
    return which < 0 ? conclude(m, g, at::stopped) : told(m, g, which);
  }
  if (code::is_claimed(w.code))
    me.which = static_cast<byte>(w.code - code::first_claim);
  else
    m.require(w.code == code::self || m.broken(mutation::no_self_claim),
              "a select was resumed that nobody had claimed");
  return conclude(m, g, at::finish);
}

inline outcome otherwise_step(machine& m, int g) {
  goroutine& me = m.s.g[g];
  const auto& cases = m.now(g).cases;
  auto order = lock_order(m, g);
  auto take_default = [&] {
    m.s.defaulted = 1;
    me.index = 0;
    ++me.instruction;
    return m.go(g, at::next);
  };
  if (me.step == at::otherwise_lock) {
    if (me.index == order.size()) {
      me.index = 0;
      return m.broken(mutation::otherwise_case_by_case) ? take_default() : m.go(g, at::otherwise_look);
    }
    int c = order[me.index];
    if (!m.lockable(c)) return outcome::blocked;
    if (m.broken(mutation::otherwise_case_by_case)) {
      for (choice x : cases)
        if (x.is_at(c) && is_ready(m, g, x)) {
          ++me.instruction;
          return m.go(g, at::next);
        }
    } else {
      m.lock(c, g);
    }
    ++me.index;
    return outcome::ran;
  }
  for (std::size_t i = 0; i < cases.size(); ++i)
    if (is_ready(m, g, cases[i])) {
      me.which = static_cast<byte>(i);
      return m.go(g, at::attempt);
    }
  for (int c : order) m.unlock(c);
  return take_default();
}

inline outcome select_step(machine& m, int g, int which) {
  goroutine& me = m.s.g[g];
  if (me.step == at::select_poll) return select_poll(m, g, which);
  if (which) return outcome::no_such_choice;
  const auto& cases = m.now(g).cases;
  auto order = lock_order(m, g);
  const int c = me.index < order.size() ? order[me.index] : 0;
  auto start_unregistering = [&] {
    me.index = 0;
    return m.go(g, at::unregister);
  };
  switch (me.step) {
    case at::select_begin:
      if (!m.has_room(g)) return outcome::blocked;
      m.publish(g, code::registering);
      me.selecting = 1;
      me.index = 0;
      return m.go(g, at::select_level);
    case at::select_level: {
      if (!m.stop_due(g)) return m.go(g, at::select_lock);
      if (!m.has_room(g)) return outcome::blocked;
      m.store_word(g, code::none);
      me.selecting = 0;
      const int named = m.case_that_is_told(g);
      return named < 0 ? m.go(g, at::stopped) : told(m, g, named);
    }
    case at::select_lock:
      if (me.index == order.size()) return m.go(g, at::select_hook);
      if (!m.lockable(c)) return outcome::blocked;
      m.lock(c, g);
      return m.go(g, at::select_check);
    case at::select_hook: {  // the next context that it names: listed, if it is not done yet
      const std::size_t i = me.index - order.size();
      if (i == cases.size()) return m.go(g, m.case_that_starts(g) < 0 ? at::select_park : at::started_list);
      if (cases[i].direction != choice::end) return ++me.index, outcome::ran;
      if (m.own_word(g).code != code::registering) return start_unregistering();
      node& n = m.touch_node(cases[i].channel);
      if (n.locked) return outcome::blocked;
      m.drain(g);
      if (n.level >= 1 && !m.broken(mutation::due_not_looked_at)) {
        me.which = static_cast<byte>(i);
        return m.go(g, at::select_told);
      }
      n.hooks = static_cast<byte>(n.hooks | 1u << g);
      me.waiters = static_cast<byte>(me.waiters | 1u << i);
      ++me.index;
      return outcome::ran;
    }
    case at::select_told:  // it is done already
      m.drain(g);
      if (me.w.code == code::registering) {
        me.w.code = code::self;
        me.slot = delivered;
      }
      return start_unregistering();
    case at::started_list:
      if (m.own_word(g).code != code::registering) return start_unregistering();
      return list_started(m, g);
    case at::select_check:
      if (m.own_word(g).code == code::registering) return m.go(g, at::select_look);
      m.unlock(c);
      return start_unregistering();
    case at::select_look:
      for (std::size_t i = 0; i < cases.size(); ++i)
        if (cases[i].is_at(c) && is_ready(m, g, cases[i])) {
          me.which = static_cast<byte>(i);
          return m.go(g, at::select_claim);
        }
      return m.go(g, at::select_enqueue);
    case at::select_claim:
      m.drain(g);
      if (m.broken(mutation::no_self_claim)) return m.go(g, at::attempt);
      if (me.w.code != code::registering) {
        m.unlock(c);
        return start_unregistering();
      }
      me.w.code = code::self;
      return m.go(g, at::attempt);
    case at::select_enqueue:
      for (std::size_t i = 0; i < cases.size(); ++i) {
        if (!cases[i].is_at(c)) continue;
        me.waiters = static_cast<byte>(me.waiters | 1u << i);
        m.push(m.own_queue(cases[i]), waiter_number(g, static_cast<int>(i)));
      }
      m.unlock(c);
      ++me.index;
      return m.go(g, at::select_lock);
    case at::select_park:
      m.drain(g);
      if (me.w.code != code::registering && !m.broken(mutation::park_by_store)) return start_unregistering();
      me.w.code = code::parked;  // the CAS that is the last touch of goroutine and frame
      me.slept = 1;
      m.stop_running(g);
      return m.go(g, at::select_parked);
    case at::select_parked:
      return m.resumed(g) ? start_unregistering() : outcome::blocked;
    case at::unregister:
      return m.broken(mutation::losers_stay) ? m.go(g, at::select_out) : unregister(m, g);
    case at::select_out:
      return select_out(m, g);
    default:
      return otherwise_step(m, g);
  }
}

}  // namespace runnel::model
