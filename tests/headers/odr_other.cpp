// SPDX-License-Identifier: BSL-1.0
// tests/headers/odr_other.cpp: the other translation unit of odr_main.cpp, with the headers in opposite order.
#include "all_backward.hpp"

const void* address_in_the_other_unit();
const void* address_in_the_other_unit() { return &runnel::version_string; }
