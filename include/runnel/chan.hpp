// SPDX-License-Identifier: BSL-1.0
// runnel/chan.hpp: typed channels with Go's semantics, which lose nothing when a send or receive is cancelled.
// Layer: L5
#pragma once

#include <runnel/compiler.hpp>
#include <runnel/detail/chan_core.hpp>
#include <runnel/detail/chan_many.hpp>
#include <runnel/detail/chan_ops.hpp>
#include <runnel/error.hpp>
#include <runnel/task.hpp>

#include <compare>
#include <concepts>
#include <cstddef>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

namespace runnel {

template <class T> class sender;
template <class T> class receiver;
template <class T> class closer;

/// A channel of T: a handle, of which copies share the channel.
///
/// Capacity 0 is a rendezvous: a send completes together with a receive. Otherwise a send completes while there is
/// room and a receive while there is something. Elements leave in the order in which their sends committed; waiters
/// are served in the order in which they came, and nobody overtakes a waiter. A default-constructed chan is Go's nil
/// channel: sends and receives on it wait for ever.
///
/// Cancel-safety: an operation that is cancelled, or unwound, while it waits has no effect: the element stays in the
/// channel, or in the sender. One that has committed is delivered, even if the cancellation came first to the eye.
/// Ordering: the k-th send happens before the k-th receive completes; the k-th receive before the (k + capacity)-th
/// send completes; a close before a receive that sees it.
/// Thread-safety: handles may be copied and used from any thread; one handle object is not for two threads at once.
/// Lifetime: the channel lives as long as a handle; a goroutine that waits on a channel without handles waits until
/// it is cancelled.
/// Contract: SEMANTICS.md CH-01 to CH-28 and CH-C01 to CH-C10, after the Go specification and memory model.
template <class T> class chan {
  static_assert(!std::is_reference_v<T>,
                "a channel cannot hold references: use chan<T*>, or chan<std::reference_wrapper<T>>");
  static_assert(!std::is_const_v<T>, "elements move through a channel: use chan<T> without const");
  using element = detail::element_of<T>;

 public:
  using value_type = T;

  /// The nil channel.
  chan() noexcept = default;
  /// Throws: misuse_error for a negative or absurd capacity, bad_alloc; no effect then.
  explicit chan(std::ptrdiff_t capacity) {
    if (capacity < 0) throw misuse_error("runnel: a channel's capacity cannot be negative");
    x_core = detail::chan_core::make<element>(static_cast<std::size_t>(capacity));
  }
  chan(const chan& other) noexcept : x_core(other.x_core) {
    if (x_core) x_core->retain();
  }
  chan(chan&& other) noexcept : x_core(std::exchange(other.x_core, nullptr)) {}
  chan& operator=(chan other) noexcept {
    std::swap(x_core, other.x_core);
    return *this;
  }
  ~chan() {
    if (x_core) x_core->template release<element>();
  }

  /// Receives the next value, waiting until there is one.
  ///
  /// Returns: the value; empty when the channel is closed and drained (for chan<void>: a bool).
  /// Suspends: while there is nothing; resumes on its own scheduler.
  /// Cancel-safety: a cancelled receive leaves the value in the channel.
  /// Throws: from the drained channel, the error that it was closed with.
  [[nodiscard("co_await it: ch.recv() alone receives nothing")]] auto recv() const noexcept {
    return detail::recv_operation<T>(x_core);
  }

  /// Sends a value, waiting until it has room or a receiver. The value is moved or copied in at the call; of a value
  /// that is handed over as rn::moved(x) only a reference is kept, and x is moved from when the send commits.
  ///
  /// Suspends: while there is no room and no receiver; resumes on its own scheduler.
  /// Cancel-safety: a cancelled send sends nothing; x of rn::moved(x) is whole.
  /// Throws: closed_channel if the channel is closed, or is closed while the send waits; nothing is sent then.
  template <class U = T>
    requires(detail::makes_element<T, U>)
  [[nodiscard("co_await it: ch.send(x) alone sends nothing")]] auto send(U&& value) const {
    detail::refuse_hazardous<U>();
    return detail::send_operation<T>(x_core, std::in_place, std::forward<U>(value));
  }
  [[nodiscard("co_await it: ch.send(x) alone sends nothing")]] auto send(moved_ref<T> value) const
    requires(!std::is_void_v<T>)
  {
    static_assert(std::is_same_v<element, T>, "T's move may throw, so it cannot wait outside: send it by value");
    return detail::send_moved_operation<T>(x_core, value.get());
  }
  [[nodiscard("co_await it: ch.send() alone sends nothing")]] auto send() const
    requires std::is_void_v<T>
  {
    return detail::send_operation<T>(x_core, std::in_place);
  }
  /// Sends T(args...), made at the call.
  template <class... A>
  [[nodiscard("co_await it: ch.emplace(x) alone sends nothing")]] auto emplace(A&&... args) const {
    detail::refuse_hazardous<A...>();
    return detail::send_operation<T>(x_core, std::in_place, detail::unmoved(std::forward<A>(args))...);
  }

  /// Sends the elements of a range, in order: many under one entry of the channel's lock where there is room, or
  /// receivers wait. Elements of others may come between two of them. The range is a named std::vector<T>, a
  /// std::span<T>, or another contiguous range of T that has an erase(); it is left alone meanwhile.
  ///
  /// However it ends, what was sent has been moved from and taken out of the range (a span is moved on behind it), and
  /// what was not sent is in it, whole and in order.
  ///
  /// Suspends: while elements are left and there is no room and no receiver; resumes on its own scheduler.
  /// Cancel-safety: nothing is lost: what has not been sent is in the range.
  /// Throws: closed_channel if the channel is closed while elements are left; they are in the range. bad_alloc at the
  /// call, for its frame.
  template <class R>
    requires(!std::is_void_v<T>)
  [[nodiscard("co_await it: ch.send_many(range) alone sends nothing")]] task<> send_many(R&& range) const {
    detail::check_outgoing<R, T>();
    return detail::send_all<T, std::remove_reference_t<R>>(detail::chan_hold<element>(x_core), range);
  }

  /// Receives what is there, in order, and at most `max`: many under one entry of the channel's lock. Waits until there
  /// is at least one. What is received is appended to `out`, which is left alone meanwhile; or returned.
  ///
  /// Returns: how many; or them. 0, or none, only if the channel is closed and drained.
  /// Suspends: while there is nothing; resumes on its own scheduler.
  /// Cancel-safety: a cancelled receive leaves everything in the channel.
  /// Throws: from the drained channel, the error that it was closed with. misuse_error if max is less than 1. bad_alloc
  /// if there is no memory for the first: nothing is received then.
  [[nodiscard("co_await it: ch.recv_many(out, max) alone receives nothing")]] auto recv_many(std::vector<T>& out,
                                                                                             std::ptrdiff_t max) const
    requires(!std::is_void_v<T>)
  {
    return detail::recv_many_operation<T, std::vector<T>&>(x_core, out, max);
  }
  [[nodiscard("co_await it: ch.recv_many(max) alone receives nothing")]] auto recv_many(std::ptrdiff_t max) const
    requires(!std::is_void_v<T>)
  {
    return detail::recv_many_operation<T, std::vector<T>>(x_core, std::vector<T>(), max);
  }

  /// Calls f with each element, as an rvalue, until the channel is closed and drained. f may be a coroutine that
  /// returns a task: then the next element is received when that is done. f lives in the frame of the call.
  ///
  /// Suspends: as recv. Cancel-safety: what has not been handed to f is in the channel.
  /// Throws: what recv throws; what f throws, with that element gone and the others in the channel.
  template <class F> [[nodiscard("co_await it: ch.for_each(f) alone receives nothing")]] task<> for_each(F&& f) const {
    detail::refuse_hazardous<F>();
    if constexpr (detail::is_moved_ref<std::remove_cvref_t<F>>)
      return receive_each(std::move(f.get()));
    else
      return receive_each(std::forward<F>(f));
  }

  /// Sends if that is possible now. Never waits. A T that is handed over as an rvalue, or as rn::moved(x), is moved
  /// from if it is sent; of anything else the element is a copy.
  ///
  /// Returns: true if sent. Otherwise value is whole: it would have to wait, or the channel is closed.
  template <class U = T>
    requires(detail::makes_element<T, U>)
  bool try_send(U&& value) const {
    static_assert(std::is_same_v<U, T> || std::is_constructible_v<T, std::remove_reference_t<U>&>,
                  "make a T first, `T x(...);`, and write ch.try_send(std::move(x)): what is not sent has to be whole");
    return detail::try_send<T>(x_core, std::forward<U>(value));
  }
  bool try_send(moved_ref<T> value) const
    requires(!std::is_void_v<T>)
  {
    return detail::try_send<T>(x_core, std::move(value.get()));
  }
  bool try_send() const
    requires std::is_void_v<T>
  {
    return detail::try_send<T>(x_core, detail::unit());
  }
  /// Receives if that is possible now. Never waits, never throws the channel's error.
  tried<T> try_recv() const { return detail::try_recv<T>(x_core); }

  /// The forms for plain threads, which block. Refused with misuse_error on a thread that runs goroutines.
  template <class U = T>
    requires(detail::makes_element<T, U>)
  void blocking_send(U&& value) const {
    detail::blocking_send<T>(x_core, detail::make_element<T>(std::forward<U>(value)));
  }
  void blocking_send(moved_ref<T> value) const
    requires(!std::is_void_v<T>)
  {
    static_assert(std::is_same_v<element, T>, "T's move may throw, so it cannot wait outside: send it by value");
    detail::blocking_send<T>(x_core, value.get());
  }
  void blocking_send() const
    requires std::is_void_v<T>
  {
    detail::blocking_send<T>(x_core, detail::unit());
  }
  auto blocking_recv() const { return detail::blocking_recv<T>(x_core); }

  /// Closes the channel: what is buffered is still received, then receives yield empty; waiting and later sends throw.
  ///
  /// Throws: closed_channel if it is closed already, misuse_error for the nil channel.
  void close() const { close(nullptr); }
  /// The same; receives from the drained channel rethrow the error.
  void close(std::exception_ptr error) const {
    if (!x_core) throw misuse_error("runnel: close of the nil channel");
    if (!x_core->template close<element>(std::move(error))) throw closed_channel("runnel: close of a closed channel");
  }
  template <class E>
    requires std::derived_from<std::remove_cvref_t<E>, std::exception>
  void close(E&& error) const {
    close(std::make_exception_ptr(std::forward<E>(error)));
  }
  /// False if it was closed already.
  bool close_if_open() const noexcept { return x_core && x_core->template close<element>(nullptr); }
  /// A handle of which the last copy to die closes the channel, if it is open.
  runnel::closer<T> closer() const;

  /// How many elements are buffered: a snapshot. How many fit. Both 0 for the nil channel.
  std::size_t len() const noexcept { return x_core ? x_core->len() : 0; }
  std::size_t cap() const noexcept { return x_core ? x_core->cap() : 0; }
  bool is_closed() const noexcept { return x_core && x_core->is_closed(); }
  /// False for the nil channel.
  explicit operator bool() const noexcept { return x_core; }

  friend bool operator==(const chan& a, const chan& b) noexcept { return a.x_core == b.x_core; }

 private:
  friend class runnel::closer<T>;
  template <class F> task<> receive_each(F&& f) const {
    using function = std::decay_t<F>;
    if constexpr (std::is_void_v<T>)
      static_assert(std::is_invocable_v<function&>, "for_each of a chan<void> calls f without arguments");
    else
      static_assert(std::is_invocable_v<function&, T>, "for_each calls f with each element, as an rvalue");
    return detail::receive_each<T, function>(detail::chan_hold<element>(x_core), std::forward<F>(f));
  }

  friend struct detail::chan_access;
  detail::chan_core* x_core = nullptr;
};

/// The half of a channel that can be received from.
template <class T> class receiver {
 public:
  using value_type = T;
  receiver() noexcept = default;
  receiver(chan<T> ch) noexcept : x_chan(std::move(ch)) {}

  [[nodiscard("co_await it: ch.recv() alone receives nothing")]] auto recv() const noexcept { return x_chan.recv(); }
  [[nodiscard("co_await it: recv_many(out, max) alone receives nothing")]] auto recv_many(std::vector<T>& out,
                                                                                          std::ptrdiff_t max) const {
    return x_chan.recv_many(out, max);
  }
  [[nodiscard("co_await it: recv_many(max) alone receives nothing")]] auto recv_many(std::ptrdiff_t max) const {
    return x_chan.recv_many(max);
  }
  template <class F> [[nodiscard("co_await it: for_each(f) alone receives nothing")]] task<> for_each(F&& f) const {
    return x_chan.for_each(std::forward<F>(f));
  }
  tried<T> try_recv() const { return x_chan.try_recv(); }
  auto blocking_recv() const { return x_chan.blocking_recv(); }
  std::size_t len() const noexcept { return x_chan.len(); }
  std::size_t cap() const noexcept { return x_chan.cap(); }
  bool is_closed() const noexcept { return x_chan.is_closed(); }
  explicit operator bool() const noexcept { return static_cast<bool>(x_chan); }
  friend bool operator==(const receiver&, const receiver&) noexcept = default;

 private:
  friend struct detail::chan_access;
  chan<T> x_chan;
};

/// The half of a channel that can be sent to, and closed.
template <class T> class sender {
 public:
  using value_type = T;
  sender() noexcept = default;
  sender(chan<T> ch) noexcept : x_chan(std::move(ch)) {}

  template <class... U>
    requires requires(const chan<T>& ch, U&&... u) { ch.send(std::forward<U>(u)...); }
  [[nodiscard("co_await it: ch.send(x) alone sends nothing")]] auto send(U&&... value) const {
    return x_chan.send(std::forward<U>(value)...);
  }
  template <class... A>
  [[nodiscard("co_await it: ch.emplace(x) alone sends nothing")]] auto emplace(A&&... args) const {
    return x_chan.emplace(std::forward<A>(args)...);
  }
  template <class R>
  [[nodiscard("co_await it: send_many(range) alone sends nothing")]] task<> send_many(R&& range) const {
    return x_chan.send_many(std::forward<R>(range));
  }
  template <class... U> bool try_send(U&&... value) const { return x_chan.try_send(std::forward<U>(value)...); }
  template <class... U> void blocking_send(U&&... value) const { x_chan.blocking_send(std::forward<U>(value)...); }
  template <class... E> void close(E&&... error) const { x_chan.close(std::forward<E>(error)...); }
  bool close_if_open() const noexcept { return x_chan.close_if_open(); }
  runnel::closer<T> closer() const { return x_chan.closer(); }
  std::size_t len() const noexcept { return x_chan.len(); }
  std::size_t cap() const noexcept { return x_chan.cap(); }
  bool is_closed() const noexcept { return x_chan.is_closed(); }
  explicit operator bool() const noexcept { return static_cast<bool>(x_chan); }
  friend bool operator==(const sender&, const sender&) noexcept = default;

 private:
  friend struct detail::chan_access;
  chan<T> x_chan;
};

/// Closes its channel, if it is open, when the last copy dies.
template <class T> class [[nodiscard("the channel is closed when this dies: keep it")]] closer {
 public:
  explicit closer(chan<T> ch) : x_chan(std::move(ch)), x_core(x_chan.x_core) {
    if (!x_core) throw misuse_error("runnel: the nil channel cannot be closed");
    x_core->retain_closer();
  }
  closer(const closer& other) noexcept : x_chan(other.x_chan), x_core(other.x_core) {
    if (x_core) x_core->retain_closer();
  }
  closer(closer&& other) noexcept : x_chan(std::move(other.x_chan)), x_core(std::exchange(other.x_core, nullptr)) {}
  closer& operator=(closer other) noexcept {
    std::swap(x_chan, other.x_chan);
    std::swap(x_core, other.x_core);
    return *this;
  }
  ~closer() {
    if (x_core && x_core->release_closer()) x_chan.close_if_open();
  }

 private:
  chan<T> x_chan;
  detail::chan_core* x_core;
};

template <class T> closer<T> chan<T>::closer() const { return runnel::closer<T>(*this); }

}  // namespace runnel
