// SPDX-License-Identifier: BSL-1.0
// runnel/detail/goroutine.hpp: one spawned coroutine chain, and the word by which it is parked, claimed and stopped.
// Layer: L2
#pragma once

#include <runnel/config.hpp>
#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/processor.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/detail/scheduler_core.hpp>

#include <atomic>
#include <cstdint>
#include <exception>
#include <source_location>

namespace runnel::detail {

class cancel_node;
class park_lock;
struct goroutine;

// Whoever a goroutine reports its end to. Called on the thread that ran its last step, when all its frames and the
// goroutine object are gone.
class goroutine_owner {
 public:
  virtual void goroutine_ended(std::exception_ptr error, bool unwound, std::source_location where) noexcept = 0;

 protected:
  ~goroutine_owner() = default;
};

// A member of a cancel_node's list. `heard` is the level that it has been told.
struct member : list_link {
  enum class kind_t : std::uint8_t { goroutine, node, edge, hook };
  kind_t kind;
  std::uint8_t heard = 0;
  explicit constexpr member(kind_t k) noexcept : kind(k) {}
};

// A scope is a group whose children may refer to the frame that it lives in: unwinding joins it before that frame
// dies; or tasks of async, which may refer to any frame. The scopes of a goroutine form a stack.
struct scope_base {
  scope_base* outer = nullptr;
  goroutine* opener = nullptr;
  std::uint32_t pins = 0;    // of a task_scope: boundaries that have it as their mark
  bool holds_tasks = false;  // it is a task_scope, on the heap
  bool holds_operations = false;   // it is a select's: its frame may die before that of a scope inside of it
  bool covers_operations = false;  // such a scope is around it, or was
  // Cancels the children. Returns true when the goroutine must wait: it is then scheduled by the last child.
  bool (*begin_unwind_join)(scope_base&, goroutine&) noexcept = nullptr;

  void set_outer(scope_base* o) noexcept {
    outer = o;
    covers_operations = o && (o->holds_operations || o->covers_operations);
  }
};

// The word W: how a goroutine can be taken out of its sleep. docs/design/waiter-protocol.md has all transitions.
//
//   0            runs, is runnable, or waits for something that cannot be cancelled (a join, a read that is put off)
//   lock         parked plainly: on the one waiter `node`, which changes only under that lock; low bits 000
//   registering  a select puts its waiters into queues                     | generation
//   parked       a select, registered everywhere                           | generation
//   self         a select that has claimed itself: to commit, or to restart | generation
//   stopped      a select claimed by a canceller                           | generation
//   claimed(i)   a select claimed by a peer for case i                     | generation, i
//   operation    an Asio operation is out; bits owned, requested, pending  | generation
//
// The generation changes whenever the goroutine switches its current context, so that a canceller that has decided
// on what it read cannot act on a later state.
namespace word {
enum kind : std::uint64_t { plain = 0, registering = 1, parked = 2, self = 3, stopped = 4, claimed = 5, operation = 6 };
inline constexpr std::uint64_t kind_mask = 7;
inline constexpr std::uint64_t owned = 1 << 3, requested = 1 << 4, pending = 1 << 5;  // of an operation
// Of a select, for reports: a case is that a context is done, or an operation of Asio.
inline constexpr std::uint64_t hears_outside = 1 << 6;
inline constexpr unsigned index_shift = 8, generation_shift = 24;
inline constexpr std::uint64_t index_mask = 0xFFFFull << index_shift;

constexpr kind kind_of(std::uint64_t w) noexcept { return static_cast<kind>(w & kind_mask); }
constexpr std::size_t index_of(std::uint64_t w) noexcept { return (w & index_mask) >> index_shift; }
constexpr std::uint64_t with_kind(std::uint64_t w, kind k) noexcept { return (w & ~(kind_mask | index_mask)) | k; }
inline std::uint64_t of(const park_lock* q) noexcept { return reinterpret_cast<std::uint64_t>(q); }
}  // namespace word

// Invariants:
//   1. Exactly one party takes a parked goroutine out of its sleep, and only that party schedules it.
//   2. `leaf` is the frame that parked, valid while the goroutine does not run; `stop` says that it is to be
//      unwound instead of resumed, and changes hands with the goroutine.
//   3. `next` and `node` share a place: a goroutine in a run queue is parked on nothing. `node` is valid while
//      word == plain(q), under q.
//   4. `context` is written by the goroutine itself, while word == 0.
//
//   word     written by the goroutine (to park, to end a select), by the claimer (to 0 or claimed), by a canceller
//   context  written by the goroutine; read by cancellers, under q or together with the generation
struct goroutine : fifo_link, task_link<void>, member {  // member last: the next fields fill its tail
  std::uint8_t budget = 0;       // operations that may still complete without waiting before others get a turn
  bool stop : 1 = false;         // unwind, do not resume
  bool listed : 1 = false;       // home lists this goroutine
  bool owns_home : 1 = false;    // and holds a reference to home
  bool reads_fill : 1 = false;   // its last read of a socket filled the buffer: more may be there (io/transfer.hpp)
  std::uint8_t vain_tries : 4 = 0;  // of these, that many in a row found nothing
  std::uint32_t generation = 0;
  std::atomic<std::uint64_t> word{0};
  std::atomic<cancel_node*> context{nullptr};
  cancel_node* home = nullptr;   // the node that lists this goroutine, once it has parked
  processor* proc = nullptr;     // that runs it, or ran it last; names the scheduler in any case
  scope_base* scopes = nullptr;  // innermost first
  goroutine_owner* owner = nullptr;
  std::source_location where;    // it was started, for reports; one pointer

  static constexpr std::uint8_t most_vain_tries = 8;
  static constexpr std::uint8_t full_budget = 128;
  static constexpr std::uint8_t spent_budget = 255;  // it waits for its turn because of that, and not by a yield

  goroutine() noexcept : member(member::kind_t::goroutine) {}
  static void* operator new(std::size_t size) { return frame_allocate(size); }
  static void operator delete(void* g, std::size_t size) noexcept { frame_deallocate(g, size); }

  promise_base* leaf() const noexcept { return task_link::parent; }  // a root link has no other use for it
  void set_leaf(promise_base* p) noexcept { task_link::parent = p; }
  void set_context(cancel_node* node) noexcept {
    ++generation;
    context.store(node, std::memory_order_release);  // [switch] release: the node, before interrupt() compares
  }
  list_link* node() const noexcept { return reinterpret_cast<list_link*>(node_bits() & ~std::uintptr_t{1}); }
  void set_node(list_link* w) noexcept { fifo_link::next = reinterpret_cast<fifo_link*>(w); }
  // The node is a sleep_timer; else it is a waiter. For reports.
  void mark_node_as_timer() noexcept { fifo_link::next = reinterpret_cast<fifo_link*>(node_bits() | 1); }
  bool node_is_timer() const noexcept { return node_bits() & 1; }
  std::uint64_t tagged_generation() const noexcept {
    return static_cast<std::uint64_t>(generation) << word::generation_shift;
  }
  scheduler_core& core() const noexcept { return *proc->core; }

 private:
  std::uintptr_t node_bits() const noexcept { return reinterpret_cast<std::uintptr_t>(fifo_link::next); }
};

// A goroutine woken by what runs now goes before the others of this processor; one that merely may go on, behind.
inline void wake(goroutine* g) noexcept { g->core().schedule_next(g); }
inline void wake(processor& here, goroutine* g) noexcept {
  if (g->proc == &here || &g->core() == here.core) [[likely]]
    here.core->schedule_next(here, g);
  else
    g->core().schedule_next(g);
}
inline void requeue(goroutine* g) noexcept { g->core().schedule(g); }
// The same for the goroutine that runs here.
inline void requeue_self(goroutine& g) noexcept { g.core().push(*g.proc, &g); }

// Of those that a timer has woken, whose scheduler this is. The others, as who waits for another runtime's ticker, go
// to theirs.
inline fifo keep_own(const scheduler_core& core, fifo& woken) noexcept {
  fifo own;
  while (fifo_link* link = woken.pop())
    if (auto* g = static_cast<goroutine*>(link); &g->core() == &core)
      own.push(g);
    else
      requeue(g);
  return own;
}

// g runs from now on, on the thread that pumps `here`.
inline void enter(processor& here, goroutine& g, std::uint8_t budget = goroutine::full_budget) noexcept {
  g.proc = &here;
  g.budget = budget;
  here.current = reinterpret_cast<std::uintptr_t>(&g);
}

// Collects goroutines to schedule once the locks are left, and members that have something else to do then.
class wake_batch {
 public:
  void add(goroutine* g) noexcept {
    scheduler_core& core = g->core();
    if (x_chain.empty()) x_core = &core;
    (&core == x_core ? x_chain : x_of_others).push(g);
  }
  void add_after(member& m) noexcept { x_after.push_back(&m); }
  member* pop_after() noexcept { return static_cast<member*>(x_after.pop_front()); }
  void flush() noexcept {
    while (!x_chain.empty()) {
      x_core->schedule_all(x_chain);
      for (fifo rest = std::move(x_of_others); !rest.empty();) add(static_cast<goroutine*>(rest.pop()));
    }
  }

 private:
  scheduler_core* x_core = nullptr;  // of those in x_chain; noted as they come, while they are in the cache
  fifo x_chain;
  fifo x_of_others;
  list_head x_after;
};

}  // namespace runnel::detail
