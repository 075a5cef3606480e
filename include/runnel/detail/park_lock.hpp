// SPDX-License-Identifier: BSL-1.0
// runnel/detail/park_lock.hpp: the lock of whatever a goroutine can park on, biased to the processor that uses it.
// Layer: L0
#pragma once

#include <runnel/config.hpp>
#include <runnel/detail/asymmetric_fence.hpp>
#include <runnel/detail/immortal_pool.hpp>
#include <runnel/detail/sharing_loss.hpp>
#include <runnel/detail/spinlock.hpp>

#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <new>
#include <thread>

namespace runnel::detail {

class park_lock;

// Where a processor shows inside of which locks it is by their bias. A place never dies, for who revokes a bias looks
// at it; when its processor has ended, it becomes another's.
struct RUNNEL_SHARED bias_place {
  static constexpr std::size_t at_once = 16;
  std::atomic<const park_lock*> inside[at_once]{};
};

// Who can have a bias: a processor.
class bias_owner {
 public:
  bias_owner() : x_place(take()) {}
  ~bias_owner() { pool::deallocate(x_place); }
  bias_owner(const bias_owner&) = delete;
  bias_owner& operator=(const bias_owner&) = delete;

 private:
  friend class park_lock;
  using pool = immortal_pool<sizeof(bias_place) + cache_line, sizeof(bias_place), bias_place>;  // no two on one line

  static bias_place* take() {
    auto [memory, fresh] = pool::allocate();
    return fresh ? ::new (memory) bias_place : std::launder(static_cast<bias_place*>(memory));
  }
  bias_place* const x_place;
};

// A spinlock that remembers a *bias*: while one processor alone has used it for a while, that processor enters
// with two plain stores and no read-modify-write. Anybody else first revokes the bias.
//
// Invariants:
//   1. A thread is inside either by the spin part, with x_bias null, or as the biased processor, which says so in a
//      slot of its place; never both. The slot is its own: who comes too late to a bias that it had once steps back
//      without a trace, whoever is inside by then.
//   2. x_bias changes only under the spin part. It is set to P only by P itself, on a thread that runs P. While P is
//      inside by it, x_last is P.
//   3. The biased entry is no memory barrier. Whoever needs one fences (see publish()).
//   4. The lock may be used after whatever it guards has died: its memory is immortal (a canceller locks what a
//      goroutine *was* parked on). It is never reconstructed.
//   5. A processor that is inside of several locks by their bias has each in a slot of its own; where that is taken it
//      enters by the spin part.
//
//   x_bias         null | a place   written under the spin part; read by every entry
//   place.inside   null | a lock    written by the place's processor; read by the revoker, after heavy_fence()
class park_lock {
 public:
  constexpr park_lock() noexcept = default;
  park_lock(const park_lock&) = delete;
  park_lock& operator=(const park_lock&) = delete;

  // Enters on behalf of processor `me` (null outside one). The token goes back to unlock(), and the slot.
  [[nodiscard]] bool lock(const bias_owner* me, std::size_t slot = 0) noexcept {
    if (me && enter_biased(me, slot)) return true;
    lock_slow(me ? me->x_place : nullptr);
    return false;
  }

  void unlock(bool biased, std::size_t slot = 0) noexcept {
    if (biased)
      leave_biased(slot);
    else
      x_spin.unlock();
  }

  // Enters if the lock is biased to `me`, a processor. Out again by leave_biased().
  [[nodiscard]] bool enter_biased([[maybe_unused]] const bias_owner* me,
                                  [[maybe_unused]] std::size_t slot = 0) noexcept {
#if RUNNEL_HAS_MEMBARRIER
    if (slot >= bias_place::at_once) [[unlikely]] return false;
    if (me->x_place->inside[slot].load(std::memory_order_relaxed)) [[unlikely]] return false;  // an element's move, say
    return enter_free_slot(*me->x_place, slot);
#else
    return false;
#endif
  }
  // The same for a processor that is inside of no lock by its bias. Who runs an awaited operation is such a one: what
  // runs under a lock, the move of an element, awaits nothing.
  [[nodiscard]] bool enter_biased_first([[maybe_unused]] const bias_owner* me) noexcept {
#if RUNNEL_HAS_MEMBARRIER
    assert(!me->x_place->inside[0].load(std::memory_order_relaxed));
    return enter_free_slot(*me->x_place, 0);
#else
    return false;
#endif
  }
  void leave_biased(std::size_t slot = 0) noexcept {
    x_last->inside[slot].store(nullptr, std::memory_order_release);  // [leave] release: before [revoke] in revoke()
  }

  // What it guarded has died on processor `me`, and its memory will be something else's; or `me` has ended. A bias to
  // `me` is given up, so that nobody has to revoke it; if `me` is next to use the lock it has the bias back after one
  // entry.
  void forget_bias(const bias_owner* me) noexcept {
    if (!me || x_bias.load(std::memory_order_relaxed) != me->x_place) return;
    x_spin.lock();
    if (x_bias.load(std::memory_order_relaxed) == me->x_place) {  // else it has been revoked meanwhile
      x_bias.store(nullptr, std::memory_order_relaxed);
      x_streak = x_needed;
    }
    x_spin.unlock();
  }

  class guard {
   public:
    guard(park_lock& lock, const bias_owner* me) noexcept : x_lock(lock), x_biased(lock.lock(me)) {}
    ~guard() {
      if (x_held) x_lock.unlock(x_biased);
    }
    guard(const guard&) = delete;
    guard& operator=(const guard&) = delete;
    void unlock() noexcept {
      x_held = false;
      x_lock.unlock(x_biased);
    }

   private:
    park_lock& x_lock;
    bool x_biased;
    bool x_held = true;
  };

 private:
  static constexpr std::uint32_t first_streak = 64;
  static constexpr std::uint32_t longest_streak = 1u << 20;

  RUNNEL_ALWAYS_INLINE bool enter_free_slot(bias_place& here, std::size_t slot) noexcept {
    std::atomic<const park_lock*>& inside = here.inside[slot];
    inside.store(this, std::memory_order_release);  // [leave]: a revoker of the lock before may see this instead
    // A light fence, and a free one: a bias is only ever set where heavy_fence() is a membarrier. Our slot before our
    // x_bias load, against revoke()'s x_bias store before it looks at the slots.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (x_bias.load(std::memory_order_relaxed) == &here) [[likely]] {
      // Ordered after the previous holder: either we were it, or it set the bias that we read under the spin part
      // that we then held ourselves (invariant 2).
      std::atomic_signal_fence(std::memory_order_acquire);
      return true;
    }
    inside.store(nullptr, std::memory_order_release);
    return false;
  }

  RUNNEL_NOINLINE void lock_slow(bias_place* me) noexcept {
    x_spin.lock_watched<sharing_loss>();
    if (bias_place* owner = x_bias.load(std::memory_order_relaxed)) revoke(*owner, me);
    if (!me) return;
    if (x_last != me) {
      if (x_last) add_sharing_loss(loss_by_handoff);
      x_last = me;
      x_streak = 0;
    } else if (asymmetric_fences && ++x_streak > x_needed) {
      x_bias.store(me, std::memory_order_relaxed);  // takes effect at our next entry; this one is by the spin part
      x_streak = 0;
    }
  }

  void revoke(bias_place& owner, const bias_place* me) noexcept {
    x_bias.store(nullptr, std::memory_order_relaxed);
    if (&owner != me) heavy_fence();
    for (auto& inside : owner.inside)
      for (int turns = 0; inside.load(std::memory_order_acquire) == this; ++turns)  // [revoke] acquire: after [leave]
        turns < 1000 ? cpu_pause() : std::this_thread::yield();
    x_streak = 0;
    if (&owner != me && x_needed < longest_streak) x_needed *= 4;  // a lock that keeps being revoked stops being biased
  }

  spinlock x_spin;
  std::uint32_t x_streak = 0;
  std::atomic<bias_place*> x_bias{nullptr};
  bias_place* x_last = nullptr;
  std::uint32_t x_needed = first_streak;
};

// Locks for things that live in user memory and can be parked on (wait groups, groups, events): the address picks
// one from a table that never dies. Two objects may share a lock; nobody ever holds two.
struct alignas(cache_line) padded_lock {
  park_lock lock;
};
RUNNEL_SHARED inline constinit padded_lock the_hashed_locks[64];

inline park_lock& hashed_lock(const void* object) noexcept {
  auto bits = reinterpret_cast<std::uintptr_t>(object);
  return the_hashed_locks[(bits >> 4 ^ bits >> 12) & 63].lock;
}
// A processor has ended; it runs nothing any more.
inline void forget_hashed_biases(const bias_owner* processor) noexcept {
  for (auto& padded : the_hashed_locks) padded.lock.forget_bias(processor);
}

}  // namespace runnel::detail
