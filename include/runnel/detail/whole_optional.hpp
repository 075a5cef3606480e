// SPDX-License-Identifier: BSL-1.0
// runnel/detail/whole_optional.hpp: an optional of a small element, made in registers.
// Layer: L0
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <type_traits>
#include <utility>

namespace runnel::detail {

// g++ makes a small optional in memory, the element and then the flag behind it, and reads both with one load, as it is
// copied like a number. No processor forwards two stores to one load: it waits until they have reached the cache, for
// 6 ns on some, which is most of what a receive takes. So the number is made of the two, where the layout is known:
// that of libstdc++ and libc++, on a little-endian processor (tests/unit/detail/whole_optional_test.cpp).
template <std::size_t Size> struct number_of_size {
  using type = void;
};
template <> struct number_of_size<1> {
  using type = std::uint8_t;
};
template <> struct number_of_size<2> {
  using type = std::uint16_t;
};
template <> struct number_of_size<4> {
  using type = std::uint32_t;
};
template <> struct number_of_size<8> {
  using type = std::uint64_t;
};
template <> struct number_of_size<16> {
  [[gnu::vector_size(16)]] typedef std::uint64_t type;  // of a number of 128 bits g++ makes two parts again
};
template <class T> using number_like = typename number_of_size<sizeof(T)>::type;

#if defined(__GLIBCXX__) || defined(_LIBCPP_VERSION)
template <class T>
inline constexpr bool is_made_whole =
    std::endian::native == std::endian::little && std::is_trivially_copyable_v<T> &&
    std::is_trivially_copyable_v<std::optional<T>> && sizeof(std::optional<T>) == 2 * sizeof(T) &&
    !std::is_void_v<number_like<T>> && !std::is_void_v<number_like<std::optional<T>>>;
#else
template <class T> inline constexpr bool is_made_whole = false;
#endif

// The bytes of an optional that holds what has the bytes of `number`.
template <class Whole, class Number> constexpr Whole with_flag(Number number) noexcept {
  if constexpr (sizeof(Whole) == 16)
    return Whole{number, 1};
  else
    return static_cast<Whole>(Whole{1} << 8 * sizeof(Number) | number);
}

// std::optional<T>(std::move(value)).
template <class T> [[gnu::always_inline]] inline std::optional<T> make_whole_optional(T&& value) {
  if constexpr (is_made_whole<T>) {
    const auto whole = with_flag<number_like<std::optional<T>>>(std::bit_cast<number_like<T>>(value));
    std::optional<T> made;
    std::memcpy(static_cast<void*>(&made), &whole, sizeof made);  // of a bit_cast g++ stores each copy on the way
    return made;
  } else {
    return std::optional<T>(std::move(value));
  }
}

}  // namespace runnel::detail
