#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Checks README.md and docs/: the programs compile and print what is said, links lead somewhere, quoted
sentences are those of the headers.

    tests/docs/check.py [--compiler g++] [--include DIR]... [--jobs N] [FILE.md ...]
    tests/docs/check.py --update [FILE.md ...]
    tests/docs/check.py --self-test

What a fence says, after the three backticks:

    cpp              a complete program (it has `int main`): compiled without warnings, for syntax only
    output           what the program before it prints; it is built and run. `output exit=1`: its exit status,
                     0 if not said. `output stderr`: what it prints to the standard error stream

A `cpp` fence that is not complete is an error: each piece of code compiles.

A fence behind the line `<!-- file: examples/patterns/02_await.cpp -->` is that file, word for word; --update makes it
so. Programs included in this way are built and run by their own tests. docs/tour.md includes each of
examples/patterns.

Each header that runnel.hpp includes has a page, to which README.md and docs/README.md lead.

In docs/errors.md each misuse_error of the headers has its row, and every code span that begins with "runnel: " or with
a quotation mark is a sentence of the library; `...` stands for what the library fills in. Each part of it must be in a
string literal of include/. What compilers say there, in the first two columns of the table of that name, is expected
by a file of tests/compile_fail.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror"]
RUN_LIMIT_S = 60


class Fence:
    def __init__(self, path, line, info, body):
        self.path, self.line, self.words, self.body = path, line, info.split(), body
        self.output = None  # the fence that says what this program prints
        self.file = None    # the file that this is, if it is one

    @property
    def place(self):
        return f"{self.path}:{self.line}"


INCLUDE = re.compile(r"^<!-- file: (\S+) -->$")


def fences_of(path, text):
    """All fences of a file. A prose line between a program and its output does not part them; a heading does."""
    fences, opened, parted, before = [], None, False, ""
    for number, line in enumerate(text.splitlines(), 1):
        mark = re.match(r"^(`{3,})(.*)$", line)
        if opened is None:
            if mark:
                included = INCLUDE.match(before)
                opened = (mark.group(1), number, mark.group(2).strip(), [], included and included.group(1))
            elif line.startswith("#"):
                parted = True
        elif mark and mark.group(1) == opened[0] and not mark.group(2).strip():
            fence = Fence(path, opened[1], opened[2], "".join(each + "\n" for each in opened[3]))
            fence.file = opened[4]
            if fence.words[:1] == ["output"] and fences and not parted and fences[-1].words[:1] == ["cpp"]:
                fences[-1].output = fence
            fences.append(fence)
            opened, parted = None, False
        else:
            opened[3].append(line)
        before = line
    if opened is not None:
        raise ValueError(f"{path}:{opened[1]}: this fence is never closed")
    return fences


def classify(fences):
    """The programs, and what is wrong with the rest."""
    programs, wrong, claimed = [], [], set()
    for fence in fences:
        if fence.words[:1] != ["cpp"]:
            continue
        if fence.words == ["cpp"]:
            if fence.file:
                pass
            elif "int main" in fence.body:
                programs.append(fence)
            else:
                wrong.append(f"{fence.place}: not a complete program: give it a main")
        else:
            wrong.append(f"{fence.place}: unknown words after ```cpp: {' '.join(fence.words[1:])}")
        if fence.output:
            claimed.add(id(fence.output))
    for fence in fences:
        if fence.words[:1] == ["output"] and id(fence) not in claimed:
            wrong.append(f"{fence.place}: this output follows no program")
    return programs, wrong


def bad_includes(path, text, fences, root):
    wrong = []
    for fence in fences:
        if not fence.file:
            continue
        file = root / fence.file
        if root.resolve() not in file.resolve().parents or not file.is_file():
            wrong.append(f"{fence.place}: there is no file {fence.file}")
        elif fence.body != file.read_text():
            wrong.append(f"{fence.place}: is not what {fence.file} is: tests/docs/check.py --update makes it so")
    asked = sum(1 for line in without_fences(text).splitlines() if INCLUDE.match(line))
    if asked != sum(1 for fence in fences if fence.file):
        wrong.append(f"{path}: a file is to be included, and no fence begins on the next line")
    return wrong


def updated(text, root):
    """The text with each included file as it is now."""
    def include(match):
        return f"{match[1]}{(root / match[2]).read_text()}{match[4]}"
    return re.sub(r"^(<!-- file: (\S+) -->\n```[^\n]*\n)(.*?)(^```\s*$)", include, text, flags=re.M | re.S)


def left_out(root):
    """The patterns that the tour does not show."""
    tour = (root / "docs" / "tour.md").read_text()
    return [f"docs/tour.md does not include {file.relative_to(root)}"
            for file in sorted((root / "examples" / "patterns").glob("*.cpp"))
            if f"<!-- file: {file.relative_to(root)} -->" not in tour]


class Compiler:
    def __init__(self, path, includes, work):
        self.path, self.work = path, pathlib.Path(work)
        self.flags = ["-std=c++20", "-pthread", *WARNINGS]
        self.includes = [flag for directory in includes for flag in ("-I", str(directory))]
        self.objects = []

    def prepare(self):
        """Most of the time goes to Boost's headers and to compiling Asio and the scheduler: both are done once. Where
        that fails, each program does it all."""
        header = self.work / "once" / "runnel.hpp"
        header.parent.mkdir()
        header.write_text(f'#include "{self.includes[1]}/runnel.hpp"\n')
        source, compiled = self.work / "src.cpp", self.work / "src.o"
        source.write_text("#include <runnel/src.hpp>\n#include <runnel/test/src.hpp>\n#include <boost/asio/impl/src.hpp>\n")
        separate = ["-DRUNNEL_SEPARATE_COMPILATION=1", "-DBOOST_ASIO_SEPARATE_COMPILATION"]
        command = [self.path, *self.flags, *separate, *self.includes]
        if all(subprocess.run([*command, *what], capture_output=True, text=True).returncode == 0
               for what in (["-x", "c++-header", str(header), "-o", f"{header}.gch"],
                            ["-c", str(source), "-o", str(compiled)])):
            self.includes = [*separate, "-I", str(header.parent), *self.includes]
            self.objects = [str(compiled)]

    def check(self, index, program):
        directory = self.work / str(index)
        directory.mkdir()
        (directory / "main.cpp").write_text(program.body)  # that is also the name that spawn sites are printed with
        what = ["-fsyntax-only"] if program.output is None else [*self.objects, "-o", "program"]
        built = subprocess.run([self.path, *self.flags, *self.includes, "main.cpp", *what], cwd=directory,
                               capture_output=True, text=True)
        if built.returncode != 0:
            return f"{program.place}: does not compile:\n{built.stderr}"
        return self.run(directory, program) if program.output else None

    @staticmethod
    def run(directory, program):
        try:
            ran = subprocess.run(["./program"], cwd=directory, capture_output=True, text=True, timeout=RUN_LIMIT_S)
        except subprocess.TimeoutExpired:
            return f"{program.place}: runs for more than {RUN_LIMIT_S} s"
        words = program.output.words[1:]
        status = next((int(w[5:]) for w in words if w.startswith("exit=")), 0)
        printed = ran.stderr if "stderr" in words else ran.stdout
        if ran.returncode != status:
            return f"{program.place}: exit status {ran.returncode}, not {status}\n{ran.stdout}{ran.stderr}"
        if printed.split("\n") != program.output.body.split("\n"):
            return f"{program.place}: prints\n{printed}instead of\n{program.output.body}{ran.stderr}"
        return None


def anchors_of(text):
    """The anchors of a file's headings, as they are made on GitHub."""
    anchors = set()
    for heading in re.findall(r"^#+ +(.*?)\s*$", without_fences(text), re.M):
        plain = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower())
        anchors.add(plain.replace(" ", "-"))
    return anchors


def without_fences(text):
    return re.sub(r"^```.*?^```\s*$", "", text, flags=re.M | re.S)


def bad_links(path, text, root):
    wrong = []
    prose = re.sub(r"`[^`\n]*`", "", without_fences(text))
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue  # of the net: not asked
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path.resolve()
        if not there.exists():
            wrong.append(f"{path}: the link to {target} leads nowhere")
        elif root.resolve() not in (there, *there.parents):
            wrong.append(f"{path}: the link to {target} leaves the project")
        elif anchor and there.suffix == ".md" and anchor not in anchors_of(there.read_text()):
            wrong.append(f"{path}: {target}: there is no such heading")
    return wrong


OTHER_PAGES = {"waiter": "design/waiter-protocol.md"}  # for those who write operations, not in the table


def missing_pages(root):
    wrong = []
    tables = {name: (root / name).read_text() for name in ("README.md", "docs/README.md")}
    for header in re.findall(r"#include <runnel/(.+)\.hpp>", (root / "include" / "runnel.hpp").read_text()):
        page = OTHER_PAGES.get(header, f"reference/{header}.md")
        if not (root / "docs" / page).is_file():
            wrong.append(f"include/runnel/{header}.hpp has no page docs/{page}")
        for name, text in tables.items():
            link = page if name.startswith("docs/") else f"docs/{page}"
            if f"]({link})" not in text and header not in OTHER_PAGES:
                wrong.append(f"{name} does not lead to docs/{page}")
    return wrong


def literals_of(root):
    """Every string literal of the headers, adjacent ones joined."""
    literal = r'"(?:[^"\\\n]|\\.)*"'
    found = []
    for header in sorted((root / "include").rglob("*.hpp")):
        for run in re.findall(rf"{literal}(?:\s*{literal})*", header.read_text()):
            found.append("".join(part[1:-1] for part in re.findall(literal, run)))
    return found


def missing_sentences(path, text, root):
    """What the headers throw or end the program with, and the page does not say."""
    literal = r'"((?:[^"\\\n]|\\.)*)"'
    return [f"{path}: this sentence is missing: {sentence}"
            for header in sorted((root / "include").rglob("*.hpp"))
            for sentence in re.findall(rf"\b(?:misuse_error|closed_channel|fatal)\({literal}\)", header.read_text())
            if sentence not in text]


def bad_sentences(path, text, literals):
    wrong = []
    for span in re.findall(r"`([^`\n]+)`", without_fences(text)):
        if not span.startswith(("runnel: ", '"')):
            continue
        for part in span.strip('"').split("..."):
            part = part.removeprefix("runnel: ").strip(" :,()")
            if part and not any(part in each for each in literals):
                wrong.append(f"{path}: no header says: {part}")
    return wrong


def untested_messages(path, text, root):
    """What the page says that compilers say, and no test has them say."""
    section = re.search(r"^## What compilers say$(.*?)^## ", text, re.M | re.S)
    if not section:
        return [f"{path}: there is no table of what compilers say"]
    expected = {line for file in (root / "tests" / "compile_fail").glob("*.cpp")
                for line in re.findall(r"^// EXPECT(?: gcc| clang)?: *(.*)$", file.read_text(), re.M)}
    spans = [span for row in re.findall(r"^\|([^|]*)\|([^|]*)\|", section[1], re.M) for cell in row
             for span in re.findall(r"`([^`]+)`", cell)]
    return [f"{path}: no test has a compiler say: {span}" for span in spans if span not in expected]


def self_test():
    def must(condition, what):
        if not condition:
            sys.exit(f"self-test: {what}")

    path = pathlib.Path("x.md")
    program = "```cpp\nint main() { return 0; }\n```\n"
    fences = fences_of(path, program + "\nIt prints:\n\n```output exit=3\na\n```\n")
    must(fences[0].output is fences[1], "an output belongs to the program before it")
    programs, wrong = classify(fences)
    must(len(programs) == 1 and not wrong, "a program with its output is in order")
    must(classify(fences_of(path, "```cpp\nint x;\n```\n"))[1], "an unmarked fragment is seen")
    must(classify(fences_of(path, "```cpp fragment\nint main() {}\n```\n"))[1], "what is marked otherwise is seen")
    must(classify(fences_of(path, program + "# b\n```output\na\n```\n"))[1], "an output without a program is seen")
    must(classify(fences_of(path, "```cpp framgent\nint x;\n```\n"))[1], "a misspelt mark is seen")
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        (root / "a.cpp").write_text("int a;\n\nint b;\n")
        included = "<!-- file: a.cpp -->\n```cpp\nint a;\n\nint b;\n```\n\n```output\na\n```\n"
        must(fences_of(path, included)[0].file == "a.cpp", "an included file is seen")
        must(classify(fences_of(path, included)) == ([], []), "an included file is not compiled")

        def includes(text):
            return bad_includes(path, text, fences_of(path, text), root)
        must(not includes(included), "a fence that is its file passes")
        must(includes(included.replace("int b", "int c")), "one that is not is seen")
        must(includes(included.replace("a.cpp", "b.cpp")), "a file that is not there is seen")
        must(includes("<!-- file: a.cpp -->\nprose\n"), "a file without a fence is seen")
        must(updated(included.replace("int b", "int c"), root) == included, "a fence is made its file")
        (root / "examples" / "patterns").mkdir(parents=True)
        (root / "examples" / "patterns" / "01_a.cpp").write_text("")
        (root / "docs").mkdir()
        (root / "docs" / "tour.md").write_text("")
        must(left_out(root), "a pattern that is left out is seen")
        (root / "docs" / "tour.md").write_text("<!-- file: examples/patterns/01_a.cpp -->\n")
        must(not left_out(root), "one that is shown passes")
        (root / "a.md").write_text("# Some `heading` here\n[b](b.md) [c](#some-heading-here)\n")
        must(len(bad_links(root / "a.md", (root / "a.md").read_text(), root)) == 1, "a dead link is seen, a live one passes")
        (root / "include").mkdir()
        (root / "include" / "h.hpp").write_text('f("runnel: it is "\n  "wrong: %s")')
        said = literals_of(root)
        must(not bad_sentences(path, "`runnel: it is wrong: ...`", said), "a sentence of the headers passes")
        must(bad_sentences(path, "`runnel: it was wrong`", said), "another sentence is seen")
        (root / "include" / "h.hpp").write_text('throw misuse_error("runnel: not so");')
        must(missing_sentences(path, "", root), "a missing sentence is seen")
        must(not missing_sentences(path, "`runnel: not so`", root), "one that is there passes")
        (root / "tests" / "compile_fail").mkdir(parents=True)
        (root / "tests" / "compile_fail" / "a.cpp").write_text("// EXPECT gcc: no such thing\n// EXPECT: nothing\n")
        table = "## What compilers say\n\n| g++ | clang | write |\n|---|---|---|\n| `%s` | `nothing` | `co` |\n\n## b\n"
        must(not untested_messages(path, table % "no such thing", root), "a message that is tested passes")
        must(untested_messages(path, table % "no such things", root), "another one is seen")
        (root / "docs" / "reference").mkdir()
        (root / "include" / "runnel.hpp").write_text("#include <runnel/a.hpp>\n")
        (root / "README.md").write_text("[a](docs/reference/a.md)")
        (root / "docs" / "README.md").write_text("[a](reference/a.md)")
        must(len(missing_pages(root)) == 1, "a header without a page is seen")
        (root / "docs" / "reference" / "a.md").write_text("# a")
        must(not missing_pages(root), "one with a page that is linked passes")
        (root / "README.md").write_text("")
        must(len(missing_pages(root)) == 1, "a page to which nothing leads is seen")
        fake = root / "compiler"  # whatever it is given, makes a program that prints b and returns 3
        fake.write_text('#!/bin/sh\nprintf "#!/bin/sh\\necho b\\nexit 3\\n" >program && chmod +x program\n')
        fake.chmod(0o755)
        good = fences_of(path, program + "```output exit=3\nb\n```\n")[0]
        other = fences_of(path, program + "```output\nb\n```\n")[0]
        must(Compiler(str(fake), [], root).check(0, good) is None, "a program that prints what is said passes")
        must(Compiler(str(fake), [], root).check(1, fences[0]), "another output is seen")
        must(Compiler(str(fake), [], root).check(2, other), "another exit status is seen")
        must(Compiler("false", [], root).check(3, good), "a program that does not compile is seen")
    print("good and bad pages are told apart")


def main():
    root = pathlib.Path(os.path.relpath(pathlib.Path(__file__).resolve().parents[2]))
    parser = argparse.ArgumentParser(description="Checks the programs, links and sentences of the documentation.")
    parser.add_argument("--compiler", default=os.environ.get("CXX", "g++"))
    parser.add_argument("--include", action="append", default=[], help="a directory of headers, such as Boost's")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--no-programs", action="store_true", help="links and sentences alone")
    parser.add_argument("--update", action="store_true", help="write what is included anew, and check nothing")
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("files", nargs="*", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.self_test:
        return self_test()

    files = arguments.files or [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
    if arguments.update:
        for path in files:
            text = path.read_text()
            if (new := updated(text, root)) != text:
                path.write_text(new)
                print(path)
        return 0
    programs, wrong, literals = [], [], literals_of(root)
    for path in files:
        text = path.read_text()
        fences = fences_of(path, text)
        found, bad = classify(fences)
        programs += found
        wrong += bad + bad_includes(path, text, fences, root) + bad_links(path, text, root)
        if path.name == "errors.md":
            wrong += bad_sentences(path, text, literals) + missing_sentences(path, text, root)
            wrong += untested_messages(path, text, root)

    if not arguments.files:
        wrong += missing_pages(root) + left_out(root)

    if not arguments.no_programs:
        with tempfile.TemporaryDirectory(prefix="runnel-docs-") as work:
            compiler = Compiler(arguments.compiler, [(root / "include").resolve(), *arguments.include], work)
            compiler.prepare()
            with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
                wrong += filter(None, pool.map(compiler.check, range(len(programs)), programs))

    for each in wrong:
        print(each, file=sys.stderr)
    if arguments.no_programs:
        programs = []
    ran = sum(1 for program in programs if program.output)
    print(f"{len(files)} files, {len(programs)} programs, {ran} of them run: {len(wrong) or 'nothing'} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
