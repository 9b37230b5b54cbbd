"""Where in the user's source a node was made, and what the source calls it.

`names_of` says what values are called, for the tape, pictures, the explorer and diagnosis; the
compiler's names begin with the same variables.
"""

from __future__ import annotations

import ast
import functools
import linecache
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from types import CodeType
from typing import Any, NamedTuple

import numpy as np

from ..core.tape import Derived, Leaf, Node
from .facts import facts_of

# first and last line, from 1; first column and the one after the last, in bytes
Range = tuple[int, int, int, int]
EXPRESSIONS = ast.BinOp | ast.Call | ast.Subscript  # those that say what their operands are called
ELEMENT = 16  # characters of an element of a variable at most, such as xs[t]


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


class Places:
    """Where operations stand in the source, in a form that can be compared and costs little.

    The offset in a node's origin is not the same in every step: the interpreter replaces
    instructions by faster ones while it runs. The expression is.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[int, int], tuple[int, Any]] = {}
        self._codes: dict[int, int] = {}

    def __call__(self, n: Node) -> tuple[int, Any]:
        """Return the number of the code that made a node, and the expression there."""
        code, offset, _ = n.origin
        found = self._found.get((id(code), offset))
        if found is None:
            number = self._codes.setdefault(id(code), len(self._codes))
            spot = spot_of(n)
            found = number, offset if spot is None else spot.range
            self._found[id(code), offset] = found
        return found

    def order(self, n: Node) -> tuple[int, int]:
        """Return a place in the file: the code of a statement runs in the order of these.

        An operation is computed where its expression ends; what a loop takes is computed before it.
        """
        spot = spot_of(n)
        if spot is None:
            return (0, n.origin[1])
        first, last, start, end = spot.range
        return (first, start) if spot.range in _loops(spot.path) else (last, end)


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


def names_of(nodes: Sequence[Node]) -> dict[Node, str]:
    """Return what values are called.

    A value has its own name, or that of the variable that it was assigned to; h_6, as the sixth
    state is called, is h where the variable is. What the same expression made in another step has
    the same name. A leaf without a name is called as the first operation that reads it calls it.

    Parameters
    ----------
    nodes : sequence of Node
        In the order in which they were made.
    """
    found = variables(nodes)
    numbered: dict[object, list[tuple[str, int]]] = {}  # by the expression: the names and the steps
    for n in nodes:
        if n.name is None:
            continue
        state = None if n.primitive is None else re.fullmatch(r"([^\W\d]\w*?)_\d+", n.name)
        if state is None or n.origin[2].step is None:
            found[n] = n.name
        else:
            numbered.setdefault(_place(n), []).append((state[1], n.origin[2].step))
            found.setdefault(n, state[1])
    if numbered:
        _name_like(nodes, numbered, found)
    for n in nodes:
        for i, name in zip(n.inputs, _operands(n), strict=False):
            if name and isinstance(i, Leaf) and i not in found and (i.shape or i.requires_grad):
                found[i] = name
    _name_turned(nodes, found)
    return found


def _name_turned(nodes: Sequence[Node], found: dict[Node, str]) -> None:
    """Name the leaves that are the transpose of a named one, in the same memory."""

    def at(array: Any) -> Any:
        return array.__array_interface__["data"][0], array.shape, array.strides, array.dtype

    leaves = [n for n in nodes if isinstance(n, Leaf) and n.ndim == 2]
    whole = [n for n in leaves if isinstance(n.value, np.ndarray) and n.value.size > 1]
    named = {at(n.value.T): found[n] for n in whole if n in found}
    for n in whole:
        if n not in found and not n.requires_grad and (name := named.get(at(n.value))):
            found[n] = f"{name}.T"


def _name_like(
    nodes: Sequence[Node], numbered: dict[object, list[tuple[str, int]]], found: dict[Node, str]
) -> None:
    """Name what the expression that made the last state has made in the other steps.

    That is known where the expression made one value in each step, and one state has its name.
    """
    made = [(n, place) for n in nodes if n.primitive and (place := _place(n)) in numbered]
    count = Counter((place, n.origin[2].step) for n, place in made)
    several = {place for (place, _), number in count.items() if number > 1}
    for n, place in made:
        if n not in found and place not in several and len(set(numbered[place])) == 1:
            found[n] = numbered[place][0][0]


def function_of(n: Node, names: Mapping[Node, str]) -> str:
    """Return what a value without a name is of one with a name: "tanh(g)", "W.T"; or "".

    Only functions of one array are said so, and of these no functions again.
    """
    if n.primitive is None or n in names or len(n.inputs) != 1 or n.inputs[0] not in names:
        return ""
    name, entry = names[n.inputs[0]], n.primitive
    if [*entry.defaults] == ["axes"] and n.ndim == 2:
        return f"{name}.T"
    function = entry.elementwise and (entry.scalar is None or "(" in entry.scalar)
    return f"{facts_of(entry).symbol or n.op}({name})" if function and not n.params else ""


def _place(n: Node) -> object:
    """Return the operation and the expression that made a node: the same in every step."""
    spot, mark = spot_of(n), n.origin[2]
    return n.op, spot or n.origin[:2], type(mark), mark.cell, mark.layer


def _operands(n: Node) -> Sequence[str]:
    """Return the variables that are the operands of the expression which made a node.

    There are none where the expression is not the operation alone.
    """
    spot = spot_of(n) if any(isinstance(i, Leaf) and i.name is None for i in n.inputs) else None
    if spot is None or isinstance(n.origin[2], Derived):
        return ()
    expression, parts = _expressions(spot.path).get(spot.range), []
    if isinstance(expression, ast.BinOp):
        parts = [expression.left, expression.right]
    elif isinstance(expression, ast.Subscript):
        parts = [expression.value] if "index" in n.params else []
    elif isinstance(expression, ast.Call) and not expression.keywords:
        parts, function = list(expression.args), expression.func
        if isinstance(function, ast.Attribute):
            called, owner = function.attr, function.value
            local = n.origin[0].co_varnames
            if isinstance(owner, ast.Name) and owner.id in local:  # a method, and not of a module
                parts.insert(0, owner)
        else:
            called = getattr(function, "id", "")
        parts = parts[: len(n.inputs)] if called == n.op else []
    return [_spelled(part) for part in parts] if len(parts) == len(n.inputs) else ()


def _spelled(part: ast.expr) -> str:
    """Return a variable, or an element of one, as it is written; of all else ""."""
    if isinstance(part, ast.Name):
        return part.id
    named = isinstance(part, ast.Subscript) and isinstance(part.value, ast.Name)
    text = ast.unparse(part) if named else ""
    return text if len(text) <= ELEMENT else ""


def repeats(node: Node) -> bool:
    """Whether the source has a node inside of a loop, so that its line is run once for each step."""
    spot = spot_of(node)
    if spot is None:
        return False
    first, last, start, stop = spot.range
    return any(
        (begin, left) <= (first, start) and (last, stop) <= (end, right)
        for begin, end, left, right in _loops(spot.path)
    )


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
def _expressions(path: str) -> dict[Range, ast.expr]:
    """Return the operations and calls of a file by their places."""
    tree = syntax(path)
    found = ast.walk(tree) if tree else ()
    return {_range(e): e for e in found if isinstance(e, EXPRESSIONS)}


@functools.lru_cache(maxsize=256)
def _loops(path: str) -> list[Range]:
    """Return where the loops of a file stand."""
    tree = syntax(path)
    kinds = ast.For | ast.While | ast.ListComp | ast.GeneratorExp
    return [_range(node) for node in ast.walk(tree) if isinstance(node, kinds)] if tree else []


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
