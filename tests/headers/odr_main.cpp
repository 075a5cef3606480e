// SPDX-License-Identifier: BSL-1.0
// tests/headers/odr_main.cpp: one of two translation units that include every header; they must link, and share
// the library's inline variables.
#include "all_forward.hpp"

#include <cstdio>

const void* address_in_the_other_unit();

int main() {
  const bool shared = address_in_the_other_unit() == static_cast<const void*>(&runnel::version_string);
  if (!shared) std::puts("an inline variable of the library exists twice in one program");
  return shared ? 0 : 1;
}
