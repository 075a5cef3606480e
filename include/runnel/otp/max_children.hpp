// SPDX-License-Identifier: BSL-1.0
// runnel/otp/max_children.hpp: max_children, how many a supervisor may have at once.
// Layer: L10
#pragma once

#include <runnel/error.hpp>

#include <cstddef>

namespace runnel {

/// An option: at most n children at once, those that are being restarted included. Throws: misuse_error for n below 1.
class max_children {
 public:
  explicit max_children(std::ptrdiff_t n) : x_n(static_cast<std::size_t>(n)) {
    if (n < 1) throw misuse_error("runnel: max_children(n) takes at least 1");
  }
  std::size_t count() const noexcept { return x_n; }

 private:
  std::size_t x_n;
};

}  // namespace runnel
