// SPDX-License-Identifier: BSL-1.0
// runnel/detail/census.hpp: who is there in a runtime, and what each waits for: a snapshot.
// Layer: L12
#pragma once

#include <runnel/detail/async_task.hpp>
#include <runnel/detail/cancel_node.hpp>
#include <runnel/detail/chan_core.hpp>
#include <runnel/detail/chan_ops.hpp>
#include <runnel/detail/fork_join.hpp>
#include <runnel/detail/goroutine.hpp>
#include <runnel/detail/group_core.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/runtime_core.hpp>
#include <runnel/detail/timer_service.hpp>
#include <runnel/waiter.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <source_location>
#include <unordered_set>
#include <utility>
#include <vector>

namespace runnel::detail {

// What a goroutine waits for, as far as it can be told from outside.
struct wait_info {
  enum class kind_t : std::uint8_t {
    nothing,     // it runs, or waits for a join, or for something that was adopted
    runnable,
    timer,       // until `at`
    channel,     // to receive or to send: `reason`; `object`, `length`, `capacity`
    gone,        // the same, on a channel that nobody has a handle of
    nil,         // the same, on the nil channel
    other,       // `reason`
    select,
    operation,   // of Asio
    group,       // its end: `length` children
    fork_join,   // the same
    tasks,       // the end of its tasks of async, of which `length` are left
    blocking,    // its blocking call, which runs on a thread of its own
  };
  kind_t kind = kind_t::nothing;
  waiter::reason_t reason = waiter::reason_t::unknown;
  const void* object = nullptr;
  std::size_t length = 0, capacity = 0;
  std::int64_t at = 0;
  bool for_ever = false;  // only a cancellation ends it
  std::int64_t deadline = cancel_node::no_deadline;  // of its current context
};

// Looks at a goroutine under the lock of the node that lists it, as a canceller does, and under the lock that it waits
// under: `node` and the waiter are valid there.
inline wait_info look_at(goroutine& g) noexcept {
  wait_info info;
  for (;;) {
    auto seen = g.word.load(std::memory_order_acquire);
    if (seen == 0) return info;
    if (auto kind = word::kind_of(seen); kind != word::plain) {
      info.kind = kind == word::operation ? wait_info::kind_t::operation : wait_info::kind_t::select;
      if (kind != word::operation && (seen & word::hears_outside)) info.reason = waiter::reason_t::done;
      return info;
    }
    auto* q = reinterpret_cast<park_lock*>(seen);
    park_lock::guard hold(*q, nullptr);
    if (g.word.load(std::memory_order_relaxed) != seen) continue;
    info.deadline = g.context.load(std::memory_order_relaxed)->deadline();  // it stays there as long as we hold q
    if (g.node_is_timer()) {
      info.kind = wait_info::kind_t::timer;
      info.at = static_cast<sleep_timer*>(static_cast<timer_entry*>(g.node()))->due_ns;
      info.for_ever = info.at == INT64_MAX;
      return info;
    }
    auto* w = static_cast<waiter*>(g.node());
    info.reason = w->reason();
    info.object = q;
    bool on_channel = info.reason == waiter::reason_t::receive || info.reason == waiter::reason_t::send;
    info.kind = !on_channel                 ? wait_info::kind_t::other
                : q == &nil_channel::lock   ? wait_info::kind_t::nil
                : !w->linked()              ? wait_info::kind_t::gone
                                            : wait_info::kind_t::channel;
    info.for_ever = info.kind == wait_info::kind_t::nil || info.kind == wait_info::kind_t::gone;
    if (info.kind == wait_info::kind_t::channel) {  // it is in the queue: so the channel lives, as long as we hold q
      auto* core = reinterpret_cast<chan_core*>(q + 1);
      info.length = core->len();
      info.capacity = core->cap();
    }
    return info;
  }
}

// A node of the cancellation tree, or a goroutine.
struct census_entry {
  const void* id = nullptr;
  bool is_goroutine = false;
  std::uint32_t depth = 0;
  std::source_location where = {};                   // of a goroutine
  wait_info waits = {};
  cancel_node::form form = cancel_node::form::scoped;  // of a node
  std::uint8_t level = level_none;
  std::int64_t deadline = cancel_node::no_deadline;
  group_core::summary group{};
  std::uintptr_t joiner = 0;  // who waits for a fork-join, or a task of async; as in processor::current
};

// A snapshot of a runtime that may run on meanwhile: what is told of one goroutine was true at one moment, what is told
// of two was true at two.
//
// Invariants: nothing is allocated while a lock of the runtime is held; what does not fit is only counted.
class census {
 public:
  static constexpr std::size_t most = 100'000;

  // The tree, in its order; then goroutines that have not begun.
  std::vector<census_entry> entries;
  std::size_t left_out = 0;

  explicit census(runtime_core& runtime, std::size_t at_most = most) {
    std::size_t room = 0;
    runtime.root.visit(counter{room});
    runtime.core.for_each_queued([&](auto&) { ++room; });
    room = std::min(room + room / 4 + 64, at_most);  // some more may come meanwhile
    entries.reserve(room);
    std::vector<const void*> queued;
    queued.reserve(room);
    runtime.root.visit(collector{*this});
    runtime.core.for_each_queued([&](auto& link) {
      auto& g = static_cast<goroutine&>(link);
      if (queued.size() == queued.capacity() || entries.size() == entries.capacity()) return void(++left_out);
      queued.push_back(&g);
      census_entry entry{.id = &g, .is_goroutine = true, .depth = 1, .where = g.where};
      entry.waits.kind = wait_info::kind_t::runnable;
      entries.push_back(entry);
    });
    drop_duplicates(queued);
    find_joiners();
    if (blocking_threads* pool = runtime.blocking())
      for (auto& e : entries)
        if (e.is_goroutine && e.waits.kind == wait_info::kind_t::nothing && pool->runs_call_of(e.id))
          e.waits.kind = wait_info::kind_t::blocking;
    while (entries.size() <= 4096 && spread_for_ever()) {
    }
  }

  std::size_t goroutines() const noexcept {
    return static_cast<std::size_t>(
        std::count_if(entries.begin(), entries.end(), [](const auto& e) { return e.is_goroutine; }));
  }

 private:
  struct counter {
    std::size_t& n;
    void enter(cancel_node&) const noexcept { ++n; }
    void goroutine(detail::goroutine&) const noexcept { ++n; }
    void leave(cancel_node&) const noexcept {}
  };
  struct collector {
    census& to;
    std::uint32_t depth = 0;

    void enter(cancel_node& node) noexcept {
      if (is_branch(node)) return;  // what it lists is the root's
      if (census_entry* e = to.next(&node, depth++)) {
        e->form = node.get_form();
        e->level = node.level();
        e->deadline = node.deadline();
        if (e->form == cancel_node::form::group) e->group = group_core::of(node).summarize();
        if (e->form == cancel_node::form::join) {
          auto& join = static_cast<join_node&>(node).join;
          e->group = {join.left(), 0, no_limit, nullptr};
          e->joiner = join.waiter();
        }
        if (e->form == cancel_node::form::task)
          e->joiner = reinterpret_cast<std::uintptr_t>(async_task_base::joiner_of(node));
      }
    }
    void goroutine(detail::goroutine& g) noexcept {
      if (census_entry* e = to.next(&g, depth)) {
        e->is_goroutine = true;
        e->where = g.where;
        e->waits = look_at(g);
      }
    }
    void leave(cancel_node& node) noexcept {
      if (!is_branch(node)) --depth;
    }
    static bool is_branch(const cancel_node& node) noexcept { return node.get_form() == cancel_node::form::branch; }
  };
  census_entry* next(const void* id, std::uint32_t depth) noexcept {
    if (entries.size() == entries.capacity()) return ++left_out, nullptr;
    entries.push_back({.id = id, .depth = depth});
    return &entries.back();
  }

  // What was reached on two ways is told once; what is in a queue is told where the tree has it.
  void drop_duplicates(const std::vector<const void*>& queued) {
    std::unordered_set<const void*> runnable(queued.begin(), queued.end()), seen;
    std::erase_if(entries, [&](census_entry& e) {
      if (e.is_goroutine && e.waits.kind == wait_info::kind_t::nothing && runnable.contains(e.id))
        e.waits.kind = wait_info::kind_t::runnable;
      return !seen.insert(e.id).second;
    });
  }
  void find_joiners() {
    std::vector<std::pair<const void*, const census_entry*>> joins;
    for (const auto& e : entries) {
      if (e.is_goroutine) continue;
      if (e.form == cancel_node::form::group && e.group.joiner) joins.emplace_back(e.group.joiner, &e);
      if (e.joiner != 0 && !(e.joiner & 1)) joins.emplace_back(reinterpret_cast<const void*>(e.joiner), &e);
    }
    auto before = [](const auto& a, const auto& b) { return std::less<>()(a.first, b.first); };
    std::sort(joins.begin(), joins.end(), before);
    for (auto& e : entries) {
      if (!e.is_goroutine || e.waits.kind != wait_info::kind_t::nothing) continue;
      auto [at, end] = std::equal_range(joins.begin(), joins.end(), std::pair(e.id, &std::as_const(e)), before);
      if (at == end) continue;
      const census_entry& joined = *at->second;
      e.waits.object = joined.id;
      e.waits.length = joined.group.live;
      if (joined.form == cancel_node::form::task) {
        e.waits.kind = wait_info::kind_t::tasks;
        e.waits.length = static_cast<std::size_t>(end - at);
      } else {
        bool is_group = joined.form == cancel_node::form::group;
        e.waits.kind = is_group ? wait_info::kind_t::group : wait_info::kind_t::fork_join;
      }
    }
  }
  // Who waits for children all of whom wait for ever does so too. Returns whether it has found one more.
  bool spread_for_ever() {
    bool more = false;
    for (auto& joiner : entries) {
      bool joins = joiner.waits.kind == wait_info::kind_t::group || joiner.waits.kind == wait_info::kind_t::fork_join;
      if (!joins || joiner.waits.for_ever || joiner.waits.length == 0) continue;
      auto node = std::find_if(entries.begin(), entries.end(),
                               [&](const auto& e) { return e.id == joiner.waits.object; });
      std::size_t stuck = 0;
      for (auto at = node; at != entries.end() && (at == node || at->depth > node->depth); ++at)
        if (at->is_goroutine && at->depth == node->depth + 1 && at->waits.for_ever) ++stuck;
      if (stuck == joiner.waits.length) joiner.waits.for_ever = more = true;
    }
    return more;
  }
};

}  // namespace runnel::detail
