// SPDX-License-Identifier: BSL-1.0
// runnel/detail/spawn_place.hpp: where a goroutine was started, as a parameter behind any number of arguments.
// Layer: L2
#pragma once

#include <source_location>
#include <string>
#include <utility>

namespace runnel::detail {

// The place of a call. A type of its own, so that a std::source_location among the arguments is taken for one of them.
struct spawn_place {
  std::source_location place;
  constexpr spawn_place(std::source_location p) noexcept : place(p) {}  // implicit: for the default argument
};

// For reports. What run was given has no place, nor has a call with more arguments than there are overloads.
inline std::string started_at(const std::source_location& where) noexcept try {
  if (where.line() == 0) return "started by run, or with more arguments than keep their place";
  return "started at " + std::string(where.file_name()) + ':' + std::to_string(where.line());
} catch (...) {
  return {};
}

}  // namespace runnel::detail

// RESULT NAME(f, args...), which does START(place, f, args...). A defaulted place cannot follow a pack, so there is an
// overload for each number of arguments up to nine, which is f behind a context and eight of its own, and one for more,
// whose place is empty.
// clang-format off
#define RUNNEL_SPAWN_OVERLOADS(RESULT, NAME, START)                                                                  \
  template <class F>                                                                                                 \
  RESULT NAME(F&& f, detail::spawn_place at = std::source_location::current()) {                                     \
    return START(at.place, std::forward<F>(f));                                                                      \
  }                                                                                                                  \
  template <class F, class A1>                                                                                       \
  RESULT NAME(F&& f, A1&& a1, detail::spawn_place at = std::source_location::current()) {                            \
    return START(at.place, std::forward<F>(f), std::forward<A1>(a1));                                                \
  }                                                                                                                  \
  template <class F, class A1, class A2>                                                                             \
  RESULT NAME(F&& f, A1&& a1, A2&& a2, detail::spawn_place at = std::source_location::current()) {                   \
    return START(at.place, std::forward<F>(f), std::forward<A1>(a1), std::forward<A2>(a2));                          \
  }                                                                                                                  \
  template <class F, class A1, class A2, class A3>                                                                   \
  RESULT NAME(F&& f, A1&& a1, A2&& a2, A3&& a3, detail::spawn_place at = std::source_location::current()) {          \
    return START(at.place, std::forward<F>(f), std::forward<A1>(a1), std::forward<A2>(a2), std::forward<A3>(a3));    \
  }                                                                                                                  \
  template <class F, class A1, class A2, class A3, class A4>                                                         \
  RESULT NAME(F&& f, A1&& a1, A2&& a2, A3&& a3, A4&& a4, detail::spawn_place at = std::source_location::current()) { \
    return START(at.place, std::forward<F>(f), std::forward<A1>(a1), std::forward<A2>(a2), std::forward<A3>(a3),     \
        std::forward<A4>(a4));                                                                                       \
  }                                                                                                                  \
  template <class F, class A1, class A2, class A3, class A4, class A5>                                               \
  RESULT NAME(F&& f, A1&& a1, A2&& a2, A3&& a3, A4&& a4, A5&& a5,                                                    \
      detail::spawn_place at = std::source_location::current()) {                                                    \
    return START(at.place, std::forward<F>(f), std::forward<A1>(a1), std::forward<A2>(a2), std::forward<A3>(a3),     \
        std::forward<A4>(a4), std::forward<A5>(a5));                                                                 \
  }                                                                                                                  \
  template <class F, class A1, class A2, class A3, class A4, class A5, class A6>                                     \
  RESULT NAME(F&& f, A1&& a1, A2&& a2, A3&& a3, A4&& a4, A5&& a5, A6&& a6,                                           \
      detail::spawn_place at = std::source_location::current()) {                                                    \
    return START(at.place, std::forward<F>(f), std::forward<A1>(a1), std::forward<A2>(a2), std::forward<A3>(a3),     \
        std::forward<A4>(a4), std::forward<A5>(a5), std::forward<A6>(a6));                                           \
  }                                                                                                                  \
  template <class F, class A1, class A2, class A3, class A4, class A5, class A6, class A7>                           \
  RESULT NAME(F&& f, A1&& a1, A2&& a2, A3&& a3, A4&& a4, A5&& a5, A6&& a6, A7&& a7,                                  \
      detail::spawn_place at = std::source_location::current()) {                                                    \
    return START(at.place, std::forward<F>(f), std::forward<A1>(a1), std::forward<A2>(a2), std::forward<A3>(a3),     \
        std::forward<A4>(a4), std::forward<A5>(a5), std::forward<A6>(a6), std::forward<A7>(a7));                     \
  }                                                                                                                  \
  template <class F, class A1, class A2, class A3, class A4, class A5, class A6, class A7, class A8>                 \
  RESULT NAME(F&& f, A1&& a1, A2&& a2, A3&& a3, A4&& a4, A5&& a5, A6&& a6, A7&& a7, A8&& a8,                         \
      detail::spawn_place at = std::source_location::current()) {                                                    \
    return START(at.place, std::forward<F>(f), std::forward<A1>(a1), std::forward<A2>(a2), std::forward<A3>(a3),     \
        std::forward<A4>(a4), std::forward<A5>(a5), std::forward<A6>(a6), std::forward<A7>(a7),                      \
        std::forward<A8>(a8));                                                                                       \
  }                                                                                                                  \
  template <class F, class A1, class A2, class A3, class A4, class A5, class A6, class A7, class A8, class A9>       \
  RESULT NAME(F&& f, A1&& a1, A2&& a2, A3&& a3, A4&& a4, A5&& a5, A6&& a6, A7&& a7, A8&& a8, A9&& a9,                \
      detail::spawn_place at = std::source_location::current()) {                                                    \
    return START(at.place, std::forward<F>(f), std::forward<A1>(a1), std::forward<A2>(a2), std::forward<A3>(a3),     \
        std::forward<A4>(a4), std::forward<A5>(a5), std::forward<A6>(a6), std::forward<A7>(a7),                      \
        std::forward<A8>(a8), std::forward<A9>(a9));                                                                 \
  }                                                                                                                  \
  template <class F, class A1, class A2, class A3, class A4, class A5, class A6, class A7, class A8, class A9,       \
    class A10, class... More>                                                                                        \
  RESULT NAME(F&& f, A1&& a1, A2&& a2, A3&& a3, A4&& a4, A5&& a5, A6&& a6, A7&& a7, A8&& a8, A9&& a9, A10&& a10,     \
      More&&... more) {                                                                                              \
    return START(std::source_location(), std::forward<F>(f), std::forward<A1>(a1), std::forward<A2>(a2),             \
        std::forward<A3>(a3), std::forward<A4>(a4), std::forward<A5>(a5), std::forward<A6>(a6),                      \
        std::forward<A7>(a7), std::forward<A8>(a8), std::forward<A9>(a9), std::forward<A10>(a10),                    \
        std::forward<More>(more)...);                                                                                \
  }
// clang-format on

namespace runnel::detail {

// Gives go(f, args...) and try_go(f, args...) with their place. Self has go_at(place, f, args...) and try_go_at.
template <class Self>
class spawner {
 public:
  RUNNEL_SPAWN_OVERLOADS(auto, go, self().go_at)
  RUNNEL_SPAWN_OVERLOADS(bool, try_go, self().try_go_at)

 private:
  Self& self() noexcept { return static_cast<Self&>(*this); }
};

}  // namespace runnel::detail
