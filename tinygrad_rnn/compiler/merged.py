"""Values in which the batch and other axes are one axis.

``x.reshape(-1, features)`` of (batch, places, features) has such an axis. The value is kept with its
axes apart, and `Value.merged` says for each axis of the node which axes of the value it is made of.
Products, sums and elementwise work on it become the same work on the axes apart, and a reshape that
takes the axis apart again finds it so. The code for a step never sees a merged axis.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

from ..core.primitive import Spec
from ..core.tape import Node
from ..core.trace import trace
from ..ops.define import axes_of
from ..ops.facts import facts_of
from ..ops.linear import EINSUM
from ..ops.shaping import BROADCAST_TO, CONCATENATE, RESHAPE, TRANSPOSE
from .sizes import PROBE_BATCHES, mixed
from .value import B, Value

Groups = list[list[int]]


def is_merged(a: Node, b: Node) -> bool:
    """Whether an axis of a node is several times the batch.

    In recordings of two batches its sizes have their ratio.
    """
    return any(
        m != n and (m, n) != PROBE_BATCHES and m * PROBE_BATCHES[1] == n * PROBE_BATCHES[0]
        for m, n in zip(a.shape, b.shape, strict=True)
    )


def groups_of(value: Value) -> Groups:
    """Return for each axis of the node the axes of the value."""
    return [[k] for k in range(len(value.shape))] if value.merged is None else value.merged


class Merged:
    """The operations on merged values.

    Parameters
    ----------
    out : list of Value
        Where further operations are put, in order.
    known : dict
        Of the size of a merged axis, in the first recording, the sizes that it was made of.
    """

    def __init__(self, out: list[Value], known: dict[int, tuple[Any, ...]]) -> None:
        self.out, self.known = out, known

    def value(
        self, a: Node, b: Node, inputs: list[Any], param: Callable[[Any, Any, Node], Any]
    ) -> Value:
        """Return the value for a node with a merged axis, or with an input that has one."""
        primitive = a.primitive
        assert primitive is not None
        facts = facts_of(primitive)
        if primitive is RESHAPE:
            return self._reshape(a, b, inputs[0])
        if primitive.elementwise or facts.casts:
            params = {k: param(v, b.params[k], a) for k, v in a.params.items()}
            return self._elementwise(a, b, inputs, params)
        if facts.contraction is not None:
            return self._contraction(a, inputs)
        if facts.reduction is not None:
            return self._reduce(a, inputs)
        if primitive is TRANSPOSE:
            return self._transpose(a, inputs)
        if primitive is BROADCAST_TO:
            return self._broadcast(a, b, inputs)
        if primitive is CONCATENATE:
            return self._concatenate(a, inputs)
        if facts.subscript or facts.pieces is not None:
            raise mixed(
                a,
                "an index into a value with an axis that is made of the batch and others; index "
                "before that reshape, or after undoing it",
            )
        raise mixed(
            a,
            "it has no code for an axis that is made of the batch and others; apply it before that "
            "reshape, or after undoing it",
        )

    def _put(
        self,
        primitive: Any,
        node: Node,
        shape: Sequence[Any],
        inputs: list[Any],
        params: dict[str, Any],
        groups: Groups | None,
    ) -> Value:
        value = Value(primitive, inputs, params, shape, node)
        if value.shape.count(B) > 1:
            raise mixed(node, "its result has the batch on two axes")
        value.merged = None if groups is None or all(len(g) == 1 for g in groups) else groups
        for group in groups or []:
            sizes = tuple(value.shape[k] for k in group)
            if len(group) > 1 and B in sizes:
                self.known[math.prod(PROBE_BATCHES[0] if n == B else n for n in sizes)] = sizes
        self.out.append(value)
        return value

    def _apart(self, a: Node, b: Node, right: int | None) -> tuple[list[Any], Groups]:
        """The axes of a shape with the batch by itself; `right` is the number of elements after it in the order of memory."""
        shape: list[Any] = []
        groups: Groups = []
        for k, (m, n) in enumerate(zip(a.shape, b.shape, strict=True)):
            if m == n:
                sizes: list[Any] = [m]
            elif m * PROBE_BATCHES[1] != n * PROBE_BATCHES[0]:
                raise mixed(a, f"sizes {m} and {n} for batches of {PROBE_BATCHES}")
            else:
                after = math.prod(a.shape[k + 1 :])
                times = m // PROBE_BATCHES[0]
                behind = 1 if right is None else right // after
                if right is not None and (right % after or times % behind):
                    raise mixed(a, "the batch and another axis change places")
                sizes = [n for n in (times // behind, B, behind) if n != 1]
            groups.append(list(range(len(shape), len(shape) + len(sizes))))
            shape += sizes
        return shape, groups

    def _reshape(self, a: Node, b: Node, source: Value) -> Value:
        right = None if source.batch is None else math.prod(source.shape[source.batch + 1 :])
        shape, groups = self._apart(a, b, right)
        return self._put(RESHAPE, a, shape, [source], {"shape": tuple(shape)}, groups)

    def _transpose(self, a: Node, inputs: list[Any]) -> Value:
        source = inputs[0]
        old = groups_of(source)
        order = [old[axis % len(old)] for axis in a.params["axes"]]
        axes = [k for group in order for k in group]
        ends = itertools.accumulate((len(g) for g in order), initial=0)
        groups = [list(range(start, stop)) for start, stop in itertools.pairwise(ends)]
        return self._put(
            TRANSPOSE, a, [source.shape[k] for k in axes], inputs, {"axes": tuple(axes)}, groups
        )

    def _sizes(self, node: Node, sources: Sequence[tuple[Value, int]]) -> list[tuple[Any, ...]]:
        """The sizes that each axis of a node is made of, from those of sources and the number of axes that they lack in front."""
        found: list[tuple[Any, ...]] = [(1,)] * len(node.shape)
        for source, lack in sources:
            for k, group in enumerate(groups_of(source)):
                sizes = tuple(source.shape[i] for i in group)
                if sizes == (1,) or sizes == found[k + lack]:
                    continue
                if found[k + lack] != (1,):
                    raise mixed(
                        node,
                        f"an axis is made of {'x'.join(map(str, sizes))} in one operand and {'x'.join(map(str, found[k + lack]))} in another",
                    )
                found[k + lack] = sizes
        return found

    def _spread(self, op: Value, sizes: Sequence[tuple[Any, ...]]) -> Value:
        """With as many axes as the result has.

        Of size 1 where an axis of size 1 meets one that is made of several.
        """
        groups = groups_of(op)
        shape: list[Any] = []
        for group, wanted in zip(groups, sizes[len(sizes) - len(groups) :], strict=True):
            own = [op.shape[k] for k in group]
            shape += own if len(own) == len(wanted) else [1] * len(wanted)
        if tuple(shape) == op.shape:
            return op
        node = op.node
        if op.batch is None:  # it may be computed once, by NumPy: so it needs a node of its own
            node = trace(lambda x: x.reshape(shape), Spec(op.shape, op.dtype)).nodes[-1]
        return self._put(RESHAPE, node, shape, [op], {"shape": tuple(shape)}, None)

    def _elementwise(self, a: Node, b: Node, inputs: list[Any], params: dict[str, Any]) -> Value:
        given = [(i, len(a.shape) - len(groups_of(i))) for i in inputs if isinstance(i, Value)]
        sizes = self._sizes(a, given)
        spread = [self._spread(i, sizes) if isinstance(i, Value) else i for i in inputs]
        shape, groups = _joined(sizes)
        return self._put(a.primitive, a, shape, spread, params, groups)

    def _letters(
        self, terms: Sequence[Sequence[str]], sources: Sequence[Value], node: Node
    ) -> dict[str, str]:
        """For each label of a product, the letters of the axes that it is made of."""
        free = iter("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
        made: dict[str, tuple[tuple[Any, ...], str]] = {}
        for term, source in zip(terms, sources, strict=True):
            for label, group in zip(term, groups_of(source), strict=True):
                sizes = tuple(source.shape[k] for k in group)
                if label not in made:
                    made[label] = sizes, "".join(next(free) for _ in sizes)
                elif made[label][0] != sizes:
                    raise mixed(
                        node,
                        "two operands are summed over axes that are made of the batch and others in different orders",
                    )
        return {label: text for label, (_, text) in made.items()}

    def _product(
        self, node: Node, terms: Sequence[Sequence[str]], kept: Sequence[str], inputs: list[Any]
    ) -> Value:
        letters = self._letters(terms, inputs, node)
        size = {
            c: source.shape[k]
            for term, source in zip(terms, inputs, strict=True)
            for c, k in zip(
                "".join(letters[t] for t in term), itertools.chain(*groups_of(source)), strict=True
            )
        }
        output = "".join(letters[t] for t in kept)
        text = ",".join("".join(letters[t] for t in term) for term in terms)
        ends = itertools.accumulate((len(letters[t]) for t in kept), initial=0)
        groups = [list(range(start, stop)) for start, stop in itertools.pairwise(ends)]
        return self._put(
            EINSUM,
            node,
            [size[c] for c in output],
            inputs,
            {"subscripts": f"{text}->{output}"},
            groups,
        )

    def _contraction(self, a: Node, inputs: list[Any]) -> Value:
        contraction = facts_of(a.primitive).contraction
        assert contraction is not None
        labels = contraction(a.params, [len(groups_of(i)) for i in inputs])
        return self._product(a, labels.terms, labels.result, inputs)

    def _reduce(self, a: Node, inputs: list[Any]) -> Value:
        source = inputs[0]
        old = groups_of(source)
        axes = axes_of(a.params["axis"], len(old))
        gone = [k for axis in axes for k in old[axis]]
        kept = [
            tuple(source.shape[k] for k in group)
            for axis, group in enumerate(old)
            if axis not in axes
        ]
        shape, groups = _joined(kept)
        op = self._put(
            a.primitive, a, shape, inputs, {"axis": tuple(gone), "keepdims": False}, groups
        )
        if not a.params["keepdims"]:
            return op
        shape, groups = _joined(
            [
                (1,) if axis in axes else tuple(source.shape[k] for k in group)
                for axis, group in enumerate(old)
            ]
        )
        return self._put(RESHAPE, a, shape, [op], {"shape": tuple(shape)}, groups)

    def _broadcast(self, a: Node, b: Node, inputs: list[Any]) -> Value:
        lack = len(a.shape) - len(groups_of(inputs[0]))
        sizes = self._sizes(a, [(inputs[0], lack)])
        for k, (m, n) in enumerate(zip(a.shape, b.shape, strict=True)):
            if sizes[k] == (1,):  # all that it is spread over is equal, so any order will do
                sizes[k] = (
                    (m,)
                    if m == n
                    else (B,)
                    if (m, n) == PROBE_BATCHES
                    else self.known.get(m, (B, m // PROBE_BATCHES[0]))
                )
        shape, groups = _joined(sizes)
        return self._put(
            BROADCAST_TO,
            a,
            shape,
            [self._spread(inputs[0], sizes)],
            {"shape": tuple(shape)},
            groups,
        )

    def _concatenate(self, a: Node, inputs: list[Any]) -> Value:
        axis = a.params["axis"] % len(a.shape)
        every = [[tuple(i.shape[k] for k in group) for group in groups_of(i)] for i in inputs]
        if any(len(sizes[axis]) != 1 for sizes in every):
            raise mixed(a, "it joins along an axis that is made of the batch and others")
        sizes = [*every[0][:axis], (a.shape[axis],), *every[0][axis + 1 :]]
        if any(s[:axis] + s[axis + 1 :] != sizes[:axis] + sizes[axis + 1 :] for s in every):
            raise mixed(a, "its operands are made of the batch and others in different orders")
        shape, groups = _joined(sizes)
        return self._put(CONCATENATE, a, shape, inputs, {"axis": groups[axis][0]}, groups)


def _joined(sizes: Sequence[tuple[Any, ...]]) -> tuple[list[Any], Groups]:
    """A shape, and its groups, from the sizes that each axis is made of."""
    shape: list[Any] = []
    groups: Groups = []
    for several in sizes:
        groups.append(list(range(len(shape), len(shape) + len(several))))
        shape += several
    return shape, groups
