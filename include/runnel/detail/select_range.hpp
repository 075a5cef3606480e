// SPDX-License-Identifier: BSL-1.0
// runnel/detail/select_range.hpp: a select over a range of operations of one type, as many as there are at run time.
// Layer: L6
#pragma once

#include <runnel/detail/goroutine.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/detail/select_case.hpp>
#include <runnel/detail/select_core.hpp>
#include <runnel/detail/wait_source.hpp>
#include <runnel/error.hpp>
#include <runnel/waiter.hpp>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

namespace runnel {

/// Which of a range of operations a select took, and what it yielded, a V.
template <class V> class selected {
  using stored = std::conditional_t<std::is_void_v<V>, std::monostate, V>;

 public:
  static constexpr std::size_t none = static_cast<std::size_t>(-1);

  /// rn::otherwise was taken.
  selected() noexcept = default;
  selected(std::size_t index, stored&& value) : x_index(index), x_value(std::move(value)) {}

  /// Counted from 0; `none` if rn::otherwise was taken.
  std::size_t index() const noexcept { return x_index; }
  /// False if rn::otherwise was taken.
  explicit operator bool() const noexcept { return x_value.has_value(); }
  /// What the operation yielded. Throws: misuse_error if rn::otherwise was taken.
  decltype(auto) get() & { return check(), value(*x_value); }
  decltype(auto) get() const& { return check(), value(*x_value); }
  decltype(auto) get() && { return check(), value(*std::move(x_value)); }

 private:
  void check() const {
    if (!x_value) throw misuse_error("runnel: get() of a select that has taken rn::otherwise");
  }
  template <class S> static decltype(auto) value(S&& s) {
    if constexpr (!std::is_void_v<V>) return std::forward<S>(s);
  }
  std::size_t x_index = none;
  std::optional<stored> x_value;
};

namespace detail {

// What a range-based for goes through, twice; <ranges> is a twentieth of what this library costs to compile.
template <class R>
using reference_in = decltype(*std::begin(std::declval<R&>()));
template <class R>
using operation_in = std::remove_reference_t<reference_in<R>>;
template <class R>
concept operation_range = requires(R& range) {
  { std::begin(range) } -> std::forward_iterator;
  std::end(range);
} && std::is_lvalue_reference_v<reference_in<R>> && (channel_case<operation_in<R>> || source_case<operation_in<R>>);

template <class R>
concept started_range = requires(R& range) {
  std::begin(range);
  std::end(range);
} && started_operation<operation_in<R>>;

// n of them, here if they are few.
template <class T> class few {
 public:
  explicit few(std::size_t n) : x_more(n > here ? new T[n] : nullptr) {}
  T* data() noexcept { return x_more ? x_more.get() : x_here; }

 private:
  static constexpr std::size_t here = 16;
  T x_here[here];
  std::unique_ptr<T[]> x_more;
};

// Invariants: those of select_core; those of the range until it has been awaited: its operations stay where they are.
template <bool First, bool Otherwise, class R> class range_select : public awaitable_base, private select_core {
  using operation = operation_in<R>;
  static constexpr bool asks_contexts = done_case<operation>;

 public:
  using result = selected<case_value<operation>>;

  explicit range_select(R& range)
      : range_select(range, static_cast<std::size_t>(std::distance(std::begin(range), std::end(range)))) {}

  bool suspend(promise_base* leaf) {
    goroutine& g = goroutine_of(leaf);
    const bool due = !enter_operation(g);
    if constexpr (source_case<operation>)
      for (std::size_t i = 0; i < x_count; ++i) op(i).enter(g);
    if (asks_contexts && take_done(g)) return spend_budget(g, leaf);
    if (due) return stop_here(g, leaf), true;
    for (;;) {
      if (poll(g)) return spend_budget(g, leaf);
      list_cases();
      if constexpr (Otherwise) {
        decide(g);
        return spend_budget(g, leaf);
      } else {
        outcome_t outcome = wait(g, leaf, &attempt_case);
        if (outcome == outcome_t::parked) return true;
        if (outcome == outcome_t::committed) return spend_budget(g, leaf);
        if (outcome == outcome_t::again) continue;
        if (asks_contexts && take_done(g)) return spend_budget(g, leaf);
        return stop_here(g, leaf), true;
      }
    }
  }
  result resume() {
    if (asleep()) leave();
    std::size_t i = chosen();
    if (Otherwise && i == x_count) return result();
    if constexpr (std::is_void_v<case_value<operation>>)
      return take_value(op(i)), result(i, std::monostate());
    else
      return result(i, take_value(op(i)));
  }

 private:
  static constexpr std::size_t most = 65'536;  // a waiter's index has 16 bits
  static constexpr int longest_poll = 4;

  range_select(R& range, std::size_t n)
      : x_count(n > most ? throw misuse_error("runnel: a select has at most 65536 cases") : n),
        x_ops(n),
        x_slots(channel_case<operation> ? n : 0),
        x_sources(source_case<operation> ? n : 0),
        x_locks(Otherwise ? n : 0),
        x_biased(Otherwise ? n : 0) {
    operation** at = x_ops.data();
    for (operation& o : range) *at++ = &o;
  }

  operation& op(std::size_t i) noexcept { return *x_ops.data()[i]; }

  bool take_done(goroutine& g) noexcept {
    if (g.context.load(std::memory_order_relaxed)->killed()) return false;  // who is killed is not asked
    for (std::size_t i = 0; i < x_count; ++i)
      if (is_ready(op(i), g)) {
        woken nobody;
        take_ready(op(i), g, nobody);
        return choose(i), true;
      }
    return false;
  }

  // One of those for which ready(op) holds, each with the same chance; x_count: there is none.
  template <class Ready> std::size_t pick_ready(goroutine& g, Ready ready) noexcept {
    std::size_t found = x_count;
    std::uint64_t n = 0;
    for (std::size_t i = 0; i < x_count; ++i) {
      if (!ready(op(i))) continue;
      if (First) return i;
      if (n++ == 0 || g.core().draw(*g.proc, n) == 0) found = i;
    }
    return found;
  }

  bool poll(goroutine& g) noexcept {
    for (int n = 0; n < longest_poll; ++n) {
      std::size_t i = pick_ready(g, [&](operation& o) { return looks_ready(o, g); });
      if (i == x_count) return false;
      if (try_case(op(i), g)) return choose(i), true;
    }
    return false;  // registering looks closer
  }

  void list_cases() noexcept {
    channel_slot* slots = x_slots.data();
    wait_source** sources = x_sources.data();
    for (std::size_t i = 0; i < x_count; ++i) list_case(op(i), i, slots, sources);
    set_cases(x_slots.data(), static_cast<std::size_t>(slots - x_slots.data()), x_sources.data(),
              static_cast<std::size_t>(sources - x_sources.data()), asks_contexts);
  }
  static bool attempt_case(select_core& core, std::size_t index, goroutine& g, woken& peer) noexcept {
    return take_ready(static_cast<range_select&>(core).op(index), g, peer);
  }

  void decide(goroutine& g) noexcept {
    woken peer;
    {
      all_locks hold(*this, x_locks.data(), x_biased.data(), collect_locks(x_locks.data()), *g.proc);
      for (;;) {
        std::size_t i = pick_ready(g, [&](operation& o) { return is_ready(o, g); });
        choose(i);
        if (i == x_count || take_ready(op(i), g, peer)) break;  // else its peers were claimed elsewhere, and are gone
      }
    }
    peer.fire(*g.proc);
  }

  std::size_t x_count;
  few<operation*> x_ops;
  few<channel_slot> x_slots;
  few<wait_source*> x_sources;
  few<park_lock*> x_locks;
  few<bool> x_biased;
};

}  // namespace detail
}  // namespace runnel
