"""Checkpoints.

A stretch of computation that keeps its inputs alone, and is run again when its backward needs the
rest.

T. Chen, B. Xu, C. Zhang and C. Guestrin, Training Deep Nets with Sublinear Memory Cost (2016),
arXiv:1604.06174.

The stretch is one node on the tape. Its inputs are the tensors that the function was given and
those it uses besides (parameters, or values computed before): of the nodes that its result depends
on, the ones that are older than the run. Its output is one vector in which the floating results
stand one after the other.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.errors import DtypeError, GraphError, TinygradError
from ..core.primitive import Primitive, Spec
from ..core.record import apply, describe, record
from ..core.tape import Leaf, Node, Older, caller, context, reachable, setting
from ..core.tensor import Tensor, tensor
from ..core.trace import Program
from ..core.tree import leaves, unflatten
from ..core.walks import pull_back, push_forward
from ..ops.define import primitive
from ..ops.elementwise import tanh
from ..ops.shaping import concatenate, scatter
from .products import around, wrappers
from .rerun import Row, check_same, rows


class Stretch:
    """A function of tensors, and what has to be known to run it again.

    Parameters
    ----------
    function : callable
        Of tensors; returns a list of tensors.
    count : int
        How many tensors it takes.
    """

    reads = "runs a checkpointed stretch again and needs"  # for messages
    rows: list[Row] | None = None  # what the first run did, if it is known

    def __init__(self, function: Callable[..., list[Tensor]], count: int) -> None:
        now = context()
        self.function, self.count = function, count
        self.mark, self.eager, self.wrappers = now.mark, now.eager, [w.here() for w in wrappers()]
        # by which random masks are drawn again as they were
        self.sequence = {} if now.sequence is None else now.sequence
        self.ran = False
        self.inner = self.sequence.get("inner", -1)
        self.draws: list[Any] = []  # the generators of other random numbers, as they stood
        self.needed = [True] * count  # which of the tensors have a gradient
        self.captured: list[Node] = []
        self.live: list[int] = []  # which results have a gradient

    def __reduce__(self) -> Any:
        raise GraphError(
            "this graph cannot be pickled: a stretch that is run again in backward (a checkpoint, or a compiled unrolling) holds a function. "
            "Pickle the values, t.detach(), or the module; layers in tg.eager() record single steps."
        )

    def run(self, handles: Sequence[Tensor], *, record: bool) -> list[Tensor]:
        """The results."""
        scope, again = self.sequence, self.ran
        before = {key: scope[key] for key in ("again", "inner", "run", "draw") if key in scope}
        recorded, outer = iter(self.draws), draw_of(scope)

        def draw(rng: Any) -> Any:
            if again:
                return copy.deepcopy(next(recorded))
            rng = rng if outer is None else outer(rng)
            self.draws.append(copy.deepcopy(rng))
            return rng

        scope |= {
            "again": again or scope.get("again", False),
            "inner": self.inner,
            "run": {},
            "draw": draw,
        }
        self.ran = True
        try:
            inside = (
                around(*[w.here() for w in self.wrappers], only=True)
                if again
                else contextlib.nullcontext()
            )
            with (
                setting(
                    grad_enabled=record,
                    eager=self.eager,
                    origin=None,
                    mark=self.mark,
                    sequence=scope,
                ),
                inside,
            ):
                return self.function(*handles)
        finally:
            inner = scope.get("inner", -1)
            for key in ("again", "inner", "run", "draw"):
                scope.pop(key, None)
            scope |= before
            if not again:
                scope["inner"] = inner

    def first_run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The results, as constants.

        Afterwards it is known what the function captured, and which results have a gradient.
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
        """The operations of a run, in their order; `older` are the nodes from before it."""
        ends = frozenset([*self.captured, *[h.node for h in handles if h.node is not None]])
        roots = [found[i].node for i in self.live]
        nodes = reachable([r for r in roots if r is not None], ends)
        return [n for n in nodes if n not in older and n.primitive is not None and n not in ends]

    def did(self) -> Any:
        """What it did, to be compared with what another stretch did."""
        return self.rows if self.rows is None else tuple(self.rows)

    def pack(self, parts: Sequence[Any]) -> Any:
        """One vector."""
        return (
            concatenate([p.reshape((-1,)) for p in parts])
            if isinstance(parts[0], Tensor)
            else np.concatenate([p.ravel() for p in parts])
        )

    def gradients(self, g: Any, values: Sequence[Any]) -> tuple[Any, ...]:
        """For each input of the node: run the function again, and walk back through it."""
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

    def on_tape(self, primitive: Primitive, tensors: Sequence[Tensor], packed: Any) -> Tensor:
        """The node of the first run, with the packed results.

        Its inputs are the tensors and what the function captured.
        """
        nodes = (*[t.node or t.leaf() for t in tensors], *self.captured)
        self.needed = [t.requires_grad for t in tensors]
        # the rule looks at no other values
        saved = [None, (*[t.array for t in tensors], *[None] * len(self.captured))]
        edges = primitive.edges(nodes)
        return record(primitive, nodes, edges, {"stretch": self}, saved, packed)

    def check_captured(self) -> None:
        """Raise a GraphError if a tensor that the function uses was given other values since."""
        for leaf in self.captured:
            if isinstance(leaf, Leaf) and leaf.replaced:
                raise GraphError(
                    f"backward {self.reads} the value that {describe(leaf)} had then, but its array was replaced "
                    f"at {leaf.replaced}. Call backward before the parameters are changed."
                )

    def tangent(self, arriving: tuple[Any, ...], values: Sequence[Any]) -> Any:
        """The tangent of the output: run the function again, and walk forward through it."""
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
        """The results that have a gradient, run again, and what they hang on.

        Nodes for the tensors, and those that were captured.

        The tensors are leaves, or where the walk is recorded, tensors that hang on the tape.
        """
        self.check_captured()
        older = Older()
        handles = [
            +v
            if create and isinstance(v, Tensor) and v.requires_grad
            else _fresh(getattr(v, "array", v), needed)
            for v, needed in zip(values, self.needed, strict=False)
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


def draw_of(scope: dict[str, Any] | None) -> Callable[[Any], Any] | None:
    """What says which generator a draw gets in the stretch that is running.

    In a run again one that stands as it did; or None.
    """
    while scope is not None and "draw" not in scope:
        scope = scope.get("outer")
    return None if scope is None else scope["draw"]


def captured(results: Iterable[Any], older: Older, inputs: Container[Node]) -> list[Node]:
    """The nodes with gradients, among the `older` ones, from which a function computed its results, though they are none of its inputs.

    What lies behind such a node is not looked at: it is part of the graph around the function,
    whether it is a leaf or was computed. A leaf that is newer belongs to them as well if it is that
    of a tensor which outlives the function (a parameter that is made when it is first needed).
    """
    found: set[Node] = set()
    seen: set[Node] = set()
    stack = [n for n in results if isinstance(n, Node)]
    while stack:
        node = stack.pop()
        if node in seen or node in inputs:
            continue
        seen.add(node)
        if node.requires_grad and (node in older or owner_of(node) is not None):
            found.add(node)
        else:
            stack += [n for n in node.inputs if isinstance(n, Node)]
    return sorted(found, key=lambda n: n.index)


def owner_of(node: Any) -> Tensor | None:
    """The tensor that a leaf belongs to, if somebody holds it; None of other nodes."""
    found: Tensor | None = (
        node.tensor() if isinstance(node, Leaf) and node.tensor is not None else None
    )
    return found


def value_of(node: Node, known: Mapping[Node, Any]) -> Any:
    """The value of a node as it was when it was made.

    Known, held by a leaf, or computed again from those.

    Raises
    ------
    GraphError
        Where steps would have to be run again for it, with parameters that may be others by now.
    """
    if node in known:
        return known[node]
    if isinstance(node, Leaf):
        return node.value
    program = Program([n for n in known if n is not node], [node])
    for n in program.nodes:
        if "stretch" in n.params:
            raise GraphError(
                f"a function uses {describe(node)}{node.where.described()}, which was computed from the result of {n.op}{n.where.described()}, and "
                "holds it where it is not found: hand it over as an argument, or keep it in an attribute of a module, a list, a dict or a variable."
            )
    with setting(grad_enabled=False):
        value = program(*[a for n, a in known.items() if n is not node])[0]
    return np.asarray(getattr(value, "array", value))


def _fresh(array: Any, requires_grad: bool) -> Tensor:
    made = Tensor(array)
    made.leaf(requires_grad and array.dtype.kind == "f")
    return made.handle()  # to which the function may write


def _forward(*arrays: Any, stretch: Stretch) -> Any:
    found, _ = stretch.again(arrays, False)
    return stretch.pack([y.array for y in found])


def _shape(*specs: Any, stretch: Stretch) -> Spec:
    with setting(tracing=True):
        found = stretch.run(
            [Tensor(Spec(s.shape, s.dtype)) for s in specs[: stretch.count]], record=False
        )
    return Spec(
        [sum(math.prod(found[i].shape) for i in stretch.live)], found[stretch.live[0]].dtype
    )


def _example() -> Stretch:
    stretch = Stretch(lambda x: [tanh(x), tanh(x) * x], 1)
    stretch.live = [0, 1]
    return stretch


def _part_shape(x: Any, *, begin: int, shape: tuple[int, ...]) -> Spec:
    return Spec(shape, x.dtype)


def _add_part(total: Any, g: Any, *, begin: int, shape: tuple[int, ...]) -> None:
    total[begin : begin + g.size] += g.reshape(-1)


@primitive(
    lambda g, like_x, begin: scatter(g.reshape((-1,)), slice(begin, begin + g.size), like_x.shape),
    shape=_part_shape,
    linear="jointly",
    name="part",
    examples=[([(7,)], {"begin": 1, "shape": (2, 3)})],
)
def _part(x: Any, *, begin: int, shape: tuple[int, ...]) -> Any:
    return x[begin : begin + math.prod(shape)].reshape(shape)


_part.primitive.add_into = _add_part


def cut(whole: Any, shapes: Sequence[tuple[int, ...]], apart: int | None = None) -> list[Any]:
    """The parts of a vector in which arrays of these shapes stand one after the other.

    Those of a tensor from the number `apart` on are copies, so that who keeps one of them does not
    keep all.
    """
    begins = list(itertools.accumulate([math.prod(shape) for shape in shapes], initial=0))
    now = context()
    if not isinstance(whole, Tensor):
        return [
            whole[a:b].reshape(shape)
            for a, b, shape in zip(begins, begins[1:], shapes, strict=False)
        ]
    primitive: Primitive = _part.primitive
    if now.tracing or not now.grad_enabled or not whole.requires_grad:
        return [
            apply(primitive, (whole,), {"begin": a, "shape": shape})
            for a, shape in zip(begins, shapes, strict=False)
        ]
    # what `apply` does, for all parts at once
    nodes, place = (whole.node,), now.origin or caller()
    edges = primitive.edges(nodes)
    return [
        record(
            primitive,
            nodes,
            edges,
            {"begin": a, "shape": shape},
            (None, None),
            part if apart is None or k < apart else part.copy(),
            origin=place,
        )
        for k, (a, part, shape) in enumerate(
            zip(begins, cut(whole.array, shapes), shapes, strict=False)
        )
    ]


def as_primitive(name: str) -> Primitive:
    """The primitive whose nodes are stretches."""
    return Primitive(
        name,
        _forward,
        [lambda g, inputs, stretch: stretch.gradients(g, inputs)],
        shape=_shape,
        joint=True,
        tangent=lambda t, out, *values, stretch: stretch.tangent(
            t if isinstance(t, tuple) else (t,), values
        ),
        promotes=slice(0, 0),
        examples=[([(2, 3)], {"stretch": _example()})],
    )


CHECKPOINT = as_primitive("checkpoint")


def _kept(argument: Any) -> Any:
    """What another run is given.

    None for a tensor, and a copy of an array, which the caller may write to.
    """
    return (
        None
        if isinstance(argument, Tensor)
        else argument.copy()
        if isinstance(argument, np.ndarray)
        else argument
    )


def checkpoint(function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)``, of which the tape keeps the arguments alone.

    The backward walk computes the rest again.

    Parameters
    ----------
    function : callable
        Of nests of tensors, to a nest of tensors. Run again, it must do the same (random masks of
        `tg.nn` do).
    *args : nests of tensors
        Arrays in them are copied; numbers and other objects are passed on as they are.

    Returns
    -------
    nest
        With gradients of any order, for the arguments and for the tensors that the function uses
        besides.

    Raises
    ------
    GraphError
        In backward, if a parameter that the function uses was given another value in between, or if
        the second run did something else than the first: another operation, number, setting,
        constant or tensor.
    DtypeError
        If the results are of several floating dtypes.
    """
    if not callable(function):
        raise TinygradError(
            f"checkpoint: expected a function and its arguments; found a {type(function).__name__}"
        )
    everything = leaves(args)
    tensors = [t for t in everything if isinstance(t, Tensor)]
    if not context().grad_enabled or context().tracing:
        return function(
            *unflatten(args, [x.handle() if isinstance(x, Tensor) else x for x in everything])
        )
    arguments, others = unflatten(args, [0] * len(everything)), [_kept(t) for t in everything]
    results_like = [None]

    def flat(*handles: Tensor) -> list[Tensor]:
        given = iter(handles)
        result = function(*unflatten(arguments, [next(given) if t is None else t for t in others]))
        found = leaves(result)
        results_like[0] = unflatten(result, [0] * len(found))
        for y in found:
            if isinstance(y, (np.ndarray, np.generic)):
                raise GraphError(
                    "checkpoint: the function returned an array, through which no gradient would flow. Return tensors; tg.tensor(array) is a constant"
                )
        return [y if isinstance(y, Tensor) else tensor(y) for y in found]

    stretch = Stretch(flat, len(tensors))
    results: list[Any] = stretch.first_run(tensors)
    if stretch.live:
        whole = stretch.on_tape(
            CHECKPOINT, tensors, stretch.pack([results[i].array for i in stretch.live])
        )
        parts = cut(whole, [results[i].shape for i in stretch.live])
        for i, part in zip(stretch.live, parts, strict=True):
            results[i] = part
    return unflatten(results_like[0], results)
