#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Runs the benchmarks and the peers that are here in turn, and prints a report in Markdown.

Each row is measured in rounds. In a round every contestant runs once on each number of threads, in a process of its
own and one after the other, so that a machine that drifts drifts for all of them; the figures are the medians of the
rounds. What a process measures first is its warm-up and does not count. Runs that others on the machine disturb are
left out where there are enough others; a figure that rests on such runs is marked. docs/benchmarks.md says what each
row is.
"""

import argparse
import datetime
import json
import os
import platform
import re
import resource
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PEERS = HERE / "peers"
NAMES = {"go": "Go", "asio": "Asio", "tmc": "TMC", "elixir": "Elixir"}


class Row:
    """One line of the report for each thread count.

    `program` and `benchmark` name what runs, `value` the counter that counts: "time" is the time of the batch.
    `peer_row` is the row that the peers named in `peers` know for the same work.
    """

    def __init__(self, id, title, unit, program, benchmark, value, peer_row="", peers="", threads=(1, 2)):
        self.id, self.title, self.unit = id, title, unit
        self.program, self.benchmark, self.value = program, benchmark, value
        self.peer_row, self.peers, self.threads = peer_row, peers.split(), threads


WIDE = (1, 2, 8)
ROWS = [
    Row("1", "spawn 1e6, join all (errgroup)", "ns", "spawn", "spawn_and_join", "ns", "1", "go tmc", WIDE),
    Row("1a", "the same, none awaited (go, wait_group)", "ns", "spawn", "spawn_a_flood", "ns", "1", "go tmc"),
    Row("1b", "in batches of 1000", "ns", "spawn", "spawn_batches", "ns", "1b", "go tmc"),
    Row("1c", "spawn one, join it (errgroup)", "ns", "spawn", "spawn_one_join_one", "ns", "1c", "go asio tmc"),
    Row("1e", "spawn one, join it (go, wait_group)", "ns", "spawn", "spawn_one_wait_group", "ns", "1c", "go asio tmc"),
    Row("1d", "await a task", "ns", "spawn", "await_a_task", "ns", "1d", "tmc"),
    Row("2", "ping-pong, unbuffered, a round trip", "ns", "channels", "ping_pong", "ns", "2", "go asio", WIDE),
    Row("3", "1 producer, 1 consumer, capacity 128", "ns", "channels", "spsc", "ns", "3", "go asio", WIDE),
    Row("4", "4 producers, 4 consumers, capacity 128", "ns", "channels", "mpmc", "ns", "4", "go", WIDE),
    Row("5", "4 producers, 4 consumers, unbuffered", "ns", "channels", "mpmc_unbuffered", "ns", "5", "go asio", WIDE),
    Row("6", "select over 2, unbuffered", "ns", "select", "select_2", "ns", "6", "go"),
    Row("6x", "select over 8, unbuffered", "ns", "select", "select_8", "ns", "6x", "go"),
    Row("6b", "select over 2, capacity 128", "ns", "select", "select_2_buffered", "ns", "6b", "go"),
    Row("6bx", "select over 8, capacity 128", "ns", "select", "select_8_buffered", "ns", "6bx", "go"),
    Row("7", "prime sieve, 2000 primes, unbuffered", "ms", "sieve", "sieve_unbuffered", "time", "7", "go"),
    Row("7b", "the same, capacity 128", "ms", "sieve", "sieve_buffered", "time", "7b", "go"),
    Row("8", "skynet, 1e6 leaves, by all", "ms", "fork_join", "skynet_by_all", "time", "8", "go tmc", WIDE),
    Row("8g", "skynet, by goroutines and channels", "ms", "fork_join", "skynet_by_goroutines", "time", "8", "go", WIDE),
    Row("13", "fib(30), both children, by all", "ms", "fork_join", "fib_by_all", "time", "13", "go tmc", WIDE),
    Row("T1", "start a task, await it", "ns", "tasks", "async_await", "ns", "T1", "elixir"),
    Row("T1b", "start a hundred, await them", "ns", "tasks", "async_await_100", "ns", "T1b", "elixir"),
    Row("T2", "an item of a stream, in order", "ns", "tasks", "async_stream_ordered", "ns", "T2", "elixir"),
    Row("T2b", "the same as tasks end", "ns", "tasks", "async_stream_unordered", "ns", "T2b", "elixir"),
    Row("9", "parked goroutines, each", "bytes", "parked", "parked", "bytes", "9", "go"),
    Row("9b", "waking and ending them, each", "ns", "parked", "parked", "ns", "9b", "go"),
    Row("10", "1e5 sleeps of 1 to 100 ms, wall", "ms", "timers", "sleeps", "time", "10", "go"),
    Row("10cpu", "the same, CPU", "ms", "timers", "sleeps", "cpu_ms", "10cpu", "go"),
    Row("10t", "a tick of 10,000 tickers of 20 ms, CPU", "ns", "timers", "tickers", "cpu_ns", "10t", "go"),
    Row("10a", "set and cancel a timeout, scoped", "ns", "timers", "timeout_not_struck", "ns", "10b", "go"),
    Row("10b", "set and cancel a timeout, context", "ns", "timers", "timeout_by_context", "ns", "10b", "go"),
    Row("11", "cancel 1e5 parked, until all have ended", "ms", "cancel", "cancel_shared", "time", "11", "go"),
    Row("11b", "the same, a derived context each", "ms", "cancel", "cancel_derived", "time", "11b", "go"),
    Row("12", "mutex, 8 goroutines, a yield inside", "ns", "sync", "mutex_with_yield", "ns", "12", "go"),
    Row("12b", "the same without the yield", "ns", "sync", "mutex", "ns", "12b", "go"),
    Row("12d", "semaphore of 2, 8 goroutines, a yield inside", "ns", "sync", "semaphore", "ns", "12d", "go"),
    Row("12c", "yield, 8 goroutines", "ns", "spawn", "yield", "ns", "12c", "go"),
    Row("14", "a supervised start of a child that returns", "ns", "supervision", "supervised_start", "ns", "14", "elixir"),
    Row("14t", "start a supervised task, await it", "ns", "supervision", "supervised_task", "ns", "14t", "elixir"),
    Row("14r", "a restart after an error", "ns", "supervision", "restart_after_an_error", "ns", "14r", "elixir"),
    Row("14f", "the same without a throw (failure)", "ns", "supervision", "restart_after_a_failure", "ns", "14r", "elixir"),
    Row("14n", "a restart after a return", "ns", "supervision", "restart_after_a_return", "ns", "14n", "elixir"),
    Row("14b", "supervised sleepers, each", "bytes", "supervised", "supervised", "bytes"),
    Row("S1", "a tree of real work, by all", "ms", "scaling", "working_tree", "time", threads=WIDE),
    Row("S2", "16 goroutines of real work", "ms", "scaling", "working_goroutines", "time", threads=WIDE),
    Row("2of1", "2 threads, of the time of 1: 1 to 1, capacity 128", "%", "sharing", "one_to_one", "percent", threads=(2,)),
    Row("2of1b", "the same, 4 to 4", "%", "sharing", "four_to_four", "percent", threads=(2,)),
    Row("2of1c", "4 to 4, capacity 4096", "%", "sharing", "four_to_four_with_4096", "percent", threads=(2,)),
    Row("2of1d", "1 to 1, some 100 ns of work", "%", "sharing", "one_to_one_little_work", "percent", threads=(2,)),
    Row("2of1e", "4 to 4, some 100 ns of work", "%", "sharing", "four_to_four_little_work", "percent", threads=(2,)),
    Row("2of1f", "1 to 1, some 500 ns of work", "%", "sharing", "one_to_one_some_work", "percent", threads=(2,)),
    Row("2of1g", "4 to 4, some 500 ns of work", "%", "sharing", "four_to_four_some_work", "percent", threads=(2,)),
    Row("E", "an echo, of its time by callbacks of Asio", "%", "echo", "echo_of_callbacks", "percent"),
    Row("Ed", "the same with deferred_reads", "%", "echo", "deferred_echo_of_callbacks", "percent"),
    Row("I", "CPU in 1.5 s of idleness", "ms", "idle", "idle", "cpu_ms", threads=WIDE),
]
# Memory that an earlier repetition left behind would not show again, so these run once a process, cold.
COLD = {"parked", "idle", "supervised"}
# What peers print as they measure another row.
BESIDE = {"9b": "9", "10cpu": "10"}


class Targets:
    """What must be reached: each yields (sentence, figure, reached or not; None when it was not measured)."""

    # The first prototype's figures against Go's in one run, at one thread.
    OF_GO = {"1": 1039 / 90, "2": 272 / 38, "3": 35 / 17, "4": 36 / 17, "5": 137 / 19, "8g": 1002 / 140}
    TEN_TIMES_ELIXIR = "T1", "T2", "T2b", "14", "14t", "14r", "14f", "14n"
    THREE_TIMES_GO = "6", "6x", "6b", "6bx", "10cpu", "10t", "10a", "10b", "12", "12d"
    NOISE = 1.05

    def __init__(self, figures, full_size):
        self.figures, self.full_size = figures, full_size

    def get(self, row, threads, who="runnel"):
        return self.figures.get((row, threads, who))

    def all(self):
        yield from self.against_go()
        yield from self.against_tmc()
        yield from self.against_elixir()
        yield from self.between_threads()
        yield from self.absolute()

    def at_least(self, sentence, figure, bound):
        return sentence, figure and f"{figure:.2f}", figure and figure >= bound

    def at_most(self, sentence, figure, bound):
        return sentence, figure is not None and f"{figure:.3g}", None if figure is None else figure <= bound

    def ratio(self, over, under):
        return over / under if over is not None and under else None

    def against_go(self):
        for row, bound in self.OF_GO.items():
            ratio = self.ratio(self.get(row, 1, "go"), self.get(row, 1))
            yield self.at_least(f"row {row}, 1 thread: at least {bound:.1f} times as fast as Go", ratio, bound)
        for row in self.THREE_TIMES_GO:
            for threads in 1, 2:
                ratio = self.ratio(self.get(row, threads, "go"), self.get(row, threads))
                yield self.at_least(f"row {row}, {threads} threads: at least 3 times as fast as Go", ratio, 3)

    def against_tmc(self):
        for row in "8", "13":
            for threads in 1, 2:
                ratio = self.ratio(self.get(row, threads, "tmc"), self.get(row, threads))
                yield self.at_least(f"row {row}, {threads} threads: ahead of TooManyCooks", ratio, 1)

    def against_elixir(self):
        for row in self.TEN_TIMES_ELIXIR:
            for threads in 1, 2:
                ratio = self.ratio(self.get(row, threads, "elixir"), self.get(row, threads))
                yield self.at_least(f"row {row}, {threads} threads: at least 10 times as fast as Elixir", ratio, 10)

    def between_threads(self):
        for row in "2", "3", "4", "5":
            ratio = self.ratio(self.get(row, 2), self.get(row, 1))
            yield self.at_most(f"row {row}: 2 threads no slower than 1 ({self.NOISE} for noise)", ratio, self.NOISE)
        for row in "2of1", "2of1b", "2of1c", "2of1d", "2of1e", "2of1f", "2of1g":
            sentence = f"row {row}: 2 threads no slower than 1 ({self.NOISE} for noise)"
            yield self.at_most(sentence, self.get(row, 2), 100 * self.NOISE)
        for row in "1", "8g":
            ratio = self.ratio(self.get(row, 2), self.get(row, 1))
            yield self.at_most(f"row {row}: 2 threads at most 1.2 times of 1", ratio, 1.2)
        for row in ROWS:
            if 8 in row.threads and row.id != "I":
                ratio = self.ratio(self.get(row.id, 8), self.get(row.id, 2))
                yield self.at_most(f"row {row.id}: 8 threads at most 1.3 times of 2", ratio, 1.3)
        ratio = self.ratio(self.get("S1", 1), self.get("S1", 2))
        yield self.at_least("row S1: 2 threads at least 1.9 times as fast as 1 (needs 2 idle cores)", ratio, 1.9)

    def absolute(self):
        for threads in 1, 2:
            yield self.at_most(f"row Ed, {threads} threads: no slower than callbacks", self.get("Ed", threads), 100)
            # The smaller sizes of --quick say nothing about a whole batch, nor about a page's share of a goroutine.
            if self.full_size:
                yield self.at_most(f"row 9, {threads} threads: at most 250 bytes", self.get("9", threads), 250)
                yield self.at_most(f"row 11, {threads} threads: at most 15 ms", self.get("11", threads), 15)
        for threads in WIDE:
            yield self.at_most(f"row I, {threads} threads: at most 1.5 ms, 0.1 %", self.get("I", threads), 1.5)


def say(text):
    print(text, file=sys.stderr, flush=True)


def first_line(*command):
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return result.stdout.splitlines()[0] if result.returncode == 0 and result.stdout else ""
    except (OSError, subprocess.TimeoutExpired):
        return ""


def cache_entry(build, name):
    try:
        text = (build / "CMakeCache.txt").read_text()
    except OSError:
        return ""
    found = re.search(rf"^{name}:\w+=(.*)$", text, re.MULTILINE)
    return found.group(1) if found else ""


class Peers:
    """Builds the peers that can be built here; `programs` has their paths, `versions` what to say of them."""

    def __init__(self, build, compiler, wanted):
        self.where = build / "peers"
        self.programs, self.versions = {}, []
        if not wanted:
            return
        self.where.mkdir(parents=True, exist_ok=True)
        self.add_go()
        self.add_cpp("asio", compiler, [])
        self.add_tmc(compiler)
        self.add_elixir()

    def add_go(self):
        if shutil.which("go"):
            # No module is needed from elsewhere, and none is looked for.
            environment = dict(os.environ, GOFLAGS="-mod=mod", GOPROXY="off")
            self.build("go", ["go", "build", "-o", str(self.where / "go"), "."], PEERS / "go", environment)
            self.versions.append(first_line("go", "version"))

    def add_cpp(self, name, compiler, flags):
        command = shlex.split(compiler) + ["-std=c++20", "-O3", "-DNDEBUG", *flags]
        source = PEERS / name / "main.cpp"
        return self.build(name, command + [str(source), "-o", str(self.where / name), "-pthread"], PEERS)

    def add_tmc(self, compiler):
        checkout = os.environ.get("TMC_DIR")
        if not checkout:
            return
        if not (Path(checkout) / "include" / "tmc").is_dir():
            return say(f"TMC_DIR: there is no include/tmc in {checkout}")
        compiler = os.environ.get("TMC_CXX") or shutil.which("clang++-19") or compiler
        if self.add_cpp("tmc", compiler, ["-isystem", str(Path(checkout) / "include")]):
            commit = first_line("git", "-C", checkout, "log", "-1", "--format=%h of %cs") or "unknown version"
            self.versions.append(f"TooManyCooks {commit}, {first_line(*shlex.split(compiler), '--version')}")

    def add_elixir(self):
        if not shutil.which("elixirc"):
            return
        modules, program = self.where / "elixir_modules", self.where / "elixir"
        modules.mkdir(exist_ok=True)
        # The second argument is the number of threads, of which each runs a scheduler.
        program.write_text(
            f'#!/bin/sh\nexec elixir --erl "+S $2:$2" -pa {shlex.quote(str(modules))}'
            " -e 'Peer.main(System.argv())' -- \"$@\"\n"
        )
        program.chmod(0o755)
        if self.build("elixir", ["elixirc", "-o", str(modules), "peer.ex"], PEERS / "elixir"):
            found = subprocess.run(["elixir", "--version"], capture_output=True, text=True, timeout=60).stdout
            self.versions += [line for line in found.splitlines() if line.startswith(("Elixir", "Erlang"))]

    def build(self, name, command, directory, environment=None):
        say(f"building the peer {NAMES[name]} ...")
        result = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True)
        if result.returncode != 0:
            say(f"it is left out, for it did not build: {' '.join(command)}\n{result.stderr[-2000:]}")
            return False
        self.programs[name] = self.where / name
        return True


# How many short runs --best takes the best of.
SLICES = 60
# The share of the machine's CPU that others may use while something is measured.
DISTURBED = 0.04


def others_busy():
    """Begins to watch; the function that it returns tells what share of the CPU others than our children used."""

    def now():
        own = resource.getrusage(resource.RUSAGE_CHILDREN)
        try:
            fields = [int(n) for n in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        except (OSError, ValueError):
            return None
        user, nice, system, _, _, irq, softirq, steal = fields
        busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        return time.monotonic(), busy, own.ru_utime + own.ru_stime

    before = now()

    def share():
        after = now()
        if not before or not after:
            return 0.0
        wall, busy, own = (b - a for a, b in zip(before, after))
        return max(0.0, busy - own - 0.02) / (wall * os.cpu_count())  # the clock of the system counts by 10 ms

    return share


class Run:
    """Runs one contestant once. Yields {what is measured: figure}; what went wrong is said, and yields nothing."""

    def __init__(self, options, peers):
        self.options, self.peers = options, peers
        self.scale = 0.02 if options.best else 0.1 if options.quick else 1
        self.environment = dict(os.environ, RUNNEL_BENCH_SCALE=str(self.scale))
        self.runs = self.disturbed = 0

    def output(self, command):
        """What the command prints, and how much others on the machine disturbed it; the best of several attempts."""
        command = [str(c) for c in command]
        best, least = None, None
        self.runs += 1
        for attempt in range(self.options.patience):
            time.sleep(0.5 * attempt)
            busy = others_busy()
            try:
                result = subprocess.run(
                    command, capture_output=True, text=True, env=self.environment, timeout=self.options.timeout
                )
            except subprocess.TimeoutExpired:
                say(f"  it did not end in {self.options.timeout} s: {shlex.join(command)}")
                return "", 1.0
            if result.returncode != 0:
                say(f"  it failed ({result.returncode}): {shlex.join(command)}\n{result.stderr[-1000:]}")
                return "", 1.0
            disturbance = busy()
            if least is None or disturbance < least:
                best, least = result.stdout, disturbance
            if least < DISTURBED:
                return best, least
        self.disturbed += 1
        return best, least

    def runnel(self, program, benchmark, threads):
        path = self.options.build_dir / "benchmarks" / f"bench_{program}"
        if not path.exists():
            say(f"  {path} has not been built")
            return {}, 1.0
        least = 0.001 if self.options.best else 0.1 if self.options.quick else 0.4
        slices = SLICES if self.options.best and benchmark not in COLD else 1
        text, disturbance = self.output(
            [path, f"--benchmark_filter=^{benchmark}/threads:{threads}(/|$)", "--benchmark_format=json",
             f"--benchmark_min_time={least}", f"--benchmark_repetitions={slices}"]
        )
        try:
            found = json.loads(text or "{}").get("benchmarks", [])
        except ValueError:
            found = []
        found = [f for f in found if f.get("run_type", "iteration") == "iteration"]
        if not found or found[0].get("error_occurred"):
            say(f"  no figure from {path} {benchmark} {found[0].get('error_message') if found else ''}")
            return {}, 1.0
        figures = {k: min(f[k] for f in found) for k, v in found[0].items() if isinstance(v, (int, float))}
        figures["time"] = figures["real_time"]
        return figures, disturbance

    def peer(self, name, row, threads, cold):
        repetitions = 1 if cold else SLICES if self.options.best else 2
        text, disturbance = self.output([self.peers.programs[name], row, threads, repetitions, self.scale])
        figures = {}
        for figure in map(json.loads, text.splitlines()):
            figures.setdefault(figure["row"], []).append(figure["value"])
        # The first is the warm-up.
        return {row: min(values[1:] or values) for row, values in figures.items()}, disturbance


def typical(samples):
    """The median of the undisturbed samples, or of the less disturbed half; and whether those are undisturbed."""
    samples = sorted(samples)
    quiet = [s for s in samples if s[0] < DISTURBED]
    enough = 2 * len(quiet) >= len(samples)
    kept = quiet if enough else samples[: (len(samples) + 1) // 2]
    return statistics.median(value for _, value in kept), enough


def measure(options, peers):
    """{(row, threads, who): figure}, the keys of doubtful ones, and a sentence on how quiet the machine was."""
    run, samples = Run(options, peers), {}
    rows = [r for r in ROWS if not options.rows or r.id in options.rows]
    benchmarks = {(r.program, r.benchmark): [] for r in rows}
    for row in rows:
        benchmarks[row.program, row.benchmark].append(row)
    rounds = options.rounds
    for (program, benchmark), same in benchmarks.items():
        # Rows of one benchmark come out of one run; for a peer, its rows of one family.
        contestants = {(p, BESIDE.get(r.peer_row, r.peer_row)) for r in same for p in r.peers if p in peers.programs}
        counts = [t for t in same[0].threads if not options.threads or t in options.threads]
        say(f"{benchmark}, threads: {', '.join(map(str, counts))}")
        for threads in rounds * counts:  # in turn: the targets compare them
            ours, disturbance = run.runnel(program, benchmark, threads)
            for row in same:
                if row.value in ours:
                    samples.setdefault((row.id, threads, "runnel"), []).append((disturbance, ours[row.value]))
            for name, peer_row in sorted(contestants) if threads <= 2 else []:
                theirs, disturbance = run.peer(name, peer_row, threads, benchmark in COLD)
                for row in same:
                    if row.peer_row in theirs:
                        key = row.id, threads, name
                        samples.setdefault(key, []).append((disturbance, theirs[row.peer_row]))
    figures = {key: typical(values)[0] for key, values in samples.items()}
    doubtful = {key for key, values in samples.items() if not typical(values)[1]}
    quiet = f"{run.disturbed} of {run.runs} runs were disturbed by others on this machine"
    return figures, doubtful, quiet + (", figures that rest on those are marked ~" if doubtful else "")


def cpu_model():
    try:
        found = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1) if found else platform.processor() or platform.machine()


def number(value):
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(lines):
    head, *rest = lines
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *rest])


def report(figures, doubtful, quiet, options, peers, compiler):
    flags = cache_entry(options.build_dir, "CMAKE_CXX_FLAGS_RELEASE")
    method = f"medians of {options.rounds} rounds{', sizes a tenth' if options.quick else ''}"
    if options.best:
        method = f"the best of {SLICES} runs of a fiftieth of the size"
    out = [
        f"# Benchmarks of {datetime.date.today():%Y-%m-%d}",
        "",
        f"- {cpu_model()}, {os.cpu_count()} CPUs, {platform.system()} {platform.release()}",
        f"- {first_line(*shlex.split(compiler), '--version')} {flags}".rstrip(),
        *(f"- {version}" for version in peers.versions),
        f"- {method}; {quiet}",
        f"- `{shlex.join(['benchmarks/run.sh', *options.arguments])}`",
        "",
    ]
    names = [n for n in NAMES if n in peers.programs]
    lines = [["row", "workload", "unit", "threads", "runnel"]]
    for name in names:
        lines[0] += [NAMES[name], f"{NAMES[name]} / runnel"]
    for row in ROWS:
        for threads in row.threads:
            ours = figures.get((row.id, threads, "runnel"))
            theirs = [figures.get((row.id, threads, name)) for name in names]
            mark = {who: "~" if (row.id, threads, who) in doubtful else "" for who in ("runnel", *names)}
            if ours is None and not any(theirs):
                continue
            line = [row.id, row.title, row.unit, str(threads), number(ours) + mark["runnel"]]
            for name, value in zip(names, theirs):
                line += [number(value) + mark[name], f"{value / ours:.1f}" if value and ours else "-"]
            lines.append(line)
    out += [table(lines), "", "## Targets", ""]
    missed = 0
    lines = [["target", "measured", ""]]
    for sentence, figure, reached in Targets(figures, not (options.quick or options.best)).all():
        if reached is None:
            if not options.rows:
                lines.append([sentence, "-", "not measured"])
            continue
        missed += not reached
        lines.append([sentence, figure, "reached" if reached else "**missed**"])
    out += [table(lines), ""]
    return "\n".join(out), missed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build-dir", type=Path, default=HERE.parent / "build" / "gcc-bench", help="its build")
    parser.add_argument("--quick", action="store_true", help="3 rounds, and sizes a tenth")
    parser.add_argument("--best", action="store_true", help="the best of 60 short runs: what a busy machine can tell")
    parser.add_argument("--rounds", type=int, help="how many rounds (7, or 3 if quick)")
    parser.add_argument("--rows", type=lambda s: s.split(","), help="only these: 1,2,8g")
    parser.add_argument("--threads", type=lambda s: [int(n) for n in s.split(",")], help="only these: 1,2")
    parser.add_argument("--no-peers", action="store_true", help="runnel alone")
    parser.add_argument("--timeout", type=int, default=120, help="seconds for one process")
    parser.add_argument("--patience", type=int, default=4, help="how often to try for an undisturbed run")
    parser.add_argument("--output", type=Path, help="write the report here as well")
    parser.add_argument("--check", action="store_true", help="fail if a target is missed")
    options = parser.parse_args()
    options.rounds = max(1, options.rounds or (1 if options.best else 3 if options.quick else 7))
    if options.best:
        options.patience = 1
    options.build_dir = options.build_dir.resolve()
    options.arguments = [a for i, a in enumerate(sys.argv[1:]) if "--build-dir" not in (a, sys.argv[i])]
    unknown = set(options.rows or []) - {r.id for r in ROWS}
    if unknown:
        parser.error(f"there is no row {', '.join(sorted(unknown))}; rows are {', '.join(r.id for r in ROWS)}")

    compiler = cache_entry(options.build_dir, "CMAKE_CXX_COMPILER") or "g++"
    peers = Peers(options.build_dir, compiler, wanted=not options.no_peers)
    figures, doubtful, quiet = measure(options, peers)
    say(quiet)
    text, missed = report(figures, doubtful, quiet, options, peers, compiler)
    print(text)
    if options.output:
        options.output.write_text(text)
    return 1 if options.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
