// SPDX-License-Identifier: BSL-1.0
// runnel/test/explore.hpp: explore and exhaust, which run a body under many schedules, or under all.
// Layer: L13
#pragma once

#include <runnel/detail/test_attempt.hpp>
#include <runnel/detail/test_inline.hpp>
#include <runnel/detail/test_run.hpp>
#include <runnel/detail/test_schedule.hpp>
#include <runnel/error.hpp>
#include <runnel/test/error.hpp>
#include <runnel/test/options.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace runnel::detail {

RUNNEL_TEST_INLINE std::size_t explore_seeds(test_attempt& attempt, std::uint64_t n);
#if RUNNEL_TEST_DEFINED
RUNNEL_TEST_INLINE std::size_t explore_seeds(test_attempt& attempt, std::uint64_t n) {
  std::uint64_t first = attempt.options().seed.value_or(1);
  if (auto only = number_from_environment("RUNNEL_TEST_SEED")) {
    first = *only;
    n = 1;
  }
  for (std::uint64_t i = 0; i < n; ++i) {
    attempt.options().seed = first + i;
    seeded_schedule schedule(first + i);
    attempt(schedule, test_plan(), "the run with seed " + std::to_string(first + i));
  }
  return static_cast<std::size_t>(n);
}
#endif

// All schedules with at most so many deviations from the default order: first that without any, then those with one,
// and so on. A schedule is extended by deviations behind its last one, at every step and by every choice that its own
// run had there. So each comes once, and one with fewer deviations comes before one with more.
class exhaustion {
 public:
  exhaustion(test_attempt& attempt, const test_options& options) : x_attempt(attempt), x_options(options) {}

  std::size_t operator()() {
    x_attempt.options().seed.reset();
    if (const char* text = std::getenv("RUNNEL_TEST_SCHEDULE")) {
      run(parse_schedule(text));
      return x_runs;
    }
    std::deque<prefix> level{{run({}), {}}};
    for (std::uint64_t d = 0; d < x_options.preemptions && !level.empty(); ++d) {
      std::deque<prefix> next;
      bool last = d + 1 == x_options.preemptions;
      for (; !level.empty(); level.pop_front()) extend(level.front(), last ? nullptr : &next);
      level = std::move(next);
    }
    return x_runs;
  }

 private:
  using widths = std::vector<std::uint32_t>;
  struct prefix {
    widths possible;  // how many choices there were at each step of its run
    std::vector<deviation> deviations;
  };

  void extend(const prefix& p, std::deque<prefix>* next) {
    std::size_t step = p.deviations.empty() ? 0 : p.deviations.back().first + 1;
    for (; step < p.possible.size(); ++step)
      for (std::size_t choice = 1; choice < p.possible[step]; ++choice) {
        std::vector<deviation> deviations = p.deviations;
        deviations.emplace_back(step, choice);
        widths possible = run(deviations, &p.possible);
        if (next) next->push_back({std::move(possible), std::move(deviations)});
      }
  }
  widths run(const std::vector<deviation>& deviations, const widths* before = nullptr) {
    if (++x_runs > x_options.max_runs)
      throw misuse_error(
          "runnel: exhaust has more schedules than max_runs: lower test::preemptions, or make the body smaller");
    given_schedule schedule(deviations);
    x_attempt.options().schedule = deviations;
    std::string which = "schedule " + std::to_string(x_runs) + ", with " + std::to_string(deviations.size()) +
                        " choices that are not the default,";
    test_outcome outcome = x_attempt(schedule, test_plan(), which);
    widths possible;
    for (const auto& s : outcome.trace.steps()) possible.push_back(s.of);
    // Up to the last deviation nothing is different from the run that this one extends.
    std::size_t same = deviations.empty() ? 0 : deviations.back().first + 1;
    bool as_before = !schedule.missed() && possible.size() >= same &&
                     (!before || std::equal(possible.begin(), possible.begin() + static_cast<std::ptrdiff_t>(same),
                                            before->begin()));
    if (!as_before)
      throw misuse_error("runnel: exhaust needs a body that does the same each time: this one had other choices");
    return possible;
  }

  test_attempt& x_attempt;
  const test_options& x_options;
  std::size_t x_runs = 0;
};

RUNNEL_TEST_INLINE std::size_t exhaust_schedules(test_attempt& attempt, const test_options& options);
#if RUNNEL_TEST_DEFINED
RUNNEL_TEST_INLINE std::size_t exhaust_schedules(test_attempt& attempt, const test_options& options) {
  return exhaustion(attempt, options)();
}
#endif

}  // namespace runnel::detail

namespace runnel::test {

/// Runs body under n seeds, or up to the first that fails: `rn::test::explore(1000, body)`. Each run is one of
/// test::run; body is called anew for each, and sets its state up itself. Options, of which test::seed is the first
/// seed, may stand before or behind the body.
///
/// Returns: how many runs there were. Throws: test::failure, which says which seed failed, why, and what the run did.
/// RUNNEL_TEST_SEED in the environment runs that seed alone.
template <class... A> std::size_t explore(std::uint64_t n, A&&... options_and_body) {
  auto bodies = detail::callables_among(options_and_body...);
  static_assert(std::tuple_size_v<decltype(bodies)> == 1, "test::explore takes a number, options, and one body");
  auto& body = std::get<0>(bodies);
  detail::check_body<std::remove_reference_t<decltype(body)>>();
  auto attempt = detail::test_attempt(body, detail::options_among(options_and_body...));
  return detail::explore_seeds(attempt, n);
}

/// Runs a small body under every schedule, or under all that take at most so many steps that are not the default one:
/// `rn::test::exhaust(body, rn::test::preemptions(2))`. Those with fewer such steps come first, so the failure that it
/// finds is one that needs the fewest. body does the same each time: what it does depends on the schedule alone.
///
/// Returns: how many schedules there are. Throws: test::failure; misuse_error when there are more schedules than
/// test::max_runs, and where the body does not do the same each time. RUNNEL_TEST_SCHEDULE runs that schedule alone.
/// Complexity: with k preemptions in a body of n steps, in the order of n to the k.
template <class... A> std::size_t exhaust(A&&... options_and_body) {
  auto bodies = detail::callables_among(options_and_body...);
  static_assert(std::tuple_size_v<decltype(bodies)> == 1, "test::exhaust takes options, and one body");
  auto& body = std::get<0>(bodies);
  detail::check_body<std::remove_reference_t<decltype(body)>>();
  auto options = detail::options_among(options_and_body...);
  auto attempt = detail::test_attempt(body, options);
  return detail::exhaust_schedules(attempt, options);
}

}  // namespace runnel::test
