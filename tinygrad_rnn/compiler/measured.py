"""What each step of a compiled sequence finds in a reverse walk: norms, and shares of gradients.

The gradients of states, and the sides of the products that gradients of parameters are sums of, come
from the backward of `every.py`; norms are computed from them for many steps at once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.primitive import Array
from ..core.tape import Node
from ..kernels.norms import step_norms
from ..recurrent.measured import Figures, Walked
from .blocks import Block, StepRunner, states_again
from .calls import Residuals
from .every import gradients_of_states
from .marshal import compute
from .recording import sources_of
from .runner import Runner
from .step import StepProgram
from .value import CompileError, Given, Value
from .variant import Piece


class Measured:
    """A compiled sequence that has run, to be measured; see `recurrent.measured.Measurable`.

    Parameters
    ----------
    runner : Runner
    left : Residuals
    live : sequence of int
        Which outputs and last states stand in the vector of the node.
    values : sequence of Value
        What the compiled step calls the inputs of the node.
    piece : Piece
        The steps.
    given : mapping of Value to array
        What the forward pass was given.
    """

    def __init__(
        self,
        runner: Runner,
        left: Residuals,
        live: Sequence[int],
        values: Sequence[Value],
        piece: Piece,
        given: Mapping[Value, Array],
    ) -> None:
        self.runner, self.left, self.live = runner, left, live
        self.values, self.piece, self.times = values, piece, piece.span.times
        self.first = piece.span.start
        self.given, self.inputs = given, [x.array for x in piece.inputs]
        step = runner.step
        every = [*step.xs, *step.states]
        alone = not step.drawn and not step.lent and runner.divisible
        self.separable = alone and all(v.batch == 0 for v in every)
        self._with_states: Residuals | None = None  # on which the states of all steps are
        self.outputs = sum(k < len(runner.step.outputs) for k in live)
        self.components = len(runner.step.new_states)
        shapes = runner.shapes(*left.shape)
        sizes = [math.prod(shapes[k]) for k in live]
        self.begins = list(itertools.accumulate(sizes, initial=0))[:-1]

    def walked(
        self,
        parts: Mapping[int, Array],
        entering: Mapping[int, Array] | None = None,
        wanted: Sequence[int] | None = None,
        last: int | None = None,
    ) -> Walked:
        """See `Measurable`."""
        runner = stepwise(self.runner, wanted is not None)
        reach, given = self._arriving(parts, last)
        states = {g: np.zeros(reach.T) for g in runner.code.of_states if g is not None}
        shares = {k: np.zeros(reach.T) for k in wanted or () if reach.ever(self.values[k])}

        def look(block: Block) -> None:
            here = slice(block.lo, block.hi)
            for gradient, norms in states.items():
                norms[here] = step_norms(block.of(gradient))
            for k, norms in shares.items():
                if (found := self._norms(self.values[k], block)) is not None:
                    norms[here] = found

        with np.errstate(all="ignore"):
            totals = runner.run(self.left, given, look, None if last is None else reach.until)
            gradients = tuple([totals.get(v) if reach.ever(v) else None for v in self.values])
            for k, norms in shares.items():
                self._norms_of_given(self.values[k], totals, norms)
            return Walked(
                gradients,
                [
                    None if g is None else (states[g], reach.state(k))
                    for k, g in enumerate(runner.code.of_states)
                ],
                {k: (norms, reach.inputs(self.values[k])) for k, norms in shares.items()},
                self._entering(entering or {}) if wanted is not None else None,
            )

    def contributions(self, parts: Mapping[int, Array], k: int) -> Iterator[tuple[int, Array]]:
        """See `Measurable`."""
        runner, value = stepwise(self.runner, True), self.values[k]
        reach, given = self._arriving(parts)
        reached = reach.inputs(value)
        found: list[tuple[int, Array]] = []
        # of a parameter; what is given comes from the whole
        constant = value.given is Given.CONSTANT or value.given is Given.FIXED

        def look(block: Block) -> None:
            for s in range(block.hi - 1, block.lo - 1, -1) if constant else ():
                if reached[s]:
                    found.append((self.times[s], self._share(value, block, s - block.lo)))

        with np.errstate(all="ignore"):
            totals = runner.run(self.left, given, look)
        if not constant and value in totals:
            for s in np.flatnonzero(reached)[::-1]:
                found.append((self.times[s], self._share_of_given(value, totals[value], int(s))))
        yield from found

    def states(self, steps: Sequence[int], after: int = 0) -> list[Array]:
        """See `Measurable`."""
        places = (np.array(steps) - self.times[0]) // self.times.step + after
        if self._with_states is None:
            self._with_states = states_again(self.runner, self.left, self.given)
        shards = self._with_states.shards
        found = []
        for v, array in zip(self.runner.step.states, self.runner.code.states, strict=True):
            parts = [
                kept.arrays[array.name].reshape(
                    len(self.times) + 1, *v.features, hi - lo if v.batch is not None else 1
                )
                for lo, hi, kept in shards
            ]
            several = [part[places] for part in parts]
            if v.batch is None:
                whole = several[0][..., 0]
            else:
                whole = np.moveaxis(np.concatenate(several, axis=-1), -1, v.batch + 1)
            found.append(whole.astype(v.dtype))
        return found

    def _arriving(
        self, parts: Mapping[int, Array], last: int | None = None
    ) -> tuple[_Reach, list[Array | None]]:
        """Return in which steps a gradient arrives, and one for each output and last state."""
        of_ends = {self.live[k]: g for k, g in parts.items()}
        until = len(self.times) if last is None else self.times.index(last) + 1
        reach = _Reach(self.runner.step, of_ends, len(self.times), until)
        return reach, self.runner.completed(of_ends, self.runner.shapes(*self.left.shape))

    def _entering(self, parts: Mapping[int, Array]) -> Figures:
        """Return the norm of what comes into each step: of the same value it is added up before."""
        step = self.runner.step
        total = np.zeros(self.left.shape[0])
        ends, count = [*step.outputs, *step.new_states], len(step.outputs)
        every: dict[Value, Array] = {}
        last: dict[Value, Array] = {}
        for place, g in parts.items():
            k = self.live[place]
            into = every if k < count else last
            into[ends[k]] = into[ends[k]] + g if ends[k] in into else g
        for v, g in every.items():
            several = step_norms(g)[:: -1 if self.left.reverse else 1]
            if (more := last.pop(v, None)) is not None:
                several[-1:] = step_norms((g[0 if self.left.reverse else -1] + more)[None])
            total = np.hypot(total, several)
        for more in last.values():
            total[-1:] = np.hypot(total[-1:], step_norms(more[None]))
        reached = np.full(len(total), bool(every))
        reached[-1:] |= bool(parts)
        return total, reached

    # --- shares -----------------------------------------------------------------------------------

    def _norms(self, value: Value, block: Block) -> Array | None:
        """Return the norm of what each step adds to the gradient of a parameter."""
        code = block.code
        if value.given is Given.FIXED:
            return step_norms(block.of(code.d_fixed[value.place]))
        if value.given is not Given.CONSTANT:
            return None
        gradient, terms = code.step.gradients[value], code.terms[value]
        if terms is not None:
            return block.norms(terms, value.size)
        if gradient is None or not gradient.varies:
            return None
        steps = range(block.hi - block.lo)
        made = [self._made(gradient, block, s).astype(np.float64) for s in steps]
        return np.array([np.linalg.norm(share) for share in made])

    def _norms_of_given(self, value: Value, totals: dict[Value, Array], norms: Array) -> None:
        """Put down the norms of what steps add to the gradient of an input, or of the first state."""
        if value.given is Given.INPUT:
            total = totals[value]
            norms[:] = step_norms(total)[:: -1 if self.left.reverse else 1]
        elif value.given is Given.STATE:  # the first step alone
            norms[:1] = step_norms(totals[value][None])

    def _share(self, value: Value, block: Block, s: int) -> Array:
        """Return what a step of a block adds to the gradient of a parameter."""
        if value.given is Given.FIXED:
            rows = block.of(block.code.d_fixed[value.place])[s].reshape(*value.features, -1)
            return np.array(np.moveaxis(rows, -1, value.batch or 0))
        gradient = block.code.step.gradients[value]
        assert gradient is not None
        if not gradient.varies:
            return np.zeros(value.shape, value.dtype)
        made: Array = self._made(gradient, block, s)
        return made

    def _share_of_given(self, value: Value, total: Array, s: int) -> Array:
        """Return what a step adds to the gradient of an input, or of the first state."""
        if value.given is Given.STATE:
            return total
        share = np.zeros(total.shape, value.dtype)
        t = self.left.shape[0] - 1 - s if self.left.reverse else s
        share[t] = total[t]
        return share

    def _made(self, gradient: Value, block: Block, s: int) -> Array:
        """Compute the gradient of a parameter from the products and sums of one step."""
        sunk, batch, here = block.code.sunk, self.left.shape[1], slice(s, s + 1)
        known: dict[Value, Any] = dict(self.left.constants)

        def value_of(v: Value) -> Any:
            if v in known:
                return known[v]
            if v in sunk.products or v in sunk.sums:
                known[v] = block.value(v, here)[0]
            else:
                for i in v.sources:
                    value_of(i)
                known[v] = compute(v, known, batch)
            return known[v]

        made: Array = np.asarray(value_of(gradient), order="C")
        return made


class _Reach:
    """In which steps a gradient arrives, as far as that follows from which results have one.

    Parameters
    ----------
    step : StepProgram
    arrived : collection of int
        To which outputs and last states a gradient has come.
    T, until : int
        The number of steps, and of those into which something comes.
    """

    def __init__(self, step: StepProgram, arrived: Collection[int], T: int, until: int) -> None:
        self.step, self.T, self.until = step, T, until
        count = len(step.outputs)
        outputs = {k for k in arrived if k < count}
        carried = {k for k in arrived if k >= count}
        self.active: list[set[int]] = []  # of the last steps, the last first; then all are alike
        while len(self.active) < until:
            now = outputs | carried
            if self.active and now == self.active[-1]:
                break
            self.active.append(now)
            given = set().union(*[step.reaches[k] for k in now])
            carried = {count + k for k, v in enumerate(step.states) if v in given}

    def _steps(self, holds: Callable[[set[int]], bool]) -> Array:
        """Return for each step whether something holds of the results that have a gradient there."""
        found = np.zeros(self.T, bool)
        for k, active in enumerate(self.active):
            found[: self.until - k] = holds(active)
        found[self.until :] = False
        return found

    def inputs(self, value: Value) -> Array:
        """Return at which steps a gradient goes from what is given."""
        reaches = self.step.reaches
        found = self._steps(lambda active: any(value in reaches[k] for k in active))
        if value.given is Given.STATE:
            found[1:] = False
        return found

    def ever(self, value: Value) -> bool:
        """Whether a gradient comes to what is given."""
        return bool(self.inputs(value).any())

    def state(self, k: int) -> Array:
        """Return at which steps a gradient comes to a component of the state that is handed on."""
        outputs: list[Node] = self.step.recorded[0].program.outputs
        node = outputs[len(self.step.outputs) + k]
        return self._steps(lambda active: any(sources_of(outputs[e], {node}) for e in active))


def stepwise(runner: Runner, shares: bool) -> StepRunner:
    """Return the runner of the backward that leaves what each step finds; it is made once."""
    if shares not in runner.stepwise:
        runner.stepwise[shares] = StepRunner(runner, shares)
    found: StepRunner = runner.stepwise[shares]
    return found


def is_stepwise(runner: Runner) -> bool:
    """Whether there is such a backward."""
    if gradients_of_states(runner.code) is None:
        return False
    try:
        return all(stepwise(runner, shares).complete for shares in (False, True))
    except CompileError:
        return False
