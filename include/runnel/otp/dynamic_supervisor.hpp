// SPDX-License-Identifier: BSL-1.0
// runnel/otp/dynamic_supervisor.hpp: dynamic_supervisor, of children that come and go, any number of them.
// Layer: L10
#pragma once

#include <runnel/compiler.hpp>
#include <runnel/detail/frame_allocator.hpp>
#include <runnel/detail/spawn_place.hpp>
#include <runnel/detail/supervisor_call.hpp>
#include <runnel/detail/supervisor_core.hpp>
#include <runnel/error.hpp>
#include <runnel/otp/child_spec.hpp>
#include <runnel/otp/max_children.hpp>
#include <runnel/otp/supervision.hpp>
#include <runnel/otp/supervisor.hpp>
#include <runnel/task.hpp>

#include <concepts>
#include <cstdint>
#include <memory>
#include <source_location>
#include <utility>
#include <vector>

namespace runnel {

/// What start_child of a dynamic_supervisor came to: a child, by its number, or why there is none.
class started_child {
 public:
  started_child(child_outcome outcome, std::uint64_t number) noexcept
      : x_outcome(outcome), x_number(outcome == child_outcome::ok ? number : 0) {}

  /// Whether it was started.
  explicit operator bool() const noexcept { return x_outcome == child_outcome::ok; }
  /// ok, ignored, too_many, not_running.
  child_outcome outcome() const noexcept { return x_outcome; }
  /// By which the child is terminated; it keeps it when it is started again. 0 if there is none.
  std::uint64_t number() const noexcept { return x_number; }

 private:
  child_outcome x_outcome;
  std::uint64_t x_number;
};

namespace detail {

template <class O>
concept dynamic_supervisor_option =
    std::same_as<std::remove_cvref_t<O>, max_restarts> || std::same_as<std::remove_cvref_t<O>, max_children>;

inline void set_option(supervisor_options& o, const max_children& m) noexcept { o.max_children = m.count(); }

template <class... O> supervisor_options dynamic_options(const O&... options) noexcept {
  supervisor_options all;
  all.dynamic = true;
  (set_option(all, options), ...);
  return all;
}

}  // namespace detail

/// A handle to a dynamic_supervisor, which is one itself. Copies share it, and none keeps it alive: once it is gone
/// every request comes to `not_running`.
///
/// Thread-safety: everything may be called from any thread. Throws: bad_alloc.
class dynamic_supervisor_ref {
 public:
  using start_request = detail::supervisor_request<started_child>;

  /// Starts f(args...) as a child: `auto c = co_await sup.start_child(rn::temporary, session, id);`. Options first, as
  /// of supervisor::child. It is forgotten when it has ended and is not started again.
  ///
  /// Returns: a started_child; `ignored` if it has returned before it was ready, `too_many` beyond max_children.
  /// Throws: child_start_error; at the call misuse_error for a significant child. See child_request for the rest.
  RUNNEL_SPAWN_OVERLOADS(start_request, start_child, start_at)

  /// Stops a child, as its rn::shutdown says, or takes it out of its restart. Returns: ok, not_found, not_running.
  child_request terminate_child(std::uint64_t number) {
    auto call = detail::make_shared_frame<detail::supervisor_call>(detail::supervisor_call::kind_t::terminate);
    call->number = number == 0 ? UINT64_MAX : number;  // of nobody
    x_link.submit(call);
    return child_request(std::move(call));
  }

  /// The children, by number, in the order of their starts, as they are at one moment.
  std::vector<child_info> which_children() const { return x_link.children(); }
  child_counts count_children() const noexcept { return x_link.counts(); }
  /// Whether run() is under way.
  bool is_running() const noexcept { return x_link.runs(); }

 protected:
  explicit dynamic_supervisor_ref(const std::shared_ptr<detail::supervisor_core>& core) noexcept : x_link(core) {}

  template <class... A> start_request start(std::shared_ptr<detail::child_spec> spec, A&&... options_f_args) {
    detail::complete_spec(spec, std::forward<A>(options_f_args)...);
    if (spec->is_significant)
      throw misuse_error("runnel: children of a dynamic_supervisor are not significant: it does not stop with them");
    return start_request(x_link.submit_start(std::move(spec)));
  }

  detail::supervisor_link x_link;

 private:
  template <class... A> start_request start_at(std::source_location where, A&&... options_f_args) {
    detail::refuse_hazardous<A...>();
    auto spec = detail::make_shared_frame<detail::child_spec>();
    spec->where = where;
    return start(std::move(spec), std::forward<A>(options_f_args)...);
  }
};

/// A supervisor of children that are started while it runs, and have no ids: one_for_one, any number of them. When it
/// stops, all children are asked at once, and each has its own grace time.
///
///     rn::dynamic_supervisor sessions(rn::max_children(10'000));
///     sup.child("sessions", std::move(sessions)) ...
///     auto s = co_await ref.start_child(rn::temporary, session, std::move(socket));
///
/// A child that has ended and is not started again is forgotten, whatever its restart policy.
///
/// Complexity: starting, restarting and terminating a child: O(1).
/// Contract: SEMANTICS.md DYN-01, DYN-02, DYN-04 to DYN-08, and SUP-* for what is not said there.
class dynamic_supervisor : public dynamic_supervisor_ref {
 public:
  /// Options: rn::max_restarts, rn::max_children. Throws: bad_alloc.
  template <detail::dynamic_supervisor_option... O>
  explicit dynamic_supervisor(const O&... options)
      : dynamic_supervisor(std::make_shared<detail::supervisor_core>(detail::dynamic_options(options...))) {}
  dynamic_supervisor(dynamic_supervisor&&) noexcept = default;
  dynamic_supervisor& operator=(dynamic_supervisor&&) noexcept = default;

  /// Runs it, until its context is done, or it gives up. As supervisor::run, but for the order in which children stop.
  [[nodiscard("co_await it: run() alone starts nothing")]] task<> run() {
    return detail::run_supervisor(detail::usable(x_core));
  }
  [[nodiscard("co_await it")]] task<> operator()() { return run(); }

  /// A handle for others.
  dynamic_supervisor_ref ref() const noexcept { return *this; }

  /// For the layers above: what a supervisor above this one calls.
  auto as_child() && {
    detail::usable(x_core);
    return [core = std::move(x_core)] { return detail::run_supervisor(core); };
  }

 private:
  explicit dynamic_supervisor(std::shared_ptr<detail::supervisor_core> core) noexcept
      : dynamic_supervisor_ref(core), x_core(std::move(core)) {}

  std::shared_ptr<detail::supervisor_core> x_core;
};

}  // namespace runnel
