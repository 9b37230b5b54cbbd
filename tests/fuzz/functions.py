"""Random functions of tensors, plain and by `tg.jit`.

A program is text: lines that are found one by one, each an operation on what stands before it, kept
if the plain operation takes these operands. So a failure shows the function as it would be written.
Half of the operations look at the same memory in another way (slices, transposes, reshapes,
repetitions, in any order), since there the compiler has the most to keep apart.

Most cases have ordinary numbers, and errors are measured by how much the result changes if the
inputs change in their last digit. Some have short programs on zeros of both signs, infinities, nan
and ties, where each element has to be the same.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_rnn as tg

from ._compare import REFUSED, compare, everywhere, outcome
from ._program import Input, Program, helpers, offer
from ._shrink import smallest

LARGEST = 72  # elements of a value
SPECIAL = (
    0.0,
    -0.0,
    math.inf,
    -math.inf,
    math.nan,
    1.0,
    -1.0,
    0.5,
    -0.5,
    2.0,
    -2.0,
    3.0,
    -1.0,
    0.0,
)
INTEGERS = ("np.int64", "np.int32", "np.int8", "np.uint8", "np.int16", "np.uint32", "np.uint64")
LITERALS = (
    "2",
    "3",
    "-1",
    "0",
    "1",
    "0.5",
    "-0.7",
    "1.5",
    "True",
    "7",
    "-2.0",
    "0.0",
    "-0.0",
    "100",
)

UNARY = (
    "tg.tanh({a})", "tg.sigmoid({a})", "tg.exp(0.3 * {a})", "tg.sqrt({a} * {a} + 0.7)", "-{a}", "{a} ** 2", "{a} ** 3", "tg.relu({a})",
    "tg.softplus({a})", "tg.gelu({a})", "tg.silu({a})", "tg.clip({a}, -0.5, 0.9)", "tg.clip({a}, None, 0.4)", "tg.clip({a}, -1, 2)", "1.3 - {a}",
    "tg.abs({a})", "tg.sin({a})", "tg.cos({a})", "{a} / 1.7", "1.0 / ({a} * {a} + 1.0)", "tg.log({a} * {a} + 1.1)", "tg.leaky_relu({a}, 0.2)", "tg.elu({a})",
    "tg.stop_gradient({a}) * {a}", "({a} > 0.1).astype(F) * {a}", "tg.log1p(tg.abs({a}))", "tg.expm1({a} * 0.5)", "tg.erf({a})", "tg.square({a})",
    "tg.log_sigmoid({a})", "tg.hard_sigmoid({a})", "tg.sign({a})", "tg.floor({a} * 3.0)", "tg.mod({a}, 1.3)", "{a} % -0.9", "tg.reciprocal({a} + 5.0)",
    "tg.zeros_like({a}) + 1.0", "{a} * 0", "{a} + 0", "0.0 - {a}", "{a} * 1", "{a} ** 0.5", "abs({a}) ** 0.5", "(abs({a}) + 0.2) ** -1.5", "{a} ** 1", "{a} ** 0",
    "tg.checkpoint(lambda v: tg.tanh(v) * v, {a})", "tg.stack([{a}, {a} * 2.0]).sum(0)", "2.0 ** {a}", "{a} ** 4", "{a} ** -1", "{a} - {a}", "{a} * {a}", "+{a}", "swish({a})", "doubled({a})", "inner({a})",
)  # fmt: skip
EXACT = (  # whose results are the same to the last digit, or nearly so, whatever computes them
    "-{a}", "tg.relu({a})", "tg.clip({a}, -0.5, 0.9)", "tg.clip({a}, 0.0, None)", "tg.clip({a}, -0.0, 1)", "tg.abs({a})", "tg.sign({a})", "tg.floor({a})", "{a} * 0", "{a} + 0",
    "{a} * 1", "0.0 - {a}", "0 - {a}", "{a} ** 0.5", "{a} ** 2", "{a} ** 3", "{a} ** 4", "{a} ** -1", "{a} ** 0", "{a} ** 1.5", "{a} ** -2", "{a} ** -0.5", "tg.square({a})",
    "tg.sqrt({a})", "tg.exp({a})", "tg.log({a})", "tg.log1p({a})", "tg.expm1({a})", "tg.tanh({a})", "tg.sigmoid({a})", "tg.reciprocal({a})", "1 / {a}", "{a} / 2", "tg.mod({a}, 2)",
    "{a} % -0.5", "2 % {a}", "2.0 ** {a}", "tg.leaky_relu({a}, 0.5)", "tg.elu({a})", "tg.hard_sigmoid({a})", "tg.softplus({a})", "tg.log_sigmoid({a})", "tg.silu({a})", "tg.gelu({a})",
    "tg.erf({a})", "{a} * {a}", "{a} - {a}", "tg.isnan({a})", "tg.isfinite({a})", "tg.where(tg.isfinite({a}), {a}, 0.0)", "tg.where({a} > 0, {a}, 0.0)", "tg.logical_not({a})",
    "({a} >= 0).astype(F)", "tg.zeros_like({a})", "{a}.astype(bool)", "-{a} + -0.0", "{a} + -0.0", "{a} - 0.0", "{a} * -1.0", "tg.sin({a} * 0.5)", "tg.stop_gradient({a})",
)  # fmt: skip
BINARY = (
    "{a} + {b}", "{a} - {b}", "{a} * {b}", "{a} / ({b} * {b} + 1.2)", "tg.maximum({a}, {b})", "tg.minimum({a}, {b})", "tg.logaddexp({a}, {b})",
    "tg.where({a} > {b}, {a}, 0.5 * {b})", "tg.where(tg.logical_and({a} < 0.3, {b} > -0.2), {a} * {b}, {a})", "tg.where({a} > {b}, 1.0, {b})",
    "tg.mod({a}, {b} * {b} + 0.5)", "(tg.abs({a}) + 0.3) ** {b}", "{a} * tg.stop_gradient({b})", "pair({a}, {b})",
)  # fmt: skip
EXACT_BINARY = (
    "{a} + {b}", "{a} - {b}", "{a} * {b}", "{a} / {b}", "tg.maximum({a}, {b})", "tg.minimum({a}, {b})", "tg.logaddexp({a}, {b})", "tg.where({a} > {b}, {a}, {b})",
    "{a} % {b}", "{a} ** {b}", "{a} == {b}", "{a} != {b}", "{a} <= {b}", "tg.where({a} == {b}, {b}, -{a})", "tg.logical_or({a}, {b})", "tg.where({a}, {b}, {a})",
)  # fmt: skip
DISCRETE = (
    "{a} + {b}", "{a} - {b}", "{a} * {b}", "{a} / {b}", "tg.maximum({a}, {b})", "tg.minimum({a}, {b})", "{a} % {b}", "{a} == {b}", "{a} != {b}", "{a} < {b}", "{a} <= {b}", "{a} > {b}",
    "{a} >= {b}", "{a} & {b}", "{a} | {b}", "{a} ^ {b}", "tg.logical_and({a}, {b})", "tg.logical_or({a}, {b})", "tg.where({a}, {b}, {a})", "tg.where({a} > {b}, {a}, {b})", "{a} ** {b}",
    "tg.where({a} > {b}, {a}, {l})", "tg.where({a} > 0, {l}, {m})", "{a} + {l}", "{l} - {a}", "{a} * {l}", "{a} % {l}", "{l} % {a}", "{a} / {l}", "{a} ** {l}", "{l} ** {a}", "tg.maximum({a}, {l})",
    "tg.minimum({l}, {a})", "{a} > {l}", "{a} == {l}", "-{a}", "+{a}", "~{a}", "abs({a})", "tg.sign({a})", "tg.square({a})", "tg.relu({a})", "tg.clip({a}, 0, 5)", "tg.clip({a}, -1.5, 1)", "tg.sqrt({a})",
    "tg.exp({a})", "tg.floor({a})", "tg.zeros_like({a})", "tg.logical_not({a})", "tg.isnan({a})", "tg.isfinite({a})", "tg.stop_gradient({a})", "tg.leaky_relu({a})", "tg.reciprocal({a})",
)  # fmt: skip


class Written:
    """A random program: its inputs, what it closes over, and its text."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = np.random.default_rng([seed, 1])
        self.limited = seed % 3 == 0
        self.special = rng.random() < 0.25
        self.whole = rng.random() < 0.15  # mostly integers and booleans
        self.dtype = np.float32 if rng.random() < 0.5 else np.float64
        self.lines: list[str] = []
        self.pool: dict[str, tg.Tensor] = {}
        # from the dtype and the number of a set of values to the tensor
        self.inputs: dict[str, Callable[[Any, int], Any]] = {}
        self.outside: dict[str, Callable[[Any, int], Any]] = {}
        self.grad = {name: rng.random() < 0.8 for name in ("x0", "x1", "x2", "c0", "c1")}
        for k in range(1 + int(rng.integers(3))):
            self._given(
                self.inputs,
                f"x{k}",
                seed + k,
                self._shape(),
                "f"
                if rng.random() < (0.2 if self.whole else 0.72)
                else "i"
                if rng.random() < 0.7
                else "b",
            )
        for k in range(int(rng.integers(3))):
            self._given(
                self.outside,
                f"c{k}",
                seed + 10 + k,
                self._shape(),
                "f" if rng.random() < 0.85 else "i",
            )
        self.scope = self.closed_over(self.dtype)
        self.pool |= {name: make(self.dtype, 0) for name, make in self.inputs.items()}
        self.pool |= {name: self.scope[name] for name in self.outside}
        wanted = int(rng.integers(1, 5)) if self.special else int(rng.integers(3, 15))
        for _ in range(wanted * 4):
            if len(self.lines) >= wanted:
                break
            self._line()
        self._finish()

    # --- what is given ------------------------------------------------------------------------------------------------------------

    def _shape(self) -> tuple[int, ...]:
        rng = self.rng
        while True:
            shape = tuple(
                int(n)
                for n in rng.choice(
                    [0, 1, 2, 3, 4, 5, 6],
                    p=[0.02, 0.13, 0.2, 0.25, 0.2, 0.1, 0.1],
                    size=rng.choice(5, p=[0.07, 0.2, 0.4, 0.25, 0.08]),
                )
            )
            if math.prod(shape) <= LARGEST:
                return shape

    def _given(
        self, where: dict[str, Any], name: str, seed: int, shape: tuple[int, ...], kind: str
    ) -> None:
        """An input or a tensor outside.

        Some are views of larger ones, as they come from other work.
        """
        integer = INTEGERS[int(self.rng.integers(len(INTEGERS)))]
        how, grad, special = int(self.rng.integers(8)), self.grad.get(name, True), self.special
        ordinary = self.rng.random() < 0.3

        def make(dtype: Any, number: int) -> Any:
            """One of two sets of values.

            The numbers from 10 on stand for the same sets, with changes in the last digit.
            """
            rng = np.random.default_rng([seed, number % 10, 2])
            full = {
                0: shape[::-1],
                1: tuple(2 * n for n in shape),
                2: (2, *shape),
                3: (*shape, 3),
            }.get(how, shape)
            if kind == "f":
                a: Any = (
                    rng.choice(SPECIAL, size=full)
                    if special and not ordinary
                    else rng.normal(size=full)
                )
                last = (
                    4
                    * np.finfo(dtype).eps
                    * np.random.default_rng([seed, number]).choice([-1, 1], size=full)
                )
                a = np.asarray(a * (1 + last) if number >= 10 else a).astype(dtype)
            elif kind == "i":
                a = rng.integers(-5, 9, size=full).astype(eval(integer))
                ends = np.iinfo(a.dtype)  # beyond which numbers wrap around
                a = (
                    rng.choice(
                        np.array([ends.min, ends.max, 0, 1, 2, 3, ends.max - 1], a.dtype), size=full
                    )
                    if special and not ordinary
                    else a
                )
            else:
                a = rng.random(size=full) < 0.5
            t = tg.tensor(a)
            if how < 4:
                t = {
                    0: lambda: t.T,
                    1: lambda: t[tuple([slice(None, None, -2)] * len(shape))],
                    2: lambda: t[1],
                    3: lambda: t[..., 1],
                }[how]().detach()
            if kind == "f" and grad:
                t.requires_grad = True
            return t

        where[name] = make

    def closed_over(self, dtype: Any, number: int = 0) -> dict[str, Any]:
        """The names that the text uses besides its inputs."""
        scope = {"tg": tg, "np": np, "F": dtype, **helpers(__name__)}
        for name, make in self.outside.items():
            scope[name] = make(dtype, number)
        if "c1" in scope and scope["c1"].dtype.kind == "f":
            scope["c1"] = tg.tanh(scope["c1"]) * 0.5  # computed, with a history of its own
        return scope

    # --- lines --------------------------------------------------------------------------------------------------------------------

    def _pick(
        self, test: Callable[[Any], bool] = lambda t: True, recent: bool = True
    ) -> str | None:
        names = [n for n, t in self.pool.items() if test(t)]
        if recent and self.rng.random() < 0.7:
            names = names[-4:]
        return names[int(self.rng.integers(len(names)))] if names else None

    def _line(self) -> None:
        rng = self.rng
        kinds: list[tuple[float, Callable[[], str | None]]] = [
            (0.34, self._view), (0.17, self._unary), (0.17, self._binary), (0.12, self._reduction), (0.05, self._joined), (0.05, self._indexed),
            (0.04, self._product), (0.6 if self.whole else 0.06, self._discrete), (0.03, self._cast), (0.02, self._assigned),
        ]  # fmt: skip
        weights = np.array([w for w, _ in kinds])
        text = kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))][1]()
        if text is None:
            return
        name = f"v{len(self.lines)}"
        lines = text if "\n" in text else f"{name} = {text}"
        lines = lines.replace("@NAME", name)
        scope = {**self.scope, **self.pool}
        try:
            with np.errstate(all="ignore"):
                exec(lines, scope)
        except (*REFUSED, TypeError, IndexError, ZeroDivisionError):
            return  # which the plain operations do not take, either
        made = scope[name]
        if (
            not isinstance(made, tg.Tensor)
            or made.size > LARGEST
            or (not self.special and made.dtype.kind == "f" and _wild(made))
        ):
            return
        self.lines.append(lines)
        self.pool[name] = made

    def _view(self) -> str | None:
        """Another look at a value, or several one after the other."""
        rng = self.rng
        a = self._pick(lambda t: t.size > 0 or rng.random() < 0.1)
        if a is None:
            return None
        text, shape = a, list(self.pool[a].shape)
        for _ in range(int(rng.choice([1, 2, 3, 4], p=[0.45, 0.3, 0.15, 0.1]))):
            found = self._look(text, shape)
            if found is None:
                break
            text, shape = found
        return text if text != a else None

    def _look(self, a: str, shape: list[int]) -> tuple[str, list[int]] | None:
        rng, n = self.rng, len(shape)
        probe = np.broadcast_to(np.zeros(()), shape)
        choice = int(rng.integers(11))
        if choice == 0:
            text = "{a}.T"
        elif choice == 1 and n:
            text = f"{{a}}.transpose({tuple(int(k) for k in rng.permutation(n))})"
        elif choice in (2, 3):
            text = f"{{a}}.reshape({self._shape_of(math.prod(shape))})"
        elif choice in (4, 5) and n:
            text = f"{{a}}[{self._index(shape)}]"
        elif choice == 6 and n:
            text = (
                f"tg.flip({{a}}, {int(rng.integers(n))})" if rng.random() < 0.7 else "tg.flip({a})"
            )
        elif choice == 7:
            at = int(rng.integers(n + 1))
            text, probe = f"tg.expand_dims({{a}}, {at})", np.expand_dims(probe, at)
        elif choice == 8 and 1 in shape:
            text, probe = "tg.squeeze({a})", np.squeeze(probe)
        elif choice == 9:
            wide = [int(rng.integers(1, 4)) if m == 1 else m for m in shape]
            wide = [int(rng.integers(1, 4))] * int(rng.integers(2)) + wide
            text = f"tg.broadcast_to({{a}}, {tuple(wide)})"
        elif n > 1:
            i, j = (int(k) for k in rng.integers(-n, n, size=2))
            text = f"tg.swapaxes({{a}}, {i}, {j})"
        else:
            return None
        try:
            with np.errstate(all="ignore"):
                shape = list(
                    eval(
                        text.format(a="probe"),
                        {"tg": tg, "probe": tg.tensor(np.zeros(shape)), "np": np},
                    ).shape
                )
        except (tg.TinygradError, IndexError):
            return None
        return (text.format(a=a), shape) if math.prod(shape) <= LARGEST else None

    def _shape_of(self, size: int) -> tuple[int, ...]:
        """A random shape with so many elements."""
        rng, shape, rest = self.rng, [], size
        while rest > 1 and rng.random() < 0.85 and len(shape) < 4:
            factors = [k for k in range(2, rest + 1) if rest % k == 0]
            shape.append(int(rng.choice(factors)))
            rest //= shape[-1]
        shape += [rest] if rest != 1 else []
        if rng.random() < 0.2:
            shape.insert(int(rng.integers(len(shape) + 1)), 1)
        if shape and size and rng.random() < 0.3:
            shape[int(rng.integers(len(shape)))] = -1
        return tuple(shape)

    def _index(self, shape: list[int]) -> str:
        """A basic index."""
        rng, parts = self.rng, []
        for n in shape[: int(rng.integers(1, len(shape) + 1))]:
            kind = rng.random()
            if kind < 0.2 and n:
                parts.append(str(int(rng.integers(-n, n))))
            elif kind < 0.4:
                parts.append(":")
            else:
                start, stop = (
                    "" if rng.random() < 0.4 else str(int(rng.integers(-n - 1, n + 1)))
                    for _ in range(2)
                )
                parts.append(f"{start}:{stop}:{int(rng.choice([1, 1, 2, 3, -1, -1, -2]))}")
        if rng.random() < 0.2:
            parts.insert(int(rng.integers(len(parts) + 1)), "None")
        if rng.random() < 0.2:
            parts.insert(int(rng.choice([0, len(parts)])), "...")
        return ", ".join(parts)

    def _unary(self) -> str | None:
        a = self._pick(lambda t: t.dtype.kind == "f")
        if a is None:
            return None
        texts = EXACT if self.special else UNARY
        return texts[int(self.rng.integers(len(texts)))].format(a=a)

    def _binary(self) -> str | None:
        a = self._pick(lambda t: t.dtype.kind == "f")
        b = (
            None
            if a is None
            else self._pick(
                lambda t: t.dtype.kind == "f" and _fits(t.shape, self.pool[a].shape), recent=False
            )
        )
        if a is None or b is None:
            return None
        a, b = (a, b) if self.rng.random() < 0.5 else (b, a)
        texts = EXACT_BINARY if self.special else BINARY
        text = texts[int(self.rng.integers(len(texts)))]
        if self.rng.random() < 0.1:
            b = LITERALS[int(self.rng.integers(len(LITERALS)))]
        return text.format(a=a, b=b)

    def _axes(self, n: int, several: bool = True) -> str:
        rng = self.rng
        if n == 0:
            return str(rng.choice(["None", "0", "-1"]))
        if several and rng.random() < 0.25:
            return str(
                tuple(
                    int(k) for k in rng.choice(n, size=int(rng.integers(1, n + 1)), replace=False)
                )
            )
        return str(int(rng.integers(-n, n))) if rng.random() < 0.75 else "None"

    def _reduction(self) -> str | None:
        rng = self.rng
        a = self._pick(lambda t: t.dtype.kind == "f" or rng.random() < 0.3)
        if a is None:
            return None
        n = self.pool[a].ndim
        names = ["sum", "max", "min", "any", "all", "argmax", "argmin", "cummax", "cumsum"]
        names += (
            []
            if self.special
            else [
                "sum",
                "sum",
                "mean",
                "mean",
                "logsumexp",
                "norm",
                "var",
                "std",
                "prod",
                "cumprod",
                "softmax",
                "log_softmax",
                "standardised",
            ]
        )
        names += [] if self.special else ["max", "min"]
        name = names[int(rng.integers(len(names)))]
        # in the loop that computes what is reduced
        if self.pool[a].dtype.kind == "f" and rng.random() < 0.5:
            a = f"(-abs({a}))" if self.special else f"({a} * 0.7 - 0.9)"
        if name in ("softmax", "log_softmax", "cummax", "cumsum", "cumprod"):
            return f"tg.{name}({a}, {self._axes(n, several=False).replace('None', '-1')})"
        if name == "standardised":
            return (
                f"({a} - tg.mean({a}, -1, True)) / tg.sqrt(tg.var({a}, -1, keepdims=True) + 0.3)"
                if n
                else None
            )
        return f"tg.{name}({a}, axis={self._axes(n, several=not name.startswith('arg'))}, keepdims={bool(rng.random() < 0.4)})"

    def _joined(self) -> str | None:
        rng = self.rng
        a = self._pick()
        assert a is not None
        shape, kind = self.pool[a].shape, self.pool[a].dtype
        n, choice = len(shape), int(rng.integers(8))
        if choice < 2:
            b = self._pick(lambda t: t.shape == shape and t.dtype == kind, recent=False)
            return f"tg.stack([{a}, {b}{', ' + a if rng.random() < 0.3 else ''}], {int(rng.integers(-n - 1, n + 1))})"
        if n == 0:
            return None
        axis = int(rng.integers(n))
        if choice < 5:
            b = self._pick(
                lambda t: (
                    t.ndim == n
                    and t.dtype == kind
                    and all(t.shape[k] == shape[k] for k in range(n) if k != axis)
                ),
                recent=False,
            )
            return f"tg.concatenate([{b}, {a}], {axis})"
        if choice == 5:
            return f"tg.pad({a}, {[(int(rng.integers(2)), int(rng.integers(3))) for _ in shape]}, {rng.choice([0, 1, -2])})"
        if choice == 6:
            return (
                f"tg.roll({a}, {int(rng.integers(-3, 4))}, {axis if rng.random() < 0.8 else None})"
            )
        parts = [k for k in range(1, shape[axis] + 1) if shape[axis] % k == 0]
        return f"tg.split({a}, {int(rng.choice(parts))}, {axis})[-1]" if parts else None

    def _indexed(self) -> str | None:
        rng = self.rng
        a = self._pick(lambda t: t.ndim > 0 and t.size > 0)
        if a is None:
            return None
        shape, n = self.pool[a].shape, self.pool[a].ndim
        axis = int(rng.integers(n))
        m, choice = shape[axis], int(rng.integers(8))
        numbers = [int(k) for k in rng.integers(-m, m, size=int(rng.integers(1, 4)))]
        lead = ":, " * axis
        if choice == 0:
            return f"{a}[{lead}np.array({numbers})]"
        if choice == 1:
            return f"{a}[{lead}np.array({[bool(k) for k in rng.random(m) < 0.6]})]"
        if choice == 2:
            return f"tg.take({a}, np.array({numbers}), {axis})"
        if choice == 3:
            b = self._pick(lambda t: t.dtype.kind in "iu", recent=False)
            return None if b is None else f"tg.take({a}, {b} % {m}, {axis})"
        if choice == 4:
            return f"tg.take_along_axis({a}, tg.argmax({a}, {axis}, True), {axis})"
        if choice == 5:
            return f"tg.{rng.choice(['tril', 'triu'])}({a}, {int(rng.integers(-1, 2))})"
        if choice == 6:
            b = self._pick(lambda t: t.dtype.kind in "iu", recent=False)
            return None if b is None else f"tg.one_hot({b} % 3, 3, F)"
        return (
            f"{a}[np.array({numbers}), ..., {int(rng.integers(shape[-1]))}]"
            if n > 1 and axis == 0
            else f"{a}[{lead}None, np.array([{numbers}])]"
        )

    def _product(self) -> str | None:
        a = self._pick(lambda t: t.dtype.kind == "f" and t.ndim > 0)
        if a is None:
            return None
        x, choice = self.pool[a], int(self.rng.integers(5))
        if choice < 2:
            b = self._pick(
                lambda t: (
                    t.dtype == x.dtype
                    and t.ndim > 0
                    and t.shape[0 if t.ndim == 1 else -2] == x.shape[-1]
                ),
                recent=False,
            )
            return None if b is None else f"0.5 * ({a} @ {b})"
        if choice == 2:
            b = self._pick(
                lambda t: t.dtype == x.dtype and t.ndim > 0 and t.shape[-1] == x.shape[-1],
                recent=False,
            )
            return (
                None
                if b is None
                else f"0.5 * ({a} @ {b}.T)"
                if self.pool[b].ndim < 3
                else f"{a} @ {b}.swapaxes(-1, -2)"
            )
        if choice == 3 and x.ndim == 2:
            b = self._pick(
                lambda t: t.dtype == x.dtype and t.ndim == 2 and t.shape[0] == x.shape[0],
                recent=False,
            )
            return f"tg.einsum('ab,ac->{self.rng.choice(['cb', 'bc', 'b', 'c'])}', {a}, {b}) * 0.5"
        if x.ndim == 3 and choice == 4:
            return str(
                self.rng.choice(
                    [
                        f"tg.max_pool1d({a}, 2)",
                        f"tg.avg_pool1d({a}, 2, 1)",
                        f"tg.conv1d({a}, {a}[:2, :1, :2].reshape((-1, 1, 2)), groups={x.shape[1]})",
                    ]
                )
            )
        return (
            f"tg.outer({a}, {a})" if x.ndim == 1 else f"tg.einsum('...i,...i->...', {a}, {a}) * 0.5"
        )

    def _discrete(self) -> str | None:
        rng = self.rng
        a = self._pick(lambda t: t.dtype.kind != "f", recent=False)
        b = (
            None
            if a is None
            else self._pick(
                lambda t: (
                    _fits(t.shape, self.pool[a].shape)
                    and (t.dtype.kind != "f" or rng.random() < 0.3)
                ),
                recent=False,
            )
        )
        if a is None or b is None:
            return None
        literals = [LITERALS[int(rng.integers(len(LITERALS)))] for _ in range(2)]
        return DISCRETE[int(rng.integers(len(DISCRETE)))].format(
            a=a, b=b, l=literals[0], m=literals[1]
        )

    def _cast(self) -> str | None:
        a = self._pick()
        to = [*INTEGERS, "bool", "F", "F", "np.float64"]
        if a is None:
            return None
        # beyond the range of the integers C leaves open what comes out
        if self.pool[a].dtype.kind == "f":
            return (
                f"tg.clip({a}, 0.0, 100.0).astype({to[int(self.rng.integers(len(to)))]})"
                if not self.special
                else f"{a}.astype(bool)"
            )
        return f"{a}.astype({to[int(self.rng.integers(len(to)))]})"

    def _assigned(self) -> str | None:
        a = self._pick(lambda t: t.ndim > 0 and t.size > 0)
        if a is None:
            return None
        shape = list(self.pool[a].shape)
        index = self._index(shape)
        b = self._pick(recent=False) if self.rng.random() < 0.5 else str(int(self.rng.integers(4)))
        return f"@NAME = {a} * 1\n@NAME[{index}] = {b}"

    # --- the whole ----------------------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        rng = self.rng
        names = list(self.pool)
        results = [
            names[-1],
            *(names[int(k)] for k in rng.integers(len(names), size=int(rng.integers(0, 4)))),
        ]
        self.results = tuple(dict.fromkeys(results))
        text = ", ".join(results)
        shape = int(rng.integers(8))
        text = {
            0: f"{{'a': ({text},), 'b': [{results[0]}, None, 3]}}",
            1: f"[{text}, 'word', None]",
            2: f"(({text},), 1.5, True)",
        }.get(shape, f"{text}" if len(results) == 1 else f"({text})")
        body = "\n".join(f"    {one}" for whole in self.lines for one in whole.split("\n"))
        self.text = f"def f({', '.join(self.inputs)}):\n{body}\n    return {text}\n"

    def program(self) -> Program:
        """The same as data, but for how arrays lie in memory and how results are nested."""
        scope = self.closed_over(self.dtype)
        inputs = {n: Input(make(self.dtype, 0).numpy(), self.grad[n]) for n, make in self.inputs.items()}  # fmt: skip
        inputs |= {n: Input(scope[n].numpy(), self.grad[n], "outside") for n in self.outside}
        lines = [re.sub(r"\bF\b", f"np.{self.dtype.__name__}", text) for text in self.lines]
        named = tuple((f"v{k}", text) for k, text in enumerate(lines))
        return Program(inputs, named, self.results, limited=self.limited, home=__name__)

    def function(self, scope: dict[str, Any]) -> Callable[..., Any]:
        """The program as a function whose globals are `scope`."""
        exec(compile(self.text, "<program>", "exec"), scope)
        found: Callable[..., Any] = scope["f"]
        return found

    def __str__(self) -> str:
        given = [f"{n} = {t.dtype}{t.shape}{' strides ' + str(t.array.strides)}{' with gradient' if t.requires_grad else ''}" for n, t in
                 ((n, make(self.dtype, 0)) for n, make in [*self.inputs.items(), *self.outside.items()])]  # fmt: skip
        return "\n".join([*given, f"F = {self.dtype.__name__}", self.text])


@tg.elementwise
def swish(x: Any) -> Any:
    """An operation of the user's."""
    return x / (1.0 + tg.exp(-x))


@tg.elementwise
def pair(x: Any, y: Any) -> Any:
    """Of two."""
    return tg.where(x > y, x * y, x - 0.5 * y)


@tg.jit
def doubled(x: Any) -> Any:
    """A compiled function inside another."""
    return tg.tanh(x) * 2.0


def inner(x: Any) -> Any:
    """A gradient inside the function."""
    return tg.grad(lambda v: (v * v * tg.tanh(v)).sum())(x)


idx = np.array([2, 0, 1, 1])
offer(__name__, swish=swish, pair=pair, doubled=doubled, inner=inner, idx=idx)


def _fits(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    try:
        return math.prod(np.broadcast_shapes(a, b)) <= LARGEST
    except ValueError:
        return False


def _wild(t: tg.Tensor) -> bool:
    """Whether numbers are so large, or none, that errors could not be told from roundings."""
    return t.size > 0 and not bool(np.all(np.abs(t.numpy()) < 1e4))


# --- runs -----------------------------------------------------------------------------------------------------------------------------


def case(seed: int, *, compiled: bool) -> str:
    """One random program; where it can, a failure shows a smaller one that fails."""
    program = Written(seed)
    try:
        return beside(program, seed, compiled)
    except AssertionError as error:
        smaller = smallest(program.program(), compiled)
        if smaller is None:
            raise
        raise AssertionError(f"{error}\n\nMade smaller:\n\n{smaller}") from error


def beside(program: Written, seed: int, compiled: bool) -> str:
    """Values and gradients of `tg.jit` beside those of the plain function.

    The compiled one runs twice, with other values: what was recorded at the first call may not
    stand in the result of the second.
    """
    order = 2 if np.random.default_rng([seed, 4]).random() < 0.25 else 1

    def run(
        number: int,
        f: Callable[..., Any],
        scope: dict[str, Any],
        dtype: Any = program.dtype,
        order: int = order,
    ) -> tuple[Any, Any]:
        given = [make(dtype, number) for make in program.inputs.values()]
        return outcome(f, given, [scope[n] for n in program.outside], seed, order)

    def plainly(number: int, dtype: Any = program.dtype, order: int = order) -> tuple[Any, Any]:
        scope = program.closed_over(dtype, number // 10 * 10)
        return run(number, program.function(scope), scope, dtype, order)

    with everywhere(compiled, limited=program.limited):
        scope = program.closed_over(program.dtype)
        fast = tg.jit(program.function(scope))
        for number in (0, 1):
            try:
                expected = plainly(number)
            except REFUSED:
                # unless what failed is not needed for the results
                with contextlib.suppress(*REFUSED):
                    run(number, fast, scope)
                return "refused"
            try:
                found = run(number, fast, scope)
            except Exception as error:
                raise AssertionError(
                    f"seed {seed}: {type(error).__name__}: {error}\n{program}"
                ) from error
            near = [] if program.special else [plainly(number + k)[1] for k in (10, 20)]
            problems = compare(found, expected, near, program.special)
            # beside an independent computation
            if not program.special and program.dtype == np.float32 and not problems:
                # of integers come float32 numbers all the same, which do not mix with others
                with contextlib.suppress(tg.DtypeError):
                    wide = plainly(number, np.float64, 1)
                    problems = compare(
                        ([], narrowed(found[1], expected[1])),
                        ([], narrowed(wide[1], expected[1])),
                        near,
                        False,
                    )[:1]
            if problems:
                raise AssertionError(
                    f"seed {seed}, values {number}, order {order}:\n"
                    + "\n".join(problems[:3])
                    + f"\n{program}"
                )
    return "equal"


def narrowed(found: list[tuple[str, Any]], like: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Arrays of the first order in the dtypes of others."""
    return [
        (name, None if a is None or b is None else a.astype(b.dtype))
        for (name, a), (_, b) in zip(found, like, strict=False)
        if not name.startswith("second")
    ]
