// SPDX-License-Identifier: BSL-1.0
// tests/model/configuration.hpp: what a run explores: programs, nodes, cancellers, a mutation.
#pragma once

#include "model/state.hpp"

#include <string>
#include <vector>

namespace runnel::model {

enum class mutation : byte {
  none,
  // plain parks
  waker_keeps_node,
  no_recheck,
  level_before_publish,
  level_after_members,
  lock_dies_with_channel,
  death_leaves_links,
  context_before_lock,
  register_after_level,
  waits_unregistered,
  end_without_node_lock,
  // barriers
  no_heavy_barrier,
  barrier_for_zero_only,
  one_barrier_per_tree,
  // nodes
  cancel_delists,
  new_level_missed,
  shield_hears_cancel,
  any_walk_interrupts,
  link_without_parent_level,
  detach_does_not_wait,
  busy_read_without_lock,
  busy_ignored,
  child_locked_late,
  firing_not_awaited,
  // groups and joins
  count_before_unregister,
  join_in_two_steps,
  check_before_link,
  look_before_fail,
  // select
  no_generation,
  claim_reverted,
  canceller_skips_registering,
  peers_drop_registering,
  park_by_store,
  registering_claim_schedules,
  no_self_claim,
  losers_stay,
  popped_locks_skipped,
  slot_after_unlock,
  opposite_orders,
  otherwise_case_by_case,
  // contexts and timers as cases
  hooks_after_members,
  stopped_forgets_contexts,
  hook_stays,
  fired_hook_not_awaited,
  hook_claim_schedules,
  due_not_looked_at,
  lost_tick,
  close_forgets_senders,
  // Asio
  emit_without_ownership,
  canceller_takes_operation,
  handler_ignores_owner,
  leaver_ignores_request,
  leave_by_store,
  success_becomes_stop,
  operation_published_plainly,
  // operations that a select starts
  listed_after_start,
  claims_though_unlisted,
  request_forgotten_while_starting,
  request_overwritten,
  request_without_reference,
  end_not_awaited,
  counted_before_claim,
  success_forgotten,
  ended_by_handler,
};

enum class does : byte { receive, send, select, otherwise, asio, end_started, enter, leave, open, spawn, join, fail };

struct choice {
  enum direction_t : byte { receive, send, end, start } direction;
  int channel;  // of `end`: the node whose end is waited for; of `start`, the operation of the configuration: 0
  bool is_at(int c) const { return direction != end && direction != start && channel == c; }
};

struct instruction {
  does what;
  std::vector<choice> cases;
  int arg = 0;                            // node (enter, leave, open, join), goroutine (spawn), further rounds (asio)
  bool cleanup = false;                   // enter: also while unwinding (finally)
  bool ends_only_when_cancelled = false;  // asio
  bool stays = false;                     // a round of a loop: what it has started is ended by `end_started`
};

struct program {
  std::vector<instruction> body;
  int home = 0;          // the node that it is started under
  bool spawned = false;  // by another goroutine's `spawn`
};

struct node_spec {
  enum kind_t : byte { root, shield, timeout, group, fork, apart, scope } kind = root;
  int parent = 0;
  int owner = -1;  // the goroutine that enters or opens it
};

struct raise_spec {
  int node, level;
};

struct closer_spec {
  int channel;
  bool death = false;  // the last handle dies, rather than close()
};

struct configuration {
  std::string name;
  std::vector<program> goroutines;
  std::vector<node_spec> nodes{{}};
  std::vector<raise_spec> cancellers;
  std::vector<closer_spec> closers;
  int capacity[max_channels] = {};
  int items[max_channels] = {};
  int ticks = 0;                 // of a timer, which is the channel `wheel` then: sleepers there wait for its ticks
  bool light = false;            // light fences: publishing W and a biased channel lock are no barriers
  bool publishes_first = false;  // a plain park stores W before it takes the lock
  bool polls = false;            // select looks case by case before it registers
  bool always_ready = false;     // some case of `otherwise` is ready at every moment
  bool strand = false;           // the operation that a select starts is started, and asked to end, by errands
  bool only_when_asked = false;  // it ends no otherwise
  bool told = false;             // whoever is cancelled names a context that is: it must be told, not stopped
  mutation broken = mutation::none;
};

// ---- a vocabulary to write configurations in ----

inline choice r(int c) { return {choice::receive, c}; }
inline choice s(int c) { return {choice::send, c}; }
inline choice tick() { return {choice::receive, wheel}; }
inline choice done(int n) { return {choice::end, n}; }
inline choice io() { return {choice::start, 0}; }
inline instruction recv(int c) { return {does::receive, {r(c)}}; }
inline instruction send(int c) { return {does::send, {s(c)}}; }
inline instruction sleep() { return {does::receive, {r(wheel)}}; }
inline instruction select(std::vector<choice> cases) { return {does::select, std::move(cases)}; }
inline instruction round(std::vector<choice> cases) {
  return {does::select, std::move(cases), 0, false, false, true};
}
inline instruction end_started() { return {does::end_started, {}}; }
inline instruction otherwise(std::vector<choice> cases) { return {does::otherwise, std::move(cases)}; }
inline instruction asio(int further_rounds = 0, bool ends_only_when_cancelled = false) {
  return {does::asio, {}, further_rounds, false, ends_only_when_cancelled};
}
inline instruction enter(int n) { return {does::enter, {}, n}; }
inline instruction cleanup(int n) { return {does::enter, {}, n, true}; }
inline instruction leave(int n) { return {does::leave, {}, n}; }
inline instruction open(int n) { return {does::open, {}, n}; }
inline instruction spawn(int g) { return {does::spawn, {}, g}; }
inline instruction join(int n) { return {does::join, {}, n}; }
inline instruction fail() { return {does::fail, {}}; }

}  // namespace runnel::model
