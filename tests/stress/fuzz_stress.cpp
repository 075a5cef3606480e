// SPDX-License-Identifier: BSL-1.0
// The programs of the fuzzer from random bytes, without the fuzzer; and that it would see what is wrong.
#include "fuzz/channel_program.hpp"
#include "fuzz/history.hpp"
#include "support/stress.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

namespace {

using fuzz::event;
using kind = event::kind_t;

bool explains(const fuzz::history& events, std::size_t capacity) { return fuzz::explanation(events, capacity).exists(); }

TEST(fuzz_history, a_queue_explains_what_a_queue_does) {
  EXPECT_TRUE(explains({}, 0));
  EXPECT_TRUE(explains({{kind::sent, 1, 1, 2}, {kind::sent, 2, 3, 8}, {kind::received, 1, 4, 5}, {kind::received, 2, 6, 7}}, 1));
  EXPECT_TRUE(explains({{kind::sent, 1, 1, 4}, {kind::received, 1, 2, 3}}, 0));
  EXPECT_TRUE(explains({{kind::sent, 1, 1, 2}, {kind::closed, 0, 3, 4}, {kind::received, 1, 5, 6},
                        {kind::found_closed, 0, 7, 8}, {kind::could_not_send, 9, 9, 10}}, 1));
  EXPECT_TRUE(explains({{kind::sent, 1, 1, 2}, {kind::not_taken, 0, 3, 4}, {kind::received, 1, 5, 6},
                        {kind::nothing_there, 0, 7, 8}}, 1));
}

TEST(fuzz_history, and_nothing_else) {
  EXPECT_FALSE(explains({{kind::received, 1, 1, 2}}, 1)) << "from nowhere";
  EXPECT_FALSE(explains({{kind::sent, 1, 1, 2}, {kind::received, 1, 3, 4}, {kind::received, 1, 5, 6}}, 1)) << "twice";
  EXPECT_FALSE(explains({{kind::sent, 1, 1, 2}, {kind::sent, 2, 3, 4}, {kind::received, 2, 5, 6}}, 2)) << "overtaken";
  EXPECT_FALSE(explains({{kind::sent, 1, 1, 2}, {kind::closed, 0, 3, 4}, {kind::found_closed, 0, 5, 6}}, 1)) << "lost";
  EXPECT_FALSE(explains({{kind::sent, 1, 1, 2}, {kind::sent, 2, 3, 4}}, 1)) << "too many";
  EXPECT_FALSE(explains({{kind::sent, 1, 1, 2}, {kind::received, 1, 3, 4}}, 0)) << "not handed over";
  EXPECT_FALSE(explains({{kind::closed, 0, 1, 2}, {kind::sent, 1, 3, 4}}, 1)) << "behind the close";
  EXPECT_FALSE(explains({{kind::sent, 1, 1, 2}, {kind::nothing_there, 0, 3, 4}}, 1)) << "not seen";
}

class fuzz_stress : public stress::stress_test {};

TEST_F(fuzz_stress, random_programs_on_two_channels) {
  run_rounds([](unsigned, stress::dice d) {
    for (int i = 0; i < 20; ++i) {
      std::vector<std::uint8_t> bytes(d.between(4, 60));
      for (auto& byte : bytes) byte = static_cast<std::uint8_t>(d.next() >> 56);
      std::string complaint = fuzz::channel_program(bytes).run();
      ASSERT_EQ(complaint, "");
    }
  });
}

}  // namespace
