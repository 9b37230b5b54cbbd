"""Faults put into the derivative rules on purpose: each must make a check fail.

``python -m tests.mutants [name ...]`` takes every rule and tangent of the primitives of the package
(and the helper functions they call), changes one thing at a time in its syntax tree, puts the
changed function in its place, and runs the gradient checks of ``tests/test_primitives.py`` and the
conventions of ``tests/test_conventions.py`` of the primitives that use it. A change that no check
notices is a survivor. Those that compute the same as the original stand in `EQUIVALENT` with the
reason.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import importlib
import multiprocessing
import os
import sys
import time
import types
import warnings
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tinygrad_rnn
from tests import test_conventions, test_primitives
from tinygrad_rnn.core.primitive import REGISTRY, Primitive, Rule
from tinygrad_rnn.ops.facts import facts_of

REQUIRED = 0.99
COMMUTATIVE = (
    "add",
    "multiply",
    "maximum",
    "minimum",
    "logical_and",
    "logical_or",
    "swapaxes",
    "hypot",
)
SWAPPING = (ast.Sub, ast.Div, ast.MatMult, ast.Pow, ast.FloorDiv, ast.Mod)

# (where, pattern of the change) -> why a mutant that survived computes the same; these count as
# neither killed nor surviving
LIKE = "only shape, dtype or number of axes is read, and they are the same"
SQUARE = "the matrix is square"
REFUSES = "it says only what is refused, and rules of a triangle are not asked for that"
DETERMINED = "what is near has been refused by `determined`, so that 0 is divided"
FEW = "it is how many roundings are allowed; elsewhere the change is noticed"
EQUIVALENT: dict[tuple[str, str], str] = {
    ("sign, x", "zeros_like(g) -> -zeros_like(g)"): "minus zero",
    ("floor, x", "zeros_like(g) -> -zeros_like(g)"): "minus zero",
    ("relu, x", "out -> x"): "x is positive where max(x, 0) is",
    (
        "selu, x",
        "0.0 -> 1.0",
    ): "the bound keeps exp from overflowing in the branch that is not taken; any bound does",
    (
        "elu, x",
        "0.0 -> 1.0",
    ): "the bound keeps exp from overflowing in the branch that is not taken; any bound does",
    (
        "_power_a",
        "b -> [ag]",
    ): "without the shortcuts for numbers the general formula gives the same",
    (
        "_gelu_tanh_rule",
        "near -> x",
    ): "where x is not near, the tanh is flat, or a factor of 0 follows",
    ("_gelu_tanh_rule", "30.0 -> 31.0"): "the tanh is flat from 10 on",
    ("_power_a", "g -> a"): LIKE,
    ("_power_a", "1.0 -> 2.0"): "a factor of 0 follows",
    (
        "_matmul_a",
        "g -> b",
    ): "`dot` and `@` agree on matrices: the test chooses the one that starts faster; " + LIKE,
    ("_matmul_a", "b -> turned"): LIKE,
    ("_matmul_b", "a -> turned"): LIKE,
    ("_matmul_b", "1 -> 2"): "every negative size means: what is left over",
    ("_einsum_rule", "present -> *"): "more factors of ones change nothing",
    ("_einsum_rule", "output + * -> *"): "more factors of ones change nothing",
    ("_einsum_rule", "like -> g"): LIKE,
    ("_einsum_rule", "like_inputs -> inputs"): LIKE,
    ("logsumexp, tangent", "x -> t"): LIKE,
    ("_ties", "x -> out"): LIKE,
    ("_ties", "x -> top"): LIKE,
    ("_extreme_tangent", "x -> t"): LIKE,
    ("norm, tangent", "x -> t"): LIKE,
    ("put_along_axis, x", "g -> indices"): "zeros are written, of whatever dtype",
    ("put_along_axis, value", "out -> g"): LIKE,
    ("_put", "onto -> indices"): "zeros are written, of whatever dtype",
    ("_put", "out -> value"): LIKE,
    ("_last", "axis -> a"): "the same axis, counted from the front",
    ("_last", "a -> axis"): "the same axis, counted from the end",
    ("_last", "1 -> 2"): "every negative size means: what is left over",
    **{
        ("_last", f"{one} -> {other}"): LIKE
        for one, other in (
            ("out", "g"),
            ("indices", "g"),
            ("indices", "out"),
            ("indices", "numbers"),
        )
    },
    **{
        (f"_logcumsumexp_{part}", f"{one} -> {other}"): LIKE
        for part, one in (("rule", "g"), ("tangent", "t"))
        for other in ("out", "x")
    },
    (
        "_shares",
        "where(begins, 0.0, *",
    ): "a sum of nothing has a term of 0, by which its share is multiplied",
    ("_shares", "0.0 -> 1.0"): "a sum of nothing has a term of 0, by which its share is multiplied",
    ("_shares", "here -> out"): "where they differ, another is chosen",
    ("_shares", "n - 1 -> -1"): "the same end, counted from there",
    ("_shares", "out -> x"): LIKE,
    ("_passed_back", "n - shift -> -shift"): "the same end, counted from there",
    **{
        ("_passed_back", f"{one} -> {other}"): "a part ends where its source does"
        for one, other in (("shift", "n"), ("shift", "left"), ("left", "n"))
    },
    ("_passed_back", "builtins.max*"): "the larger of two, in either order",
    ("_passed_back", "0 -> 1"): "after the last round nothing reads it",
    ("_passed_back", "n - 1 -> *"): "a further round adds nothing",
    ("_logcumsumexp_tangent", "a -> axis"): "the same axis, counted from the end",
    **{("_logcumsumexp_tangent", f"t -> {other}"): LIKE for other in ("term", "share")},
    ("_sort_rule", "g -> x"): LIKE,
    ("_sort_tangent", "t -> x"): LIKE,
    ("_running_extreme_rule", "g -> out"): LIKE,
    ("_running_extreme_tangent", "t -> out"): LIKE,
    ("_of", "axis -> x"): "without an axis, all are named one by one",
    ("_norm_slope", "1.0 -> 2.0"): "the numerator is 0",
    ("hypot, a", "1.0 -> 2.0"): "the numerator is 0",
    ("hypot, b", "1.0 -> 2.0"): "the numerator is 0",
    ("hypot, a", "out -> a"): "where that is 0, the numerator is",
    ("hypot, b", "out -> b"): "where that is 0, the numerator is",
    ("xlogy, y", "1.0 -> 2.0"): "the numerator is 0",
    ("_xlogy_x", "x -> g"): LIKE,
    ("ceil, x", "zeros_like(g) -> -zeros_like(g)"): "minus zero",
    ("trunc, x", "zeros_like(g) -> -zeros_like(g)"): "minus zero",
    ("round, x", "zeros_like(g) -> -zeros_like(g)"): "minus zero",
    ("floor_divide, a", "zeros_like(g) -> -zeros_like(g)"): "minus zero",
    ("floor_divide, b", "zeros_like(g) -> -zeros_like(g)"): "minus zero",
    ("copysign, b", "zeros_like(g) -> -zeros_like(g)"): "minus zero",
    ("take, x", "like_x -> g"): LIKE,
    ("slogdet, tangent", "t -> x"): LIKE,
    ("_frechet", "x -> t"): LIKE,
    ("_rfft_rule", "g -> like_x"): LIKE,
    ("_svd_rule", "p -> *"): "a unit matrix is made like it: only its size is read",
    ("_eigh_rule", "turns -> *"): "a unit matrix is made like it: only its size is read",
    ("_eigh_rule", "w -> *"): "its last size is read, which all have",
    ("_eigh_tangent", "w -> *"): "its last size is read, which all have",
    ("_eigh_rule", "least -> upper"): DETERMINED,
    ("_eigh_tangent", "least -> upper"): DETERMINED,
    ("_eigh_rule", "1 -> 2"): SQUARE,
    ("_eigh_tangent", "1 -> 2"): SQUARE,
    ("_svd_rule", "1 -> 2"): SQUARE,
    ("_svd_tangent", "1 -> 2"): SQUARE,
    ("_gaps_tangent", "by_k -> *"): "it is asked whether there is one",
    ("_differences", "values -> *"): LIKE,
    ("_differences", "0 -> 1"): "the sign is 1 or -1",
    ("_differences", "(*) + alone -> (*) - alone"): "minus infinity as a divisor",
    ("_diagonal", "1 -> 2"): SQUARE,
    ("_cofactor_rule", "1 -> 2"): SQUARE,
    ("_cofactor_rule", "x -> g"): LIKE,
    ("_cofactor_rule", "g -> x"): "it is given back only where both are empty",
    ("_cofactor_rule", "u @ turned(v) -> turned(v) @ u"): "the determinants are the same",
    ("_cofactor_rule", "prod(*) * ~here -> prod(*)"): "the diagonal of both terms cancels",
    ("_triangular_rule", "independent -> lower"): REFUSES,
    ("_triangular_tangent", "independent -> lower"): REFUSES,
    ("_least", "1 -> 2"): "of what stands there the last size is 1",
    ("_least", "np.zeros((), values.dtype) -> *"): "of nothing, nothing is near",
    ("_least", "ROUNDINGS * rows -> *"): FEW,
    ("_least", "ROUNDINGS * rows * * -> *"): FEW,
    ("_svd_rule", "m + n -> *"): FEW,
    ("_svd_tangent", "m + n -> *"): FEW,
    ("_svd_rule", "m -> n"): FEW,
    ("_svd_rule", "n -> m"): FEW,
    ("_svd_tangent", "m -> n"): FEW,
    ("_svd_tangent", "n -> m"): FEW,
    ("_shares_of_equal", "x -> values"): LIKE,
    ("_shares_of_equal", "x -> out"): LIKE,
    **{
        ("_shares_of_equal", f"x -> {other}"): "its shape is the same, and True counts as 1.0"
        for other in ("mine", "theirs")
    },
    **{("_meeting_tangent", f"mine -> {other}"): "zeros are made of it" for other in ("out", "x")},
    ("_neighbours", "0 -> 1"): "what is put behind the last one is cut off",
    ("_step_back", "0 -> 1"): "a fourth neighbour is not read",
    **{
        ("_shares_of_ways", change): "a place to which no way leads has the probability 0"
        for change in ("0 -> 1", "where(none, 0, *) -> where(0, none, *")
    },
    ("_shares_of_ways", "True -> False"): "broadcasting puts the axis back",
    ("part, x", "1 -> 2"): "every negative size means: what is left over",
    ("take_along_axis, x", "like_x -> g"): LIKE,
    ("_pad_rule", "like_x -> g"): LIKE,
    **{
        (f"window_max, {part}", f"size -> {other}"): "only its length is read, the number of axes"
        for part in ("x", "tangent")
        for other in ("stride", "dilation")
    },
    ("_added", "out -> value"): LIKE,
    (
        "_windows_rule",
        "size -> *",
    ): "only its length is read, the number of axes, which all settings have",
    (
        "_unwindows_rule",
        "shape -> *",
    ): "only its length is read, the number of axes, which all settings have",
}


class Target(NamedTuple):
    """A function whose text is to be changed: a rule, a tangent, or a helper that rules call."""

    module: types.ModuleType
    label: str
    node: ast.Lambda | ast.FunctionDef
    users: tuple[str, ...]  # the primitives whose checks are run
    # (primitive, position of the rule or "tangent") where it stands
    places: tuple[tuple[str, int | str], ...]
    offered: tuple[str, ...]  # other values that a rule could have asked for


class Mutant(NamedTuple):
    target: int
    change: str
    before: str
    after: str
    node: ast.Lambda | ast.FunctionDef


# --- the functions -------------------------------------------------------------------------------------------------------


def parse(module: types.ModuleType) -> ast.Module:
    return ast.parse(Path(str(module.__file__)).read_text())


def modules() -> list[types.ModuleType]:
    """The modules in which entries stand.

    Every file of the package that decorates a function as a primitive.
    """
    package = Path(str(tinygrad_rnn.__file__)).parent
    found = []
    for path in sorted(package.rglob("*.py")):
        if any(True for _ in decorated(ast.parse(path.read_text()))):
            name = ".".join([package.name, *path.relative_to(package).with_suffix("").parts])
            found.append(importlib.import_module(name))
    return found


def decorated(tree: ast.Module) -> Iterator[tuple[ast.FunctionDef, ast.Call]]:
    """The functions at the top of a module that are entries, and what decorates them."""
    for definition in tree.body:
        for decorator in getattr(definition, "decorator_list", []):
            if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") in (
                "primitive",
                "pointwise",
            ):
                yield definition, decorator  # type: ignore[misc]


def entries(
    module: types.ModuleType,
) -> Iterator[tuple[Primitive, list[ast.expr | None], ast.expr | None]]:
    """Each decorated entry of a module.

    Its primitive, the expressions of its rules, that of its tangent.
    """
    for definition, decorator in decorated(parse(module)):
        rules = decorator.args[1:] if decorator.func.id == "pointwise" else decorator.args  # type: ignore[attr-defined]
        tangent = next((k.value for k in decorator.keywords if k.arg == "tangent"), None)
        absent = [None if isinstance(r, ast.Constant) and r.value is None else r for r in rules]
        yield getattr(module, definition.name).primitive, absent, tangent


def called(node: ast.AST, helpers: dict[str, ast.FunctionDef]) -> set[str]:
    """The helpers that a function calls, directly or through others."""
    found: set[str] = set()
    waiting = [node]
    while waiting:
        for name in {n.id for n in ast.walk(waiting.pop()) if isinstance(n, ast.Name)} & set(
            helpers
        ) - found:
            found.add(name)
            waiting.append(helpers[name])
    return found


def targets() -> list[Target]:
    found: list[Target] = []
    covered: set[tuple[str, int | str]] = set()
    for module in modules():
        # Helpers: undecorated functions that begin with an underscore (those that do not are
        # operations, with their own derivatives).
        functions = [
            d for d in parse(module).body if isinstance(d, ast.FunctionDef) and not d.decorator_list
        ]
        helpers = {d.name: d for d in functions if d.name.startswith("_")}
        users: dict[str, set[str]] = {}
        places: dict[str, list[tuple[str, int | str]]] = {}
        for entry, rules, tangent in entries(module):
            for place, expression in [*enumerate(rules), ("tangent", tangent)]:
                if expression is None:
                    continue
                covered.add((entry.name, place))
                for name in called(expression, helpers):
                    users.setdefault(name, set()).add(entry.name)
                if isinstance(expression, ast.Name):
                    places.setdefault(expression.id, []).append((entry.name, place))
                    continue
                assert isinstance(expression, ast.Lambda)
                offered = () if entry.variadic or place == "tangent" else ("out", *entry.inputs)
                label = f"{entry.name}, {'tangent' if place == 'tangent' else (entry.inputs or ['inputs'])[place]}"  # type: ignore[index]
                found.append(
                    Target(
                        module, label, expression, (entry.name,), ((entry.name, place),), offered
                    )
                )
        for name, using in users.items():
            found.append(
                Target(
                    module,
                    name,
                    helpers[name],
                    tuple(sorted(using)),
                    tuple(places.get(name, [])),
                    (),
                )
            )
    for name in test_primitives.NAMES:  # nothing with a rule of its own was missed
        entry = REGISTRY[name]
        # what runs again is a walk of its own; tests/test_unroll.py is its test
        if entry.body is None and not facts_of(entry).runs_again:
            missed = {i for i, rule in enumerate(entry.rules) if rule is not None} | (
                {"tangent"} if entry.tangent else set()
            )  # type: ignore[arg-type]
            assert all((name, place) in covered for place in missed), (
                f"no source was found for {name}: {missed}"
            )
    return found


# --- the changes ---------------------------------------------------------------------------------------------------------


def variants(node: ast.expr, names: list[str]) -> Iterator[tuple[str, ast.expr]]:
    """What one expression could wrongly have been."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "sign", node.operand
    if isinstance(node, ast.BinOp):
        left, op, right = node.left, node.op, node.right
        if isinstance(op, (ast.Add, ast.Sub)):
            yield (
                "sign",
                ast.BinOp(left, ast.Sub() if isinstance(op, ast.Add) else ast.Add(), right),
            )
            yield "term", left
            yield "term", right if isinstance(op, ast.Add) else ast.UnaryOp(ast.USub(), right)
        if isinstance(op, (ast.Mult, ast.Div, ast.Pow, ast.MatMult)):
            yield "factor", left
        if isinstance(op, (ast.Mult, ast.MatMult)):
            yield "factor", right
        if isinstance(op, (ast.Mult, ast.Div)):
            yield (
                "inverse",
                ast.BinOp(left, ast.Div() if isinstance(op, ast.Mult) else ast.Mult(), right),
            )
        if isinstance(op, SWAPPING) and ast.dump(left) != ast.dump(right):
            yield "operands", ast.BinOp(right, op, left)
    if isinstance(node, ast.Call):
        method = isinstance(node.func, ast.Attribute) and node.func.attr == "dot"
        if method and len(node.args) == 1:
            yield (
                "operands",
                ast.Call(ast.Attribute(node.args[0], "dot", ast.Load()), [node.func.value], []),
            )  # type: ignore[attr-defined]
        commutes = getattr(node.func, "id", getattr(node.func, "attr", "")) in COMMUTATIVE
        for i in range(0 if commutes else len(node.args) - 1):
            a, b = node.args[i], node.args[i + 1]
            if (
                ast.dump(a) != ast.dump(b)
                and not isinstance(a, ast.Starred)
                and not isinstance(b, ast.Starred)
            ):
                yield (
                    "arguments",
                    ast.Call(node.func, [*node.args[:i], b, a, *node.args[i + 2 :]], node.keywords),
                )
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        yield (
            "constant",
            ast.Constant(not node.value if isinstance(node.value, bool) else node.value + 1),
        )
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names:
        for name in names:
            if name != node.id:
                yield "name", ast.Name(name, ast.Load())


def aside(parent: ast.AST, field: str) -> bool:
    """Where a change says nothing about derivatives.

    Annotations, defaults, texts of errors, ``strict=``.
    """
    if isinstance(parent, (ast.arg, ast.arguments, ast.Raise, ast.JoinedStr)) or field in (
        "returns",
        "decorator_list",
    ):
        return True
    return isinstance(parent, ast.keyword) and parent.arg == "strict"


def sites(node: ast.AST) -> Iterator[tuple[tuple[Any, ...], ast.expr]]:
    """Every expression in the body of a function, with the path to it (fields and places)."""
    stack: list[tuple[tuple[Any, ...], ast.AST]] = [((), node)]
    while stack:
        path, parent = stack.pop()
        for field, value in ast.iter_fields(parent):
            if aside(parent, field):
                continue
            for place, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(child, ast.AST):
                    where = (*path, (field, place))
                    if isinstance(child, ast.expr):
                        yield where, child
                    stack.append((where, child))


def replaced(node: Any, path: tuple[Any, ...], new: ast.expr) -> Any:
    """A copy of a tree with another expression at a path."""
    node = copy.deepcopy(node)
    at = node
    for field, place in path[:-1]:
        at = getattr(at, field) if place is None else getattr(at, field)[place]
    field, place = path[-1]
    if place is None:
        setattr(at, field, new)
    else:
        getattr(at, field)[place] = new
    return ast.fix_missing_locations(node)


def names_in(node: ast.Lambda | ast.FunctionDef) -> list[str]:
    """The parameters of a function, and in one with statements the names that it assigns."""
    names = [a.arg for a in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]]
    assigned = [t for n in ast.walk(node) if isinstance(n, ast.Assign) for t in n.targets]
    names += [
        n.id for t in assigned for n in ast.walk(t) if isinstance(n, ast.Name) and n.id not in names
    ]
    return list(dict.fromkeys(names))


def mutants(all_targets: list[Target], chosen: set[str]) -> list[Mutant]:
    """All changes of the chosen functions, by label or by what uses them; of all if none is named."""
    found = []
    for k, target in enumerate(all_targets):
        if chosen and not chosen & {*target.users, target.label}:
            continue
        original = ast.unparse(target.node)
        names, seen = names_in(target.node), {original}

        def add(
            change: str,
            path: tuple[Any, ...],
            old: ast.expr,
            new: ast.expr,
            k: int = k,
            seen: set[str] = seen,
        ) -> None:
            changed = replaced(all_targets[k].node, path, new)
            if ast.unparse(changed) not in seen:
                seen.add(ast.unparse(changed))
                found.append(Mutant(k, change, ast.unparse(old), ast.unparse(new), changed))

        for path, old in sites(target.node):
            for change, new in variants(old, names):
                add(change, path, old, new)
        if target.places and isinstance(target.node, ast.Lambda):
            body = target.node.body
            add("sign", (("body", None),), body, ast.UnaryOp(ast.USub(), body))
            # the rule asks for another value instead
            for old_name in [n for n in names if n in target.offered]:
                for new_name in [n for n in target.offered if n not in names]:
                    changed = copy.deepcopy(target.node)
                    for n in ast.walk(changed):
                        if isinstance(n, ast.arg) and n.arg == old_name:
                            n.arg = new_name
                        if isinstance(n, ast.Name) and n.id == old_name:
                            n.id = new_name
                    found.append(Mutant(k, "input", old_name, new_name, changed))
    return found


# --- the run -------------------------------------------------------------------------------------------------------------


def compiled(module: types.ModuleType, node: ast.Lambda | ast.FunctionDef) -> Callable[..., Any]:
    """The function of a syntax tree, in the namespace of its module."""
    if isinstance(node, ast.Lambda):
        return eval(
            compile(ast.fix_missing_locations(ast.Expression(node)), "<mutant>", "eval"),
            vars(module),
        )  # type: ignore[no-any-return]
    future = ast.parse("from __future__ import annotations").body
    scope: dict[str, Any] = {}
    code = compile(ast.fix_missing_locations(ast.Module([*future, node], [])), "<mutant>", "exec")
    exec(code, vars(module), scope)
    return scope[node.name]  # type: ignore[no-any-return]


def state(rule: Rule) -> dict[str, Any]:
    return {name: getattr(rule, name) for name in Rule.__slots__}


def become(entry: Primitive, rule: Rule, values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(rule, name, value)
    entry.kept.clear()


@contextlib.contextmanager
def put_in_place(target: Target, function: Callable[..., Any]) -> Iterator[None]:
    """The changed function stands for the original in the module and in the entries, for a while."""
    undo: list[Callable[[], None]] = []
    try:
        if isinstance(target.node, ast.FunctionDef):
            name, original = target.node.name, getattr(target.module, target.node.name)
            undo.append(lambda name=name, original=original: setattr(target.module, name, original))  # type: ignore[misc]
            setattr(target.module, name, function)
        for name, place in target.places:
            entry = REGISTRY[name]
            if place == "tangent":
                undo.append(lambda e=entry, t=entry.tangent: setattr(e, "tangent", t))  # type: ignore[misc]
                entry.tangent = function
                continue
            rule = entry.rules[place]  # changed in place, because nodes and operations hold it
            assert rule is not None
            old = state(rule)
            undo.append(lambda e=entry, r=rule, old=old: become(e, r, old))  # type: ignore[misc]
            become(entry, rule, state(Rule(function, entry)))
        yield
    finally:
        for step in reversed(undo):
            step()


def check(name: str, conventions: bool = True) -> None:
    """All derivative checks of a primitive, cheap ones first.

    AssertionError or another error if one fails.
    """
    for case in test_primitives.gradient_cases(name):
        test_primitives.check_gradients(case)
    for row in test_conventions.CONVENTIONS:
        if conventions and row[0] == name:
            test_conventions.check_convention(row, np.dtype(np.float64))
    test_conventions.check_refusals(name)
    for case in test_primitives.gradient_cases(name):
        test_primitives.test_float32(case)


def killed(target: Target, mutant: Mutant) -> str:
    """How the checks notice a mutant: by a wrong number, by an error; "" if they do not."""
    with put_in_place(target, compiled(target.module, mutant.node)):
        try:
            for name in target.users:
                # the functions that these call have noted what is to be saved
                check(name, conventions=mutant.change != "input")
        except AssertionError:
            return "wrong"
        except Exception:
            return "error"
    return ""


def prepare() -> None:
    """Operations are called through their entries.

    The public functions have noted what their rules need saved.
    """
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    test_primitives.OPERATIONS.clear()


def work(number: int) -> str:
    mutant = STATE[1][number]
    return killed(STATE[0][mutant.target], mutant)


STATE: tuple[list[Target], list[Mutant]] = ([], [])


def main(chosen: list[str]) -> int:
    global STATE
    started = time.perf_counter()
    all_targets = targets()
    found = mutants(all_targets, set(chosen))
    STATE = (all_targets, found)
    prepare()
    for name in sorted({user for m in found for user in all_targets[m.target].users}):
        check(name)  # the originals pass
    with multiprocessing.get_context("fork").Pool(min(2, os.cpu_count() or 1)) as pool:
        dead = pool.map(work, range(len(found)), chunksize=4)
    excused: list[Any] = []
    survivors: list[Any] = []
    used: set[tuple[str, str]] = set()
    for m, died in zip(found, dead, strict=True):
        label, text = (
            all_targets[m.target].label,
            ast.unparse(m.node.body if isinstance(m.node, ast.Lambda) else m.node),
        )
        change = f"{m.before} -> {m.after}"
        matching = [key for key in EQUIVALENT if key[0] == label and fnmatchcase(change, key[1])]
        reason = EQUIVALENT[matching[0]] if matching else ""
        if not died:
            used.update(matching)
            (excused if reason else survivors).append((m, (label, text), reason))
    kinds: dict[str, int] = {}
    for m in found:
        kinds[m.change] = kinds.get(m.change, 0) + 1
    print(
        f"{len(all_targets)} functions, {len(found)} mutants ({', '.join(f'{n} {k}' for k, n in sorted(kinds.items()))})"
    )
    for title, rows in (("equivalent", excused), ("SURVIVED", survivors)):
        for m, (label, text), reason in rows:
            print(
                f"{title}: {label}: {m.change}: {m.before} -> {m.after}{': ' + reason if reason else ''}"
            )
            if not reason:
                print("    " + text.replace("\n", "\n    "))
    for where, pattern in EQUIVALENT if not chosen else ():
        if (where, pattern) not in used:
            print(f"listed as equivalent, but no such mutant survived: {where}: {pattern}")
    total = len(found) - len(excused)
    rate = (total - len(survivors)) / max(total, 1)
    how = f"{dead.count('wrong')} by a wrong number, {dead.count('error')} by an error"
    print(
        f"killed {total - len(survivors)}/{total} ({rate:.2%}; {how}), {len(excused)} equivalent, {time.perf_counter() - started:.0f} s"
    )
    return 0 if rate >= REQUIRED else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
