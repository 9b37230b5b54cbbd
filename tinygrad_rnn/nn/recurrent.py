"""Recurrent layers: cells unrolled over sequences, in levels and one or two directions.

The names are PyTorch's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import cells, init
from ..core.errors import ShapeError, TinygradError
from ..core.record import describe
from ..core.tape import at_step, context
from ..core.tensor import Tensor, tensor
from ..core.tree import leaves, pairs, unflatten
from ..module import Module, Parameter
from ..ops.checks import array, sizes
from ..ops.shaping import concatenate, stack, swapaxes
from ..recurrent.cell import Cell, compiled, name_of
from ..recurrent.unroll import unroll
from .functional import dropout


class RecurrentLayer(Module):
    """What `RNN`, `LSTM` and `GRU` share; the step itself is a cell of `tinygrad_rnn.cells`.

    Sequences run compiled, each level and direction as one node on the tape: the first call with
    other sizes than before takes seconds. In ``tg.eager()`` every operation of every step is a
    node.

    The layer owns the parameters, under PyTorch's names: weight_ih_l0, weight_hh_l0, bias_ih_l0,
    bias_hh_l0 (and weight_hr_l0 with a projection), then those of the reverse direction with the
    suffix _reverse, then those of level 1, and so on. Their first values are those of the cell.

    Dropout stands after every level but the last and acts in training only: each element of each
    step of a level's output is zero with probability `dropout`, and the others are scaled by 1 / (1
    - dropout). The mask is drawn anew for every element, step and call, from the generator that
    also gave the first values: the same `rng` gives the same masks in the same order of calls.

    Attributes
    ----------
    output_size : int
        Features of one direction's output: `hidden_size`, or `proj_size` where there is a
        projection.
    directions : int
        1, or 2 if bidirectional.
    """

    weight_ih_l0: Parameter

    def __init__(
        self,
        make: Callable[[int, np.random.Generator], Cell],
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        rng: Any,
        output_size: int | None = None,
    ) -> None:
        kind = type(self).__name__
        sizes(kind, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        if not 0 <= dropout < 1:
            raise TinygradError(f"{kind}: dropout is a probability in [0, 1); found {dropout}")
        if dropout and num_layers == 1:
            raise TinygradError(
                f"{kind}: dropout={dropout} stands between levels, and num_layers=1 has nothing between; use num_layers=2 or more, "
                f"or apply tg.nn.dropout(ys, {dropout}) to the output"
            )
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.output_size = output_size or hidden_size
        self.directions = 2 if bidirectional else 1
        self.batch_first, self.dropout = batch_first, dropout
        self._rng = init.generator(rng)
        self._levels: list[_Level] = []  # level by level, and in each the forward direction first
        self._compiled = _Kept()
        for level in range(num_layers):
            for direction in range(self.directions):
                cell = make(self.output_size * self.directions if level else input_size, self._rng)
                cell.name = f"{kind} reverse" if direction else kind
                step = _Level(cell, f"_l{level}{'_reverse' if direction else ''}")
                self._levels.append(step)
                for name, full in step.names:
                    parameter = vars(cell).pop(name)
                    parameter.name = full
                    setattr(self, full, parameter)

    def cell(self, level: int = 0, direction: int = 0) -> Cell:
        """Return the step of one level and direction (1 is the reverse) as a cell.

        It holds the layer's own parameters, as they are at the time of the call.
        """
        if not (0 <= level < self.num_layers and 0 <= direction < self.directions):
            raise ShapeError(
                f"{type(self).__name__}.cell: expected a level below {self.num_layers} and a direction below {self.directions}; "
                f"found level {level}, direction {direction}"
            )
        step = self._levels[level * self.directions + direction]
        cell = step.cell.with_parameters({name: getattr(self, full) for name, full in step.names})
        cell.training = self.training
        return cell

    def _steps(self, level: int, direction: int) -> Cell:
        """Return the same cell to run over sequences: compiled, unless within ``tg.eager()``.

        It is kept as long as the layer has these parameters. A cell that was used is never changed,
        since a backward pass may run its steps again. The cells of layers do not read `training`.
        """
        if context().eager:
            return self.cell(level, direction)
        k = level * self.directions + direction
        kept = self._compiled.cells.get(k)
        if kept is not None and all(
            getattr(kept, name) is getattr(self, full) for name, full in self._levels[k].names
        ):
            return kept
        made = self._compiled.cells[k] = compiled(self.cell(level, direction))
        return made

    def initial_state(self, batch_size: int) -> Any:
        """Return zeros: the first state of every level and direction.

        Each component has shape (num_layers * directions, batch_size, features).
        """
        first = self.cell().initial_state(batch_size)
        count = self.num_layers * self.directions
        return unflatten(
            first, [Tensor(np.zeros((count, *s.shape), s.dtype)) for s in leaves(first)]
        )

    def forward(self, xs: Any, state: Any = None, lengths: Any = None) -> tuple[Any, Any]:
        """Run the layer over a sequence.

        Parameters
        ----------
        xs : Tensor or array
            The sequence, shape (T, batch, input_size), or (batch, T, input_size) with
            `batch_first`.
        state : Tensor or tuple of Tensor, optional
            The first state of every level and direction; by default zeros. One component has shape
            (num_layers * directions, batch, features): level by level, and in each the forward
            direction first; `batch_first` makes no difference. One row (a batch axis of 1, such as
            a learnable ``tg.Parameter``) serves the whole batch.
        lengths : integers, shape (batch,), optional
            Steps of each row; what stands after them is padding. Outputs after a row's end are
            zero, the returned state is that of the row's last step, and the reverse direction
            begins at the row's end.

        Returns
        -------
        ys : Tensor, shape (T, batch, directions * output_size), or batch first
            Outputs of the last level, the forward direction's features first.
        state : Tensor or tuple of Tensor
            The last states (of the reverse direction: after its step at t = 0), in the same form as
            the first.

        Raises
        ------
        ShapeError
            For a sequence, a state or lengths of the wrong shape.
        """
        kind = type(self).__name__
        if not isinstance(xs, Tensor):
            values = array(xs, f"{kind}: xs")
            xs = tensor(values, self.weight_ih_l0.dtype if values.dtype.kind == "f" else None)
        if xs.ndim != 3 or xs.shape[-1] != self.input_size:
            axes, single = (
                ("(batch, time,", "xs[None]")
                if self.batch_first
                else ("(time, batch,", "xs[:, None]")
            )
            raise ShapeError(
                f"{kind}: expected a sequence of shape {axes} {self.input_size}); found {describe(xs)}. "
                f"A single sequence gets its batch axis with {single}."
            )
        ys = swapaxes(xs, 0, 1) if self.batch_first else xs
        if state is not None:
            self._check_state(state, ys.shape[1])
        last = []
        for level in range(self.num_layers):
            outputs = []
            for direction in range(self.directions):
                k = level * self.directions + direction
                first = None if state is None else unflatten(state, [s[k] for s in leaves(state)])
                cell = self._steps(level, direction)
                with at_step(None, name_of(cell), level):  # unroll adds the step to the mark
                    y, final = unroll(cell, ys, first, lengths=lengths, reverse=direction == 1)
                outputs.append(y)
                last.append(final)
            ys = concatenate(outputs, axis=-1) if len(outputs) > 1 else outputs[0]
            if level < self.num_layers - 1:
                ys = dropout(ys, self.dropout, training=self.training, rng=self._rng)
        final = unflatten(last[0], [stack(parts) for parts in zip(*map(leaves, last), strict=True)])
        return (swapaxes(ys, 0, 1) if self.batch_first else ys), final

    def _check_state(self, state: Any, batch: int) -> None:
        """Raise a ShapeError if a given state differs from the layer's own in structure or shape.

        It names the component.
        """
        head = f"{type(self).__name__}: the state does not fit"
        expected = self.initial_state(batch)
        names = getattr(expected, "_fields", ("h",))
        for name, (a, b) in zip(names, pairs(expected, state, head, "state"), strict=True):
            shape = getattr(b, "shape", None)
            if shape is None or tuple(shape) not in (a.shape, (a.shape[0], 1, a.shape[2])):
                found = f"is a {type(b).__name__}" if shape is None else f"has shape {tuple(shape)}"
                raise ShapeError(
                    f"{head}: {name} {found}; expected shape {a.shape}, that is "
                    f"(num_layers * directions, batch, {'output_size' if name == 'h' else 'hidden_size'}), whether or not batch_first is set"
                )


class _Level:
    """The step of one level and direction of a layer.

    Attributes
    ----------
    cell : Cell
        The step, without its parameters, which the layer holds.
    names : list of (str, str)
        What each parameter is called in the cell and in the layer.
    """

    def __init__(self, cell: Cell, suffix: str) -> None:
        self.cell = cell
        self.names = [
            (name, name + suffix)
            for name, value in vars(cell).items()
            if isinstance(value, Parameter)
        ]


class _Kept:
    """The compiled cells of a layer, which are no part of its content: a copy begins without."""

    def __init__(self) -> None:
        self.cells: dict[int, Cell] = {}

    def __reduce__(self) -> Any:
        return _Kept, ()


class RNN(RecurrentLayer):
    """An Elman network over a sequence (`cells.Elman`), as `torch.nn.RNN`.

    h' = tanh(W_ih x + b_ih + W_hh h + b_hh).

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
    nonlinearity : "tanh" or "relu"
    bias : bool
    batch_first : bool
        Sequences are (batch, time, features) instead of (time, batch, features); states are not
        affected.
    dropout : float
        Probability of dropout between levels, in [0, 1); see `RecurrentLayer`.
    bidirectional : bool
        With a second set of weights that runs from the end to the beginning; the outputs stand side
        by side.
    rng : numpy Generator or int, optional
        For first values and dropout.
    dtype : dtype

    Notes
    -----
    ``layer(xs, state=None, lengths=None) -> (ys, state)``, see `RecurrentLayer.forward`. The state
    is h, shape (num_layers * directions, batch, hidden_size).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(
            lambda size, rng: cells.Elman(
                size, hidden_size, nonlinearity=nonlinearity, bias=bias, rng=rng, dtype=dtype
            ),
            *(input_size, hidden_size, num_layers),
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            rng=rng,
        )


class LSTM(RecurrentLayer):
    """Long short-term memory over a sequence (`cells.LSTM`), as `torch.nn.LSTM`.

    The gates stand in the order i, f, g, o. The first values are those of the cell: the forget
    gate's bias begins at 1, which PyTorch's does not.

    Parameters
    ----------
    proj_size : int
        0, or the number of features to which each output is projected (`cells.LSTMP`): less than
        `hidden_size`.
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, rng, dtype
        As in `RNN`.

    Notes
    -----
    ``layer(xs, state=None, lengths=None) -> (ys, state)``, see `RecurrentLayer.forward`. The state
    is (h, c): `LSTMState` of h, shape (num_layers * directions, batch, proj_size or hidden_size),
    and c, shape (num_layers * directions, batch, hidden_size).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        if proj_size and not 0 < proj_size < hidden_size:
            raise ShapeError(
                f"LSTM: proj_size must be 0 (no projection) or from 1 to hidden_size - 1 = {hidden_size - 1}; found {proj_size}"
            )

        def make(size: int, rng: np.random.Generator) -> Cell:
            if proj_size:
                return cells.LSTMP(size, hidden_size, proj_size, bias=bias, rng=rng, dtype=dtype)
            return cells.LSTM(size, hidden_size, bias=bias, rng=rng, dtype=dtype)

        super().__init__(
            make,
            *(input_size, hidden_size, num_layers),
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            rng=rng,
            output_size=proj_size,
        )


class GRU(RecurrentLayer):
    """Gated recurrent unit over a sequence (`cells.GRU`), as `torch.nn.GRU`.

    The gates stand in the order r, z, n.

    Parameters
    ----------
    reset_after : bool
        True: the reset gate acts after the recurrent product, as in PyTorch and cuDNN. False:
        before it, as in Keras with ``reset_after=False`` (`cells.GRUResetBefore`); PyTorch has no
        such layer.
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, rng, dtype
        As in `RNN`.

    Notes
    -----
    ``layer(xs, state=None, lengths=None) -> (ys, state)``, see `RecurrentLayer.forward`. The state
    is h, shape (num_layers * directions, batch, hidden_size).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        reset_after: bool = True,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        kind = cells.GRU if reset_after else cells.GRUResetBefore
        super().__init__(
            lambda size, rng: kind(size, hidden_size, bias=bias, rng=rng, dtype=dtype),
            *(input_size, hidden_size, num_layers),
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            rng=rng,
        )
