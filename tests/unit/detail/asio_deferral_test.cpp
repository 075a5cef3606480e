// SPDX-License-Identifier: BSL-1.0
// When reads are put off, and for how long: the bookkeeping alone, without Asio.
#include <runnel/detail/asio_deferral.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace {

using runnel::detail::asio_deferral;
using runnel::detail::deferred_read;
using runnel::detail::fifo;

constexpr std::uint64_t lucky = 0, unlucky = ~std::uint64_t{0};
// Of 2^n throws one is as low.
constexpr std::uint64_t one_in_two_to(unsigned n) { return ~std::uint64_t{0} >> n; }

struct reads {
  explicit reads(asio_deferral& of) : deferral(of) {}
  bool add(std::size_t i) { return deferral.add(all[i]); }
  // The numbers of those that are due.
  std::vector<std::size_t> turn() {
    fifo due;
    another = deferral.turn(due);
    return numbers(due);
  }
  std::vector<std::size_t> numbers(fifo& some) {
    std::vector<std::size_t> r;
    while (auto* link = some.pop()) r.push_back(static_cast<std::size_t>(static_cast<deferred_read*>(link) - all.data()));
    return r;
  }
  asio_deferral& deferral;
  std::array<deferred_read, 200> all{};
  bool another = false;
};
using numbers = std::vector<std::size_t>;

TEST(asio_deferral, a_read_waits_for_two_turns_and_the_first_asks_for_one) {
  asio_deferral d(1);
  reads r(d);
  EXPECT_TRUE(r.add(0));
  EXPECT_FALSE(r.add(1));
  EXPECT_EQ(r.turn(), numbers{});
  EXPECT_TRUE(r.another);
  EXPECT_FALSE(r.add(2));  // a turn is outstanding
  EXPECT_EQ(r.turn(), (numbers{0, 1}));
  EXPECT_TRUE(r.another);
  EXPECT_EQ(r.turn(), (numbers{2}));
  EXPECT_FALSE(r.another);
  EXPECT_TRUE(r.add(3));
}

TEST(asio_deferral, a_turn_that_finds_nothing_is_the_last) {
  asio_deferral d(1);
  reads r(d);
  EXPECT_TRUE(r.add(0));
  EXPECT_EQ(r.turn(), numbers{});
  EXPECT_FALSE(r.add(1));
  fifo all = d.take_all();
  EXPECT_EQ(r.numbers(all), (numbers{0, 1}));
  EXPECT_FALSE(r.add(2));  // that turn is still to come
  all = d.take_all();
  EXPECT_EQ(r.numbers(all), (numbers{2}));
  EXPECT_EQ(r.turn(), numbers{});
  EXPECT_FALSE(r.another);
  EXPECT_TRUE(r.add(3));
}

TEST(asio_deferral, a_spell_begins_by_chance) {
  asio_deferral d(1);
  EXPECT_FALSE(d.wants(unlucky));
  EXPECT_FALSE(d.wants(one_in_two_to(9)));
  EXPECT_TRUE(d.wants(one_in_two_to(10)));
  EXPECT_TRUE(d.wants(unlucky));
}

// Eight turns, with so many reads each, of which so many find something.
void eight_turns(asio_deferral& d, std::size_t waiting, std::size_t found) {
  reads r(d);
  for (int turn = 0; turn < 8; ++turn) {
    for (std::size_t i = 0; i < waiting; ++i) (void)r.add(i + (turn % 2) * waiting);
    std::size_t due = r.turn().size();
    d.tried(due, due == 0 ? 0 : found);
  }
  fifo rest = d.take_all();
  (void)r.numbers(rest);
}

TEST(asio_deferral, a_spell_goes_on_while_most_find_something) {
  asio_deferral d(1);
  EXPECT_TRUE(d.wants(lucky));
  for (int i = 0; i < 10; ++i) {
    eight_turns(d, 8, 6);
    EXPECT_TRUE(d.wants(unlucky)) << i;
  }
  eight_turns(d, 8, 5);
  EXPECT_FALSE(d.wants(unlucky));
}

TEST(asio_deferral, the_next_spell_is_half_as_likely_until_one_pays) {
  asio_deferral d(1);
  unsigned rarity = 10;
  for (int i = 0; i < 9; ++i) {
    if (rarity < 64) {
      EXPECT_FALSE(d.wants(one_in_two_to(rarity - 1))) << rarity;
    }
    EXPECT_TRUE(d.wants(one_in_two_to(rarity))) << rarity;
    eight_turns(d, 8, 0);
    if (rarity < 16) ++rarity;
  }
  EXPECT_TRUE(d.wants(lucky));
  eight_turns(d, 8, 8);
  eight_turns(d, 8, 0);
  EXPECT_FALSE(d.wants(one_in_two_to(9)));
  EXPECT_TRUE(d.wants(one_in_two_to(10)));
}

TEST(asio_deferral, with_more_threads_more_have_to_wait_at_a_time) {
  asio_deferral one(1), two(2);
  EXPECT_TRUE(one.wants(lucky));
  EXPECT_TRUE(two.wants(lucky));
  eight_turns(one, 1, 1);
  eight_turns(two, 1, 1);
  EXPECT_TRUE(one.wants(unlucky));
  EXPECT_FALSE(two.wants(unlucky));
  EXPECT_TRUE(two.wants(lucky));
  eight_turns(two, 4, 4);
  EXPECT_TRUE(two.wants(unlucky));
}

TEST(asio_deferral, an_endless_spell_does_not_end) {
  asio_deferral d(4);
  d.set_endless();
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(d.wants(unlucky));
    eight_turns(d, 1, 0);
  }
}

}  // namespace
