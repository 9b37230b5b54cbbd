"""Derivative rules in words: the expression that a rule computes, read from its own source.

A rule is written once, in `ops/` or by the user. Its source is simplified for one node: variables
are replaced by what they stand for, and of branches on dimensions or parameters the one that is
taken stays. So matmul's rule reads ``g @ b.T`` between matrices.
"""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
import re
from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any

import numpy as np

from ..core.primitive import Array, Primitive, Rule, parameters
from ..core.tape import Leaf, Node
from ..core.trace import Program
from ..ops.syntax import syntax
from ..recurrent.pieces import PIECE
from .facts import formula_of

LONGEST = 160  # characters of an expression; a longer one is not shown


class _UnreadableError(Exception):
    """A rule consists of more than straight lines and branches."""


def names_of(primitive: Primitive, node: Node) -> list[str]:
    """Return what rules and formulas call the inputs of a node."""
    if primitive.variadic:
        return [f"inputs[{k}]" for k in range(len(node.inputs))]
    return _call_names(primitive.inputs)


def _call_names(names: Sequence[str]) -> list[str]:
    """Return the names of inputs; those of a function made by `tg.elementwise` are changed.

    They are called v0, v1, ... there, and become x, or a, b, ...
    """
    if len(names) > 6 or not all(re.fullmatch(r"v\d+", name) for name in names):
        return list(names)
    return ["x"] if len(names) == 1 else list("abcdef"[: len(names)])


def formula(node: Node) -> str:
    """Return an operation as an expression of its inputs."""
    primitive = node.primitive
    if primitive.body is not None:
        return (
            _program_text(primitive.body(), names_of(primitive, node))
            or f"{node.op}({', '.join(names_of(primitive, node))})"
        )
    if primitive.scalar:
        return primitive.scalar
    written = formula_of(node)
    if written is not None:
        return written
    names = "*inputs" if primitive.variadic else ", ".join(names_of(primitive, node))
    return f"{node.op}({', '.join([names, *(k for k in node.params if k != PIECE)])})"


def rule_text(node: Node, position: int, rule: Rule, g: Array) -> str:
    """Return what a rule computes, as an expression.

    Parameters
    ----------
    node : Node
    position : int
        Of the input to which the rule belongs.
    rule : Rule
    g : array
        The gradient of the node's output.

    Returns
    -------
    str
        Empty if the rule cannot be read.
    """
    function = inspect.unwrap(rule.function)
    body = node.primitive.body
    if body is not None:
        whole = body()
        back = whole.backward([whole.inputs[position]])
        if back.outputs[0] is None:
            return "0"
        return _program_text(
            Program([back.inputs[-1], *whole.inputs], back.outputs),
            ["g", *_call_names(node.primitive.inputs)],
        )
    saved = [g, *(node.saved or ())]
    known: dict[str, Any] = {"g": g, "position": position, **node.params}
    offered = ["out", "inputs"] if node.primitive.variadic else ["out", *node.primitive.inputs]
    likes = (node.inputs,) if node.primitive.variadic else node.inputs
    for name, value, like in zip(offered, saved[1:], (node, *likes), strict=False):
        known[f"like_{name}"] = like
        if value is None:
            value = like.value if isinstance(like, Leaf) else like
        known[name] = value
    try:
        found = _expression(function, known)
    except (_UnreadableError, RecursionError):
        return ""
    scope = _scope(function)
    found = _Folded(scope, known, {"g", *offered}).visit(found)
    text = ast.unparse(ast.fix_missing_locations(_Pretty().visit(found)))
    return text if len(text) <= LONGEST else ""


# --- reading the source ---------------------------------------------------------------------------


def _expression(function: Callable[..., Any], known: dict[str, Any]) -> ast.expr:
    """Return the result of a function as an expression of its parameters."""
    code = getattr(function, "__code__", None)
    if code is None:
        raise _UnreadableError
    asked = parameters(function)[0]
    answer = _run(
        _body(code), {}, _scope(function), {name: known[name] for name in asked if name in known}
    )
    if answer is None:
        raise _UnreadableError
    return answer


def _scope(function: Any) -> dict[str, Any]:
    """Return the globals of a function and the variables that it closes over."""
    closed = [c.cell_contents for c in function.__closure__ or ()]
    return {
        **function.__globals__,
        **dict(zip(function.__code__.co_freevars, closed, strict=False)),
    }


def _body(code: CodeType) -> list[ast.stmt]:
    """Return the statements of a function."""
    found = _definition(code)
    return [ast.Return(found.body)] if isinstance(found, ast.Lambda) else found.body


@functools.lru_cache(maxsize=1024)
def _definition(code: CodeType) -> ast.Lambda | ast.FunctionDef:
    """Return the syntax of a function: what stands at the positions of its code."""
    tree = syntax(code.co_filename)
    arguments = list(code.co_varnames[: code.co_argcount])
    ends = {(a, b, c, d) for a, b, c, d in code.co_positions()}
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Lambda) and code.co_name == "<lambda>":
            body = node.body
            place = (body.lineno, body.end_lineno, body.col_offset, body.end_col_offset)
            if place in ends and [a.arg for a in node.args.args] == arguments:
                return node
        elif isinstance(node, ast.FunctionDef) and node.name == code.co_name:
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            if first == code.co_firstlineno:
                return node
    raise _UnreadableError


def _run(
    body: Sequence[ast.stmt],
    bound: dict[str, ast.expr],
    scope: dict[str, Any],
    known: dict[str, Any],
) -> ast.expr | None:
    """Return the expression that statements return, with `bound` variables replaced.

    It is None if they end without one.
    """
    for statement in body:
        if isinstance(statement, ast.Return) and statement.value is not None:
            return _Simplified(bound, scope, known).visit(_copy(statement.value))  # type: ignore[no-any-return]
        if (
            isinstance(statement, ast.Assign)
            and len(statement.targets) == 1
            and isinstance(statement.targets[0], ast.Name)
        ):
            bound[statement.targets[0].id] = _Simplified(bound, scope, known).visit(
                _copy(statement.value)
            )
        elif isinstance(statement, ast.If):
            chosen = _truth(
                _Simplified(bound, scope, known).visit(_copy(statement.test)), scope, known
            )
            if chosen is None:
                raise _UnreadableError
            answer = _run(statement.body if chosen else statement.orelse, bound, scope, known)
            if answer is not None:
                return answer
        elif not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
            raise _UnreadableError
    return None


def _truth(test: ast.expr, scope: dict[str, Any], known: dict[str, Any]) -> bool | None:
    """Return whether a condition on dimensions, types or parameters holds.

    It is None if the condition asks for something else.
    """
    used = {n.id for n in ast.walk(test) if isinstance(n, ast.Name)}
    if not used <= known.keys() | scope.keys() | {"isinstance", "int", "float", "len", "type"}:
        return None
    try:
        value = eval(
            compile(ast.Expression(ast.fix_missing_locations(test)), "<rule>", "eval"),
            {**scope, **known},
        )
    except Exception:
        return None
    return value if isinstance(value, bool) else None


class _Simplified(ast.NodeTransformer):
    """Replace variables by what they stand for, and ``a if condition else b`` by what is taken."""

    def __init__(
        self, bound: dict[str, ast.expr], scope: dict[str, Any], known: dict[str, Any]
    ) -> None:
        self.bound, self.scope, self.known = bound, scope, known

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return _copy(self.bound[node.id]) if node.id in self.bound else node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        """Replace a helper of the same file by what it returns, if that can be read."""
        self.generic_visit(node)
        helper = (
            self.scope.get(node.func.id)
            if isinstance(node.func, ast.Name) and node.func.id.startswith("_")
            else None
        )
        code = getattr(helper, "__code__", None)
        if code is None or hasattr(helper, "primitive"):  # an operation stands by its name
            return node
        if node.keywords or len(node.args) != code.co_argcount:
            return node
        try:
            return (
                _run(
                    _body(code),
                    dict(zip(code.co_varnames, node.args, strict=False)),
                    self.scope,
                    self.known,
                )
                or node
            )
        except _UnreadableError:
            return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        self.generic_visit(node)
        chosen = _truth(_copy(node.test), self.scope, self.known)
        return node if chosen is None else node.body if chosen else node.orelse


class _Folded(ast.NodeTransformer):
    """Replace what follows from shapes and parameters alone by a number or a tuple.

    ``x.reshape(like_x.shape)`` becomes ``x.reshape((2, 3))``.
    """

    def __init__(self, scope: dict[str, Any], known: dict[str, Any], arrays: set[str]) -> None:
        self.scope, self.known, self.arrays = scope, known, arrays

    def visit(self, node: ast.AST) -> Any:
        foldable = isinstance(node, (ast.Call, ast.Attribute, ast.BinOp, ast.Subscript, ast.Tuple))
        return (self._value(node) if foldable else None) or self.generic_visit(node)

    def _value(self, node: Any) -> ast.expr | None:
        names = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
        looked_at = {
            id(n.value)
            for n in ast.walk(node)
            if isinstance(n, ast.Attribute) and n.attr in ("shape", "ndim", "size")
        }
        own = {n.id for n in names if isinstance(n.ctx, ast.Store)}
        if any(n.id in self.arrays and id(n) not in looked_at for n in names) or not any(
            n.id in self.known for n in names if n.id not in own
        ):
            return None
        try:
            value = eval(
                compile(ast.Expression(ast.fix_missing_locations(_copy(node))), "<rule>", "eval"),
                {**self.scope, **self.known},
            )
        except Exception:
            return None
        return _literal(
            value.tolist() if isinstance(value, np.ndarray) and value.ndim == 1 else value
        )


def _literal(value: Any) -> ast.expr | None:
    """Return whole numbers, slices, and tuples of them as syntax; None for anything else."""
    if type(value) is int:
        return ast.Constant(value)
    if isinstance(value, slice):
        parts = [
            None if p is None else ast.Constant(p) for p in (value.start, value.stop, value.step)
        ]
        return ast.Slice(*parts)
    if isinstance(value, (tuple, list)) and len(value) <= 8:
        found = [_literal(v) for v in value]
        return None if None in found else ast.Tuple([v for v in found if v is not None], ast.Load())
    return None


class _Pretty(ast.NodeTransformer):
    """Write ``a.dot(b)`` as ``a @ b`` and ``a[0,]`` as ``a[0]``.

    And ``f(1:3)``, which is no Python, becomes ``f(slice(1, 3))``.
    """

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        node.value = self.visit(node.value)
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        parts = [p if isinstance(p, ast.Slice) else self.visit(p) for p in parts]
        node.slice = parts[0] if len(parts) == 1 else ast.Tuple(parts, ast.Load())
        return node

    def visit_Slice(self, node: ast.Slice) -> ast.expr:
        """Write a slice that stands outside of brackets as a call."""
        parts = [node.lower, node.upper, *([] if node.step is None else [node.step])]
        return ast.Call(ast.Name("slice", ast.Load()), [p or ast.Constant(None) for p in parts], [])

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        if isinstance(node.func, ast.Attribute) and node.func.attr == "dot" and len(node.args) == 1:
            return ast.BinOp(node.func.value, ast.MatMult(), node.args[0])
        return node


def _copy(node: ast.expr) -> ast.expr:
    return ast.parse(ast.unparse(node), mode="eval").body


def _program_text(program: Program, names: Sequence[str]) -> str:
    """Return a program of elementwise operations as one expression; empty if it is too long."""
    found: dict[Any, str] = dict(zip(program.inputs, names, strict=True))
    for node in program.nodes:
        scalar = node.primitive.scalar
        if scalar is None:
            return ""
        given = {}
        for name, i in zip(node.primitive.inputs, node.inputs, strict=True):
            given[name] = (
                found[i] if isinstance(i, Node) else f"{i:.6g}" if isinstance(i, float) else repr(i)
            )
        given.update((name, repr(value)) for name, value in node.params.items())
        tree = ast.parse(scalar, mode="eval").body
        text = ast.unparse(
            _Simplified(
                {name: ast.parse(text, mode="eval").body for name, text in given.items()}, {}, {}
            ).visit(tree)
        )
        if len(text) > LONGEST:
            return ""
        found[node] = text
    return found.get(program.outputs[0], "")


def source_of(function: Callable[..., Any]) -> list[str]:
    """Return the source lines of a rule, which cannot be read as an expression."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return []
    lines = [
        line.rstrip()
        for line in linecache.getlines(code.co_filename)[
            code.co_firstlineno - 1 : code.co_firstlineno + 11
        ]
    ]
    try:
        return [line.rstrip() for line in inspect.getblock([f"{line}\n" for line in lines])]
    except (SyntaxError, IndentationError):
        return lines[:1]
