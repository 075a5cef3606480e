// SPDX-License-Identifier: BSL-1.0
// runnel/run.hpp: run, a whole program: a runtime, an app, signals, an exit code.
// Layer: L2
#pragma once

#include <runnel/compiler.hpp>
#include <runnel/detail/signals.hpp>
#include <runnel/runtime.hpp>

#include <concepts>
#include <cstdio>
#include <exception>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

namespace runnel {

/// An option of run: SIGINT and SIGTERM are left alone.
struct no_signals_t {
  explicit constexpr no_signals_t() noexcept = default;
};
inline constexpr no_signals_t no_signals{};

namespace detail {

// An option of run that is there while the app runs.
class run_attendant {
 public:
  virtual std::shared_ptr<void> attend(runtime& rt) const = 0;

 protected:
  ~run_attendant() = default;
};

class run_options {
 public:
  void set(const threads& t) noexcept { x_threads = t; }
  void set(no_signals_t) noexcept { x_signals = false; }
  void set(runnel::runtime_options o) { x_options = std::move(o); }
  void set(const run_attendant& a) { x_attendants.push_back(&a); }
  threads x_threads = threads::of_machine();
  bool x_signals = true;
  runnel::runtime_options x_options;
  std::vector<const run_attendant*> x_attendants;
};

template <class O>
concept run_option =
    std::same_as<std::remove_cvref_t<O>, threads> || std::same_as<std::remove_cvref_t<O>, no_signals_t> ||
    std::same_as<std::remove_cvref_t<O>, runnel::runtime_options> ||
    std::derived_from<std::remove_cvref_t<O>, run_attendant>;

template <class F, class... A> int run_app(run_options options, F&& f, A&&... args) {
  check_spawnable<F, A...>();
  using T = typename task_value<std::invoke_result_t<kept_t<F>&, kept_t<A>...>>::type;
  static_assert(std::is_void_v<T> || std::is_convertible_v<T, int>, "the app of run() returns task<int> or task<>");
  if (this_processor())
    throw misuse_error("runnel: run on a thread that runs goroutines would block it: co_await instead");
  try {
    runtime rt(options.x_threads, std::move(options.x_options));
    signal_watch signals(options.x_signals, rt);
    std::vector<std::shared_ptr<void>> attendants;
    for (auto* a : options.x_attendants) attendants.push_back(a->attend(rt));
    int code = 0;
    try {
      if constexpr (std::is_void_v<T>)
        rt.run(std::forward<F>(f), std::forward<A>(args)...);
      else
        code = static_cast<int>(rt.run(std::forward<F>(f), std::forward<A>(args)...));
    } catch (const canceled&) {
      if (int signal = signals.received())
        code = 128 + signal;
      else
        code = 1;
      if (code == 1 && !rt.core().failed()) std::fprintf(stderr, "runnel: the app was cancelled\n");
    } catch (...) {
      std::fprintf(stderr, "runnel: an exception left the app: %s\n%s", what_of(std::current_exception()).c_str(),
                   trace_text(std::current_exception()).c_str());
      code = 1;
    }
    rt.shut_down();
    return rt.core().failed() ? 1 : code;
  } catch (...) {
    std::fprintf(stderr, "runnel: %s\n", what_of(std::current_exception()).c_str());
    return 1;
  }
}

template <run_option O, class... Rest> int run_with(run_options options, O&& option, Rest&&... rest);
template <class F, class... A>
  requires(!run_option<F>)
int run_with(run_options options, F&& f, A&&... args) {
  return run_app(std::move(options), std::forward<F>(f), std::forward<A>(args)...);
}
template <run_option O, class... Rest> int run_with(run_options options, O&& option, Rest&&... rest) {
  options.set(std::forward<O>(option));
  return run_with(std::move(options), std::forward<Rest>(rest)...);
}

}  // namespace detail

/// Runs app(args...) as a program: `int main() { return rn::run(app); }`. Options come first: rn::threads(4),
/// rn::no_signals, rn::runtime_options(), rn::dump_on_quit.
///
/// SIGINT and SIGTERM cancel the root context; a second one ends the program at once, unless it comes within 200 ms,
/// which makes it the same one again. Whatever is left when app ends is cancelled and joined: cancel, grace, kill,
/// report.
///
/// Returns: what app returns, 0 for task<>; 128 + signal if a signal cancelled it; 1 after an uncaught exception, whose
/// message is printed, in app or in a goroutine. Signal handlers are as before when it returns.
template <class... A> int run(A&&... options_app_args) {
  return detail::run_with(detail::run_options(), std::forward<A>(options_app_args)...);
}

}  // namespace runnel
