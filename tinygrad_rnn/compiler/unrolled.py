"""A compiled unrolling as one node on the tape: its forward pass and its gradients."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.memory import empty
from ..core.primitive import Array, Primitive
from ..core.tape import context
from ..core.tensor import Tensor
from ..kernels.runtime import raising
from ..recurrent.packing import cut
from ..recurrent.rerun import summary
from ..recurrent.segment import Segment, as_primitive
from .calls import Residuals
from .measured import Measured, is_stepwise
from .runner import Runner
from .value import Value
from .variant import Piece


class Unrolled(Segment):
    """A compiled unrolling as a node on the tape."""

    reads = "goes through a compiled cell, which needs"
    of_sequence = True

    def __init__(
        self,
        runner: Runner,
        piece: Piece,
        lent: list[Tensor],
        drawn: list[Array],
        again: Callable[..., list[Tensor]],
    ) -> None:
        self.tensors = [*piece.inputs, *piece.states]
        super().__init__(again, len(self.tensors))
        self.runner, self.piece, self.lent, self.drawn = runner, piece, lent, drawn
        self.emitted: list[list[Array]] = []
        # a weak reference, since it belongs to the node: with the node's saved values it is
        # released
        self.saved: Any = None

    def outputs(self) -> list[Tensor]:
        """Run forward, and return the results; those with gradients hang on one node."""
        runner, step, tensors = self.runner, self.runner.step, self.tensors
        xs, T = len(self.piece.inputs), tensors[0].shape[0]
        needs = [t.requires_grad for t in (*tensors, *self.lent, *runner.owners.values())]
        if context().grad_enabled and any(needs):
            self.live = runner.live(tuple(needs), xs, len(self.lent), T)
        shapes = runner.shapes(T, self.piece.batch)
        live = [shapes[k] for k in self.live]
        size = sum([math.prod(shape) for shape in live])
        packed = empty((size,), runner.dtype) if runner.one else None
        arrays = None if packed is None else cut(packed, live)
        written = {} if arrays is None else dict(zip(self.live, arrays, strict=True))
        found = [
            written[k] if k in written else np.empty(shapes[k], v.dtype)
            for k, v in enumerate(runner.ends)
        ]
        residuals = self._run(found, shapes)
        if (watch := context().watch) is not None:
            watch.ran(found, lambda: self.run(self.tensors, record=False), runner.step.name)
        if not self.live:
            return [Tensor(a if k < len(step.outputs) else a.copy()) for k, a in enumerate(found)]
        if packed is None:
            packed = self.pack([found[k].astype(runner.widest) for k in self.live])
        whole = self.on_tape(UNROLL, tensors, packed)
        assert whole.node is not None
        whole.node.saved[0] = residuals  # in place of the output, which no rule reads
        self.saved = weakref.ref(residuals)
        apart = sum(k < len(step.outputs) for k in self.live)
        parts = dict(zip(self.live, cut(whole, live, apart, arrays), strict=True))
        made = [parts[k] if k in parts else Tensor(a) for k, a in enumerate(found)]
        several = zip(made, found, strict=True)
        return [y if y.dtype == a.dtype else y.astype(a.dtype) for y, a in several]

    def _given(self) -> dict[Value, Array]:
        """Return what the steps are given."""
        step = self.runner.step
        values = [*step.xs[: len(self.piece.inputs)], *step.states, *step.fixed[: step.lent]]
        values += [v for _, v in step.drawn]
        arrays = [*[t.array for t in (*self.tensors, *self.lent)], *self.drawn]
        return dict(zip(values, arrays, strict=True))

    def _run(self, found: list[Array], shapes: Sequence[tuple[int, ...]]) -> Residuals:
        """Run forward into these arrays."""
        runner, step, piece, given = self.runner, self.runner.step, self.piece, self._given()
        emitted = [
            np.empty(shape, v.dtype)
            for shape, v in zip(shapes[len(runner.ends) :], runner.emitted, strict=True)
        ]
        rest = iter(emitted)
        self.emitted = [[next(rest) for _ in several] for several in step.emitted]
        left = runner.forward(given, piece.batch, piece.span.reverse, [*found, *emitted])
        lent = [t for t in self.lent if t.requires_grad]
        with_gradient = (v for v, t in zip(step.fixed, self.lent, strict=False) if t.requires_grad)
        self.reached = [*runner.code.constants, *with_gradient]
        self.captured = [o.node for o in [*runner.wanted, *lent] if o.node is not None]
        return left

    def measured(self) -> Measured | None:
        """See `Segment.measured`; rows that begin anew are told of by the single steps alone."""
        saved, runner, piece = self.saved(), self.runner, self.piece
        if saved is None or raising() or piece.variant.form.resets or not is_stepwise(runner):
            return None
        own = runner.step.xs[: self.count - len(runner.step.states)]
        values = [*own, *runner.step.states, *self.reached]
        return Measured(runner, saved, self.live, values, piece, self._given())

    def did(self) -> Any:
        """See `Segment.did`."""
        runner, piece = self.runner, self.piece
        constants = [o.array for o in runner.owners.values() if not o.requires_grad]
        summaries = map(summary, (*constants, *self.drawn))
        return (runner.source, piece.span.reverse, piece.batch, *summaries)

    def gradients(self, g: Any, values: Any) -> tuple[Any, ...]:
        """Return the gradient of each input of the node.

        It is computed by the compiled function, or by the steps one by one where the walk itself is
        recorded, and where NumPy was told to raise.
        """
        if isinstance(g, Tensor) or raising():
            return super().gradients(g, values)
        self.check_captured()
        step = self.runner.step
        saved = self.saved()
        shapes = self.runner.shapes(*saved.shape)
        parts = dict(zip(self.live, cut(g, [shapes[k] for k in self.live]), strict=True))
        found = self.runner.backward(saved, self.runner.completed(parts, shapes))
        own = step.xs[: self.count - len(step.states)]
        return tuple([found.get(op) for op in (*own, *step.states, *self.reached)])


UNROLL: Primitive = as_primitive("unroll")
