"""Values in which the batch and other axes are one axis.

``x.reshape(-1, features)`` of (batch, places, features) has such an axis. The value is kept with its
axes apart, and `Value.merged` says for each axis of the node which axes of the value it is made of.
Products, sums and elementwise work on it become the same work on the axes apart, and a reshape that
takes the axis apart again finds it so. The code for a step never sees a merged axis.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..core.primitive import Spec
from ..core.tape import Node
from ..core.trace import trace
from ..ops.define import axes_of
from ..ops.facts import facts_of
from ..ops.linear import EINSUM
from ..ops.shaping import BROADCAST_TO, CONCATENATE, RESHAPE, TRANSPOSE
from .sizes import PROBE_BATCHES, mixed, sized
from .value import B, Value

Groups = list[list[int]]
Sizes = Sequence[tuple[Any, ...]]  # for each axis of a node the sizes that it is made of


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


def sizes_of(value: Value) -> list[tuple[Any, ...]]:
    """Return for each axis of the node the sizes that it is made of."""
    return [tuple(value.shape[k] for k in group) for group in groups_of(value)]


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
        self, primitive: Any, node: Node, sizes: Sizes, inputs: list[Any], params: dict[str, Any]
    ) -> Value:
        """Append a value whose node has axes that are made of these sizes."""
        value = Value(primitive, inputs, params, list(itertools.chain(*sizes)), node)
        if value.shape.count(B) > 1:
            raise mixed(node, "its result has the batch on two axes")
        value.merged = None if all(len(s) == 1 for s in sizes) else _groups(map(len, sizes))
        for several in sizes:
            if len(several) > 1 and B in several:
                self.known[math.prod(sized(several, PROBE_BATCHES[0]))] = several
        self.out.append(value)
        return value

    def _reshaped(self, node: Node, sizes: Sizes, source: Value) -> Value:
        params = {"shape": tuple(itertools.chain(*sizes))}
        return self._put(RESHAPE, node, sizes, [source], params)

    def _apart(self, a: Node, b: Node, right: int | None) -> Sizes:
        """The axes of a shape with the batch by itself; `right` is the number of elements after it in the order of memory."""
        found: list[tuple[Any, ...]] = []
        for k, (m, n) in enumerate(zip(a.shape, b.shape, strict=True)):
            if m == n:
                found.append((m,))
            elif m * PROBE_BATCHES[1] != n * PROBE_BATCHES[0]:
                raise mixed(a, f"sizes {m} and {n} for batches of {PROBE_BATCHES}")
            else:
                after = math.prod(a.shape[k + 1 :])
                times = m // PROBE_BATCHES[0]
                behind = 1 if right is None else right // after
                if right is not None and (right % after or times % behind):
                    raise mixed(a, "the batch and another axis change places")
                found.append(tuple([n for n in (times // behind, B, behind) if n != 1]))
        return found

    def _reshape(self, a: Node, b: Node, source: Value) -> Value:
        right = None if source.batch is None else math.prod(source.shape[source.batch + 1 :])
        return self._reshaped(a, self._apart(a, b, right), source)

    def _transpose(self, a: Node, inputs: list[Any]) -> Value:
        groups, sizes = groups_of(inputs[0]), sizes_of(inputs[0])
        order = [axis % len(groups) for axis in a.params["axes"]]
        axes = tuple([k for axis in order for k in groups[axis]])
        return self._put(TRANSPOSE, a, [sizes[axis] for axis in order], inputs, {"axes": axes})

    def _sizes(self, node: Node, sources: Sequence[Value]) -> list[tuple[Any, ...]]:
        """The sizes that each axis of a node is made of, from those of sources; they may lack axes in front."""
        found: list[tuple[Any, ...]] = [(1,)] * len(node.shape)
        for source in sources:
            own = sizes_of(source)
            for k, sizes in enumerate(own, len(found) - len(own)):
                if sizes == (1,) or sizes == found[k]:
                    continue
                if found[k] != (1,):
                    raise mixed(
                        node,
                        f"an axis is made of {'x'.join(map(str, sizes))} in one operand and {'x'.join(map(str, found[k]))} in another",
                    )
                found[k] = sizes
        return found

    def _spread(self, op: Value, sizes: Sizes) -> Value:
        """With as many axes as the result has.

        Of size 1 where an axis of size 1 meets one that is made of several.
        """
        own = sizes_of(op)
        shape: list[Any] = []
        for here, wanted in zip(own, sizes[len(sizes) - len(own) :], strict=True):
            shape += here if len(here) == len(wanted) else [1] * len(wanted)
        if tuple(shape) == op.shape:
            return op
        node = op.node
        if op.batch is None:  # it may be computed once, by NumPy: so it needs a node of its own
            node = trace(lambda x: x.reshape(shape), Spec(op.shape, op.dtype)).nodes[-1]
        return self._reshaped(node, [(n,) for n in shape], op)

    def _elementwise(self, a: Node, b: Node, inputs: list[Any], params: dict[str, Any]) -> Value:
        sizes = self._sizes(a, [i for i in inputs if isinstance(i, Value)])
        spread = [self._spread(i, sizes) if isinstance(i, Value) else i for i in inputs]
        return self._put(a.primitive, a, sizes, spread, params)

    def _contraction(self, a: Node, inputs: list[Any]) -> Value:
        contraction = facts_of(a.primitive).contraction
        assert contraction is not None
        labels = contraction(a.params, [len(groups_of(i)) for i in inputs])
        # for each label the sizes of the axes that it is made of, and their letters
        free = iter("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
        made: dict[str, tuple[tuple[Any, ...], str]] = {}
        for term, source in zip(labels.terms, inputs, strict=True):
            for label, sizes in zip(term, sizes_of(source), strict=True):
                if label not in made:
                    made[label] = sizes, "".join(next(free) for _ in sizes)
                elif made[label][0] != sizes:
                    raise mixed(
                        a,
                        "two operands are summed over axes that are made of the batch and others in different orders",
                    )
        terms = ["".join(made[t][1] for t in term) for term in (*labels.terms, labels.result)]
        subscripts = f"{','.join(terms[:-1])}->{terms[-1]}"
        kept = [made[t][0] for t in labels.result]
        return self._put(EINSUM, a, kept, inputs, {"subscripts": subscripts})

    def _reduce(self, a: Node, inputs: list[Any]) -> Value:
        groups, old = groups_of(inputs[0]), sizes_of(inputs[0])
        axes = axes_of(a.params["axis"], len(old))
        gone = tuple([k for axis in axes for k in groups[axis]])
        kept = [sizes for axis, sizes in enumerate(old) if axis not in axes]
        op = self._put(a.primitive, a, kept, inputs, {"axis": gone, "keepdims": False})
        if not a.params["keepdims"]:
            return op
        return self._reshaped(a, [(1,) if k in axes else sizes for k, sizes in enumerate(old)], op)

    def _broadcast(self, a: Node, b: Node, inputs: list[Any]) -> Value:
        sizes = self._sizes(a, inputs)
        for k, (m, n) in enumerate(zip(a.shape, b.shape, strict=True)):
            if sizes[k] == (1,):  # all that it is spread over is equal, so any order will do
                sizes[k] = (
                    (m,)
                    if m == n
                    else (B,)
                    if (m, n) == PROBE_BATCHES
                    else self.known.get(m, (B, m // PROBE_BATCHES[0]))
                )
        params = {"shape": tuple(itertools.chain(*sizes))}
        return self._put(BROADCAST_TO, a, sizes, [self._spread(inputs[0], sizes)], params)

    def _concatenate(self, a: Node, inputs: list[Any]) -> Value:
        axis = a.params["axis"] % len(a.shape)
        every = [sizes_of(i) for i in inputs]
        if any(len(sizes[axis]) != 1 for sizes in every):
            raise mixed(a, "it joins along an axis that is made of the batch and others")
        sizes = [*every[0][:axis], (a.shape[axis],), *every[0][axis + 1 :]]
        if any(s[:axis] + s[axis + 1 :] != sizes[:axis] + sizes[axis + 1 :] for s in every):
            raise mixed(a, "its operands are made of the batch and others in different orders")
        return self._put(CONCATENATE, a, sizes, inputs, {"axis": sum(map(len, sizes[:axis]))})


def _groups(counts: Iterable[int]) -> Groups:
    """Return the axes in groups of so many."""
    axes = itertools.count()
    return [list(itertools.islice(axes, n)) for n in counts]
