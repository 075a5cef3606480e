#!/usr/bin/env bash
# Every shell script parses, is executable if it is meant to be run, and pleases shellcheck where that is installed.
set -euo pipefail
cd "$(dirname "$0")/.."

mapfile -t scripts < <(
  find . -path ./.git -prune -o -path ./build -prune -o -type f -name '*.sh' -print
  echo ./.ci/run
)
bad=0
for script in "${scripts[@]}"; do
  bash -n "$script" || bad=1
  if [ "$(head -c 2 "$script")" = '#!' ] && [ ! -x "$script" ]; then
    echo "$script: is not executable"
    bad=1
  fi
done
if command -v shellcheck >/dev/null 2>&1; then
  shellcheck -x -S warning "${scripts[@]}" || bad=1
fi
exit "$bad"
