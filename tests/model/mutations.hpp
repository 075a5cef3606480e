// SPDX-License-Identifier: BSL-1.0
// tests/model/mutations.hpp: each way to break the protocol, and the configuration that must find it.
#pragma once

#include "model/configuration.hpp"

namespace runnel::model {

struct mutation_spec {
  mutation what;
  const char* name;
  const char* breaks;  // what is done wrong
  const char* where;   // the base configuration that finds it
};

inline const std::vector<mutation_spec>& mutations() {
  using enum mutation;
  static const std::vector<mutation_spec> all{
      // plain parks
      {waker_keeps_node, "waker_keeps_node", "a waker claims a plain waiter and leaves wn set",
       "plain, two channels: recv0 recv1 | send0, cancel, light, W first"},
      {no_recheck, "no_recheck", "a canceller acts under q's lock without rechecking W",
       "plain, two channels: recv0 recv1 | send0, cancel, light"},
      {level_before_publish, "level_before_publish", "a parking goroutine reads the level, then stores W",
       "plain, two channels: recv0 recv1 | send0, cancel"},
      {level_after_members, "level_after_members", "a canceller stores the level after it has looked at the members",
       "plain, same channel twice: recv recv | send send, cancel"},
      {lock_dies_with_channel, "lock_dies_with_channel", "the lock's memory goes when the last handle dies",
       "death: recv | recv, last handle dies, cancel"},
      {death_leaves_links, "death_leaves_links", "waiters of a dead channel keep their links",
       "death: recv | recv, last handle dies, cancel"},
      {context_before_lock, "context_before_lock", "for a plain park the context is read before q's lock is taken",
       "a context that is no child: recv [recv] | send, cancel"},
      {register_after_level, "register_after_level", "a goroutine registers at home after it has read the level",
       "plain, two channels: recv0 recv1 | send0, cancel"},
      {end_without_node_lock, "end_without_node_lock", "a goroutine leaves its home without the node's lock",
       "plain, two channels: recv0 recv1 | send0, cancel"},
      // barriers
      {no_heavy_barrier, "no_heavy_barrier", "light fences, and a canceller without a heavy fence",
       "plain, two channels: recv0 recv1 | send0, cancel, light"},
      {barrier_for_zero_only, "barrier_for_zero_only", "the heavy fence is left out when W is self, stopped or claimed",
       "select, then plain: {r0,r1} recv2 | send1, cancel, light"},
      {one_barrier_per_tree, "one_barrier_per_tree", "one heavy fence for the whole walk, not one for each node",
       "with_timeout: recv0 [recv1] recv2 | send0, cancel, light"},
      // nodes
      {cancel_delists, "cancel_delists", "a cancel marks members as if they had heard kill too",
       "shield, kill: [recv] recv | send, cancel, kill"},
      {new_level_missed, "new_level_missed", "the walker inside a node does not pick up a level raised meanwhile",
       "shield in with_timeout: [[recv]], cancel, kill"},
      {shield_hears_cancel, "shield_hears_cancel", "a shield takes over level 1 of its parent",
       "shield: recv [recv] recv | send, cancel"},
      {any_walk_interrupts, "any_walk_interrupts", "the walk of any node that lists a goroutine interrupts it",
       "shield: recv [recv] recv | send, cancel"},
      {link_without_parent_level, "link_without_parent_level", "a new node does not take over its parent's level",
       "shield, kill: [recv] recv | send, cancel, kill"},
      {detach_does_not_wait, "detach_does_not_wait", "a node's owner leaves without waiting for its walker",
       "with_timeout in with_timeout: [[sleep]], cancel"},
      {busy_read_without_lock, "busy_read_without_lock", "a node's owner reads busy without the node's lock",
       "with_timeout in with_timeout: [[sleep]], cancel"},
      {busy_ignored, "busy_ignored", "a second canceller walks a node that is busy",
       "shield in with_timeout: [[recv]], cancel, kill"},
      {child_locked_late, "child_locked_late", "a child is locked after its parent's lock has been left",
       "with_timeout in with_timeout: [[sleep]], cancel"},
      {firing_not_awaited, "firing_not_awaited", "with_timeout ends without waiting for its deadline that fires",
       "with_timeout in with_timeout: [[sleep]], cancel"},
      // groups and joins
      {count_before_unregister, "count_before_unregister", "a child counts itself down, then leaves the group's node",
       "group: two children, recv | send, cancel"},
      {join_in_two_steps, "join_in_two_steps", "a join reads the counter, then parks on what it read",
       "group: two children, recv | send, cancel"},
      {check_before_link, "check_before_link", "a promoted child checks `failed` before the join is linked",
       "fork-join: a child fails while the other waits"},
      {look_before_fail, "look_before_fail", "a failing child looks whether the join is linked before it sets `failed`",
       "fork-join: a child fails while the other waits"},
      // select
      {no_generation, "no_generation", "W carries no generation",
       "a context that is no child: {r0,r1} [{r0,r1}] | send, cancel"},
      {claim_reverted, "claim_reverted", "a select that found nothing takes its claim back instead of starting again",
       "select against select: {r0,s1} | {s0,r1}, cancel"},
      {canceller_skips_registering, "canceller_skips_registering", "a canceller leaves a registering select alone",
       "select alone: {r0,r1}, cancel, kill"},
      {peers_drop_registering, "peers_drop_registering", "a peer drops the waiter of a registering select",
       "select, third party: {r0,s1} | {r1,s2} | send0, cancel of the second"},
      {park_by_store, "park_by_store", "a select parks by a store instead of a compare-and-swap",
       "select alone: {r0,r1}, cancel, kill"},
      {registering_claim_schedules, "registering_claim_schedules", "who claims a registering select schedules it",
       "select, two senders: {r0,r1} | send0 | send1, cancel"},
      {no_self_claim, "no_self_claim", "a registered select commits a case without claiming itself",
       "select, same channel both ways: {r0,s0} | {r0,s0}, cancel"},
      {losers_stay, "losers_stay", "a select leaves its other waiters queued",
       "select, two senders: {r0,r1} | send0 | send1, cancel"},
      {popped_locks_skipped, "popped_locks_skipped",
       "a select does not lock a channel that its waiter has left already",
       "select, two senders: {r0,r1} | send0 | send1, cancel"},
      {slot_after_unlock, "slot_after_unlock", "a peer writes the claimed waiter's slot after the unlock",
       "select, two senders: {r0,r1} | send0 | send1, cancel"},
      {opposite_orders, "opposite_orders", "two selects register in opposite orders: they may restart for ever",
       "select against select: {r0,s1} | {s0,r1}, cancel"},
      {otherwise_case_by_case, "otherwise_case_by_case", "`otherwise` looks case by case",
       "otherwise: {r0,r1} | a mover that keeps one ready"},
      // contexts, timers and closes as cases
      {hooks_after_members, "hooks_after_members", "a walk interrupts its members before it fires the hooks",
       "select, told: {r0,done} | send0, cancel"},
      {stopped_forgets_contexts, "stopped_forgets_contexts",
       "a select that is stopped while it registers does not ask the contexts that it names",
       "select, told: {r0,done} | send0, cancel"},
      {hook_stays, "hook_stays", "a select leaves its hook with the node",
       "select, told: {r0,done} | send0, cancel"},
      {fired_hook_not_awaited, "fired_hook_not_awaited", "a select does not lock the node of a hook that is out already",
       "select, told: {r0,done} | send0, cancel"},
      {hook_claim_schedules, "hook_claim_schedules", "a hook that claims a registering select schedules it",
       "select, told: {r0,done} | send0, cancel"},
      {due_not_looked_at, "due_not_looked_at", "a hook is listed with a node that is done already",
       "select, told from beside: {r0,done of 1} recv1, cancel of 1"},
      {lost_tick, "lost_tick", "a tick that comes while nobody can be claimed is forgotten",
       "select, timer of two ticks: {r0,t} {t,r0} | t | send0"},
      {close_forgets_senders, "close_forgets_senders", "a close leaves the sends of selects in the queue",
       "close under a select alone: {s0,s1}, close of 0"},
      // Asio
      {emit_without_ownership, "emit_without_ownership", "a canceller emits without owning the operation",
       "asio: two operations, cancel"},
      {canceller_takes_operation, "canceller_takes_operation", "a canceller takes the goroutine out of an operation",
       "asio: two operations, cancel"},
      {handler_ignores_owner, "handler_ignores_owner", "a handler runs although somebody owns the operation",
       "asio: two operations, cancel"},
      {leaver_ignores_request, "leaver_ignores_request", "an owner leaves without looking for a request to cancel",
       "asio: two rounds, cancel, kill"},
      {leave_by_store, "leave_by_store", "an owner leaves by a store: a handler that came meanwhile is lost",
       "asio: two operations, cancel"},
      {success_becomes_stop, "success_becomes_stop", "an operation that succeeded is turned into a stop",
       "asio: two operations, cancel"},
      {operation_published_plainly, "operation_published_plainly", "W is stored plainly before the level is read",
       "asio: ends only when cancelled, cancel"},
      // operations that a select starts
      {listed_after_start, "listed_after_start", "a select starts its operation before it lists it",
       "loop: {io,r0} {io,r0} {io} end | send0, strand"},
      {claims_though_unlisted, "claims_though_unlisted", "a select that leaves does not unlist its operation",
       "loop: {io,r0} {r0,r1} {io,r0} end | send0 send0, cancel"},
      {request_forgotten_while_starting, "request_forgotten_while_starting",
       "who starts an operation does not look whether it was asked to end meanwhile",
       "select starts what ends only when asked: {io,r0} | send0, cancel, strand"},
      {request_overwritten, "request_overwritten",
       "who starts an operation forgets, when it has asked it to end, that it was asked",
       "select starts what ends only when asked: {io,r0} | send0, cancel, strand"},
      {request_without_reference, "request_without_reference", "an operation is asked to end without a reference to it",
       "select starts: {io,r0} | send0, cancel, kill, strand"},
      {end_not_awaited, "end_not_awaited", "a select does not wait for the end of what it has started",
       "select starts: {io,r0} | send0, cancel, kill"},
      {counted_before_claim, "counted_before_claim", "an operation that ends counts itself down before it claims",
       "select starts: {io,r0} | send0, cancel, kill"},
      {success_forgotten, "success_forgotten", "what an operation did in spite of the request is forgotten",
       "select starts: {io,r0} | send0, cancel, kill"},
      {ended_by_handler, "ended_by_handler", "the handler ends an operation that is still being started",
       "loop: {io,r0} {io,r0} {io} end | send0, strand"},
  };
  return all;
}

}  // namespace runnel::model
