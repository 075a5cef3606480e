// SPDX-License-Identifier: BSL-1.0
// tests/fuzz/history.hpp: what was done to one channel, and whether a channel of one thread could have answered so.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace fuzz {

// Something that a channel did, at one moment between `asked` and `answered`. What was called off did nothing, and is
// not in a history.
struct event {
  enum class kind_t { sent, received, closed, found_closed, could_not_send, nothing_there, not_taken };
  kind_t kind;
  int value = 0;  // sent, received
  unsigned asked = 0, answered = 0;
};
using history = std::vector<event>;

inline std::string text_of(const event& e) {
  const char* names[] = {"sent", "received", "closed", "found it closed", "could not send: closed", "nothing there", "not taken"};
  std::string text = std::to_string(e.asked) + ".." + std::to_string(e.answered) + " " + names[static_cast<int>(e.kind)];
  if (e.kind == event::kind_t::sent || e.kind == event::kind_t::received) text += " " + std::to_string(e.value);
  return text;
}

// Looks for an order of the events in which each lies between its question and its answer, and which a plain queue that
// can be closed would show. Of an unbuffered channel a send and its receive are one moment.
class explanation {
 public:
  static constexpr std::size_t most_events = 64;

  explanation(const history& events, std::size_t capacity) : x_events(events), x_capacity(capacity) {}
  bool exists() { return x_events.size() <= most_events && search(0); }

 private:
  using kind = event::kind_t;
  using done_t = std::uint64_t;
  static done_t bit(std::size_t i) noexcept { return done_t{1} << i; }

  bool search(done_t done) {
    if (done == (x_events.size() == most_events ? ~done_t{0} : bit(x_events.size()) - 1)) return true;
    if (!x_dead_ends.contains({done, x_queue}) && try_each(done)) return true;
    x_dead_ends.insert({done, x_queue});
    return false;
  }
  bool try_each(done_t done) {
    unsigned first_answer = UINT32_MAX;  // of those that are left: nothing that was asked later can be next
    for (std::size_t i = 0; i < x_events.size(); ++i)
      if (!(done & bit(i))) first_answer = std::min(first_answer, x_events[i].answered);
    for (std::size_t i = 0; i < x_events.size(); ++i)
      if (!(done & bit(i)) && x_events[i].asked <= first_answer && try_one(done, i, first_answer)) return true;
    return false;
  }
  bool try_one(done_t done, std::size_t i, unsigned first_answer) {
    const event& e = x_events[i];
    switch (e.kind) {
      case kind::sent:
        if (x_closed) return false;
        if (x_capacity == 0) return try_pair(done | bit(i), e.value, first_answer);
        if (x_queue.size() >= x_capacity) return false;
        x_queue.push_back(e.value);
        if (search(done | bit(i))) return true;
        x_queue.pop_back();
        return false;
      case kind::received:
        if (x_capacity == 0 || x_queue.empty() || x_queue.front() != e.value) return false;
        x_queue.pop_front();
        if (search(done | bit(i))) return true;
        x_queue.push_front(e.value);
        return false;
      case kind::closed:
        if (x_closed) return false;
        x_closed = true;
        if (search(done | bit(i))) return true;
        x_closed = false;
        return false;
      case kind::found_closed:
        return x_closed && x_queue.empty() && search(done | bit(i));
      case kind::could_not_send:
        return x_closed && search(done | bit(i));
      case kind::nothing_there:
        return !x_closed && x_queue.empty() && search(done | bit(i));
      case kind::not_taken:  // by try_send, which does not say why
        return (x_closed || x_queue.size() >= x_capacity) && search(done | bit(i));
    }
    return false;
  }
  bool try_pair(done_t done, int value, unsigned first_answer) {
    for (std::size_t i = 0; i < x_events.size(); ++i) {
      const event& e = x_events[i];
      if (!(done & bit(i)) && e.kind == kind::received && e.value == value && e.asked <= first_answer)
        return search(done | bit(i));
    }
    return false;
  }

  const history& x_events;
  const std::size_t x_capacity;
  bool x_closed = false;
  std::deque<int> x_queue;
  std::set<std::pair<done_t, std::deque<int>>> x_dead_ends;
};

}  // namespace fuzz
