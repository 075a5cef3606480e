// SPDX-License-Identifier: BSL-1.0
// runnel/detail/task_watch.hpp: waits for several tasks at once, and tells which have ended.
// Layer: L9
#pragma once

#include <runnel/config.hpp>
#include <runnel/detail/async_task.hpp>
#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/processor.hpp>
#include <runnel/detail/wait_source.hpp>
#include <runnel/waiter.hpp>

#include <cstddef>
#include <thread>
#include <utility>
#include <vector>

namespace runnel::detail {

// Invariants:
//   1. An entry is in its task's queue of waiters from begin() on until the task's end takes it out, under the task's
//      lock and after the task's state was set; or until end() does. So an entry whose task has not ended, by that
//      lock, is in the queue, and one whose task has ended is told, or about to be.
//   2. x_news, x_waiters and told change under the watch's hashed lock. To tell is the last touch of watch and entry.
class task_watch {
 public:
  explicit task_watch(std::size_t n) { x_entries.reserve(n); }
  task_watch(const task_watch&) = delete;
  task_watch& operator=(const task_watch&) = delete;
  ~task_watch() { end(); }

  void add(task_use<async_task_base> t) { x_entries.emplace_back(*this, std::move(t), x_entries.size()); }
  // When all have been added: they do not move any more.
  void begin() noexcept {
    for (entry& e : x_entries) {
      park_lock::guard hold(e.task->lock(), nullptr);
      if (e.task->has_ended()) {
        e.told = true;
        x_ended.push(&e);
      } else {
        e.task->waiters().push_back(&e);
        e.listed = true;
      }
    }
  }
  // The index of one more that has ended; past the last if there is none now.
  std::size_t next() noexcept {
    if (x_ended.empty()) {
      park_lock::guard hold(lock(), nullptr);
      x_ended.append(x_news);
    }
    fifo_link* first = x_ended.pop();
    return first ? static_cast<entry*>(first)->index : x_entries.size();
  }
  void end() noexcept {
    for (entry& e : x_entries) {
      if (!e.listed) continue;
      bool in_queue;
      {
        park_lock::guard hold(e.task->lock(), nullptr);
        in_queue = !e.task->has_ended();
        if (in_queue) unlink(static_cast<waiter*>(&e));
      }
      if (!in_queue) wait_until_told(e);
      e.listed = false;
    }
  }

  park_lock& lock() const noexcept { return hashed_lock(this); }
  list_head& waiters() noexcept { return x_waiters; }
  bool has_news() const noexcept { return !x_news.empty(); }

 private:
  struct entry : waiter, fifo_link {
    task_watch* watch;
    task_use<async_task_base> task;
    std::size_t index;
    bool listed = false;
    bool told = false;
    entry(task_watch& w, task_use<async_task_base> t, std::size_t i) noexcept
        : watch(&w), task(std::move(t)), index(i) {
      waiter::wake = &task_ended;
      waiter::kind = kind_t::foreign;
    }
    // While the vector is filled, that is within what was reserved: never.
    entry(entry&& other) noexcept : entry(*other.watch, std::move(other.task), other.index) {}
  };

  static void task_ended(waiter& w) noexcept {
    auto& e = static_cast<entry&>(w);
    task_watch& self = *e.watch;
    woken one;
    {
      park_lock::guard hold(self.lock(), this_processor());
      self.x_news.push(&e);
      e.told = true;
      if (waiter* waits = take(self.x_waiters, one)) waits->outcome = waiter::outcome_t::done;
    }
    one.fire();
  }
  // The thread that ended the task is about to: it has only to leave a lock.
  void wait_until_told(const entry& e) noexcept {
    for (int spins = 0;; ++spins) {
      {
        park_lock::guard hold(lock(), nullptr);
        if (e.told) return;
      }
      if (spins < 100)
        cpu_pause();
      else
        std::this_thread::yield();
    }
  }

  std::vector<entry> x_entries;
  fifo x_news;
  list_head x_waiters;
  fifo x_ended;  // of who asks
};

// Waits for news.
class task_watch_wait final : public source_operation<task_watch_wait> {
 public:
  static constexpr waiter::reason_t reason = waiter::reason_t::task;

  explicit task_watch_wait(task_watch& watch) noexcept : x_watch(watch) { guard = &watch.lock(); }
  task_watch_wait(task_watch_wait&& other) noexcept : task_watch_wait(other.x_watch) {}

  bool looks_ready(goroutine&) noexcept override { return false; }  // it is asked for when nothing was there
  bool ready(goroutine&) noexcept override { return x_watch.has_news(); }
  void take(goroutine&) noexcept override { outcome = outcome_t::done; }
  wait_source::listed_t join_queue(goroutine&) noexcept override {
    x_watch.waiters().push_back(this);
    return {};
  }
  void leave_queue() noexcept override { unlink(static_cast<waiter*>(this)); }
  void value() const noexcept {}

 private:
  task_watch& x_watch;
};

}  // namespace runnel::detail
