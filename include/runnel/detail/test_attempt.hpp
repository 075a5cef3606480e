// SPDX-License-Identifier: BSL-1.0
// runnel/detail/test_attempt.hpp: one of many runs of a body: did it end well, and if not, what to say.
// Layer: L13
#pragma once

#include <runnel/detail/census_text.hpp>
#include <runnel/detail/test_inline.hpp>
#include <runnel/detail/test_run.hpp>
#include <runnel/detail/test_schedule.hpp>
#include <runnel/error.hpp>
#include <runnel/test/error.hpp>
#include <runnel/test/options.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <utility>

namespace runnel::detail {

// The environment says it, else the options, else it is the default order.
RUNNEL_TEST_INLINE std::unique_ptr<test_schedule> schedule_for(test_options& o);
// How to have the same run again, before it has begun, and with the schedule that it took; empty: as it is.
RUNNEL_TEST_INLINE std::string replay_of(const test_options& o);

#if RUNNEL_TEST_DEFINED
RUNNEL_TEST_INLINE std::unique_ptr<test_schedule> schedule_for(test_options& o) {
  if (auto seed = number_from_environment("RUNNEL_TEST_SEED")) {
    o.seed = seed;
    return std::make_unique<seeded_schedule>(*seed);
  }
  if (const char* text = std::getenv("RUNNEL_TEST_SCHEDULE")) {
    o.seed.reset();
    o.schedule = parse_schedule(text);
  }
  if (o.schedule) return std::make_unique<given_schedule>(*o.schedule);
  if (o.seed) return std::make_unique<seeded_schedule>(*o.seed);
  return std::make_unique<given_schedule>();
}
RUNNEL_TEST_INLINE std::string replay_of(const test_options& o) {
  if (o.seed) return "RUNNEL_TEST_SEED=" + std::to_string(*o.seed);
  if (!o.schedule || o.schedule->empty()) return "";
  std::string text;
  for (auto [step, choice] : *o.schedule)
    text += (text.empty() ? "RUNNEL_TEST_SCHEDULE=" : ",") + std::to_string(step) + ":" + std::to_string(choice);
  return text;
}
#endif

// Whether an error is one of the given kinds.
template <class... E> bool is_one_of(const std::exception_ptr& error) noexcept {
  auto is = [&]<class X>(const X*) {
    try {
      std::rethrow_exception(error);
    } catch (const X&) {
      return true;
    } catch (...) {
      return false;
    }
  };
  return (is(static_cast<const E*>(nullptr)) || ...);
}

// Runs the body once more, and throws test::failure if it does not end well.
class test_attempt {
 public:
  template <class F>
  test_attempt(F& body, test_options options)
      : x_options(std::move(options)),
        x_run([&body](test_schedule& schedule, const test_options& o, const test_plan& plan) {
          body_result<body_value<F>> result;
          return run_once<body_value<F>>(body, result, schedule, o, plan);
        }) {}

  // `which` says which run it is: "the run with seed 4". What the plan brings about is no failure.
  test_outcome operator()(test_schedule& schedule, test_plan plan, const std::string& which,
                          const std::string& point = "") {
    std::string replay = replay_of(x_options);
    if (!point.empty()) replay += (replay.empty() ? "" : " ") + ("RUNNEL_TEST_POINT=" + point);
    plan.replay = replay;
    failed_checks checks;
    test_outcome outcome = x_run(schedule, x_options, plan);
    outcome.replay = plan.replay;
    if (x_options.record) *x_options.record = outcome.trace;
    bool planned = plan.event != test_plan::event_t::none || plan.fails_at != fault_count::none ||
                   plan.operation_fails_at != fault_count::none;
    if (planned && !outcome.disturbed)
      throw misuse_error("runnel: the body of a test is to do the same each time: it has not come to that place again");
    if (outcome.error && !(planned && is_expected(plan, outcome.error)))
      fail(outcome, which, what_of(outcome.error));
    if (outcome.canceled && !planned) fail(outcome, which, "the body was cancelled");
    if (checks.any_new()) fail(outcome, which, "a check failed");
    return outcome;
  }
  test_options& options() noexcept { return x_options; }

  [[noreturn]] void fail(const test_outcome& outcome, const std::string& which, std::string why) const {
    constexpr std::string_view ours = "runnel: ";
    if (why.starts_with(ours)) why.erase(0, ours.size());
    std::string text = "runnel: " + which + " failed: " + why + "\n";
    if (!outcome.replay.empty()) text += "again: " + outcome.replay + "\n";
    text += "what it did:\n" + outcome.trace.text(longest_trace);
    throw test::failure(text, outcome.replay, outcome.error);
  }

 private:
  static constexpr std::size_t longest_trace = 60;

  static bool is_expected(const test_plan& plan, const std::exception_ptr& error) noexcept {
    if (is_one_of<canceled, timeout_error>(error)) return true;
    if (plan.operation_fails_at != fault_count::none) return is_injected(error);
    return plan.fails_at != fault_count::none && is_one_of<std::bad_alloc>(error);
  }

  test_options x_options;
  std::function<test_outcome(test_schedule&, const test_options&, const test_plan&)> x_run;
};

}  // namespace runnel::detail
