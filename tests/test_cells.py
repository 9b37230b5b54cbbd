"""Every published cell.

Against its equations on plain numbers, by gradcheck to second order, and under faults put in on
purpose.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.core.tree import leaves, unflatten

from .cell_checks import BATCH, CASES, GROUPS, Case, T, check_reference, classes
from .cell_first_values import check_first_values
from .cell_mutants import survivors
from .cell_references import EQUIVALENT, FIRST, REFERENCES
from .fuzz.zoo import extreme
from .interpreted import interpreting


def test_there_are_at_least_45_cells() -> None:
    assert len(classes()) >= 45


def test_each_cell_has_a_reference() -> None:
    assert set(REFERENCES) == set(classes())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equations(case: Case) -> None:
    check_reference(case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_first_states(case: Case) -> None:
    """Zeros, or what the reference says, in every row."""
    cell = case.make()
    found = leaves(cell.initial_state(BATCH))
    p = {name: value.tolist() for name, value in cell.state_dict().items()}
    first = FIRST.get(case.cell.__name__)
    expected = first(p, cell) if first else [np.zeros(s.shape[1:]).tolist() for s in found]
    for s, e in zip(found, expected, strict=True):
        np.testing.assert_allclose(s.numpy().tolist(), [e] * BATCH, rtol=1e-12)


def as_function(case: Case) -> tuple[Any, Any, Any, Any]:
    """The unrolled cell as a function of parameters, first state and inputs, and random values for these."""
    cell = case.make()
    xs, state = case.draw(cell, np.random.default_rng(5))
    owners = {
        n: (m, n.rpartition(".")[2])
        for p, m in cell.named_modules()
        for n in [f"{p}.{k}" if p else k for k in vars(m)]
    }
    parameters = {n: np.array(p.numpy()) for n, p in cell.named_parameters()}
    first = cell.initial_state(BATCH)
    # `run` takes the parameters away, which tell the dtype
    vars(cell)["initial_state"] = lambda batch_size: first

    def run(values: dict[str, Any], state: Any, xs: Any) -> Any:
        for n, v in values.items():
            owner, attribute = owners[n]
            vars(owner)[attribute] = v
        return tg.unroll(cell, xs, state, return_states=True)

    return run, parameters, state, xs


@pytest.mark.parametrize("case", [c for c in CASES if c.smooth], ids=str)
def test_gradients_to_second_order(case: Case) -> None:
    """Through three steps, for every parameter, input and component of the first state."""
    run, parameters, state, xs = as_function(case)
    assert tg.gradcheck(run, parameters, state, xs, order=2, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("step", "slope"),
    [
        (tg.cells.spiking.spike, lambda v: 1 / (1 + 10 * abs(v)) ** 2),
        (tg.cells.skipping.binarize, lambda v: 1.0),
    ],
)
def test_surrogates_in_both_modes(step: Any, slope: Any) -> None:
    """What stands in place of the derivative of a step, at places on both sides of it."""
    places = np.linspace(-1.5, 1.5, 8)
    expected = [slope(v) for v in places.tolist()]
    v = tg.tensor(places, requires_grad=True)
    y = step(v)
    assert set(y.numpy().tolist()) == {0.0, 1.0}
    y.sum().backward()
    assert v.grad is not None
    np.testing.assert_allclose(v.grad.numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(
        tg.jvp(step, [tg.tensor(places)], [tg.tensor(np.full(8, 2.0))])[1].numpy(),
        2 * np.array(expected),
        rtol=1e-12,
    )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_gradient_is_there_and_float32_stays(case: Case) -> None:
    cell = case.make(np.float32)
    xs, state = case.draw(cell, np.random.default_rng(3))
    single = [
        tg.tensor(np.asarray(x, np.float32), requires_grad=True)
        for x in (xs if isinstance(xs, tuple) else (xs,))
    ]
    first = [tg.tensor(np.asarray(s, np.float32), requires_grad=True) for s in leaves(state)]
    ys, states = tg.unroll(
        cell,
        tuple(single) if isinstance(xs, tuple) else single[0],
        unflatten(state, list(first)),
        return_states=True,
    )
    assert ys.shape[:2] == (T, BATCH)
    results = [ys, *leaves(states)]
    rng = np.random.default_rng(0)
    # which the drawn state stood in for
    learned = [s for s in leaves(cell.initial_state(BATCH)) if s.requires_grad]
    total = sum(
        ((y * rng.normal(size=y.shape)).sum() for y in [*results, *learned]), tg.tensor(0.0)
    )
    total.backward()
    for n, p in cell.named_parameters():
        assert p.grad is not None and np.abs(p.grad.numpy()).max() > 0, n
    assert single[0].grad is not None
    for x in [
        *results,
        *(p.grad for p in cell.parameters()),
        *(s.grad for s in first if s.grad is not None),
    ]:
        assert x.dtype == np.float32 and np.isfinite(x.numpy()).all()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_extreme_numbers(case: Case) -> None:
    """Weights, inputs or both of 100 to 10,000, in float32: everything is finite, gradients too."""
    for seed in range(4):
        extreme(case, seed)


@pytest.mark.parametrize(
    ("name", "weights", "expected"),
    [("SLSTM", [[-110], [0], [0.5], [1]], 0.3378347), ("SLSTM", [[-1e4], [-1e4], [0.5], [1]], 0.3378347), ("RWA", [[0.8], [0.5], [-110]], 0.3537238),
     ("RWA", [[0.8], [0.5], [-1e4]], 0.3537238)],
)  # fmt: skip
@pytest.mark.parametrize("how", ["first", "given", "compiled"])
def test_a_small_first_weight_is_the_whole_of_an_average(
    name: str, weights: Any, expected: float, how: str
) -> None:
    """The first step's exponential gate cancels, however small.

    Also from a state of zeros that is given, and with its gradients.
    """
    cell = getattr(tg.cells, name)(1, 1, rng=0)
    cell.W.data = np.array(weights, np.float32)
    xs = np.ones((2, 1, 1), np.float32)
    state = (
        None
        if how == "first"
        else unflatten(cell.initial_state(1), [s * 0 for s in leaves(cell.initial_state(1))])
    )
    with interpreting():
        ys, _ = tg.unroll(tg.jit(cell) if how == "compiled" else cell, xs, state)
        ys.sum().backward()
    np.testing.assert_allclose(ys.numpy()[0], expected, rtol=1e-6)
    assert all(p.grad is None or np.isfinite(p.grad.numpy()).all() for p in cell.parameters())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_cell_can_be_traced(case: Case) -> None:
    """No step looks at a number, so the recorded step is the program for every step."""
    cell = case.make()
    xs, state = case.draw(cell, np.random.default_rng(3))
    x = tuple(p[0] for p in xs) if isinstance(xs, tuple) else xs[0]
    with tg.at_step(0, cell=str(case)):
        program = tg.trace(cell, x, state)
        y, new = cell(
            unflatten(x, [tg.tensor(v) for v in leaves(x)]),
            unflatten(state, [tg.tensor(v) for v in leaves(state)]),
        )
        found = program(*leaves(x), *leaves(state))
    for a, b in zip(found, leaves((y, new)), strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-12)


# which faults show themselves in one draw: the table of those that compute the same is for this one
@pytest.mark.recorded
@pytest.mark.parametrize(
    "name", [pytest.param(g, marks=pytest.mark.full) if k % 2 else g for k, g in enumerate(GROUPS)]
)
def test_faults_are_caught(name: str) -> None:
    """A dropped term, swapped gates, a transposed matrix, the old state.

    Each must disagree with the reference.
    """
    found = survivors(GROUPS[name])
    left = [f"{change}:\n{text}" for change, text in found if (name, change) not in EQUIVALENT]
    assert not left, "\n\n".join(left)
    equivalent = [change for owner, change in EQUIVALENT if owner == name]
    assert sorted(change for change, _ in found) == sorted(equivalent), (
        "an entry of EQUIVALENT is for one change that goes unnoticed"
    )


@pytest.mark.parametrize("name", classes())
def test_first_values(name: str) -> None:
    """Parameters start from what the docstring promises, and those it does not name are zeros or random."""
    check_first_values(name)


@pytest.mark.parametrize("name", classes())
def test_cells_are_short_and_say_where_they_come_from(name: str) -> None:
    kind = classes()[name]
    assert kind.__doc__ is not None
    assert any(f"{year}" in kind.__doc__ for year in range(1986, 2026)), "no year of a paper"
    tree: Any = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    for node in ast.walk(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and isinstance(node.body[0], ast.Expr):
            node.body[0] = ast.Pass()  # the docstring
    lines = [line for line in ast.unparse(tree).splitlines() if line.strip() not in ("", "pass")]
    assert len(lines) <= 27, f"{len(lines)} lines of code"
