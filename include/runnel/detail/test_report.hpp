// SPDX-License-Identifier: BSL-1.0
// runnel/detail/test_report.hpp: who waits for what in a test run, as a table.
// Layer: L13
#pragma once

#include <runnel/detail/census.hpp>
#include <runnel/detail/census_text.hpp>
#include <runnel/detail/test_host.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace runnel::detail {

using table_row = std::array<std::string, 4>;

inline std::string table_text(const std::vector<table_row>& rows) {
  table_row::size_type columns = std::tuple_size_v<table_row>;
  std::vector<std::size_t> widths(columns, 0);
  for (const auto& row : rows)
    for (std::size_t c = 0; c < columns; ++c) widths[c] = std::max(widths[c], row[c].size());
  std::string text;
  for (const auto& row : rows) {
    text += "\n ";
    for (std::size_t c = 0; c < columns; ++c)
      text += " " + row[c] + std::string(c + 1 < columns ? widths[c] - row[c].size() + 1 : 0, ' ');
  }
  return text;
}

// Every goroutine of the run, between two steps.
inline std::string test_table(test_host& host) {
  census found(host.core);
  std::vector<std::pair<std::uint64_t, const census_entry*>> known;
  for (const auto& e : found.entries)
    if (e.is_goroutine) known.emplace_back(host.registry().find(e.id).number, &e);
  std::sort(known.begin(), known.end());  // equal numbers in the order of the entries
  wait_teller tell(host.now());
  std::vector<table_row> rows{{"goroutine", "started at", "waits", "since"}};
  for (auto [number, e] : known) {
    goroutine_record record = host.registry().find(e->id);
    bool begun = e->waits.kind != wait_info::kind_t::runnable || record.since != 0;
    rows.push_back({std::to_string(number), number ? host.trace().name(number) : place_text(e->where),
                    begun ? tell(e->waits) : "to begin",
                    begun ? duration_text(std::max(record.since - test_host::begins_at, std::int64_t{0})) : ""});
  }
  std::string text = table_text(rows);
  if (found.left_out) text += "\n  and " + std::to_string(found.left_out) + " more";
  return text;
}

inline std::string test_report(test_host& host, const std::string& headline) {
  return "runnel: " + headline + " (after " + std::to_string(host.steps()) + " steps, at " +
         duration_text(host.elapsed()) + ")" + test_table(host);
}

}  // namespace runnel::detail
