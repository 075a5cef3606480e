// SPDX-License-Identifier: BSL-1.0
// runnel/detail/group_core.hpp: children with an owner: counted, limited, cancelled together, joined.
// Layer: L8
#pragma once

#include <runnel/detail/cancel_node.hpp>
#include <runnel/detail/goroutine.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/detail/runtime_core.hpp>
#include <runnel/detail/spawn.hpp>
#include <runnel/detail/spawn_place.hpp>
#include <runnel/error.hpp>
#include <runnel/task.hpp>
#include <runnel/waiter.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <source_location>
#include <utility>
#include <vector>

namespace runnel::detail {

inline constexpr std::size_t no_limit = SIZE_MAX;

// Who waits for its child to get a slot.
struct ticket_waiter : waiter {
  std::uint64_t ticket = 0;
  constexpr ticket_waiter() noexcept : waiter(reason_t::slot) {}
};

struct group_node : cancel_node {
  group_node() noexcept : cancel_node(form::group) {}
};

// Invariants:
//   1. x_left counts children that have been accepted and have not ended, and one more for the owner until it joins.
//      Who brings it to zero continues the joiner; then nobody but the joiner touches the group.
//   2. The order at a child's end: record its error, cancel the others, pass its slot on, count it (EG-C05).
//   3. Under the group's lock (hashed): x_active, x_pending and the tickets, x_waiters, errors. A queued child has a
//      ticket; they start in the order of tickets; those from x_first_refused on never start.
//   4. A join cannot be cancelled: cancellation reaches the children through the node, and they end.
class group_core : public goroutine_owner, private group_node {
 public:
  // `owner`: who alone may join it; null: whoever comes, one at a time.
  group_core(runtime_core& runtime, cancel_node& parent, std::size_t limit, bool collect_all, const goroutine* owner)
      : x_runtime(runtime), x_limit(limit), x_owner(owner), x_collect_all(collect_all) {
    node().attach(parent);
  }
  group_core(const group_core&) = delete;
  group_core& operator=(const group_core&) = delete;
  ~group_core() {
    if (live() != 0) die();
    if (!x_observed) report_unobserved();
    node().detach();
  }

  cancel_node& node() noexcept { return *this; }
  // Whose node of form::group this is.
  static group_core& of(cancel_node& node) noexcept { return static_cast<group_core&>(static_cast<group_node&>(node)); }
  runtime_core& runtime() noexcept { return x_runtime; }
  std::size_t live() const noexcept {
    return x_left.load(std::memory_order_acquire) - (x_joined.load(std::memory_order_relaxed) ? 0 : 1);
  }
  bool collects_all() const noexcept { return x_collect_all; }

  void cancel(std::exception_ptr cause = nullptr) noexcept {
    node().cancel(level_cancel, false, cause ? std::move(cause) : canceled_cause());
    drop_pending();
  }

  // What became of a go(): started, queued with a ticket, or refused.
  struct admission {
    enum class kind_t : std::uint8_t { started, queued, refused } kind;
    std::uint64_t ticket = 0;
  };
  admission go(task<> root, std::source_location where, bool may_queue) {
    using outcome = admission::kind_t;
    goroutine* g = make_goroutine(x_runtime.core.any_processor(), node(), *this, std::move(root), where);
    admission result{outcome::started};
    if (!count_up()) {  // it has been joined, and is not open again
      discard_goroutine(*g);
      return {outcome::refused};
    }
    if (node().due()) {
      result.kind = outcome::refused;
    } else if (x_limit != no_limit) {
      park_lock::guard hold(hashed_lock(this), nullptr);
      if (x_active < x_limit && x_pending.empty()) {
        ++x_active;
      } else if (!may_queue) {
        result.kind = outcome::refused;
      } else {
        result = {outcome::queued, x_next_ticket++};
        x_pending.push(g);
      }
    }
    if (result.kind == outcome::started) x_runtime.core.start(g);
    if (result.kind == outcome::refused) {
      discard_goroutine(*g);
      count_down();
    }
    return result;
  }
  bool ticket_refused(std::uint64_t ticket) const noexcept {
    return ticket >= x_first_refused.load(std::memory_order_relaxed);
  }

  // Parks g until its ticket is called. Returns false if that has happened already; `stopped` if g's context is done.
  bool wait_for_ticket(goroutine& g, promise_base* leaf, ticket_waiter& w, bool& stopped) noexcept {
    std::uint64_t ticket = w.ticket;
    park_lock& q = hashed_lock(this);
    park_lock::guard hold(q, nullptr);
    if (ticket < x_called || ticket_refused(ticket)) return false;
    stopped = !park(g, leaf, q, w, x_waiters);
    return true;
  }

  // Before a join that is asked for. False: it is not for g to join, or another one does.
  bool claim_join(const goroutine& g) noexcept {
    return (!x_owner || x_owner == &g) && !x_joined.exchange(true, std::memory_order_acquire);  // after reopen()
  }
  // The owner joins. True: it must stay suspended, with leaf and stop set; the last child schedules it.
  bool begin_join(goroutine& g, bool stops_if_due) noexcept {
    drop_pending_if_due();
    x_joiner.store(&g, std::memory_order_relaxed);
    x_joiner_stops_if_due = stops_if_due;
    x_joined.store(true, std::memory_order_relaxed);
    return x_left.fetch_sub(1, std::memory_order_acq_rel) != 1;
  }
  bool joined() const noexcept {
    return x_joined.load(std::memory_order_relaxed) && x_left.load(std::memory_order_acquire) == 0;
  }
  // The joiner's last touch: the next one may claim the join at once, and counts itself down.
  void reopen() noexcept {
    x_left.fetch_add(1, std::memory_order_relaxed);
    x_joined.store(false, std::memory_order_release);
  }

  // Of a group that has been joined. The first error stays for later waits (EG-03).
  std::exception_ptr first_error() noexcept {
    x_observed = true;
    return x_first.error;
  }
  const std::vector<goroutine_error>& other_errors() const noexcept { return x_other_errors; }
  // Errors behind the one that was thrown; the first too if that was not a child's.
  void report_others(bool first_too) noexcept {
    if (first_too && x_first.error) x_runtime.unobserved(x_first.error, x_first.where);
    for (auto& e : x_other_errors) x_runtime.unobserved(e.error, e.where);
  }
  // Errors that no join will show.
  void report_unobserved() noexcept {
    x_observed = true;
    report_others(true);
  }

  // For reports, a snapshot: what is out, and who waits for it (never dereferenced: it may have gone).
  struct summary {
    std::size_t live, queued, limit;
    const goroutine* joiner;
  };
  summary summarize() noexcept {
    park_lock::guard hold(hashed_lock(this), nullptr);
    bool is_joined = x_joined.load(std::memory_order_relaxed);
    auto left = x_left.load(std::memory_order_relaxed);
    return {left - (is_joined || left == 0 ? 0 : 1), x_pending.size(), x_limit,
            is_joined ? x_joiner.load(std::memory_order_relaxed) : nullptr};
  }

  void goroutine_ended(std::exception_ptr error, bool, std::source_location where) noexcept override {
    if (error) record({std::move(error), where});
    if (x_limit != no_limit) pass_slot_on();
    count_down();
  }

 private:
  // False: it is zero, and the group is the joiner's.
  bool count_up() noexcept {
    auto n = x_left.load(std::memory_order_relaxed);
    while (n != 0)
      if (x_left.compare_exchange_weak(n, n + 1, std::memory_order_relaxed)) return true;
    return false;
  }
  void count_down() noexcept {
    if (x_left.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    goroutine* joiner = x_joiner.load(std::memory_order_relaxed);
    if (x_joiner_stops_if_due && joiner->context.load(std::memory_order_relaxed)->due()) joiner->stop = true;
    wake(joiner);  // last touch: the joiner ends this group
  }

  void record(goroutine_error e) noexcept {
    bool first = false;
    std::exception_ptr cause = e.error;
    {
      park_lock::guard hold(hashed_lock(this), nullptr);
      first = !x_first.error;
      if (first) x_first = std::move(e);
    }
    if (!first) {
      try {
        std::lock_guard hold(x_others_lock);
        x_other_errors.push_back(e);
      } catch (...) {
        x_runtime.unobserved(std::move(e.error), e.where);
      }
    }
    if (first && !x_collect_all) cancel(std::move(cause));
  }

  void pass_slot_on() noexcept {
    goroutine* heir = nullptr;
    woken spawner;
    {
      park_lock::guard hold(hashed_lock(this), nullptr);
      --x_active;
      if (!x_pending.empty() && !node().due()) {
        heir = static_cast<goroutine*>(x_pending.pop());
        ++x_active;
        call_ticket(x_called++, spawner);
      }
    }
    if (heir) x_runtime.core.schedule(heir);
    spawner.fire();
    drop_pending_if_due();
  }
  void call_ticket(std::uint64_t ticket, woken& out) noexcept {
    for (list_link* l = x_waiters.first(); l != x_waiters.end(); l = l->next) {
      auto* w = static_cast<ticket_waiter*>(static_cast<waiter*>(l));
      if (w->ticket != ticket) continue;
      unlink(w);
      claim(*w, out);
      return;
    }
  }

  void drop_pending_if_due() noexcept {
    if (x_limit != no_limit && node().due()) drop_pending();
  }
  // Queued children of a cancelled group never run.
  void drop_pending() noexcept {
    fifo dropped;
    woken_batch spawners;
    {
      park_lock::guard hold(hashed_lock(this), nullptr);
      if (x_pending.empty()) return;
      if (x_called < x_first_refused.load(std::memory_order_relaxed))
        x_first_refused.store(x_called, std::memory_order_relaxed);
      dropped.append(x_pending);
      for (woken one; take(x_waiters, one); one = {}) spawners.add(one);
    }
    while (fifo_link* g = dropped.pop()) {
      discard_goroutine(*static_cast<goroutine*>(g));
      if (dropped.empty()) spawners.fire();
      count_down();
    }
  }

  [[noreturn]] void die() noexcept {
    std::fprintf(stderr,
                 "runnel: a group was left with %zu live children: co_await wait() before it dies, or use "
                 "with_errgroup, which joins. Those that wait:\n",
                 live());
    node().for_each_goroutine([](const goroutine& g) {
      std::fprintf(stderr, "  %s\n", started_at(g.where).c_str());
    });
    std::abort();
  }

  runtime_core& x_runtime;
  std::atomic<std::size_t> x_left{1};
  const std::size_t x_limit;
  const goroutine* const x_owner;
  std::size_t x_active = 0;
  fifo x_pending;
  list_head x_waiters;
  std::uint64_t x_next_ticket = 0;
  std::uint64_t x_called = 0;
  std::atomic<std::uint64_t> x_first_refused{UINT64_MAX};
  std::atomic<goroutine*> x_joiner{nullptr};
  std::atomic<bool> x_joined{false};
  bool x_joiner_stops_if_due = false;
  const bool x_collect_all;
  bool x_observed = false;
  goroutine_error x_first;
  spinlock x_others_lock;
  std::vector<goroutine_error> x_other_errors;
};

}  // namespace runnel::detail
