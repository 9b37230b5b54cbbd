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
from ..recurrent.packing import cut
from ..recurrent.rerun import summary
from ..recurrent.segment import Segment, as_primitive
from .calls import Residuals
from .runner import Runner
from .value import Given, Value


class Unrolled(Segment):
    """A compiled unrolling as a node on the tape."""

    reads = "goes through a compiled cell, which needs"
    of_sequence = True

    def __init__(
        self,
        runner: Runner,
        again: Callable[..., list[Tensor]],
        xs: list[Tensor],
        states: list[Tensor],
        lent: list[Tensor],
        batch: int,
        reverse: bool,
        drawn: dict[Value, Array],
    ) -> None:
        super().__init__(again, len(xs) + len(states))
        self.runner, self.xs, self.states, self.batch, self.reverse = (
            runner,
            xs,
            states,
            batch,
            reverse,
        )
        self.lent, self.drawn, self.drawn_values = lent, drawn, list(drawn.values())
        self.emitted: list[list[Array]] = []
        # a weak reference, since it belongs to the node: with the node's saved values it is
        # released
        self.saved: Any = None

    def outputs(self) -> list[Tensor]:
        """Run forward, and return the results; those with gradients hang on one node."""
        runner, step = self.runner, self.runner.step
        tensors = [*self.xs, *self.states]
        T = self.xs[0].shape[0]
        needs = [t.requires_grad for several in (tensors, self.lent) for t in several]
        needs += [t.requires_grad for t in runner.owners.values()]
        if context().grad_enabled and any(needs):
            self.live = runner.live(tuple(needs), len(self.xs), len(self.lent), T)
        else:
            self.live = []
        shapes = runner.shapes(T, self.batch)
        live = [shapes[k] for k in self.live]
        size = sum([math.prod(shape) for shape in live])
        packed = empty((size,), runner.dtype) if runner.one else None
        written = dict(zip(self.live, cut(packed, live), strict=True)) if runner.one else {}
        found = [
            written[k] if k in written else np.empty(shapes[k], v.dtype)
            for k, v in enumerate(runner.ends)
        ]
        residuals = self._run(found, shapes)
        if not self.live:
            return [Tensor(a if k < len(step.outputs) else a.copy()) for k, a in enumerate(found)]
        if packed is None:
            packed = self.pack([found[k].astype(runner.widest) for k in self.live])
        whole = self.on_tape(UNROLL, tensors, packed)
        assert whole.node is not None
        whole.node.saved[0] = residuals  # in place of the output, which no rule reads
        self.saved = weakref.ref(residuals)
        apart = sum(k < len(step.outputs) for k in self.live)
        parts = dict(zip(self.live, cut(whole, live, apart), strict=True))
        made = [parts.get(k, a) for k, a in enumerate(found)]
        return [
            Tensor(y)
            if not isinstance(y, Tensor)
            else y
            if y.dtype == a.dtype
            else y.astype(a.dtype)
            for y, a in zip(made, found, strict=True)
        ]

    def _run(self, found: list[Array], shapes: Sequence[tuple[int, ...]]) -> Residuals:
        """Run forward into these arrays; what is not needed any more is let go."""
        runner, step, drawn = self.runner, self.runner.step, self.drawn
        xs = [*[t.array for t in self.xs], *[drawn[v] for v in step.xs[len(self.xs) :]]]
        fixed = [*[t.array for t in self.lent], *[drawn[v] for v in step.fixed[step.lent :]]]
        emitted = [
            np.empty(shape, v.dtype)
            for shape, v in zip(shapes[len(runner.ends) :], runner.emitted, strict=True)
        ]
        rest = iter(emitted)
        self.emitted = [[next(rest) for _ in several] for several in step.emitted]
        asked = {v: value for v, value in drawn.items() if v.given is Given.CONSTANT}
        states = [t.array for t in self.states]
        results = [*found, *emitted]
        left = runner.forward(xs, states, fixed, asked, self.batch, self.reverse, results)
        lent = [t for t in self.lent if t.requires_grad]
        with_gradient = (v for v, t in zip(step.fixed, self.lent, strict=False) if t.requires_grad)
        self.reached = [*runner.code.constants, *with_gradient]
        self.captured = [o.node for o in [*runner.wanted, *lent] if o.node is not None]
        self.xs, self.states, self.lent, self.drawn = [], [], [], {}
        return left

    def did(self) -> Any:
        """See `Segment.did`."""
        constants = [
            owner.array for owner in self.runner.owners.values() if not owner.requires_grad
        ]
        return (
            self.runner.source,
            self.reverse,
            self.batch,
            *map(summary, (*constants, *self.drawn_values)),
        )

    def gradients(self, g: Any, values: Any) -> tuple[Any, ...]:
        """For each input of the node.

        By the compiled function, or by the steps one by one where the walk itself is recorded.
        """
        if isinstance(g, Tensor):
            return super().gradients(g, values)
        self.check_captured()
        step = self.runner.step
        saved = self.saved()
        shapes = self.runner.shapes(*saved.shape)
        parts = dict(zip(self.live, cut(g, [shapes[k] for k in self.live]), strict=True))
        for k, op in enumerate(self.runner.ends):
            if op.dtype.kind == "f":
                parts[k] = (
                    parts[k].astype(op.dtype, copy=False)
                    if k in parts
                    else np.zeros(shapes[k], op.dtype)
                )
        found = self.runner.backward(saved, [parts.get(k) for k in range(len(self.runner.ends))])
        own = step.xs[: self.count - len(step.states)]
        return tuple([found.get(op) for op in (*own, *step.states, *self.reached)])


UNROLL: Primitive = as_primitive("unroll")
