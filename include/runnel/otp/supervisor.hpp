// SPDX-License-Identifier: BSL-1.0
// runnel/otp/supervisor.hpp: supervisor, which starts children in order, starts them again, and stops them in reverse.
// Layer: L10
#pragma once

#include <runnel/as_result.hpp>
#include <runnel/compiler.hpp>
#include <runnel/detail/frame_allocator.hpp>
#include <runnel/detail/supervisor_call.hpp>
#include <runnel/detail/supervisor_core.hpp>
#include <runnel/error.hpp>
#include <runnel/otp/child_spec.hpp>
#include <runnel/otp/ready.hpp>
#include <runnel/otp/supervision.hpp>
#include <runnel/task.hpp>
#include <runnel/time_point.hpp>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <source_location>
#include <string_view>
#include <utility>
#include <vector>

namespace runnel {

/// Who is started again when a child has ended: a supervisor's first argument.
class supervision_strategy {
 public:
  explicit constexpr supervision_strategy(detail::restart_strategy s) noexcept : x_strategy(s) {}
  constexpr detail::restart_strategy value() const noexcept { return x_strategy; }

 private:
  detail::restart_strategy x_strategy;
};
/// That child.
inline constexpr supervision_strategy one_for_one{detail::restart_strategy::one};
/// All of them: the others are stopped first.
inline constexpr supervision_strategy one_for_all{detail::restart_strategy::all};
/// That child and those behind it, which are stopped first.
inline constexpr supervision_strategy rest_for_one{detail::restart_strategy::rest};

/// An option: how many restarts there may be in any period of that length; with one more the supervisor gives up. The
/// default is 3 in 5 s. Throws: misuse_error unless 0 <= n <= 1,000,000 and the period is positive.
class max_restarts {
 public:
  template <class Rep, class Period>
  max_restarts(std::ptrdiff_t n, std::chrono::duration<Rep, Period> period)
      : x_n(static_cast<std::size_t>(n)), x_period(detail::to_ns(period)) {
    if (n < 0) throw misuse_error("runnel: max_restarts(n, period) takes no negative n; 0 is none at all");
    if (n > 1'000'000)
      throw misuse_error("runnel: more than 1,000,000 restarts are no limit: max_restarts::unlimited()");
    if (x_period <= 0) throw misuse_error("runnel: max_restarts(n, period) takes a positive period");
  }
  /// Never gives up. Children that fail at once should have a backoff then.
  static max_restarts unlimited() noexcept { return max_restarts(); }

  std::size_t count() const noexcept { return x_n; }
  std::int64_t period_ns() const noexcept { return x_period; }

 private:
  max_restarts() noexcept : x_n(detail::restart_window::unlimited), x_period(1) {}
  std::size_t x_n;
  std::int64_t x_period;
};

struct any_significant_t {
  explicit constexpr any_significant_t() noexcept = default;
};
inline constexpr any_significant_t any_significant{};
struct all_significant_t {
  explicit constexpr all_significant_t() noexcept = default;
};
inline constexpr all_significant_t all_significant{};

/// An option: the supervisor stops when a significant child has ended for good by itself, or when the last of them has:
/// `rn::auto_shutdown(rn::any_significant)`, `rn::auto_shutdown(rn::all_significant)`.
class auto_shutdown {
 public:
  explicit constexpr auto_shutdown(any_significant_t) noexcept : x_when(detail::auto_stop::any) {}
  explicit constexpr auto_shutdown(all_significant_t) noexcept : x_when(detail::auto_stop::all) {}
  constexpr detail::auto_stop value() const noexcept { return x_when; }

 private:
  detail::auto_stop x_when;
};

namespace detail {

template <class O>
concept supervisor_option =
    std::same_as<std::remove_cvref_t<O>, max_restarts> || std::same_as<std::remove_cvref_t<O>, auto_shutdown>;

inline void set_option(supervisor_options& o, const max_restarts& m) noexcept {
  o.max_restarts = m.count();
  o.window_ns = m.period_ns();
}
inline void set_option(supervisor_options& o, auto_shutdown a) noexcept { o.when_significant = a.value(); }

// An id, and the place where it was written, which is the child's for reports.
struct child_name {
  std::string_view id;
  std::source_location where;
  template <std::convertible_to<std::string_view> S>
  child_name(const S& s, std::source_location w = std::source_location::current()) : id(s), where(w) {  // implicit
    if (id.empty()) throw misuse_error("runnel: the id of a child is empty");
  }
};

// Enters the supervisor, in its goroutine.
class supervisor_begin : public awaitable_base {
 public:
  explicit supervisor_begin(supervisor_core& core) noexcept : x_core(core) {}
  bool suspend(promise_base* leaf) const {
    goroutine& g = goroutine_of(leaf);
    if (!enter_operation(g)) return stop_here(g, leaf);
    x_core.begin(g);
    return false;
  }
  void resume() const noexcept {}

 private:
  supervisor_core& x_core;
};

// Waits for news; not cancelled itself: a cancellation is news.
class supervisor_pause : public awaitable_base {
 public:
  supervisor_pause(supervisor_core& core, bool goes_on) noexcept : x_core(core), x_goes_on(goes_on) {}
  bool suspend(promise_base* leaf) const {
    goroutine& g = *leaf->g;
    if (x_goes_on) return give_others_a_turn(g, leaf);
    g.set_leaf(leaf);
    return x_core.wait_for_news(g) || spend_budget(g, leaf);
  }
  void resume() const noexcept {}

 private:
  supervisor_core& x_core;
  bool x_goes_on;
};

// Its frame does not die before end(): nothing unwinds a goroutine that waits in supervisor_pause.
inline task<> run_supervisor(std::shared_ptr<supervisor_core> core) {
  using next = supervisor_core::next_step;
  co_await supervisor_begin(*core);
  for (next n = core->step(); n != next::finished; n = core->step()) co_await supervisor_pause(*core, n == next::more);
  bool due = core->end();
  if (due) co_await stop_operation();
}

inline child_info info_of(supervisor_board::seen&& c) {
  return {c.spec->id, c.state, c.start_number, c.restarts, std::move(c.last_error), c.spec->is_supervisor, c.number};
}

inline const std::shared_ptr<supervisor_core>& usable(const std::shared_ptr<supervisor_core>& core) {
  if (!core) throw misuse_error("runnel: this supervisor has been moved from");
  return core;
}

// What handles know of a supervisor: they do not keep it alive, for its own children may have some.
class supervisor_link {
 public:
  explicit supervisor_link(const std::shared_ptr<supervisor_core>& core) noexcept : x_core(core) {}

  void submit(std::shared_ptr<supervisor_call> call) const noexcept {
    if (auto core = x_core.lock()) return core->enqueue(std::move(call));
    call->settle(child_outcome::not_running);
  }
  std::shared_ptr<supervisor_call> submit_start(std::shared_ptr<const child_spec> spec) const {
    auto call = make_shared_frame<supervisor_call>(supervisor_call::kind_t::start);
    call->spec = std::move(spec);
    submit(call);
    return call;
  }
  void check(const child_spec& spec) const {
    if (auto core = x_core.lock()) core->check(spec);
  }
  // Of what is started from a context with these values. Throws bad_alloc.
  context_values values_for_task(const context_value* of_caller) const {
    if (!of_caller) return nullptr;  // the supervisor's
    auto core = x_core.lock();
    context_values values = values_for_kept(of_caller, core ? core->errors() : nullptr);
    const auto* above = find_value<ready_key>(values.get());
    if (above && *above) values = bind_value<ready_key>(values.get(), nullptr);  // it is not the caller
    return values;
  }
  std::vector<child_info> children() const {
    std::vector<child_info> all;
    if (auto core = x_core.lock())
      for (auto& c : core->look()) all.push_back(info_of(std::move(c)));
    return all;
  }
  // Of those that counts() has as active, the numbers.
  std::vector<std::uint64_t> active() const {
    std::vector<std::uint64_t> all;
    if (auto core = x_core.lock())
      for (const auto& c : core->look())
        if (c.active) all.push_back(c.number);
    return all;
  }
  child_counts counts() const noexcept {
    auto core = x_core.lock();
    return core ? core->count() : child_counts();
  }
  bool runs() const noexcept {
    auto core = x_core.lock();
    return core && core->runs();
  }

 private:
  std::weak_ptr<supervisor_core> x_core;
};

}  // namespace detail

/// A handle to a supervisor, by which others look at its children and change them while it runs. A supervisor is one
/// itself. Copies share it, and none keeps it alive: once it is gone every request comes to `not_running`.
///
/// A request is made by the call, and done by the supervisor in the order of the calls, between restarts. Await it to
/// know what it came to: see child_request. One made before the supervisor runs waits for that.
///
/// Thread-safety: everything may be called from any thread. Throws: bad_alloc.
/// Contract: SEMANTICS.md SUP-29 to SUP-32.
class supervisor_ref {
 public:
  /// Adds a child behind the others, and starts it: `co_await sup.start_child("x", rn::transient, f, arg)`. As
  /// supervisor::child. It is gone when the supervisor has ended, or is started again.
  ///
  /// Returns: ok, ignored, already_started, already_present, not_running. Throws: child_start_error; it is not kept
  /// then. At the call: misuse_error for what cannot be a child.
  template <class... A> child_request start_child(const detail::child_name& id, A&&... options_f_args) {
    detail::refuse_hazardous<A...>();
    auto call = detail::make_shared_frame<detail::supervisor_call>(detail::supervisor_call::kind_t::start);
    call->id = id.id;
    call->spec = detail::make_spec(id.where, id.id, std::forward<A>(options_f_args)...);
    x_link.check(*call->spec);
    x_link.submit(call);
    return child_request(std::move(call));
  }
  /// Starts a child that is there and idle. Returns: ok, ignored, running, restarting, not_found, not_running. Throws:
  /// child_start_error; it is idle again then.
  child_request restart_child(std::string_view id) { return ask(detail::supervisor_call::kind_t::restart, id); }
  /// Stops a child, as its rn::shutdown says, or takes it out of its restart. It stays as a specification, unless it is
  /// temporary. Returns: ok, also if it did not run; not_found, not_running.
  child_request terminate_child(std::string_view id) { return ask(detail::supervisor_call::kind_t::terminate, id); }
  /// Drops the specification of a child that is idle. Returns: ok, running, restarting, not_found, not_running.
  child_request delete_child(std::string_view id) { return ask(detail::supervisor_call::kind_t::erase, id); }

  /// The children, in the order of their starts, as they are at one moment. Empty while the supervisor does not run.
  std::vector<child_info> which_children() const { return x_link.children(); }
  child_counts count_children() const noexcept { return x_link.counts(); }
  /// Whether run() is under way.
  bool is_running() const noexcept { return x_link.runs(); }

 protected:
  explicit supervisor_ref(const std::shared_ptr<detail::supervisor_core>& core) noexcept : x_link(core) {}

 private:
  child_request ask(detail::supervisor_call::kind_t kind, std::string_view id) {
    auto call = detail::make_shared_frame<detail::supervisor_call>(kind);
    call->id = id;
    x_link.submit(call);
    return child_request(std::move(call));
  }

  detail::supervisor_link x_link;
};

/// Starts children in the order in which they are listed, starts them again when they end, and stops them in reverse
/// order; all of them have ended when run() has.
///
///     rn::supervisor sup(rn::one_for_one, rn::max_restarts(3, 5s));
///     sup.child("db",    rn::permanent, rn::backoff(100ms, 30s), db_worker, dsn)
///        .child("cache", rn::transient, rn::shutdown(10s),       cache_worker);
///     co_await sup.run();                              // or return rn::run(std::move(sup)) in main
///
/// Children inherit what the context of run() carries. Each has a context of its own, which is cancelled when the
/// supervisor stops it. A supervisor is a child of another by `other.child("tree", std::move(sup))`.
///
/// Thread-safety: run() is for one goroutine at a time; what supervisor_ref has, for anybody.
/// Contract: SEMANTICS.md SUP-01 to SUP-33 and SUP-C04 to SUP-C06, DESIGN section 4; docs/reference/otp/supervisor.md
/// says where it differs.
class supervisor : public supervisor_ref {
 public:
  /// Options: rn::max_restarts, rn::auto_shutdown. Throws: bad_alloc.
  template <detail::supervisor_option... O>
  explicit supervisor(supervision_strategy strategy, const O&... options)
      : supervisor(std::make_shared<detail::supervisor_core>(collect(strategy, options...))) {}
  supervisor(supervisor&&) noexcept = default;
  supervisor& operator=(supervisor&&) noexcept = default;

  /// Adds a child, f(args...), to those that run() begins with. Options come first: rn::permanent (the default),
  /// rn::transient, rn::temporary; rn::shutdown(5s); rn::backoff; rn::wait_ready; rn::significant; rn::subtree. f and
  /// args are kept, and copied into each start; pass std::ref(x) for what outlives the supervisor. f may return a task
  /// or be a plain function, and may yield a child_end.
  ///
  /// Returns: the supervisor. Throws: misuse_error for an id that is there already or empty, for options that
  /// contradict each other, and while it runs; bad_alloc, and what copying throws. Nothing is added then.
  template <class... A> supervisor& child(const detail::child_name& id, A&&... options_f_args) {
    detail::usable(x_core)->add(detail::make_spec(id.where, id.id, std::forward<A>(options_f_args)...));
    return *this;
  }

  /// Runs it: until its context is done, a significant child has ended, a child says so, or it gives up.
  ///
  /// Suspends: until every child has ended. It may be run again then, with the children that child() has added.
  /// Cancel-safety: its children are cancelled one after another, the last first, each with the time that its
  /// specification gives it; then it unwinds. A kill kills all of them at once.
  /// Throws: child_start_error, restart_limit_error; misuse_error if it runs already.
  [[nodiscard("co_await it: run() alone starts nothing")]] task<> run() {
    return detail::run_supervisor(detail::usable(x_core));
  }
  /// The same: a supervisor is a function that rn::run and a group can call.
  [[nodiscard("co_await it")]] task<> operator()() { return run(); }

  /// A handle for others.
  supervisor_ref ref() const noexcept { return *this; }

  /// For the layers above: made of raw options and specifications; and what a supervisor above this one calls.
  explicit supervisor(const detail::supervisor_options& options)
      : supervisor(std::make_shared<detail::supervisor_core>(options)) {}
  void add(std::shared_ptr<const detail::child_spec> spec) { detail::usable(x_core)->add(std::move(spec)); }
  auto as_child() && {
    detail::usable(x_core);
    return [core = std::move(x_core)] { return detail::run_supervisor(core); };
  }

 private:
  explicit supervisor(std::shared_ptr<detail::supervisor_core> core) noexcept
      : supervisor_ref(core), x_core(std::move(core)) {}
  template <class... O>
  static detail::supervisor_options collect(supervision_strategy strategy, const O&... options) noexcept {
    detail::supervisor_options all;
    all.strategy = strategy.value();
    (detail::set_option(all, options), ...);
    return all;
  }

  std::shared_ptr<detail::supervisor_core> x_core;
};

}  // namespace runnel
