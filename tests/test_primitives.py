"""Every primitive, from its entry in the registry: derivatives, shapes, dtypes, traces and kernels.

An entry has to be testable: an elementwise one by its `domain` (and `examples` for its params), any
other by its `examples`. From these the cases are made: one function of floating inputs each,
together with the inputs. `gradient_cases` and `check_gradients` also serve the mutation run
(``python -m tests.mutants``).
"""

from __future__ import annotations

import functools
import inspect
import re
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.core.primitive import LARGE, REGISTRY, Primitive
from tinygrad_rnn.core.record import apply
from tinygrad_rnn.kernels import runtime
from tinygrad_rnn.loops.elementwise import ElementwiseKernel as Chain
from tinygrad_rnn.nn import ctc  # noqa: F401  (for the registry)
from tinygrad_rnn.ops import (  # noqa: F401  (windows: for the registry)
    activations,
    along,
    contracting,
    counting,
    custom,
    decompositions,
    determinants,
    diagonals,
    elementary,
    elementwise,
    fourier,
    indexing,
    linalg,
    linear,
    order,
    penalties,
    reductions,
    scattering,
    shaping,
    shifting,
    special,
    taking,
    windows,
)
from tinygrad_rnn.recurrent import checkpoint  # noqa: F401

# A dot in the name: an operation that some other test made. "_d0": the derivative of one that is a
# program.
NAMES = [name for name in REGISTRY if "." not in name and not re.search(r"_d\d+$", name)]
OPERATIONS = {op.primitive.name: op for module in (elementwise, activations, elementary, special, penalties, linear, contracting, diagonals, order, counting, linalg, decompositions, determinants, fourier, reductions, shaping, indexing, custom) for op in vars(module).values()
              if isinstance(getattr(op, "primitive", None), Primitive)}  # fmt: skip
FLOATS = [np.dtype(np.float32), np.dtype(np.float64)]


class Case(NamedTuple):
    """A function of floating tensors, and where to try it."""

    name: str
    label: str
    function: Callable[..., Any]
    inputs: list[Any]

    def __str__(self) -> str:
        return f"{self.name}-{self.label}"


def call(entry: Primitive, inputs: Sequence[Any], params: dict[str, Any]) -> Any:
    """The operation as users call it.

    Operations with any number of inputs by way of their primitive.
    """
    if entry.variadic or entry.name not in OPERATIONS:
        return apply(entry, inputs, {**entry.defaults, **params})
    return OPERATIONS[entry.name](*inputs, **params)


def draw(entry: Primitive, position: int, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    """Values spread evenly over the domain of an input, in random order.

    Signs alternate with magnitude where `signed`.
    """
    if is_condition(entry, position):
        n = int(np.prod(shape))
        return rng.permutation(np.arange(n) % 2 == rng.integers(2)).reshape(shape)
    if not takes_floats(entry):
        return rng.integers(0, 9, shape)
    low, high = bounds(entry, position)
    n = int(np.prod(shape))
    values = low + (high - low) * (np.arange(n) + rng.uniform(0.1, 0.9, n)) / max(n, 1)
    if entry.signed:
        values = values * np.where((np.arange(n) + rng.integers(2)) % 2, -1.0, 1.0)
    return rng.permutation(values).reshape(shape)


def bounds(entry: Primitive, position: int) -> tuple[float, float]:
    domain = (-2.0, 2.0) if entry.domain is None else entry.domain
    return domain[position] if isinstance(domain, list) else domain


def is_condition(entry: Primitive, position: int) -> bool:
    """An input of an elementwise operation by which it has no derivative, while it has one by others."""
    return entry.elementwise and bool(entry.rules) and entry.rules[position] is None


def parameter_sets(entry: Primitive) -> list[dict[str, Any]]:
    """For an elementwise entry: its defaults, and the params of its examples."""
    return [{}, *(params for _, params in entry.examples or [] if params)]


# --- cases --------------------------------------------------------------------------------------------------------------

SHAPES: dict[int, list[list[tuple[int, ...]]]] = {
    1: [[(4, 6)], [()], [(0, 3)], [(2, 1, 3)]],
    2: [[(3, 4), (3, 4)], [(3, 4), (4,)], [(4,), (3, 4)], [(3, 4), (3, 1)], [(3, 1), (3, 4)], [(3, 1), (1, 4)], [(1, 4), (3, 1)],
        [(3, 4), ()], [(), (3, 4)], [(), ()], [(1, 1), (2,)], [(2, 1, 3), (2, 1)], [(0, 3), (0, 3)], [(0, 3), (3,)], [(1, 3), (0, 3)]],
    3: [[(3, 4), (3, 4), (3, 4)], [(4,), (3, 4), (3, 1)], [(3, 4), (3, 1), (4,)], [(3, 1), (1, 4), (3, 4)], [(), (3, 4), ()],
        [(3, 4), (), ()], [(3, 1), (4,), ()], [(), (), ()], [(2, 3), (2, 1, 3), ()], [(0, 3), (3,), (0, 3)], [(3,), (0, 3), (1, 3)]],
}  # fmt: skip

# How an input may lie in memory: from the values to an array, and from that to a tensor with these
# values that is not contiguous.
LAYOUTS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "transposed": (lambda a: a.T.copy(), lambda t: t.transpose()),
    "strided": (lambda a: np.repeat(a, 2, axis=-1), lambda t: t[..., ::2]),
    "reversed": (lambda a: np.flip(a).copy(), lambda t: tg.flip(t)),
}


def make_case(entry: Primitive, label: str, values: Sequence[Any], params: dict[str, Any], moving: Sequence[int] | None = None,
              layout: str = "", leaves: bool = False) -> Case:  # fmt: skip
    """The operation on `values`, as a function of those at the positions `moving` (default.

    All floating arrays).

    With `leaves` the other floating arrays become tensors that require gradients, by which nobody
    differentiates.
    """
    floating = [
        i for i, v in enumerate(values) if isinstance(v, np.ndarray) and v.dtype.kind == "f"
    ]
    positions = floating if moving is None else list(moving)
    view = LAYOUTS[layout][1] if layout else None

    def function(*tensors: Any) -> Any:
        full = [
            tg.tensor(v, dtype=tensors[0].dtype, requires_grad=True)
            if leaves and i in floating
            else v
            for i, v in enumerate(values)
        ]
        for i, t in zip(positions, tensors, strict=True):
            full[i] = view(t) if view and t.ndim else t
        out = call(entry, full, params)
        if entry.name == "ctc_alignments":  # what no way reaches is the logarithm of 0, and stays
            out = tg.where(out == -np.inf, 0.0, out)
        return view(out) if view and out.ndim and out.dtype.kind == "f" else out

    pack = LAYOUTS[layout][0] if layout else None
    return Case(
        entry.name,
        label,
        function,
        [pack(values[i]) if pack and values[i].ndim else values[i] for i in positions],
    )


@functools.cache
def cases(name: str) -> list[Case]:
    """All cases of a primitive.

    None if its entry is not complete (`test_entry_is_complete` reports that).
    """
    entry = REGISTRY[name]
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if not is_complete(entry) or not takes_floats(entry):
        return []
    made = [
        *(elementwise_cases(entry, rng) if entry.elementwise else example_cases(entry, rng)),
        *special_cases(entry, rng),
    ]
    # cheap ones first, for the mutation run
    return sorted(made, key=lambda c: sum(x.size for x in c.inputs))


def elementwise_cases(entry: Primitive, rng: np.random.Generator) -> list[Case]:
    found = []
    count = len(entry.inputs)
    for params in parameter_sets(entry):
        tag = "".join(f"-{k}={v}" for k, v in params.items())
        for shapes in SHAPES[count]:
            values = [draw(entry, i, s, rng) for i, s in enumerate(shapes)]
            found.append(
                make_case(
                    entry,
                    "+".join("x".join(map(str, s)) or "scalar" for s in shapes) + tag,
                    values,
                    params,
                )
            )
        full = [draw(entry, i, (3, 4), rng) for i in range(count)]
        found += [
            make_case(entry, f"{layout}{tag}", full, params, layout=layout) for layout in LAYOUTS
        ]
        if count > 1:
            found += alone_cases(entry, full, params, tag)
            for i in range(count):  # a Python number beside a tensor
                if not is_condition(entry, i):
                    numbers = list(full)
                    numbers[i] = float(draw(entry, i, (), rng))
                    found.append(
                        make_case(entry, f"number-{entry.inputs[i]}{tag}", numbers, params)
                    )
            found.append(shared_case(entry, full, params, tag, rng))
    return found


def example_cases(entry: Primitive, rng: np.random.Generator) -> list[Case]:
    found = []
    for k, (given, params) in enumerate(entry.examples):
        values = [
            rng.permuted(np.linspace(-1.9, 2.1, int(np.prod(v)))).reshape(v)
            if isinstance(v, tuple)
            else v
            for v in given
        ]
        found.append(make_case(entry, f"example{k}", values, params))
        found += [
            make_case(entry, f"example{k}-{layout}", values, params, layout=layout)
            for layout in LAYOUTS
        ]
        if len(found[-1].inputs) > 1:
            found += alone_cases(entry, values, params, f"-example{k}")
            shapes = {v.shape for v in values if v.dtype.kind == "f"}
            if len(shapes) == 1:
                found.append(shared_case(entry, values, params, f"-example{k}", rng))
    return found


def alone_cases(
    entry: Primitive, values: list[Any], params: dict[str, Any], tag: str
) -> list[Case]:
    """Only one input is differentiated by: what its rule needs is saved.

    No gradient or tangent arrives at the others.
    """
    floating = [
        i for i, v in enumerate(values) if isinstance(v, np.ndarray) and v.dtype.kind == "f"
    ]
    if len(floating) < 2:
        return []
    kinds = [("alone", False), ("beside-leaves", True)]
    return [
        make_case(entry, f"{kind}{i}{tag}", values, params, [i], leaves=leaves)
        for i in floating
        for kind, leaves in kinds
    ]


def shared_case(
    entry: Primitive, values: list[Any], params: dict[str, Any], tag: str, rng: np.random.Generator
) -> Case:
    """The same tensor as every floating input."""
    floating = [i for i, v in enumerate(values) if v.dtype.kind == "f"]
    x = values[floating[0]]
    if entry.elementwise:
        # the domain that keeps away from zero
        common = max((bounds(entry, i) for i in floating), key=lambda b: b[0])
        x = rng.permuted(np.linspace(*common, x.size)).reshape(x.shape)

    def function(t: Any) -> Any:
        return call(entry, [t if i in floating else v for i, v in enumerate(values)], params)

    return Case(entry.name, f"shared{tag}", function, [x])


def special_cases(entry: Primitive, rng: np.random.Generator) -> list[Case]:
    """Branches of a rule that the cases made from domain and examples do not reach."""
    found = []
    if entry.name == "power":
        positive, both = draw(entry, 0, (3, 4), rng), np.linspace(-2.0, 1.9, 12).reshape(3, 4)
        for exponent in (0, 1, 2, 3, 4, -1, -2, 0.0, 1.0, 2.0, 3.0, 0.5, -1.5):
            x = both if exponent == int(exponent) and exponent >= 0 else positive
            found.append(make_case(entry, f"exponent{exponent}", [x, exponent], {}))
        found += [
            make_case(entry, f"base{base}", [base, both + (3 if base == 0 else 0)], {})
            for base in (0.5, 1, 2.5, 0.0)
        ]
        found.append(
            make_case(
                entry, "negative-base", [both, np.array([2.0, 3.0, 1.0, 0.0])], {}, moving=[0]
            )
        )
        found.append(
            make_case(entry, "exponents-with-zero", [positive, np.array([0.0, 1.0, -1.0, 0.0])], {})
        )
    if entry.name == "norm":
        found.append(
            make_case(
                entry, "zero-elements", [np.array([[0.0, 1.5, -2.0], [0.7, 0.0, 0.0]])], {"axis": 1}
            )
        )
    if entry.name in ("sum", "mean", "max", "min", "logsumexp", "norm"):
        x = draw(entry, 0, (2, 3, 2), rng)
        found += [make_case(entry, f"axis{axis}-keep{keep}", [x], {"axis": axis, "keepdims": keep})
                  for axis in (None, 0, -1, (0, 2), (-1, 0), [1, 2]) for keep in (False, True)]  # fmt: skip
    return found


def gradient_cases(name: str) -> list[Case]:
    return cases(name) if REGISTRY[name].rules else []


def takes_floats(entry: Primitive) -> bool:
    """Whether it is no operation on the bits of integers, for which test_elementary.py has cases."""
    try:
        entry.shape(*[tg.Spec(())] * len(entry.inputs), **entry.defaults)
    except tg.DtypeError:
        return False
    except Exception:
        return True
    return True


def is_complete(entry: Primitive) -> bool:
    if not entry.elementwise:
        return bool(entry.examples)
    varied = {
        k for params in parameter_sets(entry) for k, v in params.items() if v != entry.defaults[k]
    }
    return (
        entry.domain is not None and len(entry.inputs) in SHAPES and varied == set(entry.defaults)
    )


ALL = [case for name in NAMES for case in cases(name)]
DIFFERENTIABLE = [case for name in NAMES for case in gradient_cases(name)]


# --- what is checked -----------------------------------------------------------------------------------------------------


def check_gradients(case: Case) -> None:
    """Both modes, to second order, against finite differences in float64."""
    with np.errstate(all="ignore"):
        tg.gradcheck(case.function, *case.inputs, order=2)
        check_recorded(case)


def check_recorded(case: Case) -> None:
    """A backward pass that is recorded gives the numbers of one that is not.

    The walk takes short cuts on bare arrays.
    """
    found = []
    for create_graph in (False, True):
        xs = [tg.tensor(x, requires_grad=np.asarray(x).dtype.kind == "f") for x in case.inputs]
        out = case.function(*xs)
        if out.dtype.kind != "f" or not out.requires_grad:
            return
        out.backward(np.random.default_rng(0).standard_normal(out.shape), create_graph=create_graph)
        found.append([x.grad.numpy() for x in xs if x.grad is not None])
    for plain, recorded in zip(*found, strict=True):
        np.testing.assert_allclose(recorded, plain, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_entry_is_complete(name: str) -> None:
    entry = REGISTRY[name]
    assert is_complete(entry), (
        f"'{name}' cannot be tested from its entry: an elementwise primitive needs a domain and examples with another value of each "
        "parameter, any other needs examples"
    )
    assert not entry.rules or any(rule is not None for rule in entry.rules)
    assert not entry.elementwise or entry.scalar is not None or entry.body is not None, (
        f"'{name}' has no scalar expression"
    )
    assert entry.elementwise or not entry.rules or entry.linear or entry.tangent, (
        f"'{name}' has no forward mode"
    )


def test_draws_lie_on_both_sides_of_every_kink() -> None:
    kinks: dict[str, list[tuple[dict[str, Any], list[float]]]] = {
        "abs": [({}, [0])], "sign": [({}, [0])], "relu": [({}, [0])], "leaky_relu": [({}, [0])], "elu": [({}, [0])], "floor": [({}, [0])],
        "hard_sigmoid": [({}, [-2.5, 0, 2.5])],
        "clip": [(params, list(params.values())) for params in parameter_sets(REGISTRY["clip"])],
    }  # fmt: skip
    for name, rows in kinks.items():
        for _, places in rows:
            for case in cases(name):
                x = case.inputs[0]
                if x.size >= 24:
                    for place in places:
                        assert (x < place - 1e-3).any() and (x > place + 1e-3).any(), (
                            f"{name} at {place}"
                        )
                assert all(np.abs(x - place).min(initial=1) > 1e-4 for place in places), (
                    f"{name} too near to {places}"
                )
    for name in ("maximum", "minimum"):
        a, b = next(c for c in cases(name) if c.label == "3x4+3x4").inputs
        assert (a < b - 1e-3).any() and (a > b + 1e-3).any()


@pytest.mark.parametrize("case", DIFFERENTIABLE, ids=str)
def test_gradients(case: Case) -> None:
    check_gradients(case)


@pytest.mark.parametrize("case", DIFFERENTIABLE, ids=str)
def test_float32(case: Case) -> None:
    """float32 in gives float32 out and float32 gradients, the same as in float64 but for rounding."""
    results = []
    for dtype in FLOATS:
        xs = [tg.tensor(x, dtype=dtype, requires_grad=True) for x in case.inputs]
        out = case.function(*xs)
        expected = dtype if case.name != "astype" else FLOATS[1]
        assert out.dtype == expected
        seed = np.random.default_rng(0).standard_normal(out.shape)
        out.backward(seed.astype(out.dtype))
        results.append([out.numpy()])
        for x in xs:
            assert x.grad is not None and x.grad.dtype == dtype and x.grad.shape == x.shape
            results[-1].append(x.grad.numpy())
    for single, double in zip(*results, strict=True):
        np.testing.assert_allclose(
            single, double, rtol=2e-5, atol=2e-6 * np.abs(double).max(initial=1.0)
        )


@pytest.mark.parametrize("case", ALL, ids=str)
def test_trace_agrees_with_the_operation(case: Case) -> None:
    """The shape rule gives the shape and dtype of the result.

    The traced program gives its values.
    """
    for dtype in FLOATS:
        arrays = [x.astype(dtype) for x in case.inputs]
        with tg.no_grad():
            eager = np.asarray(case.function(*[tg.tensor(x) for x in arrays]))
        program = tg.trace(case.function, *arrays)
        (spec,) = program.outputs
        assert (spec.shape, spec.dtype) == (eager.shape, eager.dtype)
        (found,) = program(*arrays)
        found = np.asarray(found)
        assert found.dtype == eager.dtype
        np.testing.assert_array_equal(found, eager)


@pytest.mark.parametrize("case", DIFFERENTIABLE, ids=str)
def test_backward_program_agrees_with_backward(case: Case) -> None:
    """The rules on traced tensors give the gradients that they give on arrays."""
    program = tg.trace(case.function, *case.inputs)
    xs = [tg.tensor(x, requires_grad=True) for x in case.inputs]
    out = case.function(*xs)
    if out.dtype.kind != "f" or not out.requires_grad:
        return
    seed = np.random.default_rng(0).standard_normal(out.shape)
    out.backward(seed)
    back = program.backward(program.inputs)
    values = dict(zip(program.inputs, case.inputs, strict=True))
    with np.errstate(all="ignore"):
        for node in program.nodes:
            operands = [
                values[n] if n in values else n.value if hasattr(n, "value") else n
                for n in node.inputs
            ]
            operands = [o.numpy() if isinstance(o, tg.Tensor) else o for o in operands]
            values[node] = np.asarray(apply(node.primitive, operands, node.params))
        found = back(*[values.get(n, seed) for n in back.inputs])
    for x, g in zip(xs, found, strict=True):
        g = np.zeros(x.shape) if g is None else g.numpy() if isinstance(g, tg.Tensor) else g
        assert np.shape(g) == x.shape
        np.testing.assert_allclose(g, x.grad.numpy(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", ["int64", "int32", "bool"])
@pytest.mark.parametrize("name", [n for n in NAMES if REGISTRY[n].elementwise])
def test_shape_rule_of_integers_and_booleans(name: str, kind: str) -> None:
    entry = REGISTRY[name]
    for params in parameter_sets(entry):
        for shapes in SHAPES[len(entry.inputs)][:6]:
            values = [
                np.ones(s, bool) if is_condition(entry, i) else np.full(s, 2 - i).astype(kind)
                for i, s in enumerate(shapes)
            ]
            try:
                eager = call(entry, [tg.tensor(v) for v in values], params)
            except tg.TinygradError:
                assert kind == "bool" and name in ("neg", "positive", "subtract", "sign"), (
                    "NumPy has this for booleans"
                )
                continue
            (spec,) = tg.trace(lambda *xs: call(entry, xs, params), *values).outputs  # noqa: B023
            assert (spec.shape, spec.dtype) == (eager.shape, eager.dtype)
            assert not entry.floating or eager.dtype == np.float32


@pytest.mark.parametrize("name", [n for n in NAMES if not REGISTRY[n].elementwise])
def test_shape_rule_of_integer_examples(name: str) -> None:
    entry = REGISTRY[name]
    assert entry.examples, f"'{name}' needs examples"
    for given, params in entry.examples:
        for kind in ("int64", "bool"):
            values = [np.ones(v, kind) if isinstance(v, tuple) else v for v in given]
            eager = call(entry, [tg.tensor(v) for v in values], params)
            (spec,) = tg.trace(lambda *xs: call(entry, xs, params), *values).outputs  # noqa: B023
            assert (spec.shape, spec.dtype) == (eager.shape, eager.dtype)
            floats = any(v.dtype.kind == "f" for v in values)
            assert not entry.floating or floats or eager.dtype == np.float32


# --- kernels -------------------------------------------------------------------------------------------------------------

needs_numba = pytest.mark.skipif(not runtime.available(), reason="kernels need numba")
ROWS, COLUMNS = 3, 37
# how an input of a kernel over ROWS x COLUMNS lies; each drawn as a whole and then cut
PATTERNS = {
    "full": lambda a: a,
    "row": lambda a: a[0],
    "column": lambda a: a[:, :1],
    "scalar": lambda a: np.asarray(a[0, 0]),
    "strided": lambda a: np.concatenate([a, a], axis=1)[:, : a.shape[1]],
}
# near a zero their error is relative to the terms of a sum
CANCELLING = ("gelu", "gelu_tanh", "logaddexp", "log_sigmoid", "hard_sigmoid")
FUSIBLE = [n for n in NAMES if REGISTRY[n].elementwise and takes_floats(REGISTRY[n])]


def forward_of(entry: Primitive, params: dict[str, Any]) -> Callable[..., Any]:
    """The operation on traced numbers; one that is itself a program is put in node by node."""
    if entry.body is not None:
        return lambda *xs: entry.body()(*xs)[0]  # type: ignore[misc]
    return lambda *xs: apply(entry, xs, {**entry.defaults, **params})


def rules_of(
    entry: Primitive, params: dict[str, Any]
) -> list[tuple[Callable[..., Any], list[str]]]:
    """The rules of an elementwise entry as functions of values, with the names of those."""
    found = []
    for rule in entry.rules if entry.body is None else ():
        if rule is not None:
            names = list(inspect.signature(rule.function).parameters)
            given = {**entry.defaults, **params}
            values = [n for n in names if n not in given]
            found.append(
                (
                    functools.partial(rule.function, **{n: given[n] for n in names if n in given}),
                    values,
                )
            )
    return found


def close(found: Any, expected: Any, ulps: float, floor: float = 0.0) -> None:
    """Equal within some units in the last place of the expected value (or of `floor`, if that is larger)."""
    assert found.dtype == expected.dtype and found.shape == expected.shape
    if found.dtype == np.bool_:
        np.testing.assert_array_equal(found, expected)
        return
    unit = np.spacing(np.maximum(np.abs(expected), np.asarray(floor, expected.dtype)))
    worst = np.abs(found - expected) / unit
    assert worst.max(initial=0) <= ulps, (
        f"{worst.max():.3g} ulp at {np.unravel_index(worst.argmax(), worst.shape)}"
    )


GROUPS = 6


@needs_numba
@pytest.mark.parametrize("group", range(GROUPS))
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_kernels_of_all_operations_and_rules(dtype: np.dtype[Any], group: int) -> None:
    """A few kernels that hold every elementwise operation and every rule, with inputs of every broadcast pattern."""
    rng = np.random.default_rng(7)
    # the first is g
    arrays: list[Any] = [draw(REGISTRY["add"], 0, (ROWS, COLUMNS), rng).astype(dtype)]
    jobs: list[tuple[str, Any, list[int], list[str]]] = []
    patterns = list(PATTERNS.values())
    for name in FUSIBLE[group::GROUPS]:
        entry = REGISTRY[name]
        for params in parameter_sets(entry):
            places = {}
            for i, label in enumerate(entry.inputs):
                places[label] = len(arrays)
                whole = draw(entry, i, (ROWS, COLUMNS), rng)
                lie = patterns[len(arrays) % len(patterns) if i else 0]
                arrays.append(lie(whole if whole.dtype == bool else whole.astype(dtype)))
            values = list(places.values())
            jobs.append((f"{name}{params}", forward_of(entry, params), values, []))
            for rule, names in rules_of(entry, params):
                jobs.append(
                    (
                        f"rule of {name}{params}",
                        rule,
                        values,
                        [str(places.get(n, n)) for n in names],
                    )
                )

    def everything(*xs: Any) -> list[Any]:
        results: list[Any] = []
        latest = None
        for _, function, values, names in jobs:
            if names:
                known = {"g": xs[0], "out": latest}
                results.append(function(*[known[n] if n in known else xs[int(n)] for n in names]))
            else:
                latest = function(*[xs[i] for i in values])
                results.append(latest)
        return results

    chain = Chain(tg.trace(everything, *[tg.Spec((), a.dtype) for a in arrays]))
    assert chain.fusable
    found = chain.run(*arrays)
    expected = chain.program(*arrays)
    for (label, *_), f, e in zip(jobs, found, expected, strict=True):
        e = np.broadcast_to(
            np.asarray(e if not isinstance(e, tg.Tensor) else e.numpy()), (ROWS, COLUMNS)
        )
        exact = not label.startswith(("rule", *CANCELLING))
        try:
            close(
                f,
                e.astype(f.dtype) if e.dtype != np.bool_ else e,
                8 if exact else 32,
                0.0 if exact else 1.0,
            )
        except AssertionError as error:
            raise AssertionError(f"{label}: {error}") from None


def combinations(count: int) -> list[tuple[str, ...]]:
    if count == 1:
        return [(p,) for p in PATTERNS]
    rest = ("full",) * (count - 2)
    return (
        [("full", p, *rest) for p in PATTERNS]
        + [(p, "full", *rest) for p in PATTERNS if p != "full"]
        + [("row", "column", *rest)]
    )


@pytest.mark.full
@needs_numba
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name", FUSIBLE)
def test_kernel_in_every_broadcast_pattern(name: str, dtype: np.dtype[Any]) -> None:
    entry = REGISTRY[name]
    rng = np.random.default_rng(8)
    for params in parameter_sets(entry):
        specs = [
            tg.Spec((), bool if is_condition(entry, i) else dtype) for i in range(len(entry.inputs))
        ]
        chain = Chain(tg.trace(forward_of(entry, params), *specs))
        for pattern in combinations(len(entry.inputs)):
            arrays = []
            for i, p in enumerate(pattern):
                whole = draw(entry, i, (ROWS, COLUMNS), rng)
                arrays.append(PATTERNS[p](whole.astype(bool if whole.dtype == bool else dtype)))
            (found,) = chain.run(*arrays)
            (expected,) = chain.program(*arrays)
            loose = name in CANCELLING
            expected = np.asarray(expected.numpy() if isinstance(expected, tg.Tensor) else expected)
            expected = np.broadcast_to(expected, found.shape)
            expected = expected if expected.dtype == np.bool_ else expected.astype(found.dtype)
            close(found, expected, 32 if loose else 8, 1.0 if loose else 0.0)


@pytest.mark.full
@needs_numba
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name", [n for n in FUSIBLE if REGISTRY[n].rules])
def test_large_arrays_agree_with_small_ones(name: str, dtype: np.dtype[Any]) -> None:
    """Values and gradients on arrays that are large enough for kernels, against those of their parts that are not."""
    entry = REGISTRY[name]
    rng = np.random.default_rng(9)
    rows, columns = 4, LARGE // 4
    for params in parameter_sets(entry):
        values = [draw(entry, i, (rows, columns), rng) for i in range(len(entry.inputs))]
        values = [v if v.dtype == bool else v.astype(dtype) for v in values]
        seed = rng.uniform(-1, 1, (rows, columns)).astype(dtype)
        results = []
        for part in [slice(None), *(slice(i, i + 1) for i in range(rows))]:
            xs = [tg.tensor(v[part], requires_grad=v.dtype != bool) for v in values]
            out = call(entry, xs, params)
            out.backward(seed[part])
            results.append([out.numpy(), *(x.grad.numpy() for x in xs if x.requires_grad)])
        for whole, *parts in zip(*results, strict=True):
            close(whole, np.concatenate(parts), 32, 1.0)


# --- composites ----------------------------------------------------------------------------------------------------------


@tg.elementwise
def user_elementwise(a: Any, b: Any) -> Any:
    return tg.tanh(a * b) / (1.0 + tg.exp(-b)) + tg.where(a > b, a * a, b)


@tg.custom_vjp
def user_product(a: Any, b: Any) -> Any:
    return a * np.sin(b)


@user_product.vjp
def _(g: Any, a: Any, b: Any) -> Any:
    return g * tg.sin(b), g * a * tg.cos(b)


@user_product.jvp
def _(t: Any, out: Any, a: Any, b: Any) -> Any:
    ta, tb = t
    parts = [ta * tg.sin(b)] if ta is not None else []
    parts += [tb * a * tg.cos(b)] if tb is not None else []
    return sum(parts[1:], parts[0])


def uneven(*shape: int) -> Any:
    """Distinct values of both signs, away from zero."""
    n = int(np.prod(shape))
    return (
        np.random.default_rng(n)
        .permutation(np.where(np.arange(n) % 2, 1, -1) * np.linspace(0.4, 1.9, n))
        .reshape(shape)
    )


def zeroed(shape: tuple[int, ...], *places: Any) -> Any:
    x = uneven(*shape)
    for place in places:
        x[place] = 0.0
    return x


Composite = tuple[str, Callable[..., Any], list[Any]]
COMPOSITES: list[Composite] = [
    *((f"{f.__name__}-{'x'.join(map(str, s))}-axis{axis}-keep{keep}", lambda x, f=f, axis=axis, keep=keep: f(x, axis=axis, keepdims=keep),
       [uneven(*s)]) for f in (tg.prod, tg.var, tg.std) for keep in (False, True)
      for s, axis in [((5,), None), ((2, 3), 0), ((2, 3, 2), (0, 2)), ((3, 4), -1)]),
    ("prod-empty", lambda x: tg.prod(x, axis=0), [np.zeros((0, 2))]),
    ("prod-scalar", lambda x: tg.prod(x), [np.array(1.5)]),
    ("prod-one-zero", lambda x: tg.prod(x), [zeroed((5,), 2)]),
    ("prod-two-zeros", lambda x: tg.prod(x), [zeroed((5,), 1, 4)]),
    ("prod-zeros-in-rows", lambda x: tg.prod(x, axis=1), [zeroed((3, 4), (0, 1), (1, 0), (1, 3))]),
    ("cumprod", lambda x: tg.cumprod(x, 0), [uneven(5)]),
    ("cumprod-default-axis", lambda x: tg.cumprod(x), [uneven(2, 3)]),
    ("cumprod-axis", lambda x: tg.cumprod(x, axis=1), [uneven(2, 3, 2)]),
    ("cumprod-empty", lambda x: tg.cumprod(x, 0), [np.zeros((0, 2))]),
    ("cumprod-one-zero", lambda x: tg.cumprod(x), [zeroed((5,), 2)]),
    ("cumprod-two-zeros", lambda x: tg.cumprod(x), [zeroed((5,), 0, 3)]),
    ("var-correction", lambda x: tg.var(x, axis=1, correction=1), [uneven(2, 4)]),
    ("std-correction", lambda x: tg.std(x, axis=0, correction=1.5), [uneven(4, 2)]),
    ("outer", tg.outer, [uneven(3), uneven(2)]),
    ("outer-same", lambda x: tg.outer(x, x), [uneven(3)]),
    ("split-number", lambda x: tg.split(x, 2, axis=1), [uneven(3, 4)]),
    ("split-indices", lambda x: tg.split(x, [1, 4], axis=-1)[::2], [uneven(2, 5)]),
    ("flip-all", tg.flip, [uneven(2, 3)]),
    ("flip-axis", lambda x: tg.flip(x, axis=-1) * x, [uneven(2, 3)]),
    ("flip-axes", lambda x: tg.flip(x, axis=(0, 2)), [uneven(2, 3, 2)]),
    ("einsum-matmul", lambda a, b: tg.einsum("ij,jk->ik", a, b), [uneven(2, 3), uneven(3, 4)]),
    ("einsum-implicit", lambda a, b: tg.einsum("ij,jk", a, b), [uneven(2, 3), uneven(3, 2)]),
    ("einsum-implicit-order", lambda a: tg.einsum("ba", a), [uneven(2, 3)]),
    ("einsum-ellipsis", lambda a, b: tg.einsum("...ij,jk->...ik", a, b), [uneven(2, 2, 3), uneven(3, 2)]),
    ("einsum-ellipsis-both", lambda a, b: tg.einsum("...i,...i->...", a, b), [uneven(2, 3), uneven(3)]),
    ("einsum-ellipsis-implicit", lambda a, b: tg.einsum("i...,i...", a, b), [uneven(3, 2), uneven(3, 2)]),
    ("einsum-ellipsis-broadcast", lambda a, b: tg.einsum("...i,...i->...i", a, b), [uneven(2, 3), uneven(1, 3)]),
    ("einsum-trace", lambda a: tg.einsum("ii->", a), [uneven(3, 3)]),
    ("einsum-trace-implicit", lambda a: tg.einsum("ii", a), [uneven(3, 3)]),
    ("einsum-diagonal", lambda a: tg.einsum("ii->i", a), [uneven(3, 3)]),
    ("einsum-diagonal-product", lambda a, b: tg.einsum("iij,j->i", a, b), [uneven(2, 2, 3), uneven(3)]),
    ("einsum-diagonal-thrice", lambda a: tg.einsum("iii->i", a), [uneven(2, 2, 2)]),
    ("einsum-sum-of-one", lambda a, b: tg.einsum("ij,k->k", a, b), [uneven(2, 3), uneven(2)]),
    ("einsum-three", lambda a, b, c: tg.einsum("ij, jk, k -> i", a, b, c), [uneven(2, 3), uneven(3, 2), uneven(2)]),
    ("einsum-same", lambda a: tg.einsum("ij,kj->ik", a, a), [uneven(2, 3)]),
    ("einsum-scalars", lambda a, b: tg.einsum(",->", a, b), [np.array(1.5), np.array(-0.5)]),
    ("squeeze", lambda x: tg.squeeze(x) * x.squeeze(1), [uneven(3, 1)]),
    ("squeeze-axis", lambda x: tg.squeeze(x, axis=(0, -1)), [uneven(1, 3, 1)]),
    ("expand_dims", lambda x: tg.expand_dims(x, 1) * x, [uneven(3)]),
    ("expand_dims-axes", lambda x: tg.expand_dims(x, (0, -1)), [uneven(2, 3)]),
    ("swapaxes", lambda x: tg.swapaxes(x, 0, -1), [uneven(2, 3, 4)]),
    ("transpose-twice", lambda x: x.transpose(1, 2, 0) * x.T.swapaxes(0, 1), [uneven(2, 3, 2)[:, :, :]]),
    ("getitem-tensor", lambda x: x[tg.tensor([0, 2, 0])], [uneven(3, 2)]),
    ("getitem-tensor-matrix", lambda x: x[tg.tensor([[0, -1], [1, 1]])], [uneven(3, 2)]),
    ("getitem-tensors", lambda x: x[tg.tensor([0, 1, 0]), tg.tensor([2, 0, 2])], [uneven(2, 3)]),
    ("getitem-mask", lambda x: x[tg.tensor([True, False, True])], [uneven(3, 2)]),
    ("getitem-list", lambda x: x[[0, 0, 1]], [uneven(2, 3)]),
    ("getitem-mixed", lambda x: x[tg.tensor([1, 1]), None, 1:], [uneven(2, 3)]),
    ("setitem", lambda x, v: _assigned(x, (slice(None), 1), v), [uneven(2, 3), uneven(2)]),
    ("setitem-number", lambda x: _assigned(x, 0, 2.0) * x, [uneven(2, 3)]),
    ("take-flat-index", lambda x: tg.take(x, np.array([[0, 1], [1, 1]]), axis=1), [uneven(2, 3)]),
    ("take-negative", lambda x: tg.take(x, np.array([-1, 0]), axis=-1), [uneven(2, 3)]),
    ("index_add-collisions", lambda x, v: tg.index_add(x, np.array([1, 1, 0]), v, axis=1), [uneven(2, 3), uneven(2, 3)]),
    ("roll-back", lambda x: tg.roll(x, -2, 1) * x, [uneven(2, 3)]),
    ("pad-one-side", lambda x: tg.pad(x, ((0, 2), (1, 0))), [uneven(2, 2)]),
    ("silu", tg.silu, [uneven(2, 3)]),
    ("gelu", tg.gelu, [uneven(2, 3)]),
    ("silu-strided", lambda x: tg.silu(x.T[::-1]), [uneven(2, 3)]),
    ("user-elementwise", user_elementwise, [uneven(2, 3), uneven(2, 3)[::-1] + 0.03]),
    ("user-elementwise-row", user_elementwise, [uneven(2, 3), uneven(3) + 0.03]),
    ("user-elementwise-column", user_elementwise, [uneven(2, 1), uneven(3) + 0.03]),
    ("user-elementwise-number", lambda a: user_elementwise(a, 0.7), [uneven(3)]),
    ("user-elementwise-same", lambda a: user_elementwise(a, a * 0.9), [uneven(3)]),
    ("custom_vjp", user_product, [uneven(3), uneven(3)[::-1].copy()]),
    ("custom_vjp-alone", lambda b: user_product(np.array([1.0, 2.0, -1.0]), b), [uneven(3)]),
    ("astype-there-and-back", lambda x: (x.astype(np.float64) * x).astype(np.float64), [uneven(3)]),
    ("operators", lambda a, b: (2.0 - a) * (-b) / (3.0 + a * a) + 2.0**a - (b % 1.03) + abs(a) ** b, [uneven(2, 3), uneven(3)]),
    ("matmul-operator", lambda a, b: a @ b @ a, [uneven(2, 3), uneven(3, 2)]),
    ("constant-matmul", lambda b: np.arange(6.0).reshape(2, 3) @ b, [uneven(3, 2)]),
    ("user-twice", lambda x: x * x * x + x, [uneven(3)]),
]  # fmt: skip


def _assigned(x: Any, index: Any, value: Any) -> Any:
    y = x + 0.0
    y[index] = value
    return y


@pytest.mark.parametrize("case", COMPOSITES, ids=lambda c: c[0])
def test_composites(case: Composite) -> None:
    _, function, inputs = case
    tg.gradcheck(function, *inputs, order=2)


@pytest.mark.parametrize("case", COMPOSITES, ids=lambda c: c[0])
def test_traces_of_composites(case: Composite) -> None:
    _, function, inputs = case
    eager = function(*[tg.tensor(x) for x in inputs])
    found = tg.trace(function, *inputs)(*inputs)
    for f, e in zip(found, eager if isinstance(eager, list) else [eager], strict=True):
        np.testing.assert_array_equal(f.numpy() if isinstance(f, tg.Tensor) else f, e.numpy())


@pytest.mark.parametrize("places", [(), (1,), (0, 3), (0, 1, 2, 3, 4)])
def test_prod_and_cumprod_at_zeros(places: tuple[int, ...]) -> None:
    """Exact gradients: the product of the others, computed without division."""
    x = np.array([1.5, -2.0, 0.5, 3.0, -1.0])
    x[list(places)] = 0.0
    t = tg.tensor(x, requires_grad=True)
    tg.prod(t).backward()
    others = [np.prod(np.delete(x, i)) for i in range(x.size)]
    np.testing.assert_array_equal(t.grad.numpy(), others)
    t = tg.tensor(x, requires_grad=True)
    tg.cumprod(t).sum().backward()
    expected = [
        sum(np.prod(np.delete(x[:k], i)) for k in range(i + 1, x.size + 1)) for i in range(x.size)
    ]
    np.testing.assert_allclose(t.grad.numpy(), expected, rtol=1e-15)
    full = tg.hessian(lambda v: tg.prod(v))(tg.tensor(x)).numpy()
    pairs = [
        [0.0 if i == j else np.prod(np.delete(x, [i, j])) for j in range(x.size)]
        for i in range(x.size)
    ]
    np.testing.assert_array_equal(full, pairs)
