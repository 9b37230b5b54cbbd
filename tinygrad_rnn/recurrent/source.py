"""Where in the user's source a node was made: lines, expression, and the variable on the left."""

from __future__ import annotations

import ast
import functools
import linecache
import os
from collections.abc import Sequence
from itertools import groupby
from types import CodeType
from typing import NamedTuple

from ..core.tape import Derived, Node

# first and last line, from 1; first column and the one after the last, in bytes
Range = tuple[int, int, int, int]


class Spot(NamedTuple):
    """A place in a file."""

    path: str
    range: Range

    @property
    def file(self) -> str:
        """The name of the file, without its folder."""
        return os.path.basename(self.path)

    def text(self) -> str:
        """Return the source there, in one line."""
        first, last, start, stop = self.range
        lines = [linecache.getline(self.path, k).encode() for k in range(first, last + 1)]
        if not lines or not all(lines):
            return ""
        lines[-1] = lines[-1][:stop]
        lines[0] = lines[0][start:]
        return " ".join(b" ".join(lines).decode(errors="replace").split())


def spot_of(node: Node) -> Spot | None:
    """Return where a node was made; None for leaves, and where Python was run without positions."""
    code, offset = node.origin[:2]
    if code is None:
        return None
    found = _positions(code)
    place = found[offset // 2] if offset // 2 < len(found) else (None,) * 4
    return Spot(code.co_filename, place) if None not in place else None  # type: ignore[arg-type]


@functools.lru_cache(maxsize=1024)
def _positions(code: CodeType) -> list[tuple[int | None, ...]]:
    return list(code.co_positions())


def variables(nodes: Sequence[Node]) -> dict[Node, str]:
    """Return the variables that nodes were assigned to, as ``z`` for what ``z = x * y`` made.

    Where one expression made several operations, as inside a function of the engine, the variable
    holds the last. The results of ``i, f = tg.split(z, 2)`` have a variable each. What a derivative
    rule made stands on the line of the operation that it derives, and has not its variable.
    """
    found: dict[Node, str] = {}
    made = [n for n in nodes if n.primitive is not None and not isinstance(n.origin[2], Derived)]
    for _, run in groupby(made, key=lambda n: n.origin):
        group = list(run)
        spot = spot_of(group[0])
        names = _targets(spot.path).get(spot.range) if spot else None
        if names is None:
            continue
        alike = len({n.op for n in group}) == 1
        if len(names) > 1:
            if alike and len(group) % len(names) == 0:
                found.update((n, names[k % len(names)]) for k, n in enumerate(group))
        elif alike:  # a line that was run several times
            found.update(dict.fromkeys(group, names[0]))
        else:
            found[group[-1]] = names[0]
    return {n: name for n, name in found.items() if name.isidentifier() and name != "_"}


def expressions(nodes: Sequence[Node]) -> set[Node]:
    """Return the nodes that are the whole value of the expression at their place in the source.

    Where a function computed parts of the value, the other nodes are such parts.
    """
    found: set[Node] = set()
    for _, run in groupby((n for n in nodes if n.primitive is not None), key=lambda n: n.origin):
        group = list(run)
        found.update(group if len({n.op for n in group}) == 1 else group[-1:])
    return found


@functools.lru_cache(maxsize=256)
def _targets(path: str) -> dict[Range, list[str]]:
    """Return the names on the left of each expression of a file that is assigned."""
    found: dict[Range, list[str]] = {}

    def enter(place: ast.AST, target: ast.expr, value: ast.expr) -> None:
        if isinstance(value, ast.IfExp):  # the variable holds one of two
            for v in (value.body, value.orelse):
                enter(v, target, v)
            return
        if (
            isinstance(target, ast.Tuple)
            and isinstance(value, ast.Tuple)
            and len(target.elts) == len(value.elts)
        ):
            for t, v in zip(target.elts, value.elts, strict=True):
                enter(v, t, v)
            return
        elements = target.elts if isinstance(target, ast.Tuple) else [target]
        names = [
            e.id if isinstance(e, ast.Name) else e.attr if isinstance(e, ast.Attribute) else ""
            for e in elements
        ]
        found[_range(place)] = names

    tree = syntax(path)
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            enter(node.value, node.targets[0], node.value)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            enter(node.value, node.target, node.value)
        elif isinstance(node, ast.AugAssign):  # its operation is the whole statement
            enter(node, node.target, node.value)
        elif isinstance(node, ast.NamedExpr):
            enter(node.value, node.target, node.value)
    return found


@functools.lru_cache(maxsize=256)
def syntax(path: str) -> ast.Module | None:
    """Return the syntax tree of a file, or None if its source cannot be had."""
    text = "".join(linecache.getlines(path))
    try:
        return ast.parse(text) if text else None
    except SyntaxError:
        return None


def _range(node: ast.AST) -> Range:
    return (node.lineno, node.end_lineno, node.col_offset, node.end_col_offset)  # type: ignore[attr-defined]
