// SPDX-License-Identifier: BSL-1.0
// A clock that tells only that some milliseconds have passed.
#include <runnel/detail/coarse_clock.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>

namespace {

using runnel::detail::has_ticked_since;

std::int64_t now() {
  return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
}

TEST(coarse_clock, has_ticked_since_long_ago) { EXPECT_TRUE(has_ticked_since(now() - 1'000'000'000)); }

TEST(coarse_clock, ticks_while_the_time_passes) {
  const std::int64_t at = now();
  const std::int64_t late = at + 10'000'000'000;
  while (!has_ticked_since(at)) ASSERT_LT(now(), late);
}

#if defined(__linux__)
TEST(coarse_clock, has_not_ticked_since_a_time_to_come) { EXPECT_FALSE(has_ticked_since(now() + 1'000'000'000)); }
#endif

}  // namespace
