// SPDX-License-Identifier: BSL-1.0
// runnel/detail/asio_deferral.hpp: reads that do not begin until Asio has asked for events once more.
// Layer: L2
#pragma once

#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/spinlock.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <utility>

namespace runnel::detail {

struct goroutine;

// A read that has not begun. Its goroutine waits for nothing else, with a word of 0: no canceller takes it out of that.
struct deferred_read : fifo_link {
  goroutine* reader = nullptr;
  // By a handler: reads, or begins to wait. True: there was something. A reader that can go on is put into `woken`; one
  // that has begun to wait may be gone.
  bool (*try_now)(deferred_read& self, fifo& woken) noexcept = nullptr;
};

// A read that follows a write mostly finds nothing yet: that is a system call in vain, and then the reactor, its event
// and its handler. But where a batch of connections is served at a time, the answer to the first is there when the last
// has been served and Asio has asked for events again. So a read may be put off by two *turns* of Asio's queue, one of
// which is behind the batch and one behind those events; for most that one call is then all. Decision 024 has the
// figures.
//
// It pays where many wait at a time and where the answers are that quick. So reads are put off in *spells*. One begins
// by chance, once in 2^rarity reads, and ends when it is judged not to pay; then the next is half as likely.
//
// A turn is a handler, and one is outstanding while any read waits: who adds the first posts it, and each the next.
class asio_deferral {
 public:
  explicit asio_deferral(unsigned threads) noexcept : x_enough(std::size_t{4} * (threads - 1)) {}

  // Whether a read is to be put off; `dice` is random.
  bool wants(std::uint64_t dice) noexcept {
    unsigned rarity = x_rarity.load(std::memory_order_relaxed);  // relaxed: a hint
    if (rarity == in_spell) return true;
    if (dice >> (64 - rarity) != 0) [[likely]] return false;
    begin_spell(rarity);
    return true;
  }
  // True: the caller posts a turn. The read may be over when this returns.
  [[nodiscard]] bool add(deferred_read& read) noexcept {
    std::lock_guard hold(x_lock);
    x_newer.push(&read);
    return !std::exchange(x_turns, true);
  }
  // A turn. `due` are to be tried, and tried() told. True: the caller posts the next.
  [[nodiscard]] bool turn(fifo& due) noexcept {
    std::lock_guard hold(x_lock);
    x_seen.waited += x_older.size() + x_newer.size();
    ++x_seen.turns;
    due = std::exchange(x_older, std::move(x_newer));
    return x_turns = !x_older.empty();
  }
  void tried(std::size_t reads, std::size_t found) noexcept {
    std::lock_guard hold(x_lock);
    x_seen.tried += reads;
    x_seen.found += found;
    if (x_seen.turns >= judged) judge();
  }
  // All that wait. For a world of which nobody, perhaps, runs the handlers.
  fifo take_all() noexcept {
    std::lock_guard hold(x_lock);
    fifo all = std::move(x_older);
    all.append(x_newer);
    return all;
  }
  // For tests: all reads are put off from now on.
  void set_endless() noexcept {
    std::lock_guard hold(x_lock);
    x_endless = true;
    x_rarity.store(in_spell, std::memory_order_relaxed);
  }

 private:
  static constexpr unsigned judged = 8, in_spell = 0, least_rarity = 10, most_rarity = 16;

  void begin_spell(unsigned rarity) noexcept {
    std::lock_guard hold(x_lock);
    x_last_rarity = rarity;
    x_seen = {};
    x_rarity.store(in_spell, std::memory_order_relaxed);
  }
  void judge() noexcept {
    const bool pays = x_seen.found * 4 >= x_seen.tried * 3 && x_seen.waited >= x_enough * x_seen.turns;
    x_seen = {};
    if (pays)
      x_last_rarity = least_rarity - 1;
    else if (!x_endless && x_rarity.load(std::memory_order_relaxed) == in_spell)
      x_rarity.store(std::min(x_last_rarity + 1, most_rarity), std::memory_order_relaxed);
  }

  struct seen_t {
    unsigned turns = 0;
    std::size_t waited = 0, tried = 0, found = 0;  // in all of them
  };

  const std::size_t x_enough;  // have to wait at a time; where they are fewer, threads would sleep between the turns
  std::atomic<unsigned> x_rarity{least_rarity};
  spinlock x_lock;  // guards the rest
  bool x_turns = false;  // one is outstanding
  bool x_endless = false;
  unsigned x_last_rarity = least_rarity;
  fifo x_newer, x_older;
  seen_t x_seen;  // since it was judged
};

}  // namespace runnel::detail
