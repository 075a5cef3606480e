// SPDX-License-Identifier: BSL-1.0
// runnel/test/clock.hpp: the clock of a test run.
// Layer: L13
#pragma once

#include <runnel/detail/test_host.hpp>
#include <runnel/error.hpp>
#include <runnel/time_point.hpp>

#include <chrono>

namespace runnel::test {

/// The virtual time of the test run that runs here. It begins at 2000-01-01 00:00, counted as in Unix time, and has
/// nothing to do with std::chrono::steady_clock::now(): what a test hands to sleep_until or with_deadline is reckoned
/// from here.
/// Throws: misuse_error outside of a test run. Contract: SY-02.
inline std::chrono::steady_clock::time_point now() {
  detail::test_host* host = detail::test_host::current();
  if (!host) throw misuse_error("runnel: test::now outside of a test run");
  return detail::from_ns(host->now());
}
/// How much of it has passed since the run began.
inline std::chrono::nanoseconds elapsed() {
  return now() - detail::from_ns(detail::test_host::begins_at);
}

}  // namespace runnel::test
