#!/usr/bin/env bash
# Checks that the compiler refuses a file, and for the reason that the file names.
#
#   check.sh COMPILER FILE [FLAGS...]      exits 0 when the file is refused as it says, 77 when it does not apply
#   check.sh COMPILER --self-test          shows that this script notices each way in which a file can be wrong
#   check.sh COMPILER --precompile HEADER [FLAGS...]   makes a header with what the library includes of the standard's,
#                              which most of the time would go to, and precompiles it; read first when
#                              RUNNEL_PRECOMPILED names it. The library's own headers are read by each file.
#
# The file says, in comments that begin a line:
#   // EXPECT: text            must be in an error of the compiler (several such lines: each of them)
#   // EXPECT gcc: text        the same, in an error of that compiler; the other has a line `// EXPECT clang: text`, or
#                              a COMPILER line leaves it out
#   // FLAGS: -DX -Werror      more flags for this file
#   // COMPILER: gcc           or clang: the file applies to that compiler alone
#   // WHEN: expression        the file applies where this preprocessor expression holds; it may use the macros
#                              of runnel/compiler.hpp
# and has `#ifdef RUNNEL_CONTROL` with the right way to write the same, which must compile: a file that is
# refused for some other reason (a missing include, a misspelled name) is refused with it too.
set -euo pipefail
export LC_ALL=C

compiler=$1
file=$2
shift 2

complain() {
  printf '%s: %s\n' "$file" "$1" >&2
  if [ -n "${2-}" ]; then printf '%s\n' "$2" >&2; fi
  exit 1
}

values_of() { sed -n "s|^// $1: *||p" "$file"; }

self_test() {
  local self=$1 dir
  dir=$(mktemp -d)
  # shellcheck disable=SC2064
  trap "rm -rf '$dir'" EXIT
  try() { # try WANTED_EXIT_STATUS NAME, the file comes on stdin
    cat >"$dir/$2.cpp"
    local status=0
    "$self" "$compiler" "$dir/$2.cpp" -std=c++20 >"$dir/out" 2>&1 || status=$?
    if [ "$status" != "$1" ]; then
      printf 'self-test %s: wanted exit status %s, got %s\n' "$2" "$1" "$status" >&2
      cat "$dir/out" >&2
      exit 1
    fi
  }
  local right='#ifdef RUNNEL_CONTROL
int x = 1;
#else
static_assert(sizeof(int) == 0, "write it otherwise");
#endif'
  try 0 refused_as_it_says <<<"// EXPECT: write it otherwise
$right"
  try 1 refused_for_another_reason <<<"// EXPECT: a sentence that nobody says
$right"
  try 1 one_of_two_sentences_is_missing <<<"// EXPECT: write it otherwise
// EXPECT: a sentence that nobody says
$right"
  try 1 accepted <<<'// EXPECT: write it otherwise
// RUNNEL_CONTROL
int x = 1;'
  try 1 the_right_way_is_refused_too <<<"// EXPECT: write it otherwise
#include <no/such/header>
$right"
  try 1 no_right_way_is_shown <<<'// EXPECT: write it otherwise
static_assert(sizeof(int) == 0, "write it otherwise");'
  try 1 says_nothing <<<"$right"
  # The text of a note, or of the source that the compiler quotes, is no error.
  try 1 only_a_note_says_it <<<'// EXPECT: here_is_the_note
#ifndef RUNNEL_CONTROL
template <class T> struct here_is_the_note { static_assert(sizeof(T) == 0, "another sentence"); };
here_is_the_note<int> x;
#endif'
  try 0 for_each_compiler <<<"// EXPECT gcc: write it otherwise
// EXPECT clang: write it otherwise
$right"
  try 1 each_compiler_says_something_else <<<"// EXPECT gcc: a sentence that nobody says
// EXPECT clang: a sentence that nobody says
$right"
  try 77 another_compiler <<<"// EXPECT: write it otherwise
// COMPILER: none
$right"
  try 77 another_version <<<"// EXPECT: write it otherwise
// WHEN: defined(NO_SUCH_MACRO)
$right"
  try 0 with_flags <<<"// EXPECT: nodiscard
// FLAGS: -Werror
[[nodiscard]] int f();
#ifdef RUNNEL_CONTROL
int g() { return f(); }
#else
void g() { f(); }
#endif"
}

if [ "$file" = --self-test ]; then
  self_test "$0"
  exit 0
fi

case $("$compiler" --version) in
  *clang*) family=clang ;;
  *) family=gcc ;;
esac
if [ "$file" = --precompile ]; then
  header=$1
  shift
  mkdir -p "$(dirname "$header")"
  grep -rhoE '^#include <[a-z_]+>' "$(dirname "$0")/../../include" | sort -u >"$header"
  if [ "$family" = clang ]; then made=$header.pch; else made=$header.gch; fi
  rm -f "$made" # where it cannot be made, the header itself is read each time
  "$compiler" "$@" -x c++-header "$header" -o "$made" || echo "not precompiled"
  exit 0
fi

only=$(values_of COMPILER)
if [ -n "$only" ] && [ "$only" != "$family" ]; then
  echo "for $only alone"
  exit 77
fi

flags=("$@")
while read -r -a more; do flags+=("${more[@]}"); done < <(values_of FLAGS)

# The whole message on one line, without the source quoted under it.
compile=("$compiler" "${flags[@]}" -fmessage-length=0 -fno-diagnostics-color -fsyntax-only -x c++)
if [ -n "${RUNNEL_PRECOMPILED-}" ]; then compile+=(-include "$RUNNEL_PRECOMPILED"); fi
if [ "$family" = clang ]; then compile+=(-fno-caret-diagnostics); else compile+=(-fno-diagnostics-show-caret); fi

when=$(values_of WHEN)
if [ -n "$when" ]; then
  holds=$(printf '%s\n' '#if __has_include(<runnel/compiler.hpp>)' '#include <runnel/compiler.hpp>' '#endif' \
    "#if $when" 'runnel_when_holds' '#endif' | "$compiler" "${flags[@]}" -E -P -x c++ -)
  if [[ $holds != *runnel_when_holds* ]]; then
    echo "applies only when $when"
    exit 77
  fi
fi

mapfile -t expected < <(values_of EXPECT && values_of "EXPECT $family")
[ "${#expected[@]}" -gt 0 ] || complain "has no line '// EXPECT: text'"
grep -q RUNNEL_CONTROL "$file" || complain "does not show the right way under #ifdef RUNNEL_CONTROL"

if ! output=$("${compile[@]}" -DRUNNEL_CONTROL "$file" 2>&1); then
  complain "the right way to write it, under RUNNEL_CONTROL, does not compile" "$output"
fi
if output=$("${compile[@]}" "$file" 2>&1); then
  complain "compiles, but must not" "$output"
fi
errors=$(grep -E 'error:' <<<"$output" || true)
for text in "${expected[@]}"; do
  grep -qF -- "$text" <<<"$errors" || complain "is refused, but no error says: $text" "$output"
done
