// SPDX-License-Identifier: BSL-1.0
// tests/model/machine.hpp: memory, locks, queues and scheduling, on which all steps are built.
#pragma once

#include "model/configuration.hpp"

#include <algorithm>

namespace runnel::model {

enum class outcome : byte { ran, blocked, no_such_choice };

// Memory model: total store order for what a goroutine stores without a lock. Its word and its context go through a
// first-in first-out buffer that memory drains at any time; a read-modify-write, a node's lock, a channel lock that was
// somebody else's, a full fence, and the heavy fence of anybody drain it at once. An unlock is a plain store behind the
// others, so whoever takes the lock next finds them drained. All else is one action, visible at once.
class machine {
 public:
  machine(const configuration& c, const state& from) : s(from), conf(c) {}

  state s;
  const configuration& conf;
  const char* fault = nullptr;

  bool broken(mutation m) const { return conf.broken == m; }
  void require(bool right, const char* otherwise) {
    if (!right && !fault) fault = otherwise;
  }

  outcome go(int g, at step) {
    s.g[g].step = step;
    return outcome::ran;
  }

  const instruction& now(int g) const { return prog(g).body[s.g[g].instruction]; }
  const program& prog(int g) const { return conf.goroutines[static_cast<std::size_t>(g)]; }
  const node_spec& spec(int n) const { return conf.nodes[static_cast<std::size_t>(n)]; }
  int goroutines() const { return static_cast<int>(conf.goroutines.size()); }
  int nodes() const { return static_cast<int>(conf.nodes.size()); }

  // ---- objects that can be gone ----

  goroutine& touch(int g) {
    require(s.g[g].alive, "a goroutine was touched after its end");
    return s.g[g];
  }
  node& touch_node(int n) {
    require(s.n[n].alive, "a node was touched after its owner had left it");
    return s.n[n];
  }
  void touch_waiter(byte waiter) {
    int g = goroutine_of(waiter);
    require(s.g[g].alive && (s.g[g].waiters >> case_of(waiter) & 1),
            "a waiter was touched after its frame had gone on");
  }

  // ---- the store buffer ----

  void drain_one(int g) {
    goroutine& me = s.g[g];
    const pending_store first = me.buffer[0];
    if (first.target == pending_store::to_word)
      me.w = first.value;
    else
      me.seen_context = first.value.code;
    for (int i = 0; i + 1 < me.buffered; ++i) me.buffer[i] = me.buffer[i + 1];
    me.buffer[--me.buffered] = {};
  }
  void drain(int g) {
    while (s.g[g].buffered) drain_one(g);
  }
  void drain_all() {
    for (int g = 0; g < goroutines(); ++g) drain(g);
  }
  bool has_room(int g, int stores = 1) const { return s.g[g].buffered + stores <= buffer_depth; }
  void store(int g, pending_store p) { s.g[g].buffer[s.g[g].buffered++] = p; }
  void store_word(int g, byte c) {
    bool numbered = c >= code::registering;
    store(g, {pending_store::to_word, {c, numbered ? s.g[g].generation : byte{0}}});
  }
  // Stores W so that it can be taken out; with full fences it is visible before the level is read.
  void publish(int g, byte c) {
    store_word(g, c);
    if (!conf.light) drain(g);
  }
  void store_context(int g, int n) {
    s.g[g].context = static_cast<byte>(n);
    store(g, {pending_store::to_context, {static_cast<byte>(n), 0}});
    if (!broken(mutation::no_generation)) ++s.g[g].generation;
  }
  // The word as its goroutine sees it.
  word own_word(int g) const {
    for (int i = s.g[g].buffered; i-- > 0;)
      if (s.g[g].buffer[i].target == pending_store::to_word) return s.g[g].buffer[i].value;
    return s.g[g].w;
  }

  // ---- levels ----

  bool stop_due(int g) { return touch_node(s.g[g].context).level >= 1; }
  // What a new node hears of its parent's level.
  byte inherited(int n, byte parent_level) const {
    if (spec(n).kind == node_spec::shield && !broken(mutation::shield_hears_cancel)) return parent_level == 2 ? 2 : 0;
    return parent_level;
  }

  // ---- channel locks ----

  bool lockable(int c) {
    require(!broken(mutation::lock_dies_with_channel) || !s.c[c].died, "a lock was touched after its channel had died");
    return !s.c[c].locked;
  }
  void lock(int c, int g) {
    byte& last = s.c[c].last;
    bool others = last && last != g + 1;
    if (others) settle(c);
    if (!conf.light || others) drain(g);
    last = static_cast<byte>(g + 1);
    s.c[c].locked = 1;
  }
  void lock_outside(int c) {
    settle(c);
    s.c[c].locked = 1;
  }
  void unlock(int c) { s.c[c].locked = 0; }
  // What was stored before the unlock is visible to whoever takes the lock next.
  void settle(int c) {
    if (s.c[c].last) drain(s.c[c].last - 1);
    for (int g = 0; g < goroutines(); ++g)
      if (s.c[c].claimed >> g & 1) drain(g);
    s.c[c].last = s.c[c].claimed = 0;
  }

  // ---- queues ----

  static int length(const byte* queue) {
    int n = 0;
    while (n < max_waiting && queue[n]) ++n;
    return n;
  }
  void push(byte* queue, byte waiter) {
    int n = length(queue);
    require(n < max_waiting, "the model's queues are too short");
    if (n < max_waiting) queue[n] = waiter;
  }
  static bool queued(const byte* queue, byte waiter) {
    return std::find(queue, queue + max_waiting, waiter) != queue + max_waiting;
  }
  static void remove(byte* queue, byte waiter) {
    byte* end = queue + max_waiting;
    byte* found = std::find(queue, end, waiter);
    if (found == end) return;
    std::copy(found + 1, end, found);
    end[-1] = 0;
  }
  // A waiter that has been taken out links to itself, so erasing it again is harmless.
  void erase(int c, byte waiter) {
    goroutine& owner = s.g[goroutine_of(waiter)];
    require(!(owner.stale >> case_of(waiter) & 1), "links into the queue of a dead channel were followed");
    remove(s.c[c].receivers, waiter);
    remove(s.c[c].senders, waiter);
  }
  bool in_queue(int c, byte waiter) const { return queued(s.c[c].receivers, waiter) || queued(s.c[c].senders, waiter); }
  byte* own_queue(choice x) { return x.direction == choice::send ? s.c[x.channel].senders : s.c[x.channel].receivers; }
  byte* peer_queue(choice x) { return x.direction == choice::send ? s.c[x.channel].receivers : s.c[x.channel].senders; }

  // ---- claiming a waiter, under the channel's lock ----

  struct claim_t {
    enum { nobody, claimed, dropped } what = nobody;
    int peer = 0;
    bool schedule = false;  // whoever claims a goroutine that does not run schedules it after the unlock
  };

  bool may_be_claimed(word w) const {
    return (w.code == code::registering && !broken(mutation::peers_drop_registering)) || w.code == code::parked;
  }
  bool waits_in_select(int g) const { return s.g[g].selecting; }

  // `self` is the claiming goroutine, or -1. A plain claim is a store; with light fences it can still be under way when
  // the same thread runs the woken goroutine, whose stores then stand behind it.
  claim_t claim_first(int c, byte* queue, int self) {
    byte waiter = queue[0];
    if (!waiter) return {};
    touch_waiter(waiter);
    int p = goroutine_of(waiter);
    require(p != self, "a goroutine met its own waiter");
    remove(queue, waiter);
    goroutine& peer = s.g[p];
    if (!waits_in_select(p)) {
      require(!peer.buffered, "a plain waiter was queued before its word was visible");
      if (!broken(mutation::waker_keeps_node)) peer.node = 0;
      if (conf.light && self >= 0) {
        store_word(p, code::none);
        s.c[c].claimed = static_cast<byte>(s.c[c].claimed | 1u << p);
      } else {
        peer.w = {};
      }
      return {claim_t::claimed, p, true};
    }
    if (!may_be_claimed(peer.w)) return {claim_t::dropped, p, false};
    if (self >= 0) drain(self);
    bool sleeps = peer.w.code == code::parked;
    peer.w.code = code::claimed(case_of(waiter));
    return {claim_t::claimed, p, sleeps || broken(mutation::registering_claim_schedules)};
  }

  // Drops claimed waiters at the head; true if the next one looks as if it could be claimed.
  bool has_claimable(byte* queue, int self) {
    while (byte waiter = queue[0]) {
      touch_waiter(waiter);
      int p = goroutine_of(waiter);
      require(p != self, "a goroutine met its own waiter");
      if (!waits_in_select(p) || may_be_claimed(s.g[p].w)) return true;
      remove(queue, waiter);
    }
    return false;
  }

  // The case of g's select that waits for the end of node n; -1: there is none.
  int case_of_end(int g, int n) const {
    if (s.g[g].instruction >= prog(g).body.size()) return -1;
    const auto& cases = now(g).cases;
    for (std::size_t i = 0; i < cases.size(); ++i)
      if (cases[i].direction == choice::end && cases[i].channel == n) return static_cast<int>(i);
    return -1;
  }
  bool names_contexts(int g) const {
    const auto& cases = now(g).cases;
    return std::any_of(cases.begin(), cases.end(), [](choice x) { return x.direction == choice::end; });
  }
  // A context that it names and that is done; -1: there is none.
  int case_that_is_told(int g) const {
    const auto& cases = now(g).cases;
    for (std::size_t i = 0; i < cases.size(); ++i)
      if (cases[i].direction == choice::end && s.n[cases[i].channel].level >= 1) return static_cast<int>(i);
    return -1;
  }

  // The case of g's select that starts an operation; -1: there is none.
  int case_that_starts(int g) const {
    const auto& cases = now(g).cases;
    for (std::size_t i = 0; i < cases.size(); ++i)
      if (cases[i].direction == choice::start) return static_cast<int>(i);
    return -1;
  }

  bool has_room_or_item(choice x) const {
    const channel& c = s.c[x.channel];
    if (c.closed) return true;
    return x.direction == choice::send ? c.items < conf.capacity[x.channel] : c.items > 0;
  }

  // ---- scheduling ----

  void schedule(int g) {
    goroutine& it = touch(g);
    require(!it.running, "a running goroutine was scheduled");
    require(!it.scheduled, "a goroutine was scheduled twice");
    it.scheduled = 1;
  }
  void stop_running(int g) { s.g[g].running = 0; }
  bool resumed(int g) {
    goroutine& me = s.g[g];
    if (!me.scheduled) return false;
    me.scheduled = 0;
    me.running = 1;
    return true;
  }
};

// A plain send or receive that need not wait is nobody's business: the goroutine registers before it waits for the
// first time, without the channel's lock, and then tries again. A fork-join child becomes a goroutine at its first
// operation, and registers with it; one that became one before, to enter a node, does as others do.
inline bool registers_when_it_waits(const machine& m, int g) {
  const does what = m.now(g).what;
  return (what == does::receive || what == does::send) && m.spec(m.prog(g).home).kind != node_spec::fork &&
         !m.conf.publishes_first && !m.broken(mutation::register_after_level);
}

// The channels of an operation in the order in which it locks them.
inline std::vector<int> lock_order(const machine& m, int g) {
  std::vector<int> order;
  for (int c = 0; c < max_channels; ++c)
    if (std::any_of(m.now(g).cases.begin(), m.now(g).cases.end(), [&](choice x) { return x.is_at(c); }))
      order.push_back(c);
  if (m.broken(mutation::opposite_orders) && g % 2) std::reverse(order.begin(), order.end());
  return order;
}

}  // namespace runnel::model
