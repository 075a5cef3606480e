// SPDX-License-Identifier: BSL-1.0
// runnel/oneshot.hpp: oneshot, one value or error from one sender to one receiver.
// Layer: L5
#pragma once

#include <runnel/detail/chan_ops.hpp>
#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/processor.hpp>
#include <runnel/detail/wait_source.hpp>
#include <runnel/detail/waiters.hpp>
#include <runnel/error.hpp>
#include <runnel/waiter.hpp>

#include <atomic>
#include <concepts>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

namespace runnel {

namespace detail {

// The states: open; making, while the sender makes the value, which it does without the lock; then for good sent,
// failed, or dead, which is the sender's end without either. A value that was received: over.
//
// Invariants:
//   1. Everything but x_value and x_error changes under the hashed lock of this object. Those belong to the sender up
//      to `sent` and `failed`, and afterwards to who receives.
//   2. A receiver waits only while open or making; who waits for the receiver's end, only before that.
//
//   x_state, x_abandoned   written under the lock; read anywhere as hints
template <class T> class oneshot_core {
 public:
  enum class state_t : std::uint8_t { open, making, sent, failed, dead, over };
  using stored = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

  park_lock& lock() const noexcept { return hashed_lock(this); }
  state_t state() const noexcept { return x_state.load(std::memory_order_relaxed); }
  bool settled() const noexcept { return state() > state_t::making; }
  bool abandoned() const noexcept { return x_abandoned.load(std::memory_order_relaxed); }

  // Of the sender. False: nobody receives. Otherwise the value or the error is made, and settle() called.
  bool begin() {
    park_lock::guard hold(lock(), this_processor());
    if (state() != state_t::open) throw misuse_error("runnel: a oneshot is sent to once");
    if (abandoned()) return false;
    set(state_t::making);
    return true;
  }
  // Back to open: making the value has thrown.
  void give_up() noexcept {
    park_lock::guard hold(lock(), this_processor());
    set(state_t::open);
  }
  void settle(state_t s) noexcept;
  void end_sender() noexcept {
    bool waited_for;
    {
      park_lock::guard hold(lock(), this_processor());
      waited_for = !x_senders.empty();
    }
    if (waited_for) fatal("the sender of a oneshot was destroyed while somebody waited for the end of its receiver");
    if (state() == state_t::open) settle(state_t::dead);  // nobody but the sender leaves `open`
  }
  void end_receiver() noexcept {
    woken_batch all;
    bool waited_for, left_over;
    {
      park_lock::guard hold(lock(), this_processor());
      waited_for = !x_receivers.empty();
      x_abandoned.store(true, std::memory_order_relaxed);
      take_all(x_senders, all);
      left_over = state() == state_t::sent;
      if (left_over) set(state_t::over);
    }
    if (waited_for) fatal("the receiver of a oneshot was destroyed while somebody waited for it");
    all.fire();
    if (left_over) x_value.reset();
  }

  // Under the lock, once settled. What is to be received afterwards, without the lock.
  waiter::outcome_t receive() noexcept {
    if (state() == state_t::failed) return waiter::outcome_t::closed_with_error;
    if (state() != state_t::sent) return waiter::outcome_t::closed;
    set(state_t::over);
    return waiter::outcome_t::done;
  }
  std::optional<stored>& value() noexcept { return x_value; }
  std::exception_ptr& error() noexcept { return x_error; }
  list_head& receivers() noexcept { return x_receivers; }
  list_head& senders() noexcept { return x_senders; }

 private:
  void set(state_t s) noexcept { x_state.store(s, std::memory_order_relaxed); }

  std::atomic<state_t> x_state{state_t::open};
  std::atomic<bool> x_abandoned{false};
  list_head x_receivers;
  list_head x_senders;  // who waits for the receiver's end
  std::optional<stored> x_value;
  std::exception_ptr x_error;
};

// A wait by one of the two; it keeps the core alive. In a select_loop it is taken once.
template <class Self, class T> class oneshot_operation : public source_operation<Self> {
 public:
  explicit oneshot_operation(std::shared_ptr<oneshot_core<T>> core) noexcept : x_core(std::move(core)) {
    this->guard = &x_core->lock();
  }
  oneshot_operation(oneshot_operation&& other) noexcept : oneshot_operation(other.x_core) {}
  oneshot_operation& operator=(const oneshot_operation&) = delete;

  bool looks_ready(goroutine&) noexcept override { return !x_silent && static_cast<Self*>(this)->is_ready(); }
  bool ready(goroutine& me) noexcept override { return looks_ready(me); }
  wait_source::listed_t join_queue(goroutine&) noexcept override {
    if (!x_silent) static_cast<Self*>(this)->queue().push_back(this);
    return {};
  }
  void leave_queue() noexcept override { unlink(this); }
  void silence() noexcept { x_silent = true; }

 protected:
  std::shared_ptr<oneshot_core<T>> x_core;

 private:
  bool x_silent = false;
};

template <class T> class oneshot_recv_operation : public oneshot_operation<oneshot_recv_operation<T>, T> {
 public:
  static constexpr waiter::reason_t reason = waiter::reason_t::oneshot;
  using oneshot_operation<oneshot_recv_operation<T>, T>::oneshot_operation;

  bool is_ready() const noexcept { return this->x_core->settled(); }
  list_head& queue() noexcept { return this->x_core->receivers(); }
  void take(goroutine&) noexcept override { receive(); }
  void receive() noexcept { this->outcome = this->x_core->receive(); }
  received<T> value() {
    auto was = std::exchange(this->outcome, waiter::outcome_t::pending);
    if (was == waiter::outcome_t::closed_with_error) std::rethrow_exception(this->x_core->error());
    if (was != waiter::outcome_t::done) return received<T>();
    auto& stored = this->x_core->value();
    struct ender {
      std::optional<typename oneshot_core<T>::stored>& value;
      ~ender() { value.reset(); }
    } end{stored};
    if constexpr (std::is_void_v<T>)
      return true;
    else
      return received<T>(std::move(*stored));
  }
};

template <class T> class oneshot_end_operation : public oneshot_operation<oneshot_end_operation<T>, T> {
 public:
  static constexpr waiter::reason_t reason = waiter::reason_t::oneshot;
  using oneshot_operation<oneshot_end_operation<T>, T>::oneshot_operation;

  bool is_ready() const noexcept { return this->x_core->abandoned(); }
  list_head& queue() noexcept { return this->x_core->senders(); }
  void take(goroutine&) noexcept override { this->outcome = waiter::outcome_t::done; }
  void value() const noexcept {}
};

template <class T> void oneshot_core<T>::settle(state_t s) noexcept {
  woken_batch all;
  {
    park_lock::guard hold(lock(), this_processor());
    set(s);
    for (woken one; waiter* w = take(x_receivers, one); one = {}) {
      static_cast<oneshot_recv_operation<T>*>(static_cast<wait_source*>(w))->receive();
      all.add(one);
    }
  }
  all.fire();
}

}  // namespace detail

/// The half of a oneshot that sends. When it dies without having sent, the receiver learns that.
///
/// Thread-safety: one owner; the halves may be on different threads. Lifetime: it is moved, not copied. Destroying it
/// while somebody waits for abandoned() is a reported error.
template <class T> class oneshot_sender {
 public:
  using value_type = T;
  explicit oneshot_sender(std::shared_ptr<detail::oneshot_core<T>> core) noexcept : x_core(std::move(core)) {}
  oneshot_sender(oneshot_sender&&) noexcept = default;
  oneshot_sender& operator=(oneshot_sender&& other) noexcept {
    oneshot_sender taken(std::move(other));
    std::swap(x_core, taken.x_core);
    return *this;
  }
  ~oneshot_sender() {
    if (x_core) x_core->end_sender();
  }

  /// Sends the value. Never waits.
  ///
  /// Returns: false if nobody receives any more; value is whole then.
  /// Throws: misuse_error if it has sent already, or was moved from; what making a T from value throws, with no effect.
  template <class U = T>
    requires(!std::is_void_v<T> && std::is_constructible_v<T, U &&>)
  bool send(U&& value) {
    return settle(core_t::state_t::sent, [&](core_t& c) { c.value().emplace(std::forward<U>(value)); });
  }
  bool send()
    requires std::is_void_v<T>
  {
    return settle(core_t::state_t::sent, [](core_t& c) { c.value().emplace(); });
  }
  /// Sends an error, which the receive rethrows. As send.
  bool fail(std::exception_ptr error) {
    if (!error) throw misuse_error("runnel: a oneshot fails with an error, and this exception_ptr is null");
    return settle(core_t::state_t::failed, [&](core_t& c) { c.error() = std::move(error); });
  }
  template <class E>
    requires std::derived_from<std::remove_cvref_t<E>, std::exception>
  bool fail(E&& error) {
    return fail(std::make_exception_ptr(std::forward<E>(error)));
  }

  /// Whether nobody receives any more.
  bool is_abandoned() const noexcept { return !x_core || x_core->abandoned(); }
  /// Waits until nobody receives any more. Also as a case of a select.
  /// Suspends: while the receiver lives; resumes on its own scheduler. Cancel-safety: nothing to lose.
  /// Throws: misuse_error if it was moved from.
  [[nodiscard("co_await it: abandoned() alone does not wait")]] auto abandoned() const {
    return detail::oneshot_end_operation<T>(usable());
  }

 private:
  using core_t = detail::oneshot_core<T>;
  const std::shared_ptr<core_t>& usable() const {
    if (!x_core) throw misuse_error("runnel: this sender of a oneshot has been moved from");
    return x_core;
  }
  template <class F> bool settle(typename core_t::state_t s, F make) {
    core_t& core = *usable();
    if (!core.begin()) return false;
    try {
      make(core);
    } catch (...) {
      core.give_up();
      throw;
    }
    core.settle(s);
    return true;
  }

  std::shared_ptr<core_t> x_core;
};

/// The half of a oneshot that receives. When it dies, the sender can learn that.
///
/// Thread-safety: one owner; the halves may be on different threads. Lifetime: it is moved, not copied. Destroying it
/// while somebody waits for it is a reported error.
template <class T> class oneshot_receiver {
 public:
  using value_type = T;
  explicit oneshot_receiver(std::shared_ptr<detail::oneshot_core<T>> core) noexcept : x_core(std::move(core)) {}
  oneshot_receiver(oneshot_receiver&&) noexcept = default;
  oneshot_receiver& operator=(oneshot_receiver&& other) noexcept {
    oneshot_receiver taken(std::move(other));
    std::swap(x_core, taken.x_core);
    return *this;
  }
  ~oneshot_receiver() {
    if (x_core) x_core->end_receiver();
  }

  /// Waits for the value. Also as a case of a select.
  ///
  /// Returns: the value; empty if the sender has died without sending, or the value was received before. Of a
  /// oneshot<void>: a bool.
  /// Suspends: while neither has come; resumes on its own scheduler.
  /// Cancel-safety: a cancelled receive leaves the value where it is.
  /// Throws: the error that was sent, each time. misuse_error if it was moved from.
  [[nodiscard("co_await it: recv() alone receives nothing")]] auto recv() {
    return detail::oneshot_recv_operation<T>(usable());
  }
  /// The value if it is there. Never waits; never throws the error that was sent: that is `closed`.
  tried<T> try_recv() {
    using state = typename tried<T>::state_t;
    auto& core = *usable();
    {
      detail::park_lock::guard hold(core.lock(), detail::this_processor());
      if (!core.settled()) return tried<T>(state::would_block);
      if (core.receive() != detail::waiter::outcome_t::done) return tried<T>(state::closed);
    }
    tried<T> got(std::move(*core.value()));
    core.value().reset();
    return got;
  }

 private:
  const std::shared_ptr<detail::oneshot_core<T>>& usable() const {
    if (!x_core) throw misuse_error("runnel: this receiver of a oneshot has been moved from");
    return x_core;
  }

  std::shared_ptr<detail::oneshot_core<T>> x_core;
};

/// One value, or one error, from one sender to one receiver: `auto [tx, rx] = rn::oneshot<int>();`
///
/// Ordering: the send happens before the return of the receive; the receiver's end before abandoned() tells of it.
/// Throws: bad_alloc.
template <class T> [[nodiscard]] std::pair<oneshot_sender<T>, oneshot_receiver<T>> oneshot() {
  static_assert(std::is_void_v<T> || (std::is_object_v<T> && !std::is_const_v<T>),
                "a oneshot has a value of an object type without const, or void");
  auto core = std::make_shared<detail::oneshot_core<T>>();
  return {oneshot_sender<T>(core), oneshot_receiver<T>(core)};
}

}  // namespace runnel
