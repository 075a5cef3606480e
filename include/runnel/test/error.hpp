// SPDX-License-Identifier: BSL-1.0
// runnel/test/error.hpp: what a test run throws when it does not end as it should.
// Layer: L13
#pragma once

#include <runnel/config.hpp>

#include <cstdint>
#include <exception>
#include <stdexcept>
#include <string>
#include <utility>

namespace runnel::test {

/// A run went wrong in a way that the runtime sees. what() has the table of all goroutines: number, where each was
/// started, what it waits for, since when.
class RUNNEL_SHARED run_error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Everybody waits, and no timer is set: nothing will ever happen.
class deadlock_error : public run_error {
 public:
  using run_error::run_error;
};

/// The body has ended, and goroutines are left that wait for something.
class leak_error : public run_error {
 public:
  using run_error::run_error;
};

/// The run took more steps than test::max_steps allows.
class endless_error : public run_error {
 public:
  using run_error::run_error;
};

/// A goroutine blocked its thread: it slept, waited for a lock or did I/O in real time.
class blocking_error : public run_error {
 public:
  using run_error::run_error;
};

/// One of many runs failed: what explore, exhaust, cancel_everywhere and fail_everywhere throw. what() says which, why,
/// and how to do the same again.
class RUNNEL_SHARED failure : public std::runtime_error {
 public:
  failure(const std::string& what, std::string replay, std::exception_ptr cause)
      : std::runtime_error(what), x_replay(std::move(replay)), x_cause(std::move(cause)) {}

  /// The environment that repeats the run: "RUNNEL_TEST_SEED=17".
  const std::string& replay() const noexcept { return x_replay; }
  /// What the run threw; null where a check failed, something leaked, or the invariant did not hold.
  const std::exception_ptr& cause() const noexcept { return x_cause; }

 private:
  std::string x_replay;
  std::exception_ptr x_cause;
};

}  // namespace runnel::test
