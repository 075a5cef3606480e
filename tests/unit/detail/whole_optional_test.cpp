// SPDX-License-Identifier: BSL-1.0
#include <runnel/detail/whole_optional.hpp>

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace {

using runnel::detail::is_made_whole;
using runnel::detail::make_whole_optional;

struct pair_of_shorts {
  short a, b;
  bool operator==(const pair_of_shorts&) const = default;
};
enum class color : unsigned char { red = 3 };

template <class T> void must_hold(T value) {
  std::optional<T> o = make_whole_optional<T>(T(value));
  ASSERT_TRUE(o.has_value());
  EXPECT_EQ(*o, value);
  EXPECT_EQ(o, std::optional<T>(value));
  o.reset();
  EXPECT_FALSE(o.has_value());
}

// The layout that it takes for granted.
TEST(whole_optional, holds_the_value) {
  must_hold<bool>(false);
  must_hold<bool>(true);
  must_hold<char>(-1);
  must_hold<unsigned char>(255);
  must_hold<color>(color::red);
  must_hold<short>(std::numeric_limits<short>::min());
  must_hold<int>(-1);
  must_hold<int>(0);
  must_hold<unsigned>(std::numeric_limits<unsigned>::max());
  must_hold<float>(-2.5f);
  must_hold<pair_of_shorts>({-1, 2});
  must_hold<std::int64_t>(std::numeric_limits<std::int64_t>::min());
  must_hold<std::uint64_t>(std::numeric_limits<std::uint64_t>::max());
  must_hold<double>(1e300);
  int x = 0;
  must_hold<int*>(&x);
  must_hold<int*>(nullptr);
}

TEST(whole_optional, of_what_is_no_number_is_made_as_always) {
  static_assert(!is_made_whole<std::string> && !is_made_whole<std::unique_ptr<int>>);
  struct three {
    char bytes[3];
  };
  static_assert(!is_made_whole<three>);
  auto moved = make_whole_optional(std::make_unique<int>(7));
  EXPECT_EQ(**moved, 7);
  must_hold<std::string>("long enough to be on the heap, for certain");
}

}  // namespace
