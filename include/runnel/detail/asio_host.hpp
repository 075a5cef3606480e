// SPDX-License-Identifier: BSL-1.0
// runnel/detail/asio_host.hpp: the scheduler's world, on Asio: pumps are handlers, all of time is one steady_timer.
// Layer: L2
#pragma once

#include <runnel/detail/asio_deferral.hpp>
#include <runnel/detail/asio_uncounted_timer.hpp>
#include <runnel/detail/asio_world.hpp>
#include <runnel/detail/calling_out.hpp>
#include <runnel/detail/handler_slot.hpp>
#include <runnel/detail/pool_thread.hpp>
#include <runnel/detail/runtime_core.hpp>
#include <runnel/detail/unwind.hpp>
#include <runnel/time_point.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/defer.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <source_location>
#include <utility>
#include <vector>

namespace runnel::detail {

// run_policy, where goroutines are tracked, or a watchdog wants to know what runs.
struct observed_policy {
  static void goroutine(processor& p, fifo_link* item) noexcept {
    auto* g = static_cast<detail::goroutine*>(item);
    auto& runtime = of(p);
    auto number = runtime.tracker ? runtime.tracker->begins(*g) : 0;
    {
      watched_turn turn(runtime, p, g->stop ? stall::kind_t::unwinding : stall::kind_t::goroutine, g->where);
      run_policy::goroutine(p, item);
    }
    if (runtime.tracker) runtime.tracker->stopped(g, number, p.core->now());
  }
  static void child(processor& p, list_link* item) noexcept {
    watched_turn turn(of(p), p, stall::kind_t::child, {});
    run_policy::child(p, item);
  }
  static void settle(processor& p) noexcept {
    watched_turn turn(of(p), p, stall::kind_t::child, {});
    run_policy::settle(p);
  }
  static void fetch_next(fifo_link* next) noexcept { run_policy::fetch_next(next); }
  static fifo_link* of_fresh(list_link* g) noexcept { return run_policy::of_fresh(g); }

 private:
  static runtime_core& of(processor& p) noexcept { return *static_cast<runtime_core*>(p.core->environment()); }
  // Tells the watchdog, if there is one.
  class watched_turn {
   public:
    watched_turn(runtime_core& runtime, processor& p, stall::kind_t what, const std::source_location& where) noexcept
        : x_watch(runtime.watch.get()), x_index(p.index) {
      if (x_watch) x_watch->detector.begins(x_index, what, where);
    }
    watched_turn(const watched_turn&) = delete;
    watched_turn& operator=(const watched_turn&) = delete;
    ~watched_turn() {
      if (x_watch) x_watch->detector.ends(x_index);
    }

   private:
    watchdog* x_watch;
    unsigned x_index;
  };
};

// Handlers share the host, so that one that Asio still holds when the scheduler has ended finds it alive, and idle.
class asio_host : public pump_host,
                  public timer_host,
                  public asio_world,
                  public std::enable_shared_from_this<asio_host> {
 public:
  asio_host(unsigned concurrency, runtime_options options)
      : asio_world(false, options.defers_reads ? &x_deferral : nullptr),
        core(*this, *this, asio_host::now(), concurrency, std::move(options)),
        x_deferral(concurrency) {
    set_asio(*this);
    runs_handlers_here.store(&is_of_any, std::memory_order_relaxed);
  }
  virtual ~asio_host() = default;

  // Whether the calling thread is one of some runtime's world.
  static bool is_of_any() {
    std::lock_guard hold(the_runtimes.mutex);
    for (list_link* at = the_runtimes.runtimes.first(); at != the_runtimes.runtimes.end(); at = at->next)
      if (runtime_core::of(*at).core.host().runs_here()) return true;
    return false;
  }

  std::shared_ptr<void> share() noexcept final { return shared_from_this(); }
  void stops_counting(processor& p) noexcept final { core.give_back_reserve(p); }
  std::int64_t now() const noexcept final {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }

  void shut_down() {
    if (this_processor() || (core.blocking() && core.blocking()->run_here()))
      throw misuse_error("runnel: a thread that runs goroutines cannot wait for their end: shut down from outside");
    core.shut_down([this](std::int64_t ns) { return wait_and_help(ns); });
  }
  // The scheduler ends: nothing lives afterwards, and no handler of ours will be armed again.
  void end() noexcept {
    bool all_ended = true;
    do {
      if (core.lives() || !core.closing())
        all_ended = core.shut_down([this](std::int64_t ns) { return wait_and_help(ns); });
    } while (!core.end(!all_ended));
    close_timers();
    if (all_ended) return core.core.wait_for_visitors();
    x_context_ended.store(true, std::memory_order_release);  // for what is left: it posts nothing any more
    core.let_go();
    static auto& left_alone = *new leaked_hosts;  // what is left refers to them
    std::lock_guard hold(left_alone.mutex);
    left_alone.hosts.push_back(shared_from_this());
  }
  // The execution context is being destroyed: none of its threads runs, and ours are the only hands left.
  void context_ends() noexcept {
    if (context_has_ended()) return;  // it was left behind before
    core.refuse_new();
    core.cancel();
    core.root.cancel(level_kill, false, canceled_cause());
    x_context_ended.store(true, std::memory_order_release);
    wait_and_help(core.kill_grace());
    core.let_go();
    close_timers();
    core.core.wait_for_visitors();  // who wakes somebody from outside may be about to post
  }

  template <class ExecutionContext>
  void attach_to(ExecutionContext& context);

  runtime_core core;

 protected:
  virtual void close_timers() noexcept = 0;
  virtual void help() noexcept = 0;  // needs the pump: it is compiled with asio_host_on, and nowhere else
  // Not as the pump: this thread does something else, or is of another context.
  void go_on_later(goroutine& g) noexcept {
    auto keep = shared_from_this();  // nothing lives, perhaps, once g has ended
    core.core.schedule(&g);
    // This thread may be the last that comes by.
    while (context_has_ended() && core.core.anything_posted()) help();
  }
  bool context_has_ended() const noexcept { return x_context_ended.load(std::memory_order_acquire); }
  // Those that can go on are put into `woken`.
  void try_reads(fifo due, fifo& woken) noexcept {
    const std::size_t tried = due.size();
    std::size_t found = 0;
    while (fifo_link* link = due.pop()) {
      auto& read = static_cast<deferred_read&>(*link);
      found += read.try_now(read, woken);
    }
    x_deferral.tried(tried, found);
  }

  asio_deferral x_deferral;

 private:
  // Waits until nothing lives; helps, because the context may have no thread that runs any more.
  bool wait_and_help(std::int64_t ns) noexcept {
    const std::int64_t until = saturating_add(now(), ns);
    while (!core.wait_ended(0)) {  // passes the mutex that the last goroutine leaves
      help();
      fifo woken;
      core.timers.on_timer(now(), woken);
      core.timers.set_host();  // Asio's timer may be armed for what has gone
      fifo own = keep_own(core.core, woken);
      core.core.schedule_all(own);
      if (core.wait_ended(1'000'000)) return true;
      if (now() >= until) return false;
    }
    return true;
  }
  std::atomic<bool> x_context_ended{false};  // set once, by the thread that destroys the context, or leaves it behind

  struct leaked_hosts {
    std::mutex mutex;
    std::vector<std::shared_ptr<asio_host>> hosts;
  };
};

template <class Executor>
class asio_host_on final : public asio_host {
 public:
  asio_host_on(const Executor& executor, unsigned concurrency, runtime_options options)
      : asio_host(concurrency, std::move(options)), x_executor(executor), x_slots(concurrency) {
    x_timer.emplace(executor);
    x_monitor.emplace(executor);
    x_tender.emplace(executor);
  }
  boost::asio::any_io_executor get_executor() const override { return x_executor; }
  void go_on(goroutine& g, bool in_handler) noexcept override {
    if (!in_handler || calling_out::here() || !runs_here()) return go_on_later(g);
    fifo chain;
    chain.push(&g);
    run_here(chain);
  }

 private:
  using timer_type = boost::asio::basic_waitable_timer<std::chrono::steady_clock,
                                                       boost::asio::wait_traits<std::chrono::steady_clock>, Executor>;

  bool runs_here() const noexcept override {
    if constexpr (requires { x_executor.running_in_this_thread(); })
      return !context_has_ended() && x_executor.running_in_this_thread();
    return false;
  }
  // Calls f(policy()) with the policy of this runtime.
  template <class F> void with_policy(F&& f) noexcept {
    if (core.tracker || core.watch) [[unlikely]]
      f(observed_policy());
    else
      f(run_policy());
  }
  void run_here(fifo& chain) noexcept {
    with_policy([&]<class P>(P) { core.core.template run_here<P>(chain); });
  }
  void help() noexcept override {
    fifo woken;
    try_reads(x_deferral.take_all(), woken);
    core.core.schedule_all(woken);
    with_policy([this]<class P>(P) { core.core.template help<P>(); });
  }

  struct handler_base {
    using allocator_type = slot_allocator<std::byte>;
    std::shared_ptr<asio_host_on> host;
    handler_slot* slot;
    allocator_type get_allocator() const noexcept { return slot->allocator(); }
  };
  struct pump_handler : handler_base {
    processor* p;
    void operator()() const noexcept {
      this->host->with_policy([this]<class P>(P) { this->host->core.core.template pump_posted<P>(*p); });
    }
  };
  struct turn_handler : handler_base {
    void operator()() const noexcept { this->host->turn(); }
  };
  struct timer_handler : handler_base {
    void operator()(boost::system::error_code error) const noexcept {
      if (!error) this->host->timer_fired();
    }
  };
  struct monitor_handler : handler_base {
    void operator()(boost::system::error_code error) const noexcept {
      if (error) return;
      this->host->with_policy([this]<class P>(P) { this->host->core.core.template monitor<P>(); });
    }
  };
  struct tender_handler : handler_base {
    void operator()(boost::system::error_code error) const noexcept {
      if (!error) this->host->core.core.tend();
    }
  };

  std::shared_ptr<asio_host_on> self() noexcept {
    return std::static_pointer_cast<asio_host_on>(this->shared_from_this());
  }

  void post_pump(processor& p, bool from_pump) noexcept override {
    if (context_has_ended()) return;  // it stays posted, for who helps
    pump_handler handler{{self(), &x_slots[p.index]}, &p};
    if (from_pump)
      boost::asio::defer(x_executor, std::move(handler));
    else
      boost::asio::post(x_executor, std::move(handler));
  }

  void defer(deferred_read& read) noexcept override {
    if (x_deferral.add(read)) post_turn();
  }
  void post_turn() noexcept {
    if (!context_has_ended()) boost::asio::post(x_executor, turn_handler{{self(), &x_turn_slot}});
  }
  void turn() noexcept {
    fifo due, woken;
    bool more = x_deferral.turn(due);
    try_reads(std::move(due), woken);
    if (more) post_turn();  // before the goroutines run, who may take long
    run_here(woken);
  }

  void set_timer() noexcept override try {
    std::lock_guard hold(x_mutex);
    if (!x_timer) return;
    std::int64_t at = core.timers.wanted();  // under the mutex: whoever comes last knows the latest
    if (at == INT64_MAX) {
      if (std::exchange(x_armed_for, INT64_MAX) != INT64_MAX) x_timer->cancel();
      return;
    }
    at = std::min(at | (timer_wheel::tick_ns - 1), INT64_MAX - timer_wheel::tick_ns);  // one wake-up for a whole tick
    at = std::max(at, x_rests_until);
    if (at >= x_armed_for) return;
    x_armed_for = at;
    x_timer->expires_at(std::chrono::steady_clock::time_point(std::chrono::nanoseconds(at)));
    x_timer->async_wait(timer_handler{{self(), &x_timer_slot}});
  } catch (...) {
    die_without_timer();
  }
  // Where many sleep a wake-up costs more than those whom it wakes: Asio wakes another thread to wait in its place. So
  // one that woke many is followed, from the next on, by a rest. Nobody is later by more than that.
  void timer_fired() noexcept {
    std::int64_t at = now();
    {
      std::lock_guard hold(x_mutex);
      x_armed_for = INT64_MAX;
      x_rests_until = x_woke_many ? at + rest_ns : at;
    }
    fifo woken;
    core.timers.on_timer(at, woken);
    {
      std::lock_guard hold(x_mutex);
      x_woke_many = woken.size() >= many;
    }
    fifo own = keep_own(core.core, woken);
    run_here(own);
  }
  void arm_monitor(std::int64_t after) noexcept override {
    std::lock_guard hold(x_mutex);
    if (x_monitor) x_monitor->wait(std::chrono::nanoseconds(after), monitor_handler{{self(), &x_monitor_slot}});
  }
  void arm_tender(std::int64_t after) noexcept override {
    std::lock_guard hold(x_mutex);
    if (x_tender) x_tender->wait(std::chrono::nanoseconds(after), tender_handler{{self(), &x_tender_slot}});
  }
  void hold_work(bool yes) noexcept override {
    if (yes && !x_work && !context_has_ended()) x_work.emplace(x_executor);
    core.timers.hold(yes);
    if (!yes) x_work.reset();
  }
  void close_timers() noexcept override {
    std::lock_guard hold(x_mutex);
    x_timer.reset();
    x_monitor.reset();
    x_tender.reset();
  }

  Executor x_executor;
  std::vector<handler_slot> x_slots;
  handler_slot x_turn_slot;
  handler_slot x_timer_slot;
  handler_slot x_monitor_slot;
  handler_slot x_tender_slot;
  std::mutex x_mutex;  // guards the timers: Asio's are not thread-safe
  std::int64_t x_armed_for = INT64_MAX;
  std::int64_t x_rests_until = 0;  // no wake-up before
  bool x_woke_many = false;        // the last one
  static constexpr std::int64_t rest_ns = 250'000;
  static constexpr std::size_t many = 8;
  std::optional<timer_type> x_timer;
  std::optional<asio_uncounted_timer<Executor>> x_monitor;
  std::optional<asio_uncounted_timer<Executor>> x_tender;
  std::optional<boost::asio::executor_work_guard<Executor>> x_work;  // guarded by the runtime core's mutex
};

// Tells the hosts attached to an execution context when it is destroyed.
class host_service : public boost::asio::execution_context::service {
 public:
  using key_type = host_service;
  RUNNEL_SHARED static inline boost::asio::execution_context::id id;
  explicit host_service(boost::asio::execution_context& context) : service(context) {}

  void add(std::weak_ptr<asio_host> host) {
    std::lock_guard hold(x_mutex);
    std::erase_if(x_hosts, [](const auto& h) { return h.expired(); });
    x_hosts.push_back(std::move(host));
  }

 private:
  void shutdown() override {
    for (auto& weak : std::exchange(x_hosts, {}))
      if (auto host = weak.lock()) host->context_ends();
  }
  std::mutex x_mutex;
  std::vector<std::weak_ptr<asio_host>> x_hosts;
};

template <class ExecutionContext>
void asio_host::attach_to(ExecutionContext& context) {
  boost::asio::use_service<host_service>(static_cast<boost::asio::execution_context&>(context))
      .add(weak_from_this());
}

}  // namespace runnel::detail
