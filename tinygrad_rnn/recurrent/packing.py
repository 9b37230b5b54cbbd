"""Several arrays in one vector, one after the other: how a node has several results."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.primitive import Array, Primitive, Spec
from ..core.record import apply, record
from ..core.tape import caller, context
from ..core.tensor import Tensor
from ..ops.define import primitive
from ..ops.facts import FREE
from ..ops.indexing import scatter
from ..ops.shaping import concatenate
from ..ops.views import Axis, Size, View


def pack(parts: Sequence[Any]) -> Any:
    """Return one vector of several arrays or tensors."""
    if isinstance(parts[0], Tensor):
        return concatenate([p.reshape((-1,)) for p in parts])
    return np.concatenate([p.ravel() for p in parts])


def cut(
    whole: Any,
    shapes: Sequence[tuple[int, ...]],
    apart: int | None = None,
    arrays: Sequence[Array] | None = None,
) -> list[Any]:
    """Return the parts of a vector in which arrays of these shapes stand one after the other.

    Parameters
    ----------
    whole : Tensor or array
        The vector.
    shapes : sequence of tuple of int
        The shapes of the parts.
    apart : int, optional
        Of a tensor the parts from this number on are copies, so that keeping one of them does not
        keep the whole vector alive.
    arrays : sequence of array, optional
        The parts of its array, where they were cut before.
    """
    begins = list(itertools.accumulate([math.prod(shape) for shape in shapes], initial=0))
    if not isinstance(whole, Tensor):
        return [
            whole[a:b].reshape(shape)
            for a, b, shape in zip(begins, begins[1:], shapes, strict=False)
        ]
    primitive: Primitive = _part.primitive
    now = context()
    if now.tracing or not now.grad_enabled or not whole.requires_grad:
        return [
            apply(primitive, (whole,), {"begin": a, "shape": shape})
            for a, shape in zip(begins, shapes, strict=False)
        ]
    nodes, place = (whole.node,), now.origin or caller()  # what `apply` does, for all parts at once
    edges = primitive.edges(nodes)
    found = cut(whole.array, shapes) if arrays is None else arrays
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
        for k, (a, part, shape) in enumerate(zip(begins, found, shapes, strict=False))
    ]


def _part_shape(x: Any, *, begin: int, shape: tuple[int, ...]) -> Spec:
    return Spec(shape, x.dtype)


def _add_part(total: Any, g: Any, *, begin: int, shape: tuple[int, ...]) -> None:
    total[begin : begin + g.size] += g.reshape(-1)


def _part_view(params: dict[str, Any], source: Sequence[Size], shape: Sequence[Size]) -> View:
    terms = tuple([(k, math.prod(shape[k + 1 :])) for k in range(len(shape))])
    return View((Axis(terms, params["begin"]),), len(shape))


@primitive(
    lambda g, like_x, begin: scatter(g.reshape((-1,)), slice(begin, begin + g.size), like_x.shape),
    shape=_part_shape,
    linear="jointly",
    name="part",
    examples=[([(7,)], {"begin": 1, "shape": (2, 3)})],
    cost=FREE,
    view=_part_view,
    add_into=_add_part,
    rule_in_words="Zeros, with g at the places that were taken.",
)
def _part(x: Any, *, begin: int, shape: tuple[int, ...]) -> Any:
    return x[begin : begin + math.prod(shape)].reshape(shape)
