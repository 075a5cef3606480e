// SPDX-License-Identifier: BSL-1.0
// runnel/detail/blocking_pool.hpp: the threads that make blocking calls for goroutines, and the calls that wait.
// Layer: L3
#pragma once

#include <runnel/detail/frame_pool.hpp>
#include <runnel/detail/goroutine.hpp>
#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/runtime_core.hpp>
#include <runnel/error.hpp>
#include <runnel/waiter.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace runnel::detail {

#if RUNNEL_FAULT_INJECTION
/// For tests: a function that returns true for every thread that shall not start.
RUNNEL_SHARED inline constinit std::atomic<bool (*)() noexcept> thread_start_hook{nullptr};
#endif

// One call of one goroutine. It lives in a frame of that goroutine.
struct blocking_call : waiter {
  void (*make)(blocking_call&) noexcept;
  explicit blocking_call(void (*f)(blocking_call&) noexcept) noexcept : waiter(reason_t::thread), make(f) {}
};

// The states of a call:
//
//   queued      in x_queue; its goroutine is parked plainly on the lock q of the queue
//   withdrawn   a canceller has taken it out of the queue, under q, as any plain waiter: it never runs
//   running     a thread has claimed it, under the mutex and q: the goroutine's word is 0, as in a join, so that nobody
//               else schedules it or looks at its frames. It is in x_running, and the thread's alone
//   delivered   out of x_running; the thread has scheduled the goroutine, and touches neither any more. It has the
//               result, whatever has become of its context meanwhile (GEN-05)
//   given up    still in x_running when the pool ended: its thread touches it no more when it returns
//
// Invariants:
//   1. Locks are taken in this order: nodes of the cancellation tree (by reports), the mutex, q. A canceller takes a
//      node and q, and not the mutex; who has the mutex takes no node.
//   2. x_idle + x_wakeups threads wait for work. A wake-up is one of them that has been told to look at the queue.
//   3. While a call is queued there is a wake-up, or a thread that is not idle: it looks at the queue, under the mutex,
//      before it becomes idle or ends. submit() adds the call in the same hold in which it sees to that.
//   4. No call is made while a lock is held, nor is anything scheduled.
//   5. A thread that ends puts itself where the next one that ends, or end(), joins it: at most one is not joined yet.
//   6. While a goroutine lives its runtime does, so what a thread does between taking a call and delivering it finds
//      the runtime alive, unless the pool was ended meanwhile: then the call is given up. end() waits for those that
//      are delivering.
//
// Everything but x_queue is guarded by the mutex; x_queue is guarded by q.
class blocking_pool final : public blocking_threads, public std::enable_shared_from_this<blocking_pool> {
 public:
  blocking_pool(unsigned most, std::int64_t idle_ns) : x_idle_time(idle_ns), x_slots(most) {}
  blocking_pool(const blocking_pool&) = delete;
  blocking_pool& operator=(const blocking_pool&) = delete;

  // Parks g until its call has been made. False: its context is done, and nothing has happened. Throws, and nothing has
  // happened, if there is no thread, and none can be started; shutting_down once the pool has ended. What it returns or
  // throws is all that the caller may look at: g may run elsewhere.
  bool submit(goroutine& g, promise_base* leaf, blocking_call& call) {
    std::lock_guard hold(x_mutex);
    if (x_ended) throw shutting_down();
    if (x_idle == 0 && x_threads < x_slots.size()) start_thread();
    park_lock& q = lock();
    bool biased = q.lock(nullptr);
    bool parked = park(g, leaf, q, call, x_queue);
    q.unlock(biased);  // last touch of the goroutine and its frame, if parked
    if (parked && x_idle != 0) {
      --x_idle;
      ++x_wakeups;
      x_work.notify_one();
    }
    return parked;
  }

  void end() noexcept override {
    std::unique_lock hold(x_mutex);
    x_ended = true;
    x_work.notify_all();
    x_thread_ended.wait(hold, [this] { return x_threads == x_calling; });
    if (x_calling != 0) {
      x_given_up = true;
      for (auto& t : x_slots)
        if (t.joinable()) t.detach();
    }
    std::thread last = std::move(x_last_ended);
    hold.unlock();
    if (last.joinable()) last.join();
  }

  bool runs_call_of(const void* g) noexcept override {
    bool found = false;
    for_each_call([&](const goroutine& caller) { found = found || &caller == g; });
    return found;
  }
  void for_each_call(const std::function<void(const goroutine&)>& f) noexcept override {
    std::lock_guard hold(x_mutex);
    for (list_link* l = x_running.first(); l != x_running.end(); l = l->next) f(*static_cast<blocking_call*>(l)->g);
  }
  bool run_here() const noexcept override { return current() == this; }

  // For tests: how many threads there are, how many of them have nothing to do, how many calls wait.
  std::size_t threads() noexcept {
    std::lock_guard hold(x_mutex);
    return x_threads;
  }
  std::size_t idle() noexcept {
    std::lock_guard hold(x_mutex);
    return x_idle;
  }
  std::size_t waiting() noexcept {
    park_lock::guard hold(lock(), nullptr);
    std::size_t n = 0;
    for (const list_link* l = x_queue.first(); l != x_queue.end(); l = l->next) ++n;
    return n;
  }

 private:
  static constexpr std::int64_t longest_idle = 365ll * 24 * 3600 * 1'000'000'000;

  RUNNEL_SHARED RUNNEL_NOINLINE static const blocking_pool*& current() noexcept {
    static constinit thread_local const blocking_pool* pool = nullptr;
    return pool;
  }
  park_lock& lock() noexcept { return hashed_lock(this); }

  // Throws only if there is no thread at all; else the call waits for one that there is.
  void start_thread() {
    try {
#if RUNNEL_FAULT_INJECTION
      if (auto fails = thread_start_hook.load(std::memory_order_acquire); fails && fails())
        throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again), "a thread for a test");
#endif
      auto slot = std::find_if(x_slots.begin(), x_slots.end(), [](const auto& t) { return !t.joinable(); });
      *slot = std::thread([self = shared_from_this(), slot] { self->work(*slot); });
      ++x_threads;
    } catch (...) {
      if (x_threads == 0) throw;
    }
  }

  void work(std::thread& me) noexcept {
    current() = this;
    std::thread before_me;
    std::unique_lock hold(x_mutex);
    for (;;) {
      if (blocking_call* call = take_call()) {
        if (!serve(*call, hold)) return;
      } else if (x_ended || !wait_for_work(hold)) {
        break;
      }
    }
    before_me = std::exchange(x_last_ended, std::move(me));
    --x_threads;
    if (x_ended) x_thread_ended.notify_all();
    hold.unlock();
    if (before_me.joinable()) before_me.join();
  }

  blocking_call* take_call() noexcept {
    if (x_ended) return nullptr;
    park_lock::guard hold(lock(), nullptr);
    woken claimed;  // scheduled once its call has been made
    return static_cast<blocking_call*>(take(x_queue, claimed));
  }

  // False: the pool has given this thread up, and the call with it.
  bool serve(blocking_call& call, std::unique_lock<std::mutex>& hold) noexcept {
    x_running.push_back(&call);
    ++x_calling;
    hold.unlock();
    call.make(call);
    hold.lock();
    if (x_given_up) return false;
    unlink(&call);
    --x_calling;
    hold.unlock();
    requeue(call.g);  // last touch of both
    hold.lock();
    return true;
  }

  // False: there was none for long enough.
  bool wait_for_work(std::unique_lock<std::mutex>& hold) noexcept {
    ++x_idle;
    auto told = [this] { return x_wakeups != 0 || x_ended; };
    if (x_idle_time > longest_idle)
      x_work.wait(hold, told);
    else
      x_work.wait_for(hold, std::chrono::nanoseconds(x_idle_time), told);
    if (x_wakeups != 0) return --x_wakeups, true;
    --x_idle;
    return false;
  }

  const std::int64_t x_idle_time;
  std::mutex x_mutex;
  std::condition_variable x_work;          // x_wakeups, x_ended
  std::condition_variable x_thread_ended;  // x_threads, once x_ended
  std::size_t x_threads = 0;               // that have not ended
  std::size_t x_idle = 0;                  // of these, that wait and have not been told to look
  std::size_t x_wakeups = 0;               // that wait, and have
  std::size_t x_calling = 0;               // that are in a call
  bool x_ended = false;                    // no call is taken any more
  bool x_given_up = false;  // those that are in a call are not joined, and what they call for is not woken
  list_head x_running;      // the calls that they are in
  list_head x_queue;        // guarded by q
  std::vector<std::thread> x_slots;
  std::thread x_last_ended;
};

}  // namespace runnel::detail
