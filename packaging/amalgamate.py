#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Makes one header of the library: packaging/amalgamate.py > runnel.hpp

Takes the umbrella headers to bring in: packaging/amalgamate.py runnel.hpp runnel/io.hpp runnel/otp.hpp. By default
runnel.hpp alone. Each header comes once, behind those that it includes; includes of others stay where they are, so that
what a header sees is what it sees in the tree. What is included under a condition comes always. Boost's headers are needed
as ever.
"""
import argparse
import pathlib
import re
import sys

OURS = re.compile(r'^\s*#\s*include\s*<(runnel(?:/[^>]+)?\.hpp)>.*\n', re.M)
ONCE = re.compile(r'^#pragma once\n', re.M)


def amalgamated(include, names):
    """The headers with these names and all that they include, each behind what it includes."""
    seen, parts = set(), []

    def add(name):
        if name in seen:
            return
        seen.add(name)
        text = (include / name).read_text()
        for inner in OURS.findall(text):
            add(inner)
        parts.append(f"// ---- {name} ----\n\n" + ONCE.sub("", OURS.sub("", text)).split("\n", 1)[1])

    for name in names:
        add(name)
    return parts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=["runnel.hpp"])
    root = pathlib.Path(__file__).resolve().parent.parent
    parts = amalgamated(root / "include", parser.parse_args().names)
    sys.stdout.write("// SPDX-License-Identifier: BSL-1.0\n// runnel in one header, made by packaging/amalgamate.py: "
                     "do not edit.\n#pragma once\n\n" + "\n".join(parts))


if __name__ == "__main__":
    main()
