// SPDX-License-Identifier: BSL-1.0
// runnel/detail/trace_store.hpp: the ways that exceptions have taken through tasks and goroutines.
// Layer: L1
#pragma once

#include <runnel/config.hpp>
#include <runnel/detail/place_text.hpp>

#include <cstddef>
#include <deque>
#include <exception>
#include <mutex>
#include <source_location>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace runnel::detail {

// Known by the exception object, which is kept alive here: of the last `most`.
class trace_store {
 public:
  RUNNEL_SHARED static trace_store& the() {
    static auto& store = *new trace_store;  // for ever: exceptions outlive static objects
    return store;
  }

  // The exception leaves a coroutine whose last co_await stands there.
  void await(const std::exception_ptr& e, const std::source_location& at) noexcept { add(e, {at, false}); }
  // It leaves a goroutine that was started there.
  void spawn(const std::exception_ptr& e, const std::source_location& at) noexcept { add(e, {at, true}); }

  std::string text(const std::exception_ptr& e) {
    std::lock_guard hold(x_mutex);
    std::string text;
    const way* found = find(e);
    if (!found) return text;
    for (const step& s : found->steps) {
      const char* how = "  through the co_await at ";
      if (&s == &found->steps[0]) how = "  at or after the co_await at ";
      if (s.is_spawn) how = "  out of the goroutine started at ";
      text += how + place_text(s.where) + "\n";
    }
    if (found->left_out) text += "  and " + std::to_string(found->left_out) + " more\n";
    return text;
  }

 private:
  static constexpr std::size_t most = 64, longest = 64;
  struct step {
    std::source_location where;
    bool is_spawn;
  };
  struct way {
    std::exception_ptr error;
    std::vector<step> steps;
    std::size_t left_out = 0;
  };

  way* find(const std::exception_ptr& e) noexcept {
    for (way& w : x_ways)
      if (w.error == e) return &w;
    return nullptr;
  }
  void add(const std::exception_ptr& e, const step& s) noexcept {
    if (!e || s.where.line() == 0 || is_ours(s.where)) return;
    way last;  // dies without the lock: an exception's destructor is foreign code
    std::lock_guard hold(x_mutex);
    try {
      way* known = find(e);
      if (!known) {
        if (x_ways.size() == most) {
          last = std::move(x_ways.back());
          x_ways.pop_back();
        }
        known = &x_ways.emplace_front(way{e, {}});
      }
      if (known->steps.size() < longest)
        known->steps.push_back(s);
      else
        ++known->left_out;
    } catch (...) {  // no memory for it
    }
  }
  // The library's own coroutines are of no interest.
  static bool is_ours(const std::source_location& where) noexcept {
    constexpr std::string_view self = "detail/trace_store.hpp";
    std::string_view here = std::source_location::current().file_name();
    here.remove_suffix(self.size());
    return std::string_view(where.file_name()).starts_with(here);
  }

  std::mutex x_mutex;
  std::deque<way> x_ways;  // the newest first
};

}  // namespace runnel::detail
