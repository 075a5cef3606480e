#!/usr/bin/env bash
# check_symbols.sh NM LIBRARY: no state of the library's is this shared object's alone. In nm's output a small letter is
# local: b and d are variables. The tables of functions (link_ops) are constants, of which there may be many.
set -euo pipefail
hidden=$("$1" -C "$2" | grep -E ' [bd] (guard variable for )?runnel::' | grep -vE '_ops(<|\[|$)|_ops$|::boundary_ops|vtable|typeinfo' || true)
if [ -n "$hidden" ]; then
  printf '%s has these for itself; they want RUNNEL_SHARED:\n%s\n' "$2" "$hidden" >&2
  exit 1
fi
