// SPDX-License-Identifier: BSL-1.0
// runnel/errgroup.hpp: groups of goroutines: limited, joined, the first error cancels the others and is rethrown.
// Layer: L8
#pragma once

#include <runnel/compiler.hpp>
#include <runnel/context.hpp>
#include <runnel/detail/boundary.hpp>
#include <runnel/detail/group_core.hpp>
#include <runnel/detail/spawn_place.hpp>
#include <runnel/detail/task_scope.hpp>
#include <runnel/error.hpp>
#include <runnel/result.hpp>

#include <concepts>
#include <functional>
#include <memory>
#include <source_location>
#include <type_traits>
#include <utility>
#include <vector>

namespace runnel {

/// An option: at most n children run at once. Throws: misuse_error for n below 1.
class limit {
 public:
  explicit limit(std::ptrdiff_t n) : x_n(static_cast<std::size_t>(n)) {
    if (n < 1) throw misuse_error("runnel: limit(n) takes at least 1: a group of which nothing may run is never done");
  }
  std::size_t count() const noexcept { return x_n; }

 private:
  std::size_t x_n;
};

/// An option: an error does not cancel the other children; wait() throws the first when all have ended, and
/// errors() has the others.
struct collect_all_t {
  explicit constexpr collect_all_t() noexcept = default;
};
inline constexpr collect_all_t collect_all{};

namespace detail {

template <class O>
concept group_option =
    std::same_as<std::remove_cvref_t<O>, limit> || std::same_as<std::remove_cvref_t<O>, collect_all_t>;

class group_options {
 public:
  template <group_option... O> explicit group_options(const O&... options) noexcept { (set(options), ...); }
  std::size_t limit_count() const noexcept { return x_limit; }
  bool collects_all() const noexcept { return x_collect_all; }

 private:
  void set(const limit& l) noexcept { x_limit = l.count(); }
  void set(collect_all_t) noexcept { x_collect_all = true; }
  std::size_t x_limit = no_limit;
  bool x_collect_all = false;
};

// co_await g.go(...): waits for a slot.
class slot_operation : public awaitable_base {
 public:
  slot_operation(group_core& group, group_core::admission a) noexcept : x_group(group), x_admission(a) {
    x_waiter.ticket = a.ticket;
  }
  slot_operation(slot_operation&& other) noexcept : slot_operation(other.x_group, other.x_admission) {}
  slot_operation& operator=(const slot_operation&) = delete;

  bool suspend(promise_base* leaf) {
    goroutine& g = goroutine_of(leaf);
    if (!enter_operation(g)) return stop_here(g, leaf), true;
    if (x_admission.kind == group_core::admission::kind_t::queued) {
      bool stopped = false;
      if (x_group.wait_for_ticket(g, leaf, x_waiter, stopped)) {
        if (stopped) stop_here(g, leaf);
        return true;
      }
    }
    return spend_budget(g, leaf);
  }
  bool resume() const noexcept {
    using kind = group_core::admission::kind_t;
    return x_admission.kind == kind::started ||
           (x_admission.kind == kind::queued && !x_group.ticket_refused(x_admission.ticket));
  }

 private:
  group_core& x_group;
  group_core::admission x_admission;
  ticket_waiter x_waiter;
};

// The same of a call with a temporary that hazard 1 of compiler.hpp hits. By itself such a call is right, and so it is
// refused where it is awaited.
template <class... Args> class hazardous_slot_operation : public slot_operation {
 public:
  using slot_operation::slot_operation;
  bool suspend(promise_base* leaf) {
    refuse_hazardous<Args...>();
    return slot_operation::suspend(leaf);
  }
};
template <class... Args>
using slot_operation_of = std::conditional_t<RUNNEL_REFUSE_HAZARDOUS && (hazardous_argument<Args> || ...),
                                             hazardous_slot_operation<Args...>, slot_operation>;

// co_await g.wait(): not cancellable itself; cancellation ends the children.
class join_operation : public awaitable_base {
 public:
  explicit join_operation(group_core& group, bool rethrows = true) noexcept : x_group(group), x_rethrows(rethrows) {}
  join_operation(join_operation&& other) noexcept : join_operation(other.x_group, other.x_rethrows) {}
  // Whose caller is unwound when the children have ended leaves the group as open as who goes on.
  ~join_operation() {
    if (x_waits && x_group.joined()) x_group.reopen();
  }
  bool suspend(promise_base* leaf) {
    goroutine& g = goroutine_of(leaf);
    if (!x_group.claim_join(g)) [[unlikely]]
      throw_not_its_own();
    x_waits = true;
    list_at_home(g);  // for reports
    g.set_leaf(leaf);
    if (x_group.begin_join(g, true)) return true;
    if (!g.context.load(std::memory_order_relaxed)->due()) return spend_budget(g, leaf);
    return stop_here(g, leaf), true;
  }
  void resume() {
    x_waits = false;
    std::exception_ptr error = x_group.first_error();
    x_group.cancel(error);  // after a wait the group's context is done (EG-04)
    x_group.reopen();
    if (error && x_rethrows) std::rethrow_exception(error);
  }

 private:
  [[noreturn]] RUNNEL_NOINLINE static void throw_not_its_own() {
    throw misuse_error(
        "runnel: an errgroup is waited for by the goroutine that made it, a task_group by one at a time: "
        "tell the others by an event or a channel");
  }
  group_core& x_group;
  bool x_rethrows;
  bool x_waits = false;
};

// What both kinds of group offer.
class group_interface : private spawner<group_interface> {
 public:
  group_interface(const group_interface&) = delete;
  group_interface& operator=(const group_interface&) = delete;

  /// Starts f(args...) as a child of the group, or queues it where the limit is reached. May be called from
  /// children and from other threads, while the group lives. Callable and arguments are moved into the child, those in
  /// rn::moved() too; std::ref(x) passes a reference, which a child may keep to what outlives the group.
  ///
  /// Awaiting the call waits until the child has a slot: `co_await g.go(f, x)`. It yields true, or false if the group
  /// was cancelled and f will not run. Not awaiting it only queues.
  /// Cancel-safety: a cancelled wait leaves the child queued.
  /// Throws: bad_alloc, and what copying the arguments throws.
  using spawner<group_interface>::go;
  /// Starts f(args...) if there is a slot now. Returns whether it did; f does not run otherwise.
  using spawner<group_interface>::try_go;

  /// Waits until every child has ended.
  ///
  /// Suspends: until then. The wait itself is not cancelled: cancellation reaches the children, which end; then the
  /// caller unwinds. Throws: the first error. It stays: later waits throw it again. Afterwards the group's context is
  /// done, and nothing more can be started in it. misuse_error, in the wait, if another goroutine waits already, or if
  /// it is an errgroup of another.
  [[nodiscard("co_await it")]] join_operation wait() noexcept { return join_operation(x_core); }

  /// Cancels the children; queued ones never run. Does not wait.
  void cancel(std::exception_ptr cause = nullptr) noexcept { x_core.cancel(std::move(cause)); }
  /// Children that have not ended, queued ones included.
  std::size_t live() const noexcept { return x_core.live(); }
  /// The errors after the first, with the place where each child was started. Read it after a wait.
  const std::vector<goroutine_error>& other_errors() const noexcept { return x_core.other_errors(); }

 protected:
  group_interface(runtime_core& runtime, cancel_node& parent, const group_options& options, const goroutine* owner)
      : x_core(runtime, parent, options.limit_count(), options.collects_all(), owner) {}
  ~group_interface() = default;

  group_core x_core;

 private:
  friend spawner<group_interface>;
  template <class F, class... A> slot_operation_of<F, A...> go_at(std::source_location where, F&& f, A&&... args) {
    return {x_core, admit(where, true, unmoved(std::forward<F>(f)), unmoved(std::forward<A>(args))...)};
  }
  template <class F, class... A> bool try_go_at(std::source_location where, F&& f, A&&... args) {
    auto a = admit(where, false, unmoved(std::forward<F>(f)), unmoved(std::forward<A>(args))...);
    return a.kind == group_core::admission::kind_t::started;
  }
  template <class F, class... A>
  group_core::admission admit(std::source_location where, bool queues, F&& f, A&&... args) {
    check_spawnable<F, A...>();
    return x_core.go(make_root(std::forward<F>(f), std::forward<A>(args)...), where, queues);
  }
};

// What was made in a runtime, and may outlive it.
struct host_hold {
  std::shared_ptr<void> host;
};

inline goroutine& opener_of_group() {
  goroutine* g = current_goroutine();
  if (!g) throw misuse_error("runnel: an errgroup belongs to the goroutine that makes it; elsewhere use a task_group");
  return *g;
}

}  // namespace detail

/// A group of goroutines that is a local of the goroutine that makes it. The first error cancels the other children;
/// wait() rethrows it. Children inherit the context.
///
/// Lifetime: it must be waited for. If it is left with live children, by exception or by an early return, the program
/// ends with a message that names them; if the goroutine is cancelled, the children are cancelled and joined first.
/// with_errgroup cannot be left in the wrong way.
/// Contract: SEMANTICS.md EG-01 to EG-11 and EG-C01 to EG-C05, DESIGN section 4.
class errgroup : public detail::group_interface, private detail::scope_base {
 public:
  template <detail::group_option... O>
  explicit errgroup(const O&... options) : errgroup(detail::group_options(options...)) {}
  explicit errgroup(const detail::group_options& options) : errgroup(detail::opener_of_group(), options) {}
  ~errgroup() { close_scope(); }

  /// For the layers above.
  detail::group_core& core() noexcept { return x_core; }
  /// The innermost scope of tasks that was opened since, and not joined; null if there is none.
  detail::task_scope* tasks_inside() const noexcept {
    scope_base* top = scope_base::opener->scopes;
    return top == this ? nullptr : detail::task_scope::innermost(*scope_base::opener);
  }

 private:
  errgroup(detail::goroutine& g, const detail::group_options& options)
      : group_interface(detail::runtime_core::of(g), *g.context.load(std::memory_order_relaxed), options, &g) {
    scope_base::opener = &g;
    scope_base::set_outer(g.scopes);
    g.scopes = this;
    scope_base::begin_unwind_join = &join_while_unwinding;
  }
  void close_scope() noexcept {
    if (!scope_base::opener) return;
    for (scope_base** at = &scope_base::opener->scopes; *at; at = &(*at)->outer)
      if (*at == this) {
        *at = scope_base::outer;
        break;
      }
    scope_base::opener = nullptr;
  }
  static bool join_while_unwinding(scope_base& scope, detail::goroutine& g) noexcept {
    auto& self = static_cast<errgroup&>(scope);
    if (!self.x_core.joined()) {
      self.x_core.cancel();
      if (self.x_core.begin_join(g, false)) return true;
    }
    self.x_core.reopen();
    self.x_core.report_unobserved();
    self.close_scope();
    return false;
  }
};

/// A group that lives in an object, a server's member say: it belongs to no goroutine. Its context is a child of the
/// given one, or of the runtime's.
///
/// Lifetime: join with wait() before it dies; one that dies with live children ends the program with a message. It may
/// outlive its runtime; then nothing can be started in it.
class task_group : private detail::host_hold, private detail::node_hold, public detail::group_interface {
 public:
  template <detail::group_option... O>
  explicit task_group(const O&... options) : task_group(runtime(), runtime().root, detail::group_options(options...)) {}
  template <detail::group_option... O>
  explicit task_group(const context& parent, const O&... options)
      : task_group(runtime(), parent.node(), detail::group_options(options...)) {}

 private:
  task_group(detail::runtime_core& r, detail::context_node& parent, const detail::group_options& options)
      : host_hold{r.core.host().share()}, node_hold(parent), group_interface(r, parent, options, nullptr) {}
  static detail::runtime_core& runtime() {
    detail::runtime_core* r = detail::runtime_core::here();
    if (!r) throw misuse_error("runnel: a task_group is made inside of a runtime");
    return *r;
  }
};

namespace detail {

// The body of with_errgroup: it runs under the group's context, and is unwound no further than here when that context
// alone is done.
template <class T> class group_body_operation : public boundary<group_body_operation<T>, T> {
 public:
  group_body_operation(task<T> body, cancel_node& node) noexcept
      : boundary<group_body_operation, T>(std::move(body)), x_node(node) {}
  void entered(goroutine& g) noexcept {
    x_outer = g.context.load(std::memory_order_relaxed);
    g.set_context(&x_node);
    x_node.change_owner(&g);
  }
  bool unwound(goroutine& g) noexcept {
    leave(g);
    x_unwound = x_node.due() && !x_outer->due();
    return !x_unwound;
  }
  runnel::result<T> resume() {
    if (x_unwound) return runnel::result<T>();
    leave(this->self());
    return take_result<T>(this->result);
  }

 private:
  void leave(goroutine& g) noexcept {
    g.set_context(x_outer);
    x_node.change_owner(nullptr);
  }
  cancel_node& x_node;
  cancel_node* x_outer = nullptr;
  bool x_unwound = false;
};

// A body that is no coroutine itself may throw before it has a task; it becomes a task that throws.
template <class T> task<T> rethrown(std::exception_ptr error) { co_return runnel::result<T>(std::move(error)).value(); }
template <class T, class F> task<T> begin_body(F& body, errgroup& g) {
  std::exception_ptr error;
  try {
    return std::invoke(body, g);
  } catch (...) {
    error = std::current_exception();
  }
  return rethrown<T>(std::move(error));
}

template <class T, class F> task<T> run_with_errgroup(group_options options, F body) {
  errgroup g(options);
  auto outcome = co_await group_body_operation<T>(begin_body<T>(body, g), g.core().node());
  if (!outcome.ok()) g.cancel(outcome.error());
  bool body_failed = outcome.error() != nullptr;
  while (task_scope* tasks = g.tasks_inside()) co_await task_join_operation(*tasks);
  co_await join_operation(g.core(), false);
  g.core().report_others(body_failed);
  if (std::exception_ptr error = body_failed ? nullptr : g.core().first_error()) std::rethrow_exception(error);
  if constexpr (std::is_void_v<T>)
    if (outcome.canceled()) co_return;  // somebody called g.cancel(), and that is done
  co_return std::move(outcome).value();
}

template <class F> auto with_errgroup_options(const group_options& options, F&& body) {
  refuse_hazardous<F>();
  static_assert(std::is_invocable_v<kept_t<F>&, errgroup&>,
                "with_errgroup takes a body that takes the group: [&](rn::errgroup& g) -> rn::task<> { ... }");
  using result = std::invoke_result_t<kept_t<F>&, errgroup&>;
  static_assert(is_task<result>,
                "the body must be a coroutine that returns a task; a lambda needs -> rn::task<> written out");
  return run_with_errgroup<typename result::value_type, kept_t<F>>(options, unmoved(std::forward<F>(body)));
}

}  // namespace detail

/// Runs body(g) with a group g, and joins the group whatever happens: the headline form.
///
///     co_await rn::with_errgroup(rn::limit(20), [&](rn::errgroup& g) -> rn::task<> {
///       for (auto& item : items) co_await g.go(do_work, std::ref(item));
///     });
///
/// Children may refer to the locals around the call; so may tasks of rn::async that the body starts, which are joined
/// first. body and children share the group's context: the first error of
/// any of them cancels the others, and is rethrown here when all have ended; the body's goes before the children's.
/// Errors after the first go to the runtime's on_unobserved_error hook.
/// Options come first: rn::limit(n), rn::collect_all.
///
/// Returns: what body returns. Suspends: until body and all children have ended. Cancel-safety: children are cancelled
/// and joined before the caller unwinds. Throws: the first error; canceled if g.cancel() ended a body that returns
/// something.
template <class F>
  requires(!detail::group_option<F>)
[[nodiscard("co_await it")]] auto with_errgroup(F&& body) {
  return detail::with_errgroup_options(detail::group_options(), std::forward<F>(body));
}
template <detail::group_option O, class F>
  requires(!detail::group_option<F>)
[[nodiscard("co_await it")]] auto with_errgroup(const O& option, F&& body) {
  return detail::with_errgroup_options(detail::group_options(option), std::forward<F>(body));
}
template <detail::group_option O, detail::group_option P, class F>
[[nodiscard("co_await it")]] auto with_errgroup(const O& option, const P& another, F&& body) {
  return detail::with_errgroup_options(detail::group_options(option, another), std::forward<F>(body));
}

}  // namespace runnel
