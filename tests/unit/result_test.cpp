// SPDX-License-Identifier: BSL-1.0
#include <runnel/result.hpp>

#include <gtest/gtest.h>

#include <exception>
#include <memory>
#include <stdexcept>
#include <utility>
#include <variant>

namespace {

namespace rn = runnel;

TEST(result, a_default_one_is_canceled) {
  rn::result<int> r;
  EXPECT_FALSE(r.ok());
  EXPECT_FALSE(r);
  EXPECT_TRUE(r.canceled());
  EXPECT_EQ(r.error(), nullptr);
  EXPECT_THROW((void)r.value(), rn::canceled);
  EXPECT_THROW((void)std::move(r).value(), rn::canceled);
}

TEST(result, it_holds_a_value) {
  rn::result<int> r(4);
  EXPECT_TRUE(r.ok());
  EXPECT_TRUE(r);
  EXPECT_FALSE(r.canceled());
  r.value() = 5;
  EXPECT_EQ(std::move(r).value(), 5);
}

TEST(result, it_holds_an_error) {
  rn::result<int> r(std::make_exception_ptr(std::runtime_error("x")));
  EXPECT_FALSE(r.ok());
  EXPECT_FALSE(r.canceled());
  EXPECT_TRUE(r.error());
  EXPECT_THROW((void)r.value(), std::runtime_error);
}

TEST(result, a_move_only_value_moves_out) {
  rn::result<std::unique_ptr<int>> r(std::make_unique<int>(1));
  auto p = std::move(r).value();
  EXPECT_EQ(*p, 1);
}

TEST(result, a_reference_stays_a_reference) {
  int x = 1;
  rn::result<int&> r(&x);
  EXPECT_EQ(&r.value(), &x);
  EXPECT_EQ(&std::move(r).value(), &x);
  static_assert(std::is_same_v<decltype(std::declval<rn::result<int&>>().value()), int&>);
}

TEST(result, of_void) {
  rn::result<void> ok{std::monostate()};
  EXPECT_TRUE(ok.ok());
  EXPECT_NO_THROW(ok.value());
  rn::result<void> bad(std::make_exception_ptr(std::logic_error("x")));
  EXPECT_THROW(bad.value(), std::logic_error);
  EXPECT_THROW(rn::result<void>().value(), rn::canceled);
}

}  // namespace
