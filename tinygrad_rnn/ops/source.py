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
from .facts import facts_of, is_join
from .helpers import names_of_returned
from .syntax import STARRED, Range, expressions_at, loops, targets

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
        return (first, start) if spot.range in loops(spot.path) else (last, end)


def variables(nodes: Sequence[Node]) -> dict[Node, str]:
    """Return the variables that nodes were assigned to, as ``z`` for what ``z = x * y`` made.

    Where one expression made several operations, as inside a function of the engine, the variable
    holds the last. The results of ``i, f = tg.split(z, 2)`` have a variable each; a part of an
    array leaves its own to what the same variable holds later in the step. What a function returned
    has the variable of its caller (`helpers`). What a derivative rule made stands on the line of
    the operation that it derives, and has not its variable.
    """
    found: dict[Node, str] = {}
    made = [n for n in nodes if n.primitive is not None and not isinstance(n.origin[2], Derived)]
    returned = names_of_returned({n.origin[0] for n in made if n.origin[0] is not None})
    for _, run in groupby(made, key=lambda n: n.origin):
        group = list(run)
        spot = spot_of(group[0])
        if spot is None:
            continue
        names = targets(spot.path).get(spot.range)
        if names is None and (name := returned.get((spot.path, spot.range))):
            names = [name]
        if names is not None:
            _enter(group, names, found)
    _leave_to_the_last(made, found)
    return {n: name for n, name in found.items() if name.isidentifier() and name != "_"}


def _enter(group: list[Node], names: list[str], found: dict[Node, str]) -> None:
    """Enter the names of what one expression made."""
    alike = len({n.op for n in group}) == 1
    if len(names) > 1:
        parts = [_part(n) for n in group] if alike else [None]
        if None not in parts:  # some of them may lead nowhere, and so be missing
            for n, part in zip(group, parts, strict=True):
                if part is not None and (name := _at(*part, names)):
                    found[n] = name
        elif STARRED in names:
            return
        elif alike and len(group) % len(names) == 0:
            found.update((n, names[k % len(names)]) for k, n in enumerate(group))
        elif len(outside := [n for n in group if n.origin[2].step is None]) == 1 and is_join(
            outside[0].primitive
        ):  # ys, state = tg.unroll(cell, xs)
            found[outside[0]] = names[0]
    elif alike:  # a line that was run several times
        found.update(dict.fromkeys(group, names[0]))
    else:
        found[group[-1]] = names[0]


def _part(n: Node) -> tuple[int, int] | None:
    """Return which of how many equal parts of an array a node takes; None if it takes no such."""
    index, source = n.params.get("index"), n.inputs[0]
    if not isinstance(index, tuple) or not isinstance(source, Node) or len(n.inputs) > 1:
        return None
    for part, whole, size in zip(index[::-1], source.shape[::-1], n.shape[::-1], strict=False):
        if isinstance(part, slice) and part.start is not None and size and whole % size == 0:
            whole_step = part.step in (None, 1) and part.start % size == 0
            return (int(part.start // size), whole // size) if whole_step else None
    return None


def _at(k: int, count: int, names: list[str]) -> str:
    """Return the name of the k-th of so many results; "" if these are not what has names."""
    if STARRED in names:
        star = names.index(STARRED)
        names = [*names[:star], *[""] * (count - len(names) + 1), *names[star + 1 :]]
    return names[k] if len(names) == count else ""


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


def _leave_to_the_last(nodes: Sequence[Node], found: dict[Node, str]) -> None:
    """Take the name from a part of an array whose variable is assigned again in the same step.

    After ``i, f = tg.split(z, 2)`` and ``i, f = tg.sigmoid(i), tg.sigmoid(f)`` the gates are what is
    called so, and not the parts. In a loop of the user's own nodes do not say their step: there it
    is the same one while the source is run from top to bottom.
    """
    later: dict[Any, Node] = {}  # what a variable holds next
    after: Node | None = None  # what is made next
    for n in reversed(nodes):
        name = found.get(n)
        if name is not None:
            held = later.get((n.origin[0], n.origin[2], name))
            later[n.origin[0], n.origin[2], name] = n
            if held is not None and "index" in n.params and n.primitive.linear:
                one, other = spot_of(n), spot_of(held)
                below = one and other and one.range < other.range
                if below or (held is after and held.origin == n.origin):
                    del found[n]
        after = n


def _name_turned(nodes: Sequence[Node], found: dict[Node, str]) -> None:
    """Name the leaves that are the transpose of a named one."""
    for n, whole in turned(nodes).items():
        if n not in found and not n.requires_grad and whole in found:
            found[n] = f"{found[whole]}.T"


def turned(nodes: Sequence[Node]) -> dict[Node, Node]:
    """Return the leaves that are the transpose of another one, in the same memory."""

    def at(array: Any) -> Any:
        return array.__array_interface__["data"][0], array.shape, array.strides, array.dtype

    leaves = [n for n in nodes if isinstance(n, Leaf) and n.ndim == 2]
    whole = [n for n in leaves if isinstance(n.value, np.ndarray) and n.value.size > 1]
    first: dict[Any, Node] = {}
    found: dict[Node, Node] = {}
    for n in whole:
        place = at(n.value)
        if place in first:
            found[n] = first[place]
        else:
            first[at(n.value.T)] = n
    return found


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
    expression, parts = expressions_at(spot.path).get(spot.range), []
    if isinstance(expression, ast.BinOp):
        parts = [expression.left, expression.right]
    elif isinstance(expression, ast.Subscript):
        parts = [expression.value] if "index" in n.params else []
    elif isinstance(expression, ast.Call) and not expression.keywords:
        parts, function = [a for a in expression.args if not _is_text(a)], expression.func
        if isinstance(function, ast.Attribute):
            called, owner = function.attr, function.value
            local = n.origin[0].co_varnames
            if isinstance(owner, ast.Name) and owner.id in local:  # a method, and not of a module
                parts.insert(0, owner)
        else:
            called = getattr(function, "id", "")
        parts = parts[: len(n.inputs)] if called == n.op else []
    return [_spelled(part) for part in parts] if len(parts) == len(n.inputs) else ()


def _is_text(part: ast.expr) -> bool:
    """Whether an argument is a text, such as the subscripts of an einsum, and no operand."""
    return isinstance(part, ast.Constant) and isinstance(part.value, str)


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
        for begin, end, left, right in loops(spot.path)
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
