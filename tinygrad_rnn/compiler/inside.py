"""A compiled sequence inside of a function that is recorded.

In the trace it is one node, an `unroll` as elsewhere, and its gradients are nodes of their own, so
the trace can be differentiated, evaluated and drawn as any other: the steps are run again there. In
the program that is made of the trace the node becomes a run of the compiled loop over time. What
that leaves for backward is a value of the program, which is kept like any other value:

=========  ==========================  =========================================================
value      of                          is
=========  ==========================  =========================================================
RUN        inputs, states, constants   what a run gives and leaves: an object
RESULTS    RUN                         the outputs and the last states, in one vector
PULL       RUN, gradients of RESULTS   the gradients of all that has some: a list of arrays
PICK       PULL                        one of these
=========  ==========================  =========================================================
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np

from ..core.memory import empty
from ..core.primitive import Array, Primitive, Spec
from ..core.record import apply, record
from ..core.tape import Node, context
from ..core.tensor import Tensor
from ..ops.elementwise import add
from ..ops.facts import Facts
from ..ops.indexing import scatter
from ..recurrent.packing import cut
from ..recurrent.segment import SEGMENT_GRADIENT, Segment
from .calls import Residuals
from .internal import Internal
from .runner import Runner
from .unrolled import UNROLL
from .value import Value
from .variant import Piece


class Ran(NamedTuple):
    """What a run gives, and what it leaves for backward."""

    packed: Array
    left: Residuals


class Inside(Segment):
    """A compiled sequence as a node of a trace.

    Parameters
    ----------
    runner : Runner
    piece : Piece
        The steps, with traced tensors.
    lent : list of Tensor
        What the cell holds and has a row for each of the batch.
    drawn : list of Tensor
        What the steps draw.
    held : dict of Value to list of Tensor
        Arguments of the recorded function that the cell holds, by what the step calls them.
    again : callable
        The same steps, to be run one by one.

    Attributes
    ----------
    values : list of Value
        What the compiled step calls the inputs of the node.
    places : dict of int to int
        For each input of the node that has a gradient, its place in what `backward` returns.
    """

    reads = "goes through a compiled cell inside of a compiled function, which needs"
    of_sequence = True

    def __init__(
        self,
        runner: Runner,
        piece: Piece,
        lent: list[Tensor],
        drawn: list[Tensor],
        held: dict[Value, list[Tensor]],
        again: Callable[..., list[Tensor]],
    ) -> None:
        self.tensors = [*piece.inputs, *piece.states, *drawn, *[ts[0] for ts in held.values()]]
        super().__init__(again, len(self.tensors))
        step = runner.step
        self.runner, self.batch, self.reverse = runner, piece.batch, piece.span.reverse
        asked = context().asked
        owned = [
            (v, t)
            for v, t in runner.owners.items()
            if v not in held and (t.requires_grad or t.node in asked)
        ]
        borrowed = list(zip(step.fixed[: step.lent], lent, strict=True))
        self.owners = [t for _, t in (*owned, *borrowed)]
        self.values = [*step.xs[: len(piece.inputs)], *step.states, *(v for _, v in step.drawn)]
        self.values += [*held, *(v for v, _ in (*owned, *borrowed))]
        self.live = list(range(len(runner.ends)))
        graded = {v for _, v in runner.gradients} | set(runner.constants)
        self.targets = [(k, v) for k, v in enumerate(self.values) if v in graded]
        self.places = {k: place for place, (k, _) in enumerate(self.targets)}

    @property
    def captured(self) -> list[Node]:
        """The nodes of what the cell holds, as they are now."""
        return [t.node or t.leaf() for t in self.owners]

    @captured.setter
    def captured(self, nodes: list[Node]) -> None:
        """Do nothing: they follow from the cell."""

    def results(self) -> list[Tensor]:
        """Return outputs, last states and what is emitted as tensors of the trace."""
        shapes = self._shapes(self.tensors[0].shape[0])
        size = sum(math.prod(shape) for shape in shapes)
        nodes = (*[t.node or t.leaf() for t in self.tensors], *self.captured)
        self.needed = [t.requires_grad for t in self.tensors]
        saved = (None, tuple(t.array for t in (*self.tensors, *self.owners)))
        edges = UNROLL.edges(nodes)
        out: Any = Spec((size,), self.runner.dtype)
        whole = record(UNROLL, nodes, edges, {"segment": self}, saved, out, bool(edges))
        return cut(whole, shapes)

    def gradients(self, g: Any, values: Sequence[Any]) -> tuple[Any, ...]:
        """See `Segment.gradients`; in a trace each is a node."""
        if not context().tracing:
            return super().gradients(g, values)
        found: list[Any] = [None] * len(values)
        for k in self.places:
            params = {"segment": self, "of": k}
            found[k] = apply(SEGMENT_GRADIENT, (g, *values), params)
        return tuple(found)

    # --- what the program does --------------------------------------------------------------------

    @property
    def bounds(self) -> list[tuple[int, int]]:
        """Where each output, last state and emitted value stands among the packed results."""
        sizes = [math.prod(shape) for shape in self._shapes(self.tensors[0].shape[0])]
        return list(itertools.pairwise(itertools.accumulate(sizes, initial=0)))

    def _shapes(self, T: int) -> list[tuple[int, ...]]:
        return self.runner.shapes(T, self.batch)

    def forward(self, *arrays: Array) -> Ran:
        """Run all steps."""
        runner = self.runner
        shapes = self._shapes(arrays[0].shape[0])
        packed = empty((sum(math.prod(shape) for shape in shapes),), runner.dtype)
        given = dict(zip(self.values, arrays, strict=True))
        return Ran(packed, runner.forward(given, self.batch, self.reverse, cut(packed, shapes)))

    def backward(self, ran: Ran, *pieces: Array, begins: tuple[int, ...]) -> list[Array]:
        """Return the gradients by the `targets`.

        The gradient of the packed results is given in pieces, which begin at these places; what
        lies between is zero.
        """
        shapes = self._shapes(ran.left.shape[0])
        parts: dict[int, Array] = {}
        places = itertools.accumulate([math.prod(shape) for shape in shapes], initial=0)
        place = {begin: k for k, begin in enumerate(places)}
        for begin, piece in zip(begins, pieces, strict=True):
            k = place[begin]
            g = piece.reshape(shapes[k])
            parts[k] = parts[k] + g if k in parts else g
        found = self.runner.backward(ran.left, self.runner.completed(parts, shapes))
        return [found[v] for _, v in self.targets]


def fits(runner: Runner) -> bool:
    """Whether a step can be a part of another program.

    Its results, and what it emits, have one dtype.
    """
    return all(v.dtype == runner.dtype for v in (*runner.ends, *runner.emitted))


# --- as values of a program -----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Hosted(Internal):
    """An operation that a host program calls."""

    function: Callable[..., Any] = tuple

    def forward(self, *inputs: Any, **params: Any) -> Any:
        """Compute it."""
        return self.function(*inputs, **params)


def hosted(name: str, function: Callable[..., Any]) -> Primitive:
    """Return an operation that host programs compute by a function."""
    return cast("Primitive", Hosted(name, Facts(), function=function))


RUN = hosted("run", lambda *arrays, sequence: sequence.forward(*arrays))
RESULTS = hosted("results", lambda ran: ran.packed)
PULL = hosted(
    "pull", lambda ran, *pieces, sequence, begins: sequence.backward(ran, *pieces, begins=begins)
)
PART = hosted("piece", lambda g, begin, end: g[begin:end])
PICK = hosted("pick", lambda found, place: found[place])
OBJECT = np.dtype(object)


def _pieces(g: Value, bounds: Sequence[tuple[int, int]]) -> list[tuple[int, Value]] | None:
    """Return the pieces of which a gradient of packed results is put together, as `cut` makes it.

    Each with the place at which it begins; None if it was made in another way.
    """
    if g.primitive is add.primitive and all(isinstance(i, Value) for i in g.inputs):
        one, two = (_pieces(i, bounds) for i in g.inputs)
        return None if one is None or two is None else one + two
    index = g.params.get("index") if g.primitive is scatter.primitive else None
    if isinstance(index, slice) and index.step is None and (index.start, index.stop) in bounds:
        return [(index.start, g.inputs[0])]
    return None


class Lowering:
    """Makes the values of sequences, which belong together."""

    def __init__(self) -> None:
        self._ran: dict[Inside, Value] = {}
        self._pulled: dict[tuple[Value, Value], Value] = {}

    def add(self, node: Node, inputs: list[Any], line: Node, out: list[Value]) -> Value | None:
        """Append the values that a node stands for to a program, and return that of the node.

        None if the node is no part of a sequence.
        """
        sequence = node.params.get("segment")
        if not isinstance(sequence, Inside):
            return None

        def made(primitive: Primitive, *operands: Any, kind: Any = OBJECT, **params: Any) -> Value:
            shape = () if kind is OBJECT else node.shape
            out.append(Value(primitive, list(operands), params, shape, line, dtype=kind))
            return out[-1]

        if node.primitive is UNROLL:
            self._ran[sequence] = ran = made(RUN, *inputs, sequence=sequence)
            return made(RESULTS, ran, kind=node.dtype)
        ran, g = self._ran[sequence], inputs[0]
        if (ran, g) not in self._pulled:
            pieces = _pieces(g, sequence.bounds)
            if pieces is None:
                pieces = [(0, g)] if len(sequence.bounds) == 1 else []
                for begin, end in () if pieces else sequence.bounds:
                    part = Value(
                        PART, [g], {"begin": begin, "end": end}, (end - begin,), line, dtype=g.dtype
                    )
                    out.append(part)
                    pieces.append((begin, part))
            begins = tuple([begin for begin, _ in pieces])
            given = [piece for _, piece in pieces]
            self._pulled[ran, g] = made(PULL, ran, *given, sequence=sequence, begins=begins)
        place = sequence.places[node.params["of"]]
        return made(PICK, self._pulled[ran, g], kind=node.dtype, place=place)
