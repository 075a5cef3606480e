// SPDX-License-Identifier: BSL-1.0
// runnel/detail/test_inline.hpp: what of the test runtime is compiled once under RUNNEL_SEPARATE_COMPILATION.
// Layer: L13
#pragma once

#include <runnel/config.hpp>

// RUNNEL_TEST_INLINE stands before a function that the templates of test call and need not see. Its definition is there
// if RUNNEL_TEST_DEFINED: everywhere, or in the one translation unit that includes runnel/test/src.hpp.
#if !RUNNEL_SEPARATE_COMPILATION
#define RUNNEL_TEST_DEFINED 1
#define RUNNEL_TEST_INLINE inline
#else
#if defined(RUNNEL_TEST_SRC)
#define RUNNEL_TEST_DEFINED 1
#else
#define RUNNEL_TEST_DEFINED 0
#endif
#define RUNNEL_TEST_INLINE
#endif
