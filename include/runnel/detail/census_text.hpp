// SPDX-License-Identifier: BSL-1.0
// runnel/detail/census_text.hpp: what a census found, in words.
// Layer: L12
#pragma once

#include <runnel/detail/census.hpp>
#include <runnel/detail/place_text.hpp>
#include <runnel/detail/group_core.hpp>
#include <runnel/waiter.hpp>

#include <cstdint>
#include <cstdio>
#include <map>
#include <source_location>
#include <string>
#include <string_view>

namespace runnel::detail {

// 1.5s, 20ms, 3us, 0s: three digits.
inline std::string duration_text(std::int64_t ns) {
  const char* units[] = {"ns", "us", "ms", "s"};
  auto value = static_cast<double>(ns);
  int unit = 0;
  if (ns == 0) unit = 3;
  for (; unit < 3 && (value >= 1000 || value <= -1000); ++unit) value /= 1000;
  char text[40];
  std::snprintf(text, sizeof text, value >= 1000 ? "%.0f%s" : "%.3g%s", value, units[unit]);
  return text;
}

// Says what is waited for. Channels and the like get numbers in the order in which they come up.
class wait_teller {
 public:
  explicit wait_teller(std::int64_t now) : x_now(now) {}

  std::string operator()(const wait_info& w) { return what(w) + (w.for_ever ? ": for ever" : ""); }

 private:
  std::string what(const wait_info& w) {
    using kind = wait_info::kind_t;
    switch (w.kind) {
      case kind::nothing:
        return "for what it adopted, or runs";
      case kind::runnable:
        return "for its turn";
      case kind::timer:
        return w.for_ever ? "for a timer" : "for a timer, " + duration_text(w.at - x_now) + " more";
      case kind::channel:
        return to_do(w) + number(w.object, "channel") + " (" + filling(w) + ")";
      case kind::gone:
        return to_do(w) + "a channel of which no handle is left";
      case kind::nil:
        return to_do(w) + "the nil channel";
      case kind::other:
        return reason(w);
      case kind::select:
        return "in a select";
      case kind::operation:
        return "for an operation of Asio";
      case kind::group:
        return children(w.length) + " of a group";
      case kind::fork_join:
        return children(w.length) + " of an all or race";
      case kind::tasks:
        return "for " + std::to_string(w.length) + (w.length == 1 ? " task" : " tasks") + " of async to end";
      case kind::blocking:
        return "for its blocking call to return";
    }
    return "for something";
  }
  static std::string to_do(const wait_info& w) {
    return w.reason == waiter::reason_t::send ? "to send to " : "to receive from ";
  }
  static std::string filling(const wait_info& w) {
    if (w.capacity == 0) return "unbuffered";
    return std::to_string(w.length) + " of " + std::to_string(w.capacity);
  }
  static std::string children(std::size_t n) {
    return "for " + std::to_string(n) + (n == 1 ? " child" : " children");
  }
  static std::string reason(const wait_info& w) {
    switch (w.reason) {
      case waiter::reason_t::slot:
        return "for a slot in a group";
      case waiter::reason_t::zero_count:
        return "for a wait_group";
      case waiter::reason_t::done:
        return "for a context to be done";
      case waiter::reason_t::quiet:
        return "for everybody else to wait";
      case waiter::reason_t::tick:
        return "for a timer's tick";
      case waiter::reason_t::lock:
        return "for a mutex";
      case waiter::reason_t::permits:
        return "for a semaphore";
      case waiter::reason_t::notification:
        return "to be notified by a condition";
      case waiter::reason_t::event:
        return "for an event";
      case waiter::reason_t::latch:
        return "for a latch";
      case waiter::reason_t::barrier:
        return "for the others at a barrier";
      case waiter::reason_t::once:
        return "for a once";
      case waiter::reason_t::thread:
        return "for a thread to make a blocking call";
      case waiter::reason_t::broadcast:
        return "for a broadcast";
      case waiter::reason_t::oneshot:
        return "for the other half of a oneshot";
      case waiter::reason_t::watch:
        return "for a watched value to change";
      case waiter::reason_t::task:
        return "for a task of async";
      default:
        return "for something";
    }
  }
  std::string number(const void* object, const char* noun) {
    auto n = x_numbers.try_emplace(object, x_numbers.size() + 1).first->second;
    return std::string(noun) + " " + std::to_string(n);
  }

  std::int64_t x_now;
  std::map<const void*, std::size_t> x_numbers;
};

}  // namespace runnel::detail
