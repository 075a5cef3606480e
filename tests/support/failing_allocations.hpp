// SPDX-License-Identifier: BSL-1.0
// support/failing_allocations.hpp: the allocations of this thread, counted, of which one fails: of frames everywhere, and
// of everything else where the program's operator new asks, as that of the unit tests does (chan_oom_test.cpp).
#pragma once

#include <runnel/config.hpp>
#include <runnel/detail/frame_pool.hpp>

#include "support/conserves_frames.hpp"

#include <atomic>
#include <cstddef>
#include <new>

/// 1: the program has an operator new that asks. A sanitizer needs its own: there frames alone fail.
#if !RUNNEL_ASAN && !RUNNEL_TSAN
#define RUNNEL_TEST_OPERATOR_NEW 1
#else
#define RUNNEL_TEST_OPERATOR_NEW 0
#endif

namespace runnel_test {

/// Counts this thread's allocations while it is armed; the one with this number fails.
struct allocation_watch {
  bool armed = false;
  bool failed = false;
  int seen = 0;
  int fails_at = -1;

  RUNNEL_NOINLINE static allocation_watch& here() noexcept {
    static constinit thread_local allocation_watch watch;
    return watch;
  }
  bool next_fails() noexcept {
    if (!armed) return false;
    if (seen++ != fails_at) return false;
    return failed = true;
  }
};

inline bool frame_fails(std::size_t) noexcept { return allocation_watch::here().next_fails(); }

/// Frames ask the watch.
class failing_allocations : public conserves_frames {
 protected:
  void SetUp() override {
    conserves_frames::SetUp();
    runnel::detail::frame_alloc_hook = &frame_fails;
  }
  void TearDown() override {
    runnel::detail::frame_alloc_hook = nullptr;
    conserves_frames::TearDown();
  }
};

}  // namespace runnel_test
