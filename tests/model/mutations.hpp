// SPDX-License-Identifier: BSL-1.0
// runnel/tests/model/mutations.hpp: each way to break the protocol, and the configuration in which it must be found.
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
      {waker_keeps_node, "waker_keeps_node", "a waker claims a plain waiter and leaves wn set", "?"},
      {no_recheck, "no_recheck", "a canceller acts under q's lock without rechecking W", "?"},
      {level_before_publish, "level_before_publish", "a parking goroutine reads the level, then stores W", "?"},
      {level_after_members, "level_after_members", "a canceller stores the level after it has looked at the members", "?"},
      {lock_dies_with_channel, "lock_dies_with_channel", "the lock's memory goes when the last handle dies", "?"},
      {death_leaves_links, "death_leaves_links", "waiters of a dead channel keep their links", "?"},
      {context_before_lock, "context_before_lock", "for a plain park the context is read before q's lock is taken", "?"},
      {register_after_level, "register_after_level", "a goroutine registers at home after it has read the level", "?"},
      {end_without_node_lock, "end_without_node_lock", "a goroutine leaves its home without the node's lock", "?"},
      // barriers
      {no_heavy_barrier, "no_heavy_barrier", "light fences, and a canceller without a heavy fence", "?"},
      {barrier_for_zero_only, "barrier_for_zero_only", "the heavy fence is left out when W is self, stopped or claimed", "?"},
      {one_barrier_per_tree, "one_barrier_per_tree", "one heavy fence for the whole walk, not one for each node", "?"},
      // nodes
      {cancel_delists, "cancel_delists", "a cancel marks members as if they had heard kill too", "?"},
      {new_level_missed, "new_level_missed", "the walker inside a node does not pick up a level raised meanwhile", "?"},
      {shield_hears_cancel, "shield_hears_cancel", "a shield takes over level 1 of its parent", "?"},
      {any_walk_interrupts, "any_walk_interrupts", "the walk of any node that lists a goroutine interrupts it", "?"},
      {link_without_parent_level, "link_without_parent_level", "a new node does not take over its parent's level", "?"},
      {detach_does_not_wait, "detach_does_not_wait", "a node's owner leaves without waiting for its walker", "?"},
      {busy_read_without_lock, "busy_read_without_lock", "a node's owner reads busy without the node's lock", "?"},
      {busy_ignored, "busy_ignored", "a second canceller walks a node that is busy", "?"},
      {child_locked_late, "child_locked_late", "a child is locked after its parent's lock has been left", "?"},
      {firing_not_awaited, "firing_not_awaited", "with_timeout ends without waiting for its deadline that fires", "?"},
      // groups and joins
      {count_before_unregister, "count_before_unregister", "a child counts itself down, then leaves the group's node", "?"},
      {join_in_two_steps, "join_in_two_steps", "a join reads the counter, then parks on what it read", "?"},
      {check_before_link, "check_before_link", "a promoted child checks `failed` before the join is linked", "?"},
      {look_before_fail, "look_before_fail", "a failing child looks whether the join is linked before it sets `failed`", "?"},
      // select
      {no_generation, "no_generation", "W carries no generation", "?"},
      {claim_reverted, "claim_reverted", "a select that found nothing takes its claim back instead of starting again", "?"},
      {canceller_skips_registering, "canceller_skips_registering", "a canceller leaves a registering select alone", "?"},
      {peers_drop_registering, "peers_drop_registering", "a peer drops the waiter of a registering select", "?"},
      {park_by_store, "park_by_store", "a select parks by a store instead of a compare-and-swap", "?"},
      {registering_claim_schedules, "registering_claim_schedules", "who claims a registering select schedules it", "?"},
      {no_self_claim, "no_self_claim", "a registered select commits a case without claiming itself", "?"},
      {losers_stay, "losers_stay", "a select leaves its other waiters queued", "?"},
      {popped_locks_skipped, "popped_locks_skipped", "a select does not lock a channel that its waiter has left already", "?"},
      {slot_after_unlock, "slot_after_unlock", "a peer writes the claimed waiter's slot after the unlock", "?"},
      {opposite_orders, "opposite_orders", "two selects register in opposite orders: they may restart for ever", "?"},
      {otherwise_case_by_case, "otherwise_case_by_case", "`otherwise` looks case by case", "?"},
      // Asio
      {emit_without_ownership, "emit_without_ownership", "a canceller emits without owning the operation", "?"},
      {canceller_takes_operation, "canceller_takes_operation", "a canceller takes the goroutine out of an operation", "?"},
      {handler_ignores_owner, "handler_ignores_owner", "a handler runs although somebody owns the operation", "?"},
      {leaver_ignores_request, "leaver_ignores_request", "an owner leaves without looking for a request to cancel", "?"},
      {leave_by_store, "leave_by_store", "an owner leaves by a store: a handler that came meanwhile is lost", "?"},
      {success_becomes_stop, "success_becomes_stop", "an operation that succeeded is turned into a stop", "?"},
      {operation_published_plainly, "operation_published_plainly", "W is stored plainly before the level is read", "?"},
  };
  return all;
}

}  // namespace runnel::model
