// SPDX-License-Identifier: BSL-1.0
// Asks the compiler in use about hazards 9 and 10 of runnel/compiler.hpp: co_await in what is evaluated on a condition,
// and in a condition itself. With coroutine types of its own, like compiler_probe_test.cpp.

#include <runnel/compiler.hpp>

#include <gtest/gtest.h>

#include <coroutine>
#include <cstdlib>
#include <exception>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>

#include <sys/wait.h>

namespace {

// A lazy coroutine with an int, which owns its frame.
class lazy_int {
 public:
  struct promise_type {
    int value = 0;
    lazy_int get_return_object() { return lazy_int(std::coroutine_handle<promise_type>::from_promise(*this)); }
    std::suspend_always initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_value(int v) { value = v; }
    void unhandled_exception() { std::terminate(); }
  };

  explicit lazy_int(std::coroutine_handle<promise_type> h) : h_(h) {}
  lazy_int(lazy_int&& other) noexcept : h_(std::exchange(other.h_, nullptr)) {}
  ~lazy_int() {
    if (h_) h_.destroy();
  }
  void start() { h_.resume(); }
  bool done() const { return h_.done(); }
  int value() const { return h_.promise().value; }

 private:
  std::coroutine_handle<promise_type> h_;
};

// Yields 2 at once, and counts how often it was begun.
int begun = 0;
struct two {
  two() noexcept {}
  bool await_ready() noexcept {
    ++begun;
    return true;
  }
  void await_suspend(std::coroutine_handle<>) noexcept {}
  int await_resume() noexcept { return 2; }
};
int same(int x) { return x; }

struct construct {
  std::string_view name;
  bool hazardous;
  lazy_int (*body)(bool);
};
void PrintTo(const construct& c, std::ostream* out) { *out << c.name; }

// ---- Hazard 9: called with true, none of these may begin the co_await, and all yield 1 ----

lazy_int conditional_returned(bool c) { co_return c ? 1 : co_await two(); }
lazy_int or_returned(bool c) { co_return c || co_await two(); }
lazy_int and_returned(bool c) { co_return !(!c && co_await two()); }
lazy_int conditional_as_argument(bool c) {
  same(c ? 1 : co_await two());
  co_return 1;
}
lazy_int conditional_deep_in_an_initialiser(bool c) {
  int r = same(c ? 1 : co_await two());
  co_return r;
}
lazy_int two_conditionals_in_an_initialiser(bool c) {
  int r = (c ? 1 : co_await two()) + (c ? 0 : co_await two());
  co_return r;
}
lazy_int or_in_the_condition_of_a_loop(bool c) {
  int r = 0;
  while (r < 1 && (c || co_await two())) ++r;
  co_return r;
}

lazy_int conditional_as_initialiser(bool c) {
  int r = c ? 1 : co_await two();
  co_return r;
}
lazy_int or_as_initialiser(bool c) {
  bool r = c || co_await two();
  co_return r;
}
lazy_int or_as_initialiser_in_a_condition(bool c) {
  if (bool r = c || co_await two()) co_return r;
  co_return 0;
}
lazy_int conditional_assigned(bool c) {
  int r = 0;
  r = c ? 1 : co_await two();
  co_return r;
}
lazy_int an_if_statement(bool c) {
  int r = 1;
  if (!c) r = co_await two();
  co_return r;
}
lazy_int an_early_return(bool c) {
  if (c) co_return 1;
  co_return co_await two();
}

// ---- Hazard 10: each begins the co_await once, and yields 1 ----

lazy_int await_in_an_if(bool) {
  if (co_await two()) co_return 1;
  co_return 0;
}
lazy_int await_in_an_if_that_is_not_the_first(bool c) {
  if (!c) co_return 0;
  same(1);
  if (co_await two() == 2) co_return 1;
  co_return 0;
}
lazy_int await_in_a_switch(bool) {
  switch (co_await two()) {
    case 2: co_return 1;
    default: co_return 0;
  }
}
lazy_int await_in_a_while(bool) {
  while (co_await two() == 3) {
  }
  co_return 1;
}
template <class T>
lazy_int await_in_an_if_of_a_template(T) {
  if (co_await two()) co_return 1;
  co_return 0;
}

lazy_int await_in_an_if_that_declares(bool) {
  if (int r = co_await two()) co_return r - 1;
  co_return 0;
}
lazy_int await_in_a_while_that_declares(bool) {
  while (int r = co_await two()) co_return r - 1;
  co_return 0;
}
lazy_int await_in_an_if_after_a_declaration(bool) {
  int one = 1;
  if (co_await two()) co_return one;
  co_return 0;
}
lazy_int awaited_by_name_first(bool) {
  int r = co_await two();
  if (r == 2) co_return 1;
  co_return 0;
}
lazy_int await_in_an_if_of_a_lambda(bool c) {
  auto f = [](bool) -> lazy_int {
    if (co_await two()) co_return 1;
    co_return 0;
  };
  return f(c);
}

#define HAZARDOUS(f) construct{#f, true, f}
#define SAFE(f) construct{#f, false, f}

const construct operands[] = {
    HAZARDOUS(conditional_returned),
    HAZARDOUS(or_returned),
    HAZARDOUS(and_returned),
    HAZARDOUS(conditional_as_argument),
    HAZARDOUS(conditional_deep_in_an_initialiser),
    HAZARDOUS(two_conditionals_in_an_initialiser),
    HAZARDOUS(or_in_the_condition_of_a_loop),
    SAFE(conditional_as_initialiser),
    SAFE(or_as_initialiser),
    SAFE(or_as_initialiser_in_a_condition),
    SAFE(conditional_assigned),
    SAFE(an_if_statement),
    SAFE(an_early_return),
};

const construct conditions[] = {
    HAZARDOUS(await_in_an_if),
    HAZARDOUS(await_in_an_if_that_is_not_the_first),
    HAZARDOUS(await_in_a_switch),
    HAZARDOUS(await_in_a_while),
    HAZARDOUS(await_in_an_if_of_a_template<bool>),
    SAFE(await_in_an_if_that_declares),
    SAFE(await_in_a_while_that_declares),
    SAFE(await_in_an_if_after_a_declaration),
    SAFE(awaited_by_name_first),
    SAFE(await_in_an_if_of_a_lambda),
};

std::string name_of(const testing::TestParamInfo<construct>& each) {
  std::string_view name = each.param.name;
  return std::string(name.substr(0, name.find('<')));
}

struct outcome {
  bool done;
  int value;
  int begun;
  friend bool operator==(const outcome&, const outcome&) = default;
  friend std::ostream& operator<<(std::ostream& out, const outcome& o) {
    return out << (o.done ? "done" : "never done") << ", value " << o.value << ", begun " << o.begun << " times";
  }
};
outcome run(const construct& c) {
  begun = 0;
  lazy_int t = c.body(true);
  t.start();
  return outcome{t.done(), t.value(), begun};
}

class conditional_operands : public testing::TestWithParam<construct> {};

TEST_P(conditional_operands, are_begun_as_the_version_list_says) {
  outcome o = run(GetParam());
  if (!GetParam().hazardous || !RUNNEL_CO_AWAIT_IGNORES_CONDITIONS) {
    EXPECT_EQ(o, (outcome{true, 1, 0}));
  } else {
    EXPECT_TRUE(o.done);
    EXPECT_EQ(o.value, 1);
#if RUNNEL_GCC && __GNUC__ == 12
    EXPECT_GT(o.begun, 0) << "not begun: RUNNEL_CO_AWAIT_IGNORES_CONDITIONS must be 0 for this compiler";
#endif
  }
}
INSTANTIATE_TEST_SUITE_P(probe, conditional_operands, testing::ValuesIn(operands), name_of);

class awaits_in_conditions : public testing::TestWithParam<construct> {};

// Where a body is lost, what its first resumption does depends on what was in the frame's memory: another process.
void run_and_leave(const construct& c) { std::_Exit(run(c) == outcome{true, 1, 1} ? 0 : 1); }
bool came_to_grief(int status) { return !WIFEXITED(status) || WEXITSTATUS(status) != 0; }

TEST_P(awaits_in_conditions, run_as_the_version_list_says) {
  if (GetParam().hazardous && RUNNEL_CO_AWAIT_IN_CONDITION_IS_LOST)
    EXPECT_EXIT(run_and_leave(GetParam()), came_to_grief, "")
        << "it ran: RUNNEL_CO_AWAIT_IN_CONDITION_IS_LOST must be 0 for this compiler";
  else
    EXPECT_EXIT(run_and_leave(GetParam()), testing::ExitedWithCode(0), "")
        << "RUNNEL_CO_AWAIT_IN_CONDITION_IS_LOST must be 1 for this compiler";
}
INSTANTIATE_TEST_SUITE_P(probe, awaits_in_conditions, testing::ValuesIn(conditions), name_of);

}  // namespace
