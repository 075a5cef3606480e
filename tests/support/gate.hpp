// SPDX-License-Identifier: BSL-1.0
// support/gate.hpp: what plain threads wait at until it is opened, and how many do; how many threads there are.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <filesystem>
#include <iterator>
#include <mutex>
#include <thread>

namespace runnel_test {

class gate {
 public:
  void wait() {
    std::unique_lock hold(x_mutex);
    ++x_waiting;
    x_opened.wait(hold, [this] { return x_open; });
    --x_waiting;
  }
  void open() {
    std::lock_guard hold(x_mutex);
    x_open = true;
    x_opened.notify_all();
  }
  int waiting() {
    std::lock_guard hold(x_mutex);
    return x_waiting;
  }

 private:
  std::mutex x_mutex;
  std::condition_variable x_opened;
  bool x_open = false;
  int x_waiting = 0;
};

/// The threads of this process.
inline std::size_t count_threads() {
  // A sanitizer's own comes with the first.
  [[maybe_unused]] static const bool begun = (std::thread([] {}).join(), true);
  std::filesystem::directory_iterator all("/proc/self/task");
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

/// Waits until there are n. One that has been joined may still be there for a moment. False: there never are.
inline bool threads_become(std::size_t n) {
  auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (count_threads() != n) {
    if (std::chrono::steady_clock::now() > give_up) return false;
    std::this_thread::yield();
  }
  return true;
}

}  // namespace runnel_test
