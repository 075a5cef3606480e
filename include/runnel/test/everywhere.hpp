// SPDX-License-Identifier: BSL-1.0
// runnel/test/everywhere.hpp: cancel_everywhere and fail_everywhere, which disturb a body at each place once.
// Layer: L13
#pragma once

#include <runnel/detail/frame_pool.hpp>
#include <runnel/detail/test_attempt.hpp>
#include <runnel/detail/test_faults.hpp>
#include <runnel/detail/test_inline.hpp>
#include <runnel/detail/test_run.hpp>
#include <runnel/error.hpp>
#include <runnel/test/error.hpp>
#include <runnel/test/options.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

namespace runnel::detail {

// A run to find out where the places are, and then one for each place and each way to disturb it there. What a later
// kind of disturbance needs is a word, a plan for a place, and what counts the places.
class disturbance {
 public:
  disturbance(test_attempt attempt, std::function<bool()> invariant)
      : x_attempt(std::move(attempt)), x_invariant(std::move(invariant)) {}

  std::size_t cancel() {
    std::uint64_t places = undisturbed(test_plan()).body_steps;
    for (std::uint64_t i = 0; i < places; ++i) {
      at("cancel", "cancelled before step", i, {test_plan::event_t::cancel, i});
      at("kill", "killed before step", i, {test_plan::event_t::kill, i});
    }
    return x_runs;
  }
  std::size_t fail() {
    test_plan plan;
    plan.counts_allocations = true;
    test_outcome whole = undisturbed(plan);
    if (whole.allocations == 0 && whole.operations == 0)
      throw misuse_error(
          "runnel: fail_everywhere sees no allocation: compile with RUNNEL_FAULT_INJECTION=1, or let the program's "
          "operator new ask test::allocation_fails");
    for (std::uint64_t i = 0; i < whole.allocations; ++i) {
      plan.fails_at = i;
      at("allocation", "with the failure of allocation", i, plan);
    }
    plan = {};
    for (std::uint64_t i = 0; i < whole.operations; ++i) {
      plan.operation_fails_at = i;
      at("operation", "with the failure of operation", i, plan);
    }
    return x_runs;
  }

 private:
  test_outcome undisturbed(const test_plan& plan) {
    std::string which = "the run without any disturbance";
    run(plan, which, "", false);  // whatever is made once, and stays, is made now
    return run(plan, which, "", true);
  }
  void at(const char* word, const char* what, std::uint64_t place, const test_plan& plan) {
    std::string point = std::string(word) + ":" + std::to_string(place);
    if (const char* only = std::getenv("RUNNEL_TEST_POINT"); only && *only && point != only) return;
    run(plan, std::string("the run ") + what + " " + std::to_string(place), point, true);
    ++x_runs;
  }
  test_outcome run(const test_plan& plan, const std::string& which, const std::string& point, bool checks_leaks) {
    std::size_t before = frame_pool_stats().live_blocks;
    auto schedule = schedule_for(x_attempt.options());
    test_outcome outcome = x_attempt(*schedule, plan, which, point);
    if (checks_leaks) {
      if (outcome.timer_left) x_attempt.fail(outcome, which, "a timer is still set");
      if (std::size_t after = frame_pool_stats().live_blocks; after != before)
        x_attempt.fail(outcome, which,
                       std::to_string(after) + " frames, goroutines and contexts are left, and there were " +
                           std::to_string(before) + " before");
    }
    std::string broken;
    try {
      if (!x_invariant()) broken = "the invariant does not hold";
    } catch (...) {
      broken = "the invariant does not hold: " + what_of(std::current_exception());
    }
    if (!broken.empty()) x_attempt.fail(outcome, which, broken);
    return outcome;
  }

  test_attempt x_attempt;
  std::function<bool()> x_invariant;
  std::size_t x_runs = 0;
};

enum class disturbed_by : std::uint8_t { cancellation, failure };
RUNNEL_TEST_INLINE std::size_t disturb(test_attempt attempt, std::function<bool()> invariant, disturbed_by what);
#if RUNNEL_TEST_DEFINED
RUNNEL_TEST_INLINE std::size_t disturb(test_attempt attempt, std::function<bool()> invariant, disturbed_by what) {
  disturbance d(std::move(attempt), std::move(invariant));
  return what == disturbed_by::failure ? d.fail() : d.cancel();
}
#endif

template <class F> bool holds(F& invariant) {
  if constexpr (std::is_void_v<std::invoke_result_t<F&>>)
    return invariant(), true;
  else
    return static_cast<bool>(invariant());
}

template <class... A> std::size_t disturb_by(disturbed_by what, A&... options_body_and_invariant) {
  auto callables = callables_among(options_body_and_invariant...);
  constexpr auto n = std::tuple_size_v<decltype(callables)>;
  static_assert(n == 1 || n == 2, "it takes options, a body, and an invariant if there is one");
  auto& body = std::get<0>(callables);
  check_body<std::remove_reference_t<decltype(body)>>();
  std::function<bool()> invariant = [] { return true; };
  if constexpr (n == 2) invariant = [&f = std::get<1>(callables)] { return holds(f); };
  return disturb(test_attempt(body, options_among(options_body_and_invariant...)), std::move(invariant), what);
}

}  // namespace runnel::detail

namespace runnel::test {

/// Runs body to find out where it can be interrupted, and then once for each of these places, cancelled exactly there;
/// and once killed there: `rn::test::cancel_everywhere(body, invariant)`. A place is the moment before a step of
/// test::run: before a goroutine goes on, or a timer fires. It is the body's context that is cancelled, with everything
/// that inherits it.
///
/// After each run it is checked that the run has ended, that neither a goroutine is left nor a frame, a context or a
/// timer, that body has not thrown anything but canceled or a timeout, and that invariant() holds: it returns true, or
/// nothing; one that throws does not hold. body is called anew for each run, and sets its state up itself. No other
/// thread may use the library meanwhile. Options may stand before or behind: seed and schedule, say.
///
/// Returns: how many runs were disturbed. Throws: test::failure. RUNNEL_TEST_POINT in the environment, as a failure
/// prints it, tries that place alone.
template <class... A> std::size_t cancel_everywhere(A&&... options_body_and_invariant) {
  return detail::disturb_by(detail::disturbed_by::cancellation, options_body_and_invariant...);
}

/// The same with every allocation failing in turn: of frames, goroutines and contexts in a program that is compiled
/// with RUNNEL_FAULT_INJECTION=1; of everything else where the program's operator new asks allocation_fails. body may
/// throw bad_alloc too, or get on without. And with every operation of Asio failing in turn that a goroutine awaits by
/// use_task or use_result, instead of being started, with boost::asio::error::connection_reset: body may throw that.
/// Throws: test::failure; misuse_error if no allocation can be made to fail.
template <class... A> std::size_t fail_everywhere(A&&... options_body_and_invariant) {
  return detail::disturb_by(detail::disturbed_by::failure, options_body_and_invariant...);
}

/// For a program's operator new: whether this allocation is to fail, with bad_alloc. False outside of fail_everywhere.
inline bool allocation_fails() noexcept { return detail::allocation_faults::here().next_fails(); }

}  // namespace runnel::test
