// SPDX-License-Identifier: BSL-1.0
// runnel/detail/place_text.hpp: places in the source, in words.
// Layer: L0
#pragma once

#include <source_location>
#include <string>
#include <string_view>

namespace runnel::detail {

// A function's name without what g++ adds to a coroutine's: `void app(app()::_Z3appv.Frame*)` is app.
inline std::string function_text(std::string name) {
  constexpr std::string_view frame = ".Frame*)", call = "::operator()", nothing = "void ";
  if (!name.ends_with(frame)) return name;
  int depth = 0;
  for (auto i = name.size(); i-- > 0;) {
    if (name[i] == ')') ++depth;
    if (name[i] != '(' || --depth != 0) continue;
    name.resize(i);
    break;
  }
  if (name.starts_with(nothing)) name.erase(0, nothing.size());
  if (name.ends_with(call)) name.resize(name.size() - call.size());
  return name;
}
// file:line, in function
inline std::string place_text(const std::source_location& where) {
  if (where.line() == 0) return "an unknown place";
  std::string text = std::string(where.file_name()) + ":" + std::to_string(where.line());
  if (const char* f = where.function_name(); f && *f) text += ", in " + function_text(f);
  return text;
}

}  // namespace runnel::detail
