"""Where values lie, and which of them share loops: layouts and fusion against independent references.

Programs are random. Where elements lie is compared with NumPy's own views, for two sizes of a batch
that the layout knows as a symbol only. An order of units is right if whatever a unit reads is there.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.fuzz import cells as fuzz_cells
from tests.fuzz import functions as fuzz_functions
from tests.interpreted import interpreting
from tests.loop_language import printed, program_of
from tinygrad_rnn.compiler import fusion, host, lower
from tinygrad_rnn.compiler.fusion import LIMIT, FusionGroup, Rules, fuse
from tinygrad_rnn.compiler.internal import COPY
from tinygrad_rnn.compiler.layout import base, is_view, layout_of
from tinygrad_rnn.compiler.prepare import drop_zeros
from tinygrad_rnn.compiler.program import Builder, given
from tinygrad_rnn.compiler.step import StepProgram
from tinygrad_rnn.compiler.value import CompileError, Value
from tinygrad_rnn.loops import ir
from tinygrad_rnn.loops.linear import Linear

# --- layouts with a batch whose size is not known ---------------------------------------------------

FEATURES = [(6,), (4, 6), (2, 3, 4), (1, 5), (3, 1, 2), ()]
LOOKS: list[Callable[[Any], Any]] = [
    lambda x: x.swapaxes(0, -1),
    lambda x: x.swapaxes(1, -1),
    lambda x: x.transpose((*range(1, x.ndim), 0)),
    lambda x: x.transpose((x.ndim - 1, *range(x.ndim - 1))),
    lambda x: x[:, ::2],
    lambda x: x[..., ::-1],
    lambda x: x[:, ::-1],
    lambda x: x[..., 1:],
    lambda x: x[1:],
    lambda x: x[:, -1],
    lambda x: x[..., 0],
    lambda x: x[0],
    lambda x: x[None],
    lambda x: x[:, None],
    lambda x: x[..., None],
    lambda x: x.reshape((x.shape[0], -1)),
    lambda x: x.reshape((-1, x.shape[-1])),
    lambda x: x.reshape((x.shape[0], 2, -1)),
    lambda x: x.reshape((*x.shape[:-1], -1, 2)),
    lambda x: x.reshape((*x.shape[:-2], -1)),
    lambda x: tg.broadcast_to(x, (2, *x.shape)),
    lambda x: tg.broadcast_to(x[..., None], (*x.shape, 3)),
]


def chain(rng: np.random.Generator, features: tuple[int, ...]) -> Callable[[Any], Any]:
    """Return several looks one after the other, all of which a tensor of two sizes of a batch has."""
    made: Callable[[Any], Any] = lambda x: x  # noqa: E731
    for _ in range(rng.integers(1, 6)):
        look = LOOKS[rng.integers(len(LOOKS))]

        def longer(x: Any, before: Any = made, look: Any = look) -> Any:
            return look(before(x))

        try:
            shapes = [longer(tg.tensor(np.zeros((n, *features)))).shape for n in (11, 13)]
        except (ValueError, IndexError, tg.TinygradError):
            continue
        if 0 not in shapes[0]:
            made = longer
    return made


def step_of(cell: Callable[..., Any], x: Any) -> StepProgram:
    """Record a step with one input and a state of one number."""
    return StepProgram(cell, x, tg.tensor(np.zeros((3, 1))), "cell", [True, True], [], lambda: None)


def number(form: Linear, batch: int) -> int:
    found = eval(str(form), {"B": batch})
    assert isinstance(found, int)
    return found


def elements(value: Value, memory: np.ndarray, batch: int) -> np.ndarray:
    """Return the elements of a value from the memory of its base, one by one."""
    layout = layout_of(value)
    shape = [batch if n == "B" else n for n in value.shape]
    strides = [number(s, batch) for s in layout.strides]
    found = np.empty(shape)
    for index in itertools.product(*map(range, shape)):
        there = number(layout.offset, batch) + sum(
            k * s for k, s in zip(index, strides, strict=True)
        )
        assert 0 <= there < memory.size
        found[index] = memory[there]
    return found


def look_at(seed: int) -> str:
    """Compare one chain of views with NumPy; return what became of it."""
    rng = np.random.default_rng(seed)
    features = FEATURES[rng.integers(len(FEATURES))]
    made = chain(rng, features)
    x = tg.tensor(rng.normal(size=(3, *features)))
    try:
        step = step_of(lambda x, h: (made(x), h), x)
        value = step.outputs[0]
        source = base(value)
    except CompileError:
        return "refused"
    if source is not step.xs[0]:
        return "copied"
    for batch in (2, 5):
        whole = rng.normal(size=(batch, *features))
        memory = np.moveaxis(whole, 0, -1).ravel()  # the batch is last
        expected = made(tg.tensor(whole)).numpy()
        np.testing.assert_array_equal(elements(value, memory, batch), expected)
    return "view" if value is not source else "itself"


@pytest.mark.parametrize("first", range(0, 300, 50))
def test_views_of_a_batch_lie_where_numpy_reads(first: int) -> None:
    found = [look_at(seed) for seed in range(first, first + 50)]
    assert found.count("view") > 15 and set(found) <= {"view", "itself", "copied", "refused"}


def test_a_reshape_that_is_a_copy_of_a_batch() -> None:
    """Features that were exchanged have no strides as one axis; with the batch between neither."""

    def is_one(look: Callable[[Any], Any]) -> bool:
        step = step_of(lambda x, h: (look(x), h), tg.tensor(np.zeros((3, 4, 6))))
        return base(step.outputs[0]) is step.xs[0]

    assert is_one(lambda x: x.reshape((x.shape[0], 24)))
    assert is_one(lambda x: x.swapaxes(0, 1).reshape((2, 2, -1, 6)))
    assert not is_one(lambda x: x.swapaxes(1, 2).reshape((x.shape[0], 24)))
    assert not is_one(lambda x: x[:, ::-1].reshape((x.shape[0], 24)))


# --- fusion -----------------------------------------------------------------------------------------


def members(unit: FusionGroup | Value) -> list[Value]:
    return unit.members if isinstance(unit, FusionGroup) else [unit]


def check_units(values: Sequence[Value], units: Sequence[FusionGroup | Value]) -> None:
    """Check that every value has one place, and that what it reads is there when it runs."""
    place = {v: (k, n) for k, unit in enumerate(units) for n, v in enumerate(members(unit))}
    assert sum(len(members(unit)) for unit in units) == len(place)
    assert place.keys() == {v for v in values if not v.leaf and not is_view(v)}
    for v, (k, n) in place.items():
        unit = units[k]
        group = unit if isinstance(unit, FusionGroup) else None
        for source in v.sources:
            if group is not None and group.where(source) is not None:
                inner = source if source in group.axes else base(source)
                assert place[inner][0] == k and place[inner][1] < n, (v, source)
                assert inner not in group.last
            elif base(source) in place:
                assert place[base(source)][0] < k, (v, source)
        if v.primitive is COPY:
            assert all(
                place[other] < (k, n) for other in v.params.get("upon", ()) if other in place
            )
    for unit in units:
        if isinstance(unit, FusionGroup):
            check_group(unit)


def check_group(group: FusionGroup) -> None:
    """Check that a group is not too large, and that its members have axes of it of their sizes."""
    assert 0 < len(group.members) <= LIMIT
    assert set(group.axes) == set(group.members) and group.last <= set(group.members)
    for member in group.members:
        axes = group.axes[member]
        used = [a for a in axes if a is not None]
        assert len(axes) == len(member.shape) and len(set(used)) == len(used)
        if not group.labels:
            for a, n in zip(axes, member.shape, strict=True):
                assert a is None or group.shape[a] == n


@pytest.fixture
def fused(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Check whatever the compiler fuses; gives for each program the sizes of its groups."""
    found: list[int] = []

    def checked(values: Sequence[Value], rules: Rules) -> list[FusionGroup | Value]:
        units = fuse(values, rules)
        check_units(list(values), units)
        found.extend(len(u.members) for u in units if isinstance(u, FusionGroup))
        return units

    for module in (host, lower):
        monkeypatch.setattr(module, "fuse", checked)
    with interpreting():
        yield found


@pytest.mark.parametrize("first", range(500_000, 500_060, 20))
def test_what_is_read_is_there_in_random_cells(first: int, fused: list[int]) -> None:
    for seed in range(first, first + 20):
        fuzz_cells.case(seed, compiled=False)
    assert len(fused) > 50


@pytest.mark.parametrize("first", range(500_000, 500_060, 20))
def test_what_is_read_is_there_in_random_functions(first: int, fused: list[int]) -> None:
    for seed in range(first, first + 20):
        fuzz_functions.case(seed, compiled=False)
    assert len(fused) > 20


class Drawn:
    """A random program of few shapes, in which nearly everything could share loops."""

    def __init__(self, seed: int, length: int) -> None:
        self.seed, self.length = seed, length

    def __call__(self, *xs: Any) -> list[Any]:
        self.rng, self.known, whole = np.random.default_rng(self.seed), list(xs), xs[0]
        for _ in range(self.length):
            x, way = self.pick(), self.rng.integers(10)
            if way < 5:
                operation = [tg.add, tg.multiply, tg.maximum, tg.subtract][self.rng.integers(4)]
                self.known.append(operation(x, self.pick(x.shape)))
            elif way < 6:
                self.known.append(tg.tanh(x))
            elif way < 8 and x.ndim:
                self.collect(x, whole)
            elif way < 9 and x.ndim == 2:
                self.known.append(x.transpose() if self.rng.integers(2) else x[::-1])
            elif x.shape == whole.shape:
                self.known.append(x @ tg.transpose(whole) @ whole)
        return self.known[len(xs) :]

    def pick(self, shape: tuple[int, ...] | None = None) -> Any:
        """Return a value of those that are new, or given."""
        chosen = [*self.known[-12:], *self.known[:3]]
        chosen = [v for v in chosen if shape is None or v.shape == shape]
        return chosen[self.rng.integers(len(chosen))]

    def collect(self, x: Any, whole: Any) -> None:
        """Reduce a value, and use the result again in the same row."""
        axis, keep = int(self.rng.integers(x.ndim)), bool(self.rng.integers(2))
        found = [tg.sum, tg.max][self.rng.integers(2)](x, axis=axis, keepdims=keep)
        self.known.append(found)
        if x.shape == whole.shape:
            self.known.append(whole * (found if keep else tg.expand_dims(found, axis)))


def values_of(function: Callable[..., Any], *shapes: tuple[int, ...]) -> list[Value]:
    program = tg.trace(function, *[tg.Spec(shape, np.float64) for shape in shapes])
    builder, values = Builder(), list[Value]()
    builder.known.update({node: given(node) for node in program.inputs})
    builder.add(program.nodes, values)
    return values


LOWERED = Rules(
    lower._has_loop,
    lower._is_reduction,
    lambda _: None,
    any_last=True,
    contracts=True,
    repeats=False,
)


@pytest.mark.parametrize("rules", [host.RULES, LOWERED], ids=["of functions", "of cells"])
@pytest.mark.parametrize("seed", range(40))
def test_random_programs_are_in_order(seed: int, rules: Rules) -> None:
    values = values_of(Drawn(seed, 60), (6, 5), (6, 5), (5,))
    units = fuse(values, rules)
    check_units(values, units)
    assert len(units) < len(values)


@pytest.mark.parametrize("rules", [host.RULES, LOWERED], ids=["of functions", "of cells"])
def test_groups_have_a_limit(rules: Rules, monkeypatch: pytest.MonkeyPatch) -> None:
    def long(x: Any) -> Any:
        for _ in range(LIMIT):
            x = tg.tanh(x * 1.5 + 0.25)
        return x

    values = values_of(long, (20, 10))
    units = fuse(values, rules)
    check_units(values, units)
    sizes = [len(members(unit)) for unit in units]
    assert len(values) == 3 * LIMIT and sizes == [LIMIT] * 3
    monkeypatch.setattr(fusion, "LIMIT", 7)
    assert max(len(members(unit)) for unit in fuse(values, rules)) == 7


# --- what depends on it -----------------------------------------------------------------------------


def run_both(
    cell: Callable[..., Any], x: np.ndarray, h: np.ndarray
) -> list[list[np.ndarray | None]]:
    """Return outputs and gradients of a cell over a sequence, plain and compiled."""
    found = []
    for one in (cell, tg.jit(cell)):
        xs, first = (tg.tensor(a, requires_grad=True) for a in (x, h))
        ys, last = tg.unroll(one, xs, first)
        (ys * np.cos(np.arange(ys.size)).reshape(ys.shape)).sum().backward()
        gradients = [None if t.grad is None else t.grad.numpy() for t in (xs, first)]
        found.append([ys.numpy(), last.numpy(), *gradients])
    return found


@pytest.mark.parametrize(
    "slices",
    [
        [(0, 4), (2, 6)],  # some elements twice
        [(0, 3), (3, 6)],  # each once
        [(0, 2), (4, 6)],  # some not at all
        [(0, 6), (1, 3), (2, 5)],
        [(1, 5), (1, 5)],
    ],
)
def test_gradients_of_slices_are_added_where_they_overlap(slices: list[tuple[int, int]]) -> None:
    def cell(x: Any, h: Any) -> Any:
        z = tg.tanh(x + h)
        parts = [tg.sin(z[:, a:b] * (k + 1.0)) for k, (a, b) in enumerate(slices)]
        y = sum(part.sum(axis=1, keepdims=True) for part in parts)
        return y * h, h * 0.5

    rng = np.random.default_rng(0)
    with interpreting():
        plain, compiled = run_both(cell, rng.normal(size=(3, 4, 6)), rng.normal(size=(4, 6)))
    for a, b in zip(plain, compiled, strict=True):
        assert a is not None and b is not None
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("reduce", [tg.max, tg.min], ids=["max", "min"])
@pytest.mark.parametrize("axis", [1, 2, (1, 2)])
def test_the_largest_of_zeros_has_no_sign(reduce: Any, axis: Any) -> None:
    """However the elements are collected: in a register, or in memory with the batch innermost."""

    def cell(x: Any, h: Any) -> Any:
        return reduce(x, axis=axis, keepdims=True) * h, h

    x = np.full((2, 3, 4, 5), -0.0)
    h = np.ones((3, 1, 1))
    with interpreting():
        for found in run_both(cell, x, h):
            assert found[0] is not None and not np.signbit(found[0]).any()


@pytest.mark.parametrize("reduce", [tg.max, tg.min], ids=["max", "min"])
def test_the_largest_of_zeros_in_a_row_that_uses_it_again(reduce: Any) -> None:
    x, y = tg.tensor(np.full((20, 12), -0.0)), tg.tensor(np.ones((20, 12)))
    with interpreting():
        found = tg.jit(lambda x, y: reduce(x * y, axis=-1, keepdims=True) * y)(x, y)
    assert not np.signbit(found.numpy()).any()


def test_zeros_that_are_added_are_dropped_and_zeros_that_are_subtracted_from_are_not() -> None:
    def sums(x: Any) -> Any:
        zero = tg.zeros_like(x)
        return x + zero, zero + x, x - zero, zero - x, zero - zero

    values = values_of(sums, (3, 4))
    before = [v.primitive for v in values]
    drop_zeros(values)
    [zeros, *results] = values
    assert before[0] is zeros.primitive and len(results) == 5
    kept = [v.primitive is b for v, b in zip(results, before[1:], strict=True)]
    assert kept == [False, False, False, True, False]
    assert [v.inputs[0] is results[0].inputs[0] for v in results[:3]] == [True] * 3


def test_a_value_that_is_stored_with_fewer_elements_than_it_has() -> None:
    """Its rows repeat one number, which is all that is stored; others read it along both axes."""

    def f(x: Any, y: Any) -> Any:
        m = tg.exp(x).sum(axis=-1, keepdims=True)
        repeated = tg.tanh(tg.broadcast_to(m, x.shape) * 0.1) * 2.0
        return tg.sin(repeated.T * 1.5) * y + repeated.T, repeated @ y

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 12)), rng.normal(size=(12, 20))
    fast = tg.jit(f)
    with interpreting():
        found = fast(tg.tensor(x), tg.tensor(y))
        kernels = next(iter(fast._programs.values()))._forward.kernels
    assert any((20, 1) in k.shapes for k in kernels) and len(kernels) == 2
    for a, b in zip(found, f(tg.tensor(x), tg.tensor(y)), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)


def test_sums_of_columns_begin_with_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their arrays are given to the loops, which add to what stands there."""
    x = np.random.default_rng(0).normal(size=(20, 12))

    def spoilt(shape: Any, dtype: Any = float, **how: Any) -> np.ndarray:
        return np.full(shape, 77, dtype, **how)

    with interpreting():
        monkeypatch.setattr(np, "empty", spoilt)
        found = tg.jit(lambda x: (tg.tanh(x) * x).sum(axis=0))(tg.tensor(x)).numpy()
        monkeypatch.undo()
    np.testing.assert_allclose(found, (np.tanh(x) * x).sum(axis=0), rtol=1e-5)


@pytest.mark.parametrize(
    ("bend", "op", "times"),
    [
        (lambda h: h * 2 - 1, "subtract", 2),
        (lambda h: -(h * h) + h, "neg", 2),
        (tg.tanh, "tanh", 1),
    ],
    ids=["affine", "polynomial", "costly"],
)
def test_what_is_cheap_is_computed_again_and_not_stored(
    bend: Callable[[Any], Any], op: str, times: int
) -> None:
    """Two loops with a product between them both read a value."""
    W = tg.tensor(np.random.default_rng(1).normal(size=(4, 4)))

    def step(x: Any, h: Any) -> Any:
        both = bend(h)
        y = (tg.sin(h) * both * both) @ W + both
        return y, x * 0.5 + y * 0.1

    xs, h = np.random.default_rng(2).normal(size=(5, 3, 4)), np.full((3, 4), 0.3)
    with interpreting():
        for a, b in zip(*run_both(step, xs, h), strict=True):
            assert a is not None and b is not None
            np.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-12)
    forward = program_of(tg.jit(step), xs, h).functions["forward"].function
    assert printed(forward).count(f"# {op}\n") == times
    # the product, what it is of, what is costly (backward computes it again), and no more
    wanted = 2 + (times == 1)
    assert len([a for a in forward.arrays if a.role is ir.Role.SCRATCH]) == wanted
