// SPDX-License-Identifier: BSL-1.0

#include <runnel/adopt.hpp>
#include <runnel/as_result.hpp>
#include <runnel/blocking.hpp>
#include <runnel/compiler.hpp>
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/otp/supervisor.hpp>
#include <runnel/sync/condition.hpp>
#include <runnel/sync/event.hpp>
#include <runnel/sync/hedge.hpp>
#include <runnel/sync/mutex.hpp>
#include <runnel/sync/once.hpp>
#include <runnel/sync/retry.hpp>
#include <runnel/sync/singleflight.hpp>
#include <runnel/sync/wait_group.hpp>
#include <runnel/this_task.hpp>
#include <support/checked_runtime.hpp>

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <coroutine>
#include <exception>
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

// What the refusal says is what they take: each has a closure or an argument that can only be moved.
namespace rn = runnel;
using owned = std::unique_ptr<int>;
owned one() { return std::make_unique<int>(1); }
int value_of(owned p) { return *p; }
rn::task<> nothing() { co_return; }
struct ready_at_once {
  owned p;
  bool await_ready() const noexcept { return true; }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  int await_resume() const noexcept { return *p; }
};

TEST(compiler, moved_is_taken_by_what_makes_a_call) {
  test::checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    auto f = [p = one()] { return *p; };
    EXPECT_EQ(co_await rn::blocking(rn::moved(f)), 1);
    owned p = one();
    EXPECT_EQ(co_await rn::blocking(value_of, rn::moved(p)), 1);
    auto again = [p = one()] { return *p; };
    auto never = [p = one()](const std::exception_ptr&) { return false; };
    EXPECT_EQ(co_await rn::retry(rn::attempts(2), rn::retry_if(rn::moved(never)), rn::moved(again)), 1);
    owned lent = one();
    EXPECT_EQ(co_await rn::retry([](const owned& x) { return *x; }, rn::moved(lent)), 1);
    int cleaned = 0;
    auto cleanup = [p = one(), &cleaned]() -> rn::task<> {
      cleaned += *p;
      co_return;
    };
    co_await rn::finally(nothing(), rn::moved(cleanup));
    EXPECT_EQ(cleaned, 1);
    auto first = [p = one()]() -> rn::task<int> { co_return *p; };
    EXPECT_EQ(co_await rn::hedge(std::chrono::seconds(1), rn::moved(first)), 1);
    ready_at_once foreign{one()};
    EXPECT_EQ(co_await rn::adopt(rn::moved(foreign)), 1);
  });
}
TEST(compiler, moved_is_taken_by_what_is_called_once) {
  test::checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    int sum = 0;
    rn::once o;
    auto f = [p = one(), &sum] { sum += *p; };
    co_await o.call(rn::moved(f));
    rn::once with_argument;
    owned arg = one();
    co_await with_argument.call([&sum](owned x) { sum += *x; }, rn::moved(arg));
    EXPECT_EQ(sum, 2);
    rn::singleflight<int, int> flights;
    auto load = [p = one()] { return *p; };
    auto loaded = co_await flights.call(1, rn::moved(load));
    EXPECT_EQ(loaded.value(), 1);
    rn::mutex m;
    rn::condition changed;
    auto guard = co_await m.lock();
    auto holds = [p = one()] { return *p == 1; };
    co_await changed.wait(guard, rn::moved(holds));
    auto body = [p = one(), &sum](rn::errgroup&) -> rn::task<> {
      sum += *p;
      co_return;
    };
    co_await rn::with_errgroup(rn::moved(body));
    EXPECT_EQ(sum, 3);
  });
}
TEST(compiler, moved_is_taken_by_what_starts_a_goroutine) {
  test::checked_runtime rt(1);
  owned main_arg = one();
  rt.run(
      [](owned x) -> rn::task<> {
        int sum = *x;
        rn::wait_group started;
        auto f = [p = one(), &sum] { sum += *p; };
        started.go(rn::moved(f));
        started.add(2);
        auto g = [p = one(), &sum, &started]() -> rn::task<> {
          sum += *p, started.done();
          co_return;
        };
        rn::go(rn::moved(g));
        owned arg = one();
        auto h = [&sum, &started](owned y) { sum += *y, started.done(); };
        rn::go(rn::this_context(), h, rn::moved(arg));
        EXPECT_EQ(arg, nullptr);
        co_await started.wait();
        EXPECT_EQ(sum, 4);
      },
      rn::moved(main_arg));
}
TEST(compiler, moved_is_taken_by_a_supervisor_of_what_it_can_copy) {
  rn::supervisor sup(rn::one_for_one);
  auto child = [s = std::string("x")]() -> rn::task<> { co_return; };
  std::string arg = "y";
  sup.child("closure", rn::moved(child));
  sup.child("argument", [](std::string) -> rn::task<> { co_return; }, rn::moved(arg));
  EXPECT_TRUE(arg.empty());
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
