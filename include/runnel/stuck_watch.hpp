// SPDX-License-Identifier: BSL-1.0
// runnel/stuck_watch.hpp: stuck_watch, which reports a deadlock, and goroutines that can never go on.
// Layer: L12
#pragma once

#include <runnel/config.hpp>
#include <runnel/detail/census.hpp>
#include <runnel/detail/census_text.hpp>
#include <runnel/detail/runtime_core.hpp>
#include <runnel/dump.hpp>
#include <runnel/error.hpp>
#include <runnel/run.hpp>
#include <runnel/runtime.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

namespace runnel {

/// What a stuck_watch has found.
struct stuck_report {
  /// Every goroutine waits for another; else one waits at a channel of which no handle is left, for ever.
  bool deadlock = false;
  /// Of a deadlock all goroutines, as dump writes them; else the one.
  std::string text;
};

/// While one lives, no stuck_watch reports a deadlock: a thread or a handler of Asio, which no scheduler knows of, will
/// go on with something that goroutines wait for. Contract: DL-C03. Thread-safety: may die on another thread.
class [[nodiscard("it counts while it lives")]] external_guard {
 public:
  external_guard() noexcept { held().fetch_add(1, std::memory_order_relaxed); }
  external_guard(external_guard&& other) noexcept : x_holds(std::exchange(other.x_holds, false)) {}
  external_guard& operator=(external_guard&&) = delete;
  ~external_guard() {
    if (x_holds) held().fetch_sub(1, std::memory_order_release);  // after what it did
  }
  /// How many live.
  RUNNEL_SHARED static std::atomic<std::size_t>& held() noexcept {
    static constinit std::atomic<std::size_t> count{0};
    return count;
  }

 private:
  bool x_holds = true;
};

namespace detail {

inline void print_stuck(const stuck_report& r) {
  std::fprintf(stderr, "%s\n", r.text.c_str());
  if (r.deadlock) std::abort();
}

// Whether only another goroutine, or a cancellation, ends this wait.
inline bool is_internal(const wait_info& w) noexcept {
  using kind = wait_info::kind_t;
  using reason = waiter::reason_t;
  switch (w.kind) {
    case kind::channel:
    case kind::gone:
    case kind::nil:
    case kind::group:
    case kind::fork_join:
    case kind::tasks:
      return true;
    case kind::select:  // its timers are timers; one that asks a context may wait for a signal
      return w.reason != reason::done;
    case kind::timer:
      return w.for_ever;
    case kind::other:  // who waits for a context to be done may wait for a signal
      return w.reason != reason::unknown && w.reason != reason::done && w.reason != reason::thread;
    default:
      return false;
  }
}

// One runtime, by looks at it and at all others, whose goroutines may be what it waits for; on one thread.
//
// Nothing is counted for it. A deadlock is a state in which nothing happens, so it is enough to see that nothing has
// happened between two looks, with a census in between: all processors were idle at both, nothing was injected, and
// none has made a resume. And it must have been so at the look before that, for those who are about to wake somebody.
class stuck_finder {
 public:
  using handler = std::function<void(const stuck_report&)>;
  stuck_finder(runtime_core& runtime, handler f) : x_runtime(runtime), x_tell(std::move(f)) {}

  void look() {
    look_for_deadlock();
    if (++x_looks % leaks_every == 0) look_for_leaks();
  }
  void look_for_deadlock() {
    auto quiet = when_quiet();
    const auto before = std::exchange(x_quiet, quiet.value_or(0));
    if (!quiet || *quiet != before || x_told_at == quiet) return;
    if (!all_wait_for_each_other()) return;
    std::string text = "runnel: deadlock: every goroutine waits for another\n" + dump_all();
    if (when_quiet() != quiet) return;
    x_told_at = quiet;
    x_tell({true, std::move(text)});
  }
  void look_for_leaks() {
    census found(x_runtime);
    wait_teller tell(x_runtime.core.now());
    std::unordered_set<std::uint64_t> now;
    std::vector<std::string> news;
    for (const census_entry& e : found.entries) {
      if (e.waits.kind != wait_info::kind_t::gone) continue;
      std::uint64_t number = x_runtime.tracker->find(e.id).number;
      now.insert(number);
      if (!x_gone.contains(number))
        news.push_back("runnel: leak: goroutine " + std::to_string(number) + ", started at " + place_text(e.where) +
                       ", waits " + tell(e.waits) + ": only a cancellation ends that");
    }
    x_gone = std::move(now);
    for (auto& text : news) x_tell({false, std::move(text)});
  }

 private:
  static constexpr unsigned leaks_every = 10;

  // Of every runtime of the program; they stay meanwhile. False: f has returned that of one.
  template <class F> static bool for_all_runtimes(F&& f) {
    std::lock_guard hold(the_runtimes.mutex);
    for (list_link* at = the_runtimes.runtimes.first(); at != the_runtimes.runtimes.end(); at = at->next)
      if (!f(runtime_core::of(*at))) return false;
    return true;
  }
  // All that was ever resumed, if nothing runs, and no timer or guard will change that.
  static std::optional<std::uint64_t> when_quiet() {
    if (external_guard::held().load(std::memory_order_acquire) != 0) return std::nullopt;
    std::uint64_t resumes = 1;
    bool quiet = for_all_runtimes([&](runtime_core& r) {
      if (r.closing()) return false;  // a shutdown ends every wait, by a kill at last
      if (!r.core.all_idle() || r.core.anything_injected() || !r.timers.empty()) return false;
      for (const processor& p : r.core.processors()) resumes += p.progress.load(std::memory_order_relaxed);
      return r.core.all_idle() && !r.core.anything_injected();
    });
    return quiet ? std::optional(resumes) : std::nullopt;
  }
  bool all_wait_for_each_other() const {
    return for_all_runtimes([&](runtime_core& r) {
      census found(r);
      return found.left_out == 0 && (&r != &x_runtime || found.goroutines() != 0) &&
             std::all_of(found.entries.begin(), found.entries.end(),
                         [](const census_entry& e) { return !e.is_goroutine || is_internal(e.waits); });
    });
  }

  runtime_core& x_runtime;
  const handler x_tell;
  std::uint64_t x_quiet = 0;                 // at the last look; 0: it was not
  std::optional<std::uint64_t> x_told_at;
  unsigned x_looks = 0;
  std::unordered_set<std::uint64_t> x_gone;  // told
};

}  // namespace detail

/// Looks at a runtime from time to time, on a thread of its own, while it lives. It reports
///
/// - a deadlock: every goroutine waits for another one, no timer is set, nobody waits for an operation of Asio, a
///   blocking call, a context to be done, or what was adopted, and nothing has run since the last look; all this in
///   every runtime of the program, for they may wait for each other;
/// - a leak: a goroutine waits at a channel of which no handle is left; once for each.
///
/// The handler hears of it on that thread, and must not end the runtime; without one it is printed on the standard
/// error stream, and a deadlock then aborts the program. It costs what dump costs each time, and nothing else.
///
/// What plain Asio code or other threads will do is not seen: hold an external_guard.
/// Throws: misuse_error without runtime_options::track_goroutines, or with an interval below a millisecond.
/// Lifetime: the runtime outlives it. Contract: DL-01, DL-03, DL-C01.
class stuck_watch {
 public:
  using handler = std::function<void(const stuck_report&)>;

  explicit stuck_watch(runtime& of, std::chrono::nanoseconds every = std::chrono::seconds(1), handler f = {})
      : stuck_watch(of.core(), every, std::move(f)) {}
  explicit stuck_watch(scheduler& of, std::chrono::nanoseconds every = std::chrono::seconds(1), handler f = {})
      : stuck_watch(of.core(), every, std::move(f)) {}
  stuck_watch(const stuck_watch&) = delete;
  stuck_watch& operator=(const stuck_watch&) = delete;
  ~stuck_watch() {
    {
      std::lock_guard hold(x_mutex);
      x_ended = true;
      x_changed.notify_one();
    }
    x_thread.join();
  }

 private:
  stuck_watch(detail::runtime_core& runtime, std::chrono::nanoseconds every, handler f)
      : x_finder(runtime, f ? std::move(f) : handler(detail::print_stuck)), x_every(every) {
    if (!runtime.tracker) throw misuse_error("runnel: a stuck_watch needs runtime_options().track_goroutines()");
    if (every < std::chrono::milliseconds(1))
      throw misuse_error("runnel: a stuck_watch looks at most every millisecond");
    x_thread = std::thread([this] { watch(); });
  }
  void watch() noexcept {
    std::unique_lock hold(x_mutex);
    while (!x_changed.wait_for(hold, x_every, [this] { return x_ended; })) {
      hold.unlock();
      try {
        x_finder.look();
      } catch (...) {
        std::fprintf(stderr, "runnel: the handler of a stuck_watch threw, or there was no memory\n");
      }
      hold.lock();
    }
  }

  detail::stuck_finder x_finder;
  const std::chrono::nanoseconds x_every;
  std::mutex x_mutex;
  std::condition_variable x_changed;
  bool x_ended = false;
  std::thread x_thread;
};

/// An option of run: one watches while the app runs:
/// `rn::run(rn::report_stuck, rn::runtime_options().track_goroutines(), app)`.
class report_stuck_t final : public detail::run_attendant {
 public:
  explicit constexpr report_stuck_t() noexcept = default;
  std::shared_ptr<void> attend(runtime& rt) const override { return std::make_shared<stuck_watch>(rt); }
};
inline constexpr report_stuck_t report_stuck{};

}  // namespace runnel
