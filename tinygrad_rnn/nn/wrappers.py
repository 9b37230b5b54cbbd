"""Wrappers that make a cell of any cell: stacks, residual connections, and regularisers with a defined meaning in time.

A wrapper takes a cell and is one, so wrappers nest: ``Residual(Zoneout(LSTM(8, 8), 0.1))``. `Bidirectional` runs over whole sequences.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.errors import DtypeError, ShapeError, TinygradError
from ..core.record import describe
from ..core.tape import at_step, context
from ..core.tensor import Tensor
from ..core.tree import flatten, leaves, pairs, tree_map, unflatten
from ..module import Module, Parameter
from ..ops.checks import shown
from ..ops.elementwise import where
from ..ops.shaping import concatenate
from ..recurrent.cell import Cell, dtype_of, name_of, no_cell
from ..recurrent.outside import stands_for_others
from ..recurrent.unroll import unroll
from .masks import Masks, probability
from .normalization import BatchNorm, LayerNorm


class Wrapper(Cell):
    """A cell around a cell: sizes, first state and input check are those of the inner one."""

    def __init__(self, cell: Cell) -> None:
        if not isinstance(cell, Cell):
            if isinstance(cell, type):
                raise TinygradError(f"{type(self).__name__} wraps a Cell; found {no_cell(cell)}")
            raise TinygradError(
                f"{type(self).__name__} wraps a Cell; found a {type(cell).__name__}. Give a plain function a class: class My(tg.Cell)"
            )
        self.cell = cell
        self.input_size = cell.input_size
        for name in ("hidden_size", "output_size"):
            if hasattr(cell, name):
                setattr(self, name, getattr(cell, name))
        self.name = f"{type(self).__name__}({name_of(cell)})"

    def initial_state(self, batch_size: int) -> Any:
        """That of the inner cell."""
        return self.cell.initial_state(batch_size)

    def check(self, x: Any) -> None:
        """As the inner cell does."""
        self.cell.check(x)


    def one(self, x: Any) -> Any:
        """x, if it is one tensor."""
        if not hasattr(x, "shape"):
            raise ShapeError(f"{self.name}: expected one tensor as the input of a step; found a {type(x).__name__}")
        return x


class Stacked(Cell):
    """Cells one upon the other within a step: the output of each is the input of the next. The state is a tuple with the state of each.

    Parameters
    ----------
    cells : sequence of Cell
        The lowest first.
    dropout : float
        Probability with which an element between two cells is zero, in training; the others are scaled. A mask is drawn for each sequence
        and held for all its steps (Gal and Ghahramani 2016).
    rng : numpy Generator or int, optional
        Of the masks.
    """

    def __init__(self, cells: Sequence[Cell], *, dropout: float = 0.0, rng: Any = None) -> None:
        if not isinstance(cells, (list, tuple)) or not cells or not all(isinstance(c, Cell) for c in cells):
            found = [type(c).__name__ for c in cells] if isinstance(cells, (list, tuple)) else f"a {type(cells).__name__}"
            raise TinygradError(f"Stacked: expected a list of at least one Cell; found {found}")
        self.cells = list(cells)
        for below, above in zip(self.cells, self.cells[1:], strict=False):
            size = getattr(below, "output_size", getattr(below, "hidden_size", None))
            if above.input_size is not None and size is not None and above.input_size != size:
                raise ShapeError(f"Stacked: {name_of(below)} has outputs of size {size}, {name_of(above)} above it expects {above.input_size}")
        self.input_size = self.cells[0].input_size
        self.dropout, self.masks = probability(dropout, "Stacked: dropout"), Masks(rng)
        self.name = f"Stacked({', '.join(name_of(c) for c in self.cells)})"

    def initial_state(self, batch_size: int) -> tuple[Any, ...]:
        """The first state of each cell."""
        return tuple(c.initial_state(batch_size) for c in self.cells)

    def check(self, x: Any) -> None:
        """As the lowest cell does."""
        self.cells[0].check(x)

    def forward(self, x: Any, state: Any) -> Any:
        """One step through all cells."""
        if not isinstance(state, (tuple, list)) or len(state) != len(self.cells):
            found = len(state) if isinstance(state, (tuple, list)) else f"a {type(state).__name__}"
            raise ShapeError(f"Stacked: expected a state for each of {len(self.cells)} cells; found {found}")
        new = []
        for k, (cell, s) in enumerate(zip(self.cells, state, strict=True)):
            if k and self.dropout and self.training:
                x = x * self.masks.dropout(self.dropout, x.shape, x.dtype, per="sequence", place=k)
            with at_step(context().mark.step, name_of(cell), k):
                x, s = cell(x, s)
            new.append(s)
        return x, tuple(new)


class Residual(Wrapper):
    """y' = y + x: the input added to the output of a cell of the same size (He et al. 2016; Wu et al. 2016, GNMT). The state is unchanged."""

    def forward(self, x: Any, state: Any) -> Any:
        """One step."""
        y, state = self.cell(self.one(x), state)
        if tuple(getattr(y, "shape", ())) != tuple(x.shape):
            raise ShapeError(f"Residual: the cell's output {describe(y)} and its input {describe(x)} must have one shape")
        return y + x, state


class Zoneout(Wrapper):
    """Each element of the state keeps its old value with probability p, drawn anew at each step.

    D. Krueger et al., Zoneout: Regularizing RNNs by Randomly Preserving Hidden Activations, ICLR 2017, arXiv:1606.01305. In training
    s' = m * s + (1 - m) * cell(s) with m drawn for each element, step and sequence; in evaluation s' = p * s + (1 - p) * cell(s). An output
    that is one of the new state's components is that component after zoneout.

    Parameters
    ----------
    cell : Cell
    p : float, or a nest like the state
        One probability for all components, or one for each: ``LSTMState(h=0.05, c=0.5)``. Components that are no floating numbers, such
        as a counter of steps, are not touched.
    rng : numpy Generator or int, optional
        Of the masks.
    """

    def __init__(self, cell: Cell, p: Any = 0.1, *, rng: Any = None) -> None:
        super().__init__(cell)
        self.p, self.masks = p, Masks(rng)
        for q in leaves(p) or [p]:
            probability(q, "Zoneout: p")

    def forward(self, x: Any, state: Any) -> Any:
        """One step."""
        y, new = self.cell(x, state)
        nest = isinstance(self.p, (tuple, list, dict))
        rates = [p for _, p in pairs(new, self.p, "Zoneout: p for a state", "state")] if nest else [self.p] * len(leaves(new))
        mixed = []
        for place, ((fresh, old), p) in enumerate(zip(pairs(new, state, "Zoneout: the state", "state"), rates, strict=True)):
            if not p or fresh.dtype.kind != "f":
                mixed.append(fresh)
            elif self.training:
                keep = self.masks.keep(1 - p, fresh.shape, bool, per="step", place=place)
                mixed.append(where(keep, old, fresh))
            else:
                mixed.append(fresh + p * (old - fresh))
        y = next((m for f, m in zip(leaves(new), mixed, strict=True) if f is y), y)
        return y, unflatten(new, mixed)


class VariationalDropout(Wrapper):
    """Dropout of the input, the state and the output of a cell with masks that are held for a whole sequence.

    Y. Gal and Z. Ghahramani, A Theoretically Grounded Application of Dropout in Recurrent Neural Networks, NIPS 2016, arXiv:1512.05287.
    The masks are drawn once for each sequence (each call of `unroll` or `tbptt`) and row, in training; what is kept is scaled by 1 / (1 - p).

    Parameters
    ----------
    cell : Cell
    input, state, output : float
        Probabilities. That of the state applies to the component h, or the first one, as it enters the cell.
    rng : numpy Generator or int, optional
        Of the masks.
    """

    def __init__(self, cell: Cell, *, input: float = 0.0, state: float = 0.0, output: float = 0.0, rng: Any = None) -> None:
        super().__init__(cell)
        self.rates = [probability(p, f"VariationalDropout: {n}") for n, p in (("input", input), ("state", state), ("output", output))]
        self.masks = Masks(rng)

    def forward(self, x: Any, state: Any) -> Any:
        """One step."""
        for_x, for_h, for_y = self.rates if self.training else (0.0, 0.0, 0.0)

        def drop(t: Any, p: float, place: int) -> Any:
            return t * self.masks.dropout(p, t.shape, t.dtype, per="sequence", place=place) if p else t

        if for_x:
            first = x[0] if isinstance(x, tuple) else x
            if np.dtype(first.dtype).kind != "f":
                raise DtypeError(f"VariationalDropout: dropout of the input needs floating features; found {describe(first)}")
            x = (drop(first, for_x, 0), *x[1:]) if isinstance(x, tuple) else drop(first, for_x, 0)
        y, state = self.cell(x, on_hidden(state, lambda h: drop(h, for_h, 1)) if for_h else state)
        return (unflatten(y, [drop(part, for_y, 2 + i) for i, part in enumerate(leaves(y))]) if for_y else y), state


class WeightDrop(Wrapper):
    """DropConnect on weights of a cell: each element of a weight is zero with probability p, for a whole sequence.

    S. Merity, N. S. Keskar and R. Socher, Regularizing and Optimizing LSTM Language Models, ICLR 2018, arXiv:1708.02182. One mask is drawn
    for each sequence (each call of `unroll` or `tbptt`), in training, for all rows of the batch; what is kept is scaled by 1 / (1 - p).
    The cell's own parameters stay as they are: a step runs on a copy of the cell that has the thinned weights.

    Parameters
    ----------
    cell : Cell
    p : float
    names : sequence of str
        Attributes of the cell that are Parameters.
    rng : numpy Generator or int, optional
        Of the masks.
    """

    def __init__(self, cell: Cell, p: float = 0.5, names: Sequence[str] = ("weight_hh",), *, rng: Any = None) -> None:
        super().__init__(cell)
        self.p, self.masks = probability(p, "WeightDrop: p"), Masks(rng)
        if not isinstance(names, (str, list, tuple)) or not all(isinstance(n, str) for n in names):
            raise TinygradError(f"WeightDrop: names must be names of parameters of the cell; found {shown(names)}")
        self.names = (names,) if isinstance(names, str) else tuple(names)
        wrong = [n for n in self.names if not isinstance(getattr(cell, n, None), Parameter)]
        if wrong or not self.names:
            known = [n for n, v in vars(cell).items() if isinstance(v, Parameter)]
            raise TinygradError(f"WeightDrop: {name_of(cell)} has no parameter {wrong or 'without a name'}; it has {known}")

    def forward(self, x: Any, state: Any) -> Any:
        """One step."""
        if not (self.training and self.p):
            return self.cell(x, state)
        # the thinned weights are made once for all steps that share a tape
        run = {} if stands_for_others() else (context().sequence or {}).get("run", {})
        thin = run.get(self)
        if thin is None:
            thin = run[self] = copy.copy(self.cell)
            for place, name in enumerate(self.names):
                weight = getattr(self.cell, name)
                vars(thin)[name] = weight * self.masks.dropout(self.p, weight.shape, weight.dtype, per="sequence", place=place)
        return thin(x, state)


class RecurrentLayerNorm(Wrapper):
    """Layer normalisation around any cell: of its input and of the hidden state as it enters, each with a gain and a bias.

    J. L. Ba, J. R. Kiros and G. E. Hinton, Layer Normalization (2016), arXiv:1607.06450. The paper normalises the sums inside a cell
    (`cells.LayerNormLSTM` does); this wrapper does what can be done for every cell. The state that is carried is not changed.

    Parameters
    ----------
    cell : Cell
        With `input_size` and `hidden_size`. Of its state the component h, or the first one, is normalised.
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell)
        x, h = _sizes(self)
        dtype = dtype_of(cell) or np.dtype(np.float32)
        self.norm_x, self.norm_h = LayerNorm(x, dtype=dtype), LayerNorm(h, dtype=dtype)

    def forward(self, x: Any, state: Any) -> Any:
        """One step."""
        return self.cell(self.norm_x(self.one(x)), on_hidden(state, self.norm_h))


class RecurrentBatchNorm(Wrapper):
    """Batch normalisation around any cell: of its input and of the hidden state as it enters, with statistics of their own for each step.

    T. Cooijmans, N. Ballas, C. Laurent, C. Gulcehre and A. Courville, Recurrent Batch Normalization, ICLR 2017, arXiv:1603.09025: gains
    start at 0.1; running statistics are kept for each of the first `steps` steps, and later steps use those of the last. Gain and bias
    are shared by all steps. The paper normalises the sums inside an LSTM; this wrapper does what can be done for every cell.

    Parameters
    ----------
    cell : Cell
        With `input_size` and `hidden_size`. Of its state the component h, or the first one, is normalised.
    steps : int
        For how many steps statistics are kept.
    gain : float
        First value of the gains.
    """

    def __init__(self, cell: Cell, steps: int, *, gain: float = 0.1) -> None:
        super().__init__(cell)
        if not isinstance(steps, (int, np.integer)) or isinstance(steps, bool) or steps < 1:
            raise TinygradError(f"RecurrentBatchNorm: steps must be a whole number, at least 1; found {steps!r}")
        dtype = dtype_of(cell) or np.dtype(np.float32)
        self.norms: list[list[BatchNorm]] = []
        for size in _sizes(self):
            norms = [BatchNorm(size, dtype=dtype) for _ in range(steps)]
            norms[0].weight = Parameter(np.full(size, gain, dtype))
            for other in norms[1:]:
                other.weight, other.bias = norms[0].weight, norms[0].bias
            self.norms.append(norms)

    def forward(self, x: Any, state: Any) -> Any:
        """One step."""
        norm_x, norm_h = self.norms
        return self.cell(_of_step(norm_x, self.one(x)), on_hidden(state, lambda h: _of_step(norm_h, h)))


def _of_step(norms: list[BatchNorm], x: Any) -> Any:
    """Normalised with the statistics of the step."""
    return norms[0].normalised(x, lambda: norms[min(context().mark.step or 0, len(norms) - 1)])


class Bidirectional(Module):
    """Two cells over a sequence, one from each end; called like a recurrent layer, with whole sequences.

    M. Schuster and K. K. Paliwal, Bidirectional Recurrent Neural Networks, IEEE Transactions on Signal Processing 45 (1997).

    Parameters
    ----------
    forward_cell, backward_cell : Cell
    merge : {"concatenate", "sum"}
        How the outputs of the two are joined.
    """

    def __init__(self, forward_cell: Cell, backward_cell: Cell, *, merge: str = "concatenate") -> None:
        if merge not in ("concatenate", "sum"):
            raise TinygradError(f"Bidirectional: merge must be 'concatenate' or 'sum'; found {merge!r}")
        for cell in (forward_cell, backward_cell):
            if isinstance(cell, type) or not callable(cell):
                raise TinygradError(f"Bidirectional: expected two cells; found {no_cell(cell)}")
        if forward_cell is backward_cell:
            raise TinygradError("Bidirectional: the two directions need cells of their own; found the same cell twice")
        self.forward_cell, self.backward_cell, self.merge = forward_cell, backward_cell, merge

    def forward(self, xs: Any, state: Any = None, lengths: Any = None) -> tuple[Any, tuple[Any, Any]]:
        """Outputs (T, batch, features) and the pair of last states; `state` is such a pair."""
        if state is not None and (not isinstance(state, (tuple, list)) or len(state) != 2):
            found = f"{len(state)} states" if isinstance(state, (tuple, list)) else f"a {type(state).__name__}"
            raise ShapeError(f"Bidirectional: expected a pair of states, (of the forward cell, of the backward cell); found {found}")
        first, second = (None, None) if state is None else state
        ys, last = unroll(self.forward_cell, xs, first, lengths)
        back, last_back = unroll(self.backward_cell, xs, second, lengths, reverse=True)
        if self.merge == "sum":
            return tree_map(lambda a, b: a + b, ys, back), (last, last_back)
        return tree_map(lambda a, b: concatenate([a, b], -1), ys, back), (last, last_back)


def on_hidden(state: Any, f: Any) -> Any:
    """The state with `f` applied to its component h, or to the first one."""
    if isinstance(state, Tensor):
        return f(state)
    paths = [path for path, _ in flatten(state)]
    place = next((i for i, path in enumerate(paths) if path in (".h", "['h']")), 0)
    return unflatten(state, [f(s) if i == place else s for i, s in enumerate(leaves(state))])


def _sizes(wrapper: Wrapper) -> tuple[int, int]:
    """Features of the input and of the hidden state."""
    if wrapper.input_size is None:
        raise TinygradError(f"{type(wrapper).__name__}: the cell has no input_size, from which the normalisation gets its size")
    sizes: list[int] = []

    def note(h: Any) -> Any:
        sizes.append(h.shape[-1])
        return h

    on_hidden(wrapper.cell.initial_state(1), note)
    return wrapper.input_size, sizes[0]
