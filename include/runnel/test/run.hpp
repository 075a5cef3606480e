// SPDX-License-Identifier: BSL-1.0
// runnel/test/run.hpp: run, a body in a runtime of its own, on one thread, in virtual time, by a seed.
// Layer: L13
#pragma once

#include <runnel/detail/test_attempt.hpp>
#include <runnel/detail/test_run.hpp>
#include <runnel/detail/test_schedule.hpp>
#include <runnel/error.hpp>
#include <runnel/test/options.hpp>

#include <cstdio>
#include <exception>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace runnel::detail {

template <class F> body_value<F> run_body(F& body, test_options& options) {
  using T = body_value<F>;
  auto schedule = schedule_for(options);
  failed_checks checks;
  body_result<T> result;
  test_plan plan;
  plan.replay = replay_of(options);
  test_outcome outcome = run_once<T>(body, result, *schedule, options, plan);
  if (outcome.error || outcome.canceled || checks.any_new())
    std::fprintf(stderr, "runnel: a test run failed%s%s\n",
                 plan.replay.empty() ? " in the default order" : "; again with ", plan.replay.c_str());
  if (options.record) *options.record = std::move(outcome.trace);
  if (outcome.error) std::rethrow_exception(outcome.error);
  if (outcome.canceled) throw runnel::canceled();
  return result.slot.take();
}

}  // namespace runnel::detail

namespace runnel::test {

/// Runs body(), a coroutine that returns a task, as a goroutine of a runtime of its own, to its end.
///
///     int n = rn::test::run(rn::test::seed(7), [&]() -> rn::task<int> { ... });
///
/// Everything runs on the calling thread, one goroutine at a time. Time is virtual: it stands still while anything can
/// run, and then jumps to the next timer. What runs next is drawn from the seed, at every co_await of the library; the
/// same seed gives the same run. Without a seed it is the order that one processor would take. Options come first:
/// seed, schedule, max_steps, blocking_limit, cancel_at_end, record_to.
///
/// Where a run fails, it prints the seed. RUNNEL_TEST_SEED in the environment stands for every seed, and
/// RUNNEL_TEST_SCHEDULE for every schedule.
///
/// Returns: what body returns. Throws: what body throws, or what leaves a goroutine that it started with rn::go;
/// canceled if it was cancelled; deadlock_error, leak_error, endless_error, blocking_error, which have the table of who
/// waits for what; misuse_error in a goroutine, and where another thread has a hand in the run.
/// Contract: SEMANTICS.md SY-01 to SY-11, DL-01.
template <class... A> decltype(auto) run(A&&... options_then_body) {
  auto bodies = detail::callables_among(options_then_body...);
  static_assert(std::tuple_size_v<decltype(bodies)> == 1, "test::run takes options, and one body");
  auto& body = std::get<0>(bodies);
  detail::check_body<std::remove_reference_t<decltype(body)>>();
  auto options = detail::options_among(options_then_body...);
  return detail::run_body(body, options);
}

/// Tells the library how to know that a check has failed, so that a run with a failed check is a run that failed:
/// `rn::test::set_failure_hook(&testing::Test::HasFailure)` once, before the tests.
inline void set_failure_hook(bool (*has_failed)()) noexcept { detail::the_failure_hook = has_failed; }

}  // namespace runnel::test
