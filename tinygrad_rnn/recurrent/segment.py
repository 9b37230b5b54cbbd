"""A segment of computation that is one node on the tape, and is run again in backward.

The inputs of the node are the tensors that the function was given and those that it captured, its
output is one vector in which the floating results stand one after the other. Checkpoints, compiled
sequences and compiled functions are such nodes.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.errors import DtypeError, GraphError
from ..core.primitive import Primitive, Spec
from ..core.record import describe, record
from ..core.tape import Leaf, Node, Older, context, reachable, setting
from ..core.tensor import Tensor
from ..core.walks import pull_back, push_forward
from ..ops.elementwise import tanh
from ..ops.facts import Facts
from .captured import captured
from .context import SequenceContext, sequence_context
from .measured import Measurable
from .packing import cut, pack
from .products import around, wrappers
from .rerun import Repeatable, Row, check_same, rows


class Segment(Repeatable):
    """A function of tensors, and what has to be known to run it again.

    Parameters
    ----------
    function : callable
        Takes tensors, and returns a list of tensors.
    count : int
        How many tensors the function takes.

    Attributes
    ----------
    rows : list of Row, or None
        What the first run did, where that is known.
    needed : list of bool
        Which of the tensors have a gradient.
    captured : list of Node
        What the function uses besides its tensors.
    live : list of int
        Which of the results have a gradient.
    """

    reads = "runs a checkpointed segment again and needs"  # for messages
    of_sequence = False  # whether it is a whole sequence of a cell's steps
    rows: list[Row] | None = None

    def __init__(self, function: Callable[..., list[Tensor]], count: int) -> None:
        now = context()
        self.function, self.count = function, count
        self.mark, self.eager, self.wrappers = now.mark, now.eager, [w.here() for w in wrappers()]
        # by which masks are drawn again; outside of a sequence the first run begins one
        self.sequence = sequence_context()
        self.begun = 0 if self.sequence is None else self.sequence.begun
        self.ran = False
        self.generators: list[Any] = []  # copies, one as it stood at each draw of the first run
        self.needed = [True] * count
        self.captured: list[Node] = []
        self.live: list[int] = []

    def __reduce__(self) -> Any:
        raise GraphError(
            "this graph cannot be pickled: a segment that is run again in backward (a checkpoint, or a compiled unrolling) holds a function. "
            "Pickle the values, t.detach(), or the module; layers in tg.eager() record single steps."
        )

    def run(self, handles: Sequence[Tensor], *, record: bool, **options: Any) -> list[Any]:
        """Return the results of the function, with marks, masks, wrappers as in its first run."""
        again, self.ran = self.ran, True
        if self.sequence is None:
            self.sequence = SequenceContext()
        inside = (
            around(*[w.here() for w in self.wrappers], only=True)
            if again
            else contextlib.nullcontext()
        )
        with (
            self.sequence.segment(self.begun, self._generators(self.sequence, again), again=again),
            setting(
                grad_enabled=record,
                eager=self.eager,
                origin=None,
                mark=self.mark,
                sequence=self.sequence,
            ),
            inside,
        ):
            return self.function(*handles, **options)

    def _generators(self, sequence: SequenceContext, again: bool) -> Callable[[Any], Any]:
        """Return what says from which generator a draw takes its numbers.

        See `SequenceContext.generators`.
        """
        if again:
            recorded = iter(self.generators)
            return lambda rng: copy.deepcopy(next(recorded))
        around_this = sequence.running_generators()

        def noted(rng: Any) -> Any:
            rng = rng if around_this is None else around_this(rng)
            self.generators.append(copy.deepcopy(rng))
            return rng

        return noted

    def first_run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the results as constants.

        Afterwards it is known what was captured, and which results have a gradient.
        """
        older = Older()
        handles = [_fresh(t.array, t.requires_grad) for t in tensors]
        found = self.run(handles, record=True)
        self.live = [i for i, y in enumerate(found) if y.requires_grad]
        if len({y.dtype for y in (found[i] for i in self.live)}) > 1:
            raise DtypeError(
                f"checkpoint: the results are {', '.join(describe(found[i]) for i in self.live)}; expected one dtype"
            )
        self.captured = captured(
            [found[i].node for i in self.live],
            older,
            {h.node for h in handles if h.node is not None},
        )
        self.rows = rows(self._made(found, handles, older), handles, frozenset(self.captured))
        return [y.detach() for y in found]

    def _made(self, found: Sequence[Tensor], handles: Sequence[Tensor], older: Older) -> list[Node]:
        """Return the operations of a run, in their order; `older` are the nodes from before it."""
        ends = frozenset([*self.captured, *[h.node for h in handles if h.node is not None]])
        roots = [found[i].node for i in self.live]
        nodes = reachable([r for r in roots if r is not None], ends)
        return [n for n in nodes if n not in older and n.primitive is not None and n not in ends]

    def measured(self) -> Measurable | None:
        """Return what tells of single steps without running them, if that can be had."""
        return None

    def did(self) -> Any:
        """See `Repeatable.did`."""
        return self.rows if self.rows is None else tuple(self.rows)

    def pack(self, parts: Sequence[Any]) -> Any:
        """Return one vector of the floating results."""
        return pack(parts)

    def on_tape(self, primitive: Primitive, tensors: Sequence[Tensor], packed: Any) -> Tensor:
        """Return the packed results of the first run, with their node.

        Its inputs are the tensors and what was captured.
        """
        nodes = (*[t.node or t.leaf() for t in tensors], *self.captured)
        self.needed = [t.requires_grad for t in tensors]
        # the rule looks at no other values
        saved = [None, (*[t.array for t in tensors], *[None] * len(self.captured))]
        edges = primitive.edges(nodes)
        return record(primitive, nodes, edges, {"segment": self}, saved, packed)

    # --- backward and forward through it ----------------------------------------------------------

    def gradients(self, g: Any, values: Sequence[Any]) -> tuple[Any, ...]:
        """Return the gradient by each input of the node.

        The function is run again, and walked back through.

        Parameters
        ----------
        g : array or Tensor
            The gradient by the packed results; a Tensor where the walk is itself recorded.
        values : sequence of array or Tensor
            The values of the inputs.
        """
        create = isinstance(g, Tensor)
        results, sources = self.again(values, create)
        seeds = cut(g, [y.shape for y in results])
        ends = [
            (y.node, s if create else Tensor(s))
            for y, s in zip(results, seeds, strict=True)
            if y.node is not None and y.requires_grad
        ]
        pulled = (
            pull_back(
                [n for n, _ in ends],
                [s for _, s in ends],
                targets=[n for n in sources if n.requires_grad],
                create_graph=create,
            )
            if ends
            else {}
        )
        gradients = [pulled.get(n) for n in sources]
        return tuple(x if x is None or create else x.array for x in gradients)

    def tangent(self, arriving: tuple[Any, ...], values: Sequence[Any]) -> Any:
        """Return the tangent of the output.

        The function is run again, and walked forward through.

        Parameters
        ----------
        arriving : tuple of array, Tensor or None
            The tangents of the inputs.
        values : sequence of array or Tensor
            The values of the inputs; Tensors where the walk is itself recorded.
        """
        create = any(isinstance(v, Tensor) for v in values)
        results, nodes = self.again(values, create)
        tangents = {n: t for n, t in zip(nodes, arriving, strict=True) if t is not None}
        push_forward([y.node for y in results if y.node is not None], tangents, create_graph=create)
        zeros = [np.zeros(y.shape, y.dtype) for y in results]
        parts = [
            z if y.node is None else tangents.get(y.node, z)
            for y, z in zip(results, zeros, strict=True)
        ]
        return self.pack([Tensor(p) if create and not isinstance(p, Tensor) else p for p in parts])

    def again(self, values: Sequence[Any], create: bool) -> tuple[list[Tensor], list[Node]]:
        """Run the function again.

        Parameters
        ----------
        values : sequence of array or Tensor
            The values of the node's inputs, those of the tensors first.
        create : bool
            Whether the second run hangs on the tape; else its tensors are leaves of their own.

        Returns
        -------
        results : list of Tensor
            Those that have a gradient.
        sources : list of Node
            What they hang on: a node for each tensor, and those that were captured.

        Raises
        ------
        GraphError
            If the run did something else than the first, or what it uses was changed.
        """
        self.check_captured()
        older = Older()
        handles = [
            _handle(v, create, needed) for v, needed in zip(values, self.needed, strict=False)
        ]
        found = self.run(handles, record=True)
        if self.rows is not None:
            made = self._made(found, handles, older)
            check_same(self.rows, rows(made, handles, frozenset(self.captured)), made, self.reads)
        results, nodes = (
            [found[i] for i in self.live],
            [h.node for h in handles if h.node is not None],
        )
        known = set(self.captured)
        for n in captured([y.node for y in results], older, set(nodes)):
            if n not in known:
                raise GraphError(
                    f"backward {self.reads} what was used then, but the run again used {describe(n)}{n.where.described()} besides, whose gradient "
                    "would be lost: what the function closes over was changed. Call backward before it is changed."
                )
        return results, [*nodes, *self.captured]

    def check_captured(self) -> None:
        """Raise a GraphError if a tensor that the function uses was given other values since."""
        for leaf in self.captured:
            if isinstance(leaf, Leaf) and leaf.replaced:
                raise GraphError(
                    f"backward {self.reads} the value that {describe(leaf)} had then, but its array was replaced "
                    f"at {leaf.replaced}. Call backward before the parameters are changed."
                )


def as_primitive(name: str) -> Primitive:
    """Return a primitive of this name whose nodes are segments."""
    return Primitive(
        name,
        _forward,
        [lambda g, inputs, segment: segment.gradients(g, inputs)],
        shape=_shape,
        joint=True,
        tangent=lambda t, out, *values, segment: segment.tangent(
            t if isinstance(t, tuple) else (t,), values
        ),
        promotes=slice(0, 0),
        examples=[([(2, 3)], {"segment": _example()})],
        facts=Facts(
            runs_again=True, rule_in_words="The segment is run again, recorded, and walked back."
        ),
    )


def _forward(*arrays: Any, segment: Segment) -> Any:
    found, _ = segment.again(arrays, False)
    return segment.pack([y.array for y in found])


def _shape(*specs: Any, segment: Segment) -> Spec:
    with setting(tracing=True):
        found = segment.run(
            [Tensor(Spec(s.shape, s.dtype)) for s in specs[: segment.count]], record=False
        )
    return Spec(
        [sum(math.prod(found[i].shape) for i in segment.live)], found[segment.live[0]].dtype
    )


def _example() -> Segment:
    segment = Segment(lambda x: [tanh(x), tanh(x) * x], 1)
    segment.live = [0, 1]
    return segment


def _handle(value: Any, create: bool, needed: bool) -> Tensor:
    """Return a tensor of its own for a run; with `create`, or in a trace, one that hangs on it."""
    if isinstance(value, Tensor):
        if create and value.requires_grad:
            return +value
        if isinstance(value.array, Spec):
            return value.handle()
    return _fresh(getattr(value, "array", value), needed)


def _fresh(array: Any, requires_grad: bool) -> Tensor:
    """Return a tensor with a leaf of its own, to which the function may write."""
    made = Tensor(array)
    made.leaf(requires_grad and array.dtype.kind == "f")
    return made.handle()


def _one_gradient(*arrays: Any, segment: Segment, of: int) -> Any:
    g, *values = arrays
    found = segment.gradients(g, values)[of]
    return np.zeros(values[of].shape, g.dtype) if found is None else found


def _recorded(
    inputs: Sequence[Any], segment: Segment, of: int
) -> tuple[Tensor | None, list[Node | None]]:
    """Return a gradient of a segment, computed by recorded steps, and what it hangs on.

    That is a node for each input: g, the tensors, and what the segment captured.
    """
    with setting(grad_enabled=True):
        given = [v if isinstance(v, Tensor) else _fresh(v, v.dtype.kind == "f") for v in inputs]
        found = Segment.gradients(segment, given[0], given[1:])[of]
    ends = [t.node for t in given[: 1 + segment.count]] + segment.captured
    return (found if found is not None and found.requires_grad else None), ends


def _second(g: Any, inputs: Sequence[Any], segment: Segment, of: int) -> tuple[Any, ...]:
    create = isinstance(g, Tensor)
    found, ends = _recorded(inputs, segment, of)
    if found is None or found.node is None:
        return (None,) * len(inputs)
    pulled = pull_back(
        [found.node],
        [g if create else Tensor(g)],
        targets=[n for n in ends if n is not None and n.requires_grad],
        create_graph=create,
    )
    gradients = [None if n is None else pulled.get(n) for n in ends]
    return tuple([x if x is None or create else x.array for x in gradients])


def _second_tangent(t: Any, out: Any, *inputs: Any, segment: Segment, of: int) -> Any:
    arriving = t if isinstance(t, tuple) else (t,)
    found, ends = _recorded(inputs, segment, of)
    if found is None or found.node is None:
        return None
    tangents = {
        n: t for n, t in zip(ends, arriving, strict=True) if n is not None and t is not None
    }
    create = any(isinstance(v, Tensor) for v in inputs)
    return push_forward([found.node], tangents, create_graph=create).get(found.node)


# the gradient by one input of a segment, from that of its packed results; inputs: (g, *inputs)
SEGMENT_GRADIENT = Primitive(
    "segment_gradient",
    _one_gradient,
    [_second],
    shape=lambda g, *specs, segment, of: Spec(specs[of].shape, g.dtype),
    joint=True,
    tangent=_second_tangent,
    examples=[([(12,), (2, 3)], {"segment": _example(), "of": 0})],
    facts=Facts(
        runs_again=True,
        rule_in_words="The segment is run again, recorded, walked back, and back through that.",
    ),
)
