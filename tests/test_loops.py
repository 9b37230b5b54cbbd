"""The loop language by itself: linear forms, numbers, the writer, the check, sharing and lifting.

What is written is run as plain Python, and a part of it compiled. The references are NumPy, and an
evaluation of the objects themselves that never sees the text.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests import interpreted
from tests.test_primitives import NAMES, parameter_sets
from tinygrad_rnn.core.primitive import REGISTRY
from tinygrad_rnn.kernels import runtime
from tinygrad_rnn.loops import check
from tinygrad_rnn.loops.expression import NoExpression, Operand, expression
from tinygrad_rnn.loops.ir import (
    Access,
    Accumulate,
    Address,
    Apply,
    Array,
    Branch,
    Buffer,
    Call,
    Convert,
    Define,
    Fail,
    Function,
    Index,
    Kind,
    Let,
    Load,
    Loop,
    LoopKind,
    Module,
    Number,
    Role,
    Scalar,
    Set,
    SizeNumber,
    Statement,
    Store,
    Var,
    dtype_of,
    kind_of,
    walk,
)
from tinygrad_rnn.loops.launch import compiled
from tinygrad_rnn.loops.lift import Lifted
from tinygrad_rnn.loops.linear import Linear, product
from tinygrad_rnn.loops.share import shared
from tinygrad_rnn.loops.style import KERNELS, SEQUENCES, Style
from tinygrad_rnn.loops.writer import Text, write

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
LEAST, MOST = -(2**63), 2**63 - 1
STYLES = {"kernels": KERNELS, "sequences": SEQUENCES}


# --- linear forms -----------------------------------------------------------------------------------

WORDS = ("B", "T", "one", "batch", "s", "t", "i0", "i12", "q3")


def random_form(rng: np.random.Generator, depth: int) -> tuple[Linear, Callable[..., int], str]:
    """Return a form that is made step by step, a function of the names, and the same in Python."""
    if not depth:
        leaf: Any = int(rng.integers(-4, 5)) if rng.random() < 0.4 else str(rng.choice(WORDS))
        return Linear.of(leaf), lambda **names: names.get(leaf, leaf), str(leaf)
    one, f, a = random_form(rng, depth - 1)
    two, g, b = random_form(rng, int(rng.integers(0, depth)))
    if rng.random() < 0.5:
        return one + two, lambda **names: f(**names) + g(**names), f"(({a}) + ({b}))"
    return one * two, lambda **names: f(**names) * g(**names), f"(({a}) * ({b}))"


def drawn_names(rng: np.random.Generator) -> dict[str, int]:
    return {name: int(rng.integers(-9, 10)) for name in WORDS}


@pytest.mark.parametrize("seed", range(60))
def test_arithmetic_of_forms(seed: int) -> None:
    rng = np.random.default_rng(seed)
    form, value, text = random_form(rng, int(rng.integers(0, 6)))
    assert {n for _, n in form.terms}.isdisjoint({0})
    for _ in range(5):
        names = drawn_names(rng)
        expected = value(**names)
        assert eval(text, {}, names) == expected
        assert eval(str(form), {}, names) == expected
        assert (form.constant is None) or form.constant == expected
    assert form.names <= set(WORDS)
    assert bool(form) == (form != Linear())


@pytest.mark.parametrize("seed", range(30))
def test_equal_forms_are_equal_objects(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b, c = (random_form(rng, 3)[0] for _ in range(3))
    for one, two in (
        ((a + b) * c, c * b + a * c),
        (a + (b + c), (c + a) + b),
        (a * (b * c), (c * a) * b),
        (a + a * -1, Linear()),
        (2 * a, a + a),
        (3 + a, a + 3),
    ):
        assert one == two and hash(one) == hash(two) and str(one) == str(two)


@pytest.mark.parametrize("seed", range(30))
def test_strides_of_forms(seed: int) -> None:
    """A form that is linear in an index: what it grows by, and where it begins."""
    rng = np.random.default_rng(seed)
    step, start = (random_form(rng, 3)[0].without("i0") for _ in range(2))
    form = start + step * "i0"
    assert form.stride("i0") == step and form.without("i0") == start
    names = drawn_names(rng)
    here, there = (eval(str(form), {}, {**names, "i0": names["i0"] + k}) for k in (0, 1))
    assert there - here == eval(str(form.stride("i0")), {}, names)
    assert eval(str(form.without("i0", "B")), {}, names) == eval(
        str(form), {}, {**names, "i0": 0, "B": 0}
    )


def test_forms_that_are_known() -> None:
    assert str(Linear.of("s") * 64 * "B" + Linear.of("B") * 3 + "q") == "s * 64 * B + 3 * B + q"
    assert str(Linear()) == "0" and eval(str(Linear.of(-2) + Linear.of("i") * -1), {"i": 3}) == -5
    assert Linear.of(0).constant == 0 and Linear.of(7).constant == 7
    assert Linear.of("B").constant is None and (Linear.of("B") + 1).constant is None
    assert product([2, "B", 3]) == Linear.of("B") * 6 and product([]) == Linear.of(1)


# --- numbers ----------------------------------------------------------------------------------------


def scalar_function(name: str) -> Any:
    return interpreted.INTEGERS[name] if name in interpreted.INTEGERS else interpreted._scalar(name)


SIGNS: dict[str, Callable[..., Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "neg": operator.neg,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "and": lambda a, b: bool(a) and bool(b),
    "or": lambda a, b: bool(a) or bool(b),
    "not": operator.not_,
}


def direct(number: Scalar, known: dict[str, Any], base: np.dtype[Any]) -> Any:
    """Return the value of a number, found without its text."""
    if isinstance(number, Var):
        return known[number.name]
    if isinstance(number, Index):
        return eval(str(number.value), {}, known)
    if isinstance(number, Number):
        return dtype_of(number.kind, base).type(number.value)
    if isinstance(number, SizeNumber):
        value = number.factor * (known[number.size] + number.offset) ** number.power
        return dtype_of(number.kind, base).type(value)
    if isinstance(number, Convert):
        value = np.asarray(direct(number.value, known, base))
        dtype = dtype_of(number.kind, base) if number.dtype is None else number.dtype
        return value.astype(dtype).astype(dtype_of(number.kind, base))[()]
    assert isinstance(number, Apply)
    function = SIGNS.get(number.function) or scalar_function(number.function)
    return function(*[direct(n, known, base) for n in number.inputs])


FLOATING = [0.0, -0.0, 1.5, -1.5, 1e-30, math.inf, -math.inf, math.nan, 3.0]
WHOLE = [0, 1, -1, 7, -128, 255, LEAST, MOST, LEAST + 1]


class Numbers:
    """Random numbers of the language, of the names that `known` holds."""

    def __init__(self, seed: int, base: np.dtype[Any]) -> None:
        self.rng, self.base = np.random.default_rng(seed), base
        self.arrays = {
            "x": self.drawn(FLOATING, Kind.FLOAT),
            "d": self.drawn(FLOATING, Kind.OTHER_FLOAT),
            "n": self.drawn(WHOLE, Kind.INTEGER),
            "q": self.drawn([True, False], Kind.BOOLEAN),
        }
        self.known: dict[str, Any] = {"B": 5, "one": 1}
        for letter, values in self.arrays.items():
            self.known |= {f"{letter}_{k}": value for k, value in enumerate(values)}

    def drawn(self, values: list[Any], kind: Kind) -> np.ndarray:
        chosen = [values[k] for k in self.rng.integers(0, len(values), 4)]
        with np.errstate(over="ignore"):
            return np.array(chosen, dtype_of(kind, self.base))

    def pick(self, *choices: Any) -> Any:
        return choices[self.rng.integers(len(choices))]

    def make(self, kind: Kind, depth: int) -> Scalar:
        letters = {Kind.FLOAT: "x", Kind.OTHER_FLOAT: "d", Kind.INTEGER: "n", Kind.BOOLEAN: "q"}
        values: dict[Kind, list[Any]] = {Kind.INTEGER: WHOLE, Kind.BOOLEAN: [True, False]}
        if not depth or self.rng.random() < 0.1:
            if self.rng.random() < 0.5:
                return Var(f"{letters[kind]}_{self.rng.integers(4)}")
            return Number(self.pick(*values.get(kind, FLOATING)), kind)
        sub = functools.partial(self.make, depth=depth - 1)
        if kind is Kind.BOOLEAN:
            return self.boolean(sub)
        return self.integer(sub) if kind is Kind.INTEGER else self.floating(kind, sub)

    def floating(self, kind: Kind, sub: Callable[..., Scalar]) -> Scalar:
        sign = self.pick("+", "-", "*", "/", "neg", "maximum", "select", "absolute", "of", "size")
        if sign == "size":
            return SizeNumber(self.pick(2.0, -0.5), "B", self.pick(0, -1), self.pick(1, -0.5), kind)
        if sign == "of":
            kinds = [k for k in Kind if k is not kind]
            return Convert(kind, sub(self.pick(*kinds)))
        if sign == "select":
            return Apply(sign, (sub(Kind.BOOLEAN), sub(kind), sub(kind)))
        count = 1 if sign in ("neg", "absolute") else 2
        return Apply(sign, tuple(sub(kind) for _ in range(count)))

    def integer(self, sub: Callable[..., Scalar]) -> Scalar:
        sign = self.pick("add", "subtract", "multiply", "negative", "select", "of", "cut", "index")
        if sign == "of":
            return Convert(Kind.INTEGER, sub(Kind.BOOLEAN))
        if sign == "cut":
            wrapped = Apply("int_add", (sub(Kind.INTEGER), Number(1, Kind.INTEGER)))
            dtype = np.dtype(self.pick(np.int8, np.uint8, np.int32, np.uint32, np.int16))
            return Convert(Kind.INTEGER, wrapped, dtype)
        if sign == "index":
            return Index(Linear.of("B") * self.pick(1, -2) + self.pick(0, 3, -1))
        if sign == "select":
            return Apply("int_select", (sub(Kind.BOOLEAN), sub(Kind.INTEGER), sub(Kind.INTEGER)))
        count = 1 if sign == "negative" else 2
        return Apply(f"int_{sign}", tuple(sub(Kind.INTEGER) for _ in range(count)))

    def boolean(self, sub: Callable[..., Scalar]) -> Scalar:
        sign = self.pick("and", "or", "not", "<", "<=", ">", ">=", "==", "!=")
        if sign == "not":
            return Apply(sign, (sub(Kind.BOOLEAN),))
        kind = Kind.BOOLEAN if sign in ("and", "or") else self.pick(*Kind)
        return Apply(sign, (sub(kind), sub(kind)))


def same(found: Any, expected: Any) -> None:
    """Compare arrays to the bit, except that all nans are one."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    if found.dtype.kind == "f":
        number = ~np.isnan(found)
        np.testing.assert_array_equal(np.signbit(found[number]), np.signbit(expected[number]))


def inputs_of(arrays: dict[str, np.ndarray], base: np.dtype[Any]) -> dict[str, Array]:
    return {
        name: Array(name, kind_of(a.dtype, base), Role.INPUT, a.size, written=False)
        for name, a in arrays.items()
    }


def evaluated(
    several: Sequence[tuple[Scalar, Kind]],
    arrays: dict[str, np.ndarray],
    base: np.dtype[Any],
    by: Callable[[Text], Any],
) -> list[Any]:
    """Return the values of numbers as a module computes them, which `by` makes runnable."""
    given = inputs_of(arrays, base)
    outs = {kind: Array(f"y{k}", kind, Role.OUTPUT) for k, kind in enumerate(Kind)}
    body: list[Statement] = [
        Load(f"{name}_{k}", Access(given[name], Linear.of(k)))
        for name, a in arrays.items()
        for k in range(a.size)
    ]
    body += [
        Store(Access(outs[kind], Linear.of(k)), number) for k, (number, kind) in enumerate(several)
    ]
    function = Function("kernel", ("B", "one"), (*given.values(), *outs.values()), tuple(body))
    text = write(Module("numbers", base, (function,)), KERNELS)
    results = [np.zeros(len(several), dtype_of(kind, base)) for kind in outs]
    with np.errstate(all="ignore"):
        by(text).kernel(5, 1, *arrays.values(), *results)
    held_in = dict(zip(outs, results, strict=True))
    return [held_in[kind][k] for k, (_, kind) in enumerate(several)]


@pytest.mark.parametrize("base", [F32, F64], ids=str)
@pytest.mark.parametrize("seed", range(20))
def test_the_text_of_a_number_means_the_number(seed: int, base: np.dtype[Any]) -> None:
    _means_the_number(seed, base, lambda text: interpreted.Interpreted(text.text))


@pytest.mark.parametrize("base", [F32, F64], ids=str)
@pytest.mark.parametrize("seed", range(20, 25))
def test_the_machine_code_of_a_number_means_the_number(seed: int, base: np.dtype[Any]) -> None:
    _means_the_number(seed, base, compiled)


def _means_the_number(seed: int, base: np.dtype[Any], by: Callable[[Text], Any]) -> None:
    numbers = Numbers(seed, base)
    kinds = [list(Kind)[k % 4] for k in range(100)]
    several = [(numbers.make(kind, int(numbers.rng.integers(1, 6))), kind) for kind in kinds]
    found = evaluated(several, numbers.arrays, base, by)
    with np.errstate(all="ignore"):
        for (number, kind), value in zip(several, found, strict=True):
            expected = dtype_of(kind, base).type(direct(number, numbers.known, base))
            try:
                same(value, expected)
            except AssertionError as error:
                error.add_note(str(number))
                raise


def test_brackets_stand_where_python_needs_them() -> None:
    a, b, c = (Var(name) for name in "abc")
    texts = {
        "a - (b - c)": Apply("-", (a, Apply("-", (b, c)))),
        "a - b - c": Apply("-", (Apply("-", (a, b)), c)),
        "a * (b / c)": Apply("*", (a, Apply("/", (b, c)))),
        "-(a * b)": Apply("neg", (Apply("*", (a, b)),)),
        "-a * b": Apply("*", (Apply("neg", (a,)), b)),
        "a - -b": Apply("-", (a, Apply("neg", (b,)))),
        "not (a or b)": Apply("not", (Apply("or", (a, b)),)),
        "(not a) == b": Apply("==", (Apply("not", (a,)), b)),
        "(a < b) < c": Apply("<", (Apply("<", (a, b)), c)),
        "a < (b < c)": Apply("<", (a, Apply("<", (b, c)))),
        "a or b and c": Apply("or", (a, Apply("and", (b, c)))),
        "(a or b) and c": Apply("and", (Apply("or", (a, b)), c)),
        "a * (i * 2 + 1)": Apply("*", (a, Index(Linear.of("i") * 2 + 1))),
        "a / (i * 2)": Apply("/", (a, Index(Linear.of("i") * 2))),
    }
    out = Array("y", Kind.FLOAT, Role.OUTPUT)
    body = tuple(Store(Access(out, Linear.of(k)), n) for k, n in enumerate(texts.values()))
    function = Function("kernel", ("a", "b", "c", "i"), (out,), body)
    lines = write(Module("brackets", F64, (function,)), KERNELS).text.splitlines()
    assert [line.partition(" = ")[2] for line in lines[-len(texts) :]] == list(texts)


# --- the operations of the registry -----------------------------------------------------------------

ELEMENTWISE = [n for n in NAMES if REGISTRY[n].scalar is not None]
ODD: dict[str, list[Any]] = {
    "f": [0.0, -0.0, 0.5, -0.5, 2.0, -3.0, 1e-8, math.inf, -math.inf, math.nan, 1.0, 0.25],
    "i": [0, 1, -1, 2, 3, 7, -3, 100, -100, 127, -128, 5],
    "u": [0, 1, 2, 3, 7, 100, 127, 128, 200, 255, 254, 5],
    "b": [True, False],
}
DTYPES = [np.dtype(d) for d in (np.float32, np.float64, np.int64, np.int8, np.uint8, np.bool_)]


def operands_of(entry: Any, dtype: np.dtype[Any], rng: np.random.Generator) -> list[np.ndarray]:
    """Return arrays for the inputs of an operation; conditions are booleans."""
    numeric = range(len(entry.inputs))[entry.promotes]
    dtypes = [dtype if k in numeric else np.dtype(bool) for k in range(len(entry.inputs))]
    return [np.array(rng.permuted(np.resize(ODD[d.kind], 60)), d) for d in dtypes]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_the_expression_of_an_operation_is_what_numpy_computes(
    name: str, dtype: np.dtype[Any], rng: np.random.Generator
) -> None:
    entry = REGISTRY[name]
    base = dtype if dtype.kind == "f" else F64
    for params in parameter_sets(entry):
        params = entry.defaults | params
        xs = operands_of(entry, dtype, rng)
        if entry.floating and dtype.kind in "iu":  # which the engine gives it as floating numbers
            xs = [x.astype(base) for x in xs]
        if entry.scalar == "power(a, b)" and dtype.kind in "iu":
            xs[1] = np.abs(xs[1] // 2)
        try:
            with np.errstate(all="ignore"):
                expected = np.asarray(entry.forward(*xs, **params))
        except (TypeError, ValueError):
            continue  # NumPy has no such operation
        if expected.dtype not in (*DTYPES, np.dtype(np.int32)):
            continue
        given = {f"x{k}": x for k, x in enumerate(xs)}
        out = Array("y", kind_of(expected.dtype, base), Role.OUTPUT)
        operands = [Operand(Var(f"v{k}"), x.dtype) for k, x in enumerate(xs)]
        try:
            number = expression(entry, params, operands, expected.dtype, base)
        except NoExpression:
            assert dtype.kind in "iub"
            continue
        arrays = inputs_of(given, base)
        j = Linear.of("j")
        body = [Load(f"v{k}", Access(a, j)) for k, a in enumerate(arrays.values())]
        store = Store(Access(out, j), number)
        loop = Loop("j", Linear.of("size"), (*body, store), LoopKind.LANES)
        function = Function("kernel", ("size",), (*arrays.values(), out), (loop,))
        code = interpreted.Interpreted(write(Module(name, base, (function,)), KERNELS).text)
        found = np.zeros(60, dtype_of(out.kind, base))
        with np.errstate(all="ignore"):
            code.kernel(60, *xs, found)
            for k in range(0, 60, 7):
                known = {f"v{i}": x[k].astype(held(x.dtype, base)) for i, x in enumerate(xs)}
                same(found[k], found.dtype.type(direct(number, known, base)))
        compare_with_numpy(found, expected)


def held(dtype: np.dtype[Any], base: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype in which code holds numbers of a dtype."""
    return dtype_of(kind_of(dtype, base), base)


def compare_with_numpy(found: Any, expected: Any) -> None:
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected)
        return
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-5 if expected.itemsize == 4 else 1e-13)
    zero = (found == 0) & (expected == 0)
    np.testing.assert_array_equal(np.signbit(found[zero]), np.signbit(expected[zero]))


# --- the writer -------------------------------------------------------------------------------------


@dataclasses.dataclass
class Program:
    """A function of the language, what it is given, and what NumPy says comes out."""

    function: Function
    sizes: tuple[int, ...]
    arrays: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]
    others: tuple[Function, ...] = ()  # of the module, that it calls

    def run(self, function: Callable[..., Any]) -> None:
        arrays = {name: a.copy() for name, a in self.arrays.items()}
        given: list[Any] = [arrays[a.name] for a in self.function.arrays]
        if self.function.packed:
            given = [np.array([a.ctypes.data for a in given], np.int64)]
        with np.errstate(all="ignore"):
            function(*self.sizes, *given)
        for name, expected in self.expected.items():
            np.testing.assert_allclose(arrays[name], expected, rtol=1e-13)


def place(form: Any, *terms: Any) -> Linear:
    found = Linear.of(form)
    for term in terms:
        found = found + term
    return found


def data(name: str, role: Role, **more: Any) -> Array:
    kind = more.pop("kind", Kind.FLOAT)
    return Array(name, kind, role, written=role is not Role.INPUT, **more)


X, Y = data("x", Role.INPUT), data("y", Role.OUTPUT)
J, K = Linear.of("j"), Linear.of("k")


def lanes(stop: Any, *body: Statement, index: str = "j") -> Loop:
    return Loop(index, Linear.of(stop), body, LoopKind.LANES)


def axis(index: str, stop: Any, *body: Statement, **more: Any) -> Loop:
    return Loop(index, Linear.of(stop), body, **more)


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape)


def strided() -> Program:
    """Y[i, j] = x[j, i] * c[i]: one stride is a size, one number is read once for a row."""
    c = data("c", Role.INPUT)
    body = lanes(
        "columns",
        Load("v", Access(X, J * "rows" + "i")),
        Load("w", Access(c, Linear.of("i"))),
        Store(Access(Y, place("i") * "columns" + J), Apply("*", (Var("v"), Var("w")))),
    )
    x, scale = random(5, 3), random(3)
    function = Function("strided", ("rows", "columns"), (X, c, Y), (axis("i", "rows", body),))
    arrays = {"x": x.ravel(), "c": scale, "y": np.zeros(15)}
    return Program(function, (3, 5), arrays, {"y": (x.T * scale[:, None]).ravel()})


def backwards() -> Program:
    """Y[2 * j] = x[n - 1 - j], and y[2 * j + 1] = x[3 * (n - 1 - j) / 3] from places of its own."""
    n = Linear.of("n")
    body = lanes(
        "n",
        Load("v", Access(X, n + -1 + J * -1)),
        Load("w", Access(X, (n + -1) * 3 + J * -3)),
        Store(Access(Y, J * 2), Var("v")),
        Store(Access(Y, J * 2 + 1), Apply("neg", (Var("w"),))),
    )
    x = random(12)
    expected = np.stack([x[3::-1], -x[9::-3]], 1).ravel()
    function = Function("backwards", ("n",), (X, Y), (body,))
    return Program(function, (4,), {"x": x, "y": np.zeros(8)}, {"y": expected})


def sums() -> Program:
    """The sum of rows in a register, of columns in memory, and the largest of all."""
    columns, top = data("columns", Role.OUTPUT), data("top", Role.OUTPUT)
    x = Access(X, place("i") * "m" + J)
    row = [
        Let("a", Number(0.0, Kind.FLOAT)),
        lanes(
            "m",
            Load("v", x),
            Set("a", Apply("plus", (Var("a"), Var("v")))),
            Accumulate(Access(columns, J), "+", Var("v")),
        ),
        Store(Access(Y, Linear.of("i")), Var("a")),
        Accumulate(Access(top, Linear()), "maximum", Var("a")),
    ]
    v = random(4, 3)
    function = Function("sums", ("n", "m"), (X, Y, columns, top), (axis("i", "n", *row),))
    arrays = {"x": v.ravel(), "y": np.zeros(4), "columns": np.ones(3), "top": np.zeros(1)}
    arrays["top"][:] = -np.inf
    expected = {"y": v.sum(1), "columns": 1 + v.sum(0), "top": v.sum(1).max(keepdims=True)}
    return Program(function, (4, 3), arrays, expected)


def branches() -> Program:
    """The place of the largest number, a choice between two ways, and one inside the other."""
    at = data("at", Role.OUTPUT, kind=Kind.INTEGER)
    better = Apply(">", (Var("v"), Var("top")))
    zero = Number(0.0, Kind.FLOAT)
    one = Store(Access(Y, Linear.of("i")), Var("v"))
    other = Store(Access(Y, Linear.of("i")), Apply("neg", (Var("v"),)))
    half = Store(Access(Y, Linear.of("i")), Apply("*", (Var("v"), Number(0.5, Kind.FLOAT))))
    small = Branch(Apply(">", (Var("v"), Number(-0.5, Kind.FLOAT))), (half,), (other,))
    body = (
        Let("best", Number(-1, Kind.INTEGER)),
        Let("top", Number(-math.inf, Kind.FLOAT)),
        axis(
            "i",
            "n",
            Load("v", Access(X, Linear.of("i"))),
            Branch(better, (Set("best", Index(Linear.of("i"))), Set("top", Var("v")))),
            Branch(Apply(">=", (Var("v"), zero)), (one,), (small,)),
        ),
        Store(Access(at, Linear()), Var("best")),
    )
    x = random(9)
    function = Function("branches", ("n",), (X, Y, at), body)
    arrays = {"x": x, "y": np.zeros(9), "at": np.zeros(1, np.int64)}
    chosen = np.where(x >= 0, x, np.where(x > -0.5, x * 0.5, -x))
    return Program(function, (9,), arrays, {"y": chosen, "at": np.array([x.argmax()])})


def buffered() -> Program:
    """A row that is kept in a buffer and read again after its sum is known."""
    w, two = data("w", Role.SCRATCH), data("x", Role.INPUT, axes=2)
    row = [
        Let("a", Number(0.0, Kind.FLOAT)),
        lanes(
            "m",
            Load("v", Access(two, place("i") * "m" + J)),
            Let("e", Apply("exp", (Var("v"),))),
            Set("a", Apply("plus", (Var("a"), Var("e")))),
            Store(Access(w, J), Var("e")),
        ),
        lanes(
            "m",
            Load("u", Access(w, K)),
            Store(Access(Y, place("i") * "m" + K), Apply("/", (Var("u"), Var("a")))),
            index="k",
        ),
    ]
    x = random(3, 4)
    body = (Buffer(w, Linear.of("m")), axis("i", "n", *row))
    e = np.exp(x)
    expected = (e / e.sum(1, keepdims=True)).ravel()
    function = Function("buffered", ("n", "m"), (two, Y), body)
    return Program(function, (3, 4), {"x": x, "y": np.zeros(12)}, {"y": expected})


def over_time(*, descending: bool) -> Program:
    """States of all steps, of inputs in the order of time or against it, and two in turn."""
    B, s = Linear.of("B"), Linear.of("s")
    state, pair = data("state", Role.STATE), data("pair", Role.SCRATCH)
    here, there = (s + 1, s) if descending else (s, s + 1)
    step = lanes(
        "B",
        Load("h", Access(state, here * B + J)),
        Load("v", Access(X, Linear.of("t") * B + J)),
        Let("n", Apply("+", (Apply("*", (Var("h"), Number(0.5, Kind.FLOAT))), Var("v")))),
        Store(Access(state, there * B + J), Var("n")),
        Store(Access(pair, Linear.of("turn") * B + J), Var("n")),
    )
    body = (
        Define("t", Linear.of("last") + Linear.of("way") * "s"),
        Define("turn", s + 2, modulo=2),
        step,
    )
    loop = Loop("s", Linear.of("T"), body, LoopKind.TIME, descending=descending)
    name = "descending" if descending else "ascending"
    function = Function(name, ("T", "B", "last", "way", "one"), (X, state, pair), (loop,))
    x, states = random(5, 3), np.zeros((6, 3))
    arrays = {"x": x.ravel(), "state": states.ravel(), "pair": np.zeros(6)}
    both = np.zeros((2, 3))
    states = states.copy()
    for k in reversed(range(5)) if descending else range(5):
        before, after = (k + 1, k) if descending else (k, k + 1)
        states[after] = states[before] * 0.5 + x[4 - k]
        both[k % 2] = states[after]
    return Program(
        function, (5, 3, 4, -1, 1), arrays, {"state": states.ravel(), "pair": both.ravel()}
    )


def after_time() -> Program:
    """A loop over time, and then one over features with the same index, at places of their own."""
    s, B = Linear.of("s"), Linear.of("B")
    step = lanes(
        "B", Load("v", Access(X, Linear.of("t") * B + J)), Store(Access(Y, s * B + J), Var("v"))
    )
    loop = axis("s", "T", Define("t", s * -1 + "T" + -1), step, kind=LoopKind.TIME)
    doubled = Apply("+", (Var("w"), Var("w")))
    twice = lanes("B", Load("w", Access(Y, s * B + J)), Store(Access(Y, s * B + J), doubled))
    function = Function("after_time", ("T", "B", "one"), (X, Y), (loop, axis("s", 2, twice)))
    x = random(4, 3)
    expected = x[::-1] * np.array([2, 2, 1, 1])[:, None]
    return Program(
        function, (4, 3, 1), {"x": x.ravel(), "y": np.zeros(12)}, {"y": expected.ravel()}
    )


def whole_numbers() -> Program:
    """Integers that wrap around in a narrow dtype, and booleans of which one has to hold."""
    n = data("n", Role.INPUT, kind=Kind.INTEGER)
    total = data("total", Role.OUTPUT, kind=Kind.INTEGER)
    q = data("q", Role.OUTPUT, kind=Kind.BOOLEAN)
    body = axis(
        "i",
        "size",
        Load("v", Access(n, Linear.of("i"))),
        Accumulate(Access(total, Linear()), "int_add", Var("v"), np.dtype(np.int8)),
        Accumulate(Access(total, Linear.of(1)), "int_multiply", Var("v")),
        Accumulate(Access(q, Linear()), "or", Apply("<", (Var("v"), Number(-90, Kind.INTEGER)))),
        Store(Access(total, Linear.of(2)), Number(LEAST, Kind.INTEGER)),
    )
    numbers = np.array([100, 100, -99, 7], np.int64)
    arrays = {"n": numbers, "total": np.array([0, LEAST + 1, 0]), "q": np.zeros(1, bool)}
    with np.errstate(over="ignore"):
        product_ = np.multiply.reduce(np.array([LEAST + 1, *numbers]))
    expected = np.array([numbers.astype(np.int8).sum(dtype=np.int8), product_, LEAST])
    function = Function("whole_numbers", ("size",), (n, total, q), (body,))
    return Program(function, (4,), arrays, {"total": expected, "q": np.array([True])})


def called() -> Program:
    """Two calls of one loop, each with places and arrays of its own."""
    a, b = data("a", Role.SCRATCH), data("b", Role.SCRATCH)
    copy = lanes("n", Load("v", Access(a, J + "p")), Store(Access(b, J * 2 + "r"), Var("v")))
    inner = Function("copies", ("n", "p", "r", "one"), (a, b), (copy,), inner=True)
    one, n = Linear.of("one"), Linear.of("n")
    body = (
        Call("copies", (X, Y, n, Linear(), Linear(), one)),
        Call("copies", (X, Y, n, n, Linear.of(1), one)),
    )
    x = random(6)
    function = Function("called", ("n", "one"), (X, Y), body)
    expected = np.stack([x[:3], x[3:]], 1).ravel()
    return Program(function, (3, 1), {"x": x, "y": np.zeros(6)}, {"y": expected}, (inner,))


def in_blocks() -> Program:
    """Sums of blocks of four, the last one shorter."""
    inside = lanes(
        "rest",
        Load("v", Access(X, Linear.of("i") + J)),
        Set("a", Apply("plus", (Var("a"), Var("v")))),
    )
    body = (
        Let("a", Number(0.0, Kind.FLOAT)),
        inside,
        Accumulate(Access(Y, Linear()), "+", Var("a")),
    )
    loop = axis("i", "hi", *body, start=Linear.of("lo"), block=4, rest="rest")
    function = Function("in_blocks", ("lo", "hi"), (X, Y), (loop,))
    x = random(12)
    return Program(function, (1, 11), {"x": x, "y": np.zeros(1)}, {"y": x[1:11].sum(keepdims=True)})


def by_address() -> Program:
    """Arrays that are handed over as their addresses."""
    q = data("q", Role.INPUT, kind=Kind.BOOLEAN)
    v = Apply("select", (Var("c"), Var("v"), Number(0.0, Kind.FLOAT)))
    loop = lanes("n", Load("v", Access(X, J)), Load("c", Access(q, J)), Store(Access(Y, J), v))
    function = Function("by_address", ("n", "one"), (X, q, Y), (loop,), packed=True)
    x, holds = random(5), np.array([True, False, True, True, False])
    arrays = {"x": x, "q": holds, "y": np.zeros(5)}
    return Program(function, (5, 1), arrays, {"y": np.where(holds, x, 0.0)})


def nothing() -> Program:
    """A loop that does not run."""
    loop = lanes("n", Load("v", Access(X, J)), Store(Access(Y, J), Var("v")))
    function = Function("nothing", ("n", "one"), (X, Y), (loop,))
    return Program(function, (0, 1), {"x": np.ones(2), "y": np.zeros(2)}, {"y": np.zeros(2)})


PROGRAMS = [
    strided(),
    backwards(),
    sums(),
    branches(),
    buffered(),
    over_time(descending=False),
    over_time(descending=True),
    after_time(),
    whole_numbers(),
    called(),
    in_blocks(),
    by_address(),
    nothing(),
]
IDS = [p.function.name for p in PROGRAMS]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("program", PROGRAMS, ids=IDS)
def test_programs_run_as_python(program: Program, style: str) -> None:
    module = Module("a program", F64, (*program.others, program.function))
    program.run(getattr(run(module, STYLES[style]), program.function.name))


def run(module: Module, style: Style = KERNELS) -> Any:
    return interpreted.Interpreted(write(module, style).text)


@pytest.mark.parametrize("style", STYLES)
def test_programs_compiled(style: str) -> None:
    """All of them in one module, which compiles once. Of pointers there are no slices."""
    chosen = [p for p in PROGRAMS if style == "sequences" or not (p.others or p.function.packed)]
    functions = [f for p in chosen for f in (*p.others, p.function)]
    text = write(Module("programs of tests/test_loops.py", F64, tuple(functions)), STYLES[style])
    for module in (compiled(text), runtime.load(text.text)):  # by LLVM at once, and by way of numba
        for program in chosen:
            program.run(getattr(module, program.function.name))


def test_an_end_with_an_error() -> None:
    below = Apply("<", (Index(Linear.of("n")), Number(0, Kind.INTEGER)))
    function = Function("kernel", ("n",), (), (Branch(below, (Fail("out of range"),)),))
    code = run(Module("an end", F64, (function,)))
    code.kernel(0)
    with pytest.raises(IndexError, match="out of range"):
        code.kernel(-1)


def test_each_line_knows_its_statement() -> None:
    for program in PROGRAMS:
        for style in STYLES.values():
            module = Module("a program", F64, (*program.others, program.function))
            text = write(module, style)
            lines = text.text.splitlines()
            assert len(lines) == len(text.statements)
            wanted = {id(s) for f in module.functions for s in walk(f.body)}
            assert {id(s) for s in text.statements if s is not None} == wanted
            for line, s in zip(lines, text.statements, strict=True):
                assert not isinstance(s, Store) or re.match(r" +\w+\[.*\] = ", line)


# --- the check --------------------------------------------------------------------------------------

V = Var("v")
READ = Load("v", Access(X, J))
WRITE = Store(Access(Y, J), V)


def function_of(*body: Statement, arrays: tuple[Array, ...] = (X, Y), **more: Any) -> Function:
    return Function("f", ("n", "one"), arrays, body, **more)


WRONG: dict[str, tuple[Function, str]] = {
    "a number that is not there": (
        function_of(Store(Access(Y, Linear()), V)),
        "['v'] are read before they are there in a Store",
    ),
    "a number that comes later": (
        function_of(lanes("n", WRITE, READ)),
        "['v'] are read before they are there in a Store",
    ),
    "a number of another loop": (
        function_of(lanes("n", READ), lanes("n", Store(Access(Y, K), V), index="k")),
        "['v'] are read before they are there",
    ),
    "a number of one way of a branch": (
        function_of(
            Branch(Number(True, Kind.BOOLEAN), (Let("v", Number(1.0, Kind.FLOAT)),)),
            Store(Access(Y, Linear()), V),
        ),
        "['v'] are read before they are there",
    ),
    "a size that is not there": (
        function_of(lanes("m", READ)),
        "['m'] are read before they are there in a Loop",
    ),
    "a loop as long as its own index": (
        function_of(lanes("j", READ)),
        "['j'] are read before they are there in a Loop",
    ),
    "a size in a number": (
        function_of(Store(Access(Y, Linear()), SizeNumber(1.0, "B", 0, 1, Kind.FLOAT))),
        "['B'] are read before they are there",
    ),
    "an index after its loop": (
        function_of(lanes("n", READ), Store(Access(Y, J), Number(0.0, Kind.FLOAT))),
        "['j'] are read before they are there in a Store",
    ),
    "a name given twice": (
        function_of(lanes("n", READ), lanes("n", READ)),
        "'v' is given twice in a Load",
    ),
    "an index within its loop": (
        function_of(axis("j", "n", lanes("n", READ))),
        "'j' is given twice in a Loop",
    ),
    "a number set before it is there": (
        function_of(Set("v", Number(0.0, Kind.FLOAT))),
        "'v' is set before it is there in a Set",
    ),
    "an array that is not given": (
        function_of(lanes("n", READ), arrays=(Y,)),
        "the array 'x' is not given to the function in a Load",
    ),
    "an array of a call that is not given": (
        function_of(Call("transpose", (Address(X), *[Linear()] * 8)), arrays=(Y,)),
        "the array 'x' is not given to the function in a Call",
    ),
    "two arrays of one name": (
        function_of(arrays=(X, dataclasses.replace(X, kind=Kind.INTEGER))),
        "two arrays have one name",
    ),
    "an input that is written": (
        function_of(Store(Access(X, Linear()), Number(0.0, Kind.FLOAT))),
        "'x' is written, and is input in a Store",
    ),
    "a table that is added to": (
        function_of(
            Accumulate(
                Access(Array("t", Kind.INTEGER, Role.TABLE), Linear()),
                "int_add",
                Number(1, Kind.INTEGER),
            ),
            arrays=(Array("t", Kind.INTEGER, Role.TABLE),),
        ),
        "'t' is written, and is table in a Accumulate",
    ),
    "an element of a packed matrix": (
        function_of(
            Load("v", Access(Array("z", Kind.FLOAT, Role.PACKED), Linear())),
            arrays=(Array("z", Kind.FLOAT, Role.PACKED),),
        ),
        "an element of 'z', which is packed in a Load",
    ),
    "a loop in a loop over lanes": (
        function_of(lanes("n", axis("k", "n"))),
        "it stands inside of a loop over lanes in a Loop",
    ),
    "a branch in a loop over lanes": (
        function_of(lanes("n", READ, Branch(Number(True, Kind.BOOLEAN), (WRITE,)))),
        "it stands inside of a loop over lanes in a Branch",
    ),
    "a place that a loop over lanes computes": (
        function_of(lanes("n", Let("k", Index(J)), Load("v", Access(X, K)), WRITE)),
        "['k'] are read for a place before they are there in a Load",
    ),
    "a routine that is not there": (
        function_of(Call("loop7", (X,))),
        "'loop7' is called, and there is no such routine in a Call",
    ),
    "a matrix kernel with too few arguments": (
        function_of(Call("multiply", (Address(X), Address(Y)))),
        "'multiply' is given 2 arguments, not 8 in a Call",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_program_is_refused(name: str) -> None:
    function, message = WRONG[name]
    with pytest.raises(check.WrongProgram) as error:
        check.checked(Module("wrong", F64, (function,)))
    assert str(error.value) == f"f: {message}" or str(error.value).startswith(f"f: {message}")


def test_a_call_is_given_what_the_function_takes() -> None:
    program = called()
    [inner], function = program.others, program.function
    check.checked(Module("right", F64, (inner, function)))
    first = function.body[0]
    assert isinstance(first, Call)
    for arguments, message in (
        (first.arguments[:-1], "'copies' is given 5 arguments, not 6"),
        (
            (X, dataclasses.replace(Y, kind=Kind.INTEGER), *first.arguments[2:]),
            "not given an array as 'b'",
        ),
    ):
        call = dataclasses.replace(first, arguments=arguments)
        given = (X, call.arguments[1])
        changed = dataclasses.replace(function, arrays=given, body=(call,))
        with pytest.raises(check.WrongProgram, match=message):
            check.checked(Module("wrong", F64, (inner, changed)))


def test_right_programs_pass_the_check() -> None:
    for program in PROGRAMS:
        module = Module("a program", F64, (*program.others, program.function))
        assert check.checked(module) is module


def test_the_check_is_on_for_all_that_the_compiler_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    """`conftest.py` switches it on, and it looks at every function of every kind of program."""
    assert check.enabled
    looked: list[str] = []
    monkeypatch.setattr(check, "_Check", lambda module, function: looked.append(function.name))
    with interpreted.interpreting():
        x = tg.tensor(random(2, 3, 4), requires_grad=True)
        cell = tg.cells.GRU(4, 4, rng=0, dtype=np.float64)
        tg.unroll(tg.jit(cell), x)
        assert {"forward", "backward"} <= set(looked)
        looked.clear()
        tg.jit(lambda x: (tg.tanh(x) * x + 1.0).sum())(tg.tensor(random(30, 30)))
        assert looked == ["kernel"]
        looked.clear()
        assert tg.tanh(tg.tensor(random(600, 600))).shape == (600, 600)
        assert looked in ([], ["kernel"])  # unless another test has had the kernel of tanh


def test_a_wrong_program_says_where_it_comes_from() -> None:
    node = (tg.tensor(1.0, requires_grad=True) * 2.0).node
    from tinygrad_rnn.loops.ir import Origin

    store = Store(Access(Y, Linear()), V, origin=Origin("multiply", node))
    with pytest.raises(check.WrongProgram, match=r"\(multiply \(at test_loops\.py:\d+\)"):
        check.checked(Module("wrong", F64, (function_of(store),)))


# --- sharing ----------------------------------------------------------------------------------------

ARRAYS = [data(f"a{k}", Role.SCRATCH) for k in range(6)]


def long_loop(k: int, source: Array, target: Array, **changes: Any) -> Loop:
    """Return a loop of thirty statements, with names of its own."""
    number = changes.get("number", 0.5)
    begin, stride = Linear.of(changes.get("begin", 0)), changes.get("stride", 1)
    lane, combine = Linear.of(f"j{k}"), changes.get("combine", "*")
    body: list[Statement] = [Load(f"v{k}_0", Access(source, begin + lane))]
    for n in range(28):
        value = Apply(combine, (Var(f"v{k}_{n}"), Number(number, Kind.FLOAT)))
        body.append(Let(f"v{k}_{n + 1}", Apply("sin", (value,))))
    last: Scalar = Var(f"v{k}_28")
    if "dtype" in changes:
        wide = Apply("int64_of", (Apply("*", (last, Number(1000.0, Kind.FLOAT))),))
        last = Convert(Kind.FLOAT, Convert(Kind.INTEGER, wide, np.dtype(changes["dtype"])))
    body.append(Store(Access(target, lane * stride + changes.get("to", 0)), last))
    return Loop(lane.terms[0][0][0], Linear.of(changes.get("n", "B")), tuple(body), LoopKind.LANES)


def sharing_module(*changes: dict[str, Any], **more: Any) -> Module:
    loops = tuple(
        long_loop(k, ARRAYS[2 * k], ARRAYS[2 * k + 1], **c) for k, c in enumerate(changes)
    )
    function = Function("forward", ("B", "one"), tuple(ARRAYS), loops, **more)
    return Module("loops", F64, (function,))


def compare_shared(module: Module) -> Module:
    """Run a module as it is and with shared loops on the same numbers, and return the latter."""
    found = shared(module)
    results = []
    for one in (module, found):
        arrays = [np.random.default_rng(k).normal(size=40) for k in range(6)]
        given: list[Any] = list(arrays)
        if one.functions[-1].packed:
            given = [np.array([a.ctypes.data for a in arrays], np.int64)]
        with np.errstate(all="ignore"):
            run(one, SEQUENCES).forward(7, 1, *given)
        results.append(arrays)
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(np.abs(a).sum() for a in results[0])
    return found


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ({}, {}, True),
        ({}, {"number": 0.25}, False),
        ({"number": 0.0}, {"number": -0.0}, False),
        ({"number": 1}, {"number": 1.0}, False),
        ({"dtype": np.int8}, {"dtype": np.int16}, False),
        ({"dtype": np.int8}, {"dtype": np.int8}, True),
        ({}, {"combine": "+"}, False),
        ({}, {"begin": 3}, True),
        ({"begin": "B"}, {"begin": 3}, True),
        ({}, {"to": 2}, True),
        ({}, {"stride": 2}, False),
        ({}, {"n": 5}, False),
        ({"n": 6}, {"n": 5}, False),
    ],
)
def test_loops_that_are_alike(one: dict[str, Any], other: dict[str, Any], alike: bool) -> None:
    """Places that differ are arguments of one function; whatever else differs makes another."""
    found = compare_shared(sharing_module(one, other))
    names = [f.name for f in found.functions]
    forward = found.functions[-1]
    calls = [s for s in forward.body if isinstance(s, Call)]
    if names == ["loop0", "forward"]:
        assert len(calls) == 2 and calls[0] != calls[1]
    same_place = not (one.keys() | other.keys()) & {"begin", "to"}
    assert (names == ["loop0", "forward"]) == alike or (not same_place and names == ["forward"])


def test_loops_with_offsets_are_one_function() -> None:
    changes = {"begin": 3, "to": 1}, {"begin": 5, "to": 2}, {"begin": 1, "to": 7}
    found = compare_shared(sharing_module(*changes))
    assert [f.name for f in found.functions] == ["loop0", "forward"]
    [inner, forward] = found.functions
    assert len([s for s in walk([*inner.body, *forward.body]) if isinstance(s, Loop)]) == 1


def test_arrays_that_are_the_same_make_another_loop() -> None:
    """A loop that writes where it reads is no loop that writes elsewhere."""
    a, b, c = ARRAYS[:3]
    loops = (long_loop(0, a, b), long_loop(1, c, c))
    module = Module("loops", F64, (Function("forward", ("B", "one"), tuple(ARRAYS), loops),))
    assert [f.name for f in compare_shared(module).functions] == ["forward"]


def test_short_loops_stay_where_they_are() -> None:
    def short(k: int) -> Loop:
        lane = Linear.of(f"j{k}")
        read = Load(f"v{k}", Access(ARRAYS[0], lane))
        store = Store(Access(ARRAYS[k], lane), Var(f"v{k}"))
        return Loop(f"j{k}", Linear.of("B"), (read, store), LoopKind.LANES)

    def module(**more: Any) -> Module:
        loops = tuple(short(k) for k in range(1, 4))
        return Module("l", F64, (Function("forward", ("B", "one"), tuple(ARRAYS), loops, **more),))

    assert len(compare_shared(module()).functions) == 1
    assert len(compare_shared(module(packed=True)).functions) == 2  # there all are functions


def test_loops_that_work_on_numbers_from_outside_stay_where_they_are() -> None:
    """The softmax of a value without rows has its sum as a number of the step."""

    def cell(x: Any, h: Any) -> Any:
        m = (h * x).sum(axis=0)
        for _ in range(8):
            m = tg.softmax(tg.tanh(m[::-1]) * 2.0 + 1.0, -1)
        h = h + m
        return h, h

    x, h = tg.tensor(random(2, 3, 6)), tg.tensor(random(3, 6), requires_grad=True)
    with interpreted.interpreting():
        results = []
        for one in (cell, tg.jit(cell)):
            h.grad = None
            y, _ = tg.unroll(one, x, h)
            (y * y).sum().backward()
            assert h.grad is not None
            results.append((y.numpy(), h.grad.numpy()))
        explained = str(one.explain())  # also what is computed outside of loops and not stored
    assert "max" in explained
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)


# --- lifting ----------------------------------------------------------------------------------------


def row_function(n: int, m: int, number: float) -> Function:
    """Y[i] = c * x[i, :].sum() + c + x[i, 2] - x[i, 3], with a buffer as long as a row."""
    w = data("w", Role.SCRATCH)
    row = [
        Let("a", Number(0.0, Kind.FLOAT)),
        lanes(
            m,
            Load("v", Access(X, place("i") * m + J)),
            Store(Access(w, J), Apply("*", (Var("v"), Number(number, Kind.FLOAT)))),
        ),
        lanes(m, Load("u", Access(w, K)), Set("a", Apply("plus", (Var("a"), Var("u")))), index="k"),
        *[Load(f"x{k}", Access(X, place("i") * m + k)) for k in (2, 3)],
        Let("b", Apply("+", (Var("a"), Number(number, Kind.FLOAT)))),
        Let("c", Apply("-", (Var("x2"), Var("x3")))),
        Store(Access(Y, place("i") * 2 + 3), Apply("+", (Var("b"), Var("c")))),
    ]
    body = (Buffer(w, Linear.of(m)), axis("i", n, *row))
    return Function("kernel", (), (X, Y), body)


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_one_text_for_several_sizes(dtype: np.dtype[Any]) -> None:
    texts = set()
    for n, m, number in ((4, 70, 1.7), (9, 100, -0.3), (3, 1000, 1e-3)):
        lifted = Lifted(row_function(n, m, number), dtype)
        assert lifted.sizes.dtype == np.int64 and lifted.numbers.dtype == dtype
        same(lifted.numbers, np.array([number], dtype))
        text = write(Module("rows", dtype, (lifted.function,)), KERNELS).text
        texts.add(text)
        x = np.random.default_rng(m).normal(size=(n, m)).astype(dtype)
        y = np.zeros(2 * n + 3, dtype)
        interpreted.Interpreted(text).kernel(lifted.sizes, lifted.numbers, x.ravel(), y)
        c = dtype.type(number)
        expected = (x.astype(float) * c).sum(1) + c + x[:, 2] - x[:, 3]
        np.testing.assert_allclose(y[3::2], expected, rtol=1e-3 if dtype == F32 else 1e-12)
        assert not y[:3].any() and not y[4::2].any()
    assert len(texts) == 1


def test_what_stays_in_the_text() -> None:
    """Short innermost loops, strides of one, and numbers such as 1 and 2 do."""
    text = {
        (n, number): write(Module("m", F64, (Lifted(row_function(5, n, number), F64).function,)), KERNELS).text
        for n in (3, 4)
        for number in (0.5, -2.0, 0.0, -0.0, math.inf)
    }  # fmt: skip
    assert len(set(text.values())) == len(text)
    sizes = {tuple(Lifted(row_function(5, n, 2.0), F64).sizes) for n in (3, 4)}
    assert all(len(Lifted(row_function(5, n, 2.0), F64).numbers) == 0 for n in (3, 4))
    assert len(sizes) == 2


def test_a_number_that_is_too_large_is_infinite_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lifted = Lifted(row_function(4, 70, 1e300), F32)
    assert lifted.numbers.tolist() == [math.inf]
