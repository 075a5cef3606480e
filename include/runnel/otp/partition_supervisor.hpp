// SPDX-License-Identifier: BSL-1.0
// runnel/otp/partition_supervisor.hpp: partition_supervisor, the same child several times, and who of them has a key.
// Layer: L10
#pragma once

#include <runnel/detail/frame_allocator.hpp>
#include <runnel/detail/supervisor_call.hpp>
#include <runnel/detail/supervisor_core.hpp>
#include <runnel/error.hpp>
#include <runnel/otp/child_spec.hpp>
#include <runnel/otp/supervision.hpp>
#include <runnel/otp/supervisor.hpp>
#include <runnel/sync/mutex.hpp>
#include <runnel/task.hpp>

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <source_location>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace runnel {

/// How many there are: a partition_supervisor's first argument. Throws: misuse_error unless 1 <= n <= 65,536.
class partitions {
 public:
  partitions(std::ptrdiff_t n, std::source_location where = std::source_location::current())
      : x_n(static_cast<std::size_t>(n)), x_where(where) {
    if (n < 1 || n > 65'536) throw misuse_error("runnel: partitions(n) takes 1 to 65,536");
  }
  std::size_t count() const noexcept { return x_n; }
  std::source_location where() const noexcept { return x_where; }

 private:
  std::size_t x_n;
  std::source_location x_where;
};

namespace detail {

// Options, then f and args: f is given its partition before them.
template <class F, class... A>
requires(!child_option<F> && !supervisor_option<F>) void finish_partition(child_spec& spec, std::size_t index,
                                                                          const F& f, const A&... args) {
  check_child<const F&, std::size_t, const A&...>();
  spec.start = make_start(f, index, args...);
}
template <child_option O, class... Rest>
void finish_partition(child_spec& spec, std::size_t index, const O& option, const Rest&... rest) {
  spec.set(option);
  finish_partition(spec, index, rest...);
}
template <supervisor_option O, class... Rest>
void finish_partition(child_spec& spec, std::size_t index, const O&, const Rest&... rest) {
  finish_partition(spec, index, rest...);
}

// A run begins with all partitions, so its end gives the next one's keys to all of them. A resize that an end comes
// between to finds that another run counts, and begins anew.
struct partition_state final : run_listener {
  // What keys are divided by. Written by resize(), under `resizing`, and by the end of a run; read anywhere. relaxed:
  // it publishes nothing, for who is given a partition finds it as it finds any child.
  std::atomic<std::size_t> active;
  // How many runs have ended. seq_cst, with `active` where resize() writes that: either the end's value of `active` is
  // the last one, or resize() sees that there was an end.
  std::atomic<std::uint64_t> ends{0};
  const std::size_t all;
  mutex resizing;
  explicit partition_state(std::size_t n) noexcept : active(n), all(n) {}
  void run_ends() noexcept override {
    active.store(all, std::memory_order_seq_cst);
    ends.fetch_add(1, std::memory_order_seq_cst);
  }
};

}  // namespace detail

/// A handle to a partition_supervisor, which is one itself. Copies share it, and none keeps it alive.
///
/// Thread-safety: everything may be called from any thread, resize() from any goroutine.
class partition_supervisor_ref {
 public:
  /// The partition of a key: of an integer its absolute value, of anything else its hash, modulo their number.
  /// Throws: misuse_error if there is none at present.
  template <class Key> std::size_t partition_of(const Key& key) const {
    std::size_t n = x_state->active.load(std::memory_order_relaxed);
    if (n == 0) throw misuse_error("runnel: a partition_supervisor of no partitions has none for a key");
    if constexpr (std::signed_integral<Key>) {
      auto magnitude = static_cast<std::make_unsigned_t<Key>>(key);
      if (key < 0) magnitude = static_cast<std::make_unsigned_t<Key>>(0 - magnitude);
      return static_cast<std::size_t>(magnitude % n);
    } else if constexpr (std::integral<Key>) {
      return static_cast<std::size_t>(key % n);
    } else {
      return std::hash<Key>()(key) % n;
    }
  }
  /// How many have keys at present.
  std::size_t partition_count() const noexcept { return x_state->active.load(std::memory_order_relaxed); }

  /// Changes how many partitions run, from 0 to as many as it was made with: fewer first get no more keys and are then
  /// stopped; more are first started and then get keys. One after another, where several are asked for. A supervisor
  /// that has ended, and one that runs again, has all of them.
  ///
  /// Returns: how many there were. Throws: misuse_error for more than it was made with; child_start_error if one does
  /// not start: those before it are started, and have keys.
  /// Cancel-safety: what has been done stays; the same resize again does the rest.
  [[nodiscard("co_await it")]] task<std::size_t> resize(std::size_t n) {
    if (n > x_state->all)
      throw misuse_error("runnel: a partition_supervisor cannot have more partitions than it was made with");
    return resize_to(x_state, x_children, n);
  }

  /// As supervisor_ref. The ids are "0", "1" and so on.
  std::vector<child_info> which_children() const { return x_children.which_children(); }
  child_counts count_children() const noexcept { return x_children.count_children(); }
  bool is_running() const noexcept { return x_children.is_running(); }

 protected:
  partition_supervisor_ref(supervisor_ref children, std::shared_ptr<detail::partition_state> state)
      : x_children(std::move(children)), x_state(std::move(state)) {}

 private:
  static task<std::size_t> resize_to(std::shared_ptr<detail::partition_state> state, supervisor_ref children,
                                     std::size_t n) {
    auto guard = co_await state->resizing.lock();
    const std::size_t first = state->active.load(std::memory_order_relaxed);
    for (std::size_t before = first;; before = state->all) {
      const std::uint64_t ends = state->ends.load(std::memory_order_seq_cst);
      bool runs = true;
      if (n < before) state->active.store(n, std::memory_order_seq_cst);
      // From the last on: a resize that was cancelled may have left some running that have no keys.
      for (std::size_t i = state->all; runs && i > n; --i) {
        child_outcome stopped = co_await children.terminate_child(std::to_string(i - 1));
        runs = stopped != child_outcome::not_running;
      }
      for (std::size_t i = before; runs && i < n; ++i) {
        child_outcome started = co_await children.restart_child(std::to_string(i));
        runs = started != child_outcome::not_running;
        if (runs) state->active.store(i + 1, std::memory_order_seq_cst);
      }
      if (runs && state->ends.load(std::memory_order_seq_cst) == ends) co_return first;
      state->active.store(state->all, std::memory_order_seq_cst);
      if (!runs) co_return first;
    }
  }

  supervisor_ref x_children;
  std::shared_ptr<detail::partition_state> x_state;
};

/// The same child several times, each with a number, and keys that are spread over them:
///
///     rn::partition_supervisor shards(rn::partitions(8), rn::shutdown(10s), shard, std::ref(table));
///     rn::task<> shard(std::size_t partition, table& t);      // called with its partition before the arguments
///     queues[shards.partition_of(user)].send(...)
///
/// Options of a child and rn::max_restarts stand between the number and the callable, in any order. A child that is
/// started again has the same partition. It is run, is a child of another supervisor, and is an application as a
/// supervisor is; the strategy is one_for_one.
/// Contract: SEMANTICS.md PART-01 to PART-05.
class partition_supervisor : public partition_supervisor_ref {
 public:
  /// Throws: misuse_error as of supervisor::child, and for rn::temporary; bad_alloc, and what copying the callable and
  /// its arguments throws.
  template <class... A>
  explicit partition_supervisor(const partitions& n, const A&... options_f_args)
      : partition_supervisor(std::make_shared<detail::partition_state>(n.count()), n, options_f_args...) {}
  partition_supervisor(partition_supervisor&&) noexcept = default;
  partition_supervisor& operator=(partition_supervisor&&) noexcept = default;

  /// As supervisor::run.
  [[nodiscard("co_await it: run() alone starts nothing")]] task<> run() { return x_supervisor.run(); }
  [[nodiscard("co_await it")]] task<> operator()() { return run(); }

  /// A handle for others.
  partition_supervisor_ref ref() const noexcept { return *this; }
  /// For the layers above.
  auto as_child() && { return std::move(x_supervisor).as_child(); }

 private:
  using state_ptr = std::shared_ptr<detail::partition_state>;

  template <class... A>
  partition_supervisor(const state_ptr& state, const partitions& n, const A&... options_f_args)
      : partition_supervisor(make(state, n, options_f_args...), state) {}
  partition_supervisor(supervisor s, const state_ptr& state)
      : partition_supervisor_ref(s.ref(), state), x_supervisor(std::move(s)) {}

  template <class... A>
  static supervisor make(const state_ptr& state, const partitions& n, const A&... options_f_args) {
    static_assert((!std::is_same_v<A, auto_shutdown> && ...), "a partition_supervisor has no auto_shutdown");
    detail::supervisor_options options;
    options.listener = state;
    (take(options, options_f_args), ...);
    supervisor sup(options);
    for (std::size_t i = 0; i < n.count(); ++i) {
      auto spec = detail::make_shared_frame<detail::child_spec>();
      spec->id = std::to_string(i);
      spec->where = n.where();
      detail::finish_partition(*spec, i, options_f_args...);
      if (spec->restart == temporary)
        throw misuse_error(
            "runnel: the partitions of a partition_supervisor are not temporary: one that has ended could "
            "not be started by resize; make them permanent or transient");
      sup.add(std::move(spec));
    }
    return sup;
  }
  static void take(detail::supervisor_options& o, const max_restarts& m) noexcept { detail::set_option(o, m); }
  template <class T> static void take(detail::supervisor_options&, const T&) noexcept {}

  supervisor x_supervisor;
};

}  // namespace runnel
