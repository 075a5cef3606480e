// SPDX-License-Identifier: BSL-1.0
// runnel/detail/handler_slot.hpp: memory for a handler of which one is outstanding at a time.
// Layer: L2
#pragma once

#include <runnel/config.hpp>

#include <atomic>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <new>

namespace runnel::detail {

// Memory for the one handler of its kind that is outstanding, so that posting a pump never allocates. The heap serves
// a second one: a timer that is re-armed before its cancelled wait has been delivered.
template <class T>
class slot_allocator {
 public:
  using value_type = T;
  slot_allocator(std::byte* slot, std::size_t size, std::atomic<bool>& used) noexcept
      : x_slot(slot), x_size(size), x_used(&used) {}
  template <class U>
  slot_allocator(const slot_allocator<U>& other) noexcept
      : x_slot(other.x_slot), x_size(other.x_size), x_used(other.x_used) {}

  T* allocate(std::size_t n) {
    if (n * sizeof(T) <= x_size && alignof(T) <= alignof(std::max_align_t) &&
        !x_used->exchange(true, std::memory_order_acquire))  // acquire: after the last user's deallocate()
      return reinterpret_cast<T*>(x_slot);
    return static_cast<T*>(::operator new(n * sizeof(T)));
  }
  void deallocate(T* p, std::size_t) noexcept {
    if (reinterpret_cast<std::byte*>(p) == x_slot)
      x_used->store(false, std::memory_order_release);
    else
      ::operator delete(p);
  }
  template <class U>
  bool operator==(const slot_allocator<U>& other) const noexcept {
    return x_slot == other.x_slot;
  }

 private:
  template <class>
  friend class slot_allocator;
  std::byte* x_slot;
  std::size_t x_size;
  std::atomic<bool>* x_used;
};

struct handler_slot {
  alignas(alignof(std::max_align_t)) std::byte memory[256];
  std::atomic<bool> used{false};
  slot_allocator<std::byte> allocator() noexcept { return {memory, sizeof memory, used}; }
};

// There is no memory to wait for a timer, so that who sleeps, and whoever waits for that, would never go on.
[[noreturn]] RUNNEL_NOINLINE inline void die_without_timer() noexcept {
  std::fputs("runnel: Asio has no memory for its timer\n", stderr);
  std::abort();
}

}  // namespace runnel::detail
