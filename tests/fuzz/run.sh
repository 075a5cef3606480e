#!/usr/bin/env bash
# tests/fuzz/run.sh [SECONDS [LIBFUZZER_ARGUMENTS...]]: fuzzes channels, with clang and the address sanitizer, a minute
# unless told otherwise. What it finds is left as build/fuzz/crash-*: give that file instead of SECONDS to run it again.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source-path=SCRIPTDIR source=../../.ci/deps.sh
. .ci/deps.sh
require boost clang clang_sanitizers
clangxx
mkdir -p build/fuzz/corpus
program=build/fuzz/channels_fuzz
"$clangxx_path" -std=c++20 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
  -Iinclude -Itests tests/fuzz/channels_fuzz.cpp -o "$program" -pthread
if (($#)) && [ -f "$1" ]; then exec "$program" "$@"; fi
seconds=${1:-60}
shift || true
cd build/fuzz
exec ./channels_fuzz corpus -max_total_time="$seconds" -max_len=64 "$@"
