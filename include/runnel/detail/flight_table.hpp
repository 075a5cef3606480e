// SPDX-License-Identifier: BSL-1.0
// runnel/detail/flight_table.hpp: the calls of a singleflight that are under way.
// Layer: L7
#pragma once

#include <runnel/context.hpp>
#include <runnel/detail/runtime_core.hpp>
#include <runnel/sync/event.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace runnel::detail {

template <class T> using flight_value = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

// Flights by the hash of their key. A key is hashed and compared outside of the lock, since that is the user's
// code: whoever looks for one takes the flights of the same hash along, compares, and comes back; if flights were
// added meanwhile, again.
//
// Invariants, under x_mutex:
//   1. A flight that is listed takes new callers. It is unlisted when it lands, is forgotten, or is abandoned.
//   2. `callers` are those who wait, `deliveries` the channels that do; `shared` is fixed when it lands.
//   3. value and error are written by the flight alone, before it lands; read by those who have seen `ended`.
template <class Key, class T, class Hash, class Equal> class flight_table {
 public:
  struct flight {
    explicit flight(Key k) : key(std::move(k)) {}
    const Key key;
    event ended;
    std::optional<flight_value<T>> value;
    std::exception_ptr error;
    bool shared = false;

   private:
    friend flight_table;
    std::size_t hash = 0;
    bool listed = false, landed = false;
    std::size_t joined = 0, callers = 0;
    std::vector<std::function<void(const flight&)>> deliveries;
    std::optional<cancel_function> cancel;
  };
  using delivery = std::function<void(const flight&)>;

  explicit flight_table(bool cancel_abandoned) noexcept : x_cancel_abandoned(cancel_abandoned) {}
  bool cancels_abandoned() const noexcept { return x_cancel_abandoned; }

  // Joins the flight of this key, or lists a new one, which the caller then starts (second: true). A caller without
  // a delivery waits, and leaves again (see caller).
  std::pair<std::shared_ptr<flight>, bool> join(Key key, delivery deliver) {
    auto made = std::make_shared<flight>(std::move(key));  // in vain if there is one: the user's moves run outside
    made->hash = Hash()(made->key);
    for (;;) {
      std::uint64_t seen = 0;
      for (auto& candidate : flights_of(made->hash, seen)) {
        if (!Equal()(candidate->key, made->key)) continue;
        std::lock_guard hold(x_mutex);
        if (!candidate->listed) break;
        count_in(*candidate, deliver);
        return {std::move(candidate), false};
      }
      std::lock_guard hold(x_mutex);
      if (x_changes != seen) continue;
      count_in(*made, deliver);
      x_flights.emplace(made->hash, made);
      made->listed = true;
      ++x_changes;
      return {std::move(made), true};
    }
  }
  void forget(const Key& key) {
    std::uint64_t seen = 0;
    for (auto& candidate : flights_of(Hash()(key), seen)) {
      if (!Equal()(candidate->key, key)) continue;
      std::lock_guard hold(x_mutex);
      unlist(candidate);
    }
  }
  std::size_t waiting(const Key& key) {
    std::uint64_t seen = 0;
    for (auto& candidate : flights_of(Hash()(key), seen)) {
      if (!Equal()(candidate->key, key)) continue;
      std::lock_guard hold(x_mutex);
      return candidate->callers + candidate->deliveries.size();
    }
    return 0;
  }
  // The flight has ended, however; nobody else joins it.
  void land(const std::shared_ptr<flight>& f) noexcept {
    std::vector<delivery> deliveries;
    bool heard;
    {
      std::lock_guard hold(x_mutex);
      unlist(f);
      f->landed = true;
      f->shared = f->joined > 1;
      deliveries.swap(f->deliveries);
      heard = f->callers > 0 || !deliveries.empty();
    }
    for (auto& deliver : deliveries) deliver(*f);
    f->ended.set();
    if (f->error && !heard)
      if (auto* runtime = runtime_core::here()) runtime->unobserved(f->error, {});
  }
  // How to cancel it, if it is abandoned, now or later.
  void set_cancel(const std::shared_ptr<flight>& f, cancel_function cancel) {
    std::lock_guard hold(x_mutex);
    f->cancel.emplace(std::move(cancel));
  }

  // One that waits, as long as this lives.
  struct caller {
    flight_table& flights;
    const std::shared_ptr<flight>& mine;
    caller(flight_table& t, const std::shared_ptr<flight>& f) noexcept : flights(t), mine(f) {}
    caller(const caller&) = delete;
    caller& operator=(const caller&) = delete;
    ~caller() { flights.leave(mine); }
  };
  struct lander {
    flight_table& flights;
    const std::shared_ptr<flight>& mine;
    ~lander() { flights.land(mine); }
  };

 private:
  // Those with this hash, and a number that changes when one is added.
  std::vector<std::shared_ptr<flight>> flights_of(std::size_t hash, std::uint64_t& seen) {
    std::vector<std::shared_ptr<flight>> found;
    std::lock_guard hold(x_mutex);
    seen = x_changes;
    for (auto [at, end] = x_flights.equal_range(hash); at != end; ++at) found.push_back(at->second);
    return found;
  }
  void count_in(flight& f, delivery& deliver) {
    if (deliver)
      f.deliveries.push_back(std::move(deliver));
    else
      ++f.callers;
    ++f.joined;
  }
  void unlist(const std::shared_ptr<flight>& f) noexcept {
    if (!std::exchange(f->listed, false)) return;
    for (auto [at, end] = x_flights.equal_range(f->hash); at != end; ++at) {
      if (at->second != f) continue;
      x_flights.erase(at);
      return;
    }
  }
  void leave(const std::shared_ptr<flight>& f) noexcept {
    std::optional<cancel_function> cancel;
    {
      std::lock_guard hold(x_mutex);
      if (--f->callers > 0 || !x_cancel_abandoned || f->landed || !f->deliveries.empty()) return;
      unlist(f);
      cancel.swap(f->cancel);
    }
    if (cancel) (*cancel)();
  }

  const bool x_cancel_abandoned;
  std::mutex x_mutex;
  std::unordered_multimap<std::size_t, std::shared_ptr<flight>> x_flights;
  std::uint64_t x_changes = 0;
};

}  // namespace runnel::detail
