// SPDX-License-Identifier: BSL-1.0
// runnel/detail/select_operation.hpp: a select over cases whose types are known: polling, committing, results.
// Layer: L6
#pragma once

#include <runnel/detail/chan_core.hpp>
#include <runnel/detail/goroutine.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/processor.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/detail/select_case.hpp>
#include <runnel/detail/select_core.hpp>
#include <runnel/detail/wait_source.hpp>
#include <runnel/error.hpp>
#include <runnel/waiter.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

namespace runnel {

/// Which case a select took, and what its operation yielded: V... are those of the cases, in order.
template <class... V> class select_result {
  template <std::size_t I>
  using value_of = std::tuple_element_t<I, std::tuple<V...>>;
  template <class T>
  using stored = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

 public:
  template <std::size_t I, class... A>
  explicit select_result(std::in_place_index_t<I> at, A&&... value) : x_value(at, std::forward<A>(value)...) {}

  /// Counted from 0.
  std::size_t index() const noexcept { return x_value.index(); }
  /// What the operation of case I yielded: of a receive an optional. Throws: misuse_error if another case was taken.
  template <std::size_t I> decltype(auto) get() & { return check<I>(), value<I>(x_value); }
  template <std::size_t I> decltype(auto) get() const& { return check<I>(), value<I>(x_value); }
  template <std::size_t I> decltype(auto) get() && { return check<I>(), value<I>(std::move(x_value)); }

 private:
  template <std::size_t I> void check() const {
    if (index() != I) throw misuse_error("runnel: get<I>() of a select that has taken another case: look at index()");
  }
  template <std::size_t I, class Variant> static decltype(auto) value(Variant&& v) {
    if constexpr (!std::is_void_v<value_of<I>>) return std::get<I>(std::forward<Variant>(v));
  }
  std::variant<stored<V>...> x_value;
};

namespace detail {

// A pick among the set bits of a mask that is not 0: the lowest, or each with the same chance.
template <bool First, std::size_t Count> unsigned pick(std::uint64_t mask, processor& here) noexcept {
  if (!First && (mask & (mask - 1)) != 0) {
    std::size_t n = Count == 2 ? 2 : static_cast<std::size_t>(std::popcount(mask));
    for (std::size_t skip = here.core->draw(here, n); skip > 0; --skip) mask &= mask - 1;
  }
  return static_cast<unsigned>(std::countr_zero(mask));
}

// Invariants: those of select_core. Between suspend() and resume() the operations are the select's alone.
template <bool First, class... C> class select_operation : public awaitable_base, private select_core {
  static constexpr std::size_t count = sizeof...(C);
  static_assert(count <= 64, "a select has at most 64 cases: more of one kind are a range, select(operations)");
  template <std::size_t I>
  using case_at = std::tuple_element_t<I, std::tuple<C...>>;
  template <std::size_t I>
  using operation_at = typename case_at<I>::operation;
  using indices = std::make_index_sequence<count>;

 protected:
  static constexpr std::size_t channel_count =
      (std::size_t{0} + ... + std::size_t{channel_case<typename C::operation>});
  static constexpr std::size_t source_count = (std::size_t{0} + ... + std::size_t{source_case<typename C::operation>});
  static constexpr std::size_t defaults = count - channel_count - source_count;
  static_assert(defaults <= 1, "a select has one rn::otherwise at most");
  static constexpr bool asks_contexts = (false || ... || done_case<typename C::operation>);
  static constexpr bool starts_operations = (false || ... || listed_last<typename C::operation>);

 public:
  explicit select_operation(const C&... cases) noexcept : x_cases(cases...) {}
  select_operation(select_operation&& other) noexcept : x_cases(other.x_cases) {}  // of what has not begun

  bool suspend(promise_base* leaf) {
    goroutine& g = goroutine_of(leaf);
    const bool due = !enter_operation(g);
    enter_sources(g, indices());
    if (asks_contexts && take_done(g, indices())) [[unlikely]]
      return spend_budget(g, leaf);
    if (due) [[unlikely]]
      return stop_here(g, leaf), true;
    for (;;) {
      if (poll(g, indices())) return spend_budget(g, leaf);
      list_cases(indices());
      if constexpr (defaults != 0) {
        decide(g, indices());
        return spend_budget(g, leaf);
      } else {
        switch (wait(g, leaf, &attempt_case)) {
          case outcome_t::parked:
            return true;
          case outcome_t::committed:
            return spend_budget(g, leaf);
          case outcome_t::stopped:
            if (asks_contexts && take_done(g, indices())) return spend_budget(g, leaf);
            return stop_here(g, leaf), true;
          case outcome_t::again:
            break;
        }
      }
    }
  }

  // The case that was taken.
  std::size_t resume() {
    if (asleep()) leave();
    return chosen();
  }

  template <std::size_t I> const case_at<I>& get_case() const noexcept { return std::get<I>(x_cases); }

  // Calls f(std::integral_constant<std::size_t, i>).
  template <class R, std::size_t I = 0, class F> static R at_case(std::size_t i, F&& f) {
    if constexpr (count == 0) {
      fatal("a select over nothing has taken a case");
    } else if constexpr (I + 1 == count) {
      return f(std::integral_constant<std::size_t, I>());
    } else {
      if (i == I) return f(std::integral_constant<std::size_t, I>());
      return at_case<R, I + 1>(i, std::forward<F>(f));
    }
  }

 private:
  template <std::size_t I> operation_at<I>& op() const noexcept { return std::get<I>(x_cases).op(); }

  template <std::size_t... I> void enter_sources([[maybe_unused]] goroutine& g, std::index_sequence<I...>) noexcept {
    ([&] {
      if constexpr (source_case<operation_at<I>>) op<I>().enter(g);
    }(), ...);
  }

  // A context that is done goes before everything.
  template <std::size_t... I> bool take_done([[maybe_unused]] goroutine& g, std::index_sequence<I...>) noexcept {
    if (g.context.load(std::memory_order_relaxed)->killed()) return false;  // who is killed is not asked
    return (false || ... || [&] {
      if constexpr (done_case<operation_at<I>>) {
        if (!op<I>().ready(g)) return false;
        op<I>().take(g);
        choose(I);
        return true;
      }
      return false;
    }());
  }

  template <std::size_t... I> bool poll(goroutine& g, std::index_sequence<I...>) noexcept {
    std::uint64_t mask = (std::uint64_t{0} | ... | (std::uint64_t{looks_ready(op<I>(), g)} << I));
    while (mask != 0) {
      unsigned i = pick<First, count>(mask, *g.proc);
      if (at_case<bool>(i, [&](auto n) { return try_case(op<n>(), g); })) return choose(i), true;
      mask &= ~(std::uint64_t{1} << i);
    }
    return false;
  }

  template <std::size_t... I> void list_cases(std::index_sequence<I...>) noexcept {
    channel_slot* slots = x_slots;
    wait_source** sources = x_sources;
    if constexpr (!starts_operations) {
      (list_case(op<I>(), I, slots, sources), ...);
    } else {
      (list_case_if<!listed_last<operation_at<I>>>(op<I>(), I, slots, sources), ...);
      (list_case_if<listed_last<operation_at<I>>>(op<I>(), I, slots, sources), ...);
    }
    set_cases(x_slots, static_cast<std::size_t>(slots - x_slots), x_sources,
              static_cast<std::size_t>(sources - x_sources), asks_contexts || starts_operations);
  }

  static bool attempt_case(select_core& core, std::size_t index, goroutine& g, woken& peer) noexcept {
    auto& self = static_cast<select_operation&>(core);
    return at_case<bool>(index, [&](auto n) { return take_ready(self.template op<n>(), g, peer); });
  }

  // Of otherwise: what is ready at one moment, or else the default.
  template <std::size_t... I> void decide(goroutine& g, std::index_sequence<I...>) noexcept {
    park_lock* locks[channel_count + source_count + 1];
    bool biased[channel_count + source_count + 1];
    woken peer;
    {
      all_locks hold(*this, locks, biased, collect_locks(locks), *g.proc);
      std::uint64_t mask = (std::uint64_t{0} | ... | (std::uint64_t{is_ready(op<I>(), g)} << I));
      ((otherwise_case<operation_at<I>> ? choose(I) : void()), ...);
      while (mask != 0) {
        unsigned i = pick<First, count>(mask, *g.proc);
        if (attempt_case(*this, i, g, peer)) {
          choose(i);
          break;
        }
        mask &= ~(std::uint64_t{1} << i);  // its peers were claimed elsewhere in the meantime
      }
    }
    peer.fire(*g.proc);
  }

  std::tuple<C...> x_cases;
  channel_slot x_slots[channel_count + 1];
  wait_source* x_sources[source_count + 1];
};

// Without handlers: which case, and what it yielded.
template <bool First, class... C> class select_values : public select_operation<First, C...> {
 public:
  using result = select_result<typename C::value...>;
  using select_operation<First, C...>::select_operation;

  result resume() { return take(select_operation<First, C...>::resume()); }

  // What case i yielded, which was taken.
  result take(std::size_t i) {
    return this->template at_case<result>(i, [&](auto n) {
      auto& op = this->template get_case<n>().op();
      if constexpr (std::is_void_v<case_value<std::remove_reference_t<decltype(op)>>>) {
        take_value(op);
        return result(std::in_place_index<n>);
      } else {
        return result(std::in_place_index<n>, take_value(op));
      }
    });
  }
};

// Calls the handler of case I with what it yielded.
template <std::size_t I, class Select> decltype(auto) handle(const Select& select) {
  auto& c = select.template get_case<I>();
  using one = std::remove_cvref_t<decltype(c)>;
  if constexpr (!one::handled)
    (void)take_value(c.op());
  else if constexpr (std::is_void_v<typename one::value>)
    return take_value(c.op()), c.call();
  else
    return c.call_with_value();
}

// Plain handlers, which run in the frame that selects.
template <class R, bool First, class... C> class select_handled : public select_operation<First, C...> {
 public:
  using select_operation<First, C...>::select_operation;

  R resume() {
    std::size_t i = select_operation<First, C...>::resume();
    return this->template at_case<R>(i, [&](auto n) -> R {
      if constexpr (std::is_void_v<R>)
        (void)handle<n>(*this);
      else
        return handle<n>(*this);
    });
  }
};

}  // namespace detail
}  // namespace runnel
