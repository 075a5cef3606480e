// SPDX-License-Identifier: BSL-1.0
// runnel/detail/stall_detector.hpp: who has held a processor for too long.
// Layer: L2
#pragma once

#include <runnel/config.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <source_location>
#include <vector>

namespace runnel {

/// What has held a thread of a runtime for longer than its watchdog allows.
struct stall {
  /// unwinding: destructors of cancelled goroutines, of which `where` names the first; child: of an all or race, or who
  /// waited for it, and `where` is empty.
  enum class kind_t : std::uint8_t { goroutine = 1, unwinding = 2, child = 3 };
  kind_t kind;
  std::source_location where;     // the goroutine was started
  std::chrono::nanoseconds held;  // so far, at least
};

namespace detail {

// Each pump says what it runs, in a slot of its processor, before and after each turn; somebody else looks from time to
// time. What is read is the slot alone, never a goroutine: that may have ended.
//
// Invariants: a slot is written by the thread that pumps its processor, alone. The place of a turn is stored before the
// turn begins, and after the one before has ended: who reads the same running turn before and behind a place has that
// turn's place.
//
//   turn    0 in the lowest two bits: nothing runs; else what does, a stall::kind_t. The rest counts the turns, so that
//           no two of a processor look the same. Written by the pump (release: what it did before), read by look()
//   where   written by the pump before `turn` (release: the end of the last turn, before [place] in look())
class stall_detector {
 public:
  stall_detector(unsigned processors, std::chrono::nanoseconds limit)
      : x_limit(limit.count()), x_slots(processors), x_seen(processors) {}

  void begins(unsigned processor, stall::kind_t what, const std::source_location& where) noexcept {
    slot& s = x_slots[processor];
    s.where.store(where, std::memory_order_release);
    auto next = (s.turn.load(std::memory_order_relaxed) | kind_mask) + 1;
    s.turn.store(next | static_cast<std::uint32_t>(what), std::memory_order_release);
  }
  void ends(unsigned processor) noexcept {
    slot& s = x_slots[processor];
    s.turn.store(s.turn.load(std::memory_order_relaxed) & ~kind_mask, std::memory_order_release);
  }

  // Calls f(stall) for each processor on which the same turn has been seen for longer than the limit, once for each.
  // progress_of(i): a number that changes while a turn goes on with something else. By one thread at a time.
  template <class Progress, class F> void look(std::int64_t now, Progress&& progress_of, F&& f) {
    for (std::size_t i = 0; i < x_slots.size(); ++i) {
      auto turn = x_slots[i].turn.load(std::memory_order_acquire);
      std::uint32_t progress = progress_of(i);
      seen& last = x_seen[i];
      if ((turn & kind_mask) == 0 || turn != last.turn || progress != last.progress) {
        last = {turn, progress, now, false};
        continue;
      }
      if (last.told || now - last.since < x_limit) continue;
      last.told = true;
      auto where = x_slots[i].where.load(std::memory_order_acquire);  // [place] acquire: a later one comes with its end
      if (x_slots[i].turn.load(std::memory_order_relaxed) != turn) continue;
      f(stall{static_cast<stall::kind_t>(turn & kind_mask), where, std::chrono::nanoseconds(now - last.since)});
    }
  }

 private:
  static constexpr std::uint32_t kind_mask = 3;
  struct alignas(destructive_interference) slot {
    std::atomic<std::uint32_t> turn{0};
    std::atomic<std::source_location> where{std::source_location()};
  };
  struct seen {
    std::uint32_t turn = 0;
    std::uint32_t progress = 0;
    std::int64_t since = 0;
    bool told = false;
  };

  const std::int64_t x_limit;
  std::vector<slot> x_slots;
  std::vector<seen> x_seen;
};

}  // namespace detail
}  // namespace runnel
