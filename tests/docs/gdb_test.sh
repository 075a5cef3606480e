#!/usr/bin/env bash
# docs/gdb/runnel.py shows the goroutines of a stopped program: tests/docs/gdb_test.sh [COMPILER [FLAGS...]].
# Exit status 77: there is no gdb here, or it may not start programs.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
compiler=${1:-g++}
(($# == 0)) || shift
command -v gdb >/dev/null || { echo "no gdb"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/main.cpp" <<'END'
#include <runnel.hpp>
#include <chrono>
#include <csignal>
namespace rn = runnel;

rn::task<int> inner(rn::chan<int> ch) { co_return *co_await ch.recv(); }
rn::task<> outer(rn::chan<int> ch) { (void)co_await inner(ch); }
rn::task<> sleeper() { co_await rn::sleep(std::chrono::hours(1)); }
rn::task<> app() {
  rn::chan<int> ch(3);
  rn::go(outer, ch);
  rn::go(outer, rn::chan<int>());
  rn::go(sleeper);
  co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
    g.go(outer, ch);
    for (int i = 0; i < 10; ++i) co_await rn::yield();
    std::raise(SIGTRAP);
  });
}
int main() { return rn::run(rn::threads(1), app); }
END
"$compiler" -std=c++20 -g -O1 -DRUNNEL_TRAMPOLINE=1 -I"$root/include" "$@" "$work/main.cpp" -o "$work/program" -pthread

shown=$(gdb -nx -batch -ex 'set debuginfod enabled off' -ex run -x "$root/docs/gdb/runnel.py" -ex runnel "$work/program" 2>&1) || true
grep -q 'received signal SIGTRAP' <<<"$shown" || { echo "gdb cannot run a program here"; exit 77; }

expect() { # expect REGEX
  grep -qE -- "$1" <<<"$shown" || { printf 'gdb does not show: %s\n%s\n' "$1" "$shown"; exit 1; }
}
expect '^runtime 0x[0-9a-f]+: 5 goroutines that have waited$'
expect '^context$'
expect '^  group$'
expect '^    goroutine 0x[0-9a-f]+, started at .*main\.cpp:15: waits to receive from channel 1 \(0 of 3\)$'
expect '^  goroutine 0x[0-9a-f]+, started at .*main\.cpp:11: waits to receive from channel 1 \(0 of 3\)$'
expect '^  goroutine 0x[0-9a-f]+, started at .*main\.cpp:12: waits to receive from the nil channel$'
expect '^  goroutine 0x[0-9a-f]+, started at .*main\.cpp:13: waits for a timer$'
expect '^    in sleeper.* at .*main\.cpp:8$'
expect '^    in inner.* at .*main\.cpp:6$'
expect '^    in outer.* at .*main\.cpp:7$'
echo "gdb shows five goroutines, what they wait for, and their frames"
