// SPDX-License-Identifier: BSL-1.0
// Asks the compiler in use about the hazards of runnel/compiler.hpp, with coroutine types of its own, so that
// a wrong list of versions there is found here and not in a user's heap.

#include <runnel/compiler.hpp>

#include <gtest/gtest.h>

#include <array>
#include <coroutine>
#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <utility>

namespace {

// Owns nothing and keeps its counts outside itself: destroying it once too often is seen, and harms nothing.
struct counted {
  static inline int made = 0;
  static inline int gone = 0;

  explicit counted(int) { ++made; }
  counted(const counted&) { ++made; }
  counted(counted&&) noexcept { ++made; }
  counted& operator=(const counted&) = default;
  counted& operator=(counted&&) = default;
  ~counted() { ++gone; }
};

// How the awaited operation ends. Cancellation destroys suspended frames, so that way out counts as much.
enum class ending { at_once, resumed, destroyed };
ending mode = ending::at_once;
std::coroutine_handle<> parked;

// A lazy coroutine that owns its frame and transfers symmetrically. Its constructors keep it from hazard 1.
class lazy {
 public:
  struct promise_type;
  using handle = std::coroutine_handle<promise_type>;

  struct final_awaiter {
    bool await_ready() noexcept { return false; }
    std::coroutine_handle<> await_suspend(handle h) noexcept { return h.promise().next; }
    void await_resume() noexcept {}
  };
  struct promise_type {
    std::coroutine_handle<> next = std::noop_coroutine();
    lazy get_return_object() { return lazy(handle::from_promise(*this)); }
    std::suspend_always initial_suspend() noexcept { return {}; }
    final_awaiter final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };

  explicit lazy(handle h) : h_(h) {}
  lazy(lazy&& other) noexcept : h_(std::exchange(other.h_, nullptr)) {}
  ~lazy() {
    if (h_) h_.destroy();
  }

  void start() { h_.resume(); }
  bool done() const { return h_.done(); }

  bool await_ready() { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> h) {
    h_.promise().next = h;
    return h_;
  }
  void await_resume() {}

 private:
  handle h_;
};

struct step {
  step() noexcept {}
  bool await_ready() noexcept { return mode == ending::at_once; }
  void await_suspend(std::coroutine_handle<> h) noexcept { parked = h; }
  void await_resume() noexcept {}
};

template <class T>
struct holding : step {
  T value;
  explicit holding(T&& v) : value(std::move(v)) {}
};

struct message {  // an aggregate with a member that has a destructor
  int id;
  counted body;
};
struct options {
  counted name;
  int limit = 0;
};
struct letter {  // the same fields as message, with a constructor
  letter(int n, counted b) : id(n), body(std::move(b)) {}
  int id;
  counted body;
};
struct aggregate_awaiter {
  counted c;
  bool await_ready() noexcept { return mode == ending::at_once; }
  void await_suspend(std::coroutine_handle<> h) noexcept { parked = h; }
  void await_resume() noexcept {}
};
struct constructed_awaiter : step {
  counted c;
  explicit constructed_awaiter(counted x) : c(std::move(x)) {}
};

// Operations in the shapes that a library has. None is a coroutine unless its name says so.
template <class T>
holding<T> by_value(T v) {
  return holding<T>(std::move(v));
}
template <class T>
holding<T> by_rvalue(T&& v) {
  return holding<T>(std::move(v));
}
template <class T>
step by_reference(T&&) {
  return step();
}
template <class T, class... Args>
holding<T> emplaced(Args&&... args) {
  return holding<T>(T{std::forward<Args>(args)...});
}
template <class F>
lazy coroutine_by_value(F f) {
  co_await f();
}
template <class F>
lazy coroutine_by_reference(F&& f) {
  co_await f();
}
lazy coroutine_with_options(options) { co_await step(); }
template <class T>
holding<T> taking(runnel::moved_ref<T> r) {
  return holding<T>(std::move(r).take());
}
int id_of(const message& m) { return m.id; }
step numbered(int) { return step(); }
message make_message() { return message{1, counted(1)}; }
letter make_letter() { return letter(1, counted(1)); }
lazy nothing() { co_await step(); }

struct construct {
  std::string_view name;
  bool hazardous;
  lazy (*run)();
};
void PrintTo(const construct& c, std::ostream* out) { *out << c.name; }

#define HAZARDOUS(name, ...) construct{name, true, []() -> lazy { __VA_ARGS__; }}
#define SAFE(name, ...) construct{name, false, []() -> lazy { __VA_ARGS__; }}

const construct constructs[] = {
    // Closures whose captures have destructors.
    HAZARDOUS("closure_to_function", co_await by_value([x = counted(1)] {})),
    HAZARDOUS("closure_to_function_by_reference", co_await by_reference([x = counted(1)] {})),
    HAZARDOUS("closure_to_coroutine",
              co_await coroutine_by_value([x = counted(1)]() -> lazy { return nothing(); })),
    HAZARDOUS("closure_to_coroutine_by_reference",
              co_await coroutine_by_reference([x = counted(1)]() -> lazy { return nothing(); })),
    HAZARDOUS("closure_that_is_a_coroutine", co_await [x = counted(1)]() -> lazy { co_await step(); }()),
    HAZARDOUS("closure_capturing_a_copy", counted c(1); co_await by_reference([c] { (void)c; })),
    HAZARDOUS("closure_capturing_by_move", counted c(1); co_await by_reference([c = std::move(c)] {})),
    HAZARDOUS("closure_converted_by_the_caller", auto run = [](std::function<void()>) { return step(); };
              co_await run([x = counted(1)] {})),
    // Aggregates whose members have destructors.
    HAZARDOUS("aggregate_braced", auto send = [](message m) { return by_value(std::move(m)); };
              co_await send({1, counted(1)})),
    HAZARDOUS("aggregate_braced_to_rvalue", auto send = [](message&& m) { return by_rvalue(std::move(m)); };
              co_await send({1, counted(1)})),
    HAZARDOUS("aggregate_typed", co_await by_value(message{1, counted(1)})),
    HAZARDOUS("aggregate_typed_to_rvalue", co_await by_rvalue(message{1, counted(1)})),
    HAZARDOUS("aggregate_typed_by_reference", co_await by_reference(message{1, counted(1)})),
    HAZARDOUS("aggregate_designated", co_await by_value(message{.id = 1, .body = counted(1)})),
    HAZARDOUS("aggregate_options_to_coroutine",
              co_await coroutine_with_options({.name = counted(1), .limit = 1})),
    HAZARDOUS("aggregate_deep_in_the_expression", co_await numbered(id_of(message{1, counted(1)}))),
    HAZARDOUS("aggregate_awaiter", co_await aggregate_awaiter{counted(1)}),
    HAZARDOUS("aggregate_std_array", co_await by_value(std::array<counted, 1>{counted(1)})),
    HAZARDOUS("aggregate_made_optional_by_the_caller",
              auto send = [](std::optional<message> m) { return by_value(std::move(m)); };
              co_await send(message{1, counted(1)})),
    // The outcome of a ?:, of whatever class that has a destructor.
    HAZARDOUS("conditional_constructed", const bool yes = counted::made >= 0;
              co_await by_value(yes ? letter(1, counted(1)) : letter(2, counted(1)))),
    HAZARDOUS("conditional_returned_by_functions", const bool yes = counted::made >= 0;
              co_await by_rvalue(yes ? make_letter() : make_letter())),
    // What may be written everywhere.
    SAFE("closure_capturing_by_reference", counted c(1); co_await by_value([&c] { (void)c; })),
    SAFE("closure_named", auto f = [x = counted(1)] {}; co_await by_value(f)),
    SAFE("closure_named_and_std_moved", auto f = [x = counted(1)] {}; co_await by_value(std::move(f))),
    SAFE("closure_named_and_moved", auto f = [x = counted(1)] {}; co_await taking(runnel::moved(f))),
    SAFE("closure_outside_the_co_await", auto t = by_value([x = counted(1)] {}); co_await t),
    SAFE("captures_passed_as_arguments",
         co_await by_value(std::bind_front([](const counted&) {}, counted(1)))),
    SAFE("aggregate_named", message m{1, counted(1)}; co_await by_value(m)),
    SAFE("aggregate_named_and_std_moved", message m{1, counted(1)}; co_await by_value(std::move(m))),
    SAFE("aggregate_named_and_std_moved_to_rvalue", message m{1, counted(1)};
         co_await by_rvalue(std::move(m))),
    SAFE("aggregate_named_and_moved", message m{1, counted(1)}; co_await taking(runnel::moved(m))),
    SAFE("aggregate_returned_by_a_function", co_await by_value(make_message())),
    SAFE("aggregate_returned_by_a_function_to_rvalue", co_await by_rvalue(make_message())),
    SAFE("aggregate_emplaced", co_await emplaced<message>(1, counted(1))),
    SAFE("aggregate_outside_the_co_await", auto t = by_value(message{1, counted(1)}); co_await t),
    SAFE("conditional_named", const bool yes = counted::made >= 0; letter l = yes ? make_letter() : make_letter();
         co_await by_value(std::move(l))),
    SAFE("constructor_typed", co_await by_value(letter(1, counted(1)))),
    SAFE("constructor_typed_to_rvalue", co_await by_rvalue(letter(1, counted(1)))),
    SAFE("constructor_braced", auto send = [](letter l) { return by_value(std::move(l)); };
         co_await send({1, counted(1)})),
    SAFE("constructor_awaiter", co_await constructed_awaiter(counted(1))),
    SAFE("pair", co_await by_value(std::pair<int, counted>(1, counted(1)))),
    SAFE("tuple", co_await by_value(std::tuple<int, counted>(1, counted(1)))),
    SAFE("optional", co_await by_value(std::optional<counted>(counted(1)))),
    SAFE("optional_in_place", co_await by_value(std::optional<letter>(std::in_place, 1, counted(1)))),
};

// Destructions beyond constructions over one run; negative when something leaked.
int surplus(const construct& c, ending how) {
  mode = how;
  parked = nullptr;
  const int before = counted::gone - counted::made;
  {
    lazy t = c.run();
    t.start();
    if (how == ending::resumed) parked.resume();
    EXPECT_EQ(t.done(), how != ending::destroyed) << c.name;
  }
  return counted::gone - counted::made - before;
}

constexpr ending endings[] = {ending::at_once, ending::resumed, ending::destroyed};

class temporaries : public testing::TestWithParam<construct> {};

TEST_P(temporaries, are_destroyed_as_often_as_the_version_list_says) {
  for (ending how : endings) {
    const int n = surplus(GetParam(), how);
    if (GetParam().hazardous && RUNNEL_CO_AWAIT_DOUBLE_DESTROY) {
      EXPECT_GE(n, 0) << "leaked, way out " << static_cast<int>(how);
#if RUNNEL_GCC && __GNUC__ == 12
      EXPECT_EQ(n, 1) << "not destroyed twice, way out " << static_cast<int>(how);
#endif
    } else {
      EXPECT_EQ(n, 0) << "way out " << static_cast<int>(how)
                      << ": if destroyed twice, RUNNEL_CO_AWAIT_DOUBLE_DESTROY must be 1 for this compiler";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(probe, temporaries, testing::ValuesIn(constructs),
                         [](const auto& each) { return std::string(each.param.name); });

TEST(compiler_probe, finds_a_double_destruction_exactly_when_the_version_list_says_so) {
  bool found = false;
  for (const construct& c : constructs)
    for (ending how : endings) found = surplus(c, how) > 0 || found;
  EXPECT_EQ(found, RUNNEL_CO_AWAIT_DOUBLE_DESTROY == 1);
}

// Hazard 2. How far below this frame the stack reaches while n awaits complete at once, one after another.
struct depth_gauge {
  static inline std::uintptr_t lowest = 0;
  RUNNEL_NOINLINE static void note() {
    const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
    if (lowest == 0 || here < lowest) lowest = here;
  }
};
lazy note_depth() {
  depth_gauge::note();
  co_return;
}
lazy note_depth_often(int n) {
  for (int i = 0; i < n; ++i) co_await note_depth();
}
std::uintptr_t stack_used_by_awaits(int n) {
  depth_gauge::lowest = 0;
  lazy t = note_depth_often(n);
  t.start();
  return reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)) - depth_gauge::lowest;
}

TEST(compiler_probe, finds_symmetric_transfer_flat_or_the_trampoline_on) {
  const auto few = stack_used_by_awaits(10);
  const auto many = stack_used_by_awaits(1010);
  EXPECT_TRUE(many <= few || RUNNEL_TRAMPOLINE)
      << "1000 awaits took " << many - few << " bytes of stack: build everything with -DRUNNEL_TRAMPOLINE=1";
}

#if !RUNNEL_GCC
TEST(compiler_probe, needs_no_trampoline_on_clang) {
  EXPECT_LE(stack_used_by_awaits(1010), stack_used_by_awaits(10));
}
#endif

// Hazard 3.
thread_local int mine = 0;
RUNNEL_NOINLINE int* address_of_mine() noexcept { return &mine; }

struct resume_on {
  std::thread& thread;
  explicit resume_on(std::thread& t) noexcept : thread(t) {}
  bool await_ready() noexcept { return false; }
  void await_suspend(std::coroutine_handle<> h) { thread = std::thread(h); }
  void await_resume() noexcept {}
};
lazy compare_addresses(std::thread& t, int*& before, int*& after) {
  before = address_of_mine();
  co_await resume_on(t);
  after = address_of_mine();
}

TEST(compiler_probe, reads_a_thread_local_anew_after_a_suspension_through_a_noinline_function) {
  std::thread other;
  int* before = nullptr;
  int* after = nullptr;
  lazy t = compare_addresses(other, before, after);
  t.start();
  other.join();
  ASSERT_NE(after, nullptr);
  EXPECT_NE(before, after);
}

// Hazard 5.
struct yields_pair : step {
  std::pair<counted, counted> await_resume() noexcept { return {counted(1), counted(2)}; }
};
lazy bind_at_once() {
  mode = ending::at_once;
  auto [a, b] = co_await yields_pair();
  mode = ending::destroyed;
  co_await step();
  (void)a, (void)b;
}
lazy name_then_bind() {
  mode = ending::at_once;
  auto both = co_await yields_pair();
  auto& [a, b] = both;
  mode = ending::destroyed;
  co_await step();
  (void)a, (void)b;
}

TEST(compiler_probe, destroys_a_structured_binding_with_a_suspended_frame) {
  if (RUNNEL_STRUCTURED_BINDING_LEAKS) GTEST_SKIP() << "known to leak on this compiler: GCC PR 124584";
  EXPECT_EQ(surplus({"auto [a, b] = co_await", false, bind_at_once}, ending::destroyed), 0);
}

TEST(compiler_probe, destroys_a_named_result_with_a_suspended_frame) {
  EXPECT_EQ(surplus({"auto& [a, b] = named", false, name_then_bind}, ending::destroyed), 0);
}

// Hazard 6.
struct detached {
  struct promise_type {
    detached get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};
struct destroy_me {
  destroy_me() noexcept {}
  bool await_ready() noexcept { return false; }
  void await_suspend(std::coroutine_handle<> h) noexcept { h.destroy(); }
  void await_resume() noexcept {}
};
detached end_in_await_suspend() {
  counted c(1);
  co_await destroy_me();
}

TEST(compiler_probe, survives_a_frame_destroyed_in_its_own_await_suspend) {
  if (RUNNEL_DESTROY_IN_SUSPEND_CRASHES) GTEST_SKIP() << "known to crash on this compiler: GCC PR 121961";
  const int before = counted::gone - counted::made;
  end_in_await_suspend();
  EXPECT_EQ(counted::gone - counted::made, before);
}

}  // namespace
