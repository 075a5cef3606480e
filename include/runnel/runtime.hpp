// SPDX-License-Identifier: BSL-1.0
// runnel/runtime.hpp: goroutines on an Asio pool: runtime owns one, scheduler attaches to yours.
// Layer: L2
#pragma once
#include <runnel/compiler.hpp>
#include <runnel/detail/asio_host.hpp>
#include <runnel/detail/fork_join.hpp>
#include <runnel/detail/runtime_core.hpp>
#include <runnel/detail/spawn.hpp>
#include <runnel/detail/spawn_place.hpp>
#include <runnel/detail/task_scope.hpp>
#include <runnel/error.hpp>
#include <runnel/task.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/thread_pool.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <source_location>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>

namespace runnel {

/// An option: how many goroutines run at once, and how many threads the embedded pool has. 1 to 1024.
class threads {
 public:
  explicit threads(long n) : x_count(n) {
    if (n < 1 || n > 1024) throw misuse_error("runnel: threads(n) takes 1 to 1024");
  }
  unsigned count() const noexcept { return static_cast<unsigned>(x_count); }
  /// As many as the machine has.
  static threads of_machine() {
    auto n = std::thread::hardware_concurrency();
    return threads(n == 0 ? 1 : n > 1024 ? 1024 : static_cast<long>(n));
  }

 private:
  long x_count;
};

/// How a runtime ends, and who hears of errors that nobody waits for. The setters chain.
class runtime_options {
 public:
  using error_handler = std::function<void(const goroutine_error&)>;

  /// Called for an error that leaves a bare go(); by default it is printed, everything is cancelled, and run() fails.
  runtime_options& on_error(error_handler f) { return x_raw.on_error = std::move(f), *this; }
  /// Called for an error of a child that no join will see; by default it is printed.
  runtime_options& on_unobserved_error(error_handler f) { return x_raw.on_unobserved = std::move(f), *this; }
  /// The time between cancel and kill at shutdown. Default 5 s.
  runtime_options& grace(std::chrono::nanoseconds d) { return x_raw.grace_ns = d.count(), *this; }
  /// The time between kill and the report of what still lives. Default 1 s.
  runtime_options& kill_grace(std::chrono::nanoseconds d) { return x_raw.kill_grace_ns = d.count(), *this; }
  /// After the report of what still lives, go on and leak it. Default: abort.
  runtime_options& leak_stuck() { return x_raw.leak_stuck = true, *this; }
  /// Goroutines get numbers, and rn::dump knows all of them, and since when each waits. It costs some tens of
  /// nanoseconds for each time that a goroutine runs, and memory for each goroutine. Default: off.
  runtime_options& track_goroutines() { return x_raw.tracks_goroutines = true, *this; }
  /// Reads by read_some and read of a plain socket may be put off by two turns of Asio's queue where that pays, which
  /// makes an echo by goroutines faster than one by callbacks of Asio. It is for servers whose sockets belong to one
  /// goroutine each, and are cancelled by contexts: a read that is put off is not out yet, so that cancel() and close()
  /// of the socket do not end it. Default: off.
  runtime_options& deferred_reads() { return x_raw.defers_reads = true, *this; }
  /// At most n threads run blocking calls (rn::blocking), 1 to 1024. Default 64.
  runtime_options& blocking_threads(long n) {
    if (n < 1 || n > 1024) throw misuse_error("runnel: blocking_threads(n) takes 1 to 1024");
    return x_raw.blocking_threads = static_cast<unsigned>(n), *this;
  }
  /// After so long without a call such a thread ends. Default 10 s.
  runtime_options& blocking_idle(std::chrono::nanoseconds d) {
    if (d.count() < 0) throw misuse_error("runnel: blocking_idle(d) takes no negative time");
    return x_raw.blocking_idle_ns = d.count(), *this;
  }
  /// A thread of its own watches for whatever holds one of the runtime's threads for longer than d, at least a
  /// millisecond, without waiting or yielding. It is told once for each time: to f(const stall&), or printed with the
  /// place where the goroutine was started. It costs a nanosecond or two for each time that a goroutine runs. Default:
  /// off, and it costs nothing.
  runtime_options& watchdog(std::chrono::nanoseconds d, std::function<void(const stall&)> f = nullptr) {
    if (d < std::chrono::milliseconds(1)) throw misuse_error("runnel: watchdog(d) takes at least a millisecond");
    x_raw.watchdog = d;
    return x_raw.on_stall = std::move(f), *this;
  }

  /// What the random choices of each processor begin with (which of several ready cases a select takes). The same seed
  /// makes the same choices on one thread. Default 0.
  runtime_options& seed(std::uint64_t s) { return x_raw.seed = s, *this; }

  detail::runtime_options&& take() && noexcept { return std::move(x_raw); }

 private:
  detail::runtime_options x_raw;
};

/// Runs goroutines on the threads of an Asio execution context that is already yours: an io_context or a thread_pool.
/// Handlers and goroutines share the threads. While goroutines live the context has work, so that io.run() does not
/// return. Where the context is destroyed with goroutines still in it, they are killed and unwound by the thread that
/// destroys it.
///
/// Thread-safety: everything here may be called from any thread. Lifetime: the context outlives the scheduler; the
/// scheduler's destructor shuts down (cancel, grace, kill, report), so it must not run on a thread of the pool unless
/// nothing lives any more.
class scheduler : private detail::spawner<scheduler> {
 public:
  template <class ExecutionContext>
    requires std::is_base_of_v<boost::asio::execution_context, ExecutionContext>
  explicit scheduler(ExecutionContext& context, threads concurrency = threads::of_machine(),
                     runtime_options options = {});
  scheduler(const scheduler&) = delete;
  scheduler& operator=(const scheduler&) = delete;
  ~scheduler() { x_host->end(); }

  /// Starts a goroutine that belongs to this scheduler. Throws shutting_down once shut_down() has begun.
  using detail::spawner<scheduler>::go;

  /// Cancels the root context: every goroutine of this scheduler hears it.
  void cancel() noexcept { core().cancel(); }
  /// Cancel, grace, kill, report. Blocks until nothing lives; refused on a thread that runs goroutines.
  void shut_down() { x_host->shut_down(); }
  /// How many goroutines that it started have not ended.
  std::size_t live() const noexcept { return x_host->core.live(); }
  /// The execution context's executor.
  boost::asio::any_io_executor get_executor() const { return x_host->get_executor(); }

  detail::runtime_core& core() noexcept { return x_host->core; }

 private:
  friend detail::spawner<scheduler>;
  friend class runtime;
  template <class F, class... A> void go_at(std::source_location where, F&& f, A&&... args) {
    detail::check_spawnable<F, A...>();
    core().start(core().root, detail::make_root(std::forward<F>(f), std::forward<A>(args)...), where);
  }
  std::shared_ptr<detail::asio_host> x_host;
};

/// A scheduler on an Asio pool of its own.
///
/// Lifetime: the destructor shuts down and joins the threads.
class runtime : private detail::spawner<runtime> {
 public:
  // A template, so that Asio's are instantiated where a runtime is made, not wherever this is included.
  template <int Later = 0> explicit runtime(threads n = threads::of_machine(), runtime_options options = {});
  runtime(const runtime&) = delete;
  runtime& operator=(const runtime&) = delete;
  ~runtime() {
    x_scheduler.reset();
    x_pool.join();
  }

  /// Runs f as a goroutine and waits for it and its tasks, from a thread that runs no goroutines. Returns what f
  /// returns; rethrows what it throws; throws canceled if it was cancelled. What f left running goes on until
  /// shut_down().
  template <class F, class... A> decltype(auto) run(F&& f, A&&... args);

  using detail::spawner<runtime>::go;
  void cancel() noexcept { x_scheduler->cancel(); }
  void shut_down() { x_scheduler->shut_down(); }
  std::size_t live() const noexcept { return x_scheduler->live(); }

  scheduler& get_scheduler() noexcept { return *x_scheduler; }
  /// The pool, for sockets and timers that share its threads.
  boost::asio::thread_pool::executor_type get_executor() noexcept { return x_pool.get_executor(); }
  detail::runtime_core& core() noexcept { return x_scheduler->core(); }

 private:
  friend detail::spawner<runtime>;
  template <class F, class... A> void go_at(std::source_location where, F&& f, A&&... args) {
    x_scheduler->go_at(where, std::forward<F>(f), std::forward<A>(args)...);
  }
  boost::asio::thread_pool x_pool;
  std::optional<scheduler> x_scheduler;
};

/// The executor of the pool that the calling goroutine runs on: for sockets and timers. Under test::run it is that of
/// the run, for objects that live in memory. Throws: misuse_error outside of a goroutine.
inline boost::asio::any_io_executor this_executor() {
  detail::runtime_core* runtime = detail::runtime_core::here();
  if (!runtime) throw misuse_error("runnel: this_executor outside of a goroutine");
  return runtime->core.host().asio()->get_executor();
}

// Implementation

template <class ExecutionContext>
  requires std::is_base_of_v<boost::asio::execution_context, ExecutionContext>
scheduler::scheduler(ExecutionContext& context, threads concurrency, runtime_options options)
    : x_host(std::make_shared<detail::asio_host_on<typename ExecutionContext::executor_type>>(
          context.get_executor(), concurrency.count(), std::move(options).take())) {
  x_host->attach_to(context);
  core().start_watchdog();
  core().join_list();
}

namespace detail {
// The same object, of a type that the compiler does not know before Later: what does not depend on a template's
// parameters it may instantiate where the template is defined.
template <int Later, class T> constexpr T& later(T& object) noexcept { return object; }
}  // namespace detail

template <int Later>
runtime::runtime(threads n, runtime_options options)
    : x_pool(n.count()), x_scheduler(std::in_place, detail::later<Later>(x_pool), n, std::move(options)) {}

#if RUNNEL_SEPARATE_COMPILATION
extern template class detail::asio_host_on<boost::asio::thread_pool::executor_type>;
extern template scheduler::scheduler(boost::asio::thread_pool&, threads, runtime_options);
extern template runtime::runtime(threads, runtime_options);
#endif

namespace detail {

template <class T> struct main_result {
  result_slot<T> value;
  bool completed = false;  // f returned or threw: it was not unwound
  bool ended = false;
  std::mutex mutex;
  std::condition_variable changed;

  // The goroutine that runs f has gone, its frames are destroyed: by return, exception or unwinding.
  struct at_end {
    main_result& r;
    ~at_end() {
      std::lock_guard hold(r.mutex);  // held over notify: the waiter ends this object
      r.ended = true;
      r.changed.notify_all();
    }
  };
};

template <class T, class F, class... A> task<> run_main(main_result<T>& result, F f, A... args) {
  typename main_result<T>::at_end at_end{result};
  auto call = [f = std::move(f), args = std::tuple<A...>(std::move(args)...)]() mutable -> decltype(auto) {
    return std::apply(f, std::move(args));  // dies before at_end: nothing of it is left when the waiter goes on
  };
  try {
    if constexpr (!is_task<std::invoke_result_t<F&, A...>>) {
      if constexpr (std::is_void_v<T>)
        call(), result.value.emplace();
      else
        result.value.emplace(call());
    } else if constexpr (std::is_void_v<T>) {
      co_await call();
      result.value.emplace();
    } else {
      result.value.emplace(co_await call());
    }
  } catch (...) {
    result.value.fail(std::current_exception());
  }
  result.completed = true;
  while (task_scope* tasks = task_scope::innermost(*current_goroutine())) co_await task_join_operation(*tasks);
}

template <class R> struct task_value {
  using type = R;
};
template <class T> struct task_value<task<T>> {
  using type = T;
};

}  // namespace detail

template <class F, class... A> decltype(auto) runtime::run(F&& f, A&&... args) {
  detail::check_spawnable<F, A...>();
  if (detail::this_processor() || x_pool.get_executor().running_in_this_thread())
    throw misuse_error("runnel: runtime::run on a thread that runs goroutines would block it: co_await instead");
  using T = typename detail::task_value<std::invoke_result_t<detail::kept_t<F>&, detail::kept_t<A>...>>::type;
  detail::main_result<T> result;
  core().start(
      core().root,
      detail::run_main<T, detail::kept_t<F>, detail::kept_t<A>...>(
          result, detail::unmoved(std::forward<F>(f)), detail::unmoved(std::forward<A>(args))...),
      std::source_location());
  std::unique_lock hold(result.mutex);
  result.changed.wait(hold, [&] { return result.ended; });
  if (!result.completed) throw canceled();
  return result.value.take();
}

}  // namespace runnel
