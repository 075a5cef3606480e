// SPDX-License-Identifier: BSL-1.0

#include <runnel/compiler.hpp>

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace {

namespace detail = runnel::detail;

std::string text;

struct message {
  int id;
  std::string body;
};
struct letter {
  explicit letter(std::string b) : body(std::move(b)) {}
  std::string body;
};
struct point {
  int x, y;
};
struct functor {  // everything that a capturing closure is, but for the name
  explicit functor(std::string s) : state(std::move(s)) {}
  functor(const functor&) = default;
  functor& operator=(const functor&) = delete;
  void operator()() const {}
  std::string state;
};
template <class... F>
struct overloaded : F... {
  using F::operator()...;
};
template <class F>
class holder {  // neither default-constructible nor assignable, and its name is full of lambdas
 public:
  explicit holder(F f) : f_(std::move(f)) {}
  holder& operator=(const holder&) = delete;
  holder(const holder&) = default;

 private:
  F f_;
};

auto at_namespace_scope = [s = text] {};
[[maybe_unused]] auto made_in_a_function(std::string s) {
  return [s] {};
}
template <class T>
auto made_in_a_template(T t) {
  return [t] {};
}
struct owner {
  std::string state;
  auto capture_this_copy() const {
    return [*this] { (void)this; };
  }
};

// Variables, so that each can be asked in a static_assert.
auto plain = [s = text] {};
auto with_parameters = [s = text](int, std::vector<std::string>) {};
auto generic = [s = text](auto&&...) {};
auto templated = [s = text]<class T>(T) {};
auto mutable_noexcept = [s = text](void (*)(int)) mutable noexcept {};
auto with_result = [s = text]() -> std::vector<int> { return {}; };
auto taking_function = [s = text](std::function<void(std::vector<int>)>) {};
auto captureless = [] {};
[[maybe_unused]] auto trivial = [n = 1] { return n; };

template <class T>
constexpr bool closure = detail::is_closure_like<T>;
template <class T>
constexpr bool hazardous = detail::hazardous_temporary<T>;

TEST(compiler, knows_closures_of_every_kind) {
  static_assert(closure<decltype(at_namespace_scope)>);
  static_assert(closure<decltype(made_in_a_function(text))>);
  static_assert(closure<decltype(made_in_a_template(text))>);
  static_assert(closure<decltype(made_in_a_template(made_in_a_template(text)))>);
  static_assert(closure<decltype(owner{}.capture_this_copy())>);
  static_assert(closure<decltype(plain)>);
  static_assert(closure<decltype(with_parameters)>);
  static_assert(closure<decltype(generic)>);
  static_assert(closure<decltype(templated)>);
  static_assert(closure<decltype(mutable_noexcept)>);
  static_assert(closure<decltype(with_result)>);
  static_assert(closure<decltype(taking_function)>);
  static_assert(closure<decltype(captureless)>);
  static_assert(closure<decltype(trivial)>);
  auto local = [s = text] {};
  static_assert(closure<decltype(local)>);
  auto in_a_closure = [](auto x) { return [x] {}; };
  static_assert(closure<decltype(in_a_closure(text))>);
}

TEST(compiler, takes_no_other_type_for_a_closure) {
  using f = decltype(plain);
  static_assert(!closure<int>);
  static_assert(!closure<void>);
  static_assert(!closure<f*>);
  static_assert(!closure<f&>);
  static_assert(!closure<void (*)(f)>);
  static_assert(!closure<message>);
  static_assert(!closure<functor>);
  static_assert(!closure<std::vector<f>>);
  static_assert(!closure<std::optional<f>>);
  static_assert(!closure<std::unique_ptr<f, f>>);
  static_assert(!closure<std::pair<int, f>>);
  static_assert(!closure<std::function<void(f)>>);
  static_assert(!closure<decltype(std::bind([s = text](int) {}, 1))>);
  static_assert(!closure<decltype(std::bind_front([s = text](int) {}, 1))>);
  static_assert(!closure<holder<f>>);
  static_assert(!closure<holder<void (*)(f)>>);
  auto local_classes = [](auto x) {
    struct inside {
      decltype(x) member;
    };
    return inside{x};
  };
  static_assert(!closure<decltype(local_classes(text))>);
}

TEST(compiler, calls_hazardous_what_is_destroyed_twice) {
  static_assert(hazardous<message>);
  static_assert(hazardous<const message>);
  static_assert(hazardous<message&&>);
  static_assert(hazardous<std::array<std::string, 2>>);
  static_assert(hazardous<overloaded<decltype(plain), decltype(with_parameters)>>);
  static_assert(hazardous<decltype(plain)>);
  static_assert(hazardous<const decltype(plain)>);
  static_assert(hazardous<decltype(with_parameters)>);
  static_assert(hazardous<decltype(generic)>);
  static_assert(hazardous<decltype(templated)>);
  static_assert(hazardous<decltype(mutable_noexcept)>);
  static_assert(hazardous<decltype(taking_function)>);
  static_assert(hazardous<decltype(made_in_a_template(text))>);
  static_assert(hazardous<decltype(owner{}.capture_this_copy())>);
  auto move_only = [p = std::make_unique<int>(1)] {};
  static_assert(hazardous<decltype(move_only)>);
}

TEST(compiler, calls_nothing_else_hazardous) {
  static_assert(!hazardous<int>);
  static_assert(!hazardous<int[3]>);
  static_assert(!hazardous<point>);
  static_assert(!hazardous<std::array<int, 2>>);
  static_assert(!hazardous<decltype(captureless)>);
  static_assert(!hazardous<decltype(trivial)>);
  auto by_reference = [&] { return text.size(); };
  static_assert(!hazardous<decltype(by_reference)>);
  static_assert(!hazardous<std::string>);
  static_assert(!hazardous<letter>);
  static_assert(!hazardous<functor>);
  static_assert(!hazardous<std::pair<int, std::string>>);
  static_assert(!hazardous<std::tuple<message>>);
  static_assert(!hazardous<std::optional<message>>);
  static_assert(!hazardous<std::variant<message>>);
  static_assert(!hazardous<std::vector<message>>);
  static_assert(!hazardous<std::unique_ptr<message>>);
  static_assert(!hazardous<std::function<void()>>);
  static_assert(!hazardous<holder<decltype(plain)>>);
  static_assert(!hazardous<decltype(std::bind_front([](const std::string&) {}, text))>);
  static_assert(!hazardous<runnel::moved_ref<message>>);
  static_assert(!hazardous<runnel::moved_ref<decltype(plain)>>);
}

// What a function of the library sees of its arguments.
template <class... Args>
constexpr bool sees_hazard(Args&&...) {
  return (detail::hazardous_argument<Args> || ...);
}

TEST(compiler, refuses_rvalues_and_lets_names_and_moved_pass) {
  message m{1, "x"};
  const message c{1, "x"};
  auto f = [s = text] {};
  EXPECT_TRUE(sees_hazard(message{1, "x"}));
  EXPECT_TRUE(sees_hazard(std::move(m)));
  EXPECT_TRUE(sees_hazard(std::move(c)));
  EXPECT_TRUE(sees_hazard([s = text] {}));
  EXPECT_TRUE(sees_hazard(std::move(f)));
  EXPECT_TRUE(sees_hazard(1, m, message{1, "x"}));
  EXPECT_FALSE(sees_hazard());
  EXPECT_FALSE(sees_hazard(m, c, f));
  EXPECT_FALSE(sees_hazard(runnel::moved(m), runnel::moved(f)));
  EXPECT_FALSE(sees_hazard(letter("x"), std::string("x"), point{1, 2}, captureless));
}

// The one move is visible where it happens.
template <class R>
concept taken_from = requires(R&& r) { std::forward<R>(r).take(); };

TEST(compiler, moved_refers_to_the_object_and_leaves_it_whole) {
  std::string s = "a string that is too long to be stored in place";
  auto r = runnel::moved(s);
  static_assert(std::is_same_v<decltype(r), runnel::moved_ref<std::string>>);
  static_assert(std::is_same_v<decltype(r)::value_type, std::string>);
  static_assert(std::is_trivially_destructible_v<decltype(r)> && std::is_trivially_copyable_v<decltype(r)>);
  static_assert(!std::is_aggregate_v<decltype(r)>);
  static_assert(detail::is_moved_ref<decltype(r)> && !detail::is_moved_ref<std::string>);
  EXPECT_EQ(&r.get(), &s);
  static_assert(taken_from<decltype(r)> && !taken_from<decltype(r)&>);
  [[maybe_unused]] auto&& unused = std::move(r).take();  // a cast, not yet a move
  EXPECT_EQ(s, "a string that is too long to be stored in place");
}

TEST(compiler, take_moves_once_out_of_the_named_object) {
  auto p = std::make_unique<int>(7);
  const int* raw = p.get();
  std::unique_ptr<int> q = runnel::moved(p).take();
  EXPECT_EQ(q.get(), raw);
  EXPECT_EQ(p, nullptr);
}

TEST(compiler, moved_is_not_deceived_by_an_overloaded_address_operator) {
  struct odd {
    odd* operator&() { return nullptr; }
  };
  odd o;
  EXPECT_EQ(&reinterpret_cast<char&>(runnel::moved(o).get()), &reinterpret_cast<char&>(o));
}

TEST(config, describes_the_build) {
#if defined(__clang__)
  EXPECT_EQ(RUNNEL_GCC, 0);
#else
  EXPECT_EQ(RUNNEL_GCC, 1);
#endif
  EXPECT_FALSE(RUNNEL_TSAN && RUNNEL_ASAN);
  EXPECT_FALSE(RUNNEL_TSAN && RUNNEL_HAS_MEMBARRIER);
  static_assert(runnel::destructive_interference % runnel::cache_line == 0);
  runnel::cpu_pause();
}

}  // namespace
