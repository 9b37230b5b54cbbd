"""Random cells, run step by step and compiled: outputs, states and every gradient are to be equal.

Integers and booleans to the bit.

A case is the source of a step, made from a seed, with what it closes over, and options of
`tg.unroll`. Comparisons, roundings and casts to integers are made of numbers that are multiples of
1/8 only, which no rounding moves: two ways to compute them have no excuse to differ.
"""

from __future__ import annotations

import contextlib
import linecache
import re
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

import tinygrad_rnn as tg
from tests.interpreted import interpreting
from tinygrad_rnn.compiler import CompileError
from tinygrad_rnn.core.errors import TinygradError
from tinygrad_rnn.core.tree import flatten

from ._program import Input, Program, offer
from ._shrink import smallest

INTEGERS = ("int64", "int64", "int64", "int32", "int16", "int8", "uint8", "uint32")
SMOOTH = (
    "tanh",
    "sigmoid",
    "sin",
    "cos",
    "softplus",
    "log_sigmoid",
    "square",
    "erf",
    "hard_sigmoid",
    "elu",
    "leaky_relu",
    "relu",
    "abs",
)
BORDERS = [
    0,
    1,
    -1,
    2,
    3,
    7,
    -5,
    100,
    127,
    -128,
    255,
    2**31 - 1,
    -(2**31),
    2**53 + 1,
    2**62 + 3,
    2**63 - 1,
    -(2**63),
]


@tg.elementwise
def swish(x: Any) -> Any:
    """x * sigmoid(x), as an operation of the user's."""
    return x / (1 + tg.exp(-x))


@tg.elementwise
def bent(x: Any, y: Any) -> Any:
    """Of two arguments, with a choice in it."""
    return tg.where(x * x > 4.5 * 4.5, x, tg.tanh(x) + 0.5 * y)


@tg.custom_vjp
def spike(x: Any) -> Any:
    """A step with the slope of another function."""
    return x > 0


@spike.vjp
def _(g: Any, out: Any, x: Any) -> Any:
    return g / (1 + abs(x)) ** 2


offer(__name__, swish=swish, spike=spike, bent=bent)


class Value(NamedTuple):
    """A variable of the step: features without the batch; `grid`: multiples of 1/8, not too large; `rows`: whether it has a batch."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    grid: bool
    rows: bool = True


class Case:
    """The source of a step and what it is run with.

    Attributes
    ----------
    source : str
    held : dict of str to object
        What the step closes over: arrays, tensors and parameters, by name.
    """

    def __init__(self, seed: int, size: int) -> None:
        self.seed, self.rng = seed, np.random.default_rng(seed)
        self.values: list[Value] = []
        self.lines: list[str] = []
        self.held: dict[str, Any] = {}
        self.base = self.pick(["float64", "float64", "float32"])
        self.other = "float32" if self.base == "float64" else "float64"
        self.T, self.batch = self.pick([1, 2, 3, 4]), self.pick([1, 2, 3, 5])
        self.edges = self.chance(0.12)  # nan, infinities and signed zeros among the inputs
        self.mixed = self.chance(0.15)  # values of the other floating dtype
        self.inputs()
        self.states()
        wanted = int(self.rng.integers(1, size + 1))
        for _ in range(20 * wanted):
            if len(self.lines) >= wanted + self.head:
                break
            self.statement()
        self.ending()
        self.options()

    # --- chance ---------------------------------------------------------------------------------------------------------------

    def pick(self, several: Any) -> Any:
        return several[int(self.rng.integers(len(several)))]

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def array(self, shape: tuple[int, ...], dtype: str, large: bool = True) -> Any:
        if dtype == "bool":
            return self.rng.random(shape) < 0.5
        if dtype.startswith("float"):
            found = self.rng.integers(-16, 17, shape) / 8
            if self.edges and large:
                special = self.rng.choice([0.0, -0.0, np.nan, np.inf, -np.inf], shape)
                found = np.where(self.rng.random(shape) < 0.3, special, found)
            return np.asarray(found, dtype)
        small = self.rng.integers(0 if dtype[0] == "u" else -9, 10, shape)
        if large and self.chance(0.3):
            small = np.where(self.rng.random(shape) < 0.4, self.rng.choice(BORDERS, shape), small)
        return np.asarray(small).astype(dtype)

    # --- what the step is given -----------------------------------------------------------------------------------------------

    def inputs(self) -> None:
        self.x = [(self.base, (self.pick([1, 2, 3, 4]),))]
        if self.chance(0.3):
            self.x.append((self.pick(INTEGERS), (self.pick([1, 2, 3]),)))
        if self.chance(0.2):
            self.x.append(("bool", (self.pick([1, 2, 3]),)))
        if self.chance(0.05):
            self.x.append((self.base, ()))
        if self.chance(0.04):
            self.x.append((self.base, (0,)))
        self.tuple = len(self.x) > 1 or self.chance(0.1)
        names = [f"x{k}" for k in range(len(self.x))]
        if self.tuple:
            self.lines.append(f"{', '.join(names)}, = x")
        for (dtype, shape), name in zip(self.x, names if self.tuple else ["x"], strict=True):
            self.values.append(Value(name, shape, dtype, not self.edges))

    def states(self) -> None:
        self.first: list[tuple[str, tuple[int, ...], bool]] = []
        for _ in range(self.pick([1, 1, 2, 2, 3, 4])):
            kind = self.rng.random()
            dtype = (
                self.base
                if kind < 0.6
                else self.pick(INTEGERS)
                if kind < 0.82
                else "bool"
                if kind < 0.93
                else self.other
            )
            shape = self.pick([(1,), (2,), (3,), (4,), (2, 2), (2, 3), (4,), (3,), (2,)])
            self.first.append((dtype, shape, not self.chance(0.05)))
            if self.chance(0.04):
                self.first[-1] = (dtype, self.pick([(0,), ()]), True)
        self.kind = (
            self.pick(["tuple", "dict", "named"])
            if len(self.first) > 1
            else self.pick(["one", "one", "tuple", "dict"])
        )
        if self.chance(0.03):
            self.first, self.kind = [], "tuple"
        names = [f"s{k}" for k in range(len(self.first))]
        if self.kind == "one":
            self.lines.append("s0 = s")
        elif self.kind == "dict":
            self.lines += [f"{n} = s['{n}']" for n in names]
        elif names:
            self.lines.append(f"{', '.join(names)}, = s")
        self.values += [
            Value(n, shape, dtype, not dtype.startswith("float"), rows)
            for n, (dtype, shape, rows) in zip(names, self.first, strict=True)
        ]
        self.head = len(self.lines)

    def nested(self, parts: list[Any]) -> Any:
        """The components of a state, as it is nested."""
        if self.kind == "one":
            return parts[0]
        if self.kind == "dict":
            return {f"s{k}": p for k, p in enumerate(parts)}
        return NAMED[len(parts)](*parts) if self.kind == "named" else tuple(parts)

    # --- statements -----------------------------------------------------------------------------------------------------------

    def some(
        self, *kinds: str, grid: bool = False, shape: Any = None, least: int = 0
    ) -> Value | None:
        """A variable of one of the kinds f (floating, of the main dtype), d (of the other), i, b."""
        found = [
            v for v in self.values
            if self.kind_of(v) in kinds and (v.grid or not grid) and (shape is None or v.shape == shape) and len(v.shape) >= least and v.rows
        ]  # fmt: skip
        return (
            None
            if not found
            else found[min(len(found) - 1, int(self.rng.exponential(len(found) / 2)))]
            if self.chance(0.5)
            else self.pick(found)
        )

    def kind_of(self, v: Value) -> str:
        return (
            "b"
            if v.dtype == "bool"
            else "i"
            if "int" in v.dtype
            else "f"
            if v.dtype == self.base
            else "d"
        )

    def let(self, text: str, shape: tuple[int, ...], dtype: str, grid: bool) -> None:
        name = f"v{len(self.values)}"
        self.lines.append(f"{name} = {text}")
        self.values.append(Value(name, shape, dtype, grid))

    def constant(self, shape: tuple[int, ...], dtype: str) -> str:
        """Something that the step closes over."""
        name = f"c{len(self.held)}"
        kind = self.rng.random()
        value = self.array(shape, dtype, large=False)
        if kind < 0.1 or (self.edges and self.chance(0.4)):
            value = np.zeros_like(value)
        if dtype.startswith("float") and kind < 0.7:
            held: Any = (
                tg.Parameter(value) if kind < 0.4 else tg.tensor(value, requires_grad=kind < 0.55)
            )
            if kind < 0.04:
                held.requires_grad = False
        else:
            held = value if dtype.startswith("float") and self.chance(0.5) else tg.tensor(value)
        self.held[name] = held
        return name

    def of_tensor(self, name: str) -> str:
        """The same constant, which is no array of NumPy."""
        if not isinstance(self.held[name], tg.Tensor):
            self.held[name] = tg.tensor(self.held[name])
        return name

    def number(self, kind: str) -> str:
        """A number of Python as it stands in the source."""
        if kind == "b":
            return self.pick(["True", "False"])
        if kind == "i":
            return str(
                self.pick([0, 1, 2, 3, -1, 7, 100, -100, 1000, 2**31, 2**40 + 1, 12345, 1103515245])
                if self.chance(0.5)
                else self.pick([1, 2, 3])
            )
        return self.pick(["0.5", "2.0", "-1.5", "1", "3", "0.125", "0.0", "-0.0"])

    def statement(self) -> None:
        r = self.rng.random()
        if r < 0.5:
            self.of_floats()
        elif r < 0.62:
            self.of_shapes()
        elif r < 0.8:
            self.of_integers()
        elif r < 0.94:
            self.of_booleans()
        else:
            self.mixing()

    def of_floats(self) -> None:
        kind = "d" if self.mixed and self.chance(0.3) else "f"
        a = self.some(kind)
        if a is None:
            return
        b = self.some(kind, shape=a.shape) or a
        dtype, n = a.dtype, a.name
        choice = self.pick(["unary"] * 5 + ["binary"] * 6 + ["number"] * 3 + ["product"] * 4 + ["held"] * 2 + ["choose"] * 3 + ["reduce"] * 4 + ["special"] * 3
                           + ["rows", "own", "own", "gather"])  # fmt: skip
        if choice == "unary":
            name = self.pick(SMOOTH)
            if self.edges and name in ("elu", "square") and self.chance(0.5):
                name = "relu"
            self.let(f"tg.{name}({n})", a.shape, dtype, a.grid and name in ("abs", "relu"))
        elif choice == "binary":
            text = self.pick([f"{n} + {b.name}", f"{n} - {b.name}", f"{n} * {b.name}", f"tg.maximum({n}, {b.name})", f"tg.minimum({n}, {b.name})",
                              f"{n} / (1.5 + {b.name} * {b.name})", f"tg.logaddexp({n}, {b.name})"])  # fmt: skip
            self.let(
                text,
                a.shape,
                dtype,
                a.grid
                and b.grid
                and ("mum" in text or (text[len(n) : len(n) + 3] == " + " and "/" not in text)),
            )
        elif choice == "number":
            c = self.number("f")
            text = self.pick([f"{n} + {c}", f"{n} - {c}", f"{c} - {n}", f"{n} * {c}", f"{c} + {n}", f"tg.maximum({n}, {c})", f"tg.minimum({n}, {c})",
                              f"tg.clip({n}, -0.5, {c.lstrip('-')})", f"{n} ** 2", f"{n} / 4", f"-{n}", f"+{n}"])  # fmt: skip
            self.let(
                text,
                a.shape,
                dtype,
                a.grid and any(t in text for t in ("mum", "clip", "-" + n, "+" + n)),
            )
        elif choice == "product" and len(a.shape) == 1 and kind == "f" and not self.edges:
            m = self.pick([1, 2, 3, 4])
            w = (
                self.constant((a.shape[0], m), dtype)
                if self.chance(0.7)
                else self.constant((m, a.shape[0]), dtype) + ".T"
            )
            bias = f" + {self.constant((m,), dtype)}" if self.chance(0.5) else ""
            self.let(f"{n} @ {w}{bias}", (m,), dtype, False)
        elif choice == "held":
            shape = self.pick([a.shape, (1, *a.shape[1:]), a.shape[1:]]) if a.shape else ()
            c = self.constant(shape, dtype)
            self.let(
                self.pick([f"{n} * {c}", f"{c} + {n}", f"{n} - {c}", f"tg.maximum({n}, {c})"]),
                a.shape,
                dtype,
                False,
            )
        elif choice == "choose":
            m = self.some("b", shape=a.shape) or self.some("b")
            if m is None or m.shape not in (a.shape, (1,)) or len(a.shape) != 1:
                return
            other = self.pick([b.name, self.number("f")])
            self.let(
                self.pick(
                    [f"tg.where({m.name}, {n}, {other})", f"tg.where({m.name}, {other}, {n})"]
                ),
                a.shape,
                dtype,
                a.grid and other == n,
            )
        elif choice == "rows":  # a tensor from outside with a row for each of the batch
            c = f"r{len(self.held)}"
            self.held[c] = tg.tensor(
                self.array((self.batch, *a.shape), dtype, large=False),
                requires_grad=self.chance(0.6),
            )
            self.let(
                self.pick([f"{n} * {c}", f"{c} - {n}", f"tg.maximum({c}, {n})"]),
                a.shape,
                dtype,
                False,
            )
        elif choice == "own" and not self.edges:
            self.let(
                self.pick(
                    [
                        f"swish({n})",
                        f"spike({n})" if a.grid else f"swish({n})",
                        f"bent({n}, {b.name})",
                    ]
                ),
                a.shape,
                dtype,
                False,
            )
        elif choice == "gather" and a.shape and 0 not in a.shape:
            i = self.some("i", shape=a.shape)
            m = a.shape[-1]
            if i is not None and len(a.shape) == 1:
                self.let(self.pick([f"tg.take_along_axis({n}, ({i.name} % {m}).astype('int64'), axis=1)", f"tg.index_add({n}, np.array({[0] * m}), {b.name}, axis=1)",
                                    f"{n} * tg.one_hot(({i.name}[:, 0] % {m}).astype('int64'), {m}).astype('{dtype}')"]), a.shape, dtype, False)  # fmt: skip
            elif len(a.shape) == 2:
                self.let(
                    f"tg.{self.pick(['tril', 'triu'])}({n}, {self.pick([0, 1, -1])})",
                    a.shape,
                    dtype,
                    False,
                )
        elif choice == "reduce" and a.shape and 0 not in a.shape:
            axis = self.pick([-1, 1, len(a.shape)])
            keep = self.chance(0.5)
            name = self.pick(
                [
                    "sum",
                    "mean",
                    "max",
                    "min",
                    "logsumexp",
                    "norm",
                    "softmax",
                    "cummax",
                    "cumsum",
                    "prod",
                    "log_softmax",
                ]
            )
            if name in ("softmax", "cummax", "cumsum", "log_softmax"):
                self.let(f"tg.{name}({n}, axis={axis})", a.shape, dtype, False)
            else:
                if name == "norm":
                    n = f"{n} + 0.3"
                shape = [
                    1 if k + 1 == axis % (len(a.shape) + 1) else m for k, m in enumerate(a.shape)
                ]
                if not keep:
                    shape.pop(axis % (len(a.shape) + 1) - 1)
                self.let(
                    f"tg.{name}({n}, axis={axis}, keepdims={keep})",
                    tuple(shape),
                    dtype,
                    a.grid and name in ("max", "min"),
                )
        elif choice == "special":
            if a.grid:
                self.let(
                    self.pick(
                        [
                            f"tg.floor({n})",
                            f"tg.sign({n})",
                            f"{n} % 0.75",
                            f"{n} % -0.5",
                            f"2.5 % ({n} + 64.0)",
                        ]
                    ),
                    a.shape,
                    dtype,
                    False,
                )
            elif not self.edges:
                self.let(self.pick([f"tg.sqrt(tg.square({n}) + 0.1)", f"tg.log(tg.abs({n}) + 0.5)", f"tg.exp(tg.minimum({n}, 1.0))", f"tg.expm1(-tg.abs({n}))",
                                    f"tg.log1p(tg.square({n}))", f"(tg.abs({n}) + 0.5) ** 1.5", f"(tg.abs({n}) + 0.5) ** 0.5", f"(tg.abs({n}) + 0.5) ** {b.name}",
                                    f"{n}.detach() * {n}"]), a.shape, dtype, False)  # fmt: skip
            else:
                self.let(
                    self.pick(
                        [
                            f"{n} ** 0.5",
                            f"{n} ** -1",
                            f"{n} ** 3",
                            f"tg.sqrt({n})",
                            f"tg.log({n})",
                            f"tg.exp({n})",
                        ]
                    ),
                    a.shape,
                    dtype,
                    False,
                )

    def of_shapes(self) -> None:
        a = self.some("f", "f", "i", "b", "d", least=1)
        if a is None or 0 in a.shape:
            return
        n, s = a.name, a.shape
        m = s[-1]
        choice = self.pick(["slice", "slice", "step", "take", "none", "concat", "concat", "stack", "split", "reshape", "transpose", "roll", "flip", "pad", "index",
                            "spread", "set", "set"])  # fmt: skip
        if choice == "slice":
            lo = int(self.rng.integers(0, m))
            hi = int(self.rng.integers(lo + 1, m + 1))
            self.let(f"{n}[..., {lo}:{hi}]", (*s[:-1], hi - lo), a.dtype, a.grid)
        elif choice == "step":
            self.let(
                f"{n}[..., ::{self.pick([2, -1, -2])}]" if m > 1 else f"{n}[..., ::-1]",
                (),
                a.dtype,
                a.grid,
            )
            made = self.values.pop()
            step = int(self.lines[-1].split("::")[1][:-1])
            self.values.append(made._replace(shape=(*s[:-1], len(range(0, m, abs(step))))))
        elif choice == "take":
            self.let(f"{n}[..., {int(self.rng.integers(-m, m))}]", s[:-1], a.dtype, a.grid)
        elif choice == "none":
            self.let(f"{n}[:, None]", (1, *s), a.dtype, a.grid)
        elif choice in ("concat", "stack"):
            b = self.some(self.kind_of(a), shape=s) or a
            if b.dtype != a.dtype:
                return
            if choice == "concat":
                self.let(
                    f"tg.concatenate([{n}, {b.name}], axis=-1)",
                    (*s[:-1], 2 * m),
                    a.dtype,
                    a.grid and b.grid,
                )
            else:
                self.let(
                    f"tg.stack([{n}, {b.name}], axis={self.pick([1, -1])})",
                    (),
                    a.dtype,
                    a.grid and b.grid,
                )
                axis = int(self.lines[-1].rpartition("=")[2][:-1])
                self.values.append(
                    self.values.pop()._replace(shape=(2, *s) if axis == 1 else (*s, 2))
                )
        elif choice == "split" and m % 2 == 0:
            self.let(
                f"tg.split({n}, 2, axis=-1)[{self.pick([0, 1])}]",
                (*s[:-1], m // 2),
                a.dtype,
                a.grid,
            )
        elif choice == "reshape":
            size = int(np.prod(s))
            shape = self.pick(
                [(size,), (1, size), (size, 1), *[(k, size // k) for k in (2, 3) if size % k == 0]]
            )
            self.let(
                f"{n}.reshape(({n}.shape[0], {', '.join(map(str, shape))}))", shape, a.dtype, a.grid
            )
        elif choice == "transpose" and len(s) == 2:
            self.let(f"{n}.transpose((0, 2, 1))", s[::-1], a.dtype, a.grid)
        elif choice == "roll":
            self.let(f"tg.roll({n}, {self.pick([1, 2, -1])}, axis=-1)", s, a.dtype, a.grid)
        elif choice == "flip":
            self.let(f"tg.flip({n}, axis=-1)", s, a.dtype, a.grid)
        elif choice == "pad" and len(s) == 1:
            self.let(f"tg.pad({n}, ((0, 0), (1, 0)))", (m + 1,), a.dtype, a.grid)
        elif choice == "index":
            places = [int(k) for k in self.rng.integers(-m, m, self.pick([1, 2, 3]))]
            self.let(f"{n}[..., {places}]", (*s[:-1], len(places)), a.dtype, a.grid)
        elif choice == "spread" and m == 1:
            self.let(f"tg.broadcast_to({n}, (*{n}.shape[:-1], 3))", (*s[:-1], 3), a.dtype, a.grid)
        elif choice == "set" and a.dtype != "bool":
            b = self.some(self.kind_of(a), shape=s) or a
            if b.dtype != a.dtype:
                return
            if self.chance(0.5):
                self.let(f"{n} + {n} * 0", s, a.dtype, False)
            else:  # of a value that is put together
                self.let(
                    f"tg.concatenate([{n}, {n} * 2], axis=-1) * 1", (*s[:-1], 2 * m), a.dtype, False
                )
            self.lines.append(
                f"{self.values[-1].name}[..., {int(self.rng.integers(0, m))}] = {b.name}[..., {int(self.rng.integers(0, m))}]"
            )

    def of_integers(self) -> None:
        a = self.some("i")
        if a is None:
            a = self.some("f", "b", grid=True)
            if a is not None:
                dtype = self.pick(INTEGERS)
                self.let(
                    f"{a.name if dtype[0] != 'u' or a.dtype == 'bool' else f'tg.abs({a.name})'}.astype('{dtype}')",
                    a.shape,
                    dtype,
                    True,
                )
            return
        n, s = a.name, a.shape
        b = self.some("i", "i", "b", shape=s) or a
        c = self.number("i")
        common = str(np.result_type(a.dtype, b.dtype))
        choice = self.pick(
            ["binary"] * 5
            + ["number"] * 5
            + ["unary"] * 2
            + ["cast"] * 3
            + ["float"] * 2
            + ["choose"] * 2
            + ["reduce"] * 2
            + ["hot", "take", "product", "add"]
        )
        if choice == "binary" and common != "float64":
            op = self.pick(["+", "-", "*", "%", "max", "min"])
            text = f"tg.{op}imum({n}, {b.name})" if op[0] == "m" else f"{n} {op} {b.name}"
            self.let(text, s, common, True)
        elif choice == "number":
            text = self.pick([f"{n} + {c}", f"{n} - {c}", f"{c} - {n}", f"{n} * {c}", f"{n} % {c}", f"{c} % {n}", f"tg.maximum({n}, {c})", f"tg.minimum({c}, {n})",
                              f"{n} ** {self.pick([0, 1, 2, 3, 5])}", f"tg.clip({n}, -2, {self.pick([3, 200])})", f"2 ** ({n} % 5)", f"({n} * {n} + {c}) % 1000",
                              f"{n} + True", f"tg.where({n} > {c}, {n}, {self.pick([1, -1, 100])})"])  # fmt: skip
            if text.startswith("tg.clip") and a.dtype[0] == "u":
                return
            self.let(text, s, a.dtype, True)
        elif choice == "unary":
            self.let(
                self.pick(
                    [
                        f"-{n}",
                        f"tg.abs({n})",
                        f"tg.sign({n})",
                        f"tg.square({n})",
                        f"tg.relu({n})",
                        f"tg.floor({n})",
                        f"+{n}",
                    ]
                ),
                s,
                a.dtype,
                True,
            )
        elif choice == "cast":
            dtype = self.pick(INTEGERS)
            self.let(f"{n}.astype('{dtype}')", s, dtype, True)
        elif choice == "float":
            if self.chance(0.5) and self.base == "float64":
                self.let(f"{n}.astype('{self.base}')", s, self.base, False)
            elif self.chance(0.5):
                self.let(self.pick([f"({n} % 9).astype('{self.base}') / 8"]), s, self.base, True)
            else:
                f = self.some("f", shape=s)
                if f is not None:
                    self.let(self.pick([f"{f.name} * ({n} % 5)", f"({n} % 3) + {f.name}", f"{f.name} + {n} / 64 * 0"]) if f.dtype != "float64"
                             else f"{f.name} * ({n} % 5)", s, f.dtype, False)  # fmt: skip
        elif choice == "choose":
            m = self.some("b", shape=s)
            if m is not None:
                other = b.name if b.dtype == a.dtype else c
                self.let(f"tg.where({m.name}, {n}, {other})", s, a.dtype, True)
        elif choice == "reduce" and s and 0 not in s:
            name = self.pick(["sum", "max", "min", "cummax", "cumsum", "argmax", "argmin"])
            if name in ("sum", "cumsum") and a.dtype[0] == "u":
                return
            shape, dtype = (
                (s if name in ("cummax", "cumsum") else s[:-1]),
                a.dtype if name in ("max", "min", "cummax") else "int64",
            )
            self.let(f"tg.{name}({n}, axis=-1)", shape, dtype, True)
        elif choice == "product" and len(s) == 1 and s != (0,):
            c = self.constant((s[0], 2), a.dtype)
            self.let(
                self.pick([f"{n} @ {c}", f"tg.einsum('bi,ij->bj', {n}, {c})"]), (2,), a.dtype, True
            )
        elif choice == "add" and s and 0 not in s:
            self.let(
                f"tg.index_add({n}, np.array({[0] * s[-1]}), {n}, axis={len(s)})", s, a.dtype, True
            )
        elif choice == "hot" and a.shape == (1,):
            self.let(f"tg.one_hot({n}[:, 0] % 3, 3)", (3,), "float32", True)
        elif choice == "take" and s:
            table = self.constant((4, 2), self.base)
            self.let(f"tg.take({table}, {n}[..., 0] % 4, axis=0)", (*s[:-1], 2), self.base, False)

    def of_booleans(self) -> None:
        m = self.some("b")
        choice = (
            self.pick(
                ["compare"] * 3 + ["logic"] * 4 + ["choose"] * 2 + ["reduce", "float", "number"]
            )
            if m is not None
            else "compare"
        )
        if choice == "compare" or m is None:
            a = self.some("f", "i", "b", grid=True)
            if a is None:
                return
            b = self.some(self.kind_of(a), grid=True, shape=a.shape)
            if (
                b is not None
                and self.kind_of(a) == "i"
                and str(np.result_type(a.dtype, b.dtype)) == "float64"
            ):
                b = None
            c = b.name if b is not None and self.chance(0.6) else self.number(self.kind_of(a))
            text = self.pick(
                [f"{a.name} {op} {c}" for op in ("<", "<=", ">", ">=", "==", "!=")]
                + ([f"tg.isnan({a.name})", f"tg.isfinite({a.name})"])
            )
            self.let(text, a.shape, "bool", True)
            return
        n, s = m.name, m.shape
        b = self.some("b", shape=s) or m
        c = self.number("b")
        if choice == "logic":
            text = self.pick([f"{n} & {b.name}", f"{n} | {b.name}", f"~{n}", f"{n} ^ {b.name}", f"{n} | {c}", f"{n} & {c}", f"{n} ^ {c}", f"tg.logical_or({n}, {b.name})",
                              f"tg.logical_and({n}, {c})", f"tg.logical_not({n})", f"{n} == {b.name}", f"{n} != {c}", f"{n} > {b.name}",
                              f"tg.maximum({n}, {b.name})", f"tg.minimum({n}, {b.name})", f"{n} + {b.name}", f"{n} * {b.name}", f"tg.maximum({n}, {c})"])  # fmt: skip
            self.let(text, s, "bool", True)
        elif choice == "choose":
            self.let(
                self.pick(
                    [
                        f"tg.where({n}, {c}, {self.number('b')})",
                        f"tg.where({n}, {b.name}, {c})",
                        f"tg.where({b.name}, {n}, {b.name})",
                    ]
                ),
                s,
                "bool",
                True,
            )
        elif choice == "reduce" and s and 0 not in s:
            name = self.pick(["any", "all", "max", "min", "sum", "cumsum", "argmax"])
            dtype = "int64" if name in ("sum", "cumsum", "argmax") else "bool"
            self.let(f"tg.{name}({n}, axis=-1)", s if name == "cumsum" else s[:-1], dtype, True)
        elif choice == "float":
            a = self.some("f", shape=s)
            if a is not None:
                self.let(
                    self.pick([f"{a.name} * {n}", f"{a.name} + {n}", f"tg.maximum({a.name}, {n})"]),
                    s,
                    a.dtype,
                    False,
                )
        else:
            text, dtype = self.pick([(f"tg.where({n}, 1, 0)", "int64"), (f"{n} + 1", "int64"), (f"{n} * 3", "int64"), (f"tg.where({n}, 5, True)", "int64"),
                                     (f"{n}.astype('int8') - 1", "int8"), (f"{n} - 1", "int64"), (f"{n} ** 2", "int64"), (f"{n} % 2", "int64")])  # fmt: skip
            self.let(text, s, dtype, True)

    def mixing(self) -> None:
        """Products of two values of the batch, and casts between the floating dtypes."""
        a = self.some("f", "d", "i", least=1)
        if a is None or 0 in a.shape:
            return
        b = self.some(self.kind_of(a), shape=a.shape) or a
        if b.dtype != a.dtype:
            b = a
        if len(a.shape) == 1 and self.chance(0.7) and not self.edges:
            self.let(
                self.pick([f"tg.einsum('bi,bi->b', {a.name}, {b.name})[:, None]"]),
                (1,),
                a.dtype,
                False,
            )
            if self.chance(0.5):
                self.lines.pop()
                self.values.pop()
                self.let(
                    f"tg.einsum('bi,bj->bij', {a.name}, {b.name})",
                    (*a.shape, *b.shape),
                    a.dtype,
                    False,
                )
        elif len(a.shape) == 2 and a.shape[0] == a.shape[1] and not self.edges:
            self.let(f"{a.name} @ {b.name}", a.shape, a.dtype, False)
        elif "float" in a.dtype:
            dtype = "float32" if a.dtype == "float64" else "float64"
            if self.mixed:
                self.let(f"{a.name}.astype('{dtype}')", a.shape, dtype, False)

    # --- the end --------------------------------------------------------------------------------------------------------------

    def ending(self) -> None:
        """What the step returns: states of the shapes and dtypes that they had, and any output."""
        new = []
        for k, (dtype, shape, rows) in enumerate(self.first):
            fits = [
                v for v in self.values if v.shape == shape and v.rows == rows and v.name != f"s{k}"
            ]
            same = [v for v in fits if v.dtype == dtype]
            r = self.rng.random()
            if r < 0.12 or not (same or fits):
                new.append(f"s{k}")
            elif r < 0.16:
                held = self.constant(shape, dtype)
                new.append(f"tg.broadcast_to({self.of_tensor(held)}, s{k}.shape)")
            elif same and r < 0.9:
                v = self.pick(same[-4:])
                new.append(
                    f"tg.tanh({v.name})" if "float" in dtype and self.chance(0.4) else v.name
                )
            else:
                v = self.pick(fits)
                new.append(
                    f"{v.name}.astype('{dtype}')"
                    if v.grid
                    and (dtype[0] != "u" or v.dtype == "bool" or v.dtype[0] == "u")
                    and v.dtype != dtype
                    else f"s{k}"
                )
        outputs: list[str] = []
        self.results, self.new = outputs, new
        for _ in range(self.pick([1, 1, 1, 2, 3])):
            r = self.rng.random()
            v = self.pick(self.values[-5:]) if r < 0.7 else self.pick(self.values)
            outputs.append(v.name)
        if self.chance(0.1):
            outputs.append(outputs[0])
        if self.chance(0.1) and new:
            outputs.append(self.pick(new))
        if self.chance(0.03):
            outputs.append(self.of_tensor(self.constant((2,), self.base)))
        output = (
            outputs[0]
            if len(outputs) == 1
            else f"({', '.join(outputs)})"
            if self.chance(0.7)
            else "{" + ", ".join(f"'k{k}': {o}" for k, o in enumerate(outputs)) + "}"
        )
        if self.kind == "one":
            state = new[0]
        elif self.kind == "dict":
            state = "{" + ", ".join(f"'s{k}': {n}" for k, n in reversed(list(enumerate(new)))) + "}"
        else:
            state = f"{'type(s)' if self.kind == 'named' else ''}({', '.join(new)}{',' if self.kind == 'tuple' and new else ''})"
        self.lines.append(f"return {output}, {state}")
        self.source = "\n    ".join(["def step(x, s):", *self.lines]) + "\n"

    def options(self) -> None:
        self.given: dict[str, Any] = {}
        if self.chance(0.25):
            self.given["lengths"] = self.rng.integers(1, self.T + 1, self.batch)
        if self.chance(0.2):
            self.given["resets"] = self.rng.random((self.T, self.batch)) < 0.3
        if self.chance(0.25):
            self.given["reverse"] = True
        if self.chance(0.25):
            self.given["return_states"] = True
        self.xs = [self.array((self.T, self.batch, *shape), dtype) for dtype, shape in self.x]
        self.gradients = [self.chance(0.4) for _ in self.x]
        one = self.chance(0.1)
        self.start = [
            self.array(
                ((1 if one else self.batch,) if rows else ()) + shape, dtype, "float" not in dtype
            )
            for dtype, shape, rows in self.first
        ]
        self.learnt = self.chance(0.5)
        self.second = self.chance(0.12) and not self.edges
        if self.chance(0.1):
            self.given["checkpoint"] = self.pick([1, 2, True])

    def program(self) -> Program:
        """The same as data, but for how outputs and states are nested."""
        names = {"x": "x0", **{n: f"c{n[1:]}" for n in self.held}}
        pattern = re.compile(rf"\b({'|'.join(names)})\b")

        def renamed(text: str) -> str:
            return pattern.sub(lambda found: names[found[1]], text)

        inputs = {f"x{k}": Input(x, g) for k, (x, g) in enumerate(zip(self.xs, self.gradients, strict=True))}  # fmt: skip
        inputs |= {f"s{k}": Input(s, self.learnt, "state") for k, s in enumerate(self.start)}
        for name, held in self.held.items():
            array = held.numpy() if isinstance(held, tg.Tensor) else held
            inputs[names[name]] = Input(array, getattr(held, "requires_grad", False), "outside")
        lines = [(text.partition(" = ")[0], renamed(text)) for text in self.lines[self.head : -1]]
        states = {}
        for k, text in enumerate(self.new):  # which may be an expression
            states[f"s{k}"] = f"v{1000 + k}"
            lines.append((f"v{1000 + k}", f"v{1000 + k} = {renamed(text)}"))
        results = tuple(
            dict.fromkeys(renamed(name) for name in self.results if name in self.named())
        )
        return Program(inputs, tuple(lines), results, states, self.given, home=__name__)

    def named(self) -> set[str]:
        """The names of all values; an output may be an expression."""
        return {v.name for v in self.values}

    # --- running --------------------------------------------------------------------------------------------------------------

    def step(self) -> Any:
        """The function of the source."""
        space = {"tg": tg, "np": np, "swish": swish, "spike": spike, "bent": bent, **self.held}
        name = f"<fuzz {self.seed}>"
        linecache.cache[name] = (
            len(self.source),
            None,
            self.source.splitlines(keepends=True),
            name,
        )
        exec(compile(self.source, name, "exec"), space)
        return space["step"]

    def run(self, cell: Any) -> list[tuple[str, Any]]:
        """Outputs, states and gradients with their names."""
        xs = [
            tg.tensor(x.copy(), requires_grad=g and x.dtype.kind == "f")
            for x, g in zip(self.xs, self.gradients, strict=True)
        ]
        start = [
            tg.tensor(s.copy(), requires_grad=self.learnt and s.dtype.kind == "f")
            for s in self.start
        ]
        for h in self.held.values():
            if isinstance(h, tg.Tensor):
                h.grad = None
        ys, last = tg.unroll(
            cell, tuple(xs) if self.tuple else xs[0], self.nested(start), **self.given
        )
        # a dict may have another order
        found = sorted([*flatten(ys, "output"), *flatten(last, "state")], key=lambda pair: pair[0])
        weights = np.random.default_rng(self.seed)
        floats = [(v, weights.normal(size=v.shape)) for _, v in found if v.dtype.kind == "f"]
        terms = [(v.astype("float64") * w).sum() for v, w in floats if v.requires_grad]
        result = [(name, v.numpy().copy()) for name, v in found] + [
            ("which have gradients", np.array([bool(v.requires_grad) for _, v in found]))
        ]
        if terms:
            sum(terms[1:], terms[0]).backward(create_graph=self.second)
        if floats:
            wanted = [*((f"x{k}", x) for k, x in enumerate(xs)), *((f"first s{k}", s) for k, s in enumerate(start)),
                      *((n, h) for n, h in self.held.items() if isinstance(h, tg.Tensor))]  # fmt: skip
            wanted = [(name, t) for name, t in wanted if t.requires_grad]
            result += [
                (f"gradient of {name}", None if t.grad is None else t.grad.numpy().copy())
                for name, t in wanted
            ]
            if self.second:
                firsts = [t.grad for _, t in wanted if t.grad is not None and t.grad.requires_grad]
                for _, t in wanted:
                    t.grad = None
                if firsts:
                    squares = [tg.square(g.astype("float64")).sum() for g in firsts]
                    sum(squares[1:], squares[0]).backward()
                result += [
                    (
                        f"second gradient of {name}",
                        None if t.grad is None else t.grad.numpy().copy(),
                    )
                    for name, t in wanted
                ]
        return result

    def __str__(self) -> str:
        held = "\n".join(f"{n} = {type(h).__name__}({np.asarray(h.numpy() if isinstance(h, tg.Tensor) else h)!r})"
                         f"{' requires_grad' if getattr(h, 'requires_grad', False) else ''}" for n, h in self.held.items())  # fmt: skip
        xs = "\n".join(
            f"x{k} = {x!r}{' requires_grad' if g else ''}"
            for k, (x, g) in enumerate(zip(self.xs, self.gradients, strict=True))
        )
        start = "\n".join(f"s{k} = {s!r}" for k, s in enumerate(self.start))
        return f"seed {self.seed}\n{self.source}\n{held}\n{xs}\n{start}\nlearnt={self.learnt}, second={self.second}, options: {self.given}"


class _One(NamedTuple):
    s0: Any


class _Two(NamedTuple):
    s0: Any
    s1: Any


class _Three(NamedTuple):
    s0: Any
    s1: Any
    s2: Any


class _Four(NamedTuple):
    s0: Any
    s1: Any
    s2: Any
    s3: Any


NAMED: dict[int, Any] = {1: _One, 2: _Two, 3: _Three, 4: _Four}


def case(seed: int, *, compiled: bool) -> str:
    """One random cell; where it can, a failure shows a smaller one that fails."""
    one = Case(seed, 6 if compiled else 10)
    try:
        return beside(one, compiled)
    except AssertionError as error:
        smaller = smallest(one.program(), compiled)
        if smaller is None:
            raise
        raise AssertionError(f"{error}\n\nMade smaller:\n\n{smaller}") from error


def beside(one: Case, compiled: bool) -> str:
    """Run a cell plain and compiled.

    Parameters
    ----------
    one : Case
    compiled : bool
        By LLVM; otherwise generated code is run as Python.

    Returns
    -------
    kind : str
        "equal", or "refused" if the plain cell or the compiler raised an error of this package.

    Raises
    ------
    AssertionError
        If numbers differ, or another error came; its text has the cell and its inputs.
    """
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            expected = one.run(one.step())
        except (TinygradError, TypeError, ArithmeticError, ValueError) as error:
            # such as a number that a dtype has no room for
            plain: Exception | None = error
        else:
            plain = None
        with contextlib.nullcontext() if compiled else interpreting():
            step = one.step()
            fast = tg.jit(step)
            try:
                found = one.run(fast)
            except Exception as error:
                own = isinstance(error, CompileError) and "compiler's" not in str(error)
                refused = own or (
                    plain is not None
                    and (isinstance(error, TinygradError) or type(error) is type(plain))
                )
                assert refused and "\n" not in str(error), f"{type(error).__name__}: {error}\n{one}"
                if plain is None:
                    REFUSALS[str(error)[:100]] = one.seed
                return "refused"
            assert plain is None, (
                f"the plain cell raises {plain!r}, the compiled one does not\n{one}"
            )
            with contextlib.suppress(StopIteration):
                compare(one, expected, found)
            for look in (fast.source, fast.explain):
                try:
                    str(look())
                except Exception as error:
                    raise AssertionError(
                        f"{look.__name__}: {type(error).__name__}: {error}\n{one}"
                    ) from error
    return "equal"


REFUSALS: dict[str, int] = {}  # the beginnings of the compiler's own messages, each with a seed


def compare(one: Case, expected: list[tuple[str, Any]], found: list[tuple[str, Any]]) -> None:
    """Raise an AssertionError where two lists of named arrays differ."""
    for (name, a), (other, b) in zip(expected, found, strict=True):
        said = f"{name}: plain {a!r}, compiled {b!r}\n{one}"
        assert name == other, said
        if a is None or b is None:
            nothing = all(v is None or not v.any() for v in (a, b))  # no gradient, or one of zeros
            assert nothing, said
            continue
        assert (a.shape, a.dtype) == (b.shape, b.dtype), said
        # where a row ends, the state before goes on
        if name == "which have gradients" and one.given.keys() & {"lengths", "resets"}:
            assert not (a & ~b).any(), said
            continue
        if a.dtype.kind != "f":
            assert np.array_equal(a, b), said
            continue
        exact = (
            one.base == "float64"
            and not one.mixed
            and "float32" not in one.source
            and one.other not in [d for d, *_ in one.first]
        )
        with np.errstate(all="ignore"):
            finite = np.isfinite(a)
            scale = float(np.max(np.abs(a[finite]), initial=1.0))
            near = np.abs(np.asarray(a - b, np.float64)) <= (1e-9 if exact else 2e-4) * scale
        same = (a == b) | (np.isnan(a) & np.isnan(b)) | (finite & near)
        # what no result depends on has gradients of 0 in the compiled step, and 0 * inf is nan
        if one.edges and "gradient" in name:
            same |= np.isnan(b)
        assert same.all(), said
        if one.edges and name.startswith(("output", "state")):
            zero = (a == 0) & (b == 0)
            assert np.array_equal(np.signbit(a)[zero], np.signbit(b)[zero]), f"signed zeros: {said}"


def cases(first: int, count: int, *, compiled: bool) -> Iterator[tuple[int, str]]:
    """The kinds of several cases."""
    for seed in range(first, first + count):
        yield seed, case(seed, compiled=compiled)
