// SPDX-License-Identifier: BSL-1.0
// runnel/detail/restart_window.hpp: how many restarts there were within a while, and why the last ones.
// Layer: L10
#pragma once

#include <runnel/detail/child_slot.hpp>
#include <runnel/otp/supervision.hpp>
#include <runnel/time_point.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace runnel::detail {

// Invariants: of max + 1 stamps the oldest is overwritten; there were too many restarts if, with the new one, all of
// them lie within the window, its edges included (SUP-16, SUP-17). Counting allocates nothing.
class restart_window {
 public:
  static constexpr std::size_t unlimited = SIZE_MAX;

  // Throws bad_alloc.
  void begin(std::size_t max, std::int64_t window_ns) {
    x_stamps.assign(max == unlimited ? 0 : max + 1, 0);
    x_window = window_ns;
    x_count = 0;
    x_reasons = {};
  }
  // False: that was one too many.
  bool count(std::int64_t now, const std::shared_ptr<const child_spec>& spec, std::exception_ptr error) noexcept {
    reason& r = x_reasons[x_count % x_reasons.size()];
    r.spec = spec;
    r.error = std::move(error);
    r.at = now;
    std::size_t n = x_count++;
    if (x_stamps.empty()) return true;
    x_stamps[n % x_stamps.size()] = now;
    return x_count < x_stamps.size() || now - x_stamps[x_count % x_stamps.size()] > x_window;
  }
  std::vector<restart_reason> reasons() const {
    std::vector<restart_reason> all;
    std::size_t kept = x_count < x_reasons.size() ? x_count : x_reasons.size();
    for (std::size_t i = x_count - kept; i < x_count; ++i) {
      const reason& r = x_reasons[i % x_reasons.size()];
      all.push_back({r.spec->id, r.error, from_ns(r.at)});
    }
    return all;
  }

 private:
  struct reason {
    std::shared_ptr<const child_spec> spec;
    std::exception_ptr error;
    std::int64_t at = 0;
  };
  std::vector<std::int64_t> x_stamps;
  std::array<reason, 16> x_reasons;
  std::size_t x_count = 0;
  std::int64_t x_window = 0;
};

inline std::exception_ptr start_error_of(const std::string& id, const std::exception_ptr& error) noexcept try {
  return std::make_exception_ptr(child_start_error(id, error));
} catch (...) {
  return std::current_exception();
}
// Of a child that is a supervisor: it has given up, which for the one above is an orderly end (SUP-19).
inline bool is_orderly(const std::exception_ptr& error) noexcept {
  try {
    std::rethrow_exception(error);
  } catch (const supervisor_error&) {
    return true;
  } catch (...) {
    return false;
  }
}

}  // namespace runnel::detail
