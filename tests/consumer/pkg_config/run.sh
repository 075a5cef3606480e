#!/usr/bin/env bash
# run.sh PKG_CONFIG PREFIX VERSION WORK COMPILER [FLAGS...]: builds the consumer without CMake.
set -euo pipefail
pkg_config=$1 prefix=$2 version=$3 work=$4
shift 4
source=$(cd "$(dirname "$0")/.." && pwd)/main.cpp
found=$(find "$prefix" -name runnel.pc)
PKG_CONFIG_PATH=$(dirname "$found")
export PKG_CONFIG_PATH
[ "$("$pkg_config" --modversion runnel)" = "$version" ]
read -r -a flags < <("$pkg_config" --cflags --libs runnel)
compiler=("$@")
if [ "${compiler[-1]}" = -I ]; then unset 'compiler[-1]'; fi  # no directories of Boost's own
mkdir -p "$work"
"${compiler[@]}" "$source" "${flags[@]}" -o "$work/consumer"
"$work/consumer"
