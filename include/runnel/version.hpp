// SPDX-License-Identifier: BSL-1.0
// runnel/version.hpp: the version of the library, as macros for the preprocessor and as constants.
// Layer: L0
#pragma once

// The build system reads these three lines; there is no second place to change.
#define RUNNEL_VERSION_MAJOR 0
#define RUNNEL_VERSION_MINOR 1
#define RUNNEL_VERSION_PATCH 0

/// One number that grows with every release: `#if RUNNEL_VERSION >= 10203` asks for 1.2.3 or later.
#define RUNNEL_VERSION (RUNNEL_VERSION_MAJOR * 10000 + RUNNEL_VERSION_MINOR * 100 + RUNNEL_VERSION_PATCH)

#define RUNNEL_DETAIL_TEXT_OF_EXPANDED(x) #x
#define RUNNEL_DETAIL_TEXT_OF(x) RUNNEL_DETAIL_TEXT_OF_EXPANDED(x)

/// The same as text: "major.minor.patch".
#define RUNNEL_VERSION_STRING                                                      \
  RUNNEL_DETAIL_TEXT_OF(RUNNEL_VERSION_MAJOR)                                      \
  "." RUNNEL_DETAIL_TEXT_OF(RUNNEL_VERSION_MINOR) "." RUNNEL_DETAIL_TEXT_OF(RUNNEL_VERSION_PATCH)

namespace runnel {

/// The version that this translation unit was compiled with: major * 10000 + minor * 100 + patch.
inline constexpr int version = RUNNEL_VERSION;

/// The same as text: "major.minor.patch".
inline constexpr char version_string[] = RUNNEL_VERSION_STRING;

}  // namespace runnel
