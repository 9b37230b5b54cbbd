"""Wrappers that make a cell of other cells: stacks, residual connections; and two directions.

A wrapper takes a cell and is one, so wrappers nest: ``Residual(Zoneout(LSTM(8, 8), 0.1))``.
`Bidirectional` runs over whole sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.errors import ShapeError, TinygradError
from ..core.record import describe
from ..core.tape import at_step, context
from ..core.tree import tree_map
from ..module import Module
from ..ops.shaping import concatenate
from ..recurrent.cell import Cell, name_of, no_cell, plain_of
from ..recurrent.unroll import unroll
from .masks import Masks, dropped, floating, probability


class Wrapper(Cell):
    """A cell around a cell: sizes, first state and input check are those of the inner one.

    Parameters
    ----------
    cell : Cell
        The inner cell.
    """

    def __init__(self, cell: Cell) -> None:
        if not isinstance(cell, Cell):
            way = (
                ""
                if isinstance(cell, (type, Module))
                else ". Give a plain function a class: class My(tg.Cell)"
            )
            raise TinygradError(f"{type(self).__name__} wraps a Cell; found {no_cell(cell)}{way}")
        self.cell = cell
        self.input_size = cell.input_size
        for name in ("hidden_size", "output_size"):
            if hasattr(cell, name):
                setattr(self, name, getattr(cell, name))
        self.name = f"{type(self).__name__}({name_of(cell)})"

    def initial_state(self, batch_size: int) -> Any:
        """Return the first state of the inner cell."""
        return self.cell.initial_state(batch_size)

    def example_input(self, batch_size: int) -> Any:
        """Return the example input of the inner cell."""
        return plain_of(self.cell).example_input(batch_size)

    def mask_places(self, state: Any) -> list[int]:
        """Return the mask places of the inner cell."""
        found: list[int] = plain_of(self.cell).mask_places(state)
        return found

    def check(self, x: Any) -> None:
        """Check the input as the inner cell does."""
        self.cell.check(x)


class Stacked(Cell):
    """Cells one upon the other within a step: the output of each is the input of the next.

    The state is a tuple with the state of each cell.

    Parameters
    ----------
    cells : sequence of Cell
        The cells, the lowest first.
    dropout : float
        Probability with which an element between two cells is zero, in training; the others are
        scaled. A mask is drawn for each sequence and held for all its steps (Gal and Ghahramani
        2016).
    rng : numpy Generator or int, optional
        For the masks.
    """

    def __init__(self, cells: Sequence[Cell], *, dropout: float = 0.0, rng: Any = None) -> None:
        if (
            not isinstance(cells, (list, tuple))
            or not cells
            or not all(isinstance(c, Cell) for c in cells)
        ):
            others = (
                [c for c in cells if not isinstance(c, Cell)]
                if isinstance(cells, (list, tuple))
                else [cells]
            )
            found = f"found {no_cell(others[0])}" if others else "the list is empty"
            raise TinygradError(f"Stacked: expected a list of at least one Cell; {found}")
        self.cells = list(cells)
        for below, above in zip(self.cells, self.cells[1:], strict=False):
            size = getattr(below, "output_size", getattr(below, "hidden_size", None))
            if above.input_size is not None and size is not None and above.input_size != size:
                raise ShapeError(
                    f"Stacked: {name_of(below)} has outputs of size {size}, {name_of(above)} above it expects {above.input_size}"
                )
        self.input_size = self.cells[0].input_size
        self.dropout, self.masks = probability(dropout, "Stacked: dropout"), Masks(rng)
        self.name = f"Stacked({', '.join(name_of(c) for c in self.cells)})"

    def initial_state(self, batch_size: int) -> tuple[Any, ...]:
        """Return the first state of each cell."""
        return tuple(c.initial_state(batch_size) for c in self.cells)

    def example_input(self, batch_size: int) -> Any:
        """Return the example input of the lowest cell."""
        return plain_of(self.cells[0]).example_input(batch_size)

    def mask_places(self, state: Any) -> list[int]:
        """Return the mask places of all cells.

        The numbers of each cell follow those of the cell below it.
        """
        places: list[int] = []
        for cell, s in zip(self.cells, state, strict=True):
            places += [p if p < 0 else p + len(places) for p in plain_of(cell).mask_places(s)]
        return places

    def check(self, x: Any) -> None:
        """Check the input as the lowest cell does."""
        self.cells[0].check(x)

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step through all cells."""
        if not isinstance(state, (tuple, list)) or len(state) != len(self.cells):
            found = len(state) if isinstance(state, (tuple, list)) else f"a {type(state).__name__}"
            raise ShapeError(
                f"Stacked: expected a state for each of {len(self.cells)} cells; found {found}"
            )
        new = []
        for k, (cell, s) in enumerate(zip(self.cells, state, strict=True)):
            if k and self.dropout and self.training:
                x = dropped(
                    floating(x, "Stacked: dropout between two cells"), self.masks, self.dropout, k
                )
            with at_step(context().mark.step, name_of(cell), k):
                x, s = cell(x, s)
            new.append(s)
        return x, tuple(new)


class Residual(Wrapper):
    """A cell whose input is added to its output, y' = y + x; both have one size.

    He et al. 2016; Wu et al. 2016, GNMT. The state is unchanged.

    Parameters
    ----------
    cell : Cell
        The inner cell.
    """

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step."""
        if not hasattr(x, "shape"):
            raise ShapeError(
                f"{self.name}: expected one tensor as the input of a step; found a {type(x).__name__}"
            )
        y, state = self.cell(x, state)
        if tuple(getattr(y, "shape", ())) != tuple(x.shape):
            raise ShapeError(
                f"Residual: the cell's output {describe(y)} and its input {describe(x)} must have one shape"
            )
        return y + x, state


class Bidirectional(Module):
    """Two cells over a sequence, one from each end; called like a recurrent layer.

    M. Schuster and K. K. Paliwal, Bidirectional Recurrent Neural Networks, IEEE Transactions on
    Signal Processing 45 (1997).

    Parameters
    ----------
    forward_cell, backward_cell : Cell
        The cells of the two directions.
    merge : {"concatenate", "sum"}
        How the outputs of the two are joined.
    """

    def __init__(
        self, forward_cell: Cell, backward_cell: Cell, *, merge: str = "concatenate"
    ) -> None:
        if merge not in ("concatenate", "sum"):
            raise TinygradError(
                f"Bidirectional: merge must be 'concatenate' or 'sum'; found {merge!r}"
            )
        for cell in (forward_cell, backward_cell):
            if isinstance(cell, type) or not callable(cell):
                raise TinygradError(f"Bidirectional: expected two cells; found {no_cell(cell)}")
        if forward_cell is backward_cell:
            raise TinygradError(
                "Bidirectional: the two directions need cells of their own; found the same cell twice"
            )
        self.forward_cell, self.backward_cell, self.merge = forward_cell, backward_cell, merge

    def forward(
        self, xs: Any, state: Any = None, lengths: Any = None
    ) -> tuple[Any, tuple[Any, Any]]:
        """Run both cells over a sequence.

        Parameters
        ----------
        xs : Tensor or array, shape (T, batch, ...)
            The sequence.
        state : pair of states, optional
            The first state of each direction.
        lengths : integers, shape (batch,), optional
            As in `unroll`.

        Returns
        -------
        ys : Tensor, shape (T, batch, features)
            The joined outputs.
        state : pair of states
            The last state of each direction.
        """
        if state is not None and (not isinstance(state, (tuple, list)) or len(state) != 2):
            found = (
                f"{len(state)} states"
                if isinstance(state, (tuple, list))
                else f"a {type(state).__name__}"
            )
            raise ShapeError(
                f"Bidirectional: expected a pair of states, (of the forward cell, of the backward cell); found {found}"
            )
        first, second = (None, None) if state is None else state
        ys, last = unroll(self.forward_cell, xs, first, lengths)
        back, last_back = unroll(self.backward_cell, xs, second, lengths, reverse=True)
        if self.merge == "sum":
            return tree_map(lambda a, b: a + b, ys, back), (last, last_back)
        return tree_map(lambda a, b: concatenate([a, b], -1), ys, back), (last, last_back)
