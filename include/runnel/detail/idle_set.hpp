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
//   x_words   bits change by take() and put(), seq_cst: a put() comes before what its caller looks at next
class idle_set {
 public:
  explicit idle_set(std::size_t n) : x_size(n), x_words((n + per_word - 1) / per_word) {
    for (std::size_t i = 0; i < n; ++i) word_of(i).fetch_or(bit_of(i), std::memory_order_relaxed);
  }

  // The lowest, so that few processors do the work of few goroutines.
  std::optional<std::size_t> take() noexcept {
    std::size_t first = 0;
    for (word& w : x_words) {
      auto seen = w.bits.load(std::memory_order_relaxed);
      while (seen != 0)
        if (w.bits.compare_exchange_weak(seen, seen & (seen - 1), std::memory_order_seq_cst,
                                         std::memory_order_relaxed))
          return first + static_cast<std::size_t>(std::countr_zero(seen));
      first += per_word;
    }
    return std::nullopt;
  }
  void put(std::size_t i) noexcept { word_of(i).fetch_or(bit_of(i), std::memory_order_seq_cst); }

  // Snapshots.
  bool contains(std::size_t i) const noexcept {
    return (x_words[i / per_word].bits.load(std::memory_order_relaxed) & bit_of(i)) != 0;
  }
  bool any(std::memory_order order) const noexcept {
    return std::any_of(x_words.begin(), x_words.end(), [order](const word& w) { return w.bits.load(order) != 0; });
  }
  std::size_t count(std::memory_order order) const noexcept {
    std::size_t n = 0;
    for (const word& w : x_words) n += static_cast<std::size_t>(std::popcount(w.bits.load(order)));
    return n;
  }
  bool all(std::memory_order order) const noexcept {
    std::size_t left = x_size;
    for (const word& w : x_words) {
      if (w.bits.load(order) != (left < per_word ? bit_of(left) - 1 : ~std::uint64_t{0})) return false;
      left -= per_word;
    }
    return true;
  }

 private:
  static constexpr std::size_t per_word = 64;
  struct alignas(destructive_interference) word {
    std::atomic<std::uint64_t> bits{0};
  };
  static std::uint64_t bit_of(std::size_t i) noexcept { return std::uint64_t{1} << i % per_word; }
  std::atomic<std::uint64_t>& word_of(std::size_t i) noexcept { return x_words[i / per_word].bits; }

  const std::size_t x_size;
  std::vector<word> x_words;
};

}  // namespace runnel::detail
