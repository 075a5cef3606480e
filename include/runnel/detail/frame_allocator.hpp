// SPDX-License-Identifier: BSL-1.0
// runnel/detail/frame_allocator.hpp: what is made and dropped as often as frames are, in the frames' pool.
// Layer: L1
#pragma once

#include <runnel/detail/frame_pool.hpp>

#include <cstddef>
#include <memory>
#include <utility>

namespace runnel::detail {

template <class T> struct frame_allocator {
  static_assert(alignof(T) <= 16, "the frames' pool aligns to 16");
  using value_type = T;
  frame_allocator() noexcept = default;
  template <class U> frame_allocator(const frame_allocator<U>&) noexcept {}
  T* allocate(std::size_t n) { return static_cast<T*>(frame_allocate(n * sizeof(T))); }
  void deallocate(T* p, std::size_t n) noexcept { frame_deallocate(p, n * sizeof(T)); }
  friend bool operator==(const frame_allocator&, const frame_allocator&) noexcept { return true; }
};

// std::make_shared there.
template <class T, class... A> std::shared_ptr<T> make_shared_frame(A&&... args) {
  return std::allocate_shared<T>(frame_allocator<T>(), std::forward<A>(args)...);
}

}  // namespace runnel::detail
