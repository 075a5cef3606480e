// SPDX-License-Identifier: BSL-1.0
// tests/unit/version_test.cpp: the macros, the constants and the build system agree on the version.
#include <runnel/version.hpp>

#include <gtest/gtest.h>

#include <string>

namespace {

TEST(version, is_one_number_that_grows) {
  EXPECT_EQ(runnel::version,
            RUNNEL_VERSION_MAJOR * 10000 + RUNNEL_VERSION_MINOR * 100 + RUNNEL_VERSION_PATCH);
  static_assert(RUNNEL_VERSION_MINOR < 100 && RUNNEL_VERSION_PATCH < 100, "the parts must not overlap");
}

TEST(version, text_is_the_one_that_the_build_system_read) {
  EXPECT_EQ(std::string(runnel::version_string), RUNNEL_TEST_PROJECT_VERSION);
}

}  // namespace
