// SPDX-License-Identifier: BSL-1.0
// Schedules: what a seed chooses, and what a written schedule means.
#include <runnel/detail/test_schedule.hpp>
#include <runnel/error.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

namespace {

namespace rn = runnel;
using rn::detail::given_schedule;
using rn::detail::possible_steps;
using rn::detail::seeded_schedule;

// Goroutines 1 to n, in this order.
struct in_order final : possible_steps {
  explicit in_order(std::size_t count) : possible_steps(count) {}
  void numbers(std::vector<std::uint64_t>& out) const override {
    out.resize(n);
    std::iota(out.begin(), out.end(), std::uint64_t{1});
  }
};

std::vector<std::size_t> choices(std::uint64_t seed) {
  seeded_schedule schedule(seed);
  std::vector<std::size_t> out;
  for (int i = 0; i < 200; ++i) out.push_back(schedule.next(in_order(1 + static_cast<std::size_t>(i) % 7)));
  for (int i = 0; i < 20; ++i) out.push_back(schedule.draw(5));
  return out;
}

TEST(test_schedule, a_seed_chooses_the_same_each_time_and_what_is_possible) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    auto first = choices(seed);
    EXPECT_EQ(first, choices(seed));
    for (std::size_t i = 0; i < 200; ++i) EXPECT_LT(first[i], 1 + i % 7);
    for (std::size_t i = 200; i < 220; ++i) EXPECT_LT(first[i], 5u);
  }
  EXPECT_NE(choices(1), choices(2));
}

// Whatever its way, it reaches everything, and leaves nobody behind for ever.
TEST(test_schedule, every_seed_takes_every_step_sooner_or_later) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    seeded_schedule schedule(seed);
    std::vector<int> taken(5);
    for (int i = 0; i < 20'000; ++i) ++taken[schedule.next(in_order(5))];
    for (int n : taken) EXPECT_GT(n, 100) << "seed " << seed;
  }
}

TEST(test_schedule, a_given_one_takes_the_default_but_where_it_is_told) {
  given_schedule schedule({{1, 2}, {3, 1}});
  std::vector<std::size_t> taken;
  for (int i = 0; i < 5; ++i) taken.push_back(schedule.next(in_order(3)));
  EXPECT_EQ(taken, (std::vector<std::size_t>{0, 2, 0, 1, 0}));
  EXPECT_FALSE(schedule.missed());
  given_schedule draws({{0, 1}});
  EXPECT_EQ(draws.draw(2), 1u);
}

TEST(test_schedule, a_given_one_tells_when_it_does_not_fit) {
  given_schedule impossible({{0, 3}});
  EXPECT_EQ(impossible.next(in_order(3)), 0u);
  EXPECT_TRUE(impossible.missed());
  given_schedule too_long({{5, 1}});
  (void)too_long.next(in_order(3));
  EXPECT_TRUE(too_long.missed());
}

TEST(test_schedule, is_read_as_it_is_written) {
  using list = std::vector<rn::detail::deviation>;
  EXPECT_EQ(rn::detail::parse_schedule(""), list{});
  EXPECT_EQ(rn::detail::parse_schedule("3:1"), (list{{3, 1}}));
  EXPECT_EQ(rn::detail::parse_schedule("0:2,10:11,400:1"), (list{{0, 2}, {10, 11}, {400, 1}}));
  EXPECT_THROW(rn::detail::parse_schedule("99999999999999999999:1"), rn::misuse_error);
}

}  // namespace
