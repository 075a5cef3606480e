// SPDX-License-Identifier: BSL-1.0
// runnel/detail/test_run.hpp: one run of a body in a runtime of its own, from the first step to the last.
// Layer: L13
#pragma once

#include <runnel/detail/context_node.hpp>
#include <runnel/detail/crash_note.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/detail/runtime_core.hpp>
#include <runnel/detail/spawn.hpp>
#include <runnel/detail/test_host.hpp>
#include <runnel/detail/test_inline.hpp>
#include <runnel/detail/test_report.hpp>
#include <runnel/detail/test_schedule.hpp>
#include <runnel/error.hpp>
#include <runnel/task.hpp>
#include <runnel/test/error.hpp>
#include <runnel/test/options.hpp>
#include <runnel/test/trace.hpp>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace runnel::detail {

// What is to happen in a run beside the body.
struct test_plan {
  enum class event_t : std::uint8_t { none, cancel, kill };
  event_t event = event_t::none;     // befalls the body's context
  std::uint64_t event_step = 0;      // before this step
  bool counts_allocations = false;
  std::uint64_t fails_at = fault_count::none;            // the allocation with this number
  std::uint64_t operation_fails_at = fault_count::none;  // the operation of Asio
  std::string replay = {};           // what the environment is to say for the same run
};

// What became of it. Nothing of the run is left, unless the report says so.
struct test_outcome {
  std::exception_ptr error;  // of the body, of a bare go, or a run_error
  bool canceled = false;     // the body was unwound, and nothing else is wrong
  bool disturbed = false;    // what was planned has happened
  bool timer_left = false;
  std::uint64_t steps = 0;   // of the run, and until the body had ended
  std::uint64_t body_steps = 0;
  std::uint64_t allocations = 0;
  std::uint64_t operations = 0;
  test::trace trace;
  std::string replay;        // of the plan
};

// Shared with the body's frame and the error handlers, which may outlive the run if something of it cannot be ended.
struct test_progress {
  bool completed = false;  // the body returned or threw
  bool ended = false;      // its frames are gone
  std::exception_ptr body_error;
  std::exception_ptr go_error;
  runtime_core* core = nullptr;  // until the run is over
};

class test_run {
 public:
  test_run(test_schedule& schedule, const test_options& options, const test_plan& plan)
      : x_options(options), x_plan(plan) {
    if (this_processor())
      throw misuse_error("runnel: a test run in a goroutine: runs cannot be nested, co_await the body instead");
    runtime_options raw;
    raw.on_error = [p = x_progress](const goroutine_error& e) {
      if (!p->go_error) p->go_error = e.error;
      if (p->core) p->core->cancel(e.error);
    };
    raw.on_unobserved = [](const goroutine_error&) {};
    x_host = std::make_shared<test_host>(schedule, options.seed.value_or(0), options.blocking_ns, std::move(raw));
    x_host->core.join_list();
    x_progress->core = &x_host->core;
  }
  test_run(const test_run&) = delete;
  test_run& operator=(const test_run&) = delete;

  // make_body makes the root of the body, once, in the run's thread.
  test_outcome operator()(const std::function<task<>(std::shared_ptr<test_progress>)>& make_body) {
    test_outcome outcome;
    crash_note note("runnel: the program aborts in a test run" +
                    (x_plan.replay.empty() ? " in the default order" : "; again with " + x_plan.replay) + "\n");
    std::optional<frame_faults> watch;
    if (counts_allocations()) watch.emplace();
    allocation_faults& faults = allocation_faults::here();
    faults = {{x_plan.fails_at}};
    x_host->operations().fails_at = x_plan.operation_fails_at;
    start(make_body);
    run_body();
    outcome.steps = x_host->steps();
    outcome.body_steps = x_body_steps;
    outcome.allocations = faults.seen;
    outcome.operations = x_host->operations().seen;
    outcome.disturbed = faults.failed || x_host->operations().failed ||
                        (x_plan.event != test_plan::event_t::none && !x_host->event_is_to_come());
    faults = {};
    std::exception_ptr handler_error = x_host->asio_here().error;  // of the run: what ends it may make others
    end();
    outcome.timer_left = x_host->timer_is_set();
    outcome.trace = std::move(x_host->trace());
    if (x_progress->go_error)
      outcome.error = x_progress->go_error;
    else if (x_progress->body_error)
      outcome.error = x_progress->body_error;
    else if (handler_error)
      outcome.error = handler_error;
    else if (x_error)
      outcome.error = x_error;
    else
      outcome.canceled = !x_progress->completed;
    return outcome;
  }

 private:
  using stop_t = test_host::stop_t;
  static constexpr int longest_wait_ms = 500;

  bool counts_allocations() const noexcept {
    return x_plan.counts_allocations || x_plan.fails_at != fault_count::none;
  }

  void start(const std::function<task<>(std::shared_ptr<test_progress>)>& make_body) {
    node_use home(*new context_node);
    home.node.attach_to(x_host->core.root);
    x_host->as_the_pump([&] { x_host->core.start(home.node, make_body(x_progress), {}); });
    x_host->count_allocations(counts_allocations());
    if (x_plan.event == test_plan::event_t::none) return;
    bool kills = x_plan.event == test_plan::event_t::kill;
    home.node.retain();
    std::shared_ptr<context_node> node(&home.node, [](context_node* n) { n->release(); });
    const char* what = kills ? "the body's context is killed" : "the body's context is cancelled";
    x_host->set_event(x_plan.event_step, what, [node = std::move(node), kills] {
      node->cancel(kills ? level_kill : level_cancel, false, canceled_cause());
    });
  }

  void run_body() {
    auto stop = x_host->drive(true, x_options.max_steps, [this] { return x_progress->ended; });
    x_body_steps = x_host->steps();
    if (stop == stop_t::goal) return run_the_rest();
    if (!wrong(stop))
      fail<test::deadlock_error>("deadlock: every goroutine waits, and no timer is set");
  }
  // What the body has left may go on, but time stands still now (SY-05).
  void run_the_rest() {
    auto nobody = [this] { return x_host->core.live() == 0 && x_host->asio_here().waiting() == 0; };
    auto stop = x_host->drive(false, x_options.max_steps, nobody);
    if (stop == stop_t::quiet && x_options.cancels_at_end) {
      x_host->core.refuse_new();
      x_host->as_the_pump([&] { x_host->core.cancel(); });
      stop = x_host->drive(true, x_options.max_steps, nobody);
    }
    if (stop == stop_t::goal || wrong(stop)) return;
    auto n = std::to_string(x_host->core.live());
    fail<test::leak_error>("leak: the body has ended and " + n + " goroutine" + (n == "1" ? "" : "s") +
                           " that it left behind cannot go on");
  }
  bool wrong(stop_t stop) {
    if (stop == stop_t::endless) {
      fail<test::endless_error>("no end after test::max_steps(" + std::to_string(x_options.max_steps) +
                                "); the last to run was " + last_to_run());
    } else if (stop == stop_t::blocked) {
      auto [number, ns] = x_host->blocked();
      std::string who = "goroutine " + std::to_string(number) + " (" + x_host->trace().name(number) + ")";
      fail<test::blocking_error>((number == 0 ? "a handler of Asio" : who) +
                                 " blocked its thread for " + duration_text(ns) +
                                 " of real time: it slept, waited for a lock or did I/O. In a test time is virtual: "
                                 "co_await rn::sleep");
    } else if (stop == stop_t::outside) {
      x_error = std::make_exception_ptr(misuse_error(
          "runnel: a thread outside of the test run woke one of its goroutines: such a run cannot be repeated"));
    } else {
      return false;
    }
    return true;
  }
  std::string last_to_run() {
    const auto& steps = x_host->trace().steps();
    std::uint64_t number = steps.empty() ? 0 : steps.back().number;
    if (number == 0) return "a handler of Asio, or a timer";
    return "goroutine " + std::to_string(number) + ", " + x_host->trace().name(number);
  }
  template <class E> void fail(const std::string& headline) {
    x_error = std::make_exception_ptr(E(test_report(*x_host, headline)));
  }

  // Whatever is left is cancelled, and then killed.
  void end() {
    runtime_core& core = x_host->core;
    auto nobody = [&] { return core.live() == 0; };
    x_host->forgive();
    core.refuse_new();
    if (!nobody()) {
      x_host->as_the_pump([&] { core.cancel(); });
      x_host->drive(true, x_options.max_steps, nobody);
    }
    if (!nobody()) {
      x_host->as_the_pump([&] { core.root.cancel(level_kill, false, canceled_cause()); });
      x_host->drive(true, x_options.max_steps, nobody);
    }
    for (int ms = 0; !nobody() && ms < longest_wait_ms; ++ms) {  // for a thread outside that ends an operation of Asio
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      x_host->drive(true, x_options.max_steps, nobody);
    }
    x_progress->core = nullptr;
    x_host->asio_here().close();
    if (nobody()) {
      core.end(true);
      core.core.wait_for_visitors();
    } else {
      std::fprintf(stderr, "%s\n", test_report(*x_host, "not even a kill ends what is left of a test run").c_str());
      static auto& left_alone = *new std::vector<std::shared_ptr<test_host>>;  // what is left refers to it
      left_alone.push_back(x_host);
    }
  }

  const test_options& x_options;
  const test_plan& x_plan;
  std::shared_ptr<test_progress> x_progress = std::make_shared<test_progress>();
  std::shared_ptr<test_host> x_host;
  std::uint64_t x_body_steps = 0;
  std::exception_ptr x_error;
};

// One run.
using test_body_maker = std::function<task<>(std::shared_ptr<test_progress>)>;
RUNNEL_TEST_INLINE test_outcome run_test(test_schedule& schedule, const test_options& options, const test_plan& plan,
                                         const test_body_maker& make_body);
#if RUNNEL_TEST_DEFINED
RUNNEL_TEST_INLINE test_outcome run_test(test_schedule& schedule, const test_options& options, const test_plan& plan,
                                         const test_body_maker& make_body) {
  test_run run(schedule, options, plan);
  return run(make_body);
}
#endif

// The body, as a goroutine. `f` outlives the run.
template <class T> struct body_result {
  result_slot<T> slot;
  body_result() = default;
  body_result(const body_result&) = delete;
  body_result& operator=(const body_result&) = delete;
  ~body_result() { slot.discard(); }
};
template <class T, class F> task<> test_body(F& f, body_result<T>& result, std::shared_ptr<test_progress> progress) {
  struct at_end {
    test_progress& p;
    ~at_end() { p.ended = true; }
  } end{*progress};
  try {
    if constexpr (std::is_void_v<T>) {
      co_await f();
      result.slot.emplace();
    } else {
      result.slot.emplace(co_await f());
    }
  } catch (...) {
    progress->body_error = std::current_exception();
  }
  progress->completed = true;
}

template <class F> constexpr void check_body() {
  static_assert(std::is_invocable_v<F&>, "the body of a test takes no arguments: [&]() -> rn::task<> { ... }");
  if constexpr (std::is_invocable_v<F&>)
    static_assert(is_task<std::invoke_result_t<F&>>,
                  "the body of a test is a coroutine that returns a task; a lambda needs -> rn::task<> written out");
}
template <class F> using body_value = typename std::invoke_result_t<F&>::value_type;

template <class T, class F>
test_outcome run_once(F& body, body_result<T>& result, test_schedule& schedule, const test_options& options,
                      const test_plan& plan) {
  return run_test(schedule, options, plan, [&](std::shared_ptr<test_progress> progress) {
    return test_body<T, F>(body, result, std::move(progress));
  });
}

// A function that tells whether a check has failed since the program began: GoogleTest's HasFailure.
inline bool (*the_failure_hook)() = nullptr;
class failed_checks {
 public:
  bool any_new() const { return !x_before && now(); }

 private:
  static bool now() { return the_failure_hook && the_failure_hook(); }
  bool x_before = now();
};

}  // namespace runnel::detail
