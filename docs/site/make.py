#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Makes the site of README.md and docs/ with MkDocs: docs/site.sh calls this.

    docs/site/make.py [--output DIR]
    docs/site/make.py --self-test

The front page is README.md. What is in the navigation, in which order and under which name, is what docs/README.md
links to: each of its headings is a section; an item of a list that begins with a link is a page; one that begins with
words and a colon is a group of all pages that it links to. A page that is not linked there is an error, and so is one
that is linked twice.

The pages are written for GitHub, and staged for MkDocs: links to other files of the project lead to a page that shows
the file; anchors are GitHub's. When the site is made, every link, anchor, style and script in it is looked up.
"""
import argparse
import html.parser
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
LINK = re.compile(r"\[((?:`[^`\n]*`|[^\[\]`])*)\]\(([^)\s]+)\)")
LANGUAGES = {"output": "text", "cmake": "cmake", "hpp": "cpp", "cpp": "cpp", "py": "python", "sh": "sh", "txt": "text"}


class Wrong(Exception):
    """What is wrong with the documentation, a sentence."""


# ---- GitHub's Markdown to Python's ----

def slug(text, _separator="-"):
    """The anchor of a heading, as on GitHub: for the extension toc."""
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")


def parts_of(text):
    """The text as pairs: whether it is a fence, and the lines."""
    parts, mark = [(False, [])], None
    for line in text.splitlines():
        found = re.match(r"^(`{3,})(.*)$", line)
        if found and mark is None:
            mark = found[1]
            word = (found[2].split() or ["text"])[0]  # GitHub takes the first word for the language
            parts.append((True, [mark + LANGUAGES.get(word, word)]))
        elif mark is not None:
            parts[-1][1].append(line)
            if line.rstrip() == mark:
                mark = None
                parts.append((False, []))
        else:
            parts[-1][1].append(line)
    return parts


def is_item(line):
    return re.match(r"^\s*([-*]|\d+\.) ", line) is not None


def staged_prose(lines, rewrite):
    """Prose with links rewritten, blank lines before lists, nested items by four spaces, plain bars in code in tables."""
    out, before, in_list = [], "", False
    for line in lines:
        if is_item(line):
            if before.strip() and not in_list:
                out.append("")
            in_list = True
            deep = re.match(r"^( +)(?=[-*\d])", line)
            if deep:
                line = " " * (4 * max(1, len(deep[1]) // 2)) + line.lstrip()
        elif line and not line[0].isspace() and not before.strip():
            in_list = False
        if line.startswith("|"):
            if before.strip() and not before.startswith("|"):
                out.append("")
            line = re.sub(r"`[^`]*`", lambda code: code[0].replace("\\|", "|"), line)
        out.append(line)
        before = line
    # Code is passed over; the text of a link may go on in the next line.
    return re.sub(rf"`[^`\n]*`|{LINK.pattern}",
                  lambda found: found[0] if found[2] is None else f"[{found[1]}]({rewrite(found[2])})", "\n".join(out))


def staged(text, rewrite):
    out = []
    for is_fence, lines in parts_of(text):
        if lines:
            out.append("\n".join(lines) if is_fence else staged_prose(lines, rewrite))
    return "\n".join(out) + "\n"


# ---- Which file is where ----

class Tree:
    def __init__(self, root):
        self.root = root.resolve()
        self.shown = {}  # file of the project that a page links to -> the page that shows it

    def page_of(self, file):
        """Where a page of the documentation is in the site, or None."""
        if file == "README.md":
            return "index.md"
        if file == "docs/README.md":
            return "contents.md"
        return file.removeprefix("docs/") if file.startswith("docs/") and file.endswith(".md") else None

    def target(self, source, link):
        """The link of a page of the project as a link of the site."""
        if re.match(r"[a-z]+:", link) or link.startswith("#"):
            return link
        path, _, anchor = link.partition("#")
        file = (self.root / source).parent / path
        file = pathlib.Path(os.path.normpath(file))
        if not file.exists() or self.root not in (file, *file.parents):
            raise Wrong(f"{source}: the link to {link} leads nowhere")
        name = file.relative_to(self.root).as_posix()
        page = self.page_of(name) if file.is_file() else None
        if page is None:
            page = self.shown.setdefault(name, f"files/{name}.md")
        there = os.path.relpath(page, pathlib.PurePosixPath(self.page_of(source)).parent)
        return there + ("#" + anchor if anchor else "")

    def file_page(self, name):
        path = self.root / name
        if path.is_dir():
            lines = [f"- `{each.name}{'/' if each.is_dir() else ''}`" for each in sorted(path.iterdir()) if each.name[0] != "."]
            return f"# {name}/\n\n" + "\n".join(lines) + "\n"
        language = LANGUAGES.get(path.suffix[1:], "text")
        return f"# {name}\n\n````{language}\n{path.read_text()}````\n"


# ---- The navigation: what docs/README.md says ----

def items_of(lines):
    """The items of the lists, their lines joined; nested ones are items of their own."""
    items = []
    for line in lines:
        if is_item(line):
            items.append(re.sub(r"^\s*([-*]|\d+\.) ", "", line))
        elif items and line.startswith(" "):
            items[-1] += " " + line.strip()
    return items


def navigation(tree):
    text = (tree.root / "docs" / "README.md").read_text()
    entries, section = [{"runnel": "index.md"}, {"All pages": "contents.md"}], None
    seen = {"index.md", "contents.md"}

    def page(title, link):
        there = tree.target("docs/README.md", link.partition("#")[0])
        if there in seen:
            raise Wrong(f"docs/README.md leads to {link} twice, so its place in the navigation is unclear")
        seen.add(there)
        return {title: there}

    for is_fence, lines in parts_of(text):
        if is_fence:
            continue
        for chunk in re.split(r"^(?=#)", "\n".join(lines), flags=re.M):
            first, *rest = chunk.split("\n")
            if first.startswith("## "):
                section = []
                entries.append({first[3:].strip(): section})
            for item in items_of(rest):
                links = [(title.replace("`", ""), link) for title, link in LINK.findall(item)
                         if not re.match(r"[a-z]+:", link) and tree.page_of("docs/" + link.partition("#")[0])]
                into = entries if section is None else section
                if item.startswith("["):
                    into.append(page(*links[0]))
                elif links:
                    group, _, _ = item.partition(":")
                    into.append({re.sub(r"[\[\]`]|\([^)]*\)", "", group): [page(*each) for each in links]})
    return entries, seen


def stage(root, into):
    """Writes what MkDocs is to read; returns the navigation."""
    tree, wrong = Tree(root), []
    pages = ["README.md", *sorted(path.relative_to(root).as_posix() for path in (root / "docs").rglob("*.md"))]
    for name in pages:
        to = into / tree.page_of(name)
        to.parent.mkdir(parents=True, exist_ok=True)
        text = (root / name).read_text()
        wrong += raw_html(name, text)
        to.write_text(staged(text, lambda link, name=name: tree.target(name, link)))
    if wrong:
        raise Wrong("\n".join(wrong))
    entries, seen = navigation(tree)
    for name in pages:
        if tree.page_of(name) not in seen:
            raise Wrong(f"docs/README.md does not lead to {name}, so it would be missing from the navigation")
    for name, page in tree.shown.items():
        (into / page).parent.mkdir(parents=True, exist_ok=True)
        (into / page).write_text(tree.file_page(name))
    return entries


# ---- Looking over what was made ----

class Page(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        for key, value in attributes:
            if key == "id" or (tag == "a" and key == "name"):
                self.anchors.add(value)
            elif key in ("href", "src") and value:
                self.links.append(value)


def raw_html(name, text):
    """Tags in the prose, which would vanish: a type such as chan<T> that is not written as code."""
    prose = "\n".join("" if is_fence else "\n".join(lines) for is_fence, lines in parts_of(text))
    prose = re.sub(r"`[^`]*`|^<!-- file: .* -->$", "", prose, flags=re.M)
    return [f"{name}: {tag} is a tag of HTML: write it as code" for tag in re.findall(r"(?<!\\)</?[A-Za-z][^>\n]*>", prose)]


def bad_links(site):
    wrong, pages = [], {path: Page(path.read_text()) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        for link in page.links:
            if re.match(r"[a-z]+:", link) and not link.startswith("file:"):
                if not link.startswith(("http:", "https:", "data:")):
                    wrong.append(f"{path.relative_to(site)}: what is {link}?")
                continue
            file, _, anchor = urllib.parse.unquote(link).partition("#")
            there = pathlib.Path(os.path.normpath(path.parent / file)) if file else path
            if there.is_dir():
                there = there / "index.html"
            if not there.is_file():
                wrong.append(f"{path.relative_to(site)}: the link to {link} leads nowhere")
            elif anchor and there.suffix == ".html" and anchor not in pages[there].anchors:
                wrong.append(f"{path.relative_to(site)}: {link}: there is no such place")
    return wrong


def not_searchable(site):
    """The pages that the search knows nothing of."""
    found = {entry["location"].partition("#")[0]
             for entry in json.loads((site / "search" / "search_index.json").read_text())["docs"]}
    return [f"{page.relative_to(site)} cannot be found by the search" for page in sorted(site.rglob("*.html"))
            if page.relative_to(site).as_posix() not in found]


def make(root, output):
    with tempfile.TemporaryDirectory(prefix="runnel-site-") as name:
        work = pathlib.Path(name)
        entries = stage(root, work / "pages")
        shutil.copy(HERE / "style.css", work / "pages")
        (work / "theme").mkdir()
        shutil.copy(HERE / "page.html", work / "theme" / "main.html")
        version = dict(re.findall(r"^#define RUNNEL_VERSION_(MAJOR|MINOR|PATCH) +(\d+)",
                                  (root / "include" / "runnel" / "version.hpp").read_text(), re.M))
        (work / "mkdocs.yml").write_text(json.dumps({
            "site_name": "runnel",
            "docs_dir": "pages",
            "site_dir": str(output.resolve()),
            "use_directory_urls": False,
            "theme": {"name": None, "custom_dir": "theme"},
            "nav": entries,
            "extra": {"version": ".".join(version[part] for part in ("MAJOR", "MINOR", "PATCH"))},
            "hooks": [str(HERE / "make.py")],
            "plugins": [{"search": {"separator": "[\\s\\-`(){}<>\\[\\],;:.\"'*&|]+", "min_search_length": 2}}],
            "markdown_extensions": ["tables", "fenced_code", "sane_lists",
                                    {"toc": {"permalink": False}},
                                    {"codehilite": {"guess_lang": False, "css_class": "highlight"}}]}))
        if output.exists():
            shutil.rmtree(output)
        ran = subprocess.run(["mkdocs", "build", "--strict", "--config-file", str(work / "mkdocs.yml")],
                             capture_output=True, text=True)
        if ran.returncode != 0:
            raise Wrong(f"mkdocs does not make the site:\n{ran.stdout}{ran.stderr}")
    wrong = bad_links(output) + not_searchable(output)
    if wrong:
        raise Wrong("\n".join(wrong))
    return sum(1 for _ in output.rglob("*.html"))


def on_config(config, **_):
    """MkDocs calls this, for make.py is a hook: a function cannot stand in its settings."""
    config["mdx_configs"].setdefault("toc", {})["slugify"] = slug
    return config


def on_post_build(config, **_):
    """MkDocs calls this, with the Python that it runs on itself: the colours of code, where Pygments is."""
    try:
        from pygments.formatters import HtmlFormatter
    except ImportError:
        css = ""
    else:
        plain = ".highlight { background: none; }\n"
        light, dark = (HtmlFormatter(style=style).get_style_defs(".highlight") for style in ("xcode", "monokai"))
        css = f"{light}\n{plain}@media (prefers-color-scheme: dark) {{\n{dark}\n{plain}}}\n"
    (pathlib.Path(config["site_dir"]) / "highlight.css").write_text(css)


def self_test():
    def must(condition, what):
        if not condition:
            sys.exit(f"self-test: {what}")

    def refuses(root, what):
        with tempfile.TemporaryDirectory() as into:
            try:
                stage(root, pathlib.Path(into))
            except Wrong as wrong:
                return what in str(wrong)
        return False

    must(slug("2. The stack") == "2-the-stack" and slug("all and race, a - b") == "all-and-race-a---b", "anchors are GitHub's")
    must(staged("a\n- b\n", str) == "a\n\n- b\n", "a list is parted from the paragraph before it")
    must(staged("- a\n  - b\n    c\n", str) == "- a\n    - b\n    c\n", "nested items go deeper")
    must(staged("| `a \\| b` |\n", str) == "| `a | b` |\n", "a bar in code stays a bar")
    must(staged("```output exit=1\n[a](b)\n```\n", str.upper) == "```text\n[a](b)\n```\n", "fences are left as they are")
    must(staged("[`a[0]`\nb](b)\n", str.upper) == "[`a[0]`\nb](B)\n", "links are rewritten")
    must(staged("`[](b)`\n", str.upper) == "`[](b)`\n", "code is left as it is")
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        (root / "docs" / "reference").mkdir(parents=True)
        (root / "examples").mkdir()
        (root / "examples" / "a.cpp").write_text("int a;\n")
        (root / "README.md").write_text("# r\n[docs](docs/README.md) [a](docs/reference/a.md#b)\n")
        (root / "docs" / "reference" / "a.md").write_text("# a\n[code](../../examples/a.cpp) [r](../../README.md)\n\n## b\n")
        contents = root / "docs" / "README.md"
        contents.write_text("# Docs\n\n## Reference\n\n- Ground: [a](reference/a.md)\n")
        into = root / "into"
        entries = stage(root, into)
        must(entries[2:] == [{"Reference": [{"Ground": [{"a": "reference/a.md"}]}]}], "the contents are the navigation")
        must("(reference/a.md#b)" in (into / "index.md").read_text(), "links of the README lead to pages")
        must("(../files/examples/a.cpp.md)" in (into / "reference" / "a.md").read_text(), "links to code lead to a page")
        must("int a;" in (into / "files" / "examples" / "a.cpp.md").read_text(), "which shows it")
        shutil.rmtree(into)
        contents.write_text("# Docs\n\n- [a](reference/a.md)\n- [b](reference/a.md)\n")
        must(refuses(root, "twice"), "a page that is twice in the contents is refused")
        contents.write_text("# Docs\n")
        must(refuses(root, "missing from the navigation"), "a page that is not in the contents is refused")
        contents.write_text("# Docs\n- [a](reference/a.md)\n[no](reference/b.md)\n")
        must(refuses(root, "leads nowhere"), "a dead link is refused")
        contents.write_text("# Docs\n- [a](reference/a.md) of a chan<T>\n")
        must(refuses(root, "a tag of HTML"), "a type that is not written as code is refused")
        site = root / "site"
        (site / "search").mkdir(parents=True)
        (site / "search" / "search_index.json").write_text('{"docs": [{"location": "a.html#x"}]}')
        (site / "a.html").write_text('<p id="x"><a href="b.html#y">b</a><a href="https://example.com">c</a>')
        (site / "b.html").write_text('<p id="y"><a href="a.html">a</a>')
        must(not bad_links(site), "good links pass")
        must(not_searchable(site) == ["b.html cannot be found by the search"], "a page that is not indexed is seen")
        (site / "b.html").write_text('<p id="z"><a href="c.html">c</a><script src="no.js"></script>')
        must(len(bad_links(site)) == 3, "a dead anchor, a dead link and a missing script are seen")
    print("good and bad trees are told apart")


def main():
    parser = argparse.ArgumentParser(description="Makes the site of README.md and docs/.")
    parser.add_argument("--output", type=pathlib.Path, default=HERE.parents[1] / "build" / "site")
    parser.add_argument("--self-test", action="store_true")
    arguments = parser.parse_args()
    if arguments.self_test:
        return self_test()
    try:
        pages = make(HERE.parents[1], arguments.output)
    except Wrong as wrong:
        print(f"error: {wrong}", file=sys.stderr)
        return 1
    print(f"{pages} pages, each link of them leads somewhere: {arguments.output}/index.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
