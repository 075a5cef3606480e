// SPDX-License-Identifier: BSL-1.0
// runnel/dump.hpp: dump, the tree of contexts and goroutines of a running program, and what each waits for.
// Layer: L12
#pragma once

#include <runnel/detail/census.hpp>
#include <runnel/detail/census_text.hpp>
#include <runnel/detail/quit_watch.hpp>
#include <runnel/detail/runtime_core.hpp>
#include <runnel/run.hpp>
#include <runnel/runtime.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

namespace runnel {

namespace detail {

// One runtime in words.
class dump_text {
 public:
  explicit dump_text(runtime_core& runtime, std::size_t most = census::most)
      : x_runtime(runtime), x_found(runtime, most), x_now(runtime.core.now()), x_tell(x_now) {}

  std::string operator()() {
    std::string text = "runnel: " + counted(x_found.goroutines(), "goroutine") + ", " +
                       counted(x_runtime.core.concurrency(), "processor") + "\n";
    const auto& all = x_found.entries;
    std::vector<bool> shown = with_goroutines();
    std::vector<std::int64_t> deadlines;  // of the nodes above, outermost first
    for (std::size_t i = 0; i < all.size(); ++i) {
      const census_entry& e = all[i];
      deadlines.resize(e.depth, cancel_node::no_deadline);
      auto outer = deadlines.empty() ? cancel_node::no_deadline : deadlines.back();
      if (e.is_goroutine) {
        text += indent(e) + goroutine(e, outer) + "\n";
      } else {
        if (shown[i]) text += indent(e) + node(e, outer) + "\n";
        deadlines.push_back(e.deadline);
      }
    }
    if (x_found.left_out) text += "and " + std::to_string(x_found.left_out) + " more\n";
    if (!x_runtime.tracker)
      text += "one that has never waited for anything, and runs now, is not known: runtime_options::track_goroutines\n";
    return text;
  }

 private:
  static std::string counted(std::size_t n, const char* noun) {
    return std::to_string(n) + " " + noun + (n == 1 ? "" : "s");
  }
  static std::string indent(const census_entry& e) { return std::string(std::min<std::size_t>(e.depth, 40) * 2, ' '); }

  // Which nodes have a goroutine below them: the others are left out.
  std::vector<bool> with_goroutines() const {
    const auto& all = x_found.entries;
    std::vector<bool> result(all.size());
    std::vector<bool> below;  // below[d]: there is one among those at depth d that were looked at last
    for (std::size_t i = all.size(); i-- > 0;) {
      std::size_t depth = all[i].depth;
      if (below.size() < depth + 2) below.resize(depth + 2);
      result[i] = below[depth + 1] || depth == 0;
      below[depth] = below[depth] || all[i].is_goroutine || below[depth + 1];
      below[depth + 1] = false;
    }
    return result;
  }
  std::string node(const census_entry& e, std::int64_t outer_deadline) const {
    using form = cancel_node::form;
    std::string text = e.form == form::group    ? "group: "
                       : e.form == form::join   ? "all or race: "
                       : e.form == form::shared ? "context"
                       : e.form == form::scoped ? "scope"
                       : e.form == form::task   ? "task of async"
                       : e.form == form::stream ? "stream"
                                                : "shield";
    if (e.form == form::group || e.form == form::join) {
      text += std::to_string(e.group.live) + (e.group.live == 1 ? " child" : " children");
      if (e.group.limit != no_limit) text += ", limit " + std::to_string(e.group.limit);
      if (e.group.queued) text += ", " + std::to_string(e.group.queued) + " queued";
    }
    if (e.level != level_none) text += e.level == level_kill ? ", killed" : ", cancelled";
    if (e.deadline < outer_deadline) text += ", deadline in " + duration_text(e.deadline - x_now);
    return text;
  }
  std::string goroutine(const census_entry& e, std::int64_t outer_deadline) {
    goroutine_record known = x_runtime.tracker ? x_runtime.tracker->find(e.id) : goroutine_record();
    std::string text = "goroutine";
    if (known.number) text += " " + std::to_string(known.number);
    if (known.parent && e.where.line() == 0)
      text += ", a child of an all or race in " + std::to_string(known.parent);
    else
      text += ", started at " + place_text(e.where);
    bool idle = e.waits.kind != wait_info::kind_t::nothing;
    if (!idle && known.number)
      return text + (known.runs ? ": runs" : ": awaits what was adopted, or is about to run");
    text += idle ? ": waits " + x_tell(e.waits) : ": runs, or awaits what was adopted";
    if (known.number && !known.runs && known.since) text += ", since " + duration_text(x_now - known.since);
    if (e.waits.deadline < outer_deadline) text += ", deadline in " + duration_text(e.waits.deadline - x_now);
    return text;
  }

  runtime_core& x_runtime;
  census x_found;
  std::int64_t x_now;
  wait_teller x_tell;
};

// Every runtime of the program that has not ended.
inline std::string dump_all() {
  std::string text;
  std::lock_guard hold(the_runtimes.mutex);  // they stay meanwhile
  for (list_link* at = the_runtimes.runtimes.first(); at != the_runtimes.runtimes.end(); at = at->next)
    text += dump_text(runtime_core::of(*at))();
  return text.empty() ? "runnel: no runtime\n" : text;
}

}  // namespace detail

/// Writes who is there: the tree of contexts, groups and goroutines of every runtime of the program, where each
/// goroutine was started, and what it waits for. With runtime_options::track_goroutines also numbers, since when each
/// waits, and goroutines that run and have never waited.
///
/// A snapshot of a program that runs on: each line was true at one moment. At most 100,000 lines a runtime; the others
/// are counted.
///
/// Thread-safety: from any thread, in a goroutine or outside. Not from a signal handler: for that there is
/// dump_on_quit. Who waits for the first time, or cancels, is held up while that part of the tree is being read.
/// Complexity: linear in what is there.
inline void dump(std::ostream& out) { out << detail::dump_all(); }
/// The same of one runtime.
inline void dump(std::ostream& out, scheduler& of) { out << detail::dump_text(of.core())(); }
inline void dump(std::ostream& out, runtime& of) { out << detail::dump_text(of.core())(); }

/// While one lives, SIGQUIT (Ctrl-\) prints what dump writes to the standard error stream, and the program goes on.
///
/// Of several at once the first has the signal. The handler that was there before is back when it dies.
class quit_dump {
 public:
  quit_dump() : x_watch(&detail::dump_all) {}

 private:
  detail::quit_watch x_watch;
};

/// An option of run: the same, while the app runs: `rn::run(rn::dump_on_quit, app)`.
class dump_on_quit_t final : public detail::run_attendant {
 public:
  explicit constexpr dump_on_quit_t() noexcept = default;
  std::shared_ptr<void> attend(runtime&) const override { return std::make_shared<quit_dump>(); }
};
inline constexpr dump_on_quit_t dump_on_quit{};

}  // namespace runnel
