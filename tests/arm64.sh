#!/usr/bin/env bash
# Builds the core's tests for arm64 and runs them under qemu. Installs what is missing on Debian and Ubuntu.
set -euo pipefail

usage() {
  cat <<'END'
usage: tests/arm64.sh [--quick] [-- GTEST_ARGUMENTS...]

Builds the tests of the core for arm64 in build/arm64, with the cross compiler of Debian and GoogleTest from its
sources, and runs them under qemu's user emulation, or as they are on a machine that is one.

  --quick   without those of contexts, streams, supervision and Asio, and without stress
  --help

What it shows: that everything compiles there, and that nothing but the language and the operating system is taken for
granted. What it does not: qemu on x86-64 shows loads and stores in the order of x86-64, so that an ordering which only
arm64 needs is not missed here.

Environment: RUNNEL_JOBS, RUNNEL_STRESS_SECONDS (1), RUNNEL_ARM64_GXX, RUNNEL_ARM64_SECONDS (900), for the whole run.
END
}

cd "$(dirname "$0")/.."
# shellcheck source-path=SCRIPTDIR source=../.ci/deps.sh
. .ci/deps.sh

units=(
  compiler_probe compiler version task go run runtime this_task cancel_node
  chan_core chan select_core select errgroup with_errgroup all fork_join sleep
  detail/frame_pool detail/immortal_pool detail/park_lock detail/spinlock
  sync/mutex sync/semaphore sync/condition sync/event sync/wait_group sync/once
)
further=(context with_context async async_stream otp/supervisor io/use_task)
stress=(channels select cancel groups fork_join scheduler)
while (($#)); do
  case $1 in
    --quick)
      further=()
      stress=()
      ;;
    --help | -h)
      usage
      exit 0
      ;;
    --)
      shift
      break
      ;;
    *)
      usage >&2
      exit 2
      ;;
  esac
  shift
done

things=(boost gtest_source arm64_gxx)
if [ "$(uname -m)" != aarch64 ]; then things+=(qemu_user); fi
require "${things[@]}"
has_arm64_gxx && has_gtest_source || die "cannot go on without it"

build=build/arm64
mkdir -p "$build/include" "$build/objects"
# Not the directory that Boost is in: the headers of this machine's C library are there, too.
ln -sfn "$(dirname "$(file_in_prefix boost/version.hpp)")" "$build/include/boost"
gtest=$(gtest_source)

write() { # write FILE: what comes in, where it differs from what is there
  cat >"$1.new"
  cmp -s "$1.new" "$1" || mv "$1.new" "$1"
}
write "$build/once.cpp" <<'END'
#include <runnel/src.hpp>
#include <runnel/test/src.hpp>
#include <boost/asio/impl/src.hpp>
END
write "$build/common.hpp" <<'END'
#include <runnel.hpp>
#include <gtest/gtest.h>
END
write "$build/flags" <<END
-std=c++20 -O2 -pthread -Wall -Wextra -Wpedantic -Wshadow -Werror -Iinclude -Itests
-isystem $build/include -isystem $gtest/include
-DRUNNEL_FAULT_INJECTION=1 -DBOOST_ASIO_SEPARATE_COMPILATION -DRUNNEL_SEPARATE_COMPILATION=1
-DRUNNEL_TEST_PROJECT_VERSION=\\"$(awk '/^#define RUNNEL_VERSION_(MAJOR|MINOR|PATCH) / { v = v (n++ ? "." : "") $3 } END { print v }' \
  include/runnel/version.hpp)\\"
END

object_of() { echo "$build/objects/$(tr '/' '_' <<<"${1%.*}").o"; }
is_current() { # is_current OUTPUT SOURCE: whether it is newer than all that it could be made from
  [ -e "$1" ] && [ -z "$(find include tests/support "$build/flags" "$2" -newer "$1" -print -quit)" ]
}
compile_one() { # compile_one SOURCE
  local source=$1 object
  object=$(object_of "$source")
  if is_current "$object" "$source"; then return 0; fi
  case $source in
    "$gtest"/*) set -- -w "-I$gtest" ;;
    "$build"/*) set -- ;;
    *) set -- -include "$build/common.hpp" ;;
  esac
  "$arm64_gxx" "@$build/flags" "$@" -c "$source" -o "$object.new" && mv "$object.new" "$object"
}
export -f object_of is_current compile_one
export arm64_gxx build gtest

sources=("$gtest/src/gtest-all.cc" "$gtest/src/gtest_main.cc" "$build/once.cpp")
for name in "${units[@]}" "${further[@]}"; do sources+=("tests/unit/${name}_test.cpp"); done
for name in "${stress[@]}"; do sources+=("tests/stress/${name}_stress.cpp"); done
objects=()
for source in "${sources[@]}"; do objects+=("$(object_of "$source")"); done
say "== arm64: build, $((${#sources[@]} - 3)) files of tests (at ${SECONDS} s)"
is_current "$build/common.hpp.gch" "$build/common.hpp" ||
  "$arm64_gxx" "@$build/flags" -x c++-header "$build/common.hpp" -o "$build/common.hpp.gch"
printf '%s\0' "${sources[@]}" |
  xargs -0 -n 1 -P "$(job_count)" bash -c 'compile_one "$1" || exit 255' compile_one || die "the build failed"
"$arm64_gxx" -pthread "${objects[@]}" -o "$build/tests"

run=$build/tests
arguments=(--gtest_brief=1)
if [ "$(uname -m)" != aarch64 ]; then
  # The program takes this for its own name: a death test starts itself again by it, and the kernel runs no arm64.
  run=$build/run
  cat >"$run" <<'END'
#!/bin/sh
exec qemu-aarch64 -L /usr/aarch64-linux-gnu -0 "$0" "$(dirname "$0")/tests" "$@"
END
  chmod +x "$run"
  # What they ask the system is answered of qemu, or not at all: how large the process is, and a limit on that.
  arguments+=("--gtest_filter=-frame_pool.a_thread_that_ends_leaves_no_memory_behind:frame_pool.no_more_memory_is_bad_alloc*")
fi
say "== arm64: test (at ${SECONDS} s)"
RUNNEL_STRESS_SECONDS=${RUNNEL_STRESS_SECONDS:-1} timeout "${RUNNEL_ARM64_SECONDS:-900}" \
  "$run" "${arguments[@]}" "$@" || die "tests failed on arm64 (exit status $?)"
say "== arm64: passed (at ${SECONDS} s)"
