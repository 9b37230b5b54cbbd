"""The step of a cell as a map of vectors: its values, its Jacobians, and descent to where it rests.

All rows are independent of each other, so many points are one batch. What is made of the step many
times over is itself a cell (`_Rows`, `_Descent`), and compiled like any other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.errors import DtypeError, ShapeError, TinygradError
from ..core.primitive import Array
from ..core.tape import no_grad
from ..core.tensor import tensor
from ..core.transforms import vjp
from ..core.tree import flatten, leaves, tree_map, unflatten
from ..module import Module
from ..ops.checks import array
from ..ops.elementwise import astype, equal, sqrt
from ..ops.reductions import sum as total
from ..ops.shaping import concatenate, reshape
from ..recurrent.cell import Cell, compiled, component_names, matched, name_of, no_cell, plain_of
from ..recurrent.unroll import unroll

_NUMBERS = 16_000_000  # in the Jacobians of one call: so much memory, whatever the number of rows
_PROBES = 16  # rows on which a cell is looked at before it is believed


class StepMap:
    """The map h -> F(h) of a cell with a constant input, on rows of n numbers.

    Attributes
    ----------
    cell : Cell or callable
        The plain cell.
    name : str
        What messages call it.
    x : tree of ndarrays
        The constant input, one row without the axis of the batch.
    first : tree of ndarrays
        The first state, one row.
    shapes : list of tuple
        The shapes of the components, without the axis of the batch.
    size : int
        How many numbers a state has.
    dtype : dtype
        That of all components.
    """

    def __init__(self, cell: Any, x: Any, state: Any) -> None:
        if not _is_cell(cell):
            raise TinygradError(
                f"dynamics: expected a cell, (x, state) -> (output, state); found {no_cell(cell)}"
            )
        self.cell, self.name = plain_of(cell), name_of(cell)
        self.first = self._first(state)
        names = component_names(self.cell, self.first)
        self.names = list(names)
        parts = leaves(self.first)
        for name, part in zip(names, parts, strict=True):
            if part.dtype != parts[0].dtype or part.dtype.kind != "f":
                raise DtypeError(
                    f"dynamics: {self.name}: component {name} of the state is {part.dtype}; expected floating numbers of one dtype, "
                    "which a fixed point and derivatives are of. A cell that counts its steps has no fixed point: give the count as an input"
                )
        self.shapes = [part.shape[1:] for part in parts]
        self.size, self.dtype = sum(map(math.prod, self.shapes)), parts[0].dtype
        if not self.size:
            raise ShapeError(f"dynamics: {self.name}: its state has no numbers")
        self.cuts = np.cumsum([0, *map(math.prod, self.shapes)]).tolist()
        self.x = self._constant(x)
        self._steps, self._rows, self._descent = (
            compiled(kind(self)) for kind in (_Steps, _Rows, _Descent)
        )
        moved = self._moved(self._refuse_what_is_no_map)
        if moved:
            raise TinygradError(
                f"dynamics: {self.name}: its steps move {moved[0]}, so there is no one map to look at. Call eval() on it"
            )

    def _moved(self, look: Callable[[], None]) -> list[str]:
        """Return which buffers of the cell were moved by a look at it, as they are put back."""
        buffers = dict(self.cell.named_buffers()) if isinstance(self.cell, Module) else {}
        before = {name: np.array(b.numpy()) for name, b in buffers.items()}
        moved: list[str] = []
        try:
            look()
        finally:
            for name, b in buffers.items():
                if not np.array_equal(b.numpy(), before[name], equal_nan=True):
                    b.data = before[name]
                    moved.append(name)
        return moved

    def _first(self, state: Any) -> Any:
        """Return the first state of one row as arrays."""
        if state is None:
            if not hasattr(self.cell, "initial_state"):
                raise TinygradError(
                    f"dynamics: {self.name} is a function, so its state is not known; give one: dynamics(cell, x, state=...), "
                    "each component with a first axis of 1"
                )
            state = self.cell.initial_state(1)
        parts = [(path, array(part, f"dynamics: state{path}")) for path, part in flatten(state)]
        if not parts:
            raise ShapeError(f"dynamics: {self.name}: the state has no components")
        for path, part in parts:
            if part.ndim == 0 or len(part) != 1:
                raise ShapeError(
                    f"dynamics: state{path} has shape {part.shape}; expected one row, a first axis of 1"
                )
        made = unflatten(state, [part for _, part in parts])
        if hasattr(self.cell, "initial_state"):
            self._check(self.cell.initial_state(1), made, "dynamics: state", lambda shape: shape)
        return made

    def _constant(self, x: Any) -> Any:
        """Return a constant input as arrays of one row, without the axis of the batch."""
        if x is None:
            if not isinstance(self.cell, Cell):
                raise TinygradError(
                    f"dynamics: {self.name} is a function, so its input is not known; give one step of it, without the axis of the batch"
                )
            return tree_map(lambda a: np.array(a.numpy()[0]), self.cell.example_input(1))
        made = tree_map(lambda a: self.floating(array(a, "dynamics: x")), x)
        self.check_input(made, "dynamics: x", ())
        return made

    def check_input(self, x: Any, what: str, axes: tuple[int, ...]) -> None:
        """Raise a ShapeError if an input, behind some axes before its own, does not fit the cell."""
        for part in leaves(x):
            if part.ndim < len(axes):
                raise ShapeError(f"{what} has shape {part.shape}; expected (T, batch, ...)")
        if isinstance(self.cell, Cell):
            try:
                self.cell.check(tree_map(lambda a: tensor(a[(0,) * len(axes)][None]), x))
            except ShapeError as error:
                shapes = ", ".join(str(a.shape) for a in leaves(x))
                way = (
                    "(T, batch, ...)"
                    if axes
                    else "one step of one row, without the axis of the batch"
                )
                raise ShapeError(f"{what} has shape {shapes}; expected {way}. {error}") from None

    def floating(self, a: Array) -> Array:
        """Return an input in the dtype of the state, if it is floating."""
        return a.astype(self.dtype) if a.dtype.kind == "f" else a

    def _check(
        self, expected: Any, found: Any, head: str, own: Callable[[Any], tuple[int, ...]]
    ) -> None:
        """Raise a ShapeError if a state has other components, or of other shapes."""
        names = component_names(self.cell, expected)
        for (a, b), name in zip(matched(self.cell, expected, found, head), names, strict=True):
            if own(b.shape) != own(tuple(a.shape)):
                raise ShapeError(
                    f"{head}: {name} has shape {b.shape}; expected (..., {', '.join(map(str, a.shape[1:]))})"
                )

    # --- trees and rows ---------------------------------------------------------------------------

    def rows(self, state: Any, what: str) -> Array:
        """Return states as rows of numbers, (..., n): components may have any axes before their own."""
        state = tree_map(lambda a: array(a, what), state)
        parts = [a for _, a in matched(self.cell, self.first, state, what)]
        lead = None
        for name, part, shape in zip(self.names, parts, self.shapes, strict=True):
            at = part.ndim - len(shape)
            if at < 1 or part.shape[at:] != shape or lead not in (None, part.shape[:at]):
                expected = f"({'..., ' if lead is None else ''.join(f'{n}, ' for n in lead)}{', '.join(map(str, shape))})"
                raise ShapeError(
                    f"{what}: {name} has shape {part.shape}; {self.name} expects {expected}"
                )
            lead = part.shape[:at]
        found = np.concatenate([p.reshape(*lead, -1) for p in parts], axis=-1, dtype=self.dtype)  # type: ignore[misc]
        if not np.isfinite(found).all():
            raise TinygradError(f"{what}: expected finite numbers; found nan or inf")
        return found

    def tree(self, rows: Array) -> Any:
        """Return rows of numbers (..., n) as a state of arrays."""
        parts = [
            rows[..., a:b].reshape(*rows.shape[:-1], *shape)
            for a, b, shape in zip(self.cuts, self.cuts[1:], self.shapes, strict=False)
        ]
        return unflatten(self.first, parts)

    def constant(self, *axes: int) -> Any:
        """Return the constant input as arrays with some axes before its own, such as (T, batch)."""
        return tree_map(lambda a: np.broadcast_to(a, (*axes, *a.shape)).copy(), self.x)

    def inputs(self, count: int, x: Any = None) -> Any:
        """Return the constant input, or rows of others, as tensors of `count` rows."""
        given = self.constant(count) if x is None else x
        return tree_map(lambda a: tensor(np.ascontiguousarray(a)), given)

    def flat(self, x: Any, h: Any) -> Any:
        """Return F(h) of tensors of rows."""
        parts = [
            h[:, a:b] if len(shape) == 1 else reshape(h[:, a:b], (h.shape[0], *shape))
            for a, b, shape in zip(self.cuts, self.cuts[1:], self.shapes, strict=False)
        ]
        _, state = self.cell(x, unflatten(self.first, parts))
        made = leaves(state)
        made = [s if len(s.shape) == 2 else reshape(s, (s.shape[0], -1)) for s in made]
        return made[0] if len(made) == 1 else concatenate(made, axis=1)

    # --- what is computed -------------------------------------------------------------------------

    def step(self, h: Array, x: Any = None) -> Array:
        """Return F(h) of rows (B, n)."""
        return np.asarray(self.run(h, tree_map(lambda a: a[None], self.inputs(len(h), x)))[0])

    def run(self, h: Array, xs: Any) -> Array:
        """Return the states (T, B, n) after each step of a sequence of inputs, from rows (B, n)."""
        with no_grad():
            return np.asarray(unroll(self._steps, xs, tensor(h.copy()))[0].numpy())

    def jacobians(self, h: Array, x: Any = None) -> Array:
        """Return the derivatives dF/dh of rows (B, n), shape (B, n, n): in [b, i, j] of F_i by h_j."""
        out = np.empty((len(h), self.size, self.size), self.dtype)
        width = max(_NUMBERS // self.size**2, 1)
        index = np.arange(self.size, dtype=self.dtype)[:, None, None]
        for a in range(0, len(h), width):
            part = h[a : a + width]
            given = None if x is None else tree_map(lambda v, a=a: v[a : a + width], x)
            state = {"x": self.inputs(len(part), given), "h": tensor(part.copy())}
            with no_grad():
                which = np.broadcast_to(index, (self.size, len(part), 1)).copy()
                found, _ = unroll(self._rows, which, state)
            out[a : a + width] = found.numpy().transpose(1, 0, 2)
        return out

    def finite(self, jacobians: Array, what: str) -> Array:
        """Return Jacobians, or raise a TinygradError if numbers in them are not finite."""
        if not np.isfinite(jacobians).all():
            raise TinygradError(
                f"{what}: {self.name}: a derivative of the step is nan or inf at a state that was reached, so it has no Jacobian there"
            )
        return jacobians

    def descend(self, h: Array, steps: int, rate: float) -> Array:
        """Return rows after so many steps of gradient descent on q, with falling rates."""
        rates = rate * 0.01 ** np.linspace(0.0, 1.0, steps)
        zero = np.zeros_like(h)
        state = {
            "x": self.inputs(len(h)),
            "h": tensor(h.copy()),
            "m": tensor(zero),
            "v": tensor(zero),
        }
        given = np.broadcast_to(rates.astype(self.dtype)[:, None, None], (steps, len(h), 1)).copy()
        with no_grad():
            _, last = unroll(self._descent, given, state)
        return np.array(last["h"].numpy())

    # --- what would give wrong numbers ------------------------------------------------------------

    def _refuse_what_is_no_map(self) -> None:
        """Raise an error for a step that is none of a map with derivatives, row by row."""
        rng = np.random.default_rng(0)
        h, d, u = (rng.standard_normal((_PROBES, self.size)).astype(self.dtype) for _ in range(3))
        h = 0.5 * h + self.rows(self.first, "dynamics: state")
        with no_grad():  # which says what is wrong with a step, in the cell's own words
            two = tree_map(lambda a: a[None], self.inputs(2))
            unroll(self.cell, two, tree_map(lambda a: tensor(np.repeat(a, 2, axis=0)), self.first))
        h = self.step(h) + 0.1 * h.clip(-9, 9)  # near states that are reached
        once, again = self.step(h), self.step(h)
        near = 1e3 * float(np.finfo(self.dtype).eps) * (1 + np.abs(once))
        if (np.abs(once - again) > near).any():
            raise TinygradError(
                f"dynamics: {self.name}: two steps from the same state gave different states, so there is no map to look at. "
                "Call eval() on what draws random masks"
            )
        alone = np.concatenate([self.step(h[k : k + 1]) for k in range(2)])
        if (np.abs(once[:2] - alone) > near[:2]).any():
            raise TinygradError(
                f"dynamics: {self.name}: a row makes another step alone than among {_PROBES} rows, so the rows of a batch are not points "
                "of one map. Call eval() on what normalises over the batch"
            )
        eps = float(np.finfo(self.dtype).eps) ** (1 / 3)
        slopes, wider = (
            (self.step(h + e * d) - self.step(h - e * d)) / (2 * e) for e in (eps, 2 * eps)
        )
        x = self.inputs(_PROBES)
        _, pull = vjp(lambda s: self.flat(x, s), tensor(h))
        found = (pull(tensor(u))[0].numpy() * d).sum(1)
        # each row has its own scale; few rows are at kinks, but what is no derivative is none at most
        scale = np.linalg.norm(u, axis=1) * np.linalg.norm(slopes, axis=1) + np.abs(found)
        # how far differences may be from a derivative: they are by a third of what a wider step changes
        # where the step curves, and they round
        doubt = np.linalg.norm(u, axis=1) * np.linalg.norm(wider - slopes, axis=1)
        error = np.abs(found - (u * slopes).sum(1)) / (scale + 1e-30)
        allowed = doubt / (scale + 1e-30) + max(5 * eps**2, 1e-6)
        k = int(np.argsort(error / allowed)[_PROBES // 2])
        if not error[k] < allowed[k]:
            raise TinygradError(
                f"dynamics: {self.name}: its derivative rules give {found[k]:.4g} along a direction in which its steps change by "
                f"{(u[k] * slopes[k]).sum():.4g}, so its Jacobian would be wrong: a surrogate stands in place of a derivative, or the path of "
                "the gradient is cut (stop_gradient, detach)"
            )


def _is_cell(cell: Any) -> bool:
    """Whether it is a cell, or a function, which is one too."""
    return isinstance(cell, Cell) or (callable(cell) and not isinstance(cell, (type, Module)))


class _Steps(Cell):
    """The cell with its state as rows of numbers, which are its output too."""

    def __init__(self, step_map: StepMap) -> None:
        self.step_map = step_map.flat

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step."""
        h = self.step_map(x, state)
        return h, h


class _Rows(Cell):
    """A row of the Jacobian of each point at each step: from its number, by reverse mode."""

    def __init__(self, step_map: StepMap) -> None:
        self.step_map, self.numbers = step_map.flat, np.arange(step_map.size, dtype=step_map.dtype)

    def forward(self, x: Any, state: Any) -> Any:
        """Pull the unit vector of the row that `x` names back through a step."""
        y, pull = vjp(lambda h: self.step_map(state["x"], h), state["h"])
        unit = astype(equal(x, self.numbers), y.dtype)
        return pull(unit)[0], state


class _Descent(Cell):
    """Gradient descent on q from each row, with the step sizes of Adam.

    D. P. Kingma and J. Ba, Adam, ICLR 2015, arXiv:1412.6980; without its correction at the start.
    """

    def __init__(self, step_map: StepMap) -> None:
        self.step_map = step_map.flat

    def forward(self, rate: Any, state: Any) -> Any:
        """Make one step of descent; the output is q before it."""
        h = state["h"]
        y, pull = vjp(lambda s: self.step_map(state["x"], s), h)
        r = y - h
        g = pull(r)[0] - r
        m, v = 0.9 * state["m"] + 0.1 * g, 0.99 * state["v"] + 0.01 * g * g
        h = h - rate * m / (sqrt(v) + 1e-8)
        return 0.5 * total(r * r, axis=1), {"x": state["x"], "h": h, "m": m, "v": v}
