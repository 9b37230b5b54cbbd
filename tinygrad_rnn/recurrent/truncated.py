"""Truncated backpropagation through time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.errors import GraphError, TinygradError
from ..core.tape import context, no_grad, setting
from ..core.tensor import Tensor
from ..core.tree import detach, leaves, tree_map
from ..ops.shaping import concatenate
from .cell import name_state
from .context import SequenceContext, begin_sequence
from .sequence import Sequence, Step


class Window:
    """What `tbptt` yields: the newest steps of a sequence, and a graph that reaches k2 steps back.

    Attributes
    ----------
    start, stop : int
        The newest steps are start, ..., stop - 1.
    reach : int
        The first step of the graph; the state before it is a constant (unless it is the first state
        of the sequence).
    ys : Tensor, or tree of tensors
        The outputs of the newest steps, shape (stop - start, batch, ...). Those before `reach` are
        constants.
    state : tree of tensors
        The state after the last step, cut from the tape: what the next sequence may start from.
    """

    def __init__(
        self, start: int, stop: int, reach: int, ys: Any, state: Any, inputs: _Inputs
    ) -> None:
        self.start, self.stop, self.reach, self.ys, self.state = start, stop, reach, ys, state
        self._inputs = inputs

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss of these `ys` to `.grad` of the parameters.

        The parameters from which `xs` was computed get theirs too.

        Raises
        ------
        GraphError
            If the loss does not depend on anything that requires gradients.
        """
        if not isinstance(loss, Tensor) or not loss.requires_grad:
            found = (
                f"a {type(loss).__name__}"
                if not isinstance(loss, Tensor)
                else "a tensor without gradients"
            )
            raise GraphError(
                f"tbptt: window.backward expects a loss that was computed from window.ys; found {found}"
            )
        with self._inputs:
            loss.backward()

    def __repr__(self) -> str:
        return f"<Window of steps {self.start} to {self.stop - 1}, graph from step {self.reach}>"


class _Inputs:
    """The parts of a sequence that was computed, by an embedding for example.

    Windows read stand-ins, so that the graph below serves every window. Inside ``with`` a backward
    pass may reach the stand-ins; at its end their gradients go on to what the sequence was computed
    from.
    """

    def __init__(self, parts: tuple[Tensor, ...]) -> None:
        self.pairs: list[tuple[Tensor, Tensor]] = []
        self.open = False
        self.parts = tuple([self._stand_in(part) for part in parts])

    def _stand_in(self, part: Tensor) -> Tensor:
        if part.is_leaf or not part.requires_grad or not context().grad_enabled or context().inputs:
            return part  # in a transform there is one walk back, at its end
        made = Tensor(part.array)
        made.leaf(True, part.name)
        made.register_hook(self._arrives)
        self.pairs.append((part, made))
        return made

    def _arrives(self, g: Tensor) -> None:
        if not self.open:
            raise GraphError(
                "tbptt: the sequence was computed (by an embedding, for example) from what requires gradients, and this backward pass would "
                "end there. Call window.backward(loss) in place of loss.backward(): it carries the gradients on. Or detach the sequence."
            )

    def __enter__(self) -> None:
        self.open = True

    def __exit__(self, *error: object) -> None:
        self.open = False
        for part, stand_in in self.pairs:
            g, stand_in.grad = stand_in.grad, None
            if g is not None and error[0] is None:
                part.backward(g, retain_graph=True)


def tbptt(
    cell: Step,
    xs: Any,
    k1: int,
    k2: int | None = None,
    state: Any = None,
    *,
    lengths: Any = None,
    resets: Any = None,
) -> Iterator[Window]:
    """Truncated backpropagation: every `k1` steps a window whose gradients reach `k2` steps back.

    R. J. Williams and J. Peng, An efficient gradient-based algorithm for on-line training of
    recurrent network trajectories, Neural Computation 2 (1990): BPTT(h; h') with h = k2 and h' =
    k1.

    The window that ends at step e has the outputs of its `k1` newest steps; the loss is to be made
    of these. Gradients flow through the steps e - k2 to e - 1; the state that enters step e - k2 is
    a constant. For k2 > k1 windows overlap, and the older steps are run again from their recorded
    first state with the parameters as they are now, so that an optimiser may step between windows.
    For k2 < k1 the oldest outputs of a window are constants. The last window of a sequence may be
    shorter.

    Parameters
    ----------
    cell, xs, state, lengths, resets
        As in `unroll`. `resets` (booleans, shape (T, batch)) begin single rows anew from the first
        state, before that step.
    k1 : int
        New steps in each window.
    k2 : int, optional
        Steps through which gradients flow; by default `k1`, windows side by side.

    Returns
    -------
    iterator of Window

    Notes
    -----
    `xs` may be computed, by an embedding for example. `Window.backward` then adds the gradients of
    what it was computed from as well: window by window, with the values of the time when `xs` was
    computed. A cell may hold layers that stand before and behind it, and call them in its step: then
    each window runs them with the values of its own time.

    Examples
    --------
    >>> for window in tg.tbptt(cell, xs, k1=20, k2=40):
    ...     optimizer.zero_grad()
    ...     window.backward(loss_of(window.ys, targets[window.start : window.stop]))
    ...     optimizer.step()
    """
    k2 = k1 if k2 is None else k2
    for name, k in (("k1", k1), ("k2", k2)):
        if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or k < 1:
            raise TinygradError(
                f"tbptt: {name} must be a whole number of steps, at least 1; found {k!r}"
            )
    # random masks belong to the whole sequence, also where steps are run twice
    shared = begin_sequence()
    with setting(sequence=shared):
        sequence = Sequence(cell, xs, state, lengths, resets)
    inputs = _Inputs(sequence.parts)
    sequence.parts = inputs.parts
    return _windows(sequence, int(k1), int(k2), shared, inputs)


def _windows(
    sequence: Sequence, k1: int, k2: int, shared: SequenceContext, inputs: _Inputs
) -> Iterator[Window]:
    known = {0: sequence.first}  # states by the step that they enter
    learnt = any(isinstance(s, Tensor) and s.requires_grad for s in leaves(sequence.first))
    for start in range(0, sequence.T, k1):
        stop = min(start + k1, sequence.T)
        reach = max(0, stop - k2)
        after = max(0, min(stop + k1, sequence.T) - k2)  # where the next window's graph will begin
        with setting(sequence=shared):
            if learnt:
                sequence.first = sequence.first_state(sequence.parts[0])
                known = {step: sequence.first if step == 0 else s for step, s in known.items()}
            begin = max(step for step in known if step <= reach)
            state, outputs = known[begin], []
            if begin < reach:
                with no_grad():
                    ys, _, state = sequence.steps(sequence.parts, detach(state), begin, reach)
                name_state(sequence.cell, state, reach)
                outputs.append(_since(start - begin, ys) if reach > start else None)
            cuts = sorted({reach, stop, *(step for step in (after, start) if reach < step < stop)})
            known = {reach: state}  # a constant, unless it is the first state of the sequence
            for a, b in itertools.pairwise(cuts):
                shared.rerun = b <= start
                ys, _, state = sequence.steps(sequence.parts, state, a, b)
                known[b] = detach(state)
                name_state(sequence.cell, known[b], b)
                if b > start:
                    outputs.append(_since(start - a, ys))
        parts = [ys for ys in outputs if ys is not None]
        ys = (
            None
            if not parts
            else parts[0]
            if len(parts) == 1
            else tree_map(lambda *group: concatenate(group), *parts)
        )
        yield Window(start, stop, reach, ys, known[stop], inputs)
        known = {step: s for step, s in known.items() if step >= min(after, stop)}


def _since(step: int, ys: Any) -> Any:
    """Return the outputs from a step on; all of them if it is before the first."""
    return tree_map(lambda y: y[max(step, 0) :], ys)
