"""What every published cell is checked with.

How it is made, and its comparison with the reference on plain numbers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn.core.tree import leaves, unflatten
from tinygrad_rnn.recurrent.products import Around, around

from .cell_references import REFERENCES, SPECIAL

T, BATCH, INPUT, HIDDEN = 3, 2, 2, 3


class Case(NamedTuple):
    """A cell as it is checked.

    `inputs` draws a sequence (T, BATCH, ...) or a tuple of them; `smooth` is False where a
    surrogate takes the place of the derivative, or a state is that of no memory at all, beside
    which the function of a unit is another; `options` are those of the constructor.
    """

    cell: Any  # the class
    sizes: tuple[Any, ...] = (INPUT, HIDDEN)
    options: dict[str, Any] = {}  # noqa: RUF012
    inputs: Callable[[np.random.Generator], Any] = lambda rng: rng.normal(size=(T, BATCH, INPUT))
    smooth: bool = True
    # from a generator and the first state to a random state
    state: Callable[[np.random.Generator, Any], Any] | None = None
    scale: float = 0.6  # of the random parameters
    positive: tuple[str, ...] = ()  # the parameters that only make sense above 0: uniform on [1, 2]
    training: bool = True

    def __str__(self) -> str:
        return "-".join([self.cell.__name__, *(f"{k}={v}" for k, v in self.options.items())])

    def make(self, dtype: Any = np.float64) -> Any:
        """A cell with random parameters, so that no special first value hides a fault."""
        rng = np.random.default_rng(7)
        cell = self.cell(*self.sizes, **self.options, rng=rng, dtype=dtype)
        for name, p in cell.named_parameters():
            values = (
                rng.uniform(1, 2, size=p.shape)
                if name in self.positive
                else self.scale * rng.normal(size=p.shape)
            )
            p.data = values.astype(dtype)
        return cell if self.training else cell.eval()

    def draw(self, cell: Any, rng: np.random.Generator) -> tuple[Any, Any]:
        """A sequence and a first state, both random."""
        first = cell.initial_state(BATCH)
        state = (
            self.state(rng, first)
            if self.state
            else [0.5 * rng.normal(size=s.shape) for s in leaves(first)]
        )
        return self.inputs(rng), unflatten(first, list(state))


def classes() -> dict[str, type[tg.Cell]]:
    """The cells of the zoo by name."""
    found = {name: getattr(tg.cells, name) for name in tg.cells.__all__}
    return {
        name: kind for name, kind in found.items() if inspect.isclass(kind) and issubclass(kind, tg.Cell) and name != "PublishedCell"
    }  # fmt: skip


GROUPS = {
    name: [Case(kind, **how) for how in SPECIAL.get(name, [{}])] for name, kind in classes().items()
}
CASES = [case for group in GROUPS.values() for case in group]


class Rows(Around):
    """Sees to it that the operands that a wrapper would mask have a row for each of the batch, as a weight has not."""

    def operand(self, owner: Any, name: str, value: Any, original: Any) -> Any:
        assert all(part.shape[0] == BATCH for part in leaves(value)), name
        return value


def check_reference(case: Case) -> None:
    """Outputs and states of every step and row equal the reference's, from a random state and from the cell's own first one."""
    cell = case.make()
    for own in (False, True):
        xs, state = case.draw(cell, np.random.default_rng(11))
        _compare(case, cell, xs, cell.initial_state(BATCH) if own else state)


def _compare(case: Case, cell: Any, xs: Any, state: Any) -> None:
    p = {name: value.tolist() for name, value in cell.state_dict().items()}
    expected = [
        [
            s.numpy()[b].tolist() if isinstance(s, tg.Tensor) else np.asarray(s)[b].tolist()
            for s in leaves(state)
        ]
        for b in range(BATCH)
    ]
    state = unflatten(
        state, [s.detach() if isinstance(s, tg.Tensor) else tg.tensor(s) for s in leaves(state)]
    )
    parts = xs if isinstance(xs, tuple) else (xs,)
    for t in range(T):
        step = tuple(tg.tensor(x[t]) for x in parts)
        with tg.no_grad(), tg.at_step(t, cell=str(case)), around(Rows()):
            y, state = cell(step if isinstance(xs, tuple) else step[0], state)
        for b in range(BATCH):
            row = tuple(x[t][b].tolist() for x in parts)
            output, expected[b] = REFERENCES[case.cell.__name__](
                p, row if isinstance(xs, tuple) else row[0], expected[b], cell
            )
            np.testing.assert_allclose(
                y.numpy()[b], output, rtol=1e-10, atol=1e-12, err_msg=f"output of step {t}, row {b}"
            )
            found = leaves(state)
            assert len(found) == len(expected[b]), "number of state components"
            for k, (s, e) in enumerate(zip(found, expected[b], strict=True)):
                where = f"state component {k} after step {t}, row {b}"
                np.testing.assert_allclose(
                    s.numpy()[b].tolist(), e, rtol=1e-10, atol=1e-12, err_msg=where
                )
