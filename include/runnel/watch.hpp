// SPDX-License-Identifier: BSL-1.0
// runnel/watch.hpp: watch, a value of which those who watch it see the latest.
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

namespace runnel {

template <class T> class watch;

namespace detail {

// Invariants:
//   1. Everything changes under the hashed lock of this object; who waits is in x_waiters. Nothing of the user's runs
//      under it: values are made before, and die after.
//   2. x_version counts the values; a watcher has seen one version, never above it.
//   3. Somebody waits only while its watcher has seen the latest version and the watch is open.
//
//   x_version, x_closed   written under the lock (relaxed); read anywhere as hints
template <class T> class watch_core {
 public:
  using value = std::shared_ptr<const T>;

  explicit watch_core(value first) noexcept : x_value(std::move(first)) {}

  park_lock& lock() const noexcept { return hashed_lock(this); }
  bool is_closed() const noexcept { return x_closed.load(std::memory_order_relaxed); }
  std::uint64_t version() const noexcept { return x_version.load(std::memory_order_relaxed); }
  value get() const noexcept {
    std::uint64_t seen;
    return get(seen);
  }
  value get(std::uint64_t& seen) const noexcept {
    park_lock::guard hold(lock(), this_processor());
    seen = version();
    return x_value;
  }

  // `made` becomes the value before it, and dies without the lock.
  void set(value& made) {
    woken_batch all;
    {
      park_lock::guard hold(lock(), this_processor());
      if (is_closed()) throw closed_channel("runnel: the watch is closed");
      x_value.swap(made);
      x_version.store(version() + 1, std::memory_order_relaxed);
      tell_all(all);
    }
    all.fire();
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

  const std::exception_ptr& error() const noexcept { return x_error; }
  void join(waiter& w) noexcept { x_waiters.push_back(&w); }

 private:
  void tell_all(woken_batch& all) noexcept;

  value x_value;
  std::atomic<std::uint64_t> x_version{0};
  std::atomic<bool> x_closed{false};
  std::exception_ptr x_error;
  list_head x_waiters;
};

// What a watcher has seen. It changes under the core's lock, or by its owner while that does not wait.
template <class T> struct watch_place {
  std::shared_ptr<watch_core<T>> core;
  std::uint64_t seen = 0;
  bool waits = false;

  bool has_news() const noexcept { return seen != core->version(); }
};

// Waiting for a version that was not seen.
//
// Invariant: x_place.waits exactly from join_queue() until this is left again: by leave_queue(), value(), or its end.
template <class T> class watch_operation : public source_operation<watch_operation<T>> {
 public:
  static constexpr bool is_lasting = true;
  static constexpr waiter::reason_t reason = waiter::reason_t::watch;

  explicit watch_operation(watch_place<T>& place) noexcept : x_place(place) { this->guard = &place.core->lock(); }
  watch_operation(watch_operation&& other) noexcept : watch_operation(other.x_place) {}
  watch_operation& operator=(const watch_operation&) = delete;
  ~watch_operation() { leave_place(); }

  bool looks_ready(goroutine&) noexcept override { return x_place.has_news() || x_place.core->is_closed(); }
  bool ready(goroutine& me) noexcept override { return looks_ready(me); }
  void take(goroutine&) noexcept override { see(); }
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
  void see() noexcept {
    this->outcome = waiter::outcome_t::done;
    if (x_place.has_news())
      x_place.seen = x_place.core->version();
    else if (x_place.core->error())
      this->outcome = waiter::outcome_t::closed_with_error;
    else
      this->outcome = waiter::outcome_t::closed;
  }
  bool value() {
    leave_place();
    auto was = std::exchange(this->outcome, waiter::outcome_t::pending);
    // written before it was closed, and never again
    if (was == waiter::outcome_t::closed_with_error) std::rethrow_exception(x_place.core->error());
    return was == waiter::outcome_t::done;
  }

 private:
  void leave_place() noexcept {
    if (std::exchange(x_joined, false)) x_place.waits = false;
  }

  watch_place<T>& x_place;
  bool x_joined = false;
};

template <class T> void watch_core<T>::tell_all(woken_batch& all) noexcept {
  for (woken one; waiter* w = take(x_waiters, one); one = {}) {
    static_cast<watch_operation<T>*>(static_cast<wait_source*>(w))->see();
    all.add(one);
  }
}

}  // namespace detail

/// One who watches a value, and remembers which version it has seen.
///
/// Thread-safety: it has one owner, and one goroutine at a time waits for its change.
/// Lifetime: it can be moved, but not while somebody waits for it; destroying it then is a reported error. It keeps the
/// watch alive.
template <class T> class watcher {
 public:
  using value_type = T;
  watcher(watcher&& other) noexcept : x_place(std::move(other.x_place)) { check_idle(); }
  watcher& operator=(watcher&& other) noexcept {
    watcher taken(std::move(other));
    check_idle();
    std::swap(x_place, taken.x_place);
    return *this;
  }
  ~watcher() { check_idle(); }

  /// Waits until there is a value that it has not seen. Also as a case of a select. Then it has seen it: get() it.
  ///
  /// Returns: true; false if the watch is closed, and the last value was seen.
  /// Suspends: while it has seen the latest; resumes on its own scheduler.
  /// Cancel-safety: nothing is lost: the next one tells of it.
  /// Throws: behind the last value, the error that the watch was closed with. misuse_error, if somebody waits already,
  /// or this has been moved from.
  [[nodiscard("co_await it: changed() alone does not wait")]] auto changed() {
    check_usable();
    return detail::watch_operation<T>(x_place);
  }
  /// Whether there is a value that it has not seen. Throws: misuse_error, as changed.
  bool has_changed() const {
    check_usable();
    return x_place.has_news();
  }
  /// The latest value, which it has seen then. Throws: misuse_error, as changed.
  std::shared_ptr<const T> get() {
    check_usable();
    return x_place.core->get(x_place.seen);
  }
  /// The latest value, without having seen it.
  std::shared_ptr<const T> peek() const {
    check_usable();
    return x_place.core->get();
  }

 private:
  friend class watch<T>;
  explicit watcher(std::shared_ptr<detail::watch_core<T>> core) noexcept {
    x_place.seen = core->version();
    x_place.core = std::move(core);
  }
  void check_usable() const {
    if (!x_place.core) throw misuse_error("runnel: this watcher has been moved from");
    if (x_place.waits) throw misuse_error("runnel: by a watcher one goroutine at a time waits");
  }
  void check_idle() const noexcept {
    if (x_place.waits) detail::fatal("a watcher was destroyed or moved while somebody waited for it");
  }

  detail::watch_place<T> x_place;
};

/// A value that changes, and is watched: each watcher sees the latest, and may miss those before it. For
/// configurations, states, progress. Copies share the watch.
///
/// Values are shared by those who look at them, not copied: what get() returns does not change, and lives as long as it
/// is kept.
///
/// Ordering: a set happens before the return of each changed(), get() and peek() that sees its value, or a later one.
/// Thread-safety: everything may be called from any thread; one handle object is not for two threads at once.
template <class T> class watch {
  static_assert(std::is_object_v<T> && !std::is_const_v<T>, "a watch has a value of an object type without const");

 public:
  using value_type = T;

  /// Throws: bad_alloc, and what making the value throws.
  template <class... A>
    requires std::constructible_from<T, A&&...>
  explicit watch(std::in_place_t, A&&... args)
      : x_core(std::make_shared<detail::watch_core<T>>(std::make_shared<T>(std::forward<A>(args)...))) {}
  explicit watch(T first) : watch(std::in_place, std::move(first)) {}
  watch(const watch&) noexcept = default;  // a move leaves a handle behind
  watch& operator=(const watch&) noexcept = default;

  /// One that has seen the present value, and waits for the next.
  [[nodiscard("it is told of changes while it lives: keep it")]] watcher<T> observe() const {
    return watcher<T>(x_core);
  }
  /// The latest value; also after the close.
  std::shared_ptr<const T> get() const noexcept { return x_core->get(); }
  /// The next value; wakes all who wait for it. Never waits.
  /// Throws: closed_channel if it is closed, bad_alloc, what making a T from the value throws; no effect then.
  /// Complexity: O(those who wait), and one allocation.
  template <class U = T>
    requires std::constructible_from<T, U&&>
  void set(U&& value) const {
    auto made = std::shared_ptr<const T>(std::make_shared<T>(std::forward<U>(value)));
    x_core->set(made);
  }

  /// No more values. The last is still seen; then changed() is false, or throws the error.
  /// Throws: closed_channel if it is closed already.
  void close(std::exception_ptr error = nullptr) const {
    if (!x_core->close(std::move(error))) throw closed_channel("runnel: close of a closed watch");
  }
  template <class E>
    requires std::derived_from<std::remove_cvref_t<E>, std::exception>
  void close(E&& error) const {
    close(std::make_exception_ptr(std::forward<E>(error)));
  }
  /// False if it was closed already.
  bool close_if_open() const noexcept { return x_core->close(nullptr); }
  bool is_closed() const noexcept { return x_core->is_closed(); }

 private:
  std::shared_ptr<detail::watch_core<T>> x_core;
};

}  // namespace runnel
