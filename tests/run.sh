#!/usr/bin/env bash
# Builds and runs the tests. Installs what is missing on Debian and Ubuntu; elsewhere says what is needed.
set -euo pipefail

usage() {
  cat <<'END'
usage: tests/run.sh [OPTIONS] [-- CTEST_ARGUMENTS...]

Without options, the whole matrix, each in build/<preset>, up to the first that fails:
  gcc-release    g++ -O2     every test, each public header alone, the consumers, the documentation, the examples
  clang-release  clang -O2   unit, conformance, compile_fail, model, stress
  clang-debug    clang -O0   unit and conformance tests of the core
  gcc-asan       g++ -O0, address and undefined behaviour sanitizers   unit, conformance, stress
  clang-tsan     clang, thread sanitizer                               unit, conformance, stress, and WebSocket streams
and, with --only:
  gcc-debug      g++ -O0     unit and conformance tests of the core, without sanitizers

  --quick        gcc-release alone
  --only PRESET  that one alone (may be repeated)
  --long         a minute for each stress test (or what RUNNEL_STRESS_SECONDS says) instead of a second, and with
                 gcc-release the headers of detail alone, too
  --help

After --, arguments for ctest: tests/run.sh --only gcc-asan -- -R 'chan'
Environment: RUNNEL_JOBS, RUNNEL_GXX, RUNNEL_CLANGXX, RUNNEL_WERROR=ON, RUNNEL_STRESS_SECONDS, RUNNEL_TEST_BATCH (how
many test files are compiled as one: 8; with 1 a file that was edited is soonest compiled again).
END
}

cd "$(dirname "$0")/.."
# shellcheck source-path=SCRIPTDIR source=../.ci/deps.sh
. .ci/deps.sh

matrix=(gcc-release clang-release clang-debug gcc-asan clang-tsan)
presets=("${matrix[@]}" gcc-debug)
chosen=()
long=0
while (($#)); do
  case $1 in
    --quick) chosen+=(gcc-release) ;;
    --only)
      (($# >= 2)) || die "--only needs the name of a preset: ${presets[*]}"
      [[ " ${presets[*]} " == *" $2 "* ]] || die "there is no preset '$2', only: ${presets[*]}"
      chosen+=("$2")
      shift
      ;;
    --long) long=1 ;;
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
ctest_arguments=("$@")
if ((${#chosen[@]} == 0)); then chosen=("${matrix[@]}"); fi
timeout=120
if ((long)); then
  export RUNNEL_STRESS_SECONDS=${RUNNEL_STRESS_SECONDS:-60}
  timeout=$((RUNNEL_STRESS_SECONDS * 5 + 120))
fi

# ---- What is needed for what was chosen ----

things=(cmake ninja boost gtest openssl)
for preset in "${chosen[@]}"; do
  case $preset in
    gcc-release) things+=(gxx pkg_config python mkdocs pygments) ;;
    gcc-*) things+=(gxx) ;;
    clang-tsan) things+=(clang clang_sanitizers) ;;
    clang-*) things+=(clang) ;;
  esac
done
if [ "$(uname -s)" = Linux ]; then things+=(uring); fi
mapfile -t things < <(printf '%s\n' "${things[@]}" | awk '!seen[$0]++')
require "${things[@]}"
use_generator
if [[ " ${chosen[*]} " == *" clang-"* ]]; then
  clangxx
  case $("$clangxx_path" -dumpversion) in
    19.*) ;;
    *) say "note: clang 19 is not here; using $clangxx_path, version $("$clangxx_path" -dumpversion)" ;;
  esac
fi

# ---- What the machine lets the sanitizers do ----

runner=()

builds_and_runs() { # builds_and_runs PROGRAM COMPILER FLAGS...: an empty program
  local program=$1
  shift
  echo 'int main() {}' | "$@" -x c++ - -o "$program" && "$program" >/dev/null 2>&1
}

find_symbolizer() { # clang's own, else the newest
  local own
  own=$(dirname "$(readlink -f "$(command -v "$clangxx_path")")")/llvm-symbolizer
  if [ -x "$own" ]; then
    echo "$own"
  else
    { find /usr/lib/llvm-*/bin -name llvm-symbolizer 2>/dev/null || true; } | sort -V | tail -n 1
  fi
}

prepare_sanitizer() { # prepare_sanitizer PRESET
  local probe symbolizer
  runner=()
  probe=build/$1/sanitizer_probe
  case $1 in
    gcc-asan)
      # Looking for leaks needs ptrace, which some containers refuse.
      if ! builds_and_runs "$probe" "$gxx" -fsanitize=address; then
        export ASAN_OPTIONS=detect_leaks=0:${ASAN_OPTIONS-}
        ASAN_OPTIONS=detect_leaks=0 "$probe" || die "the address sanitizer does not run on this machine"
        say "note: this machine does not let the leak checker run; going on without it"
      fi
      ;;
    clang-tsan)
      # Some kernels place memory where the thread sanitizer cannot be.
      if ! builds_and_runs "$probe" "$clangxx_path" -fsanitize=thread; then
        runner=(setarch "$(uname -m)" -R)
        "${runner[@]}" "$probe" || die "the thread sanitizer does not run on this machine"
        say "note: running without address space randomization, for the thread sanitizer"
      fi
      symbolizer=$(find_symbolizer)
      if [ -n "$symbolizer" ]; then
        export TSAN_OPTIONS=external_symbolizer_path=$symbolizer:${TSAN_OPTIONS-}
      else
        say "note: no llvm-symbolizer here, so a report would name addresses instead of lines (it is in the package llvm)"
      fi
      ;;
  esac
}

# ---- One configuration after the other ----

run_preset() { # run_preset PRESET
  local preset=$1 compiler log status=0
  case $preset in
    clang-*) compiler=$clangxx_path ;;
    *) compiler=$gxx ;;
  esac
  mkdir -p "build/$preset"
  log=build/$preset/configure.log
  say "== $preset: build (at ${SECONDS} s)"
  cmake --preset "$preset" -DCMAKE_CXX_COMPILER="$compiler" -DRUNNEL_WERROR="${RUNNEL_WERROR:-OFF}" \
    -DRUNNEL_TEST_BATCH="${RUNNEL_TEST_BATCH:-8}" -DRUNNEL_TEST_TIMEOUT="$timeout" \
    -DRUNNEL_TEST_DETAIL_HEADERS="$long" >"$log" 2>&1 || status=$?
  if ((status)); then
    cat "$log" >&2
    die "$preset: cmake failed"
  fi
  # One more than there are processors: some wait for files, and precompiling and linking leave one of them idle.
  cmake --build "build/$preset" -j "${RUNNEL_JOBS:-$(($(job_count) + 1))}" || die "$preset: the build failed"
  prepare_sanitizer "$preset"
  say "== $preset: test (at ${SECONDS} s)"
  RUNNEL_STRESS_SECONDS=${RUNNEL_STRESS_SECONDS:-1} \
    "${runner[@]}" ctest --preset "$preset" -j "$(job_count)" "${ctest_arguments[@]}" || die "$preset: tests failed"
}

for preset in "${chosen[@]}"; do run_preset "$preset"; done
