// SPDX-License-Identifier: BSL-1.0
// runnel/detail/test_faults.hpp: which allocation, or operation of Asio, of a test run fails.
// Layer: L13
#pragma once

#include <runnel/config.hpp>
#include <runnel/detail/frame_pool.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace runnel::detail {

// Counts what can fail; that with the wanted number does.
struct fault_count {
  static constexpr std::uint64_t none = UINT64_MAX;
  std::uint64_t fails_at = none;
  std::uint64_t seen = 0;
  bool failed = false;

  bool next_fails() noexcept {
    if (seen++ != fails_at) return false;
    return failed = true;
  }
};

// The allocations that goroutines of a test run make on this thread. The runtime's own are not counted: it is armed
// only while a goroutine runs.
struct allocation_faults : fault_count {
  bool armed = false;

  RUNNEL_SHARED RUNNEL_NOINLINE static allocation_faults& here() noexcept {
    static constinit thread_local allocation_faults faults;
    return faults;
  }
  bool next_fails() noexcept { return armed && fault_count::next_fails(); }
};

// Not counted while this lives.
class faults_paused {
 public:
  faults_paused() noexcept : x_was(std::exchange(allocation_faults::here().armed, false)) {}
  faults_paused(const faults_paused&) = delete;
  faults_paused& operator=(const faults_paused&) = delete;
  ~faults_paused() { allocation_faults::here().armed = x_was; }

 private:
  bool x_was;
};

// Puts the count into the frame pool while this lives.
class frame_faults {
 public:
  frame_faults() noexcept
      : x_before(frame_alloc_hook.exchange(
            [](std::size_t) noexcept { return allocation_faults::here().next_fails(); }, std::memory_order_acq_rel)) {}
  frame_faults(const frame_faults&) = delete;
  frame_faults& operator=(const frame_faults&) = delete;
  ~frame_faults() { frame_alloc_hook.store(x_before, std::memory_order_release); }

 private:
  bool (*x_before)(std::size_t) noexcept;
};

}  // namespace runnel::detail
