// SPDX-License-Identifier: BSL-1.0
// runnel/test/options.hpp: how a test run goes: its seed or schedule, its limits, what it records.
// Layer: L13
#pragma once

#include <runnel/detail/test_schedule.hpp>
#include <runnel/error.hpp>
#include <runnel/test/trace.hpp>
#include <runnel/time_point.hpp>

#include <chrono>
#include <concepts>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace runnel::detail {

struct test_options {
  std::optional<std::uint64_t> seed;
  std::optional<std::vector<deviation>> schedule;
  std::uint64_t max_steps = 1'000'000;
  std::uint64_t max_runs = 1'000'000;
  std::uint64_t preemptions = UINT64_MAX;
  std::int64_t blocking_ns = 50'000'000;
  bool cancels_at_end = false;
  test::trace* record = nullptr;
};

// The base of every option: an option has apply(test_options&).
struct test_option {};
template <class O>
concept is_test_option = std::derived_from<std::remove_cvref_t<O>, test_option>;

}  // namespace runnel::detail

namespace runnel::test {

/// An option: every choice of the run is drawn from this number. explore begins with it.
class seed : public detail::test_option {
 public:
  explicit seed(std::uint64_t n) noexcept : x_n(n) {}
  void apply(detail::test_options& o) const noexcept { o.seed = x_n; }

 private:
  std::uint64_t x_n;
};

/// An option: the default order, but for the steps that are named: "12:1,15:2", as a failing exhaust prints it. Throws:
/// misuse_error for another text.
class schedule : public detail::test_option {
 public:
  explicit schedule(std::string_view text) : x_deviations(detail::parse_schedule(text)) {}
  void apply(detail::test_options& o) const { o.schedule = x_deviations; }

 private:
  std::vector<detail::deviation> x_deviations;
};

/// An option: a run that takes more steps fails with endless_error. Default: a million.
class max_steps : public detail::test_option {
 public:
  explicit max_steps(std::uint64_t n) noexcept : x_n(n) {}
  void apply(detail::test_options& o) const noexcept { o.max_steps = x_n; }

 private:
  std::uint64_t x_n;
};

/// An option of exhaust: it gives up with misuse_error when there are more schedules. Default: a million.
class max_runs : public detail::test_option {
 public:
  explicit max_runs(std::uint64_t n) noexcept : x_n(n) {}
  void apply(detail::test_options& o) const noexcept { o.max_runs = x_n; }

 private:
  std::uint64_t x_n;
};

/// An option of exhaust: schedules with at most so many steps that are not the default one. Default: all schedules.
class preemptions : public detail::test_option {
 public:
  explicit preemptions(std::uint64_t most) noexcept : x_most(most) {}
  void apply(detail::test_options& o) const noexcept { o.preemptions = x_most; }

 private:
  std::uint64_t x_most;
};

/// An option: a step that takes this long in real time, and in which the thread slept, waited for a lock or did I/O,
/// fails the run with blocking_error. Zero: never. Default: 50 ms. Seen on Linux alone.
class blocking_limit : public detail::test_option {
 public:
  template <class Rep, class Period>
  explicit blocking_limit(std::chrono::duration<Rep, Period> d) noexcept : x_ns(detail::to_ns(d)) {}
  void apply(detail::test_options& o) const noexcept { o.blocking_ns = x_ns; }

 private:
  std::int64_t x_ns;
};

/// An option: the run's trace is left here, however it ends. The trace outlives the run.
class record_to : public detail::test_option {
 public:
  explicit record_to(trace& t) noexcept : x_trace(&t) {}
  void apply(detail::test_options& o) const noexcept { o.record = x_trace; }

 private:
  trace* x_trace;
};

/// An option: goroutines that are left when the body has ended are cancelled, as at a shutdown. Only those that do not
/// end then are leaks.
struct cancel_at_end_t : detail::test_option {
  explicit constexpr cancel_at_end_t() noexcept = default;
  void apply(detail::test_options& o) const noexcept { o.cancels_at_end = true; }
};
inline constexpr cancel_at_end_t cancel_at_end{};

}  // namespace runnel::test

namespace runnel::detail {

template <class... A> test_options options_among(const A&... arguments) {
  test_options o;
  auto look = [&](const auto& a) {
    if constexpr (is_test_option<decltype(a)>) a.apply(o);
  };
  (look(arguments), ...);
  return o;
}
// The arguments that are no options, in their order.
template <class... A> auto callables_among(A&... arguments) {
  auto one = [](auto& a) {
    if constexpr (is_test_option<decltype(a)>)
      return std::tuple<>();
    else
      return std::tie(a);
  };
  return std::tuple_cat(one(arguments)...);
}

inline std::optional<std::uint64_t> number_from_environment(const char* name) {
  const char* text = std::getenv(name);
  if (!text || !*text) return std::nullopt;
  char* end = nullptr;
  std::uint64_t n = std::strtoull(text, &end, 10);
  if (*end) throw misuse_error(std::string("runnel: ") + name + " is to be a number");
  return n;
}

}  // namespace runnel::detail
