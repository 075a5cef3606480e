#!/usr/bin/env bash
# What `#include <runnel.hpp>` costs the compiler, beside the two headers of Asio that it cannot do without.
set -euo pipefail

usage() {
  cat <<'END'
usage: benchmarks/compile_time.sh [--rounds N]

User time of one translation unit with nothing in it but the includes, the median of N runs (5), in turn, in
milliseconds; and the ratio, which DESIGN.md wants at most 1.5. For g++ and clang, where they are installed.

  asio     <boost/asio/thread_pool.hpp> and <boost/asio/steady_timer.hpp>
  runnel   <runnel.hpp>

Environment: RUNNEL_GXX, RUNNEL_CLANGXX, BOOST_ROOT.
END
}

cd "$(dirname "$0")/.."
# shellcheck source-path=SCRIPTDIR source=../.ci/deps.sh
. .ci/deps.sh
rounds=5
while (($#)); do
  case $1 in
    --rounds) rounds=${2:?}; shift ;;
    --help | -h) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
  shift
done
require gxx boost
includes=(-Iinclude)
if [ -n "${BOOST_ROOT-}" ]; then includes+=("-I$BOOST_ROOT" "-I$BOOST_ROOT/include"); fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf '#include <boost/asio/steady_timer.hpp>\n#include <boost/asio/thread_pool.hpp>\n' >"$work/asio.cpp"
printf '#include <runnel.hpp>\n' >"$work/runnel.cpp"

user_ms() { # user_ms COMMAND...
  local TIMEFORMAT=%U seconds
  seconds=$({ time "$@" >/dev/null; } 2>&1)
  awk -v s="$seconds" 'BEGIN { printf "%d\n", s * 1000 }'
}
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

row() { # row COMPILER FLAGS...
  local compiler=$1 i asio runnel
  shift
  for ((i = 0; i < rounds; ++i)); do
    user_ms "$compiler" -std=c++20 "$@" "${includes[@]}" "$work/asio.cpp" >>"$work/asio.ms"
    user_ms "$compiler" -std=c++20 "$@" "${includes[@]}" "$work/runnel.cpp" >>"$work/runnel.ms"
  done
  asio=$(median <"$work/asio.ms")
  runnel=$(median <"$work/runnel.ms")
  rm "$work"/*.ms
  printf '| %s %s | %s | %s | %s |\n' "$compiler" "$1" "$asio" "$runnel" \
    "$(awk -v a="$asio" -v r="$runnel" 'BEGIN { printf "%.2f", r / a }')"
}

printf '| | asio, ms | runnel, ms | ratio |\n|---|---|---|---|\n'
compilers=("$gxx")
clangxx
if [ -n "$clangxx_path" ]; then compilers+=("$clangxx_path"); fi
for compiler in "${compilers[@]}"; do
  row "$compiler" -fsyntax-only -O0
  row "$compiler" -O2 -c -o /dev/null
done
