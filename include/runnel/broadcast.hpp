// SPDX-License-Identifier: BSL-1.0
// runnel/broadcast.hpp: broadcast, of which every subscription hears every element, unless it lags too far behind.
// Layer: L5
#pragma once

#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/processor.hpp>
#include <runnel/detail/wait_source.hpp>
#include <runnel/error.hpp>
#include <runnel/waiter.hpp>

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

namespace runnel {

template <class T> class broadcast;

/// What a subscription has heard: an element, which all who hear it share; or that there is none.
template <class T> class [[nodiscard("look at it: it may say that the broadcast is closed")]] heard {
 public:
  heard(std::shared_ptr<const T> element, std::uint64_t missed, bool closed) noexcept
      : x_element(std::move(element)), x_missed(missed), x_closed(closed) {}

  /// Whether there is an element.
  bool has_value() const noexcept { return static_cast<bool>(x_element); }
  explicit operator bool() const noexcept { return has_value(); }
  const T& operator*() const noexcept { return *x_element; }
  const T* operator->() const noexcept { return x_element.get(); }
  /// The element, to be kept.
  const std::shared_ptr<const T>& share() const noexcept { return x_element; }
  /// How many elements before this one were lost to this subscription, which came too late for them. Told once.
  std::uint64_t missed() const noexcept { return x_missed; }
  /// No element, and there will not be any.
  bool closed() const noexcept { return x_closed; }

 private:
  std::shared_ptr<const T> x_element;
  std::uint64_t x_missed;
  bool x_closed;
};

namespace detail {

// Invariants:
//   1. Everything changes under the hashed lock of this object; who waits is in x_waiters. Nothing of the user's runs
//      under it: elements are made before, and die after.
//   2. Elements are numbered from 0, as they are sent; number n lies at n % capacity until n + capacity is sent. A
//      subscription's next number is never above x_sent.
//   3. Somebody waits only while its subscription has heard everything and the broadcast is open.
//
//   x_sent, x_closed   written under the lock (relaxed); read anywhere as hints
template <class T> class broadcast_core {
 public:
  using element = std::shared_ptr<const T>;
  class listener;

  explicit broadcast_core(std::size_t capacity) : x_ring(capacity) {}

  park_lock& lock() const noexcept { return hashed_lock(this); }
  std::size_t capacity() const noexcept { return x_ring.size(); }
  bool is_closed() const noexcept { return x_closed.load(std::memory_order_relaxed); }
  std::uint64_t sent() const noexcept { return x_sent.load(std::memory_order_relaxed); }
  std::size_t subscriptions() const noexcept {
    park_lock::guard hold(lock(), this_processor());
    return x_subscriptions;
  }

  // The number of the first element that it will hear.
  std::uint64_t subscribe() noexcept {
    park_lock::guard hold(lock(), this_processor());
    ++x_subscriptions;
    return sent();
  }
  void unsubscribe() noexcept {
    park_lock::guard hold(lock(), this_processor());
    --x_subscriptions;
  }

  // How many subscriptions there are. `made` becomes what the ring no longer holds, and dies without the lock.
  std::size_t send(element& made) {
    woken_batch all;
    std::size_t hearing;
    {
      park_lock::guard hold(lock(), this_processor());
      if (is_closed()) throw closed_channel("runnel: the broadcast is closed");
      hearing = x_subscriptions;
      if (hearing > 0) {
        auto number = sent();
        x_ring[static_cast<std::size_t>(number % x_ring.size())].swap(made);
        x_sent.store(number + 1, std::memory_order_relaxed);
        tell_all(all);
      }
    }
    all.fire();
    return hearing;
  }
  bool close(std::exception_ptr error) noexcept {
    woken_batch all;
    {
      park_lock::guard hold(lock(), this_processor());
      if (is_closed()) return false;
      x_error = std::move(error);
      x_closed.store(true, std::memory_order_relaxed);
      tell_all(all);
    }
    all.fire();
    return true;
  }

  // Under the lock: the element with this number, or if it is gone the oldest, whose number it becomes.
  element at(std::uint64_t& number) const noexcept {
    auto n = sent();
    if (n - number > x_ring.size()) number = n - x_ring.size();
    return x_ring[static_cast<std::size_t>(number % x_ring.size())];
  }
  const std::exception_ptr& error() const noexcept { return x_error; }
  void join(waiter& w) noexcept { x_waiters.push_back(&w); }

 private:
  void tell_all(woken_batch& all) noexcept;

  std::vector<element> x_ring;
  std::atomic<std::uint64_t> x_sent{0};
  std::atomic<bool> x_closed{false};
  std::size_t x_subscriptions = 0;
  std::exception_ptr x_error;
  list_head x_waiters;
};

// A subscription's place. It changes under the core's lock, or by its owner while that does not wait.
template <class T> struct broadcast_place {
  std::shared_ptr<broadcast_core<T>> core;
  std::uint64_t next = 0;  // the number of the element that it hears next
  bool waits = false;

  bool has_news() const noexcept { return next != core->sent(); }
};

// Waiting for the next element.
//
// Invariant: x_place.waits exactly from join_queue() until this is left again: by leave_queue(), value(), or its end.
template <class T> class broadcast_operation : public source_operation<broadcast_operation<T>> {
 public:
  static constexpr bool is_lasting = true;
  static constexpr waiter::reason_t reason = waiter::reason_t::broadcast;

  explicit broadcast_operation(broadcast_place<T>& place) noexcept : x_place(place) {
    this->guard = &place.core->lock();
  }
  broadcast_operation(broadcast_operation&& other) noexcept : broadcast_operation(other.x_place) {}
  broadcast_operation& operator=(const broadcast_operation&) = delete;
  ~broadcast_operation() { leave_place(); }

  bool looks_ready(goroutine&) noexcept override { return x_place.has_news() || x_place.core->is_closed(); }
  bool ready(goroutine& me) noexcept override { return looks_ready(me); }
  void take(goroutine&) noexcept override { hear(); }
  wait_source::listed_t join_queue(goroutine&) noexcept override {
    x_joined = x_place.waits = true;
    x_place.core->join(*this);
    return {};
  }
  void leave_queue() noexcept override {
    unlink(this);
    leave_place();
  }

  // Under the lock, for somebody who has claimed this, or is it.
  void hear() noexcept {
    this->outcome = waiter::outcome_t::done;
    if (x_place.has_news()) {
      auto before = x_place.next;
      x_element = x_place.core->at(x_place.next);
      x_missed = x_place.next++ - before;
    } else if (x_place.core->error()) {
      this->outcome = waiter::outcome_t::closed_with_error;
    } else {
      this->outcome = waiter::outcome_t::closed;
    }
  }
  heard<T> value() {
    leave_place();
    auto was = std::exchange(this->outcome, waiter::outcome_t::pending);
    // written before it was closed, and never again
    if (was == waiter::outcome_t::closed_with_error) std::rethrow_exception(x_place.core->error());
    return heard<T>(std::move(x_element), std::exchange(x_missed, 0), was == waiter::outcome_t::closed);
  }

 private:
  void leave_place() noexcept {
    if (std::exchange(x_joined, false)) x_place.waits = false;
  }

  broadcast_place<T>& x_place;
  std::shared_ptr<const T> x_element;
  std::uint64_t x_missed = 0;
  bool x_joined = false;
};

template <class T> void broadcast_core<T>::tell_all(woken_batch& all) noexcept {
  for (woken one; waiter* w = take(x_waiters, one); one = {}) {
    static_cast<broadcast_operation<T>*>(static_cast<wait_source*>(w))->hear();
    all.add(one);
  }
}

}  // namespace detail

/// One hearer of a broadcast: it hears what is sent from when it was made until it dies.
///
/// Thread-safety: it has one owner, and one goroutine at a time receives from it.
/// Lifetime: it can be moved, but not while somebody waits for it; destroying it then is a reported error. It keeps the
/// broadcast alive.
template <class T> class subscription {
 public:
  using value_type = T;
  subscription(subscription&& other) noexcept : x_place(std::move(other.x_place)) { check_idle(); }
  subscription& operator=(subscription&& other) noexcept {
    subscription taken(std::move(other));
    check_idle();
    std::swap(x_place, taken.x_place);
    return *this;
  }
  ~subscription() {
    check_idle();
    if (x_place.core) x_place.core->unsubscribe();
  }

  /// Waits for the next element. Also as a case of a select.
  ///
  /// Returns: the element, with how many were missed before it; or none: the broadcast is closed, and all was heard.
  /// Suspends: while there is none; resumes on its own scheduler.
  /// Cancel-safety: nothing is lost, the next receive hears it.
  /// Throws: behind the last element, the error that the broadcast was closed with. misuse_error, if somebody waits
  /// already, or this has been moved from.
  [[nodiscard("co_await it: recv() alone hears nothing")]] auto recv() {
    check_usable();
    return detail::broadcast_operation<T>(x_place);
  }
  /// The next element if it is there, without waiting. Never throws the broadcast's error.
  /// Throws: misuse_error, as recv.
  heard<T> try_recv() {
    check_usable();
    detail::park_lock::guard hold(x_place.core->lock(), detail::this_processor());
    if (!x_place.has_news()) return heard<T>(nullptr, 0, x_place.core->is_closed());
    auto before = x_place.next;
    auto element = x_place.core->at(x_place.next);
    auto missed = x_place.next++ - before;
    return heard<T>(std::move(element), missed, false);
  }
  /// How many elements were sent that it has not heard, those that it has missed included: a snapshot.
  std::uint64_t behind() const noexcept { return x_place.core ? x_place.core->sent() - x_place.next : 0; }

 private:
  friend class broadcast<T>;
  explicit subscription(std::shared_ptr<detail::broadcast_core<T>> core) noexcept {
    x_place.next = core->subscribe();
    x_place.core = std::move(core);
  }
  void check_usable() const {
    if (!x_place.core) throw misuse_error("runnel: this subscription has been moved from");
    if (x_place.waits) throw misuse_error("runnel: a subscription is received from by one goroutine at a time");
  }
  void check_idle() const noexcept {
    if (x_place.waits) detail::fatal("a subscription was destroyed or moved while somebody waited for it");
  }

  detail::broadcast_place<T> x_place;
};

/// A channel of which everybody hears everything: each subscription hears every element that is sent after it was made.
/// send() never waits. The last `capacity` elements are kept; a subscription that lags further behind is told how many
/// it has missed, and goes on with the oldest that is there. Copies share the broadcast.
///
/// Elements are shared by those who hear them, not copied, and live until they are overwritten and nobody keeps them.
///
/// Ordering: all subscriptions hear the elements in one order. A send happens before the receives that hear it; a close
/// before those that see it.
/// Thread-safety: everything may be called from any thread; one handle object is not for two threads at once.
template <class T> class broadcast {
  static_assert(std::is_object_v<T> && !std::is_const_v<T>, "a broadcast has elements of an object type without const");

 public:
  using value_type = T;

  /// Throws: misuse_error for a capacity below 1, or an absurd one, bad_alloc; no effect then.
  explicit broadcast(std::ptrdiff_t capacity) {
    if (capacity < 1) throw misuse_error("runnel: broadcast(n) keeps at least 1 element");
    if (static_cast<std::size_t>(capacity) > PTRDIFF_MAX / sizeof(std::shared_ptr<const T>))
      throw misuse_error("runnel: a broadcast's capacity is at most what could be addressed");
    x_core = std::make_shared<detail::broadcast_core<T>>(static_cast<std::size_t>(capacity));
  }

  broadcast(const broadcast&) noexcept = default;  // a move leaves a handle behind
  broadcast& operator=(const broadcast&) noexcept = default;

  [[nodiscard("a subscription hears elements while it lives: keep it")]] subscription<T> subscribe() const {
    return subscription<T>(x_core);
  }
  /// Sends to all who are subscribed. Never waits; it overwrites the oldest element if it has to.
  ///
  /// Returns: how many subscriptions there are. If none, nothing is kept.
  /// Throws: closed_channel if it is closed, bad_alloc, what making a T from the value throws; no effect then.
  /// Complexity: O(those who wait), and one allocation.
  template <class U = T>
    requires std::constructible_from<T, U&&>
  std::size_t send(U&& value) const {
    auto made = std::shared_ptr<const T>(std::make_shared<T>(std::forward<U>(value)));
    return x_core->send(made);
  }

  /// No more elements. What has been sent is still heard; then receives say that it is closed, or throw the error.
  /// Throws: closed_channel if it is closed already.
  void close(std::exception_ptr error = nullptr) const {
    if (!x_core->close(std::move(error))) throw closed_channel("runnel: close of a closed broadcast");
  }
  template <class E>
    requires std::derived_from<std::remove_cvref_t<E>, std::exception>
  void close(E&& error) const {
    close(std::make_exception_ptr(std::forward<E>(error)));
  }
  /// False if it was closed already.
  bool close_if_open() const noexcept { return x_core->close(nullptr); }

  bool is_closed() const noexcept { return x_core->is_closed(); }
  std::size_t cap() const noexcept { return x_core->capacity(); }
  /// A snapshot.
  std::size_t subscriptions() const noexcept { return x_core->subscriptions(); }

 private:
  std::shared_ptr<detail::broadcast_core<T>> x_core;
};

}  // namespace runnel
