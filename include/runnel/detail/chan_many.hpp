// SPDX-License-Identifier: BSL-1.0
// runnel/detail/chan_many.hpp: sending and receiving many elements under one entry of the channel's lock.
// Layer: L5
#pragma once

#include <runnel/detail/chan_core.hpp>
#include <runnel/detail/chan_ops.hpp>
#include <runnel/detail/goroutine.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/processor.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/detail/wait_operation.hpp>
#include <runnel/error.hpp>
#include <runnel/task.hpp>
#include <runnel/waiter.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <functional>
#include <iterator>
#include <new>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace runnel::detail {

// Nobody holds the lock for longer than it takes to move so many elements: others spin meanwhile.
inline constexpr std::size_t most_in_one_hold = 256;

// A handle: an operation that comes back to the channel after it has waited keeps it alive.
template <class E> class chan_hold {
 public:
  explicit chan_hold(chan_core* core) noexcept : x_core(core) {
    if (core) core->retain();
  }
  chan_hold(chan_hold&& other) noexcept : x_core(std::exchange(other.x_core, nullptr)) {}
  chan_hold& operator=(chan_hold&&) = delete;
  ~chan_hold() {
    if (x_core) x_core->template release<E>();
  }
  chan_core* get() const noexcept { return x_core; }

 private:
  chan_core* x_core;
};

// Whom to wake, mostly one: who comes first runs next, as after a plain send or receive.
class woken_few {
 public:
  void add(const woken& w) noexcept {
    if (!x_first.g && !x_first.other)
      x_first = w;
    else
      x_others.add(w);
  }
  void fire(processor& here) noexcept {
    x_first.fire(here);
    x_others.fire();
  }
  void fire() noexcept {
    x_first.fire();
    x_others.fire();
  }

 private:
  woken x_first;
  woken_batch x_others;
};

// Receives into Out, a vector or a reference to one. It waits as a plain receive does, for one element; whatever else
// is there, then or at once, it takes in few holds of the lock.
//
// Invariants:
//   1. What it takes under the lock has its place in x_out already: nothing is received that memory might fail for.
//   2. It takes no more than x_most, which the capacity bounds: peers that keep the channel filled cannot keep it busy.
//   3. x_waiter holds an element, or how the channel was closed, only if x_got == 0.
template <class T, class Out> class recv_many_operation : public awaitable_base {
  using E = element_of<T>;
  static constexpr bool boxed = !std::is_same_v<E, T>;  // T's move may throw: it leaves its box outside of the lock

 public:
  recv_many_operation(chan_core* core, Out out, std::ptrdiff_t most)
      : x_core(core), x_out(static_cast<Out&&>(out)), x_most(static_cast<std::size_t>(most)) {
    if (most < 1) throw misuse_error("runnel: recv_many(max) takes a max of at least 1");
  }
  recv_many_operation(recv_many_operation&& other) noexcept  // of what has not begun
      : x_core(std::move(other.x_core)), x_out(static_cast<Out&&>(other.x_out)), x_most(other.x_most) {}
  recv_many_operation& operator=(const recv_many_operation&) = delete;
  ~recv_many_operation() {
    if (x_waiter.outcome != transfer::pending) x_waiter.discard();
  }

  bool suspend(promise_base* leaf) {
    goroutine& g = goroutine_of(leaf);
    if (!enter_operation(g)) [[unlikely]]
      return stop_here(g, leaf);
    if (!x_core.get()) return nil_channel::wait(g, leaf, x_waiter);
    chan_core& core = *x_core.get();
    x_most = std::min(x_most, core.cap() + 4 * most_in_one_hold);
    std::size_t wanted = std::max<std::size_t>(what_is_there(), 1);
    make_room(wanted);
    woken_few peers;
    woken peer;
    bool waits = false, parked = false;
    bool biased = core.lock().lock(g.proc);
    take(wanted, peers);
    if (x_got == 0) {  // closed, or nothing there; or it is boxed
      core.recv(x_waiter, peer);
      waits = x_waiter.outcome == transfer::pending;
      parked = waits && park(g, leaf, core.lock(), x_waiter, core.receivers);
    }
    core.lock().unlock(biased);  // last touch, if parked
    if (waits) return parked || stop_here(g, leaf);
    peers.fire(*g.proc);
    peer.fire(*g.proc);
    if (x_got > 0) take_the_rest();
    return spend_budget(g, leaf);
  }
  std::conditional_t<std::is_reference_v<Out>, std::size_t, std::vector<T>> resume() {
    if (x_got == 0) take_the_first();
    if constexpr (std::is_reference_v<Out>)
      return x_got;
    else
      return std::move(x_out);
  }

 private:
  // A guess, without the lock; no more than may be taken in one hold.
  std::size_t what_is_there() const noexcept {
    chan_core& core = *x_core.get();
    std::size_t n = core.len();
    if (!core.senders.looks_empty()) n += most_in_one_hold / 8;
    return std::min({n, most_in_one_hold, x_most - x_got});
  }
  void make_room(std::size_t n) {
    if (x_out.capacity() - x_out.size() >= n) return;
    x_out.reserve(std::max(x_out.size() + n, 2 * x_out.capacity()));
  }
  // Under the lock.
  void take(std::size_t most, woken_few& peers) noexcept {
    if constexpr (!boxed)
      x_got += x_core.get()->template recv_many<E>(most, peers, [this](E* first, std::size_t n) {
        if constexpr (std::is_move_assignable_v<T>)  // which insert() asks for
          x_out.insert(x_out.end(), std::move_iterator(first), std::move_iterator(first + n));
        else
          for (E* last = first + n; first != last; ++first) x_out.push_back(std::move(*first));
      });
  }
  void take_the_first() {
    auto first = unwrap<T>(x_waiter);
    if (!first) return;
    x_out.push_back(std::move(*first));
    x_got = 1;
    take_the_rest();
  }
  // What was received is received: where memory fails, the rest stays in the channel.
  bool can_make_room(std::size_t n) {
    try {
      make_room(n);
    } catch (const std::bad_alloc&) {
      return false;
    }
    return true;
  }
  void take_the_rest() {
    for (std::size_t n; (n = what_is_there()) > 0 && can_make_room(n);) {
      if constexpr (boxed) {
        auto next = try_recv<T>(x_core.get());
        if (!next) return;
        x_out.push_back(std::move(*next));
        ++x_got;
      } else {
        std::size_t before = x_got;
        woken_few peers;
        {
          park_lock::guard hold(x_core.get()->lock(), this_processor());
          take(n, peers);
        }
        peers.fire();
        if (x_got == before) return;
      }
    }
  }

  chan_hold<E> x_core;
  Out x_out;
  std::size_t x_most;
  std::size_t x_got = 0;
  recv_waiter<E> x_waiter;
};

template <class R> inline constexpr bool is_span = false;
template <class T> inline constexpr bool is_span<std::span<T>> = true;

// What send_many takes: elements in a row that it can move from, and that can be taken out once they are sent.
template <class R, class T> consteval void check_outgoing() noexcept {
  using range = std::remove_reference_t<R>;
  static_assert(std::is_lvalue_reference_v<R>,
                "send_many leaves in the range what it has not sent: name the range, and look at it afterwards");
  static_assert(std::same_as<element_of<T>, T>,
                "T's move may throw, so it cannot wait outside: send one after the other by value");
  static_assert(requires(range& r) {  // <ranges> is a twentieth of what this library costs to compile
                  { std::data(r) } -> std::same_as<T*>;
                  std::size(r);
                },
                "send_many moves from a vector<T>, a span<T>, or another contiguous range of T that is not const");
  static_assert(is_span<range> || requires(range& r) { r.erase(r.begin(), r.begin() + 1); },
                "send_many takes out of the range what it has sent, and this one has no erase(): name a std::span of "
                "it, which is moved on behind that");
  static_assert(is_span<range> || std::is_nothrow_move_assignable_v<T>,
                "T's move assignment may throw, and so may taking what was sent out of the range: name a std::span "
                "of it");
}

// What is still to be sent. When it dies, what was sent is no longer in the range.
template <class T, class R> class outgoing {
 public:
  explicit outgoing(R& range) noexcept : x_range(range), x_left(std::data(range), std::size(range)) {}
  outgoing(const outgoing&) = delete;
  outgoing& operator=(const outgoing&) = delete;
  ~outgoing() {
    auto sent = static_cast<std::ptrdiff_t>(std::size(x_range) - x_left.size());
    if constexpr (is_span<R>)
      x_range = x_left;
    else if (sent > 0)
      x_range.erase(x_range.begin(), x_range.begin() + sent);
  }
  std::span<T>& left() noexcept { return x_left; }

 private:
  R& x_range;
  std::span<T> x_left;
};

// Sends from the front of `left`, which is not empty, and takes out of it what it has sent: as many as have room or a
// receiver, and one more, for which it waits. It may leave some, for a next turn.
//
// Invariant: in the hold of the lock in which it parks it may have sent others. Whom to wake for them is on the stack,
// for this object may be gone by then.
template <class T> class send_some_operation : public awaitable_base {
 public:
  send_some_operation(chan_core* core, std::span<T>& left) noexcept
      : x_core(core), x_left(left), x_waiter(left.front()) {}
  send_some_operation(const send_some_operation&) = delete;
  send_some_operation& operator=(const send_some_operation&) = delete;

  bool suspend(promise_base* leaf) {
    goroutine& g = goroutine_of(leaf);
    if (!enter_operation(g)) [[unlikely]]
      return stop_here(g, leaf);
    if (!x_core) return nil_channel::wait(g, leaf, x_waiter);
    processor& here = *g.proc;
    for (;;) {
      chan_core& core = *x_core;
      std::size_t most = std::min(x_left.size(), most_in_one_hold);
      woken_few peers;
      bool parked = false;
      bool biased = core.lock().lock(&here);
      std::size_t n = core.send_many(x_left.data(), most, peers);
      x_left = x_left.subspan(n);
      bool closed = core.is_closed();
      bool waits = n < most && !closed;
      if (waits) {
        x_waiter.source = x_left.data();
        parked = park(g, leaf, core.lock(), x_waiter, core.senders);
      } else if (closed) {
        x_waiter.outcome = transfer::closed;
      }
      core.lock().unlock(biased);  // last touch, if parked
      peers.fire(here);
      if (parked) return true;
      if (waits) return stop_here(g, leaf);
      if (closed) return false;
      bool all = x_left.empty();
      if (spend_budget(g, leaf)) return true;
      if (all) return false;
    }
  }
  void resume() {
    if (x_waiter.outcome == transfer::closed) throw closed_channel();
    if (x_waiter.outcome == transfer::done) x_left = x_left.subspan(1);
  }

 private:
  chan_core* x_core;
  std::span<T>& x_left;
  send_waiter<T> x_waiter;
};

template <class T, class R> task<> send_all(chan_hold<T> core, R& range) {
  outgoing<T, R> what(range);
  if (what.left().empty()) co_await checkpoint();
  while (!what.left().empty()) co_await send_some_operation<T>(core.get(), what.left());
}

template <class T, class F> task<> receive_each(chan_hold<element_of<T>> core, F f) {
  for (;;) {
    auto got = co_await recv_operation<T>(core.get());
    if (!got) co_return;
    if constexpr (std::is_void_v<T>) {
      if constexpr (is_task<std::invoke_result_t<F&>>)
        co_await std::invoke(f);
      else
        (void)std::invoke(f);
    } else {
      if constexpr (is_task<std::invoke_result_t<F&, T>>)
        co_await std::invoke(f, std::move(*got));
      else
        (void)std::invoke(f, std::move(*got));
    }
  }
}

}  // namespace runnel::detail
