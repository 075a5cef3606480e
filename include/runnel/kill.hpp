// SPDX-License-Identifier: BSL-1.0
// runnel/kill.hpp: kill, the word for an end that no shield keeps off.
// Layer: L0
#pragma once

namespace runnel {

/// Instead of a grace time: killed at once. A kill pierces shields and the clean-up of rn::finally: every suspension
/// unwinds.
struct kill_t {
  explicit constexpr kill_t() noexcept = default;
};
inline constexpr kill_t kill{};

}  // namespace runnel
