// SPDX-License-Identifier: BSL-1.0
// tests/model/waiter_model.cpp: explores the waiter protocol, whole and with each of its parts broken.
//
// Without arguments: the base configurations, which must be right, and the mutations, each of which must be found.
//   --big         the large configurations instead
//   --only TEXT   only configurations and mutations whose name contains TEXT
//   --trace       prints the execution that finds a mutation, too (one that shows a fault is always printed)
//   --table       prints the results as the tables of docs/design/waiter-protocol.md
#include "model/base_configurations.hpp"
#include "model/big_configurations.hpp"
#include "model/model.hpp"
#include "model/mutations.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

namespace model = runnel::model;

namespace {

struct options {
  bool big = false, trace = false, table = false;
  std::string_view only;
};

constexpr std::size_t state_limit = 60'000'000;

std::string text_of(model::word w) {
  namespace code = model::code;
  if (w.code == code::none) return "0";
  if (code::is_plain(w.code)) return "plain(" + std::to_string(w.code - 1) + ")";
  std::string text;
  if (w.code == code::registering)
    text = "registering";
  else if (w.code == code::parked)
    text = "parked";
  else if (w.code == code::self)
    text = "self";
  else if (w.code == code::stopped)
    text = "stopped";
  else if (code::is_claimed(w.code))
    text = "claimed(" + std::to_string(w.code - code::first_claim) + ")";
  else {
    text = "operation";
    if (w.code & code::owned) text += "+owned";
    if (w.code & code::requested) text += "+requested";
    if (w.code & code::pending) text += "+pending";
  }
  return text + "." + std::to_string(w.generation);
}

// As a cell of a table.
std::string cell(std::string_view text) {
  std::string out;
  for (char c : text) out.append(c == '|' ? 1 : 0, '\\').push_back(c);
  return out;
}

class run {
 public:
  explicit run(const model::configuration& c) : x_conf(c), x_model(x_conf), x_explorer(x_model) {
    const auto start = std::chrono::steady_clock::now();
    result = x_explorer.run(x_model.first(), state_limit);
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  // What went wrong, or null.
  const char* fault() const {
    if (result.fault) return result.fault;
    if (result.repeats) return "livelock: an execution repeats for ever";
    return result.complete ? nullptr : "too many states: not explored to the end";
  }

  // One line per step: who does what, and the words and levels before it.
  void print_trace() const {
    for (auto [move, number] : result.trace) {
      const model::state before = x_explorer.at(number);
      std::printf("    %-44s", x_model.describe(move, before).c_str());
      for (std::size_t g = 0; g < x_conf.goroutines.size(); ++g)
        std::printf(" %s%s", text_of(before.g[g].w).c_str(), before.g[g].buffered ? "*" : "");
      std::printf("  levels");
      for (std::size_t n = 0; n < x_conf.nodes.size(); ++n) std::printf(" %d", before.n[n].level);
      std::printf("\n");
    }
    if (!result.trace.empty()) std::printf("    (* a store of the goroutine is not visible yet)\n");
  }

  model::verdict result;
  double seconds = 0;

 private:
  const model::configuration& x_conf;
  model::waiter_model x_model;
  model::explorer<model::waiter_model> x_explorer;
};

bool wanted(const options& o, std::string_view name) { return name.find(o.only) != std::string_view::npos; }

class report {
 public:
  explicit report(const options& o) : x_options(o) {}

  void configuration(const model::configuration& c) {
    if (!wanted(x_options, c.name)) return;
    run it(c);
    ++x_runs;
    x_states += it.result.states;
    if (x_options.table)
      std::printf("| %s | %zu | %zu |\n", cell(c.name).c_str(), it.result.states, it.result.ends);
    else
      std::printf("%s  %-86s %9zu states %5zu ends %6.2f s\n", it.fault() ? "WRONG" : "right", c.name.c_str(),
                  it.result.states, it.result.ends, it.seconds);
    if (it.fault()) {
      ++x_failures;
      std::printf("    %s\n", it.fault());
      it.print_trace();
    }
    std::fflush(stdout);
  }

  void mutation(const model::mutation_spec& m, const model::configuration& where) {
    if (!wanted(x_options, m.name)) return;
    model::configuration broken = where;
    broken.broken = m.what;
    run it(broken);
    ++x_runs;
    x_states += it.result.states;
    const bool found = it.result.fault || it.result.repeats;
    if (!found) ++x_failures;
    if (x_options.table)
      std::printf("| `%s`: %s | %s | %s | %zu |\n", m.name, m.breaks, cell(where.name).c_str(),
                  found ? it.fault() : "NOT FOUND", it.result.states);
    else
      std::printf("%s  %-28s %9zu states  %s\n", found ? "found" : "NOT FOUND", m.name, it.result.states,
                  found ? it.fault() : where.name.c_str());
    if (found && x_options.trace) it.print_trace();
    std::fflush(stdout);
  }

  void missing(const model::mutation_spec& m) {
    ++x_failures;
    std::printf("NOT FOUND  %s: there is no configuration \"%s\"\n", m.name, m.where);
  }

  int finish() const {
    if (!x_options.table) std::printf("%zu runs, %zu states, %zu failures\n", x_runs, x_states, x_failures);
    if (x_runs == 0)
      std::printf("nothing matches \"%.*s\"\n", static_cast<int>(x_options.only.size()), x_options.only.data());
    return x_failures || !x_runs ? EXIT_FAILURE : EXIT_SUCCESS;
  }

 private:
  const options& x_options;
  std::size_t x_runs = 0, x_states = 0, x_failures = 0;
};

}  // namespace

int main(int argc, char** argv) {
  options o;
  for (int i = 1; i < argc; ++i) {
    std::string_view arg = argv[i];
    if (arg == "--big")
      o.big = true;
    else if (arg == "--trace")
      o.trace = true;
    else if (arg == "--table")
      o.table = true;
    else if (arg == "--only" && i + 1 < argc)
      o.only = argv[++i];
    else {
      std::fprintf(stderr, "usage: %s [--big] [--only TEXT] [--trace] [--table]\n", argv[0]);
      return EXIT_FAILURE;
    }
  }

  report results(o);
  const auto base = model::base_configurations();
  for (const auto& c : o.big ? model::big_configurations() : base) results.configuration(c);
  if (o.big) return results.finish();
  if (o.table) std::printf("\n");
  for (const auto& m : model::mutations()) {
    const model::configuration* where = nullptr;
    for (const auto& c : base)
      if (c.name == m.where) where = &c;
    if (where)
      results.mutation(m, *where);
    else
      results.missing(m);
  }
  return results.finish();
}
