// SPDX-License-Identifier: BSL-1.0
// runnel/detail/select_case.hpp: what an operation is as a case of a select, and a case with its handler.
// Layer: L6
#pragma once

#include <runnel/compiler.hpp>
#include <runnel/detail/call_result.hpp>
#include <runnel/detail/chan_core.hpp>
#include <runnel/detail/chan_ops.hpp>
#include <runnel/detail/goroutine.hpp>
#include <runnel/detail/processor.hpp>
#include <runnel/detail/select_core.hpp>
#include <runnel/detail/started_case.hpp>
#include <runnel/detail/wait_source.hpp>
#include <runnel/task.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <type_traits>
#include <utility>

namespace runnel {

/// The case that is taken when no other is ready: Go's default.
struct otherwise_t {
  explicit constexpr otherwise_t() noexcept = default;
};
inline constexpr otherwise_t otherwise{};

namespace detail {

// Opens a channel operation for select.
struct select_access {
  template <class Op, class W> static chan_core* core(const channel_operation<Op, W>& op) noexcept { return op.core(); }
  template <class Op, class W> static W& own(channel_operation<Op, W>& op) noexcept { return op.x_waiter; }
  template <class Op, class W> static bool by_buffer(channel_operation<Op, W>& op, chan_core& core) noexcept {
    return Op::peers(core).empty() && Op::by_buffer(core, op.x_waiter);
  }
  // Under the lock. False: it would have to wait.
  template <class Op, class W>
  static bool attempt(channel_operation<Op, W>& op, chan_core& core, woken& peer) noexcept {
    Op::attempt(core, op.x_waiter, peer);
    return op.x_waiter.outcome != transfer::pending;
  }
};

template <class Op>
concept channel_case = requires(Op& op) { select_access::own(op); };
template <class Op>
inline constexpr bool sends = requires(Op& op) { select_access::own(op).source; };
template <class Op>
concept source_case = std::derived_from<Op, wait_source>;
template <class Op>
concept otherwise_case = std::same_as<std::remove_const_t<Op>, otherwise_t>;
template <class Op>
concept selectable = channel_case<Op> || source_case<Op> || otherwise_case<Op> || started_operation<Op>;
// The end of a context.
template <class Op>
concept done_case = source_case<Op> && requires { requires Op::is_done; };

// One look, without any lock.
template <class Op> RUNNEL_ALWAYS_INLINE bool looks_ready(Op& op, [[maybe_unused]] goroutine& g) noexcept {
  if constexpr (channel_case<Op>) {
    chan_core* core = select_access::core(op);
    if (!core) return false;
    if (core->is_closed()) return true;
    if constexpr (sends<Op>)
      return core->len() < core->cap() || !core->receivers.looks_empty();
    else
      return core->len() > 0 || !core->senders.looks_empty();
  } else if constexpr (source_case<Op>) {
    return op.looks_ready(g);
  }
  return false;
}
// Under the lock.
template <class Op> bool is_ready(Op& op, [[maybe_unused]] goroutine& g) noexcept {
  if constexpr (channel_case<Op>) {
    chan_core* core = select_access::core(op);
    return core && channel_slot(*core, select_access::own(op), sends<Op>).ready();
  } else if constexpr (source_case<Op>) {
    return op.ready(g);
  }
  return false;
}
// Takes what is ready, under the lock. False: its peers are claimed by others.
template <class Op> bool take_ready(Op& op, [[maybe_unused]] goroutine& g, [[maybe_unused]] woken& peer) noexcept {
  if constexpr (channel_case<Op>)
    return select_access::attempt(op, *select_access::core(op), peer);
  else if constexpr (source_case<Op>)
    return op.take(g), true;
  return false;
}
// Takes what looks ready. False: others were quicker.
template <class Op> bool try_case(Op& op, goroutine& g) noexcept {
  if constexpr (channel_case<Op>) {
    chan_core& core = *select_access::core(op);
    processor& here = *g.proc;
    woken peer;
    bool biased = core.lock().lock(&here);
    bool done = select_access::by_buffer(op, core) ||  // the frequent way first, as in channel_operation
                select_access::attempt(op, core, peer);
    core.lock().unlock(biased);
    peer.fire(here);
    return done;
  } else if constexpr (source_case<Op>) {
    source_guard hold(op);
    return op.ready(g) && (op.take(g), true);
  }
  return false;
}
// Foreign code is started when all else has been registered.
template <class Op>
inline constexpr bool listed_last = requires { requires Op::is_started; };

// Lists it with what a select registers with, as case `index`.
template <class Op>
void list_case(Op& op, std::size_t index, channel_slot*& slots, wait_source**& sources) noexcept {
  if constexpr (channel_case<Op>) {
    if (chan_core* core = select_access::core(op)) {
      waiter& own = select_access::own(op);
      own.index = static_cast<std::uint16_t>(index);
      *slots++ = channel_slot(*core, own, sends<Op>);
    }
  } else if constexpr (source_case<Op>) {
    op.index = static_cast<std::uint16_t>(index);
    *sources++ = &op;
  }
}

template <bool Listed, class Op>
void list_case_if([[maybe_unused]] Op& op, [[maybe_unused]] std::size_t index, [[maybe_unused]] channel_slot*& slots,
                  [[maybe_unused]] wait_source**& sources) noexcept {
  if constexpr (Listed) list_case(op, index, slots, sources);
}

// What the operation yields. It can be used again afterwards.
template <class Op> RUNNEL_ALWAYS_INLINE decltype(auto) take_value(Op& op) {
  if constexpr (channel_case<Op> || started_operation<Op>)
    return op.resume();
  else if constexpr (source_case<Op>)
    return op.value();
}
template <class Op>
using case_value = decltype(take_value(std::declval<Op&>()));

struct no_handler {};

// A case: an operation and what is done with its value. Both are temporaries of the same expression, or live longer.
template <class Op, class F = no_handler> class select_case {
 public:
  using operation = Op;
  using value = case_value<Op>;
  static constexpr bool handled = !std::same_as<F, no_handler>;

  constexpr select_case(Op& op, F& handler) noexcept : x_op(&op), x_handler(&handler) {}
  explicit constexpr select_case(Op& op) noexcept
    requires(!handled)
      : x_op(&op) {}

  Op& op() const noexcept { return *x_op; }
  // The same with another operation in its place.
  template <class Other> select_case<Other, F> with(Other& op) const noexcept {
    if constexpr (handled)
      return select_case<Other, F>(op, *x_handler);
    else
      return select_case<Other, F>(op);
  }

  // Calls the handler with what the operation yields, or without, as it takes it. `v` holds the value meanwhile.
  template <class V> decltype(auto) call(V&& v) const {
    if constexpr (std::is_invocable_v<F&, V>)
      return std::invoke(*x_handler, std::forward<V>(v));
    else
      return std::invoke(*x_handler);
  }
  decltype(auto) call() const { return std::invoke(*x_handler); }
  // The same with the value made where a function wants it. std::invoke() would move it there: of an optional without a
  // value g++ 12 then warns, now and then, that its bytes are moved.
  decltype(auto) call_with_value() const {
    if constexpr (requires { (*x_handler)(take_value(*x_op)); })
      return (*x_handler)(take_value(*x_op));
    else
      return call(take_value(*x_op));
  }

 private:
  Op* x_op;
  F* x_handler = nullptr;
};

template <class C>
inline constexpr bool is_select_case = false;
template <class Op, class F>
inline constexpr bool is_select_case<select_case<Op, F>> = true;

// What a handler returns; of one that is left out: void.
template <class C> constexpr auto handler_result_of() {
  using value = typename C::value;
  if constexpr (!C::handled)
    return std::type_identity<void>();
  else if constexpr (std::is_void_v<value>)
    return std::type_identity<decltype(std::declval<const C&>().call())>();
  else
    return std::type_identity<decltype(std::declval<const C&>().call(std::declval<value>()))>();
}
template <class C>
using handler_result = typename decltype(handler_result_of<C>())::type;
template <class C>
inline constexpr bool has_coroutine_handler = is_task<handler_result<C>>;

template <class C>
using awaited_handler_result = typename yielded_by<handler_result<C>>::type;

template <class Op>
constexpr void check_selectable() {
  static_assert(selectable<Op>,
                "a case of a select is ch.recv(), ch.send(x), rn::after(d), timer.recv(), ticker.recv(), rn::done(), "
                "ctx.done(), a wait by a broadcast, oneshot or watch, t.await(), a named operation of Asio with "
                "rn::use_task or rn::use_result, or rn::otherwise, alone or in rn::on(operation, handler)");
}
// `Named`: an lvalue reference, if it is no temporary.
template <class Named>
constexpr void check_started() {
  using op = std::remove_reference_t<Named>;
  if constexpr (started_operation<op>) static_assert(op::case_type::template check<Named>());
}

// An argument of select() as a case.
template <class X> auto as_case(X&& x) noexcept {
  using bare = std::remove_cvref_t<X>;
  if constexpr (is_select_case<bare>) {
    return x;
  } else {
    check_selectable<std::remove_reference_t<X>>();
    return select_case<std::remove_reference_t<X>>(x);
  }
}
template <class X>
using case_of = decltype(as_case(std::declval<X>()));

}  // namespace detail

/// A case with what is done when it is taken: `rn::on(ch.recv(), [](std::optional<int> v) { ... })`. The handler is
/// called with what the operation yields, or with nothing if it takes nothing. It may return a value, and be a
/// coroutine that returns a task.
///
/// Lifetime: it refers to both; it is to be written inside of the select, or what it refers to must outlive that.
template <class Op, class F>
[[nodiscard("a case does nothing outside of a select")]] auto on([[maybe_unused]] Op&& operation RUNNEL_LIFETIMEBOUND,
                                                                F&& handler RUNNEL_LIFETIMEBOUND) noexcept {
  detail::refuse_hazardous<F>();
  using op = std::remove_reference_t<Op>;
  detail::check_selectable<op>();
  detail::check_started<Op>();
  auto made = [&] {
    if constexpr (detail::is_moved_ref<std::remove_cvref_t<F>>)
      return detail::select_case<op, typename std::remove_cvref_t<F>::value_type>(operation, handler.get());
    else
      return detail::select_case<op, std::remove_reference_t<F>>(operation, handler);
  };
  using made_case = decltype(made());
  using value = typename made_case::value;
  if constexpr (std::is_void_v<value>)
    static_assert(requires(const made_case& c) { c.call(); }, "the handler of this case is called without arguments");
  else
    static_assert(requires(const made_case& c, value v) { c.call(std::move(v)); },
                  "the handler is called with what the operation yields (a receive: an optional), or without "
                  "arguments");
  return made();
}

}  // namespace runnel
