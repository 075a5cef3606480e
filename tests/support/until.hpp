// SPDX-License-Identifier: BSL-1.0
// Waiting for a condition: by yielding in a goroutine, by yielding the thread outside of one. Both give up, loudly.
#pragma once

#include <runnel/task.hpp>
#include <runnel/this_task.hpp>

#include <chrono>
#include <stdexcept>
#include <thread>

namespace test_support {

inline constexpr std::chrono::seconds patience{30};

template <class Condition>
runnel::task<> until(Condition condition) {
  auto give_up = std::chrono::steady_clock::now() + patience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > give_up) throw std::runtime_error("waited in vain");
    co_await runnel::yield();
  }
}

template <class Condition>
bool wait_until(Condition condition) {
  auto give_up = std::chrono::steady_clock::now() + patience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > give_up) return false;
    std::this_thread::yield();
  }
  return true;
}

// Keeps a processor busy without suspending.
template <class Condition>
bool spin_until(Condition condition, std::chrono::nanoseconds at_most = patience) {
  auto give_up = std::chrono::steady_clock::now() + at_most;
  while (!condition())
    if (std::chrono::steady_clock::now() > give_up) return false;
  return true;
}

}  // namespace test_support
