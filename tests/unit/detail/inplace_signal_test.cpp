// SPDX-License-Identifier: BSL-1.0
// The cancellation signal of an operation of one step: small handlers lie in it, others where Asio puts them.
#include <runnel/detail/asio_inplace_signal.hpp>

#include <gtest/gtest.h>

#include <array>
#include <memory>

namespace {

namespace asio = boost::asio;
using asio::cancellation_type_t;
using runnel::detail::inplace_signal;

constexpr auto terminal = asio::cancellation_type::terminal;

struct small {
  int& called;
  explicit small(int& n) : called(n) {}
  void operator()(cancellation_type_t type) { called += type == terminal ? 1 : 100; }
};
struct large {
  int& called;
  std::array<char, 200> more{};
  explicit large(int& n) : called(n) {}
  void operator()(cancellation_type_t) { called += 10; }
};
struct owning {
  std::shared_ptr<int> called;
  void operator()(cancellation_type_t) { *called += 1; }
};

bool lies_in(const void* what, const inplace_signal& s) {
  auto at = static_cast<const char*>(what);
  auto begin = reinterpret_cast<const char*>(&s);
  return at >= begin && at < begin + sizeof s;
}

TEST(inplace_signal, a_small_handler_lies_in_it_and_is_called) {
  inplace_signal s;
  s.emit(terminal);  // nobody listens
  int called = 0;
  EXPECT_TRUE(s.slot().is_connected());
  EXPECT_FALSE(s.slot().has_handler());
  small& h = s.slot().emplace<small>(called);
  EXPECT_TRUE(lies_in(&h, s));
  EXPECT_TRUE(s.slot().has_handler());
  s.emit(terminal);
  EXPECT_EQ(called, 1);
  s.slot().clear();
  s.emit(terminal);
  EXPECT_EQ(called, 1);
  EXPECT_FALSE(s.slot().has_handler());
}

TEST(inplace_signal, others_lie_elsewhere_and_one_takes_the_place_of_another) {
  inplace_signal s;
  int called = 0;
  s.slot().emplace<small>(called);
  large& h = s.slot().assign(large(called));
  EXPECT_FALSE(lies_in(&h, s));
  s.emit(terminal);
  EXPECT_EQ(called, 10);
  s.slot().emplace<small>(called);
  s.emit(terminal);
  EXPECT_EQ(called, 11);
}

TEST(inplace_signal, what_owns_something_gives_it_back) {
  auto called = std::make_shared<int>(0);
  {
    inplace_signal s;
    s.slot().assign(owning{called});
    s.emit(terminal);
    EXPECT_EQ(*called, 1);
    EXPECT_EQ(called.use_count(), 2);
    s.slot().clear();
    EXPECT_EQ(called.use_count(), 1);
    s.slot().assign(owning{called});
  }
  EXPECT_EQ(called.use_count(), 1);
}

TEST(inplace_signal, slots_of_one_signal_are_equal) {
  inplace_signal one, other;
  EXPECT_TRUE(one.slot() == one.slot());
  EXPECT_FALSE(one.slot() == other.slot());
}

}  // namespace
