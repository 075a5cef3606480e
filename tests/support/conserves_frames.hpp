// SPDX-License-Identifier: BSL-1.0
// support/conserves_frames.hpp: a fixture for tests after which no frame, goroutine or context may be left.
#pragma once

#include <runnel/context.hpp>
#include <runnel/detail/frame_pool.hpp>

#include <gtest/gtest.h>

#include <cstddef>

namespace runnel_test {

class conserves_frames : public ::testing::Test {
 protected:
  void SetUp() override {
    (void)runnel::context::background();  // made once, for ever
    x_before = runnel::detail::frame_pool_stats().live_blocks;
  }
  void TearDown() override {
    EXPECT_EQ(runnel::detail::frame_pool_stats().live_blocks, x_before) << "frames, goroutines or contexts are left";
  }

 private:
  std::size_t x_before = 0;
};

}  // namespace runnel_test
