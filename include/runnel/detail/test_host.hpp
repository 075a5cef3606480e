// SPDX-License-Identifier: BSL-1.0
// runnel/detail/test_host.hpp: the scheduler's world in a test: one thread, a jumping clock, a schedule.
// Layer: L13
#pragma once

#include <runnel/config.hpp>
#include <runnel/detail/asio_test_world.hpp>
#include <runnel/detail/chooser.hpp>
#include <runnel/detail/goroutine.hpp>
#include <runnel/detail/goroutine_registry.hpp>
#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/runtime_core.hpp>
#include <runnel/detail/test_faults.hpp>
#include <runnel/detail/test_schedule.hpp>
#include <runnel/detail/timer_service.hpp>
#include <runnel/detail/unwind.hpp>
#include <runnel/test/trace.hpp>
#include <runnel/waiter.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sys/resource.h>
#endif

namespace runnel::detail {

// How often this thread has given up the processor by itself: to sleep, to wait for a lock or for I/O. 0 where nobody
// knows.
inline long thread_waits() noexcept {
#if defined(RUSAGE_THREAD)
  rusage usage{};
  if (::getrusage(RUSAGE_THREAD, &usage) == 0) return usage.ru_nvcsw;
#endif
  return 0;
}
inline bool is_being_debugged() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;)
    if (word == "TracerPid:") return status >> word && word != "0";
  return false;
}

// One processor, pumped by the thread that calls drive(), one item at a time: between two steps nothing runs, and what
// is possible next is known: the runnable goroutines, the fork-join children, the handlers of Asio, and the timers that
// are due. A schedule chooses. The clock stands still while anything is possible, and then jumps to the next timer.
//
// Our thread always schedules on our processor. So what comes by the injection queue was woken by another thread, which
// no seed can repeat: it is seen, and the run fails.
//
// Operations that could complete without waiting let others run each time: so every co_await of the library is a place
// where the schedule may switch.
//
//   x_now   written by our thread; read by others too, by mistake
class test_host final : public pump_host,
                        public timer_host,
                        public chooser,
                        public run_observer,
                        public std::enable_shared_from_this<test_host> {
 public:
  static constexpr std::int64_t begins_at = 946'684'800'000'000'000;  // 2000-01-01 (SY-02)
  enum class stop_t { goal, quiet, endless, blocked, outside };
  struct long_block {
    std::uint64_t number;  // who
    std::int64_t ns;
  };

  test_host(test_schedule& schedule, std::uint64_t seed, std::int64_t blocking_ns, runtime_options options)
      : core(*this, *this, begins_at, 1, std::move(options)), x_schedule(schedule), x_blocking_ns(blocking_ns) {
    set_asio(*x_asio);
    core.core.set_chooser(this);
    core.core.set_observer(this);
    here().random = dice(seed).next() | 1;
  }

  // The host that drives on this thread; null if none does.
  RUNNEL_SHARED RUNNEL_NOINLINE static test_host*& current() noexcept {
    static constinit thread_local test_host* host = nullptr;
    return host;
  }

  // Takes steps until the goal is reached, or nothing is possible: until no timer is set, or at once if time stands.
  template <class Goal> stop_t drive(bool time_runs, std::uint64_t most_steps, Goal&& goal) {
    test_host* outer = std::exchange(current(), this);
    stop_t stop{};
    as_the_pump([&] { stop = take_steps(time_runs, x_steps + most_steps, goal); });
    current() = outer;
    return stop;
  }
  // f schedules on our processor, as if a goroutine did: so whatever comes from outside is somebody else's.
  template <class F> void as_the_pump(F&& f) {
    set_this_processor(&here());
    try {
      f();
    } catch (...) {
      set_this_processor(nullptr);
      throw;
    }
    set_this_processor(nullptr);
  }
  // Called before the step with this number, once.
  void set_event(std::uint64_t step, std::string what, std::function<void()> f) {
    x_event_step = step;
    x_event_text = std::move(what);
    x_event = std::move(f);
  }
  bool event_is_to_come() const noexcept { return static_cast<bool>(x_event); }
  // Afterwards drive() goes on in spite of what has been found, and takes the default steps: to end what is left.
  void forgive() noexcept {
    x_event = nullptr;
    x_counts_allocations = false;
    x_blocked = {0, 0};
    x_ends = true;
  }
  void count_allocations(bool yes) noexcept { x_counts_allocations = yes; }

  std::int64_t elapsed() const noexcept { return now() - begins_at; }
  std::uint64_t steps() const noexcept { return x_steps; }
  const long_block& blocked() const noexcept { return x_blocked; }
  asio_test_world& asio_here() noexcept { return *x_asio; }
  fault_count& operations() noexcept { return x_operations; }
  bool timer_is_set() noexcept { return !x_due.empty() || !core.timers.empty(); }
  test::trace& trace() noexcept { return x_trace; }
  goroutine_registry& registry() noexcept { return x_registry; }

  // Who waits until everybody else does: under hashed_lock(this).
  list_head quiet_waiters;

  // pump_host, timer_host. We look what there is to do by ourselves.
  void post_pump(processor&, bool) noexcept override {}
  void arm_monitor(std::int64_t) noexcept override {}
  void set_timer() noexcept override {}
  void hold_work(bool) noexcept override {}
  void stops_counting(processor& p) noexcept override { core.give_back_reserve(p); }
  void excuse(std::int64_t ns) noexcept override { x_excused += ns; }
  bool is_test() const noexcept override { return true; }
  std::int64_t now() const noexcept override { return x_now.load(std::memory_order_relaxed); }
  std::shared_ptr<void> share() noexcept override { return shared_from_this(); }

  std::size_t choose(std::size_t items) noexcept override {
    if (!std::exchange(x_may_step, false)) return items;
    std::size_t picked = ask(items);
    if (picked < items) {
      x_streak = picked == 0 && here().run_next ? x_streak + 1 : 0;
      return picked;
    }
    x_beyond = picked - items;
    return items;
  }
  void injected(std::size_t) noexcept override { x_outside = true; }
  std::size_t draw(std::size_t n) noexcept override {
    faults_paused pause;
    std::size_t picked = x_ends ? 0 : x_schedule.draw(n);
    note(test::trace::step::kind_t::draw, x_running, picked, n);
    return picked;
  }
  void promoted(list_link& child, fifo_link& g) noexcept override {
    faults_paused pause;
    x_registry.promoted(child, g);
    static_cast<goroutine&>(g).budget = 1;
  }

  runtime_core core;

 private:
  using kind_t = test::trace::step::kind_t;
  static constexpr std::size_t none = SIZE_MAX;
  static constexpr std::int64_t could_have_waited = 5'000;  // ns: no wait is shorter
  static constexpr int longest_run = 64;  // of the default order
  struct policy {
    static test_host& of(processor& p) noexcept {
      return static_cast<test_host&>(static_cast<runtime_core*>(p.core->environment())->core.host());
    }
    static void goroutine(processor& p, fifo_link* item) noexcept { of(p).run_goroutine(p, item); }
    static void child(processor& p, list_link* item) noexcept { of(p).run_child(p, item); }
    static void settle(processor& p) noexcept { run_policy::settle(p); }
    static void fetch_next(fifo_link*) noexcept {}
    static fifo_link* of_fresh(list_link* g) noexcept { return run_policy::of_fresh(g); }
  };
  // Preferred first: on with what ran last, if it only lets others run; then in the order of the processor's queues, of
  // which the first is who was woken last, unless that has gone on for long; then the handlers of Asio, and the timers.
  struct steps_here final : possible_steps {
    test_host& host;
    std::size_t items;
    steps_here(test_host& h, std::size_t i, std::size_t all) noexcept : possible_steps(all), host(h), items(i) {}
    void numbers(std::vector<std::uint64_t>& out) const override { host.number_all(out, items, n); }
  };

  processor& here() noexcept { return core.core.any_processor(); }
  std::size_t runnable() noexcept {
    const processor& p = here();
    return p.goroutines.size() + p.child_count.load(std::memory_order_relaxed) + (p.run_next ? 1 : 0);
  }

  template <class Goal> stop_t take_steps(bool time_runs, std::uint64_t most, Goal& goal) {
    for (;;) {
      if (x_event && x_steps >= x_event_step) {
        x_goes_on = false;
        x_trace.add(std::move(x_event_text));
        std::exchange(x_event, nullptr)();
      }
      if (x_blocked.ns != 0) return stop_t::blocked;  // first: the last step may have been it
      if (goal()) return stop_t::goal;
      if (x_outside && !x_ends) return stop_t::outside;
      if (x_steps >= most) return stop_t::endless;
      x_may_step = true;
      x_beyond = none;
      core.core.help<policy>();
      if (x_may_step && (runnable() != 0 || core.core.anything_injected())) {
        x_outside = true;  // another thread is about to post our pump
        std::this_thread::yield();
        continue;
      }
      if (x_may_step && (x_asio->waiting() != 0 || !x_due.empty())) x_beyond = ask(0);  // nothing is runnable
      if (x_beyond != none) run_beyond(x_beyond);
      if (!std::exchange(x_may_step, false) || x_beyond != none) {
        ++x_steps;
        continue;
      }
      if (wake_a_quiet_one()) continue;
      if (!time_runs || !jump()) return stop_t::quiet;
    }
  }

  // The schedule's choice of `items` runnable ones, and of what is beyond: the handlers, and the timers that are due.
  std::size_t ask(std::size_t items) {
    std::size_t n = items + x_asio->waiting();
    for (const list_link* l = x_due.first(); l != x_due.end(); l = l->next) ++n;
    x_choice = x_ends ? 0 : x_schedule.next(steps_here(*this, items, n));
    x_of = n;
    return x_choice < items ? place_of(x_choice, items) : x_choice;
  }
  std::size_t place_of(std::size_t preference, std::size_t items) noexcept {
    if (x_goes_on) return preference == 0 ? items - 1 : preference - 1;
    if (x_streak >= longest_run && here().run_next) return (preference + 1) % items;
    return preference;
  }
  void number_all(std::vector<std::uint64_t>& out, std::size_t items, std::size_t n) {
    std::vector<std::uint64_t> in_place;
    processor& p = here();
    auto known = [this](fifo_link* item) {
      auto* g = static_cast<goroutine*>(item);
      return goroutine_registry::is_new(*g) ? possible_steps::unbegun : x_registry.find(g).number;
    };
    if (p.run_next) in_place.push_back(known(p.run_next));
    in_place.resize(in_place.size() + p.child_count.load(std::memory_order_relaxed), 0);
    for (fifo_link* g = p.goroutines.front(); g; g = g->next) in_place.push_back(known(g));
    out.assign(n, 0);
    for (std::size_t i = 0; i < items; ++i) out[i] = in_place[place_of(i, items)];
  }
  std::uint64_t number_of(fifo_link* item) {
    auto& g = *static_cast<goroutine*>(item);
    bool is_new = goroutine_registry::is_new(g);
    std::uint64_t number = x_registry.begins(g);
    if (is_new) x_trace.add(test::trace::routine{g.where, 0, number == 1});
    return number;
  }

  void run_goroutine(processor& p, fifo_link* item) noexcept {
    std::uint64_t number = number_of(item);
    auto kind = static_cast<goroutine*>(item)->stop ? kind_t::unwinding : kind_t::goroutine;
    run_timed(p, item, number, kind, [&] { run_policy::goroutine(p, item, 1); });  // one operation a turn
    // Who has ended is not in the queue, and a new one at its address not in the tree.
    auto* newest = static_cast<goroutine*>(p.goroutines.back());
    may_go_on(newest && newest == item && newest->listed ? newest : nullptr);
  }
  void may_go_on(goroutine* g) noexcept {
    x_goes_on = g && g->budget == goroutine::spent_budget && ++x_turns < longest_run;
    if (!x_goes_on) x_turns = 0;
  }
  void run_child(processor& p, list_link* item) noexcept {
    auto& child = *static_cast<fork_child_base*>(item);
    std::uint64_t number = x_registry.begins(child);
    x_trace.add(test::trace::routine{{}, x_registry.find(&child).parent, false});
    run_timed(p, &child, number, kind_t::child, [&] { run_policy::child(p, item); });
    auto* newest = static_cast<goroutine*>(p.goroutines.back());  // the child, if it has become a goroutine
    bool is_it = newest && !goroutine_registry::is_new(*newest) && x_registry.find(newest).number == number;
    may_go_on(is_it ? newest : nullptr);
  }
  template <class Run>
  void run_timed(processor& p, const void* item, std::uint64_t number, kind_t kind, Run&& run) noexcept {
    note(kind, number, x_choice, x_of);
    p.transfers = UINT32_MAX / 2;  // no fork-join child is entered directly: each is chosen
    x_running = number;
    auto began = std::chrono::steady_clock::now();
    allocation_faults::here().armed = x_counts_allocations;
    run();
    allocation_faults::here().armed = false;
    look_at_the_real_clock(number, (std::chrono::steady_clock::now() - began) / std::chrono::nanoseconds(1));
    x_registry.stopped(item, number, now());
  }
  void note(kind_t kind, std::uint64_t number, std::size_t choice, std::size_t of) {
    if (x_ends) return;
    x_trace.add(test::trace::step{kind, static_cast<std::uint32_t>(number), static_cast<std::uint32_t>(choice),
                                  static_cast<std::uint32_t>(of), elapsed()});
  }
  // A step that took long, and in which the thread gave up the processor by itself, has slept or waited.
  void look_at_the_real_clock(std::uint64_t number, std::int64_t took) {
    if (auto excused = std::exchange(x_excused, 0)) {
      took -= excused;
      x_waits = thread_waits();
    }
    if (x_blocking_ns == 0 || took < could_have_waited || x_ends) [[likely]] return;
    if (took < x_blocking_ns) return void(x_waits = thread_waits());  // it is not to be told of a later step
    long waits = thread_waits();
    if (waits > std::exchange(x_waits, waits) && !is_being_debugged()) x_blocked = {number, took};
  }

  void run_beyond(std::size_t n) {
    x_goes_on = false;
    std::size_t handlers = x_asio->waiting();
    note(n < handlers ? kind_t::handler : kind_t::timer, 0, x_choice, x_of);
    if (n < handlers) {
      auto began = std::chrono::steady_clock::now();
      x_asio->run(n);
      return look_at_the_real_clock(0, (std::chrono::steady_clock::now() - began) / std::chrono::nanoseconds(1));
    }
    fifo woken;
    core.timers.fire_nth(x_due, n - handlers, now(), woken);
    fifo own = keep_own(core.core, woken);
    core.core.schedule_all(own);
  }
  bool wake_a_quiet_one() {
    x_goes_on = false;
    woken one;
    {
      park_lock::guard hold(hashed_lock(this), nullptr);
      if (!take(quiet_waiters, one)) return false;
    }
    one.fire();
    return true;
  }
  bool jump() noexcept {
    std::int64_t next = core.timers.next_due();
    if (next == INT64_MAX) return false;
    if (next > now()) x_now.store(next, std::memory_order_relaxed);
    core.timers.take_due(now(), x_due);
    return true;
  }

  std::atomic<std::int64_t> x_now{begins_at};
  goroutine_registry x_registry{true};
  test::trace x_trace;
  test_schedule& x_schedule;
  list_head x_due;  // timers: see timer_service::take_due()
  fault_count x_operations;
  std::shared_ptr<asio_test_world> x_asio = std::make_shared<asio_test_world>(x_operations);

  std::uint64_t x_steps = 0;
  bool x_may_step = false;       // the next choose() may choose
  std::size_t x_beyond = none;   // it has chosen this one of the handlers and of x_due
  std::size_t x_choice = 0, x_of = 0;
  bool x_goes_on = false;        // who ran last is the newest in the queue, because its budget is spent
  int x_turns = 0;               // how often it went on
  bool x_outside = false;        // another thread has woken somebody
  int x_streak = 0;              // how often in a row somebody ran by run_next
  std::uint64_t x_running = 0;

  std::uint64_t x_event_step = 0;
  std::string x_event_text;
  std::function<void()> x_event;
  bool x_counts_allocations = false;
  bool x_ends = false;           // forgive() has been called
  const std::int64_t x_blocking_ns;
  long x_waits = thread_waits();
  std::int64_t x_excused = 0;    // of the step that runs: see pump_host::excuse()
  long_block x_blocked{0, 0};
};

}  // namespace runnel::detail
