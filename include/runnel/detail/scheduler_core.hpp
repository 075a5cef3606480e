// SPDX-License-Identifier: BSL-1.0
// runnel/detail/scheduler_core.hpp: processors, who runs what next, who is woken for it, and who steals.
// Layer: L1
#pragma once

#include <runnel/config.hpp>
#include <runnel/detail/chooser.hpp>
#include <runnel/detail/coarse_clock.hpp>
#include <runnel/detail/cost_model.hpp>
#include <runnel/detail/frame_tender.hpp>
#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/processor.hpp>
#include <runnel/detail/processor_set.hpp>
#include <runnel/detail/pump_turn.hpp>
#include <runnel/detail/rescue_monitor.hpp>
#include <runnel/detail/steal.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <utility>
#include <vector>

namespace runnel::detail {

// Work is private to the processor that made it, until somebody could use it: a cost model decides what is worth
// waking a thread for, and worth stealing.
class scheduler_core : public rescue_monitor {
 public:
  scheduler_core(pump_host& host, unsigned concurrency) : rescue_monitor(host, concurrency) {
    for (auto& p : x_processors) p.core = this;
    seed(0);
    for (auto& p : x_processors) p.shares_next = shares_next();
  }
  scheduler_core(const scheduler_core&) = delete;
  scheduler_core& operator=(const scheduler_core&) = delete;

  // The seams (detail/chooser.hpp), set before anything runs. Null: the scheduler's own order, and nobody watches.
  void set_chooser(chooser* c) noexcept { x_chooser = c; }
  bool has_chooser() const noexcept { return x_chooser; }
  void set_observer(run_observer* o) noexcept { x_observer = o; }
  run_observer* observer() const noexcept { return x_observer; }
  // One of n equals, for whoever must be fair.
  std::size_t draw(processor& p, std::size_t n) noexcept {
    return x_chooser ? x_chooser->draw(n) : static_cast<std::size_t>(p.next_random() % n);
  }
  // Whose scheduler this is (runtime_core), for those who find a goroutine and need its runtime.
  void* environment() const noexcept { return x_environment; }
  void set_environment(void* e) noexcept { x_environment = e; }
  // Names this scheduler to a goroutine that has not run yet.
  processor& any_processor() noexcept { return x_processors.front(); }
  const std::vector<processor>& processors() const noexcept { return x_processors; }

  // Makes a goroutine runnable, behind all others.
  void schedule(fifo_link* g) noexcept {
    if (processor* p = here()) [[likely]]
      push(*p, g);
    else
      inject_one(g);
  }

  // Makes a goroutine runnable that has not begun: behind the others, or, where they are many, among those of which the
  // newest begins first. So a tree of goroutines is walked in depth, and never lives all at once.
  template <class Goroutine>
  void start(Goroutine* g) noexcept {
    processor* p = here();
    if (!p || x_chooser) [[unlikely]] return schedule(g);
    p->gate.enter();
    if (p->goroutines.size() < processor::window)
      p->push_goroutine(g);
    else
      p->push_fresh(g);
    p->gate.leave();
    offer(*p);
  }

  // Makes a goroutine runnable, before all others of this processor: it was woken by what runs now.
  void schedule_next(fifo_link* g) noexcept {
    if (processor* p = here()) [[likely]]
      schedule_next(*p, g);
    else
      inject_one(g);
  }

  void schedule_next(processor& p, fifo_link* g) noexcept {
    if (p.shares_next) [[unlikely]] return push(p, g);
    while (!p.set_next(g))
      if (fifo_link* displaced = p.take_next()) push(p, displaced);
  }
  // The same where that is easy. False if it is not, and nothing has been done.
  static bool try_schedule_next(processor& p, fifo_link* g) noexcept {
    if (p.shares_next) [[unlikely]] return false;
    return p.set_next(g);
  }

  RUNNEL_NOINLINE void push(processor& p, fifo_link* g) noexcept {
    p.gate.enter();
    p.push_goroutine(g);
    p.gate.leave();
    offer(p);
  }

  // Makes a whole chain runnable, in order.
  void schedule_all(fifo& chain) noexcept {
    if (chain.empty()) return;
    if (processor* p = here()) {
      p->gate.enter();
      p->append_goroutines(chain);
      p->gate.leave();
      offer(*p);
    } else {
      inject(chain);
    }
  }

  // Fork-join children, by the thread that pumps p.
  void offer_children(processor& p) noexcept {
    if (may_have_idle()) [[unlikely]] offer_children_to_idle(p);
  }
  RUNNEL_NOINLINE void offer_children_to_idle(processor& p) noexcept {
    if (!any_idle()) return;
    if (x_cost.coarse() || (p.child_count.load(std::memory_order_relaxed) >= 4 && !crowded()))
      wake_one();
    else
      ensure_monitor();
  }

  // A pump that was posted. Does nothing if somebody else has run it already (help()).
  template <class Run>
  void pump_posted(processor& p) noexcept {
    auto how = p.posted.exchange(processor::not_posted, std::memory_order_acquire);  // after post()
    if (how != processor::not_posted) pump<Run>(p, how == processor::posted_to_search);
  }

  bool anything_posted() const noexcept {
    return std::any_of(x_processors.begin(), x_processors.end(), [](const processor& p) {
      return p.posted.load(std::memory_order_acquire) != processor::not_posted;
    });
  }
  // From a thread outside: runs what would be run, in case that the host has no thread any more.
  template <class Run>
  void help() noexcept {
    for (auto& p : x_processors) pump_posted<Run>(p);
    if (processor* p = take_idle()) pump<Run>(*p, false);
  }

 private:
  // Runs what is runnable on behalf of p, until it runs dry or its budget is spent. `searching`: this pump was
  // posted by wake_one() and is counted in x_searching. `lingers`: it spins for a moment before it ends.
  template <class Run>
  void pump(processor& p, bool searching, bool lingers = true) noexcept {
    processor* outer = this_processor();
    set_this_processor(&p);
    if (any_idle()) ensure_monitor();
    p.sampled_at = now();
    take_sharing_loss();
    std::uint32_t progress = p.sampled_progress = p.progress.load(std::memory_order_relaxed);
    pump_turn turn(p);
    // Where turns are long one that was injected goes first, in each other pump: those who are here are not to starve.
    bool injected_is_due = p.sample_interval < processor::frequent_samples && !x_chooser &&
                           !std::exchange(p.injected_went_first, false) && anything_injected();
    for (;;) {
      bool takes_next = true;
      if (turn.must_attend(progress)) [[unlikely]] {
        if (ends_sample(p, progress) && turn.ends(p, sample(p, progress))) return post_again(p, outer);
        takes_next = !turn.ends_streak(p, progress) && !x_chooser && !injected_is_due;
        turn.go_on(p, progress);
        if (x_chooser) turn.go_on_for_one(progress);
      }
      runnable_item next;
      if (takes_next) next.goroutine = p.take_next();
      if (!next) {
        if (std::exchange(injected_is_due, false))
          p.injected_went_first = (next.goroutine = processor_set::take_injected(1).pop()) != nullptr;
        if (!next) next = take<Run>(p, progress);
        if (!next && p.reserve.load(std::memory_order_relaxed) != 0) x_host.stops_counting(p);
        if (!next) next = search(p, searching, lingers);
        if (!next) break;
        if (std::exchange(searching, false)) found_something(p);
        if (next.fresh) next.goroutine = Run::of_fresh(next.fresh);
      }
      if (p.transfers != 0) p.transfers = 0;
      if (next.goroutine) [[likely]]
        Run::goroutine(p, next.goroutine);
      else
        Run::child(p, next.child);
      if (p.unsettled) [[unlikely]] Run::settle(p);
      progress = p.progress.load(std::memory_order_relaxed) + 1;
      p.progress.store(progress, std::memory_order_relaxed);
    }
    if (any_sharing_loss()) measure(p, progress);
    stop(p, outer, searching);
  }
  // Asio gets a turn.
  void post_again(processor& p, processor* outer) noexcept {
    p.current = 0;
    set_this_processor(outer);
    if (p.reserve.load(std::memory_order_relaxed) != 0) x_host.stops_counting(p);  // who knows when it goes on
    post(p, processor::posted_again);  // last touch: the pump may already run elsewhere
  }
  void stop(processor& p, processor* outer, bool searching) noexcept {
    p.current = 0;
    set_this_processor(outer);
    x_tender.pump_ends(x_host);
    become_idle(p, searching);  // last touch of p: another pump may have it
    if (!all_idle()) ensure_monitor();
  }

  // What a completed operation wakes is mostly one goroutine, which soon waits for the next: neither the clock nor a
  // search is worth it then. False: there is more to do, and p is not idle yet.
  template <class Run> bool run_one(processor& p, fifo_link* g) noexcept {
    set_this_processor(&p);
    if (any_idle()) ensure_monitor();
    p.transfers = 0;
    Run::goroutine(p, g);
    if (p.unsettled) [[unlikely]] Run::settle(p);
    p.progress.store(p.progress.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    if (has_nothing_to_do(p)) return stop(p, nullptr, false), true;
    set_this_processor(nullptr);
    return false;
  }
  bool has_nothing_to_do(processor& p) const noexcept {
    auto is_dry = [](const processor& each) {
      return each.backlog.load(std::memory_order_relaxed) + each.child_count.load(std::memory_order_relaxed) == 0;
    };
    return !p.run_next.load(std::memory_order_relaxed) && p.reserve.load(std::memory_order_relaxed) == 0 &&
           !anything_injected() && std::all_of(x_processors.begin(), x_processors.end(), is_dry);
  }

 public:
  // Runs goroutines from a thread of the pool that is not pumping, if a processor is idle; else injects them. They may
  // end the scheduler, which waits for this to return.
  template <class Run>
  void run_here(fifo& chain) noexcept {
    if (chain.empty()) return;
    processor* p = this_processor() ? nullptr : take_idle();
    if (!p) return inject(chain);
    ++p->visitors;
    if (chain.size() > 1 || !run_one<Run>(*p, chain.pop())) {
      p->gate.enter();
      p->append_goroutines(chain);
      p->gate.leave();
      pump<Run>(*p, false, false);  // does not linger: the next handler is waiting, perhaps
    }
    p->visitors_gone.fetch_add(1, std::memory_order_release);  // last touch: before wait_for_visitors()
  }

  // Rescues work that is stuck behind a goroutine that runs long. Called by the host's timer.
  template <class Run>
  void monitor() noexcept {
    if (processor* rescuer = look()) pump<Run>(*rescuer, false);
  }

  // Gives memory back while all are idle. Called by the host.
  void tend() noexcept { x_tender.tend(x_host, all_idle()); }

 private:
  // In resumes, or, while one wakes the next, in streaks, of which the second has the first one's place:
  static constexpr std::uint32_t injected_every = 32;  // what was injected, and goroutines, go before children; and,
  static constexpr std::uint32_t newest_after = 16;    // so much later, the newest that has not begun before all
  static constexpr std::int64_t oldest_every = 1'000'000;    // ns; then the oldest of those that have not begun begins
  static constexpr std::int64_t search_spin = 4'000;         // ns
  static constexpr std::int64_t fine = 200;                  // ns a resume, in the mean: then samples are rarest

  processor* here() const noexcept {
    processor* p = this_processor();
    return p && p->core == this ? p : nullptr;
  }

  void offer(processor& p) noexcept {
    if (may_have_idle()) [[unlikely]] offer_to_idle(p);
  }
  RUNNEL_NOINLINE void offer_to_idle(processor& p) noexcept {
    if (!any_idle()) return;
    auto backlog = p.backlog.load(std::memory_order_relaxed);
    if (backlog != 0 && x_cost.worth_waking(backlog) && (x_cost.coarse() || !crowded()))
      wake_one();
    else
      ensure_monitor();
  }

  template <class Run>
  runnable_item take(processor& p, std::uint32_t progress) noexcept {
    if (x_chooser) [[unlikely]] return take_chosen(p);
    const std::uint32_t since = progress - p.looked_outside_at;
    const bool fresh_first = since == newest_after || since == pump_turn::streak_of(p);
    const bool goroutines_first = since >= injected_every && !fresh_first;  // more, where a batch was unwound
    if (goroutines_first) {
      p.looked_outside_at = progress;
      if (fifo_link* g = take_injected(p)) return {.goroutine = g};
    }
    runnable_item next;
    p.gate.enter();
    if (fifo_link* woken = p.clear_next()) p.push_goroutine(woken);
    if (std::exchange(p.oldest_is_due, false)) next.fresh = p.pop_oldest_fresh();
    if (!next && fresh_first) next.fresh = p.pop_newest_fresh();
    if (!next && !(goroutines_first && p.has_goroutines())) next.child = p.pop_newest_child();
    if (!next && !p.goroutines.empty()) {
      next.goroutine = p.pop_goroutine();
      Run::fetch_next(p.goroutines.front());  // at the gate: outside, a thief may have it
    } else if (!next) {
      next.fresh = p.pop_newest_fresh();
      if (p.fresh_count != 0) Run::fetch_next(Run::of_fresh(p.fresh.back()));
    }
    p.gate.leave();
    return next;
  }

  RUNNEL_NOINLINE runnable_item take_chosen(processor& p) noexcept {
    for (fifo share; !(share = processor_set::take_injected()).empty(); p.append_goroutines(share))
      x_chooser->injected(share.size());
    return detail::take_chosen(p, *x_chooser);
  }

  RUNNEL_NOINLINE runnable_item search(processor& p, bool& searching, bool lingers) noexcept {
    if (x_chooser) return {};  // it has seen all that there is
    if (fifo_link* g = take_injected(p)) return {.goroutine = g};
    if (x_concurrency == 1 || (crowded(1) && !x_cost.coarse())) return {};
    if (!searching) {
      searching = lingers && start_searching();
      if (!searching) return steal(p);
    }
    const std::int64_t since = now();
    std::int64_t at = since;
    do {
      if (runnable_item stolen = steal(p)) return add_sharing_loss(at - since), stolen;
      if (fifo_link* g = take_injected(p)) return {.goroutine = g};
      for (int i = 0; i < 16; ++i) cpu_pause();
    } while ((at = now()) - since < search_spin);
    return {};
  }

  runnable_item steal(processor& p) noexcept {
    unsigned n = x_concurrency;
    auto start = static_cast<unsigned>(p.next_random() % n);
    for (unsigned i = 0; i < n; ++i) {
      processor& victim = x_processors[(start + i) % n];
      if (&victim == &p || !worth_stealing(victim)) continue;
      if (runnable_item stolen = steal_from(victim, p, false)) return stolen;
    }
    return {};
  }

  bool worth_stealing(const processor& victim) const noexcept {
    return victim.child_count.load(std::memory_order_relaxed) != 0 ||
           x_cost.worth_stealing(victim.backlog.load(std::memory_order_relaxed));
  }

  fifo_link* take_injected(processor& p) noexcept {
    fifo share = processor_set::take_injected();
    fifo_link* first = share.pop();
    if (!share.empty()) {
      p.gate.enter();
      p.append_goroutines(share);
      p.gate.leave();
      offer(p);
    }
    return first;
  }

  // What p has done since the last time.
  work_sample measure(processor& p, std::uint32_t progress) noexcept {
    work_sample work;
    work.until = now();
    work.elapsed = work.until - std::exchange(p.sampled_at, work.until);
    work.lost = take_sharing_loss();
    work.resumes = progress - std::exchange(p.sampled_progress, progress);
    x_cost.sample(work, p.debt);
    return work;
  }
  // Samples that are rarer are so because resumes were short: one in which the clock ticks is taken at once.
  bool ends_sample(const processor& p, std::uint32_t progress) const noexcept {
    return pump_turn::ends_sample(p, progress) ||
           (p.sample_interval > processor::rare_samples && !x_chooser && has_ticked_since(p.sampled_at));
  }
  RUNNEL_NOINLINE std::int64_t sample(processor& p, std::uint32_t progress) noexcept {
    const auto [at, elapsed, lost, resumes] = measure(p, progress);
    if (at - p.oldest_at >= oldest_every) p.oldest_at = at, p.oldest_is_due = true;
    p.shares_next = shares_next();
    const std::uint32_t rare = elapsed < fine * resumes ? processor::rarest_samples : processor::rare_samples;
    const std::uint32_t usual = x_cost.coarse() ? processor::frequent_samples : rare;
    p.sample_interval = std::min(usual, 2 * p.sample_interval);  // no faster: a short turn says little of the next
    // Nobody is to wait for so many turns where these take long: Asio for as many then as fit into a sample; and
    // who was injected, woken by a handler or a timer, comes soon: see pump().
    if (const std::int64_t most = pump_turn::longest_sample * resumes; elapsed * p.sample_interval > most)
      p.sample_interval = static_cast<std::uint32_t>(std::max<std::int64_t>(1, most / elapsed));
    offer(p);
    return elapsed;
  }

  bool shares_next() const noexcept { return x_cost.coarse() && x_concurrency > 1; }
  chooser* x_chooser = nullptr;
  void* x_environment = nullptr;
  run_observer* x_observer = nullptr;
  frame_tender x_tender;
};

}  // namespace runnel::detail
