// SPDX-License-Identifier: BSL-1.0
// support/counted.hpp: an element whose lives are counted.
#pragma once

#include <atomic>
#include <utility>

namespace runnel_test {

/// Move-only, has no default, knows whether it has been moved from, and how many there are that have not.
class counted {
 public:
  explicit counted(int value) noexcept : x_value(value) { ++x_whole; }
  counted(counted&& other) noexcept : x_value(std::exchange(other.x_value, moved_from)) {}
  counted& operator=(counted&& other) noexcept {
    if (this != &other) {
      end();
      x_value = std::exchange(other.x_value, moved_from);
    }
    return *this;
  }
  ~counted() { end(); }

  int value() const noexcept { return x_value; }
  bool whole() const noexcept { return x_value != moved_from; }
  /// How many hold a value, anywhere.
  static int alive() noexcept { return x_whole.load(); }

 private:
  static constexpr int moved_from = -1'000'000;
  void end() noexcept {
    if (whole()) --x_whole;
    x_value = moved_from;
  }
  int x_value;
  static inline std::atomic<int> x_whole{0};
};

}  // namespace runnel_test
