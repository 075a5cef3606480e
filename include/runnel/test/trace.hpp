// SPDX-License-Identifier: BSL-1.0
// runnel/test/trace.hpp: trace, what a test run did, step by step.
// Layer: L13
#pragma once

#include <runnel/detail/census_text.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <source_location>
#include <string>
#include <utility>
#include <vector>

namespace runnel::test {

/// What happened in a run: which goroutine ran in each step, or which timer fired, and of how many possible steps it
/// was which. Two runs with the same trace did the same.
///
/// Lifetime: holds no pointers but to the names of source files.
class trace {
 public:
  struct step {
    // A goroutine, or a fork-join child, goes on; a goroutine that was cancelled is unwound; a timer fires; a handler
    // of Asio runs; the one that runs draws among equals.
    enum class kind_t : std::uint8_t { goroutine, child, unwinding, timer, handler, draw };
    kind_t kind;
    std::uint32_t number;  // of the goroutine or fork-join child; 0 for a timer or a handler
    std::uint32_t choice;  // 0: what the default order takes
    std::uint32_t of;      // how many were possible
    std::int64_t at_ns;    // on the run's clock
    friend bool operator==(const step&, const step&) = default;
  };
  struct routine {
    std::source_location where;  // it was started
    std::uint64_t parent = 0;    // of a child of all or race
    bool is_body = false;
    friend bool operator==(const routine& a, const routine& b) noexcept {
      return a.parent == b.parent && a.is_body == b.is_body && a.where.line() == b.where.line() &&
             a.where.column() == b.where.column() && std::strcmp(a.where.file_name(), b.where.file_name()) == 0;
    }
  };

  const std::vector<step>& steps() const noexcept { return x_steps; }
  /// The goroutines and children, by number: the first is number 1.
  const std::vector<routine>& routines() const noexcept { return x_routines; }
  friend bool operator==(const trace&, const trace&) = default;

  /// The choices that were not the default ones, as test::schedule takes them: "step:choice,...".
  std::string schedule_text() const {
    std::string text;
    for (std::size_t i = 0; i < x_steps.size(); ++i)
      if (x_steps[i].choice != 0)
        text += (text.empty() ? "" : ",") + std::to_string(i) + ":" + std::to_string(x_steps[i].choice);
    return text;
  }
  /// One line for each step, the last `most` of them.
  std::string text(std::size_t most = SIZE_MAX) const {
    std::string out;
    std::size_t first = x_steps.size() > most ? x_steps.size() - most : 0;
    if (first != 0) out += "  ... " + std::to_string(first) + " steps before\n";
    for (std::size_t i = first; i <= x_steps.size(); ++i) {
      if (!x_event.empty() && i == x_event_at) out += "  " + x_event + "\n";
      if (i < x_steps.size()) out += line(i) + "\n";
    }
    return out;
  }
  /// What is known of a goroutine.
  std::string name(std::uint64_t number) const {
    if (number == 0 || number > x_routines.size()) return "an unknown place";
    const routine& r = x_routines[static_cast<std::size_t>(number - 1)];
    if (r.is_body) return "the body";
    if (r.parent != 0) return "a child of an all or race in " + std::to_string(r.parent);
    return detail::place_text(r.where);
  }

  // For the runtime of a test run.
  void add(const step& s) { x_steps.push_back(s); }
  void add(const routine& r) { x_routines.push_back(r); }
  // Something that is no step has happened before the next one.
  void add(std::string event) {
    x_event = std::move(event);
    x_event_at = x_steps.size();
  }

 private:
  std::string line(std::size_t i) const {
    const step& s = x_steps[i];
    std::string out = "  " + std::to_string(i) + "  " + detail::duration_text(s.at_ns) + "  ";
    std::string who = "goroutine " + std::to_string(s.number);
    switch (s.kind) {
      case step::kind_t::timer:
        out += "a timer fires";
        break;
      case step::kind_t::handler:
        out += "a handler of Asio runs";
        break;
      case step::kind_t::draw:
        out += who + " draws";
        break;
      case step::kind_t::unwinding:
        out += who + " is unwound (" + name(s.number) + ")";
        break;
      default:
        out += who + " runs (" + name(s.number) + ")";
    }
    if (s.of > 1) out += "  [" + std::to_string(s.choice) + " of 0.." + std::to_string(s.of - 1) + "]";
    return out;
  }

  std::vector<step> x_steps;
  std::vector<routine> x_routines;
  std::string x_event;
  std::size_t x_event_at = 0;
};

}  // namespace runnel::test
