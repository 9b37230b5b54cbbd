"""The texts that the compiler makes of cells and functions, without compiling them.

This is the only file of this folder that reaches into the package. What numba would be given is
caught where the package asks for it; whatever is handed over beside the text (tables of places,
sizes, numbers) is written below it.
"""

from __future__ import annotations

import collections
import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar
from unittest import mock

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn.compiler import straight
from tinygrad_rnn.compiler.host import HostProgram
from tinygrad_rnn.compiler.runner import Runner
from tinygrad_rnn.core.primitive import LARGE, Primitive, Spec
from tinygrad_rnn.core.record import apply
from tinygrad_rnn.core.trace import trace
from tinygrad_rnn.kernels import identity, products, runtime
from tinygrad_rnn.loops.elementwise import ElementwiseKernel, LargeRule, dispatching

from .canonical import digest

# texts by name: of a cell "in place" and "shared", of a function "forward" and "backward"
Texts = dict[str, str]
# what a program raises that cannot be run or compiled
REFUSED = (tg.TinygradError, TypeError, ArithmeticError, ValueError)


class _Reached(BaseException):
    """The generated code would have been run now."""


class _Uncompiled:
    """In place of a compiled module: its functions end the run in which they are called."""

    addresses: ClassVar[dict[str, int]] = collections.defaultdict(int)

    def __getattr__(self, name: str) -> Any:
        def stop(*args: Any) -> None:
            raise _Reached

        return stop


@contextlib.contextmanager
def _uncompiled() -> Iterator[list[str]]:
    """Within, nothing is compiled or run; gives the list of the texts that would have been compiled."""
    found: list[str] = []
    identity._check()  # guards compare by code that is no cell's

    def load(source: str) -> Any:
        found.append(f"{source}\ndistinct = False\n")
        return _Uncompiled()

    def native(source: str, translation: Any) -> Any:
        found.append(f"{source}\ndistinct = True\n")
        return _Uncompiled()

    with (
        mock.patch.object(runtime, "load", load),
        mock.patch.object(runtime, "native", native),
        mock.patch.object(products, "library", lambda dtype: None),
        mock.patch.object(straight, "ROOM", -1),  # the lines of programs are what is recorded
        mock.patch.object(runtime, "available", lambda: True),
        warnings.catch_warnings(),
        contextlib.suppress(_Reached),
    ):
        warnings.simplefilter("ignore")
        yield found


def of_sequence(cell: Callable[..., Any], run: Callable[[Any], Any]) -> Texts:
    """Return the texts of the module with which a cell runs a sequence.

    `run` unrolls the compiled cell that it is given. "in place" has every loop where it is run;
    "shared" is what is compiled. A cell that the compiler refuses has the one text "refused".
    """
    fast = tg.jit(cell)
    with _uncompiled() as compiled:
        try:
            run(fast)
        except REFUSED:
            return {"refused": ""}
    runner: Runner = next(iter(fast._code.runners.values()))
    tables = "".join(
        f"tables_of_{which} = {[_described(t) for t in function.tables]}\n"
        for which, function in runner.code.functions.items()
    )
    return {"in place": runner.source + tables, "shared": compiled[0]}


def of_function(function: Callable[..., Any], run: Callable[[Any], Any]) -> Texts:
    """Return the texts of a function: those of its forward and of its backward program.

    `run` calls the compiled function that it is given. Each text is the program that calls NumPy
    and the loop nests, and after it the loop nests. A function that the compiler refuses has the
    one text "refused".
    """
    fast = tg.jit(function)
    with _uncompiled(), np.errstate(all="ignore"):
        try:
            run(fast)
        except REFUSED:
            return {"refused": ""}
    recording = next(iter(fast._programs.values()))
    programs = {"forward": recording._forward, "backward": recording._backward}
    return {name: _of_program(made) for name, made in programs.items() if made is not None}


def _of_program(program: HostProgram) -> str:
    """Return the text of a host program, with what its names stand for, and of its loop nests."""
    signature, _, body = program._text(None).partition("\n")
    given = [
        f"    {name} = {_described(value)!r}\n"
        for name, value in program._scope.items()
        if not callable(value)
    ]
    nests = []
    for k, kernel in enumerate(program.kernels):
        text = kernel.text().text.replace("def kernel(", f"def kernel{k}(")
        sizes, numbers = kernel.lifted.sizes.tolist(), _described(kernel.lifted.numbers)
        nests.append(f"{text}\nof_kernel{k} = {sizes}, {numbers!r}\n")
    return "\n".join([signature, "".join(given) + body, *nests])


def _described(value: Any) -> Any:
    """Return what identifies a value that is given to the code: the dtype, shape and hash of an array."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.dtype.name, value.shape, digest(repr(value.tolist()))
    return repr(value)


# --- elementwise kernels --------------------------------------------------------------------------

# makes an array for the number of an operand, and whether that is a condition
_Make = Callable[[int, bool], Any]


def _is_condition(primitive: Primitive, place: int) -> bool:
    return place not in range(len(primitive.inputs))[primitive.promotes]


def of_forward(primitive: Primitive, params: dict[str, Any]) -> Texts:
    """Return the kernels of an elementwise operation: for each dtype, of like arrays and of rows."""
    return _kernels(
        lambda: dispatching(primitive, primitive.forward, 1),
        lambda make: [make(k, _is_condition(primitive, k)) for k in range(len(primitive.inputs))],
        params,
    )


def of_rule(primitive: Primitive, position: int, params: dict[str, Any]) -> Texts:
    """Return the kernels of the derivative rule of an input, as `of_forward` does."""
    params = primitive.defaults | params
    count = len(primitive.inputs)
    specs = [Spec((2, 2)) for _ in range(count)]
    node = trace(lambda *xs: apply(primitive, xs, params), *specs).nodes[0]
    rule = primitive.rules[position]
    assert rule is not None

    def values(make: _Make) -> list[Any]:
        g, out = make(0, False), make(1, False)
        if rule.pick is None:
            return [g]
        saved = (out, *(make(k, _is_condition(primitive, k)) for k in range(count)))
        return [g, *rule.pick((*saved, node, *node.inputs, *node.params.values(), position))]

    return _kernels(lambda: LargeRule(rule.function), values, {})


def of_elementwise(function: Callable[..., Any], count: int) -> Texts:
    """Return the kernels of a function of the user's with so many inputs, as `of_forward` does."""
    return _kernels(
        lambda: ElementwiseKernel(trace(function, *[Spec(()) for _ in range(count)])),
        lambda make: [make(k, False) for k in range(count)],
        {},
    )


def _kernels(
    made: Callable[[], Callable[..., Any]],
    values: Callable[[_Make], Sequence[Any]],
    params: dict[str, Any],
) -> Texts:
    size = 2 * LARGE
    found: Texts = {}
    for dtype in (np.float32, np.float64):

        def like(k: int, condition: bool, dtype: Any = dtype) -> Any:
            return np.ones((2, size), np.bool_ if condition else dtype)

        def of_rows(k: int, condition: bool, dtype: Any = dtype) -> Any:
            """Every second one is the same throughout a row."""
            kind = np.bool_ if condition else dtype
            return np.ones((2, 1), kind) if k % 2 else np.ones((2, size + 1), kind)[:, 1:]

        for name, make in (("like", like), ("rows", of_rows)):
            with _uncompiled() as compiled, np.errstate(all="ignore"):
                made()(*values(make), **params)
            found[f"{np.dtype(dtype).name} {name}"] = "\n".join(compiled)
    return found
