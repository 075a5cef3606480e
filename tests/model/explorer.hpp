// SPDX-License-Identifier: BSL-1.0
// tests/model/explorer.hpp: visits every reachable state of a model, breadth first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace runnel::model {

// A model M has
//   using state = a trivially copyable struct without padding
//   template <class F> void each_move(const state&, F visit)   calls visit(move, state after, fault or null)
//   const char* judge(const state&)                            what is wrong with a state that has no moves, or null
// A state is kept whole (no hash compaction): nothing is skipped because two states look alike. It is stored as a
// bit mask of its non-zero bytes followed by those bytes.

struct verdict {
  const char* fault = nullptr;                                 // null: every state and every end is right
  std::size_t states = 0, ends = 0;                            // an end is a state without moves
  bool repeats = false;                                        // some execution goes round for ever
  bool complete = true;                                        // false: stopped at the limit
  std::vector<std::pair<std::uint16_t, std::uint32_t>> trace;  // (move, state before it), the last one makes the fault
};

template <class State> class state_set {
  static_assert(std::is_trivially_copyable_v<State> && std::has_unique_object_representations_v<State>,
                "states are compared as bytes: they must be trivially copyable and have no padding");

 public:
  state_set() : x_slots(std::size_t{1} << 16, 0) {}

  std::uint32_t size() const { return static_cast<std::uint32_t>(x_offsets.size()); }

  // Returns the number of the state and whether it is new.
  std::pair<std::uint32_t, bool> insert(const State& s) {
    if (x_offsets.size() * 2 >= x_slots.size()) grow();
    std::size_t length = pack(s);
    std::size_t slot = hash(x_packed, length) & (x_slots.size() - 1);
    for (; x_slots[slot]; slot = (slot + 1) & (x_slots.size() - 1)) {
      std::uint32_t n = x_slots[slot] - 1;
      if (length_of(n) == length && !std::memcmp(&x_bytes[x_offsets[n]], x_packed, length)) return {n, false};
    }
    x_slots[slot] = size() + 1;
    x_offsets.push_back(x_bytes.size());
    x_bytes.insert(x_bytes.end(), x_packed, x_packed + length);
    return {size() - 1, true};
  }

  State at(std::uint32_t n) const {
    unsigned char raw[sizeof(State)] = {};
    const unsigned char* mask = &x_bytes[x_offsets[n]];
    const unsigned char* from = mask + mask_size;
    for (std::size_t i = 0; i < mask_size; ++i)
      for (unsigned bits = mask[i]; bits; bits &= bits - 1)
        raw[i * 8 + static_cast<unsigned>(__builtin_ctz(bits))] = *from++;
    State s;
    std::memcpy(&s, raw, sizeof s);
    return s;
  }

 private:
  static constexpr std::size_t mask_size = (sizeof(State) + 7) / 8;

  std::size_t pack(const State& s) {
    unsigned char raw[sizeof(State)];
    std::memcpy(raw, &s, sizeof s);
    std::memset(x_packed, 0, mask_size);
    unsigned char* to = x_packed + mask_size;
    for (std::size_t i = 0; i < sizeof(State); ++i) {
      if (!raw[i]) continue;
      x_packed[i / 8] = static_cast<unsigned char>(x_packed[i / 8] | 1u << (i % 8));
      *to++ = raw[i];
    }
    return static_cast<std::size_t>(to - x_packed);
  }

  static std::size_t hash(const unsigned char* p, std::size_t length) {
    std::uint64_t h = 0x9E3779B97F4A7C15u ^ length;
    for (; length >= 8; p += 8, length -= 8) {
      std::uint64_t part;
      std::memcpy(&part, p, 8);
      h = (h ^ part) * 0xFF51AFD7ED558CCDu;
      h ^= h >> 32;
    }
    for (; length; ++p, --length) h = (h ^ *p) * 0x100000001B3u;
    return static_cast<std::size_t>(h ^ h >> 29);
  }

  std::size_t length_of(std::uint32_t n) const {
    return (n + 1 < size() ? x_offsets[n + 1] : x_bytes.size()) - x_offsets[n];
  }

  void grow() {
    std::vector<std::uint32_t> bigger(x_slots.size() * 2, 0);
    for (std::uint32_t n = 0; n < size(); ++n) {
      std::size_t slot = hash(&x_bytes[x_offsets[n]], length_of(n)) & (bigger.size() - 1);
      while (bigger[slot]) slot = (slot + 1) & (bigger.size() - 1);
      bigger[slot] = n + 1;
    }
    x_slots.swap(bigger);
  }

  std::vector<std::uint32_t> x_slots;  // number + 1, 0 is free
  std::vector<std::size_t> x_offsets;
  std::vector<unsigned char> x_bytes;
  unsigned char x_packed[sizeof(State) + mask_size];
};

template <class Model> class explorer {
 public:
  using state = typename Model::state;

  explicit explorer(Model& model) : x_model(model) {}

  verdict run(const state& first, std::size_t limit) {
    verdict v;
    x_states.insert(first);
    x_came_from.push_back({0, 0});
    for (std::uint32_t n = 0; n < x_states.size() && !v.fault; ++n) {
      if (x_states.size() > limit) {
        v.complete = false;
        break;
      }
      const state before = x_states.at(n);
      bool moved = false;
      x_model.each_move(before, [&](std::uint16_t move, const state& after, const char* fault) {
        moved = true;
        if (v.fault) return;
        if (fault) {
          v.fault = fault;
          v.trace = way_to(n);
          v.trace.push_back({move, n});
          return;
        }
        auto [number, fresh] = x_states.insert(after);
        if (fresh) x_came_from.push_back({n, move});
        x_edges.push_back({n, number});
      });
      if (moved || v.fault) continue;
      ++v.ends;
      v.fault = x_model.judge(before);
      if (v.fault) v.trace = way_to(n);
    }
    v.states = x_states.size();
    if (!v.fault && v.complete) v.repeats = has_cycle();
    return v;
  }

  state at(std::uint32_t n) const { return x_states.at(n); }

 private:
  struct origin {
    std::uint32_t state;
    std::uint16_t move;
  };

  std::vector<std::pair<std::uint16_t, std::uint32_t>> way_to(std::uint32_t n) const {
    std::vector<std::pair<std::uint16_t, std::uint32_t>> backwards;
    for (; n; n = x_came_from[n].state) backwards.push_back({x_came_from[n].move, x_came_from[n].state});
    return {backwards.rbegin(), backwards.rend()};
  }

  // Takes away states that nothing leads to until none is left; what stays lies on a cycle or behind one.
  bool has_cycle() const {
    std::vector<std::uint32_t> incoming(x_states.size(), 0), first(x_states.size() + 1, 0), to(x_edges.size());
    for (auto& e : x_edges) ++incoming[e.second], ++first[e.first + 1];
    for (std::size_t i = 0; i < x_states.size(); ++i) first[i + 1] += first[i];
    std::vector<std::uint32_t> place(first.begin(), first.end());
    for (auto& e : x_edges) to[place[e.first]++] = e.second;
    std::vector<std::uint32_t> free{0};
    std::size_t taken = 0;
    if (incoming[0]) return true;
    while (!free.empty()) {
      std::uint32_t n = free.back();
      free.pop_back();
      ++taken;
      for (std::uint32_t i = first[n]; i < first[n + 1]; ++i)
        if (--incoming[to[i]] == 0) free.push_back(to[i]);
    }
    return taken < x_states.size();
  }

  Model& x_model;
  state_set<state> x_states;
  std::vector<origin> x_came_from;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> x_edges;
};

}  // namespace runnel::model
