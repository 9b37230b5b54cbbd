"""The catalogue of errors in docs/errors: every ``raise`` of the package stands under an entry of it.

An entry is a section of a page with a line that says which raises are its own, for example

    <!-- raises: ShapeError in ops/ saying "axis" -->

Each part may be left out: the kinds of errors, the files (or folders), a regular expression that the
message has to match. A raise belongs to the first entry that fits, in the order in which the pages
stand in README.md. Below an entry its messages are listed, with ``<name>`` where a value is put in:
``python -m tests.error_catalogue --write`` writes these lists, and whoever adds a ``raise`` sees in
the difference under which entry it has come.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "tinygrad_rnn"
FOLDER = ROOT / "docs" / "errors"

RULE = re.compile(
    r"<!-- raises:(?P<kinds> \w+(?:, \w+)*)?(?: in (?P<files>[\w./, ]+?))?"
    r"(?: saying \"(?P<says>.*)\")? -->"
)
LIST = re.compile(
    r"<details>\n<summary>Messages of this kind: \d+</summary>\n.*?</details>\n", re.DOTALL
)


class Raise(NamedTuple):
    """A place that raises an error: the kind, and the message with <name> where a value is put in."""

    file: str
    line: int
    kind: str
    message: str


class Entry(NamedTuple):
    """A section of the catalogue, and which raises belong to it."""

    page: str
    title: str
    kinds: tuple[str, ...]
    files: tuple[str, ...]
    says: re.Pattern[str]

    def has(self, raised: Raise) -> bool:
        """Whether a raise belongs here, if no entry before has it."""
        return bool(
            (not self.kinds or raised.kind in self.kinds)
            and (not self.files or raised.file.startswith(self.files))
            and self.says.search(raised.message)
        )


# --- the package ----------------------------------------------------------------------------------


@cache
def modules() -> dict[str, ast.Module]:
    """The syntax tree of each file of the package, by its path inside."""
    return {
        path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    }


@cache
def functions() -> dict[str, list[tuple[str, ast.FunctionDef]]]:
    """The functions and methods of the package by their names, each with its file."""
    found: dict[str, list[tuple[str, ast.FunctionDef]]] = {}
    for file, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                found.setdefault(node.name, []).append((file, node))
    return found


def raises() -> list[Raise]:
    """Every place that raises an error of its own; a bare ``raise`` passes on what was caught."""
    found = []
    for file, tree in modules().items():
        for owner in [tree, *(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef))]:
            for node in own_nodes(owner):
                if isinstance(node, ast.Raise) and node.exc is not None:
                    made = list(errors(node.exc, file, owner, {}))
                    found += [Raise(file, node.lineno, kind, text) for kind, text in made]
    return sorted(found)


def own_nodes(owner: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function without those of functions inside of it."""
    for child in ast.iter_child_nodes(owner):
        if not isinstance(child, ast.FunctionDef):
            yield child
            yield from own_nodes(child)


Bound = dict[str, tuple[ast.expr, ast.AST]]  # a parameter, what is given for it, and where


def errors(made: ast.expr, file: str, owner: ast.AST, given: Bound) -> Iterator[tuple[str, str]]:
    """The kinds and messages of what an expression makes: an error, or what a helper returns."""
    if isinstance(made, ast.IfExp):
        yield from errors(made.body, file, owner, given)
        yield from errors(made.orelse, file, owner, given)
        return
    if not isinstance(made, ast.Call):
        values = assigned(made.id, owner) if isinstance(made, ast.Name) else []
        calls = [v for v in values if isinstance(v, ast.Call)]
        for value in calls:
            yield from errors(value, file, owner, given)
        if not calls:  # an error that was caught, or a class
            yield ast.unparse(made), ""
        return
    name = ast.unparse(made.func).rpartition(".")[2]
    if name[0].isupper() or name.lstrip("_")[0].isupper():
        text = next(iter(text_of(made.args[-1], owner, given)), "") if made.args else ""
        yield name, " ".join(text.split())
        return
    if name == "restated":  # an error of the kind that was caught
        yield "Error", next(iter(text_of(made.args[1], owner, given)), "")
        return
    for place, helper in sorted(functions().get(name, []), key=lambda f: f[0] != file)[:1]:
        bound: Bound = {}
        names = [a.arg for a in helper.args.args if a.arg != "self"]
        for parameter, value in zip(names, made.args, strict=False):
            bound[parameter] = (value, owner)
        returned = [n.value for n in own_nodes(helper) if isinstance(n, ast.Return) and n.value]
        for value in returned:
            yield from errors(value, place, helper, bound)


@cache
def around() -> dict[ast.AST, ast.Module]:
    """The file of each function, whose constants it may use."""
    return {node: tree for tree in modules().values() for node in ast.walk(tree)}


def assigned(name: str, owner: ast.AST) -> list[ast.expr]:
    """What is assigned to a name in a function, or to a constant in its file."""
    place = around()[owner] if name.isupper() else owner
    return [
        node.value
        for node in own_nodes(place)
        if isinstance(node, ast.Assign)
        and any(isinstance(t, ast.Name) and t.id == name for t in node.targets)
    ]


def text_of(node: ast.expr, owner: ast.AST, given: Bound, depth: int = 0) -> list[str]:
    """The texts that an expression may be, or a hole that is called like it."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.JoinedStr):
        return ["".join(text_of(part, owner, given, depth)[0] for part in node.values)]
    if isinstance(node, ast.FormattedValue):
        value = node.value
        if isinstance(value, ast.Name) and value.id in given and depth < 4:
            return text_of(given[value.id][0], given[value.id][1], {}, depth + 1)
        return [hole(value)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = (text_of(side, owner, given, depth) for side in (node.left, node.right))
        return [left[0] + right[0]]
    if isinstance(node, ast.Name) and depth < 4:
        if node.id in given:
            return text_of(given[node.id][0], given[node.id][1], {}, depth + 1)
        texts = [t for v in assigned(node.id, owner) for t in text_of(v, owner, given, depth + 1)]
        return texts or [hole(node)]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and depth < 4:
        for _, helper in functions().get(node.func.id, []):
            if around()[helper] is around()[owner]:
                bound = {
                    a.arg: (v, owner) for a, v in zip(helper.args.args, node.args, strict=False)
                }
                for found in own_nodes(helper):
                    if isinstance(found, ast.Return) and isinstance(found.value, ast.JoinedStr):
                        return text_of(found.value, helper, bound, depth + 1)
    return [hole(node)]


def hole(node: ast.expr) -> str:
    """What stands in a message for a value: the name nearest to it."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return f"<{name.strip('_')}>"
        case ast.Call(func=ast.Attribute(attr="described")):
            return " (where)"
        case ast.Call(args=[first, *_]):
            return hole(first)
        case ast.Call(func=inner) | ast.Subscript(value=inner):
            return hole(inner)
        case ast.Constant(value=value):
            return str(value)
    return "<...>"


# --- the pages ------------------------------------------------------------------------------------


def pages() -> list[Path]:
    """The pages of the catalogue, in the order in which the first one lists them."""
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^- \[.*?\]\((\w+\.md)\)", text, re.MULTILINE)
    return [FOLDER / name for name in listed]


def sections(page: Path) -> list[str]:
    """A page cut before each heading of an entry."""
    return re.split(r"^(?=## )", page.read_text(encoding="utf-8"), flags=re.MULTILINE)


def entries() -> list[Entry]:
    """The entries of all pages; one may have several rules."""
    found = []
    for page in pages():
        for section in sections(page):
            title = section.partition("\n")[0].removeprefix("## ")
            for rule in RULE.finditer(section):
                kinds, files = rule["kinds"] or "", rule["files"] or ""
                found.append(
                    Entry(
                        page.name,
                        title,
                        tuple(kinds.replace(",", " ").split()),
                        tuple(files.replace(",", " ").split()),
                        re.compile(rule["says"] or ""),
                    )
                )
    return found


def sorted_out() -> tuple[dict[tuple[str, str], list[Raise]], list[Raise]]:
    """The raises of each section, by page and title, and those that no entry has."""
    known = entries()
    found: dict[tuple[str, str], list[Raise]] = {(e.page, e.title): [] for e in known}
    left = []
    for raised in raises():
        entry = next((e for e in known if e.has(raised)), None)
        if entry is None:
            left.append(raised)
        else:
            found[entry.page, entry.title].append(raised)
    return found, left


def listed(raised: list[Raise]) -> str:
    """The list that stands below an entry."""
    lines = sorted({f"- {r.kind}: {code(r.message or '...')}" for r in raised})
    head = f"<details>\n<summary>Messages of this kind: {len(lines)}</summary>\n\n"
    return head + "\n".join(lines) + "\n\n</details>\n"


def code(text: str) -> str:
    """A text as code of a page, also if there are backticks in it."""
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def filled(page: Path) -> str:
    """A page with its lists as the package has them now."""
    found, _ = sorted_out()
    made = []
    for section in sections(page):
        title = section.partition("\n")[0].removeprefix("## ")
        if (page.name, title) in found:
            rest = LIST.sub("", section).rstrip("\n")
            section = f"{rest}\n\n{listed(found[page.name, title])}\n"
        made.append(section)
    return "".join(made).rstrip("\n") + "\n"


if __name__ == "__main__":
    if "--write" in sys.argv:
        for path in pages():
            path.write_text(filled(path), encoding="utf-8")
    for raised in sorted_out()[1]:
        print(f"{raised.file}:{raised.line}: {raised.kind}: {raised.message}")
