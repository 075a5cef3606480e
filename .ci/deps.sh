# shellcheck shell=bash
# What the scripts of this project need, and how to get it. Sourced by tests/run.sh, examples/run.sh,
# benchmarks/run.sh and their like; they call `require THING...`, which says nothing when all is there, installs what is missing on
# Debian and Ubuntu (and says so), and elsewhere says what is needed and goes on.

say() { printf '%s\n' "$*" >&2; }
die() {
  say "error: $*"
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# at_least HAVE WANTED: compares versions number by number.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | sed -n 1p)" = "$2" ]; }

job_count() {
  if [ -n "${RUNNEL_JOBS-}" ]; then
    echo "$RUNNEL_JOBS"
  else
    nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2
  fi
}

# file_in_prefix FILE: the first of the usual places, and of those that the environment names, that has the file.
file_in_prefix() {
  local dir
  while IFS= read -r dir; do
    if [ -n "$dir" ] && [ -e "$dir/$1" ]; then
      printf '%s\n' "$dir/$1"
      return 0
    fi
  done < <(
    printf '%s\n' "${BOOST_ROOT-}" "${CPATH-}" "${CPLUS_INCLUDE_PATH-}" | tr ':' '\n'
    printf '%s\n' "${BOOST_ROOT-}" "${CMAKE_PREFIX_PATH-}" /usr/local /usr /opt/homebrew /opt/local |
      tr ':;' '\n\n' | sed '/./s|$|/include|'
  )
  return 1
}

# ---- What there is to require. has_X asks; package_X names the package for apt; words_X says it to a person. ----

gxx=${RUNNEL_GXX:-g++}
gxx_version() { "$gxx" -dumpfullversion 2>/dev/null || true; }
has_gxx() { have "$gxx" && at_least "$(gxx_version)" 12; }
package_gxx() { echo g++; }
words_gxx() { echo "g++ 12 or newer (RUNNEL_GXX names it if it is not 'g++')"; }

# clang 19 is what is tested most; where there is none, the newest from 16 on does.
clang_versions=(19 23 22 21 20 18 17 16)
clangxx_path=
clangxx() { # sets clangxx_path to the clang to use, or leaves it empty
  local v
  if [ -n "${RUNNEL_CLANGXX-}" ]; then
    clangxx_path=$RUNNEL_CLANGXX
    return 0
  fi
  clangxx_path=
  for v in "${clang_versions[@]}"; do
    if have "clang++-$v"; then
      clangxx_path=clang++-$v
      return 0
    fi
  done
  if have clang++ && at_least "$(clang++ -dumpversion)" 16; then clangxx_path=clang++; fi
}
clang_sanitizers_are_there() {
  local dir found
  dir=$("$clangxx_path" -print-resource-dir) || return 1
  found=$(find "$dir/lib/" -name '*tsan*' -print 2>/dev/null || true)
  [ -n "$found" ]
}
has_clang() {
  clangxx
  [ -n "$clangxx_path" ] && have "$clangxx_path" || return 1
  # Another one will not do where 19 is to be had.
  [ -n "${RUNNEL_CLANGXX-}" ] || [[ $("$clangxx_path" -dumpversion) == 19.* ]] || ! is_debian || ! apt_offers clang-19
}
has_clang_sanitizers() { has_clang && clang_sanitizers_are_there; }
package_clang() {
  local v
  for v in "${clang_versions[@]}"; do
    if apt_offers "clang-$v"; then
      echo "clang-$v"
      return 0
    fi
  done
}
package_clang_sanitizers() {
  local v
  if has_clang; then v=$("$clangxx_path" -dumpversion); else v=$(package_clang); fi
  v=${v#clang-}
  if [ -n "$v" ]; then echo "libclang-rt-${v%%.*}-dev"; fi
}
words_clang() { echo "clang 19, or another from 16 on (RUNNEL_CLANGXX names its clang++)"; }
words_clang_sanitizers() { echo "the sanitizer runtimes of that clang (compiler-rt)"; }

cmake_version() { cmake --version 2>/dev/null | sed -n '1s/^cmake version //p' || true; }
has_cmake() { have cmake && at_least "$(cmake_version)" 3.22; }
package_cmake() { echo cmake; }
words_cmake() { echo "CMake 3.22 or newer"; }

has_ninja() { have ninja; }
package_ninja() { echo ninja-build; }
words_ninja() { echo "ninja (make does too)"; }

boost_is_new_enough() { awk '$2 == "BOOST_VERSION" { n = $3 } END { exit !(n >= 108100) }' "$1"; }
has_boost() {
  local file
  file=$(file_in_prefix boost/version.hpp) && boost_is_new_enough "$file" && file_in_prefix boost/asio.hpp >/dev/null
}
package_boost() {
  local version name
  version=$(apt_candidate libboost-dev)
  if [ -n "$version" ] && at_least "$version" 1.81; then
    echo libboost-dev
    return 0
  fi
  # An older distribution may offer a newer Boost beside its own.
  while IFS= read -r name; do
    version=${name#libboost}
    if at_least "${version%-dev}" 1.81; then
      echo "$name"
      return 0
    fi
  done < <(apt-cache pkgnames libboost1. 2>/dev/null | grep -E '^libboost1\.[0-9]+-dev$' | sort -V)
}
words_boost() { echo "the headers of Boost 1.81 or newer (CMAKE_PREFIX_PATH or BOOST_ROOT says where)"; }

has_gtest() { file_in_prefix gtest/gtest.h >/dev/null; }
package_gtest() { echo libgtest-dev; }
words_gtest() { echo "GoogleTest, with its library"; }

has_pkg_config() { have pkg-config; }
package_pkg_config() { echo pkg-config; }
words_pkg_config() { echo "pkg-config"; }

# GoogleTest's sources, for another machine than this.
gtest_source() {
  local dir
  for dir in "${GTEST_SOURCE-}" /usr/src/googletest/googletest; do
    if [ -n "$dir" ] && [ -e "$dir/src/gtest-all.cc" ]; then
      echo "$dir"
      return 0
    fi
  done
  return 1
}
has_gtest_source() { gtest_source >/dev/null; }
package_gtest_source() { echo googletest; }
words_gtest_source() { echo "the sources of GoogleTest (GTEST_SOURCE names their directory googletest)"; }

arm64_gxx=${RUNNEL_ARM64_GXX:-aarch64-linux-gnu-g++}
has_arm64_gxx() { have "$arm64_gxx"; }
package_arm64_gxx() { echo g++-aarch64-linux-gnu; }
words_arm64_gxx() { echo "g++ for arm64 (RUNNEL_ARM64_GXX names it)"; }

has_qemu_user() { have qemu-aarch64; }
package_qemu_user() { echo qemu-user; }
words_qemu_user() { echo "qemu's user emulation of arm64, qemu-aarch64"; }

has_benchmark() { file_in_prefix benchmark/benchmark.h >/dev/null; }
package_benchmark() { echo libbenchmark-dev; }
words_benchmark() { echo "Google Benchmark, with its library"; }

has_openssl() { file_in_prefix openssl/evp.h >/dev/null; }
package_openssl() { echo libssl-dev; }
words_openssl() { echo "OpenSSL, with its headers"; }

has_uring() { file_in_prefix liburing.h >/dev/null; }
package_uring() { echo liburing-dev; }
words_uring() { echo "liburing, with its headers (Linux): files are tested where it is"; }

has_python() { have python3; }
package_python() { echo python3; }
words_python() { echo "Python 3"; }

has_mkdocs() { have mkdocs; }
package_mkdocs() { echo mkdocs; }
words_mkdocs() { echo "MkDocs 1.4 or newer"; }

# MkDocs may run on another Python than the first in PATH.
has_pygments() { python3 -c 'import pygments' >/dev/null 2>&1 || /usr/bin/python3 -c 'import pygments' >/dev/null 2>&1; }
package_pygments() { echo python3-pygments; }
words_pygments() { echo "Pygments, for MkDocs to colour code"; }

has_go() { have go; }
package_go() { echo golang-go; }
words_go() { echo "Go"; }

has_elixir() { have elixirc; }
package_elixir() { echo elixir; }
words_elixir() { echo "Elixir"; }

# ---- Installing ----

apt_candidate() { LC_ALL=C apt-cache policy "$1" 2>/dev/null | sed -n 's/^  Candidate: \([^(].*\)$/\1/p'; }
apt_offers() { [ -n "$(apt_candidate "$1")" ]; }
is_debian() { have apt-get && have apt-cache && have dpkg; }
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif have sudo; then
    sudo "$@"
  else
    die "installing needs root or sudo; as root: $*"
  fi
}

install_missing() { # install_missing THING...
  local thing name names=()
  say "missing here: $*"
  say "reading the package lists (apt-get update)"
  as_root apt-get -qq -o DPkg::Lock::Timeout=300 update </dev/null >&2 ||
    say "apt-get update failed; going on with the lists that are here"
  for thing; do
    name=$("package_$thing")
    if [ -n "$name" ]; then
      names+=("$name")
    else
      say "no package of this distribution is $("words_$thing")"
    fi
  done
  if ((${#names[@]})); then
    say "installing: ${names[*]} (apt-get install)"
    # Nothing of the user's is removed to make room, an older Boost for example: that is the user's to decide.
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends --no-remove \
      -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 install "${names[@]}" </dev/null >&2 ||
      die "apt-get could not install: ${names[*]} (if it would have to remove something, do it by hand: apt-get install ${names[*]})"
  fi
}

require() { # require THING...
  local thing missing=() left=()
  for thing; do "has_$thing" || missing+=("$thing"); done
  if ((${#missing[@]} == 0)); then return 0; fi
  if is_debian; then install_missing "${missing[@]}"; fi
  for thing in "${missing[@]}"; do "has_$thing" || left+=("$thing"); done
  if ((${#left[@]} == 0)); then return 0; fi
  say "needed, and not found in the usual places:"
  for thing in "${left[@]}"; do say "  - $("words_$thing")"; done
  for thing in "${left[@]}"; do
    case $thing in
      gxx | clang | cmake) die "cannot go on without it" ;;
    esac
  done
  say "going on, in case it is in an unusual one"
}

# Ninja where it is; a build directory that exists keeps what it was made with.
use_generator() {
  if [ -z "${CMAKE_GENERATOR-}" ] && has_ninja; then export CMAKE_GENERATOR=Ninja; fi
}
