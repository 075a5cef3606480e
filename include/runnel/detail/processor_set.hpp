// SPDX-License-Identifier: BSL-1.0
// runnel/detail/processor_set.hpp: the processors of a scheduler: which are idle, who searches, what came from outside.
// Layer: L1
#pragma once

#include <runnel/config.hpp>
#include <runnel/detail/idle_set.hpp>
#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/processor.hpp>
#include <runnel/detail/sharing_loss.hpp>
#include <runnel/detail/spinlock.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace runnel::detail {

// What the scheduler needs of the world. The runtime implements it on Asio; a test runtime can replace it.
class pump_host {
 public:
  virtual void post_pump(processor& p, bool from_pump) noexcept = 0;  // leads to one pump_posted(p)
  virtual void arm_monitor(std::int64_t after_ns) noexcept = 0;       // leads to one monitor()
  virtual void arm_tender(std::int64_t) noexcept {}                   // leads to one tend(), or to none: memory stays
  virtual void stops_counting(processor&) noexcept {}                 // p has run dry, or its pump ends: with a reserve
  virtual void hold_work(bool yes) noexcept = 0;                      // something lives, or nothing does
  virtual std::int64_t now() const noexcept = 0;                      // monotonic, ns
  virtual std::shared_ptr<void> share() noexcept = 0;                 // keeps it alive, ended or not
  virtual bool is_test() const noexcept { return false; }             // one thread, on which everything happens
  virtual bool runs_here() const noexcept { return false; }           // the calling thread is one of the world's
  virtual void excuse(std::int64_t) noexcept {}                       // so many ns what runs has blocked, rightly
  class asio_world* asio() const noexcept { return x_world; }         // where operations of Asio run, if anywhere

 protected:
  ~pump_host() = default;
  void set_asio(asio_world& world) noexcept { x_world = &world; }

 private:
  asio_world* x_world = nullptr;
};

// Invariants:
//   1. A processor is idle (in x_idle), or its pump is posted, or it is being pumped; exactly one of these.
//   2. No injected goroutine is forgotten: inject() stores x_injected_count (seq_cst) and then looks at the idle ones
//      and the searchers; a pump that ends leaves the searchers, becomes idle (seq_cst), and then looks at
//      x_injected_count. Who stops searching because it has found something looks there too.
//   3. Nothing here allocates after construction.
//
//   x_searching       1 while a pump looks for work, or is on its way to: then nobody else is woken
//   x_injected_count  written under x_injected_lock; read anywhere
//   x_outsiders       threads that may post to the host's context, other than its own
class processor_set {
 public:
  processor_set(const processor_set&) = delete;
  processor_set& operator=(const processor_set&) = delete;

  unsigned concurrency() const noexcept { return x_concurrency; }
  // Of everything that is left to chance. Before anything runs.
  void seed(std::uint64_t s) noexcept {
    for (auto& p : x_processors)
      p.random = (s ^ s >> 31) * 0xBF58476D1CE4E5B9ull ^ 0x9E3779B97F4A7C15ull * (p.index + 2);
    for (auto& p : x_processors)
      if (p.random == 0) p.random = 1;  // the one state that xorshift never leaves
  }
  pump_host& host() noexcept { return x_host; }
  std::int64_t now() const noexcept { return x_host.now(); }
  // A thread of anybody's, which wakes somebody: once that one is in the queue it may run, and end the runtime.
  class outsider {
   public:
    explicit outsider(processor_set& set) noexcept : x_set(set) {
      x_set.x_outsiders.fetch_add(1, std::memory_order_relaxed);
    }
    outsider(const outsider&) = delete;
    outsider& operator=(const outsider&) = delete;
    ~outsider() {  // last touch: before wait_for_visitors()
      x_set.x_outsiders.fetch_sub(1, std::memory_order_release);
    }

   private:
    processor_set& x_set;
  };
  // When nothing lives any more: nobody who woke somebody touches this set after it returns.
  void wait_for_visitors() const noexcept {
    while (x_outsiders.load(std::memory_order_acquire) != 0) std::this_thread::yield();
    for (const processor& p : x_processors)
      while (p.visitors_gone.load(std::memory_order_acquire) != p.visitors) std::this_thread::yield();
  }
  // Visits the goroutines that are in a queue, for reports, by their fifo_link or their list_link. It keeps the
  // processors out of their queues meanwhile, one after the other: f does little, and neither allocates nor calls
  // anybody.
  template <class F> void for_each_queued(F&& f) noexcept {
    auto visit = [&](const fifo& queue) {
      for (fifo_link* g = queue.front(); g; g = g->next) f(*g);
    };
    for (auto& p : x_processors) {
      p.gate.enter_foreign();
      if (fifo_link* next = p.run_next.load(std::memory_order_acquire)) f(*next);
      visit(p.goroutines);
      for (list_link* g = p.fresh.first(); g != p.fresh.end(); g = g->next) f(*g);
      p.gate.leave_foreign();
    }
    std::lock_guard hold(x_injected_lock);
    visit(x_injected);
  }
  bool anything_injected() const noexcept { return x_injected_count.load(std::memory_order_seq_cst) != 0; }
  bool all_idle() const noexcept { return x_idle.all(std::memory_order_seq_cst); }
  bool may_have_idle() const noexcept { return x_idle.may_have_any(); }
  bool any_idle() const noexcept { return x_idle.any(std::memory_order_relaxed); }
  bool is_idle(const processor& p) const noexcept { return x_idle.contains(p.index); }  // a hint
  // As many are busy as the machine has cores, and `more`: one more would only take turns with them. A hint.
  bool crowded(unsigned more = 0) const noexcept {
    return x_concurrency - x_idle.count(std::memory_order_relaxed) >= x_cores + more;
  }

 protected:
  processor_set(pump_host& host, unsigned concurrency)
      : x_host(host), x_concurrency(concurrency), x_processors(concurrency), x_cores(cores(concurrency)),
        x_idle(concurrency) {
    for (unsigned i = 0; i < concurrency; ++i) x_processors[i].index = i;
  }
  ~processor_set() {
    for (auto& p : x_processors) forget_hashed_biases(&p);
  }

  RUNNEL_NOINLINE void inject(fifo& chain) noexcept {
    outsider now(*this);
    {
      std::lock_guard hold(x_injected_lock);
      x_injected.append(chain);
      x_injected_count.store(x_injected.size(), std::memory_order_seq_cst);  // [inject], then x_idle
    }
    wake_one();
  }
  void inject_one(fifo_link* g) noexcept {
    fifo chain;
    chain.push(g);
    inject(chain);
  }
  // A fair share of what was injected, and not more than that.
  fifo take_injected(std::size_t most = 1024) noexcept {
    fifo share;
    if (!anything_injected()) return share;
    std::lock_guard hold(x_injected_lock);
    share = x_injected.take_front(std::min<std::size_t>((x_injected.size() + x_concurrency - 1) / x_concurrency, most));
    x_injected_count.store(x_injected.size(), std::memory_order_seq_cst);
    return share;
  }

  // Sends an idle processor to search, unless somebody searches already.
  RUNNEL_NOINLINE void wake_one() noexcept {
    for (;;) {
      if (!x_idle.any(std::memory_order_seq_cst) || !start_searching()) return;
      if (processor* p = take_idle()) {
        sharing_loss wakeup;
        p->woken_at = now();
        return post(*p, processor::posted_to_search);
      }
      x_searching.fetch_sub(1, std::memory_order_seq_cst);
      if (!anything_injected()) return;  // else: who injected meanwhile took us for a searcher
    }
  }
  bool start_searching() noexcept {
    unsigned none = 0;
    return x_searching.load(std::memory_order_seq_cst) == 0 &&
           x_searching.compare_exchange_strong(none, 1, std::memory_order_seq_cst);
  }
  void found_something(processor& p) noexcept {
    p.woken_at = 0;
    x_searching.fetch_sub(1, std::memory_order_seq_cst);
    if (anything_injected()) wake_one();  // who injected while we searched has woken nobody
  }

  void post(processor& p, std::uint8_t how) noexcept {
    p.posted.store(how, std::memory_order_release);  // before pump_posted()
    x_host.post_pump(p, how == processor::posted_again);
  }

  processor* take_idle() noexcept {
    auto index = x_idle.take();
    return index ? &x_processors[*index] : nullptr;
  }
  void become_idle(processor& p, bool searching) noexcept {
    if (searching) x_searching.fetch_sub(1, std::memory_order_seq_cst);
    p.woken_at = 0;
    x_idle.put(p.index);  // [idle], then x_injected_count
    if (anything_injected()) wake_one();
  }

  pump_host& x_host;
  const unsigned x_concurrency;
  std::vector<processor> x_processors;

 private:
  static unsigned cores(unsigned concurrency) noexcept {
    unsigned n = std::thread::hardware_concurrency();
    return n == 0 ? concurrency : n;  // 0: the machine does not say
  }
  const unsigned x_cores;

  idle_set x_idle;

  alignas(destructive_interference) std::atomic<unsigned> x_searching{0};

  alignas(destructive_interference) std::atomic<std::size_t> x_injected_count{0};
  std::atomic<unsigned> x_outsiders{0};
  spinlock x_injected_lock;
  fifo x_injected;
};

}  // namespace runnel::detail
