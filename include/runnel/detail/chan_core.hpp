// SPDX-License-Identifier: BSL-1.0
// runnel/detail/chan_core.hpp: the state of a channel, as a state machine that returns whom to wake.
// Layer: L5
#pragma once

#include <runnel/detail/immortal_pool.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/error.hpp>
#include <runnel/waiter.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace runnel::detail {

// What a channel stores for a T: elements move under the lock, so a move that may throw happens outside, into a box.
struct unit {};
template <class T>
using element_of =
    std::conditional_t<std::is_void_v<T>, unit,
                       std::conditional_t<std::is_nothrow_move_constructible_v<T>, T, std::unique_ptr<T>>>;

using transfer = waiter::outcome_t;  // `pending`: it would have to wait

// Who waits to receive: the element, or the error that the channel was closed with, is left here. Trivially
// destructible: unwrap() and discard() end what is there.
template <class E> struct recv_waiter : waiter {
  union {
    alignas(E) std::byte element_bytes[sizeof(E)];
    alignas(std::exception_ptr) std::byte error_bytes[sizeof(std::exception_ptr)];
  };

  recv_waiter() noexcept : waiter(unset(), reason_t::receive) {}  // NOLINT: nothing is there before `outcome` says so
  E& element() noexcept { return *std::launder(reinterpret_cast<E*>(element_bytes)); }
  std::exception_ptr& error() noexcept { return *std::launder(reinterpret_cast<std::exception_ptr*>(error_bytes)); }

  void deliver(E&& e) noexcept {
    std::construct_at(reinterpret_cast<E*>(element_bytes), std::move(e));
    outcome = outcome_t::done;
  }
  void close(const std::exception_ptr& e) noexcept {
    outcome = e ? outcome_t::closed_with_error : outcome_t::closed;
    if (e) std::construct_at(reinterpret_cast<std::exception_ptr*>(error_bytes), e);
  }
  static constexpr bool ends_by_itself = std::is_trivially_destructible_v<E>;
  // Whether discard() is needed. An element that ends by itself is left where it is.
  bool holds_something() const noexcept {
    return ends_by_itself ? outcome == outcome_t::closed_with_error : outcome != outcome_t::pending;
  }
  void discard() noexcept {
    if (outcome == outcome_t::done) std::destroy_at(&element());
    if (outcome == outcome_t::closed_with_error) std::destroy_at(&error());
    outcome = outcome_t::pending;
  }
};

// Who waits to send: the element is taken from where it is.
template <class E> struct send_waiter : waiter {
  E* source;
  explicit send_waiter(E& e) noexcept : waiter(unset(), reason_t::send), source(&e) {}
};

// Invariants:
//   1. Everything but the reference counts changes under `lock` only. Nothing of the user's runs under it but the
//      nothrow move of an element.
//   2. Receivers wait only while the buffer is empty, senders only while it is full; both wait at once only if one
//      select waits on both sides of an unbuffered channel.
//   3. `closed` never becomes false again; no sender waits on a closed channel. `x_room` is the capacity until then,
//      and 0 afterwards: what is below it can be sent.
//   4. The memory, and the lock at its beginning, outlive the channel: a canceller may lock what a goroutine was
//      parked on. The last handle takes the waiters that are left out of the queues; they wait on nothing then, and
//      can still be cancelled.
//
//   x_count, x_closed   written under lock (relaxed); read anywhere by len() and is_closed(), as snapshots
class chan_core {
 public:
  template <class E> static chan_core* make(std::size_t capacity) {
    if (capacity > static_cast<std::size_t>(PTRDIFF_MAX) / sizeof(E))
      throw misuse_error("runnel: a channel's capacity is at most what could be addressed");
    void* slots = capacity ? ::operator new(capacity * sizeof(E), std::align_val_t(alignof(E))) : nullptr;
    try {
      return make_with(slots, capacity);
    } catch (...) {
      ::operator delete(slots, std::align_val_t(alignof(E)));
      throw;
    }
  }

  void retain() noexcept { x_handles.fetch_add(1, std::memory_order_relaxed); }  // relaxed: a handle exists already
  template <class E> void release() noexcept {
    if (x_handles.fetch_sub(1, std::memory_order_acq_rel) != 1) return;  // acq_rel: every use before the end
    {
      park_lock::guard hold(lock(), this_processor());
      while (receivers.pop_front()) {
      }
      while (senders.pop_front()) {
      }
    }
    lock().forget_bias(this_processor());
    E* slots = slots_of<E>();
    for (; x_count.load(std::memory_order_relaxed) > 0; drop_oldest()) std::destroy_at(slots + x_first);
    ::operator delete(x_slots, std::align_val_t(alignof(E)));
    end();
  }

  // Under lock. The element is moved from only when the transfer is done.
  template <class E> transfer send(E& element, woken& out) noexcept {
    if (is_closed()) return transfer::closed;
    if (waiter* w = take(receivers, out)) {
      static_cast<recv_waiter<E>*>(w)->deliver(std::move(element));
      return transfer::done;
    }
    if (len() == x_capacity) return transfer::pending;
    append(std::move(element));
    return transfer::done;
  }
  // The same where nobody waits at the other end. False, having done nothing, if there is no room, or it is closed.
  template <class E> bool send_to_buffer(E& element) noexcept {
    if (len() >= x_room) return false;
    append(std::move(element));
    return true;
  }
  // Leaves the outcome, and what belongs to it, in `into`.
  template <class E> void recv(recv_waiter<E>& into, woken& out) noexcept {
    if (waiter* w = take(senders, out)) {
      recv_from(*w, into);
    } else if (len() > 0) {
      deliver_oldest(into);
    } else if (is_closed()) {
      into.close(x_error);
    }
  }
  template <class E> bool recv_from_buffer(recv_waiter<E>& into) noexcept {
    if (len() == 0) return false;
    deliver_oldest(into);
    return true;
  }
  // The same with a sender that waits, and is claimed.
  template <class E> void recv_from(waiter& sender, recv_waiter<E>& into) noexcept {
    E& element = *sent_by<E>(&sender);
    if (len() == 0) return into.deliver(std::move(element));
    deliver_oldest(into);
    append(std::move(element));
  }

  // Many at once, each as send() and recv() would. They return how many there were, and go past none that waits.
  template <class E, class Woken> std::size_t send_many(E* elements, std::size_t most, Woken& out) noexcept {
    if (is_closed()) return 0;
    std::size_t n = 0;
    for (woken one; n < most; one = {}) {
      waiter* w = take(receivers, one);
      if (!w) break;
      static_cast<recv_waiter<E>*>(w)->deliver(std::move(elements[n++]));
      out.add(one);
    }
    while (n < most && len() < x_capacity) {  // at most twice: up to the end of the ring, and from its beginning
      std::size_t at = x_first + len();
      if (at >= x_capacity) at -= x_capacity;
      std::size_t run = std::min({most - n, x_capacity - len(), x_capacity - at});
      std::uninitialized_move_n(elements + n, run, slots_of<E>() + at);
      x_count.store(len() + run, std::memory_order_relaxed);
      n += run;
    }
    return n;
  }
  // sink(first, n) takes n elements that lie in a row, and does nothing but move them.
  template <class E, class Woken, class Sink>
  std::size_t recv_many(std::size_t most, Woken& out, Sink&& sink) noexcept {
    std::size_t n = 0;
    while (n < most && len() > 0) {  // at most twice
      E* oldest = slots_of<E>() + x_first;
      std::size_t run = std::min({most - n, len(), x_capacity - x_first});
      sink(oldest, run);
      std::destroy_n(oldest, run);
      x_first += run;
      if (x_first == x_capacity) x_first = 0;
      x_count.store(len() - run, std::memory_order_relaxed);
      n += run;
    }
    for (woken one; n < most || len() < x_capacity; one = {}) {
      waiter* w = take(senders, one);
      if (!w) break;
      E* element = sent_by<E>(w);
      if (n < most) {  // the buffer is empty
        sink(element, 1);
        ++n;
      } else {
        append(std::move(*element));
      }
      out.add(one);
    }
    return n;
  }

  // False: it was closed already.
  template <class E> bool close(std::exception_ptr error) noexcept {
    woken_batch all;
    {
      park_lock::guard hold(lock(), this_processor());
      if (is_closed()) return false;
      x_closed.store(true, std::memory_order_relaxed);
      x_room = 0;
      x_error = std::move(error);
      for (woken one; waiter* w = take(receivers, one); one = {}) {
        static_cast<recv_waiter<E>*>(w)->close(x_error);  // a copy: the receiver may outlive the channel
        all.add(one);
      }
      for (woken one; waiter* w = take(senders, one); one = {}) {
        w->outcome = transfer::closed;
        all.add(one);
      }
    }
    all.fire();
    return true;
  }

  std::size_t len() const noexcept { return x_count.load(std::memory_order_relaxed); }
  std::size_t cap() const noexcept { return x_capacity; }
  bool is_closed() const noexcept { return x_closed.load(std::memory_order_relaxed); }

  void retain_closer() noexcept { x_closers.fetch_add(1, std::memory_order_relaxed); }
  bool release_closer() noexcept { return x_closers.fetch_sub(1, std::memory_order_acq_rel) == 1; }

  // In front of this object, in the part of the block that is never constructed again.
  park_lock& lock() noexcept { return reinterpret_cast<park_lock*>(this)[-1]; }
  list_head receivers;
  list_head senders;

 private:
  chan_core() = default;

  static chan_core* make_with(void* slots, std::size_t capacity);
  void end() noexcept;

  template <class E> E* slots_of() const noexcept { return static_cast<E*>(x_slots); }
  template <class E> void append(E&& element) noexcept {
    std::size_t n = len();
    std::size_t at = x_first + n;
    if (at >= x_capacity) at -= x_capacity;
    std::construct_at(slots_of<std::remove_reference_t<E>>() + at, std::move(element));
    x_count.store(n + 1, std::memory_order_relaxed);
  }
  template <class E> void deliver_oldest(recv_waiter<E>& into) noexcept {
    E* oldest = slots_of<E>() + x_first;
    into.deliver(std::move(*oldest));
    std::destroy_at(oldest);
    drop_oldest();
  }
  template <class E> static E* sent_by(waiter* w) noexcept {
    w->outcome = transfer::done;
    return static_cast<send_waiter<E>*>(w)->source;
  }
  void drop_oldest() noexcept {
    if (++x_first == x_capacity) x_first = 0;
    x_count.store(len() - 1, std::memory_order_relaxed);
  }

  std::size_t x_room = 0;
  std::size_t x_capacity = 0;
  std::size_t x_first = 0;
  std::atomic<std::size_t> x_count{0};
  void* x_slots = nullptr;
  std::exception_ptr x_error;
  std::atomic<std::uint32_t> x_handles{1};
  std::atomic<std::uint32_t> x_closers{0};
  std::atomic<bool> x_closed{false};
};

using chan_pool = immortal_pool<sizeof(park_lock) + sizeof(chan_core), sizeof(park_lock)>;

inline chan_core* chan_core::make_with(void* slots, std::size_t capacity) {
  static_assert(sizeof(park_lock) % alignof(chan_core) == 0);
  auto [block, fresh] = chan_pool::allocate();
  if (fresh) ::new (block) park_lock;
  auto* core = ::new (static_cast<std::byte*>(block) + sizeof(park_lock)) chan_core;
  core->x_slots = slots;
  core->x_room = core->x_capacity = capacity;
  return core;
}
inline void chan_core::end() noexcept {
  void* block = &lock();
  this->~chan_core();
  chan_pool::deallocate(block);
}

}  // namespace runnel::detail
