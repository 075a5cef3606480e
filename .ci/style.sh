#!/usr/bin/env bash
# The rules of style that a grep can see: .ci/style.sh [ROOT]; .ci/style.sh --self-test.
set -euo pipefail

check() { # check ROOT: prints what is wrong and returns 1, or returns 0
  local root=$1 bad=0 header name found
  cd "$root"

  deny() { # deny WHAT PATTERN FILES...
    local what=$1 pattern=$2
    shift 2
    if (($# == 0)); then return 0; fi
    if found=$(LC_ALL=C.UTF-8 grep -nHE -e "$pattern" -- "$@"); then
      printf '%s:\n%s\n' "$what" "$found"
      bad=1
    fi
  }

  local headers=() sources=() tests=()
  mapfile -t headers < <(find include -name '*.hpp' | sort)
  mapfile -t sources < <(find include tests benchmarks examples \( -name '*.hpp' -o -name '*.cpp' \) 2>/dev/null | sort)
  mapfile -t tests < <(find tests -name '*.cpp' -o -path 'tests/*' -name '*.hpp' 2>/dev/null | sort)

  for header in "${headers[@]}"; do
    name=${header#include/}
    mapfile -t -n 3 lines <"$header"
    if [ "${lines[0]-}" != '// SPDX-License-Identifier: BSL-1.0' ]; then
      echo "$header:1: must be // SPDX-License-Identifier: BSL-1.0"
      bad=1
    fi
    if [[ ${lines[1]-} != "// $name: "* ]]; then
      echo "$header:2: must be // $name: <what it is>"
      bad=1
    fi
    if [[ $name == runnel/* && ! ${lines[2]-} =~ ^//\ Layer:\ L[0-9]+$ ]]; then
      echo "$header:3: must be // Layer: L<n>"
      bad=1
    fi
    if ! grep -q '^#pragma once$' "$header"; then
      echo "$header: has no #pragma once"
      bad=1
    fi
    if (($(wc -l <"$header") > 400)); then
      echo "$header: is longer than 400 lines: it is two nouns"
      bad=1
    fi
  done

  deny "tabs" $'\t' "${sources[@]}"
  deny "spaces at the end of a line" '[[:space:]]$' "${sources[@]}"
  # Hazards 1, 9 and 10 of runnel/compiler.hpp, which no compiler sees: where a co_await stands behind ?, && or ||, or in a
  # condition that declares nothing. What comes after the closing parenthesis of a condition is a statement.
  local with_examples=()
  mapfile -t with_examples < <(
    printf '%s\n' "${sources[@]}" | grep -vE '^tests/unit/compiler_probe|^include/runnel/compiler.hpp$' || true
    find README.md docs -name '*.md' -not -path 'docs/reference/compiler.md' 2>/dev/null | sort
  )
  deny "co_await on a condition: write an if statement" '( \?| &&| \|\|) ([^;{})]|\)+[^ )]|\)+ [^a-z])*co_await' "${with_examples[@]}"
  deny "?: among the arguments of a co_await: name what it yields" 'co_await [^;]*\(([^();]|\([^();]*\))* \? ' "${with_examples[@]}"
  deny "co_await in a condition: name it first, or declare: if (bool ok = co_await ...)" \
    '(^|[^a-z_])(if|while|switch) \(([^;={})]|\)+[^ )]|\)+ [^a-z])*co_await' "${with_examples[@]}"
  # 110 is what to aim at; a line that reads better whole may go a little beyond.
  deny "lines of more than 120 columns" '^.{121,}' "${headers[@]}"
  # A test waits for the condition. Where it is time itself that is tested, the line says so: // sleeps: why
  found=$(printf '%s\0' "${tests[@]}" | LC_ALL=C.UTF-8 xargs -0 -r grep -nHE \
    '(sleep_for|sleep_until|[^a-z_](usleep|nanosleep))[ ]*\(' -- | grep -v '// sleeps: ' || true)
  if [ -n "$found" ]; then
    printf 'sleeping in tests:\n%s\n' "$found"
    bad=1
  fi
  return "$bad"
}

self_test() {
  local dir good
  dir=$(mktemp -d)
  # shellcheck disable=SC2064
  trap "rm -rf '$dir'" EXIT
  good=$'// SPDX-License-Identifier: BSL-1.0\n// runnel/a.hpp: a header.\n// Layer: L0\n#pragma once'

  must() { # must pass|fail WHAT HEADER TEST
    mkdir -p "$dir/include/runnel" "$dir/tests/unit"
    printf '%s\n' "$3" >"$dir/include/runnel/a.hpp"
    printf '%s\n' "$4" >"$dir/tests/unit/a.cpp"
    local got=pass output
    output=$(check "$dir") || got=fail
    if [ "$got" != "$1" ]; then
      printf 'self-test: %s must %s\n%s\n' "$2" "$1" "$output"
      exit 1
    fi
  }
  must pass "a tree in order" "$good" 'int x;'
  must fail "no licence" "// a"$'\n'"$good" 'int x;'
  must fail "another name on line 2" "${good/a.hpp/b.hpp}" 'int x;'
  must fail "no layer" "${good/Layer/Level}" 'int x;'
  must fail "no pragma once" "${good/\#pragma once/}" 'int x;'
  must fail "a tab" "$good" $'\tint x;'
  must fail "a space at the end" "$good" 'int x; '
  must fail "a long line" "$good"$'\n'"// $(printf '%120s' x | tr ' ' x)" 'int x;'
  must fail "a long header" "$good$(printf '\n//%.0s' {1..400})" 'int x;'
  must fail "a test that sleeps" "$good" 'std::this_thread::sleep_for(1ms);'
  must pass "a test that says why it sleeps" "$good" 'std::this_thread::sleep_for(1ms);  // sleeps: idle time is measured'
  must pass "a test of the library's own sleep" "$good" 'co_await rn::sleep(1ms);'
  must fail "a co_await behind a question mark" "$good" 'co_return c ? 1 : co_await f();'
  must fail "a co_await behind &&" "$good" 'if (c && !co_await f()) g();'
  must fail "a co_await in a condition" "$good" 'while (co_await ch.recv()) g();'
  must fail "a ?: in a co_await" "$good" 'co_await f(g(a), c ? h(1) : h(2));'
  must pass "a co_await that a ?: asks" "$good" 'auto x = co_await f(a) ? b : c;'
  must pass "a co_await after a condition" "$good" 'if (a && f(b) < 3) co_return 1 + co_await g();'
  must pass "a co_await in a condition that declares" "$good" 'while (auto v = co_await ch.recv()) g(*v);'
  echo "nineteen trees, good and bad, are told apart"
}

case ${1-} in
  --self-test) self_test ;;
  *) check "${1:-$(cd "$(dirname "$0")/.." && pwd)}" ;;
esac
