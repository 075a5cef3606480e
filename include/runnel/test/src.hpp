// SPDX-License-Identifier: BSL-1.0
// runnel/test/src.hpp: what RUNNEL_SEPARATE_COMPILATION leaves out of test, for one translation unit of a program.
// Layer: L13
#pragma once

// It comes before any other header of test.
#define RUNNEL_TEST_SRC 1

#include <runnel/test.hpp>
