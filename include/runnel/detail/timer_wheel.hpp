// SPDX-License-Identifier: BSL-1.0
// runnel/detail/timer_wheel.hpp: timers by due time, where setting and removing one is O(1).
// Layer: L1
#pragma once

#include <runnel/detail/intrusive_list.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace runnel::detail {

/// What is put into a timer_wheel. `due_ns` does not change while it is in one.
struct timer_entry : list_link {
  std::int64_t due_ns = 0;
};

// A hierarchical wheel. Time is cut into ticks of 2^16 ns (66 us), and a tick's number into digits of 6 bits.
// An entry lies at the level of the highest digit in which its tick differs from the wheel's, in the slot of
// that digit; so whatever lies at a lower level, or in a lower slot of a level, is due earlier. When the
// wheel comes to a slot of a higher level, the entries are put in anew and come to lie lower.
//
// The tick is no granularity: entries fire by their own due time, in its order. It is what the caller may
// round to if it wants one wake-up for several timers, short against the 1 ms that people sleep at the least,
// and long enough for a slot's entries to be worth a wake-up together. 8 levels reach to the end of time, so
// no deadline is special; a level costs 1 KiB and nothing else.
//
// Invariants (whoever owns the wheel locks it; an entry is removed under the same lock):
//   1. Level l > 0 has entries only in slots above digit l of x_tick, level 0 also in the slot of x_tick
//      itself, where overdue entries lie too.
//   2. An occupied slot has its bit in x_occupied. The reverse holds only when somebody looks: removing an
//      entry leaves the bit, since an entry does not know its slot.
//   3. A slot of level 0 without its bit in x_unsorted is in order of due time.
class timer_wheel {
 public:
  static constexpr int tick_bits = 16;
  static constexpr std::int64_t tick_ns = std::int64_t{1} << tick_bits;

  explicit timer_wheel(std::int64_t now_ns) noexcept : x_tick(tick_of(now_ns)) {}
  timer_wheel(const timer_wheel&) = delete;
  timer_wheel& operator=(const timer_wheel&) = delete;

  /// Puts in an entry that is in no list. What is due in the past is due now; any due time is allowed.
  void add(timer_entry& entry) noexcept {
    std::uint64_t tick = std::max(tick_of(entry.due_ns), x_tick);
    int level = (std::bit_width((tick ^ x_tick) | 1) - 1) / digit_bits;
    unsigned slot = digit(tick, level);
    list_head& list = x_slots[at(level)][slot];
    std::uint64_t bit = std::uint64_t{1} << slot;
    x_occupied[at(level)] |= bit;
    if (level == 0) {
      if (list.empty())
        x_unsorted &= ~bit;
      else if (from<timer_entry>(list.back())->due_ns > entry.due_ns)
        x_unsorted |= bit;
    }
    list.push_back(&entry);
  }

  /// Takes an entry out; does nothing if it is in no wheel.
  static void remove(timer_entry& entry) noexcept { unlink(&entry); }

  /// Calls expire(timer_entry&) for each entry with due_ns <= now_ns, taken out, in order of due time.
  /// `expire` may add and remove entries; one that it adds and that is due already is fired by this call too.
  template <class F>
  void advance(std::int64_t now_ns, F&& expire) {
    const std::uint64_t target = std::max(tick_of(now_ns), x_tick);
    for (;;) {
      place next = earliest();
      if (next.level == levels || next.tick > target) {
        x_tick = target;
        return;
      }
      x_tick = std::max(x_tick, next.tick);
      if (next.level > 0) {
        cascade(next);
        continue;
      }
      timer_entry& first = *from<timer_entry>(sorted(next.slot).front());
      if (first.due_ns > now_ns) {
        x_tick = target;  // the same tick: what is due later in it stays
        return;
      }
      unlink(&first);
      expire(first);
    }
  }

  /// When to call advance() next; INT64_MAX when empty. Never after an entry is due. Exact if that is less
  /// than 64 ticks ahead or few entries are near it; else it may be earlier.
  [[nodiscard]] std::int64_t next_due() noexcept {
    place next = earliest();
    if (next.level == levels) return INT64_MAX;
    if (next.level == 0) return from<timer_entry>(sorted(next.slot).front())->due_ns;
    list_head& list = x_slots[at(next.level)][next.slot];
    std::int64_t least = INT64_MAX;
    list_link* link = list.front();
    for (int looked = 0; looked < few; ++looked, link = link->next) {
      least = std::min(least, from<timer_entry>(link)->due_ns);
      if (link == list.back()) return least;
    }
    return static_cast<std::int64_t>(next.tick << tick_bits);
  }

  [[nodiscard]] bool empty() noexcept { return earliest().level == levels; }

 private:
  static constexpr int digit_bits = 6;
  static constexpr int levels = 8;
  static constexpr int few = 8;
  static_assert(levels * digit_bits + tick_bits >= 63, "every due time has a slot");

  struct place {
    int level;  // `levels`: nowhere
    unsigned slot;
    std::uint64_t tick;  // the slot's first
  };

  static constexpr std::size_t at(int level) noexcept { return static_cast<std::size_t>(level); }
  static constexpr std::uint64_t tick_of(std::int64_t ns) noexcept {
    return static_cast<std::uint64_t>(std::max<std::int64_t>(ns, 0)) >> tick_bits;
  }
  static constexpr unsigned digit(std::uint64_t tick, int level) noexcept {
    return static_cast<unsigned>(tick >> level * digit_bits) & 63;
  }

  /// The first slot that has entries.
  place earliest() noexcept {
    for (int level = 0; level < levels; ++level) {
      for (std::uint64_t& bits = x_occupied[at(level)]; bits != 0; bits &= bits - 1) {
        auto slot = static_cast<unsigned>(std::countr_zero(bits));
        if (x_slots[at(level)][slot].empty()) continue;  // and its bit goes
        int shift = level * digit_bits;
        std::uint64_t above = x_tick >> (shift + digit_bits) << (shift + digit_bits);
        return {level, slot, above | std::uint64_t{slot} << shift};
      }
    }
    return {levels, 0, 0};
  }

  /// Puts the entries of a slot that x_tick has come to in anew: all of them to lower levels.
  void cascade(place from_here) noexcept {
    list_head moving;
    moving.splice_back(x_slots[at(from_here.level)][from_here.slot]);
    while (list_link* link = moving.pop_front()) add(*from<timer_entry>(link));
  }

  list_head& sorted(unsigned slot) noexcept {
    list_head& list = x_slots[0][slot];
    std::uint64_t bit = std::uint64_t{1} << slot;
    if (x_unsorted & bit) {
      sort(list);
      x_unsorted &= ~bit;
    }
    return list;
  }

  /// Merge sort, stable, without memory: runs[i] is empty or has 2^i entries, older than those of lower runs.
  static void sort(list_head& list) noexcept {
    list_head runs[40];  // more entries than memory
    while (list_link* link = list.pop_front()) {
      list_head run;
      run.push_back(link);
      std::size_t i = 0;
      for (; !runs[i].empty(); ++i) merge_after(runs[i], run);
      runs[i].splice_back(run);
    }
    for (list_head& run : runs) merge_after(run, list);
  }

  /// Merges `older` into `newer`; of equal entries the older come first.
  static void merge_after(list_head& older, list_head& newer) noexcept {
    list_head merged;
    while (!older.empty() && !newer.empty()) {
      bool take_newer = from<timer_entry>(newer.front())->due_ns < from<timer_entry>(older.front())->due_ns;
      merged.push_back((take_newer ? newer : older).pop_front());
    }
    merged.splice_back(older);
    merged.splice_back(newer);
    newer.splice_back(merged);
  }

  std::uint64_t x_tick;
  std::uint64_t x_unsorted = 0;
  std::array<std::uint64_t, levels> x_occupied{};
  std::array<std::array<list_head, 64>, levels> x_slots;
};

}  // namespace runnel::detail
