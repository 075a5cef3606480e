#!/usr/bin/env bash
# run.sh SOURCE_DIR WORK_DIR COMPILER...: makes one header of all, alone in a directory, and builds the program with it.
set -euo pipefail
source=$1 work=$2
shift 2
rm -rf "$work"
mkdir -p "$work"
python3 "$source/packaging/amalgamate.py" runnel.hpp runnel/io.hpp runnel/otp.hpp runnel/dump.hpp >"$work/runnel.hpp"
"$@" -I "$work" "$source/tests/consumer/main.cpp" -o "$work/consumer" -pthread
"$work/consumer"
