// SPDX-License-Identifier: BSL-1.0
// runnel/detail/intrusive_list.hpp: a doubly linked list that a link leaves by itself, and a counted queue.
// Layer: L0
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

namespace runnel::detail {

// Invariants:
//   1. A list is a ring through its list_head; a link that is in no list is a ring of its own. No pointer is
//      ever null, so leaving a list has no special case, and leaving none changes nothing.
//   2. A link does not know its list: whoever calls unlink() holds what guards that list.
//   3. Links are trivially destructible and never leave a list by dying: their owner unlinks them first.
//
//   next   of a list_head: written under what guards the list (relaxed), read there, and anywhere by looks_empty(),
//          as a hint. A writer cannot tell a head from a link, so every write is atomic; it is a plain store all the
//          same.

// may_alias: g++ 12 at -O2 holds that a store by way of a link cannot reach the ring that is a member of a list_head
// (its type-based analysis; seen where pop_back() was inlined into a loop of two turns in frame_depot::give()), and
// then goes on with a list's old end. tests/unit/detail/frame_pool_test.cpp has the case.
struct [[gnu::may_alias]] list_link {
  list_link* next;
  list_link* prev;

  /// For a link that is not looked at before it is put into a list.
  struct unset {};

  constexpr list_link() noexcept : next(this), prev(this) {}
  explicit list_link(unset) noexcept {}  // NOLINT: that is what it says
  list_link(const list_link&) = delete;
  list_link& operator=(const list_link&) = delete;

  [[nodiscard]] constexpr bool linked() const noexcept { return next != this; }
};

constexpr void set_next(list_link* link, list_link* next) noexcept {
  if (std::is_constant_evaluated())
    link->next = next;
  else
    __atomic_store_n(&link->next, next, __ATOMIC_RELAXED);  // relaxed: nobody concludes anything from a hint
}

/// Takes the link out of the list that it is in, if any. O(1).
constexpr void unlink(list_link* link) noexcept {
  link->next->prev = link->prev;
  set_next(link->prev, link->next);
  link->next = link->prev = link;
}

/// The object whose base the link is; null for null. Types that are put in lists derive from their link.
template <class T, class Link>
[[nodiscard]] constexpr T* from(Link* link) noexcept {
  return static_cast<T*>(link);
}

/// The list. A head must not move or die while links are in it. Everything is O(1).
class list_head {
 public:
  constexpr list_head() noexcept = default;

  [[nodiscard]] constexpr bool empty() const noexcept { return !x_ring.linked(); }
  /// The same for somebody who does not hold what guards the list: a hint.
  [[nodiscard]] bool looks_empty() const noexcept { return __atomic_load_n(&x_ring.next, __ATOMIC_RELAXED) == &x_ring; }

  /// The oldest, the newest; null when empty.
  [[nodiscard]] constexpr list_link* front() noexcept { return empty() ? nullptr : x_ring.next; }
  [[nodiscard]] constexpr list_link* back() noexcept { return empty() ? nullptr : x_ring.prev; }

  /// To walk the list: from first() along `next` until end().
  [[nodiscard]] constexpr list_link* first() noexcept { return x_ring.next; }
  [[nodiscard]] constexpr const list_link* end() const noexcept { return &x_ring; }

  /// The link must be in no list.
  constexpr void push_back(list_link* link) noexcept { insert(x_ring.prev, link, &x_ring); }
  constexpr void push_front(list_link* link) noexcept { insert(&x_ring, link, x_ring.next); }

  /// Takes front() out of a list that is not empty. Its pointers are stale afterwards, as those of an `unset` one.
  constexpr void drop_front() noexcept {
    list_link* second = x_ring.next->next;
    set_next(&x_ring, second);
    second->prev = &x_ring;
  }
  constexpr void drop_back() noexcept {
    list_link* second = x_ring.prev->prev;
    x_ring.prev = second;
    second->next = &x_ring;
  }

  /// Makes a link of this list the first; those that were before it follow the last. end() changes nothing. Not
  /// for a list of which looks_empty() is asked: it looks empty for a moment.
  constexpr void begin_at(list_link* first) noexcept {
    if (first == &x_ring || first == x_ring.next) return;
    unlink(&x_ring);
    insert(first->prev, &x_ring, first);
  }

  /// Unlinked; null when empty.
  constexpr list_link* pop_front() noexcept { return pop(x_ring.next); }
  constexpr list_link* pop_back() noexcept { return pop(x_ring.prev); }

  /// Moves all of `other`, in order, to the end of this list. `other` is another list, and empty afterwards.
  constexpr void splice_back(list_head& other) noexcept {
    if (other.empty()) return;
    list_link* first = other.x_ring.next;
    list_link* last = other.x_ring.prev;
    other.x_ring.prev = &other.x_ring;
    set_next(&other.x_ring, &other.x_ring);
    first->prev = x_ring.prev;
    set_next(x_ring.prev, first);
    last->next = &x_ring;
    x_ring.prev = last;
  }

 private:
  static constexpr void insert(list_link* before, list_link* link, list_link* after) noexcept {
    link->prev = before;
    set_next(before, link);  // between the two, lest g++ makes one vector of them, which takes longer
    link->next = after;
    after->prev = link;
  }
  constexpr list_link* pop(list_link* link) noexcept {
    if (link == &x_ring) return nullptr;
    unlink(link);
    return link;
  }

  list_link x_ring;
};

/// A link of a fifo. While it is in none, `next` is its owner's to use.
struct fifo_link {
  fifo_link* next = nullptr;
};

/// A first-in first-out queue that knows its length. A chain is a fifo by value.
class fifo {
 public:
  constexpr fifo() noexcept = default;
  constexpr fifo(fifo&& other) noexcept
      : x_first(std::exchange(other.x_first, nullptr)),
        x_last(std::exchange(other.x_last, nullptr)),
        x_size(std::exchange(other.x_size, 0)) {}
  /// What this held must have been taken out before.
  constexpr fifo& operator=(fifo&& other) noexcept {
    x_first = std::exchange(other.x_first, nullptr);
    x_last = std::exchange(other.x_last, nullptr);
    x_size = std::exchange(other.x_size, 0);
    return *this;
  }

  [[nodiscard]] constexpr bool empty() const noexcept { return x_size == 0; }
  [[nodiscard]] constexpr std::size_t size() const noexcept { return x_size; }
  [[nodiscard]] constexpr fifo_link* front() const noexcept { return x_first; }
  [[nodiscard]] constexpr fifo_link* back() const noexcept { return x_last; }

  /// The link must be in no fifo.
  constexpr void push(fifo_link* link) noexcept {
    link->next = nullptr;
    (x_last ? x_last->next : x_first) = link;
    x_last = link;
    ++x_size;
  }

  /// The oldest; null when empty.
  constexpr fifo_link* pop() noexcept {
    fifo_link* link = x_first;
    if (!link) return nullptr;
    x_first = std::exchange(link->next, nullptr);
    if (!x_first) x_last = nullptr;
    --x_size;
    return link;
  }

  /// Detaches the k oldest, or all if there are fewer, in order. O(k); O(1) for all.
  [[nodiscard]] constexpr fifo take_front(std::size_t k) noexcept {
    if (k >= x_size) return std::move(*this);
    fifo taken;
    if (k == 0) return taken;
    fifo_link* last = x_first;
    for (std::size_t i = 1; i < k; ++i) last = last->next;
    taken.x_first = x_first;
    taken.x_last = last;
    taken.x_size = k;
    x_first = std::exchange(last->next, nullptr);
    x_size -= k;
    return taken;
  }

  /// Moves all of `chain`, in order, to the end. `chain` is another fifo, and empty afterwards. O(1).
  constexpr void append(fifo& chain) noexcept {
    if (chain.empty()) return;
    (x_last ? x_last->next : x_first) = chain.x_first;
    x_last = chain.x_last;
    x_size += chain.x_size;
    chain = fifo();
  }
  constexpr void append(fifo&& chain) noexcept { append(chain); }

 private:
  fifo_link* x_first = nullptr;
  fifo_link* x_last = nullptr;
  std::size_t x_size = 0;
};

}  // namespace runnel::detail
