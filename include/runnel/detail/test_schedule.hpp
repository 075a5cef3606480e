// SPDX-License-Identifier: BSL-1.0
// runnel/detail/test_schedule.hpp: which of the possible steps a test run takes: by a seed, or as it is told.
// Layer: L13
#pragma once

#include <runnel/error.hpp>

#include <cstddef>
#include <cstdint>
#include <charconv>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace runnel::detail {

// What is possible: n steps, 0 the default one.
struct possible_steps {
  std::size_t n;
  static constexpr std::uint64_t unbegun = UINT64_MAX;
  // The numbers of the goroutines behind them, where somebody needs them; 0: anything else.
  virtual void numbers(std::vector<std::uint64_t>& out) const = 0;

 protected:
  explicit possible_steps(std::size_t count) noexcept : n(count) {}
  ~possible_steps() = default;
};

class test_schedule {
 public:
  virtual ~test_schedule() = default;
  virtual std::size_t next(const possible_steps& possible) = 0;
  // One of n equals, for a select.
  virtual std::size_t draw(std::size_t n) = 0;
};

class dice {
 public:
  explicit dice(std::uint64_t seed) noexcept : x_state(seed) {}
  std::uint64_t next() noexcept {  // splitmix64
    std::uint64_t z = x_state += 0x9E3779B97F4A7C15ull;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return z ^ z >> 31;
  }
  std::size_t below(std::size_t n) noexcept { return static_cast<std::size_t>(next() % n); }
  bool one_in(std::size_t n) noexcept { return below(n) == 0; }

 private:
  std::uint64_t x_state;
};

// Every choice comes from the seed; so does how it is made, because no one way finds every bug:
//   even    each step is as likely as any other
//   sticky  mostly on with the default, now and then something else
//   ranked  goroutines have priorities, drawn when they are first seen; those that have not begun share one; now and
//           then, and when it has run for long, the one that runs becomes the last. One goroutine can so be left behind
//           for long while others do much.
class seeded_schedule final : public test_schedule {
 public:
  explicit seeded_schedule(std::uint64_t seed) : x_dice(seed) {
    switch (x_dice.below(4)) {
      case 0:
        x_way = way::ranked;
        x_rarity = std::size_t{4} << x_dice.below(5);
        break;
      case 1:
        x_way = way::sticky;
        x_rarity = std::size_t{2} << x_dice.below(4);
        break;
      default:
        break;
    }
  }

  std::size_t next(const possible_steps& possible) override {
    if (possible.n <= 1) return 0;
    if (x_way == way::sticky) return x_dice.one_in(x_rarity) ? x_dice.below(possible.n) : 0;
    if (x_way == way::ranked && possible.n <= most_ranked) return highest(possible);
    return x_dice.below(possible.n);
  }
  std::size_t draw(std::size_t n) override { return x_dice.below(n); }

 private:
  enum class way { even, sticky, ranked };
  static constexpr std::size_t most_ranked = 256;
  static constexpr int longest_run = 64;

  std::size_t highest(const possible_steps& possible) {
    possible.numbers(x_numbers);
    std::size_t best = 0;
    std::uint64_t best_rank = 0;
    for (std::size_t i = 0; i < x_numbers.size(); ++i) {
      std::uint64_t rank = rank_of(x_numbers[i]);
      if (i != 0 && rank <= best_rank) continue;
      best = i;
      best_rank = rank;
    }
    std::uint64_t number = x_numbers[best];
    x_run = number == std::exchange(x_last, number) ? x_run + 1 : 0;
    if (number != 0 && number != possible_steps::unbegun && (x_run >= longest_run || x_dice.one_in(x_rarity))) {
      x_ranks[number] = x_lowest--;
      x_run = 0;
    }
    return best;
  }
  std::uint64_t rank_of(std::uint64_t number) {
    if (number == 0) return above_lowest + (x_dice.next() >> 2);  // drawn each time
    auto [at, fresh] = x_ranks.try_emplace(number, 0);
    if (fresh) at->second = above_lowest + (x_dice.next() >> 2);
    return at->second;
  }

  static constexpr std::uint64_t above_lowest = std::uint64_t{1} << 62;
  dice x_dice;
  way x_way = way::even;
  std::size_t x_rarity = 1;
  std::vector<std::uint64_t> x_numbers;
  std::unordered_map<std::uint64_t, std::uint64_t> x_ranks;
  std::uint64_t x_lowest = above_lowest - 1;
  std::uint64_t x_last = 0;
  int x_run = 0;
};

// The default order, but for the steps that are named.
using deviation = std::pair<std::size_t, std::size_t>;  // step, choice
class given_schedule final : public test_schedule {
 public:
  explicit given_schedule(std::vector<deviation> deviations = {}) : x_deviations(std::move(deviations)) {}

  std::size_t next(const possible_steps& possible) override { return choice(possible.n); }
  std::size_t draw(std::size_t n) override { return choice(n); }
  // A choice that was named was not possible: the body is not the one that the schedule was made for, or does not do
  // the same each time.
  bool missed() const noexcept { return x_missed || x_at != x_deviations.size(); }

 private:
  std::size_t choice(std::size_t n) noexcept {
    std::size_t step = x_step++;
    if (x_at == x_deviations.size() || x_deviations[x_at].first != step) return 0;
    std::size_t wanted = x_deviations[x_at++].second;
    if (wanted < n) return wanted;
    x_missed = true;
    return 0;
  }
  std::vector<deviation> x_deviations;
  std::size_t x_at = 0;
  std::size_t x_step = 0;
  bool x_missed = false;
};

// "12:1,15:2"
inline std::vector<deviation> parse_schedule(std::string_view text) {
  std::vector<deviation> out;
  const char* at = text.data();
  const char* end = at + text.size();
  auto number = [&](std::size_t& n) {
    auto [rest, error] = std::from_chars(at, end, n);
    at = rest;
    return error == std::errc();
  };
  while (at != end) {
    deviation d;
    bool good = (out.empty() || *at++ == ',') && number(d.first) && at != end && *at++ == ':' && number(d.second);
    if (!good || (!out.empty() && out.back().first >= d.first))
      throw misuse_error("runnel: a schedule is a list of step:choice, as a failing run prints it: 12:1,15:2");
    out.push_back(d);
  }
  return out;
}

}  // namespace runnel::detail
