"""What the source calls the values that its own functions return.

In ``a = self.sum_of(x, h)`` the value was made in `sum_of`, and a node knows that line alone. It is
called a where that is beyond doubt: every call of that function in the files and classes that the
nodes come from is assigned, and always to the same names.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable, Iterator
from types import CodeType
from typing import NamedTuple

from .syntax import FUNCTIONS, Range, range_of, syntax, targets_of

Names = tuple[str, ...] | None  # None for a call that is not assigned


class Function(NamedTuple):
    """A function of a file.

    Attributes
    ----------
    name, owner : str
        The owner is the class, or "" outside of one.
    line : int
        The first one, that of a decorator if there are any.
    returned : tuple of tuple of Range
        The places of what each `return` gives: of a tuple, those of its elements.
    calls : tuple of (str, Names)
        The functions that are called in it, and what the results are assigned to.
    """

    name: str
    owner: str
    line: int
    returned: tuple[tuple[Range, ...], ...]
    calls: tuple[tuple[str, Names], ...]


def names_of_returned(codes: Iterable[CodeType]) -> dict[tuple[str, Range], str]:
    """Return the names of what the functions return that these codes are of, by file and place."""
    seen = {(c.co_filename, c.co_name, c.co_firstlineno) for c in codes}
    paths = sorted({path for path, _, _ in seen})
    run: dict[str, list[tuple[str, Function]]] = {}
    owners = {""}
    for path in paths:
        for f in functions(path):
            if (path, f.name, f.line) in seen:
                run.setdefault(f.name, []).append((path, f))
                owners.add(f.owner)
    assigned: dict[str, set[Names]] = {}
    for path in paths:
        for f in functions(path):
            for called, names in f.calls if f.owner in owners else ():
                assigned.setdefault(called, set()).add(names)
    found: dict[tuple[str, Range], str] = {}
    for name, several in run.items():
        sites = assigned.get(name, set())
        only = next(iter(sites)) if len(sites) == 1 else None
        if len(several) != 1 or only is None:
            continue
        ((path, f),) = several
        for places in f.returned:
            if len(places) == len(only):
                found.update(((path, place), v) for place, v in zip(places, only, strict=True))
    return found


@functools.lru_cache(maxsize=256)
def functions(path: str) -> tuple[Function, ...]:
    """Return the functions of a file."""
    tree = syntax(path)
    return tuple(_functions(tree, "")) if tree else ()


def _functions(node: ast.AST, owner: str) -> Iterator[Function]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, FUNCTIONS):
            yield _function(child, owner)
            yield from _functions(child, owner)
        else:
            yield from _functions(child, child.name if isinstance(child, ast.ClassDef) else owner)


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef, owner: str) -> Function:
    inside = list(_inside(node))
    assigned: dict[ast.expr, tuple[str, ...]] = {}
    for n in inside:
        for _, names, value in targets_of(n):
            assigned[value] = tuple(names)
    returned = [n.value for n in inside if isinstance(n, ast.Return) and n.value is not None]
    return Function(
        node.name,
        owner,
        min([node.lineno, *(d.lineno for d in node.decorator_list)]),
        tuple(tuple(map(range_of, v.elts if isinstance(v, ast.Tuple) else [v])) for v in returned),
        tuple((_called(n), assigned.get(n)) for n in inside if isinstance(n, ast.Call)),
    )


def _inside(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what is in a function, without the functions in it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, FUNCTIONS):
            yield child
            yield from _inside(child)


def _called(call: ast.Call) -> str:
    f = call.func
    return f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "")
