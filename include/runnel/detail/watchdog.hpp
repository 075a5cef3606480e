// SPDX-License-Identifier: BSL-1.0
// runnel/detail/watchdog.hpp: a thread that looks for goroutines that hold a processor for too long, and says so.
// Layer: L2
#pragma once

#include <runnel/detail/scheduler_core.hpp>
#include <runnel/detail/spawn_place.hpp>
#include <runnel/detail/stall_detector.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

namespace runnel::detail {

inline std::string stall_text(const stall& s) {
  std::string who = "a child of all or race, or who waited for it,";
  if (s.kind == stall::kind_t::goroutine) who = "a goroutine " + started_at(s.where);
  if (s.kind == stall::kind_t::unwinding)
    who = "the unwinding of a goroutine " + started_at(s.where) + ", or of others after it,";
  return "runnel: " + who + " has held a thread for " +
         std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(s.held).count()) +
         " ms: use co_await rn::blocking(f), or yield";
}

// On a thread of its own, because the runtime's may all be held.
class watchdog {
 public:
  using handler = std::function<void(const stall&)>;

  watchdog(const scheduler_core& core, std::chrono::nanoseconds limit, handler f)
      : detector(core.concurrency(), limit),
        x_core(core),
        x_interval(std::max<std::chrono::nanoseconds>(limit / 4, std::chrono::microseconds(500))),
        x_handler(std::move(f)),
        x_thread([this] { watch(); }) {}
  watchdog(const watchdog&) = delete;
  watchdog& operator=(const watchdog&) = delete;
  ~watchdog() { end(); }

  // Afterwards nobody is told any more. Not from the handler.
  void end() noexcept {
    {
      std::lock_guard hold(x_mutex);
      x_ended = true;
      x_changed.notify_one();
    }
    if (x_thread.joinable()) x_thread.join();
  }

  stall_detector detector;

 private:
  void watch() noexcept {
    std::unique_lock hold(x_mutex);
    while (!x_changed.wait_for(hold, x_interval, [this] { return x_ended; })) {
      hold.unlock();
      auto now = std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
      auto progress_of = [this](std::size_t i) {
        return x_core.processors()[i].progress.load(std::memory_order_relaxed);
      };
      detector.look(now, progress_of, [this](const stall& s) { tell(s); });
      hold.lock();
    }
  }
  void tell(const stall& s) noexcept {
    try {
      if (x_handler) return x_handler(s);
      std::fprintf(stderr, "%s\n", stall_text(s).c_str());
    } catch (...) {
      std::fprintf(stderr, "runnel: the handler of a watchdog threw, or there was no memory\n");
    }
  }

  const scheduler_core& x_core;
  const std::chrono::nanoseconds x_interval;
  const handler x_handler;
  std::mutex x_mutex;
  std::condition_variable x_changed;
  bool x_ended = false;
  std::thread x_thread;  // last: it uses the others
};

}  // namespace runnel::detail
