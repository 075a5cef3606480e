// SPDX-License-Identifier: BSL-1.0
// runnel/detail/runtime_core.hpp: a scheduler with its timers, its root context, and everything that it started.
// Layer: L2
#pragma once

#include <runnel/config.hpp>
#include <runnel/detail/context_node.hpp>
#include <runnel/detail/goroutine.hpp>
#include <runnel/detail/goroutine_registry.hpp>
#include <runnel/detail/runtime_options.hpp>
#include <runnel/detail/scheduler_core.hpp>
#include <runnel/detail/spawn.hpp>
#include <runnel/detail/spawn_place.hpp>
#include <runnel/detail/timer_service.hpp>
#include <runnel/detail/watchdog.hpp>
#include <runnel/error.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <source_location>
#include <string>
#include <utility>
#include <vector>

namespace runnel::detail {

// Every runtime that has not ended, for reports. Who holds the mutex keeps them from ending.
struct runtime_list {
  std::mutex mutex;
  list_head runtimes;
};
RUNNEL_SHARED inline constinit runtime_list the_runtimes;

// A goroutine that waits for its reason to start, and dies with its runtime if that does not come.
struct prepared_work : list_link, std::enable_shared_from_this<prepared_work> {
  virtual void discard() noexcept = 0;

 protected:
  ~prepared_work() = default;
};

// The threads that run blocking calls (detail/blocking_pool.hpp): a part of a runtime that is made at its first use.
class blocking_threads {
 public:
  virtual ~blocking_threads() = default;
  // Nothing will be called any more. Joins the threads; one whose call does not return is left alone, and what waits
  // for it is not woken.
  virtual void end() noexcept = 0;
  // Whether a thread runs a call of this goroutine.
  virtual bool runs_call_of(const void* g) noexcept = 0;
  // f(g) for each goroutine whose call runs, under the pool's mutex.
  virtual void for_each_call(const std::function<void(const goroutine&)>& f) noexcept = 0;
  // Whether the calling thread is one of them.
  virtual bool run_here() const noexcept = 0;
};

// Invariants:
//   1. x_counted counts goroutines that this runtime owns (go, run's app) and that have not ended, each before it is
//      scheduled; and what the processors hold in reserve. A goroutine that starts on a processor is counted out of the
//      reserve there, and goes back to it when it ends: only where a reserve is used up or too large does a processor
//      touch what all share. It gives all back when it has run dry, and at the end of each pump: between pumps it holds
//      nothing. Who brings x_counted to zero says so under x_ended_mutex.
//   2. Once x_closing is set nothing new is counted: whoever counts looks at it afterwards, and takes the count back.
//
//   x_counted  anybody   x_closing  set once, by shutdown (seq_cst: against the count in start())
//   x_blocking  null, until somebody needs them; written under x_ended_mutex (release: what was made)
class runtime_core : public goroutine_owner {
 public:
  runtime_core(pump_host& pumps, timer_host& clock, std::int64_t now, unsigned concurrency, runtime_options options)
      : core(pumps, concurrency), timers(clock, now), x_options(std::move(options)) {
    canceled_cause();  // made now, so that cancelling never allocates
    deadline_cause();
    core.set_environment(this);
    if (concurrency > 1) {
      x_branches.reserve(concurrency);
      for (unsigned i = 0; i < concurrency; ++i)
        x_branches.emplace_back(new context_node(context_node::branch_of{root}));
    }
    core.seed(x_options.seed);
    if (x_options.tracks_goroutines) {
      tracker = std::make_unique<goroutine_registry>(false);
      core.set_observer(tracker.get());
    }
  }
  runtime_core(const runtime_core&) = delete;
  runtime_core& operator=(const runtime_core&) = delete;
  ~runtime_core() {
    leave_list();
    x_branches.clear();
    x_root.reset();
  }
  // If there is to be one. Before anything runs.
  void start_watchdog() {
    if (x_options.watchdog.count() != 0)
      watch = std::make_unique<watchdog>(core, x_options.watchdog, x_options.on_stall);
  }
  // Joins the_runtimes. By whoever makes the host, when that is complete: reports ask it what time it is.
  void join_list() noexcept {
    std::lock_guard hold(the_runtimes.mutex);
    the_runtimes.runtimes.push_back(&x_entry);
  }
  // Of an entry of the_runtimes.
  static runtime_core& of(list_link& in_list) noexcept { return static_cast<entry&>(in_list).runtime; }

  static runtime_core& of(const goroutine& g) noexcept { return *static_cast<runtime_core*>(g.core().environment()); }
  // The runtime that runs the calling code; null outside of one.
  static runtime_core* here() noexcept {
    processor* p = this_processor();
    return p ? static_cast<runtime_core*>(p->core->environment()) : nullptr;
  }

  // Starts a goroutine that is on its own: it inherits what the calling goroutine's context carries, and neither its
  // deadline nor its cancellation.
  void start_here(task<> body, std::source_location where) {
    goroutine* g = current_goroutine();
    const context_value* values = g ? g->context.load(std::memory_order_relaxed)->values() : nullptr;
    if (!values) return start(root_here(), std::move(body), where);
    node_use home(*new context_node(values->shared_from_this()));
    home.node.attach_to(root_here());
    start(home.node, std::move(body), where);
  }
  // The root, or what stands for it on the processor that this thread pumps.
  context_node& root_here() const noexcept {
    processor* p = here_processor();
    return p && !x_branches.empty() ? *x_branches[p->index] : root;
  }

  // Starts a goroutine that belongs to this runtime. Throws shutting_down, and the body does not run, once it ends.
  void start(context_node& home, task<> body, std::source_location where) {
    if (closing()) throw shutting_down();  // first: what this runs on may be gone
    auto* g = make_goroutine(core.any_processor(), home, *this, std::move(body), where);
    if (home.get_form() != cancel_node::form::branch && &home != &root) {
      home.retain();
      g->owns_home = true;
    }
    count_up();
    if (x_closing.load(std::memory_order_seq_cst)) {
      discard_goroutine(*g);
      count_down();
      throw shutting_down();
    }
    core.start(g);
  }

  // A goroutine that will be started later, from where nothing may be allocated or refused (after_func): it is counted
  // when it is started, and then runs even at shutdown.
  goroutine* prepare(task<> body, std::source_location where) {
    return make_goroutine(core.any_processor(), root, *this, std::move(body), where);
  }
  // False: the runtime has ended, and nothing runs any more.
  bool count_prepared() noexcept {
    std::lock_guard hold(x_ended_mutex);
    if (x_end) return false;
    count_first();
    return true;
  }
  void uncount_prepared() noexcept { count_down(); }
  void list_prepared(prepared_work& w) noexcept {
    std::lock_guard hold(x_ended_mutex);
    x_prepared.push_back(&w);
  }
  void unlist_prepared(prepared_work& w) noexcept {
    std::lock_guard hold(x_ended_mutex);
    unlink(&w);
  }
  // Nothing will live. False, having done nothing, if something does, and may not: an after_func has begun meanwhile.
  bool end(bool whatever_lives) noexcept {
    std::unique_lock hold(x_ended_mutex);
    if (lives() && !whatever_lives) return false;
    x_end = true;
    hold.unlock();
    leave_list();
    if (watch) watch->end();
    end_blocking();
    hold.lock();
    while (list_link* first = x_prepared.pop_front()) {
      auto work = static_cast<prepared_work*>(first)->weak_from_this().lock();
      hold.unlock();
      if (work) work->discard();
      work.reset();
      hold.lock();
    }
    return true;
  }

  // The threads for blocking calls; null as long as there are none.
  blocking_threads* blocking() const noexcept { return x_blocking.load(std::memory_order_acquire); }
  // Makes them where there are none. Throws what Pool's constructor throws, or shutting_down.
  template <class Pool> Pool& make_blocking() {
    if (auto* pool = blocking()) return static_cast<Pool&>(*pool);
    std::lock_guard hold(x_ended_mutex);
    if (x_end) throw shutting_down();
    if (!x_blocking_owner)
      x_blocking_owner = std::make_shared<Pool>(x_options.blocking_threads, x_options.blocking_idle_ns);
    x_blocking.store(x_blocking_owner.get(), std::memory_order_release);
    return static_cast<Pool&>(*x_blocking_owner);
  }
  void end_blocking() noexcept {
    if (auto* pool = blocking()) pool->end();
  }
  // The execution context is being destroyed: what still lives holds no work in it.
  void let_go() noexcept {
    end_blocking();
    std::lock_guard hold(x_ended_mutex);
    core.host().hold_work(false);
  }

  void goroutine_ended(std::exception_ptr error, bool, std::source_location where) noexcept override {
    if (error) report({std::move(error), where});
    count_down();
  }
  // An error that left a goroutine that nobody joins.
  void report(const goroutine_error& e) noexcept {
    if (is_only_cancellation(e.error)) return print("a goroutine gave up", e);
    if (x_options.on_error) return call(x_options.on_error, e);
    print("an error left a goroutine; everything is cancelled", e);
    x_failed.store(true, std::memory_order_release);
    cancel(e.error);
  }
  // An error that nobody will join. `handler`, if given, instead of the runtime's.
  void unobserved(std::exception_ptr error, std::source_location where,
                  const error_handler* handler = nullptr) noexcept {
    goroutine_error e{std::move(error), where};
    if (!handler && x_options.on_unobserved) handler = &x_options.on_unobserved;
    if (handler) return call(*handler, e);
    print("an error that nobody waits for", e);
  }

  bool failed() const noexcept { return x_failed.load(std::memory_order_acquire); }
  // Exact where nothing starts or ends meanwhile; 0 only when nothing lives.
  std::size_t live() const noexcept {
    std::size_t counted = x_counted.load(std::memory_order_acquire), reserved = 0;
    for (const processor& p : core.processors()) reserved += p.reserve.load(std::memory_order_acquire);
    return counted > reserved ? counted - reserved : std::min<std::size_t>(counted, 1);
  }
  bool lives() const noexcept { return x_counted.load(std::memory_order_acquire) != 0; }
  // A processor has nothing to run, or will be pumped later. On the thread that pumps it.
  void give_back_reserve(processor& p) noexcept { count_down(p.reserve.exchange(0, std::memory_order_relaxed)); }
  std::int64_t kill_grace() const noexcept { return x_options.kill_grace_ns; }
  bool closing() const noexcept { return x_closing.load(std::memory_order_acquire); }

  void refuse_new() noexcept { x_closing.store(true, std::memory_order_seq_cst); }
  void cancel(std::exception_ptr cause = canceled_cause()) noexcept {
    root.cancel(level_cancel, false, std::move(cause));
  }

  // Cancel, grace, kill, grace, report. From a thread that does not run goroutines. True: everything has ended.
  template <class Wait> bool shut_down(Wait&& wait_for) {
    x_closing.store(true, std::memory_order_seq_cst);
    cancel();
    if (wait_for(x_options.grace_ns)) return true;
    root.cancel(level_kill, false, canceled_cause());
    if (wait_for(x_options.kill_grace_ns)) return true;
    report_stuck();
    if (!x_options.leak_stuck) std::abort();
    return false;
  }
  // Blocks until nothing lives, or the time has passed.
  bool wait_ended(std::int64_t ns) {
    std::unique_lock hold(x_ended_mutex);
    auto ended = [this] { return !lives(); };
    if (ns == INT64_MAX) return x_ended.wait(hold, ended), true;
    return x_ended.wait_for(hold, std::chrono::nanoseconds(ns), ended);
  }

  scheduler_core core;
  timer_service timers;

 private:
  struct node_release {
    void operator()(context_node* n) const noexcept { n->release(); }
  };
  using owned_node = std::unique_ptr<context_node, node_release>;
  owned_node x_root{new context_node};

 public:
  context_node& root = *x_root;
  std::unique_ptr<goroutine_registry> tracker;  // null: goroutines are not tracked
  std::unique_ptr<watchdog> watch;              // null: nobody looks who runs for how long

 private:
  struct entry : list_link {
    runtime_core& runtime;
    explicit entry(runtime_core& r) noexcept : runtime(r) {}
  };
  void leave_list() noexcept {
    std::lock_guard hold(the_runtimes.mutex);
    unlink(&x_entry);
  }

  // The processor that this thread pumps for this runtime, or null.
  processor* here_processor() const noexcept {
    processor* p = this_processor();
    return p && p->core == &core ? p : nullptr;
  }
  void count_up() noexcept {
    processor* p = here_processor();
    if (!p) return count_up(1);
    auto reserve = p->reserve.load(std::memory_order_relaxed);
    if (reserve == 0) count_up(reserve = usual_reserve);
    p->reserve.store(reserve - 1, std::memory_order_release);
  }
  void count_down() noexcept {
    processor* p = here_processor();
    if (!p) return count_down(1);
    auto reserve = p->reserve.load(std::memory_order_relaxed) + 1;
    if (reserve > 2 * usual_reserve) {
      count_down(usual_reserve);  // not the last: there is still the rest
      reserve -= usual_reserve;
    }
    p->reserve.store(reserve, std::memory_order_release);
  }

  void count_up(std::size_t more) noexcept {
    auto n = x_counted.load(std::memory_order_relaxed);
    while (n != 0)
      if (x_counted.compare_exchange_weak(n, n + more, std::memory_order_seq_cst, std::memory_order_relaxed)) return;
    std::lock_guard hold(x_ended_mutex);
    count_first(more);
  }
  // From zero, and under the mutex: the context has work before anybody counts on it.
  void count_first(std::size_t more = 1) noexcept {
    core.host().hold_work(true);
    x_counted.fetch_add(more, std::memory_order_seq_cst);
  }
  void count_down(std::size_t less) noexcept {
    auto n = x_counted.load(std::memory_order_relaxed);
    while (n > less)
      if (x_counted.compare_exchange_weak(n, n - less, std::memory_order_acq_rel, std::memory_order_relaxed)) return;
    // The last one, probably: under the mutex to the end, because who waits for it ends this object.
    std::lock_guard hold(x_ended_mutex);
    if (x_counted.fetch_sub(less, std::memory_order_acq_rel) != less) return;
    core.host().hold_work(false);
    x_ended.notify_all();
  }

  static bool is_only_cancellation(const std::exception_ptr& e) noexcept try {
    std::rethrow_exception(e);
  } catch (const canceled&) {
    return true;
  } catch (const timeout_error&) {
    return true;
  } catch (...) {
    return false;
  }
  void call(const error_handler& f, const goroutine_error& e) noexcept {
    try {
      f(e);
    } catch (...) {
      print("an error handler threw while it handled", e);
    }
  }
  static void print(const char* what, const goroutine_error& e) noexcept {
    bool known = e.where.line() != 0;
    std::fprintf(stderr, known ? "runnel: %s: %s (%s)\n%s" : "runnel: %s: %s\n%.0s%s", what, what_of(e.error).c_str(),
                 started_at(e.where).c_str(), trace_text(e.error).c_str());
  }
  void report_stuck() noexcept {
    std::fprintf(stderr, "runnel: %zu goroutines are still alive after cancel and kill:\n", live());
    std::size_t named = 0;
    if (blocking())
      blocking()->for_each_call([&](const goroutine& g) {
        ++named;
        std::fprintf(stderr, "  %s, in a blocking call that has not returned\n", started_at(g.where).c_str());
      });
    root.for_each_goroutine([&](const goroutine& g) {
      if (blocking() && blocking()->runs_call_of(&g)) return;
      ++named;
      std::fprintf(stderr, "  %s, %s\n", started_at(g.where).c_str(),
                   g.word.load(std::memory_order_relaxed) == 0 ? "running, runnable or in a join" : "parked");
    });
    if (auto all = live(); all > named)
      std::fprintf(stderr, "  and %zu that have never waited for anything, or wait under a context of their own\n",
                   all - named);
  }

  runtime_options x_options;
  std::vector<owned_node> x_branches;  // one a processor; none where there is one processor
  std::atomic<std::size_t> x_counted{0};
  static constexpr std::uint32_t usual_reserve = 64;
  std::atomic<bool> x_closing{false};
  std::atomic<bool> x_failed{false};
  std::mutex x_ended_mutex;
  std::condition_variable x_ended;
  bool x_end = false;
  std::atomic<blocking_threads*> x_blocking{nullptr};
  std::shared_ptr<blocking_threads> x_blocking_owner;  // guarded by x_ended_mutex
  list_head x_prepared;                                // guarded by x_ended_mutex
  entry x_entry{*this};                                // guarded by the_runtimes.mutex
};

}  // namespace runnel::detail
