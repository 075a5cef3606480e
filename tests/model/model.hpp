// SPDX-License-Identifier: BSL-1.0
// tests/model/model.hpp: all actors together, and what a state without moves must look like.
#pragma once

#include "model/explorer.hpp"
#include "model/outside_steps.hpp"
#include "model/scope_steps.hpp"
#include "model/select_steps.hpp"

#include <cstdio>

namespace runnel::model {

inline outcome goroutine_step(machine& m, int g, int which) {
  const at step = m.s.g[g].step;
  if (step >= at::started_start && step <= at::started_close)
    return which ? outcome::no_such_choice : started_step(m, g);
  if (step >= at::select_poll && step <= at::otherwise_look) return select_step(m, g, which);
  if (which) return outcome::no_such_choice;
  switch (step) {
    case at::next:
      return next_instruction(m, g);
    case at::finish:
      return finish(m, g);
    case at::stopped:
      return stopped(m, g);
    case at::ended:
      return outcome::blocked;
    default:
      break;
  }
  if (step <= at::end_wake) return home_step(m, g);
  if (step >= at::detach_unlink && step <= at::detach_free) return detach_step(m, g);
  if (step <= at::join_parked) return scope_step(m, g);
  if (step <= at::plain_parked) return channel_step(m, g);
  return asio_step(m, g);
}

class waiter_model {
 public:
  using state = model::state;

  explicit waiter_model(const configuration& c) : x_conf(c) {}

  state first() const {
    state s{};
    for (std::size_t n = 0; n < x_conf.nodes.size(); ++n) s.n[n].alive = x_conf.nodes[n].kind == node_spec::root;
    for (std::size_t i = 0; i < x_conf.goroutines.size(); ++i) {
      s.g[i].peer = 0xFF;
      if (x_conf.goroutines[i].spawned) continue;
      s.g[i].alive = s.g[i].running = 1;
      s.g[i].context = s.g[i].seen_context = static_cast<byte>(x_conf.goroutines[i].home);
    }
    for (int c = 0; c < max_channels; ++c) s.c[c].items = static_cast<byte>(x_conf.items[c]);
    return s;
  }

  template <class F> void each_move(const state& before, F visit) {
    auto attempt = [&](actor_t actor, int index, int which, auto step) {
      machine m(x_conf, before);
      outcome o = step(m);
      if (o == outcome::ran) visit(static_cast<std::uint16_t>(actor << 12 | index << 8 | which), m.s, m.fault);
      return o;
    };
    // tries choices until there is none left
    auto attempt_all = [&](actor_t actor, int index, auto step) {
      for (int which = 0; which < 8; ++which)
        if (attempt(actor, index, which, [&](machine& m) { return step(m, which); }) == outcome::no_such_choice) break;
    };
    const int goroutines = static_cast<int>(x_conf.goroutines.size());
    for (int g = 0; g < goroutines; ++g) {
      if (!before.g[g].alive && before.g[g].step == at::next) continue;  // not spawned yet
      attempt_all(a_goroutine, g, [&](machine& m, int which) { return goroutine_step(m, g, which); });
      if (before.g[g].buffered)
        attempt(memory, g, 0, [&](machine& m) {
          m.drain_one(g);
          return outcome::ran;
        });
    }
    for (std::size_t k = 0; k < x_conf.cancellers.size(); ++k)
      attempt(a_canceller, static_cast<int>(k), 0,
              [&](machine& m) { return canceller_step(m, m.s.k[k], x_conf.cancellers[k]); });
    for (std::size_t k = 0; k < x_conf.closers.size(); ++k)
      attempt(a_closer, static_cast<int>(k), 0,
              [&](machine& m) { return closer_step(m, m.s.close[k], x_conf.closers[k]); });
    attempt_all(a_started_handler, 0, [&](machine& m, int which) { return started_handler_step(m, which); });
    attempt(the_strand, 0, 0, [&](machine& m) { return started_strand_step(m); });
    attempt_all(the_wheel, 0, [&](machine& m, int which) { return wheel_step(m, which); });
    for (int h = 0; h < max_handlers; ++h)
      attempt_all(a_handler, h, [&](machine& m, int which) { return handler_step(m, m.s.h[h], which); });
  }

  const char* judge(const state& s) const {
    if (const char* fault = judge_threads(s)) return fault;
    if (const char* fault = judge_nodes(s)) return fault;
    for (std::size_t i = 0; i < x_conf.goroutines.size(); ++i)
      if (const char* fault = judge_goroutine(s, static_cast<int>(i))) return fault;
    return judge_channels(s);
  }

  std::string describe(std::uint16_t move, const state& before) const {
    const int index = move >> 8 & 15;
    char text[64] = "";
    switch (move >> 12) {
      case a_goroutine:
        std::snprintf(text, sizeof text, "g%d %s", index, name_of(before.g[index].step));
        break;
      case memory:
        std::snprintf(text, sizeof text, "g%d's oldest store becomes visible", index);
        break;
      case a_canceller:
        std::snprintf(text, sizeof text, "canceller %d %s", index, walk_name(before.k[index].walk));
        break;
      case a_closer:
        std::snprintf(text, sizeof text, "closer %d step %d", index, before.close[index].step);
        break;
      case a_started_handler:
        std::snprintf(text, sizeof text, "the handler of what a select started, step %d", before.io_handler.step);
        break;
      case the_strand:
        std::snprintf(text, sizeof text, "strand step %d", before.io_strand.step);
        break;
      case the_wheel:
        std::snprintf(text, sizeof text, "wheel %s", walk_name(before.timers.walk));
        break;
      default:
        std::snprintf(text, sizeof text, "handler %d for g%d", index, before.h[index].who);
    }
    return text;
  }

 private:
  enum actor_t { a_goroutine, memory, a_canceller, a_closer, the_wheel, a_started_handler, the_strand, a_handler };

  static const char* walk_name(const walker& w) {
    static constexpr const char* names[] = {"begins",
                                            "raises",
                                            "enters a node",
                                            "picks a member",
                                            "fires a hook",
                                            "reads W",
                                            "fences",
                                            "reads the context",
                                            "locks the queue",
                                            "acts under the queue's lock",
                                            "claims by CAS",
                                            "stores the level late",
                                            "leaves the node",
                                            "is outside the locks"};
    return names[w.step];
  }

  const char* judge_threads(const state& s) const {
    for (const channel& c : s.c)
      if (c.locked) return "deadlock: a channel's lock is held for ever";
    for (std::size_t k = 0; k < x_conf.cancellers.size(); ++k)
      if (s.k[k].walk.step != walker::idle) return "a canceller never ends";
    for (std::size_t k = 0; k < x_conf.closers.size(); ++k)
      if (s.close[k].step != 3) return "a closer never ends";
    if (s.timers.step != wheel_thread::idle) return "the wheel's handler never ends";
    if (s.io_handler.step != started_actor::idle || s.io_strand.step != started_actor::idle)
      return "a handler, or a strand, never ends";
    if (s.io.alive && s.g[s.io.owner].step == at::ended) return "an operation outlives the goroutine that selected";
    return nullptr;
  }

  const char* judge_nodes(const state& s) const {
    machine m(x_conf, s);
    for (int n = 0; n < m.nodes(); ++n) {
      const node& it = s.n[n];
      if (!it.alive) continue;
      if (it.locked || it.busy) return "a node stays locked or busy";
      for (int c = 0; c < m.nodes(); ++c)
        if (it.heard_by_node[c] && s.n[c].alive && s.n[c].level < m.inherited(c, it.level))
          return "lost cancel or kill: a child node never heard it";
    }
    return nullptr;
  }

  const char* judge_goroutine(const state& s, int i) const {
    const goroutine& g = s.g[i];
    if (g.step == at::ended || (!g.alive && g.step == at::next)) return nullptr;
    if (g.step == at::join_parked)
      return s.n[g.detaching].count ? nullptr : "lost wake-up: a join waits for children that have ended";
    if (g.step != at::plain_parked && g.step != at::select_parked && g.step != at::asio_parked)
      return "a goroutine is stuck";
    const node& context = s.n[g.context];
    if (context.level >= 1) return "lost cancel or kill: a goroutine stays parked";
    if (context.failed) return "lost cancel: a failed child never reached its sibling";
    if (g.w.code == code::none) return "a goroutine was taken out and never scheduled";
    if (g.step == at::asio_parked) return nullptr;
    const auto& cases = x_conf.goroutines[static_cast<std::size_t>(i)].body[g.instruction].cases;
    for (choice x : cases) {
      if (x.direction == choice::end) {
        if (s.n[x.channel].level >= 1) return "lost wake-up: parked though a context that it names is done";
        continue;
      }
      if (x.direction == choice::start) {
        if (s.io.state == started_operation::kept) return "lost wake-up: parked though what it has started has ended";
        continue;
      }
      const channel& c = s.c[x.channel];
      if (x.channel == wheel && !x_conf.ticks) return "lost wake-up: a sleeper sleeps for ever";
      if (c.died) continue;
      if (c.closed || (x.direction == choice::send ? c.items < x_conf.capacity[x.channel] : c.items > 0))
        return "lost wake-up: parked though a case is ready";
      if (meets_another(s, i, x)) return "lost wake-up: two goroutines are parked that match";
    }
    return nullptr;
  }

  bool meets_another(const state& s, int i, choice x) const {
    for (std::size_t j = 0; j < x_conf.goroutines.size(); ++j) {
      const goroutine& g = s.g[j];
      if (static_cast<int>(j) == i || (g.step != at::plain_parked && g.step != at::select_parked)) continue;
      for (choice y : x_conf.goroutines[j].body[g.instruction].cases)
        if (y.is_at(x.channel) && y.direction != x.direction) return true;
    }
    return false;
  }

  const char* judge_channels(const state& s) const {
    int before = 0, after = 0;
    for (int c = 0; c < wheel; ++c) before += x_conf.items[c], after += s.c[c].items;
    if (x_conf.ticks && s.timers.ticks != s.ticked + s.c[wheel].items) return "a tick was lost, or taken twice";
    if (s.sent + before != s.received + after) return "an element was lost or doubled";
    if (s.io.succeeded != s.io.taken + (s.io.state == started_operation::kept && s.io.result == succeeded))
      return "what an operation did was lost, or taken twice";
    if (s.defaulted && x_conf.always_ready) return "the default was taken though a case was ready at every moment";
    return nullptr;
  }

  const configuration& x_conf;
};

}  // namespace runnel::model
