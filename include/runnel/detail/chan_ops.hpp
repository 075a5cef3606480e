// SPDX-License-Identifier: BSL-1.0
// runnel/detail/chan_ops.hpp: sending and receiving: awaited, tried, and blocking.
// Layer: L5
#pragma once

#include <runnel/compiler.hpp>
#include <runnel/detail/chan_core.hpp>
#include <runnel/detail/pool_thread.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/detail/whole_optional.hpp>
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
template <class T> class tried {
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
using received =
    std::conditional_t<std::is_void_v<T>, bool, std::optional<std::conditional_t<std::is_void_v<T>, int, T>>>;

template <class E> [[noreturn]] RUNNEL_NOINLINE void rethrow_error_of(recv_waiter<E>& w) {
  std::exception_ptr error = w.error();
  w.discard();
  std::rethrow_exception(std::move(error));
}

// With bytes that are known, where that costs nothing: else g++ warns, where all is inlined, of what nobody reads.
template <class T> constexpr received<T> nothing_received() {
  if constexpr (!std::is_void_v<T> && std::is_trivial_v<T>) {
    received<T> none{std::in_place};
    none.reset();
    return none;
  } else {
    return received<T>();
  }
}

// What was received; empty when the channel is closed and drained; rethrows the error that it was closed with.
template <class T> RUNNEL_ALWAYS_INLINE received<T> unwrap(recv_waiter<element_of<T>>& w) {
  using E = element_of<T>;
  if (w.outcome != transfer::done) [[unlikely]] {
    if (w.outcome == transfer::closed_with_error) rethrow_error_of(w);
    return nothing_received<T>();
  }
  struct ender {
    recv_waiter<E>& w;
    ~ender() {
      if constexpr (!recv_waiter<E>::ends_by_itself) {
        std::destroy_at(&w.element());
        w.outcome = transfer::pending;
      }
    }
  } end{w};
  if constexpr (std::is_void_v<T>)
    return true;
  else if constexpr (std::is_same_v<E, T>)
    return make_whole_optional<T>(std::move(w.element()));
  else
    return received<T>(std::move(*w.element()));
}

// What a value to send can be: a T can be made of it, and it is none that is handed over as rn::moved(x), which has
// overloads of its own.
template <class T, class U>
concept makes_element =
    !std::is_void_v<T> && !is_moved_ref<std::remove_cvref_t<U>> && std::is_constructible_v<T, U&&>;

template <class T, class... A> element_of<T> make_element(A&&... args) {
  if constexpr (std::is_void_v<T> || std::is_same_v<element_of<T>, T>)
    return element_of<T>(std::forward<A>(args)...);
  else
    return std::make_unique<T>(std::forward<A>(args)...);
}

// Where operations on the nil channel wait: nobody ever comes.
struct nil_channel {
  RUNNEL_SHARED static inline constinit park_lock lock;
  RUNNEL_SHARED static inline constinit list_head waiters;
  static bool wait(goroutine& g, promise_base* leaf, waiter& w) noexcept {
    bool biased = lock.lock(nullptr);
    bool parked = park(g, leaf, lock, w, waiters);
    lock.unlock(biased);
    return parked || stop_here(g, leaf);
  }
};

// The channel behind a handle, for operations that are no members of it.
struct chan_access {
  template <class Channel> static chan_core* core(const Channel& ch) noexcept {
    if constexpr (requires { ch.x_core; })
      return ch.x_core;
    else
      return ch.x_chan.x_core;
  }
};

// The shape of every channel operation. Waiter is what it leaves in a queue; Op says what it attempts under the lock.
//
// The frequent ways come first, each under a lock that is biased to this processor: hand in hand with a peer that
// waits, else by the buffer, else to sleep. Each is one run of code that calls nothing but at its end: no register has
// to be saved, and hardly a jump is taken (decision 029). meet() is the whole.
template <class Op, class Waiter> class channel_operation : public awaitable_base {
 public:
  // The frame that awaits this; kept where the waiter is linked once it waits.
  void keep_frame(promise_base* leaf) noexcept { x_waiter.next = reinterpret_cast<list_link*>(leaf); }
  promise_base* kept_frame() const noexcept { return reinterpret_cast<promise_base*>(x_waiter.next); }

  // The channel by value: it is at hand where this is called.
  bool suspend(promise_base* leaf) { return suspend(leaf, core()); }
  bool suspend(promise_base* leaf, chan_core* core) {
    goroutine* g = leaf->g;
    if (!g) [[unlikely]]
      return suspend_rarely(leaf, core);
    if (!core) [[unlikely]]
      return suspend_rarely(leaf, core);
    if (!may_operate(*g)) [[unlikely]]
      return suspend_rarely(leaf, core);
    if (!core->lock().enter_biased_first(g->proc)) [[unlikely]]
      return meet(leaf, *core, *g);
    if (list_head& peers = Op::peers(*core); !peers.empty()) {
      auto* peer = static_cast<waiter*>(peers.first());
      if (peer->kind != waiter::kind_t::plain) [[unlikely]]
        return meet(leaf, *core, *g, true);
      return shake_hands(leaf, *core, *g, *peer);
    }
    if (Op::by_buffer(*core, x_waiter)) {
      core->lock().leave_biased();
      return spend_budget(*g, leaf);
    }
    if (g->listed && !core->is_closed()) [[likely]]
      return sleep(leaf, *core, *g);
    return meet(leaf, *core, *g, true);
  }

 protected:
  template <class... A> explicit channel_operation(chan_core* core, A&... args) noexcept : x_waiter(args...) {
    x_waiter.before_parking = core;
  }
  channel_operation(const channel_operation&) = delete;
  channel_operation& operator=(const channel_operation&) = delete;
  ~channel_operation() = default;
  // What it was made for; while it does not wait.
  chan_core* core() const noexcept { return static_cast<chan_core*>(x_waiter.before_parking); }

  RUNNEL_ALWAYS_INLINE void check_sent() const {
    if (x_waiter.outcome != transfer::done) [[unlikely]]
      throw_closed();
  }
  Waiter x_waiter;

 private:
  [[noreturn]] RUNNEL_NOINLINE static void throw_closed() { throw closed_channel(); }
  friend struct select_access;

  // Under the channel's lock, which they leave. A lock that is not biased is meet()'s alone.
  RUNNEL_ALWAYS_INLINE bool shake_hands(promise_base* leaf, chan_core& core, goroutine& g, waiter& peer) noexcept {
    Op::peers(core).drop_front();
    goroutine* woken = claim_plain(peer);
    Op::by_hand(core, x_waiter, peer);
    core.lock().leave_biased();
    return wake_and_spend_budget(*g.proc, woken, g, leaf);
  }
  RUNNEL_ALWAYS_INLINE bool sleep(promise_base* leaf, chan_core& core, goroutine& g) noexcept {
    bool parked = park(g, leaf, core.lock(), x_waiter, Op::queue(core), true);
    core.lock().leave_biased();
    return parked || stop_here(g, leaf);
  }
  RUNNEL_NOINLINE bool meet(promise_base* leaf, chan_core& core, goroutine& g, bool biased) noexcept {
    woken peer;
    Op::attempt(core, x_waiter, peer);
    const bool waits = x_waiter.outcome == transfer::pending;
    const bool is_listed = g.listed;
    const bool parked = waits && is_listed && park(g, leaf, core.lock(), x_waiter, Op::queue(core));
    core.lock().unlock(biased);
    if (parked) return true;  // and g may run elsewhere by now
    if (waits && !is_listed && enter_operation(g)) return meet(leaf, core, g);  // now it can be found
    if (waits) return stop_here(g, leaf);
    peer.fire(*g.proc);
    return spend_budget(g, leaf);
  }
  RUNNEL_NOINLINE bool meet(promise_base* leaf, chan_core& core, goroutine& g) noexcept {
    return meet(leaf, core, g, core.lock().lock(g.proc));
  }

  RUNNEL_NOINLINE bool suspend_rarely(promise_base* leaf, chan_core* core) {
    goroutine& g = goroutine_of(leaf);
    if (!enter_operation(g)) return stop_here(g, leaf);
    if (!core) return nil_channel::wait(g, leaf, x_waiter);
    return meet(leaf, *core, g);
  }
};

template <class T> class recv_operation : public channel_operation<recv_operation<T>, recv_waiter<element_of<T>>> {
 public:
  explicit recv_operation(chan_core* core) noexcept : recv_operation::channel_operation(core) {}
  recv_operation(recv_operation&& other) noexcept : recv_operation::channel_operation(other.core()) {}
  recv_operation& operator=(recv_operation&& other) noexcept {
    this->x_waiter.before_parking = other.core();
    return *this;
  }
  ~recv_operation() {
    if (this->x_waiter.holds_something()) [[unlikely]]
      this->x_waiter.discard();
  }
  RUNNEL_ALWAYS_INLINE received<T> resume() { return unwrap<T>(this->x_waiter); }

  using waiter_type = recv_waiter<element_of<T>>;
  static bool by_buffer(chan_core& core, waiter_type& w) noexcept { return core.recv_from_buffer(w); }
  static void by_hand(chan_core& core, waiter_type& w, waiter& sender) noexcept { core.recv_from(sender, w); }
  static void attempt(chan_core& core, waiter_type& w, woken& peer) noexcept { core.recv(w, peer); }
  static list_head& queue(chan_core& core) noexcept { return core.receivers; }
  static list_head& peers(chan_core& core) noexcept { return core.senders; }
};

template <class E> struct sending {
  static bool by_buffer(chan_core& core, send_waiter<E>& w) noexcept {
    if (!core.send_to_buffer(*w.source)) return false;
    w.outcome = transfer::done;
    return true;
  }
  static void by_hand(chan_core&, send_waiter<E>& w, waiter& receiver) noexcept {
    static_cast<recv_waiter<E>&>(receiver).deliver(std::move(*w.source));
    w.outcome = transfer::done;
  }
  static void attempt(chan_core& core, send_waiter<E>& w, woken& peer) noexcept {
    w.outcome = core.send(*w.source, peer);
  }
  static list_head& queue(chan_core& core) noexcept { return core.senders; }
  static list_head& peers(chan_core& core) noexcept { return core.receivers; }
};

template <class T> class send_operation : public channel_operation<sending<element_of<T>>, send_waiter<element_of<T>>> {
 public:
  template <class... A>
  explicit send_operation(chan_core* core, std::in_place_t, A&&... args)
      : send_operation::channel_operation(core, x_element), x_element(make_element<T>(std::forward<A>(args)...)) {}
  send_operation(send_operation&& other) noexcept
      : send_operation::channel_operation(other.core(), x_element), x_element(std::move(other.x_element)) {}
  RUNNEL_ALWAYS_INLINE void resume() const { this->check_sent(); }

 private:
  [[no_unique_address]] element_of<T> x_element;
};

template <class T> class send_moved_operation : public channel_operation<sending<T>, send_waiter<T>> {
 public:
  send_moved_operation(chan_core* core, T& value) noexcept : send_moved_operation::channel_operation(core, value) {}
  send_moved_operation(send_moved_operation&& other) noexcept
      : send_moved_operation::channel_operation(other.core(), *other.x_waiter.source) {}
  void resume() const { this->check_sent(); }
};

template <class E> transfer attempt_send(chan_core& core, E& element) noexcept {
  woken peer;
  transfer outcome;
  {
    park_lock::guard hold(core.lock(), this_processor());
    outcome = core.send(element, peer);
  }
  peer.fire();
  return outcome;
}

// An rvalue of what is sent is moved from, and only if it is sent; of anything else the element is a copy.
template <class T, class U> bool try_send(chan_core* core, U&& value) {
  using E = element_of<T>;
  if (!core) return false;
  if constexpr (std::is_same_v<U, E>) {
    return attempt_send(*core, value) == transfer::done;
  } else if constexpr (std::is_same_v<U, T>) {
    E boxed = std::make_unique<T>(std::move(value));  // a T whose move may throw
    if (attempt_send(*core, boxed) == transfer::done) return true;
    value = std::move(*boxed);
    return false;
  } else {
    E element = make_element<T>(value);
    return attempt_send(*core, element) == transfer::done;
  }
}

template <class T> tried<T> try_recv(chan_core* core) {
  using state = typename tried<T>::state_t;
  if (!core) return tried<T>(state::would_block);
  recv_waiter<element_of<T>> into;
  woken peer;
  {
    park_lock::guard hold(core->lock(), this_processor());
    core->recv(into, peer);
  }
  peer.fire();
  if (into.outcome == transfer::pending) return tried<T>(state::would_block);
  if (into.outcome != transfer::done) {
    into.discard();  // an error is for those who wait
    return tried<T>(state::closed);
  }
  if constexpr (std::is_void_v<T>)
    return tried<T>(std::monostate());
  else
    return tried<T>(std::move(*unwrap<T>(into)));
}

// A plain thread that waits in a channel's queue.
template <class Waiter> class blocked_thread : public Waiter {
 public:
  template <class... A> explicit blocked_thread(chan_core* core, A&... args) : Waiter(args...) {
    if (is_pool_thread())
      throw misuse_error("runnel: a blocking_ form would block a thread that runs goroutines: co_await the plain form");
    if (!core) throw misuse_error("runnel: a blocking operation on the nil channel would block this thread for ever");
    this->kind = waiter::kind_t::foreign;
    this->wake = [](waiter& self) noexcept {
      static_cast<blocked_thread&>(static_cast<Waiter&>(self)).x_thread.notify();
    };
  }
  template <class Op> void complete(chan_core& core) {
    woken peer;
    bool waits;
    {
      park_lock::guard hold(core.lock(), nullptr);
      Op::attempt(core, *this, peer);
      waits = this->outcome == transfer::pending;
      if (waits) Op::queue(core).push_back(this);
    }
    peer.fire();
    if (waits) x_thread.wait();
  }

 private:
  thread_parker x_thread;
};

template <class T> void blocking_send(chan_core* core, element_of<T>& element) {
  blocked_thread<send_waiter<element_of<T>>> self(core, element);
  self.template complete<sending<element_of<T>>>(*core);
  if (self.outcome != transfer::done) throw closed_channel();
}
template <class T> void blocking_send(chan_core* core, element_of<T>&& element) { blocking_send<T>(core, element); }

template <class T> received<T> blocking_recv(chan_core* core) {
  blocked_thread<recv_waiter<element_of<T>>> self(core);
  self.template complete<recv_operation<T>>(*core);
  return unwrap<T>(self);
}

}  // namespace detail
}  // namespace runnel
