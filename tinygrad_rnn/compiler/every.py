"""The backward of a sequence once more, with what each of its steps finds.

The loops are those of the ordinary backward, made of the same program on top of the same residuals.
Only here the gradients of states stay for all steps, and so do the sides of products and sums that
gradients of parameters are made of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..loops import ir
from .arrays import Arrays
from .functions import Turns
from .lower import Stored, When
from .sequence import Places, SequenceCode
from .terms import terms_of
from .value import Value


def gradients_of_states(code: SequenceCode) -> list[Value | None] | None:
    """Return for each component of the new state its gradient in the backward program.

    It is None for a component without one; None in place of the list if one of them is no value of
    the program any more.
    """
    step = code.step
    of = {v: gradient for gradient, v in step.gradient_of}
    known = {*step.backward, *step.d_states, *step.d_outputs}
    found: list[Value | None] = []
    for v in step.new_states:
        gradient = of.get(v)
        if gradient is not None and gradient not in known:
            return None
        found.append(gradient)
    return found


class EveryStep(SequenceCode):
    """The code of a backward that leaves what each step finds.

    Parameters
    ----------
    code : SequenceCode
        That of the sequence.
    shares : bool
        Whether gradients of inputs and parameters are wanted, and not of states alone.

    Attributes
    ----------
    of_states : list of Value or None
        For each component of the state, the gradient of what a step hands on.
    terms : dict of Value to Terms or None
        Of what the gradient of each constant is a sum.
    """

    turns = Turns(ir.Steps.BETWEEN, When.NEXT, When.THIS)
    deferred = (ir.Steps.EACH, When.THIS)

    def __init__(self, code: SequenceCode, shares: bool) -> None:
        vars(self).update(vars(code))
        self.arrays, self.functions = Arrays(code.dtype), {}
        self.originals: dict[Value, Value] = {}
        self.of_states = gradients_of_states(code) or []
        if not shares:
            self.wanted_gradients = set()
        self._backward()
        self.terms = {v: terms_of(self.step.gradients[v], self.sunk) for v in self.constants}
        functions = tuple(f.function for f in self.functions.values())
        title = f"{self._title()}; the gradients of each step"
        self.module = ir.Module(title, self.dtype, functions)

    def _sink(self, found: Mapping[Value, Stored], wanted: Places) -> None:
        super()._sink(found, wanted)
        kept: list[Any] = [*self.of_states, *self.sunk.sums.values(), *self.d_fixed.values()]
        for v in kept:
            if v is not None:
                self._keep(v, found, wanted)
