"""The syntax of source files: expressions by their places, and what they are assigned to."""

from __future__ import annotations

import ast
import functools
import linecache
from collections.abc import Iterator

# first and last line, from 1; first column and the one after the last, in bytes
Range = tuple[int, int, int, int]
EXPRESSIONS = ast.BinOp | ast.Call | ast.Subscript  # those that say what their operands are called
STARRED = "*"  # stands for the name of what takes all that the others leave
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@functools.lru_cache(maxsize=256)
def targets(path: str) -> dict[Range, list[str]]:
    """Return the names on the left of each expression of a file that is assigned."""
    tree = syntax(path)
    return {
        range_of(place): names
        for node in (ast.walk(tree) if tree else ())
        for place, names, _ in targets_of(node)
    }


def targets_of(node: ast.AST) -> Iterator[tuple[ast.AST, list[str], ast.expr]]:
    """Yield what a statement assigns: the place of an operation, the names, and the value."""
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        yield from _entered(node.value, node.targets[0], node.value)
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        yield from _entered(node.value, node.target, node.value)
    elif isinstance(node, ast.AugAssign):  # its operation is the whole statement
        yield from _entered(node, node.target, node.value)
    elif isinstance(node, ast.NamedExpr):
        yield from _entered(node.value, node.target, node.value)


def _entered(
    place: ast.AST, target: ast.expr, value: ast.expr
) -> Iterator[tuple[ast.AST, list[str], ast.expr]]:
    if isinstance(value, ast.IfExp):  # the variable holds one of two
        for v in (value.body, value.orelse):
            yield from _entered(v, target, v)
        return
    if (
        isinstance(target, ast.Tuple)
        and isinstance(value, ast.Tuple)
        and len(target.elts) == len(value.elts)
    ):
        for t, v in zip(target.elts, value.elts, strict=True):
            yield from _entered(v, t, v)
        return
    elements = target.elts if isinstance(target, ast.Tuple) else [target]
    yield place, list(map(_name, elements)), value


def _name(e: ast.expr) -> str:
    if isinstance(e, ast.Starred):
        return STARRED
    return e.id if isinstance(e, ast.Name) else e.attr if isinstance(e, ast.Attribute) else ""


@functools.lru_cache(maxsize=256)
def expressions_at(path: str) -> dict[Range, ast.expr]:
    """Return the operations and calls of a file by their places."""
    tree = syntax(path)
    found = ast.walk(tree) if tree else ()
    return {range_of(e): e for e in found if isinstance(e, EXPRESSIONS)}


@functools.lru_cache(maxsize=256)
def loops(path: str) -> list[Range]:
    """Return where the loops of a file stand."""
    tree = syntax(path)
    kinds = ast.For | ast.While | ast.ListComp | ast.GeneratorExp
    return [range_of(node) for node in ast.walk(tree) if isinstance(node, kinds)] if tree else []


@functools.lru_cache(maxsize=256)
def syntax(path: str) -> ast.Module | None:
    """Return the syntax tree of a file, or None if its source cannot be had."""
    text = "".join(linecache.getlines(path))
    try:
        return ast.parse(text) if text else None
    except SyntaxError:
        return None


def range_of(node: ast.AST) -> Range:
    """Return the place of a piece of syntax."""
    return (node.lineno, node.end_lineno, node.col_offset, node.end_col_offset)  # type: ignore[attr-defined]
