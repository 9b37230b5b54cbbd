"""Makes a failing program smaller, until nothing can be taken away that leaves it failing."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ._program import NAME, SLOPES, Found, Program, check

TRIES = 3000  # programs that are looked at, at most


def tried(program: Program, compiled: bool) -> str:
    """What became of a program."""
    return check(
        program.function(),
        program.inputs,
        options=program.options,
        limited=program.limited,
        compiled=compiled,
    )


def settled(program: Program, compiled: bool) -> str:
    """What became of a program; the smallest one that fails alike is in the text of the error."""
    try:
        return tried(program, compiled)
    except Found as error:
        small = smallest(program, compiled, slopes=True)
        if small is None:
            raise Found(error.kind, f"only now and then\n\n{program}") from error
        raise Found(error.kind, small) from error


def smallest(program: Program, compiled: bool, slopes: bool = False) -> str | None:
    """What is wrong with the smallest program that fails alike, and that program; None if none does.

    Finite differences count with `slopes`: a function of the user's may have a slope of its own.
    """
    kind = ""

    def fails(candidate: Program) -> str:
        try:
            tried(candidate, compiled)
        except Found as error:
            if error.kind == (kind or error.kind) and (slopes or error.kind != SLOPES):
                return str(error)
        except Exception:  # a program that is none
            return ""
        return ""

    said = fails(program)
    kind = said.partition(":")[0]
    small = shrink(program, fails) if said else program
    said = said and fails(small)
    return f"{said.removeprefix(f'{kind}: ')}\n\n{small}" if said else None


def shrink(program: Program, fails: Callable[[Program], Any]) -> Program:
    """Take away what can be taken away.

    Parameters
    ----------
    program : Program
    fails : function
        Whether a program fails in the same way.

    Returns
    -------
    Program
        One that fails, and of which none of the simpler ones that are tried does.
    """
    tidied: Callable[[Program], Program] = pruned
    if not fails(pruned(program)):  # what nothing reads is what fails
        tidied = replace
    program, left, again = tidied(program), TRIES, True
    while again and left:
        again = False
        for candidates in (fewer_results, fewer_lines, shorter_lines, fewer_options, smaller_sizes, simpler_inputs):  # fmt: skip
            found = True
            while found and left:
                found = False
                for candidate in candidates(program):
                    left -= 1
                    if fails(tidied(candidate)):
                        program, found, again = tidied(candidate), True, True
                        break
                    if not left:
                        break
    return program


def pruned(program: Program) -> Program:
    """Without lines and inputs that nothing reads; a cell keeps its inputs, a function one."""
    wanted = {*program.results, *program.states.values()}
    lines = []
    for name, text in reversed(program.lines):
        if name in wanted:
            lines.append((name, text))
            wanted |= set(NAME.findall(text)) - {name}
    cell = program.options is not None
    given = program.with_role("given")
    keep = wanted | set(program.states)
    if not keep & set(given):  # a sequence has a length
        keep |= set(given[:1])
    inputs = {n: i for n, i in program.inputs.items() if n in keep}
    states = program.states if cell else {}
    return replace(program, inputs=inputs, lines=tuple(reversed(lines)), states=states)


def renamed(program: Program, old: str, new: str, without: int | None = None) -> Program:
    """The program with another name in place of one, and without a line."""
    lines = tuple((n, re.sub(rf"\b{old}\b", new, text)) for k, (n, text) in enumerate(program.lines) if k != without)  # fmt: skip
    results = tuple(dict.fromkeys(new if n == old else n for n in program.results))
    states = {s: new if n == old else n for s, n in program.states.items()}
    return replace(program, lines=lines, results=results, states=states)


def fewer_results(program: Program) -> Iterator[Program]:
    """One result, or one less; an earlier value as the result."""
    for name in program.results:
        if len(program.results) > 1:
            yield replace(program, results=(name,))
    if len(program.results) > 2:
        for name in program.results:
            yield replace(program, results=tuple(n for n in program.results if n != name))
    if len(program.results) == 1:
        for name, text in program.lines:
            if name == program.results[0]:
                for operand in dict.fromkeys(NAME.findall(text)):
                    if operand != name:
                        yield replace(program, results=(operand,))


def fewer_lines(program: Program) -> Iterator[Program]:
    """Without a line; what it made is one of its operands, or another value, or given."""
    for k in reversed(range(len(program.lines))):
        name, text = program.lines[k]
        operands = [n for n in dict.fromkeys(NAME.findall(text)) if n != name]
        others = [n for n in program.inputs if n not in operands]
        for other in [*operands, *others]:
            yield renamed(program, name, other, k)
    for state, value in program.states.items():  # a state that stays as it is, or is none
        if value != state:
            yield replace(program, states={**program.states, state: state})
        rest = {s: n for s, n in program.states.items() if s != state}
        for other in program.with_role("given"):
            yield renamed(replace(program, states=rest), state, other)


class _Hoist(ast.NodeTransformer):
    """Puts something in the place of one node."""

    def __init__(self, at: ast.AST, new: ast.expr) -> None:
        self.at, self.new = at, new

    def visit(self, node: ast.AST) -> Any:
        return self.new if node is self.at else self.generic_visit(node)


def shorter_lines(program: Program) -> Iterator[Program]:
    """An expression is one of its parts, a number a simpler one, an argument its default."""
    for k, (name, text) in enumerate(program.lines):
        count = sum(isinstance(n, ast.expr) for n in ast.walk(ast.parse(text)))
        for position in range(count):
            for which in range(8):
                tree = ast.parse(text)  # anew, since it is changed
                node = [n for n in ast.walk(tree) if isinstance(n, ast.expr)][position]
                parts = _simpler(node)
                if which >= len(parts):
                    break
                made = ast.unparse(_Hoist(node, parts[which]).visit(tree))
                if len(made) < len(text):
                    lines = (*program.lines[:k], (name, made), *program.lines[k + 1 :])
                    yield replace(program, lines=lines)


def _simpler(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.Call):
        found = [a for a in node.args if not isinstance(a, (ast.Starred, ast.Constant))]
        for drop in node.keywords:
            rest = [w for w in node.keywords if w is not drop]
            found.append(ast.Call(node.func, node.args, rest))
        if isinstance(node.func, ast.Attribute):
            found.append(node.func.value)
        return found[:8]
    if isinstance(node, ast.BinOp):
        return [node.left, node.right]
    if isinstance(node, (ast.Subscript, ast.Attribute)):
        return [node.value]
    if isinstance(node, ast.UnaryOp):
        return [node.operand]
    if isinstance(node, ast.Constant) and isinstance(node.value, float):
        return [ast.Constant(1.0), ast.Constant(0.5)]
    return []


def fewer_options(program: Program) -> Iterator[Program]:
    """Of a cell: fewer options, and shorter sequences of fewer rows."""
    options = program.options
    if program.limited:
        yield replace(program, limited=False)
    for name in options or {}:
        yield replace(program, options={k: v for k, v in (options or {}).items() if k != name})


def smaller_sizes(program: Program) -> Iterator[Program]:
    """All axes of one size are shorter; so are axes of one input."""
    sizes = {n for given in program.inputs.values() for n in given.array.shape if n > 1}
    for size in sorted(sizes, reverse=True):
        for smaller in dict.fromkeys((1, 2, size - 1)):
            if smaller < size:
                cut = {n: replace(i, array=_cut(i.array, size, smaller)) for n, i in program.inputs.items()}  # fmt: skip
                options = program.options and {k: _cut(v, size, smaller) for k, v in program.options.items()}  # fmt: skip
                yield replace(program, inputs=cut, options=options)
    if program.options is not None:  # the first axis is time
        given = program.with_role("given")
        for T in range(1, program.inputs[given[0]].array.shape[0]):
            cut = {n: replace(i, array=i.array[:T]) if n in given else i for n, i in program.inputs.items()}  # fmt: skip
            options = {k: v[:T] if k == "resets" else np.minimum(v, T) if k == "lengths" else v
                       for k, v in program.options.items()}  # fmt: skip
            yield replace(program, inputs=cut, options=options)
    for name, given in program.inputs.items():
        for axis, size in enumerate(given.array.shape):
            if size > 1:
                array = np.take(given.array, range(size - 1), axis=axis)
                yield replace(program, inputs={**program.inputs, name: replace(given, array=array)})


def _cut(array: Any, size: int, smaller: int) -> Any:
    if not isinstance(array, np.ndarray):
        return array
    return array[tuple(slice(smaller if n == size else n) for n in array.shape)]


def simpler_inputs(program: Program) -> Iterator[Program]:
    """Inputs without gradients, and with simpler numbers."""
    for name, given in program.inputs.items():
        if given.grad and given.array.dtype.kind == "f":
            yield replace(program, inputs={**program.inputs, name: replace(given, grad=False)})
        if given.array.dtype.kind != "f":
            continue
        steps = np.arange(1, given.array.size + 1).reshape(given.array.shape)
        for array in (np.ones_like(given.array), steps, steps / 2, np.round(given.array), np.round(given.array, 1)):  # fmt: skip
            array = np.asarray(array, given.array.dtype)
            if _simplicity(array) < _simplicity(given.array):
                yield replace(program, inputs={**program.inputs, name: replace(given, array=array)})


def _simplicity(array: Any) -> tuple[int, float]:
    """How long the numbers are, written down."""
    return sum(len(repr(float(v))) for v in array.ravel()), float(np.abs(array).sum())
