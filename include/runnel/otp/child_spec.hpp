// SPDX-License-Identifier: BSL-1.0
// runnel/otp/child_spec.hpp: how a supervised child is started, restarted and stopped: its options.
// Layer: L10
#pragma once

#include <runnel/compiler.hpp>
#include <runnel/detail/context_node.hpp>
#include <runnel/detail/frame_allocator.hpp>
#include <runnel/detail/prepared_task.hpp>
#include <runnel/detail/runtime_core.hpp>
#include <runnel/detail/spawn.hpp>
#include <runnel/error.hpp>
#include <runnel/kill.hpp>
#include <runnel/sync/backoff.hpp>
#include <runnel/task.hpp>
#include <runnel/time_point.hpp>

#include <chrono>
#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

namespace runnel {

/// When a child that has ended by itself is started again: an option, of which there are three.
class restart_policy {
 public:
  enum class when : std::uint8_t { always, after_errors, never };
  explicit constexpr restart_policy(when w) noexcept : x_when(w) {}
  constexpr when value() const noexcept { return x_when; }
  friend constexpr bool operator==(restart_policy, restart_policy) noexcept = default;

 private:
  when x_when;
};
/// Always, also if it has returned. The default.
inline constexpr restart_policy permanent{restart_policy::when::always};
/// After an error. One that has returned is kept as a specification, and can be started on request.
inline constexpr restart_policy transient{restart_policy::when::after_errors};
/// Never. Its specification is gone when it has ended.
inline constexpr restart_policy temporary{restart_policy::when::never};

/// Without a limit of time.
struct infinite_t {
  explicit constexpr infinite_t() noexcept = default;
};
inline constexpr infinite_t infinite{};

/// An option: how a child is stopped. `rn::shutdown(10s)`: cancelled, and killed if it has not ended in time;
/// `rn::shutdown(rn::kill)`: killed; `rn::shutdown(rn::infinite)`: cancelled, and waited for. The default is 5 s, and
/// infinite for supervisors. Throws: misuse_error for a grace time below zero.
class shutdown {
 public:
  template <class Rep, class Period>
  explicit shutdown(std::chrono::duration<Rep, Period> grace) : x_grace(detail::to_ns(grace)) {
    if (x_grace < 0) throw misuse_error("runnel: shutdown(grace) takes a time that is not negative; or rn::kill");
  }
  explicit constexpr shutdown(kill_t) noexcept : x_grace(at_once) {}
  explicit constexpr shutdown(infinite_t) noexcept : x_grace(for_ever) {}

  constexpr bool kills() const noexcept { return x_grace == at_once; }
  constexpr bool is_infinite() const noexcept { return x_grace == for_ever; }
  constexpr std::int64_t grace_ns() const noexcept { return x_grace; }

 private:
  static constexpr std::int64_t at_once = -1, for_ever = INT64_MAX;
  std::int64_t x_grace;
};

/// An option: the child counts as started when it has said `co_await rn::ready()`, and the next one starts only then.
/// If that takes longer, it is stopped, and has failed to start. Throws: misuse_error unless the time is positive.
class wait_ready {
 public:
  template <class Rep, class Period>
  explicit wait_ready(std::chrono::duration<Rep, Period> limit) : x_limit(detail::to_ns(limit)) {
    if (x_limit <= 0) throw misuse_error("runnel: wait_ready(limit) takes a positive time, or rn::infinite");
  }
  explicit constexpr wait_ready(infinite_t) noexcept : x_limit(INT64_MAX) {}
  constexpr std::int64_t limit_ns() const noexcept { return x_limit; }

 private:
  std::int64_t x_limit;
};

/// An option: the end of this child may be the end of its supervisor, as rn::auto_shutdown says.
struct significant_t {
  explicit constexpr significant_t() noexcept = default;
};
inline constexpr significant_t significant{};

/// An option for a child that is a function that runs a supervisor: it counts as one, is waited for without a limit
/// when it is stopped, and a supervisor_error that it ends with is an orderly end.
struct subtree_t {
  explicit constexpr subtree_t() noexcept = default;
};
inline constexpr subtree_t subtree{};

/// What a child may return to have a say in what comes next: done, as any return; not to be started again but by
/// request, also if it is permanent; or that its supervisor is to stop.
enum class child_end : std::uint8_t { done, do_not_restart, stop_supervisor };

namespace detail {

// Makes a child, as often as it is started. Immutable, so that it may be used by whoever holds it. Not by a virtual
// function, whose instantiation g++ places in this header, where it warns of closures without linkage.
class child_start {
 public:
  child_start(const child_start&) = delete;
  child_start& operator=(const child_start&) = delete;
  task<> make(child_end& verdict) const { return x_make(*this, verdict); }
  struct deleter {
    void operator()(const child_start* s) const noexcept { s->x_end(s); }
  };

 protected:
  using make_t = task<> (*)(const child_start&, child_end&);
  using end_t = void (*)(const child_start*) noexcept;
  child_start(make_t m, end_t e) noexcept : x_make(m), x_end(e) {}
  ~child_start() = default;

 private:
  make_t x_make;
  end_t x_end;
};

template <class T>
inline constexpr bool yields_child_end = std::is_same_v<T, child_end> || std::is_same_v<T, task<child_end>>;

template <class F, class... A> task<> run_with_verdict(child_end& verdict, F f, A... args) {
  if constexpr (is_task<std::invoke_result_t<F&, A...>>)
    verdict = co_await std::invoke(f, std::move(args)...);
  else
    verdict = std::invoke(f, std::move(args)...);
  co_return;
}

template <class F, class... A> class child_start_of final : public child_start {
 public:
  template <class G, class... B>
  explicit child_start_of(std::in_place_t, G&& f, B&&... args)
      : child_start(&call, &end), x_call(std::forward<G>(f), std::forward<B>(args)...) {}

 private:
  static task<> call(const child_start& self, child_end& verdict) {
    return std::apply(
        [&](const F& f, const A&... args) {
          if constexpr (yields_child_end<std::invoke_result_t<F&, A...>>)
            return run_with_verdict<F, A...>(verdict, f, args...);
          else
            return make_root(F(f), A(args)...);
        },
        static_cast<const child_start_of&>(self).x_call);
  }
  static void end(const child_start* self) noexcept { delete static_cast<const child_start_of*>(self); }

  std::tuple<F, A...> x_call;
};
template <class F, class... A> auto make_start(F&& f, A&&... args) {
  using start = child_start_of<std::decay_t<F>, std::decay_t<A>...>;
  return std::unique_ptr<const child_start, child_start::deleter>(
      new start(std::in_place, std::forward<F>(f), std::forward<A>(args)...));
}

// Immutable once the child has been added.
struct child_spec {
  std::string id;
  restart_policy restart = permanent;
  shutdown stop{std::chrono::seconds(5)};
  bool is_significant = false;
  bool is_supervisor = false;
  std::optional<backoff> pause;
  std::optional<wait_ready> handshake;
  mutable std::unique_ptr<const child_start, child_start::deleter> start;  // until forget(); or
  mutable std::unique_ptr<prepared_task> once;                             // with a handle; it is temporary
  context_values values;                                                   // that it is started with; null: as others
  std::source_location where;

  void set(restart_policy r) noexcept { restart = r; }
  void set(const shutdown& s) noexcept {
    stop = s;
    x_stop_given = true;
  }
  void set(significant_t) noexcept { is_significant = true; }
  void set(subtree_t) noexcept {
    is_supervisor = true;
    if (!x_stop_given) stop = shutdown(infinite);
  }
  void set(const backoff& b) noexcept { pause = b; }
  void set(const wait_ready& w) noexcept { handshake = w; }

  // It is started once only (DYN-07). The owner of the one supervisor that has it.
  void forget() const noexcept {
    start.reset();
    once.reset();
  }
  // "child \"db\"", for sentences.
  std::string name() const { return id.empty() ? "a child without an id" : "child \"" + id + "\""; }

 private:
  bool x_stop_given = false;
};

template <class O>
concept child_option =
    std::same_as<std::remove_cvref_t<O>, restart_policy> || std::same_as<std::remove_cvref_t<O>, shutdown> ||
    std::same_as<std::remove_cvref_t<O>, significant_t> || std::same_as<std::remove_cvref_t<O>, subtree_t> ||
    std::same_as<std::remove_cvref_t<O>, backoff> || std::same_as<std::remove_cvref_t<O>, wait_ready>;

// A supervisor, which becomes a child by what as_child() returns.
template <class F>
concept supervisor_object = requires(F f) {
  std::move(f).as_child();
};

template <class F, class... A> constexpr void check_child() {
  using G = kept_t<F>;
  static_assert(!is_task<std::remove_cvref_t<F>>,
                "a child may be started again: pass the function and its arguments, not a task that is already made: "
                "sup.child(\"id\", f, x), not sup.child(\"id\", f(x))");
  if constexpr (!is_task<std::remove_cvref_t<F>>) {
    static_assert(std::is_invocable_v<G&, kept_t<A>...>,
                  "the child cannot be called with these arguments: they are copied into each start, so a parameter "
                  "of type T& needs std::ref(x), and a lambda must take what it is given by value or const&; options "
                  "stand before the callable");
    static_assert((std::copy_constructible<G> && ... && std::copy_constructible<kept_t<A>>),
                  "a child may be started again: its function and arguments are copied into each start; pass a "
                  "std::shared_ptr to what cannot be copied, or std::ref to what outlives the supervisor");
  }
}

template <class F, class... A>
requires(!child_option<F>) void finish_spec(child_spec& spec, F&& f, A&&... args) {
  if constexpr (supervisor_object<kept_t<F>>) {
    static_assert(sizeof...(A) == 0, "a supervisor as a child takes no arguments");
    spec.set(subtree);
    if (!spec.handshake) spec.handshake = wait_ready(infinite);
    spec.start = make_start(unmoved(std::forward<F>(f)).as_child());
  } else {
    check_child<F, A...>();
    spec.start = make_start(unmoved(std::forward<F>(f)), unmoved(std::forward<A>(args))...);
  }
}
template <child_option O, class... Rest> void finish_spec(child_spec& spec, O&& option, Rest&&... rest) {
  static_assert(sizeof...(Rest) > 0, "the function that the child runs is missing: options first, then the callable");
  spec.set(option);
  if constexpr (sizeof...(Rest) > 0) finish_spec(spec, std::forward<Rest>(rest)...);
}

// Throws: bad_alloc, what copying the callable and its arguments throws, and misuse_error.
template <class... A> void complete_spec(const std::shared_ptr<child_spec>& spec, A&&... options_f_args) {
  finish_spec(*spec, std::forward<A>(options_f_args)...);
  if (spec->is_significant && spec->restart == permanent)
    throw misuse_error("runnel: " + spec->name() +
                       " is significant and permanent: one that is always restarted never ends for good; make it "
                       "transient or temporary");
}
template <class... A>
std::shared_ptr<child_spec> make_spec(std::source_location where, std::string_view id, A&&... options_f_args) {
  auto spec = make_shared_frame<child_spec>();
  spec->id = id;
  spec->where = where;
  complete_spec(spec, std::forward<A>(options_f_args)...);
  return spec;
}

}  // namespace detail

}  // namespace runnel
