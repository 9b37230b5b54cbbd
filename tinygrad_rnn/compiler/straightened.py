"""A recorded program as values and native functions, which `straight.py` makes a table of."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from .draft import Draft
from .inside import OBJECT, PART, PICK, PULL, RESULTS, RUN
from .natives import Unfit
from .runs import Run, piece
from .value import Given, Value


class Program(Draft):
    """A program as values and native functions, in order.

    Parameters
    ----------
    values, inputs, outputs : sequence of Value
        Of the program as it was recorded, which stays as it is.

    Attributes
    ----------
    inputs, outputs : list of Value
        What a sequence leaves for another program is several of them: `taken` and `leaves` say for
        each input and output of the program as it was recorded how many; None: it is one array.
    """

    def __init__(
        self, values: Sequence[Value], inputs: Sequence[Value], outputs: Sequence[Value]
    ) -> None:
        super().__init__()
        self._runs: dict[Value, Run] = {}
        self._pulled: dict[Value, list[Value]] = {}
        self.inputs: list[Value] = []
        self.taken: list[int | None] = []
        pulls = {v.inputs[0]: v for v in values if v.primitive is PULL}
        for v in inputs:
            before = len(self.inputs)
            if v.dtype != OBJECT:
                self.known[v] = self.given(v)
                self.inputs.append(self.known[v])
                self.taken.append(None)
                continue
            if v in pulls:
                self._runs[v] = run = Run(pulls[v].params["sequence"], self, v.node)
                run.resume(functools.partial(self._more, v))
            self.taken.append(len(self.inputs) - before)
        self._leaving = {o for o in outputs if o.dtype == OBJECT}
        if not self._leaving.isdisjoint(inputs):
            raise Unfit("what a sequence has left passes through")
        for v in values:
            self.known[v] = self.made(v)
        self.outputs: list[Value] = []
        self.leaves: list[int | None] = []
        for o in outputs:
            if o in self._leaving:
                left = self._runs[o].left()
                self.outputs += left
                self.leaves.append(len(left))
            else:
                self.outputs.append(self.of(o))
                self.leaves.append(None)

    def _more(self, like: Value, shape: Sequence[int], dtype: np.dtype[Any]) -> Value:
        """Append an input."""
        made = Value(None, [], {}, shape, like.node, dtype=dtype, given=Given.INPUT)
        self.inputs.append(made)
        return made

    def made(self, v: Value) -> Value:
        """See `Draft`."""
        primitive = v.primitive
        if primitive is RUN:
            self._runs[v] = run = Run(v.params["sequence"], self, v.node)
            run.forward(self.inputs_of(v), leaves=v in self._leaving)
            return run.packed
        if primitive is RESULTS:
            return self.of(v.inputs[0])
        if primitive is PULL:
            run = self._runs[v.inputs[0]]
            pieces = [self.of(i) for i in v.inputs[1:]]
            self._pulled[v] = run.gradients(v.params["begins"], pieces)
            return run.packed  # which stands for what `PICK` takes
        if primitive is PICK:
            picked: Value = self._pulled[v.inputs[0]][v.params["place"]]
            return picked
        if primitive is PART:
            return piece(self.of(v.inputs[0]), v.params["begin"], v.params["end"])
        return super().made(v)
