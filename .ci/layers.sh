#!/usr/bin/env bash
# Checks the layers of the headers: .ci/layers.sh [INCLUDE_DIR]; .ci/layers.sh --self-test.
#
# Line 3 of each header under include/runnel is `// Layer: L<n>`. A header may include headers of its own layer and
# of lower ones, details included; no header may reach itself again through its includes; Boost.Asio is included
# only by the headers of `asio_headers`.
set -euo pipefail

asio_headers='^(runtime[.]hpp|detail/asio_[a-z0-9_]+[.]hpp|io/[a-z0-9_/]+[.]hpp)$'

check() { # check INCLUDE_DIR: prints what is wrong and returns 1, or returns 0
  local include=$1 header layers=() edges=() bad=0
  [ -d "$include/runnel" ] || { echo "$include/runnel: no such directory"; return 1; }
  while IFS= read -r header; do layers+=("$header"); done < <(cd "$include/runnel" && find . -name '*.hpp' | sed 's|^\./||' | sort)
  ((${#layers[@]})) || { echo "$include/runnel: no headers"; return 1; }
  (
    cd "$include/runnel"
    LC_ALL=C awk -v asio="$asio_headers" '
      function complain(text) { print FILENAME ":" FNR ": " text; bad = 1 }
      FNR == 1 { order[++files] = FILENAME }
      FNR == 3 {
        if ($0 ~ /^\/\/ Layer: L[0-9]+$/) { layer[FILENAME] = substr($0, 12) + 0 }
        else complain("line 3 must be \"// Layer: L<n>\"")
      }
      /^[ \t]*#[ \t]*include[ \t]*[<"]/ {
        target = $0
        sub(/^[^<"]*[<"]/, "", target)
        sub(/[>"].*$/, "", target)
        if (target ~ /^boost\/asio(\/|\.hpp$)/ && FILENAME !~ asio) {
          complain("includes <" target ">, but Boost.Asio belongs to the runtime, the detail/asio_ headers and io")
        }
        if (target == "runnel.hpp") { complain("includes the umbrella header"); next }
        if ($0 ~ /"/) complain("includes \"" target "\": write <runnel/...>")
        if (target !~ /^runnel\//) next
        sub(/^runnel\//, "", target)
        n++
        from[n] = FILENAME; to[n] = target; line[n] = FNR
      }
      END {
        for (i = 1; i <= n; i++) {
          where = from[i] ":" line[i] ": "
          if (!(to[i] in layer)) { print where "includes <runnel/" to[i] ">, which is no header with a layer"; bad = 1 }
          else if ((from[i] in layer) && layer[to[i]] > layer[from[i]]) {
            print where "is of layer L" layer[from[i]] " and includes <runnel/" to[i] "> of layer L" layer[to[i]]
            bad = 1
          }
        }
        exit bad
      }' "${layers[@]}"
  ) || bad=1

  while IFS= read -r header; do edges+=("$header"); done < <(
    cd "$include/runnel"
    for header in "${layers[@]}"; do
      sed -nE "s|^[ \t]*#[ \t]*include[ \t]*<runnel/([^>]+)>.*|$header \1|p" "$header"
    done
  )
  if ((${#edges[@]})) && ! loop=$(printf '%s\n' "${edges[@]}" | tsort 2>&1 >/dev/null); then
    echo "headers include each other in a circle:"
    printf '%s\n' "$loop" | sed 's/^tsort: /  /'
    bad=1
  fi
  return "$bad"
}

self_test() {
  local dir
  dir=$(mktemp -d)
  # shellcheck disable=SC2064
  trap "rm -rf '$dir'" EXIT

  header() { # header NAME LAYER INCLUDE...
    local name=$1 layer=$2
    shift 2
    mkdir -p "$(dirname "$dir/include/runnel/$name")"
    printf '// SPDX-License-Identifier: BSL-1.0\n// runnel/%s: a header.\n// Layer: %s\n#pragma once\n' "$name" "$layer" \
      >"$dir/include/runnel/$name"
    if (($#)); then printf '#include %s\n' "$@" >>"$dir/include/runnel/$name"; fi
  }
  fresh() {
    rm -rf "$dir/include"
    header low.hpp L0
    header detail/middle.hpp L1 '<vector>' '<runnel/low.hpp>'
    header runtime.hpp L1 '<boost/asio/thread_pool.hpp>' '<runnel/detail/middle.hpp>'
    header high.hpp L10 '<runnel/runtime.hpp>'
  }
  must() { # must pass|fail WHAT
    local got=pass output
    output=$(check "$dir/include") || got=fail
    if [ "$got" != "$1" ]; then
      printf 'self-test: %s must %s\n%s\n' "$2" "$1" "$output"
      exit 1
    fi
  }

  fresh
  must pass "a tree in order"
  header low.hpp L0 '<runnel/detail/middle.hpp>'
  must fail "a header that includes a higher layer"
  fresh && header other.hpp L2 '<runnel/high.hpp>'
  must fail "layer 2 including layer 10"
  fresh && header high.hpp L10 '<boost/asio/post.hpp>'
  must fail "Boost.Asio in a header that is not on the list"
  fresh && header detail/asio_pump.hpp L1 '<boost/asio/post.hpp>' && header io/use_task.hpp L11 '<boost/asio.hpp>'
  must pass "Boost.Asio in headers that are on the list"
  fresh && header other.hpp 'high'
  must fail "a header without a layer"
  fresh && header other.hpp L3 '<runnel/missing.hpp>'
  must fail "an include of a header that is not there"
  fresh && header one.hpp L3 '<runnel/two.hpp>' && header two.hpp L3 '<runnel/one.hpp>'
  must fail "a circle"
  fresh && header other.hpp L3 '"low.hpp"'
  must fail "a relative include"
  fresh && header other.hpp L13 '<runnel.hpp>'
  must fail "an include of the umbrella"
  echo "ten trees, good and bad, are told apart"
}

case ${1-} in
  --self-test) self_test ;;
  *) check "${1:-$(cd "$(dirname "$0")/.." && pwd)/include}" ;;
esac
