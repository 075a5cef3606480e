// SPDX-License-Identifier: BSL-1.0
// tests/model/state.hpp: what the model consists of: words, goroutines, nodes, channels.
#pragma once

#include <cstdint>

namespace runnel::model {

using byte = std::uint8_t;

inline constexpr int max_goroutines = 4;
inline constexpr int max_channels = 4;
inline constexpr int wheel = 3;  // the channel that stands for the timer wheel: sleepers wait in it
inline constexpr int max_nodes = 5;
inline constexpr int max_cancellers = 3;
inline constexpr int max_closers = 2;
inline constexpr int max_handlers = 2;
inline constexpr int max_cases = 4;
inline constexpr int max_waiting = 6;   // in one queue of a channel
inline constexpr int buffer_depth = 3;  // stores that a goroutine can have under way

// ---- the word W ----

namespace code {
inline constexpr byte none = 0, registering = 16, parked = 17, self = 18, stopped = 19, first_claim = 24;
inline constexpr byte operation = 64, owned = 1, requested = 2, pending = 4;

constexpr byte plain(int q) { return static_cast<byte>(1 + q); }
constexpr byte claimed(int which) { return static_cast<byte>(first_claim + which); }
constexpr bool is_plain(byte c) { return c >= 1 && c <= max_channels; }
constexpr bool is_claimed(byte c) { return c >= first_claim && c < first_claim + max_cases; }
constexpr bool is_operation(byte c) { return (c & operation) != 0; }
}  // namespace code

// Plain states carry no generation: whoever acts on them rechecks under the lock.
struct word {
  byte code = 0, generation = 0;
  friend bool operator==(const word&, const word&) = default;
};

// A store that the goroutine has made and that others may not see yet.
struct pending_store {
  enum target_t : byte { nothing, to_word, to_context };
  byte target = nothing;
  word value;  // of a context: its node, in `code`
};

// ---- steps: one name, one atomic action ----

// clang-format off
#define RUNNEL_MODEL_STEPS(X)                                                                        \
  /* the program */    X(next) X(first_park) X(finish) X(stopped) X(ended)                           \
  /* home and join */  X(register_home) X(promote_link) X(promote_check) X(promote_raise)            \
                       X(fail_mark) X(fail_look) X(fail_raise) X(fail_late)                          \
                       X(end_unregister) X(end_count) X(end_wake)                                    \
  /* nodes */          X(enter_link) X(enter_arm) X(enter_switch) X(leave_switch) X(leave_disarm)    \
                       X(detach_unlink) X(detach_wait) X(detach_free) X(open_node) X(spawn)          \
                       X(join_raise) X(join_count) X(join_look) X(join_parked)                       \
  /* one channel */    X(enter_operation) X(plain_publish) X(plain_lock) X(plain_level)              \
                       X(attempt) X(refill) X(give) X(late_give) X(release) X(wake)                  \
                       X(plain_enqueue) X(plain_late_register) X(plain_parked)                       \
  /* select */         X(select_poll) X(select_begin) X(select_lock) X(select_level) X(select_check) \
                       X(select_look) X(select_claim) X(select_enqueue) X(select_park)               \
                       X(select_parked) X(unregister) X(select_out)                                  \
                       X(select_hook) X(select_told)                                                  \
                       X(started_list) X(started_start) X(started_begun) X(started_let_go)           \
                       X(started_ask) X(started_refer) X(started_emit) X(started_emitted)             \
                       X(started_emitted_let_go) X(started_count)                                    \
                       X(started_wait) X(started_close)                                              \
                       X(otherwise_lock) X(otherwise_look)                                           \
  /* Asio */           X(asio_publish) X(asio_level) X(asio_initiate) X(asio_initiated) X(asio_own)  \
                       X(asio_parked)
// clang-format on

enum class at : byte {
#define RUNNEL_MODEL_STEP(name) name,
  RUNNEL_MODEL_STEPS(RUNNEL_MODEL_STEP)
#undef RUNNEL_MODEL_STEP
};

inline const char* name_of(at step) {
  static constexpr const char* names[] = {
#define RUNNEL_MODEL_STEP(name) #name,
      RUNNEL_MODEL_STEPS(RUNNEL_MODEL_STEP)
#undef RUNNEL_MODEL_STEP
  };
  return names[static_cast<int>(step)];
}

// ---- parts of a state: bytes only, all zero to begin with ----

enum class unwind_state : byte { no, yes, in_cleanup };

// Whoever owns an Asio operation for a moment: the initiator, a handler, a canceller.
struct operation_owner {
  enum step_t : byte { idle, leave, run, ran, emit, emitted, complete, zero, schedule, store_leave };
  byte step = idle, result = 0;
};

struct goroutine {
  at step = at::next;
  byte instruction = 0;
  // The word and the context, as others see them, and the stores on the way there.
  word w;
  byte seen_context = 0, buffered = 0;
  pending_store buffer[buffer_depth];
  // The goroutine's own.
  byte context = 0, generation = 0, registered = 0, promoted = 0;
  unwind_state unwinding = unwind_state::no;
  byte after_end = 0;  // where it goes when what it has started has ended
  byte index = 0, which = 0, channel = 0, peer = 0, wakes_peer = 0, restart = 0, selecting = 0, slept = 0, detaching = 0;
  // Shared, changed by whoever has claimed it, or under a lock.
  byte alive = 0, running = 0, scheduled = 0, stop = 0, slot = 0;
  byte node = 0;     // wn: the plain waiter is queued (or was, when its channel died); under the channel's lock
  byte waiters = 0;  // bit per waiter in the frame that may be in a queue
  byte stale = 0;    // bit per waiter whose links lead into a queue that is gone
  // The Asio operation.
  byte operation_alive = 0, in_flight = 0, foreign = 0, emitted = 0, arrived = 0, rounds = 0;
  operation_owner owner;
};

struct channel {
  byte locked = 0, items = 0, closed = 0, died = 0;
  byte last = 0;     // goroutine + 1 that held the lock last, if its unlock may be under way
  byte claimed = 0;  // bit per goroutine that was claimed under it meanwhile
  byte receivers[max_waiting] = {}, senders[max_waiting] = {};  // waiter numbers, see waiter_number
};

enum class timer_state : byte { idle, armed, firing };

struct node {
  byte alive = 0, locked = 0, level = 0, busy = 0;
  byte heard_by_goroutine[max_goroutines] = {};  // 0: not a member, else the level heard, plus 1
  byte heard_by_node[max_nodes] = {};
  byte hooks = 0;  // bit per goroutine whose select waits for the end of this node
  timer_state timer = timer_state::idle;
  byte fired = 0;   // the deadline of a with_timeout has passed
  byte count = 0;   // groups and joins: the children, plus 1 until the join begins
  byte failed = 0;  // fork-join: some child failed
  byte linked = 0;
};

// A canceller in the tree: raise() and walk() of one thread.
struct walker {
  enum step_t : byte {
    idle,
    raise,
    enter,
    pick,
    fire,
    read,
    fence,
    read_context,
    lock_queue,
    act,
    claim,
    store_level,
    unlock,
    flush
  };
  byte step = idle;
  byte node = 0, root = 0, level = 0, member = 0, descend = 0;
  word seen;
  byte seen_context = 0;
  byte fenced = 0;   // bit per node: this walk has had its heavy barrier
  byte to_wake = 0;  // bit per goroutine claimed, to be scheduled after the node's lock
  byte to_own = 0;   // bit per goroutine whose operation this thread has taken
  byte owned = 0;    // goroutine + 1 whose operation it works on
  operation_owner owner;
};

struct canceller {
  byte step = 0;
  walker walk;
};

struct closer {
  byte step = 0, to_wake = 0;
};

struct wheel_thread {
  enum step_t : byte { idle, wake, walking };
  byte step = idle, who = 0, ticks = 0;
  walker walk;
};

struct handler {
  enum step_t : byte { idle, arrive, own };
  byte step = idle, who = 0, result = 0;
  operation_owner owner;
};

// The operation that selects start: one in a configuration. Its result outlives the frame that waits for it.
struct started_operation {
  enum state_t : byte { idle, out, kept };
  enum phase_t : byte { starting, begun, asked };
  byte state = idle, phase = starting, references = 0, listed = 0, requested = 0, result = 0;
  byte alive = 0, owner = 0, left = 0;       // the frame, and whose it is; the operations that are out, plus 1
  byte in_flight = 0, emitted = 0;           // foreign code
  byte errand_start = 0, errand_emit = 0;    // on the way to the strand
  byte succeeded = 0, taken = 0;
};
// Whoever ends a reference to it, and what follows if it was the last.
struct letting_go {
  enum step_t : byte { idle, down, end, count, wake };
  byte step = idle, wakes = 0;
};
struct started_actor {  // its handler; its strand
  enum step_t : byte { idle, act, begun, emit, go };
  byte step = idle, result = 0;
  letting_go go_step;
};

struct state {
  goroutine g[max_goroutines];
  walker own_walk[max_goroutines];  // a goroutine that cancels its group or join
  channel c[max_channels];
  node n[max_nodes];
  canceller k[max_cancellers];
  closer close[max_closers];
  wheel_thread timers;
  handler h[max_handlers];
  started_operation io;
  letting_go io_own;  // of the goroutine
  started_actor io_handler, io_strand;
  byte sent = 0, received = 0, ticked = 0, defaulted = 0;
};

constexpr byte waiter_number(int g, int which) { return static_cast<byte>(g * max_cases + which + 1); }
constexpr int goroutine_of(byte waiter) { return (waiter - 1) / max_cases; }
constexpr int case_of(byte waiter) { return (waiter - 1) % max_cases; }

}  // namespace runnel::model
