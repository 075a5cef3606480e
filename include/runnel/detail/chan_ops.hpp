// SPDX-License-Identifier: BSL-1.0
// runnel/detail/chan_ops.hpp: sending and receiving: awaited, tried, and blocking.
// Layer: L5
#pragma once

#include <runnel/detail/chan_core.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/error.hpp>
#include <runnel/waiter.hpp>

#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

namespace runnel {

/// What a try form found: a value, "would block", or "closed and drained".
template <class T>
class tried {
 public:
  enum class state_t : unsigned char { would_block, closed, value };
  using stored = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

  explicit tried(state_t s) noexcept : x_state(s) {}
  explicit tried(stored&& v) : x_value(std::move(v)), x_state(state_t::value) {}

  bool has_value() const noexcept { return x_state == state_t::value; }
  explicit operator bool() const noexcept { return has_value(); }
  bool would_block() const noexcept { return x_state == state_t::would_block; }
  bool closed() const noexcept { return x_state == state_t::closed; }
  stored& operator*() & noexcept { return *x_value; }
  const stored& operator*() const& noexcept { return *x_value; }
  stored&& operator*() && noexcept { return std::move(*x_value); }
  stored* operator->() noexcept { return &*x_value; }

 private:
  std::optional<stored> x_value;
  state_t x_state;
};

namespace detail {

// What a receive yields: an optional, or for chan<void> whether there was something.
template <class T>
using received = std::conditional_t<std::is_void_v<T>, bool, std::optional<std::conditional_t<std::is_void_v<T>, int, T>>>;

// Empty when the channel is closed and drained; rethrows the error that it was closed with.
template <class T>
received<T> unwrap(result_slot<element_of<T>>& slot) {
  if (slot.failed()) [[unlikely]] std::rethrow_exception(slot.take_error());
  if constexpr (std::is_void_v<T>)
    return std::exchange(slot.x_state, result_slot<unit>::state::empty) == result_slot<unit>::state::value;
  else if constexpr (std::is_same_v<element_of<T>, T>)
    return slot.has_value() ? received<T>(slot.take()) : received<T>();
  else
    return slot.has_value() ? received<T>(std::move(*slot.take())) : received<T>();
}

template <class T, class... A>
element_of<T> make_element(A&&... args) {
  if constexpr (std::is_void_v<T> || std::is_same_v<element_of<T>, T>)
    return element_of<T>(std::forward<A>(args)...);
  else
    return std::make_unique<T>(std::forward<A>(args)...);
}

// Where operations on the nil channel wait: nobody ever comes.
struct nil_channel {
  static inline constinit park_lock lock;
  static inline constinit list_head waiters;
};

// The shape of every channel operation: `Op::attempt` transfers under the lock if that is possible now.
template <class Op>
class channel_operation : public awaitable_base {
 public:
  bool suspend(promise_base* leaf) {
    goroutine& g = goroutine_of(leaf);
    auto& op = static_cast<Op&>(*this);
    if (!enter_operation(g)) [[unlikely]] return stop_here(g, leaf), true;
    if (!x_core) [[unlikely]] return wait_for_ever(g, leaf);
    processor& here = *g.proc;
    park_lock& q = x_core->lock();
    woken peer;
    bool biased = q.lock(&here);
    x_outcome = op.attempt(*x_core, peer);
    if (x_outcome != transfer::would_block) {
      q.unlock(biased);
      peer.fire(here);
      return spend_budget(g, leaf);
    }
    bool parked = park(g, leaf, q, x_waiter, op.queue(*x_core));
    q.unlock(biased);
    if (!parked) [[unlikely]] stop_here(g, leaf);
    return true;
  }

 protected:
  explicit channel_operation(chan_core* core) noexcept : x_core(core) {}
  channel_operation(const channel_operation&) = delete;
  channel_operation& operator=(const channel_operation&) = delete;
  ~channel_operation() = default;

  bool succeeded() const noexcept { return x_outcome == transfer::done || x_waiter.completed; }

  chan_core* x_core;
  waiter x_waiter;
  transfer x_outcome = transfer::would_block;

 private:
  RUNNEL_NOINLINE bool wait_for_ever(goroutine& g, promise_base* leaf) noexcept {
    bool biased = nil_channel::lock.lock(nullptr);
    bool parked = park(g, leaf, nil_channel::lock, x_waiter, nil_channel::waiters);
    nil_channel::lock.unlock(biased);
    if (!parked) stop_here(g, leaf);
    return true;
  }
};

template <class T>
class recv_operation : public channel_operation<recv_operation<T>> {
 public:
  explicit recv_operation(chan_core* core) noexcept : channel_operation<recv_operation>(core) {
    this->x_waiter.slot = &x_element;
  }
  ~recv_operation() { x_element.discard(); }
  received<T> resume() { return unwrap<T>(x_element); }

 private:
  friend channel_operation<recv_operation>;
  transfer attempt(chan_core& core, woken& peer) noexcept { return core.recv(x_element, peer); }
  static list_head& queue(chan_core& core) noexcept { return core.receivers; }

  result_slot<element_of<T>> x_element;
};

template <class T>
class send_operation : public channel_operation<send_operation<T>> {
 public:
  template <class... A>
  explicit send_operation(chan_core* core, std::in_place_t, A&&... args)
      : channel_operation<send_operation>(core), x_element(make_element<T>(std::forward<A>(args)...)) {
    this->x_waiter.slot = &x_element;
  }
  void resume() const {
    if (!this->succeeded()) [[unlikely]] throw closed_channel();
  }

 private:
  friend channel_operation<send_operation>;
  transfer attempt(chan_core& core, woken& peer) noexcept { return core.send(x_element, peer); }
  static list_head& queue(chan_core& core) noexcept { return core.senders; }

  [[no_unique_address]] element_of<T> x_element;
};

template <class T>
class send_moved_operation : public channel_operation<send_moved_operation<T>> {
 public:
  send_moved_operation(chan_core* core, T& value) noexcept
      : channel_operation<send_moved_operation>(core), x_value(value) {
    this->x_waiter.slot = &x_value;
  }
  void resume() const {
    if (!this->succeeded()) [[unlikely]] throw closed_channel();
  }

 private:
  friend channel_operation<send_moved_operation>;
  transfer attempt(chan_core& core, woken& peer) noexcept { return core.send(x_value, peer); }
  static list_head& queue(chan_core& core) noexcept { return core.senders; }

  T& x_value;
};

template <class E>
transfer attempt_send(chan_core& core, E& element) noexcept {
  woken peer;
  transfer outcome;
  {
    park_lock::guard hold(core.lock(), this_processor());
    outcome = core.send(element, peer);
  }
  peer.fire();
  return outcome;
}

// `value` is moved from, or copied if it is const, only when it is sent.
template <class T, class U>
bool try_send(chan_core* core, U& value, bool copies) {
  using E = element_of<T>;
  if (!core) return false;
  if constexpr (std::is_same_v<U, E>) {
    return attempt_send(*core, value) == transfer::done;
  } else {
    (void)copies;
    if constexpr (std::is_same_v<std::remove_const_t<U>, T> && !std::is_const_v<U> && !std::is_same_v<E, T>) {
      E boxed = std::make_unique<T>(std::move(value));  // a T whose move may throw
      if (attempt_send(*core, boxed) == transfer::done) return true;
      value = std::move(*boxed);
      return false;
    } else {
      E element = make_element<T>(value);
      return attempt_send(*core, element) == transfer::done;
    }
  }
}

template <class T>
tried<T> try_recv(chan_core* core) {
  using state = typename tried<T>::state_t;
  if (!core) return tried<T>(state::would_block);
  result_slot<element_of<T>> element;
  woken peer;
  transfer outcome;
  {
    park_lock::guard hold(core->lock(), this_processor());
    outcome = core->recv(element, peer);
  }
  peer.fire();
  if (outcome == transfer::closed) element.discard();  // the error is for those who wait
  if (outcome != transfer::done) return tried<T>(outcome == transfer::closed ? state::closed : state::would_block);
  if constexpr (std::is_void_v<T>)
    return tried<T>(std::monostate());
  else
    return tried<T>(std::move(*unwrap<T>(element)));
}

inline void refuse_blocking() {
  if (this_processor())
    throw misuse_error("runnel: a blocking_ form would block a thread that runs goroutines: co_await the plain form");
}

// Blocks a plain thread until the operation has completed. Returns whether it took effect.
template <class Attempt>
bool block_until(chan_core* core, list_head& queue, void* slot, Attempt&& attempt) {
  woken peer;
  thread_waiter self;
  self.slot = slot;
  transfer outcome;
  {
    park_lock::guard hold(core->lock(), nullptr);
    outcome = attempt(peer);
    if (outcome == transfer::would_block) queue.push_back(&self);
  }
  peer.fire();
  if (outcome != transfer::would_block) return outcome == transfer::done;
  self.wait();
  return self.completed;
}

[[noreturn]] inline void refuse_nil() {
  throw misuse_error("runnel: a blocking operation on the nil channel would block this thread for ever");
}

template <class T, class... A>
void blocking_send(chan_core* core, std::in_place_t, A&&... args) {
  refuse_blocking();
  if (!core) refuse_nil();
  auto element = make_element<T>(std::forward<A>(args)...);
  if (!block_until(core, core->senders, &element, [&](woken& peer) { return core->send(element, peer); }))
    throw closed_channel();
}

template <class T>
received<T> blocking_recv(chan_core* core) {
  refuse_blocking();
  if (!core) refuse_nil();
  result_slot<element_of<T>> element;
  block_until(core, core->receivers, &element, [&](woken& peer) { return core->recv(element, peer); });
  return unwrap<T>(element);
}

}  // namespace detail
}  // namespace runnel
