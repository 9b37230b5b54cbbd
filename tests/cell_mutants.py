"""Faults put into the cells on purpose.

`survivors` gives those that the reference on plain numbers does not notice.
"""

from __future__ import annotations

import ast
import copy
import inspect
import sys
import textwrap
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .cell_checks import Case, check_reference, classes
from .mutants import names_in, replaced, sites, variants

# and methods that make parameters
SKIPPED = ("__init__", "initial_state", "example_input", "check")
EXCHANGED = {
    "sigmoid": "tanh",
    "tanh": "sigmoid",
    "relu": "tanh",
    "maximum": "minimum",
    "minimum": "maximum",
}


def parsed(function: types.FunctionType) -> ast.FunctionDef:
    """The syntax tree of a function without its docstring."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(tree, ast.FunctionDef)
    tree.body = tree.body[1:] if isinstance(tree.body[0], ast.Expr) else tree.body
    return tree


def methods(kind: type) -> Iterator[tuple[Any, str, ast.FunctionDef]]:
    """The methods in which a class, or a base below PublishedCell, states its step, and the functions beside the class that they call."""
    known = set(classes().values()) - {kind}  # which have their own turn
    helpers: dict[str, Any] = {}
    for base in kind.__mro__:
        if base.__name__ in ("PublishedCell", "Cell") or base in known:
            break
        for name, function in vars(base).items():
            if (
                not isinstance(function, types.FunctionType)
                or name in SKIPPED
                or function.__annotations__.get("return") == "Parameter"
            ):
                continue
            tree = parsed(function)
            beside = vars(sys.modules[base.__module__])
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "super":
                    node.args = [ast.Name(base.__name__, ast.Load()), ast.Name("self", ast.Load())]
                if (
                    isinstance(node, ast.Name)
                    and getattr(beside.get(node.id), "__module__", "") == base.__module__
                ):
                    helpers[node.id] = beside[node.id]
            yield base, name, tree
    for name, helper in helpers.items():
        if isinstance(helper, types.FunctionType):
            yield sys.modules[helper.__module__], name, parsed(helper)


def changes(node: ast.FunctionDef) -> Iterator[tuple[str, ast.FunctionDef]]:
    """The function with one fault each, and what was done."""
    names = [n for n in names_in(node) if n != "self"]
    for path, old in sites(node):
        found = [
            (kind, new)
            for kind, new in variants(old, names)
            if not isinstance(old, ast.Constant) and ast.unparse(old) != "-1"
        ]
        if isinstance(old, ast.Attribute) and old.attr == "T":
            found.append(("transpose", old.value))
        if isinstance(old, ast.Name) and old.id in EXCHANGED:
            found.append(("function", ast.Name(EXCHANGED[old.id], ast.Load())))
        for kind, new in found:
            yield f"{kind}: {ast.unparse(old)} -> {ast.unparse(new)}", replaced(node, path, new)
    known = {a.arg for a in node.args.args}
    for place, statement in enumerate(node.body):
        if not isinstance(statement, ast.Assign):
            continue
        target = statement.targets[0]
        written = [n for n in ast.walk(target) if isinstance(n, ast.Name)]
        for name in written:
            if name.id in known:  # what follows finds the old value
                changed = copy.deepcopy(node)
                for n in ast.walk(changed.body[place].targets[0]):  # type: ignore[attr-defined]
                    if isinstance(n, ast.Name) and n.id == name.id:
                        n.id = f"new_{n.id}"
                yield f"old: {name.id}", changed
        if isinstance(target, ast.Tuple) and not isinstance(statement.value, ast.Tuple):
            for k in range(len(target.elts) - 1):
                changed = copy.deepcopy(node)
                elements = changed.body[place].targets[0].elts  # type: ignore[attr-defined]
                elements[k], elements[k + 1] = elements[k + 1], elements[k]
                yield (
                    f"swap: {ast.unparse(target.elts[k])} and {ast.unparse(target.elts[k + 1])}",
                    changed,
                )
        known |= {n.id for n in written}


def compiled(owner: Any, node: ast.FunctionDef) -> Callable[..., Any]:
    """The function of a syntax tree, in the namespace of its module."""
    node.decorator_list = []
    future = ast.parse("from __future__ import annotations").body
    scope: dict[str, Any] = {}
    module = owner if isinstance(owner, types.ModuleType) else sys.modules[owner.__module__]
    extra = {name: np_like for name, np_like in _operations().items() if name not in vars(module)}
    code = compile(ast.fix_missing_locations(ast.Module([*future, node], [])), "<mutant>", "exec")
    exec(code, {**extra, **vars(module)}, scope)
    return scope[node.name]  # type: ignore[no-any-return]


def _operations() -> dict[str, Any]:
    from tinygrad_rnn.ops import elementwise

    return {name: getattr(elementwise, name) for name in {*EXCHANGED, *EXCHANGED.values()}}


def survivors(cases: list[Case]) -> list[tuple[str, str]]:
    """Changes after which the cell still agrees with its reference in all cases, with their text."""
    found = []
    for owner, name, tree in methods(cases[0].cell):
        seen = {ast.unparse(tree)}
        for change, mutant in changes(tree):
            text = ast.unparse(mutant)
            if text in seen:
                continue
            seen.add(text)
            original = vars(owner)[name]
            try:
                setattr(owner, name, compiled(owner, mutant))
                with warnings.catch_warnings(), np.errstate(all="ignore"):
                    warnings.simplefilter("ignore")
                    for case in cases:
                        check_reference(case)
                found.append((change, text))
            except Exception:  # caught, by a wrong number or an error
                pass
            finally:
                setattr(owner, name, original)
    return found
