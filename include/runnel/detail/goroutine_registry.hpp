// SPDX-License-Identifier: BSL-1.0
// runnel/detail/goroutine_registry.hpp: numbers for goroutines, and since when each waits, for reports.
// Layer: L2
#pragma once

#include <runnel/config.hpp>
#include <runnel/detail/cancel_node.hpp>
#include <runnel/detail/chooser.hpp>
#include <runnel/detail/fork_join.hpp>
#include <runnel/detail/goroutine.hpp>
#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/scheduler_core.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <unordered_map>

namespace runnel::detail {

// What is known of a goroutine, or of a fork-join child.
struct goroutine_record {
  std::uint64_t number = 0;  // 0: nothing is known
  std::uint64_t parent = 0;  // of a fork-join child: who waits for it
  std::int64_t since = 0;    // ns: when it last stopped running
  bool runs = false;
};

// Knows every goroutine of a runtime from its first run on, and lists it in the cancellation tree there, where without
// a registry only those are listed that have waited for something. A goroutine is known by its address.
//
// Nothing is removed when a goroutine ends. An address is used again only by a goroutine that begins, and that writes a
// new record before anybody can ask for it: so an old one is never taken for it, and the memory is bounded by the most
// goroutines that ever lived at once.
//
// Invariant: a record changes under its shard's mutex.
//   x_last_number   the last number given out; relaxed: it guards nothing
class goroutine_registry final : public run_observer {
 public:
  // Fork-join children that never become goroutines are many: they are known only where somebody asks for it.
  explicit goroutine_registry(bool knows_children) noexcept : x_knows_children(knows_children) {}

  // A goroutine that has not run. One without an owner was a fork-join child, and is known as that.
  static bool is_new(const goroutine& g) noexcept { return !g.listed && g.owner; }

  // On the thread that runs p, before the item runs. Returns its number.
  std::uint64_t begins(goroutine& g) noexcept {
    std::uint64_t number = is_new(g) ? add(&g, 0) : change(&g, [](goroutine_record& r) { r.runs = true; });
    list_at_home(g);
    return number;
  }
  std::uint64_t begins(fork_child_base& child) noexcept { return add(&child, parent_of(child)); }
  // Afterwards. The item may have gone, and its address may be somebody else's.
  void stopped(const void* item, std::uint64_t number, std::int64_t now) noexcept {
    change(item, [&](goroutine_record& r) {
      if (r.number != number) return;
      r.since = now;
      r.runs = false;
    });
  }
  void promoted(list_link& child, fifo_link& g) noexcept override {
    auto& forked = *static_cast<fork_child_base*>(&child);
    auto* promoted = static_cast<goroutine*>(&g);
    goroutine_record record =
        x_knows_children ? find(&forked) : goroutine_record{next_number(), parent_of(forked), 0, false};
    record.since = promoted->core().now();
    put(promoted, record);
  }
  goroutine_record find(const void* item) noexcept {
    goroutine_record found;
    change(item, [&](const goroutine_record& r) { found = r; });
    return found;
  }

 private:
  std::uint64_t parent_of(const fork_child_base& child) noexcept {
    return find(reinterpret_cast<const void*>(child.join->waiter() & ~std::uintptr_t{1})).number;
  }
  std::uint64_t next_number() noexcept { return x_last_number.fetch_add(1, std::memory_order_relaxed) + 1; }

  struct alignas(cache_line) shard {
    std::mutex mutex;
    std::unordered_map<const void*, goroutine_record> records;
  };
  shard& shard_of(const void* item) noexcept {
    auto bits = reinterpret_cast<std::uintptr_t>(item);
    return x_shards[(bits >> 4 ^ bits >> 10) % x_shards.size()];
  }
  template <class F>
  std::uint64_t change(const void* item, F&& f) noexcept {
    shard& s = shard_of(item);
    std::lock_guard hold(s.mutex);
    auto at = s.records.find(item);
    if (at == s.records.end()) return 0;
    f(at->second);
    return at->second.number;
  }
  void put(const void* item, const goroutine_record& record) noexcept {
    shard& s = shard_of(item);
    std::lock_guard hold(s.mutex);
    try {
      s.records.insert_or_assign(item, record);
    } catch (...) {  // out of memory: it goes without a number
    }
  }
  std::uint64_t add(const void* item, std::uint64_t parent) noexcept {
    std::uint64_t number = next_number();
    put(item, {number, parent, 0, true});
    return number;
  }

  const bool x_knows_children;
  std::atomic<std::uint64_t> x_last_number{0};
  std::array<shard, 32> x_shards;
};

}  // namespace runnel::detail
