#!/usr/bin/env bash
# usage: digest_test.sh PROGRAM
# shellcheck disable=SC2016,SC2034  # the checks are evaluated late, by `check`
# Compares the digest example with sha256sum on a tree of more than 10,000 files with unpleasant names, and checks
# its flags, exit codes, Ctrl-C, bounded memory and its report of what cannot be read.
set -uo pipefail
export LC_ALL=C

program=$(realpath "${1:?usage: digest_test.sh PROGRAM}")
work=$(mktemp -d)
trap 'chmod -R u+rwx "$work" 2>/dev/null; rm -rf "$work"' EXIT
failures=0

ok() { printf 'ok    %s\n' "$1"; }
bad() {
  printf 'FAIL  %s\n' "$1"
  failures=$((failures + 1))
}
check() { # check SENTENCE COMMAND...: the command must succeed
  local sentence=$1
  shift
  if "$@"; then ok "$sentence"; else bad "$sentence"; fi
}
status() { # status EXPECTED COMMAND...: the command must end with that status, in time
  local expected=$1 got=0
  shift
  timeout 60 "$@" >"$work/out" 2>"$work/err" || got=$?
  [[ $got == "$expected" ]] || { echo "      status $got, expected $expected; stderr: $(tail -n 3 "$work/err")"; return 1; }
}
field() { sed -nE "s/.*[ (]?\b([0-9.]+) $1.*/\1/p" "$2" | tail -n 1; } # field 'files' FILE: a number of the summary

# Names in the order of the walk: as if / were the smallest character of all.
reference() { # reference DIR
  find "$1" -type f -print0 | tr '/' '\001' | sort -z | tr '\001' '/' | xargs -0 -r sha256sum
}

# ---- The tree: 10,400 files in 104 directories, and the odd ones ----

tree=$work/tree
mkdir "$tree"
(
  cd "$tree" || exit 1
  for d in $(seq -w 0 103); do
    dir="d$d"
    ((10#$d % 10 == 0)) && dir="d$d with space/and deeper"
    mkdir -p "$dir"
    # A hundred small files, all different; every tenth is emptied.
    seq "$((10#$d * 2500 + 1))" "$((10#$d * 2500 + 2500))" | split -l 25 -a 3 -d - "$dir/f"
    for empty in "$dir"/f*5; do : >"$empty"; done
  done
  mkdir odd odd/empty odd/a odd/a-b odd/$'new\nline dir' 'odd/back\slash'
  echo 1 >odd/a/x && echo 2 >odd/a-b/x && echo 3 >odd/a.txt && echo 4 >odd/A
  echo 5 >odd/$'new\nline' && echo 6 >'odd/back\slash file' && echo 7 >odd/$'return\r' && echo 8 >'odd/ leading space'
  echo 9 >odd/$'new\nline dir/both\\' && echo 10 >'odd/back\slash/plain' && echo 11 >odd/--quiet && echo 12 >odd/$'\xff\xfe'
  echo 13 >'odd/*?$(x)"'"'" && echo 14 >odd/.hidden && echo 15 >odd/$'tab\there'
  ln -s a/x odd/link_to_file && ln -s ../d001 odd/link_to_dir && ln -s . odd/loop && ln -s nowhere odd/dangling
  mkfifo odd/fifo
  head -c 262144 /dev/zero >odd/one_chunk && head -c 262145 /dev/zero >odd/one_chunk_and_a_byte
  head -c 5000000 /dev/zero >odd/large
)
expected_files=$(find "$tree" -type f -printf x | wc -c)
check "the tree has at least 10,000 files ($expected_files)" test "$expected_files" -ge 10000
reference "$tree" >"$work/expected"

# ---- The same as sha256sum ----

for workers in 1 2 8; do
  check "equal to sha256sum, in the order of the walk, --workers $workers" \
    eval 'status 0 "$program" "$tree" --workers $workers && cmp "$work/out" "$work/expected"'
done
check "the summary counts every file" test "$(field files "$work/err")" == "$expected_files"
check "the summary counts the goroutines: 8 workers, the walk, the app" test "$(field goroutines "$work/err")" == 10
bytes=$(find "$tree" -type f -printf '%s\n' | awk '{ n += $1 } END { printf "%.1f", n / 1e6 }')
check "the summary counts the bytes ($bytes MB)" grep -q " $bytes MB in " "$work/err"
check "sha256sum --check accepts the output" sha256sum --check --quiet "$work/out"
check "no terminal, no progress line" eval '! grep -q $'"'\\r'"' "$work/err"'
if script -qec true /dev/null >/dev/null 2>&1; then
  script -qec "'$program' '$tree' >'$work/out'" /dev/null </dev/null >"$work/err" 2>&1
  check "on a terminal, a progress line" grep -q $'\r[0-9]* files, [0-9.]* MB' "$work/err"
  check "on a terminal, the same output" cmp "$work/out" "$work/expected"
fi
check "a full disk is an error" \
  eval 'status 1 sh -c "\"\$1\" \"\$2\" >/dev/full" sh "$program" "$tree" && grep -q "standard output" "$work/err"'
check "DIR defaults to the current directory" \
  eval '(cd "$tree/odd" && status 0 "$program" && reference . | cmp - "$work/out")'
check "a trailing slash changes nothing but the names" \
  eval 'status 0 "$program" "$tree/odd/" && reference "$tree/odd/" | cmp - "$work/out"'
check "a file instead of a directory" \
  eval 'status 0 "$program" "$tree/odd/A" && sha256sum "$tree/odd/A" | cmp - "$work/out"'
check "an empty directory" eval 'status 0 "$program" "$tree/odd/empty" && ! test -s "$work/out"'
check "--quiet: no summary" eval 'status 0 "$program" --quiet "$tree" && ! test -s "$work/err"'

# ---- The command line ----

for wrong in '--workers 0' '--workers 257' '--workers 4294967297' '--workers -1' '--workers x' '--workers 3x' \
  --workers --what; do
  # shellcheck disable=SC2086
  check "refused with a usage line: $wrong" eval 'status 2 "$program" $wrong && grep -q ^usage: "$work/err"'
done
check "a missing directory is an error" \
  eval 'status 1 "$program" "$tree/missing" && grep -q "missing: No such file" "$work/err"'

# ---- What cannot be read ----

mkdir "$work/partly"
cp -r "$tree/d001" "$tree/d002" "$tree/d003" "$work/partly/"
mkdir "$work/partly/d002/locked" && echo secret >"$work/partly/d002/locked/file"
reference "$work/partly" | grep -v -e '/d002/f050$' -e /locked/ >"$work/expected_partly"
chmod 000 "$work/partly/d002/f050" "$work/partly/d002/locked"
as_user=()
if [[ $(id -u) == 0 ]]; then # nothing is unreadable to root
  as_user=(setpriv --reuid=65534 --regid=65534 --clear-groups)
  "${as_user[@]}" true 2>/dev/null || as_user=(skip)
  chmod 755 "$work"
  cp "$program" "$work/digest"
fi
if [[ ${as_user[*]} == skip ]]; then
  echo "skip  what cannot be read: this is root and cannot become another user"
else
  reader=("${as_user[@]}" "$program")
  [[ -e $work/digest ]] && reader=("${as_user[@]}" "$work/digest")
  for workers in 1 4; do
    check "the unreadable are reported, the others digested, status 1, --workers $workers" \
      eval 'status 1 "${reader[@]}" "$work/partly" --workers $workers && cmp "$work/out" "$work/expected_partly"'
    check "the unreadable file is named" grep -q 'd002/f050: Permission denied' "$work/err"
    check "the unreadable directory is named" grep -q 'd002/locked: Permission denied' "$work/err"
    check "the summary counts the unreadable" test "$(field unreadable "$work/err")" == 2
    check "--fail-fast stops at the first, status 1, --workers $workers" \
      eval 'status 1 "${reader[@]}" "$work/partly" --fail-fast --workers $workers'
    check "--fail-fast names it" grep -q 'd002/f050: Permission denied' "$work/err"
    check "--fail-fast goes no further" eval '! grep -q -e locked -e d003 "$work/err" "$work/out"'
    sed '/d002\/f051/,$d' "$work/expected_partly" >"$work/expected_before"
    check "--fail-fast prints what came before" cmp "$work/out" "$work/expected_before"
  done
fi

# ---- Ctrl-C ----

# A tree that takes long: sparse files cost no disk, and the small files in front are done at once.
mkdir "$work/long"
for i in $(seq -w 1 50); do echo "$i" >"$work/long/a$i"; done
for i in $(seq -w 1 60); do truncate -s 4G "$work/long/b$i"; done
interrupt() { # interrupt SIGNAL WORKERS: signals once something was hashed; leaves the status in $got
  local pid
  # A background job of a script ignores SIGINT unless it is run with job control.
  set -m
  timeout --foreground 60 "$program" "$work/long" --workers "$2" >"$work/out" 2>"$work/err" &
  pid=$!
  set +m
  until child=$(pgrep -P $pid) && [[ $(awk '/rchar/ { print $2 }' "/proc/$child/io" 2>/dev/null) -gt 50000000 ]]; do
    kill -0 $pid 2>/dev/null || break
    sleep 0.02
  done
  local before=${EPOCHREALTIME/./}
  kill -"$1" "$child"
  got=0
  wait $pid || got=$?
  took=$(((${EPOCHREALTIME/./} - before) / 1000))
}
for workers in 1 2 8; do
  for _ in 1 2 3 4 5; do # more than once where others take the machine away
    interrupt INT "$workers"
    if ((took < 2000)); then break; fi
  done
  check "Ctrl-C: status 130, --workers $workers (got $got)" test "$got" == 130
  check "Ctrl-C ends it within 2 s (took $took ms)" test "$took" -lt 2000
  check "Ctrl-C: the summary says interrupted" grep -q ', interrupted$' "$work/err"
  check "Ctrl-C: what was done is printed, whole lines, as sha256sum would" \
    eval 'test "$(wc -l <"$work/out")" -ge 50 && head -n 50 "$work/out" | sha256sum --check --quiet'
  check "Ctrl-C: the summary counts the lines" test "$(field files "$work/err")" == "$(wc -l <"$work/out")"
done
interrupt TERM 2
check "SIGTERM: status 143 (got $got)" test "$got" == 143

# ---- Memory is bounded ----

# The first file is a slow one: without a bound the whole tree behind it would be digested and kept meanwhile.
mkdir "$work/slow"
cp -al "$tree" "$work/slow/tree"
truncate -s 1G "$work/slow/first"
peak() { # peak DIR: in tenths of a MB
  status 0 "$program" "$1" --workers 2
  sed -nE 's/.*peak memory ([0-9]+)\.([0-9]).*/\1\2/p' "$work/err"
}
export ASAN_OPTIONS=quarantine_size_mb=1${ASAN_OPTIONS:+:$ASAN_OPTIONS} # a build with it keeps what is freed
few=$(peak "$tree/d001")
many=$(peak "$work/slow")
check "a hundred times the files, behind a slow one, cost at most a third more ($few, $many tenths of a MB)" \
  test "$((many - few))" -le "$((few / 3))"

if ((failures)); then
  echo "$failures checks failed"
  exit 1
fi
echo "all checks passed"
