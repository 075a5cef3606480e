#!/usr/bin/env bash
# Builds an example in Release and runs it: examples/run.sh [NAME [ARGUMENTS...]]. `tour` builds and runs all of
# examples/patterns. Without a name, `digest` on the installed headers of Boost. Installs what is missing on Debian and
# Ubuntu.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=../.ci/deps.sh
. "$root/.ci/deps.sh"

names() { # names FILES...: the programs that these are, a line each
  local file
  for file; do
    [ -e "$file" ] || continue
    basename "$file" .cpp | sed -E 's/^[0-9]+_//'
  done
}

list_names() {
  say "usage: examples/run.sh [NAME [ARGUMENTS...]], where NAME is one of:"
  names "$root"/examples/*.cpp | sed 's/^/  /' >&2
  say "patterns of Go and Elixir, all of them with the name tour:"
  names "$root"/examples/patterns/*.cpp | sed 's/^/  /' >&2
}

if (($# == 0)); then
  set -- digest
  default_input=1
else
  default_input=0
fi
name=$1
shift
case $name in
  --help | -h)
    list_names
    exit 0
    ;;
esac
# A listing in a variable: a reader that stops early would end `names` by SIGPIPE.
known=$(names "$root"/examples/*.cpp "$root"/examples/patterns/*.cpp && echo tour)
if ! grep -qxF -- "$name" <<<"$known"; then
  say "there is no example '$name'"
  list_names
  exit 2
fi

build=$root/build/examples
programs=("$name")
if [ "$name" = tour ]; then mapfile -t programs < <(names "$root"/examples/patterns/*.cpp); fi

is_current() { # is_current PROGRAM: whether it is built from what is there
  local program=$build/examples/$1 newer
  [ -x "$program" ] || return 1
  newer=$(find "$root/include" "$root/examples" "$root/CMakeLists.txt" -newer "$program" \
    \( -name '*.hpp' -o -name '*.cpp' -o -name CMakeLists.txt \) -print)
  [ -z "$newer" ]
}

build_it() {
  local log=$build/build.log
  require gxx cmake ninja boost
  case $name in digest | http_fanout) require openssl ;; esac
  use_generator
  say "building $name ..."
  mkdir -p "$build"
  if ! {
    cmake -S "$root" -B "$build" -DCMAKE_CXX_COMPILER="$gxx" -DCMAKE_BUILD_TYPE=Release \
      -DRUNNEL_BUILD_EXAMPLES=ON -DRUNNEL_BUILD_TESTS=OFF -DRUNNEL_BUILD_BENCHMARKS=OFF -DRUNNEL_INSTALL=OFF &&
      cmake --build "$build" --target "$name" -j "$(job_count)"
  } >"$log" 2>&1 </dev/null; then
    cat "$log" >&2
    die "building $name failed"
  fi
  touch "${programs[@]/#/$build/examples/}"
}

for each in "${programs[@]}"; do
  is_current "$each" || {
    build_it
    break
  }
done

# The headings are what the files say of themselves: their second line. In colour on a terminal (https://no-color.org).
tour() {
  local file first="" last="" failed=0
  if [ -t 1 ] && [ -z "${NO_COLOR-}" ] && [ "${TERM-}" != dumb ]; then
    first=$'\033[1;36m'
    last=$'\033[0m'
  fi
  for file in "$root"/examples/patterns/*.cpp; do
    printf '%s%s: %s%s\n' "$first" "$(basename "$file" .cpp)" "$(sed -n '2s|^// ||p' "$file")" "$last"
    "$build/examples/$(names "$file")" "$@" || {
      say "$(names "$file") ended with $?"
      failed=1
    }
    printf '\n'
  done
  return "$failed"
}

if [ "$name" = tour ]; then
  tour "$@"
  exit
fi

if ((default_input)); then
  boost=$(file_in_prefix boost/version.hpp) || die "Boost's headers are in no usual place: name a directory, examples/run.sh digest DIR"
  set -- "$(dirname "$boost")"
fi
exec "$build/examples/$name" "$@"
