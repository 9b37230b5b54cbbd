"""A compiled unrolling as one node on the tape."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.memory import empty
from ..core.primitive import Array, Primitive
from ..core.tape import context
from ..core.tensor import Tensor
from ..recurrent.packing import cut
from ..recurrent.rerun import summary
from ..recurrent.segment import Segment, as_primitive
from .runner import Runner
from .value import Given, Value


class Unrolled(Segment):
    """A compiled unrolling as a node on the tape."""

    reads = "goes through a compiled cell, which needs"

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
        """Run forward; the floating outputs hang on one node."""
        runner, step, drawn = self.runner, self.runner.step, self.drawn
        tensors = [*self.xs, *self.states]
        xs = [*[t.array for t in self.xs], *[drawn[op] for op in step.xs[len(self.xs) :]]]
        fixed = [*[t.array for t in self.lent], *[drawn[op] for op in step.fixed[step.lent :]]]
        shapes = runner.shapes(xs[0].shape[0], self.batch)
        ends, count, one = runner.ends, len(runner.ends), runner.one
        needs = tuple(
            [
                t.requires_grad
                for several in (tensors, self.lent, runner.owners.values())
                for t in several
            ]
        )
        self.live = (
            runner.live(needs, len(self.xs), len(self.lent), xs[0].shape[0])
            if context().grad_enabled and any(needs)
            else []
        )
        live = [shapes[k] for k in self.live]
        packed = empty((sum([math.prod(shape) for shape in live]),), runner.dtype) if one else None
        written = dict(zip(self.live, cut(packed, live), strict=True)) if one else {}
        found = [
            written[k] if k in written else np.empty(shapes[k], op.dtype)
            for k, op in enumerate(ends)
        ]
        emitted = [
            np.empty(shape, op.dtype)
            for shape, op in zip(shapes[count:], runner.emitted, strict=True)
        ]
        rest = iter(emitted)
        self.emitted = [[next(rest) for _ in several] for several in step.emitted]
        asked = {op: value for op, value in drawn.items() if op.given is Given.CONSTANT}
        results = [*found, *emitted]
        saved = runner.forward(
            xs, [t.array for t in self.states], fixed, asked, self.batch, self.reverse, results
        )
        self.reached = [
            *runner.code.constants,
            *(op for op, t in zip(step.fixed, self.lent, strict=False) if t.requires_grad),
        ]
        self.captured = [
            o.node
            for o in [*runner.wanted, *(t for t in self.lent if t.requires_grad)]
            if o.node is not None
        ]
        self.xs, self.states, self.lent, self.drawn = [], [], [], {}
        if not self.live:
            return [Tensor(a if k < len(step.outputs) else a.copy()) for k, a in enumerate(found)]
        whole = self.on_tape(
            UNROLL,
            tensors,
            packed if one else self.pack([found[k].astype(runner.widest) for k in self.live]),
        )
        assert whole.node is not None
        whole.node.saved[0] = saved  # in place of the output, which no rule reads
        self.saved = weakref.ref(saved)
        outputs = sum(k < len(step.outputs) for k in self.live)
        parts = dict(zip(self.live, cut(whole, live, outputs), strict=True))
        return [
            Tensor(a)
            if k not in parts
            else parts[k]
            if a.dtype == whole.dtype
            else parts[k].astype(a.dtype)
            for k, a in enumerate(found)
        ]

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
