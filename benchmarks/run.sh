#!/usr/bin/env bash
# Builds the benchmarks (-O3 -DNDEBUG) and runs them: benchmarks/run.sh [--with-peers] [ARGUMENTS...].
# Installs what is missing on Debian and Ubuntu. Where Go and Elixir are, their programs for the same work are run in
# turn; --with-peers installs both. The other arguments go to report.py, or to each program where there is no report.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source-path=SCRIPTDIR source=../.ci/deps.sh
. .ci/deps.sh

things=(gxx cmake ninja boost benchmark)
arguments=()
for argument; do
  case $argument in
    --with-peers) things+=(go elixir) ;;
    *) arguments+=("$argument") ;;
  esac
done
if [ -e benchmarks/report.py ]; then things+=(python); fi
require "${things[@]}"
use_generator
has_elixir || say "note: Elixir is not here, so its program is left out (benchmarks/run.sh --with-peers installs it)"
has_go || say "note: Go is not here, so its programs are left out (benchmarks/run.sh --with-peers installs it)"

build=build/gcc-bench
log=$build/build.log
mkdir -p "$build"
say "building the benchmarks ..."
if ! {
  cmake --preset gcc-bench -DCMAKE_CXX_COMPILER="$gxx" && cmake --build "$build" -j "$(job_count)"
} >"$log" 2>&1 </dev/null; then
  cat "$log" >&2
  die "building the benchmarks failed"
fi

if [ -e benchmarks/report.py ]; then
  exec python3 benchmarks/report.py --build-dir "$build" "${arguments[@]}"
fi
for source in benchmarks/*.cpp; do
  [ -e "$source" ] || die "there are no benchmarks"
  "$build/benchmarks/bench_$(basename "$source" .cpp)" "${arguments[@]}"
done
