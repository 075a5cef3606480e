// SPDX-License-Identifier: BSL-1.0
// runnel/compiler.hpp: the hazards of compiling coroutines, and what this library does about each
// Layer: L0
#pragma once

#include <runnel/config.hpp>

#include <memory>
#include <string_view>
#include <type_traits>
#include <utility>

// The hazards. tests/unit/compiler_probe_test.cpp asks the compiler in use about 1, 2, 3, 5 and 6, and
// compiler_probe_conditions_test.cpp about 9 and 10; they fail when the versions written here are wrong; 7 is in
// tests/compile_fail. Users: docs/reference/compiler.md.
//
// 1. A temporary of a co_await expression is destroyed twice. g++ before 13 (seen on 12.2 at every -O level;
//    reported for 11). GCC PR 101367, 100611, 99576 (closures), 107288 (aggregates). It takes members of the
//    temporary for variables of the frame, and destroys them once as such and once with the temporary. Hit:
//    prvalues of closures with a capture that has a destructor, of aggregates with a member that has one, and the
//    outcome of a ?: of any class that has one, wherever they stand in the full expression, on every way out:
//    completed, resumed, or destroyed while suspended. Not hit: named objects, also under std::move; types with a
//    constructor; values returned by a function; anything outside a co_await expression. Defence: our awaiters and
//    options have constructors; every function that returns an awaitable takes forwarding references and calls
//    detail::refuse_hazardous, or, where the call is right without a co_await (errgroup::go), what it returns does so
//    when that is awaited; moved(x) is how a named object is handed over. A function that takes T, std::function or
//    std::optional by value cannot see the temporary that its caller converts: ours do not. Nobody can see a ?:.
//
// 2. Returning a handle from await_suspend grows the stack. g++ at -O0, -O1, -Og, under ASan and TSan (12.2,
//    measured; GCC PR 100897). clang tail-calls at every level and under its sanitizers. Defence: with
//    RUNNEL_TRAMPOLINE, a transfer leaves the next handle with the resume loop and returns a noop coroutine.
//
// 3. The address of a thread-local, or what a const function such as pthread_self returned, is kept across a
//    suspension and used on another thread. clang at -O1 and above: LLVM #47179 and #63022 (closed), #111257
//    (open). Defence: a thread-local is read and written through RUNNEL_NOINLINE functions alone, and never
//    held as a reference over a co_await.
//
// 4. await_suspend touches what is gone. Once the handle is published (queued, stored, given to Asio) another
//    thread may resume the coroutine and destroy the frame, with the awaiter in it. Defence: publishing is
//    the last thing that await_suspend does; what it needs later it copies to locals first. clang before 19
//    may by itself spill into the frame after an inlined await_suspend (LLVM #56301, #65018, #72006) and
//    prevents its inlining where it must: RUNNEL_ALWAYS_INLINE on it would defeat that.
//
// 5. `auto [a, b] = co_await x;` leaks its hidden object when the frame dies suspended, and may destroy it
//    unmade in a loop. g++ 15 and 16 at -O1 and above; GCC PR 124584. Our cancellation destroys suspended
//    frames. Defence: awaiting yields std::optional, values and our own types, never pairs or tuples to be
//    taken apart there.
//
// 6. A frame destroyed from within its own await_suspend is touched afterwards. g++ 15.2; GCC PR 121961.
//    Defence: unwinding starts in the resume loop, never in await_suspend.
//
// 7. co_await inside a catch handler is ill-formed ([expr.await]). Defence: keep a flag or an exception_ptr
//    and await after the handler; finally and as_result do this for users.
//
// 8. A lambda that is a coroutine reads its captures through the closure, which is often dead by the first
//    resumption. Defence: go, async and the groups move callable and arguments into the frame that calls
//    them. Pass what a coroutine lambda needs as arguments wherever the closure does not outlive it.
//
// 9. A co_await in an operand of ?:, && or || is begun although its condition says no; only its value is then not
//    used. g++ 12.2 at every -O level, for every awaiter; Catch2's users report it for 12 and 14 (GCC PR 101027,
//    116775 are named there). g++ takes it out of its full expression and puts it before that. Hit: behind
//    co_return, in arguments, in the condition of a loop. Not hit: where the ?:, && or || is the whole initialiser of
//    a variable, the whole right-hand side of an assignment, or the whole statement. Nothing of ours can see it.
//    Defence: the project's own code has none (.ci/style.sh); users write an if statement.
//
// 10. A coroutine with a co_await in the condition of an if, switch or loop never runs: its first resumption comes
//    back, neither done nor waiting for anything, or crashes, by what was in the frame's memory before. g++ 12.2 at
//    every -O level; not clang. Hit: functions and templates, not lambdas, whose whole body declares nothing, neither
//    a variable nor a type. Not hit: a condition that declares, `if (bool ok = co_await f())`, for that is a
//    declaration. Defence: as of 9; users name the result.

/// 1 when this compiler has hazard 1. A fact, not a setting: the probe fails when it is wrong either way.
#if RUNNEL_GCC && __GNUC__ < 13
#define RUNNEL_CO_AWAIT_DOUBLE_DESTROY 1
#else
#define RUNNEL_CO_AWAIT_DOUBLE_DESTROY 0
#endif

/// 1 when this compiler has hazard 5, respectively 6: the probe asserts only the zeros, lest it crash.
#if RUNNEL_GCC && __GNUC__ >= 15
#define RUNNEL_STRUCTURED_BINDING_LEAKS 1
#else
#define RUNNEL_STRUCTURED_BINDING_LEAKS 0
#endif
#if RUNNEL_GCC && __GNUC__ == 15 && __GNUC_MINOR__ == 2
#define RUNNEL_DESTROY_IN_SUSPEND_CRASHES 1
#else
#define RUNNEL_DESTROY_IN_SUSPEND_CRASHES 0
#endif

/// 1 when this compiler has hazard 9. On g++ after 12 that is hearsay, and the probe asserts nothing.
#define RUNNEL_CO_AWAIT_IGNORES_CONDITIONS RUNNEL_GCC

/// 1 when this compiler has hazard 10. A fact, not a setting: the probe fails when it is wrong either way.
#if RUNNEL_GCC && __GNUC__ < 13
#define RUNNEL_CO_AWAIT_IN_CONDITION_IS_LOST 1
#else
#define RUNNEL_CO_AWAIT_IN_CONDITION_IS_LOST 0
#endif

/// A setting: 1 refuses the arguments of hazard 1. Define it to 1 to hold code that is written on another
/// compiler to what g++ 12 can compile rightly.
#if !defined(RUNNEL_REFUSE_HAZARDOUS)
#define RUNNEL_REFUSE_HAZARDOUS RUNNEL_CO_AWAIT_DOUBLE_DESTROY
#endif

namespace runnel {

/// A named object on its way to be moved: a reference that says so, with nothing to destroy.
///
/// Made by moved(). An operation that takes one moves from the object when it commits; if it never commits
/// (cancelled, closed, not chosen by a select) the object is whole.
///
/// Lifetime: the object must outlive the operation.
template <class T>
class moved_ref {
 public:
  using value_type = T;

  /// Not an aggregate on purpose (hazard 1).
  explicit constexpr moved_ref(T& object) noexcept : x_(std::addressof(object)) {}

  /// The object, still whole.
  [[nodiscard]] constexpr T& get() const noexcept { return *x_; }

  /// The object as an rvalue: the one move. For the operation that commits.
  [[nodiscard]] constexpr T&& take() && noexcept { return static_cast<T&&>(*x_); }

 private:
  T* x_;
};

/// Hands a named object to an operation that moves from it when it commits: `co_await ch.send(rn::moved(x))`.
///
/// Returns: a moved_ref to x.
/// Lifetime: x must outlive the operation.
template <class T>
[[nodiscard]] constexpr moved_ref<std::remove_reference_t<T>> moved(T&& x) noexcept {
  static_assert(std::is_lvalue_reference_v<T>,
                "rn::moved takes a named object: write `auto name = ...;` first, then rn::moved(name)");
  static_assert(!std::is_const_v<std::remove_reference_t<T>>,
                "rn::moved cannot move from a const object: drop the const, or pass the name to copy it");
  return moved_ref<std::remove_reference_t<T>>(x);
}

namespace detail {

template <class T>
inline constexpr bool is_moved_ref = false;
template <class T>
inline constexpr bool is_moved_ref<moved_ref<T>> = true;

// What rn::moved(x) hands over, moved; anything else as it is.
template <class U>
constexpr decltype(auto) unmoved(U&& u) noexcept {
  if constexpr (is_moved_ref<std::remove_cvref_t<U>>)
    return std::move(u.get());
  else
    return std::forward<U>(u);
}
// What a frame keeps of an argument of type U.
template <class U>
using kept_t = std::decay_t<decltype(unmoved(std::declval<U>()))>;

/// Whether T is named as closures are: clang ends the name with `(lambda at file:line:column)`, g++ with
/// `<lambda(parameters)>`, whose brackets must match, for a std::vector of closures ends in the same way.
template <class T>
consteval bool named_as_closure() {
  std::string_view name = __PRETTY_FUNCTION__;  // "... named_as_closure() [with T = main()::<lambda(int)>]"
  name.remove_suffix(1);
#if RUNNEL_GCC
  int depth = 0;
  for (auto i = name.size(); i-- > 0;) {
    if (name[i] == '>') ++depth;
    if (name[i] == '<') --depth;
    if (depth == 0) return name.substr(i).starts_with("<lambda(");
  }
  return false;
#else
  return name.ends_with(')') && name.find("(lambda at ") != std::string_view::npos;
#endif
}

/// Whether T is a lambda's closure type. The language cannot tell, so the type's name is asked.
template <class T>
inline constexpr bool is_closure_like = false;
template <class T>
  requires std::is_class_v<T>
inline constexpr bool is_closure_like<T> = named_as_closure<T>();

/// A closure that captures has neither a default constructor nor an assignment; asking this first spares
/// nearly every other type the look at its name, and a wrongly read name its consequence.
template <class T>
concept capturing_closure =
    !std::is_default_constructible_v<T> && !std::is_assignable_v<T&, T> && is_closure_like<T>;

/// A type whose temporaries hazard 1 hits.
template <class T>
concept hazardous_temporary = !std::is_trivially_destructible_v<std::remove_cvref_t<T>> &&
                              (std::is_aggregate_v<std::remove_cvref_t<T>> ||
                               capturing_closure<std::remove_cvref_t<T>>);

/// An argument that may be such a temporary; U is what a forwarding reference deduced. A std::move'd name
/// looks the same and is refused with it; a plain name and moved(name) pass.
template <class U>
concept hazardous_argument = !std::is_lvalue_reference_v<U> && hazardous_temporary<U>;

/// Stands first in every function that returns an awaitable; Args as forwarding references deduced them.
template <class... Args>
consteval void refuse_hazardous() noexcept {
  static_assert(!RUNNEL_REFUSE_HAZARDOUS || !(hazardous_argument<Args> || ...),
                "g++ 12 destroys this temporary twice: name it and pass rn::moved(name), or use emplace, or "
                "pass the captures as arguments");
}

}  // namespace detail
}  // namespace runnel
