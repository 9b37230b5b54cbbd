"""A random program as data, and what it is held to.

A `Program` is its inputs, its lines, each a statement of Python that makes one value, and what it
returns; a cell has states and options of `tg.unroll` besides. So one thing is run plain, compiled,
differentiated twice, printed, made smaller (`_shrink.py`), and kept as a file (`corpus/`).

`hypothesis` was considered. It shrinks and keeps the choices of a generator, so what it has kept
means something else as soon as the generator changes, and where a choice is left out, all that come
after it are read differently. Here the program itself is made smaller and kept, as text that runs.
"""

from __future__ import annotations

import linecache
import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import tests.test_primitives  # noqa: F401  (for the registry: some families are loaded when first used)
import tinygrad_rnn as tg
from tinygrad_rnn.compiler import CompileError
from tinygrad_rnn.core.primitive import REGISTRY
from tinygrad_rnn.core.record import apply

from ._compare import REFUSED, compare, everywhere, outcome

__all__ = ["Found", "Input", "Program", "check", "np", "op", "tg"]

OFFERED: dict[
    str, dict[str, Any]
] = {}  # what programs of a module call besides, by module and name
COMPILED = False  # by LLVM; otherwise generated code is run as Python
SLOPES = "finite differences"  # a kind of `Found`
STEP = 1e-4  # of central differences
NAME = re.compile(r"\b[xcsv]\d+\b")
RAISED = (*REFUSED, TypeError, IndexError, ZeroDivisionError)


def op(name: str, *inputs: Any, **params: Any) -> Any:
    """An operation by its name in the registry, on what its shape rule takes."""
    entry = REGISTRY[name]
    if not entry.elementwise:
        given = [tg.Spec(x.shape, x.dtype) if hasattr(x, "dtype") else x for x in inputs]
        entry.shape(*given, **{**entry.defaults, **params})
    return apply(entry, inputs, {**entry.defaults, **params})


def offer(module: str, **values: Any) -> None:
    """Let programs call what a module has, by these names."""
    OFFERED[module] = values


def helpers(module: str) -> dict[str, Any]:
    """What a module offers."""
    return OFFERED.get(module, {})


@dataclass(frozen=True)
class Input:
    """An array that a program is given.

    Attributes
    ----------
    array : ndarray
    grad : bool
        Whether it requires a gradient, if it is of floating numbers.
    role : {"given", "outside", "state"}
        An argument (of a cell: a sequence, time first), what the program closes over, or the first
        state of a cell, in the order of their names.
    """

    array: np.ndarray[Any, Any]
    grad: bool = True
    role: str = "given"

    def tensor(self, array: Any = None) -> tg.Tensor:
        """A new tensor of it, or of other numbers."""
        array = np.array(self.array if array is None else array)
        return tg.tensor(array, requires_grad=self.grad and array.dtype.kind == "f")

    def __str__(self) -> str:
        values = np.array2string(self.array, separator=", ", threshold=10_000, floatmode="unique")
        values = re.sub(r"\b(nan|inf)\b", r"np.\1", values.replace("\n", ""))
        empty = "" if self.array.size else f".reshape({self.array.shape})"
        array = f"np.array({values}, {str(self.array.dtype)!r}){empty}"
        rest = "" if self.grad else ", grad=False"
        return f"Input({array}{rest}{'' if self.role == 'given' else f', role={self.role!r}'})"


@dataclass(frozen=True)
class Program:
    """A function of tensors, or a step that is unrolled.

    Attributes
    ----------
    inputs : dict of str to Input
    lines : tuple of (str, str)
        The name that a line makes, and its text.
    results : tuple of str
    states : dict of str to str
        Of a cell: from each state to the value that it has after the step.
    options : dict or None
        Of a cell: those of `tg.unroll`. None: a function.
    limited : bool
        See `check`.
    home : str
        The module whose functions it may call; see `offer`.
    """

    inputs: dict[str, Input]
    lines: tuple[tuple[str, str], ...]
    results: tuple[str, ...]
    states: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] | None = None
    limited: bool = False
    home: str = ""

    def with_role(self, role: str) -> list[str]:
        """The names of the inputs of a role, in order."""
        return [name for name, given in self.inputs.items() if given.role == role]

    @property
    def source(self) -> str:
        """The function, as Python."""
        body = [text for _, text in self.lines]
        results = "".join(f"{name}, " for name in self.results)
        if self.options is None:
            head = f"def f({', '.join(self.with_role('given'))}):"
            body.append(f"return ({results})")
        else:
            head = "def f(x, s):"
            unpacked = [f"({', '.join(names)},) = {of}" for of, names in
                        (("x", self.with_role("given")), ("s", self.with_role("state"))) if names]  # fmt: skip
            states = "".join(f"{name}, " for name in self.states.values())
            body = [*unpacked, *body, f"return ({results}), ({states})"]
        return "\n".join([head, textwrap.indent("\n".join(body), "    ")]) + "\n"

    def function(self) -> Callable[..., Any]:
        """The function, in a scope of its own."""
        scope: dict[str, Any] = {"tg": tg, "np": np, "op": op, **helpers(self.home)}
        text, name = self.source, f"<program {id(self)}>"
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        exec(compile(text, name, "exec"), scope)
        found: Callable[..., Any] = scope["f"]
        return found

    def __str__(self) -> str:
        inputs = "".join(f"    {name!r}: {given},\n" for name, given in self.inputs.items())
        options = "" if self.options is None else f", options={written(self.options)}"
        options += ", limited=True" if self.limited else ""
        used = sorted(set(re.findall(r"\w+", self.source)) & helpers(self.home).keys())
        more = f"from {self.home} import {', '.join(used)}\n" if used else ""
        return (
            f"from tests.fuzz._program import Input, check, np, op, tg\n{more}\ninputs = {{\n{inputs}}}\n\n\n"
            f"{self.source}\n\ncheck(f, inputs{options})\n"
        )


def written(value: Any) -> str:
    """A parameter, as Python."""
    if isinstance(value, np.ndarray):
        return f"np.array({value.tolist()}, {str(value.dtype)!r})"
    if isinstance(value, np.dtype):
        return f"np.dtype({str(value)!r})"
    if isinstance(value, type):
        return f"np.{value.__name__}" if issubclass(value, np.generic) else value.__name__
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k!r}: {written(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (tuple, list)):
        inner = "".join(f"{written(v)}, " for v in value)
        return f"({inner})" if isinstance(value, tuple) else f"[{inner}]"
    return "..." if value is Ellipsis else repr(value)


class Found(AssertionError):
    """A program that does not do what it should.

    Attributes
    ----------
    kind : str
        "values", "finite differences" or the name of an error.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


def results(f: Any, inputs: Mapping[str, Input], options: Any, arrays: Mapping[str, Any], fast: bool, order: int) -> Any:  # fmt: skip
    """What a program gives for these arrays: see `_compare.outcome`."""
    tensors = {name: given.tensor(arrays[name]) for name, given in inputs.items()}
    parts = {role: [tensors[n] for n, given in inputs.items() if given.role == role]
             for role in ("given", "outside", "state")}  # fmt: skip
    f.__globals__.update({n: tensors[n] for n, g in inputs.items() if g.role == "outside"})
    cell = tg.jit(f) if fast else f
    if options is None:
        return outcome(cell, parts["given"], parts["outside"], 0, order)

    def unrolled(*given: Any) -> Any:
        count = len(parts["given"])
        return tg.unroll(cell, given[:count], tuple(given[count:]), **options)

    found = outcome(unrolled, [*parts["given"], *parts["state"]], parts["outside"], 0, order)
    # where a row ends the state before goes on, so whether a state has gradients may differ
    return "unrolled", found[1]


def check(
    f: Callable[..., Any],
    inputs: Mapping[str, Input],
    *,
    options: Mapping[str, Any] | None = None,
    limited: bool = False,
    compiled: bool | None = None,
) -> str:
    """Compare a program plain and compiled, and its derivatives with finite differences.

    Parameters
    ----------
    f : function
        What it closes over is put into its module.
    inputs : dict of str to Input
    options : dict, optional
        Of `tg.unroll`, if it is a step.
    limited : bool
        Whether loops are in blocks, as those of large arrays; see `_compare.everywhere`.
    compiled : bool, optional
        By LLVM or as Python; by default as `COMPILED` says.

    Returns
    -------
    str
        "equal", or "refused" if the plain program raises an error or the compiler refuses it.

    Raises
    ------
    Found
    """
    arrays = {name: given.array for name, given in inputs.items()}

    def run(values: Mapping[str, Any], fast: bool = False, order: int = 2) -> Any:
        return results(f, inputs, options, values, fast, order)

    with np.errstate(all="ignore"):
        try:
            expected = run(arrays)
        except RAISED:
            return "refused"
        with everywhere(COMPILED if compiled is None else compiled, limited):
            try:
                found = run(arrays, fast=True)
            except CompileError as error:
                if "compiler's" not in str(error):
                    return "refused"
                raise Found("CompileError", str(error)) from error
            except Exception as error:
                raise Found(type(error).__name__, str(error)) from error
        problems = compare(found, expected, [], False)
        if problems:  # unless the last digit of an input decides
            near = [run(nudged(arrays, seed))[1] for seed in (1, 2)]
            problems = compare(found, expected, near, False)
        if problems:
            raise Found("values", "\n".join(problems[:3]))
        if problem := slopes(run, inputs, expected[1]):
            raise Found(SLOPES, problem)
    return "equal"


def nudged(arrays: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The same arrays with other last digits."""
    rng = np.random.default_rng(seed)
    return {name: a * (1 + 4 * np.finfo(a.dtype).eps * rng.choice([-1, 1], a.shape)).astype(a.dtype)
            if a.dtype.kind == "f" else a for name, a in arrays.items()}  # fmt: skip


def slopes(run: Callable[..., Any], inputs: Mapping[str, Input], found: list[tuple[str, Any]]) -> str:  # fmt: skip
    """What is wrong with first and second derivatives along one direction, if anything.

    A difference is believed only if a step of half the length gives the same.
    """
    if any(given.array.dtype == np.float32 for given in inputs.values()):
        return ""  # too coarse
    moving = {n: inputs[n] for role in ("given", "state", "outside") for n in inputs
              if inputs[n].role == role and inputs[n].grad and inputs[n].array.dtype.kind == "f"}  # fmt: skip
    rng = np.random.default_rng(5)
    way = {n: rng.uniform(-1, 1, given.array.shape) for n, given in moving.items()}
    shapes = [a.shape for a in way.values()]

    def scalars(h: float) -> Any:
        """The sums of results and of gradients, a step in that direction away."""
        values = {n: g.array + h * way[n] if n in way else g.array for n, g in inputs.items()}
        at = run(values, order=1)[1]
        return np.array([total(at, word, shapes) for word in ("result", "gradient")])

    steps = [scalars(h) for h in (STEP, -STEP, STEP / 2, -STEP / 2)]
    first, second = (steps[0] - steps[1]) / (2 * STEP), (steps[2] - steps[3]) / STEP
    for which, word in enumerate(("gradient", "second gradient")):
        gradients = [a for name, a in found if name.startswith(f"{word} ")]
        parts = [(w * a).sum() for w, a in zip(way.values(), gradients, strict=True) if a is not None]  # fmt: skip
        sizes = [np.abs(w * a).sum() for w, a in zip(way.values(), gradients, strict=True) if a is not None]  # fmt: skip
        exact, spread = float(sum(parts)), float(abs(first - second)[which])
        near = float((4 * second - first)[which]) / 3
        noise = 1e-11 * (max(abs(s[which]) for s in steps) + 1) / STEP + 1e-6 * float(sum(sizes))
        if not np.isfinite([exact, near, spread]).all() or spread > 1e-3 * (abs(near) + 1e-3):
            continue  # a kink, or a jump
        if abs(exact - near) > 20 * spread + noise + 1e-6 * abs(near):
            short = STEP / 100  # stairs look like a slope from afar
            close = (scalars(short) - scalars(-short))[which] / (2 * short)
            if abs(close - near) > 0.01 * abs(near - exact) + 100 * noise:
                continue
            return f"{word}s along a direction: {exact} in place of {near}"
    return ""


def total(at: list[tuple[str, Any]], word: str, shapes: list[tuple[int, ...]]) -> float:
    """The sum of the results, or of the gradients, with the weights of `_compare.outcome`."""
    rng = np.random.default_rng([0, 3])
    given = [(rng.normal(size=np.shape(a)), a) for name, a in at if name.startswith("result")]
    if word == "gradient":
        gradients = [a for name, a in at if name.startswith("gradient")]
        given = [(rng.normal(size=s), a) for s, a in zip(shapes, gradients, strict=True)]
    return float(sum((w * a).sum() for w, a in given if a is not None and a.dtype.kind == "f"))
