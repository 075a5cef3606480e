// SPDX-License-Identifier: BSL-1.0
// runnel/detail/idle_set.hpp: which processors are idle.
// Layer: L0
#pragma once

#include <runnel/config.hpp>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace runnel::detail {

// A set of numbers below n, one bit each; all are in it at first. To take one out, or to put it back, is one atomic
// operation, for a service does both for each completion.
//
// Invariant: who takes a number out has it alone until it puts it back, and sees all that was done before that.
//
//   bits   change by take() and put(), seq_cst: a put() comes before what its caller looks at next
class idle_set {
 public:
  explicit idle_set(std::size_t n) : x_size(n), x_more((n - 1) / per_word) {
    for (std::size_t i = 0; i < n; ++i) put(i);
  }

  // The lowest, so that few processors do the work of few goroutines.
  std::optional<std::size_t> take() noexcept {
    for (std::size_t first = 0; first < x_size; first += per_word) {
      auto& bits = bits_of(first);
      auto seen = bits.load(std::memory_order_relaxed);
      while (seen != 0)
        if (bits.compare_exchange_weak(seen, seen & (seen - 1), std::memory_order_seq_cst, std::memory_order_relaxed))
          return first + static_cast<std::size_t>(std::countr_zero(seen));
    }
    return std::nullopt;
  }
  void put(std::size_t i) noexcept { bits_of(i).fetch_or(bit_of(i), std::memory_order_seq_cst); }

  // Snapshots.
  bool contains(std::size_t i) const noexcept { return (bits_of(i).load(std::memory_order_relaxed) & bit_of(i)) != 0; }
  // False: there is none. Asked at each fork, so it calls nothing.
  bool may_have_any() const noexcept {
    return x_first.bits.load(std::memory_order_relaxed) != 0 || x_size > per_word;
  }
  bool any(std::memory_order order) const noexcept {
    return x_first.bits.load(order) != 0 || (x_size > per_word && any_more(order));
  }
  std::size_t count(std::memory_order order) const noexcept {
    std::size_t n = 0;
    for (std::size_t i = 0; i < x_size; i += per_word)
      n += static_cast<std::size_t>(std::popcount(bits_of(i).load(order)));
    return n;
  }
  bool all(std::memory_order order) const noexcept {
    for (std::size_t i = 0; i < x_size; i += per_word) {
      const std::size_t left = x_size - i;
      if (bits_of(i).load(order) != (left < per_word ? bit_of(left) - 1 : ~std::uint64_t{0})) return false;
    }
    return true;
  }

 private:
  static constexpr std::size_t per_word = 64;
  struct alignas(destructive_interference) word {
    std::atomic<std::uint64_t> bits{0};
  };
  static std::uint64_t bit_of(std::size_t i) noexcept { return std::uint64_t{1} << i % per_word; }
  const std::atomic<std::uint64_t>& bits_of(std::size_t i) const noexcept {
    return i < per_word ? x_first.bits : x_more[i / per_word - 1].bits;
  }
  std::atomic<std::uint64_t>& bits_of(std::size_t i) noexcept {
    return i < per_word ? x_first.bits : x_more[i / per_word - 1].bits;
  }
  RUNNEL_NOINLINE bool any_more(std::memory_order order) const noexcept {
    return std::any_of(x_more.begin(), x_more.end(), [order](const word& w) { return w.bits.load(order) != 0; });
  }

  const std::size_t x_size;
  word x_first;
  std::vector<word> x_more;
};

}  // namespace runnel::detail
